"""Recrossings: ways over the saddle that are no hop, and hops that go straight back.

Takes the visits of ions to basins; gives how often the ions crossed the planes midway between neighbouring places, of
which transition-state theory counts every one and dynamics only those that end in the core of the other basin
(transmission = hops/crossings; Chandler, doi:10.1063/1.436049). Crossings back and forth between two stored frames
are not seen. It also gives how many hops were reversed within a short time, and how many would be if successive hops
were independent at the same rates:

    expected = sum over hops of k_back/K (1 - exp(-K t)),

with k_back the rate of the reverse of the hop, K the rate of all hops out of the basin that the hop led to, and t the
short time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlip.stages.diffusion.hops import OTHER, Basins, Rate, Visits

NOWHERE_ANGSTROM = 1e-3


@dataclass(frozen=True, kw_only=True)
class Recrossing:
    """Crossings of the planes between places, and hops that were reversed within a short time."""

    crossings: int
    within_ps: float
    reversed: int
    expected: float  # reversed hops if successive hops are independent


def recrossing(found: Sequence[Visits], rates: Sequence[Rate], where: Basins, *, within_ps: float) -> Recrossing:
    """Crossings, and hops whose next hop of the same ion leads back at most `within_ps` later."""
    count = sum(_reversed(visit, within_ps) for visit in found)
    out, back = _rates(rates, where)
    expected = 0.0
    for visit in found:
        for hop, initial, final in visit.jump_kinds:
            leaving = out.get(final, 0.0)
            if leaving > 0:
                part = 1.0 - np.exp(-leaving * within_ps)
                expected += back.get((hop, final, initial), 0.0) / leaving * part
    crossings = sum(visit.crossings for visit in found)
    return Recrossing(crossings=crossings, within_ps=within_ps, reversed=count, expected=float(expected))


def _reversed(visit: Visits, within_ps: float) -> int:
    """Hops of one ion whose next hop leads back in time."""
    apart = np.diff(visit.jump_frames) * visit.frame_ps
    led = np.linalg.norm(visit.jump_vectors[1:] + visit.jump_vectors[:-1], axis=1)
    same = (visit.jump_basins[1:, 1] == visit.jump_basins[:-1, 0]) & (led < NOWHERE_ANGSTROM)
    return int((same & (apart <= within_ps * (1 + 1e-9))).sum())


def _rates(rates: Sequence[Rate], where: Basins) -> tuple[dict[str, float], dict[tuple[str, str, str], float]]:
    """Rate (1/ps) of all hops out of a site, and of one of the equivalent hops of each kind."""
    out: dict[str, float] = {}
    back: dict[tuple[str, str, str], float] = {}
    for rate in rates:
        per_ps = rate.count / rate.exposure_ps if rate.exposure_ps > 0 else 0.0
        out[rate.initial] = out.get(rate.initial, 0.0) + per_ps
        back[rate.hop, rate.initial, rate.final] = per_ps / max(_ways(rate, where), 1)
    return out, back


def _ways(rate: Rate, where: Basins) -> int:
    """Equivalent hops of one kind out of one basin; 1 for a hop that is not of the network."""
    if rate.hop == OTHER:
        return 1
    first = where.titles.index(rate.initial)
    return sum(
        a == first and hop == rate.hop and where.titles[b] == rate.final for (a, b, _), hop in where.kinds.items()
    )
