"""Kinetic Monte Carlo against the master equation at one ion, and known limits of several."""

import numpy as np
import pytest
from helpers import walks
from helpers.hopping import CELL, network, tensor
from numpy.testing import assert_allclose

from mlip.stages.rates import lattice, monte_carlo
from mlip.stages.rates.monte_carlo import Species

A, B, _ = np.diag(CELL)
PLACES = [[0.5, 0.5, 0.5], [2.5, 0.5, 0.5]]
NEAR = 0.5  # Angstrom: an ion keeps others from its own site only


def species(net, forward, reverse=None, *, count=1, weight=None, axes=2, ion="Li"):
    rates = np.stack([forward, forward if reverse is None else reverse], axis=1).astype(float)
    return Species(ion, count, net, rates, np.ones(len(net.names)) if weight is None else np.array(weight), axes)


def walked(*all_, repeat=(1, 1, 1), steps=10000, apart=NEAR, seed=2):
    return monte_carlo.walk(all_, repeat=repeat, steps=steps, apart_angstrom=apart, seed=seed)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_one_ion_reproduces_the_master_equation(seed):
    """Unlike sites, a dead end and unlike hops, within three standard errors."""
    net = network([*PLACES, [0.5, 2.0, 0.5]], [(0, 1, 0, 0, 0), (1, 0, 1, 0, 0), (0, 2, 0, 0, 0), (1, 1, 0, 1, 0)])
    weight, flux = np.array([1.0, 0.4, 0.7]), np.array([2.0, 0.5, 1.0, 0.3])
    forward, reverse = flux / weight[net.ends[:, 0]], flux / weight[net.ends[:, 1]]
    exact = np.trace(tensor(net, np.log(forward), np.log(reverse))) / 2
    (found,) = walked(species(net, forward, reverse, weight=weight), seed=seed, repeat=(2, 1, 1))
    assert abs(found.angstrom2_per_ps - exact) < 3 * found.std_error
    assert found.std_error < 0.2 * exact
    assert found.blocked == 0.0


def test_the_standard_error_is_that_of_many_walks():
    net = network(PLACES[:1], [(0, 0, 1, 0, 0), (0, 0, 0, 1, 0)])
    one = species(net, [1.0, 1.0])
    found = [walked(one, steps=1000, seed=seed)[0] for seed in range(30)]
    values, errors = np.array([(f.angstrom2_per_ps, f.std_error) for f in found]).T
    assert_allclose(values.mean(), (A**2 + B**2) / 2, rtol=0, atol=4 * values.std() / np.sqrt(30))
    assert 0.6 < np.mean(errors) / values.std() < 1.6


def test_hops_of_ions_on_a_mean_field_lattice_are_blocked_by_the_coverage():
    """On a lattice without interactions a hop is open with the probability that its target is empty."""
    sites, hops = walks.anatase()
    one = species(lattice.lattice(walks.ANATASE, sites, hops), [1.0], count=8, axes=3)
    (found,) = walked(one, repeat=(2, 2, 1), apart=1.0)
    assert_allclose(found.blocked, 7 / 15, rtol=0.05, atol=0)
    free = (2 * walks.A**2 / 4 + walks.C**2 / 8) / 3
    assert 0.3 * free < found.angstrom2_per_ps < 8 / 15 * free  # backward correlations make it less than mean field


def test_ions_in_single_file_do_not_pass_each_other():
    """In a full ring but one the hole moves; the tracer moves far less than a lone ion."""
    net = network(PLACES[:1], [(0, 0, 1, 0, 0)])
    (lone,) = walked(species(net, [1.0], axes=1), steps=20000)
    (crowd,) = walked(species(net, [1.0], count=7, axes=1), repeat=(8, 1, 1), steps=20000)
    assert crowd.angstrom2_per_ps < 0.1 * lone.angstrom2_per_ps


def row(count, *, sites, steps, seed):
    """Ions that hop once per ps to each side in a ring."""
    one = species(network(PLACES[:1], [(0, 0, 1, 0, 0)]), [1.0], count=count, axes=1)
    return walked(one, repeat=(sites, 1, 1), steps=steps, seed=seed)[0]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_single_file_that_is_remembered_longer_than_a_block_is_noticed(seed):
    """In the end n ions on L sites of a ring move on together: D = (L - n) / (L - 1) / n of that of a lone ion."""
    short = row(16, sites=32, steps=3000, seed=seed)
    assert short.remembers
    assert short.angstrom2_per_ps > 5 * A**2 * 16 / 31 / 16
    long = row(2, sites=4, steps=30000, seed=seed)
    assert not long.remembers
    assert abs(long.angstrom2_per_ps - A**2 * 2 / 3 / 2) < 3 * long.std_error


@pytest.mark.parametrize("count", [1, 4, 8, 12, 15])
def test_bulk_is_forgotten_within_a_block_at_any_occupation(count):
    sites, hops = walks.anatase()
    one = species(lattice.lattice(walks.ANATASE, sites, hops), [1.0], count=count, axes=3)
    (found,) = walked(one, repeat=(2, 2, 1), apart=1.0)
    assert not found.remembers
    assert (found.hops, found.carriers) == (10000, pytest.approx(10000))


def test_memory_is_noticed_in_joined_blocks():
    """Independent blocks have none (2 of 100 seem to); ions that stay around their places halve D with each doubling."""
    rng, over, one, kept, both, far = np.random.default_rng(4), np.ones(100), 0, 0, 0, 0
    for _ in range(100):
        free, common = rng.normal(size=(100, 3, 2)), rng.normal(size=(100, 1, 2))
        bound = np.diff(rng.normal(size=(101, 3, 2)), axis=0)
        one += monte_carlo.remembers(free, over)
        kept += monte_carlo.remembers(bound, over)
        both += monte_carlo.remembers(common + bound, over)  # common motion must not hide it
        far += monte_carlo.remembers(100 * common + bound, over)  # below 5 % of D
    assert one <= 5
    assert (kept, both) == (100, 100)
    assert far <= 5
    assert not monte_carlo.remembers(np.zeros((100, 3, 2)), over)


def test_fast_hops_back_and_forth_carry_no_ion():
    """A pair with 1e9 hops per ps inside and one to the next pair: D = A^2 / 2 / 2 rests on the slow hops."""
    net = network(PLACES, [(0, 1, 0, 0, 0), (1, 0, 1, 0, 0)])
    (frozen,) = walked(species(net, [1e9, 1.0], axes=1), repeat=(2, 1, 1), steps=2000)
    assert (frozen.hops, frozen.carriers) == (2000, pytest.approx(1.0, rel=1e-6))
    (equal,) = walked(species(net, [1.0, 1.0], axes=1), repeat=(2, 1, 1), steps=2000)
    assert_allclose(equal.carriers, 2000, rtol=0.02, atol=0)
    assert_allclose(
        monte_carlo.carriers(np.array([3.0, 1.0]), np.array([90, 0])), 1 / (0.5625 / 90 + 0.0625), rtol=1e-9
    )
    assert monte_carlo.carriers(np.zeros(2), np.array([5, 5])) == 0.0


def test_a_slow_ion_blocks_a_fast_one_of_another_kind():
    net = network(PLACES[:1], [(0, 0, 1, 0, 0)])
    fast, slow = species(net, [1.0], axes=1), species(net, [1e-9], axes=1, ion="Mg")
    lithium, magnesium = walked(fast, slow, repeat=(4, 1, 1), steps=4000)
    assert (lithium.ion, magnesium.ion, magnesium.hops) == ("Li", "Mg", 0)
    assert lithium.blocked > 0.2
    assert lithium.angstrom2_per_ps < 0.2 * A**2


def test_ions_keep_the_distance_that_is_asked_for():
    """With an exclusion wider than a step, an ion and the one next but one share the sites between them."""
    net = network(PLACES[:1], [(0, 0, 1, 0, 0)])
    (wide,) = walked(species(net, [1.0], count=2, axes=1), repeat=(5, 1, 1), apart=A + 0.1)
    assert_allclose(wide.blocked, 0.5, rtol=1e-9, atol=0)  # distances 2 and 3: one of two ways is closed
    with pytest.raises(ValueError, match=r"no ion can hop: all its sites are blocked"):
        walked(species(net, [1.0], count=2, axes=1), repeat=(4, 1, 1), apart=A + 0.1)


def test_the_way_into_equilibrium_does_not_count():
    """Placed at A, the ion waits 1e6 ps for the hop to B, from where it hops on twice per ps and never returns.

    1000 hops of 0.5 ps each: 500 ps, with a standard error of 16 ps.
    """
    net = network(PLACES, [(0, 1, 0, 0, 0), (1, 1, 0, 1, 0)])
    (found,) = walked(species(net, [1e-6, 1.0], [1e-30, 1.0], weight=[1.0, 1e-30]), steps=1000)
    assert found.hops == 1000
    assert_allclose(found.time_ps, 500.0, rtol=0, atol=80.0)


def test_the_same_seed_gives_the_same_walk():
    net = network(PLACES[:1], [(0, 0, 1, 0, 0)])
    assert walked(species(net, [1.0]), steps=1000) == walked(species(net, [1.0]), steps=1000)
    assert walked(species(net, [1.0]), steps=1000) != walked(species(net, [1.0]), steps=1000, seed=3)


def test_too_many_ions_are_refused():
    net = network(PLACES[:1], [(0, 0, 1, 0, 0)])
    with pytest.raises(ValueError, match=r"5 ions do not fit on the sites of the repeated cell; take fewer ions"):
        walked(species(net, [1.0], count=5), repeat=(4, 1, 1))


def test_the_mean_jump_between_harmonic_coordinates_is_zero():
    net = network([*PLACES, [0.5, 2.0, 0.5]], [(0, 1, 0, 0, 0), (1, 0, 1, 0, 0), (0, 2, 0, 0, 0), (1, 1, 0, 1, 0)])
    flux = np.array([2.0, 0.5, 1.0, 0.3])
    places = monte_carlo.harmonic(net, flux)
    steps = places[net.second] + net.image @ net.cell - places[net.first]
    drift = np.zeros((3, 3))
    np.add.at(drift, net.first, flux[net.hop][:, None] * steps)
    np.add.at(drift, net.second, -flux[net.hop][:, None] * steps)
    assert_allclose(drift, 0.0, rtol=0, atol=1e-12)
