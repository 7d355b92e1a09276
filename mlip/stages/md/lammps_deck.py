"""What a deck for LAMMPS says of its atoms, the names of its files, and the cell that LAMMPS sees.

LAMMPS wants the first edge of a cell along x, the second in the xy plane and positive diagonal elements, with small
tilts. `Prism` of ASE turns a right-handed cell into one. Vectors of a left-handed cell are reversed before, which
changes neither lattice nor positions; of all reversals the one with the smallest rotation is taken. With the rotation
R of Prism,  r_lammps = r R.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from ase.calculators.lammps import Prism

from mlip.atoms import cells
from mlip.core.arrays import Array
from mlip.stages.md.trajectory import Header

COPY = "copy or make it again"
MODEL, START, SCRIPT, DECK = "model-mliap_lammps.pt", "start.data", "submit.sh", "deck.json"
INPUT, MORE = "in.md", "in.more"
DRIFT, DUMP, TEMPERATURE, LOG = "drift.txt", "ions.dump", "temperature.txt", "log.lammps"


@dataclass(frozen=True, kw_only=True)
class Deck:
    """What the atoms of a deck are, and how they are written."""

    header: Header  # without replicas; those are the folders
    elements: tuple[str, ...]  # of the atom types, from 1
    frozen: tuple[int, ...]  # numbers of the atoms that do not move, from 0
    target_ps: float
    equilibrate_ps: float
    friction_per_ps: float

    @property
    def step_ps(self) -> float:
        """Time step."""
        return self.header.time_step_fs / 1000.0

    @property
    def ion_ids(self) -> range:
        """Numbers of the ions in LAMMPS, from 1."""
        return range(self.header.atoms - len(self.header.ions) + 1, self.header.atoms + 1)


def prism(cell: Array) -> Prism:
    """The cell and the rotation of LAMMPS for cell vectors (3, 3).

    Raises:
        ValueError: the vectors have no volume.
    """
    if not cells.independent(cell):
        raise ValueError("the cell has no volume; give three independent cell vectors")
    signs = np.array(list(product((1.0, -1.0), repeat=3)))
    found = [Prism(s[:, None] * cell, reduce_cell=True) for s in signs if np.linalg.det(s[:, None] * cell) > 0]
    return max(found, key=lambda p: round(float(np.trace(p.rot_mat)), 9))


def lattice_difference_angstrom(found: Array, cell: Array) -> float:
    """How far vectors of LAMMPS (3, 3) are from spanning the lattice of a cell as LAMMPS has it; 0 where they do."""
    wanted = prism(cell).cell
    whole = np.round(found @ np.linalg.inv(wanted))
    if abs(abs(np.linalg.det(whole)) - 1.0) > 1e-6:  # another volume
        return float(np.abs(found - wanted).max())
    return float(np.abs(found - whole @ wanted).max())


def edges_in_words(cell: Array) -> str:
    """Lengths and tilts of a LAMMPS cell, for a message."""
    tilts = [float(cell[1, 0]), float(cell[2, 0]), float(cell[2, 1])]
    text = " x ".join(f"{cell[k, k]:.4f}" for k in range(3))
    return text + (f", tilts {' '.join(f'{t:.4f}' for t in tilts)}" if np.abs(tilts).max() > 1e-4 else "") + " Angstrom"
