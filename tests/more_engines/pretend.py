"""A pretend engine for oxides: Morse bonds between unlike and like atoms, cut smoothly, in milliseconds.

E = sum_pairs D (x^2 - 2 x) (1 - r/R)^2,   x = exp(-a (r - r0))
"""

from pathlib import Path

import numpy as np
from ase.neighborlist import neighbor_list

from mlip.core.section import Section
from mlip.dft.engines import Calculated, Refused, Waiting, length_mesh

CUTOFF, STEEP = 4.5, 1.6  # R in Angstrom, a in 1/Angstrom
RADII = {"O": 1.25, "Ti": 0.75, "Li": 0.8, "Mg": 0.8}  # Angstrom


class Settings(Section):
    """What the engine says and refuses."""

    scale: float = 1.0  # of energies and forces: another level
    refuse: str = ""  # part of the file name of a frame that gets no label
    wait_for: str = ""  # a file that has to be there, as the output of a job would


PRESETS = {"pretend-morse": Settings()}


def described(settings):
    return {"code": "pretend", "scale": settings.scale, "refuse": settings.refuse}


def require(settings, symbols):
    pass


def mesh(atoms, settings):
    return length_mesh(atoms, 1.0)


def seconds(atoms, settings):
    return None if settings.wait_for else 0.1


def energy_and_forces(atoms):
    """Energy in eV and forces (N, 3) in eV/Angstrom."""
    i, j, r, bond = neighbor_list("ijdD", atoms, CUTOFF)
    symbols = np.array(atoms.get_chemical_symbols())
    oxide = (symbols[i] == "O") != (symbols[j] == "O")
    radii = np.array([RADII[s] for s in symbols])
    depth, r0 = np.where(oxide, 1.5, 0.1), radii[i] + radii[j]
    x, cut = np.exp(-STEEP * (r - r0)), 1 - r / CUTOFF
    energy = 0.5 * float((depth * (x**2 - 2 * x) * cut**2).sum())
    slope = depth * (-STEEP * 2 * (x**2 - x) * cut**2 - (x**2 - 2 * x) * 2 * cut / CUTOFF)
    forces = np.zeros((len(atoms), 3))
    np.add.at(forces, i, (slope / r)[:, None] * bond)
    return energy - 5.0 * len(atoms), forces


def session(settings):
    def calculate(atoms, folder):
        if settings.wait_for and not Path(settings.wait_for).exists():
            raise Waiting(f"inputs are in {folder}; run the job there")
        if settings.refuse and settings.refuse in atoms.info["frame_id"]:
            raise Refused("the electrons did not converge")
        energy, forces = energy_and_forces(atoms)
        return Calculated(settings.scale * energy, settings.scale * energy, settings.scale * forces, 1)

    return calculate
