"""Trajectories on disk: what is written comes back; what is cut, missing or of another model is told in one line."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.trajectories import HEADER, frames, written
from numpy.testing import assert_allclose, assert_array_equal

from mlip.stages.md import trajectory


def test_what_is_written_comes_back(tmp_path):
    parts = written(tmp_path)
    header, found = trajectory.read(tmp_path)
    assert header == HEADER
    assert header.frame_ps == 0.02
    assert header.dimensions == "xy"
    assert found.count == 8
    for name in trajectory.ARRAYS:
        assert_array_equal(getattr(found, name), np.concatenate([getattr(p, name) for p in parts]))
    assert trajectory.read(tmp_path, upto=5)[1].count == 5


def test_a_chunk_that_is_written_again_replaces_the_old_one(tmp_path):
    written(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    trajectory.append(tmp_path, frames(3, 4, seed=2))
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    trajectory.append(tmp_path, trajectory.Frames(8, *(getattr(frames(8, 1), n)[:0] for n in trajectory.ARRAYS)))
    assert trajectory.read(tmp_path)[1].count == 8


@pytest.mark.parametrize("kept", [0, 10, 0.5, -3])
def test_a_chunk_that_is_cut_is_one_line_that_says_what_is_whole(tmp_path, kept):
    written(tmp_path)
    path = trajectory.chunk_path(tmp_path, 3)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    with pytest.raises(
        ValueError, match=r"frames-000000003.npz: is cut short or damaged .*; frames 0 to 2 before it"
    ) as found:
        trajectory.read(tmp_path)
    assert "\n" not in str(found.value)


def test_missing_chunks_and_empty_folders_are_told(tmp_path):
    written(tmp_path)
    trajectory.chunk_path(tmp_path, 3).unlink()
    with pytest.raises(ValueError, match="frames 3 to 6 are missing; move the folder away"):
        trajectory.read(tmp_path)
    trajectory.create(tmp_path / "none", HEADER)
    with pytest.raises(ValueError, match="holds no frames; run md first"):
        trajectory.read(tmp_path / "none")


def test_a_trajectory_of_another_model_or_system_is_refused(tmp_path):
    written(tmp_path)
    trajectory.create(tmp_path, HEADER)
    with pytest.raises(ValueError, match=r"trajectory of another model \(abcdefabcdef, not 123\); move it away"):
        trajectory.create(tmp_path, replace(HEADER, model="123"))
    with pytest.raises(ValueError, match=r"is a trajectory with time_step_fs 2.0, not 1.0; move it away"):
        trajectory.create(tmp_path, replace(HEADER, time_step_fs=1.0))


def test_a_chunk_from_elsewhere_is_refused(tmp_path):
    written(tmp_path)
    other = frames(7, 1)
    trajectory.append(tmp_path, replace(other, positions=other.positions[:, :, :2]))
    with pytest.raises(ValueError, match=r"positions have the shape \(1, 2, 2, 3\), not \(1, 2, 3, 3\)"):
        trajectory.read(tmp_path)


def test_tracks_are_those_of_ions_without_the_drift_up_to_the_stop(tmp_path):
    whole = frames(0, 6)
    places = whole.positions.copy()
    places[4:, 1] = np.nan
    one, two = trajectory.tracks(HEADER, replace(whole, positions=places))
    assert one.symbols == ("Li", "Mg")
    assert (len(one.positions), len(two.positions)) == (6, 4)
    assert_allclose(one.positions, whole.positions[:, 0, 1:] - whole.host_shift[:, 0, None], rtol=1e-6)
