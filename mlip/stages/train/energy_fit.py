"""Energies of a trained network, fitted in closed form with the least change of its forces.

Takes a network and the reference energies of its training frames; moves the parameters once. The loss of a training
is nearly all forces, so energies along a path are off by what the errors of forces add up to, on frames trained on
too. Updates do not mend it: the gradients of energies of large cells are a thousand times those of forces. But over
the small move that is needed energies are nearly linear in the parameters, and the best move is known,

    minimise  sum_i w_i (E_i + J_i d - E_ref,i)^2 / noise_i^2  +  d^T M d / s^2,
    d = s^2 M^-1 J^T (s^2 J M^-1 J^T + noise^2 / w)^-1 (E_ref - E),

with J the derivatives of the energies of cells and M the diagonal of the Gauss-Newton matrix of all force components:
the more forces depend on a parameter, the less it moves. M is estimated with random signs
(doi:10.1016/j.apnum.2007.01.003). It is a Gaussian process on the energies whose kernel is that of the network
(doi:10.48550/arXiv.1906.01930), with what the forces have taught as its prior, as in doi:10.1073/pnas.1611835114. The
scale s gives energies of cells of `min_atoms` and more the standard deviation `prior_ev` before their labels are seen.

Noise is what the network cannot know: energies of small crowded cells hold a part of the cell's own (k-points, filling
of bands, docs/method.md), those of large ones little.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlip.core.arrays import Array
from mlip.potential.graphs import Graph
from mlip.stages.train.settings import EnergyFitSettings

log = logging.getLogger(__name__)

Calculated = Callable[..., tuple[Any, Any]]  # graphs, training=bool -> energies (B,), forces (N, 3)

PARTS = tuple(0.5**k for k in range(7))  # of the move, where energies are not linear over all of it
DAMPING = 0.01  # of the mean of the diagonal, for parameters on which hardly any force depends


@dataclass(frozen=True, kw_only=True)
class EnergyFit:
    """What the fit did to the energies of the cells that count; root mean squares per cell over its training frames."""

    cells: int
    before_ev: float
    after_ev: float


def fit(
    calculated: Calculated,
    parameters: Sequence[Any],
    graphs: Sequence[Graph],
    *,
    energies_ev: Array,
    weights: Array,
    settings: EnergyFitSettings,
    seed: Sequence[int],
) -> EnergyFit:
    """Move the parameters to the energies, less far where all the way makes them no better; says what came of it.

    Args:
        calculated: energies (eV) and forces (eV/Angstrom) of graphs by the network as it is.
        parameters: of the network, as tensors that are changed in place.
        graphs: of the training frames.
        energies_ev: (B,) reference energies of the frames, eV.
        weights: (B,) of the frames in the training.
        settings: noise and prior.
        seed: of the random signs.

    Raises:
        ValueError: the memory for the derivatives is not there.
    """
    large = counted(np.array([len(g.positions) for g in graphs]), settings)
    derivatives = allocated(len(graphs), parameters, setting="train.energy_fit", remedy="energy_fit: null")
    diagonal, found = derivatives_of(calculated, parameters, graphs, weights, into=derivatives, seed=seed)
    missing = energies_ev - found
    step = _step(derivatives, diagonal, missing, weights=weights, large=large, settings=settings)
    cells = [g for g, counts in zip(graphs, large, strict=True) if counts]
    before, after = _rms(missing[large]), np.inf
    for part in PARTS:
        _add(parameters, part * step)
        after = _rms(energies_ev[large] - np.array([_energy(calculated, g) for g in cells]))
        if after < before:
            return EnergyFit(cells=int(large.sum()), before_ev=before, after_ev=after)
        _add(parameters, -part * step)
    log.warning(
        "train.energy_fit: leaves energies off by %.3g eV a cell where they were off by %.3g eV; not used",
        after,
        before,
    )
    return EnergyFit(cells=int(large.sum()), before_ev=before, after_ev=before)


def allocated(rows: int, parameters: Sequence[Any], *, setting: str, remedy: str) -> NDArray[np.float32]:
    """Memory for derivatives (rows, P).

    Raises:
        ValueError: the memory is not there; the message names the setting that asks for it and the remedy.
    """
    count = sum(p.numel() for p in parameters)
    try:
        return np.empty((rows, count), np.float32)
    except MemoryError as error:
        size = 4e-9 * rows * count
        raise ValueError(
            f"{setting}: needs {size:.1f} GB for {rows} frames and {count} parameters; leave it out with {remedy}"
        ) from error


def derivatives_of(
    calculated: Calculated,
    parameters: Sequence[Any],
    graphs: Sequence[Graph],
    weights: Array,
    *,
    into: NDArray[np.float32],
    seed: Sequence[int],
) -> tuple[Array, Array]:
    """Diagonal of the Gauss-Newton matrix of a force component (P,) and energies (B,); fills `into` (B, P), dE/dp."""
    import torch

    signs = np.random.default_rng(list(seed))
    diagonal, components, energies = np.zeros(into.shape[1]), 0.0, np.zeros(len(graphs))
    for row, graph in enumerate(graphs):
        energy, forces = calculated([graph], training=True)
        sign = torch.as_tensor(signs.choice([-1.0, 1.0], size=tuple(forces.shape))).to(forces)
        diagonal += weights[row] * gradient((sign * forces).sum(), parameters) ** 2
        components += weights[row] * forces.numel()
        into[row] = gradient(energy.sum(), parameters)
        energies[row] = float(energy.detach())
    return diagonal / components, energies


def _step(
    derivatives: NDArray[np.float32],
    diagonal: Array,
    missing: Array,
    *,
    weights: Array,
    large: NDArray[np.bool_],
    settings: EnergyFitSettings,
) -> Array:
    """The move of the parameters (P,); `derivatives` are scaled in place."""
    root = root_metric(diagonal)
    derivatives /= root.astype(np.float32)
    kernel = (derivatives @ derivatives.T).astype(float)
    scale = settings.prior_ev**2 / kernel.diagonal()[large].mean()
    found = np.linalg.solve(scale * kernel + np.diag(noise_of(large, settings, weights)), missing)
    move: Array = scale * (derivatives.T @ found.astype(np.float32)).astype(float) / root
    return move


def root_metric(diagonal: Array) -> Array:
    """Root of the damped diagonal M (P,): derivatives divided by it have the kernel J M^-1 J^T as their products."""
    return np.asarray(np.sqrt(diagonal + DAMPING * diagonal.mean()))


def counted(sizes: NDArray[np.int_], settings: EnergyFitSettings) -> NDArray[np.bool_]:
    """Which cells count, by their numbers of atoms: those of `min_atoms` and more, or all where none has as many."""
    large = sizes >= settings.min_atoms
    return large if large.any() else np.ones(len(sizes), bool)


def noise_of(large: NDArray[np.bool_], settings: EnergyFitSettings, weights: Array) -> Array:
    """Variance of the noise of the energy labels (B,) in eV^2: of cells that count, and of smaller ones."""
    noise = np.where(large, settings.noise_ev, settings.small_noise_ev)
    return np.asarray(noise**2 / np.maximum(weights, 1e-6))


def _energy(calculated: Calculated, graph: Graph) -> float:
    return float(calculated([graph], training=False)[0].detach())


def gradient(value: Any, parameters: Sequence[Any]) -> Array:
    """Derivatives by all parameters (P,), zero by those that the value does not hold; the graph is kept."""
    import torch

    found = torch.autograd.grad(value, parameters, retain_graph=True, materialize_grads=True)
    flat: Array = torch.cat([g.reshape(-1) for g in found]).cpu().double().numpy()
    return flat


def _add(parameters: Sequence[Any], step: Array) -> None:
    import torch

    first = 0
    with torch.no_grad():
        for p in parameters:
            p.add_(torch.as_tensor(step[first : first + p.numel()]).to(p).view_as(p))
            first += p.numel()


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2)))
