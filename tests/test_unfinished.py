"""What is left for the next call: a reason, or a file that is no longer as it was."""

import shutil

import pytest

from mlip.core import unfinished


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
