"""Equal saddles side by side between the two ends of a hop, and equal wells that are one site.

Takes the positions of the ion at the refined ends and at the saddle, and the operations of the host; gives numbers.
The rate out of a site whose wells are in equilibrium is the flux over all saddles to the other site, divided by the
partition function of all wells:

    k = (saddles / wells) nu exp(-E/kT),    nu: prefactor of one saddle and one well (see `vibrations`)

Symmetry numbers in transition-state theory: Fernandez-Ramos and others, doi:10.1007/s00214-007-0328-0.

Images are told apart by the ion alone: saddles or wells that differ only in the positions of host atoms count once.
"""

from collections.abc import Sequence

import numpy as np
from ase.geometry import find_mic

from mlip.atoms import symmetry
from mlip.core.arrays import Array
from mlip.stages.modes.downhill import Pair, Sites

# Images of one place agree within 0.02 A: convergence of a saddle 0.01 A, operations of a relaxed host as much. An ion
# less than half of this limit away from a mirror plane is on it: the zero-point motion of Li and Mg is 0.06 to 0.09 A.
APART_ANGSTROM = 0.1


def saddles(saddle: Array, ends: Pair, sites: Sites, *, in_series: bool) -> int:
    """How many images of a saddle (3,) lie side by side between two ends.

    Operations that leave both ends in their sites give such images. Operations that exchange the ends give one only
    if it lies beside the saddle, farther across the hop than along the hop: the other ones are passed in series.

    Args:
        saddle: position of the ion.
        ends: the same at both ends.
        sites: host with its operations, and how near two wells of one site are.
        in_series: the ion passes the saddle and its image, one after the other.
    """
    kept, exchanged = [saddle], list[Array]()
    for operation in sites.operations:
        first, last, place = symmetry.apply(sites.host, operation, np.array([*ends, saddle]))
        for pair, found in (((first, last), kept), ((last, first), exchanged)):
            shift = _lattice_shift(pair, ends, sites)
            if shift is None:
                continue
            if _is_new(place - shift, found):
                found.append(place - shift)
            break
    if in_series:
        return len(kept)
    return len(kept) + sum(_is_new(place, kept) and _is_beside(place, kept, ends) for place in exchanged)


def wells(minimum: Array, sites: Sites) -> int:
    """How many equal wells one site has: images of a minimum (3,) that are told apart, for each one after merging."""
    limits = (APART_ANGSTROM, max(APART_ANGSTROM, sites.merge_angstrom))
    apart, merged = (
        len(symmetry.copies(sites.host, sites.operations, minimum, tolerance_angstrom=limit)) for limit in limits
    )
    return round(apart / merged)


def _lattice_shift(pair: Pair, ends: Pair, sites: Sites) -> Array | None:
    """The lattice vector by which a pair is shifted from two ends, both within their sites; None: another pair."""
    aside = find_mic(pair[0] - ends[0], sites.host.cell, pbc=True)[0]
    shift = pair[0] - ends[0] - aside
    farther = max(np.linalg.norm(aside), np.linalg.norm(pair[1] - shift - ends[1]))
    return np.asarray(shift) if farther <= sites.merge_angstrom else None


def _is_new(place: Array, known: Sequence[Array]) -> bool:
    return all(np.linalg.norm(place - other) > APART_ANGSTROM for other in known)


def _is_beside(place: Array, known: Sequence[Array], ends: Pair) -> bool:
    """Whether a place is displaced from the nearest known one farther across the hop than along the hop."""
    steps = place - np.array(known)
    step = steps[np.linalg.norm(steps, axis=1).argmin()]
    along = (ends[1] - ends[0]) / np.linalg.norm(ends[1] - ends[0])
    return bool(2 * (step @ along) ** 2 < step @ step)
