import os
import shutil
import subprocess
import sys

import pytest
from helpers import tiny
from helpers.wandb_server import serving

from mlip import cli
from mlip.core import tracking
from mlip.core.tracking import Task, Tracker, Tracking
from mlip.tools import wandb_sync


@pytest.fixture(autouse=True)
def _at_home(tmp_path, monkeypatch):
    for key in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(key)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text("common: {seed: 1}\n")
    return folder


def tracked(run, until, name="member-1"):
    task = Task(run=run, stage="train", fingerprint="f", name=name)
    with Tracker(Tracking(), task, config={}) as tracker:
        for step in range(until):
            tracker.log({"valid_loss": 1.0 / (step + 1)}, step=step)
    return task.run_id


TRACKED = """
import sys
from pathlib import Path
import test_wandb_sync
print(test_wandb_sync.tracked(Path(sys.argv[1]), int(sys.argv[2])))
"""


def tracked_by_another(run, until):
    """The same in a process of its own, as a run is continued; the id of the W&B run."""
    paths = os.pathsep.join([str(tiny.REPOSITORY / "tests"), str(tiny.REPOSITORY)])
    command = [sys.executable, "-W", "ignore", "-c", TRACKED, str(run), str(until)]
    return subprocess.check_output(command, env={**os.environ, "PYTHONPATH": paths}, text=True).split()[-1]


def records(run):
    return sorted((run / "wandb").glob("offline-run-*"))


def test_a_run_that_was_continued_is_one_history_on_the_server(run, monkeypatch):
    run_id = tracked_by_another(run, 2)
    assert tracked_by_another(run, 3) == run_id
    shutil.copytree(records(run)[0], run / "wandb" / "offline-run-20200101_000000-cut")
    (run / "wandb" / "offline-run-20200101_000000-cut" / tracking.CLOSED).unlink()
    with serving() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        lines = list(wandb_sync.upload(run))
        assert lines[0].startswith("1 left out: not closed")
        assert [line.split(":")[0] for line in lines[1:]] == ["1 of 2 uploaded", "2 of 2 uploaded"]
        assert list(server.history) == [run_id]
        assert [line["_step"] for line in server.history[run_id]] == [0, 1, 2]
        assert [line["valid_loss"] for line in server.history[run_id]] == [1.0, 0.5, 1 / 3]
        assert server.groups == {run_id: tracking.group_of(run)}
        tracked_by_another(run, 5)  # more steps after the upload
        assert list(wandb_sync.upload(run))[1:] == [f"1 of 1 uploaded: {records(run)[-1].name}"]
        assert [line["_step"] for line in server.history[run_id]] == [0, 1, 2, 3, 4]
    assert list(wandb_sync.upload(run))[1] == f"{run}: no offline records to upload (3 uploaded before)"


def test_nothing_was_recorded(run, capsys):
    assert cli.main(["wandb-sync", str(run)]) == 0
    assert capsys.readouterr().out == f"{run}: no offline records to upload (0 uploaded before)\n"


def test_without_a_key_the_command_says_what_to_do(run, capsys):
    tracked(run, 1)
    assert cli.main(["wandb-sync", str(run)]) == 1
    said = capsys.readouterr().err
    assert "wandb sync failed (" in said
    assert "log in with: wandb login; run the same command again to go on with this record" in said
    assert "Traceback" not in said


def test_bad_folders_and_no_wandb(run, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"not a run folder \(no config\.yaml\)"):
        list(wandb_sync.upload(tmp_path))
    tracked(run, 1)
    monkeypatch.setattr(tracking, "PACKAGE", "wandb-of-nobody")
    with pytest.raises(ValueError, match=r"is not installed; pip install 'facet-mlip\[wandb\]'"):
        list(wandb_sync.upload(run))
