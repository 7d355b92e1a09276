"""Our own DFT as a file of references: made from a run, read by the report, inside its windows."""

import importlib.util
import sys
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from helpers import energies as energies_found
from helpers import tiny
from helpers.material import FOLDER
from numpy.testing import assert_allclose

from mlip.core import files
from mlip.core.status import Status
from mlip.dft.settings import Dft
from mlip.literature import references
from mlip.stages.dataset import dataset
from mlip.stages.dataset.settings import DatasetSettings
from mlip.stages.energetics import energetics
from mlip.stages.energetics.lattice import Errors
from mlip.stages.energetics.settings import EnergeticsSettings
from mlip.stages.report import energies

LITHIUM, MAGNESIUM = energies_found.FOUND.metals
FOUND = replace(
    energies_found.FOUND,
    metals=(replace(LITHIUM, lattice=replace(energies_found.LATTICE, apex=None)), MAGNESIUM),
    crystal=replace(
        energies_found.LATTICE,
        errors=Errors(lengths_angstrom=(0.004, 0.004, 0.03), apex=0.0005, hill_gpa=28.0),
    ),
    surfaces=tuple(
        replace(surface, pbe_j_per_m2=None, d3_j_per_m2=None, status=Status("not calculated"))
        for surface in energies_found.FOUND.surfaces
    ),
    adsorption=(),
)
COVERED = {"Li": 1, "Ti": 16, "O": 32}
WITH_METALS = replace(
    FOUND,
    atoms=(*FOUND.atoms, energetics.Atom(symbol="Mg", energy_ev=-0.11, moment_bohr=0.0, status=Status("calculated"))),
    metals=(
        FOUND.metals[0],
        replace(
            MAGNESIUM,
            energy_ev=-1.62,
            d3_ev=-0.28,
            cohesive_ev=1.51,
            cohesive_d3_ev=1.79,
            status=Status("calculated"),
        ),
    ),
)


@pytest.fixture(scope="module")
def labels():
    return tiny.REPOSITORY / "datasets" / "tio2-mg-li"


@pytest.fixture(scope="module")
def script():
    place = tiny.REPOSITORY / "scripts" / "make_own_dft.py"
    spec = importlib.util.spec_from_file_location("make_own_dft", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_run_becomes_a_file_that_is_read(script, tmp_path, monkeypatch, capsys):
    settings = {"common": {"seed": 1}, "energetics": EnergeticsSettings().model_dump(mode="json")}
    settings["dft"] = Dft().model_dump(mode="json")
    made = files.provenance("energetics", settings=settings, inputs={}, started=0.0)
    files.write_result(tmp_path / "run" / "energetics" / "result.json", FOUND, made)
    monkeypatch.setattr(sys, "argv", ["x", str(tmp_path / "run"), "--out", str(tmp_path / "out" / "own.yaml")])
    script.main()
    assert "bulk modulus (VRH): 183 +- 28 GPa is too uncertain, left out" in capsys.readouterr().out
    found = references.load(tmp_path / "out")
    values = {(v.quantity, v.facet or v.ion): v.value for v in found.values}
    assert {v.role for v in found.values} == {"own"}
    assert_allclose(values["lattice c", "bulk"], 9.70, rtol=1e-9, atol=0)
    assert_allclose(values["cohesive energy", "Li"], 1.62, rtol=1e-9, atol=0)
    assert not {("bulk modulus (VRH)", "bulk"), ("cohesive energy", "Mg"), ("surface energy", "(001)")} & values.keys()
    assert "standard error 0.03" in found.value("own-c").method
    (source,) = found.sources
    assert "84b3beb6c0557ee2" in source.citation


def test_surfaces_and_adsorption_come_from_labels(script, labels):
    found = script.with_labels(WITH_METALS, labels)
    frames = {f.info["frame_id"]: f for f in dataset.read_dataset(labels, DatasetSettings(), target="pbe")[1]}
    cells = [f for f in frames.values() if (f.info["host"], f.info["ion"], len(f)) == ("001", "none", 12)]
    clean = min(cells, key=lambda f: f.info["dft_energy_extrapolated"])
    bulk = frames["bulk_eq_0"]
    (surface,) = (s for s in found.surfaces if s.name == "001" and s.pbe_j_per_m2 is not None)
    gap = clean.info["dft_energy_extrapolated"] - bulk.info["dft_energy_extrapolated"]  # twelve atoms each
    assert_allclose(surface.pbe_j_per_m2, gap / (2 * 3.8 * 3.8) * 16.02176634, rtol=1e-6, atol=0)
    (bound,) = (b for b in found.adsorption if (b.host, b.ion, b.site) == ("001", "Li", "one per Ti16O32"))
    ids = [i for i, f in frames.items() if f.info["host"] == "001" and f.symbols.formula.count() == COVERED]
    ion = min((frames[i] for i in ids), key=lambda f: f.info["dft_energy_extrapolated"])
    change = ion.info["dft_energy_extrapolated"] - 4 * clean.info["dft_energy_extrapolated"]
    assert_allclose(bound.metal_ev, change - WITH_METALS.metals[0].energy_ev, rtol=1e-9, atol=0)
    d3 = ion.info["d3_energy"] - 4 * clean.info["d3_energy"]
    assert_allclose(bound.atom_d3_ev, change + d3 - WITH_METALS.atoms[0].energy_ev, rtol=1e-9, atol=0)


def test_a_site_at_another_height_has_an_entry_of_its_own(script, labels):
    """Of a slab with its outer metal planes at 8 and 15 Angstrom: the ion 1 above, the same place again, 3 below."""

    def covered(name, z, energy, sampling):
        frame = Atoms("TiTiLi", positions=[[0, 0, 8], [0, 0, 15], [2, 2, z]], cell=[4, 4, 23], pbc=True)
        frame.info = {"frame_id": name, "ion": "Li", "vacuum": True, "sampling": sampling}
        frame.info |= {"dft_energy_extrapolated": energy, "d3_energy": 0.0}
        return frame

    top = covered("a", 16.0, -10.0, "relaxed")
    same = covered("b", 7.1, -9.9, "relaxed")  # on the other face
    deep = covered("c", 12.0, -9.0, "relaxed")
    moving = covered("d", 13.5, -8.0, "Langevin 800 K")
    found = script.sites([deep, moving, same, top])
    assert [(name, f.info["frame_id"]) for name, f in found] == [
        ("", "a"),
        (", ion 3.0 A below the outer metal plane", "c"),
    ]


@pytest.mark.parametrize(("z", "gone"), [(16.0, False), (20.0, True)])
def test_an_ion_that_left_is_at_no_site(script, z, gone):
    frame = Atoms("TiTiLi", positions=[[0, 0, 8], [0, 0, 15], [2, 2, z]], cell=[4, 4, 30], pbc=True)
    frame.info["ion"] = "Li"
    assert script.desorbed(frame) is gone


def test_cells_that_do_not_repeat_the_clean_one_under_the_same_k_points_are_not_compared(script, labels):
    _, frames = dataset.read_dataset(labels, DatasetSettings(), target="pbe")
    by_id = {f.info["frame_id"]: f for f in frames}
    clean, covered = by_id["001_11_clean_relaxed"], by_id["ladder_001_in_Li_initial"]
    assert script.repeats(clean, covered) == 4
    other = covered.copy()
    other.info["kpts"] = np.array([4, 2, 1])
    assert script.repeats(clean, other) is None
    other = covered.copy()
    other.set_cell(covered.cell.array * 1.01)
    assert script.repeats(clean, other) is None


def test_labels_of_another_level_are_refused(script, labels):
    with pytest.raises(ValueError, match="use labels of one level"):
        script.with_labels(replace(WITH_METALS, level="another"), labels)


def test_the_values_that_come_with_the_code_are_inside_their_windows():
    rows = {(r.quantity, r.of): r for r in energies.measured(None, references.load(FOLDER)) if r.own is not None}
    wanted = {("lattice a", "bulk"), ("lattice c", "bulk"), ("oxygen coordinate u", "bulk")}
    wanted |= {("cohesive energy", "Li"), ("cohesive energy", "Mg")}
    wanted |= {("surface energy", "(001)"), ("surface energy", "(100)")}
    assert rows.keys() >= wanted
    assert {rows[key].where for key in wanted} == {"inside"}
