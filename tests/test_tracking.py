import signal
import subprocess
import sys

import pytest
from helpers import tiny
from helpers.tracked_runs import steps, stored

from mlip.core import tracking
from mlip.core.tracking import Artifact, Task, Tracker, Tracking

WANDB = ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR", "WANDB_RUN_ID", "WANDB_PROJECT", "WANDB_BASE_URL")


def task(folder, name="member-1", fingerprint="f"):
    return Task(run=folder, stage="train", fingerprint=fingerprint, name=name)


def tracked(folder, until, *, mode="offline", name="member-1"):
    """Log the whole history from step 0 on, as a stage does that reads its files anew."""
    with Tracker(Tracking(mode=mode), task(folder, name), config={"epochs": 4}) as tracker:
        for step in range(until):
            tracker.log({"valid_loss": 1.0 / (step + 1)}, step=step)


@pytest.fixture(autouse=True)
def _nobody_home(tmp_path, monkeypatch):
    for key in WANDB:
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_SILENT", "true")


def test_a_run_that_is_continued_has_one_id_and_one_history(tmp_path):
    tracked(tmp_path, 2)
    tracked(tmp_path, 4)
    first, second = runs = stored(tmp_path)
    assert first.id == second.id == task(tmp_path).run_id
    assert first.group == second.group == tracking.group_of(tmp_path)
    assert {(run.job_type, run.name) for run in runs} == {("train", f"{tmp_path.name}/train/member-1")}
    assert steps([first]) == [0, 1]
    assert steps([second]) == [2, 3]
    assert [line["valid_loss"] for run in runs for line in run.history] == [1.0, 0.5, 1 / 3, 0.25]
    assert first.config["epochs"] == 4


def own_service():
    """The environment of a process whose runs this process does not keep open when it is killed."""
    return {name: value for name, value in tiny.environment().items() if name != "WANDB_SERVICE"}


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_tracking
tracker = test_tracking.Tracker(
    test_tracking.Tracking(), test_tracking.task(Path(sys.argv[1])), config={{}}
)
for step in range(int(sys.argv[2])):
    tracker.log({{"valid_loss": 1.0 / (step + 1)}}, step=step)
print(tracker.next_step, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_that_was_killed_loses_no_step_and_repeats_none(tmp_path):
    tracked(tmp_path, 1)
    script = [sys.executable, "-W", "ignore", "-c", KILLED.format(tests=str(tiny.REPOSITORY / "tests"))]
    done = subprocess.run([*script, str(tmp_path), "3"], env=own_service(), capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert done.stdout.strip() == "3"  # it had logged three steps
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 2
    tracked(tmp_path, 4)
    runs = stored(tmp_path)
    assert len(runs) == 2  # the record that was cut is gone
    assert len({run.id for run in runs}) == 1
    assert steps(runs) == [0, 1, 2, 3]


def test_nothing_is_begun_where_every_step_is_recorded(tmp_path):
    tracked(tmp_path, 2)
    tracked(tmp_path, 2)
    assert len(stored(tmp_path)) == 1


def test_sixteen_tasks_are_sixteen_runs_of_one_group(tmp_path):
    trackers = [Tracker(Tracking(), task(tmp_path, f"member-{k}"), config={}) for k in range(16)]
    for step in range(2):  # side by side
        for number, tracker in enumerate(trackers):
            tracker.log({"valid_loss": float(number)}, step=step)
    for tracker in trackers:
        tracker.__exit__(None, None, None)
    runs = stored(tmp_path)
    assert len({run.id for run in runs}) == len(runs) == 16
    assert {run.group for run in runs} == {tracking.group_of(tmp_path)}
    assert all(steps([run]) == [0, 1] for run in runs)
    assert {run.name.rpartition("-")[2]: run.history[-1]["valid_loss"] for run in runs} == {
        str(k): k for k in range(16)
    }


def test_the_group_stays_with_the_folder_and_tells_folders_apart(tmp_path):
    (tmp_path / "quick run").mkdir()
    group, run_id = tracking.group_of(tmp_path / "quick run"), task(tmp_path / "quick run").run_id
    assert group.startswith("quick-run-")
    (tmp_path / "quick run").rename(tmp_path / "moved")
    assert tracking.group_of(tmp_path / "moved") == group
    assert task(tmp_path / "moved").run_id == run_id
    assert task(tmp_path / "other").run_id != run_id
    assert task(tmp_path / "moved", "member-2").run_id != run_id
    assert task(tmp_path / "moved", fingerprint="g").run_id != run_id


def test_artifacts_hold_small_files_and_the_checksums_of_large_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "LARGEST_FILE_BYTES", 10)
    folder = tmp_path / "run" / "train"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "card.yaml").write_text("a: 1")
    (folder / "model" / "weights").write_text("larger than ten bytes")
    paths = (folder / "model" / "card.yaml", folder / "model" / "weights")
    model = Artifact(run=tmp_path / "run", kind="model", folder=folder, paths=paths, metadata={"commit": "abc"})
    with Tracker(Tracking(), task(tmp_path / "run"), config={}) as tracker:
        tracker.make(model)
    with Tracker(Tracking(), task(tmp_path / "run", "next"), config={}) as tracker:
        tracker.use(model)
    made, used = stored(tmp_path / "run")
    name = f"{tracking.group_of(tmp_path / 'run')}-model"
    assert (list(made.made), list(made.used), list(used.made), list(used.used)) == ([name], [], [], [name])
    assert made.made[name].digest == used.used[name].digest  # one version
    assert made.made[name].type == "model"
    assert "abc" in made.made[name].metadata
    small, large = sorted(made.made[name].manifest.contents, key=lambda entry: entry.path)
    assert (small.path, large.path) == ("model/card.yaml", "model/weights")
    assert str(tmp_path / "run" / "wandb" / "staging") in small.local_path
    assert large.ref == paths[1].as_uri()
    assert not large.local_path
    assert large.digest


def test_run_is_closed_after_an_error(tmp_path):
    def fail():
        with Tracker(Tracking(), task(tmp_path), config={}) as tracker:
            tracker.log({"loss": 2.0}, step=0)
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail()
    (run,) = stored(tmp_path)
    assert run.exit_code == 1
    assert steps([run]) == [0]


def test_disabled_tracking_writes_nothing_and_needs_no_wandb(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr(tracking, "PACKAGE", "wandb-of-nobody")
    tracked(tmp_path / "run", 1, mode="disabled")
    assert not (tmp_path / "run").exists()


def test_without_wandb_one_line_is_printed_once_and_nothing_is_recorded(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr(tracking, "PACKAGE", "wandb-of-nobody")
    tracking._say_once.cache_clear()
    tracked(tmp_path / "run", 2)
    tracked(tmp_path / "run", 2)
    assert not (tmp_path / "run").exists()
    said = capsys.readouterr().err.strip()
    assert said == (
        "Weights & Biases is not installed, nothing is recorded; pip install 'facet-mlip[wandb]', or tracking.mode: "
        "disabled"
    )


def test_online_without_wandb_is_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "PACKAGE", "wandb-of-nobody")
    with pytest.raises(ValueError, match=r"tracking\.mode: online, and .* is not installed; pip install 'facet-mlip"):
        tracked(tmp_path, 1, mode="online")


def test_online_without_a_key_is_one_clear_line_before_the_first_step(tmp_path):
    with pytest.raises(ValueError, match=r"tracking\.mode: online .*use offline"):
        tracked(tmp_path, 0, mode="online")
