"""Analytic calculators of known answers: energies, exact forces, exact barriers.

The ion is the last atom. Host atoms sit in harmonic wells; the ion sees a valley that winds along x through the frame
of host atom 0, so that frozen and moving hosts have the same exact barrier:

    E = B sin^2(n theta) + A/2 (1 - cos theta) + K/2 (y - y0 - h sin^2 theta)^2 + K/2 (z - z0)^2 + k/2 sum |u_host|^2
    theta = pi (x - x0) / L

With n = 1: minima at x = x0 (E = 0) and x0 + L (E = A), saddle at cos theta = -A/(4B), barrier B + A/2 + A^2/(16B).
"""

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.geometry import find_mic

LENGTH = 3.0


def hop(*, edge=0.0, symbol="Li", box=(12.0, 10.0, 14.0)):
    """Initial and final end point of a hop of LENGTH along x; host of four atoms; `edge` shifts everything along x."""
    host = np.array([[0.0, 0.0, 0.0], [LENGTH, 0.0, 0.0], [0.0, 2.2, 0.0], [LENGTH, 2.2, 0.0]])
    ends = []
    for x in (0.0, LENGTH):
        positions = np.vstack([host, [x, 1.1, 1.8]]) + np.array([4.0 + edge, 3.0, 5.0])
        ends.append(Atoms(f"TiO2Ti{symbol}", positions=positions, cell=box, pbc=True))
    return ends[0], ends[1]


def displaced(ends, *, last=(0.0, 0.0, 0.0)):
    """Copies of the ends away from their minima; `last` is added to the ion of the final one."""
    copies = [end.copy() for end in ends]
    for seed, end in enumerate(copies):
        end.rattle(0.03, seed=seed)
    copies[1].positions[-1] += last
    return copies


class CosineSurface(Calculator):
    """Winding cosine valley of exact barrier for the last atom, on a harmonic host."""

    implemented_properties = ("energy", "forces", "forces_std")

    def __init__(self, reference, *, barrier=0.5, step=0.0, humps=1, bend=0.6, valley=8.0, host=20.0, rotation=None):
        """`reference`: the initial end point; `step`: energy of the final one; `rotation`: of the whole frame."""
        super().__init__()
        self.reference = reference.copy()
        self.barrier, self.step, self.humps, self.bend = barrier, step, humps, bend
        self.valley, self.host = valley, host
        self.rotation = np.eye(3) if rotation is None else np.asarray(rotation)
        self.spread = None  # committee spread of every force component
        self.lift = 0.0  # constant force on the ion along z, eV/Angstrom
        self.calls = 0
        self.fail_at = None  # raise on this call
        self.broken_from = None  # energies are NaN from this call on

    @property
    def exact_forward(self):
        return self.barrier + self.step / 2 + self.step**2 / (16 * self.barrier)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        if self.fail_at is not None and self.calls == self.fail_at:
            raise KeyboardInterrupt(f"stopped at call {self.calls}")
        moves = find_mic(atoms.positions - self.reference.positions, atoms.cell, atoms.pbc)[0] @ self.rotation
        host = moves[:-1]
        x, y, z = moves[-1] - host[0]
        theta, scale = np.pi * x / LENGTH, np.pi / LENGTH
        off = y - self.bend * np.sin(theta) ** 2
        n = self.humps
        energy = (
            self.barrier * np.sin(n * theta) ** 2
            + self.step / 2 * (1 - np.cos(theta))
            + self.valley / 2 * (off**2 + z**2)
            + self.host / 2 * (host**2).sum()
            - self.lift * z
        )
        slope = (
            n * self.barrier * np.sin(2 * n * theta)
            + self.step / 2 * np.sin(theta)
            - self.valley * off * self.bend * np.sin(2 * theta)
        )
        ion = -np.array([slope * scale, self.valley * off, self.valley * z - self.lift])
        forces = np.vstack([-self.host * host, ion])
        forces[0] -= ion
        if self.broken_from is not None and self.calls >= self.broken_from:
            energy = np.nan
        self.results = {"energy": float(energy), "forces": forces @ self.rotation.T}
        if self.spread is not None:
            self.results["forces_std"] = np.full((len(atoms), 3), self.spread)


class Slope(Calculator):
    """The ion in a straight trough on a ramp, E = g x + K/2 (y^2 + z^2 + |u_host|^2): no minimum, no barrier."""

    implemented_properties = ("energy", "forces")

    def __init__(self, reference, *, gradient=0.01, valley=8.0):
        super().__init__()
        self.reference, self.gradient, self.valley = reference.copy(), gradient, valley

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        moves = find_mic(atoms.positions - self.reference.positions, atoms.cell, atoms.pbc)[0]
        well = np.vstack([np.full((len(moves) - 1, 3), self.valley), [0.0, self.valley, self.valley]])
        forces = -well * moves
        forces[-1, 0] -= self.gradient
        energy = float(0.5 * (well * moves**2).sum() + self.gradient * moves[-1, 0])
        self.results = {"energy": energy, "forces": forces}
