"""Any ASE calculator in the place of the potential: the same numbers, through sites and bands, without a spread."""

import numpy as np
import pytest
import yaml
from ase.build import bulk
from ase.calculators.emt import EMT
from helpers import tiny
from helpers.lattice_potential import OxidePotential
from numpy.testing import assert_allclose

from mlip import config, driver
from mlip.atoms import extxyz
from mlip.core import files
from mlip.core.status import NOT_RESOLVED
from mlip.learn import rounds
from mlip.potential import calculators, equivalence, models, potential, use
from mlip.potential.backends.ase_calculator import Named
from mlip.potential.batch import Batch
from mlip.stages.dataset import dataset
from mlip.stages.dataset.stage import STAGE as DATASET
from mlip.stages.evaluate.stage import STAGE as EVALUATE
from mlip.stages.neb import band as bands
from mlip.stages.neb import neb
from mlip.stages.neb.stage import STAGE as NEB
from mlip.stages.report.stage import STAGE as REPORT
from mlip.stages.sites import sites
from mlip.stages.sites.stage import STAGE as SITES
from mlip.stages.train.settings import TrainSettings
from mlip.stages.train.stage import STAGE as TRAIN

OXIDE = "helpers.lattice_potential:OxidePotential"
METAL = "ase.calculators.emt:EMT"


def evaluator(folder, name=METAL, **arguments):
    calculators.save(folder, Named(name, arguments), {"target": "pbe"})
    return potential.Evaluator(models.of_run(folder))


def metals(count=3):
    made = []
    for k in range(count):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.1, seed=k)
        atoms.symbols[0] = ["Cu", "Au", "Pt"][k % 3]
        made.append(atoms)
    return made


def test_energies_forces_and_stress_are_those_of_the_calculator(tmp_path):
    found = evaluator(tmp_path)(metals(), stress=True)
    for atoms, one in zip(metals(), found, strict=True):
        atoms.calc = EMT()
        assert_allclose(one.energy_ev, atoms.get_potential_energy(), rtol=1e-12, atol=0)
        assert_allclose(one.mean_forces, atoms.get_forces(), rtol=0, atol=1e-12)
        assert_allclose(one.stresses[0], atoms.get_stress(voigt=False), rtol=0, atol=1e-12)
        assert (one.energy_std_ev, one.forces_std) == (None, None)


def test_a_batch_of_moving_structures_gives_the_same(tmp_path):
    frames = metals()
    batch = Batch(evaluator(tmp_path), frames, members=[0, 0, 0])
    batch([a.positions for a in frames])
    moved = [a.positions + 0.05 * np.sin(a.positions) for a in frames]
    for atoms, places, one in zip(frames, moved, batch(moved), strict=True):
        atoms.positions, atoms.calc = places, EMT()
        assert_allclose(one.energies_ev, [atoms.get_potential_energy()], rtol=1e-12, atol=0)
        assert_allclose(one.forces[0], atoms.get_forces(), rtol=0, atol=1e-12)


def test_arguments_reach_the_calculator(tmp_path):
    plain, cut = (evaluator(tmp_path / str(k), asap_cutoff=k) for k in (False, True))
    assert plain(metals(1))[0].energy_ev != cut(metals(1))[0].energy_ev


def test_a_folder_with_a_calculator_needs_trust(tmp_path):
    calculators.save(tmp_path, Named(METAL, {}), {"target": "pbe"})
    with pytest.raises(ValueError, match="names an ASE calculator, and making one runs its code; if you trust"):
        models.load(tmp_path)
    assert models.load(tmp_path, trust_pickle=True).calculator == Named(METAL, {})


REFUSED = {
    "no.such.package:Class": r"cannot be imported \(ModuleNotFoundError",
    "ase.calculators.emt:NoClass": r"cannot be imported \(AttributeError",
    "pathlib:Path": "gives a PosixPath, no ASE calculator",
    "ase.calculators.calculator:Calculator": "gives no energy and no forces",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_calculator_is_told(name):
    with pytest.raises(ValueError, match=REFUSED[name]):
        Named(name, {}).made()


def test_bad_arguments_and_failures_are_told_in_a_line(tmp_path):
    with pytest.raises(ValueError, match=r"calculator helpers.lattice_potential:CHARGE .*TypeError"):
        Named("helpers.lattice_potential:CHARGE", {}).made()
    with pytest.raises(ValueError, match=r"ase.calculators.emt:EMT fails on Ti2 \(NotImplementedError: No EMT-pot"):
        evaluator(tmp_path)([bulk("Ti")])


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"calculator": {"name": METAL}}, r"EMT would run its own code; if you trust the calculator set trusted: true"),
        ({"calculator": {"name": "EMT", "trusted": True}}, "should match pattern"),
        ({"calculator": {"name": METAL, "trusted": True}, "model": "m"}, "model and calculator are both given"),
        (
            {"calculator": {"name": METAL, "trusted": True}, "epochs": 3},
            "EMT is used as it is, so epochs would have no",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(train, message):
    with pytest.raises(ValueError, match=message):
        TrainSettings.model_validate(train)


def test_trainings_from_before_this_setting_stay_valid():
    assert "calculator" not in TrainSettings().model_dump(mode="json")


# --- a run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Sites, bands and report of Li in anatase by an analytic potential, without any labels."""
    folder = tmp_path_factory.mktemp("calculator")
    settings = tiny.run_settings()
    settings |= {
        "dataset": {"path": None},
        "structures": {"bulk_repeat": [2, 2, 1], "facets": [], "ions": ["Li"]},
        "train": {"calculator": {"name": OXIDE, "trusted": True}},
        "sites": {"max_candidates": 1, "fmax_ev_per_angstrom": 0.1, "max_hop_angstrom": 3.3},
        "neb": {"images": 3, "fmax_ev_per_angstrom": 0.15, "end_fmax_ev_per_angstrom": 0.1},
    }
    (folder / "c.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    made = driver.init(folder / "c.yaml", folder / "run")
    driver.run_stages(made.folder, ["structures", "dataset", "train", "evaluate", "sites", "neb", "report"])
    return made.folder


def result(run, stage):
    return files.read_result(run / stage.name / "result.json", stage.result)


def test_a_run_finds_sites_and_barriers_by_the_calculator(run):
    trained, found, bands_found = (result(run, stage) for stage in (TRAIN, SITES, NEB))
    assert (trained.size, trained.given.source) == (1, OXIDE)
    assert [(c.backend.name, c.accepted) for c in found.equivalence] == [("ase", True)]
    assert any(site.status.code == sites.RELAXED for site in found.sites)
    done = [b for b in bands_found.barriers if b.status.code == neb.CONVERGED]
    assert done, [str(b.status) for b in bands_found.barriers]
    for barrier in done:
        assert barrier.members == 1
        assert barrier.forward_std_ev is None
        assert barrier.forward_ev > 0


def test_the_energies_of_a_run_are_those_of_the_calculator(run):
    frame = next((run / "sites" / "configurations").glob("*.extxyz"))
    atoms = extxyz.read_frames(frame)[0]
    chosen = use.ModelUse(run / "train" / "model", equivalence.of_calculator()[0])
    own = use.calculator(chosen, None)
    atoms.calc = OxidePotential()
    copy = atoms.copy()
    copy.calc = own
    assert_allclose(copy.get_potential_energy(), atoms.get_potential_energy(), rtol=1e-10, atol=0)
    assert bands.largest(copy.get_forces()) < 0.11


def test_without_labels_errors_are_not_known_and_no_verdict_is_given(run):
    data, errors, made = (result(run, stage) for stage in (DATASET, EVALUATE, REPORT))
    assert (data.status.code, data.parts) == (dataset.NO_LABELS, {})
    assert (errors.exposure.code, errors.models, errors.held_out_groups) == (dataset.NO_LABELS, (), ())
    assert {row.two_sigma_ev for row in made.headline} == {None}
    assert {row.verdict for row in made.headline} == {NOT_RESOLVED}
    text = (run / "report" / "report.md").read_text(encoding="utf-8")
    assert "has no labels (dataset.path is null), so the errors of the potential are not known" in text


def test_what_needs_labels_is_refused_without_them(tmp_path):
    (tmp_path / "c.yaml").write_text("dataset: {path: null}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"dataset\.path: null leaves nothing to train on; name a folder with labels"):
        driver.init(tmp_path / "c.yaml", tmp_path / "run")
    with pytest.raises(ValueError, match=r"learn: dataset\.path is null, and every round trains on labels"):
        rounds.learn(tmp_path / "c.yaml", tmp_path / "rounds")


def test_rounds_of_training_need_a_training(tmp_path):
    text = yaml.safe_dump({"train": {"calculator": {"name": METAL, "trusted": True}}})
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"learn: every round trains, and train\.calculator: ase\.calc"):
        rounds.require(config.load(tmp_path / "c.yaml"), tmp_path / "out")
