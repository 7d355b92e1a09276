"""Rows of the result: rates, D over temperature, gains, dynamics and walks beside them."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import hopping, motions, rated, walks
from numpy.testing import assert_allclose

from mlip.core.units import BOLTZMANN_EV_PER_KELVIN, CM2_PER_S
from mlip.stages.rates import assembly, comparison, gains, outcome
from mlip.stages.rates import system as systems
from mlip.stages.rates.laws import Draws
from mlip.stages.rates.settings import RatesSettings, WalkSettings

SETTINGS = RatesSettings(temperatures_kelvin=(250.0, 300.0, 1200.0), samples=200)
DRAWS = Draws(200, 1)
CLAIM = {("001", "Li"): gains.Claim(decades=2.0, implied=2.2)}


@pytest.fixture(scope="module")
def hot():
    return motions.motion(1200.0)


def built(**more):
    return assembly.systems(rated.found(**more), rated.CELLS, rated.BUDGET, with_d3=True)


def rate(barrier, temperature=300.0, *, quantum=True):
    classical = rated.PREFACTOR * np.exp(-barrier / (BOLTZMANN_EV_PER_KELVIN * temperature))
    return classical * (rated.quantum(temperature) if quantum else 1.0)


def test_rates_are_given_classical_and_quantum():
    x, y = outcome.hop_rates(built()[0], SETTINGS, DRAWS)
    assert (x.hop, x.forward.ways, x.reverse.ways, x.status.code) == ("x", 2, 2, systems.RESOLVED)
    assert_allclose(x.forward.classical_per_s, 1e12 * rate(0.3, quantum=False), rtol=1e-9, atol=0)
    assert_allclose(x.forward.quantum_per_s.value, 1e12 * rate(0.3), rtol=1e-9, atol=0)
    assert x.forward.quantum_per_s.low < x.forward.quantum_per_s.value < x.forward.quantum_per_s.high
    assert_allclose(y.forward.barrier_ev, 0.4, rtol=1e-12, atol=0)


def test_a_hop_without_a_rate_says_why():
    made = built(modes=(rated.failed("x", "001"),))
    x, _ = outcome.hop_rates(made[0], SETTINGS, DRAWS)
    assert (x.forward, x.reverse, x.status.code) == (None, None, systems.NO_RATE)
    assert x.status.reason.startswith("second-order saddle")


def test_d_on_a_square_and_in_bulk_is_that_of_the_rates():
    slab, bulk = (outcome.solved(one, 0.3, SETTINGS, DRAWS).row for one in built())
    at = slab.at_reference
    expected = CM2_PER_S * walks.A**2 * np.array([rate(0.3), rate(0.4)])
    assert_allclose([at.tensor[0][0], at.tensor[1][1]], expected, rtol=1e-9, atol=0)
    assert at.tensor[2][2] == 0.0
    assert_allclose(at.mean.value, expected.mean(), rtol=1e-9, atol=0)
    assert_allclose(at.classical, expected.mean() / rated.quantum(300.0), rtol=1e-9, atol=0)
    inside = CM2_PER_S * rate(0.5) * (walks.A**2 / 2 + walks.C**2 / 8) / 3
    assert_allclose(bulk.at_reference.mean.value, inside, rtol=1e-9, atol=0)
    assert [p.temperature_kelvin for p in bulk.points] == [250.0, 300.0, 1200.0]
    assert (slab.on_surface, bulk.on_surface, slab.bottleneck_ev) == (1.0, None, 0.3)


def test_the_effective_barrier_contains_what_quantum_corrections_change():
    bulk = outcome.solved(built()[1], None, SETTINGS, DRAWS).row
    kt = BOLTZMANN_EV_PER_KELVIN * 300
    slope = (np.log(rated.quantum(297.0)) - np.log(rated.quantum(303.0))) * kt * 300 / 6
    assert_allclose(bulk.effective_ev.value, 0.5 - slope, rtol=1e-4, atol=0)
    assert bulk.effective_ev.low < 0.5 < bulk.effective_ev.high


def test_an_unproved_saddle_leaves_no_number():
    every = rated.found()
    slab, bulk = (outcome.solved(s, None, SETTINGS, DRAWS) for s in built(modes=every.modes[:2]))
    assert bulk.row.status.code == systems.NOT_RESOLVED
    assert (bulk.row.at_reference.mean.value, bulk.row.at_reference.tensor, bulk.mean) == (None, None, None)
    assert bulk.row.effective_ev.value is None
    (gain,) = outcome.gains_of([slab, bulk], "bulk", SETTINGS, claimed=CLAIM, notes={})
    assert (gain.decades.value, gain.verdict) == (None, gains.NOT_RESOLVED)
    assert gain.reason.startswith("D on bulk: not resolved: no chain of hops with a rate leads to the next cell")


def test_a_lower_bound_is_no_value_and_gives_no_gain():
    every = rated.found()
    slab, bulk = (outcome.solved(s, None, SETTINGS, DRAWS) for s in built(modes=(every.modes[0], every.modes[2])))
    at = slab.row.at_reference
    assert (slab.row.status.code, at.mean.value, at.mean.high, slab.mean) == (systems.LOWER_BOUND, None, None, None)
    assert 0 < at.mean.low < CM2_PER_S * walks.A**2 * rate(0.3) / 2
    (gain,) = outcome.gains_of([slab, bulk], "bulk", SETTINGS, claimed={}, notes={})
    assert (gain.decades.value, gain.verdict, gain.claimed) == (None, "", None)


def test_sites_whose_energies_do_not_fit_together_are_refused():
    every = rated.found()
    uneven = replace(every.modes[0], reverse_ev=0.4)
    slab = outcome.solved(built(modes=(uneven, *every.modes[1:]))[0], None, SETTINGS, DRAWS)
    assert slab.row.status.code == systems.UNBALANCED
    assert "violate detailed balance by a factor of 47.9 (at most 3)" in slab.row.status.reason
    assert all(p.mean.value is None for p in slab.row.points)


def test_walks_and_dynamics_refuse_them_too():
    made = [replace(s, laws=tuple(replace(law, barrier_ev=(0.3, 0.6)) for law in s.laws)) for s in built()]
    (walk,) = comparison.walks([WalkSettings(host="001", ions=("Li",))], made, seed=1)
    assert (walk.d_cm2_per_s, walk.status.code) == (None, systems.UNBALANCED)


def test_gains_are_those_of_the_rates_with_joint_errors():
    """All members shift all barriers alike, so that only the rest of the budget is left in the ratio."""
    solved = [outcome.solved(s, None, SETTINGS, DRAWS) for s in built()]
    (gain,) = outcome.gains_of(solved, "bulk", SETTINGS, claimed=CLAIM, notes={})
    facet, bulk = (s.row.at_reference.mean for s in solved)
    assert_allclose(gain.decades.value, np.log10(facet.value / bulk.value), rtol=1e-9, atol=0)
    width = gain.decades.high - gain.decades.low
    assert width < 0.8 * np.log10(facet.high / facet.low)
    assert (gain.verdict, gain.implied, gain.temperature_kelvin) == (gains.AGREES, 2.2, 300.0)


def test_without_known_errors_there_is_a_value_and_no_verdict():
    every = rated.found()
    lone = [replace(m, forward_std_ev=None, reverse_std_ev=None) for m in every.modes]
    bare = replace(every, modes=tuple(lone), bands=tuple(b for b in every.bands if b.member == 1))
    budget = replace(rated.BUDGET, path_error_ev=None)
    solved = [
        outcome.solved(s, None, SETTINGS, DRAWS) for s in assembly.systems(bare, rated.CELLS, budget, with_d3=True)
    ]
    assert solved[0].row.at_reference.mean.value is not None
    assert solved[0].row.at_reference.mean.low is None
    (gain,) = outcome.gains_of(solved, "bulk", SETTINGS, claimed=CLAIM, notes={})
    assert (gain.verdict, gain.reason) == (gains.NOT_RESOLVED, "no uncertainty of the barriers is known")
    assert gain.decades.value > 2


def test_a_slab_of_another_model_is_not_comparable_and_a_host_without_bulk_has_no_gain():
    solved = [outcome.solved(s, None, SETTINGS, DRAWS) for s in built()]
    (thin,) = outcome.gains_of(solved, "bulk", SETTINGS, claimed=CLAIM, notes={"001": "two layers"})
    assert thin.verdict == gains.NOT_COMPARABLE
    (alone,) = outcome.gains_of(solved[:1], "bulk", SETTINGS, claimed=CLAIM, notes={})
    assert (alone.verdict, alone.reason) == (gains.NOT_RESOLVED, "no Li in bulk")


def test_dynamics_are_held_against_classical_rates_of_the_member_that_moved_the_ion(hot):
    (row,) = comparison.against_dynamics([hot], {"001_Li": "Li"}, built(), member=1)
    kt = BOLTZMANN_EV_PER_KELVIN * 1200
    expected = CM2_PER_S * walks.A**2 * rated.PREFACTOR * np.exp(-np.array([0.29, 0.39]) / kt).mean()
    assert_allclose(row.rates, expected, rtol=1e-9, atol=0)
    assert_allclose(row.ratio.value, row.dynamics.value / expected, rtol=1e-12, atol=0)
    assert row.ratio.low < row.ratio.value < row.ratio.high
    assert comparison.against_dynamics([hot], {}, built(), member=1) == []


def test_hops_in_dynamics_are_held_against_all_equivalent_hops_together():
    """The tracks hop 4 ways at one rate, two of them along x and two along y."""
    warm = motions.motion(900.0)
    rows = comparison.hops_against_dynamics([warm], {"001_Li": "Li"}, built(), member=1)
    x, y = rows[:2]
    expected = 2000 * rated.PREFACTOR * np.exp(-np.array([0.29, 0.39]) / (BOLTZMANN_EV_PER_KELVIN * 900))
    assert_allclose((x.rates, y.rates), expected, rtol=1e-9, atol=0)
    assert x.dynamics.low < 2000 * motions.rate(900.0) < x.dynamics.high
    assert_allclose(x.ratio.value, x.dynamics.value / x.rates, rtol=1e-12, atol=0)
    assert (x.count > 0, x.status.code) == (True, systems.RESOLVED)
    (none, _) = comparison.hops_against_dynamics([warm], {"001_Li": "Li"}, built(modes=()), member=1)[:2]
    assert (none.rates, none.ratio.value, none.status.code) == (None, None, systems.NO_RATE)


def test_dynamics_without_a_hop_give_an_upper_limit_of_the_ratio():
    quiet = motions.motion(600.0, value=1e-9)
    (row,) = comparison.against_dynamics([quiet], {"001_Li": "Li"}, built(), member=1)
    assert (row.ratio.value, row.status.code) == (None, comparison.NO_HOP)
    assert_allclose(row.ratio.high, row.dynamics.high / row.rates, rtol=1e-12, atol=0)


def test_dynamics_beside_missing_rates_have_no_ratio(hot):
    (row,) = comparison.against_dynamics([hot], {"001_Li": "Li"}, built(modes=()), member=1)
    assert (row.rates, row.ratio.value, row.status.code) == (None, None, systems.NOT_RESOLVED)
    assert row.dynamics.value is not None


def test_a_walk_of_one_ion_reproduces_the_equation_and_several_are_slower():
    lone = WalkSettings(host="001", ions=("Li",), repeat=(2, 2, 1), steps=20000)
    full = WalkSettings(host="001", ions=("Li",) * 12, repeat=(4, 4, 1), steps=20000)
    one, many = comparison.walks([lone, full], built(), seed=3)
    assert abs(one.d_cm2_per_s - one.lone_cm2_per_s) < 3 * one.std_error
    assert (one.filled, many.filled) == (0.25, 0.75)
    assert_allclose(many.blocked, 11 / 15, rtol=0.05, atol=0)
    assert many.d_cm2_per_s < 0.3 * many.lone_cm2_per_s


def test_a_walk_has_the_rates_of_both_senses_and_the_weights_of_its_sites():
    """B lies 0.1 eV above A; no hop with a rate leads to C, so that no ion is there or hops there."""
    places = [[0.5, 0.5, 0.5], [2.5, 0.5, 0.5], [0.5, 2.0, 0.5]]
    net = hopping.network(places, [(0, 1, 0, 0, 0), (1, 0, 1, 0, 0), (0, 2, 0, 0, 0), (2, 2, 1, 0, 0)])
    modes = {
        "prefactor": rated.PREFACTOR,
        "minima_thz": (rated.MINIMUM,) * 2,
        "saddle_thz": rated.SADDLE,
        "imaginary_thz": 5.0,
    }
    ways = [hopping.law(0.3, 0.2, **modes), hopping.law(0.2, 0.3, name="h1", **modes), None]
    system = hopping.system(net, [*ways, hopping.law(0.3, name="h3", **modes)], energies=(0.0, 0.1, 0.05))
    asked = WalkSettings(host="001", ions=("Li", "Mg", "Li"), temperature_kelvin=500.0)
    made = comparison._species(system, asked)
    ahead, back = rate(0.3, 500.0), rate(0.2, 500.0)
    assert_allclose(made.per_ps, [[ahead, back], [back, ahead], [0, 0], [0, 0]], rtol=1e-9, atol=0)
    assert_allclose(made.weight, [1.0, np.exp(-0.1 / (BOLTZMANN_EV_PER_KELVIN * 500)), 0.0], rtol=1e-9, atol=0)
    assert (made.ion, made.count, made.axes) == ("Li", 2, 2)


def test_a_walk_over_missing_rates_has_no_number():
    (row,) = comparison.walks([WalkSettings(host="001", ions=("Li",))], built(modes=()), seed=1)
    assert (row.d_cm2_per_s, row.status.code) == (None, systems.NOT_RESOLVED)


def test_a_walk_of_too_few_hops_is_under_sampled():
    every = rated.found(along=0.1, across=1.0)
    made = assembly.systems(every, rated.CELLS, rated.BUDGET, with_d3=True)
    slow = replace(made[0], ion="Mg", laws=tuple(replace(one, barrier_ev=(1.5, 1.5)) for one in made[0].laws))
    asked = WalkSettings(host="001", ions=("Li", "Mg"), repeat=(3, 3, 1), steps=2000)
    _, magnesium = comparison.walks([asked], [made[0], slow], seed=1)
    assert (magnesium.d_cm2_per_s, magnesium.status.code) == (None, comparison.UNDER_SAMPLED)


def test_a_walk_of_fast_hops_back_and_forth_is_under_sampled():
    """Pairs of sites 0.1 eV within and 0.9 eV between: 2000 hops at 300 K never leave the pair."""
    net = hopping.network([[0.5, 0.5, 0.5], [2.5, 0.5, 0.5]], [(0, 1, 0, 0, 0), (1, 0, 1, 0, 0)])
    pairs = hopping.system(net, [hopping.law(0.1), hopping.law(0.9, name="h1")])
    asked = WalkSettings(host="001", ions=("Li",), temperature_kelvin=300.0, steps=2000)
    (row,) = comparison.walks([asked], [pairs], seed=1)
    assert (row.d_cm2_per_s, row.std_error, row.status.code) == (None, None, comparison.UNDER_SAMPLED)
    assert row.status.reason == "of 2000 hops, D rests on 1 (at least 100); raise steps"


def test_a_walk_whose_ions_remember_longer_than_a_block_is_under_sampled():
    file = hopping.system(hopping.network([[0.5, 0.5, 0.5]], [(0, 0, 1, 0, 0)]), [hopping.law(0.3)])
    asked = WalkSettings(host="001", ions=("Li",) * 16, repeat=(32, 1, 1), steps=3000)
    (row,) = comparison.walks([asked], [file], seed=1)
    assert (row.d_cm2_per_s, row.status.code) == (None, comparison.UNDER_SAMPLED)
    assert row.status.reason.startswith("the ions remember longer than a block of the walk")


def test_a_walk_that_cannot_be_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"rates.walks.0: the run has no sites of Na on 001; there are: Li on 001"):
        comparison.walks([WalkSettings(host="001", ions=("Na",))], built(), seed=1)
    with pytest.raises(ValueError, match=r"rates.walks.0: 2 ions do not fit on the sites of the repeated cell"):
        comparison.walks([WalkSettings(host="001", ions=("Li", "Li"))], built(), seed=1)
