"""Hops of ions between the sites of a host, from trajectories.

Takes the network of sites and tracks of ions (unwrapped, the drift of the host taken away); gives visits, hop events,
residence times and rates with intervals.

A random walk on a network is not that of independent jumps: an ion that dips into a dead end comes back the same way.
So jumps are also given between harmonic coordinates y of the basins, those for which the mean jump from every basin is
zero, sum_h w_h (y_to - y_from) = 0 with the frequencies w_h of the hops. The sum of such jumps differs from the way of
the ion by no more than a constant, and as a martingale they are uncorrelated if the ion has no memory of earlier hops.

Milestoning with memory: an ion belongs to the basin whose core it was in last; it has hopped when it comes into the
core of another basin, so that a look over the saddle and back is no hop (Faradjian and Elber, doi:10.1063/1.1738640).
Copies of sites nearer than `basin_angstrom` are one basin. Hops between the same two basins cannot be told apart: they
are counted together under a joint name, which is no hop of the network. The network repeats with the cell of the host,
whatever the supercell of the trajectory. A rate of n hops in time t has the posterior Gamma(n + 1/2, t) (Jeffreys); no
hop at all gives only the upper limit -ln(0.05)/t = 3/t.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial import cKDTree

from mlip.core.arrays import Array
from mlip.stages.diffusion.settings import DiffusionSettings
from mlip.stages.sites.network import Hop
from mlip.stages.sites.sites import RELAXED, Site

Image = tuple[int, int, int]
Way = tuple[int, int, Image]  # basin, basin, image of the second
CORE_PART = 0.4  # of the distance between the nearest two basins: cores do not touch
NOWHERE_ANGSTROM = 1e-6
JOINT = "+"  # between the names of hops that join the same two basins: a jump there may be any of them
OTHER = "other"  # a jump that is no hop of the network


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value with its 95 % interval; without a value, `high` is an upper limit."""

    value: float | None
    low: float | None
    high: float | None

    def scaled(self, factor: float) -> "Estimate":
        """The same in another unit."""
        value, low, high = (None if x is None else factor * x for x in (self.value, self.low, self.high))
        return Estimate(value=value, low=low, high=high)


NOTHING = Estimate(value=None, low=None, high=None)


def poisson_rate(count: float, exposure: float) -> Estimate:
    """Rate of `count` events in `exposure`, with the Jeffreys interval; no event: an upper limit, no value."""
    if exposure <= 0:
        return NOTHING
    if count <= 0:
        return Estimate(value=None, low=None, high=float(-np.log(0.05)) / exposure)
    low, high = stats.gamma.ppf([0.025, 0.975], count + 0.5) / exposure
    return Estimate(value=count / exposure, low=float(low), high=float(high))


@dataclass(frozen=True)
class Basins:
    """The places where an ion stays: copies of sites in one cell of the host, near ones taken together."""

    cell: Array  # (3, 3) of the host
    places: Array  # (n, 3) of the copies
    names: tuple[str, ...]  # (n,) site
    layers: tuple[str, ...]  # (n,) surface, subsurface or bulk
    basin: NDArray[np.int64]  # (n,) of each copy
    offset: NDArray[np.int64]  # (n, 3) image of the basin to which the copy in this cell belongs
    centres: Array  # (b, 3)
    titles: tuple[str, ...]  # (b,) names of the sites inside
    core_angstrom: float
    kinds: Mapping[Way, str]  # hop, or the joint name of hops between the same two basins

    @property
    def is_slab(self) -> bool:
        """Whether the sites lie on and below a surface."""
        return "bulk" not in self.layers

    @property
    def longest(self) -> float:
        """Length of the longest hop of the network; of the shortest edge of the cell where there is none."""
        ways = [self.centres[b] + np.array(n) @ self.cell - self.centres[a] for a, b, n in self.kinds]
        return max((float(np.linalg.norm(w)) for w in ways), default=float(np.linalg.norm(self.cell, axis=1).min()))

    @cached_property
    def tree(self) -> tuple[cKDTree, NDArray[np.int64], NDArray[np.int64]]:
        """Search tree over the copies in this cell and around it, with the copy and the image of each point."""
        images = np.array(list(product((-1, 0, 1), repeat=3)))
        inside = self.places - np.floor(self.places @ np.linalg.inv(self.cell)) @ self.cell
        homes = np.floor(self.places @ np.linalg.inv(self.cell)).astype(int)
        points = (inside[None] + (images @ self.cell)[:, None]).reshape(-1, 3)
        copies = np.tile(np.arange(len(self.places)), len(images))
        moved = (images[:, None] - homes[None]).reshape(-1, 3)
        return cKDTree(points), copies, moved


def basins(cell: Array, sites: Sequence[Site], hops: Sequence[Hop], settings: DiffusionSettings) -> Basins:
    """The basins of one ion on one host.

    Raises:
        ValueError: there is no relaxed site.
    """
    usable = [s for s in sites if s.status.code == RELAXED]
    if not usable:
        raise ValueError("no relaxed site to which the ion could belong; run sites with other settings")
    places = np.array([c for s in usable for c in s.copies_angstrom])
    names = tuple(s.name for s in usable for _ in s.copies_angstrom)
    layers = tuple(s.layer for s in usable for _ in s.copies_angstrom)
    near = _near(cell, places, settings.basin_angstrom)
    basin, offset = _joined(len(places), near)
    centres = np.array([(places - offset @ cell)[basin == b].mean(0) for b in range(basin.max() + 1)])
    titles = tuple("+".join(sorted({names[i] for i in np.flatnonzero(basin == b)})) for b in range(len(centres)))
    kinds = _kinds(hops, {s.name: names.index(s.name) for s in usable}, basin, offset)
    core = min(settings.core_angstrom, CORE_PART * _closest(cell, places, basin, offset))
    return Basins(cell, places, names, layers, basin, offset, centres, titles, core, kinds)


def _kinds(
    hops: Sequence[Hop], first: Mapping[str, int], basin: NDArray[np.int64], offset: NDArray[np.int64]
) -> dict[Way, str]:
    """The name of every way from basin to basin: its hop, or all hops that cannot be told apart, joined by `JOINT`.

    Args:
        hops: of the network.
        first: number of the first copy of each site.
        basin: of each copy, (n,).
        offset: image of the basin to which each copy belongs, (n, 3).
    """
    found: dict[Way, set[str]] = defaultdict(set)
    for hop in hops:
        for i, j, *image in hop.edges:
            if hop.initial not in first or hop.final not in first:
                continue
            a, b = first[hop.initial] + i, first[hop.final] + j
            step = np.array(image) + offset[b] - offset[a]
            if basin[a] == basin[b] and not step.any():
                continue  # inside one basin: such motion is never counted, so it has no rate
            found[int(basin[a]), int(basin[b]), _image(step)].add(hop.name)
            found[int(basin[b]), int(basin[a]), _image(-step)].add(hop.name)
    together: list[set[str]] = []
    for names in found.values():
        apart = [group for group in together if not group & names]
        together = [*apart, names.union(*(group for group in together if group & names))]
    ordered = [h.name for h in sorted(hops, key=lambda h: h.length_angstrom)]
    label = {name: JOINT.join(n for n in ordered if n in group) for group in together for name in group}
    return {way: label[next(iter(names))] for way, names in found.items()}


def _image(step: NDArray[np.int64]) -> Image:
    a, b, c = (int(x) for x in step)
    return a, b, c


def _pairs(cell: Array, places: Array, limit: float) -> list[tuple[int, int, Image, float]]:
    """Pairs of copies within a distance: first, second, cell image of the second, distance."""
    out: list[tuple[int, int, Image, float]] = []
    for image in product((-2, -1, 0, 1, 2), repeat=3):
        apart = np.linalg.norm(places[None] + np.array(image) @ cell - places[:, None], axis=2)
        for i, j in np.argwhere(apart < limit):
            if i != j or any(image):
                out.append((int(i), int(j), (image[0], image[1], image[2]), float(apart[i, j])))
    return out


def _near(cell: Array, places: Array, limit: float) -> dict[int, list[tuple[int, Image]]]:
    found: dict[int, list[tuple[int, Image]]] = defaultdict(list)
    for i, j, image, _ in _pairs(cell, places, limit):
        found[i].append((j, image))
    return found


def _joined(count: int, near: Mapping[int, Sequence[tuple[int, Image]]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Basin of every copy, and the image of that basin to which the copy in this cell belongs."""
    basin, offset = np.full(count, -1), np.zeros((count, 3), dtype=np.int64)
    number = 0
    for start in range(count):
        if basin[start] >= 0:
            continue
        basin[start] = number
        todo = [start]
        while todo:
            i = todo.pop()
            for j, image in near.get(i, ()):
                if basin[j] < 0:
                    basin[j], offset[j] = number, offset[i] - np.array(image)
                    todo.append(j)
        number += 1
    return basin, offset


def _closest(cell: Array, places: Array, basin: NDArray[np.int64], offset: NDArray[np.int64]) -> float:
    """Distance of the nearest two places that are not in the same basin."""
    limit = float(np.linalg.norm(cell, axis=1).max())
    apart = [
        d
        for i, j, image, d in _pairs(cell, places, min(limit + 1e-6, 8.0))
        if basin[i] != basin[j] or (np.array(image) != offset[i] - offset[j]).any()
    ]
    return min(apart, default=limit)


@dataclass(frozen=True)
class Visits:
    """Where one ion was: the basin it belongs to in every frame, and its jumps."""

    frame_ps: float
    basin: NDArray[np.int64]  # (F,); -1 before it came into any core
    copy: NDArray[np.int64]  # (F,) whose core it was in last
    core_frames: NDArray[np.int64]  # (F,) the last frame in a core; -1 before
    crossings: int  # of the planes midway between places, from frame to frame
    jump_frames: NDArray[np.int64]  # (J,) first frame in the new basin
    jump_vectors: Array  # (J, 3) Angstrom, from centre to centre
    jump_basins: NDArray[np.int64]  # (J, 2) it left and came to
    jump_kinds: tuple[tuple[str, str, str], ...]  # (J,) hop, sites it left, sites it came to

    @property
    def known_ps(self) -> float:
        """Time since the ion came into a core."""
        return self.ps_in(np.unique(self.basin[self.basin >= 0]))

    def ps_in(self, basins: Sequence[int] | NDArray[np.int64]) -> float:
        """Time from frames in some basins to the frames after them; the last frame has none after it."""
        return float(np.isin(self.basin[:-1], basins).sum() * self.frame_ps)


def visits(positions: Array, frame_ps: float, where: Basins) -> Visits:
    """Visits of an ion at positions (F, 3)."""
    scaled = positions @ np.linalg.inv(where.cell)
    homes = np.floor(scaled).astype(np.int64)
    tree, copies, images = where.tree
    distance, nearest = tree.query((scaled - homes) @ where.cell)
    inside = distance < where.core_angstrom
    if not inside.any():
        none = np.full(len(positions), -1)
        return Visits(frame_ps, none, none, none, 0, np.empty(0, int), np.empty((0, 3)), np.empty((0, 2), int), ())
    last = np.maximum.accumulate(np.where(inside, np.arange(len(positions)), -1))
    point = nearest[np.maximum(last, 0)]
    copy = copies[point]
    image = homes[np.maximum(last, 0)] + images[point] + where.offset[copy]
    basin = where.basin[copy]
    begun = last >= 0
    state = np.column_stack([basin, image])
    changed = np.flatnonzero((state[1:] != state[:-1]).any(1) & begun[:-1]) + 1
    before, after = state[changed - 1], state[changed]
    vectors = where.centres[after[:, 0]] - where.centres[before[:, 0]] + (after[:, 1:] - before[:, 1:]) @ where.cell
    kinds = tuple(
        (
            where.kinds.get((int(a[0]), int(b[0]), _image(b[1:] - a[1:])), OTHER),
            where.titles[int(a[0])],
            where.titles[int(b[0])],
        )
        for a, b in zip(before, after, strict=True)
    )
    between = np.column_stack([before[:, 0], after[:, 0]])
    around = np.column_stack([where.basin[copies[nearest]], homes + images[nearest] + where.offset[copies[nearest]]])
    crossings = int(((around[1:] != around[:-1]).any(1) & begun[:-1]).sum())
    basin, copy = np.where(begun, basin, -1), np.where(begun, copy, -1)
    return Visits(frame_ps, basin, copy, last, crossings, changed, vectors, between, kinds)


def leading_jumps(found: Sequence[Visits], where: Basins) -> list[Array]:
    """The jumps (J, 3) of every ion between the harmonic coordinates of basins; those that lead nowhere left out."""
    shift = harmonic(where, Counter(kind[0] for visit in found for kind in visit.jump_kinds))
    out = []
    for visit in found:
        vectors = visit.jump_vectors + shift[visit.jump_basins[:, 1]] - shift[visit.jump_basins[:, 0]]
        out.append(vectors[np.linalg.norm(vectors, axis=1) > NOWHERE_ANGSTROM])
    return out


def harmonic(where: Basins, frequencies: Mapping[str, float]) -> Array:
    """Harmonic coordinates of basins less their centres, (b, 3), from the frequency of each hop over all its copies."""
    edges = Counter(where.kinds.values())
    matrix, pull = np.zeros((len(where.centres), len(where.centres))), np.zeros_like(where.centres)
    for (a, b, image), hop in where.kinds.items():
        weight = frequencies.get(hop, 0.0) / edges[hop]
        matrix[a, a] += weight
        matrix[a, b] -= weight
        pull[a] += weight * (where.centres[b] + np.array(image) @ where.cell - where.centres[a])
    return np.asarray(np.linalg.lstsq(matrix, pull, rcond=1e-10)[0])


@dataclass(frozen=True, kw_only=True)
class Rate:
    """How often an ion leaves a site by a hop: over all its equivalent ways."""

    hop: str
    initial: str
    final: str
    count: int
    exposure_ps: float  # time in the initial site
    per_ps: Estimate


def rates(found: Sequence[Visits], where: Basins) -> tuple[Rate, ...]:
    """Rates of every hop that happened, and limits for those of the network that did not."""
    counts: dict[tuple[str, str, str], int] = {}
    for (a, b, _), hop in where.kinds.items():
        if hop != OTHER:
            counts.setdefault((hop, where.titles[a], where.titles[b]), 0)
    for visit in found:
        for kind in visit.jump_kinds:
            counts[kind] = counts.get(kind, 0) + 1
    exposure = {
        title: sum(v.ps_in([b for b, t in enumerate(where.titles) if t == title]) for v in found)
        for title in set(where.titles)
    }
    return tuple(
        Rate(hop=hop, initial=a, final=b, count=n, exposure_ps=exposure[a], per_ps=poisson_rate(n, exposure[a]))
        for (hop, a, b), n in sorted(counts.items(), key=lambda item: (item[0][0] == OTHER, item[0]))
    )


def residence_ps(found: Sequence[Visits]) -> float | None:
    """Mean time between jumps; None without jumps."""
    jumps = sum(len(v.jump_frames) for v in found)
    return sum(v.known_ps for v in found) / jumps if jumps else None


def time_in_layers(found: Sequence[Visits], where: Basins) -> dict[str, float]:
    """Part of the time in each layer that the network has; empty when no ion came into any core."""
    layers = np.array([*where.layers, ""])
    seen = np.concatenate([layers[v.copy] for v in found]) if found else np.empty(0, dtype=str)
    known = seen[seen != ""]
    if not len(known):
        return {}
    return {layer: float((known == layer).mean()) for layer in dict.fromkeys(where.layers)}
