"""Barriers and bottlenecks without the hops whose saddles are not proved.

Takes results of `sites`, `neb` and `modes`; gives what may stand in the headline. A saddle that leads to other sites
gives its hop no barrier, but the band is a path between the named sites and its maximum keeps the hop from being taken
for lower. Of other failed saddles nothing is known.
"""

from dataclasses import replace

from mlip.core.status import Status
from mlip.stages.modes.result import OTHER_SITES, Modes, failed_hops
from mlip.stages.neb.neb import Barrier
from mlip.stages.neb.stage import Barriers, bottlenecks_of
from mlip.stages.sites.network import Bottleneck
from mlip.stages.sites.stage import SiteNetwork

NOT_PROVED = "saddle not proved"


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
    if not failed:
        return moved.barriers, moved.bottlenecks
    kept = []
    for barrier in moved.barriers:
        status = failed.get((barrier.host, barrier.ion, barrier.hop))
        if status is None or barrier.forward_ev is None:
            kept.append(barrier)
            continue
        bare = replace(barrier, forward_ev=None, forward_std_ev=None, reverse_ev=None, reverse_std_ev=None)
        height = barrier.forward_ev if status.code == OTHER_SITES else None
        kept.append(replace(bare, status=Status(NOT_PROVED, str(status)), d3_forward_ev=None, vacuum_ev=height))
    return tuple(kept), bottlenecks_of(found.sites, found.hops, kept)
