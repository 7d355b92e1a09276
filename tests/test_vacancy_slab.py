"""Vacancies of a slab in a run, from sites to the report, and the first calls of the refinement of their hop."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers.dft_runs import MORE, PYTHONPATH
from helpers.lattice_potential import OxidePotential
from numpy.testing import assert_allclose

from mlip import driver
from mlip.atoms import extxyz
from mlip.core import files
from mlip.dft import engines
from mlip.stages.neb import neb
from mlip.stages.neb.stage import STAGE as NEB
from mlip.stages.refine import loop
from mlip.stages.refine.stage import STAGE as REFINE
from mlip.stages.sites.stage import STAGE as SITES

DATA = Path(__file__).parent / "data" / "crystals" / "battery"
SCALE = 1.05  # DFT is the potential times this factor
SETTINGS = {
    "common": {"workers": 1, "symmetrix": False},
    "structures": {
        "crystal": str(DATA / "mgo.cif"),
        "facets": [{"name": "100", "miller": [1, 0, 0], "layers": 2, "repeat": [2, 2]}],
        "bond_angstrom": 2.3,
        "vacancies": ["Mg"],
        "vacancy_apart_angstrom": 4.0,  # a small bulk cell: the slab counts here
    },
    "dataset": {"path": None},
    "train": {"calculator": {"name": "helpers.lattice_potential:OxidePotential", "trusted": True}},
    "sites": {"fmax_ev_per_angstrom": 0.05, "rattle_angstrom": 0.01, "host_rattles": 1, "depth_angstrom": 1.0},
    "neb": {"hops": ["100_*"], "images": 3, "half_symmetric": True, "fmax_ev_per_angstrom": 0.02},
    "dft": {"preset": "lattice-oxide", "settings": {"scale": SCALE}},
    "refine": {"hops": ["100_*"], "max_calls": 2},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Mg vacancies at the face of MgO by an analytic potential, without labels."""
    folder = tmp_path_factory.mktemp("slab")
    (folder / "c.yaml").write_text(yaml.safe_dump(SETTINGS), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engines, "__path__", [*engines.__path__, str(MORE)])
        patch.setenv("PYTHONPATH", PYTHONPATH)
        made = driver.init(folder / "c.yaml", folder / "run").folder
        driver.run_stages(made, ["structures", "dataset", "train", "evaluate", "sites", "neb", "report"])
        yield made


def result(run, stage):
    return files.read_result(run / stage.name / "result.json", stage.result)


def test_a_vacancy_of_a_slab_is_at_its_face_and_has_one_barrier(run):
    found = [site for site in result(run, SITES).sites if site.host == "100"]
    assert [(s.name, s.layer, s.coordination, s.multiplicity) for s in found] == [("Mg1", "surface", 5, 4)]
    (barrier,) = result(run, NEB).barriers
    assert (barrier.ion, barrier.hop[:11], barrier.status.code) == ("Mg", "100_Mg1-Mg1", neb.CONVERGED)
    assert barrier.forward_ev > 0.3
    assert_allclose(barrier.forward_ev, barrier.reverse_ev, rtol=1e-6, atol=0)


def test_the_ends_hold_the_slab_less_one_ion(run):
    path = next((run / "sites" / "hops").glob("Mg_100_*.extxyz"))
    initial, final = extxyz.read_frames(path)
    assert initial.get_chemical_formula() == final.get_chemical_formula() == "Mg7O8"
    assert np.linalg.norm(final.positions - initial.positions, axis=1)[:-1].max() < 0.5


def test_the_report_is_of_the_vacancy(run):
    text = (run / "report" / "report.md").read_text(encoding="utf-8")
    (barrier,) = result(run, NEB).barriers
    assert "an ion moves into a single vacancy in a neutral cell" in text
    assert f"| 100 | Mg | {barrier.hop} | Mg1 to Mg1 | 2.98 | 4 | converged | {barrier.forward_ev:.3f} |" in text


def test_a_refinement_of_a_vacancy_hop_labels_the_slab_less_one_ion(run):
    driver.run_stages(run, ["refine"])
    (one,) = result(run, REFINE).hops
    assert (one.status.code, one.status.reason) == (loop.CONVERGED, "")  # both have the same stationary points
    assert (one.calls, one.mlip_forward_ev > 0.3) == (2, True)
    assert_allclose(one.forward_ev, SCALE * one.mlip_forward_ev, rtol=1e-3, atol=0)
    frames = extxyz.read_frames(run / "refine" / "frames.extxyz")
    assert {f.get_chemical_formula() for f in frames} == {"Mg7O8"}
    for frame in frames:
        own = frame.copy()
        own.calc = OxidePotential()
        assert_allclose(frame.info["dft_energy"], SCALE * own.get_potential_energy(), rtol=1e-6, atol=0)
