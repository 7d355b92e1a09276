"""A potential that is used as it is: nothing is trained, and what was held out is not invented."""

import shutil

import pytest
import yaml
from helpers import tiny

from mlip import config, driver
from mlip.atoms import extxyz
from mlip.core import files
from mlip.learn import rounds
from mlip.potential import models, potential
from mlip.stages.evaluate import report
from mlip.stages.evaluate.stage import STAGE as EVALUATE
from mlip.stages.train import given
from mlip.stages.train.report import given_section
from mlip.stages.train.settings import TrainSettings
from mlip.stages.train.stage import STAGE as TRAIN


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.write_dataset(tmp_path_factory.mktemp("given") / "data")


def started(folder, data, **train):
    """A run folder with the stages before training done."""
    settings = tiny.run_settings(dataset={"path": str(data)}) | {"train": train}
    folder.mkdir()
    (folder / "c.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    run = driver.init(folder / "c.yaml", folder / "run")
    driver.run_stages(run.folder, ["structures", "dataset"])
    return run.folder


def with_card(committee, folder, **card):
    """The committee with another card."""
    found = models.load(committee)
    weights = [m.state_dict() for m in found.members]
    models.save(folder, shape=found.shape, weights=weights, card={**found.card, **card})
    return folder


def test_a_model_is_taken_as_it_is_and_may_have_seen_the_frames(committee, data, tmp_path):
    run = started(tmp_path / "a", data, model=str(committee))
    driver.run_stages(run, ["train", "evaluate"])
    done = files.read_result(run / "train" / "result.json", TRAIN.result)
    assert done.members == ()
    assert done.given == given.Given(source=str(committee), members=2, elements=("Li", "O", "Mg", "Ti"))
    assert done.size == 2
    frame = extxyz.read_frames(run / "dataset" / "test.extxyz")[:1]
    own, taken = (potential.Evaluator(models.load(p))(frame)[0] for p in (committee, run / "train" / "model"))
    assert own.energy_ev == taken.energy_ev
    found = files.read_result(run / "evaluate" / "result.json", EVALUATE.result)
    assert found.exposure.code == given.UNKNOWN
    assert [(e.model, e.calibration, e.paths) for e in found.models] == [("committee", None, ())]
    section = report.accuracy_section(found)
    assert "may have been trained on these frames" in section.text[0]
    assert not any("held-out" in t.caption or "Held-out" in t.columns[0] for t in section.tables)
    assert not any("held-out" in f.caption for f in section.figures)


def test_groups_that_the_card_holds_out_are_held_out():
    card = {"labels": {"settings_hash": "abc"}, "held_out_groups": ["a", "b"]}
    assert given.exposure(card, settings_hash="abc", groups=["a"]).code == given.HELD_OUT
    seen = given.exposure(card, settings_hash="abc", groups=["a", "c"])
    assert (seen.code, seen.reason) == (given.TRAINED_ON, "1 of the groups, such as c")
    assert given.exposure(card, settings_hash="other", groups=["a"]).code == given.UNKNOWN
    assert given.exposure({}, settings_hash="abc", groups=["a"]).code == given.UNKNOWN


def test_the_released_model_has_seen_every_frame_of_its_dataset():
    card = models.load(tiny.REPOSITORY / "datasets" / "models" / "tio2-mg-li").card
    level = card["labels"]["settings_hash"]
    assert given.exposure(card, settings_hash=level, groups=tiny.HELD_OUT).code == given.TRAINED_ON


def test_the_card_tells_where_the_model_is_from_and_what_is_assumed(committee, tmp_path):
    path = tmp_path / "mine.model"
    models.export_mace(models.load(committee), path)
    found = models.load(path, trust_pickle=True)
    made = given.convert(found, "mine.model", tmp_path / "out", target="pbe", symbols=["Li", "O"])
    card = models.load(tmp_path / "out").card
    assert made.members == 1
    assert (card["source"], card["target"]) == ("mine.model", "pbe")
    assert card["level"] == "not known; taken as pbe (common.target)"


def test_the_report_says_that_nothing_was_trained():
    text = given_section(given.Given(source="mine", members=1, elements=("Li",))).text
    assert text[0].startswith("The potential was not trained in this run: mine is used as it is")
    assert "no committee spread" in text[1]
    assert len(given_section(given.Given(source="mine", members=4, elements=("Li",))).text) == 1


def test_bad_models_are_refused_in_one_line(committee, tmp_path):
    found = models.load(committee)
    with pytest.raises(ValueError, match="knows Li, O, Mg, Ti and not Na, which the run needs"):
        given.convert(found, "m", tmp_path / "m", target="pbe", symbols=["Na", "O"])
    with pytest.raises(ValueError, match=r"m is at pbe and the run at pbe-d3; set common\.target: pbe"):
        given.convert(found, "m", tmp_path / "m", target="pbe-d3", symbols=["O"])
    assert not (tmp_path / "m").exists()


def test_a_pickle_needs_trust(committee, data, tmp_path):
    path = tmp_path / "mine.model"
    models.export_mace(models.load(committee), path)
    run = started(tmp_path / "a", data, model=str(path))
    with pytest.raises(ValueError, match="trust_pickle"):
        driver.run_stages(run, ["train"])


def test_settings_of_a_training_beside_a_model_are_refused():
    with pytest.raises(ValueError, match="m is used as it is, so base, epochs would have no effect"):
        TrainSettings(model="m", base=None, epochs=3)
    assert TrainSettings(model="m", trust_pickle=True).model == "m"


def test_trainings_from_before_this_setting_stay_valid():
    assert "model" not in TrainSettings().model_dump(mode="json")
    assert TrainSettings(model="m").model_dump(mode="json")["model"] == "m"


def test_another_model_is_another_committee(committee, data, tmp_path):
    mine = with_card(committee, tmp_path / "mine")
    run = started(tmp_path / "a", data, model=str(mine))
    driver.run_stages(run, ["train"])
    opened = driver.opened(run)
    assert opened.is_done(opened.stage("train"))
    shutil.rmtree(mine)
    with_card(committee, mine, name="changed")
    again = driver.opened(run)
    assert not again.is_done(again.stage("train"))


def test_rounds_of_training_need_a_training(tmp_path):
    (tmp_path / "c.yaml").write_text("train: {model: m}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"learn: every round trains, and train\.model: m is used as it is"):
        rounds.require(config.load(tmp_path / "c.yaml"), tmp_path / "out")
