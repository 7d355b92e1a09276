"""Empty space in a cell and the handedness of its vectors.

Takes Atoms with three cell vectors; gives the largest empty gap along the normal of each pair of faces, the axes
of vacuum, and right-handed cells of the same crystal. The cell counts as periodic along all three vectors, whatever
`pbc` says, as a plane-wave code takes the frame.

With h_k = 1/|b_k| the distance between the faces of vector k (b_k reciprocal vectors, b_k . a_j = delta_kj) and s_k the
sorted fractional coordinates in [0, 1):  gap_k = h_k max(s_(k,i+1) - s_(k,i)), the last atom followed by the first one
of the next cell.
"""

from collections.abc import Sequence
from itertools import product

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray

from mlip.atoms import contacts
from mlip.core.arrays import Array

VACUUM_ANGSTROM = 8.0  # an empty gap from here on is vacuum
RELAXED_ANGSTROM = 7.5  # the gap between the hosts' surfaces of a slab that was built with 8 and has relaxed
FULL_ANGSTROM = 4.0  # a smaller largest gap means that atoms fill the cell along this vector
CONTACT_ANGSTROM = 3.0  # atoms as close as this across a face of the cell belong together
ROUNDING_ANGSTROM = 1e-3  # of positions in files
FLAT = 1e-6  # a cell of unit edges and less volume counts as flat
KINDS = ("crystal", "slab", "wire", "molecule")  # by the number of vectors along which there is vacuum
VECTORS = ("first", "second", "third")


def independent(vectors: Array) -> bool:
    """Whether these vectors (n, 3) are finite, not zero and independent; no vectors are."""
    edges = np.linalg.norm(vectors, axis=1)
    if not np.isfinite(vectors).all() or not edges.all():
        return False
    unit = vectors / edges[:, None]
    return bool(np.linalg.det(unit @ unit.T) > FLAT**2)


def has_volume(atoms: Atoms) -> bool:
    """Whether the three cell vectors are finite and independent."""
    return independent(np.asarray(atoms.cell.array, dtype=float))


def heights_angstrom(atoms: Atoms) -> Array:
    """Distance between opposite faces for each cell vector, (3,).

    Raises:
        ValueError: the cell has no volume.
    """
    if not has_volume(atoms):
        raise ValueError("the cell has no volume; give three independent cell vectors")
    return np.asarray(1.0 / np.linalg.norm(atoms.cell.reciprocal().array, axis=1))


def image_angstrom(cell: Array, axes: Sequence[int] = (0, 1, 2)) -> float:
    """Distance of a point from its nearest image in other cells along these axes, Angstrom."""
    steps = [n for n in product((-1, 0, 1), repeat=3) if any(n) and not any(n[k] for k in range(3) if k not in axes)]
    return float(np.linalg.norm(np.array(steps) @ cell, axis=1).min())


def repeats(cell: Array, at_least: Sequence[int], apart_angstrom: float) -> tuple[int, int, int]:
    """The least repeats of a cell (3, 3), from given ones on, that keep a point so far from its images."""
    a, b, c = at_least
    found = [a, b, c]
    while image_angstrom(cell * np.array(found)[:, None]) < apart_angstrom:
        found[int((np.linalg.norm(cell, axis=1) * found).argmin())] += 1
    return found[0], found[1], found[2]


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


def slab_axes(atoms: Atoms) -> tuple[int, ...]:
    """As `vacuum_axes`; where an ion in the vacuum leaves no gap, the gap of the other atoms counts, once relaxed."""
    if axes := vacuum_axes(atoms):
        return axes
    ions = str(atoms.info.get("ion", "none")).split("-")
    host = atoms[[symbol not in ions for symbol in atoms.get_chemical_symbols()]]
    return vacuum_axes(host, RELAXED_ANGSTROM) if len(host) else ()


def require_consistent(atoms: Atoms) -> None:
    """Raise a ValueError where `vacuum` in the info or `pbc` of a frame contradicts its atoms.

    A slab (vacuum=T) has vacuum along one cell vector, whichever. Other frames are not slabs. A vector along which a
    frame is not periodic needs vacuum too, as DFT repeats every frame along all three.
    """
    gaps, axes = gaps_angstrom(atoms), slab_axes(atoms)
    for k in np.flatnonzero(~np.asarray(atoms.pbc)):
        if k not in axes:
            raise ValueError(
                f"pbc is F along the {VECTORS[k]} cell vector, where only {gaps[k]:.1f} Angstrom are empty, and DFT "
                f"takes each frame as periodic: leave {VACUUM_ANGSTROM:g} Angstrom, or write pbc=T"
            )
    widest = int(gaps.argmax())
    largest = f"the largest empty gap is {gaps[widest]:.1f} Angstrom, along the {VECTORS[widest]} cell vector"
    if atoms.info.get("vacuum") and not axes:
        raise ValueError(
            f"vacuum is T, but {largest}: a slab needs {VACUUM_ANGSTROM:g} Angstrom; write vacuum=F for a crystal"
        )
    if atoms.info.get("vacuum") and len(axes) > 1:
        names = " and ".join(VECTORS[k] for k in axes)
        raise ValueError(
            f"vacuum is T, but the gaps along the {names} cell vectors are those around a {KINDS[len(axes)]}; a slab "
            "has one: write vacuum=F"
        )
    if not atoms.info.get("vacuum") and axes == (widest,) and np.delete(gaps, widest).max() < FULL_ANGSTROM:
        raise ValueError(f"vacuum is F, but {largest}: write vacuum=T for a slab")


def touching_axes(atoms: Atoms) -> NDArray[np.bool_]:
    """Whether atoms would be neighbours across the faces of each cell vector, were the cell periodic, (3,)."""
    whole = atoms.copy()
    whole.pbc = True
    steps = neighbor_list("S", whole, CONTACT_ANGSTROM)
    return np.asarray((steps != 0).any(axis=0))


def rejoined(atoms: Atoms) -> tuple[Atoms, tuple[int, ...]]:
    """The frame, periodic also along the vectors across whose faces a slab, wire or molecule is cut in two.

    Such a frame was wrapped into a cell along which `pbc` is F: its pieces are far apart, and neighbours only across
    the face. The vectors are given too; there are none for a frame in one piece, and the frame is then as it was.

    Raises:
        ValueError: the frame is periodic along a vector with vacuum but not along one across whose face its atoms are
            neighbours, or across whose faces atoms would be bonded although `pbc` is F and no gap of 8 Angstrom is
            there: `pbc` names the wrong vectors.
    """
    periodic = np.asarray(atoms.pbc)
    if periodic.all() or not len(atoms) or not has_volume(atoms):
        return atoms, ()
    gaps = gaps_angstrom(atoms)
    empty = gaps >= VACUUM_ANGSTROM - ROUNDING_ANGSTROM
    scaled = np.sort(np.linalg.solve(atoms.cell.array.T, atoms.positions.T).T, axis=0)
    inner = np.diff(scaled, axis=0).max(axis=0, initial=0.0) * heights_angstrom(atoms)
    extent = scaled[-1] - scaled[0]
    wrong = ~periodic & ~empty & (extent < 1.0) & (periodic & empty).any()
    cut = ~periodic & (inner >= VACUUM_ANGSTROM) & empty[~periodic].all()
    touching = touching_axes(atoms) if (wrong | cut).any() else np.zeros(3, dtype=bool)
    if (wrong & touching).any():
        raise ValueError(
            f"pbc is F along the {VECTORS[int((wrong & touching).argmax())]} cell vector, across whose face atoms are "
            f"neighbours, and T along the {VECTORS[int((periodic & empty).argmax())]}, where "
            f"{gaps[periodic].max():.1f} Angstrom are empty: write pbc=F along the vacuum only, or T T T"
        )
    _require_open(atoms, ~periodic & ~empty)
    if not (cut & touching).any():
        return atoms, ()
    out = atoms.copy()
    out.pbc = periodic | (cut & touching)
    return out, tuple(int(k) for k in np.flatnonzero(cut & touching))


def _require_open(atoms: Atoms, axes: NDArray[np.bool_]) -> None:
    """Raise a ValueError where atoms would be bonded across faces of these vectors (3,), along which `pbc` is F."""
    if not axes.any() or not (wrong := axes & contacts.bonded_axes(atoms)).any():
        return
    names = [VECTORS[k] for k in np.flatnonzero(wrong)]
    vectors = f"{' and '.join(names)} cell vector{'s' if len(names) > 1 else ''}"
    raise ValueError(
        f"pbc is F along the {vectors}, across whose faces atoms are neighbours: write pbc=T, or give a cluster a cell "
        f"that leaves {VACUUM_ANGSTROM:g} Angstrom empty"
    )


def is_left_handed(atoms: Atoms) -> bool:
    """Whether the three cell vectors are left-handed (a negative determinant)."""
    return bool(np.linalg.det(atoms.cell.array) < 0.0)


def right_handed(atoms: Atoms) -> Atoms:
    """The same crystal with right-handed cell vectors: all three are reversed where they are left-handed.

    Positions, the order of the vectors and the lattice stay, and so do energies, forces and meshes of k-points.
    """
    out = atoms.copy()
    if is_left_handed(atoms):
        out.set_cell(-atoms.cell.array, scale_atoms=False)
    return out


def enclosing(atoms: Atoms, *, margin_angstrom: float) -> Array:
    """Cell vectors (3, 3) for a neighbour list that is periodic along all three of them.

    Vectors along which the structure is periodic stay. Each other one, which says nothing of the structure and may even
    lie in the plane of the periodic ones, becomes normal to all others and longer than the structure by the margin.

    Raises:
        ValueError: the periodic vectors are not independent.
    """
    cell, periodic = np.array(atoms.cell.array, dtype=float), np.asarray(atoms.pbc, dtype=bool)
    if not independent(cell[periodic]):
        raise ValueError("the periodic cell vectors are not independent; check the cell")
    if periodic.all():
        return cell
    _, _, directions = np.linalg.svd(np.vstack([cell[periodic], np.zeros((3 - int(periodic.sum()), 3))]))
    for axis, normal in zip(np.flatnonzero(~periodic), directions[int(periodic.sum()) :], strict=True):
        extent = float(np.ptp(atoms.positions @ normal)) if len(atoms) else 0.0
        cell[axis] = normal * (extent + margin_angstrom)
    return cell
