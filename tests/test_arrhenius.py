"""Arrhenius lines through counts of known rates."""

import numpy as np
from numpy.testing import assert_allclose

from mlip.core.units import BOLTZMANN_EV_PER_KELVIN
from mlip.stages.diffusion import arrhenius
from mlip.stages.diffusion.arrhenius import Point

TEMPERATURES = (700.0, 800.0, 900.0, 1000.0, 1200.0)


def rate(temperature, energy=0.4, prefactor=5.0):
    return prefactor * np.exp(-energy / (BOLTZMANN_EV_PER_KELVIN * temperature))


def drawn(rng, exposure, **known):
    return [
        Point(temperature_kelvin=t, count=float(rng.poisson(rate(t, **known) * exposure)), exposure=exposure)
        for t in TEMPERATURES
    ]


def test_exact_counts_give_the_line_back():
    points = [Point(temperature_kelvin=t, count=rate(t) * 1e5, exposure=1e5) for t in TEMPERATURES]
    found = arrhenius.line(points, at_kelvin=300.0, min_events=10)
    assert found.status.code == "resolved"
    assert_allclose(found.activation_ev.value, 0.4, rtol=1e-9)
    assert_allclose(found.ln_prefactor.value, np.log(5.0), rtol=1e-9)
    assert_allclose(found.extrapolated.value, rate(300.0), rtol=0.1)
    assert found.extrapolated.low < rate(300.0) < found.extrapolated.high
    assert found.band[found.temperatures_kelvin.index(300.0)] == found.extrapolated


def test_intervals_cover_the_truth():
    rng = np.random.default_rng(1)
    for exposure in (200.0, 5000.0):
        covered = {"energy": [], "rate": []}
        for _ in range(200):
            found = arrhenius.line(drawn(rng, exposure), at_kelvin=300.0, min_events=10)
            if found.activation_ev.value is None:
                continue
            covered["energy"].append(found.activation_ev.low <= 0.4 <= found.activation_ev.high)
            covered["rate"].append(found.extrapolated.low <= rate(300.0) <= found.extrapolated.high)
        for seen in covered.values():
            assert len(seen) > 150
            assert 0.90 <= np.mean(seen) <= 0.99


def test_the_error_of_the_energy_is_what_counts_allow():
    """Five temperatures with 100 hops each, 700 to 1200 K: 0.019 eV."""
    points = [Point(temperature_kelvin=t, count=100.0, exposure=100.0 / rate(t)) for t in TEMPERATURES]
    found = arrhenius.line(points, at_kelvin=300.0, min_events=10)
    assert_allclose(found.activation_std_ev, 0.019, rtol=0.03)


def test_a_temperature_without_hops_pulls_the_line_down():
    points = [Point(temperature_kelvin=t, count=rate(t) * 100, exposure=100.0) for t in TEMPERATURES[2:]]
    without = arrhenius.line(points, at_kelvin=300.0, min_events=1)
    seen = arrhenius.line(
        [Point(temperature_kelvin=600.0, count=0.0, exposure=1e4), *points], at_kelvin=300.0, min_events=1
    )
    assert seen.activation_ev.value > without.activation_ev.value


def test_too_few_hops_give_a_status_and_no_number():
    few = arrhenius.line(
        [
            Point(temperature_kelvin=700.0, count=2.0, exposure=10.0),
            Point(temperature_kelvin=900.0, count=3.0, exposure=10.0),
        ],
        at_kelvin=300.0,
        min_events=10,
    )
    assert str(few.status) == "not resolved: 5 hops at 2 temperatures (at least 10 at 2)"
    one = arrhenius.line(
        [
            Point(temperature_kelvin=700.0, count=0.0, exposure=10.0),
            Point(temperature_kelvin=900.0, count=30.0, exposure=10.0),
        ],
        at_kelvin=300.0,
        min_events=10,
    )
    assert str(one.status) == "not resolved: 30 hops at 1 temperatures (at least 10 at 2)"
    for found in (few, one):
        assert (found.activation_ev.value, found.extrapolated.value, found.band) == (None, None, ())


def test_a_bend_has_a_status_and_no_number():
    points = [
        Point(temperature_kelvin=t, count=(rate(t) + rate(t, energy=1.2, prefactor=3e5)) * 3000, exposure=3000.0)
        for t in TEMPERATURES
    ]
    found = arrhenius.line(points, at_kelvin=300.0, min_events=10)
    assert str(found.status).startswith("curved: a straight line has the chance")
    assert found.points == tuple(points)
    nothing = (found.activation_ev, found.ln_prefactor, found.extrapolated)
    assert nothing == (arrhenius.NOTHING,) * 3
    assert (found.activation_std_ev, found.band, found.temperatures_kelvin) == (None, (), ())


def test_two_points_are_never_curved():
    points = [Point(temperature_kelvin=t, count=1e6, exposure=t) for t in (600.0, 601.0)]
    assert arrhenius.line(points, at_kelvin=300.0, min_events=10).status.code == "resolved"
