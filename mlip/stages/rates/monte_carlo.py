"""Kinetic Monte Carlo of several ions that block each other's sites, on the networks of the master equation.

Takes for every species its lattice of hops and the rates; gives the tracer diffusion coefficient of every species with
its standard error. Ions interact by exclusion alone: nobody hops to a site within a radius of another ion. Attraction
and repulsion are not known to the rates of a single ion.

Rejection-free (Bortz, Kalos, Lebowitz, doi:10.1016/0021-9991(75)90060-1): of all hops that are open, one is chosen with
a probability in proportion to its rate; the clock advances by -ln(u) over the sum of the rates. Displacements are
counted between harmonic coordinates of the sites, those for which the mean jump of a lone ion is zero from every site.
They differ from the places of the sites by a bounded shift, so D is the same, and for a lone ion the mean squared
displacement is 2 D t at any time.

The walk is cut into blocks of equal numbers of hops; D is the mean squared displacement of a block over its time. Among
other ions an ion tends to hop back, so D falls with the length of the blocks until they are longer than its memory. A
walk tells of its own whether it was long enough: how many hops D rests on (`carriers`), and whether D falls further in
longer blocks (`remembers`). Memory longer than the whole walk is not seen, such as of rows between which no ion hopped.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from mlip.core.arrays import Array
from mlip.stages.rates.lattice import Lattice, Whole

BURN_IN = 0.1  # part of the steps that come before the first one that counts
BLOCKS = 100  # parts of the walk whose displacements are taken to be independent
JOINED = (2, 4)  # successive blocks that are joined to one, to see whether they are independent
SIGMAS, FALL = 2.0, 0.05  # by which D falls in joined blocks: standard errors, and a part of itself
TRIES = 100  # to place all ions


@dataclass(frozen=True)
class Species:
    """Ions of one kind and where they can go."""

    ion: str
    count: int
    net: Lattice
    per_ps: Array  # (hops, 2) forward and reverse; zero: never taken
    weight: Array  # (sites,) equilibrium weight of one copy
    axes: int


@dataclass(frozen=True)
class Walked:
    """One species after the walk."""

    ion: str
    hops: int
    carriers: float  # number of independent hops that D rests on, see `carriers`
    time_ps: float
    angstrom2_per_ps: float  # tracer diffusion coefficient, mean over the axes
    std_error: float
    remembers: bool  # blocks are not independent, see `remembers`
    blocked: float  # part of all hops, weighted with their rates, that another ion blocks


@dataclass(frozen=True)
class _Moves:
    """The hops from every node of the repeated cell; all species share the numbers of the nodes."""

    target: Whole  # (nodes, most)
    per_ps: Array  # (nodes, most); 0: none
    step: Array  # (nodes, most, 3)
    hop: Whole  # (nodes, most) number of the hop among those of all species
    own: NDArray[np.int64]  # (nodes, most) 1 where the ion itself keeps others from the target
    excluded: tuple[Whole, ...]  # of each node: nodes that an ion there keeps others from, itself included
    weight: Array  # (nodes,)
    species: Whole  # (nodes,)
    first: Whole  # (species + 1,) number of the first hop of each, and of all hops
    spread: Array  # (hops,) what each adds to D of a lone ion, in a unit of the species


def walk(
    species: Sequence[Species], *, repeat: tuple[int, int, int], steps: int, apart_angstrom: float, seed: int
) -> tuple[Walked, ...]:
    """Tracer diffusion of every species from one walk of all ions together.

    Args:
        species: on the same host.
        repeat: of the host's cell along its vectors; the walk is periodic beyond.
        steps: number of hops of all ions together, after the burn-in.
        apart_angstrom: ions are never nearer to each other than this.
        seed: of the random numbers.

    Raises:
        ValueError: the ions do not fit on the sites, or none of them can move.
    """
    rng = np.random.default_rng(seed)
    moves = _moves(species, repeat, apart_angstrom)
    kind = np.repeat(np.arange(len(species)), [s.count for s in species])
    state = _State(moves, _placed(moves, kind, rng))
    state.run(int(BURN_IN * steps), rng)
    blocks = [state.run(max(1, steps // BLOCKS), rng) for _ in range(BLOCKS)]
    return tuple(_walked(one, k, kind == k, moves, blocks) for k, one in enumerate(species))


def _walked(one: Species, number: int, ions: NDArray[np.bool_], moves: _Moves, blocks: Sequence["_Done"]) -> Walked:
    """One species, given its number and which of the ions are its own."""
    ways = np.array([block.way[ions, : one.axes] for block in blocks])
    over = 2 * one.axes * one.count * np.array([block.time_ps for block in blocks])
    value, error = _ratio((ways**2).sum((1, 2)), over)
    open_, all_ = np.sum([block.rates[:, ions].sum(1) for block in blocks], axis=0)
    own = slice(moves.first[number], moves.first[number + 1])
    taken = np.sum([block.hops[own] for block in blocks], axis=0)
    return Walked(
        ion=one.ion,
        hops=int(taken.sum()),
        carriers=carriers(moves.spread[own], taken),
        time_ps=float(sum(block.time_ps for block in blocks)),
        angstrom2_per_ps=value,
        std_error=error,
        remembers=remembers(ways, over),
        blocked=float(1 - open_ / all_),
    )


def carriers(spread: Array, taken: Whole) -> float:
    """Number of independent hops that D rests on; far below the number of all where fast hops lead back and forth.

    Jumps of a lone ion between harmonic coordinates are independent, so D is a sum over the hops. With the part s_h of
    every hop in D, and n_h of them taken by chance, the relative variance of D is sum s_h^2 / n_h, as if it came from
    1 / sum s_h^2 / n_h equal hops. A hop that was never taken counts as taken once: its whole part in D is in doubt.

    Args:
        spread: (hops,) what every hop adds to D of a lone ion, in any unit.
        taken: (hops,) how often.
    """
    if not spread.sum() > 0:
        return 0.0
    return float(1 / ((spread / spread.sum()) ** 2 / np.maximum(taken, 1)).sum())


def remembers(ways: Array, over: Array) -> bool:
    """Whether D falls by more than 2 standard errors when two and when four blocks are joined to one; by 5 % with four.

    Where the blocks are independent, joined ones give the same D. In equilibrium no hop is preferred to its reverse,
    and what an ion remembers brings it back: D can fall with the length of the blocks, but not rise. Looked at are the
    displacements, and their differences from the mean of the ions: ions in single file move on together, and the
    scatter of their common motion would hide that each remembers its place in the file. Of walks without memory, 2 %
    seem to have one.

    Args:
        ways: (blocks, ions, axes) displacements.
        over: (blocks,) by which squared displacements are divided.
    """
    least = FALL * (ways**2).sum() / over.sum()
    for own in (ways, ways - ways.mean(1, keepdims=True)):
        falls = [_fall(own, over, count) for count in JOINED]
        if falls[-1][0] > least and all(fall > SIGMAS * error for fall, error in falls):
            return True
    return False


def _fall(ways: Array, over: Array, count: int) -> tuple[float, float]:
    """By how much D is less where that many successive blocks are joined, and the standard error of independent blocks.

    The mean over all that follow each other: the square of a sum of displacements differs from the sum of the squares
    by twice the products of two of them, and of `count` blocks, `count - k` have their k-th successor among them.
    """
    products = np.zeros(len(ways))
    for k in range(1, count):
        products[:-k] -= 2 * (1 - k / count) * (ways[:-k] * ways[k:]).sum((1, 2))
    return float(products.sum() / over.sum()), float(np.sqrt((products**2).sum()) / over.sum())


@dataclass(frozen=True)
class _Done:
    """What happened in a part of the walk."""

    way: Array  # (ions, 3)
    hops: Whole  # (hops,) how often each was taken, in the order of `_Moves.hop`
    rates: Array  # (2, ions) time integrals of the rates of open hops and of all hops
    time_ps: float


class _State:
    """Where the ions are, and how many of them keep others from each node."""

    def __init__(self, moves: _Moves, at: Whole) -> None:
        self._moves, self._at = moves, at.copy()
        self._kept = np.zeros(len(moves.target), dtype=np.int64)
        for node in at:
            self._kept[moves.excluded[node]] += 1

    def run(self, steps: int, rng: np.random.Generator) -> _Done:
        """Take that many hops.

        Raises:
            ValueError: no ion can move.
        """
        moves, at, kept = self._moves, self._at, self._kept
        way, rates = np.zeros((len(at), 3)), np.zeros((2, len(at)))
        hops = np.zeros(len(moves.spread), dtype=np.int64)
        width, time = moves.target.shape[1], 0.0
        for wait, choice in zip(rng.exponential(size=steps), rng.random(steps), strict=True):
            all_ = moves.per_ps[at]
            open_ = np.where(kept[moves.target[at]] == moves.own[at], all_, 0.0)
            sums = open_.ravel().cumsum()
            if not sums[-1] > 0:
                raise ValueError("no ion can hop: all its sites are blocked; take fewer ions or a larger cell")
            ion, move = divmod(int(sums.searchsorted(choice * sums[-1], side="right")), width)
            dwell = wait / sums[-1]
            rates += dwell * np.array([open_.sum(1), all_.sum(1)])
            time += dwell
            node = at[ion]
            kept[moves.excluded[node]] -= 1
            way[ion] += moves.step[node, move]
            at[ion] = moves.target[node, move]
            kept[moves.excluded[at[ion]]] += 1
            hops[moves.hop[node, move]] += 1
        return _Done(way, hops, rates, time)


def _placed(moves: _Moves, kind: Whole, rng: np.random.Generator) -> Whole:
    """Nodes for the ions, drawn with the equilibrium weights of a lone ion."""
    for _ in range(TRIES):
        free, at = np.ones(len(moves.target), dtype=bool), []
        for k in kind:
            weight = np.where(free & (moves.species == k), moves.weight, 0.0)
            if not weight.sum() > 0:
                break
            at.append(int(rng.choice(len(weight), p=weight / weight.sum())))
            free[moves.excluded[at[-1]]] = False
        else:
            return np.array(at, dtype=np.int64)
    raise ValueError(
        f"{len(kind)} ions do not fit on the sites of the repeated cell; take fewer ions or a larger `repeat`"
    )


def harmonic(net: Lattice, flux: Array) -> Array:
    """Coordinates of the nodes, (n, 3), between which the mean jump from every node is zero.

    Args:
        net: the network.
        flux: (hops,) equilibrium flux of one edge of each hop; zero: not walked.
    """
    weight, steps = flux[net.hop] / flux.max(), net.steps
    laplacian, pull = np.zeros((len(net.site), len(net.site))), np.zeros((len(net.site), 3))
    np.add.at(laplacian, (net.first, net.first), weight)
    np.add.at(laplacian, (net.second, net.second), weight)
    np.add.at(laplacian, (net.first, net.second), -weight)
    np.add.at(laplacian, (net.second, net.first), -weight)
    np.add.at(pull, net.first, weight[:, None] * steps)
    np.add.at(pull, net.second, -weight[:, None] * steps)
    return np.asarray(net.places + np.linalg.lstsq(laplacian, pull, rcond=1e-14)[0])


def _moves(species: Sequence[Species], repeat: tuple[int, int, int], apart: float) -> _Moves:
    """The hops of all species from all nodes of the repeated cell, species by species and cell by cell."""
    cells = np.array(list(product(*(range(r) for r in repeat))))
    sizes = [len(s.net.site) * len(cells) for s in species]
    leaving: list[list[_Leaving]] = []
    first = np.cumsum([0, *(len(s.net.hops) for s in species)])
    for one, begin, before in zip(species, np.cumsum([0, *sizes]), first, strict=False):
        steps, count = list(_steps(one, int(before))), len(one.net.site)
        for cell, node in product(cells, range(count)):
            homes = [int(np.ravel_multi_index(tuple((cell + s.image) % repeat), repeat)) for s in steps[node]]
            leaving.append(
                [replace(s, node=int(begin) + h * count + s.node) for h, s in zip(homes, steps[node], strict=True)]
            )
    places = np.concatenate([((cells @ s.net.cell)[:, None] + s.net.places).reshape(-1, 3) for s in species])
    excluded = _excluded(places, np.array(repeat)[:, None] * species[0].net.cell, apart)
    nodes, most = len(leaving), max(1, *(len(own) for own in leaving))
    target = np.repeat(np.arange(nodes)[:, None], most, axis=1)
    per_ps, step, hop = np.zeros((nodes, most)), np.zeros((nodes, most, 3)), np.zeros((nodes, most), dtype=np.int64)
    for node, steps_of_node in enumerate(leaving):
        for m, one_step in enumerate(steps_of_node):
            target[node, m], per_ps[node, m], step[node, m] = one_step.node, one_step.per_ps, one_step.vector
            hop[node, m] = one_step.hop
    keeps = np.array([np.isin(target[node], excluded[node]) for node in range(nodes)], dtype=np.int64)
    weight = np.concatenate([np.tile(s.weight[s.net.site], len(cells)) for s in species])
    kind = np.repeat(np.arange(len(species)), sizes)
    spread = np.zeros(int(first[-1]))
    np.add.at(spread, hop[per_ps > 0], (weight[:, None] * per_ps * (step**2).sum(2))[per_ps > 0])
    return _Moves(target, per_ps, step, hop, keeps, excluded, weight, kind, first, spread)


@dataclass(frozen=True)
class _Leaving:
    """A hop from one node."""

    node: int  # where it leads
    hop: int  # its number among those of all species
    image: Whole  # (3,) of the cell
    per_ps: float
    vector: Array  # (3,) between harmonic coordinates


def _steps(one: Species, before: int) -> Iterator[list[_Leaving]]:
    """For each node of one cell its hops; `before`: number of hops of the species before this one."""
    net = one.net
    flux = np.where(one.per_ps.min(1) > 0, one.weight[net.ends[:, 0]] * one.per_ps[:, 0], 0.0)
    shift = harmonic(net, flux) - net.places
    vectors = net.steps + shift[net.second] - shift[net.first]
    for node in range(len(net.site)):
        own = []
        for edge in range(len(net.hop)):
            forward, reverse = one.per_ps[net.hop[edge]]
            hop = before + int(net.hop[edge])
            if net.first[edge] == node and forward > 0:
                own.append(_Leaving(int(net.second[edge]), hop, net.image[edge], float(forward), vectors[edge]))
            if net.second[edge] == node and reverse > 0:
                own.append(_Leaving(int(net.first[edge]), hop, -net.image[edge], float(reverse), -vectors[edge]))
        yield own


def _excluded(places: Array, cell: Array, apart: float) -> tuple[Whole, ...]:
    """For each place those nearer than `apart` in the periodic cell, itself included."""
    inverse = np.linalg.inv(cell)
    out = []
    for place in places:
        scaled = (places - place) @ inverse
        scaled -= np.round(scaled)
        near = [np.linalg.norm((scaled + image) @ cell, axis=1) < apart for image in product((-1, 0, 1), repeat=3)]
        out.append(np.flatnonzero(np.any(near, axis=0)))
    return tuple(out)


def _ratio(numbers: Array, over: Array) -> tuple[float, float]:
    """Sum of numbers over a sum, and its standard error from the scatter of the pairs."""
    value = float(numbers.sum() / over.sum())
    left = numbers - value * over
    return value, float(np.sqrt((left**2).sum() * len(left) / (len(left) - 1)) / over.sum())
