"""Distances of atoms against the sums of their covalent radii.

Takes Atoms; gives the pair of atoms that is too close for any crystal or molecule, and the cell vectors across whose
faces atoms would be bonded if the cell were periodic. Radii: Cordero et al., doi:10.1039/b801115j, as in ASE.
"""

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray

SHORTEST_OF_RADII = 0.65  # of the sum of two covalent radii: no two atoms of a crystal or molecule are closer
LONGEST_OF_RADII = 1.3  # of that sum: atoms beyond it are not bonded; 1.2 in the metals Al and Pb


def too_close(atoms: Atoms) -> tuple[int, int, float] | None:
    """Both atoms and the distance (Angstrom) of the pair closest for its elements; None where no pair is too close.

    Images count along the vectors where `pbc` is T.
    """
    radii = SHORTEST_OF_RADII * covalent_radii[atoms.numbers]
    i, j, lengths = neighbor_list("ijd", atoms, radii)
    if not len(i):
        return None
    worst = int((lengths / (radii[i] + radii[j])).argmin())
    return int(i[worst]), int(j[worst]), float(lengths[worst])


def bonded_axes(atoms: Atoms) -> NDArray[np.bool_]:
    """Whether atoms would be bonded across the faces of each cell vector, were the cell periodic, (3,).

    Where they would be closer than in any crystal, the cell is no crystal along this vector (a cluster in a box of its
    own extent) and they do not count as bonded.
    """
    whole = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)
    radii = LONGEST_OF_RADII * covalent_radii[atoms.numbers]
    shortest = float(np.linalg.norm(whole.cell.array, axis=1).min())
    if not len(atoms) or shortest < 2 * radii.max() * SHORTEST_OF_RADII / LONGEST_OF_RADII:
        return np.zeros(3, dtype=bool)
    i, j, lengths, steps = neighbor_list("ijdS", whole, radii)
    close = lengths / (radii[i] + radii[j]) < SHORTEST_OF_RADII / LONGEST_OF_RADII
    across = steps != 0
    return np.asarray(across.any(axis=0) & ~across[close].any(axis=0))
