"""Barriers and bottlenecks without the hops whose saddles are not proved.

Takes results of `sites`, `neb` and `modes`; gives what may stand in the headline. A saddle that leads to other sites
gives its hop no barrier, but the band is a path between the named sites and its maximum keeps the hop from being taken
for lower. Of other failed saddles nothing is known. Where a proved saddle lies clearly below the bands, the barrier of
the bands is an upper bound.
"""

from dataclasses import replace

from mlip.core.status import Status
from mlip.stages.modes.result import OTHER_SITES, PROVED, Modes, failed_hops
from mlip.stages.neb.neb import Barrier
from mlip.stages.neb.stage import Barriers, bottlenecks_of
from mlip.stages.sites.network import Bottleneck
from mlip.stages.sites.stage import SiteNetwork

NOT_PROVED = "saddle not proved"
APART_EV = 0.05  # between a proved saddle and the bands: more is not their convergence


def proved_barriers(
    found: SiteNetwork, moved: Barriers, modes: Modes | None
) -> tuple[tuple[Barrier, ...], tuple[Bottleneck, ...]]:
    """Barriers, those of failed saddles without a number, and the bottlenecks that follow from them.

    Args:
        found: result of `sites`.
        moved: result of `neb`.
        modes: result of `modes`; None where the stage is not done.
    """
    failed = failed_hops(modes) if modes is not None else {}
    heights = {h.key: h.forward_ev for h in modes.hops if h.status.code == PROVED} if modes is not None else {}
    kept = []
    for barrier in moved.barriers:
        status = failed.get((barrier.host, barrier.ion, barrier.hop))
        if status is None or barrier.forward_ev is None:
            kept.append(_bounded(barrier, heights.get((barrier.host, barrier.ion, barrier.hop))))
            continue
        bare = replace(barrier, forward_ev=None, forward_std_ev=None, reverse_ev=None, reverse_std_ev=None)
        height = barrier.forward_ev if status.code == OTHER_SITES else None
        kept.append(replace(bare, status=Status(NOT_PROVED, str(status)), d3_forward_ev=None, vacuum_ev=height))
    if tuple(kept) == moved.barriers:
        return moved.barriers, moved.bottlenecks
    return tuple(kept), bottlenecks_of(found.sites, found.hops, kept)


def _bounded(barrier: Barrier, proved_ev: float | None) -> Barrier:
    """The barrier with the height (eV) of a proved saddle that lies clearly below it."""
    if proved_ev is None or barrier.forward_ev is None or proved_ev > barrier.forward_ev - APART_EV:
        return barrier
    return replace(barrier, vacuum_ev=proved_ev)
