"""Diffusion of walks whose coefficient is known: values, intervals that cover, limits, drift."""

import tomllib
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from helpers import walks
from numpy.testing import assert_allclose

from mlip.stages.diffusion import diffusion, hops, stage
from mlip.stages.diffusion.settings import DiffusionSettings
from mlip.stages.md import trajectory

SETTINGS = DiffusionSettings()
REPEATS = 200
PLACE = np.array([[1.9, 1.9, 12.0]])
STEPS = walks.steps_of(PLACE, walks.SQUARE, 4.0)
LATTICE = hops.basins(walks.SQUARE, *walks.square(), SETTINGS)


def jumps_of(tracks, frame_ps, lattice=LATTICE):
    found = [hops.visits(t, frame_ps, lattice) for t in tracks]
    return hops.leading_jumps(found, lattice), sum(v.known_ps for v in found)


def analysed(tracks, frame_ps, *, axes=2, lattice=LATTICE, settings=SETTINGS):
    return diffusion.from_jumps(*jumps_of(tracks, frame_ps, lattice), settings, axes=axes, longest_jump_angstrom=3.8)


def drifted(tracks, frame_ps, velocity):
    """Tracks as they come back from trajectories whose whole slab drifts and wobbles."""
    frames, count = len(tracks[0]), len(tracks)
    wobble = np.cumsum(np.random.default_rng(9).normal(0.0, 0.05, (frames, count, 3)), axis=0)
    shift = np.arange(frames)[:, None, None] * frame_ps * np.array(velocity) + wobble
    seen = np.stack(tracks, axis=1)[:, :, None] + shift[:, :, None]
    none = np.zeros((frames, count))
    header = trajectory.Header(
        name="s", host="001", ions=("Li",), symbols=("Li",), stored=(48,), atoms=49, mobile=49, cell_angstrom=((7.6, 0, 0), (0, 7.6, 0), (0, 0, 20.0)), repeat=(1, 1, 1),
        replicas=tuple(f"r{k}" for k in range(count)), temperatures_kelvin=(900.0,) * count, time_step_fs=1.0, frame_steps=round(1000 * frame_ps), model="m", settings="s",
    )  # fmt: skip
    back = trajectory.tracks(header, trajectory.Frames(0, seen.astype(np.float32), shift, none, none, none))
    return [t.positions[:, 0] for t in back]


def weights(x, y):
    return np.array([x if abs(v[0]) > 1 else y for v, _ in STEPS[0]])


SCENARIOS = {  # rate along x, along y, memory, drift, frames
    "isotropic": (0.04, 0.04, 0.0, None, 4000),
    "few hops": (0.01, 0.01, 0.0, None, 2500),
    "anisotropic": (0.01, 0.1, 0.0, None, 4000),
    "back and forth": (0.08, 0.08, -0.25, None, 4000),
    "onwards": (0.08, 0.08, 0.2, None, 4000),
    "drifting slab": (0.04, 0.04, 0.0, (0.3, -0.2, 0.05), 4000),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_intervals_from_jumps_cover_the_truth(name):
    x, y, memory, drift, frames = SCENARIOS[name]
    rng = np.random.default_rng(sum(map(ord, name)))
    factor = (1 + memory) / (1 - memory)
    dx, dy = x * walks.A**2 * factor, y * walks.A**2 * factor
    covered = {"mean": [], "xx": [], "yy": [], "anisotropy": []}
    values, refused = [], 0
    for _ in range(REPEATS):
        tracks = [
            walks.track(rng, PLACE, STEPS, weights(x, y), frames=frames, frame_ps=0.05, back=memory) for _ in range(4)
        ]
        found = analysed(tracks if drift is None else drifted(tracks, 0.05, drift), 0.05)
        if found.refused is not None:
            refused += 1
            continue
        values.append(found.mean.value)
        for key, estimate, true in (
            ("mean", found.mean, (dx + dy) / 2),
            ("xx", found.tensor["xx"], dx),
            ("yy", found.tensor["yy"], dy),
            ("anisotropy", found.anisotropy, dy / dx),
        ):
            if estimate.low is not None:
                covered[key].append(estimate.low <= true <= estimate.high)
    for key, seen in covered.items():
        assert 0.91 <= np.mean(seen) <= 0.99, (key, np.mean(seen))
    assert 0.92 <= np.mean(covered["mean"]) <= 0.985
    assert_allclose(np.mean(values), (dx + dy) / 2, rtol=0.06)
    assert refused <= 0.05 * REPEATS


def test_a_free_walk_without_sites_covers_the_truth_too():
    """Brownian motion: jumps between cores remember where they came in, which memory takes account of."""
    rng = np.random.default_rng(4)
    covered, true = [], 0.5
    for _ in range(REPEATS):
        tracks = [
            PLACE + np.cumsum(rng.normal(0, np.sqrt(2 * true * 0.05), (3000, 3)) * [1, 1, 0], axis=0) for _ in range(4)
        ]
        mean = analysed(tracks, 0.05).mean
        covered.append((mean.low or 0.0) <= true <= mean.high)
    assert 0.90 <= np.mean(covered) <= 0.99


def test_a_confined_ion_has_an_upper_limit_and_no_value():
    rng = np.random.default_rng(5)
    found = analysed([PLACE + rng.normal(0, 0.3, (2000, 3)) for _ in range(4)], 0.1)
    assert (str(found.status), found.hops, found.mean.value, found.mean.low) == ("no hop: upper limit", 0, None, None)
    assert_allclose(found.mean.high, 2.996 / 800.0 * 3.8**2 / 4, rtol=1e-3)
    assert found.tensor["xy"] == hops.NOTHING


def test_ions_that_never_enter_a_site_have_no_limit_either():
    found = analysed([PLACE + np.tile([1.9, 1.9, 0.0], (20, 1))], 0.1)
    assert (str(found.status), found.ion_ps, found.mean) == ("no hop: no ion was seen in a site", 0.0, hops.NOTHING)
    up = [np.array([[0.0, 0.0, 3.0], [0.0, 0.0, -3.0]] * 50)]
    still = diffusion.from_jumps(up, 10.0, SETTINGS, axes=2, longest_jump_angstrom=3.8)
    assert str(still.status) == "jumps cancel: no jump leads along the axes of D"
    assert still.mean == hops.NOTHING


def steps_in_a_ring(rng, count, sites):
    """Jumps (count, 3) of 3 Angstrom between neighbours in a closed ring of sites, which lead nowhere: D = 0."""
    turn = 2 * np.pi * np.arange(sites) / sites
    ring = 1.5 / np.sin(np.pi / sites) * np.stack([np.cos(turn), np.sin(turn), 0 * turn], axis=1)
    return np.diff(ring[np.cumsum([0, *rng.choice([-1, 1], count)]) % sites], axis=0)


def steps_of_a_walk(rng, count, axes):
    steps = np.zeros((count, 3))
    steps[np.arange(count), rng.integers(0, axes, count)] = rng.choice([-3.0, 3.0], count)
    return steps


def as_track(rng, steps, frames=2000):
    """A track (frames, 3) with these jumps at random times, and vibration."""
    number = np.searchsorted(np.sort(rng.integers(1, frames, len(steps))), np.arange(frames), side="right")
    return np.concatenate([np.zeros((1, 3)), np.cumsum(steps, axis=0)])[number] + rng.normal(0, 0.15, (frames, 3))


def known_jumps(jumps, ion_ps=200.0, axes=2):
    return diffusion.from_jumps(jumps, ion_ps, SETTINGS, axes=axes, longest_jump_angstrom=3.0)


def share_refused(kind, number, counts):
    """Part of jumps of a kind that has no value, over 100 seeds of each count."""
    found = [known_jumps([kind(np.random.default_rng(s), n, number)]) for n in counts for s in range(100)]
    assert all(one.mean.high > 0 for one in found)
    return np.mean([one.mean.value is None for one in found])


def test_an_ion_in_a_cage_of_few_sites_has_no_value_whatever_the_number_of_jumps():
    counts = (10, 20, 40, 79, 80, 160)
    assert share_refused(steps_in_a_ring, 2, counts) == 1.0
    assert share_refused(steps_in_a_ring, 3, counts) > 0.97
    assert share_refused(steps_in_a_ring, 4, counts) > 0.75


def test_few_random_walks_are_taken_for_cages():
    for axes, counts, most in ((1, (40, 79, 80, 160), 0.03), (2, (20, 40, 80), 0.03), (3, (10, 20, 40), 0.05)):
        assert share_refused(steps_of_a_walk, axes, counts) <= most


def test_jumps_back_and_forth_have_a_limit_and_no_number_in_any_table():
    found = known_jumps([steps_in_a_ring(np.random.default_rng(k), 20, 2) for k in range(2)])
    assert str(found.status) == str(found.refused) == "jumps cancel: upper limit"
    assert (found.effective_events, found.correlation, found.anisotropy) == (0.0, hops.NOTHING, hops.NOTHING)
    assert all(e.value is None for e in (found.mean, *found.tensor.values()))
    assert found.mean.high > 40 * 9 / 800.0  # not below D of independent jumps
    assert known_jumps([steps_in_a_ring(np.random.default_rng(1), 4, 2)]).status.code == diffusion.INDEPENDENT


def test_where_jumps_have_no_value_displacements_have_none():
    rng = np.random.default_rng(3)
    track, why = as_track(rng, steps_in_a_ring(rng, 40, 2)), known_jumps([steps_in_a_ring(rng, 40, 2)]).refused
    found = diffusion.from_displacements([track], 0.1, axes=2, residence_ps=5.0, seed=1, refused=why)
    assert (found.status, found.mean, found.start_ps) == (why, hops.NOTHING, None)
    assert found.msd_angstrom2


@pytest.mark.parametrize(("sites", "jumps"), [(2, 40), (2, 170), (4, 60), (6, 60)])
def test_displacements_that_do_not_grow_have_no_slope(sites, jumps):
    """Whatever the jumps say: the sampler runs away (two sites, many jumps) or gives a slope that may be zero."""
    for seed in range(2):
        rng = np.random.default_rng(seed)
        track = as_track(rng, steps_in_a_ring(rng, jumps, sites), frames=50 * jumps)
        found = diffusion.from_displacements([track], 0.1, axes=2, residence_ps=5.0, seed=1)
        assert str(found.status) == "not resolved: the displacements do not grow clearly with time"
        assert (found.mean, found.start_ps) == (hops.NOTHING, None)


def test_displacements_of_random_walks_have_a_slope():
    for seed in range(3):
        rng = np.random.default_rng(seed)
        eight = [as_track(rng, steps_of_a_walk(rng, 50, 3)) for _ in range(8)]
        found = diffusion.from_displacements(eight, 0.1, axes=3, residence_ps=4.0, seed=1)
        assert found.status.code == "resolved"


def test_what_is_said_of_a_diffusion_coefficient():
    assert stage._in_words(hops.NOTHING) == "D not known"
    assert stage._in_words(hops.Estimate(value=None, low=None, high=0.25)) == "D below 2.50e-01 A2/ps"
    assert stage._in_words(hops.Estimate(value=0.5, low=0.25, high=0.75)) == "D 5.00e-01 A2/ps"


def dead_ends():
    """Sites in a row along x, each with a site below beside it that has no other neighbour."""
    places = [walks.site("S1", [[1.9, 1.9, 12.0]]), walks.site("U1", [[3.8, 1.9, 9.0]], layer="subsurface")]
    ways = [walks.hop("x", "S1", "S1", [(0, 0, 1, 0, 0)], 3.8), walks.hop("in", "S1", "U1", [(0, 0, 0, 0, 0)], 3.5)]
    return hops.basins(walks.SQUARE, places, ways, SETTINGS)


def test_an_ion_that_only_goes_into_a_dead_end_has_an_upper_limit():
    ion = np.tile(np.repeat([[1.9, 1.9, 12.0], [3.8, 1.9, 9.0]], 10, axis=0), (40, 1))
    found = analysed([ion], 0.1, lattice=dead_ends())
    assert (found.status.code, found.mean.value) == (diffusion.NO_HOP, None)


def test_dips_into_dead_ends_slow_a_walk_and_intervals_cover_it():
    """The time below does not count: D = k a^2 times the part of the time above."""
    lattice = dead_ends()
    places = np.array([[1.9, 1.9, 12.0], [3.8, 1.9, 9.0]])
    across = [(np.array([s * 3.8, 0, 0]), 0) for s in (1, -1)]
    down = (places[1] - places[0], 1)
    steps, rates = [[*across, down], [(-down[0], 0)]], [[0.05, 0.05, 0.2], [0.4]]
    rng, covered, above = np.random.default_rng(3), [], 0.4 / 0.6
    for _ in range(REPEATS):
        tracks = [walks.track(rng, places, steps, rates, frames=4000, frame_ps=0.05) for _ in range(4)]
        found = analysed(tracks, 0.05, lattice=lattice).tensor["xx"]
        covered.append((found.low or 0.0) <= 0.05 * 3.8**2 * above <= found.high)
    assert 0.91 <= np.mean(covered) <= 0.985


def test_correlation_factors_of_walks_with_memory():
    rng = np.random.default_rng(6)
    tracks = [walks.track(rng, PLACE, STEPS, 0.2, frames=40000, frame_ps=0.05, back=-0.25) for _ in range(3)]
    found = analysed(tracks, 0.05)
    assert found.correlation.low < 0.6 < found.correlation.high
    without = analysed(tracks, 0.05, settings=SETTINGS.model_copy(update={"memory_jumps": 0}))
    assert without.mean.low > found.mean.high  # counted as independent they would diffuse too fast
    assert without.status.code == diffusion.INDEPENDENT


def test_the_tensor_is_that_of_one_hop_direction():
    jumps = np.array([[2.0, 1.0, 0.0]] * 20 + [[-2.0, -1.0, 0.0]] * 20)
    found = diffusion.from_jumps(
        [jumps], 10.0, SETTINGS.model_copy(update={"memory_jumps": 0}), axes=2, longest_jump_angstrom=3.8
    )
    assert_allclose(found.tensor["xx"].value, 4 * 40 / 20, rtol=1e-12)
    assert_allclose(found.tensor["xy"].value, 2 * 40 / 20, rtol=1e-12)
    assert_allclose(found.tensor["yy"].value, 1 * 40 / 20, rtol=1e-12)
    assert_allclose(found.mean.value, 5 * 40 / 40, rtol=1e-12)
    assert_allclose(found.anisotropy.value, 0.25, rtol=1e-12)


def test_rounding_of_the_sites_is_no_diffusion():
    jumps = np.array([[2.0, 1e-15, 0.0]] * 20 + [[-2.0, 2e-15, 0.0]] * 20)
    found = diffusion.from_jumps([jumps], 10.0, SETTINGS, axes=2, longest_jump_angstrom=3.8)
    assert found.tensor["xx"].value is not None
    assert found.tensor["yy"] == found.anisotropy == diffusion.NOTHING


def test_bulk_anatase_diffuses_along_c_as_its_geometry_says():
    """Four neighbours each: D_a = k a^2/4, D_c = k c^2/8, so D_c/D_a = c^2/(2 a^2)."""
    rng = np.random.default_rng(7)
    places = walks.VOIDS @ walks.ANATASE
    lattice = hops.basins(walks.ANATASE, *walks.anatase(), SETTINGS)
    steps = walks.steps_of(places, walks.ANATASE, 3.2)
    covered = []
    for _ in range(40):
        tracks = [walks.track(rng, places, steps, 0.05, frames=4000, frame_ps=0.05) for _ in range(4)]
        found = analysed(tracks, 0.05, axes=3, lattice=lattice)
        ratio = found.anisotropy
        covered.append(ratio.low <= walks.C**2 / (2 * walks.A**2) <= ratio.high)
        assert found.mean.low < 0.05 * (walks.A**2 / 2 + walks.C**2 / 8) / 3 < 2 * found.mean.high
    assert np.mean(covered) > 0.85
    assert_allclose(found.tensor["zz"].value, 0.05 * walks.C**2 / 8, rtol=0.5)


def test_bulk_anatase_diffuses_along_c_as_its_geometry_says_by_displacements_too():
    rng = np.random.default_rng(17)
    places = walks.VOIDS @ walks.ANATASE
    steps = walks.steps_of(places, walks.ANATASE, 3.2)
    tracks = [walks.track(rng, places, steps, 0.2, frames=2000, frame_ps=0.1) for _ in range(12)]
    first_c = [t[:, [2, 0, 1]] for t in tracks]
    c, a = (
        diffusion.from_displacements(kind, 0.1, axes=n, residence_ps=1.25, seed=1).mean
        for kind, n in ((first_c, 1), (tracks, 2))
    )
    assert a.low < 0.2 * walks.A**2 / 4 < a.high
    assert c.low < 0.2 * walks.C**2 / 8 < c.high
    sigma = np.hypot((c.high - c.low) / c.value, (a.high - a.low) / a.value) / 3.92
    assert sigma < 0.35
    assert abs(np.log(c.value / a.value * 2 * walks.A**2 / walks.C**2)) < 2 * sigma


def test_kinisi_agrees_with_jumps_and_with_the_truth():
    rng = np.random.default_rng(8)
    tracks = [walks.track(rng, PLACE, STEPS, 0.2, frames=3000, frame_ps=0.1, noise=0.3) for _ in range(8)]
    true = 0.2 * 3.8**2
    jumps = analysed(tracks, 0.1)
    found = diffusion.from_displacements(tracks, 0.1, axes=2, residence_ps=1.25, seed=1)
    assert found.status.code == "resolved"
    assert found.mean.low < true < found.mean.high
    assert found.mean.low < jumps.mean.high
    assert jumps.mean.low < found.mean.high
    assert 1.0 <= found.start_ps < 10.0
    expected = 4 * true * np.array(found.times_ps) + 4 * 0.3**2
    assert_allclose(np.array(found.msd_angstrom2)[:20], expected[:20], rtol=0.25)


@pytest.mark.slow
@pytest.mark.parametrize("memory", [None, -0.25, 0.0])
def test_intervals_of_kinisi_cover_the_truth(memory):
    rng = np.random.default_rng(9)
    covered = []
    true = 0.5 if memory is None else 0.1 * 3.8**2 * (1 + memory) / (1 - memory)
    for k in range(REPEATS):
        tracks = [
            np.cumsum(rng.normal(0, np.sqrt(0.1), (1000, 3)), axis=0)
            if memory is None
            else walks.track(rng, PLACE, STEPS, 0.1, frames=1000, frame_ps=0.1, back=memory)
            for _ in range(8)
        ]
        mean = diffusion.from_displacements(tracks, 0.1, axes=2, residence_ps=2.5, seed=k).mean
        covered.append(mean.low <= true <= mean.high)
    assert 0.92 <= np.mean(covered) <= 0.995


def test_kinisi_leaves_the_global_random_numbers_alone():
    rng = np.random.default_rng(1)
    tracks = [np.cumsum(rng.normal(0, 0.3, (60, 3)), axis=0) for _ in range(3)]
    np.random.seed(5)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    one = diffusion.from_displacements(tracks, 0.1, axes=2, residence_ps=0.2, seed=3)
    assert np.random.random() == expected  # noqa: NPY002
    assert diffusion.from_displacements(tracks, 0.1, axes=2, residence_ps=0.2, seed=3) == one


def test_without_hops_kinisi_is_not_asked_for_a_number():
    rng = np.random.default_rng(1)
    found = diffusion.from_displacements([rng.normal(0, 0.3, (200, 3))], 0.1, axes=2, residence_ps=None, seed=1)
    assert (found.status.code, found.mean) == (diffusion.NO_HOP, hops.NOTHING)
    assert len(found.msd_angstrom2) == len(found.times_ps) > 5
    once = PLACE + rng.normal(0, 0.3, (50, 3)) + [3.8, 0.0, 0.0] * (np.arange(50) > 20)[:, None]
    seen = diffusion.from_displacements([once], 0.1, axes=2, residence_ps=5.0, seed=1)
    assert str(seen.status) == "not resolved: tracks of 5 ps are too short for stays of 5 ps"
    assert seen.mean == hops.NOTHING
    short = diffusion.from_displacements([rng.normal(0, 0.3, (12, 3))], 0.1, axes=2, residence_ps=1.0, seed=1)
    assert str(short.status) == "not resolved: 12 frames (at least 20)"


def test_the_pin_of_kinisi_is_what_is_installed_and_its_private_attribute_is_there():
    """A new version fails here first: look at `diffusion._analyser` before the pin is moved."""
    wanted = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    (line,) = [d for d in wanted["project"]["dependencies"] if d.startswith("kinisi")]
    assert line == f"kinisi=={version('kinisi')}"
    steps = np.arange(1, 5)
    made = diffusion._analyser(np.cumsum(np.ones((20, 2, 3)), axis=0), 1.0, steps, 3)
    assert_allclose(made.da.values, 3.0 * steps**2, rtol=1e-9)  # a body that moves by 1 along each axis in each frame


def test_only_one_place_uses_kinisi():
    sources = (Path(__file__).parents[1] / "mlip").rglob("*.py")
    assert [p.name for p in sources if "kinisi." in p.read_text(encoding="utf-8")] == ["diffusion.py"]


def test_jumps_that_cancel_count_in_the_line_as_a_rate_below_their_limit():
    """Most steps lead back: the estimate may be negative, and leaving such points out would bend the line."""
    rng = np.random.default_rng(7)
    found = None
    while found is None or found.mean.value is not None:
        walk = np.array([np.cumprod(np.where(rng.random(25) < 0.8, -1, 1)) for _ in range(4)])
        jumps = [one[:, None] * np.array([3.8, 0.0, 0.0]) for one in walk]
        found = diffusion.from_jumps(jumps, 400.0, SETTINGS, axes=2, longest_jump_angstrom=3.8)
    assert (found.status.code, found.effective_events) == (diffusion.CANCELLED, 0.0)
    assert_allclose(hops.poisson_rate(0, found.exposure).high, found.mean.high, rtol=1e-12, atol=0)
