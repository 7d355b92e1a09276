"""Searches for minima and saddles on landscapes whose stationary points are known."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, fcc100
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixedLine
from helpers.landscapes import BARRIER, LENGTH, PLACE, STIFF, VALLEY, committee, hill, occupied, ridge
from helpers.lattice_potential import OxidePotential
from numpy.testing import assert_allclose
from sella import Sella

from mlip.atoms import structures
from mlip.potential.potential import Predicted
from mlip.stages.modes import search, vibrations

MEAN = {None: committee(hill(), hill(0.7))}  # mean barrier 0.6
CURVATURE = 2 * 0.6 * (np.pi / LENGTH) ** 2


def found(steps, evaluate=None):
    """The result of one search."""
    return search.together([steps], evaluate or MEAN)[0]


def place(point):
    return point.atoms.positions[-1] - PLACE


def test_minimum_below_a_start():
    point = found(search.settled(occupied(0.3, 0.2, -0.1), fmax=1e-5, max_steps=100))
    assert point.converged
    assert point.fmax_ev_per_angstrom < 1e-5
    assert_allclose(place(point), 0.0, atol=1e-5)


def test_search_that_runs_out_of_steps_says_so():
    point = found(search.settled(occupied(0.3), fmax=1e-5, max_steps=1))
    assert not point.converged


@pytest.mark.parametrize("start", [(1.5, 0.0, 0.0), (1.2, 0.2, -0.1), (1.85, -0.1, 0.2)])
def test_saddle_is_reached_from_around_it(start):
    guess = occupied(*start)
    hessian = search.guessed(guess, [3], np.diag([-1.0, 5.0, 5.0]))
    point = found(search.climbed(guess, hessian, fmax=1e-5, max_steps=100))
    assert point.converged
    assert_allclose(place(point), [1.5, 0.0, 0.0], atol=1e-4)
    assert_allclose(point.found.energies_ev, [0.5, 0.7], rtol=1e-6)


def test_saddle_is_found_with_a_poor_guess_of_the_modes():
    """The guess knows the direction of the unstable mode only roughly, and takes all others for stiff."""
    guess = occupied(1.3, 0.15)
    way = np.array([0.9, 0.3, 0.3]) / np.linalg.norm([0.9, 0.3, 0.3])
    hessian = search.guessed(guess, [3], 35.0 * np.eye(3) - 40.0 * np.outer(way, way))
    point = found(search.climbed(guess, hessian, fmax=1e-5, max_steps=200))
    assert point.converged
    assert_allclose(point.found.energy_ev, 0.6, rtol=1e-6)


def test_update_makes_the_last_step_exact():
    rng = np.random.default_rng(1)
    first = rng.normal(size=(6, 6))
    guess, move, change = first + first.T, rng.normal(size=6), rng.normal(size=6)
    made = search.updated(guess, move, change)
    assert_allclose(made @ move, change, rtol=1e-9)
    assert_allclose(made, made.T, rtol=1e-12)
    assert_allclose(search.updated(made, move, change), made, rtol=1e-7)


@pytest.mark.parametrize("central", [True, False])
def test_hessians_of_members_are_those_of_their_surfaces(central):
    differences = search.Differences(step=1e-5, central=central)
    hessians = found(search.hessians(occupied(), [0, 3], differences))
    curvatures = 2 * np.array([0.5, 0.7]) * (np.pi / LENGTH) ** 2
    for hessian, curvature in zip(hessians, curvatures, strict=True):
        expected = [STIFF] * 3 + [curvature, VALLEY, VALLEY]
        assert_allclose(np.diag(hessian), expected, rtol=1e-6)
        assert np.abs(hessian - np.diag(np.diag(hessian))).max() < 1e-6


def oxide(frames):
    """An analytic potential of TiO2 with an ion, without a force on a translation."""
    out = []
    for atoms in frames:
        copy = atoms.copy()
        copy.calc = OxidePotential()
        out.append(Predicted(np.array([copy.get_potential_energy()]), copy.get_forces()[None], None))
    return out


@pytest.mark.parametrize("differences", [search.Differences(0.01), search.Differences(3e-4, central=False)])
def test_hessian_of_a_whole_cell_keeps_the_acoustic_sum_rule(differences):
    """With the default step, and with the small one in one direction of the quick config."""
    atoms = structures.crystal("anatase") + Atoms("Li", positions=[[0.1, 0.0, 4.9]])
    (hessian,) = found(search.hessians(atoms, range(len(atoms)), differences), {None: oxide})
    assert vibrations.sum_rule_error(hessian) < 1e-3
    modes = vibrations.vibrations(hessian, atoms.get_masses(), free=True)
    plain = vibrations.vibrations(hessian, atoms.get_masses())
    assert len(modes.thz) == len(plain.thz) - 3
    assert np.sort(np.abs(plain.thz))[:3].max() < 0.3  # the translations, up to the error of the differences


def test_one_direction_costs_half():
    spent = []
    steps = [search.hessians(occupied(), [0, 1, 3], search.Differences(0.01, central)) for central in (True, False)]
    search.together(steps, MEAN, on_done=lambda _, __, count: spent.append(count))
    assert spent == [2 * 18, 2 * 10]  # two members; the undisplaced structure once


def test_a_member_alone_is_asked_where_a_search_says_so():
    alone = {**MEAN, 2: committee(hill(0.7))}
    hessians = found(search.hessians(occupied(), [3], search.Differences(1e-5), member=2), alone)
    assert hessians.shape == (1, 3, 3)
    assert_allclose(hessians[0, 0, 0], 2 * 0.7 * (np.pi / LENGTH) ** 2, rtol=1e-6)


def test_searches_together_give_what_they_give_alone():
    starts = [occupied(0.2), occupied(2.9, 0.1), occupied(0.4, 0.3)]
    steps = [search.settled(s, fmax=1e-4, max_steps=100) for s in starts]
    both = search.together(steps, MEAN)
    for start, point in zip(starts, both, strict=True):
        alone = found(search.settled(start, fmax=1e-4, max_steps=100))
        assert (alone.atoms.positions == point.atoms.positions).all()


def test_fixed_atoms_never_move():
    guess = occupied(1.3, 0.1)
    guess.positions[2] += 0.3  # far up its well, and fixed there
    point = found(search.climbed(guess, search.guessed(guess, [3], np.diag([-1.0, 5, 5])), fmax=1e-4, max_steps=100))
    low = found(search.settled(guess, fmax=1e-4, max_steps=100))
    assert point.converged
    assert low.converged
    assert (point.atoms.positions[2] == guess.positions[2]).all()
    assert (low.atoms.positions[2] == guess.positions[2]).all()


def test_start_is_not_changed():
    start = occupied(0.3, 0.2)
    before = start.copy()
    found(search.settled(start, fmax=1e-3, max_steps=50))
    found(search.climbed(start, np.eye(12), fmax=1e-3, max_steps=5))
    assert start == before


def test_only_whole_atoms_may_be_fixed():
    atoms = occupied()
    atoms.set_constraint(FixedLine(0, [1, 0, 0]))
    with pytest.raises(ValueError, match="constraint FixedLine: an atom is frozen in all three directions or in none"):
        search.mobile(atoms)
    atoms.set_constraint(FixAtoms([0, 1]))
    assert search.mobile(atoms).tolist() == [2, 3]


def test_what_is_not_finite_is_refused():
    def broken(frames):
        return [Predicted(np.array([np.nan]), np.zeros((1, len(a), 3)), None) for a in frames]

    with pytest.raises(search.NotFiniteError, match="not finite"):
        found(search.settled(occupied(), fmax=0.1, max_steps=5), {None: broken})
    with pytest.raises(search.NotFiniteError, match="not finite"):
        found(
            search.hessians(occupied(), [3], search.Differences()),
            {None: lambda frames: [Predicted(np.zeros(1), np.full((1, len(a), 3), np.inf), None) for a in frames]},
        )


def test_second_unstable_mode_is_not_climbed():
    """Beside a ridge the way up follows the lowest mode only; along the second one the search goes down."""
    steep = {None: committee(ridge(BARRIER, at_top=-0.2))}
    guess = occupied(1.5, 0.1)
    hessian = search.guessed(guess, [3], np.diag([-1.1, -0.1, 8.0]))
    point = found(search.climbed(guess, hessian, fmax=1e-5, max_steps=200), steep)
    assert point.converged
    assert abs(place(point)[1]) > 0.15  # y^2 = 0.05
    assert point.found.energy_ev < BARRIER


def test_saddle_agrees_with_sella():
    """Gold between two hollows of aluminium (100): the bridge, by another program."""
    guess = fcc100("Al", size=(3, 2, 2), vacuum=8.0)
    add_adsorbate(guess, "Au", 1.8, "bridge")
    guess.positions[-1] += [0.15, 0.1, 0.1]
    guess.pbc = True
    guess.set_constraint(FixAtoms(range(6)))
    other = guess.copy()
    other.calc = EMT()
    Sella(other, order=1, internal=False, logfile=None).run(fmax=1e-4, steps=300)

    def evaluate(frames):
        out = []
        for atoms in frames:
            copy = atoms.copy()
            copy.calc = EMT()
            forces = copy.get_forces(apply_constraint=False)
            out.append(Predicted(np.array([copy.get_potential_energy()]), forces[None], None))
        return out

    def guided():
        around = [*range(6, 13)]
        (hessian,) = yield from search.hessians(guess, around, search.Differences())
        return (yield from search.climbed(guess, search.guessed(guess, around, hessian), fmax=1e-4, max_steps=200))

    point = found(guided(), {None: evaluate})
    assert point.converged
    assert_allclose(point.found.energy_ev, other.get_potential_energy(), atol=1e-6)
    assert_allclose(point.atoms.positions, other.positions, atol=1e-3)
