"""The two ends of a hop: guards, and the unwrapping of one onto the other.

Takes two structures of one host with one ion (the last atom); gives the final one unwrapped onto the initial one, or a
`ValueError` with one clear line.
"""

from typing import Any

import numpy as np
from ase import Atoms
from ase.geometry import find_mic

SAME_ANGSTROM = 0.1  # ends whose atoms all differ by less than this are one structure
HOST_ANGSTROM = 1.5  # a host atom that moves farther than this in one hop is another atom: the order is wrong


def unwrapped(initial: Atoms, final: Atoms) -> Atoms:
    """A copy of `final` whose atoms lie where a continuous path from `initial` ends, in the cell of `initial`.

    Atoms wrapped to the other side of the cell are put back by lattice vectors. A displacement no more than 0.1
    Angstrom longer than the minimum image stays as given: a hop of half a cell has two shortest ways.

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
