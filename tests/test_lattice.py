"""Crystals of known energy: the fit gives back their lattice, free coordinates and moduli."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list
from ase.spacegroup import crystal
from numpy.testing import assert_allclose

from mlip.atoms import structures
from mlip.atoms.symmetry import operations
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


ORTHORHOMBIC_HESSIAN = np.array(
    [[900.0, 200.0, 150.0, 30.0], [200.0, 700.0, 100.0, -20.0], [150.0, 100.0, 400.0, 10.0], [30.0, -20.0, 10.0, 60.0]]
)  # of a, b, c and the free coordinate
ORTHORHOMBIC_LOWEST = np.array([0.004, -0.006, 0.003, 0.02])
TRIPLE = 2e4  # eV, of the product of all three strains


def uranium():
    """Alpha uranium (Cmcm): three lengths and one free coordinate in a cell of two atoms."""
    return crystal(["U"], [(0, 0.105, 0.25)], spacegroup=63, cellpar=[2.85, 5.87, 4.95, 90, 90, 90])


def orthorhombic(of, point):
    """Energy and forces; the product of the strains changes neither the minimum nor its second derivatives."""
    away = np.array(point) - ORTHORHOMBIC_LOWEST
    energy = -20 + away @ ORTHORHOMBIC_HESSIAN @ away / 2 + TRIPLE * away[:3].prod()
    return energy, -(ORTHORHOMBIC_HESSIAN @ away)[3] * of.modes[0] / np.exp(point[:3])


def test_an_orthorhombic_crystal_gives_back_its_three_lengths():
    of = lattice.space(uranium())
    assert (of.axes, of.modes.shape) == (((0,), (1,), (2,)), (1, 2, 3))
    cells = lattice.samples(of, strain=0.01, displacement_angstrom=0.06)
    assert len(cells) == 1 + 2 * 4 + 4 * 6 + 6 + 2  # one, one, two variables, two steps, three strains
    labels = [orthorhombic(of, c.point) for c in cells]
    found = lattice.fitted(of, [c.point for c in cells], [e for e, _ in labels], [f for _, f in labels])
    assert_allclose(found.point, ORTHORHOMBIC_LOWEST, rtol=1e-6, atol=0)
    assert_allclose(found.lengths_angstrom, np.exp(ORTHORHOMBIC_LOWEST[:3]) * [2.85, 5.87, 4.95], rtol=1e-8, atol=0)
    inverse = np.linalg.inv(ORTHORHOMBIC_HESSIAN)[:3, :3]
    assert_allclose(found.reuss_gpa, GPA / (found.volume_angstrom3 * inverse.sum()), rtol=1e-6, atol=0)
    assert_allclose(
        found.voigt_gpa, GPA * np.linalg.inv(inverse).sum() / (9 * found.volume_angstrom3), rtol=1e-6, atol=0
    )
    assert found.residual_ev < 1e-9


@pytest.mark.parametrize("turned", [0.0, 30.0])
@pytest.mark.parametrize(
    ("group", "cell", "free"),
    [
        (14, [5.15, 5.21, 5.32, 90, 99.2, 90], 4),
        (8, [5.15, 5.21, 5.32, 90, 99.2, 90], 4),
        (2, [5, 5.5, 6, 80, 95, 70], 6),
    ],
)
def test_a_crystal_whose_angles_are_free_is_refused(group, cell, free, turned):
    """Baddeleyite, a polar monoclinic crystal and a triclinic one, in any orientation."""
    places = [(0.2754, 0.0395, 0.2083), (0.07, 0.3317, 0.3447), (0.4496, 0.7569, 0.4792)]
    skew = crystal(["Zr", "O", "O"], places, spacegroup=group, cellpar=cell)
    skew.rotate(turned, "x", rotate_cell=True)
    with pytest.raises(
        ValueError, match=rf"angles of the cell are free \(its symmetry allows {free} strains\), and only lengths"
    ):
        lattice.space(skew)


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


WURTZITE = {"crystalstructure": "wurtzite", "a": 3.25, "c": 3.25 * np.sqrt(8 / 3)}
BONDS = ((2.3, False, 10.0), (3.5, True, 1.0))  # longest (Angstrom), between like atoms, stiffness (eV/Angstrom^2)


def neighbours(atoms):
    """Springs at rest: pairs, cells of the second atom, lengths and stiffness."""
    found = []
    for longest, alike, stiffness in BONDS:
        i, j, shift, rest = neighbor_list("ijSd", atoms, longest)
        kept = (atoms.numbers[i] == atoms.numbers[j]) == alike
        found.append((i[kept], j[kept], shift[kept], rest[kept], stiffness))
    return found


def spring_energy(atoms, springs):
    """Energy and forces of springs, each of which is listed from both of its ends."""
    energy, forces = 0.0, np.zeros((len(atoms), 3))
    for i, j, shift, rest, stiffness in springs:
        apart = atoms.positions[j] + shift @ atoms.cell.array - atoms.positions[i]
        length = np.linalg.norm(apart, axis=1)
        energy += stiffness / 4 * ((length - rest) ** 2).sum()
        pull = stiffness / 2 * ((length - rest) / length)[:, None] * apart
        np.add.at(forces, i, pull)
        np.add.at(forces, j, -pull)
    return energy, forces


@pytest.mark.parametrize("u", [0.368, 0.375, 0.382])
def test_a_polar_crystal_relaxes_its_free_coordinate(u):
    """Springs that are at rest in ideal wurtzite: a = 3.25, c = 5.307, u = 3/8, from every start."""
    resting = neighbours(lattice.space(bulk("ZnO", **WURTZITE, u=0.375)).primitive)
    of = lattice.space(bulk("ZnO", **WURTZITE, u=u))
    assert (of.axes, of.modes.shape) == (((0, 1), (2,)), (1, 4, 3))
    assert_allclose(of.modes.sum(axis=1), 0, rtol=0, atol=1e-9)  # no rigid shift
    cells = lattice.samples(of, strain=0.01, displacement_angstrom=0.06)
    labels = [spring_energy(c.atoms, resting) for c in cells]
    found = lattice.fitted(of, [c.point for c in cells], [e for e, _ in labels], [f for _, f in labels])
    assert_allclose(found.lengths_angstrom, [3.25, 3.25, WURTZITE["c"]], rtol=1e-4, atol=0)
    assert_allclose(found.apex, 0.375, rtol=3e-4, atol=0)
    assert_allclose(found.energy_ev, 0, rtol=0, atol=1e-4)


def perovskite(apex):
    """Tetragonal BaTiO3 with Ti, O of the axis and O of the plane off their places, each by its own height."""
    heights = [0.0, 0.5 + apex, -1.5 * apex, 0.5 - apex / 2, 0.5 - apex / 2]
    places = [(0, 0), (0.5, 0.5), (0.5, 0.5), (0.5, 0), (0, 0.5)]
    scaled = [(x, y, z) for (x, y), z in zip(places, heights, strict=True)]
    return Atoms("BaTiO3", scaled_positions=scaled, cell=[3.99, 3.99, 4.03], pbc=True)


@pytest.mark.parametrize(("apex", "modes"), [(0.02, 3), (0.0, 0)])
def test_a_polar_crystal_has_one_free_coordinate_less_than_free_heights(apex, modes):
    """Four heights of P4mm, one of which is the choice of the origin; the centrosymmetric cell has none."""
    of = lattice.space(perovskite(apex))
    assert of.modes.shape == (modes, 5, 3)
    assert_allclose(of.modes.sum(axis=1), 0, rtol=0, atol=1e-9)
    flat = of.modes.reshape(modes, 15)
    assert_allclose(flat @ flat.T, np.eye(modes), rtol=0, atol=1e-12)


def test_crystals_without_a_polar_axis_keep_their_cells(anatase):
    """Labels are found again by the positions of their atoms: these are the ones of earlier versions, to the bit."""
    corundum = crystal(
        ["Al", "O"], [(0, 0, 0.352), (0.306, 0, 0.25)], spacegroup=167, cellpar=[4.76, 4.76, 12.99, 90, 90, 120]
    )
    for of in (anatase[0], lattice.space(corundum), lattice.space(bulk("MgO", "rocksalt", a=4.25, cubic=True))):
        count = len(of.primitive)
        to_cartesian = of.primitive.cell.array.T
        found = operations(of.primitive, tolerance_angstrom=lattice.SYMPREC_ANGSTROM)
        projector = np.zeros((count, 3, count, 3))
        for op in found:
            turn = to_cartesian @ op.rotation @ np.linalg.inv(to_cartesian)
            projector[op.permutation, :, np.arange(count), :] += turn / len(found)
        values, vectors = np.linalg.eigh(projector.reshape(3 * count, 3 * count))
        assert np.array_equal(of.modes, vectors[:, values > 0.5].T.reshape(-1, count, 3))


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
