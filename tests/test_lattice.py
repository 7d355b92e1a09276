"""Crystals of known energy: the fit gives back their lattice, free coordinates and moduli."""

import numpy as np
import pytest
from ase.build import bulk
from numpy.testing import assert_allclose

from mlip.atoms import structures
from mlip.stages.energetics import lattice

GPA = 160.2176634


def eos(volume, *, e0, v0, k0, k1):
    """Birch-Murnaghan energy, Phys. Rev. 71, 809 (1947)."""
    x = (v0 / volume) ** (2 / 3)
    return e0 + 9 * v0 * k0 / 16 * ((x - 1) ** 3 * k1 + (x - 1) ** 2 * (6 - 4 * x))


def test_cubic_metal_of_known_equation_of_state():
    of = lattice.space(bulk("Li", "bcc", a=3.49, cubic=True))
    assert (len(of.primitive), of.axes, of.modes.shape) == (1, ((0, 1, 2),), (0, 1, 3))
    cells = lattice.samples(of, strain=0.01, displacement_angstrom=0.1)
    v0 = 3.44**3 / 2
    energies = [eos(c.atoms.get_volume(), e0=-1.9, v0=v0, k0=14 / GPA, k1=3.5) for c in cells]
    found = lattice.fitted(of, [c.point for c in cells], energies, [np.zeros((1, 3))] * len(cells))
    assert_allclose(found.lengths_angstrom, [3.44] * 3, rtol=1e-4, atol=0)
    assert_allclose(found.energy_ev, -1.9, rtol=1e-6, atol=0)
    assert_allclose([found.reuss_gpa, found.voigt_gpa, found.hill_gpa], [14.0] * 3, rtol=0.01, atol=0)
    assert found.apex is None


@pytest.fixture(scope="module")
def anatase():
    of = lattice.space(structures.crystal("anatase"))
    return of, lattice.samples(of, strain=0.01, displacement_angstrom=0.06)


HESSIAN = np.array(
    [[900.0, 200.0, 30.0], [200.0, 400.0, -20.0], [30.0, -20.0, 60.0]]
)  # of a, c and the free coordinate
LOWEST = np.array([0.004, -0.006, 0.02])


def springs(of, point):
    """Energy and forces of a crystal whose energy is quadratic in its strains and its free coordinate."""
    away = np.array(point) - LOWEST
    stretch = np.exp([point[0], point[0], point[1]])
    return -50 + away @ HESSIAN @ away / 2, -(HESSIAN @ away)[2] * of.modes[0] / stretch


def test_anatase_has_two_lengths_and_one_free_coordinate(anatase):
    of, cells = anatase
    assert len(of.primitive) == 6
    assert of.axes == ((0, 1), (2,))
    assert of.modes.shape == (1, 6, 3)
    assert_allclose(np.abs(of.modes[0, :, 2]), [0, 0, 0.5, 0.5, 0.5, 0.5], rtol=0, atol=1e-9)
    assert_allclose(lattice.apex(of.primitive, 9.68), 0.2066, rtol=1e-6, atol=0)
    assert len(cells) == 23
    assert_allclose(cells[0].atoms.positions, of.primitive.positions, rtol=0, atol=1e-12)
    assert {round(c.atoms.get_volume() / of.primitive.get_volume(), 3) for c in cells} >= {0.961, 1.041}


def test_quadratic_crystal_gives_back_lattice_and_moduli(anatase):
    of, cells = anatase
    labels = [springs(of, c.point) for c in cells]
    found = lattice.fitted(of, [c.point for c in cells], [e for e, _ in labels], [f for _, f in labels])
    assert_allclose(found.point, LOWEST, rtol=1e-6, atol=0)
    assert_allclose(found.lengths_angstrom, np.exp(LOWEST[[0, 0, 1]]) * [3.8, 3.8, 9.68], rtol=1e-8, atol=0)
    assert_allclose(found.energy_ev, -50, rtol=1e-9, atol=0)
    assert_allclose(abs(found.apex - 0.2066), LOWEST[2] / 2 / 9.68, rtol=0.01, atol=0)  # each oxygen moves by q / 2
    # compliance: the strain of unit pressure, free coordinate included
    share = np.array([2.0, 1.0, 0.0])
    volume = found.volume_angstrom3
    assert_allclose(found.reuss_gpa, GPA / (volume * share @ np.linalg.inv(HESSIAN) @ share), rtol=1e-6, atol=0)
    inner = HESSIAN[:2, :2] - np.outer(HESSIAN[:2, 2], HESSIAN[2, :2]) / HESSIAN[2, 2]
    assert_allclose(found.voigt_gpa, GPA * inner.sum() / (9 * volume), rtol=1e-6, atol=0)
    assert_allclose(found.hill_gpa, (found.reuss_gpa + found.voigt_gpa) / 2, rtol=1e-12, atol=0)
    assert found.residual_ev < 1e-9


def test_forces_belong_to_the_displacements(anatase):
    """Energies and forces overdetermine the free coordinate: a wrong factor shows in the residual."""
    of, cells = anatase
    labels = [springs(of, c.point) for c in cells]
    found = lattice.fitted(of, [c.point for c in cells], [e for e, _ in labels], [0.8 * f for _, f in labels])
    assert found.residual_ev > 1e-4


def test_too_few_cells(anatase):
    of, cells = anatase
    labels = [springs(of, c.point) for c in cells[:9]]
    with pytest.raises(ValueError, match="9 labelled cells do not determine the 20 terms"):
        lattice.fitted(of, [c.point for c in cells[:9]], [e for e, _ in labels], [f for _, f in labels])


def test_no_minimum_among_the_cells():
    of = lattice.space(bulk("Li", "bcc", a=3.0, cubic=True))
    cells = lattice.samples(of, strain=0.01, displacement_angstrom=0.1)
    energies = [eos(c.atoms.get_volume(), e0=-1.9, v0=20.35, k0=14 / GPA, k1=3.5) for c in cells]
    with pytest.raises(ValueError, match="no minimum among the sampled cells"):
        lattice.fitted(of, [c.point for c in cells], energies, [np.zeros((1, 3))] * len(cells))


def test_tilted_axes_are_refused():
    turned = structures.crystal("anatase")
    turned.rotate(30, "x", rotate_cell=True)
    with pytest.raises(ValueError, match="not along x, y and z"):
        lattice.space(turned)


def test_errors_are_those_of_energies_that_jump_from_cell_to_cell(anatase):
    """Noise that all cells of one strain share, as the number of plane waves makes it."""
    of, cells = anatase
    points = [c.point for c in cells]
    labels = [springs(of, point) for point in points]
    same = {point: tuple(np.round(point[:2], 6)) for point in points}
    rng = np.random.default_rng(3)
    found = []
    for _ in range(40):
        jump = {strain: rng.normal(scale=1e-4) for strain in dict.fromkeys(same.values())}
        energies = [e + jump[same[p]] for (e, _), p in zip(labels, points, strict=True)]
        found.append(lattice.fitted(of, points, energies, [f for _, f in labels]))
    for value, error in (
        (lambda r: r.lengths_angstrom[0], lambda r: r.errors.lengths_angstrom[0]),
        (lambda r: r.lengths_angstrom[2], lambda r: r.errors.lengths_angstrom[2]),
        (lambda r: r.apex, lambda r: r.errors.apex),
        (lambda r: r.hill_gpa, lambda r: r.errors.hill_gpa),
    ):
        spread, told = np.std([value(r) for r in found]), np.median([error(r) for r in found])
        assert 0.6 < told / spread < 1.4
    exact = lattice.fitted(of, points, [e for e, _ in labels], [f for _, f in labels])
    assert exact.errors.hill_gpa < 1e-6
    assert np.std([r.hill_gpa for r in found]) > 0.1
