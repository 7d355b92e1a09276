"""Bader charges: electrons in the basins of the density, each basin with the atom in it.

Takes densities on a grid of a periodic cell; gives electrons by atom. The basins are those of the density with the
core electrons, which has its maxima at the nuclei; the valence density is integrated in them, because the cusps of the
cores are not integrated well on a grid. Package: baderkit, method neargrid with weights at the boundaries.

Bader, Atoms in Molecules (1990), ISBN 0198558651; weights: Yu, Trinkle, J. Chem. Phys. 134, 064111 (2011),
doi:10.1063/1.3553716.
"""

from dataclasses import dataclass

import numpy as np
from ase import Atoms

from mlip.core.arrays import Array

INSTALL = "pip install 'facet-mlip[electronic]'"


@dataclass(frozen=True)
class Bader:
    """Electrons in the basins of the atoms.

    Attributes:
        electrons: (atoms,).
        total: electrons in the cell.
    """

    electrons: Array
    total: float

    @property
    def left(self) -> float:
        """Electrons in no basin."""
        return self.total - float(self.electrons.sum())


def require() -> None:
    """Nothing where baderkit is installed.

    Raises:
        ValueError: it is not.
    """
    from importlib.util import find_spec

    if find_spec("baderkit") is None:
        raise ValueError(f"electronic.parts: Bader charges need baderkit, which is not installed: {INSTALL}")


def bader(atoms: Atoms, integrated: Array, reference: Array) -> Bader:
    """Electrons of every atom.

    Args:
        atoms: with the cell; periodic.
        integrated: (a, b, c) density that is counted, electrons per cubic Angstrom; the first point is at the origin.
        reference: (a, b, c) density whose basins are used.

    Raises:
        ValueError: baderkit is not installed, or the grids differ.
    """
    require()
    if integrated.shape != reference.shape:
        raise ValueError(f"densities on grids {integrated.shape} and {reference.shape}: give both on one grid")
    from baderkit import Bader as Method
    from baderkit import Grid, Structure

    structure = Structure(atoms.cell.array, atoms.get_chemical_symbols(), atoms.get_scaled_positions(wrap=True))
    volume = atoms.get_volume()
    charge, basins = (
        Grid(structure=structure, data={"total": np.ascontiguousarray(d * volume)}) for d in (integrated, reference)
    )
    found = Method(charge_grid=charge, reference_grid=basins)
    return Bader(np.asarray(found.atom_charges, dtype=float), float(integrated.mean() * volume))
