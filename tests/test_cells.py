"""Gaps and handedness of cells whose empty space is known."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc100, molecule
from numpy.testing import assert_allclose

from mlip.atoms import cells

SPACING = 4.05 / 2  # layers of Al(001)


def slab(layers=3, vacuum=15.0, size=(2, 2), shift=(0.0, 0.0, 0.0)):
    """Al(001) with a gap of `vacuum` along the third vector."""
    atoms = fcc100("Al", (*size, layers), a=4.05, periodic=True)
    atoms.cell[2] = [0.0, 0.0, (layers - 1) * SPACING + vacuum]
    atoms.positions += shift
    return atoms


def turned(atoms, order):
    """The same frame with its cell vectors in another order."""
    out = atoms.copy()
    out.set_cell(atoms.cell.array[list(order)], scale_atoms=False)
    return out


@pytest.mark.parametrize("layers", [1, 2, 9])
@pytest.mark.parametrize("vacuum", [8.0, 10.0, 30.0])
def test_the_gap_of_a_slab_is_its_vacuum(layers, vacuum):
    atoms = slab(layers, vacuum)
    whole = vacuum if layers > 1 else atoms.cell[2, 2]
    assert_allclose(cells.gaps_angstrom(atoms)[2], whole, rtol=1e-12, atol=0)
    assert cells.vacuum_axes(atoms) == (2,)


@pytest.mark.parametrize("along", [0.0, -1.0, 0.5, 7.3, 15.0, 300.0])
def test_the_gap_does_not_depend_on_where_the_slab_is(along):
    """Split across the boundary, off the origin, wrapped or not."""
    wrapped = slab(shift=(0.4, -0.3, along))
    wrapped.wrap()
    for atoms in (slab(shift=(3.0, 1.0, along)), wrapped):
        assert_allclose(cells.gaps_angstrom(atoms)[2], 15.0, rtol=1e-10, atol=0)
        assert cells.vacuum_axes(atoms) == (2,)


@pytest.mark.parametrize(("order", "axis"), [((2, 0, 1), 0), ((1, 2, 0), 1), ((0, 2, 1), 1), ((2, 1, 0), 0)])
def test_the_axis_follows_the_order_of_the_vectors(order, axis):
    atoms = turned(slab(), order)
    assert cells.vacuum_axes(atoms) == (axis,)
    assert_allclose(cells.gaps_angstrom(atoms)[axis], 15.0, rtol=1e-12, atol=0)


def test_tilted_turned_and_left_handed_cells_have_the_same_gap():
    tilted = slab()
    tilted.cell[2] += 3 * tilted.cell[0] - 0.7 * tilted.cell[1]
    rolled = slab()
    rolled.rotate(37.0, (1, 2, 3), rotate_cell=True)
    reversed_ = slab()
    reversed_.cell[2] *= -1.0
    for atoms in (tilted, rolled, reversed_):
        assert_allclose(cells.gaps_angstrom(atoms)[2], 15.0, rtol=1e-10, atol=0)
        assert cells.vacuum_axes(atoms) == (2,)
    assert [cells.is_left_handed(a) for a in (tilted, rolled, reversed_)] == [False, False, True]
    assert cells.is_left_handed(turned(slab(), (1, 0, 2)))


def test_pbc_changes_nothing():
    for pbc in ((False, False, False), (True, True, False), (False, True, True)):
        atoms = slab()
        atoms.pbc = pbc
        assert cells.vacuum_axes(atoms) == (2,)


def test_crystals_have_no_vacuum():
    assert cells.vacuum_axes(bulk("Al", cubic=True).repeat((5, 1, 2))) == ()
    assert cells.vacuum_axes(slab(vacuum=7.9)) == ()


def test_wires_and_molecules_have_several():
    wire = slab(size=(4, 2))
    wire.cell[0] *= 3.0
    assert cells.vacuum_axes(wire) == (0, 2)
    alone = molecule("H2O", vacuum=6.0)
    assert cells.vacuum_axes(alone) == (0, 1, 2)


def test_a_single_atom_leaves_the_whole_height_empty():
    assert_allclose(cells.gaps_angstrom(Atoms("Li", [[9.0, 9.0, 9.0]], cell=[4, 5, 6])), [4, 5, 6], rtol=1e-12)


def test_cells_without_volume_and_lost_atoms_are_refused():
    with pytest.raises(ValueError, match="the cell has no volume; give three independent cell vectors"):
        cells.gaps_angstrom(Atoms("Li", cell=[4, 4, 0]))
    with pytest.raises(ValueError, match="the cell has no volume"):
        cells.gaps_angstrom(Atoms("Li", cell=[[4, 0, 0], [8, 0, 0], [0, 0, 4]]))
    with pytest.raises(ValueError, match="positions are not finite"):
        cells.gaps_angstrom(Atoms("Li", [[np.nan, 0, 0]], cell=[4, 4, 4]))
