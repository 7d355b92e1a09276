"""A further engine: one file. The cosine surface of tests/helpers/potentials.py for its hop, a Morse potential for the rest."""

from pathlib import Path

import numpy as np
from ase.calculators.morse import MorsePotential
from helpers.potentials import CosineSurface, hop

from mlip.core.section import Section
from mlip.dft.engines import Calculated, Refused, length_mesh


class Settings(Section):
    """Shape of the surface."""

    barrier: float = 0.55
    step: float = 0.0
    bend: float = 0.6
    shift: float = 0.0  # of all energies
    drift: float = 0.0  # added to the force on every atom, so that the net force is not zero
    refuse: str = ""  # end of the name of a frame that gets no label
    until: str = ""  # a file; while it is there nothing is refused


PRESETS = {"cosine-exact": Settings()}


def described(settings):
    return {"code": "analytic", **settings.model_dump()}


def require(settings, symbols):
    pass


def mesh(atoms, settings):
    return length_mesh(atoms, 1.0)


def seconds(atoms, settings):
    return 0.1


def session(settings):
    surface = CosineSurface(hop()[0], barrier=settings.barrier, step=settings.step, bend=settings.bend)

    def calculate(atoms, folder):
        refused = settings.refuse and atoms.info["frame_id"].endswith(settings.refuse)
        if refused and not (settings.until and Path(settings.until).exists()):
            raise Refused("the electrons did not converge")
        own = atoms.copy()
        own.calc = surface if own.get_chemical_formula() == hop()[0].get_chemical_formula() else _morse()
        energy, forces = own.get_potential_energy() + settings.shift, own.get_forces()
        forces = forces - forces.mean(axis=0) + settings.drift  # the wells of the host are fixed in space
        return Calculated(float(energy), float(energy), np.array(forces), 1)

    return calculate


def _morse():
    return MorsePotential(epsilon=0.2, r0=3.22, rho0=7.0, rcut1=1.6, rcut2=2.0)
