"""Which hop is refined next, on networks of known barriers."""

from dataclasses import replace

import pytest
from helpers.material import barrier, hop, site
from helpers.ways import EDGES, PERIOD, network, relaxed_to

from mlip.stages.refine.barriers import Relaxed, of_refined, relaxed
from mlip.stages.refine.order import Network, order, replaced

ERROR_EV = 0.05
PUBLISHED = frozenset({("001", "Li")})


def names(made=(), published=PUBLISHED, left=None):
    """The order of three ways on a published facet and one elsewhere."""
    here, there = network(par=0.50, over=0.57, far=0.9), network("101", aside=0.2)
    whole = Network(*(a + b for a, b in zip(here, there, strict=True)), published, "pbe")
    todo = [h for h in whole.hops if left is None or h.name in left]
    return [h.name for h in order(todo, whole, list(made), error_ev=ERROR_EV)]


def test_the_limiting_hop_comes_first_then_what_could_be_lower_then_the_rest():
    assert names() == ["par", "over", "aside", "far"]


def test_a_facet_without_a_published_barrier_comes_last():
    assert names(published=frozenset({("101", "Li")})) == ["aside", "par", "over", "far"]


@pytest.mark.parametrize(
    ("height", "after"),
    [
        (0.45, ["aside", "over", "far"]),  # 0.57 - 2 x 0.051 is above 0.45: nothing is left that could be lower
        (0.60, ["over", "aside", "far"]),  # the other way is the lowest now
    ],
)
def test_the_order_follows_what_refinement_found(height, after):
    assert names([relaxed_to("par", height)], left={"over", "far", "aside"}) == after


def test_what_did_not_converge_changes_nothing():
    assert names([relaxed_to("par", None, code="not converged")]) == names()


def test_dft_takes_the_place_of_the_potential_where_a_hop_is_refined():
    _, _, barriers = network(par=0.5, over=0.57)
    made = replaced(barriers, relaxed(of_refined([relaxed_to("over", 0.4)]), target="pbe"))
    assert [(b.hop, b.forward_ev, b.reverse_ev, b.forward_std_ev) for b in made] == [
        ("par", 0.5, 0.5, 0.01),
        ("over", 0.4, 0.4, 0.002),
    ]
    assert made[1].d3_forward_ev == -0.02


def unlike(*hops, start=0.0, void=0.25, periods=(PERIOD,)):
    """The order of hops (name, first site, last site, copies, eV) between a surface site and a void, eV each.

    A hop of 0.2 eV on a facet without a published barrier is `aside`, before all that can change nothing.
    """
    sites = (replace(site("001", "Li", "S1", start), periods=periods), site("001", "Li", "U1", void))
    made = tuple(replace(hop("001", "Li", name, *ends), edges=copies) for name, *ends, copies, _ in hops)
    barriers = tuple(barrier("001", "Li", name, height, symmetric=False) for name, *_, height in hops)
    here, there = (sites, made, barriers), network("101", aside=0.2)
    whole = Network(*(a + b for a, b in zip(here, there, strict=True)), PUBLISHED, "pbe")
    return [h.name for h in order(whole.hops, whole, [], error_ev=ERROR_EV)]


def test_what_could_be_lower_is_measured_from_the_site_where_a_hop_begins():
    """The path from the surface, at 0.1 eV, has its saddle at 0.7; two standard deviations are 0.102 eV.

    A hop of 0.75 eV from the surface is at 0.748 at least, one from the void, at 0 eV, at 0.648.
    """
    over, down, up = ("over", "S1", "S1", EDGES, 0.6), ("down", "S1", "U1", (), 0.75), ("up", "U1", "S1", (), 0.75)
    assert unlike(down, up, over, start=0.1, void=0.0) == ["over", "up", "aside", "down"]


def test_of_a_path_of_several_hops_the_highest_comes_first():
    """Down at 0.3 eV, then along the voids at 0.25 + 0.3 eV."""
    down, along = ("down", "S1", "U1", ((0, 0, 0, 0, 0),), 0.3), ("along", "U1", "U1", EDGES, 0.3)
    assert unlike(down, along) == ["along", "down", "aside"]


def test_of_two_directions_that_with_the_lower_path_decides():
    other = replace(PERIOD, direction="y (b = 3.80 A)", translation_angstrom=(0.0, 3.8, 0.0), image=(0, 1, 0))
    par, over = ("par", "S1", "S1", EDGES, 0.5), ("over", "S1", "S1", ((0, 0, 0, 1, 0),), 0.4)
    assert unlike(par, over, periods=(PERIOD, other)) == ["over", "par", "aside"]


@pytest.mark.parametrize(
    ("symmetric", "forward", "own", "wanted"),
    [
        (False, 0.4, 0.17, 0.17),  # that of DFT
        (False, 0.4, None, 0.25),  # 0.5 - 0.4 + 0.15: DFT from the first site, the potential between the two
        (False, None, 0.17, 0.17),
        (False, None, None, None),
        (True, 0.4, None, 0.5),
        (True, 0.4, 0.17, 0.5),
    ],
)
def test_the_reverse_barrier_of_a_refined_hop(symmetric, forward, own, wanted):
    old = replace(barrier("001", "Li", "x", forward, 0.15, symmetric=symmetric), vacuum_ev=0.3)
    dft = Relaxed(host="001", ion="Li", hop="x", forward_ev=0.5, reverse_ev=own, d3_forward_ev=None, std_ev=0.002)
    (made,) = replaced([old], [dft])
    assert (made.forward_ev, made.status.code, made.vacuum_ev) == (0.5, "converged", None)
    assert made.reverse_ev == (None if wanted is None else pytest.approx(wanted, abs=1e-12))
