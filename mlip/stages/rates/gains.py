"""The gain of a facet over bulk in D, and the verdict on a claim about it.

Takes samples of ln D on a facet and in bulk, drawn together; gives decades with their 95 % interval, and a verdict from
`RULES`, first match first. The tolerances are `RatesSettings`, fixed before results are seen. The claim is a number of
decades at least, about one facet. On this facet, the interval lies below the claim (differs) or reaches it (agrees),
unless it is too wide to say.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mlip.core.arrays import Array
from mlip.core.status import AGREES, DIFFERS, NOT_COMPARABLE, NOT_RESOLVED
from mlip.stages.rates.result import Interval

PERCENTILES = (2.5, 97.5)


def interval(samples: Array) -> Interval:
    """Central value (sample 0) and the 95 % interval of the others; samples of shape (s,), none of them nan."""
    if len(samples) < 2:
        return Interval(value=float(samples[0]))
    low, high = np.percentile(samples[1:], PERCENTILES)
    return Interval(value=float(samples[0]), low=float(low), high=float(high))


def decades(facet: Array, bulk: Array) -> Interval:
    """log10 of the ratio of two diffusion coefficients, sample by sample, (s,) each and drawn with the same numbers."""
    return interval(np.log10(facet) - np.log10(bulk))


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What is published about the gain of one ion on one host."""

    decades: float  # at least
    up_to: float | None = None  # decades at most; the verdict asks for `decades` alone
    implied: float  # decades that the published barriers give with equal prefactors
    elsewhere: str = ""  # the facet of the claim where that is another one


@dataclass(frozen=True, kw_only=True)
class Case:
    """What the verdict looks at."""

    decades: Interval
    claimed: float  # decades at least
    claimed_up_to: float | None = None  # for the reason alone
    elsewhere: str = ""  # the facet of the claim where that is another one
    missing: str  # why there is no gain; empty where there is one
    slab: str  # why the slab is no model of the surface; empty where it is one
    on_surface: float | None
    max_decades: float


def _no_number(case: Case) -> str | None:
    return case.missing or None


def _other_facet(case: Case) -> str | None:
    return f"the gain is claimed for {case.elsewhere}" if case.elsewhere else None


def _other_model(case: Case) -> str | None:
    return f"the slab is no model of a surface: {case.slab}" if case.slab else None


def _below(case: Case) -> str | None:
    if case.on_surface is None or case.on_surface >= 0.5:
        return None
    return f"the ion spends {100 * (1 - case.on_surface):.0f} % of the time below the surface"


def _no_interval(case: Case) -> str | None:
    return "no uncertainty of the barriers is known" if case.decades.low is None else None


def _excluded(case: Case) -> str | None:
    high = _number(case.decades.high)
    if high >= case.claimed:
        return None
    return f"the interval ends at {high:.1f} decades and excludes {case.claimed:g} decades or more"


def _too_wide(case: Case) -> str | None:
    low, high = _number(case.decades.low), _number(case.decades.high)
    if low >= case.claimed or high - low <= case.max_decades:
        return None
    return f"the interval contains {case.claimed:g} decades but spans {high - low:.1f} (at most {case.max_decades:g})"


def _reached(case: Case) -> str | None:
    low = _number(case.decades.low)
    if case.claimed_up_to is not None and low > case.claimed_up_to:
        return f"the whole interval lies above the claimed {case.claimed:g} to {case.claimed_up_to:g} decades"
    if low >= case.claimed:
        return f"the whole interval lies at {case.claimed:g} decades or more"
    return f"the interval contains {case.claimed:g} decades"


RULES: tuple[tuple[str, Callable[[Case], str | None]], ...] = (
    (NOT_RESOLVED, _no_number),
    (NOT_COMPARABLE, _other_facet),
    (NOT_COMPARABLE, _other_model),
    (NOT_COMPARABLE, _below),
    (NOT_RESOLVED, _no_interval),
    (DIFFERS, _excluded),
    (NOT_RESOLVED, _too_wide),
    (AGREES, _reached),
)


def verdict(case: Case) -> tuple[str, str]:
    """The verdict on a claimed gain and the reason for it."""
    for found, rule in RULES:
        reason = rule(case)
        if reason is not None:
            return found, reason
    return NOT_RESOLVED, "no rule applies"


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
