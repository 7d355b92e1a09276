"""The rate of one hop with everything that is uncertain about it, and the draws of these uncertainties.

Takes barriers, prefactors and frequencies of both senses of a hop, and the deviations of the committee's members; gives
samples of the logarithm of the rate. Sample 0 is the central value.

    E = E_mean + f sum_m g_m (E_m - E_mean) / sqrt(M - 1) + s e,      g_m, e: normal, of variance 1

The numbers g_m of the members are the same for every hop of every host in one sample, so that what the members share
cancels in a ratio of two diffusion coefficients; the samples have the covariance of the members, times f^2. The
numbers e are drawn for every hop on its own and shift the saddle: both senses alike. No sample has a barrier below
zero. Logarithms of prefactors are sampled in the same way.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mlip.core.arrays import Array
from mlip.stages.rates import transition


@dataclass(frozen=True)
class Draws:
    """Standard normal numbers, the same for the same seed and names; row 0 is zero."""

    samples: int
    seed: int

    def members(self, count: int) -> Array:
        """One number for each member of the committee, (samples + 1, count)."""
        return self._drawn((0,), count)

    def of_hop(self, *names: str) -> Array:
        """Two numbers for one hop, (samples + 1, 2): of its saddle and of its prefactor."""
        return self._drawn((1, *(zlib.crc32(name.encode()) for name in names)), 2)

    def _drawn(self, key: tuple[int, ...], count: int) -> Array:
        numbers = np.random.default_rng([self.seed, *key]).normal(size=(self.samples, count))
        return np.concatenate([np.zeros((1, count)), numbers])


@dataclass(frozen=True, kw_only=True)
class Law:
    """The rate of a hop, forward and reverse, by harmonic transition-state theory.

    Attributes:
        names: host, ion and hop; they choose the draws.
        barrier_ev: forward and reverse.
        prefactor_thz: the same.
        minima_thz: frequencies of the initial and of the final minimum.
        saddle_thz: of the saddle, without the imaginary one.
        imaginary_thz: size of the imaginary one.
        members_ev: deviations of the members' barriers from their mean, (M, 2); M = 0: not known.
        members_ln: deviations of the logarithms of their prefactors, (M, 2) with the same members, or M = 0.
        calibration: factor on the deviations of the barriers.
        rest_ev: standard deviation of what else is uncertain about the saddle.
        rest_ln: the same of the logarithm of the prefactor.
        rest_below_ev: how far below the saddle a second one in series lies, behind a minimum that is no site.
        is_uncertain: whether the error of the barrier is known; without it an interval would mean nothing.
        is_dft: whether the saddle is that of DFT.
    """

    names: tuple[str, str, str]
    barrier_ev: tuple[float, float]
    prefactor_thz: tuple[float, float]
    minima_thz: tuple[Sequence[float], Sequence[float]]
    saddle_thz: Sequence[float]
    imaginary_thz: float
    members_ev: Array = field(default_factory=lambda: np.zeros((0, 2)))
    members_ln: Array = field(default_factory=lambda: np.zeros((0, 2)))
    calibration: float = 1.0
    rest_ev: float = 0.0
    rest_ln: float = 0.0
    rest_below_ev: float | None = None
    is_uncertain: bool = True
    is_dft: bool = False
    has_own_prefactor: bool = True  # of a member alone: False where the prefactor is that of the committee's mean

    @property
    def std_ev(self) -> tuple[float, float]:
        """Standard deviation of the forward and of the reverse barrier among the samples."""
        spread = self.calibration * _std(self.members_ev)
        forward, reverse = np.hypot(spread, self.rest_ev)
        return float(forward), float(reverse)

    def ln_rates(self, temperature_kelvin: float, draws: Draws, *, quantum: bool) -> Array:
        """Logarithms of the forward and reverse rate in 1/ps, (samples + 1, 2)."""
        own = draws.of_hop(*self.names)
        energies = self.barrier_ev + self.calibration * _sampled(self.members_ev, draws) + self.rest_ev * own[:, :1]
        energies = np.maximum(energies, 0.0)
        logs = np.log(self.prefactor_thz) + _sampled(self.members_ln, draws) + self.rest_ln * own[:, 1:]
        change = self.ln_quantum(temperature_kelvin) if quantum else np.zeros(2)
        change = change + transition.ln_in_series(self.rest_below_ev, temperature_kelvin)
        return np.asarray(transition.ln_classical(np.exp(logs), energies, temperature_kelvin) + change)

    def ln_quantum(self, temperature_kelvin: float) -> Array:
        """Logarithm of the factor by which quantum partition functions and tunnelling change both rates, (2,)."""
        tunnelling = np.log(transition.wigner(self.imaginary_thz, temperature_kelvin))
        parts = [transition.ln_quantum(m, self.saddle_thz, temperature_kelvin) for m in self.minima_thz]
        return np.array([part + tunnelling for part in parts])

    def of_member(self, number: int) -> "Law | None":
        """The rate by one member of the committee alone, without uncertainties; None where it is not known, or of DFT.

        The prefactor is that of the committee's mean where not every member has one.
        """
        if self.is_dft or number > len(self.members_ev):
            return None
        shift = self.members_ev[number - 1]
        ln_shift = self.members_ln[number - 1] if len(self.members_ln) else np.zeros(2)
        forward, reverse = self.barrier_ev + shift
        ahead, back = self.prefactor_thz * np.exp(ln_shift)
        return Law(
            names=self.names,
            barrier_ev=(float(forward), float(reverse)),
            prefactor_thz=(float(ahead), float(back)),
            minima_thz=self.minima_thz,
            saddle_thz=self.saddle_thz,
            imaginary_thz=self.imaginary_thz,
            rest_below_ev=self.rest_below_ev,
            has_own_prefactor=len(self.members_ln) > 0,
        )


def _sampled(deviations: Array, draws: Draws) -> Array:
    """Samples (s, 2) with the covariance of the members' deviations; zero where there are fewer than two members."""
    count = len(deviations)
    return np.asarray(draws.members(count) @ deviations / np.sqrt(max(count - 1, 1)))


def _std(deviations: Array) -> Array:
    return np.asarray(np.sqrt((deviations**2).sum(0) / max(len(deviations) - 1, 1)))
