"""Gains over bulk, and the verdict on what is claimed."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mlip.stages.rates import gains
from mlip.stages.rates.gains import Case, verdict
from mlip.stages.rates.result import Interval


def case(low, high, **more):
    middle = None if low is None else (low + high) / 2
    values = {"claimed": 2.0, "missing": "", "slab": "", "on_surface": 1.0, "max_decades": 2.0}
    return Case(decades=Interval(value=middle, low=low, high=high), **(values | more))


def test_decades_are_taken_sample_by_sample():
    bulk = np.array([1.0, *np.logspace(-3, 3, 999)])
    found = gains.decades(100 * bulk, bulk)
    assert_allclose((found.value, found.low, found.high), 2.0, rtol=1e-9, atol=0)
    apart = gains.decades(np.full(1000, 100.0), bulk)
    assert_allclose((apart.value, apart.low, apart.high), (2.0, 2 - 2.85, 2 + 2.85), rtol=0.01, atol=0)


def test_one_sample_has_no_interval():
    assert gains.interval(np.array([3.0])) == Interval(value=3.0)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (case(2.1, 5.0), (gains.AGREES, "the whole interval lies at 2 decades or more")),
        (case(2.1, 5.0, claimed_up_to=3.0), (gains.AGREES, "the whole interval lies at 2 decades or more")),
        (
            case(3.1, 5.0, claimed_up_to=3.0),
            (gains.AGREES, "the whole interval lies above the claimed 2 to 3 decades"),
        ),
        (case(1.2, 2.6), (gains.AGREES, "the interval contains 2 decades")),
        (case(-3.0, 1.9), (gains.DIFFERS, "the interval ends at 1.9 decades and excludes 2 decades or more")),
        (case(0.0, 3.0), (gains.NOT_RESOLVED, "the interval contains 2 decades but spans 3.0 (at most 2)")),
        (
            case(-9.0, 1.0, max_decades=0.1),
            (gains.DIFFERS, "the interval ends at 1.0 decades and excludes 2 decades or more"),
        ),
        (case(3.0, 4.0, missing="D on 001: not resolved"), (gains.NOT_RESOLVED, "D on 001: not resolved")),
        (case(3.0, 4.0, slab="two layers"), (gains.NOT_COMPARABLE, "the slab is no model of a surface: two layers")),
        (case(3.0, 4.0, elsewhere="(001)"), (gains.NOT_COMPARABLE, "the gain is claimed for (001)")),
        (case(3.0, 4.0, on_surface=0.1), (gains.NOT_COMPARABLE, "the ion spends 90 % of the time below the surface")),
        (case(None, None), (gains.NOT_RESOLVED, "no uncertainty of the barriers is known")),
    ],
)
def test_verdicts_follow_the_interval(found, expected):
    assert verdict(found) == expected
