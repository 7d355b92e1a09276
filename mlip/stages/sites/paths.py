"""The path through a periodic network whose highest saddle is lowest.

Takes steps (hops with all their copies in one cell) and the energy of the saddle of each; gives the names of the steps
on the minimax path between two nodes. A node is a copy of a site in a lattice image, so the way from a site to its own
image in the next cell is a path too. Method: lowest threshold at which a way exists, then Dijkstra below it.
"""

import heapq
from collections.abc import Mapping, Sequence

Image = tuple[int, int, int]
Edge = tuple[int, int, int, int, int]  # initial copy, final copy, lattice image of the final copy
Step = tuple[str, str, str, tuple[Edge, ...]]  # name, initial site, final site, copies in the cell
Node = tuple[str, int, Image]  # site, copy, lattice image
Leaving = dict[tuple[str, int], list[tuple[str, str, int, Image]]]

REACH = 2  # lattice images on each side that a path may visit


def minimax(steps: Sequence[Step], saddles: Mapping[str, float], *, start: Node, target: Node) -> tuple[str, ...]:
    """Names of the steps on the path whose highest saddle is lowest, with the fewest steps; empty when there is none.

    Args:
        steps: the network; every step can be walked both ways.
        saddles: energy of the saddle by step name; steps without one cannot be walked.
        start: where the path begins.
        target: where it ends.
    """
    for limit in sorted({saddles[name] for name, *_ in steps if name in saddles}):
        walkable = [step for step in steps if saddles.get(step[0], limit + 1.0) <= limit]
        path = _fewest(_leaving(walkable), saddles, start=start, target=target)
        if path:
            return path
    return ()


def _leaving(steps: Sequence[Step]) -> Leaving:
    out: Leaving = {}
    for name, initial, final, edges in steps:
        for i, j, a, b, c in edges:
            out.setdefault((initial, i), []).append((name, final, j, (a, b, c)))
            out.setdefault((final, j), []).append((name, initial, i, (-a, -b, -c)))
    return out


def _fewest(leaving: Leaving, saddles: Mapping[str, float], *, start: Node, target: Node) -> tuple[str, ...]:
    """The path of fewest steps, then of the lowest sum of saddles."""
    queue: list[tuple[int, float, tuple[str, ...], Node]] = [(0, 0.0, (), start)]
    done: set[Node] = set()
    while queue:
        count, total, path, node = heapq.heappop(queue)
        if node == target:
            return path
        if node in done:
            continue
        done.add(node)
        for name, site, copy, (a, b, c) in leaving.get(node[:2], []):
            image = node[2][0] + a, node[2][1] + b, node[2][2] + c
            new: Node = (site, copy, image)
            if new not in done and max(map(abs, image)) <= REACH:
                heapq.heappush(queue, (count + 1, total + saddles[name], (*path, name), new))
    return ()
