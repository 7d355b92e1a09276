"""The way down from a saddle on both sides, and whether it ends in the two named sites.

Takes a saddle with its unstable mode; gives the two minima below, and how they match the ends of the hop: positions of
the ion, modulo the symmetry of the host. A symmetric hop may have a minimum halfway, which the operation that exchanges
its ends leaves where it is: then it crosses two equal saddles, one of them the image of the other. Any hop may pass
minima that are no sites: then a way down ends in a minimum on the band, and the rest of the band lies below the saddle.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from ase import Atoms
from scipy.interpolate import CubicHermiteSpline

from mlip.atoms import symmetry
from mlip.core.arrays import Array
from mlip.potential.potential import Predicted
from mlip.stages.modes import search
from mlip.stages.modes.search import Point, Search
from mlip.stages.modes.settings import ModesSettings
from mlip.stages.neb.neb import INTERMEDIATE_EV

PUSH_ANGSTROM = 0.3  # of all atoms together, along the unstable mode
PUSHES = 3  # past minima that are too shallow to be sites

Pair = tuple[Array, Array]  # two positions of the ion, (3,) Angstrom


@dataclass(frozen=True, kw_only=True)
class Sites:
    """What tells sites apart.

    Attributes:
        host: the relaxed host without the ion.
        operations: its symmetry operations.
        merge_angstrom: positions of the ion nearer than this are one site.
    """

    host: Atoms
    operations: Sequence[symmetry.Operation]
    merge_angstrom: float


def descents(
    saddle: Point, mode: Array, named: Pair, sites: Sites, settings: ModesSettings
) -> Search[tuple[Point, Point]]:
    """Where a push along the unstable mode (N, 3) and one against it lead.

    The relaxations are short where they end in the named sites; elsewhere, as on a plateau, they go on.
    """
    one = yield from descent(saddle, mode, settings)
    other = yield from descent(saddle, -mode, settings)
    if mismatch((one, other), named, sites) > sites.merge_angstrom:
        one = yield from search.settled(one.atoms, fmax=settings.fmax_ev_per_angstrom, max_steps=settings.max_steps)
        other = yield from search.settled(other.atoms, fmax=settings.fmax_ev_per_angstrom, max_steps=settings.max_steps)
    return one, other


def descent(saddle: Point, direction: Array, settings: ModesSettings) -> Search[Point]:
    """Where a push along a direction (N, 3) leads; minima hardly below the saddle are passed."""
    here = saddle
    for _ in range(PUSHES):
        pushed = here.atoms.copy()
        pushed.positions += PUSH_ANGSTROM * direction
        here = yield from search.settled(
            pushed, fmax=settings.downhill_fmax_ev_per_angstrom, max_steps=settings.max_steps
        )
        if here.found.energy_ev < saddle.found.energy_ev - INTERMEDIATE_EV:
            break
    return here


def mismatch(reached: Sequence[Point], named: Pair, sites: Sites) -> float:
    """How far the ion is from two named positions, at best, in either order, modulo the host's symmetry (Angstrom)."""
    places = [point.atoms.positions[-1] for point in reached]
    best = np.inf
    for operation in sites.operations:
        images = symmetry.apply(sites.host, operation, np.array(named))
        best = min(best, *(_farther(sites.host, pair, places) for pair in (images, images[::-1])))
    return float(best)


def halfway(reached: Sequence[Point], named: Pair, sites: Sites) -> Point | None:
    """The minimum halfway between two sites, where one way down ends there and the other one in a site; or None."""
    limit, ends = sites.merge_angstrom, np.array(named)
    for point, other in (reached, tuple(reversed(reached))):
        if symmetry.distances(sites.host, ends, other.atoms.positions[-1]).min() > limit:
            continue
        place = point.atoms.positions[-1]
        for operation in sites.operations:
            images = symmetry.apply(sites.host, operation, np.array([*named, place]))
            if _farther(sites.host, images, [named[1], named[0], place]) <= limit:
                return point
    return None


def rest_of_band(point: Point, side: Sequence[Atoms], sites: Sites) -> list[Atoms] | None:
    """From where a way down ended along the band to the end of the hop: nothing to go in the site at that end.

    Args:
        point: the minimum.
        side: images from the top of the band to the relaxed end.
        sites: how near the ion has to be to the site, or to its path in the band.

    Returns:
        The minimum and the images that follow; empty at the end of the hop; None where the minimum is off the band.
    """
    places, place = np.array([image.positions[-1] for image in side]), point.atoms.positions[-1]
    if symmetry.distances(sites.host, places[-1:], place)[0] <= sites.merge_angstrom:
        return []
    steps = np.diff(places, axis=0)
    squares = np.maximum((steps**2).sum(axis=1), np.finfo(float).tiny)
    parts = np.clip(((place - places[:-1]) * steps).sum(axis=1) / squares, 0.0, 1.0)
    apart = np.linalg.norm(places[:-1] + parts[:, None] * steps - place, axis=1)
    nearest = int(apart.argmin())
    return [point.atoms, *side[nearest + 1 :]] if apart[nearest] <= sites.merge_angstrom else None


def highest_ev(images: Sequence[Atoms], found: Sequence[Predicted]) -> float:
    """The maximum of the mean energy on a way through images (eV): cubic between two of them, with their forces."""
    heights = []
    for (first, one), (second, other) in pairwise(zip(images, found, strict=True)):
        step = second.positions - first.positions
        slopes = [-float((point.mean_forces * step).sum()) for point in (one, other)]
        between = CubicHermiteSpline([0.0, 1.0], [one.energy_ev, other.energy_ev], slopes)
        heights.append(float(between(np.linspace(0.0, 1.0, 21)).max()))
    return max(heights)


def _farther(host: Atoms, places: Sequence[Array] | Array, others: Sequence[Array]) -> float:
    """The largest distance (Angstrom) of places from others, pair by pair."""
    return max(float(symmetry.distances(host, a, b)[0]) for a, b in zip(places, others, strict=True))
