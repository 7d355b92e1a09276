"""Labelled frames of exact springs: energies, forces and their differences are known."""

import numpy as np
from ase import Atoms

E0 = {"Ti": -8.0, "O": -8.5, "Li": -2.5}
STIFFNESS = 4.0  # eV/A^2
GRID = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1, 2], indexing="ij"), axis=-1).reshape(-1, 3)


def harmonic(name, *, rng, ion="none", amplitude=0.15):
    """A 4x4x6 cell of Ti4O8 (and Li) on a lattice of springs: energies, forces and differences are exact."""
    symbols = ["Ti"] * 4 + ["O"] * 8
    positions = 2.0 * GRID
    if ion != "none":
        symbols, positions = [*symbols, ion], np.vstack([positions, [1.0, 1.0, 1.0]])
    moved = rng.normal(0, amplitude, positions.shape)
    moved -= moved.mean(axis=0)
    atoms = Atoms(symbols, positions=positions + moved, cell=[4, 4, 6], pbc=True)
    atoms.info = {"frame_id": name, "group": "g", "host": "001", "ion": ion, "settings_hash": "abc"}
    atoms.info["dft_energy"] = sum(E0[s] for s in symbols) + STIFFNESS * float((moved**2).sum()) / 2
    atoms.arrays["dft_forces"] = -STIFFNESS * moved
    return atoms
