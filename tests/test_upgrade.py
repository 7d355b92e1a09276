"""A run folder of version 0.1 is taken over where nothing would be calculated otherwise; reports are compared by key."""

import importlib.util
import json
import shutil
from dataclasses import replace

import pytest
import tiny

from mlip import cli, driver
from mlip.core import files

KEPT = ("structures", "dataset", "train", "evaluate", "sites", "neb")


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
    assert upgraded(old, capsys) == dict.fromkeys(KEPT, "kept")
    run = driver.opened(old)
    assert [s.name for s in run.stages if run.is_done(s)] == list(KEPT)
    for name in KEPT:
        result = json.loads((old / name / "result.json").read_text())["result"]
        assert result == json.loads(before[name])["result"]
    assert upgraded(old, capsys) == dict.fromkeys(KEPT, "up to date")


def test_what_differs_is_named_and_left_as_it_was(finished, old, tmp_path, capsys):
    text = (old / "config.yaml").read_text().replace("max_steps: 4", "max_steps: 5")
    assert text != (old / "config.yaml").read_text()
    (old / "config.yaml").write_text(text)
    found = upgraded(old, capsys)
    assert found == dict.fromkeys(KEPT[:-1], "kept") | {"neb": "to be made anew: setting neb.max_steps differs"}
    assert files.read_provenance(old / "neb" / "result.json").fingerprint == "old-neb"


def test_stages_after_one_that_is_made_anew_are_too(old, capsys):
    (old / "structures" / "result.json").unlink()
    found = upgraded(old, capsys)
    assert "structures" not in found
    assert found["sites"] == "to be made anew: structures is made anew"
    assert found["train"] == "kept"


def compare():
    spec = importlib.util.spec_from_file_location("compare", tiny.REPOSITORY / "scripts" / "compare_reports.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.differences


def test_reports_are_compared_key_by_key():
    one = {"rows": [{"mlip_ev": 0.5, "status": "old words", "hop": "oct"}], "gone": 1}
    assert compare()(one, one) == []
    other = {"rows": [{"mlip_ev": 0.5 + 1e-12, "status": "new words", "hop": "oct", "added": 2}], "gone": 1}
    assert compare()(one, other) == []
    worse = {"rows": [{"mlip_ev": 0.51, "status": "", "hop": "par"}]}
    assert sorted(path for path, _, _ in compare()(one, worse)) == [".gone", ".rows[0].hop", ".rows[0].mlip_ev"]
    assert compare()({"rows": [1.0]}, {"rows": []}) == [(".rows", "1 entries", "0 entries")]
