"""Hops, visits and rates on walks whose jumps are known."""

from itertools import pairwise

import numpy as np
import pytest
from helpers import walks
from numpy.testing import assert_allclose, assert_array_equal

from mlip.stages.diffusion import hops
from mlip.stages.diffusion.settings import DiffusionSettings

SETTINGS = DiffusionSettings()


def where(network, cell, settings=SETTINGS):
    return hops.basins(cell, *network, settings)


def shifted(point, x, y):
    return point + np.array([x, y, 0.0])


def along(points, count=20):
    """A straight way through points, `count` frames between two."""
    return np.concatenate([np.linspace(a, b, count) for a, b in pairwise(points)])


def test_a_straight_way_over_three_sites_is_two_hops():
    lattice = where(walks.square(), walks.SQUARE)
    start = np.array([1.9, 1.9, 12.0])
    found = hops.visits(along([start, shifted(start, 3.8, 0), shifted(start, 3.8, -3.8)]), 0.1, lattice)
    assert_allclose(found.jump_vectors, [[3.8, 0, 0], [0, -3.8, 0]], rtol=0, atol=1e-9)
    assert [k[0] for k in found.jump_kinds] == ["x", "y"]
    assert_allclose(found.known_ps, 3.9, rtol=1e-12)  # 40 frames, 39 times between them
    assert_array_equal(found.basin, 0)


def test_a_look_over_the_saddle_is_no_hop():
    lattice = where(walks.square(), walks.SQUARE)
    start = np.array([1.9, 1.9, 12.0])
    over = shifted(start, 2.5, 0)  # past the middle, outside the core of the next site
    assert lattice.core_angstrom == 1.0
    assert not hops.visits(along([start, over, start]), 0.1, lattice).jump_kinds
    inside = shifted(start, 2.9, 0)
    assert len(hops.visits(along([start, inside, start]), 0.1, lattice).jump_kinds) == 2


def test_jumps_add_up_to_the_way_of_the_ion():
    lattice = where(walks.anatase(), walks.ANATASE)
    rng = np.random.default_rng(0)
    places = walks.VOIDS @ walks.ANATASE
    ion = walks.track(
        rng, places, walks.steps_of(places, walks.ANATASE, 3.2), 0.2, frames=4000, frame_ps=0.05, noise=0.0
    )
    found = hops.visits(ion, 0.05, lattice)
    assert len(found.jump_kinds) > 100
    assert_allclose(found.jump_vectors.sum(0), ion[-1] - ion[0], rtol=0, atol=1e-6)
    assert_allclose(np.linalg.norm(found.jump_vectors, axis=1).min(), 3.08, rtol=0.01)


def test_every_jump_between_anatase_voids_is_the_hop_of_the_network():
    lattice = where(walks.anatase(), walks.ANATASE)
    assert len(lattice.kinds) == 16  # four ways from each of four voids
    rng = np.random.default_rng(1)
    places = walks.VOIDS @ walks.ANATASE
    found = hops.visits(
        walks.track(rng, places, walks.steps_of(places, walks.ANATASE, 3.2), 0.05, frames=8000, frame_ps=0.05),
        0.05,
        lattice,
    )
    assert set(found.jump_kinds) == {("bulk_oct", "V1", "V1")}


def test_the_network_repeats_whatever_the_supercell():
    lattice = where(walks.square(), walks.SQUARE)
    far = np.array([1.9 + 7 * 3.8, 1.9 - 12 * 3.8, 12.0])
    found = hops.visits(along([far, shifted(far, 3.8, 0)]), 0.1, lattice)
    assert_allclose(found.jump_vectors, [[3.8, 0, 0]], rtol=0, atol=1e-9)


def test_near_copies_are_one_basin_also_across_the_cell():
    pair = walks.site("V1", [[0.1, 1.9, 12.0], [3.5, 1.9, 12.0]])  # 0.4 Angstrom apart across the edge
    lattice = where(([pair], [walks.hop("x", "V1", "V1", [(0, 1, 0, 0, 0)], 3.4)]), walks.SQUARE)
    assert len(lattice.centres) == 1
    assert_allclose(lattice.centres[0][0], -0.1, rtol=0, atol=1e-9)
    a, b = np.array([0.1, 1.9, 12.0]), np.array([-0.3, 1.9, 12.0])
    assert not hops.visits(along([a, b, a]), 0.1, lattice).jump_kinds
    found = hops.visits(along([b, a, shifted(b, 3.8, 0), shifted(a, 3.8, 0)]), 0.1, lattice)
    assert_allclose(found.jump_vectors, [[3.8, 0, 0]], rtol=0, atol=1e-9)
    assert found.jump_kinds == (("x", "V1", "V1"),)


def test_a_hop_inside_a_basin_is_no_hop_and_has_no_limit():
    pair = walks.site("V1", [[0.9, 1.9, 12.0], [1.6, 1.9, 12.0]])
    inner, outer = (
        walks.hop("in", "V1", "V1", [(0, 1, 0, 0, 0)], 0.7),
        walks.hop("x", "V1", "V1", [(1, 0, 1, 0, 0)], 3.1),
    )
    lattice = where(([pair], [inner, outer]), walks.SQUARE)
    assert set(lattice.kinds.values()) == {"x"}
    still = hops.visits(np.repeat(lattice.centres[:1], 5, axis=0), 0.1, lattice)
    assert [rate.hop for rate in hops.rates([still], lattice)] == ["x"]


def double_wells():
    """A site with two wells that are one basin, in a row along x: hops of 3.0 and 4.0 Angstrom join the same basins."""
    pair = walks.site("V1", [[1.0, 4.0, 4.0], [2.0, 4.0, 4.0]], layer="bulk")
    long = walks.hop("long", "V1", "V1", [(0, 0, 1, 0, 0), (1, 1, 1, 0, 0)], 4.0)
    short = walks.hop("short", "V1", "V1", [(1, 0, 1, 0, 0)], 3.0)
    across = walks.hop("across", "V1", "V1", [(0, 0, 0, 1, 0), (1, 1, 0, 1, 0)], 8.0)
    return [pair], [long, short, across]


def test_hops_between_the_same_basins_are_counted_together_and_for_none_of_them():
    cell = np.diag([4.0, 8.0, 8.0])
    lattice = where(double_wells(), cell)
    assert set(lattice.kinds.values()) == {"short+long", "across"}
    centre = lattice.centres[0]
    found = hops.visits(along([centre, shifted(centre, 4, 0), centre, shifted(centre, 0, 8)]), 0.1, lattice)
    assert [kind[0] for kind in found.jump_kinds] == ["short+long", "short+long", "across"]
    assert {r.hop: r.count for r in hops.rates([found], lattice)} == {"short+long": 2, "across": 1}


def test_hops_that_share_one_of_their_ways_have_one_name_on_all_of_them():
    """Else the rate of the one with a way of its own would count that way alone."""
    places, (long, short, _) = double_wells()
    more = walks.hop("more", "V1", "V1", [(0, 1, 1, 0, 0), (0, 0, 0, 1, 0)], 5.0)
    lattice = where((places, [more, long, short]), np.diag([4.0, 8.0, 8.0]))
    assert set(lattice.kinds.values()) == {"short+long+more"}
    assert len(lattice.kinds) == 4


def test_cores_of_near_basins_do_not_touch():
    both = [walks.site("S1", [[1.9, 1.9, 12.0]]), walks.site("U1", [[1.9, 1.9, 10.4]], layer="subsurface")]
    assert_allclose(where((both, []), walks.SQUARE).core_angstrom, 0.64, rtol=1e-9)


def test_an_ion_belongs_nowhere_before_it_comes_into_a_core():
    lattice = where(walks.square(), walks.SQUARE)
    middle, place = np.array([3.8, 3.8, 12.0]), np.array([1.9, 1.9, 12.0])
    found = hops.visits(along([middle, place]), 0.1, lattice)
    assert found.basin[0] == -1
    assert found.basin[-1] == 0
    assert found.known_ps < 2.0
    lost = hops.visits(np.repeat(middle[None], 5, axis=0), 0.1, lattice)
    assert lost.known_ps == 0.0
    assert not lost.jump_kinds


def test_rates_come_out_with_their_ways_and_those_without_a_hop_have_a_limit():
    lattice = where(walks.square(), walks.SQUARE)
    rng = np.random.default_rng(2)
    places = np.array([[1.9, 1.9, 12.0]])
    steps = walks.steps_of(places, walks.SQUARE, 4.0)
    weights = np.array([0.2 if abs(v[0]) > 1 else 0.0 for v, _ in steps[0]])
    found = [
        hops.visits(walks.track(rng, places, steps, weights, frames=20000, frame_ps=0.1), 0.1, lattice)
        for _ in range(2)
    ]
    x, y, *_ = hops.rates(found, lattice)
    assert (x.hop, x.initial, x.final) == ("x", "S1", "S1")
    assert x.per_ps.low < 0.4 < x.per_ps.high
    assert_allclose(x.per_ps.value, 0.4, rtol=0.1)
    assert_allclose(x.exposure_ps, 2 * 19999 * 0.1, rtol=1e-9)
    assert (y.count, y.per_ps.value, y.per_ps.low) == (0, None, None)
    assert_allclose(y.per_ps.high, 2.996 / 4000.0, rtol=1e-3)
    assert_allclose(hops.residence_ps(found), 1 / 0.4, rtol=0.1)
    assert hops.residence_ps([]) is None


def test_intervals_of_a_rate_cover_it():
    rng = np.random.default_rng(3)
    for few, many in ((2.0, 6.0), (10.0, 30.0), (100.0, 300.0)):
        true = rng.uniform(few, many, 2000)
        seen = [hops.poisson_rate(int(n), 10.0) for n in rng.poisson(true)]
        covered = [(e.low or 0.0) <= t / 10 <= e.high for e, t in zip(seen, true, strict=True)]
        assert 0.93 <= np.mean(covered) <= 0.98


def test_the_interval_of_a_rate_is_that_of_the_gamma_distribution():
    """Ten hops in 2 ps: chi^2 of 2 (10 + 1/2) = 21 degrees of freedom over 2 * 2 ps; its tables give the quantiles."""
    found = hops.poisson_rate(10, 2.0)
    assert found.value == 5.0
    assert_allclose((found.low, found.high), (10.28290 / 4, 35.47888 / 4), rtol=1e-6, atol=0)


def test_time_below_the_surface():
    both = [walks.site("S1", [[1.9, 1.9, 12.0]]), walks.site("U1", [[1.9, 1.9, 9.0]], layer="subsurface")]
    lattice = where((both, []), walks.SQUARE)
    ion = np.repeat([[1.9, 1.9, 12.0], [1.9, 1.9, 9.0], [1.9, 1.9, 12.0]], [30, 10, 10], axis=0)
    assert_allclose(hops.time_in_layers([hops.visits(ion, 1.0, lattice)], lattice)["subsurface"], 0.2, rtol=1e-12)
    assert hops.time_in_layers([], lattice) == {}
    (jump, *_) = [r for r in hops.rates([hops.visits(ion, 1.0, lattice)], lattice) if r.initial == "U1"]
    assert (jump.hop, jump.count, jump.exposure_ps) == ("other", 1, 10.0)


def test_a_host_without_relaxed_sites_is_refused():
    lost = walks.site("S1", [[1.9, 1.9, 12.0]], status="desorbed")
    with pytest.raises(ValueError, match="no relaxed site to which the ion could belong"):
        where(([lost], []), walks.SQUARE)


def dead_end():
    """Surface sites along x, each with a site below from which there is no other way."""
    places = [walks.site("S1", [[1.9, 1.9, 12.0]]), walks.site("U1", [[3.8, 1.9, 9.0]], layer="subsurface")]
    ways = [walks.hop("x", "S1", "S1", [(0, 0, 1, 0, 0)], 3.8), walks.hop("in", "S1", "U1", [(0, 0, 0, 0, 0)], 3.5)]
    return places, ways


def test_jumps_into_a_dead_end_lead_nowhere():
    lattice = where(dead_end(), walks.SQUARE)
    top, below = np.array([1.9, 1.9, 12.0]), np.array([3.8, 1.9, 9.0])
    found = hops.visits(along([top, below, top, below, top]), 0.1, lattice)
    assert len(found.jump_vectors) == 4
    assert [len(j) for j in hops.leading_jumps([found], lattice)] == [0]
    further = hops.visits(along([top, below, top, shifted(top, 3.8, 0)]), 0.1, lattice)
    assert_allclose(hops.leading_jumps([further], lattice)[0], [[3.8, 0, 0]], rtol=0, atol=1e-9)


def test_a_site_between_two_others_counts_as_half_the_way():
    places = [walks.site("S1", [[0.0, 1.9, 12.0]]), walks.site("U1", [[1.5, 1.9, 11.0]], layer="subsurface")]
    ways = [walks.hop("in", "S1", "U1", [(0, 0, 0, 0, 0)], 1.8), walks.hop("out", "U1", "S1", [(0, 0, 1, 0, 0)], 2.5)]
    lattice = where((places, ways), walks.SQUARE)
    a, b = np.array([0.0, 1.9, 12.0]), np.array([1.5, 1.9, 11.0])
    found = hops.visits(along([a, b, shifted(a, 3.8, 0), shifted(b, 3.8, 0), shifted(a, 3.8, 0)]), 0.1, lattice)
    seen = hops.leading_jumps([found], lattice)[0]
    assert_allclose(seen.sum(0), [3.8, 0, 0], rtol=0, atol=1e-9)
    assert seen[0][0] == pytest.approx(3.8 / 4)  # three times as many jumps on this side, so a quarter of the way
    assert seen[1][0] == pytest.approx(3 * 3.8 / 4)
