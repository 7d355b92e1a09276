"""All hops of dynamics against those that rates predict: tracks of a known rate beside rates of a known prefactor."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import motions, rated
from numpy.testing import assert_allclose

from mlip.core.units import BOLTZMANN_EV_PER_KELVIN
from mlip.stages.diffusion.arrhenius import CURVED
from mlip.stages.diffusion.recrossing import Recrossing
from mlip.stages.rates import assembly, comparison
from mlip.stages.rates.dynamics_report import together_table
from mlip.stages.rates.result import Interval
from mlip.stages.rates.together import sentence, together

LONE = {"001_Li": "Li"}


def systems(**more):
    return assembly.systems(rated.found(**more), rated.CELLS, rated.BUDGET, with_d3=False)


def rows(moved, **more):
    built = systems(**more)
    hops = comparison.hops_against_dynamics(moved, LONE, built, member=1)
    return together(moved, [motions.lines(moved)], hops, built, member=1)


@pytest.fixture(scope="module")
def moved():
    return [motions.motion(t) for t in (700.0, 900.0, 1200.0)]


@pytest.fixture(scope="module")
def found(moved):
    return rows(moved)


def test_a_row_for_every_temperature_and_one_for_all(found, moved):
    assert [r.temperatures_kelvin for r in found] == [(700.0,), (900.0,), (1200.0,), (700.0, 900.0, 1200.0)]
    assert found[3].hops == sum(r.hops for r in found[:3])
    assert found[3].hops + found[3].others == sum(m.jumps for m in moved)
    assert found[3].others == sum(len(m.unknown) for m in moved)
    assert f"{found[3].others} other jumps joined sites that no hop of the network connects." in sentence(found[3])
    assert_allclose(found[3].expected, sum(r.expected for r in found[:3]), rtol=1e-12, atol=0)
    assert_allclose(found[3].ps, sum(m.ion_ps for m in moved), rtol=1e-12, atol=0)


def test_the_ratio_is_that_of_the_rates_that_made_the_tracks(found):
    """Two of the four ways have a barrier of 0.29 eV in the rates, two of 0.39 eV, by the first member."""
    for row in found[:2]:  # at the highest temperature two hops between stored frames are not rare
        kt = BOLTZMANN_EV_PER_KELVIN * row.temperatures_kelvin[0]
        predicted = 2 * rated.PREFACTOR * np.exp(-np.array([0.29, 0.39]) / kt).sum()
        assert_allclose(row.expected, predicted * row.ps, rtol=1e-9, atol=0)
        assert row.ratio.low < 4 * motions.rate(row.temperatures_kelvin[0]) / predicted < row.ratio.high
        assert_allclose(row.ratio.value, row.hops / row.expected, rtol=1e-12, atol=0)


def test_slopes_of_dynamics_and_of_rates_stand_beside_the_barrier(found):
    last = found[3]
    assert last.activation_ev.low < motions.ENERGY < last.activation_ev.high
    assert 0.29 < last.activation_rates_ev < 0.39
    assert last.barrier_ev == pytest.approx(0.29) or last.barrier_ev == pytest.approx(0.39)
    assert all(r.activation_rates_ev is None and r.activation_ev == Interval() for r in found[:3])


def test_the_ratio_is_that_of_crossings_times_hops_per_crossing(moved):
    hot = moved[-1]
    back = replace(hot, recrossing=Recrossing(crossings=3 * hot.jumps, within_ps=0.5, reversed=20, expected=5.0))
    (row,) = rows([back])
    assert (row.crossings, row.reversed, row.reversed_expected) == (3 * hot.jumps, 20, 5.0)
    assert_allclose(row.crossings_ratio, 3 * hot.jumps / row.expected, rtol=1e-12, atol=0)
    assert "33 % of the crossings were hops; the others were recrossings. 20 hops were reversed within 0.5" in sentence(
        row
    )
    assert "; 5.0 would be expected if successive hops were independent." in sentence(row)
    assert " 1 hop was reversed within 0.5 ps; " in sentence(replace(row, reversed=1))
    assert sentence(row).startswith(f"{row.ion} in {row.system}, 1200 K, ")
    (old,) = rows([replace(hot, recrossing=None)])
    assert (old.crossings, old.crossings_ratio, old.reversed) == (None, None, None)


def test_an_ion_that_jumps_from_centre_to_centre_crosses_once_a_hop(found):
    assert found[0].crossings == found[0].hops + found[0].others


def test_a_line_that_is_curved_has_no_slope(moved):
    """Hops that become rare where it is hot lie on no straight line."""
    rare = [motions.motion(1200.0, value=motions.rate(700.0)), *moved[:2]]
    assert motions.lines(rare).diffusion.status.code == CURVED
    last = rows(rare)[-1]
    assert (last.activation_ev, last.activation_status.code) == (Interval(), CURVED)


def test_a_member_without_a_prefactor_of_its_own_has_that_of_the_committee_and_says_so(moved):
    """One of three members has no first-order saddle."""
    (first, *others) = rated.found().modes
    own = (5.0, 6.0, 7.0)
    less = replace(first, forward_prefactors_thz=own[:2], reverse_prefactors_thz=own[:2])
    whole = [replace(m, forward_prefactors_thz=own, reverse_prefactors_thz=own) for m in others]
    hops = comparison.hops_against_dynamics(moved[:1], LONE, systems(modes=(less, *whole)), member=1)
    said = {row.hop: row.status.reason for row in hops if row.count}
    assert said == {"x": comparison.OF_COMMITTEE, "y": ""}
    (row,) = comparison.against_dynamics(moved[:1], LONE, systems(modes=(less, *whole)), member=1)
    assert (row.status.code, row.status.reason) == ("resolved", comparison.OF_COMMITTEE)


def test_without_a_hop_there_is_an_upper_limit_and_no_slope():
    (row,) = rows([motions.motion(600.0, value=1e-9)])
    assert (row.hops, row.ratio.value, row.crossings_ratio, row.barrier_ev) == (0, None, None, None)
    assert row.ratio.high > 0
    assert sentence(row).endswith(f"; harmonic transition-state theory predicts {row.expected:.1f} hops.")


def test_hops_without_a_rate_are_not_compared(moved):
    some = rows(moved[-1:], modes=(rated.found().modes[0], rated.failed("y", "001"), rated.failed("bulk_oct", "bulk")))
    assert 0 < some[0].hops < moved[-1].jumps
    assert some[0].hops + some[0].unrated + some[0].others == moved[-1].jumps
    assert some[0].unrated > 0
    assert (some[0].crossings, some[0].crossings_ratio) == (moved[-1].recrossing.crossings, None)
    assert sentence(some[0]).endswith(f"{some[0].unrated} hops had no rate to compare with.")
    shown = together_table(some)
    cells = dict(zip(shown.columns, shown.rows[0], strict=True))
    assert cells["Hops per crossing"] == f"{moved[-1].jumps / some[0].crossings:.2f}"
    (none,) = rows(moved[-1:], modes=())
    assert (none.hops, none.expected, none.ratio) == (0, 0.0, Interval())
    assert sentence(none).endswith("transition-state theory predicts 0.0 hops.")
