"""Rates of one hop by harmonic transition-state theory, classical and with quantum corrections.

Takes the frequencies of a minimum and of a saddle, a barrier and temperatures; gives rates in 1/ps.

    classical:  k = nu exp(-E/kT),  nu = prod_i f_i (minimum) / prod_j f_j (saddle, without the imaginary one)
    quantum:    every mode has the partition function 1 / (2 sinh x), x = h f / 2kT, in place of 1 / 2x, which adds the
                zero-point energies; the factor on k is prod_i (sinh x_i / x_i) / prod_j (sinh x_j / x_j)
    tunnelling: the factor 1 + (h f* / kT)^2 / 24 with the imaginary frequency f*, its lowest order in Planck's constant

Vineyard, J. Phys. Chem. Solids 3, 121 (1957), doi:10.1016/0022-3697(57)90059-8; Wigner, Z. Phys. Chem. B 19, 203
(1932).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from mlip.core.arrays import Array
from mlip.core.units import BOLTZMANN_EV_PER_KELVIN, PLANCK_EV_PS

# Of hops without a rate. Proved hops have up to 84 THz, one with a flat mode 434; kT/h is 6 THz at 300 K.
FASTEST_THZ = 100.0


def vineyard_thz(minimum_thz: Sequence[float], saddle_thz: Sequence[float]) -> float:
    """The classical prefactor in THz.

    Args:
        minimum_thz: frequencies of all modes of the minimum.
        saddle_thz: frequencies of the modes of the saddle without the imaginary one, one fewer.

    Raises:
        ValueError: another number of frequencies, or one that is not positive.
    """
    _check(minimum_thz, saddle_thz)
    return float(np.exp(np.log(minimum_thz).sum() - np.log(saddle_thz).sum()))


def zero_point_ev(minimum_thz: Sequence[float], saddle_thz: Sequence[float]) -> float:
    """Zero-point energy of the saddle less that of the minimum, in eV.

    Raises:
        ValueError: another number of frequencies than in `vineyard_thz`, or one that is not positive.
    """
    _check(minimum_thz, saddle_thz)
    return float(PLANCK_EV_PS / 2 * (np.sum(saddle_thz) - np.sum(minimum_thz)))


def ln_classical(prefactor_thz: ArrayLike, barrier_ev: ArrayLike, temperature_kelvin: ArrayLike) -> Array:
    """Logarithm of the classical rate in 1/ps; arguments broadcast."""
    thermal = BOLTZMANN_EV_PER_KELVIN * np.asarray(temperature_kelvin)
    return np.asarray(np.log(prefactor_thz) - np.asarray(barrier_ev) / thermal)


def ln_in_series(below_ev: float | None, temperature_kelvin: float) -> float:
    """Logarithm of the factor of a second saddle in series, behind a short-lived minimum: 1/k = 1/k_1 + 1/k_2.

    Args:
        below_ev: how far the second saddle lies below the first; both have the same prefactor. None: there is none.
        temperature_kelvin: of the ion.
    """
    if below_ev is None:
        return 0.0
    return -float(np.log1p(np.exp(-below_ev / (BOLTZMANN_EV_PER_KELVIN * temperature_kelvin))))


def ln_quantum(minimum_thz: Sequence[float], saddle_thz: Sequence[float], temperature_kelvin: float) -> float:
    """Logarithm of the factor by which quantum partition functions change the classical rate.

    Raises:
        ValueError: another number of frequencies than in `vineyard_thz`, or one that is not positive.
    """
    _check(minimum_thz, saddle_thz)
    return _ln_sinhc(minimum_thz, temperature_kelvin) - _ln_sinhc(saddle_thz, temperature_kelvin)


def wigner(imaginary_thz: float, temperature_kelvin: float) -> float:
    """Wigner's tunnelling factor.

    Raises:
        ValueError: the size of the imaginary frequency is not positive.
    """
    if not imaginary_thz > 0:
        raise ValueError(f"imaginary frequency of a saddle: {imaginary_thz:g} THz; give its size, above zero")
    return float(1 + (PLANCK_EV_PS * imaginary_thz / (BOLTZMANN_EV_PER_KELVIN * temperature_kelvin)) ** 2 / 24)


def _ln_sinhc(frequencies_thz: Sequence[float], temperature_kelvin: float) -> float:
    """Sum of ln(sinh x / x) with x = h f / 2kT, without overflow."""
    x = PLANCK_EV_PS * np.asarray(frequencies_thz) / (2 * BOLTZMANN_EV_PER_KELVIN * temperature_kelvin)
    return float((x + np.log(-np.expm1(-2 * x) / (2 * x))).sum())


def _check(minimum_thz: Sequence[float], saddle_thz: Sequence[float]) -> None:
    if len(minimum_thz) != len(saddle_thz) + 1:
        raise ValueError(
            f"{len(minimum_thz)} frequencies of a minimum and {len(saddle_thz)} of a saddle: the saddle has one fewer, "
            "its imaginary one left out"
        )
    for what, values in (("minimum", minimum_thz), ("saddle", saddle_thz)):
        if not np.all(np.asarray(values) > 0):
            raise ValueError(
                f"frequencies of a {what}: the lowest is {min(values):g} THz; all must be positive, so relax it again"
            )
