"""The symmetry operations of a cell, on the fractional coordinates x -> W x + w and on the order of the atoms.

Takes atoms and a tolerance; gives operations (found by spglib, doi:10.1080/27660400.2024.2384822, then checked atom by
atom), and what they do to points. On a slab the operations that leave the top side on top are a subset.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from mlip.core.arrays import Array


@dataclass(frozen=True)
class Operation:
    """A symmetry operation x -> W x + w in fractional coordinates; it moves atom i onto atom permutation[i]."""

    rotation: Array  # (3, 3)
    translation: Array  # (3,)
    permutation: NDArray[np.int64]  # (n,)


def operations(atoms: Atoms, *, tolerance_angstrom: float, keep_top: bool = False) -> tuple[Operation, ...]:
    """All symmetry operations of a cell, the identity first; with keep_top only those that leave the top side on top.

    An atom counts as mapped when it lands within three times the tolerance of one of its own kind.
    """
    import spglib

    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    found: Any = spglib.get_symmetry(cell, symprec=tolerance_angstrom)
    pairs = [] if found is None else list(zip(found["rotations"], found["translations"], strict=True))
    kept = [Operation(np.eye(3), np.zeros(3), np.arange(len(atoms)))]
    tree = _tree(atoms, atoms.get_scaled_positions())
    for rotation, translation in pairs:
        permutation = _permutation(atoms, tree, rotation, translation, 3 * tolerance_angstrom)
        if permutation is None or (keep_top and not _keeps_top(rotation, translation)):
            continue
        same = np.abs(rotation - np.eye(3)).max() == 0 and np.abs(translation - np.round(translation)).max() < 1e-6
        if not same:
            kept.append(Operation(rotation.astype(float), translation.copy(), permutation))
    return tuple(kept)


def apply(host: Atoms, operation: Operation, points: Array) -> Array:
    """Points (n, 3) or (3,) in Angstrom under one operation of the host."""
    scaled = points @ np.linalg.inv(host.cell.array)
    return np.asarray((scaled @ operation.rotation.T + operation.translation) @ host.cell.array)


def is_translation(operation: Operation) -> bool:
    """Whether the operation neither turns nor mirrors."""
    return bool(np.abs(operation.rotation - np.eye(3)).max() < 1e-6)


def periods(host: Atoms, found: Sequence[Operation], *, axes: Sequence[int]) -> list[tuple[str, Array]]:
    """Shortest translations of the host along its cell vectors, named; of equivalent ones only the first."""
    shifts = np.array([op.translation for op in found if is_translation(op)])
    out: list[tuple[str, Array]] = []
    for axis in axes:
        others = [k for k in range(3) if k != axis]
        along = shifts[np.abs(shifts[:, others] - np.round(shifts[:, others])).max(1) < 1e-2, axis] % 1.0
        period = np.eye(3)[axis] * float(along[(along > 1e-2) & (along < 0.99)].min(initial=1.0))
        vector = period @ host.cell.array
        turned = np.array([op.rotation @ period for op in found]) @ host.cell.array
        both = np.concatenate([turned, -turned])
        if all(np.linalg.norm(both - seen, axis=1).min() > 1e-2 for _, seen in out):
            out.append((f"{'xyz'[axis]} ({'abc'[axis]} = {np.linalg.norm(vector):.2f} A)", vector))
    return out


def cell_image(host: Atoms, shift: Array) -> tuple[int, int, int]:
    """The lattice vector nearest to a shift (3,), as three whole numbers."""
    a, b, c = np.round(np.linalg.solve(host.cell.array.T, shift)).astype(int).tolist()
    return a, b, c


def copies(
    host: Atoms,
    found: Sequence[Operation],
    point: Array,
    *,
    tolerance_angstrom: float = 0.3,
) -> Array:
    """Positions (n, 3) onto which operations of the host bring a point, inside the cell, the point itself first."""
    places = images(host, found, point)
    places[1:] -= np.floor(places[1:] @ np.linalg.inv(host.cell.array) + 1e-3) @ host.cell.array
    kept = [0]
    for number in range(1, len(places)):
        if distances(host, places[kept], places[number]).min() > tolerance_angstrom:
            kept.append(number)
    return np.asarray(places[kept])


def images(host: Atoms, found: Sequence[Operation], point: Array) -> Array:
    """The point under every operation of the host: shape (operations, 3)."""
    scaled = np.linalg.solve(host.cell.array.T, point)
    return np.asarray(np.array([op.rotation @ scaled + op.translation for op in found]) @ host.cell.array)


def distances(host: Atoms, points: Array, point: Array) -> Array:
    """Minimum-image distances in Angstrom of points (n, 3) to one point: shape (n,)."""
    return np.asarray(find_mic(np.atleast_2d(points) - point, host.cell, pbc=True)[1])


def _keeps_top(rotation: Array, translation: Array) -> bool:
    shift = float(translation[2] - np.round(translation[2]))
    return bool(rotation[2, 2] == 1 and not tilts(rotation) and abs(shift) < 0.05)


def tilts(rotation: Array) -> bool:
    """Whether a rotation mixes the third axis with the others."""
    return bool(np.abs(rotation[2, :2]).max() + np.abs(rotation[:2, 2]).max() > 0)


def _tree(atoms: Atoms, scaled: Array) -> cKDTree:
    """Neighbours in a periodic box with the lengths of the cell and right angles: near what they are in the cell."""
    lengths = atoms.cell.lengths()
    return cKDTree(_inside(scaled) * lengths, boxsize=lengths)


def _inside(scaled: Array) -> Array:
    inside = scaled % 1.0
    return np.where(inside < 1.0, inside, 0.0)


def _permutation(
    atoms: Atoms, tree: cKDTree, rotation: Array, translation: Array, limit: float
) -> NDArray[np.int64] | None:
    scaled = atoms.get_scaled_positions()
    places = scaled @ rotation.T + translation
    nearest = np.asarray(tree.query(_inside(places) * atoms.cell.lengths())[1], dtype=np.int64)
    apart = places - scaled[nearest]
    lengths = np.linalg.norm((apart - np.round(apart)) @ atoms.cell.array, axis=1)
    same = (atoms.numbers[nearest] == atoms.numbers).all()
    if same and lengths.max() < limit and len(set(nearest.tolist())) == len(atoms):
        return nearest
    return _searched(atoms, scaled, places, limit)


def _searched(atoms: Atoms, scaled: Array, places: Array, limit: float) -> NDArray[np.int64] | None:
    """The permutation from all distances, for the few operations that the tree does not decide."""
    apart = places[:, None, :] - scaled[None, :, :]
    apart -= np.round(apart)
    lengths = np.linalg.norm(apart @ atoms.cell.array, axis=2)
    lengths[atoms.numbers[:, None] != atoms.numbers[None, :]] = np.inf
    nearest = lengths.argmin(1)
    fits = lengths.min(1).max() < limit and len(set(nearest.tolist())) == len(atoms)
    return nearest if fits else None
