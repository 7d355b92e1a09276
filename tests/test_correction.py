"""The correction against the same process with one dense matrix, on surfaces of known derivatives, and its invariances."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize

from mlip.stages.refine.correction import CONSTANT_EV, Bounds, Correction, Noise, Residual, fitted

NOISE = Noise(energy_ev=2e-3, force_ev_per_angstrom=2e-2)
LENGTH, AMPLITUDE = 1.1, 0.6


def still(vectors):
    return vectors - vectors.mean(axis=-2, keepdims=True)


def residuals(*, count=5, atoms=4, seed=0):
    rng = np.random.default_rng(seed)
    middle = rng.normal(size=(atoms, 3))
    return [
        Residual(
            middle + rng.normal(scale=0.3, size=(atoms, 3)), float(rng.normal()), still(rng.normal(size=(atoms, 3)))
        )
        for _ in range(count)
    ]


def dense(a, b):
    """Covariance of energies and slopes of all coordinates, (n(1+D), m(1+D))."""
    size, l2 = a.shape[1], LENGTH**2
    d = a[:, None] - b[None]
    k = AMPLITUDE**2 * np.exp(-0.5 * (d**2).sum(-1) / l2)
    out = np.zeros((len(a), 1 + size, len(b), 1 + size))
    out[:, 0, :, 0] = k + CONSTANT_EV**2
    out[:, 0, :, 1:] = k[..., None] * d / l2
    out[:, 1:, :, 0] = np.moveaxis(-k[..., None] * d / l2, 2, 1)
    slopes = k[..., None, None] * (np.eye(size) / l2 - d[..., :, None] * d[..., None, :] / l2**2)
    out[:, 1:, :, 1:] = np.moveaxis(slopes, 2, 1)
    return out.reshape(len(a) * (1 + size), -1)


@pytest.fixture(scope="module")
def both():
    """The correction, its dense matrix, its points, and the right-hand side."""
    known = residuals()
    x = np.array([still(r.positions).ravel() for r in known])
    matrix = dense(x, x)
    size = x.shape[1]
    one = np.r_[NOISE.energy_ev**2, np.full(size, NOISE.force_ev_per_angstrom**2)]
    matrix[np.diag_indices_from(matrix)] += np.tile(one, len(known))
    mean = np.mean([r.energy_ev for r in known])
    right = np.concatenate([np.r_[r.energy_ev - mean, -r.forces.ravel()] for r in known])
    return Correction(known, NOISE, length=LENGTH, amplitude=AMPLITUDE), matrix, x, right, mean


def test_energy_and_forces_are_those_of_the_dense_process(both):
    correction, matrix, x, right, mean = both
    place = residuals(count=6)[-1].positions
    wanted = dense(still(place).ravel()[None], x) @ np.linalg.solve(matrix, right)
    energy, forces = correction(place)
    assert_allclose(energy, wanted[0] + mean, rtol=1e-9, atol=0)
    assert_allclose(forces, -wanted[1:].reshape(place.shape), rtol=0, atol=1e-10)


def test_likelihood_is_that_of_the_dense_process_but_for_the_shifts(both):
    """Three directions of each label, shifts of the whole structure, hold no data: the dense process counts them."""
    correction, matrix, x, right, _ = both
    whole = -0.5 * (right @ np.linalg.solve(matrix, right) + np.linalg.slogdet(matrix)[1])
    k = AMPLITUDE**2 * np.exp(-0.5 * ((x[:, None] - x[None]) ** 2).sum(-1) / LENGTH**2) / LENGTH**2
    shifts = 1.5 * np.linalg.slogdet(k + NOISE.force_ev_per_angstrom**2 * np.eye(len(x)))[1]
    assert_allclose(correction.log_likelihood, whole + shifts, rtol=1e-10, atol=0)


def test_deviation_of_a_difference_is_that_of_the_dense_process(both):
    """Two places beside the labels: 0.34 eV, and 0.59 eV where nothing is known."""
    correction, matrix, x, *_ = both
    one, other = (r.positions for r in residuals(count=7)[-2:])
    seen = dense(still(one).ravel()[None], x)[0] - dense(still(other).ravel()[None], x)[0]
    apart = ((still(one) - still(other)) ** 2).sum()
    own = 2 * AMPLITUDE**2 * (1 - np.exp(-0.5 * apart / LENGTH**2))
    wanted = np.sqrt(own - seen @ np.linalg.solve(matrix, seen))
    assert_allclose((wanted, np.sqrt(own)), (0.344, 0.592), rtol=0, atol=5e-4)
    assert_allclose(correction.difference_std(one, other), wanted, rtol=1e-8, atol=0)
    assert_allclose(correction.difference_std(other, one), wanted, rtol=1e-8, atol=0)


def test_forces_are_the_slope_of_the_energy(both):
    correction, place, h = both[0], residuals(count=6)[-1].positions, 1e-4
    for atom, axis in ((0, 0), (2, 1)):
        ahead, behind = place.copy(), place.copy()
        ahead[atom, axis] += h
        behind[atom, axis] -= h
        slope = (correction(ahead)[0] - correction(behind)[0]) / (2 * h)
        assert_allclose(correction(place)[1][atom, axis], -slope, rtol=1e-5, atol=1e-8)


def test_a_shift_of_the_structure_changes_nothing(both):
    correction, place = both[0], residuals(count=6)[-1].positions
    here, there = correction(place), correction(place + np.array([0.3, -1.0, 2.0]))
    assert_allclose(here[0], there[0], rtol=1e-12, atol=0)
    assert_allclose(here[1], there[1], rtol=0, atol=1e-12)
    assert_allclose(here[1].sum(axis=0), 0.0, rtol=0, atol=1e-12)


def test_without_residuals_nothing_is_corrected_and_the_deviation_is_the_prior_one():
    none = Correction([], NOISE, length=LENGTH, amplitude=AMPLITUDE)
    place = np.zeros((3, 3))
    far = place + np.diag([9.0, -9.0, 0.0])
    assert none(place)[0] == 0.0
    assert not none(place)[1].any()
    assert_allclose(none.difference_std(far, place), np.sqrt(2) * AMPLITUDE, rtol=1e-6, atol=0)


def sine(q):
    """Six labels of 0.3 eV sin(q x)."""
    known = []
    for x in np.linspace(-1.0, 1.0, 6):
        positions = np.array([[x, 0.0, 0.0], [-x, 0.0, 0.0]])  # no shift; the path is longer by sqrt 2
        force = 0.3 * q * np.cos(q * x) / 2
        known.append(Residual(positions, 0.3 * np.sin(q * x), np.array([[-force, 0, 0], [force, 0, 0]])))
    return known


def test_likelihood_finds_the_length_of_a_surface():
    """A sine of wave number q along one coordinate: curvature and third derivative set the length, about 1/q."""
    found = {}
    for q in (0.7, 1.6):
        correction = fitted(sine(q), Noise(1e-4, 1e-3), Bounds())
        found[q] = correction.length
        middle = np.array([[0.1, 0.0, 0.0], [-0.1, 0.0, 0.0]])
        assert_allclose(correction(middle)[0], 0.3 * np.sin(0.1 * q), rtol=0.02, atol=0)
    assert found[1.6] < found[0.7]


def test_bounds_hold_and_copies_do_not_move_the_parameters():
    known = residuals()
    narrow = Bounds(length_angstrom=(0.8, 0.9), amplitude_ev=(0.3, 0.4))
    plain, more = fitted(known, NOISE, narrow), fitted(known, NOISE, narrow, copies=residuals(count=2, seed=5))
    assert 0.8 <= plain.length <= 0.9
    assert 0.3 <= plain.amplitude <= 0.4
    assert (plain.length, plain.amplitude) == (more.length, more.amplitude)
    assert more(known[0].positions)[0] != plain(known[0].positions)[0]


def test_parameters_are_those_of_the_largest_likelihood():
    """The second grid has a fourth of the steps of the first: ln(3/0.5)/32 of the length, ln(5/0.02)/32 of the amplitude."""
    known, noise = sine(1.6), Noise(1e-2, 5e-2)

    def cost(logs):
        length, amplitude = np.exp(logs)
        return -Correction(known, noise, length=length, amplitude=amplitude).log_likelihood

    best = minimize(cost, np.log([1.0, 0.3]), method="Nelder-Mead").x
    correction = fitted(known, noise, Bounds())
    assert abs(np.log(correction.length) - best[0]) < np.log(3.0 / 0.5) / 32
    assert abs(np.log(correction.amplitude) - best[1]) < np.log(5.0 / 0.02) / 32


def test_copies_do_not_move_the_parameters_within_wide_bounds():
    """The largest likelihood lies inside; the copies taken as labels would move it."""
    known, copied, wide = residuals(), residuals(count=3, seed=5), Bounds((0.1, 10.0), (0.01, 10.0))
    plain, more = fitted(known, NOISE, wide), fitted(known, NOISE, wide, copies=copied)
    assert 0.2 < plain.length < 5.0
    assert 0.1 < plain.amplitude < 5.0
    assert (more.length, more.amplitude) == (plain.length, plain.amplitude)
    together = fitted([*known, *copied], NOISE, wide)
    assert (together.length, together.amplitude) != (plain.length, plain.amplitude)
    same = Correction([*known, *copied], NOISE, length=plain.length, amplitude=plain.amplitude)
    assert_allclose(more(copied[0].positions)[0], same(copied[0].positions)[0], rtol=1e-12, atol=0)


def test_parameters_stay_at_a_bound_beyond_which_the_likelihood_rises():
    """A slow sine wants a longer length than 3 Angstrom, and a larger amplitude than 0.15 eV."""
    correction = fitted(sine(0.7), NOISE, Bounds((0.5, 3.0), (0.02, 0.15)))
    assert_allclose((correction.length, correction.amplitude), (3.0, 0.15), rtol=1e-12, atol=0)
