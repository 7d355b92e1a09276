"""How alike the local structures of crystals are: known answers, invariance, and the labels that are shipped."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell
from helpers import tiny
from numpy.testing import assert_allclose

from mlip.atoms import extxyz, likeness
from mlip.atoms.structures import crystal

RUTILE = str(tiny.REPOSITORY / "datasets" / "crystals" / "tio2-rutile.cif")


def test_a_cubic_crystal_stretched_by_one_percent_differs_by_its_mean_distance():
    copper = bulk("Cu", "fcc", a=3.6)
    stretched = bulk("Cu", "fcc", a=3.636)
    assert_allclose(likeness.local_difference(copper, stretched, ["Cu"]), 0.01 * 3.6 / np.sqrt(2), rtol=1e-9)


def test_neither_cell_nor_orientation_nor_order_counts():
    anatase = crystal("anatase")
    other = make_supercell(anatase, [[1, 1, 0], [-1, 2, 0], [0, 1, 1]])
    other.rotate(37, (1, 2, 3), rotate_cell=True)
    other = other[np.random.default_rng(5).permutation(len(other))]
    assert likeness.local_difference(anatase, other, ["Ti", "O"]) < 1e-6


def test_it_is_the_same_in_both_directions():
    pair = crystal("anatase"), crystal(RUTILE)
    there, back = (likeness.local_difference(*p, ["Ti", "O"]) for p in (pair, pair[::-1]))
    assert_allclose(there, back, rtol=1e-12)
    assert_allclose(there, 0.448, atol=2e-3)


def test_an_element_that_is_missing_is_infinitely_different():
    assert likeness.local_difference(bulk("Cu"), bulk("Ag"), ["Cu"]) == float("inf")


@pytest.mark.parametrize(("name", "others"), [("anatase", False), (RUTILE, True)])
def test_the_shipped_labels_are_of_anatase(name, others):
    frames = extxyz.read_frames(tiny.REPOSITORY / "datasets" / "tio2-mg-li" / "frames.extxyz")
    assert likeness.are_of_others(frames, crystal(name)) is others


def test_slabs_alone_say_nothing():
    slab = Atoms("TiO2", [(0, 0, 1), (0, 0, 3), (0, 2, 1)], cell=(3.8, 3.8, 30), pbc=True)
    assert not likeness.are_of_others([slab], crystal(RUTILE))
