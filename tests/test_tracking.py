import struct
import sys
import time

import pytest

from mlip.core.tracking import Tracker, Tracking

BLOCK = 32768


def records(path):
    """Every record of an offline W&B file: the log format of LevelDB behind seven bytes of its own."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, part = path.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while place + 7 <= len(data):
        if BLOCK - place % BLOCK < 7:
            place += BLOCK - place % BLOCK
            continue
        length, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        if place + 7 + length > len(data):
            return
        part += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in {1, 4}:  # whole, or last part
            yield Record.FromString(part)
            part = b""


def whole(folder):
    """The records of every offline run in a folder; W&B's service may write the last ones after `finish` returns."""
    for path in sorted(folder.rglob("*.wandb")):
        until = time.monotonic() + 20
        found = list(records(path))
        while not any(r.HasField("exit") for r in found):
            assert time.monotonic() < until, f"{path} was not finished"
            time.sleep(0.05)
            found = list(records(path))
        yield found


def stored(folder):
    """Run ids, and the logged history in order, of all offline runs in a folder."""
    ids, history = [], []
    for found in whole(folder):
        for record in found:
            if record.HasField("run"):
                ids.append(record.run.run_id)
            if record.HasField("history"):
                history.append({i.key or ".".join(i.nested_key): i.value_json for i in record.history.item})
    return set(ids), history


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
