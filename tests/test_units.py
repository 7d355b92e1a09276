"""Constants against the tables of CODATA 2018; those that stored numbers rest on, to the last digit."""

from numpy.testing import assert_allclose

from mlip.core import units


def test_what_labels_and_trajectories_rest_on_has_the_digits_of_the_tables():
    found = (units.HARTREE_EV, units.BOHR_ANGSTROM, units.BOLTZMANN_EV_PER_KELVIN, units.ACCELERATION)
    assert found == (27.211386245988, 0.529177210903, 8.617333262e-5, 9.648533212e-3)


def test_constants_of_ase_are_those_of_2018():
    """ASE's default, CODATA 2014, has an elementary charge smaller by 8e-9 of the value."""
    assert_allclose(units.ELEMENTARY_CHARGE_COULOMB, 1.602176634e-19, rtol=1e-14, atol=0)
    assert_allclose(units.AVOGADRO_PER_MOLE, 6.02214076e23, rtol=1e-14, atol=0)
    assert_allclose(units.GPA_PER_EV_PER_ANGSTROM3, 160.2176634, rtol=1e-14, atol=0)
    assert_allclose(1 / units.GRAM_PER_CM3, 1.66053906660, rtol=1e-12, atol=0)


def test_surface_energy_and_capacity_have_the_known_values():
    assert_allclose(units.joule_per_m2(2.0, 40.0), 2.0 / 40.0 * 16.02176634, rtol=1e-14, atol=0)
    assert_allclose(units.mah_per_gram(1, 12.011 * 6), 96485.33212 / 3.6 / 72.066, rtol=1e-9, atol=0)  # LiC6: 372
