"""Bader charges: electrons in the basins of the density, each basin with the atom in it.

Takes the density of all electrons on a grid of a periodic cell; gives electrons by atom. Package: baderkit, method
neargrid with weights at the boundaries.

Bader, Atoms in Molecules (1990), ISBN 0198558651; weights: Yu, Trinkle, J. Chem. Phys. 134, 064111 (2011),
doi:10.1063/1.3553716.
"""

from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO

import numpy as np
from ase import Atoms

from mlip.core.arrays import Array

INSTALL = "pip install 'facet-mlip[electronic]'"


@dataclass(frozen=True)
class Bader:
    """Electrons in the basins of the atoms of a neutral cell.

    Attributes:
        electrons: (atoms,).
        charges: (atoms,) nuclear charge less electrons, in elementary charges.
    """

    electrons: Array
    charges: Array

    @property
    def left(self) -> float:
        """Electrons of the neutral cell that are in no basin: lost on the grid or at its boundaries."""
        return float(self.charges.sum())


def require() -> None:
    """Nothing where baderkit is installed.

    Raises:
        ValueError: it is not.
    """
    from importlib.util import find_spec

    if find_spec("baderkit") is None:
        raise ValueError(f"electronic.parts: Bader charges need baderkit, which is not installed: {INSTALL}")


def bader(atoms: Atoms, density: Array) -> Bader:
    """Electrons of every atom.

    Args:
        atoms: with the cell; periodic and neutral.
        density: (a, b, c) of all electrons per cubic Angstrom, the first point at the origin.

    Raises:
        ValueError: baderkit is not installed.
    """
    require()
    import numba
    from baderkit import Bader as Method
    from baderkit import Grid, Structure

    structure = Structure(atoms.cell.array, atoms.get_chemical_symbols(), atoms.get_scaled_positions(wrap=True))
    grid = Grid(structure=structure, data={"total": np.ascontiguousarray(density * atoms.get_volume())})
    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        with redirect_stdout(StringIO()):
            found = Method(charge_grid=grid, reference_grid=grid).atom_charges
    finally:
        numba.set_num_threads(threads)
    electrons = np.asarray(found, dtype=float)
    return Bader(electrons, atoms.numbers - electrons)
