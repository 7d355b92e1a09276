"""Which hop is refined next, on networks of known barriers."""

import pytest
from helpers.ways import network, relaxed_to

from mlip.stages.refine.barriers import of_refined, relaxed
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
