"""Rates of a hop with their uncertainties: known spreads, and what hops share."""

import numpy as np
import pytest
from helpers.hopping import law
from numpy.testing import assert_allclose

from mlip.core.units import BOLTZMANN_EV_PER_KELVIN
from mlip.stages.rates import transition
from mlip.stages.rates.laws import Draws

KT = BOLTZMANN_EV_PER_KELVIN * 300
MEMBERS = np.array([[0.02, 0.01], [-0.03, -0.02], [0.01, 0.01]])
DRAWS = Draws(4000, 7)


def test_the_first_sample_is_the_central_rate():
    one = law(0.4, 0.3, members_ev=MEMBERS, rest_ev=0.05, rest_ln=0.2)
    found = np.exp(one.ln_rates(300.0, DRAWS, quantum=False)[0])
    assert_allclose(found, 8.0 * np.exp(-np.array([0.4, 0.3]) / KT), rtol=1e-12, atol=0)


def test_the_samples_have_the_spread_of_the_members_and_of_the_rest():
    one = law(0.4, 0.3, members_ev=MEMBERS, calibration=2.0, rest_ev=0.03)
    expected = np.hypot(2 * MEMBERS.std(0, ddof=1), 0.03)
    assert_allclose(one.std_ev, expected, rtol=1e-12, atol=0)
    samples = -KT * one.ln_rates(300.0, DRAWS, quantum=False)[1:]
    assert_allclose(samples.std(0), expected, rtol=0.05, atol=0)


def test_the_spread_of_prefactors_is_sampled():
    one = law(members_ln=np.log([[1.3, 1.3], [1 / 1.3, 1 / 1.3]]), rest_ln=0.3)
    samples = one.ln_rates(300.0, DRAWS, quantum=False)[1:, 0]
    assert_allclose(samples.std(), np.hypot(np.sqrt(2) * np.log(1.3), 0.3), rtol=0.05, atol=0)


def test_what_the_members_share_cancels_and_the_rest_does_not():
    first = law(0.4, name="h0", members_ev=MEMBERS)
    second = law(0.7, name="h1", host="bulk", members_ev=MEMBERS)
    difference = [one.ln_rates(300.0, DRAWS, quantum=False)[:, 0] for one in (first, second)]
    assert_allclose(np.std(difference[0] - difference[1]), 0.0, rtol=0, atol=1e-10)
    assert np.std(difference[0]) > 0.5
    noisy = [law(name=name, rest_ev=0.02).ln_rates(300.0, DRAWS, quantum=False)[:, 0] for name in ("h0", "h1")]
    assert_allclose(np.std(noisy[0] - noisy[1]), np.sqrt(2) * 0.02 / KT, rtol=0.05, atol=0)


def test_two_members_have_the_standard_deviation_of_a_sample_of_two():
    """Deviations of +0.02 and -0.02 eV from the mean: sqrt(2 * 0.02^2 / (2 - 1)) = 0.0283 eV."""
    one = law(0.4, 0.3, members_ev=np.array([[0.02, 0.01], [-0.02, -0.01]]))
    assert_allclose(one.std_ev, (np.sqrt(2) * 0.02, np.sqrt(2) * 0.01), rtol=1e-12, atol=0)
    samples = -KT * one.ln_rates(300.0, DRAWS, quantum=False)[1:]
    assert_allclose(samples.std(0), one.std_ev, rtol=0.05, atol=0)


def test_the_samples_have_the_covariance_of_the_members_between_senses_and_hops():
    """Two hops with both senses: sum_m d_m d_m' / (M - 1), within 0.08 of the product of both spreads.

    Ahead: (-0.02 * 0.03 - 0.03 * 0.01 + 0.01 * 0.02) / 2 = -0.00035 eV^2, where the hops have 0.0007 eV^2 each.
    """
    others = np.array([[-0.03, 0.00], [0.01, -0.02], [0.02, 0.02]])
    both = law(0.4, 0.3, members_ev=MEMBERS), law(0.5, 0.4, name="h1", members_ev=others)
    samples = np.hstack([-KT * one.ln_rates(300.0, DRAWS, quantum=False)[1:] for one in both])
    deviations = np.hstack([MEMBERS, others])
    expected = deviations.T @ deviations / 2
    spread = np.sqrt(np.diag(expected))
    assert_allclose(
        np.cov(samples.T) / np.outer(spread, spread), expected / np.outer(spread, spread), rtol=0, atol=0.08
    )


def test_barrier_and_prefactor_of_a_member_move_together_and_the_rest_of_both_apart():
    """A member whose barrier is higher by d and its prefactor by exp(d / kT) changes no rate."""
    one = law(0.4, 0.3, members_ev=MEMBERS, members_ln=MEMBERS / KT).ln_rates(300.0, DRAWS, quantum=False)
    assert_allclose(one - one[0], 0.0, rtol=0, atol=1e-9)
    rest = law(0.4, rest_ev=0.01, rest_ln=0.3).ln_rates(300.0, DRAWS, quantum=False)
    assert_allclose(rest.std(0), np.hypot(0.01 / KT, 0.3), rtol=0.05, atol=0)


def test_an_error_of_the_saddle_shifts_both_senses_alike():
    found = law(0.4, 0.3, rest_ev=0.05).ln_rates(300.0, DRAWS, quantum=False)
    assert_allclose(found[:, 1] - found[:, 0], 0.1 / KT, rtol=1e-9, atol=0)


def test_draws_are_those_of_the_seed_and_the_name():
    one = law(rest_ev=0.05).ln_rates(300.0, DRAWS, quantum=False)
    assert (one == law(rest_ev=0.05).ln_rates(300.0, Draws(4000, 7), quantum=False)).all()
    other, third = Draws(4000, 8).of_hop("001", "Li", "h0"), DRAWS.of_hop("100", "Li", "h0")
    own = DRAWS.of_hop("001", "Li", "h0")
    assert abs(np.corrcoef(own[1:, 0], other[1:, 0])[0, 1]) < 0.06
    assert abs(np.corrcoef(own[1:, 0], third[1:, 0])[0, 1]) < 0.06


def test_quantum_corrections_multiply_every_sample():
    minimum, saddle = (4.0, 9.0, 21.0), (7.0, 18.0)
    one = law(0.4, 0.3, rest_ev=0.05, minima_thz=(minimum, minimum), saddle_thz=saddle, imaginary_thz=6.0)
    change = transition.ln_quantum(minimum, saddle, 300.0) + np.log(transition.wigner(6.0, 300.0))
    classical, quantum = (one.ln_rates(300.0, DRAWS, quantum=q) for q in (False, True))
    assert_allclose(quantum - classical, change, rtol=1e-9, atol=0)


def test_one_member_has_its_own_barrier_and_no_uncertainty():
    logs = np.log([[1.2, 1.1], [0.9, 1.0], [1.0, 1.0]])
    one = law(0.4, 0.3, members_ev=MEMBERS, members_ln=logs, rest_ev=0.1, calibration=3.0)
    second = one.of_member(2)
    assert_allclose(second.barrier_ev, (0.37, 0.28), rtol=1e-12, atol=0)
    assert_allclose(second.prefactor_thz, (7.2, 8.0), rtol=1e-12, atol=0)
    assert second.std_ev == (0.0, 0.0)
    assert one.of_member(4) is None
    assert_allclose(law(0.4, members_ev=MEMBERS).of_member(1).prefactor_thz, (8.0, 8.0), rtol=1e-12, atol=0)


def test_the_last_member_moves_by_its_own_barrier_over_the_saddles_of_the_committee():
    """Frequencies and the second saddle in series are those of the committee; 0.4 + 0.01 and 0.3 + 0.01 eV."""
    shared = {
        "minima_thz": ((4.0, 9.0, 21.0), (5.0, 8.0, 10.0)),
        "saddle_thz": (7.0, 18.0),
        "imaginary_thz": 6.0,
        "rest_below_ev": 0.02,
    }
    last = law(0.4, 0.3, members_ev=MEMBERS, **shared).of_member(3)
    own = law(0.41, 0.31, **shared)
    still = Draws(0, 0)
    assert_allclose(
        last.ln_rates(300.0, still, quantum=True), own.ln_rates(300.0, still, quantum=True), rtol=1e-12, atol=0
    )


@pytest.mark.parametrize("below_ev", [0.0, 0.02, 0.2])
def test_a_second_saddle_in_series_slows_a_hop_as_in_the_master_equation(below_ev):
    """Three minima in a row, the middle one high: the mean time of passage of two steps, with equal prefactors."""
    kelvin = 300.0
    kt = BOLTZMANN_EV_PER_KELVIN * kelvin
    middle, first = 0.3, 0.6
    up, back = 8.0 * np.exp(-first / kt), 8.0 * np.exp(-(first - middle) / kt)
    on = 8.0 * np.exp(-(first - below_ev - middle) / kt)
    passed = up * on / (on + back)
    own = law(first, rest_below_ev=below_ev).ln_rates(kelvin, Draws(0, 0), quantum=False)[0, 0]
    assert_allclose(np.exp(own), passed, rtol=1e-9, atol=0)


def test_no_sample_has_a_barrier_below_zero():
    found = law(0.5, 0.01, rest_ev=0.1).ln_rates(300.0, DRAWS, quantum=False)
    assert_allclose(found.max(0)[1], np.log(8.0), rtol=1e-12, atol=0)
    assert 0.3 < (found[:, 1] > np.log(8.0) - 1e-9).mean() < 0.6
    assert found[:, 0].max() < np.log(8.0) - 0.1 / KT
