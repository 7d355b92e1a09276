"""The residual of DFT and potential around one hop: a Gaussian process on energies and forces.

Takes residuals (DFT minus committee mean) at a few geometries of one cell, their noise, and bounds; gives a smooth
energy and its exact forces anywhere, with the variance of an energy difference. The kernel is a squared exponential in
the Cartesian coordinates x of all atoms, unwrapped and freed of shifts of the whole structure, with a constant of
unknown size:

    cov(E(x), E(y)) = c^2 + a^2 exp(-|x - y|^2 / 2 l^2)

Length l and amplitude a maximise the marginal likelihood within bounds; the noise is that of the labels and is not
fitted. Derivatives of a squared exponential couple the directions that the geometries span and no others: across them
every direction has one and the same small matrix. So n labels of N atoms cost one matrix of n(1 + r), r < n, in place
of n(1 + 3N), with the same result.

Gaussian processes: Rasmussen, Williams (2006), ISBN 026218253X; for saddles: Koistinen et al., J. Chem. Phys. 147,
152720 (2017), doi:10.1063/1.4986787; on top of a fast potential: arXiv:2603.24482.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from mlip.core.arrays import Array

CONSTANT_EV = 1.0  # how well the mean of the energies is taken to be known
STEPS = 9  # of a grid over a bound; a second one refines around its best point
SHIFTS = 3  # of the whole structure, which no energy knows
RANK = 1e-8  # Angstrom, a direction in which geometries differ by less does not count


@dataclass(frozen=True)
class Noise:
    """Standard deviations of the labels."""

    energy_ev: float
    force_ev_per_angstrom: float  # of a component


@dataclass(frozen=True)
class Bounds:
    """Where length and amplitude of the kernel may lie."""

    length_angstrom: tuple[float, float] = (0.5, 3.0)
    amplitude_ev: tuple[float, float] = (0.02, 5.0)


@dataclass(frozen=True)
class Residual:
    """DFT minus potential at one geometry."""

    positions: Array  # (N, 3) Angstrom
    energy_ev: float
    forces: Array  # (N, 3) eV/Angstrom


class Correction:
    """The process with all its parameters; without residuals its energy and forces are zero."""

    def __init__(self, known: Sequence[Residual], noise: Noise, *, length: float, amplitude: float) -> None:
        """`length`: of the kernel, Angstrom; `amplitude`: eV."""
        self.length, self.amplitude = length, amplitude
        size = known[0].positions.size if known else 0
        self._x = np.array([_still(k.positions) for k in known]).reshape(len(known), size)
        energies = np.array([k.energy_ev for k in known])
        slopes = -np.array([_still(k.forces) for k in known]).reshape(len(known), size)
        self._mean = float(energies.mean()) if known else 0.0
        self._centre = self._x.mean(axis=0) if known else np.zeros(size)
        self._span = _span(self._x - self._centre)
        self._z = (self._x - self._centre) @ self._span.T
        self._noise = noise
        along = slopes @ self._span.T
        across = slopes - along @ self._span
        self.log_likelihood = self._solve(energies - self._mean, along, across) if known else 0.0

    def _solve(self, energies: Array, along: Array, across: Array) -> float:
        n, r = along.shape
        self._inner = cho_factor(self._block(self._z, self._z) + self._diagonal(n, r), lower=True)
        k = self._kernel(self._z, self._z)
        self._outer = cho_factor(k / self.length**2 + self._noise.force_ev_per_angstrom**2 * np.eye(n), lower=True)
        given = np.concatenate([energies[:, None], along], axis=1).ravel()
        inner, outer = cho_solve(self._inner, given), cho_solve(self._outer, across)
        weights = inner.reshape(n, 1 + r)
        self._on_energy, self._on_slope = weights[:, 0], weights[:, 1:] @ self._span + outer
        logs = [2 * np.log(np.diag(f[0])).sum() for f in (self._inner, self._outer)]
        directions = self._x.shape[1] - r - SHIFTS
        fit = given @ inner + (across * outer).sum()
        return float(-0.5 * (fit + logs[0] + directions * logs[1]))

    def _diagonal(self, n: int, r: int) -> Array:
        one = np.concatenate([[self._noise.energy_ev**2], np.full(r, self._noise.force_ev_per_angstrom**2)])
        return np.diag(np.tile(one, n))

    def _kernel(self, a: Array, b: Array) -> Array:
        apart = ((a[:, None] - b[None]) ** 2).sum(axis=-1)
        return np.asarray(self.amplitude**2 * np.exp(-0.5 * apart / self.length**2))

    def _block(self, a: Array, b: Array) -> Array:
        """Covariance of energies and slopes within the span, (n(1+r), m(1+r))."""
        k, d, l2 = self._kernel(a, b), a[:, None] - b[None], self.length**2
        size = a.shape[1]
        out = np.zeros((len(a), 1 + size, len(b), 1 + size))
        out[:, 0, :, 0] = k + CONSTANT_EV**2
        out[:, 0, :, 1:] = k[..., None] * d / l2
        out[:, 1:, :, 0] = np.moveaxis(-k[..., None] * d / l2, 2, 1)
        slopes = k[..., None, None] * (np.eye(size) / l2 - d[..., :, None] * d[..., None, :] / l2**2)
        out[:, 1:, :, 1:] = np.moveaxis(slopes, 2, 1)
        return out.reshape(len(a) * (1 + size), len(b) * (1 + size))

    def __call__(self, positions: Array) -> tuple[float, Array]:
        """Energy (eV) and forces (N, 3; eV/Angstrom) to be added to those of the potential at (N, 3)."""
        if not len(self._x):
            return 0.0, np.zeros_like(positions)
        d, l2 = _still(positions) - self._x, self.length**2
        k = self.amplitude**2 * np.exp(-0.5 * (d**2).sum(axis=1) / l2)
        pull = (d * self._on_slope).sum(axis=1)
        energy = self._mean + CONSTANT_EV**2 * self._on_energy.sum() + k @ (self._on_energy + pull / l2)
        slope = (k[:, None] * (self._on_slope / l2 - d * ((self._on_energy + pull / l2) / l2)[:, None])).sum(axis=0)
        return float(energy), -slope.reshape(positions.shape)

    def difference_std(self, high: Array, low: Array) -> float:
        """Posterior standard deviation (eV) of the energy at one geometry (N, 3) minus that at another."""
        x = np.array([_still(high), _still(low)])
        own = 2 * self.amplitude**2 * (1 - np.exp(-0.5 * ((x[0] - x[1]) ** 2).sum() / self.length**2))
        if not len(self._x):
            return float(np.sqrt(own))
        z = (x - self._centre) @ self._span.T
        off = x - self._centre - z @ self._span
        l2 = self.length**2
        k = self.amplitude**2 * np.exp(-0.5 * ((x[:, None] - self._x[None]) ** 2).sum(axis=-1) / l2)
        inside = np.concatenate(
            [k[..., None] + CONSTANT_EV**2, k[..., None] * (z[:, None] - self._z[None]) / l2], axis=-1
        ).reshape(2, -1)
        seen = inside[0] - inside[1]
        known = seen @ cho_solve(self._inner, seen)
        solved = cho_solve(self._outer, k.T)
        for a, b, sign in ((0, 0, 1), (1, 1, 1), (0, 1, -2)):
            known += sign * (off[a] @ off[b]) / l2**2 * (k[a] @ solved[:, b])
        return float(np.sqrt(max(own - known, 0.0)))


def _still(vectors: Array) -> Array:
    """Vectors (N, 3) without their mean, flat: a shift of the whole structure changes no energy."""
    return np.asarray((vectors - vectors.mean(axis=0)).ravel())


def _span(apart: Array) -> Array:
    """Orthonormal directions (r, D) in which geometries (n, D) differ."""
    if not len(apart):
        return np.zeros((0, apart.shape[1]))
    _, sizes, directions = np.linalg.svd(apart, full_matrices=False)
    return np.asarray(directions[sizes > RANK])


def fitted(known: Sequence[Residual], noise: Noise, bounds: Bounds, *, copies: Sequence[Residual] = ()) -> Correction:
    """The process of largest marginal likelihood within the bounds; a grid, so that the result is reproducible.

    Args:
        known: residuals of labels.
        noise: of the labels.
        bounds: of length and amplitude.
        copies: images of the labels under symmetry: data of the process, but nothing new on length and amplitude.
    """
    ranges = [np.log(np.array(bounds.length_angstrom)), np.log(np.array(bounds.amplitude_ev))]
    best = Correction(known, noise, length=_middle(bounds.length_angstrom), amplitude=_middle(bounds.amplitude_ev))
    if not known:
        return best
    if copies:
        best = fitted(known, noise, bounds)
        return Correction([*known, *copies], noise, length=best.length, amplitude=best.amplitude)
    for _ in range(2):
        grids = [np.linspace(low, high, STEPS) for low, high in ranges]
        for length, amplitude in product(*grids):
            found = _tried(known, noise, float(np.exp(length)), float(np.exp(amplitude)))
            if found is not None and found.log_likelihood > best.log_likelihood:
                best = found
        at = np.log([best.length, best.amplitude])
        steps = [grid[1] - grid[0] for grid in grids]
        ranges = [
            np.clip([a - step, a + step], low, high) for a, step, (low, high) in zip(at, steps, ranges, strict=True)
        ]
    return best


def _tried(known: Sequence[Residual], noise: Noise, length: float, amplitude: float) -> Correction | None:
    try:
        return Correction(known, noise, length=length, amplitude=amplitude)
    except LinAlgError:  # labels that contradict a kernel this smooth and this large
        return None


def _middle(bound: tuple[float, float]) -> float:
    return float(np.sqrt(bound[0] * bound[1]))
