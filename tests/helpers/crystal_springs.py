"""A crystal whose atoms keep to its positions, in milliseconds: any element, any vacancy."""

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.neighborlist import neighbor_list


class Lattice(Calculator):
    """Every atom on a spring to the nearest position of its element; atoms repel, so a vacancy draws them in."""

    implemented_properties = ("energy", "forces")

    def __init__(self, host):
        super().__init__()
        self.host = host.copy()

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        own, host = self.atoms, self.host
        away = own.positions[:, None] - host.positions[None]
        scaled = away @ np.linalg.inv(host.cell.array)
        away = (scaled - np.round(scaled)) @ host.cell.array
        length = np.linalg.norm(away, axis=2)
        length[own.numbers[:, None] != host.numbers[None]] = np.inf
        nearest = away[np.arange(len(own)), length.argmin(1)]
        i, r, d = neighbor_list("idD", own, 4.5)
        bump = 3.0 * np.exp(-r) * (1 - r / 4.5) ** 2
        slope = -bump - 6.0 / 4.5 * np.exp(-r) * (1 - r / 4.5)
        forces = -20.0 * nearest
        np.add.at(forces, i, (slope / r)[:, None] * d)
        self.results = {"energy": 10.0 * float((nearest**2).sum()) + 0.5 * float(bump.sum()), "forces": forces}
