"""A run folder of version 0.1 is taken over where nothing would be calculated otherwise; reports are compared by key."""

import importlib.util
import json
import shutil
from dataclasses import replace

import pytest
import yaml
from helpers import tiny

from mlip import cli, driver
from mlip.core import files
from mlip.core.status import Status
from mlip.stages.convergence.convergence import Variant
from mlip.stages.diffusion.diffusion import Jumps
from mlip.stages.diffusion.kinetics import HopLine
from mlip.stages.energetics.energetics import Adsorption
from mlip.stages.evaluate.evaluate import Evaluation
from mlip.stages.md.md import Outcome
from mlip.stages.neb.settings import NebSettings
from mlip.stages.neb.stage import STAGE as NEB
from mlip.stages.refine.stage import STAGE
from mlip.stages.sites.stage import SiteNetwork
from mlip.tools import old_format

KEPT = ("structures", "dataset", "train", "evaluate", "sites", "neb")
LATER = {"modes": "up to date", "rates": "up to date"}  # stages that 0.1 did not have


@pytest.fixture
def old(finished, tmp_path):
    """The finished run as version 0.1 left it: other fingerprints, inputs named by folder and file."""
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    run = driver.opened(folder)
    for name in (*KEPT, "report"):
        path, stage = folder / name / "result.json", run.stage(name)
        made = files.read_provenance(path)
        inputs = {key.removeprefix("file:").rpartition("/")[2]: digest for key, digest in made.inputs.items()}
        earlier = replace(made, fingerprint=f"old-{name}", inputs=inputs)
        files.write_result(path, files.read_result(path, stage.result), earlier)
        (folder / name / "fingerprint").write_text(f"old-{name}\n")
    return folder


def upgraded(folder, capsys):
    assert cli.main(["upgrade", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    return {line.split()[0]: line.split(maxsplit=1)[1] for line in lines}


def test_everything_that_took_hours_is_kept(finished, old, capsys):
    before = {name: (old / name / "result.json").read_text() for name in KEPT}
    assert upgraded(old, capsys) == dict.fromkeys(KEPT, "kept") | LATER
    run = driver.opened(old)
    assert [s.name for s in run.stages if run.is_done(s)] == [*KEPT, *LATER]
    for name in KEPT:
        result = json.loads((old / name / "result.json").read_text())["result"]
        assert result == json.loads(before[name])["result"]
    assert upgraded(old, capsys) == dict.fromkeys(KEPT, "up to date") | LATER


def test_what_differs_is_named_and_left_as_it_was(finished, old, tmp_path, capsys):
    text = (old / "config.yaml").read_text().replace("max_steps: 4", "max_steps: 5")
    assert text != (old / "config.yaml").read_text()
    (old / "config.yaml").write_text(text)
    found = upgraded(old, capsys)
    assert found == dict.fromkeys(KEPT[:-1], "kept") | {
        "neb": "to be made anew: setting neb.max_steps differs",
        **dict.fromkeys(LATER, "to be made anew: neb is made anew"),
    }
    assert files.read_provenance(old / "neb" / "result.json").fingerprint == "old-neb"


def test_a_setting_that_was_not_known_then_counts_where_it_is_not_the_default(old, capsys):
    path = old / "neb" / "result.json"
    made = files.read_provenance(path)
    known = made.settings["neb"]
    default = next(key for key, value in known.items() if value == getattr(NebSettings(), key))
    other = next(key for key, value in known.items() if key == "max_steps" and value != getattr(NebSettings(), key))
    for key, becomes in ((default, "kept"), (other, f"to be made anew: setting neb.{other} differs")):
        less = {**made.settings, "neb": {k: v for k, v in known.items() if k != key}}
        files.write_result(path, files.read_result(path, NEB.result), replace(made, settings=less, fingerprint="old"))
        assert upgraded(old, capsys)["neb"] == becomes


def test_a_stage_that_gives_other_numbers_since_is_made_anew(old, capsys, monkeypatch):
    monkeypatch.setitem(vars(NEB), "version", 2)
    assert upgraded(old, capsys)["neb"] == "to be made anew: the same settings give other numbers since"


def test_stages_after_one_that_is_made_anew_are_too(old, capsys):
    (old / "structures" / "result.json").unlink()
    found = upgraded(old, capsys)
    assert "structures" not in found
    assert found["sites"] == "to be made anew: structures is made anew"
    assert found["train"] == "kept"


def as_text(value):
    """The value as version 0.1 stored it: each status one text."""
    if isinstance(value, dict):
        if value.keys() == {"code", "reason"}:
            return value["reason"] if value["code"] == "not converged" else str(Status(**value))
        return {key: as_text(one) for key, one in value.items()}
    return [as_text(one) for one in value] if isinstance(value, list) else value


def with_statuses(folder):
    """Every file of the run that holds a status."""
    found = [folder / name / "result.json" for name in ("train", "sites", "neb")]
    return found + sorted((folder / "neb" / "bands").glob("*.json")) + sorted((folder / "sites").glob("*_*.json"))


def test_statuses_that_are_texts_become_code_and_reason_and_the_stages_stay_done(finished, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    before = {path: json.loads(path.read_text()) for path in with_statuses(folder)}
    for path, body in before.items():
        path.write_text(json.dumps(as_text(body)))
        assert as_text(body) != body
    with pytest.raises(ValueError, match=r"status.*mlip upgrade"):
        driver.opened(folder).context(STAGE).result(NEB)
    assert upgraded(folder, capsys) == dict.fromkeys(KEPT, "up to date") | LATER
    assert {path: json.loads(path.read_text()) for path in with_statuses(folder)} == before
    assert len(before) > 5


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        (Adsorption, {"status": "no label of the atom"}, [("incomplete", "no label of the atom")]),
        (Jumps, {"status": "no hop: upper limit"}, [("no hop", "upper limit")]),
        (Variant, {"status": "hop is no label to train on: net force"}, [("refused", "hop is no label to train on: net force")]),
        (Outcome, {"status": "a force of 31 eV/Angstrom (md.max)"}, [("exploded", "a force of 31 eV/Angstrom (md.max)")]),
        (Outcome, {"status": "desorbed: an ion is 5 Angstrom away"}, [("desorbed", "an ion is 5 Angstrom away")]),
        (HopLine, {"verdict": "agrees", "line": {"status": "curved: chance 0.01"}}, ["agrees", {"status": {"code": "curved", "reason": "chance 0.01"}}]),
    ],
)  # fmt: skip
def test_every_kind_of_old_text_is_known(kind, old, new):
    expected = [dict(zip(("code", "reason"), one, strict=True)) if isinstance(one, tuple) else one for one in new]
    assert list(old_format.converted(old, kind).values()) == expected


def test_keys_get_their_present_names():
    old = {"equivalence": [{"way": {"backend": "mace-torch", "device": "cpu"}, "accepted": True}]}
    new = {"equivalence": [{"backend": {"name": "mace-torch", "device": "cpu"}, "accepted": True}]}
    assert old_format.converted(old, SiteNetwork) == new
    assert old_format.converted(new, SiteNetwork) == new
    errors = old_format.converted({"arms": [{"arm": "committee", "frames": 2}]}, Evaluation)
    assert errors == {"models": [{"model": "committee", "frames": 2}]}


def test_settings_get_their_present_names_and_the_stages_stay_done(finished, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["common"].pop("symmetrix") is False
    config["common"]["native"] = False
    config["neb"]["finish_plain"] = False
    text = "# native: a note of the user\n" + yaml.safe_dump(config, sort_keys=False)
    (folder / "config.yaml").write_text(text)
    assert all(driver.opened(folder).is_done(stage) for stage in driver.opened(folder).stages if stage.name in KEPT)
    assert upgraded(folder, capsys) == dict.fromkeys(KEPT, "up to date") | LATER
    now = (folder / "config.yaml").read_text()
    assert now == text.replace("  native:", "  symmetrix:").replace("finish_plain", "finish_mace_torch")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("common: {seed: 3, native: false}\n", "common: {seed: 3, symmetrix: false}\n"),
        ("common:\n  # why\n  native : false\n\n  seed: 1\n", "common:\n  # why\n  symmetrix : false\n\n  seed: 1\n"),
        ("sites:\n  native: 1\ncommon:\n  seed: 1\n", "sites:\n  native: 1\ncommon:\n  seed: 1\n"),
        ("common:\n  alternative: 1\n", "common:\n  alternative: 1\n"),
    ],
)
def test_only_the_key_of_the_section_is_renamed(before, after):
    assert old_format._renamed(before, "common", "native", "symmetrix") == after


def compare():
    spec = importlib.util.spec_from_file_location("compare", tiny.REPOSITORY / "scripts" / "compare_reports.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.differences


def test_reports_are_compared_key_by_key():
    one = {"rows": [{"mlip_ev": 0.5, "note": "old words", "hop": "oct"}], "gone": 1}
    assert compare()(one, one) == []
    other = {"rows": [{"mlip_ev": 0.5 + 1e-12, "note": "new words", "hop": "oct", "added": 2}], "gone": 1}
    assert compare()(one, other) == []
    worse = {"rows": [{"mlip_ev": 0.51, "note": "", "hop": "par"}]}
    assert sorted(path for path, _, _ in compare()(one, worse)) == [".gone", ".rows[0].hop", ".rows[0].mlip_ev"]
    assert compare()({"rows": [1.0]}, {"rows": []}) == [(".rows", "1 entries", "0 entries")]


def test_a_status_in_a_report_is_the_same_as_one_text_and_as_code_and_reason():
    new = {"status": {"code": "not resolved", "reason": "no barrier for x"}}
    assert compare()({"status": "not resolved: no barrier for x"}, new) == []
    assert compare()({"status": "no barrier for x"}, new) == []
    assert compare()(new, new) == []
    assert [path for path, _, _ in compare()({"status": "resolved"}, new)] == [".status"]
