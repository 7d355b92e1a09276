"""The choice of frames as linear algebra: posteriors by another formula, and who comes along with whom."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mlip.learn import choice

HOPS = ["a", "a", "a", "b", "b", "b", None]  # initial, saddle, other image of two hops; a frame of the dynamics
BARRIERS = [(1, 0), (4, 3)]
NOISE = np.full(7, 0.02**2)


def covariance(seed=0, sigma=0.1):
    root = np.random.default_rng(seed).normal(size=(7, 9))
    return sigma**2 * root @ root.T / 9


def picked(matrix, *, partners=(None,) * 7, allowed=(True,) * 7, count=3, barriers=BARRIERS):
    return choice.by_variance(
        matrix, NOISE, barriers=barriers, partners=partners, allowed=allowed, hops=HOPS, count=count
    )


def variance_after(matrix, numbers):
    """Sum of the variances of the barriers once these are labelled, by the precision matrix."""
    precision = np.linalg.inv(matrix)
    precision[numbers, numbers] += 1 / NOISE[numbers]
    left = np.linalg.inv(precision)
    return sum(left[s, s] + left[i, i] - 2 * left[s, i] for s, i in BARRIERS)


def test_the_first_frame_is_the_one_that_lowers_the_variance_most_and_the_rest_follows():
    matrix = covariance()
    found, before, after = picked(matrix)
    drops = [variance_after(matrix, []) - variance_after(matrix, [k]) for k in range(7)]
    assert found[0].number == int(np.argmax(drops))
    assert_allclose(found[0].score, max(drops), rtol=1e-9)
    numbers = [p.number for p in found]
    assert_allclose(before, np.sqrt(variance_after(matrix, []) / 2), rtol=1e-9)
    assert_allclose(after, np.sqrt(variance_after(matrix, numbers) / 2), rtol=1e-9)
    second = [variance_after(matrix, [numbers[0], k]) for k in range(7) if k != numbers[0]]
    assert_allclose(variance_after(matrix, numbers[:2]), min(second), rtol=1e-9)


def test_an_uncertain_barrier_goes_first_and_what_no_barrier_feels_is_not_labelled():
    matrix = np.diag([0.01, 0.01, 0.5, 0.01, 0.2, 0.5, 0.9]) ** 2
    assert [p.number for p in picked(matrix, count=7)[0]] == [4, 0, 1, 3]  # 2, 5 and 6 say nothing about a barrier
    common = matrix + 1.0  # an error that all energies share moves no barrier
    first = picked(common, count=1)[0][0].number
    assert_allclose(first, 4, rtol=0)


def test_a_first_image_brings_its_initial_image_along_once_a_hop():
    matrix = np.diag([0.05, 0.3, 0.2, 0.05, 0.1, 0.1, 0.1]) ** 2
    partners = [None, 0, 0, None, 3, 3, None]
    found, _, _ = picked(matrix, partners=partners, count=4)
    assert [(p.number, p.along) for p in found] == [(1, False), (0, True), (4, False), (3, True)]
    one, _, _ = picked(matrix, partners=partners, count=1)
    assert [p.number for p in one] == [0]  # there is no room for two
    spreads = [0.0, 0.3, 0.9, 0.1, 0.5, 0.4, 0.8]
    groups = ["a", "a", "a", "b", "b", "b", "md"]
    by_spread = choice.by_spread(
        spreads, groups=groups, partners=partners, allowed=(True,) * 7, hops=HOPS, count=6, per_group=1
    )
    assert [(p.number, p.along) for p in by_spread] == [(2, False), (0, True), (6, False), (4, False), (3, True)]


def test_frames_that_are_not_allowed_are_left_out_with_those_that_need_them():
    matrix, partners = covariance(1), [None, 0, 0, None, 3, 3, None]
    allowed = [False, True, True, True, True, True, False]
    found, _, _ = picked(matrix, partners=partners, allowed=allowed, count=7)
    assert {p.number for p in found} <= {3, 4, 5}
    spread = choice.by_spread(
        range(7), groups="abcdefg", partners=partners, allowed=allowed, hops=HOPS, count=7, per_group=1
    )
    assert [p.number for p in spread] == [5, 3, 4]


@pytest.mark.parametrize(("sigma", "numbers"), [(0.01, [4, 0, 1]), (1.0, [4, 3, 0])])
def test_an_uncertainty_that_all_energies_share_widens_no_barrier_and_makes_a_lone_label_say_less(sigma, numbers):
    """A label says energies with their common part: its variance is larger by sigma^2, and what it tells is not.

    Small beside the energies it changes no choice; as large as they are, a saddle's own initial image is next.
    """
    matrix = covariance(3, sigma=1.0)
    assert [p.number for p in picked(matrix)[0]] == [4, 0, 1]
    found, before, after = picked(matrix + sigma**2)
    assert [p.number for p in found] == numbers
    assert_allclose(before, picked(matrix)[1], rtol=1e-9)
    told = sum((matrix[s, 4] - matrix[i, 4]) ** 2 for s, i in BARRIERS)
    assert_allclose(found[0].score, told / (matrix[4, 4] + NOISE[4] + sigma**2), rtol=1e-9)
    assert_allclose(after, np.sqrt(variance_after(matrix + sigma**2, numbers) / 2), rtol=1e-9)
