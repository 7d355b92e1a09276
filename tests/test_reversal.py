import numpy as np
from ase import Atoms
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from helpers.bands import gold_on_aluminium
from numpy.testing import assert_allclose

from mlip.stages.neb import reversal


def test_hops_that_nothing_turns_around():
    initial, final = gold_on_aluminium()
    assert reversal.between(initial, final) is not None
    far = final.copy()
    far.positions[-1] += [0.2, 0.0, 0.1]
    assert reversal.between(initial, far) is None
    other = final.copy()
    other.positions[0] += [0.0, 0.3, 0.0]
    assert reversal.between(initial, other) is None
    fixed = initial.copy()
    fixed.set_constraint(FixAtoms([0]))
    assert reversal.between(fixed, final) is None


def test_a_translation_turns_nothing_around():
    """It brings one end onto the other, and the other not back."""
    cell = Atoms("TiO", [[0.0, 0.0, 0.0], [0.7, 1.3, 0.4]], cell=[4, 9, 7], pbc=True)
    initial = cell.repeat((2, 1, 1)) + Atoms("Li", [[1.0, 3.0, 2.5]])
    final = initial.copy()
    final.positions[-1] += [4.0, 0.0, 0.0]
    assert reversal.between(initial, final) is None
    straight = Atoms("TiO", [[0.0, 0.0, 0.0], [0.0, 1.3, 0.4]], cell=[4, 9, 7], pbc=True)
    initial = straight.repeat((2, 1, 1)) + Atoms("Li", [[0.0, 3.0, 2.5]])
    final = initial.copy()
    final.positions[-1] += [4.0, 0.0, 0.0]
    assert_allclose(reversal.between(initial, final).turn, np.diag([-1.0, 1.0, 1.0]), rtol=0, atol=1e-9)


def test_turning_twice_is_nothing_and_forces_follow():
    initial, final = gold_on_aluminium()
    found = reversal.between(initial, final)
    rng = np.random.default_rng(0)
    image = initial.copy()
    image.positions += rng.normal(scale=0.05, size=image.positions.shape)
    other = image.copy()
    other.positions = found.positions(image.positions)
    assert_allclose(found.positions(other.positions), image.positions, rtol=0, atol=1e-9)
    assert np.linalg.norm(other.positions[-1] - image.positions[-1]) > 2.0
    for atoms in (image, other):
        atoms.calc = EMT()
    assert_allclose(other.get_potential_energy(), image.get_potential_energy(), rtol=0, atol=1e-9)
    assert_allclose(other.get_forces(), found.forces(image.get_forces()), rtol=0, atol=1e-8)
