import sys

import pytest
from helpers.tracked_runs import stored, whole

from mlip.core.tracking import Tracker, Tracking


def tracked(folder, steps, *, mode="offline", run_id="0123456789abcdef"):
    with Tracker(Tracking(mode=mode), folder, run_id=run_id, name="n", config={"epochs": 4}) as tracker:
        for step in steps:
            tracker.log({"member-1/valid_loss": 1.0 / (step + 1)}, step=step)


@pytest.fixture(autouse=True)
def _nobody_home(tmp_path, monkeypatch):
    for key in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR", "WANDB_RUN_ID", "WANDB_PROJECT"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_SILENT", "true")


def test_offline_run_is_on_disk_and_a_resumed_one_has_its_id(tmp_path):
    tracked(tmp_path / "run", [0, 1])
    ids, history = stored(tmp_path / "run")
    assert ids == {"0123456789abcdef"}
    assert [float(h["member-1/valid_loss"]) for h in history] == [1.0, 0.5]
    tracked(tmp_path / "run", [2, 3])
    ids, history = stored(tmp_path / "run")
    assert ids == {"0123456789abcdef"}
    assert [int(h["_step"]) for h in history] == [0, 1, 2, 3]
    assert [float(h["member-1/valid_loss"]) for h in history] == [1.0, 0.5, 1 / 3, 0.25]


def test_run_is_closed_after_an_error(tmp_path):
    def fail():
        with Tracker(Tracking(), tmp_path, run_id="abc", name="n", config={}) as tracker:
            tracker.log({"loss": 2.0}, step=0)
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail()
    exits = [r.exit.exit_code for found in whole(tmp_path) for r in found if r.HasField("exit")]
    assert exits == [1]


def test_disabled_tracking_writes_nothing_and_needs_no_wandb(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    tracked(tmp_path / "run", [0], mode="disabled")
    assert list(tmp_path.rglob("*.wandb")) == []


def test_online_without_a_key_is_one_clear_line(tmp_path):
    with pytest.raises(ValueError, match=r"tracking\.mode: online .*use offline"):
        tracked(tmp_path / "run", [0], mode="online")
