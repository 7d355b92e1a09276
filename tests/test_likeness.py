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


def with_ion(atoms, position):
    return atoms + Atoms("Li", positions=[position])


def test_an_ion_moved_between_two_rows_has_the_distances_that_geometry_gives():
    """Simple cubic: eight neighbours around the middle of the cell, two around the middle of an edge, then eight."""
    host = bulk("Cu", "sc", a=6.0).repeat(2)
    centre, edge = with_ion(host, (3.0, 3.0, 3.0)), with_ion(host, (3.0, 0.0, 0.0))
    eight = [np.sqrt(27.0)] * 8 + [likeness.REACH_ANGSTROM] * 4
    two = [3.0] * 2 + [np.sqrt(45.0)] * 8 + [likeness.REACH_ANGSTROM] * 2
    assert_allclose(likeness.place_difference(centre, edge, "Li"), np.abs(np.subtract(eight, two)).mean(), rtol=1e-9)


def test_equivalent_places_are_one_whatever_the_order_of_atoms_and_the_pbc_that_is_said():
    host = crystal("anatase").repeat((2, 2, 1))
    one = with_ion(host, host.positions[0] + (0.0, 0.0, 2.4))
    other = with_ion(host[::-1], host.positions[0] + host.cell[0] / 2 + (0.0, 0.0, 2.4))
    other.pbc = (True, True, False)
    assert likeness.place_difference(one, other, "Li") < 1e-6
    assert likeness.place_difference(one, with_ion(host, host.positions[0] + (0.0, 0.0, 3.4)), "Li") > 0.1


def test_an_element_that_is_missing_is_infinitely_different():
    assert likeness.local_difference(bulk("Cu"), bulk("Ag"), ["Cu"]) == float("inf")


@pytest.mark.parametrize(("name", "others"), [("anatase", False), (RUTILE, True)])
def test_the_shipped_labels_are_of_anatase(name, others):
    frames = extxyz.read_frames(tiny.REPOSITORY / "datasets" / "tio2-mg-li" / "frames.extxyz")
    assert likeness.are_of_others(frames, crystal(name)) is others


def test_slabs_alone_say_nothing():
    slab = Atoms("TiO2", [(0, 0, 1), (0, 0, 3), (0, 2, 1)], cell=(3.8, 3.8, 30), pbc=True)
    assert not likeness.are_of_others([slab], crystal(RUTILE))


def test_molecules_and_wires_beside_the_labels_of_a_crystal_say_nothing():
    molecule = Atoms("O2", positions=[(5, 5, 4.4), (5, 5, 5.6)], cell=(14, 14, 14), pbc=True)
    wire = Atoms("TiO", positions=[(7, 7, 0), (7, 7, 2)], cell=(14, 14, 4), pbc=True)
    assert not likeness.are_of_others([molecule, wire], crystal(RUTILE))
    assert not likeness.are_of_others([molecule, wire, crystal(RUTILE)], crystal(RUTILE))
    assert likeness.are_of_others([molecule, wire, crystal("anatase")], crystal(RUTILE))
