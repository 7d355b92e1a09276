"""Rates of one hop against partition functions that are written out."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mlip.core.units import BOLTZMANN_EV_PER_KELVIN, PLANCK_EV_PS
from mlip.stages.rates import transition

MINIMUM, SADDLE, IMAGINARY = (4.0, 9.0, 21.0), (7.0, 18.0), 6.0


def partition(frequencies, temperature):
    """Of harmonic oscillators, energies counted from the bottom of the well."""
    x = PLANCK_EV_PS * np.array(frequencies) / (BOLTZMANN_EV_PER_KELVIN * temperature)
    return np.prod(np.exp(-x / 2) / (1 - np.exp(-x)))


def test_the_prefactor_is_the_ratio_of_products():
    assert_allclose(transition.vineyard_thz(MINIMUM, SADDLE), 4 * 9 * 21 / (7 * 18), rtol=1e-12, atol=0)
    assert_allclose(transition.vineyard_thz((5.0,), ()), 5.0, rtol=1e-12, atol=0)  # one dimension


def test_the_prefactor_of_a_well_and_a_saddle_in_two_dimensions():
    """V = E (3 x^2 - 2 x^3) + c(x) y^2 / 2 of mass m: curvatures 6E, c(0) at x = 0 and -6E, c(1) at x = 1."""
    energy, mass, soft, hard = 0.4, 6.94, 1.5, 4.0  # eV, u, eV/Angstrom^2
    to_thz = np.sqrt(1.602176634e-19 / 1.66053906660e-27) * 1e10 * 1e-12 / (2 * np.pi)
    along, well, top = (to_thz * np.sqrt(k / mass) for k in (6 * energy, soft, hard))
    exact = to_thz * np.sqrt(6 * energy / mass) * np.sqrt(soft / hard)
    assert_allclose(transition.vineyard_thz(sorted((along, well)), (top,)), exact, rtol=1e-12, atol=0)
    rate = np.exp(transition.ln_classical(exact, energy, 300.0))
    assert_allclose(rate, exact * np.exp(-energy / (8.617333262e-5 * 300)), rtol=1e-12, atol=0)


@pytest.mark.parametrize("temperature", [50.0, 300.0, 1200.0])
def test_the_quantum_rate_has_quantum_partition_functions(temperature):
    """k = kT/h Q_saddle/Q_minimum exp(-E/kT)."""
    attempts = BOLTZMANN_EV_PER_KELVIN * temperature / PLANCK_EV_PS
    exact = attempts * partition(SADDLE, temperature) / partition(MINIMUM, temperature)
    found = transition.vineyard_thz(MINIMUM, SADDLE) * np.exp(transition.ln_quantum(MINIMUM, SADDLE, temperature))
    assert_allclose(found, exact, rtol=1e-10, atol=0)


def test_quantum_rates_are_classical_when_hot_and_lose_the_zero_point_energy_when_cold():
    assert_allclose(transition.ln_quantum(MINIMUM, SADDLE, 3e5), 0.0, rtol=0, atol=1e-5)
    slope = [-transition.ln_quantum(MINIMUM, SADDLE, t) * BOLTZMANN_EV_PER_KELVIN * t for t in (0.5, 1.0)]
    expected = PLANCK_EV_PS / 2 * (7 + 18 - 4 - 9 - 21)
    assert_allclose(transition.zero_point_ev(MINIMUM, SADDLE), expected, rtol=1e-12, atol=0)
    assert_allclose(2 * slope[0] - slope[1], expected, rtol=0.1, atol=0)


def test_wigner_has_its_lowest_order():
    kt = BOLTZMANN_EV_PER_KELVIN * 300
    assert_allclose(transition.wigner(IMAGINARY, 300.0), 1 + (PLANCK_EV_PS * 6 / kt) ** 2 / 24, rtol=1e-12, atol=0)


@pytest.mark.parametrize("function", [transition.vineyard_thz, transition.zero_point_ev])
def test_frequencies_that_do_not_fit_are_refused(function):
    with pytest.raises(ValueError, match=r"2 frequencies of a minimum and 2 of a saddle: the saddle has one fewer"):
        function((4.0, 9.0), SADDLE)
    with pytest.raises(ValueError, match=r"frequencies of a minimum: the lowest is -1 THz; all must be positive"):
        function((-1.0, 9.0, 21.0), SADDLE)
    with pytest.raises(ValueError, match=r"frequencies of a saddle: the lowest is 0 THz"):
        function(MINIMUM, (0.0, 18.0))
    with pytest.raises(ValueError, match=r"the lowest is nan THz|all must be positive"):
        function(MINIMUM, (float("nan"), 18.0))


def test_a_saddle_without_an_imaginary_mode_is_refused():
    with pytest.raises(ValueError, match=r"imaginary frequency of a saddle: 0 THz; give its size, above zero"):
        transition.wigner(0.0, 300.0)
