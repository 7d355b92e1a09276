"""The hop network of one ion on one host as a periodic graph.

Takes a cell, sites and hops; gives every hop of the cell between copies of sites. A hop of the network stands for all
that are equivalent to it: `Hop.edges` lists them, each in one direction. An edge leads from a copy of the initial site
to a copy of the final site in a lattice image, and can be walked both ways.

Where an ion gets to depends on the lattice images alone: with the images re-counted along a spanning tree (a change of
gauge) every step along the tree is zero and every other one is the lattice vector of a closed loop. Directions in which
no loop leads then have steps of exactly zero.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlip.core.arrays import Array
from mlip.stages.sites.network import Hop
from mlip.stages.sites.sites import Site

Whole = NDArray[np.int64]


@dataclass(frozen=True)
class Lattice:
    """Nodes (copies of sites in one cell) and edges (hops between them)."""

    cell: Array  # (3, 3)
    places: Array  # (n, 3) of the nodes, Angstrom
    names: tuple[str, ...]  # of the sites
    site: Whole  # (n,) of each node, an index of `names`
    hops: tuple[str, ...]  # names of the distinct hops
    ends: Whole  # (hops, 2) initial and final site
    hop: Whole  # (edges,) index of `hops`
    first: Whole  # (edges,) initial node
    second: Whole  # (edges,) final node
    image: Whole  # (edges, 3) of the cell in which the final node lies

    @property
    def steps(self) -> Array:
        """Displacement of every edge from the initial to the final node, (edges, 3) in Angstrom."""
        return np.asarray(self.places[self.second] + self.image @ self.cell - self.places[self.first])

    def ways(self, hop: int, site: int) -> int:
        """Equivalent hops that leave one copy of a site: both senses count where they connect copies of one site."""
        leaving = int((self.site[self.first[self.hop == hop]] == site).sum())
        leaving += int((self.site[self.second[self.hop == hop]] == site).sum())
        return leaving // int((self.site == site).sum())


@dataclass(frozen=True)
class Part:
    """Nodes that a set of hops connects, and the edges between them, in the gauge of a spanning tree."""

    cell: Array  # (3, 3)
    nodes: Whole  # (m,) of the lattice
    edges: Whole  # (k,) of the lattice
    first: Whole  # (k,) of `nodes`
    second: Whole  # (k,)
    image: Whole  # (k, 3); zero along the tree

    @property
    def rank(self) -> int:
        """Number of independent directions in which the ion gets from cell to cell."""
        return int(np.linalg.matrix_rank(self.image)) if len(self.image) else 0


def lattice(cell: Array, sites: Sequence[Site], hops: Sequence[Hop]) -> Lattice:
    """The lattice of the sites and hops of one ion on one host.

    Args:
        cell: (3, 3) of the host.
        sites: with their copies; those that no hop touches are isolated nodes.
        hops: between these sites.

    Raises:
        ValueError: no site, or a hop that leads to a site or a copy that is not there.
    """
    if not sites:
        raise ValueError("a network of hops needs at least one site; run the stage sites")
    names = tuple(s.name for s in sites)
    begin = np.cumsum([0, *(len(s.copies_angstrom) for s in sites)])
    rows = [(number, *_edge(hop, edge, sites, begin)) for number, hop in enumerate(hops) for edge in hop.edges]
    table = np.array(rows, dtype=np.int64).reshape(-1, 6)
    return Lattice(
        cell=np.asarray(cell, dtype=float),
        places=np.array([c for s in sites for c in s.copies_angstrom], dtype=float).reshape(-1, 3),
        names=names,
        site=np.repeat(np.arange(len(sites)), np.diff(begin)),
        hops=tuple(hop.name for hop in hops),
        ends=np.array([(names.index(h.initial), names.index(h.final)) for h in hops], dtype=np.int64).reshape(-1, 2),
        hop=table[:, 0],
        first=table[:, 1],
        second=table[:, 2],
        image=table[:, 3:],
    )


def _edge(hop: Hop, edge: tuple[int, ...], sites: Sequence[Site], begin: Whole) -> tuple[int, ...]:
    named = {s.name: k for k, s in enumerate(sites)}
    i, j, *image = edge
    for name, copy in ((hop.initial, i), (hop.final, j)):
        if name not in named:
            raise ValueError(f"hop {hop.name}: site {name} is not among the sites {', '.join(named)}")
        if not 0 <= copy < len(sites[named[name]].copies_angstrom):
            count = len(sites[named[name]].copies_angstrom)
            raise ValueError(f"hop {hop.name}: leads to copy {copy} of site {name}, which has {count}; run sites again")
    return int(begin[named[hop.initial]]) + i, int(begin[named[hop.final]]) + j, *image


def parts(net: Lattice, hops: Collection[int], start: int) -> list[Part]:
    """The connected parts of the network that hold a copy of a site.

    Args:
        net: the whole network.
        hops: those that can be walked.
        start: the site; parts without it are left out.
    """
    usable = np.flatnonzero(np.isin(net.hop, list(hops)))
    leaving: dict[int, list[int]] = {}
    for edge in usable:
        leaving.setdefault(int(net.first[edge]), []).append(int(edge))
        leaving.setdefault(int(net.second[edge]), []).append(int(edge))
    shifts: dict[int, Whole] = {}
    out = []
    for root in np.flatnonzero(net.site == start):
        if int(root) not in shifts:
            found = _spanned(net, leaving, int(root))
            shifts |= found
            out.append(_part(net, found, usable))
    return out


def _spanned(net: Lattice, leaving: dict[int, list[int]], root: int) -> dict[int, Whole]:
    """The nodes that a spanning tree from the root reaches, each with the image in which the tree finds it."""
    shifts = {root: np.zeros(3, dtype=np.int64)}
    queue = [root]
    for node in queue:
        for edge in leaving.get(node, ()):
            forward = net.first[edge] == node
            other = int(net.second[edge] if forward else net.first[edge])
            if other not in shifts:
                shifts[other] = shifts[node] + (net.image[edge] if forward else -net.image[edge])
                queue.append(other)
    return shifts


def _part(net: Lattice, shifts: dict[int, Whole], usable: Whole) -> Part:
    nodes = np.array(sorted(shifts), dtype=np.int64)
    place = np.full(len(net.site), -1)
    place[nodes] = np.arange(len(nodes))
    edges = usable[place[net.first[usable]] >= 0]
    first, second = net.first[edges], net.second[edges]
    shift = np.array([shifts[int(node)] for node in nodes]).reshape(-1, 3)
    image = net.image[edges] + shift[place[first]] - shift[place[second]]
    return Part(net.cell, nodes, edges, place[first], place[second], image)
