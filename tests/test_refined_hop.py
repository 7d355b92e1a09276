"""A hop refined with a calculator, without a run: one member of the released committee is the truth of another one."""

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from numpy.testing import assert_allclose

import mlip
from mlip.atoms import structures
from mlip.stages.neb.settings import NebSettings
from mlip.stages.refine import loop
from mlip.stages.refine.settings import RefineSettings
from mlip.tools.refined_hop import refined

MODEL = "datasets/models/tio2-mg-li"
NEB = NebSettings(images=3, fmax_ev_per_angstrom=0.02, end_fmax_ev_per_angstrom=0.02, climb_from_ev_per_angstrom=0.3)


class Counted(Calculator):
    """A potential that counts how often it is asked."""

    implemented_properties = ("energy", "forces")

    def __init__(self, potential):
        super().__init__()
        self.potential, self.calls = potential, 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        (found,) = self.potential.evaluator([self.atoms])
        self.results = {"energy": found.energy_ev, "forces": found.mean_forces}


@pytest.fixture(scope="module")
def ends():
    """Li in two neighbouring octahedral voids of the conventional cell of anatase."""
    crystal = structures.crystal("anatase")
    a, c = crystal.cell.lengths()[[0, 2]]
    first, last = (crystal + Atoms("Li", positions=[p]) for p in ([0, 0, c / 2], [a / 2, 0, c / 4]))
    return first, last


def test_barrier_is_that_of_the_calculator_in_a_few_calls(ends):
    potential, truth = mlip.load(MODEL, members=[1]), mlip.load(MODEL, members=[2])
    counted = Counted(truth)
    found, points = mlip.refined(*ends, potential, counted, neb_settings=NEB)
    assert found.status.code == loop.CONVERGED
    assert found.calls == counted.calls <= 8
    assert found.force_ev_per_angstrom < 0.05
    direct, _ = mlip.barrier(*ends, truth, settings=NEB)
    assert_allclose(found.forward_ev, direct.barrier.forward_ev, atol=3e-3)
    assert_allclose(found.reverse_ev, direct.barrier.reverse_ev, atol=3e-3)
    assert abs(found.potential_ev - found.forward_ev) > 5e-3  # there was something to correct
    rise = points["saddle"].get_potential_energy() - points["initial"].get_potential_energy()
    assert_allclose(rise, found.forward_ev, atol=1e-9)


def test_too_few_calls_give_a_status_and_no_number(ends):
    potential, truth = (mlip.load(MODEL, members=[k]) for k in (1, 2))
    found, points = refined(*ends, potential, truth, settings=RefineSettings(max_calls_per_hop=2), neb_settings=NEB)
    assert found.status.code == loop.NOT_CONVERGED
    assert (found.forward_ev, found.reverse_ev, found.force_ev_per_angstrom) == (None, None, None)
    assert found.calls == 2
    assert all(np.isfinite(atoms.get_forces()).all() for atoms in points.values())


def test_structures_that_are_no_hop_are_refused(ends):
    potential = mlip.load(MODEL, members=[1])
    with pytest.raises(ValueError, match="end points are the same structure"):
        refined(ends[0], ends[0], potential, potential)
