"""D from the master equation against closed forms, another route, and its invariances."""

import numpy as np
import pytest
from helpers import walks
from helpers.hopping import CELL, by_waves, network, rates_of, tensor
from numpy.testing import assert_allclose

from mlip.core.units import BOLTZMANN_EV_PER_KELVIN
from mlip.stages.rates import lattice, master

A, B, C = np.diag(CELL)
THREE = [[0.5, 0.5, 0.5], [1.7, 2.0, 1.0], [3.0, 1.0, 4.0]]
MESH = [(0, 1, 0, 0, 0), (1, 2, 0, 0, 0), (2, 0, 1, 0, 0), (0, 0, 0, 1, 0), (1, 1, 0, 0, 1), (2, 1, 0, 1, -1)]


def test_bulk_anatase_is_exact():
    """D_a = k a^2/4, D_c = k c^2/8 on the octahedral network with the rate k of each of four hops."""
    sites, hops = walks.anatase()
    net = lattice.lattice(walks.ANATASE, sites, hops)
    found = tensor(net, [np.log(2.5)], [np.log(2.5)])
    assert net.ways(0, 0) == 4
    assert_allclose(
        np.diag(found), 2.5 * np.array([walks.A**2 / 4, walks.A**2 / 4, walks.C**2 / 8]), rtol=1e-10, atol=0
    )
    assert_allclose(found - np.diag(np.diag(found)), 0.0, rtol=0, atol=1e-12)


def test_a_row_of_two_alternating_hops_is_two_resistors_in_series():
    net = network(THREE[:2], [(0, 1, 0, 0, 0), (1, 0, 1, 0, 0)])
    fast, slow = 7.0, 0.3
    found = tensor(net, np.log([fast, slow]), np.log([fast, slow]))
    assert_allclose(found[0, 0], A**2 * fast * slow / (2 * (fast + slow)), rtol=1e-12, atol=0)
    assert np.count_nonzero(found) == 1  # nothing along y and z, exactly


def test_a_row_of_two_unlike_sites_has_the_weights_of_its_sites():
    ends = np.array([(0, 1), (1, 0)])
    forward, reverse = rates_of([0.0, 0.1], [0.4, 0.5], ends)
    found = tensor(network(THREE[:2], [(0, 1, 0, 0, 0), (1, 0, 1, 0, 0)]), forward, reverse)
    kt = BOLTZMANN_EV_PER_KELVIN * 600
    flux = np.exp(-np.array([0.4, 0.5]) / kt) / (1 + np.exp(-0.1 / kt))
    assert_allclose(found[0, 0], A**2 * flux[0] * flux[1] / flux.sum(), rtol=1e-12, atol=0)


def test_two_directions_do_not_mix():
    net = network(THREE[:1], [(0, 0, 1, 0, 0), (0, 0, 0, 1, 0)])
    found = tensor(net, np.log([3.0, 0.2]), np.log([3.0, 0.2]))
    assert_allclose(np.diag(found), [3 * A**2, 0.2 * B**2, 0.0], rtol=1e-12, atol=0)


def test_a_trap_holds_the_ion_for_its_share_of_the_time():
    """A dead end takes part in the equilibrium and in nothing else, however fast it is entered."""
    net = network(THREE[:2], [(0, 0, 1, 0, 0), (0, 1, 0, 0, 0)])
    kt = BOLTZMANN_EV_PER_KELVIN * 600
    for saddle in (0.01, 0.9):
        forward, reverse = rates_of([0.0, -0.1], [0.5, saddle], np.array([(0, 0), (0, 1)]))
        share = 1 / (1 + np.exp(0.1 / kt))
        assert_allclose(tensor(net, forward, reverse)[0, 0], share * A**2 * np.exp(-0.5 / kt), rtol=1e-12, atol=0)


def test_a_mesh_agrees_with_the_decay_of_density_waves():
    energies, saddles = [0.0, 0.08, 0.03], [0.2, 0.25, 0.15, 0.3, 0.22, 0.18]
    net = network(THREE, MESH)
    forward, reverse = rates_of(energies, saddles, net.ends)
    found = tensor(net, forward, reverse)
    assert_allclose(found, by_waves(net, np.exp(forward), np.exp(reverse)), rtol=2e-5, atol=1e-7)
    assert abs(found[0, 1]) > 1e-3  # so that the other elements are tested too


def test_a_mesh_agrees_with_the_pseudo_inverse_of_the_generator():
    """D = sum w d d^T - b^T L^+ b, with the drift b of every site."""
    net = network(THREE, MESH)
    forward, reverse = rates_of([0.0, 0.08, 0.03], [0.2, 0.25, 0.15, 0.3, 0.22, 0.18], net.ends)
    weight = np.exp(-np.array([0.0, 0.08, 0.03]) / (BOLTZMANN_EV_PER_KELVIN * 600))
    flux = weight[net.ends[:, 0]] * np.exp(forward) / weight.sum()
    laplacian, drift, steps = np.zeros((3, 3)), np.zeros((3, 3)), net.steps
    for w, d, i, j in zip(flux, steps, net.first, net.second, strict=True):
        laplacian[i, i] += w
        laplacian[j, j] += w
        laplacian[i, j] -= w
        laplacian[j, i] -= w
        drift[i] += w * d
        drift[j] -= w * d
    expected = np.einsum("e,ea,eb->ab", flux, steps, steps) - drift.T @ np.linalg.pinv(laplacian) @ drift
    assert_allclose(tensor(net, forward, reverse), expected, rtol=1e-10, atol=1e-12)


def test_random_networks_give_symmetric_tensors_without_negative_eigenvalues():
    rng = np.random.default_rng(5)
    for _ in range(20):
        drawn = np.column_stack([rng.integers(0, 4, (9, 2)), rng.integers(-1, 2, (9, 3))]).tolist()
        edges = [e for e in drawn if e[0] != e[1] or any(e[2:])]
        net = network(rng.uniform(0, 4, (4, 3)), edges)
        forward, reverse = rates_of(rng.uniform(0, 0.3, 4), rng.uniform(0.3, 1.5, len(edges)), net.ends, 250.0)
        found = tensor(net, forward, reverse)
        assert_allclose(found, found.T, rtol=1e-12, atol=1e-300)
        assert np.linalg.eigvalsh(found).min() > -1e-14 * np.abs(found).max()


def test_the_choice_of_the_supercell_makes_no_difference():
    small = network([[1.0, 1.0, 1.0], [3.0, 2.0, 1.0]], [(0, 1, 0, 0, 0), (1, 0, 1, 0, 0), (0, 0, 0, 1, 0)])
    forward, reverse = rates_of([0.0, 0.07], [0.3, 0.35, 0.4], small.ends)
    one = walks.site("A", [[1, 1, 1], [5, 1, 1], [1, 6, 1], [5, 6, 1]])
    two = walks.site("B", [[3, 2, 1], [7, 2, 1], [3, 7, 1], [7, 7, 1]])
    hops = [
        walks.hop("h0", "A", "B", [(k, k, 0, 0, 0) for k in range(4)], 1.0),
        walks.hop("h1", "B", "A", [(0, 1, 0, 0, 0), (1, 0, 1, 0, 0), (2, 3, 0, 0, 0), (3, 2, 1, 0, 0)], 1.0),
        walks.hop("h2", "A", "A", [(0, 2, 0, 0, 0), (1, 3, 0, 0, 0), (2, 0, 0, 1, 0), (3, 1, 0, 1, 0)], 1.0),
    ]
    large = lattice.lattice(np.diag([2 * A, 2 * B, C]), [one, two], hops)
    assert_allclose(tensor(large, forward, reverse), tensor(small, forward, reverse), rtol=1e-12, atol=1e-300)
    assert [large.ways(k, 0) for k in range(3)] == [1, 1, 2]


def test_a_sheared_cell_makes_no_difference():
    square = network([[1.0, 1.0, 1.0]], [(0, 0, 1, 0, 0), (0, 0, 0, 1, 0)])
    cell = np.array([[A, 0, 0], [A, B, 0], [0, 0, C]])
    sheared = network([[1.0, 1.0, 1.0]], [(0, 0, 1, 0, 0), (0, 0, -1, 1, 0)], cell)
    rates = np.log([2.0, 0.5])
    assert_allclose(tensor(sheared, rates, rates), tensor(square, rates, rates), rtol=1e-12, atol=1e-12)


def test_the_sense_in_which_hops_are_listed_makes_no_difference():
    net, turned = network(THREE, MESH), network(THREE, [(j, i, -a, -b, -c) for i, j, a, b, c in MESH])
    forward, reverse = rates_of([0.0, 0.08, 0.03], [0.2, 0.25, 0.15, 0.3, 0.22, 0.18], net.ends)
    assert_allclose(tensor(turned, reverse, forward), tensor(net, forward, reverse), rtol=1e-12, atol=1e-14)


def test_rates_that_differ_by_many_orders_keep_the_accuracy():
    """A pair of near sites that swap 1e25 times faster than anything leads on."""
    net = network(THREE[:2], [(0, 1, 0, 0, 0), (1, 0, 1, 0, 0), (0, 0, 0, 1, 0)])
    fast, slow, other = 1e13, 1e-12, 3e-14
    found = tensor(net, np.log([fast, slow, other]), np.log([fast, slow, other]))
    assert_allclose(found[0, 0], A**2 * slow / 2, rtol=1e-10, atol=0)
    assert_allclose(found[1, 1], B**2 * other / 2, rtol=1e-10, atol=0)


def test_sites_that_nothing_connects_do_not_move():
    net = network(THREE[:2], [(0, 1, 0, 0, 0)])
    assert not tensor(net, [1.0], [1.0]).any()
    alone = lattice.parts(network(THREE[:2], [(1, 1, 1, 0, 0)]), [0], 0)
    assert [(part.nodes.tolist(), part.rank) for part in alone] == [([0], 0)]


def test_hops_over_the_edge_of_the_cell_that_come_back_lead_nowhere():
    """A ring of three sites across the border: its steps add up to no lattice vector."""
    net = network(THREE, [(0, 1, 1, 0, 0), (1, 2, 0, 1, 0), (2, 0, -1, -1, 0)])
    assert not tensor(net, np.log([1.0, 2.0, 3.0]), np.log([1.0, 2.0, 3.0])).any()


def test_parallel_rows_are_all_walked():
    """Two copies of a site, each on a row of its own: D along the rows is that of one row."""
    place = walks.site("A", [[1, 1, 1], [1, 3.5, 1]])
    row = walks.hop("h0", "A", "A", [(0, 0, 1, 0, 0), (1, 1, 1, 0, 0)], A)
    net = lattice.lattice(CELL, [place], [row])
    parts = lattice.parts(net, [0], 0)
    assert [part.rank for part in parts] == [1, 1]
    assert_allclose(tensor(net, [np.log(2.0)], [np.log(2.0)])[0, 0], 2 * A**2, rtol=1e-12, atol=0)


def test_rates_that_violate_detailed_balance_are_refused():
    """Around a loop of three sites the products of the rates differ by a factor of 8."""
    net = network(THREE, [(0, 1, 0, 0, 0), (1, 2, 0, 0, 0), (2, 0, 1, 0, 0)])
    forward, known = np.log([[2.0, 2.0, 2.0]]), np.ones(3, dtype=bool)
    found = master.equilibrium(net, forward, np.zeros((1, 3)), known=known)
    assert_allclose(found.imbalance, np.log(2.0), rtol=1e-12, atol=0)
    master.require_balance(net, found.imbalance, factor=2.01)
    with pytest.raises(ValueError, match=r"h0, h1, h2 violate detailed balance by a factor of 2 \(at most 1.5\)"):
        master.require_balance(net, found.imbalance, factor=1.5)


def test_a_guessed_rate_gives_way_to_known_ones():
    net = network(THREE[:2], [(0, 1, 0, 0, 0), (1, 0, 1, 0, 0)])
    rates = np.log([[4.0, 1.0]]), np.log([[1.0, 1.0]])
    found = master.equilibrium(net, *rates, known=np.array([True, False]))
    assert found.imbalance < 1e-6
    assert_allclose(found.ln_weight[0, 1] - found.ln_weight[0, 0], np.log(4.0), rtol=1e-6, atol=0)


def test_a_hop_to_nowhere_is_refused():
    with pytest.raises(ValueError, match=r"hop h0: site Z is not among the sites A"):
        lattice.lattice(CELL, [walks.site("A", [[1, 1, 1]])], [walks.hop("h0", "A", "Z", [(0, 0, 1, 0, 0)], 1.0)])
    with pytest.raises(ValueError, match=r"hop h0: leads to copy 3 of site A, which has 1; run sites again"):
        lattice.lattice(CELL, [walks.site("A", [[1, 1, 1]])], [walks.hop("h0", "A", "A", [(0, 3, 1, 0, 0)], 1.0)])
    with pytest.raises(ValueError, match=r"at least one site"):
        lattice.lattice(CELL, [], [])
