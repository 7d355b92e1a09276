"""Ions of the crystal in a run: vacancies are sites, their hops have bands, and nothing is named or labelled before."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers.crystal_springs import Lattice
from helpers.hopping import tensor
from numpy.testing import assert_allclose

from mlip import driver
from mlip.atoms import cells, crystals, extxyz, structures
from mlip.atoms.symmetry import operations
from mlip.core import files
from mlip.core.status import RESOLVED
from mlip.stages.md.settings import MdSettings, MdSystem
from mlip.stages.md.stage import require_extra_ions
from mlip.stages.neb import neb
from mlip.stages.neb.stage import STAGE as NEB
from mlip.stages.rates import lattice
from mlip.stages.sites import sites, vacancies, vacancy_jobs
from mlip.stages.sites.report import sites_section
from mlip.stages.sites.settings import SitesSettings
from mlip.stages.sites.stage import STAGE as SITES
from mlip.stages.structures import StructuresSettings, bulk_repeat

DATA = Path(__file__).parent / "data" / "crystals" / "battery"
OXIDE = {"name": "helpers.lattice_potential:OxidePotential", "trusted": True}


def network(name, ion, repeat):
    """Host, sites and hops of the vacancies of an ideal crystal."""
    host, settings = structures.bulk(crystals.load(DATA / f"{name}.cif").atoms, repeat), SitesSettings()
    own, relaxed = vacancies.relaxed_vacancies(host, ion, Lattice(host), settings)
    moves = vacancies.vacancy_hops(host, own, relaxed, settings, name="bulk")
    found = operations(host, tolerance_angstrom=settings.symmetry_angstrom)
    placed = [vacancy_jobs.site_of(host, found, "bulk", one) for one in own]
    return host, placed, [vacancy_jobs.hop_of(host, found, placed, move) for move, *_ in moves]


def test_a_vacancy_walks_on_the_face_centred_lattice_of_mgo():
    """D = k d^2 z/6 with z = 12 and d = a/sqrt(2) (here per pair of equal rates k)."""
    host, placed, hops = network("mgo", "Mg", (2, 2, 2))
    net = lattice.lattice(host.cell.array, placed, hops)
    assert (placed[0].multiplicity, placed[0].layer, placed[0].coordination) == (32, "bulk", 6)
    assert (len(hops), len(hops[0].edges), net.ways(0, 0)) == (1, 192, 12)
    assert_allclose(np.linalg.norm(net.steps, axis=1), 4.212 / np.sqrt(2), rtol=1e-6, atol=0)
    assert_allclose(tensor(net, [np.log(2.0)], [np.log(2.0)]), 2.0 * 4.212**2 * np.eye(3), rtol=1e-6, atol=1e-6)
    assert [period.direction[0] for period in placed[0].periods] == ["x"]


def test_a_vacancy_of_lifepo4_walks_along_b_only():
    host, placed, hops = network("lifepo4", "Li", (1, 2, 1))
    found = tensor(lattice.lattice(host.cell.array, placed, hops), [np.log(2.0)], [np.log(2.0)])
    assert_allclose(np.diag(found), [0.0, 2.0 * (6.01 / 2) ** 2, 0.0], rtol=1e-4, atol=1e-9)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Mg vacancies in MgO by an analytic potential, without labels."""
    folder = tmp_path_factory.mktemp("vacancies")
    settings = {
        "common": {"workers": 1, "symmetrix": False},
        "structures": {"crystal": str(DATA / "mgo.cif"), "facets": [], "vacancies": ["Mg"]},
        "dataset": {"path": None},
        "train": {"calculator": OXIDE},
        "sites": {"fmax_ev_per_angstrom": 0.1, "rattle_angstrom": 0.002},
        "neb": {"images": 3, "half_symmetric": True, "fmax_ev_per_angstrom": 0.1, "end_fmax_ev_per_angstrom": 0.05},
    }
    (folder / "c.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    made = driver.init(folder / "c.yaml", folder / "run")
    driver.run_stages(made.folder, ["structures", "dataset", "train", "evaluate", "sites", "neb", "report"])
    return made.folder


def result(run, stage):
    return files.read_result(run / stage.name / "result.json", stage.result)


def test_a_run_finds_the_hop_and_its_barrier_without_naming_it(run):
    found, moved = result(run, SITES), result(run, NEB)
    assert [(s.name, s.multiplicity, s.status.code) for s in found.sites] == [("Mg1", 32, sites.RELAXED)]
    assert [(h.ion, h.initial, h.final, h.multiplicity) for h in found.hops] == [("Mg", "Mg1", "Mg1", 12)]
    (barrier,) = moved.barriers
    assert (barrier.status.code, barrier.forward_std_ev) == (neb.CONVERGED, None)
    assert_allclose(barrier.forward_ev, 0.833, rtol=0, atol=0.05)
    (path,) = moved.bottlenecks
    assert (path.status.code, len(path.hops)) == (RESOLVED, 2)
    assert_allclose(path.barrier_ev, barrier.forward_ev, rtol=1e-9, atol=0)


def test_the_ends_hold_one_vacancy_and_the_ion_last(run):
    (path,) = (run / "sites" / "hops").glob("*.extxyz")
    initial, final = extxyz.read_frames(path)
    assert initial.get_chemical_formula() == final.get_chemical_formula() == "Mg31O32"
    assert initial.symbols[-1] == "Mg"
    apart = final.positions - initial.positions
    assert np.linalg.norm(apart[-1]) > 2.5
    assert np.linalg.norm(apart[:-1], axis=1).max() < 0.5


def test_the_report_says_that_sites_are_vacancies(run):
    text = (run / "report" / "report.md").read_text(encoding="utf-8")
    assert "Mg migration on MgO" in text
    assert "Bulk cell of 2 x 2 x 2 conventional cells: a vacancy is 8.4 Angstrom from its images" in text
    assert "an ion moves into a single vacancy in a neutral cell" in text
    assert sites_section(result(run, SITES).sites).text == sites_section((), ()).text  # nothing said without vacancies


@pytest.mark.parametrize("stage", ["md", "diffusion"])
@pytest.mark.parametrize(
    ("also", "advice"),
    [({}, "diffusion$"), ({"ions": ["Li"]}, "diffusion; name systems of Li instead$")],
)
def test_dynamics_of_vacancies_are_refused_before_anything_is_calculated(stage, also, advice, tmp_path):
    settings = {
        "structures": {"crystal": str(DATA / "mgo.cif"), "facets": [], "vacancies": ["Mg"], **also},
        "dataset": {"path": None},
        "train": {"calculator": OXIDE},
        stage: {"run": True},
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    refused = r"md.systems: empty stands for every ion, also \['Mg'\] of the crystal .* leave out the stages md and "
    with pytest.raises(ValueError, match=refused + advice):
        driver.init(tmp_path / "c.yaml", tmp_path / "run")


def test_dynamics_of_vacancies_are_refused_where_the_stage_is_asked_alone(run):
    with pytest.raises(ValueError, match=r"md.systems: empty stands for every ion, also \['Mg'\] of the crystal"):
        driver.run_stages(run, ["md"])


def test_extra_ions_beside_vacancies_are_followed():
    built = StructuresSettings(ions=("Li",), vacancies=("Mg",))
    require_extra_ions(MdSettings(systems=(MdSystem(host="bulk", ions=("Li",)),)), built)
    require_extra_ions(MdSettings(), StructuresSettings())


def test_the_bulk_cell_keeps_a_vacancy_from_its_images():
    mgo, lifepo4, licoo2 = (crystals.load(DATA / f"{n}.cif").atoms for n in ("mgo", "lifepo4", "licoo2"))
    settings = StructuresSettings(vacancies=("Li",))
    assert bulk_repeat(mgo, settings) == (2, 2, 2)
    assert bulk_repeat(lifepo4, settings) == (1, 2, 2)  # 10.3, 6.0, 4.7 Angstrom
    assert bulk_repeat(licoo2, settings) == (3, 3, 1)
    wider = StructuresSettings(vacancies=("Li",), vacancy_apart_angstrom=10.0, bulk_repeat=(2, 1, 1))
    assert bulk_repeat(lifepo4, wider) == (2, 2, 3)
    assert bulk_repeat(mgo, StructuresSettings()) == (2, 2, 1)  # no vacancies: as the config says
    hexagonal = np.array([[2.0, 0, 0], [-1.0, np.sqrt(3), 0], [0, 0, 20.0]])
    assert_allclose(cells.image_angstrom(hexagonal * 3), 6.0, rtol=1e-12, atol=0)
    assert_allclose(cells.image_angstrom(hexagonal, axes=(2,)), 20.0, rtol=1e-12, atol=0)


def test_settings_of_vacancies():
    settings = StructuresSettings(vacancies=("Li",))
    assert (settings.ions, settings.moving, settings.bulk_repeat) == ((), ("Li",), (1, 1, 1))
    assert StructuresSettings(vacancies=("Li",), ions=("Mg",)).moving == ("Mg", "Li")
    assert not {"vacancies", "vacancy_apart_angstrom"} & StructuresSettings().model_dump(mode="json").keys()
    with pytest.raises(ValueError, match=r"got \['Li'\] and vacancies \['Li'\]"):
        StructuresSettings(vacancies=("Li",), ions=("Li",))
    with pytest.raises(ValueError, match="give distinct chemical symbols such as Li, got"):
        StructuresSettings(vacancies=("X9",))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"structures": {"vacancies": ["Li"]}},
            r"structures\.vacancies: \['Li'\] not in the crystal, which holds O, Ti",
        ),
        (
            {
                "structures": {"vacancies": ["O"]},
                "md": {"systems": [{"host": "bulk", "ions": ["O"]}]},
            },
            r"md\.systems: \['O'\] on bulk are ions of the crystal \(structures\.vacancies\), which have no dynamics",
        ),
    ],
)
def test_what_vacancies_cannot_do_is_told(changes, message, tmp_path):
    settings = {"dataset": {"path": None}, "train": {"calculator": OXIDE}, "md": {"systems": []}, **changes}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        driver.run_stages(driver.init(tmp_path / "c.yaml", tmp_path / "run").folder, ["structures"])
