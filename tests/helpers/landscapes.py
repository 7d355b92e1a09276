"""An ion on analytic landscapes with known stationary points, as a committee.

The ion is the last atom; host atoms sit in harmonic wells and the last of them is fixed, so that nothing floats. With
theta = pi x / LENGTH the energy of the ion is a function of (x, y, z) from its first minimum.
"""

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms

from mlip.potential.potential import Predicted

LENGTH = 3.0
HOST = np.array([[0.0, 0.0, 0.0], [4.0, 0.0, 0.0], [0.0, 4.0, 0.0]])
PLACE = np.array([1.0, 1.5, 1.5])  # of the ion at its first minimum
STIFF = 20.0  # eV/A^2, of the host
VALLEY = 8.0  # eV/A^2, across the way of the ion
BARRIER = 0.5


def occupied(x=0.0, y=0.0, z=0.0):
    """The host with the ion at a place."""
    atoms = Atoms("TiO2Li", positions=np.vstack([HOST, PLACE + np.array([x, y, z])]), cell=[9.0, 8.0, 7.0], pbc=True)
    atoms.set_constraint(FixAtoms([2]))
    return atoms


def band(count=5, *, rise=0.0):
    """Images on a straight way from the first minimum to the second one, bent aside in the middle."""
    part = np.linspace(0.0, 1.0, count)
    return tuple(occupied(x=LENGTH * s, y=rise * np.sin(np.pi * s)) for s in part)


def committee(*surfaces):
    """A function of structures: what the members, given as functions of (x, y, z), say of them."""

    def evaluate(frames):
        out = []
        for atoms in frames:
            host, place = atoms.positions[:-1] - HOST, atoms.positions[-1] - PLACE
            energies, forces = [], []
            for surface in surfaces:
                energy, gradient = surface(*place)
                energies.append(energy + STIFF / 2 * (host**2).sum())
                forces.append(np.vstack([-STIFF * host, -np.asarray(gradient)]))
            out.append(Predicted(np.array(energies), np.array(forces), None))
        return out

    return evaluate


def along(function):
    """A valley along x: `function` of s = sin^2 theta gives the energy and its slope."""

    def surface(x, y, z):
        theta = np.pi * x / LENGTH
        energy, slope = function(np.sin(theta) ** 2)
        gradient = [slope * np.sin(2 * theta) * np.pi / LENGTH, VALLEY * y, VALLEY * z]
        return energy + VALLEY / 2 * (y**2 + z**2), gradient

    return surface


def hill(barrier=BARRIER):
    """One barrier: curvature along x is 2 B (pi/L)^2 at the minima and minus that at the saddle."""
    return along(lambda s: (barrier * s, barrier))


def dimple(barrier=BARRIER, dent=0.13):
    """A barrier with a dent at its top: the saddles beside it are (B + 4 b)^2 / (16 b) high."""
    return along(lambda s: (barrier * s + 4 * dent * s * (1 - s), barrier + 4 * dent * (1 - 2 * s)))


def two_hills(barrier=BARRIER):
    """Two barriers with a minimum between them."""
    return along(lambda s: (4 * barrier * s * (1 - s), 4 * barrier * (1 - 2 * s)))


def ridge(barrier=BARRIER, *, at_end=VALLEY, at_top=-2.0):
    """A barrier whose curvature along y changes on the way: at_end at the minima, at_top at the top (eV/A^2)."""

    def surface(x, y, z):
        theta = np.pi * x / LENGTH
        s, ds = np.sin(theta) ** 2, np.sin(2 * theta) * np.pi / LENGTH
        stiff = at_end + (at_top - at_end) * s
        energy = barrier * s + stiff / 2 * y**2 + y**4 + VALLEY / 2 * z**2
        gradient = [ds * (barrier + (at_top - at_end) / 2 * y**2), stiff * y + 4 * y**3, VALLEY * z]
        return energy, gradient

    return surface


OFF = 0.3  # Angstrom, of a well from the mirror plane y = 0


def split(barrier=BARRIER, *, final):
    """A site of two wells at y = -OFF and OFF, a saddle on the mirror plane; `final`: whether the final site is split.

    E = B s + (1 - c) 12 (y^2 - OFF^2)^2 + c VALLEY/2 y^2, c = s where both sites are split, else sin^2(theta/2).
    """

    def surface(x, y, z):
        theta = np.pi * x / LENGTH
        s, ds = np.sin(theta) ** 2, np.sin(2 * theta) * np.pi / LENGTH
        c, dc = (s, ds) if final else (np.sin(theta / 2) ** 2, np.sin(theta) * np.pi / (2 * LENGTH))
        double, single = 12 * (y**2 - OFF**2) ** 2, VALLEY / 2 * y**2
        energy = barrier * s + (1 - c) * double + c * single + VALLEY / 2 * z**2
        across = (1 - c) * 48 * y * (y**2 - OFF**2) + c * VALLEY * y
        return energy, [barrier * ds + dc * (single - double), across, VALLEY * z]

    return surface
