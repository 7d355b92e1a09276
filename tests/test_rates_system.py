"""One ion on one host: what is missing, what is a bound, and the effective barrier."""

import numpy as np
import pytest
from helpers.hopping import CELL, law, network, system
from numpy.testing import assert_allclose

from mlip.core.units import BOLTZMANN_EV_PER_KELVIN
from mlip.stages.rates import system as systems
from mlip.stages.rates.laws import Draws
from mlip.stages.rates.system import diffusion, effective_barrier, status

A, B, _ = np.diag(CELL)
KT = BOLTZMANN_EV_PER_KELVIN * 600
PLACES = [[0.5, 0.5, 0.5], [1.7, 2.0, 1.0]]
ROW = (0, 0, 1, 0, 0)
STILL = Draws(0, 1)


def solved(one, temperature=600.0):
    found = diffusion(one, temperature, STILL, quantum=False)
    return found, status(one, found)


def test_a_row_has_its_rate_and_says_that_nothing_leads_across():
    found, said = solved(system(network(PLACES[:1], [ROW]), [law(0.5)]))
    assert_allclose(found.mean[0], 8.0 * np.exp(-0.5 / KT) * A**2 / 2, rtol=1e-10, atol=0)
    assert (said.code, said.reason) == (systems.RESOLVED, "no chain of hops leads along y")


def test_bulk_is_averaged_over_three_axes():
    one = system(network(PLACES[:1], [ROW], layer="bulk"), [law(0.5)], layers=("bulk",))
    assert_allclose(solved(one)[0].mean[0], 8.0 * np.exp(-0.5 / KT) * A**2 / 3, rtol=1e-10, atol=0)
    assert solved(one)[0].on_surface is None


def test_a_missing_hop_across_a_row_leaves_a_lower_bound():
    one = system(network(PLACES[:1], [ROW, (0, 0, 0, 1, 0)]), [law(0.5), None])
    found, said = solved(one)
    assert said.code == systems.LOWER_BOUND
    assert said.reason == "hops without a rate could be faster: h1 (no converged band)"
    assert_allclose(found.mean[0], 8.0 * np.exp(-0.5 / KT) * A**2 / 2, rtol=1e-10, atol=0)
    assert found.fastest[1, 1] > 1e3 * found.tensor[0, 1, 1]


def test_without_the_only_hop_nothing_is_resolved():
    found, said = solved(system(network(PLACES[:1], [ROW]), [None]))
    assert said.code == systems.NOT_RESOLVED
    assert not found.tensor.any()
    assert "h0 (no converged band)" in said.reason


def test_a_network_without_a_chain_is_confined():
    found, said = solved(system(network(PLACES, [(0, 1, 0, 0, 0)]), [law(0.5)]))
    assert (said.code, found.mean[0]) == (systems.CONFINED, 0.0)
    found, said = solved(system(network(PLACES[:1], []), []))
    assert (said.code, found.mean[0]) == (systems.CONFINED, 0.0)


def test_a_missing_hop_over_high_sites_does_not_matter():
    """The way over B costs 1.2 eV even without a barrier; the row costs 0.5."""
    edges = [ROW, (0, 1, 0, 0, 0), (1, 1, 0, 1, 0)]
    one = system(network(PLACES, edges), [law(0.5), law(1.3, 0.1, name="h1"), None], energies=(0.0, 1.2))
    assert one.missing == ("h2",)
    assert solved(one)[1].code == systems.RESOLVED
    low = system(network(PLACES, edges), [law(0.5), law(0.6, 0.1, name="h1"), None], energies=(0.0, 0.5))
    assert solved(low)[1].code == systems.LOWER_BOUND


def test_a_missing_hop_may_have_the_prefactor_of_100_thz():
    """A soft saddle makes a hop faster than kT/h, 12.5 THz at 600 K."""
    found, _ = solved(system(network(PLACES[:1], [ROW, (0, 0, 0, 1, 0)]), [law(0.5), None]))
    assert_allclose(found.fastest[1, 1], 100.0 * B**2, rtol=1e-9, atol=0)


def test_levels_count_from_the_start_also_beside_a_part_that_no_hop_connects_to_it():
    net = network([*PLACES, [3.0, 3.0, 1.0]], [ROW, (1, 2, 0, 0, 0)])
    one = system(net, [law(0.3), law(0.6, 0.2, name="h1")], energies=(0.0, 0.1, 0.5))
    levels = systems.site_levels_ev(one)
    assert_allclose((levels[0], levels[2] - levels[1]), (0.0, 0.4), rtol=0, atol=1e-12)


def test_an_ion_that_leaves_the_surface_on_the_way_is_not_taken_to_be_fast():
    net = network(PLACES[:1], [ROW, (0, 0, 0, 1, 0)])
    one = system(net, [law(0.5), None], heights_ev={"h1": 2.1})
    assert solved(one)[1].code == systems.RESOLVED


def test_a_missing_hop_to_a_deep_site_counts_with_its_weight():
    """B lies 0.3 eV lower: D on the row alone is an upper value, not a bound that may be shown."""
    one = system(network(PLACES, [ROW, (0, 1, 0, 0, 0)]), [law(0.5), None], energies=(0.0, -0.3))
    assert one.start == 1
    found, said = solved(one)
    assert said.code == systems.NOT_RESOLVED
    assert found.mean[0] == 0.0


def test_a_missing_hop_to_a_populated_site_lowers_the_bound():
    one = system(network(PLACES, [ROW, (0, 1, 0, 0, 0)]), [law(0.5), None], energies=(0.0, 0.01))
    share = 1 / (1 + np.exp(-0.01 / KT))
    assert_allclose(solved(one)[0].mean[0], share * 8.0 * np.exp(-0.5 / KT) * A**2 / 2, rtol=1e-6, atol=0)


def test_time_at_surface_sites_is_that_of_the_equilibrium():
    one = system(
        network(PLACES, [ROW, (0, 1, 0, 0, 0)]),
        [law(0.5), law(0.6, 0.7, name="h1")],
        energies=(0.0, -0.1),
        layers=("surface", "subsurface"),
    )
    assert_allclose(solved(one)[0].on_surface, 1 / (1 + np.exp(0.1 / KT)), rtol=1e-9, atol=0)


def test_rates_that_violate_detailed_balance_at_300_k_give_no_number_at_any_temperature():
    one = system(network(PLACES[:1], [ROW]), [law(0.5, 0.45)], balance_factor=3.0)
    assert_allclose(one.imbalance, 0.05 / (BOLTZMANN_EV_PER_KELVIN * 300), rtol=1e-9, atol=0)
    assert [solved(one, t)[1].code for t in (250.0, 3000.0)] == [systems.UNBALANCED] * 2
    assert solved(system(one.net, one.laws, balance_factor=8.0))[1].code == systems.RESOLVED


@pytest.mark.parametrize("temperature", [250.0, 600.0, 1200.0])
def test_the_effective_barrier_of_one_hop_is_its_barrier(temperature):
    one = system(network(PLACES[:1], [ROW]), [law(0.5)])
    assert_allclose(effective_barrier(one, temperature, STILL, quantum=False), 0.5, rtol=1e-8, atol=0)


def test_the_effective_barrier_of_a_trap_contains_its_depth_when_cold():
    net = network(PLACES, [ROW, (0, 1, 0, 0, 0)])
    one = system(net, [law(0.5), law(0.1, 0.4, name="h1")], energies=(0.0, -0.3))
    assert_allclose(effective_barrier(one, 100.0, STILL, quantum=False), 0.8, rtol=1e-6, atol=0)
    assert 0.5 < effective_barrier(one, 3000.0, STILL, quantum=False)[0] < 0.75
