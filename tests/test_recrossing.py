"""Recrossings and jumps that the network lacks: counted by hand, and on walks of known memory."""

import numpy as np
import pytest
from helpers import walks
from helpers.motions import PLACE, SETTINGS, STEPS, WHERE
from numpy.testing import assert_allclose

from mlip.stages.diffusion import hops
from mlip.stages.diffusion.recrossing import recrossing
from mlip.stages.diffusion.unknown import unknown_jumps

FRAME_PS = 0.1


def stays(steps, frames):
    """An ion that stays `frames` frames at each of the places that the steps lead to."""
    places = np.cumsum(np.vstack([PLACE, *steps]), axis=0)
    return np.repeat(places, frames, axis=0)


def found(path):
    return [hops.visits(path, FRAME_PS, WHERE)]


def counted(visits, within_ps):
    return recrossing(visits, hops.rates(visits, WHERE), WHERE, within_ps=within_ps)


EAST, NORTH = np.array([3.8, 0.0, 0.0]), np.array([0.0, 3.8, 0.0])


def test_only_hops_that_go_straight_back_in_time_are_recrossings():
    there_and_back = found(stays([EAST, -EAST, NORTH, -EAST], 4))
    assert counted(there_and_back, 0.4).reversed == 1
    assert counted(there_and_back, 0.3).reversed == 0
    on = found(stays([EAST, EAST, NORTH, NORTH], 4))
    assert counted(on, 10.0).reversed == 0


def test_a_walk_without_memory_has_the_expected_number():
    rng = np.random.default_rng(3)
    steps = STEPS
    visits = [
        hops.visits(walks.track(rng, PLACE, steps, 0.05, frames=20000, frame_ps=FRAME_PS), FRAME_PS, WHERE)
        for _ in range(4)
    ]
    made = counted(visits, 2.0)
    assert made.expected > 100
    assert abs(made.reversed - made.expected) < 3.5 * np.sqrt(made.expected)


def test_every_second_hop_going_back_is_far_above_the_expected_number():
    rng = np.random.default_rng(1)
    steps = [s for _ in range(50) for s in ((EAST, -EAST) if rng.random() < 0.5 else (NORTH, -NORTH))]
    lengths = [n for _ in range(50) for n in (2, 60)]
    places = np.cumsum(np.vstack([PLACE, *steps]), axis=0)[1:]
    made = counted(found(np.repeat(places, lengths, axis=0)), 0.5)
    assert made.reversed == 49  # the first hop is before the first frame
    assert made.expected < 10


def test_without_hops_nothing_is_expected():
    made = counted(found(stays([], 20)), 0.5)
    assert (made.crossings, made.reversed, made.expected) == (0, 0, 0.0)


@pytest.mark.parametrize("between", [0, 2])
def test_a_jump_that_the_network_lacks_is_listed_with_its_frames(between):
    way = np.linspace(PLACE[0], PLACE[0] + EAST + NORTH, between + 2)[1:-1]
    path = np.vstack([stays([], 5), way, np.repeat(PLACE + EAST + NORTH, 5, axis=0)])
    (one,) = unknown_jumps([("900K-2", 1, hops.visits(path, FRAME_PS, WHERE))])
    assert (one.replica, one.ion, one.initial, one.final) == ("900K-2", 1, "S1", "S1")
    assert (one.first_frame, one.last_frame, one.passed) == (4, 5 + between, between > 0)
    assert_allclose(one.vector_angstrom, EAST + NORTH, rtol=1e-12)
    assert_allclose(one.length_angstrom, 3.8 * np.sqrt(2), rtol=1e-3)


def test_hops_of_the_network_are_not_listed():
    assert unknown_jumps([("a", 1, v) for v in found(stays([EAST, NORTH], 3))]) == ()
    assert SETTINGS.recrossing_ps == 0.5


def test_a_look_over_the_saddle_is_two_crossings_and_no_hop_and_a_hop_is_one():
    over = PLACE + 0.55 * EAST
    path = np.vstack([stays([], 5), over, stays([], 5), over, stays([EAST], 5)[5:]])
    visits = found(path)
    assert len(visits[0].jump_kinds) == 1
    assert counted(visits, 0.5).crossings == 3
