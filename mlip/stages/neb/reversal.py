"""Half of a band from the other half: the symmetry operation that maps a hop onto its reverse.

Takes the two end points of a hop; gives the symmetry operation g of the host that brings each end onto the other, where
there is one. The energy does not change under g, so that of a path that g maps onto its reverse only one half has to be
evaluated,

    R_n+1-k = g(R_k),      E_n+1-k = E_k,      F_n+1-k = W F_k,

atoms permuted. The operations are those of the structure in the middle between both ends, which g leaves as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from mlip.atoms.symmetry import Operation, operations
from mlip.core.arrays import Array

NEAR_ANGSTROM = 0.1  # how far an atom of a path may be from where the operation brings another one
EXACT_ANGSTROM = 1e-6
STRAIN = 1e-6  # an operation of the lattice keeps lengths to this


@dataclass(frozen=True)
class Reversal:
    """An operation that maps a hop onto its reverse: atom i at x goes to atom onto[i] at x turn + shifts[i]."""

    turn: Array  # (3, 3) of rows
    shifts: Array  # (N, 3) Angstrom
    onto: NDArray[np.int64]  # (N,)

    def positions(self, given: Array) -> Array:
        """Where the operation brings positions (N, 3)."""
        out = np.empty_like(given)
        out[self.onto] = given @ self.turn + self.shifts
        return out

    def forces(self, given: Array) -> Array:
        """Forces (N, 3) at the positions where the operation brings those of the given ones."""
        out = np.empty_like(given)
        out[self.onto] = given @ self.turn
        return out

    def apart(self, images: Sequence[Atoms]) -> float:
        """How far, at most, an atom of a path is from where the operation puts it, Angstrom."""
        pairs = zip(images, reversed(images), strict=True)
        return max(float(np.abs(self.positions(a.positions) - b.positions).max()) for a, b in pairs)


def between(initial: Atoms, final: Atoms) -> Reversal | None:
    """The operation that brings each of two end points, unwrapped, onto the other; None where there is none.

    Atoms that cannot move as they like have no operation either.
    """
    if initial.constraints or len(initial) < 2:
        return None
    middle = initial.copy()
    middle.positions = (initial.positions + final.positions) / 2
    found = [_reversal(middle, operation) for operation in operations(middle, tolerance_angstrom=NEAR_ANGSTROM)]
    known = [(m.apart([initial, final]), k) for k, m in enumerate(found) if m is not None]
    apart, best = min(known, default=(np.inf, 0))
    return found[best] if apart < NEAR_ANGSTROM else None


def _reversal(middle: Atoms, operation: Operation) -> Reversal | None:
    """An operation in Angstrom, shifted so that it is its own inverse; None where it is none or strains the cell."""
    cell, onto = middle.cell.array, operation.permutation
    turn = np.linalg.inv(cell) @ operation.rotation.T @ cell
    lengths, again = np.abs(turn @ turn.T - np.eye(3)).max(), np.abs(turn @ turn - np.eye(3)).max()
    if max(lengths, again) > STRAIN or (onto[onto] != np.arange(len(onto))).any():
        return None
    moved = middle.positions @ turn
    whole = (middle.positions[onto] - moved - operation.translation @ cell) @ np.linalg.inv(cell)
    lattice = np.round(whole) @ cell
    shift = (middle.positions[onto] - moved - lattice).mean(axis=0)
    shifts = shift + lattice
    if np.abs(shifts @ turn + shifts[onto]).max() > EXACT_ANGSTROM:
        return None
    return Reversal(turn, shifts, onto)
