"""Covariance of the energies that a trained network gives, once the labels it was trained on are known.

Takes a network, its training frames and further structures; gives the covariance matrix of the energies of these
structures under the network linearised at its weights,

    C_ab = s^2 [K_ab - K_aT (K_TT + noise^2 / s^2 w)^-1 K_Tb],   K = J M^-1 J^T,

with J the derivatives of energies by the parameters and M the diagonal Gauss-Newton matrix of the forces: the Gaussian
process of `energy_fit`, with its scale s and its noise. T are the training frames. Forces of the training frames enter
through M alone; a label of a further structure counts with its energy.

Neural tangent kernel as the kernel of a Gaussian process: doi:10.48550/arXiv.1906.01930.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlip.core.arrays import Array
from mlip.potential.graphs import Graph
from mlip.stages.train.energy_fit import Calculated, allocated, counted, derivatives_of, gradient, noise_of, root_metric
from mlip.stages.train.samples import Sample
from mlip.stages.train.settings import EnergyFitSettings, TrainSettings
from mlip.stages.train.training import Training


def energy_covariance(
    calculated: Calculated,
    parameters: Sequence[Any],
    training: Sequence[Graph],
    structures: Sequence[Graph],
    *,
    weights: Array,
    settings: EnergyFitSettings,
    seed: Sequence[int],
) -> tuple[Array, Array]:
    """Covariance of the energies of the structures (n, n) in eV^2, and the noise of a label of each (n,) in eV^2.

    Args:
        calculated: energies (eV) and forces (eV/Angstrom) of graphs by the network as it is.
        parameters: of the network.
        training: graphs of the training frames.
        structures: graphs of the structures.
        weights: (B,) of the training frames in the training.
        settings: noise and prior.
        seed: of the random signs behind M.

    Raises:
        ValueError: the memory for the derivatives is not there.
    """
    rows = len(training) + len(structures)
    both = allocated(rows, parameters, setting="learn.choose: barrier-variance", remedy="choose: committee-spread")
    known, wanted = both[: len(training)], both[len(training) :]
    diagonal, _ = derivatives_of(calculated, parameters, training, weights, into=known, seed=seed)
    for row, graph in enumerate(structures):
        wanted[row] = gradient(calculated([graph], training=True)[0].sum(), parameters)
    both /= root_metric(diagonal).astype(np.float32)
    sizes = np.array([len(g.positions) for g in (*training, *structures)])
    large = counted(sizes[: len(training)], settings)
    kernel = (known @ known.T).astype(float)
    scale = settings.prior_ev**2 / kernel.diagonal()[large].mean()
    across = scale * (known @ wanted.T).astype(float)
    within = scale * kernel + np.diag(noise_of(large, settings, weights))
    left = scale * (wanted @ wanted.T).astype(float) - across.T @ np.linalg.solve(within, across)
    all_count = bool(large.all() and sizes.max() < settings.min_atoms)
    noise = noise_of(all_count | (sizes[len(training) :] >= settings.min_atoms), settings, np.ones(len(structures)))
    return (left + left.T) / 2, noise


def network(shape: dict[str, Any], weights: dict[str, Any], sample: Sample, *, device: str) -> Training:
    """A network in double precision that gives derivatives by its parameters."""
    exact = Training(TrainSettings(dtype="float64"), shape, weights, device=device, steps_per_epoch=1)
    exact.check_matrices(sample)
    return exact
