"""One energy for one set of forces: the free energy of a smeared calculator, wherever a calculator is taken."""

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.singlepoint import SinglePointCalculator

from mlip.potential import calculators, free_energy, models, potential
from mlip.potential.backends.ase_calculator import Named
from mlip.stages.neb import band
from mlip.stages.sites import sites
from mlip.stages.sites.settings import SitesSettings
from mlip.tools import refined_hop


class Smeared(Calculator):
    """Two energies as of an electronic code: -10.5 eV fits the forces, -10 eV is extrapolated."""

    implemented_properties = ("energy", "free_energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": -10.0, "free_energy": -10.5, "forces": np.zeros((len(self.atoms), 3))}


def hydrogen():
    return Atoms("H2", positions=[(0, 0, 0), (0, 0, 1)], cell=(9, 9, 9), pbc=True)


def of_a_run(folder):
    calculators.save(folder, Named("test_free_energy:Smeared", {}), {"target": "pbe"})
    return potential.Evaluator(models.of_run(folder))([hydrogen()])[0].energy_ev


WAYS = {
    "train.calculator": of_a_run,
    "band": lambda _: band.by_calculator(Smeared())([hydrogen()])[0][0],
    "sites": lambda _: sites.relaxed_in_cell(hydrogen(), Smeared(), SitesSettings())[1],
    "refined": lambda _: refined_hop.calculated(hydrogen(), Smeared()).info["dft_energy"],
}


@pytest.mark.parametrize("way", WAYS)
def test_the_energy_is_the_one_that_fits_the_forces(way, tmp_path):
    assert WAYS[way](tmp_path) == -10.5


def test_a_calculator_with_one_energy_gives_it():
    atoms = hydrogen()
    for free in ({}, {"free_energy": None}):
        assert free_energy.among({"energy": -3.0, **free}) == -3.0
    atoms.calc = SinglePointCalculator(atoms, energy=-3.0)
    assert free_energy.of(atoms) == -3.0
    atoms.calc = SinglePointCalculator(atoms, energy=-3.0, free_energy=-4.0)
    assert free_energy.of(atoms) == -4.0
