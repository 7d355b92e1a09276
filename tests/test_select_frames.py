"""Frames to label next: rank, groups, limits, and what is written."""

import numpy as np
import pytest
from ase import Atoms
from helpers import tiny

from mlip import cli
from mlip.atoms.extxyz import read_frames
from mlip.core.files import write_frames
from mlip.potential.potential import Predicted
from mlip.tools import select_frames

LIMITS = {"count": 1, "per_group": 1, "largest_force": 10.0}


def candidate(name, spread, *, group=None, force=1.0):
    """A frame of two atoms; the two members differ by sqrt(2) * spread in one component: its sample deviation."""
    atoms = Atoms("TiO", positions=[[0, 0, 0], [2, 0, 0]], cell=[5, 5, 5], pbc=True)
    atoms.info = {"frame_id": name, "group": group or name}
    forces = np.zeros((2, 2, 3))
    forces[:, 1, 2] = force + np.array([-0.5, 0.5]) * np.sqrt(2) * spread
    return atoms, Predicted(np.zeros(2), forces, None)


def names(selected):
    return [f.info["frame_id"] for f in selected.frames]


def test_the_largest_spread_comes_first():
    found = [candidate("a", 0.1), candidate("b", 0.3), candidate("c", 0.2)]
    made = select_frames.select(found, count=2, per_group=1, largest_force=10)
    assert names(made) == ["b", "c"]
    assert made.spreads == pytest.approx((0.3, 0.2))
    assert (made.candidates, made.too_strong) == (3, 0)


def test_a_group_gives_so_many_and_then_another_has_its_turn():
    found = [candidate("a0", 0.5, group="a"), candidate("a1", 0.4, group="a"), candidate("b0", 0.1, group="b")]
    assert names(select_frames.select(found, count=2, per_group=1, largest_force=10)) == ["a0", "b0"]
    assert names(select_frames.select(found, count=2, per_group=2, largest_force=10)) == ["a0", "a1"]


def test_frames_with_strong_forces_are_left_out_and_counted():
    found = [candidate("a", 0.5, force=12.0), candidate("b", 0.1)]
    made = select_frames.select(found, count=5, per_group=1, largest_force=10)
    assert (names(made), made.too_strong) == (["b"], 1)


@pytest.mark.parametrize("limit", ["nan", "0", "-1", "x"])
def test_a_limit_of_forces_is_a_number_above_zero(limit, capsys):
    with pytest.raises(SystemExit):
        cli.main(["select-frames", "m", "a.extxyz", "-o", "b.extxyz", f"--largest-force={limit}"])
    assert f"'{limit}' is no limit; give eV/Angstrom above 0" in capsys.readouterr().err
    if limit != "x":
        with pytest.raises(ValueError, match=r"largest_force: .* is not above 0"):
            select_frames.select([candidate("a", 0.1)], count=1, per_group=1, largest_force=float(limit))


def test_no_limit_of_forces_is_infinite():
    assert names(select_frames.select([candidate("a", 0.1)], count=1, per_group=1, largest_force=np.inf)) == ["a"]


def test_a_single_member_has_no_spread():
    atoms, two = candidate("a", 0.1)
    with pytest.raises(ValueError, match="single member"):
        select_frames.select(
            [(atoms, Predicted(np.zeros(1), two.forces[:1], None))], count=1, per_group=1, largest_force=10
        )


@pytest.fixture
def frames(tmp_path):
    """Three candidates of a file without names, and one of another with its own."""
    made = [tiny.rattled(seed=k) for k in range(3)]
    for atoms in made:
        atoms.info = {"host": "001", "ion": "Li", "vacuum": False}
    write_frames(tmp_path / "run.extxyz", made)
    named = tiny.rattled(seed=9)
    named.info = {"host": "bulk", "ion": "Mg", "vacuum": False, "frame_id": "mine", "group": "g", "sampling": "by hand"}
    write_frames(tmp_path / "named.extxyz", [named])
    return [tmp_path / "run.extxyz", tmp_path / "named.extxyz"]


def test_what_is_written_can_be_labelled(committee, frames, tmp_path, capsys):
    words = [
        "select-frames",
        str(committee),
        *map(str, frames),
        "-o",
        str(tmp_path / "o.extxyz"),
        "--largest-force",
        "1e9",
    ]
    assert cli.main([*words, "--per-group", "2"]) == 0
    assert "3 of 4 frames" in capsys.readouterr().out
    made = {f.info["frame_id"]: f.info for f in read_frames(tmp_path / "o.extxyz")}
    assert len(made) == 3
    assert made["mine"]["group"] == "g"
    assert made["mine"]["sampling"].startswith("by hand; selected for a force spread of ")
    others = [info for name, info in made.items() if name != "mine"]
    assert {(i["group"], i["host"], i["ion"], i["vacuum"]) for i in others} == {("run", "001", "Li", False)}


def test_a_frame_that_does_not_say_what_it_is(committee, tmp_path):
    write_frames(tmp_path / "bare.extxyz", [Atoms("TiO2", positions=np.eye(3) * 2, cell=[5, 5, 5], pbc=True)])
    with pytest.raises(ValueError, match=r"bare\.extxyz: frame 0: no host, ion, vacuum in its info"):
        select_frames.from_files(committee, [tmp_path / "bare.extxyz"], tmp_path / "o.extxyz", **LIMITS)


@pytest.mark.parametrize(
    ("pbc", "vacuum", "told"),
    [
        (False, False, "pbc is F along the first cell vector, where only"),
        ((True, True, False), False, "pbc is F along the third cell vector, where only"),
        (True, True, "vacuum is T, but the largest empty gap is"),
    ],
)
def test_what_label_refuses_is_refused_as_the_file_says_it(committee, tmp_path, pbc, vacuum, told):
    """A frame that is not periodic would become another structure: a cluster of near images, a slab without vacuum."""
    atoms = tiny.rattled()
    atoms.pbc, atoms.info = pbc, {"host": "001", "ion": "Li", "vacuum": vacuum}
    write_frames(tmp_path / "a.extxyz", [tiny_slab(), atoms])
    with pytest.raises(ValueError, match=rf"a\.extxyz: frame 1: {told}"):
        select_frames.from_files(committee, [tmp_path / "a.extxyz"], tmp_path / "o.extxyz", **LIMITS)
    assert not (tmp_path / "o.extxyz").exists()


def tiny_slab():
    """A layer that is periodic along two vectors, in 8 Angstrom of vacuum."""
    atoms = Atoms("TiO", positions=[[0, 0, 0], [2, 0, 0]], cell=[4, 4, 8.5], pbc=(True, True, False))
    atoms.info = {"host": "001", "ion": "none", "vacuum": True}
    return atoms


def test_a_slab_that_is_periodic_along_two_vectors_stays(tmp_path):
    write_frames(tmp_path / "a.extxyz", [tiny_slab()])
    (found,) = select_frames.candidates(tmp_path / "a.extxyz")
    assert found.pbc.all()
    assert found.info["vacuum"] is True


def test_one_name_twice(committee, frames, tmp_path):
    with pytest.raises(ValueError, match=r"frame_id 'mine' is there twice"):
        select_frames.from_files(committee, [frames[1], frames[1]], tmp_path / "o.extxyz", **LIMITS)


def test_nothing_is_left(committee, frames, tmp_path):
    with pytest.raises(ValueError, match=r"none of 4 frames is left: all have forces beyond 1e-09"):
        select_frames.from_files(committee, frames, tmp_path / "o.extxyz", **LIMITS | {"largest_force": 1e-9})
    assert not (tmp_path / "o.extxyz").exists()


def test_an_element_the_model_does_not_know(committee, tmp_path):
    sodium = tiny.rattled("TiO2Na")
    sodium.info = {"host": "bulk", "ion": "Na", "vacuum": False}
    write_frames(tmp_path / "na.extxyz", [sodium])
    with pytest.raises(ValueError, match=r"na\.extxyz: frame 0: elements \['Na'\] are not in the model"):
        select_frames.from_files(committee, [tmp_path / "na.extxyz"], tmp_path / "o.extxyz", **LIMITS)
