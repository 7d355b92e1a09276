"""What is left for the next call: a reason, or a file that is no longer as it was."""

import shutil
from contextlib import suppress
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from mlip import driver
from mlip.core import files, slurm, unfinished
from mlip.core import run as runs
from mlip.core.section import Common, OptionalSection
from mlip.core.stage import Stage


@pytest.fixture
def folder(tmp_path):
    """Of a stage, beside a folder with a failure."""
    (tmp_path / "run" / "stage").mkdir(parents=True)
    (tmp_path / "run" / "failed").mkdir()
    (tmp_path / "run" / "failed" / "a.json").write_text("{}")
    return tmp_path / "run" / "stage"


def failure(folder):
    return folder.parent / "failed" / "a.json"


def test_a_reason_is_there_until_the_stage_is_whole(folder):
    assert not unfinished.is_left(folder)
    unfinished.leave(folder, "2 frames wait for a label")
    assert unfinished.is_left(folder)
    assert (folder / "unfinished").read_text() == "2 frames wait for a label\n"
    unfinished.leave(folder, None)
    assert not unfinished.is_left(folder)
    assert list(folder.iterdir()) == []


def test_a_listed_file_that_is_removed_or_replaced_asks_for_another_try(folder):
    unfinished.leave(folder, None, [failure(folder), str(failure(folder))])
    assert len((folder / "refused").read_text().splitlines()) == 1
    assert not unfinished.is_left(folder)
    failure(folder).write_text("{ }")
    assert unfinished.is_left(folder)
    failure(folder).unlink()
    assert unfinished.is_left(folder)
    unfinished.leave(folder, None)
    assert not unfinished.is_left(folder)


def test_a_file_that_is_removed_while_the_stage_runs_asks_too_even_if_it_comes_back(folder):
    failure(folder).unlink()
    unfinished.leave(folder, None, [failure(folder)])
    assert unfinished.is_left(folder)
    failure(folder).write_text("{}")
    assert unfinished.is_left(folder)


def test_a_run_that_is_moved_or_entered_from_elsewhere_is_as_whole_as_before(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    relative = folder.relative_to(tmp_path)
    unfinished.leave(relative, None, [failure(relative)])
    monkeypatch.chdir("/")
    assert not unfinished.is_left(folder)
    shutil.move(tmp_path / "run", tmp_path / "other")
    moved = tmp_path / "other" / "stage"
    assert not unfinished.is_left(moved)
    failure(moved).unlink()
    assert unfinished.is_left(moved)


class Warm(OptionalSection):
    kelvin: int = 300


class Later(OptionalSection):
    pass


@dataclass(frozen=True)
class Found:
    number: int


def opened(monkeypatch, folder, stages, **sections):
    monkeypatch.setattr(driver, "opened", lambda _: runs.Run(folder, {"common": Common(), **sections}, stages))
    folder.mkdir(exist_ok=True)
    return folder


def result(folder, name):
    return files.read_result(folder / name / "result.json", Found).number


def test_a_kill_before_the_result_is_written_leaves_the_mark(tmp_path, monkeypatch):
    """Three frames wait; then all have labels, but the disk is full when the result is written."""
    waiting = [3]

    def calculate(context):
        context.leave_unfinished(f"{waiting[0]} frames wait for a label" if waiting[0] else None)
        return Found(waiting[0])

    stage = Stage(name="first", settings=Warm, result=Found, run=calculate)
    folder = opened(monkeypatch, tmp_path / "run", (stage,), first=Warm())
    driver.run_one("first", folder)
    waiting[0] = 0
    with monkeypatch.context() as full:
        full.setattr(files, "write_result", lambda *_: (_ for _ in ()).throw(OSError("No space left on device")))
        with pytest.raises(OSError, match="No space left"):
            driver.run_one("first", folder)
    driver.run_one("first", folder)
    assert result(folder, "first") == 0
    assert not unfinished.is_left(folder / "first")


def test_a_stage_before_with_other_settings_is_named_by_a_whole_run_too(tmp_path, monkeypatch):
    first = Stage(name="first", settings=Warm, result=Found, run=lambda context: Found(context.settings.kelvin))
    last = Stage(name="last", settings=Later, result=Found, run=lambda c: Found(c.result(first).number), needs=(first,))
    folder = opened(monkeypatch, tmp_path / "run", (first, last), first=Warm(), last=Later())
    driver.run_one("first", folder)
    opened(monkeypatch, folder, (first, last), first=Warm(kelvin=700), last=Later(run=True))
    for call in (lambda: driver.run_all(folder), lambda: driver.run_stages(folder, ["last"])):
        with pytest.raises(ValueError, match="first is not done with these settings; first run: mlip first"):
            call()
    assert not (folder / "last" / "result.json").exists()
    driver.run_one("first", folder)
    driver.run_all(folder)
    assert result(folder, "last") == 700


@pytest.mark.parametrize(
    ("error", "used"), [(None, True), (ValueError("no frame has a label"), True), (slurm.TasksFailed("one"), False)]
)
def test_what_a_task_said_is_not_taken_again_after_an_error_of_the_stage(tmp_path, monkeypatch, error, used):
    """A finished task may have said that it waits for a job; failed tasks are tried again and the others kept."""
    calls = []
    record = SimpleNamespace(is_open=False, use_up=lambda: calls.append("used"))
    monkeypatch.setattr(driver, "Record", lambda *_: record)
    run = runs.Run(tmp_path, {"common": Common()}, ())
    with suppress(ValueError), driver.carried_out(run, "label", "now"):
        if error is not None:
            raise error
    assert bool(calls) is used
