"""Equal saddles side by side and equal wells of one site: numbers, and rates against exact transition-state theory."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import hopping, rated
from helpers.landscapes import LENGTH, OFF, PLACE, band, committee, dimple, hill, occupied, ridge, split
from numpy.testing import assert_allclose

from mlip.atoms.symmetry import Operation
from mlip.core.units import BOLTZMANN_EV_PER_KELVIN
from mlip.stages.modes import downhill, prove, result, search, side_by_side
from mlip.stages.modes.outcome import outcome
from mlip.stages.modes.settings import ModesSettings
from mlip.stages.rates import assembly
from mlip.stages.rates.laws import Draws

SETTINGS = ModesSettings(fmax_ev_per_angstrom=1e-6, step_angstrom=1e-4, shell_angstrom=1.8)
HOST = occupied()[:-1]
BUDGET = replace(rated.BUDGET, calibration=1.0, prefactor_ln=0.0)
ANGSTROM2_PER_PS2 = 9648.533212  # of 1 eV/u
LITHIUM_U = 6.94
MIDDLE = PLACE + np.array([LENGTH / 2, 0.0, 0.0])


def operation(signs, through=MIDDLE):
    """The operation that changes the signs of coordinates and leaves a point where it is."""
    shift = (1 - np.array(signs)) * through / HOST.cell.lengths()
    return Operation(np.diag(np.array(signs, dtype=float)), shift, np.arange(len(HOST)))


IDENTITY, MIRROR, REVERSED, HALF_TURN = (operation(signs) for signs in ((1, 1, 1), (1, -1, 1), (-1, 1, 1), (-1, -1, 1)))
GROUP = (IDENTITY, MIRROR, REVERSED, HALF_TURN)


def sites(*operations, merge=0.8):
    return downhill.Sites(host=HOST, operations=(IDENTITY, *operations), merge_angstrom=merge)


def proved(surface, images, told, *, symmetric=False):
    """The modes of a hop."""
    begin = prove.Start(
        host="001", ion="Li", hop="h0", images=images, top=len(images) // 2, member=1, symmetric=symmetric
    )
    made = []
    search.together(
        [prove.prove(begin, told, SETTINGS)],
        {None: committee(surface), 1: committee(surface)},
        on_done=lambda _, found, spent: made.append(outcome(begin, found, evaluations=spent)),
    )
    assert made[0].status.code == result.PROVED, made[0].status
    return made[0]


def off_plane(first, last, count=5):
    """A straight band between places beside the mirror plane."""
    part = np.linspace(0.0, 1.0, count)
    return tuple(occupied(x=LENGTH * s, y=first + (last - first) * s) for s in part)


def law(modes):
    return assembly.law(modes, (), BUDGET, d3_ev=None, has_d3=True)


def rates(modes, kelvin):
    """Forward and reverse rate in 1/ps, classical."""
    return np.exp(law(modes).ln_rates(kelvin, Draws(0, 0), quantum=False)[0])


def integral(surface, kelvin, xs, points=2001):
    """Of exp(-E/kT) over y for every x, Angstrom."""
    ys = np.linspace(-2.0, 2.0, points)
    energies = np.array([[surface(x, y, 0.0)[0] for y in ys] for x in np.atleast_1d(xs)])
    return np.trapezoid(np.exp(-energies / (BOLTZMANN_EV_PER_KELVIN * kelvin)), ys, axis=1)


def wells_of(surface, kelvin, top):
    """The partition functions of both sites, divided at x = top, Angstrom^2."""
    ways = [np.linspace(*ends, 401) for ends in ((top - LENGTH, top), (top, top + LENGTH))]
    return np.array([np.trapezoid(integral(surface, kelvin, xs, 401), xs) for xs in ways])


def exact(surface, kelvin, top):
    """Forward and reverse rate in 1/ps by transition-state theory: the flux through the plane x = top."""
    speed = np.sqrt(BOLTZMANN_EV_PER_KELVIN * kelvin * ANGSTROM2_PER_PS2 / (2 * np.pi * LITHIUM_U))
    return speed * integral(surface, kelvin, top) / wells_of(surface, kelvin, top)


def counts(modes):
    return modes.saddle_images, modes.initial_wells, modes.final_wells


def test_a_hop_on_a_mirror_plane_has_one_saddle_and_one_well():
    assert counts(proved(hill(), band(), sites(*GROUP[1:]))) == (1, 1, 1)


def test_two_saddles_beside_a_mirror_plane_double_the_rate():
    """E = B s + k/2 y^2 + y^4, k = 1 at the sites and -1 at the top: saddles at y = -0.5 and 0.5."""
    surface = ridge(at_end=1.0, at_top=-1.0)
    found = proved(surface, band(), sites(MIRROR))
    assert counts(found) == (2, 1, 1)
    assert_allclose(rates(found, 100), exact(surface, 100, LENGTH / 2), rtol=0.1, atol=0)
    alone = proved(surface, band(), sites())
    assert counts(alone) == (1, 1, 1)
    assert_allclose(rates(found, 100), 2 * rates(alone, 100), rtol=1e-6, atol=0)


def test_the_same_saddles_count_twice_where_the_ends_can_be_exchanged_too():
    assert counts(proved(ridge(at_end=1.0, at_top=-1.0), band(), sites(*GROUP[1:]), symmetric=True)) == (2, 1, 1)


def test_a_site_of_two_wells_is_left_at_half_the_rate_of_one():
    """Both sites are split and the saddle is on the mirror plane: it takes the flux of two wells."""
    surface = split(final=True)
    found = proved(surface, off_plane(OFF, OFF), sites(MIRROR))
    assert counts(found) == (1, 2, 2)
    assert_allclose(rates(found, 100), exact(surface, 100, LENGTH / 2), rtol=0.1, atol=0)
    other_wells = proved(surface, off_plane(OFF, -OFF), sites(MIRROR))
    assert_allclose(rates(other_wells, 100), rates(found, 100), rtol=1e-5, atol=0)


def test_wells_that_are_sites_of_their_own_count_once():
    assert counts(proved(split(final=True), off_plane(OFF, OFF), sites(MIRROR, merge=0.4))) == (1, 1, 1)


def test_a_symmetric_hop_has_the_wells_of_one_end_at_both():
    found = proved(split(final=True), off_plane(OFF, OFF), sites(*GROUP[1:]), symmetric=True)
    assert counts(found) == (1, 2, 2)


def test_detailed_balance_between_a_split_site_and_a_whole_one():
    """The weights in equilibrium are the partition functions of all wells of the sites."""
    surface, kelvin = split(final=False), 100
    found = proved(surface, off_plane(OFF, 0.0), sites(MIRROR))
    assert counts(found) == (1, 2, 1)
    xs = np.linspace(1.3, 1.6, 3001)
    top = xs[np.argmax([surface(x, 0.0, 0.0)[0] for x in xs])]
    assert_allclose(rates(found, kelvin), exact(surface, kelvin, top), rtol=0.1, atol=0)
    net = hopping.network([[0.5, 0.5, 0.5], [1.7, 2.0, 1.0]], [(0, 1, 0, 0, 0), (0, 1, 1, 0, 0)])
    system = hopping.system(net, [law(found)] * 2)
    ln_weight = system.at(kelvin, Draws(0, 0), quantum=False).ln_weight[0]
    initial, final = wells_of(surface, kelvin, top)
    assert_allclose(np.exp(ln_weight[1] - ln_weight[0]), final / initial, rtol=0.1, atol=0)


def test_a_saddle_and_its_image_along_the_hop_are_passed_in_series():
    """A dent of 0.2 meV at the top: the saddles on both sides of the dent are one barrier."""
    assert counts(proved(dimple(), band(), sites(*GROUP[1:]))) == (1, 1, 1)


ENDS = (PLACE, PLACE + np.array([LENGTH, 0.0, 0.0]))


@pytest.mark.parametrize(
    ("aside", "number"),
    [((0.1, 0.4, 0.0), 2), ((0.4, 0.1, 0.0), 1), ((0.0, 0.04, 0.0), 1), ((0.0, 0.06, 0.0), 2)],
    ids=["across", "along", "on the axis", "beside the axis"],
)
def test_an_operation_that_exchanges_the_ends_counts_for_saddles_across_the_hop(aside, number):
    told, place = sites(HALF_TURN), MIDDLE + np.array(aside)
    assert side_by_side.saddles(place, ENDS, told, in_series=False) == number
    assert side_by_side.saddles(place, ENDS, told, in_series=True) == 1


def test_images_of_another_hop_do_not_count():
    """A mirror plane through the initial site alone takes the final one elsewhere."""
    away = operation((1, -1, 1), through=MIDDLE + np.array([0.0, 1.0, 0.0]))
    assert side_by_side.saddles(MIDDLE + np.array([0.0, 0.4, 0.0]), ENDS, sites(away), in_series=False) == 1


@pytest.mark.parametrize(("aside", "number"), [(0.0, 1), (0.4, 2)])
def test_images_are_those_in_the_same_cell(aside, number):
    """An operation with a lattice vector in its translation is the same operation."""
    shifted = replace(MIRROR, translation=MIRROR.translation + np.array([1.0, -1.0, 2.0]))
    place = MIDDLE + np.array([0.0, aside, 0.0])
    assert side_by_side.saddles(place, ENDS, sites(shifted), in_series=False) == number


def test_a_vacancy_is_one_well_whatever_the_ion_beside_it_does():
    """The host holds the ion twice, a band once less: the place of the ion off the axis is due to the vacancy."""
    full = occupied()
    full.append("Li")
    full.positions[-1] = PLACE + np.array([LENGTH, 0.0, 0.0])
    told = replace(sites(MIRROR), host=full)
    assert counts(proved(split(final=True), off_plane(OFF, OFF), told)) == (1, 1, 1)
