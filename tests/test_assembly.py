"""Laws and systems from the results of the stages before: the budget of errors, and hops that have no rate."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import rated
from numpy.testing import assert_allclose

from mlip.core.status import Status
from mlip.core.uncertainty import Uncertainty
from mlip.stages.modes import result as modes
from mlip.stages.rates import assembly
from mlip.stages.rates.laws import Law
from mlip.stages.refine.barriers import Relaxed

BANDS = rated.bands("x", "001", 0.3)
PROVED = rated.proved("x", "001", 0.3)


def law(one=PROVED, bands=BANDS, *, d3_ev=None, has_d3=True, **budget):
    return assembly.law(one, bands, replace(rated.BUDGET, **budget), d3_ev=d3_ev, has_d3=has_d3)


def test_a_law_has_the_barrier_of_the_modes_and_the_deviations_of_the_members():
    found = law()
    assert found.barrier_ev == (0.3, 0.3)
    assert_allclose(found.members_ev, [[-0.01, -0.01], [0.0, 0.0], [0.01, 0.01]], rtol=0, atol=1e-12)
    assert (found.imaginary_thz, found.calibration, found.rest_ln) == (5.0, 2.0, 0.2)


def test_the_uncertainty_is_the_budget_of_the_report():
    """The larger of calibrated spread (0.02) and path error; convergence; dispersion where D3 is not known."""
    assert_allclose(law().std_ev, np.hypot(0.02, 0.005), rtol=1e-9, atol=0)
    assert_allclose(law(path_error_ev=0.05).std_ev, np.hypot(0.05, 0.005), rtol=1e-9, atol=0)
    assert_allclose(law(has_d3=False).std_ev, np.sqrt(0.02**2 + 0.005**2 + 0.02**2), rtol=1e-9, atol=0)
    assert_allclose(law(has_d3=False, d3_ev=(0.0, 0.0)).std_ev, law().std_ev, rtol=1e-12, atol=0)
    assert_allclose(law(calibration=0.5).std_ev, np.hypot(0.01, 0.005), rtol=1e-9, atol=0)  # never made smaller


def test_an_end_that_differs_from_band_to_band_counts_with_its_spread_at_the_refined_point():
    """One band ends in another minimum, 0.5 eV lower; at the refined points the members agree within 0.02 eV."""
    astray = [*BANDS[:2], replace(BANDS[2], reverse_ev=0.8)]
    found = law(replace(PROVED, reverse_std_ev=0.02), astray)
    assert_allclose(found.members_ev.std(axis=0, ddof=1), [0.01, 0.02], rtol=1e-9, atol=0)
    assert found.members_ev[:, 1].argmax() == 2
    single = replace(PROVED, forward_std_ev=None, reverse_std_ev=None)
    assert_allclose(law(single).members_ev, law().members_ev, rtol=0, atol=1e-12)


def test_without_bands_of_all_members_the_spread_of_the_modes_counts():
    one = law(bands=BANDS[:1])
    assert one.members_ev.shape == (0, 2)
    assert_allclose(one.std_ev, np.hypot(0.02, 0.005), rtol=1e-9, atol=0)


def test_without_members_and_path_error_no_uncertainty_is_known():
    single = replace(PROVED, forward_std_ev=None, reverse_std_ev=None)
    assert not law(single, BANDS[:1], path_error_ev=None).is_uncertain
    assert law(single, BANDS[:1]).is_uncertain


def test_d3_is_added_to_both_senses():
    assert_allclose(law(d3_ev=(-0.1, 0.02)).barrier_ev, (0.2, 0.32), rtol=1e-12, atol=0)


def test_prefactors_of_members_are_joint_where_every_member_has_one():
    whole = replace(PROVED, forward_prefactors_thz=(6.0, 8.0, 10.0), reverse_prefactors_thz=(6.0, 8.0, 10.0))
    logs = np.log([6.0, 8.0, 10.0])
    assert_allclose(law(whole).members_ln[:, 0], logs - logs.mean(), rtol=1e-12, atol=0)
    part = replace(PROVED, forward_prefactors_thz=(6.0, 10.0), reverse_prefactors_thz=(6.0, 10.0))
    assert len(law(part).members_ln) == 0
    assert_allclose(law(part).rest_ln, np.hypot(0.2, np.log([6, 10]).std(ddof=1)), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"forward_prefactor_thz": None}, "proved"),
        ({"status": Status(modes.OTHER_SITES, "S1 and U3"), "forward_ev": None}, "leads to other sites: S1 and U3"),
        ({"saddle_thz": (8.0,)}, "3 frequencies of a minimum and 1 of a saddle"),
        ({"initial_thz": (-1.0, 9.0, 12.0)}, "the lowest is -1 THz; all must be positive"),
        ({"imaginary_thz": None}, "imaginary frequency of a saddle: 0 THz"),
    ],
)
def test_a_hop_that_is_not_proved_or_not_whole_has_a_reason_and_no_law(changes, reason):
    found = law(replace(PROVED, **changes))
    assert isinstance(found, str)
    assert reason in found


def test_two_equal_saddles_in_series_halve_the_rate():
    """As two equal resistors do; the prefactor over one of them is in the modes."""
    one, two = law(), law(replace(PROVED, saddles=2))
    assert_allclose(np.array(one.prefactor_thz) / two.prefactor_thz, 2.0, rtol=1e-12, atol=0)
    assert two.barrier_ev == one.barrier_ev


def test_equal_saddles_side_by_side_and_equal_wells_of_a_site_enter_the_rates():
    """Two saddles, three wells at the initial site: 2/3 and 2/1; the weights of the sites are as 3 to 1."""
    one, more = law(), law(replace(PROVED, saddle_images=2, initial_wells=3))
    assert_allclose(np.array(more.prefactor_thz) / one.prefactor_thz, (2 / 3, 2), rtol=1e-12, atol=0)
    assert more.barrier_ev == one.barrier_ev
    in_series = law(replace(PROVED, saddles=2, saddle_images=2))
    assert_allclose(in_series.prefactor_thz, one.prefactor_thz, rtol=1e-12, atol=0)


def test_systems_have_a_law_or_a_reason_for_every_hop():
    every = rated.found(modes=(PROVED, rated.failed("y", "001")))
    slab, bulk = assembly.systems(every, rated.CELLS, rated.BUDGET, with_d3=True)
    assert (slab.host, slab.axes, bulk.host, bulk.axes) == ("001", 2, "bulk", 3)
    assert isinstance(slab.laws[0], Law)
    assert slab.laws[1] is None
    assert slab.reasons == {"y": "second-order saddle: imaginary modes of 6.0 and 2.1 THz"}
    assert bulk.reasons == {"bulk_oct": "no modes"}
    assert (slab.net.ways(0, 0), bulk.net.ways(0, 0)) == (2, 4)


def test_d3_enters_where_it_is_asked_for():
    every = rated.found(contains_d3=False, d3_ev={("001", "Li", "x"): (0.05, 0.05)})
    with_d3, without = (assembly.systems(every, rated.CELLS, rated.BUDGET, with_d3=w)[0] for w in (True, False))
    assert_allclose(with_d3.laws[0].barrier_ev[0] - without.laws[0].barrier_ev[0], 0.05, rtol=1e-12, atol=0)
    assert with_d3.laws[1].barrier_ev == without.laws[1].barrier_ev


def test_a_hop_without_a_converged_band_keeps_the_height_at_which_the_ion_left():
    lost = [
        replace(b, status=Status("ion desorbed"), forward_ev=None, reverse_ev=None)
        for b in rated.bands("y", "001", 0.4)
    ]
    barriers = rated.found().barriers
    one = replace(barriers[1], forward_ev=None, reverse_ev=None, vacuum_ev=lost[0].energies_ev[1])
    slab, _ = assembly.systems(
        rated.found(barriers=(barriers[0], one, barriers[2])), rated.CELLS, rated.BUDGET, with_d3=True
    )
    assert slab.reasons == {"y": "no converged barrier"}
    assert_allclose(slab.heights_ev["y"], 0.39, rtol=1e-12, atol=0)


def test_sites_that_no_hop_touches_are_left_out_unless_they_are_the_lowest():
    every = rated.found()
    alone = replace(every.sites[0], name="S2", energy_ev=0.2, copies_angstrom=((0.1, 0.1, 12.0),))
    slab, _ = assembly.systems(replace(every, sites=(*every.sites, alone)), rated.CELLS, rated.BUDGET, with_d3=True)
    assert slab.net.names == ("S1",)
    deep = replace(alone, energy_ev=-0.2)
    slab, _ = assembly.systems(replace(every, sites=(*every.sites, deep)), rated.CELLS, rated.BUDGET, with_d3=True)
    assert slab.net.names == ("S1", "S2")
    assert slab.net.names[slab.start] == "S2"


DFT = Relaxed(host="001", ion="Li", hop="x", forward_ev=0.35, reverse_ev=0.35, d3_forward_ev=-0.02, std_ev=0.004,
              d3_reverse_ev=-0.02)  # fmt: skip


def from_dft(one=PROVED, dft=DFT, **more):
    """The law of a hop with and without DFT."""
    own = law(one, **more)
    known = more.get("has_d3", True) or more.get("d3_ev") is not None
    return own, assembly.with_dft(own, one, dft, rated.BUDGET, d3_known=known)


def test_the_saddle_of_dft_takes_the_place_of_the_potentials():
    own, found = from_dft()
    assert_allclose(found.barrier_ev, (0.35, 0.35), rtol=1e-12, atol=0)
    assert_allclose(found.std_ev, np.hypot(0.004, 0.01), rtol=1e-9, atol=0)
    assert (found.prefactor_thz, found.saddle_thz, found.rest_ln) == (own.prefactor_thz, own.saddle_thz, own.rest_ln)
    assert (own.is_dft, found.is_dft) == (False, True)


def test_an_ion_on_a_host_can_have_its_own_error_of_the_dft_settings():
    for place, error in (("Li 001", 0.04), ("Mg 001", 0.01)):
        budget = replace(rated.BUDGET, errors=Uncertainty(dft_settings_ev=0.01, dft_settings_of_ev={place: 0.04}))
        found = assembly.with_dft(law(PROVED), PROVED, DFT, budget, d3_known=True)
        assert_allclose(found.std_ev, np.hypot(0.004, error), rtol=1e-9, atol=0)


def test_d3_is_that_of_the_points_of_dft():
    """The potential is PBE: its D3 (-0.03 eV) is replaced too; where D3 of DFT is not known, it stays."""
    _, found = from_dft(d3_ev=(-0.03, -0.03), has_d3=False)
    assert_allclose(found.barrier_ev, (0.33, 0.33), rtol=1e-12, atol=0)
    _, found = from_dft(dft=replace(DFT, d3_forward_ev=None), d3_ev=(-0.03, -0.03), has_d3=False)
    assert_allclose(found.barrier_ev, (0.32, 0.32), rtol=1e-12, atol=0)
    _, found = from_dft(dft=replace(DFT, d3_reverse_ev=None), d3_ev=(-0.03, -0.05), has_d3=False)
    assert_allclose(found.barrier_ev, (0.33, 0.31), rtol=1e-12, atol=0)  # the difference of the sites stays
    _, found = from_dft(has_d3=False)  # without D3 the law stays without, with the error of that
    assert_allclose((*found.barrier_ev, found.rest_ev), (0.35, 0.35, np.sqrt(0.004**2 + 0.01**2 + 0.02**2)), rtol=1e-9)


def test_the_difference_between_the_sites_stays_the_potentials_and_half_of_its_change_is_uncertain():
    """Detailed balance with hops that have no DFT: the final site stays 0.1 eV above the initial one."""
    one = replace(PROVED, reverse_ev=0.2)
    _, found = from_dft(one, replace(DFT, forward_ev=0.36, reverse_ev=0.22))
    assert_allclose(found.barrier_ev, (0.34, 0.24), rtol=1e-12, atol=0)
    assert_allclose(found.rest_ev, np.sqrt(0.004**2 + 0.01**2 + 0.02**2), rtol=1e-9, atol=0)
    _, found = from_dft(one, replace(DFT, reverse_ev=None))
    assert_allclose(found.barrier_ev, (0.35, 0.25), rtol=1e-12, atol=0)


def test_without_a_reverse_barrier_of_dft_the_members_decide_how_uncertain_the_final_site_is():
    """Members' reverse barriers deviate by 0.02 eV, their forward ones by 0.01 eV, all in step: the site by 0.01 eV."""
    wide = [replace(b, reverse_ev=0.3 + 2 * (b.forward_ev - 0.3)) for b in BANDS]
    own, found = from_dft(replace(PROVED, reverse_std_ev=0.02), replace(DFT, reverse_ev=None), bands=wide)
    assert_allclose(np.std(own.members_ev, axis=0, ddof=1), (0.01, 0.02), rtol=1e-9, atol=0)
    known = np.hypot(0.004, 0.01)
    assert_allclose(found.std_ev, (known, np.hypot(known, found.calibration * 0.01)), rtol=1e-9, atol=0)
    assert found.of_member(1) is None
    assert from_dft(dft=DFT, bands=wide)[1].members_ev.shape == (0, 2)


def test_dft_without_a_known_error_gives_no_interval():
    assert not from_dft(dft=replace(DFT, std_ev=None))[1].is_uncertain


def test_dft_counts_for_its_own_hop_alone():
    made = assembly.systems(replace(rated.found(), refined=(DFT,)), rated.CELLS, rated.BUDGET, with_d3=False)
    slab = next(s for s in made if s.host == "001")
    found = {name: one.is_dft for name, one in zip(slab.net.hops, slab.laws, strict=True)}
    assert found == {"x": True, "y": False}
