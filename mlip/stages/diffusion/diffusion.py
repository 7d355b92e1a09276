"""Diffusion coefficients with honest intervals, from jumps and from mean squared displacements.

Takes jumps of ions, or their tracks; gives the tensor of D, its mean, the correlation factor and the anisotropy, each
with a 95 % interval, and the same mean from the Bayesian regression of kinisi (McCluskey, Coles, Morgan,
doi:10.1021/acs.jctc.4c01249).

From jumps, with r_i the i-th of N jumps in total time t and memory of M jumps
    D_ab = 1/(2 t) [sum_i r_ia r_ib + sum_{m<=M} sum_i (r_ia r_(i+m)b + r_ib r_(i+m)a)]
Its variance is that of a Poisson number of correlated terms, estimated from the terms themselves; what is known about D
is what n_eff = D^2/var(D) Poisson events tell. Where D is not above its standard error, the jumps cancel (an ion in a
cage of a few sites): then there is an upper limit, and the regression gives no value either. Too few jumps cannot show
memory; then they count as independent, and the status says so, unless D with a memory of one jump is not above its
standard error: then they cancel too. Without any jump there is an upper limit, no value; without an ion in a site not
even that. The slope of the regression cannot be negative: where displacements do not grow, the sampler gives a positive
slope whose interval begins far below its median, or runs away. Neither is a value.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mlip.core.arrays import Array
from mlip.core.status import NOT_RESOLVED, RESOLVED, Status
from mlip.stages.diffusion.hops import NOTHING, Estimate, poisson_rate
from mlip.stages.diffusion.settings import DiffusionSettings

AXES = "xyz"
INDEPENDENT = "jumps counted as independent"
NO_HOP, CANCELLED = "no hop", "jumps cancel"
UPPER_LIMIT = "upper limit"  # what is known then, where ions were seen in sites
FLAT = "the displacements do not grow clearly with time"
NEVER_IN_A_SITE, NOT_ALONG_AXES = "no ion was seen in a site", "no jump leads along the axes of D"
LEAST_PAIRS = 9  # of successive jumps, as ten jumps of one ion have; fewer do not show whether jumps are returns
ROUNDING = 1e-6  # Angstrom: a shorter component of a jump between sites is none
INTERVALS = 40  # of time in the regression of kinisi
START_RESIDENCES = 2.0  # mean residence times before the regression begins
LONGEST = 0.5  # part of a trajectory that is the longest interval of time
LATEST_START = 0.4  # part of the longest interval; a regression that has to begin later has too little left
LOWEST = 0.1  # of the median: an interval that begins below is that of a slope which may be zero
FARTHEST = 3.0  # times the largest mean squared displacement that was seen: no fit of it leads farther


@dataclass(frozen=True, kw_only=True)
class Jumps:
    """Diffusion from jumps, Angstrom^2/ps; `mean` has no value, only a limit, where `status` is NO_HOP or CANCELLED."""

    status: Status
    hops: int
    ion_ps: float  # time of all ions together
    mean: Estimate  # trace over dimension
    effective_events: float  # of the mean; 0 without hops
    exposure: float  # mean = effective events / exposure
    tensor: dict[str, Estimate]  # xx, xy, yy, and so on
    correlation: Estimate  # D over that of independent jumps
    anisotropy: Estimate  # yy over xx on slabs, zz over the mean of xx and yy in bulk

    @property
    def refused(self) -> Status | None:
        """Why there is no value; None where there is one."""
        return self.status if self.mean.value is None else None


class _Terms:
    """What every jump of every ion contributes to sums over r_a r_b and their lags."""

    def __init__(self, jumps: Sequence[Array], axes: int, memory: int) -> None:
        self.axes, self.memory = axes, memory
        found = [np.asarray(j, dtype=float)[:, :axes] for j in jumps if len(j)]
        self._jumps = [np.where(np.abs(j) < ROUNDING, 0.0, j) for j in found]
        self.count = sum(len(j) for j in self._jumps)
        self._pairs = [sum(max(len(j) - m, 0) for j in self._jumps) for m in range(memory + 1)]
        self.cancel = memory == 0 and _returning(jumps, axes)

    @property
    def can_return(self) -> bool:
        """Whether there are enough pairs of successive jumps to see that jumps are returns."""
        return self.memory > 0 and self._pairs[1] >= LEAST_PAIRS

    def of(self, form: Array, memory: int | None = None) -> list[Array]:
        """For each ion the terms (J,) of the sum of r W r and of twice r_i W r_(i+m) up to the memory."""
        reach = self.memory if memory is None else memory
        out = []
        for r in self._jumps:
            term = np.einsum("ia,ab,ib->i", r, form, r)
            for m in range(1, min(reach, len(r) - 1) + 1):  # as many pairs as jumps: the last ones have no successor
                lagged = 2 * np.einsum("ia,ab,ib->i", r[:-m], form, r[m:])
                term[:-m] += lagged * self.count / self._pairs[m]
            out.append(term)
        return out

    def variance(self, terms: Sequence[Array]) -> float:
        """Variance of the sum of terms over a Poisson number of jumps that remember `memory` others."""
        mean = sum(float(t.sum()) for t in terms) / self.count
        total = sum(float((t**2).sum()) for t in terms)
        for m in range(1, self.memory + 2 if self.memory else 1):
            total += 2 * sum(float(((t[:-m] - mean) * (t[m:] - mean)).sum()) for t in terms if len(t) > m)
        return max(total, 0.0)

    def quantile(self, form: Array) -> float:
        """Half width of a 95 % interval in standard deviations, themselves estimated from the jumps that count in W."""
        squares = np.concatenate([np.einsum("ia,ab,ib->i", np.abs(r), np.abs(form), np.abs(r)) for r in self._jumps])
        independent = float(squares.sum() ** 2 / max(float((squares**2).sum()), 1e-300))
        return float(stats.t.ppf(0.975, max(independent / (1 + 4 * self.memory), 2.0)))


def from_jumps(
    jumps: Sequence[Array], ion_ps: float, settings: DiffusionSettings, *, axes: int, longest_jump_angstrom: float
) -> Jumps:
    """Diffusion from the jumps of ions.

    Args:
        jumps: of each ion of each replica in order of time, (J, 3) Angstrom.
        ion_ps: time of all ions together.
        settings: memory, and how many hops show it.
        axes: 2 on slabs, 3 in bulk.
        longest_jump_angstrom: of the network, for the upper limit where no hop happened.
    """
    count = sum(len(j) for j in jumps)
    names = [(a, b) for a in range(axes) for b in range(a, axes)]
    if count == 0:
        exposure = ion_ps * 2 * axes / longest_jump_angstrom**2
        limit = poisson_rate(0, exposure)
        tensor = {AXES[a] + AXES[b]: limit if a == b else NOTHING for a, b in names}
        return Jumps(
            status=Status(NO_HOP, NEVER_IN_A_SITE if limit.high is None else UPPER_LIMIT),
            hops=0,
            ion_ps=ion_ps,
            mean=limit,
            effective_events=0.0,
            exposure=exposure,
            tensor=tensor,
            correlation=NOTHING,
            anisotropy=NOTHING,
        )
    terms = _Terms(jumps, axes, settings.memory_jumps if count >= settings.min_hops_for_memory else 0)
    mean, events = _estimate(terms, np.eye(axes) / axes, ion_ps)
    return Jumps(
        status=_status(terms, mean),
        hops=count,
        ion_ps=ion_ps,
        mean=mean,
        effective_events=events,
        exposure=events / mean.value if mean.value is not None else _exposure(mean.high),
        tensor={AXES[a] + AXES[b]: _estimate(terms, _form(axes, a, b), ion_ps)[0] for a, b in names},
        correlation=_correlation(terms) if terms.memory else NOTHING,
        anisotropy=_anisotropy(terms),
    )


def _exposure(limit: float | None) -> float:
    """The exposure in which no event gives this upper limit of 95 %; 0 where there is none."""
    return 0.0 if not limit else (poisson_rate(0, 1.0).high or 0.0) / limit


def _returning(jumps: Sequence[Array], axes: int) -> bool:
    """Whether jumps undo those before them: D with a memory of one jump is not above its standard error."""
    terms = _Terms(jumps, axes, 1)
    if not terms.can_return:
        return False
    return _estimate(terms, np.eye(axes) / axes, 1.0)[0].value is None


def _status(terms: _Terms, mean: Estimate) -> Status:
    if mean.value is not None:
        return Status(RESOLVED if terms.memory else INDEPENDENT)
    return Status(CANCELLED, NOT_ALONG_AXES if mean.high is None else UPPER_LIMIT)


def _form(axes: int, *pair: int) -> Array:
    """Symmetric W with r W r = r_a r_b."""
    form = np.zeros((axes, axes))
    a, b = pair
    form[a, b] += 0.5
    form[b, a] += 0.5
    return form


def _estimate(terms: _Terms, form: Array, ion_ps: float) -> tuple[Estimate, float]:
    """Estimate of the sum over W divided by twice the time, and the number of Poisson events that tell as much."""
    parts, factor = terms.of(form), 1 / (2 * ion_ps)
    value, spread = factor * sum(float(t.sum()) for t in parts), factor * float(np.sqrt(terms.variance(parts)))
    any_sign = not form.diagonal().any()  # an off-diagonal element
    reach = terms.quantile(np.eye(terms.axes) if any_sign else form) * spread
    if any_sign:
        return NOTHING if terms.cancel else Estimate(value=value, low=value - reach, high=value + reach), 0.0
    if spread == 0:
        return NOTHING, 0.0
    if terms.memory and value <= spread:
        return Estimate(value=None, low=None, high=max(value, 0.0) + reach), 0.0
    events = (value / spread) ** 2
    if terms.memory == 0:
        found = poisson_rate(events, events / value)
        return (replace(found, value=None, low=None), 0.0) if terms.cancel else (found, events)
    return Estimate(value=value, low=max(value - reach, 0.0), high=value + reach), events


def _ratio(terms: _Terms, top: Sequence[Array], bottom: Sequence[Array]) -> tuple[float, float]:
    """Ratio of two sums and its relative standard deviation; (0, 0) where one cancels."""
    a, b = (sum(float(t.sum()) for t in parts) for parts in (top, bottom))
    least = [float(np.sqrt(terms.variance(parts))) if terms.memory else 0.0 for parts in (top, bottom)]
    if a <= least[0] or b <= least[1]:
        return 0.0, 0.0
    return a / b, float(np.sqrt(terms.variance([x / a - y / b for x, y in zip(top, bottom, strict=True)])))


def _correlation(terms: _Terms) -> Estimate:
    whole = np.eye(terms.axes)
    value, relative = _ratio(terms, terms.of(whole), terms.of(whole, memory=0))
    reach = terms.quantile(whole) * relative * value
    return Estimate(value=value, low=value - reach, high=value + reach) if value > 0 else NOTHING


def _anisotropy(terms: _Terms) -> Estimate:
    """The last axis over the mean of the others; without memory as the ratio of independent Poisson numbers."""
    if terms.cancel:
        return NOTHING
    last = terms.axes - 1
    first = terms.of(_form(terms.axes, last, last))
    others = terms.of((np.eye(terms.axes) - _form(terms.axes, last, last)) / last)
    value, relative = _ratio(terms, first, others)
    if value <= 0:
        return NOTHING
    if terms.memory == 0:
        n, m = (sum(float(t.sum()) for t in x) ** 2 / sum(float((t**2).sum()) for t in x) for x in (first, others))
        low, high = stats.f.ppf([0.025, 0.975], 2 * n + 1, 2 * m + 1)
        return Estimate(value=value, low=float(low) * value, high=float(high) * value)
    reach = float(np.exp(terms.quantile(_form(terms.axes, last, last)) * relative))
    return Estimate(value=value, low=value / reach, high=value * reach)


@dataclass(frozen=True, kw_only=True)
class Regression:
    """Diffusion from mean squared displacements, Angstrom^2/ps."""

    status: Status
    mean: Estimate
    start_ps: float | None  # shorter intervals of time are left out
    times_ps: tuple[float, ...]
    msd_angstrom2: tuple[float, ...]
    msd_std_angstrom2: tuple[float, ...]


def from_displacements(
    tracks: Sequence[Array],
    frame_ps: float,
    *,
    axes: int,
    residence_ps: float | None,
    seed: int,
    refused: Status | None = None,
) -> Regression:
    """Diffusion from tracks (F, 3) of ions, all of one length, by the regression of kinisi.

    Args:
        tracks: of each ion of each replica, Angstrom; longer ones are cut to the shortest.
        frame_ps: time from frame to frame.
        axes: 2 on slabs, 3 in bulk.
        residence_ps: mean time between jumps; the regression begins after two of them.
        seed: of the sampling.
        refused: why jumps of the same ions have no value; then there is none here either.
    """
    frames = min((len(t) for t in tracks), default=0)
    longest = int(LONGEST * frames)
    if longest < 10:
        return Regression(
            status=Status(NOT_RESOLVED, f"{frames} frames (at least 20)"),
            mean=NOTHING,
            start_ps=None,
            times_ps=(),
            msd_angstrom2=(),
            msd_std_angstrom2=(),
        )
    steps = np.unique(np.linspace(1, longest, min(INTERVALS, longest)).round().astype(int))
    start = steps[min(2, len(steps) - 1)] if residence_ps is None else START_RESIDENCES * residence_ps / frame_ps
    start = int(steps[np.searchsorted(steps, min(float(start), LATEST_START * longest))])
    analyser = _analyser(np.stack([t[:frames] for t in tracks], axis=1), frame_ps, steps, axes)
    times = analyser.da.coords["time interval"].values
    unresolved = Regression(
        status=Status(NO_HOP) if residence_ps is None or refused is None else refused,
        mean=NOTHING,
        start_ps=None,
        times_ps=tuple(float(x) for x in times),
        msd_angstrom2=tuple(float(x) for x in analyser.da.values),
        msd_std_angstrom2=tuple(float(x) for x in np.sqrt(np.maximum(analyser.da.variances, 0.0))),
    )
    if residence_ps is None or refused is not None:
        return unresolved
    if START_RESIDENCES * residence_ps > LATEST_START * longest * frame_ps:
        short = f"tracks of {frames * frame_ps:.3g} ps are too short for stays of {residence_ps:.3g} ps"
        return replace(unresolved, status=Status(NOT_RESOLVED, short))
    if (times >= start * frame_ps * (1 - 1e-9)).sum() < 3:
        return replace(unresolved, status=Status(NOT_RESOLVED, "too few intervals of time"))
    samples = _sampled(analyser, start * frame_ps, seed) / (2 * axes)
    low, middle, high = (float(x) for x in np.quantile(samples, [0.025, 0.5, 0.975]))
    grown = 2 * axes * middle * times[-1]
    farthest = (analyser.da.values + 2 * np.sqrt(np.maximum(analyser.da.variances, 0.0))).max()
    if not (low >= LOWEST * middle and grown <= FARTHEST * farthest):
        return replace(unresolved, status=Status(NOT_RESOLVED, FLAT))
    mean = Estimate(value=middle, low=low, high=high)
    return replace(unresolved, status=Status(RESOLVED), mean=mean, start_ps=start * frame_ps)


def _analyser(positions: Array, frame_ps: float, steps: NDArray[np.int64], axes: int) -> Any:
    """The analyser of kinisi for positions (F, n, 3); a particle at rest stands for the host."""
    import scipp
    from kinisi.analyze import DiffusionAnalyzer
    from kinisi.displacement import calculate_msd
    from kinisi.parser import Parser

    box = 4.0 * float(np.ptp(positions)) + 100.0  # so large that nothing is ever wrapped
    moved = np.concatenate([positions - positions[:1], np.zeros((len(positions), 1, 3))], axis=1)
    lattice = np.broadcast_to(box * np.eye(3), (len(positions), 3, 3)).copy()
    parser = Parser(
        coords=scipp.array(dims=["time", "particle", "dimension"], values=moved / box),
        latt=scipp.array(dims=["time", "dimension1", "dimension2"], values=lattice, unit="angstrom"),
        time_step=scipp.scalar(frame_ps, unit="ps"),
        step_skip=scipp.scalar(1, unit="dimensionless"),
        dt=scipp.array(dims=["time interval"], values=steps * frame_ps, unit="ps"),
        specie_indices=scipp.array(dims=["particle"], values=np.arange(positions.shape[1])),
        drift_indices=scipp.array(dims=["particle"], values=[positions.shape[1]]),
        dimension=AXES[:axes],
    )
    analyser = DiffusionAnalyzer(parser)
    analyser._dg = calculate_msd(parser, progress=False)  # noqa: SLF001  (as its own constructors do)
    return analyser


def _sampled(analyser: Any, start_ps: float, seed: int) -> Array:
    """Samples of the slope of the mean squared displacement, Angstrom^2/ps."""
    import scipp

    kept = np.random.get_state()  # noqa: NPY002  (kinisi draws from numpy's global generator)
    try:
        np.random.seed(seed % 2**32)  # noqa: NPY002
        analyser.diffusion(scipp.scalar(start_ps, unit="ps"), progress=False)
    finally:
        np.random.set_state(kept)  # noqa: NPY002
    return np.asarray(analyser.diff.gradient.values)
