"""Phonons of the crystal: limits that are known, and anatase with the released potential."""

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT
from helpers import tiny
from numpy.testing import assert_allclose

from mlip.atoms import cells, structures
from mlip.potential import potential
from mlip.potential.potential import Predicted
from mlip.stages.modes import phonons
from mlip.stages.modes.settings import ModesSettings

GAS_CONSTANT = units.kB * units.mol / units.J  # J/(mol K)
SMALL = ModesSettings(bulk_supercell=(2, 2, 2), bulk_mesh=6, heat_capacity_kelvin=(5.0, 300.0, 20000.0))


def metal(frames):
    """The effective medium potential of ASE."""
    out = []
    for atoms in frames:
        copy = atoms.copy()
        copy.calc = EMT()
        out.append(Predicted(np.array([copy.get_potential_energy()]), copy.get_forces()[None], None))
    return out


@pytest.fixture(scope="module")
def copper():
    return phonons.bulk_phonons(bulk("Cu", cubic=True), metal, SMALL)


@pytest.fixture(scope="module")
def anatase():
    """Force constants of anatase in the cell of the labels, by one member of the released potential."""
    found = potential.load(tiny.REPOSITORY / "datasets" / "models" / "tio2-mg-li", members=(1,)).evaluator
    crystal = phonons.relaxed(structures.crystal("anatase"), found)
    return phonons.force_constants(crystal, found, (3, 3, 1))


def test_heat_capacity_reaches_its_limits(copper):
    low, room, high = (row.cv_j_per_mol_k for row in copper.heat_capacity)
    assert_allclose(high, 3 * GAS_CONSTANT, rtol=1e-4)  # Dulong and Petit, one atom in the formula
    assert low < 1e-2 * high  # one wave vector of 216 is Gamma, whose acoustic modes count k at any temperature
    assert low < room < high


def test_heat_capacity_of_one_oscillator_is_that_of_einstein():
    thz, kelvin = 10.0, 300.0
    x = 1e12 * thz * units._hplanck / (units._k * kelvin)
    exact = GAS_CONSTANT * x**2 * np.exp(x) / (np.exp(x) - 1) ** 2
    assert_allclose(phonons.heat_capacity(np.array([[thz]]), np.array([1.0]), kelvin), exact, rtol=1e-6)
    assert_allclose(phonons.heat_capacity(np.array([[1e-7]]), np.array([1.0]), kelvin), GAS_CONSTANT, rtol=1e-6)
    assert phonons.heat_capacity(np.array([[-3.0]]), np.array([1.0]), kelvin) == 0
    assert phonons.heat_capacity(np.array([[thz]]), np.array([1.0]), 0.5) == pytest.approx(0, abs=1e-12)


def test_density_of_states_counts_three_modes_an_atom(copper):
    total = np.trapezoid(copper.dos_states_per_thz, copper.dos_thz)
    assert_allclose(total, 3.0, rtol=0.02)


def test_monatomic_crystal_is_stable_and_has_no_optical_modes(copper):
    assert copper.gamma == ()
    assert copper.lowest_thz > 0
    assert len(copper.bands_thz[0]) == 3
    at_gamma = [k for k, d in enumerate(copper.distances) if d == 0]
    assert_allclose(np.array(copper.bands_thz)[at_gamma], 0.0, atol=1e-4)
    assert copper.labels[0].label == "G"
    assert copper.labels[-1].distance == copper.distances[-1]


def test_supercell_of_twice_the_formula_gives_the_same_heat_capacity(copper):
    primitive = phonons.bulk_phonons(bulk("Cu"), metal, SMALL.model_copy(update={"bulk_supercell": (4, 4, 4)}))
    assert_allclose(primitive.heat_capacity[1].cv_j_per_mol_k, copper.heat_capacity[1].cv_j_per_mol_k, rtol=5e-3)


def test_without_a_setting_the_supercell_keeps_images_nine_angstrom_apart():
    own = SMALL.model_copy(update={"bulk_supercell": None})
    assert phonons.bulk_phonons(bulk("Cu", cubic=True), metal, own).supercell == (3, 3, 3)
    assert cells.repeats(structures.crystal("anatase").cell.array, (1, 1, 1), phonons.IMAGES_ANGSTROM) == (3, 3, 1)


def test_unstable_crystal_has_negative_frequencies():
    stretched = bulk("Cu", cubic=True)
    stretched.set_cell(stretched.cell * 1.25, scale_atoms=True)
    assert phonons.bulk_phonons(stretched, metal, SMALL).lowest_thz < -0.1


def test_crystal_that_does_not_relax_is_refused(monkeypatch):
    monkeypatch.setattr(phonons, "MAX_STEPS", 2)

    def pushed(frames):
        return [Predicted(np.zeros(1), np.array([0.5 + a.positions]), None) for a in frames]

    with pytest.raises(ValueError, match=r"phonons of the crystal: [0-9.]+ eV/A are left after 2 steps"):
        phonons.bulk_phonons(bulk("Cu", cubic=True), pushed, SMALL)


def test_modes_of_anatase_at_gamma_have_their_labels(anatase):
    modes = phonons.gamma_modes(anatase)
    labels = [mode.label for mode in modes for _ in range(mode.degeneracy)]
    counted = {label: labels.count(label) for label in labels}
    assert counted == {"Eg": 6, "Eu": 4, "A2u": 1, "B1g": 2, "A1g": 1, "B2u": 1}  # without the acoustic A2u and Eu
    assert [mode.thz for mode in modes] == sorted(mode.thz for mode in modes)


def test_anatase_is_stable_and_has_the_published_heat_capacity(anatase):
    found = phonons.described(anatase, ModesSettings(heat_capacity_kelvin=(300.0,)))
    assert found.lowest_thz > 0
    assert_allclose(found.heat_capacity[0].cv_j_per_mol_k, 56.9, atol=1.5)


def test_frequencies_are_the_eigenvalues_of_the_dynamical_matrix(anatase):
    """The Rust eigensolver behind phonopy 4.10 fails here: a few wave vectors get frequencies of their own."""
    mesh = anatase.run_mesh([6, 6, 6], is_gamma_center=True)
    for q, frequencies in zip(mesh.qpoints, mesh.frequencies, strict=True):
        squares = np.linalg.eigvalsh(anatase.get_dynamical_matrix_at_q(q))
        exact = np.sign(squares) * np.sqrt(np.abs(squares)) * anatase.unit_conversion_factor
        assert_allclose(frequencies, exact, atol=1e-6)
