"""The closed-form fit of energies: on networks that are linear and on a trained one."""

import numpy as np
import pytest
from helpers.small_graphs import without_edges
from numpy.testing import assert_allclose

from mlip.stages.train import energy_fit
from mlip.stages.train.settings import EnergyFitSettings

SETTINGS = EnergyFitSettings(prior_ev=0.5, noise_ev=0.02, small_noise_ev=0.1, min_atoms=3)
SIZES = (1, 2, 3, 4, 5, 3)
PARAMETERS = 12


class Linear:
    """Energies E_i = J_i p + curvature (J_i p)^2 and, for every frame, one force component f_i p."""

    def __init__(self, curvature=0.0):
        import torch

        draw = np.random.default_rng(1)
        self.frames = [without_edges(n) for n in SIZES]
        self.jacobian = draw.normal(size=(len(SIZES), PARAMETERS))
        self.of_forces = draw.normal(size=(len(SIZES), PARAMETERS)) * np.geomspace(0.1, 3, PARAMETERS)
        self.parameters = [torch.zeros(5, dtype=torch.double), torch.zeros(7, dtype=torch.double)]
        for p in self.parameters:
            p.requires_grad_()
        self.curvature = curvature
        self.energies_ev = draw.normal(scale=0.1, size=len(SIZES))
        self.weights = np.array([1.0, 0.5, 2.0, 1.0, 0.2, 1.0])

    def calculated(self, given, *, training):
        import torch

        row = next(k for k, g in enumerate(self.frames) if g is given[0])
        p = torch.cat(self.parameters)
        energy = torch.as_tensor(self.jacobian[row]) @ p
        force = torch.as_tensor(self.of_forces[row]) @ p
        return (energy + self.curvature * energy**2).reshape(1), force.reshape(1, 1)

    def moved(self):
        return np.concatenate([p.detach().numpy() for p in self.parameters])

    def fit(self):
        return energy_fit.fit(
            self.calculated,
            self.parameters,
            self.frames,
            energies_ev=self.energies_ev,
            weights=self.weights,
            settings=SETTINGS,
            seed=(1, 1),
        )


def test_a_linear_network_moves_to_the_minimum():
    network = Linear()
    found = network.fit()
    moved = network.moved()
    large = np.array(SIZES) >= 3
    diagonal = (network.weights[:, None] * network.of_forces**2).sum(0) / network.weights.sum()
    metric = diagonal + energy_fit.DAMPING * diagonal.mean()
    kernel = (network.jacobian / metric) @ network.jacobian.T
    scale = SETTINGS.prior_ev**2 / kernel.diagonal()[large].mean()
    noise = np.where(large, 0.02, 0.1)
    gradient = network.jacobian.T @ (network.weights * (network.jacobian @ moved - network.energies_ev) / noise**2)
    assert_allclose(gradient + metric * moved / scale, 0, atol=1e-4 * abs(gradient).max())
    assert found.cells == 4
    assert_allclose(found.before_ev, np.sqrt(np.mean(network.energies_ev[large] ** 2)), rtol=1e-6)
    left = network.energies_ev - network.jacobian @ moved
    assert_allclose(found.after_ev, np.sqrt(np.mean(left[large] ** 2)), rtol=1e-4)
    assert found.after_ev < 0.5 * found.before_ev


def test_where_no_cell_is_large_all_count():
    network = Linear()
    network.frames = [without_edges(2) for _ in SIZES]
    assert network.fit().cells == len(SIZES)


def test_a_move_too_far_is_halved_and_one_that_never_helps_is_not_made(caplog):
    network = Linear(curvature=20.0)
    straight = Linear()
    straight.fit()
    found = network.fit()
    assert found.after_ev < found.before_ev
    whole = straight.moved()
    part = network.moved() / whole
    assert_allclose(part, part[0], rtol=1e-3)
    assert_allclose(np.log2(part[0]), np.round(np.log2(part[0])), atol=1e-2)
    assert part[0] < 0.6
    network = Linear(curvature=1e6)
    found = network.fit()
    assert found.after_ev == found.before_ev
    assert_allclose(network.moved(), 0, atol=1e-12)
    assert "train.energy_fit: leaves energies off by" in caplog.text


def test_memory_that_is_not_there(monkeypatch):
    network = Linear()
    monkeypatch.setattr(energy_fit.np, "empty", lambda *_: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(ValueError, match=r"train\.energy_fit: needs .* for 6 frames and 12 parameters; leave it out"):
        network.fit()
