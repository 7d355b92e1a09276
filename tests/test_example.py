"""A hop of a trajectory in pictures: which hop is chosen, and what is in its frames."""

import numpy as np
import pytest
from ase import Atoms
from helpers.motions import PLACE, WHERE
from numpy.testing import assert_allclose

from mlip.stages.diffusion import example
from mlip.stages.md import trajectory

EAST = np.array([3.8, 0.0, 0.0])
HOST = Atoms("TiO", positions=[[0.0, 0.0, 10.0], [1.9, 1.9, 9.0]], cell=[3.8, 3.8, 20.0], pbc=True)


def way(steps):
    """Five frames at the first site, a way to the next in so many steps, five frames there."""
    between = [PLACE[0] + EAST * x for x in np.linspace(0, 1, steps + 2)[1:-1]]
    return np.array([*PLACE.repeat(5, axis=0), *between, *(PLACE + EAST).repeat(5, axis=0)])


def tracked(steps, temperature=900.0, replica="900K-1"):
    return trajectory.Track(replica, temperature, 0.04, ("Li",), way(steps)[:, None])


def written(folder, *, stored):
    """A trajectory of two replicas, the second of which hops with three frames on the way; the host has drifted."""
    ion = way(3)
    places = np.zeros((len(ion), 2, 3, 3))
    places[:, :, :2] = HOST.positions
    places[:, 0, 2], places[:, 1, 2] = PLACE[0], ion
    shift = np.full((len(ion), 2, 3), 0.25)
    header = trajectory.Header(
        name="001_Li",
        host="001",
        ions=("Li",),
        symbols=tuple(np.array(["Ti", "O", "Li"])[stored]),
        stored=tuple(stored),
        atoms=3,
        mobile=3,
        cell_angstrom=tuple(tuple(float(x) for x in row) for row in HOST.cell.array),
        repeat=(1, 1, 1),
        replicas=("900K-1", "900K-2"),
        temperatures_kelvin=(900.0, 900.0),
        time_step_fs=2.0,
        frame_steps=20,
        model="m",
        settings="s",
    )
    trajectory.create(folder, header)
    places = (places + 0.25)[:, :, stored]
    none = np.zeros((len(ion), 2))
    for first in (0, 7):  # the hop lies in two chunks
        part = slice(first, 7 if first == 0 else None)
        trajectory.append(
            folder, trajectory.Frames(first, places[part].astype(np.float32), shift[part], *(none[part],) * 3)
        )
    return trajectory.read(folder)


def test_the_coldest_hop_with_a_frame_on_the_way_is_chosen():
    tracks = [tracked(0, 500.0, "a"), tracked(4, 900.0, "b"), tracked(4, 700.0, "c"), tracked(40, 600.0, "d")]
    shown = example.choose(tracks, "Li", WHERE)
    assert (shown.replica, shown.temperature_kelvin, shown.hop) == ("c", 700.0, "x")
    first, middle, last = shown.frames
    assert 4 <= first < middle < last
    assert example.choose([tracked(0)], "Li", WHERE) is None
    assert example.choose(tracks, "Mg", WHERE) is None
    assert example.choose([tracked(40, 600.0, "d")], "Li", WHERE).replica == "d"


@pytest.mark.parametrize("stored", [[0, 1, 2], [2]])
def test_the_frames_hold_all_atoms_without_drift(tmp_path, stored):
    header, frames = written(tmp_path, stored=stored)
    shown = example.choose(trajectory.tracks(header, frames), "Li", WHERE)
    assert shown.replica == "900K-2"
    found = example.structures(shown, [tmp_path], HOST)
    assert [f.info["part"] for f in found] == ["before", "on the way", "after"]
    assert [str(f.symbols) for f in found] == ["TiOLi"] * 3
    assert_allclose(found[0].positions[:2], HOST.positions, rtol=0, atol=1e-5)
    assert_allclose([f.positions[2] for f in found], way(3)[list(shown.frames)], rtol=0, atol=1e-5)
    assert [f.info["time_ps"] for f in found] == [(k - shown.frames[0]) * 0.04 for k in shown.frames]
    made = example.figure(found)
    assert b"<svg" in made.image
    assert made.caption.startswith("Li in 001_Li: hop x at 900 K, at 0.00, ")
    assert "from above and from the side" in made.alt
