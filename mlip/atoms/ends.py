"""The two ends of a hop: guards, one order of atoms for both, and the unwrapping of one onto the other.

Takes two structures of one host; gives both in one order with the ion last, or the final one unwrapped onto the initial
one, or a `ValueError` with one clear line.
"""

from typing import Any

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from scipy.optimize import linear_sum_assignment

SAME_ANGSTROM = 0.1  # ends whose atoms all differ by less than this are one structure
HOST_ANGSTROM = 1.5  # a host atom that moves farther than this in one hop is another atom: the order is wrong
SAME_CELL_ANGSTROM = 1e-3  # cell vectors of two files that round their numbers


def unwrapped(initial: Atoms, final: Atoms, *, ion_as_given: bool = False) -> Atoms:
    """A copy of `final` whose atoms lie where a continuous path from `initial` ends, in the cell of `initial`.

    Atoms wrapped to the other side of the cell are put back by lattice vectors. A displacement no more than 0.1
    Angstrom longer than the minimum image stays as given: a hop of half a cell has two shortest ways.

    Args:
        initial: host and, last, the ion.
        final: the same atoms.
        ion_as_given: the ion goes the way that its positions say, also where another way is shorter. For ends of the
            network of hops, in which two hops may join the same two sites by different ways around the cell.

    Raises:
        ValueError: the two differ in more than positions, hold no number, are one structure, or their atoms are in
            different order.
    """
    _refuse_different(initial, final)
    given = final.positions - initial.positions
    short, length = find_mic(given, initial.cell, initial.pbc)
    keep = np.linalg.norm(given, axis=1) <= length + SAME_ANGSTROM
    moves = np.where(keep[:, None], given, short)
    _refuse_moves(initial.symbols, np.linalg.norm(moves, axis=1))
    if ion_as_given:
        moves[-1] = given[-1]
    copy = final.copy()
    copy.cell = initial.cell.copy()
    copy.positions = initial.positions + moves
    return copy


def _refuse_different(initial: Atoms, final: Atoms) -> None:
    if len(initial) != len(final):
        raise ValueError(
            f"end points differ by {abs(len(initial) - len(final))} atoms ({len(initial)} and {len(final)}): "
            "build both from the same slab"
        )
    if len(initial) < 2:
        raise ValueError(f"end points have {len(initial)} atoms: give the host and, last, the ion")
    other = np.flatnonzero(initial.numbers != final.numbers)
    if other.size:
        i = int(other[0])
        raise ValueError(
            f"end points differ in species at {other.size} atoms, first at index {i} "
            f"({initial.symbols[i]} and {final.symbols[i]}): give both the same atom order, the ion last"
        )
    for name, atoms in (("initial", initial), ("final", final)):
        if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
            raise ValueError(f"{name} end point has a position or cell that is not finite: check where it came from")
    if (initial.pbc != final.pbc).any():
        raise ValueError(f"end points differ in pbc ({initial.pbc.tolist()} and {final.pbc.tolist()}): make them equal")
    apart = float(np.abs(initial.cell.array - final.cell.array).max())
    if apart > 1e-6:
        raise ValueError(f"end points differ in cell by up to {apart:.2g} Angstrom: relax both in the same fixed cell")
    if [c.todict() for c in initial.constraints] != [c.todict() for c in final.constraints]:
        raise ValueError("end points differ in constraints: fix the same atoms in both")


def _refuse_moves(symbols: Any, moves: Any) -> None:
    ion, host = float(moves[-1]), moves[:-1]
    if moves.max() < SAME_ANGSTROM:
        raise ValueError(
            f"end points are the same structure (largest displacement {moves.max():.3f} Angstrom): give two different "
            "sites, or a larger cell if the hop spans the whole cell"
        )
    if ion < SAME_ANGSTROM:
        raise ValueError(f"the last atom ({symbols[-1]}) moves only {ion:.3f} Angstrom: put the ion that hops last")
    if host.max() > HOST_ANGSTROM:
        i = int(host.argmax())
        raise ValueError(
            f"host atom {i} ({symbols[i]}) moves {host[i]:.2f} Angstrom between the end points, at most "
            f"{HOST_ANGSTROM} are plausible: give both the same atom order"
        )


def matched(initial: Atoms, final: Atoms, *, ion: str | None = None) -> tuple[Atoms, Atoms]:
    """Copies of both ends in one order of atoms, the ion that hops last.

    Files of two ends often list their atoms in different orders, and an ion of the crystal itself may stand anywhere.
    An order in which at most one atom moves farther than 1.5 Angstrom is kept; otherwise atoms of one element are
    assigned to each other so that the sum of their squared displacements is smallest (minimum image).

    Args:
        initial: the atoms whose order counts.
        final: the same atoms in any order, in the same cell.
        ion: chemical symbol of the ion that hops; without it, the atom that moves farthest.

    Raises:
        ValueError: different compositions or cells, or no atom of the ion.

    Method: doi:10.1109/TAES.2016.140952 (linear_sum_assignment of SciPy).
    """
    first, last = _counts(initial), _counts(final)
    if first != last:
        raise ValueError(f"end points hold different atoms ({_formula(first)} and {_formula(last)}): give one cell")
    apart = float(np.abs(initial.cell.array - final.cell.array).max())
    if apart > SAME_CELL_ANGSTROM:
        raise ValueError(f"end points differ in cell by up to {apart:.2g} Angstrom: relax both in the same fixed cell")
    order = np.arange(len(initial))
    if (initial.numbers != final.numbers).any() or (_moves(initial, final) > HOST_ANGSTROM).sum() > 1:
        order = _assigned(initial, final)
    final = final[order]
    final.cell = initial.cell.copy()
    moves = _moves(initial, final)
    mobile = np.flatnonzero(initial.symbols == ion) if ion else np.arange(len(initial))
    if not mobile.size:
        raise ValueError(f"end points hold no {ion}, only {_formula(first)}: name the ion that hops")
    hopping = int(mobile[moves[mobile].argmax()])
    rest = [k for k in range(len(initial)) if k != hopping]
    return initial[[*rest, hopping]], final[[*rest, hopping]]


def _counts(atoms: Atoms) -> dict[str, int]:
    return dict(sorted(atoms.symbols.formula.count().items()))


def _formula(counts: dict[str, int]) -> str:
    return "".join(f"{symbol}{count}" for symbol, count in counts.items()) or "nothing"


def _moves(initial: Atoms, final: Atoms) -> Any:
    """Displacement of every atom, Angstrom, by the minimum image."""
    return find_mic(final.positions - initial.positions, initial.cell, initial.pbc)[1]


def _assigned(initial: Atoms, final: Atoms) -> Any:
    """For every atom of `initial` the atom of `final` that belongs to it."""
    order = np.empty(len(initial), int)
    for number in np.unique(initial.numbers):
        own, others = np.flatnonzero(initial.numbers == number), np.flatnonzero(final.numbers == number)
        vectors = (final.positions[others][None] - initial.positions[own][:, None]).reshape(-1, 3)
        lengths = find_mic(vectors, initial.cell, initial.pbc)[1].reshape(len(own), len(others))
        rows, columns = linear_sum_assignment(lengths**2)
        order[own[rows]] = others[columns]
    return order
