"""Rates of a hop between two unlike sites, against numbers written out: each sense has its own."""

from dataclasses import replace

import numpy as np
from helpers import hopping, motions, rated, walks
from numpy.testing import assert_allclose

from mlip.core.units import BOLTZMANN_EV_PER_KELVIN, PLANCK_EV_PS
from mlip.stages.diffusion import hops
from mlip.stages.rates import assembly, comparison, lattice, outcome
from mlip.stages.rates.laws import Draws
from mlip.stages.rates.settings import RatesSettings

SETTINGS, DRAWS = RatesSettings(temperatures_kelvin=(300.0,), samples=100), Draws(100, 1)
KT = BOLTZMANN_EV_PER_KELVIN * 300
FIRST, LAST, TOP = (6.0, 9.0, 12.0), (5.0, 8.0, 10.0), (8.0, 10.0)  # THz: both minima and the saddle


def rates(**more):
    """Rates of the hop from A to B: 0.3 eV and 8.1 THz ahead, 0.2 eV and 5 THz back."""
    modes = replace(rated.proved("h0", "001", 0.3), reverse_ev=0.2, reverse_std_ev=0.02, final_thz=LAST, **more)
    modes = replace(modes, reverse_prefactor_thz=5.0)
    one = assembly.law(modes, rated.bands("h0", "001", 0.3), rated.BUDGET, d3_ev=None, has_d3=True)
    back = replace(
        one,
        names=("001", "Li", "h1"),
        barrier_ev=one.barrier_ev[::-1],
        prefactor_thz=one.prefactor_thz[::-1],
        minima_thz=one.minima_thz[::-1],
        members_ev=one.members_ev[:, ::-1],
    )
    net = hopping.network([[0.5, 0.5, 0.5], [2.5, 0.5, 0.5]], [(0, 1, 0, 0, 0), (1, 0, 1, 0, 0)])
    return outcome.hop_rates(hopping.system(net, [one, back], energies=(0.0, 0.1)), SETTINGS, DRAWS)[0]


def quantum(minimum):
    """Ratio of quantum to classical partition functions and Wigner's factor for 5i THz."""

    def part(frequencies):
        x = PLANCK_EV_PS * np.array(frequencies) / (2 * KT)
        return np.prod(np.sinh(x) / x)

    return part(minimum) / part(TOP) * (1 + (PLANCK_EV_PS * 5.0 / KT) ** 2 / 24)


def test_the_reverse_sense_has_its_own_numbers():
    row = rates()
    for sense, ends, barrier, prefactor, minimum in (
        (row.forward, ("A", "B"), 0.3, 8.1, FIRST),
        (row.reverse, ("B", "A"), 0.2, 5.0, LAST),
    ):
        assert (sense.initial, sense.final) == ends
        assert_allclose((sense.barrier_ev, sense.prefactor_thz), (barrier, prefactor), rtol=1e-12, atol=0)
        assert_allclose(sense.zero_point_ev, PLANCK_EV_PS / 2 * (sum(TOP) - sum(minimum)), rtol=1e-12, atol=0)
        classical = 1e12 * prefactor * np.exp(-barrier / KT)
        assert_allclose(sense.classical_per_s, classical, rtol=1e-9, atol=0)
        assert_allclose(sense.quantum_per_s.value, classical * quantum(minimum), rtol=1e-9, atol=0)


def test_a_second_saddle_slows_classical_and_quantum_rates_alike():
    """Two saddles of one height in series: half of the rate over one of them."""
    one, other = (rates(rest_below_ev=below).forward for below in (None, 0.0))
    assert_allclose(other.quantum_per_s.value, one.quantum_per_s.value / 2, rtol=1e-9, atol=0)
    assert_allclose(other.classical_per_s, one.classical_per_s / 2, rtol=1e-9, atol=0)


def test_dynamics_are_held_against_the_rate_of_the_sense_in_which_the_ion_hopped():
    """One A and two B in a cell: two ways at 8 THz over 0.3 eV lead from A, one at 5 THz over 0.2 eV from each B."""
    kt = BOLTZMANN_EV_PER_KELVIN * 900
    sites = walks.site("A", [[0.5, 0.5, 0.5]]), walks.site("B", [[2.5, 0.5, 0.5], [0.5, 2.5, 0.5]])
    hops_ = [walks.hop("h0", "A", "B", [(0, 0, 0, 0, 0), (0, 1, 0, 0, 0)], 2.0)]
    net = lattice.lattice(hopping.CELL, sites, hops_)
    system = hopping.system(net, [hopping.law(0.3, 0.2, prefactor_thz=(8.0, 5.0))], energies=(0.0, 0.1))
    counted = [("A", "B", 30, 2000 * 8.0 * np.exp(-0.3 / kt)), ("B", "A", 20, 1000 * 5.0 * np.exp(-0.2 / kt))]
    seen = tuple(
        hops.Rate(hop="h0", initial=a, final=b, count=n, exposure_ps=40.0, per_ps=hops.poisson_rate(n, 40.0))
        for a, b, n, _ in counted
    )
    moved = replace(motions.motion(900.0, frames=200, count=1), rates=seen)
    rows = comparison.hops_against_dynamics([moved], {"001_Li": "Li"}, [system], member=1)
    assert [(row.initial, row.final, row.count) for row in rows] == [one[:3] for one in counted]
    for row, (_, _, count, per_ns) in zip(rows, counted, strict=True):
        assert_allclose((row.rates, row.dynamics.value), (per_ns, 1000 * count / 40.0), rtol=1e-9, atol=0)
        assert_allclose(row.ratio.value, 25.0 * count / per_ns, rtol=1e-9, atol=0)
