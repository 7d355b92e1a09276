r"""The diffusion tensor of one ion on a periodic network of hops, from the master equation: exact, no sampling.

Takes rates of the hops in both senses; gives D. With the equilibrium weights p_i of the sites, detailed balance makes
the flux of an edge, w = p_i k_ij = p_j k_ji, the same both ways, and D is a minimum over shifts y_i of the sites:

    D = min_y sum_edges w (d + y_j - y_i)(d + y_j - y_i)^T,    d: displacement along the edge

At the minimum the mean jump from every site is zero. Written out this is the uncorrelated part sum w d d^T less a
term with the pseudo-inverse of the generator, the correlation of successive jumps (back and forth between a pair of
near sites leads nowhere). The minimum is found by elimination of one site after another: a site with edges (w_a, d_a)
to its neighbours is replaced by edges of w_a w_b / sum w and d_b - d_a between each pair of neighbours. Only positive
numbers are added, so D keeps its relative accuracy where rates differ by many orders of magnitude.

Reversible walks in periodic networks: Kipnis, Varadhan, doi:10.1007/BF01210789; the elimination is the star-mesh
transformation of electrical networks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mlip.core.arrays import Array
from mlip.stages.rates.lattice import Lattice, Part, Whole

UNKNOWN = 1e-4  # weight in the least squares of a hop whose rate is a guess


@dataclass(frozen=True)
class Equilibrium:
    """Weights of the sites and fluxes of the hops; s is a number of samples."""

    ln_weight: Array  # (s, sites) of one copy, not normalised
    ln_flux: Array  # (s, hops) of one edge, normalised alike
    imbalance: float  # largest |ln| by which a known hop of the first sample violates detailed balance


def equilibrium(net: Lattice, ln_forward: Array, ln_reverse: Array, *, known: NDArray[np.bool_]) -> Equilibrium:
    """Weights and fluxes that obey detailed balance with the rates of all hops.

    The weights of the sites follow from the ratios of the rates, ln p_j - ln p_i = ln k_ij - ln k_ji, by least squares
    over the hops; where hops close loops, rates of independent sources need not fit together, and `imbalance` says by
    how much. The flux of a hop is the geometric mean of both senses.

    Args:
        net: the network.
        ln_forward: (s, hops) logarithms of the rates of one edge.
        ln_reverse: the same of the reverse hop.
        known: (hops,) whether the rates are known; those that are not say nothing where known ones speak.
    """
    incidence = np.zeros((len(net.hops), len(net.names)))
    rows = np.arange(len(net.hops))
    np.add.at(incidence, (rows, net.ends[:, 1]), 1.0)
    np.add.at(incidence, (rows, net.ends[:, 0]), -1.0)
    trust = np.where(known, 1.0, UNKNOWN)
    ratio = ln_forward - ln_reverse
    weight = ratio * trust @ np.linalg.pinv(incidence * trust[:, None]).T
    left = np.abs(ratio[0] - incidence @ weight[0])[known]
    flux = (weight[:, net.ends].sum(2) + ln_forward + ln_reverse) / 2
    return Equilibrium(weight, flux, float(left.max(initial=0.0)))


def require_balance(net: Lattice, imbalance: float, *, factor: float) -> None:
    """Refuse rates that violate detailed balance by more than a factor.

    Args:
        net: the network.
        imbalance: see `Equilibrium`.
        factor: largest one that is allowed.

    Raises:
        ValueError: they do.
    """
    if imbalance > np.log(factor):
        raise ValueError(
            f"the rates of the hops {', '.join(net.hops)} violate detailed balance by a factor of "
            f"{np.exp(min(imbalance, 700.0)):.3g} (at most {factor:g}): the energy of a site differs from hop to hop; "
            "relax the end points tighter"
        )


def diffusion_tensor(net: Lattice, found: Equilibrium, walked: Sequence[Part], *, nodes: Whole) -> Array:
    """D in Angstrom^2/ps, (s, 3, 3): symmetric, positive semidefinite, exactly zero where no chain of hops leads.

    Args:
        net: the network.
        found: weights and fluxes.
        walked: parts of the network on which the ion moves.
        nodes: over which an ion in equilibrium is spread, those of the parts or more.
    """
    ln_nodes = found.ln_weight[:, net.site[nodes]]
    highest = ln_nodes.max(axis=1, keepdims=True)
    total = np.exp(ln_nodes - highest).sum(1)
    whole = np.zeros((len(ln_nodes), 3, 3))
    for part in walked:
        whole += reduced(part, np.exp(found.ln_flux[:, net.hop[part.edges]] - highest))
    return np.asarray(np.einsum("ia,sij,jb->sab", net.cell, whole / total[:, None, None], net.cell))


def reduced(part: Part, flux: Array) -> Array:
    """The minimum over shifts of the sites of sum w (d + y_j - y_i)(d + y_j - y_i)^T, in lattice vectors: (s, 3, 3).

    Args:
        part: connected nodes and the edges between them.
        flux: (s, edges) weight of every edge.
    """
    count, samples = len(part.nodes), len(flux)
    mesh = _Mesh(np.zeros((count, count, samples)), np.zeros((count, count, 3, samples)))
    near: list[set[int]] = [set() for _ in range(count)]
    closed = np.zeros((3, 3, samples))
    for number, (first, second) in enumerate(zip(part.first, part.second, strict=True)):
        i, j, weight = int(first), int(second), flux[:, number]
        step = np.broadcast_to(part.image[number].astype(float)[:, None], (3, samples))
        closed += mesh.join(i, j, weight, step) if i != j else _outer(weight, step)
        near[i] |= {j} - {i}
        near[j] |= {i} - {j}
    left = set(range(count))
    while len(left) > 1:
        last = min(left, key=lambda node: (len(near[node]), node))
        around = sorted(near[last])
        total = mesh.weight[last, around].sum(0)
        shares = mesh.weight[last, around] / np.where(total > 0, total, 1.0)
        for (_, i), (b, j) in combinations(enumerate(around), 2):
            step = mesh.step[last, j] - mesh.step[last, i]
            closed += mesh.join(i, j, mesh.weight[last, i] * shares[b], step)
        for i in around:
            near[i] = (near[i] | near[last]) - {i, last}
        left.remove(last)
    return np.asarray(closed.transpose(2, 0, 1))


@dataclass(frozen=True)
class _Mesh:
    """Edges between pairs of nodes, for every sample: weights (n, n, s), steps (n, n, 3, s), both ways."""

    weight: Array
    step: Array

    def join(self, i: int, j: int, weight: Array, step: Array) -> Array:
        """Put an edge from i to j beside the one that is there; what both leave as a constant, (3, 3, s)."""
        old_weight, old_step = self.weight[i, j].copy(), self.step[i, j].copy()
        both = old_weight + weight
        safe = np.where(both > 0, both, 1.0)
        self.weight[i, j] = self.weight[j, i] = both
        self.step[i, j] = (old_weight * old_step + weight * step) / safe
        self.step[j, i] = -self.step[i, j]
        return _outer(old_weight * weight / safe, step - old_step)


def _outer(weight: Array, step: Array) -> Array:
    """Weight (s,) times step step^T of a step (3, s): (3, 3, s)."""
    return np.asarray(weight * (step[:, None] * step[None, :]))
