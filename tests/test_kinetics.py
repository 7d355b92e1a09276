"""Motion and kinetics from tracks of known rates, beside barriers."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import walks
from helpers.motions import ATTEMPTS, ENERGY, HOPS, SETTINGS, SITES, WHERE, barrier, motion, rate, tracks
from numpy.testing import assert_allclose

from mlip.core.units import BOLTZMANN_EV_PER_KELVIN
from mlip.stages.diffusion import arrhenius, density, hops, kinetics
from mlip.stages.md import trajectory


@pytest.fixture(scope="module")
def motions():
    return [motion(t) for t in (700.0, 900.0, 1200.0)]


def test_a_motion_counts_hops_time_and_diffusion(motions):
    hot = motions[-1]
    assert (hot.replicas, hot.system, hot.temperature_kelvin) == (4, "001_Li", 1200.0)
    assert_allclose(hot.ion_ps, 800.0, rtol=0.01)
    true = rate(1200.0) * walks.A**2
    assert hot.from_jumps.mean.low < true < hot.from_jumps.mean.high
    assert hot.from_displacements.mean.low < true < hot.from_displacements.mean.high
    assert hot.layers == {"surface": 1.0}
    assert {r.hop for r in hot.rates} >= {"x", "y"}


def test_species_are_told_apart():
    both = tracks(1200.0, symbols=("Li", "Mg"), count=2)
    lithium, magnesium = (
        kinetics.motion(("s", "001", ion), both, WHERE, SETTINGS, axes=2, seed=1) for ion in ("Li", "Mg")
    )
    assert lithium.jumps != magnesium.jumps
    assert_allclose([lithium.ion_ps, magnesium.ion_ps], 400.0, rtol=0.01)


def test_activation_energy_and_attempts_come_back_and_agree_with_the_barrier(motions):
    found = kinetics.kinetics(motions, HOPS, SITES, [barrier("x", ENERGY), barrier("y", 0.6)], SETTINGS)
    x, y = found.hops
    assert (x.hop, x.ways) == ("x", 2)
    assert x.line.activation_ev.low < ENERGY < x.line.activation_ev.high
    assert x.attempt_thz.low < ATTEMPTS < x.attempt_thz.high
    assert x.verdict == kinetics.AGREES
    assert y.verdict == kinetics.DIFFERS
    assert found.diffusion.activation_ev.low < ENERGY < found.diffusion.activation_ev.high
    assert found.diffusion.extrapolated.low < rate(300.0) * walks.A**2 < found.diffusion.extrapolated.high


def test_each_sense_of_a_hop_has_its_own_ways_and_barrier(motions):
    """Two hops lead from the one A to the two B of a cell, so one from each B: n = ways * THz * exp(-E / kT) * time."""
    sites = [walks.site("A", [[0.5, 0.5, 12.0]]), walks.site("B", [[2.4, 0.5, 12.0], [0.5, 2.4, 12.0]])]
    network = [walks.hop("x", "A", "B", [(0, 0, 0, 0, 0), (0, 1, 0, 0, 0)], 1.9)]
    senses = {("A", "B"): (2, 6.0, 0.3), ("B", "A"): (1, 5.0, 0.2)}
    seen = []
    for one in motions:
        kt = BOLTZMANN_EV_PER_KELVIN * one.temperature_kelvin
        per_ps = {ends: ways * thz * np.exp(-ev / kt) for ends, (ways, thz, ev) in senses.items()}
        counted = [
            hops.Rate(hop="x", initial=a, final=b, count=4000, exposure_ps=4000 / k, per_ps=hops.poisson_rate(4000, 1))
            for (a, b), k in per_ps.items()
        ]
        seen.append(replace(one, rates=tuple(counted)))
    own = replace(barrier("x", 0.3), reverse_ev=0.2, reverse_std_ev=0.02, symmetric=False)
    found = kinetics.kinetics(seen, network, sites, [own], SETTINGS).hops
    assert [(h.initial, h.final) for h in found] == list(senses)
    for line, (ways, thz, ev), std in zip(found, senses.values(), (0.01, 0.02), strict=True):
        assert (line.ways, line.barrier_ev, line.barrier_std_ev) == (ways, ev, std)
        assert line.verdict == kinetics.AGREES
        assert_allclose((line.line.activation_ev.value, line.attempt_thz.value), (ev, thz), rtol=1e-3, atol=0)


def test_without_hops_there_are_limits_and_no_line():
    quiet = [motion(t, value=1e-9) for t in (800.0, 1000.0)]
    found = kinetics.kinetics(quiet, HOPS, SITES, [barrier("x", 0.3)], SETTINGS)
    assert str(found.diffusion.status).startswith("not resolved: 0 hops")
    assert found.diffusion.extrapolated.value is None
    assert {h.verdict for h in found.hops} == {kinetics.NOT_RESOLVED}
    assert all(m.from_jumps.mean.value is None and m.from_jumps.mean.high > 0 for m in quiet)


def test_an_ion_in_a_cage_that_the_network_lacks_has_no_diffusion_coefficient():
    """Two sites without a hop between them: every jump is another one, and none leads anywhere."""
    sites = [walks.site("S1", [[3.0, 3.0, 10.0]]), walks.site("S2", [[5.5, 3.0, 10.0]])]
    network = [walks.hop("x", "S1", "S1", [(0, 0, 1, 0, 0), (0, 0, 0, 1, 0)], 12.0)]
    where = hops.basins(np.diag([12.0, 12.0, 20.0]), sites, network, SETTINGS)
    rng, kept = np.random.default_rng(0), []
    for number in range(4):
        inside = np.cumsum(rng.random(3000) < 0.01) % 2
        way = np.array([3.0, 3.0, 10.0]) + inside[:, None] * [2.5, 0.0, 0.0] + rng.normal(0, 0.15, (3000, 3))
        kept.append(trajectory.Track(f"r{number}", 900.0, 0.1, ("Li",), way[:, None]))
    found = kinetics.motion(("001_Li", "001", "Li"), kept, where, SETTINGS, axes=2, seed=1)
    assert found.jumps > 80
    for part in (found.from_jumps, found.from_displacements):
        assert (str(part.status), part.mean.value) == ("jumps cancel: upper limit", None)


def test_a_wide_interval_is_no_agreement():
    points = [arrhenius.Point(temperature_kelvin=t, count=6.0, exposure=6.0 / rate(t)) for t in (800.0, 1000.0)]
    line = arrhenius.line(points, at_kelvin=300.0, min_events=10)
    assert kinetics.verdict(line, ENERGY, 0.01, 0.05) == kinetics.NOT_RESOLVED
    assert kinetics.verdict(line, None, None, 0.05) == kinetics.NOT_RESOLVED


def test_a_curved_line_has_no_verdict_and_no_attempt_frequency(motions):
    """Two channels in parallel, 0.1 and 1.0 eV: the slope of the straight line is that of no barrier."""
    kt = BOLTZMANN_EV_PER_KELVIN * np.array([400.0, 500.0, 600.0, 800.0, 1000.0, 1200.0, 1500.0])
    seen = []
    for one, k in zip(kt, 1e-2 * np.exp(-0.1 / kt) + 1e3 * np.exp(-1.0 / kt), strict=True):
        counted = hops.Rate(
            hop="x", initial="S1", final="S1", count=round(5e5 * k), exposure_ps=5e5, per_ps=hops.poisson_rate(1, 1.0)
        )
        hot = motions[-1].from_jumps
        jumps = replace(hot, effective_events=5e5 * k, exposure=5e5)
        temperature = one / BOLTZMANN_EV_PER_KELVIN
        seen.append(replace(motions[-1], temperature_kelvin=temperature, rates=(counted,), from_jumps=jumps))
    for height in np.arange(0.1, 1.01, 0.1):
        found = kinetics.kinetics(seen, HOPS, SITES, [barrier("x", height)], SETTINGS)
        (x,) = found.hops
        assert x.line.status.code == found.diffusion.status.code == arrhenius.CURVED
        assert (x.verdict, x.attempt_thz) == (kinetics.NOT_RESOLVED, hops.NOTHING)
        assert x.line.activation_ev == found.diffusion.extrapolated == hops.NOTHING


def test_hops_that_are_counted_together_have_no_line(motions):
    """Their rates are those of no single hop, whose barrier could stand beside."""
    joint = [replace(m, rates=tuple(replace(r, hop=f"{r.hop}{hops.JOINT}long") for r in m.rates)) for m in motions]
    assert kinetics.kinetics(motions, HOPS, SITES, [barrier("x", ENERGY)], SETTINGS).hops
    assert kinetics.kinetics(joint, HOPS, SITES, [barrier("x", ENERGY)], SETTINGS).hops == ()


def test_densities_fold_into_one_cell():
    ion = np.tile([[1.9 + 3.8 * 5, 0.1, 12.0]], (50, 1, 1))
    one = trajectory.Track("r", 900.0, 0.1, ("Li",), ion)
    (found,) = density.densities(("001_Li", "001", "Li"), [one], walks.SQUARE)
    counts = np.array(found.counts)
    assert counts.sum() == 50
    assert counts.shape == (19, 19)
    assert counts[9, 0] == 50
    assert found.cell_angstrom == ((3.8, 0.0), (0.0, 3.8))
