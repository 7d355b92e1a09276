"""Label checks: every bad input is one line that says what, where, the limit and what to do."""

import numpy as np
import pytest
from helpers.springs import harmonic
from numpy.testing import assert_allclose

from mlip.core.units import BOHR_ANGSTROM, HARTREE_EV
from mlip.stages.dataset import labels
from mlip.stages.dataset.settings import DatasetSettings

LIMITS = DatasetSettings()


@pytest.fixture
def frames():
    rng = np.random.default_rng(7)
    return [harmonic(f"f{n}", rng=rng, ion="Li" if n % 3 == 0 else "none") for n in range(12)]


def refused(frames, match, settings=LIMITS, **more):
    with pytest.raises(ValueError, match=match) as caught:
        labels.check(frames, settings, source="a.extxyz", **more)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith("a.extxyz: ")
    assert ";" in text  # what to do
    return text


def test_good_frames_pass(frames):
    labels.check(frames, LIMITS, source="a.extxyz")


def test_harmonic_energies_and_forces_belong_together_exactly(frames):
    ratio, pairs = labels.energy_force_ratio(frames)
    assert pairs >= labels.FEWEST_PAIRS
    assert_allclose(ratio, 1.0, rtol=1e-10, atol=0)


@pytest.mark.parametrize("key", ["dft_energy", "dft_forces"])
def test_absent_labels_are_never_zeros(frames, key):
    (frames[2].info if key == "dft_energy" else frames[2].arrays).pop(key)
    text = refused(frames, rf"frame 2 \(f2\): has no {key}")
    assert "never taken as zero" in text


def test_absent_d3_matters_for_the_target_that_needs_it(frames):
    labels.check(frames, LIMITS, source="a.extxyz", target="pbe")
    refused(frames, "has no d3_energy, d3_forces", target="pbe-d3")


@pytest.mark.parametrize("key", ["frame_id", "group", "host", "ion", "settings_hash"])
def test_identity_is_needed(frames, key):
    del frames[1].info[key]
    refused(frames, f"has no {key} in its info")


def test_zeros_in_place_of_labels(frames):
    frames[4].arrays["dft_forces"] = np.zeros_like(frames[4].positions)
    refused(frames, r"frame 4 \(f4\): all dft_forces are exactly 0")
    frames[3].info["dft_energy"] = 0.0
    refused(frames, r"frame 3 \(f3\): dft_energy is exactly 0 eV")


def test_zero_forces_of_an_ideal_crystal_are_right():
    rng = np.random.default_rng(0)
    ideal = harmonic("ideal", rng=rng, amplitude=0.0)
    ideal.arrays["dft_forces"][:] = 0.0
    ideal.symbols[:] = "Ti"
    ideal.info["dft_energy"] = -96.0
    labels.check([ideal], LIMITS, source="a.extxyz")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite(frames, value):
    frames[5].arrays["dft_forces"][3, 1] = value
    refused(frames, r"frame 5 \(f5\): dft_forces holds 1 values that are not finite")
    frames[4].info["dft_energy"] = value
    refused(frames, r"frame 4 \(f4\): dft_energy holds 1 values that are not finite")


def test_wrong_shape(frames):
    frames[1].arrays["dft_forces"] = frames[1].arrays["dft_forces"][:, :2].copy()
    refused(frames, r"dft_forces has the shape \(12, 2\) where numbers of shape \(12, 3\) belong")


def test_mixed_levels_of_theory(frames):
    frames[6].info["settings_hash"] = "def"
    refused(frames, r"frame 6 \(f6\): settings_hash is def, the dataset has abc")


def test_net_force(frames):
    frames[2].arrays["dft_forces"] = frames[2].arrays["dft_forces"] + np.array([0.0, 0.0, 0.05])
    refused(frames, r"frame 2 \(f2\): net force is 0.0500 eV/Angstrom per atom, at most 0.03")


def test_net_force_before_its_correction_counts(frames):
    frames[2].info["net_force"] = 0.6
    refused(frames, r"frame 2 \(f2\): net force is 0.0500 eV/Angstrom per atom")


def test_largest_force(frames):
    frames[7].arrays["dft_forces"][0] += [40.0, 0, 0]
    frames[7].arrays["dft_forces"][1] -= [40.0, 0, 0]
    refused(frames, r"frame 7 \(f7\): force on Ti\d is .* eV/Angstrom, at most 30.0 are allowed")


def test_smallest_distance_also_through_the_cell_wall(frames):
    frames[8].positions[0] = frames[8].positions[8] + [0.0, 0.0, 4.0 + 6.0 - 9.5]
    refused(frames, r"frame 8 \(f8\): .* are 0\.\d+ Angstrom apart, at least 0.9 are allowed")


def test_one_frame_id_for_two_frames(frames):
    frames[9].info["frame_id"] = "f3"
    refused(frames, r"frame 9 \(f3\): frame_id 'f3' is there twice")


def test_one_frame_in_hartree(frames):
    frames[3].info["dft_energy"] /= HARTREE_EV
    text = refused(frames, r"frame 3 \(f3\): energy is -0\.\d+ eV/atom, the element-wise fit says -")
    assert "looks like Hartree: multiply by 27.2114" in text


def test_one_frame_in_rydberg(frames):
    frames[3].info["dft_energy"] /= HARTREE_EV / 2
    refused(frames, "looks like Rydberg")


def test_all_energies_in_hartree_show_against_the_forces(frames):
    for frame in frames:
        frame.info["dft_energy"] /= HARTREE_EV
    text = refused(frames, "energy differences are 0.0367 times the work of the forces")
    assert "energies look like Hartree" in text


def test_all_labels_in_atomic_units(frames):
    for frame in frames:
        frame.info["dft_energy"] /= HARTREE_EV
        frame.arrays["dft_forces"] /= HARTREE_EV / BOHR_ANGSTROM
    refused(frames, "energies and forces look like atomic units")


def test_gradients_in_place_of_forces(frames):
    for frame in frames:
        frame.arrays["dft_forces"] *= -1
    refused(frames, "wrong sign")


def test_scf_state_that_is_off_by_much(frames):
    frames[5].info["dft_energy"] += 12.0
    text = refused(frames, r"frame 5 \(f5\): energy is")
    assert "check its level, units and SCF" in text


def test_few_frames_make_no_outlier_and_no_ratio(frames):
    labels.check(frames[:2], LIMITS, source="a.extxyz")
    assert labels.energy_force_ratio(frames[:2])[0] is None


def test_duplicates_are_found_through_whole_cell_vectors(frames):
    again = frames[1].copy()
    again.info["frame_id"] = "again"
    again.positions[4] += again.cell[0]
    again.positions[0] += 5e-4
    near = frames[2].copy()
    near.positions[0] += 0.01
    assert labels.duplicates([*frames, again, near], 1e-3) == [(1, 12)]


def test_same_structure_with_other_labels(frames):
    again = frames[1].copy()
    again.info["frame_id"] = "again"
    labels.check([*frames, again], LIMITS, source="a.extxyz")
    again.info["dft_energy"] += 0.05
    refused([*frames, again], r"frame 12 \(again\): same structure as frame 1 \(f1\) but other labels")


def test_no_frames():
    with pytest.raises(ValueError, match="holds no frames"):
        labels.check([], LIMITS, source="a.extxyz")


def test_fit_recovers_energies_that_the_data_determine():
    counts = np.array([[1, 2, 0], [4, 8, 1], [16, 32, 1], [4, 7, 0]], dtype=float)
    wanted = np.array([-8.0, -8.5, -2.5])
    for robust in (False, True):
        assert_allclose(labels.element_fit(counts, counts @ wanted, robust=robust), wanted, rtol=1e-5, atol=0)


def test_robust_fit_is_not_bent_by_a_wrong_frame(frames):
    counts = labels.composition(frames, ["Li", "O", "Ti"])
    energies = counts @ np.array([-2.5, -8.5, -8.0])
    per_atom = energies / counts.sum(axis=1)
    energies[1] /= HARTREE_EV
    fitted = counts @ labels.element_fit(counts, energies, robust=True) / counts.sum(axis=1)
    assert_allclose(fitted, per_atom, rtol=1e-3, atol=0)
