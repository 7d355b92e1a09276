"""Copies of structures: what is one, what is none, and how few pairs are compared atom by atom."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import read
from helpers import tiny
from numpy.testing import assert_allclose

from mlip.atoms import copies, extxyz
from mlip.stages.dataset import dataset

CASE = Path(__file__).parent / "data" / "labels" / "same-structure-moved.extxyz"
TOLERANCE = 1e-3


def case():
    """Five labelled frames, another one, and a copy of each of the five."""
    frames = read(CASE, ":")
    for one in frames:
        one.info["dft_energy"], one.arrays["dft_forces"] = one.get_potential_energy(), one.get_forces()
    return frames


@pytest.fixture(scope="module")
def shipped():
    folders = (tiny.DATA, tiny.DATA.with_name("tio2-mg-li-test"))
    return [frame for folder in folders for frame in extxyz.read_frames(folder / "frames.extxyz")]


@pytest.fixture
def frame(labelled):
    return labelled["001_11_Li_ah00"].copy()


def rotation(rng):
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return q


def moved(atoms):
    atoms.positions += [0.3, -1.7, 4.1]


def wrapped(atoms):
    atoms.positions[3] += 2 * atoms.cell[0] - atoms.cell[2]


def reordered(atoms):
    atoms.arrays = {k: v[::-1].copy() for k, v in atoms.arrays.items()}


def mirrored(atoms):
    atoms.positions[:, 0] *= -1


def turned_over(atoms):
    atoms.positions[:, 1:] *= -1


def quarter_turned(atoms):
    atoms.positions[:, :2] = atoms.positions[:, 1::-1] * [-1, 1]


def rotated_with_its_cell(atoms):
    atoms.set_cell(atoms.cell.array @ rotation(np.random.default_rng(1)), scale_atoms=True)


def with_vectors_in_another_order(atoms):
    atoms.set_cell(atoms.cell.array[[2, 0, 1]])


def with_other_vectors_of_the_same_lattice(atoms):
    cell = atoms.cell.array
    atoms.set_cell([cell[0], cell[1] + cell[0], -cell[2]])


def nudged_within_the_tolerance(atoms):
    atoms.positions += np.random.default_rng(2).uniform(-4e-4, 4e-4, atoms.positions.shape)


CHANGES = (
    moved,
    wrapped,
    reordered,
    mirrored,
    turned_over,
    quarter_turned,
    rotated_with_its_cell,
    with_vectors_in_another_order,
    with_other_vectors_of_the_same_lattice,
    nudged_within_the_tolerance,
)


@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)
def test_a_copy_is_found(frame, change):
    other = frame.copy()
    change(other)
    assert copies.copies([frame, other], TOLERANCE) == [(0, 1)]


def test_all_changes_at_once_are_one_copy_each_of_the_first(frame):
    frames = [frame]
    other = frame.copy()
    for change in CHANGES[:-1]:
        change(other)
        frames.append(other.copy())
    assert copies.copies(frames, TOLERANCE) == [(0, n) for n in range(1, len(frames))]


def one_atom_moved(atoms):
    atoms.positions[5, 2] += 0.01


def one_atom_mirrored(atoms):
    atoms.positions[12, 0] *= -1


def other_cell(atoms):
    atoms.set_cell(atoms.cell.array * [1.002, 1, 1], scale_atoms=True)


def two_kinds_exchanged(atoms):
    atoms.symbols[[0, 5]] = atoms.symbols[[5, 0]]


def other_kind(atoms):
    atoms.symbols[12] = "Mg"


@pytest.mark.parametrize(
    "change",
    [one_atom_moved, one_atom_mirrored, other_cell, two_kinds_exchanged, other_kind],
    ids=lambda f: f.__name__,
)
def test_another_structure_is_no_copy(frame, change):
    other = frame.copy()
    change(other)
    assert not copies.same_crystal(frame, other, TOLERANCE)
    assert copies.copies([frame, other], TOLERANCE) == []


def test_structures_of_equal_distances_are_told_apart():
    """Two homometric sets of points on a ring: all distances are equal, the filter cannot tell them apart."""
    one, other = (
        Atoms("H4", positions=[[x, 0, 0] for x in places], cell=[8, 20, 20], pbc=True)
        for places in ([0, 1, 3, 4], [0, 1, 2, 5])
    )
    assert_allclose(
        sorted(one.get_all_distances(mic=True).ravel()), sorted(other.get_all_distances(mic=True).ravel()), atol=1e-12
    )
    assert copies.copies([one, other], TOLERANCE) == []


def test_primitive_cells_in_two_choices():
    one = bulk("NaCl", "rocksalt", a=5.6)
    other = one.copy()
    other.set_cell(one.cell.array @ rotation(np.random.default_rng(3)), scale_atoms=True)
    other.set_cell([other.cell[0], other.cell[1] - other.cell[0], other.cell[2]])
    other.positions += 1.3
    assert copies.same_crystal(one, other, TOLERANCE)
    assert copies.same_crystal(Atoms(cell=one.cell, pbc=True), Atoms(cell=one.cell, pbc=True), TOLERANCE)


@pytest.mark.parametrize("seed", range(5))
def test_the_filter_lets_every_copy_within_the_tolerance_through(frame, seed):
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=frame.positions.shape)
    other = frame.copy()
    other.positions += 0.99 * TOLERANCE * steps / np.linalg.norm(steps, axis=1).max()
    assert copies.copies([frame, other], TOLERANCE) == copies.copies([other, frame], TOLERANCE) == [(0, 1)]


def test_the_case_of_moved_frames():
    frames = case()
    names = [f.info["frame_id"] for f in frames]
    assert {names[later]: names[first] for first, later in copies.copies(frames, TOLERANCE)} == {
        "copy_exact": "001_11_Li_ah00",
        "copy_moved": "001_11_Li_ah01",
        "copy_wrapped": "001_11_Li_ah02",
        "copy_reordered": "001_11_Li_ah03",
        "copy_mirrored": "001_11_Li_ah04",
    }


def test_shipped_frames_are_no_copies_of_each_other_and_few_pairs_are_compared(shipped, monkeypatch):
    compared = []
    same = copies.same_crystal
    monkeypatch.setattr(copies, "same_crystal", lambda *a: compared.append(a) or same(*a))
    assert copies.copies(shipped, TOLERANCE) == []
    assert len(compared) < len(shipped)


def test_the_number_of_comparisons_grows_with_the_copies_and_not_with_the_pairs(frame, monkeypatch):
    rng = np.random.default_rng(5)
    frames = []
    for _ in range(150):
        other = frame.copy()
        other.positions += rng.normal(0, 0.05, other.positions.shape)
        frames.append(other)
    again = [f.copy() for f in frames[:3]]
    for f in again:
        moved(f)
    compared = []
    same = copies.same_crystal
    monkeypatch.setattr(copies, "same_crystal", lambda *a: compared.append(a) or same(*a))
    assert copies.copies([*frames, *again], TOLERANCE) == [(0, 150), (1, 151), (2, 152)]
    assert len(compared) < 10


def test_copies_leave_the_dataset_and_a_test_group_of_copies_is_refused():
    frames = case()
    kept, dropped = dataset.deduplicate(frames, TOLERANCE)
    assert [f.info["frame_id"] for f in kept] == [f.info["frame_id"] for f in frames[:6]]
    assert ("copy_mirrored", "001_11_Li_ah04") in dropped
    dataset.require_own(["001_11_Li_ah00", "no_such_group"], frames, dropped)
    with pytest.raises(
        ValueError, match=r"every frame of 'held_reordered' is a copy .*copy_reordered of 001_11_Li_ah03"
    ):
        dataset.require_own(["held_reordered"], frames, dropped)


@pytest.mark.parametrize("kept", ["001_11_Li_ah01", "001_11_Li_ah03", "001_11_Li_ah04"])
@pytest.mark.parametrize("held_out", [False, True])
def test_a_copy_with_another_label_is_refused_whichever_comes_first(kept, held_out):
    frames = case()
    copy = dict(dataset.deduplicate(frames, TOLERANCE)[1])
    wrong = next(f for f in frames if copy.get(f.info["frame_id"]) == kept)
    groups = [f.info["group"] for f in frames] if held_out else []
    wrong.info["dft_energy"] += 2.9e-3 * len(wrong)
    dataset.deduplicate(frames, TOLERANCE, groups)  # the egg-box effect of a slab that moved
    wrong.info["dft_energy"] += 0.2e-3 * len(wrong)
    told = r"x.extxyz: frame \d+ \(.*\): same structure as frame \d+ \(.*\), maybe moved.* differ by 0.0031 eV/atom"
    for order in (frames, frames[::-1]):
        with pytest.raises(ValueError, match=told):
            dataset.deduplicate(order, TOLERANCE, groups, source="x.extxyz")


def test_a_copy_with_other_forces_is_refused():
    frames = case()
    wrong = next(f for f in frames if f.info["frame_id"] == "copy_mirrored")
    wrong.arrays["dft_forces"] = 2.0 * wrong.arrays["dft_forces"]
    with pytest.raises(
        ValueError, match=r"copy_mirrored\): same structure as .* lengths of forces by 4.882 eV/Angstrom"
    ):
        dataset.deduplicate(frames, TOLERANCE)


def test_two_held_out_copies_both_stay_and_a_held_out_path_that_loses_a_frame_is_refused():
    frames = case()
    _, dropped = dataset.deduplicate(frames, TOLERANCE)
    later, earlier = dropped[0]
    groups = {f.info["frame_id"]: f.info["group"] for f in frames}
    kept, left = dataset.deduplicate(frames, TOLERANCE, [groups[later], groups[earlier]])
    assert {later, earlier} <= {f.info["frame_id"] for f in kept}
    path = dataset.LabelledPath(
        group=groups[later], host="001", ion="Li", hop="001_x", initial=later, saddle="other", geometry=""
    )
    dataset.require_held_out_paths([path], [groups[later], groups[earlier]], left)
    dataset.require_held_out_paths([path], [], dropped)
    with pytest.raises(ValueError, match=f"{later!r} of the held-out path Li 001_x is a copy of {earlier!r}, which"):
        dataset.require_held_out_paths([path], [groups[later]], dropped)


def test_a_test_group_with_a_frame_of_its_own_stays():
    frames = case()
    frames[5].info["group"] = "held_moved"
    _, dropped = dataset.deduplicate(frames, TOLERANCE)
    dataset.require_own(["held_moved"], frames, dropped)


def test_folds_refuse_a_mirrored_copy():
    frames = case()
    for f in frames:
        f.info |= {"host": "001", "ion": "Li"}
    with pytest.raises(ValueError, match=r"copy_mirrored of group held_mirrored are the same structure"):
        dataset.folds([*frames[:5], frames[-1]], 2, seed=1)
