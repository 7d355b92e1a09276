"""Straight lines through rates: ln k = ln A - E/(k_B T), from counts.

Takes counts in exposures at several temperatures; gives activation energy, prefactor and the rate at any temperature
with 95 % intervals. Counts are Poisson numbers: L = sum n ln(k t) - k t, so that a temperature without any hop counts
too, as what it is. Flat prior in (ln A, E); the posterior is summed on a grid around its maximum. Where a straight line
does not fit, there is a status and no number: its slope and what it extrapolates to depend on the temperatures chosen.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from mlip.core.arrays import Array
from mlip.core.status import NOT_RESOLVED, RESOLVED, Status
from mlip.core.units import BOLTZMANN_EV_PER_KELVIN
from mlip.stages.diffusion.hops import NOTHING, Estimate

GRID, REACH = 81, 6.0  # points and standard deviations of the grid of the posterior, either way
CURVED = "curved"
LEAST_CHANCE = 0.01  # a straight line less probable than this does not fit


@dataclass(frozen=True, kw_only=True)
class Point:
    """Events at one temperature."""

    temperature_kelvin: float
    count: float  # effective number of independent events
    exposure: float  # rate = count / exposure


@dataclass(frozen=True, kw_only=True)
class Line:
    """An Arrhenius line with its uncertainty; without numbers unless its status is RESOLVED."""

    status: Status  # RESOLVED, CURVED or NOT_RESOLVED
    points: tuple[Point, ...]
    activation_ev: Estimate
    activation_std_ev: float | None
    ln_prefactor: Estimate  # of the rate in its own unit
    temperatures_kelvin: tuple[float, ...]  # of the band, low to high
    band: tuple[Estimate, ...]  # rate there
    at_kelvin: float
    extrapolated: Estimate  # rate at at_kelvin


def line(points: Sequence[Point], *, at_kelvin: float, min_events: float) -> Line:
    """The line through the points, extended to `at_kelvin`; a status instead where there is too little to draw one."""
    kept = tuple(sorted((p for p in points if p.exposure > 0), key=lambda p: p.temperature_kelvin))
    events, hot = sum(p.count for p in kept), [p for p in kept if p.count > 0]
    if len(hot) < 2 or events < min_events:
        what = f"{events:.0f} hops at {len(hot)} temperatures (at least {min_events:g} at 2)"
        return _without_numbers(Status(NOT_RESOLVED, what), kept, at_kelvin)
    return _fitted(kept, at_kelvin)


def _without_numbers(status: Status, points: tuple[Point, ...], at_kelvin: float) -> Line:
    """What there is instead of a line: the points and why."""
    return Line(
        status=status,
        points=points,
        activation_ev=NOTHING,
        activation_std_ev=None,
        ln_prefactor=NOTHING,
        temperatures_kelvin=(),
        band=(),
        at_kelvin=at_kelvin,
        extrapolated=NOTHING,
    )


def _fitted(points: tuple[Point, ...], at_kelvin: float) -> Line:
    counts, exposures = (np.array([getattr(p, name) for p in points]) for name in ("count", "exposure"))
    x = _beta([p.temperature_kelvin for p in points])
    middle = float((counts * x).sum() / counts.sum())
    best, covariance = _maximum(x - middle, counts, exposures)
    chance = _chance(counts, exposures * np.exp(best[0] - best[1] * (x - middle)))
    if chance <= LEAST_CHANCE:
        return _without_numbers(Status(CURVED, f"a straight line has the chance {chance:.1g}"), points, at_kelvin)
    a, b, weight = _posterior(x - middle, counts, exposures, best, covariance)
    temperatures = np.union1d(
        np.linspace(min(at_kelvin, points[0].temperature_kelvin), points[-1].temperature_kelvin, 25), [at_kelvin]
    )
    band = [_exponential(a - b * (z - middle), weight) for z in _beta(temperatures)]
    mean = float((weight * b).sum())
    return Line(
        status=Status(RESOLVED),
        points=points,
        activation_ev=_quantiles(b, weight, float(best[1])),
        activation_std_ev=float(np.sqrt((weight * (b - mean) ** 2).sum())),
        ln_prefactor=_quantiles(a + b * middle, weight, float(best[0] + best[1] * middle)),
        temperatures_kelvin=tuple(float(t) for t in temperatures),
        band=tuple(band),
        at_kelvin=at_kelvin,
        extrapolated=band[int(np.abs(temperatures - at_kelvin).argmin())],
    )


def _chance(counts: Array, expected: Array) -> float:
    """Chance of counts that deviate at least as much from those of the line; 1 where two points leave none."""
    if len(counts) < 3:
        return 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        term = np.where(counts > 0, counts * np.log(counts / expected), 0.0)
    deviance = float(2 * (term - counts + expected).sum())
    return float(stats.chi2.sf(deviance, len(counts) - 2))


def _beta(temperatures: Sequence[float] | Array) -> Array:
    return np.asarray(1.0 / (BOLTZMANN_EV_PER_KELVIN * np.asarray(temperatures, dtype=float)))


def _maximum(x: Array, counts: Array, exposures: Array) -> tuple[Array, Array]:
    """Most likely (ln k at x = 0, E) and its covariance, by Newton's method on a concave function."""
    theta = np.array([np.log(counts.sum() / exposures.sum()), 0.0])
    design = np.column_stack([np.ones_like(x), -x])
    for _ in range(200):
        expected = exposures * np.exp(design @ theta)
        hessian = design.T @ (expected[:, None] * design)
        step = np.linalg.solve(hessian, design.T @ (counts - expected))
        step *= min(1.0, 1.0 / float(np.abs(design @ step).max() + 1e-300))
        theta = theta + step
        if np.abs(step).max() < 1e-12:
            break
    expected = exposures * np.exp(design @ theta)
    return theta, np.linalg.inv(design.T @ (expected[:, None] * design))


def _posterior(x: Array, counts: Array, exposures: Array, best: Array, covariance: Array) -> tuple[Array, Array, Array]:
    """Values of (ln k at x = 0, E) on a grid and their normalised weights, each flat."""
    root = np.linalg.cholesky(covariance)
    u = np.linspace(-REACH, REACH, GRID)
    offsets = np.stack(np.meshgrid(u, u, indexing="ij"), axis=-1).reshape(-1, 2)
    theta = best + offsets @ root.T
    ln_rate = theta[:, :1] - theta[:, 1:] * x
    log_likelihood = (counts * ln_rate - exposures * np.exp(np.minimum(ln_rate, 600.0))).sum(1)
    weight = np.exp(log_likelihood - log_likelihood.max())
    return theta[:, 0], theta[:, 1], np.asarray(weight / weight.sum())


def _quantiles(values: Array, weight: Array, best: float) -> Estimate:
    order = np.argsort(values)
    summed = np.cumsum(weight[order])
    low, high = np.interp([0.025, 0.975], summed, values[order])
    return Estimate(value=best, low=float(low), high=float(high))


def _exponential(values: Array, weight: Array) -> Estimate:
    """Median and interval of the exponential of values."""
    order = np.argsort(values)
    low, middle, high = np.exp(np.interp([0.025, 0.5, 0.975], np.cumsum(weight[order]), values[order]))
    return Estimate(value=float(middle), low=float(low), high=float(high))
