"""Cells of the tables of rates: values with 95 % intervals, bounds with their sense, dashes for what is not known."""

from mlip.core.report import DASH, Cell, compact, number
from mlip.stages.rates.result import Interval

D_UNIT = "(cm\u00b2/s)"


def interval(found: Interval, *, digits: int | None = None) -> Cell:
    """A value with its 95 % interval, a bound with its sense, or a dash; `digits`: decimals, None: four figures."""
    value, low, high = found.value, found.low, found.high
    if value is None:
        if low is None and high is None:
            return Cell(DASH)
        text = f"> {_shown(low, digits)}" if low is not None else f"< {_shown(high, digits)}"
        return Cell(text, low=low, high=high)
    if low is None or high is None:
        return Cell(_shown(value, digits), value=value)
    text = f"{_shown(value, digits)} ({_shown(low, digits)} to {_shown(high, digits)})"
    return Cell(text, value=value, low=low, high=high)


def _shown(value: float | None, digits: int | None) -> str:
    if value is None:
        return DASH
    return number(value, digits) if digits is not None else compact(value)


def quantity(value: float | None) -> Cell:
    """A number with four figures, or a dash."""
    return Cell(DASH) if value is None else compact(value)


def limited(found: Interval) -> Cell:
    """As `interval`; without a value the upper limit counts."""
    return interval(found if found.value is not None else Interval(high=found.high))
