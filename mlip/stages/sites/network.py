"""The hops between sites, their end points, and the bottleneck of the way from a site to its neighbouring copy.

Takes a relaxed host, its sites and their configurations; gives every hop up to a length that is distinct under the
operations of the host, with both end points on one host: a copy of a site is the operation of the host applied to the
relaxed configuration, its atoms permuted back, so equivalent ends have equal energies by construction.

Bottleneck (minimax) barrier between a start site and its copy one period away, over all paths p of the network:
    B = min_p max_{hops h in p} (E_initial(h) + forward(h)) - E_start
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from types import MappingProxyType

import numpy as np
from ase import Atoms
from ase.geometry import find_mic

from mlip.atoms.structures import is_slab
from mlip.atoms.symmetry import Operation, apply, cell_image, distances, images, operations
from mlip.core.arrays import Array
from mlip.core.status import NOT_RESOLVED, RESOLVED, Status
from mlip.stages.dataset.card import hop_group
from mlip.stages.sites import extra, naming
from mlip.stages.sites.paths import Edge, Node, minimax
from mlip.stages.sites.settings import SitesSettings
from mlip.stages.sites.sites import DESORBED, RELAXED, Site

Vector = tuple[float, float, float]

UPPER_BOUND = "upper bound"  # hops without a barrier might undercut the path

MIN_HOP_ANGSTROM = 0.3  # shorter than this nothing hops
DETOUR = 0.78  # a site nearer than this part of the length to both ends lies between them
MAX_HOST_MOVE_ANGSTROM = 1.5  # farther than this no host atom moves in a single hop


@dataclass(frozen=True, kw_only=True)
class Hop:
    """A distinct hop of an ion between two sites."""

    name: str
    host: str
    ion: str
    initial: str
    final: str
    length_angstrom: float
    vector_angstrom: Vector
    multiplicity: int  # equivalent hops that leave one initial site
    symmetric: bool  # an operation of the host maps one end onto the other: both barriers must agree
    edges: tuple[Edge, ...] = ()  # all its copies in the cell, each in one direction

    @property
    def group(self) -> str:
        """The group that frames on bands of this hop are given, by any member, selected or of refinement."""
        return hop_group(self.name, self.ion)


@dataclass(frozen=True, kw_only=True)
class Bottleneck:
    """The path from a site to its copy one period away whose highest saddle is lowest."""

    host: str
    ion: str
    direction: str
    translation_angstrom: Vector
    start: str
    barrier_ev: float | None  # above the start site
    hops: tuple[str, ...]
    limiting_hop: str | None
    status: Status  # RESOLVED, UPPER_BOUND or NOT_RESOLVED
    least_ev: float | None = None  # with every hop that has no barrier at its lowest possible height; None: no chain


@dataclass(frozen=True)
class _Arrow:
    """A hop as found: from the first copy of one site to a copy of another."""

    initial: Site
    final: Site
    copy: int
    image: tuple[int, int, int]
    start: Array
    vector: Array


def hop_network(
    host: Atoms,
    sites: Sequence[Site],
    relaxed: Mapping[str, Atoms],
    settings: SitesSettings,
    *,
    registry: bool,
) -> list[tuple[Hop, Atoms, Atoms]]:
    """All distinct hops up to max_hop_angstrom with their end points, the shortest between the lowest sites first.

    A hop is named by its sites and length; with `registry`, for anatase, by its kind where it has one (oct, in, par,
    perp_over, 010zz).

    Left out: hops past another site (they are two hops), hops through an atom below the surface, and sites more than
    max_site_ev above the lowest. Where copies of an off-centre site are merged, the ends are those whose distance is
    nearest to that of the centres. The ion is last; final - initial is the displacement of every atom, so interpolate
    without a further minimum image.

    Raises:
        ValueError: when an atom of the host would have to move more than 1.5 Angstrom in a hop.
    """
    found = operations(host, tolerance_angstrom=settings.symmetry_angstrom, keep_top=is_slab(host))
    usable = [s for s in sites if s.status.code != DESORBED and s.energy_ev <= settings.max_site_ev]
    limit = settings.merge_angstrom
    out = []
    for arrow in _distinct(host, found, list(_arrows(host, usable, settings)), limit=limit):
        initial, final = _end_points(host, found, arrow, relaxed, limit=limit)
        vector = final.positions[-1] - initial.positions[-1]
        length = float(np.linalg.norm(vector))
        copies = edges(host, found, (arrow.initial, arrow.final), arrow.start, arrow.vector)
        hop = Hop(
            name=f"{arrow.initial.host}_{arrow.initial.name}-{arrow.final.name}_{length:.2f}",
            host=arrow.initial.host,
            ion=arrow.initial.ion,
            initial=arrow.initial.name,
            final=arrow.final.name,
            length_angstrom=length,
            vector_angstrom=_vector(vector),
            multiplicity=_leaving(copies, is_one_site=arrow.initial.name == arrow.final.name),
            symmetric=arrow.initial.name == arrow.final.name,
            edges=copies,
        )
        out.append((hop, initial, final))
    by_name = {site.name: site for site in usable}
    renamed = named_once([(hop, _kind(host, hop, by_name) if registry else None) for hop, *_ in out])
    return [(hop, *ends) for hop, (_, *ends) in zip(renamed, out, strict=True)]


def bottlenecks(
    sites: Sequence[Site],
    hops: Sequence[Hop],
    barriers: Mapping[str, tuple[float, float] | None],
    *,
    vacuum: Mapping[str, float] = MappingProxyType({}),
) -> list[Bottleneck]:
    """One minimax path for each distinct lattice direction: in the plane of a slab, along all axes of a bulk cell.

    Args:
        sites: of one host and ion; the start is the lowest surface (or bulk) site.
        hops: the network of that host and ion.
        barriers: (forward_ev, reverse_ev) by hop name; None or absent where there is no converged barrier.
        vacuum: by hop name, the maximum of a way without a barrier, above the initial site: the ion left the surface,
            the saddle leads to other sites, or a proved saddle lies below the barrier. The hop is not taken to be
            lower.
    """
    usable = [site for site in sites if site.status.code != DESORBED and site.layer in {"surface", "bulk"}]
    if not usable:
        return []
    start = min(usable, key=lambda site: site.energy_ev)
    energies = {site.name: site.energy_ev for site in sites}
    known = {h.name: energies[h.initial] + b[0] for h in hops if (b := barriers.get(h.name)) is not None}
    ends = {h.name: max(energies[h.initial], energies[h.final]) for h in hops}
    left = {h.name: energies[h.initial] + vacuum[h.name] for h in hops if h.name in vacuum}
    hopeful = ends | left | {name: min(high, left.get(name, high)) for name, high in known.items()}
    steps = [(hop.name, hop.initial, hop.final, hop.edges) for hop in hops]
    first: Node = (start.name, 0, (0, 0, 0))
    out = []
    for period in start.periods:
        target: Node = (start.name, period.copy, period.image)
        sure = minimax(steps, known, start=first, target=target)
        best = minimax(steps, hopeful, start=first, target=target)
        height = max((known[name] for name in sure), default=None)
        least = max((hopeful[name] for name in best), default=None)
        out.append(
            Bottleneck(
                host=start.host,
                ion=start.ion,
                direction=period.direction,
                translation_angstrom=period.translation_angstrom,
                start=start.name,
                barrier_ev=None if height is None else height - start.energy_ev,
                hops=sure or best,
                limiting_hop=None if height is None else max(sure, key=lambda name: known[name]),
                status=_status(start, best, known, hopeful, height=height, least=least),
                least_ev=None if least is None else least - start.energy_ev,
            ),
        )
    return out


def _status(
    start: Site,
    best: tuple[str, ...],
    known: Mapping[str, float],
    hopeful: Mapping[str, float],
    *,
    height: float | None,
    least: float | None,
) -> Status:
    if not best and start.status.code != RELAXED:
        return Status(NOT_RESOLVED, f"the lowest site {start.name} is {start.status}; raise sites.max_steps")
    if not best:
        advice = "raise sites.max_hop_angstrom or depth_angstrom"
        return Status(NOT_RESOLVED, f"no chain of hops leads to the next copy; {advice}")
    missing = ", ".join(sorted({name for name in best if name not in known}))
    if height is None:
        return Status(NOT_RESOLVED, f"no converged barrier for {missing}")
    if least is not None and least < height - 1e-9:
        lower = sorted({name for name in best if name in known and hopeful[name] < known[name]})
        reasons = [f"no converged barrier for {missing}, which could be lower"] if missing else []
        reasons += [f"{name} has a proved saddle below its bands" for name in lower]
        return Status(UPPER_BOUND, "; ".join(reasons))
    return Status(RESOLVED)


def _arrows(host: Atoms, sites: Sequence[Site], settings: SitesSettings) -> Iterator[_Arrow]:
    """All hops that leave the first copy of each site towards the same or a later site."""
    if not sites:
        return
    third = (0,) if is_slab(host) else (-1, 0, 1)
    cells = list(product((-1, 0, 1), (-1, 0, 1), third))
    shifts = np.array(cells) @ host.cell.array
    everywhere = np.concatenate([(np.array(s.copies_angstrom)[:, None] + shifts).reshape(-1, 3) for s in sites])
    for number, initial in enumerate(sites):
        start = np.array(initial.position_angstrom)
        for final in sites[number:]:
            inward = {initial.layer, final.layer} == {"surface", "subsurface"}
            longest = settings.max_in_angstrom if inward else settings.max_hop_angstrom
            for (copy, place), image in product(enumerate(final.copies_angstrom), cells):
                vector = np.array(place) + np.array(image) @ host.cell.array - start
                length = float(np.linalg.norm(vector))
                if extra.is_asked(settings.extra_hops, initial, final, length):
                    yield _Arrow(initial, final, copy, image, start, vector)
                    continue
                if not MIN_HOP_ANGSTROM < length <= longest:
                    continue
                if _passes(everywhere, start, vector, settings.through_angstrom):
                    continue
                inside = "surface" not in {initial.layer, final.layer}
                if inside and _blocked(host, start, vector, settings.blocked_angstrom):
                    continue
                yield _Arrow(initial, final, copy, image, start, vector)


def _passes(places: Array, start: Array, vector: Array, limit: float) -> bool:
    """Whether a place lies closer than limit to the segment, or much nearer to both ends than these to each other."""
    along = (places - start) @ vector / (vector @ vector)
    beside = np.linalg.norm(places - start - np.outer(along, vector), axis=1)
    length = float(np.linalg.norm(vector))
    margin = MIN_HOP_ANGSTROM / length
    passed = (beside < limit) & (along > margin) & (along < 1 - margin)
    farther = np.maximum(np.linalg.norm(places - start, axis=1), np.linalg.norm(places - start - vector, axis=1))
    return bool((passed | (farther < DETOUR * length)).any())


def _blocked(host: Atoms, start: Array, vector: Array, limit: float) -> bool:
    points = start + np.linspace(0.2, 0.8, 13)[:, None] * vector
    return any(distances(host, host.positions, point).min() < limit for point in points)


def _distinct(host: Atoms, found: Sequence[Operation], arrows: list[_Arrow], *, limit: float) -> list[_Arrow]:
    """One of each set of equivalent hops."""
    rest, out = arrows, []
    while rest:
        chosen = rest[0]
        vectors = _equivalent(host, found, chosen, limit=limit)
        same = [
            other
            for other in rest
            if (other.initial.name, other.final.name) == (chosen.initial.name, chosen.final.name)
            and np.linalg.norm(vectors - other.vector, axis=1).min() < limit
        ]
        out.append(chosen)
        rest = [other for other in rest if not any(other is s for s in same)]
    return sorted(out, key=lambda a: (_rank(a.initial), _rank(a.final), round(float(np.linalg.norm(a.vector)), 3)))


def _leaving(copies: Sequence[Edge], *, is_one_site: bool) -> int:
    """How many copies of a hop leave the first copy of its initial site."""
    ahead = sum(i == 0 for i, _, *_ in copies)
    return ahead + sum(j == 0 for _, j, *_ in copies) if is_one_site else ahead


def _rank(site: Site) -> tuple[int, int]:
    return "SUV".index(site.name[0]), int(site.name[1:])


def _equivalent(host: Atoms, found: Sequence[Operation], arrow: _Arrow, *, limit: float) -> Array:
    """Vectors of the hop under all operations that bring either end onto the start; shape (n, 3)."""
    vectors = [arrow.vector]
    for op in found:
        moved, end = apply(host, op, arrow.start), apply(host, op, arrow.start + arrow.vector)
        if distances(host, moved, arrow.start)[0] < limit:
            vectors.append(end - moved)
        if arrow.initial.name == arrow.final.name and distances(host, end, arrow.start)[0] < limit:
            vectors.append(moved - end)
    return np.array(vectors)


def edges(
    host: Atoms, found: Sequence[Operation], ends: tuple[Site, Site], start: Array, vector: Array
) -> tuple[Edge, ...]:
    """All copies of a hop in the cell, each in one direction.

    Args:
        host: relaxed.
        found: its operations.
        ends: initial and final site.
        start: a position of the initial site, (3,) Angstrom.
        vector: from there to a position of the final site, (3,) Angstrom.
    """
    initial, final = ends
    kept: list[Edge] = []
    for op in found:
        moved, end = apply(host, op, start), apply(host, op, start + vector)
        i, first = _locate(host, initial, moved)
        j, last = _locate(host, final, end)
        a, b, c = (y - x for x, y in zip(first, last, strict=True))
        edge, back = (i, j, a, b, c), (j, i, -a, -b, -c)
        if edge not in kept and not (initial.name == final.name and back in kept):
            kept.append(edge)
    return tuple(kept)


def _locate(host: Atoms, site: Site, point: Array) -> tuple[int, tuple[int, int, int]]:
    copies = np.array(site.copies_angstrom)
    copy = int(distances(host, copies, point).argmin())
    return copy, cell_image(host, point - copies[copy])


def _end_points(
    host: Atoms,
    found: Sequence[Operation],
    arrow: _Arrow,
    relaxed: Mapping[str, Atoms],
    *,
    limit: float,
) -> tuple[Atoms, Atoms]:
    """Initial and final configuration of a hop, on one host and without jumps across the cell."""
    initial = relaxed[arrow.initial.name].copy()
    initial.positions[:-1] = host.positions + find_mic(initial.positions[:-1] - host.positions, host.cell, pbc=True)[0]
    initial.positions[-1] = arrow.start
    source, goal = relaxed[arrow.final.name], arrow.start + arrow.vector
    near, ends = _beside(host, found, source.positions[-1], goal=goal, limit=limit)
    _, starts = _beside(host, found, arrow.start, goal=arrow.start, limit=limit)
    between = np.linalg.norm(ends.mean(0) - starts.mean(0))
    choices = []
    for op, end in zip(near, ends, strict=True):
        places = np.empty_like(host.positions)
        places[op.permutation] = apply(host, op, source.positions[:-1])
        steps = find_mic(places - initial.positions[:-1], host.cell, pbc=True)[0]
        excess = abs(float(np.linalg.norm(end - arrow.start)) - between)
        choices.append((round(excess, 2), float((steps**2).sum()), steps, end))
    *_, steps, end = min(choices, key=lambda choice: choice[:2])
    farthest = float(np.linalg.norm(steps, axis=1).max())
    if farthest > MAX_HOST_MOVE_ANGSTROM:
        raise ValueError(
            f"{arrow.initial.host}, hop {arrow.initial.name} to {arrow.final.name}: a host atom would move "
            f"{farthest:.2f} Angstrom between the end points (at most {MAX_HOST_MOVE_ANGSTROM}); the host is rebuilt "
            "at one of them: check these sites or lower sites.max_site_ev",
        )
    final = initial.copy()
    final.positions[:-1] += steps
    final.positions[-1] = end
    return initial, final


def _beside(
    host: Atoms,
    found: Sequence[Operation],
    point: Array,
    *,
    goal: Array,
    limit: float,
) -> tuple[list[Operation], Array]:
    """The operations that bring a point within limit of the goal, and where they bring it (n, 3)."""
    places = images(host, found, point)
    places = goal + find_mic(places - goal, host.cell, pbc=True)[0]
    near = np.flatnonzero(np.linalg.norm(places - goal, axis=1) < limit)
    return [found[int(k)] for k in near], np.asarray(places[near])


def named_once(hops: Sequence[tuple[Hop, str | None]]) -> list[Hop]:
    """The hops, named by their kind where they have one, each name used once."""
    taken: set[str] = set()
    out = []
    for hop, kind in hops:
        name = f"{hop.host}_{kind}" if kind and f"{hop.host}_{kind}" not in taken else hop.name
        number = 2
        while name in taken:
            name, number = f"{hop.name}_{number}", number + 1
        taken.add(name)
        out.append(replace(hop, name=name))
    return out


def _kind(host: Atoms, hop: Hop, sites: Mapping[str, Site]) -> str | None:
    layers = {sites[hop.initial].layer, sites[hop.final].layer}
    facet, vector = hop.host.split("_")[0], np.array(hop.vector_angstrom)
    return naming.kind(host, facet, layers, vector, to_copy=hop.initial == hop.final)


def _vector(point: Array) -> Vector:
    return float(point[0]), float(point[1]), float(point[2])
