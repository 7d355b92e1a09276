import pytest

from mlip.stages.sites.paths import minimax

START = ("S1", 0, (0, 0, 0))
NEXT = ("S1", 0, (1, 0, 0))
OVER = ("over", "S1", "S1", ((0, 0, 1, 0, 0),))
IN = ("in", "S1", "U1", ((0, 0, 0, 0, 0), (0, 0, -1, 0, 0)))


def test_direct_hop_between_images_of_one_site():
    assert minimax([OVER], {"over": 0.5}, start=START, target=NEXT) == ("over",)


def test_lower_detour_below_the_surface_wins():
    assert minimax([OVER, IN], {"over": 1.7, "in": 1.0}, start=START, target=NEXT) == ("in", "in")
    assert minimax([OVER, IN], {"over": 0.9, "in": 1.0}, start=START, target=NEXT) == ("over",)


def test_of_equal_bottlenecks_the_shorter_path():
    assert minimax([IN, OVER], {"over": 1.0, "in": 1.0}, start=START, target=NEXT) == ("over",)


def test_a_step_back_to_where_it_came_from_is_no_path():
    dead_end = ("in", "S1", "U1", ((0, 0, 0, 0, 0),))
    assert minimax([dead_end], {"in": 0.1}, start=START, target=NEXT) == ()


def test_steps_without_a_saddle_cannot_be_walked():
    assert minimax([OVER], {}, start=START, target=NEXT) == ()


def test_a_long_detour_over_four_steps():
    steps = [("a", "S1", "U1", ((0, 0, 0, 0, 0),)), ("b", "U1", "U1", ((0, 0, 1, 0, 0),)), OVER]
    assert minimax(steps, {"a": 0.4, "b": 0.6, "over": 0.7}, start=START, target=NEXT) == ("a", "b", "a")


def test_of_equally_short_paths_below_one_saddle_that_with_the_lower_rest():
    steps = [
        ("down", "S1", "U1", ((0, 0, 0, 0, 0),)),
        ("high", "U1", "S1", ((0, 0, 1, 0, 0),)),
        ("low", "U1", "S1", ((0, 0, 1, 0, 0),)),
    ]
    assert minimax(steps, {"down": 1.0, "high": 0.9, "low": 0.2}, start=START, target=NEXT) == ("down", "low")


def test_fewer_steps_below_one_saddle_win_over_a_lower_sum():
    """Two steps sum to 1.9, three to 1.4."""
    steps = [
        ("down", "S1", "U1", ((0, 0, 0, 0, 0),)),
        ("up", "U1", "S1", ((0, 0, 1, 0, 0),)),
        ("aside", "U1", "U2", ((0, 0, 0, 0, 0),)),
        ("far", "U2", "S1", ((0, 0, 1, 0, 0),)),
    ]
    saddles = {"down": 1.0, "up": 0.9, "aside": 0.2, "far": 0.2}
    assert minimax(steps, saddles, start=START, target=NEXT) == ("down", "up")


@pytest.mark.parametrize(("there", "back", "found"), [(3, 2, ("there", "back")), (4, 3, ())])
def test_a_path_visits_images_up_to_the_second_on_either_side(there, back, found):
    """The next image is `there` cells ahead and `back` cells back; of the two orders one goes through image -back."""
    steps = [("there", "S1", "S1", ((0, 0, there, 0, 0),)), ("back", "S1", "S1", ((0, 0, -back, 0, 0),))]
    path = minimax(steps, {"there": 0.1, "back": 0.1}, start=START, target=NEXT)
    assert tuple(sorted(path, reverse=True)) == found
