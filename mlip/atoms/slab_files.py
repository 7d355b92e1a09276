"""Slabs from files of the user: relaxed elsewhere, with the atoms that are frozen there.

Takes a POSCAR (selective dynamics) or extended XYZ file (`move_mask`); gives the slab with its normal along z and its
frozen atoms as the constraint FixAtoms. The positions stay as they are.
"""

from itertools import product
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms
from ase.io import read
from pydantic import Field, model_validator

from mlip.atoms import cells, cif, structures
from mlip.core.section import Section

EXACT_ANGSTROM = 1e-9  # a cell that is nearer than this to the standard orientation stays as it is
UPRIGHT = 1e-3  # of the length of the third cell vector: what may lie in the plane of the slab
WIDEST = 0.15  # a larger strain is not told from another plane
FORMATS = "a POSCAR or an .extxyz file"


class SlabFile(Section):
    """One slab that a file holds."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", description="Name of the slab.")
    file: str = Field(description="Path of a POSCAR or extended XYZ file with one slab, vacuum along the third vector.")
    miller: tuple[int, int, int] = Field(description="Miller indices of the facet in the conventional cell.")

    @model_validator(mode="after")
    def _miller_is_a_direction(self) -> "SlabFile":
        if self.miller == (0, 0, 0):
            raise ValueError("miller: (0, 0, 0) is no plane; give three indices that are not all zero")
        return self


def frozen(atoms: Atoms) -> list[int]:
    """Numbers of the atoms that are fixed, ascending.

    Raises:
        ValueError: a constraint other than FixAtoms.
    """
    other = [type(c).__name__ for c in atoms.constraints if not isinstance(c, FixAtoms)]
    if other:
        raise ValueError(f"constraint {other[0]}: an atom is frozen in all three directions or in none (FixAtoms)")
    return sorted({int(k) for c in atoms.constraints for k in c.index})


def load(path: Path) -> Atoms:
    """The slab of a file, periodic in all directions, first vector along x, normal along z, with its frozen atoms.

    Raises:
        ValueError: an unreadable file, several structures, no slab with the vacuum along its third cell vector, a
            tilted or left-handed cell, atoms frozen along some axes only, no free atom, or atoms too near each other.
    """
    try:
        return _checked(_only(path))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def require_composition(slab: Atoms, conventional: Atoms) -> None:
    """Nothing where a slab has the composition of a crystal, as every slab that is built has.

    Raises:
        ValueError: it has another one, so no value of the crystal is for it.
    """
    (own, _), (crystal, _) = (atoms.symbols.formula.reduce() for atoms in (slab, conventional))
    if own.count() != crystal.count():
        raise ValueError(
            f"{slab.get_chemical_formula(mode='metal')} has not the composition of structures.crystal "
            f"({crystal:metal}): give a clean slab of this crystal, whole formula units without the ion"
        )


def strain(slab: Atoms, conventional: Atoms, miller: tuple[int, int, int]) -> float | None:
    """Smallest strain that makes whole cells of a plane of a crystal the in-plane cell of a slab; None: above WIDEST.

    The strain is the largest relative change of a length in the plane: max |s - 1| over the singular values s of
    C^-1 A, where the rows of A are the vectors of the slab and those of C vectors of the lattice of the plane, of which
    the two are taken that need the smallest strain.
    """
    vectors, own = structures.plane_vectors(conventional, miller), slab.cell.array[:2, :2]
    lengths = np.linalg.norm(vectors, axis=1)
    aside = float(vectors[0] @ vectors[1] / lengths[0])
    basis = np.array([[lengths[0], 0.0], [aside, np.sqrt(lengths[1] ** 2 - aside**2)]])
    longest = (1 + WIDEST) * np.linalg.norm(own, axis=1).max()
    reach = int(np.ceil(longest * lengths.max() / np.linalg.det(basis)))
    whole = np.array(list(product(range(-reach, reach + 1), repeat=2))) @ basis
    first, second = (
        whole[np.abs(np.linalg.norm(whole, axis=1) / np.linalg.norm(vector) - 1) <= WIDEST] for vector in own
    )
    pairs = np.stack([np.repeat(first, len(second), axis=0), np.tile(second, (len(first), 1))], axis=1)
    pairs = pairs[np.abs(np.linalg.det(pairs)) > 1e-3]
    if not len(pairs):
        return None
    stretches = np.linalg.svd(np.linalg.solve(pairs, own[None]), compute_uv=False)
    least = float(np.abs(stretches - 1).max(axis=1).min())
    return least if least <= WIDEST else None


def _checked(found: Atoms) -> Atoms:
    held = frozen(found)
    _refuse_no_slab(found)
    if len(held) == len(found):
        raise ValueError("every atom is frozen; free at least those near the surface")
    bare = Atoms(found.symbols, positions=found.positions, cell=found.cell, pbc=True)
    if not np.allclose(found.cell.array, np.tril(found.cell.array), rtol=0, atol=EXACT_ANGSTROM):
        bare.set_cell(found.cell.standard_form()[0], scale_atoms=True)
    if reason := cif.refusal(bare):
        raise ValueError(f"no slab of a crystal: {reason}; correct the file")
    if held:
        bare.set_constraint(FixAtoms(held))
    return bare


def _only(path: Path) -> Atoms:
    if not path.is_file():
        raise ValueError(f"no such file; give {FORMATS}")
    suffix, base = path.suffix.lower(), path.name.lower()
    kind = "extxyz" if suffix in {".xyz", ".extxyz"} else "vasp"
    if kind == "vasp" and suffix not in {".vasp", ".poscar"} and not base.startswith(("poscar", "contcar")):
        raise ValueError(f"is none of the formats of a slab; give {FORMATS}")
    try:
        frames = read(path, format=kind, index=":")
    except Exception as error:
        raise ValueError(f"is not a readable {kind} file ({' '.join(str(error).split())[:120]})") from error
    if len(frames) != 1:
        raise ValueError(f"holds {len(frames)} structures; give one slab")
    one: Atoms = frames[0]
    return one


def _refuse_no_slab(atoms: Atoms) -> None:
    if atoms.cell.rank < 3 or not np.isfinite(atoms.positions).all():
        raise ValueError("has no cell of three vectors, or a coordinate that is no finite number")
    if cells.is_left_handed(atoms):
        raise ValueError("has left-handed cell vectors; exchange the first two")
    if cells.vacuum_axes(atoms) != (2,):
        raise ValueError(
            f"has no vacuum of {cells.VACUUM_ANGSTROM:g} Angstrom along its third cell vector alone; make it so"
        )
    normal = np.cross(atoms.cell[0], atoms.cell[1])
    aside = np.linalg.norm(np.cross(atoms.cell[2], normal)) / np.linalg.norm(normal)
    if aside > UPRIGHT * np.linalg.norm(atoms.cell[2]):
        raise ValueError("the third cell vector is not along the normal of the slab; make it so (ase: center(axis=2))")
    heights = np.sort(atoms.get_scaled_positions()[:, 2])
    if heights[0] + 1 - heights[-1] < np.diff(heights).max(initial=0.0):
        raise ValueError("is cut in two by the face of its cell; shift the atoms into one piece along the normal")
