"""How much the local structure of two crystals, or of two places of an ion, differs, whatever the cell and direction.

For every atom the distances to its nearest atoms of the same element are sorted; two atoms differ by the mean absolute
difference of these lists. An atom of one crystal is compared with the atom of the other that is most like it. The
difference of two crystals is the mean over the atoms of an element, for the element and the direction where it is
largest. Anatase against rutile: 0.45 Angstrom, against brookite: 0.29; anatase with an ion, relaxed: below 0.1.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from ase import Atoms

from mlip.atoms import cells
from mlip.core.arrays import Array

SAME_ANGSTROM = 0.15  # a smaller difference is that of one crystal, relaxed by other means or warm
NEIGHBOURS = 12
REACH_ANGSTROM = 7.0  # stands for a neighbour that is farther away
SAME_PLACE_ANGSTROM = 0.3  # one place by two methods: up to 0.19; surface site and void of anatase (001): 0.57


def are_of_others(frames: Sequence[Atoms], crystal: Atoms) -> bool:
    """Whether frames without vacuum are there and none of them is of the crystal; molecules and wires say nothing."""
    filled = [frame for frame in frames if not cells.vacuum_axes(frame)]
    symbols = sorted(set(crystal.symbols))
    return bool(filled) and all(local_difference(f, crystal, symbols) > SAME_ANGSTROM for f in filled)


def local_difference(one: Atoms, other: Atoms, symbols: Iterable[str]) -> float:
    """Largest difference (Angstrom) of the neighbour distances of an element; infinite where one has no such atoms.

    Args:
        one: a crystal, periodic in three directions.
        other: another.
        symbols: the elements to compare.
    """
    return max((_of_element(_shells(one, s), _shells(other, s)) for s in symbols), default=0.0)


def place_difference(one: Atoms, other: Atoms, ion: str) -> float:
    """Mean difference (Angstrom) of the distances from the last ion to its nearest atoms of every element of the host.

    Args:
        one: a host with an ion; all cells count as periodic in three directions.
        other: another.
        ion: its chemical symbol.
    """
    elements = sorted({*one.symbols, *other.symbols} - {ion})
    return float(np.mean([np.abs(_from_ion(one, ion, s) - _from_ion(other, ion, s)) for s in elements]))


def _from_ion(atoms: Atoms, ion: str, symbol: str) -> Array:
    """Sorted distances (NEIGHBOURS) from the last ion to its nearest atoms of an element."""
    from matscipy.neighbours import neighbour_list

    whole = atoms.copy()
    whole.pbc = True
    last = max(k for k, s in enumerate(whole.symbols) if s == ion)
    first, second, distance = neighbour_list("ijd", whole, REACH_ANGSTROM)
    return _nearest(distance[(first == last) & (whole.symbols[second] == symbol)])


def _nearest(distances: Array) -> Array:
    """The NEIGHBOURS smallest of distances, ascending; REACH_ANGSTROM stands for those that are farther away."""
    found = np.sort(distances)[:NEIGHBOURS]
    return np.pad(found, (0, NEIGHBOURS - len(found)), constant_values=REACH_ANGSTROM)


def _of_element(one: Array, other: Array) -> float:
    if not len(one) or not len(other):
        return float("inf")
    apart = np.abs(one[:, None] - other[None]).mean(axis=-1)
    return float(max(apart.min(axis=1).mean(), apart.min(axis=0).mean()))


def _shells(atoms: Atoms, symbol: str) -> Array:
    """Sorted distances (n, NEIGHBOURS) of the atoms of an element to their nearest atoms of the same element."""
    from matscipy.neighbours import neighbour_list

    own = atoms[[s == symbol for s in atoms.symbols]]
    own.pbc = True
    shells = np.full((len(own), NEIGHBOURS), REACH_ANGSTROM)
    if len(own):
        first, distance = neighbour_list("id", own, REACH_ANGSTROM)
        for k in range(len(own)):
            shells[k] = _nearest(distance[first == k])
    return shells
