"""A pretend engine for oxides: the analytic potential of tests/helpers/lattice_potential.py, times a factor."""

import numpy as np
from helpers.lattice_potential import OxidePotential

from mlip.core.section import Section
from mlip.dft.engines import Calculated, length_mesh


class Settings(Section):
    """How the surface differs from that of the potential."""

    scale: float = 1.0  # of energies and forces


PRESETS = {"lattice-oxide": Settings()}


def described(settings):
    return {"code": "analytic lattice", **settings.model_dump()}


def require(settings, symbols):
    pass


def mesh(atoms, settings):
    return length_mesh(atoms, 1.0)


def seconds(atoms, settings):
    return 0.1


def session(settings):
    def calculate(atoms, folder):
        own = atoms.copy()
        own.calc = OxidePotential()
        energy = settings.scale * own.get_potential_energy()
        return Calculated(float(energy), float(energy), np.array(settings.scale * own.get_forces()), 1)

    return calculate
