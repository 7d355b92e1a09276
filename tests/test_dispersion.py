"""D3(BJ): the published parameters, forces as derivatives, and each target counted exactly once."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from numpy.testing import assert_allclose

from mlip.atoms import dispersion


@pytest.fixture
def crystal():
    atoms = bulk("MgO", "rocksalt", a=4.2, cubic=True)
    atoms.rattle(0.1, rng=np.random.default_rng(1))
    return atoms


def labelled(atoms):
    frame = atoms.copy()
    energy, forces = dispersion.d3(frame)
    frame.info |= {"frame_id": "x", "dft_energy": -50.0, "d3_energy": energy}
    frame.arrays["dft_forces"] = np.random.default_rng(2).normal(size=(len(frame), 3))
    frame.arrays["d3_forces"] = forces
    return frame


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize(("settings", "damping"), [(dispersion.D3_BJ_PBE, "d3bj"), (dispersion.D3_ZERO_PBE, "d3zero")])
def test_agrees_with_the_calculator_of_the_library(crystal, periodic, settings, damping):
    from dftd3.ase import DFTD3

    atoms = crystal if periodic else molecule("CH3CH2OH")
    energy, forces = dispersion.d3(atoms, settings)
    atoms.calc = DFTD3(method="PBE", damping=damping)
    assert_allclose(energy, atoms.get_potential_energy(), rtol=1e-6, atol=0)
    assert_allclose(forces, atoms.get_forces(), rtol=0, atol=1e-7)


def test_argon_pair_far_apart_has_the_published_c6():
    """C6(Ar-Ar) = 64.65 Hartree Bohr^6 in D3; at 40 Bohr damping and the C8 term are below 3 %."""
    from mlip.core.units import BOHR_ANGSTROM, HARTREE_EV

    distance = 40.0
    energy, _ = dispersion.d3(Atoms("Ar2", positions=[[0, 0, 0], [0, 0, distance * BOHR_ANGSTROM]]))
    assert_allclose(-energy / HARTREE_EV * distance**6, 64.65, rtol=0.03, atol=0)


@pytest.mark.parametrize(("periodic", "atol"), [(False, 1e-8), (True, 3e-5)])
def test_forces_are_finite_differences(crystal, periodic, atol):
    """Periodic sums end at 60 Bohr: pairs that cross the sphere make steps of some 1e-8 eV in the energy."""
    atoms = crystal if periodic else molecule("CH3CH2OH")
    _, forces = dispersion.d3(atoms)
    step = 2e-3
    for atom, axis in ((0, 0), (3, 1), (7, 2)):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * step
            energies.append(dispersion.d3(moved)[0])
        assert_allclose(forces[atom, axis], -(energies[0] - energies[1]) / (2 * step), rtol=1e-4, atol=atol)


def test_input_stays_as_it_was_and_supercell_is_extensive(crystal):
    before = crystal.copy()
    energy, _ = dispersion.d3(crystal)
    assert crystal == before
    assert_allclose(dispersion.d3(crystal.repeat((2, 1, 1)))[0], 2 * energy, rtol=1e-8, atol=0)


def test_dispersion_is_counted_exactly_once(crystal):
    """Potential of a target plus what that target lacks is PBE-D3, whatever the target."""
    frame = labelled(crystal)
    totals = []
    for target in ("pbe", "pbe-d3"):
        energy, _ = dispersion.target_labels(frame, target)
        totals.append(energy + (dispersion.missing_at(target, frame) or 0.0))
    assert_allclose(totals, -50.0 + frame.info["d3_energy"], rtol=1e-12, atol=0)
    assert dispersion.missing_at("pbe-d3", frame) is None
    assert dispersion.missing_at("pbe", frame) != 0.0


def test_target_forces_and_no_side_effect(crystal):
    frame = labelled(crystal)
    kept = frame.arrays["dft_forces"].copy()
    _, plain = dispersion.target_labels(frame, "pbe")
    _, full = dispersion.target_labels(frame, "pbe-d3")
    plain += 1.0
    assert_allclose(frame.arrays["dft_forces"], kept, rtol=0, atol=0)
    assert_allclose(full, kept + frame.arrays["d3_forces"], rtol=0, atol=0)


def test_absent_labels_and_unknown_targets(crystal):
    frame = labelled(crystal)
    del frame.info["d3_energy"]
    dispersion.target_labels(frame, "pbe")
    with pytest.raises(ValueError, match="frame x: has no d3_energy, needed for target 'pbe-d3'"):
        dispersion.target_labels(frame, "pbe-d3")
    with pytest.raises(ValueError, match="target 'PBE' is unknown"):
        dispersion.target_labels(frame, "PBE")
    with pytest.raises(ValueError, match="target 'd3' is unknown"):
        dispersion.missing_at("d3", frame)


def test_bad_structures(crystal):
    crystal.positions[0, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        dispersion.d3(crystal)
