"""Hops on landscapes of known barriers, frequencies and prefactors; hops that are not what they seem."""

from dataclasses import replace

import numpy as np
from ase import units
from helpers.landscapes import BARRIER, LENGTH, PLACE, along, band, committee, dimple, hill, occupied, ridge, two_hills
from numpy.testing import assert_allclose

from mlip.atoms.symmetry import Operation, operations
from mlip.stages.modes import downhill, prove, result, search
from mlip.stages.modes.outcome import outcome, without_band
from mlip.stages.modes.settings import ModesSettings

SETTINGS = ModesSettings(fmax_ev_per_angstrom=1e-6, step_angstrom=1e-4, shell_angstrom=1.8)
HOST = occupied()[:-1]
SITES = downhill.Sites(host=HOST, operations=operations(HOST, tolerance_angstrom=0.01)[:1], merge_angstrom=0.8)


def start(images=None, *, top=None, symmetric=False):
    images = band() if images is None else images
    top = len(images) // 2 if top is None else top
    return prove.Start(host="h", ion="Li", hop="x", images=images, top=top, member=1, symmetric=symmetric)


def proved(surfaces, begin=None, settings=SETTINGS, sites=SITES):
    """The result of a hop on these surfaces, one per member."""
    begin = begin or start()
    evaluate = {None: committee(*surfaces), 1: committee(surfaces[0])}
    made = []
    search.together(
        [prove.prove(begin, sites, settings)],
        evaluate,
        on_done=lambda _, found, spent: made.append(outcome(begin, found, evaluations=spent)),
    )
    return made[0]


def thz(curvature, mass=6.94):
    """Frequency of a mass (u) in a well (eV/A^2), by the units of ASE."""
    return np.sqrt(curvature / mass) / (2 * np.pi) * units.second / 1e12


def test_barrier_frequencies_and_prefactor_of_a_hill():
    """Curvature 2 B (pi/L)^2 along the way at the minima, minus that at the saddle, all else equal."""
    found = proved([hill(0.4), hill(0.6)])
    assert found.status.code == result.PROVED
    assert_allclose([found.forward_ev, found.reverse_ev], 0.5, rtol=1e-6)
    assert_allclose([found.forward_std_ev, found.reverse_std_ev], np.std([0.4, 0.6], ddof=1), rtol=1e-6)
    exact = [thz(2 * b * (np.pi / LENGTH) ** 2) for b in (0.5, 0.4, 0.6)]
    assert_allclose(found.imaginary_thz, exact[0], rtol=1e-6)
    assert_allclose(found.forward_prefactor_thz, exact[0], rtol=1e-6)
    assert_allclose(found.reverse_prefactor_thz, exact[0], rtol=1e-6)
    assert_allclose(found.forward_prefactors_thz, exact[1:], rtol=1e-6)
    assert_allclose(found.shell_prefactor_thz, exact[0], rtol=1e-6)
    assert (found.atoms_moved, len(found.initial_thz), len(found.saddle_thz)) == (3, 9, 8)  # one host atom is fixed
    assert found.saddle_force_ev_per_angstrom < 1e-6
    assert found.evaluations > 0


def test_mode_is_that_of_the_ion_along_the_hop():
    found = proved([hill()])
    mode = np.array(found.mode)
    assert mode.shape == (4, 3)
    assert_allclose(mode[-1], [1.0, 0.0, 0.0], atol=1e-5)  # towards the final end
    assert np.abs(mode[:-1]).max() < 1e-5
    assert found.overlap > 0.999


def test_one_member_has_no_spread():
    found = proved([hill()])
    assert found.forward_std_ev is None
    assert len(found.forward_prefactors_thz) == 1


def test_ends_of_different_height():
    """E = B s + A/2 (1 - cos theta): barrier B + A/2 + A^2/(16 B), reverse lower by A."""
    step = 0.2

    def tilted(x, y, z):
        theta = np.pi * x / LENGTH
        energy, gradient = hill()(x, y, z)
        gradient[0] += step / 2 * np.sin(theta) * np.pi / LENGTH
        return energy + step / 2 * (1 - np.cos(theta)), gradient

    found = proved([tilted])
    exact = BARRIER + step / 2 + step**2 / (16 * BARRIER)
    assert_allclose([found.forward_ev, found.reverse_ev], [exact, exact - step], rtol=1e-6)
    curvatures = np.array([2 * BARRIER + step / 2, 2 * BARRIER - step / 2]) * (np.pi / LENGTH) ** 2
    assert_allclose([found.forward_prefactor_thz, found.reverse_prefactor_thz], thz(curvatures), rtol=1e-6)


def test_symmetric_hop_needs_one_end():
    both, one = proved([hill()]), proved([hill()], start(symmetric=True))
    assert one.status.code == result.PROVED
    assert one.evaluations < 0.85 * both.evaluations
    assert one.final_thz == one.initial_thz
    assert one.reverse_ev == one.forward_ev
    assert_allclose(one.forward_ev, both.forward_ev, rtol=1e-9)


def test_saddle_of_second_order():
    found = proved([ridge()])
    assert found.status.code == result.SECOND_ORDER
    assert "2 unstable modes" in found.status.reason
    assert found.forward_ev is None
    assert found.reverse_prefactor_thz is None
    assert found.forward_prefactors_thz == ()
    assert len(found.saddle_thz) == 7


def test_a_band_that_runs_along_a_ridge_has_its_saddle_beside_it():
    """E = B s + k/2 y^2 + y^4 with k = -0.5 at the top: the saddles are at y^2 = 1/8, lower by k^2/16 = 1/64 eV.

    Curvatures there: -2 (pi/L)^2 (B + (k - 1)/2 y^2) along the way, k + 12 y^2 = 1 across; at the minima 2 (pi/L)^2 B
    and 1.
    """
    found = proved([ridge(at_end=1.0, at_top=-0.5)])
    assert found.status.code == result.PROVED
    assert_allclose([found.forward_ev, found.reverse_ev], BARRIER - 1 / 64, rtol=1e-6)
    factor = 2 * (np.pi / LENGTH) ** 2
    assert_allclose(found.imaginary_thz, thz(factor * (BARRIER - 1.5 / 16)), rtol=1e-5)
    assert_allclose(found.forward_prefactor_thz, thz(factor * BARRIER), rtol=1e-5)
    assert found.overlap > 0.99


def test_beside_a_ridge_the_other_side_is_taken_where_the_lower_one_leads_away():
    """The landscape of the test before, but beyond y = 0.1 it falls without an end; its other saddle is as it was."""
    whole = ridge(at_end=1.0, at_top=-0.5)

    def falling(x, y, z):
        energy, gradient = whole(x, y, z)
        beyond = max(y - 0.05, 0.0)
        return energy - 4 * beyond**2, [gradient[0], gradient[1] - 8 * beyond, gradient[2]]

    found = proved([falling])
    assert found.status.code == result.PROVED
    assert_allclose(found.forward_ev, BARRIER - 1 / 64, rtol=1e-6)


def test_end_with_an_unstable_mode_is_no_minimum():
    found = proved([ridge(at_end=-3.0, at_top=8.0)])
    assert found.status.code == result.NO_MINIMUM
    assert "1 unstable at the initial end" in found.status.reason
    assert found.forward_ev is None


def test_end_that_slides_away_is_no_minimum():
    images = (occupied(1.1), *band()[1:])
    found = proved([hill()], start(images))
    assert found.status.code == result.NO_MINIMUM
    assert "the ion slides 1.10 A out of its site at the initial end" in found.status.reason


def test_ends_of_one_minimum():
    images = (occupied(-0.3), occupied(0.0), occupied(0.3))
    found = proved([hill()], start(images, top=1))
    assert found.status.code == result.NO_MINIMUM
    assert found.status.reason == "both ends relax to one minimum"


def test_saddle_that_leads_to_another_site():
    """Two hills: the band says one hop, but halfway lies a minimum of its own."""
    images = band(9)
    found = proved([two_hills()], start(images, top=2))
    assert found.status.code == result.OTHER_SITES
    assert "1.50 A from the named sites" in found.status.reason
    assert found.forward_ev is None


TILT = 0.2  # eV: the second of two hills is the higher one


def uneven(x, y, z):
    """E = B sin^2(2 theta) + A/2 (1 - cos theta)."""
    theta = np.pi * x / LENGTH
    energy, gradient = two_hills()(x, y, z)
    gradient[0] += TILT / 2 * np.sin(theta) * np.pi / LENGTH
    return energy + TILT / 2 * (1 - np.cos(theta)), gradient


def test_hop_that_passes_a_minimum_on_its_band_is_proved_at_the_higher_saddle():
    found = proved([uneven], start(band(9), top=6))
    ways = np.linspace(1.9, 2.6, 100001)
    exact = max(BARRIER * np.sin(2 * np.pi * ways / LENGTH) ** 2 + TILT / 2 * (1 - np.cos(np.pi * ways / LENGTH)))
    assert found.status.code == result.PROVED
    assert found.status.reason == "the band passes minima that are no sites, at 0.10 eV"
    assert_allclose([found.forward_ev, found.reverse_ev], [exact, exact - TILT], rtol=1e-6)
    assert found.saddles == 1
    before = np.linspace(0.2, 1.0, 100001)
    lower = max(BARRIER * np.sin(2 * np.pi * before / LENGTH) ** 2 + TILT / 2 * (1 - np.cos(np.pi * before / LENGTH)))
    assert_allclose(found.rest_below_ev, exact - lower, atol=0.01)


def test_relaxed_ends_count_and_not_those_of_the_band():
    """The band of a member ends 0.5 A away, beyond the limit of sites from the minimum passed, but not the relaxed end."""
    images = (*band(9)[:-1], occupied(2.5))
    found = proved([uneven], start(images, top=6), sites=replace(SITES, merge_angstrom=1.2))
    assert found.status.reason == "the band passes minima that are no sites, at 0.10 eV"


def test_lower_saddle_of_a_band_is_not_that_of_the_hop():
    found = proved([uneven], start(band(9), top=2))
    assert found.status.code == result.OTHER_SITES
    assert "beyond, the band rises to 0.6" in found.status.reason
    assert found.forward_ev is None


def test_minimum_off_the_band_is_another_site():
    """The band comes from the side; the saddle leads down to a minimum that the band does not pass."""
    aside = [occupied(x, 1.6 * np.sin(np.pi * x / 2.25)) for x in np.linspace(0.0, 2.25, 7)]
    images = (*aside[:-1], *band(9)[5:])
    found = proved([uneven], start(images, top=7), sites=replace(SITES, merge_angstrom=0.3))
    assert found.status.code == result.OTHER_SITES
    assert found.status.reason == "downhill the ion ends 1.48 A from the named sites, at 0.10 and 0.20 eV"


def test_symmetric_hop_over_two_equal_saddles():
    """The operation x -> L - x, which exchanges the ends, leaves the minimum halfway where it is."""
    centre = (PLACE + np.array([LENGTH / 2, 0, 0])) / HOST.cell.lengths()
    turn = Operation(np.diag([-1.0, 1.0, 1.0]), np.array([2 * centre[0], 0, 0]), np.arange(3))
    sites = replace(SITES, operations=(*SITES.operations, turn))
    found = proved([two_hills()], start(band(9), top=2, symmetric=True), sites=sites)
    assert found.status.code == result.PROVED
    assert found.saddles == 2
    assert_allclose(found.forward_ev, BARRIER, rtol=1e-6)
    assert_allclose(found.between_ev, 0.0, atol=1e-5)
    assert "two equal saddles" in found.status.reason


def test_minimum_too_shallow_to_be_a_site_is_passed():
    """A dent of 0.2 meV at the top of the band: the saddle is beside it and leads over it to both sites."""
    dent = 0.13
    found = proved([dimple(dent=dent)])
    assert found.status.code == result.PROVED
    assert found.saddles == 1
    exact = (BARRIER + 4 * dent) ** 2 / (16 * dent)
    assert exact - BARRIER < 2.1e-4
    assert_allclose(found.forward_ev, exact, rtol=1e-6)


def test_mode_across_the_hop_is_not_the_hop():
    images = [image.copy() for image in band()]
    images[1].positions[-1] = images[2].positions[-1] + [0, -0.5, 0]
    images[3].positions[-1] = images[2].positions[-1] + [0, 0.5, 0]
    found = proved([hill()], start(tuple(images)))
    assert found.status.code == result.OTHER_SITES
    assert "overlap of the unstable mode with the hop is 0.00" in found.status.reason


def test_search_without_enough_steps_is_not_refined():
    found = proved([hill()], start(band(rise=0.4)), SETTINGS.model_copy(update={"max_steps": 1}))
    assert found.status.code == result.NOT_REFINED
    assert "saddle: " in found.status.reason
    assert "eV/A are left after 1 steps" in found.status.reason
    assert found.saddle_thz == ()


def test_numbers_that_are_not_finite_are_not_refined():
    found = proved([along(lambda _: (np.nan, np.nan))])
    assert found.status.code == result.NOT_REFINED
    assert "not finite" in found.status.reason


def test_member_without_a_saddle_there_gives_no_prefactor():
    """One member of three has a minimum where the mean has its saddle."""
    found = proved([hill(0.5), hill(0.6), hill(-0.05)])
    assert found.status.code == result.PROVED
    assert len(found.forward_prefactors_thz) == 2


def test_hessian_of_the_atoms_near_the_ion():
    settings = SETTINGS.model_copy(update={"hessian_angstrom": 1.0})
    found = proved([hill()], settings=settings)
    assert found.status.code == result.PROVED
    assert found.atoms_moved == 1
    assert_allclose(found.forward_prefactor_thz, thz(2 * BARRIER * (np.pi / LENGTH) ** 2), rtol=1e-6)


def test_rotated_and_shifted_band_gives_the_same_numbers():
    """Another path to the same saddle: the result depends on the landscape, not on the band."""
    one, other = proved([hill()]), proved([hill()], start(band(rise=0.3)))
    assert_allclose(other.forward_ev, one.forward_ev, rtol=1e-9)
    assert_allclose(other.forward_prefactor_thz, one.forward_prefactor_thz, rtol=1e-6)


def test_failed_hops_are_those_with_a_band_and_no_proof():
    hop = proved([ridge()])
    good = replace(proved([hill()]), hop="good")
    none = replace(good, hop="none", status=without_band_status())
    modes = result.Modes(hops=(hop, good, none), bulk=None)
    failed = result.failed_hops(modes)
    assert set(failed) == {("h", "Li", "x")}
    assert failed["h", "Li", "x"].code == result.SECOND_ORDER


def without_band_status():
    from mlip.stages.sites.network import Hop

    hop = Hop(
        name="n",
        host="h",
        ion="Li",
        initial="a",
        final="b",
        length_angstrom=1.0,
        vector_angstrom=(1.0, 0.0, 0.0),
        multiplicity=1,
        symmetric=False,
    )
    made = without_band(hop)
    assert (made.host, made.ion, made.hop, made.status.code) == ("h", "Li", "n", result.NO_BAND)
    return made.status
