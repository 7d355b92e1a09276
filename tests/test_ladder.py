"""The ladder on a surface of exact barrier: potential and 'DFT' are both known."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.bands import path
from helpers.potentials import CosineSurface, hop
from numpy.testing import assert_allclose

from mlip.atoms.extxyz import with_labels
from mlip.core.status import Status
from mlip.stages.dataset.card import LabelledPath
from mlip.stages.ladder import ladder
from mlip.stages.ladder.settings import LadderSettings

SETTINGS = LadderSettings()


def labels(paths, *, keep=lambda name: True, lift=0.0, **shape):
    """Labels of the frames of a ladder by another surface, with D3."""
    found = {}
    for tier in ladder.frames(paths, neighbours=True, source="test"):
        for frame in tier:
            surface = CosineSurface(hop()[0], **shape)
            surface.lift = lift
            own = frame.copy()
            own.calc = surface
            name = frame.info["frame_id"]
            if keep(name):
                found[name] = with_labels(
                    frame, energy_ev=own.get_potential_energy(), forces=own.get_forces(), info=frame.info
                )
    return found


@pytest.fixture(scope="module")
def symmetric():
    return path(barrier=0.5)


@pytest.fixture(scope="module")
def skewed():
    return path(symmetric=False, name="001_in", step=0.3, barrier=0.5)


def test_barrier_of_dft_at_the_geometry_of_the_potential(symmetric):
    """A higher barrier on the same path: DFT is 0.06 eV above the potential, and nothing pulls on the saddle."""
    found = ladder.step(symmetric, labels([symmetric], barrier=0.56), SETTINGS, target="pbe")
    assert found.status.code == "complete"
    assert_allclose(found.mlip_forward_ev, 0.5, rtol=2e-3, atol=0)
    assert_allclose(found.dft_forward_ev, 0.56, rtol=2e-3, atol=0)
    assert found.dft_reverse_ev == found.dft_forward_ev
    assert_allclose(found.difference_ev, 0.06, rtol=0.02, atol=0)
    assert found.ion_force_ev_per_angstrom < 0.02
    assert found.peak == "saddle"
    assert str(found.verdict) == "DFT band needed: DFT and potential differ by more than 0.05 eV"


def test_the_same_surface_stands(symmetric):
    found = ladder.step(symmetric, labels([symmetric], barrier=0.5), SETTINGS, target="pbe")
    assert str(found.verdict) == "stands"
    assert abs(found.difference_ev) < 1e-6
    saddle = symmetric.images[int(np.argmax(symmetric.band.energies_ev))].copy()
    saddle.calc = CosineSurface(hop()[0], barrier=0.5)
    taken_off = float(np.linalg.norm(saddle.get_forces().mean(axis=0)))  # labels have their mean force taken off
    assert_allclose(found.ion_force_error_ev_per_angstrom, taken_off, rtol=1e-6, atol=1e-9)
    assert_allclose(found.shell_force_error_rms_ev_per_angstrom * np.sqrt(3), taken_off, rtol=1e-6, atol=1e-9)


def test_residual_force_has_the_size_and_the_way_of_the_ion(symmetric):
    """A constant pull of 0.3 eV/A across the way; what the mean force takes off is a fifth of it."""
    found = ladder.step(symmetric, labels([symmetric], barrier=0.5, lift=0.3), SETTINGS, target="pbe")
    assert_allclose(found.ion_force_ev_per_angstrom, 0.3, rtol=0.05, atol=0)
    assert abs(found.ion_force_along_ev_per_angstrom) < 0.01
    assert_allclose(found.ion_force_error_ev_per_angstrom, 0.3, rtol=0.05, atol=0)
    assert found.shell_force_ev_per_angstrom > found.shell_force_rms_ev_per_angstrom > 0
    assert str(found.verdict) == "DFT band needed: force on the ion above 0.15 eV/A"


def test_forward_and_reverse_of_a_hop_between_two_sites(skewed):
    found = ladder.step(skewed, labels([skewed], barrier=0.5, step=0.3), SETTINGS, target="pbe")
    exact = CosineSurface(hop()[0], barrier=0.5, step=0.3).exact_forward
    assert_allclose((found.dft_forward_ev, found.dft_reverse_ev), (exact, exact - 0.3), rtol=2e-3, atol=0)


def test_a_neighbour_above_the_saddle_image_is_named(skewed):
    """A step the other way moves the maximum towards the start: the image before the saddle is the highest."""
    found = ladder.step(skewed, labels([skewed], barrier=0.3, step=-0.9), SETTINGS, target="pbe")
    assert found.peak == "before"
    assert found.peak_ev > found.dft_forward_ev
    assert "DFT is higher at the image before the saddle" in found.verdict.reason


def test_target_with_dispersion_adds_it_once(symmetric):
    given = labels([symmetric], barrier=0.5)
    plain = ladder.step(symmetric, given, SETTINGS, target="pbe")
    whole = ladder.step(symmetric, given, SETTINGS, target="pbe-d3")
    assert abs(plain.d3_forward_ev) > 1e-4
    assert_allclose(whole.dft_forward_ev, plain.dft_forward_ev + plain.d3_forward_ev, rtol=1e-9, atol=0)
    assert whole.pbe_forward_ev == plain.pbe_forward_ev == plain.dft_forward_ev


def test_symmetric_halves_are_labelled_once(symmetric, skewed):
    assert list(ladder.parts_of(symmetric, neighbours=True)) == ["saddle", "initial", "before"]
    assert list(ladder.parts_of(symmetric, neighbours=False)) == ["saddle", "initial"]
    assert sorted(ladder.parts_of(skewed, neighbours=True)) == ["after", "before", "final", "initial", "saddle"]


def test_a_symmetric_hop_whose_saddle_is_off_the_middle_needs_both_neighbours():
    """Two humps: the highest image is not its own mirror image, so its neighbours differ."""
    two = path(barrier=0.5, humps=2)
    assert 2 * int(np.argmax(two.band.energies_ev)) != len(two.images) - 1
    parts = ladder.parts_of(two, neighbours=True)
    assert "after" in parts
    assert "final" not in parts


def test_limiting_barriers_come_first_neighbours_last(symmetric, skewed):
    other = replace(symmetric, limiting=False, hop=replace(symmetric.hop, name="001_other"))
    tiers = ladder.frames([other, skewed], neighbours=True, source="test")
    names = [[frame.info["frame_id"] for frame in tier] for tier in tiers]
    assert names[0] == ["ladder_001_in_Li_saddle", "ladder_001_in_Li_initial"]
    assert names[1] == ["ladder_001_other_Li_saddle", "ladder_001_other_Li_initial"]
    assert names[2] == ["ladder_001_in_Li_final"]
    assert [n.rpartition("_")[2] for n in names[3] + names[4]] == ["before", "after", "before"]
    info = tiers[0][0].info
    assert (info["group"], info["host"], info["ion"], info["vacuum"]) == ("ladder_001_in_Li", "001", "Li", True)
    assert info["sampling"].startswith("CI-NEB saddle, test, member 2, barrier 0.6")
    assert tiers[0][0].calc is None


def test_without_labels_there_is_a_status_and_no_number(symmetric):
    found = ladder.step(symmetric, {}, SETTINGS, target="pbe")
    assert (str(found.status), str(found.verdict)) == ("not calculated", "not calculated")
    assert found.lacking == ("saddle", "initial", "before")
    numbers = (found.dft_forward_ev, found.difference_ev, found.ion_force_ev_per_angstrom, found.peak_ev, found.peak)
    assert numbers == (None,) * 5
    assert ladder.labelled_path(symmetric, found, source="test") is None


def test_a_part_of_the_labels_gives_what_they_allow(skewed):
    given = labels([skewed], barrier=0.5, step=0.3, keep=lambda name: name.endswith(("saddle", "initial")))
    found = ladder.step(skewed, given, SETTINGS, target="pbe")
    assert found.status.detail == "lacks final, before, after"
    assert found.dft_forward_ev is not None
    assert found.dft_reverse_ev is None
    only = ladder.step(skewed, {k: v for k, v in given.items() if "saddle" in k}, SETTINGS, target="pbe")
    assert only.status.code == "not calculated"
    assert only.ion_force_ev_per_angstrom is not None


def test_entry_for_a_card(symmetric):
    found = ladder.step(symmetric, labels([symmetric], barrier=0.5), SETTINGS, target="pbe")
    entry = ladder.labelled_path(symmetric, found, source="quick")
    assert entry == LabelledPath(
        group="ladder_001_par_Li",
        host="001",
        ion="Li",
        hop="001_par",
        initial="ladder_001_par_Li_initial",
        saddle="ladder_001_par_Li_saddle",
        geometry="CI-NEB of the potential (quick, member 2)",
    )


def test_member_nearest_the_mean_of_the_converged_ones(symmetric):
    bands = [replace(symmetric.band, member=k, forward_ev=e) for k, e in ((1, 0.50), (2, 0.58), (3, 0.56), (4, None))]
    assert ladder.nearest_member(bands).member == 3
    assert ladder.nearest_member(bands[3:]) is None


def test_a_band_without_a_barrier_is_refused(symmetric):
    failed = replace(symmetric, band=replace(symmetric.band, forward_ev=None, status=Status("max steps")))
    with pytest.raises(ValueError, match="Li 001_par: the band is max steps; give a converged band"):
        ladder.frames([failed], neighbours=True, source="test")
