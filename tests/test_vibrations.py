import numpy as np
import pytest
from ase import units
from numpy.testing import assert_allclose

from mlip.stages.modes import vibrations as vib

MASSES = np.array([47.867, 15.999])


def thz(stiffness, mass):
    """Frequency of a mass (u) on a spring (eV/A^2), by the units of ASE: its unit of time is 1 A sqrt(u/eV)."""
    per_second = np.sqrt(stiffness / mass) / (2 * np.pi) * units.second
    return per_second / 1e12


def dumbbell(stiffness):
    """Two atoms on a spring along x and on weaker ones across: a Hessian without forces on a translation."""
    springs = np.diag([stiffness, stiffness / 4, stiffness / 9])
    return np.block([[springs, -springs], [-springs, springs]])


def test_wells_have_the_frequencies_of_their_springs():
    stiffness = np.array([30.0, 20.0, 10.0, 9.0, 4.0, 1.0])
    found = vib.vibrations(np.diag(stiffness), MASSES)
    assert_allclose(found.thz, np.sort(thz(stiffness, np.repeat(MASSES, 3))), rtol=1e-6, atol=0)
    assert found.unstable == 0
    assert_allclose(np.linalg.norm(found.modes, axis=1), 1.0, rtol=1e-12, atol=0)


def test_translations_are_taken_out_of_a_free_cell():
    found = vib.vibrations(dumbbell(36.0), MASSES, free=True)
    reduced = MASSES.prod() / MASSES.sum()
    assert_allclose(found.thz, thz(np.array([4.0, 9.0, 36.0]), reduced), rtol=1e-6, atol=0)
    momentum = np.einsum("a,kax->kx", MASSES, found.modes.reshape(3, 2, 3))
    assert np.abs(momentum).max() < 1e-10


def test_negative_curvature_is_an_imaginary_frequency():
    found = vib.vibrations(np.diag([-3.0, 5.0, 5.0]), MASSES[:1])
    assert_allclose(found.thz[0], -thz(3.0, MASSES[0]), rtol=1e-6, atol=0)
    assert found.unstable == 1
    assert_allclose(np.abs(found.modes[0]), [1.0, 0.0, 0.0], atol=1e-12)


def test_prefactor_of_a_saddle_in_two_dimensions():
    minimum, saddle = np.diag([4.0, 9.0]), np.diag([-2.0, 25.0])
    frequencies = [np.sqrt(np.diag(h) * (np.diag(h) > 0)) for h in (minimum, saddle)]
    expected = frequencies[0].prod() / frequencies[1][1]
    found = vib.prefactor_thz(np.array([2.0, 3.0]), np.array([-1.4, 5.0]))
    assert_allclose(found, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("minimum", "saddle", "words"),
    [
        ([1.0, 2.0], [-1.0, 2.0, 3.0], "2 and 3 frequencies; move the same atoms"),
        ([-1.0, 2.0], [-1.0, 2.0], "1 and 1 frequencies are not real"),
        ([1.0, 2.0], [-1.0, -0.5], "0 and 2 frequencies are not real"),
        ([1.0, 2.0], [1.0, 2.0], "0 and 0 frequencies are not real"),
    ],
)
def test_prefactor_refuses_what_is_no_hop(minimum, saddle, words):
    with pytest.raises(ValueError, match=words):
        vib.prefactor_thz(np.array(minimum), np.array(saddle))


def test_part_of_a_hessian_keeps_all_others_at_rest():
    whole = np.arange(81.0).reshape(9, 9)
    kept = [0, 1, 2, 6, 7, 8]
    assert_allclose(vib.part(whole, [0, 2]), whole[np.ix_(kept, kept)], rtol=0)


def test_sum_rule_sees_a_force_on_a_translation():
    assert vib.sum_rule_error(dumbbell(36.0)) == 0
    held = dumbbell(36.0)
    held[0, 0] += 3.6
    assert_allclose(vib.sum_rule_error(held), 3.6 / 39.6, rtol=1e-12, atol=0)
