"""Covariances under the linearised network, on a network that is linear: Bayesian linear regression is the answer."""

import numpy as np
from helpers.small_graphs import without_edges
from numpy.testing import assert_allclose

from mlip.stages.train import energy_fit, tangent
from mlip.stages.train.settings import EnergyFitSettings

SETTINGS = EnergyFitSettings(prior_ev=0.5, noise_ev=0.02, small_noise_ev=0.1, min_atoms=3)
TRAINING, FURTHER = (1, 3, 4, 2, 5), (3, 2, 4)
PARAMETERS = 7


class Linear:
    """Energies J p and one force component f p of every frame."""

    def __init__(self, sizes=TRAINING + FURTHER):
        import torch

        draw = np.random.default_rng(2)
        self.frames = [without_edges(n) for n in sizes]
        self.jacobian = draw.normal(size=(len(sizes), PARAMETERS))
        self.of_forces = draw.normal(size=(len(sizes), PARAMETERS))
        self.parameters = [torch.zeros(PARAMETERS, dtype=torch.double, requires_grad=True)]

    def calculated(self, given, *, training):
        import torch

        row = next(k for k, g in enumerate(self.frames) if g is given[0])
        values = [torch.as_tensor(m[row]) @ self.parameters[0] for m in (self.jacobian, self.of_forces)]
        return values[0].reshape(1), values[1].reshape(1, 1)

    def covariance(self, weights):
        count = len(TRAINING)
        return tangent.energy_covariance(
            self.calculated,
            self.parameters,
            self.frames[:count],
            self.frames[count:],
            weights=weights,
            settings=SETTINGS,
            seed=(1, 1),
        )


def test_covariance_is_that_of_bayesian_linear_regression():
    network, weights = Linear(), np.array([1.0, 0.5, 2.0, 1.0, 0.3])
    known, further = network.jacobian[: len(TRAINING)], network.jacobian[len(TRAINING) :]
    diagonal = (weights[:, None] * network.of_forces[: len(TRAINING)] ** 2).sum(0) / weights.sum()
    metric = diagonal + energy_fit.DAMPING * diagonal.mean()
    large = np.array(TRAINING) >= SETTINGS.min_atoms
    scale = 0.5**2 / ((known / metric) @ known.T).diagonal()[large].mean()
    noise = np.where(large, 0.02, 0.1) ** 2 / weights
    precision = np.diag(metric) / scale + known.T @ np.diag(1 / noise) @ known
    found, of_labels = network.covariance(weights)
    assert_allclose(found, further @ np.linalg.inv(precision) @ further.T, rtol=2e-4, atol=2e-6)
    assert_allclose(of_labels, np.array([0.02, 0.1, 0.02]) ** 2, rtol=1e-12)


def test_a_frame_that_was_trained_on_is_known_to_its_noise_and_all_count_where_none_is_large():
    network = Linear(sizes=(2,) * len(TRAINING) + (2, 2))
    network.jacobian[len(TRAINING)] = network.jacobian[0]
    found, of_labels = network.covariance(np.ones(len(TRAINING)))
    assert 0.0 < found[0, 0] < 0.02**2
    assert found[1, 1] > found[0, 0]
    assert_allclose(of_labels, 0.02**2, rtol=1e-12)
