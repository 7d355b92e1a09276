"""Which hop is refined next: the one that can change a verdict.

Takes the network of the run with the barriers known so far, refined ones where they exist; gives the hops that are left
in order: the hop that limits the lowest path of an ion on a facet with a published barrier; then hops of these ions and
facets that could lie below the highest saddle of that path, two standard deviations taken off; then all others.
"""

import math
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from mlip.core.section import Target
from mlip.core.status import Status
from mlip.stages.neb import neb
from mlip.stages.neb.neb import Barrier
from mlip.stages.neb.stage import bottlenecks_of
from mlip.stages.refine.barriers import Relaxed, of_refined, relaxed
from mlip.stages.refine.refined import Refined
from mlip.stages.sites.network import Bottleneck, Hop
from mlip.stages.sites.sites import Site

Key = tuple[str, str, str]  # host, ion, hop


@dataclass(frozen=True)
class Network:
    """Sites, hops and barriers of a run."""

    sites: tuple[Site, ...]
    hops: tuple[Hop, ...]
    barriers: tuple[Barrier, ...]  # of the potential
    published: AbstractSet[tuple[str, str]]  # host and ion of published barriers
    target: Target  # level of the potential


def replaced(barriers: Sequence[Barrier], known: Sequence[Relaxed]) -> list[Barrier]:
    """The barriers with those of DFT in place of the potential's where a hop is refined.

    Where the reverse barrier of a hop between two sites is not known, the difference of the sites is the potential's.
    """
    own_by_hop = {(r.host, r.ion, r.hop): r for r in known}
    out = []
    for barrier in barriers:
        own = own_by_hop.get((barrier.host, barrier.ion, barrier.hop))
        if own is not None:
            barrier = replace(  # noqa: PLW2901
                barrier,
                status=Status(neb.CONVERGED),
                forward_ev=own.forward_ev,
                reverse_ev=_reverse(barrier, own),
                forward_std_ev=own.std_ev,
                reverse_std_ev=own.std_ev,
                d3_forward_ev=own.d3_forward_ev,
                asymmetry_ev=None,
                vacuum_ev=None,
            )
        out.append(barrier)
    return out


def _reverse(barrier: Barrier, own: Relaxed) -> float | None:
    if own.reverse_ev is not None or barrier.symmetric:
        return own.forward_ev if barrier.symmetric else own.reverse_ev
    if barrier.forward_ev is None or barrier.reverse_ev is None:
        return None
    return own.forward_ev - barrier.forward_ev + barrier.reverse_ev


def order(left: Sequence[Hop], network: Network, made: Sequence[Refined], *, error_ev: float) -> list[Hop]:
    """The hops that are left, most decisive first.

    Args:
        left: hops to be refined.
        network: of the run.
        made: hops refined so far.
        error_ev: standard deviation of a barrier of the potential, beside the spread of its committee.
    """
    barriers = replaced(network.barriers, relaxed(of_refined(made), target=network.target))
    lowest = lowest_paths(bottlenecks_of(network.sites, network.hops, barriers))
    sites = {(s.host, s.ion, s.name): s.energy_ev for s in network.sites}
    known = {(b.host, b.ion, b.hop): b for b in barriers if b.forward_ev is not None}

    def rank(hop: Hop) -> tuple[int, float, Key]:
        key, path = (hop.host, hop.ion, hop.name), lowest.get((hop.host, hop.ion))
        barrier = known.get(key)
        height = sites.get((hop.host, hop.ion, hop.initial), 0.0) + ((barrier.forward_ev or 0.0) if barrier else 0.0)
        if path is None or (hop.host, hop.ion) not in network.published:
            return 2, height, key
        if path.limiting_hop == hop.name:
            return 0, height, key
        top = sites.get((path.host, path.ion, path.start), 0.0) + (path.barrier_ev or 0.0)
        sigma = math.hypot((barrier.forward_std_ev or 0.0) if barrier else 0.0, error_ev)
        return 1 if height - 2 * sigma < top else 2, height, key

    return sorted(left, key=rank)


def lowest_paths(paths: Sequence[Bottleneck]) -> dict[tuple[str, str], Bottleneck]:
    """The lowest path that has a barrier, by host and ion."""
    out: dict[tuple[str, str], Bottleneck] = {}
    for path in sorted((p for p in paths if p.barrier_ev is not None), key=lambda p: p.barrier_ev or 0.0):
        out.setdefault((path.host, path.ion), path)
    return out
