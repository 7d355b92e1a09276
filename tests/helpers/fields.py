"""Analytic potentials of many replicas at once, with exact forces, for molecular dynamics."""

import numpy as np

from mlip.stages.md import dynamics, trajectory

BOX = 9.0


class Wells:
    """Every atom in its own anharmonic well; neighbours in the list are coupled: E = sum k/2 u^2 + q/4 u^4 + c/2 |du|^2."""

    def __init__(self, home, *, spring=4.0, quartic=2.0, coupling=1.5, spread=None):
        self.home, self.spring, self.quartic, self.coupling = home, spring, quartic, coupling
        self.noise, self.calls = spread, 0

    def forces(self, positions):
        self.calls += 1
        u = positions - self.home
        du = np.diff(u, axis=1)
        energy = (self.spring / 2 * u**2 + self.quartic / 4 * u**4).sum((1, 2)) + self.coupling / 2 * (du**2).sum(
            (1, 2)
        )
        forces = -self.spring * u - self.quartic * u**3
        forces[:, :-1] += self.coupling * du
        forces[:, 1:] -= self.coupling * du
        return energy, forces

    def spread(self, positions):
        return None if self.noise is None else np.array([self.noise(p) for p in positions])


class Cosine:
    """The last atom on a cosine surface of period `length` and barrier `barrier` in x and y, the others in wells."""

    def __init__(self, home, *, length=3.0, barrier=0.15, spring=4.0):
        self.home, self.length, self.barrier, self.spring = home, length, barrier, spring

    def forces(self, positions):
        u = positions - self.home
        forces = -self.spring * u
        wave = 2 * np.pi / self.length
        flat = u[:, -1, :2]
        energy = self.spring / 2 * (u[:, :-1] ** 2).sum((1, 2)) + self.spring / 2 * u[:, -1, 2] ** 2
        energy = energy + self.barrier / 2 * (1 - np.cos(wave * flat)).sum(1)
        forces[:, -1, :2] = -self.barrier / 2 * wave * np.sin(wave * flat)
        return energy, forces

    def spread(self, positions):
        return None


def batch(*, temperatures=(600.0,), atoms=12, frozen=0, seed=1, names=None, stored=None, model="m", host="bulk"):
    """Ti and O on a grid with one Li last; all replicas start from the same places."""
    side = int(np.ceil(atoms ** (1 / 3)))
    grid = np.array(list(np.ndindex(side, side, side)), dtype=float)[:atoms] * BOX / side
    masses = np.where(np.arange(atoms) % 3 == 0, 47.867, 15.999)
    masses[-1] = 6.94
    mobile = np.arange(atoms) >= frozen
    symbols = ["Ti" if k % 3 == 0 else "O" for k in range(atoms - 1)] + ["Li"]
    stored = range(atoms) if stored is None else stored
    header = trajectory.Header(
        name="grid_Li",
        host=host,
        ions=("Li",),
        symbols=tuple(symbols[k] for k in stored),
        stored=tuple(stored),
        atoms=atoms,
        mobile=int(mobile.sum()),
        cell_angstrom=((BOX, 0.0, 0.0), (0.0, BOX, 0.0), (0.0, 0.0, BOX)),
        repeat=(1, 1, 1),
        replicas=tuple(names or [f"r{k}" for k in range(len(temperatures))]),
        temperatures_kelvin=tuple(temperatures),
        time_step_fs=1.0,
        frame_steps=5,
        model=model,
        settings="s",
    )
    return dynamics.Batch(header, masses, mobile, np.stack([grid] * len(temperatures)), seed)
