"""Empty space in a cell and the handedness of its vectors.

Takes Atoms with three cell vectors; gives the largest empty gap along the normal of each pair of faces, the axis of a
slab's vacuum, and right-handed cells of the same crystal. The cell counts as periodic along all three vectors, whatever
`pbc` says, as a plane-wave code takes the frame.

With h_k = 1/|b_k| the distance between the faces of vector k (b_k reciprocal vectors, b_k . a_j = delta_kj) and s_k the
sorted fractional coordinates in [0, 1):  gap_k = h_k max(s_(k,i+1) - s_(k,i)), the last atom followed by the first one
of the next cell.
"""

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

Array = NDArray[np.float64]
VACUUM_ANGSTROM = 8.0  # an empty gap from here on is vacuum
ROUNDING_ANGSTROM = 1e-3  # of positions in files
FLAT = 1e-6  # a cell of unit edges and less volume counts as flat
KINDS = ("crystal", "slab", "wire", "molecule")  # by the number of vectors along which there is vacuum
VECTORS = ("first", "second", "third")


def has_volume(atoms: Atoms) -> bool:
    """Whether the three cell vectors are finite and independent."""
    edges = atoms.cell.lengths()
    if not np.isfinite(atoms.cell.array).all() or not edges.all():
        return False
    return bool(abs(np.linalg.det(atoms.cell.array / edges[:, None])) > FLAT)


def heights_angstrom(atoms: Atoms) -> Array:
    """Distance between opposite faces for each cell vector, (3,).

    Raises:
        ValueError: the cell has no volume.
    """
    if not has_volume(atoms):
        raise ValueError("the cell has no volume; give three independent cell vectors")
    return np.asarray(1.0 / np.linalg.norm(atoms.cell.reciprocal().array, axis=1))


def gaps_angstrom(atoms: Atoms) -> Array:
    """Largest empty gap along the normal of the faces of each cell vector, periodic, (3,).

    The gap of a single atom is the whole height of the cell, and so is that of an empty one.

    Raises:
        ValueError: the cell has no volume, or a position is not finite.
    """
    heights = heights_angstrom(atoms)
    if not np.isfinite(atoms.positions).all():
        raise ValueError("positions are not finite; check the structure")
    if not len(atoms):
        return heights
    scaled = np.sort(np.linalg.solve(atoms.cell.array.T, atoms.positions.T).T % 1.0, axis=0)
    steps = np.diff(scaled, axis=0, append=scaled[:1] + 1.0)
    return np.asarray(steps.max(axis=0) * heights)


def vacuum_axes(atoms: Atoms, least_angstrom: float = VACUUM_ANGSTROM) -> tuple[int, ...]:
    """The cell vectors (0, 1, 2) along whose face normal there is vacuum.

    A crystal has none, a slab one, a wire two, a molecule three.
    """
    gaps = gaps_angstrom(atoms)
    return tuple(k for k in range(3) if gaps[k] >= least_angstrom - ROUNDING_ANGSTROM)


def vacuum_axis(atoms: Atoms, least_angstrom: float = VACUUM_ANGSTROM) -> int | None:
    """The one cell vector along which there is vacuum; None for a crystal.

    Raises:
        ValueError: vacuum along several vectors, as around a wire or a molecule, or a cell without volume.
    """
    axes = vacuum_axes(atoms, least_angstrom)
    if len(axes) > 1:
        names = " and ".join(VECTORS[k] for k in axes)
        raise ValueError(
            f"vacuum along the {names} cell vectors, as around a {KINDS[len(axes)]}; a slab has a gap of at least "
            f"{least_angstrom:g} Angstrom along one vector only"
        )
    return axes[0] if axes else None


def is_left_handed(atoms: Atoms) -> bool:
    """Whether the three cell vectors are left-handed (a negative determinant)."""
    return bool(np.linalg.det(atoms.cell.array) < 0.0)
