"""Charges and radii of ions: the table, the stoichiometry, and what a config says instead."""

from types import SimpleNamespace

import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write
from helpers import tiny

from mlip.atoms import ions, structures
from mlip.atoms.structures import Facet
from mlip.stages.dataset.settings import DatasetSettings
from mlip.stages.modes import stage as modes
from mlip.stages.modes.settings import ModesSettings
from mlip.stages.refine import known
from mlip.stages.refine.settings import RefineSettings
from mlip.stages.report import stage as report
from mlip.stages.sites import sites
from mlip.stages.sites.settings import SitesSettings
from mlip.stages.structures import StructuresSettings, conventional_cell


def test_given_charges_hold_in_the_place_of_the_usual_ones():
    assert ions.nominal_charges(Atoms("LiCoO2")) == {"O": -2.0, "Li": 1.0, "Co": 3.0}
    with pytest.raises(ValueError, match=r"do not follow .*give all but one of them in structures.charges_e, such as"):
        ions.nominal_charges(Atoms("NiMnO3"))
    assert ions.nominal_charges(Atoms("NiMnO3"), {"Ni": 2.0})["Mn"] == 4.0
    assert ions.nominal_charges(Atoms("Li2O2"), {"O": -1.0}) == {"O": -1.0, "Li": 1.0}
    with pytest.raises(ValueError, match=r"add up to \+1 e, not to zero; see structures.charges_e"):
        ions.nominal_charges(Atoms("NiMnO3"), {"Ni": 3.0, "Mn": 4.0})


def test_charge_and_radius_of_an_ion_are_the_usual_ones_or_as_given():
    assert (ions.charge("Na"), ions.charge("Mg"), ions.charge("Al"), ions.charge("Fe")) == (1.0, 2.0, 3.0, None)
    assert ions.charge("Fe", {"Fe": 2.0}) == 2.0
    assert (ions.radius_angstrom("K"), ions.radius_angstrom("K", {"K": 1.5})) == (1.38, 1.5)
    assert ions.radius_angstrom("Re") == ions.OTHER_RADIUS_ANGSTROM


def test_a_given_charge_decides_which_cuts_are_polar():
    """Rock salt (100) has neutral planes whatever the charges; MgO (111) has none."""
    crystal = bulk("MgO", "rocksalt", a=4.21, cubic=True)
    facet = Facet(name="100", miller=(1, 0, 0), layers=4, repeat=(1, 1))
    made = structures.slab(crystal, facet, bond_angstrom=2.3, charges={"Mg": 2.0, "O": -2.0})
    assert len(made) % 2 == 0
    with pytest.raises(ValueError, match="add up to"):
        structures.slab(crystal, facet, bond_angstrom=2.3, charges={"Mg": 1.0, "O": -2.0})


def test_a_larger_radius_starts_higher_above_a_surface():
    host = structures.slab(
        structures.crystal("anatase"), Facet(name="001", miller=(0, 0, 1), layers=4, repeat=(1, 1)), bond_angstrom=2.35
    )
    tops = [
        sites.candidates(host, "Li", SitesSettings(radii_angstrom=given), metal_symbols=["Ti"])[0, 2]
        for given in ({}, {"Li": 0.95})
    ]
    assert tops[1] > tops[0] + 0.1


def test_settings_without_the_new_ones_have_the_fingerprint_of_before():
    assert "charges_e" not in StructuresSettings().model_dump(mode="json")
    assert "radii_angstrom" not in SitesSettings().model_dump(mode="json")
    assert StructuresSettings(charges_e={"Mn": 3}).model_dump(mode="json")["charges_e"] == {"Mn": 3.0}
    assert SitesSettings(radii_angstrom={"Al": 0.39}).model_dump(mode="json")["radii_angstrom"] == {"Al": 0.39}


def test_a_charge_of_no_element_is_refused():
    with pytest.raises(ValueError, match=r"charges_e: \['Mn3'\] are no elements"):
        StructuresSettings(charges_e={"Mn3": 3})
    with pytest.raises(ValueError, match="greater than 0"):
        SitesSettings(radii_angstrom={"Li": 0.0})


class _Asked:
    """A context of a run on a crystal whose charges the config gives, with nothing found so far."""

    def __init__(self, built, folder):
        self.built, self.folder, self.settings, self.workers, self.gpus = built, folder, ModesSettings(), 1, 1
        self.common = SimpleNamespace(device="cpu")

    def result(self, _):
        return SimpleNamespace(hops=(), bands=(), hosts=())

    def result_if_done(self, _):
        return None

    def folder_of(self, stage):
        return self.folder / stage.name

    def settings_of(self, stage):
        others = {"dataset": DatasetSettings(path=tiny.DATA), "refine": RefineSettings()}
        return self.built if stage.name == "structures" else others.get(stage.name, SitesSettings())

    def file(self, path):
        return path

    def say(self, text):
        raise AssertionError(text)


@pytest.mark.parametrize("ask", [report._is_labelled, known.of_run, modes.run], ids=["report", "barriers", "modes"])
def test_every_stage_reads_the_crystal_with_the_given_charges(ask, tmp_path, monkeypatch):
    """Charges of two unknown cations are asked for once: modes, rates and the report take what the config says."""
    monkeypatch.setattr(modes.backends, "exact_use", lambda _: None)
    monkeypatch.setattr(modes.jobs, "run_all", lambda *_, **__: ([], SimpleNamespace(phonons=None, note="")))
    cell = Atoms("FeCoO2", scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0), (0, 0, 0.5)], cell=(3, 3, 4.2))
    write(tmp_path / "POSCAR", cell, format="vasp", direct=True)
    with pytest.raises(ValueError, match=r"structures.charges_e, such as"):
        conventional_cell(StructuresSettings(crystal=str(tmp_path / "POSCAR")))
    ask(_Asked(StructuresSettings(crystal=str(tmp_path / "POSCAR"), charges_e={"Fe": 2}), tmp_path))
