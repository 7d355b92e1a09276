"""An analytic potential of TiO2 with a mobile Li or Mg ion; forces are exact.

Buckingham pairs and partial charges of Matsui and Akaogi (1991), doi:10.1080/08927029108022432; charges with the damped
shifted-force sum of Fennell and Gezelter (2006), doi:10.1063/1.2206581. The ion's numbers are round and not fitted.
"""

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.neighborlist import neighbor_list
from scipy.special import erfc

CUTOFF, DAMPING, COULOMB = 7.0, 0.25, 14.399645  # Angstrom, 1/Angstrom, eV Angstrom
CHARGE = {"O": -1.098, "Ti": 2.196, "Li": 0.549, "Mg": 1.098}
BUCKINGHAM = {  # A in eV, rho in Angstrom, C in eV Angstrom^6
    ("Ti", "Ti"): (31120.2, 0.154, 5.25),
    ("O", "Ti"): (16957.53, 0.194, 12.59),
    ("O", "O"): (11782.76, 0.234, 30.22),
    ("Li", "O"): (900.0, 0.240, 0.0),
    ("Mg", "O"): (1400.0, 0.240, 0.0),
}


def _charges(r, product):
    edge = erfc(DAMPING * CUTOFF) / CUTOFF
    bell = 2 * DAMPING / np.sqrt(np.pi)
    pull = edge / CUTOFF + bell * np.exp(-((DAMPING * CUTOFF) ** 2)) / CUTOFF
    energy = product * (erfc(DAMPING * r) / r - edge + pull * (r - CUTOFF))
    slope = product * (-erfc(DAMPING * r) / r**2 - bell * np.exp(-((DAMPING * r) ** 2)) / r + pull)
    return energy, slope


class OxidePotential(Calculator):
    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        i, j, r, vectors = neighbor_list("ijdD", self.atoms, CUTOFF)
        names = sorted(set(self.atoms.symbols))
        kind = np.array([names.index(s) for s in self.atoms.symbols])
        table = np.array([[BUCKINGHAM.get(tuple(sorted((a, b))), (0.0, 1.0, 0.0)) for b in names] for a in names])
        a, rho, c = table[kind[i], kind[j]].T
        q = np.array([CHARGE[s] for s in self.atoms.symbols])
        energy, slope = _charges(r, COULOMB * q[i] * q[j])
        energy += a * np.exp(-r / rho) - c / r**6
        slope += -a / rho * np.exp(-r / rho) + 6 * c / r**7
        forces = np.zeros((len(self.atoms), 3))
        np.add.at(forces, i, (slope / r)[:, None] * vectors)
        self.results = {"energy": float(0.5 * energy.sum()), "forces": forces}
