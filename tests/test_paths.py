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
