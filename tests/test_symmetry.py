import numpy as np
from numpy.testing import assert_allclose

from mlip.atoms import structures, symmetry
from mlip.atoms.structures import Facet

ANATASE = structures.crystal("anatase")


def test_bulk_operations_map_every_atom_onto_its_partner():
    atoms = structures.bulk(ANATASE, (2, 1, 1))
    found = symmetry.operations(atoms, tolerance_angstrom=0.02)
    assert len(found) == 32  # 8 of 4/mmm remain in a doubled cell, times 2 for the I centring and 2 for the repeat
    for op in found:
        places = symmetry.apply(atoms, op, atoms.positions)
        for number, place in enumerate(places):
            assert symmetry.distances(atoms, atoms.positions[op.permutation[number]], place)[0] < 1e-6


def test_top_operations_never_exchange_the_faces():
    slab = structures.slab(ANATASE, Facet(name="001", miller=(0, 0, 1), layers=4, repeat=(2, 2)), bond_angstrom=2.35)
    everything = symmetry.operations(slab, tolerance_angstrom=0.02)
    top = symmetry.operations(slab, tolerance_angstrom=0.02, keep_top=True)
    assert (len(everything), len(top)) == (32, 16)
    heights = slab.positions[:, 2]
    for op in top:
        assert_allclose(symmetry.apply(slab, op, slab.positions)[:, 2], heights, rtol=1e-9)


def test_copies_of_a_void_are_all_voids():
    atoms = structures.bulk(ANATASE, (2, 2, 1))
    found = symmetry.operations(atoms, tolerance_angstrom=0.02)
    voids = symmetry.copies(atoms, found, np.array([0.0, 0.0, 4.84]))
    assert len(voids) == 16  # one per Ti
    nearest = [symmetry.distances(atoms, atoms.positions, v).min() for v in voids]
    assert_allclose(nearest, nearest[0], rtol=1e-9)


def test_a_rattled_cell_keeps_only_the_identity():
    atoms = structures.bulk(ANATASE, (1, 1, 1))
    atoms.rattle(0.1, seed=1)
    assert len(symmetry.operations(atoms, tolerance_angstrom=0.001)) == 1
