"""A crystal from a file, checked and in the standard conventional cell, and what crystal it is.

Takes the path of a CIF file (`file.cif#block` where it holds several crystals), a POSCAR, an extended XYZ file or a
JSON file of the Materials Project (`file.json#mp-390` where it holds several); gives `Crystal`: the atoms of the cell
to which Miller indices refer, with notes on what was done, and `Identity`: formula, space group and lattice, by which
published values are matched.

The cell of the file stays as it is where its axes are a standard setting of the space group (International Tables,
vol. A), at any origin. A supercell, a primitive cell, other axes or a turned cell becomes the standard conventional
cell (spglib, doi:10.1080/27660400.2024.2384822).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.cell import Cell
from ase.formula import Formula
from ase.io import read

from mlip.atoms import cif, spacegroups, structure_json

SYMPREC_ANGSTROM = 0.02  # of ideal crystals
LOOSEST_ANGSTROM = 0.1  # the same for coordinates of few digits
LATTICE_SHARE = 0.03  # lattices of one crystal by experiment and by functionals differ by less
ANGLE_DEGREES = 2.0
FORMATS = "a .cif, a POSCAR, an .extxyz file or a .json of the Materials Project"


@dataclass(frozen=True)
class Crystal:
    """Atoms of a standard conventional cell, and what was done to reach it."""

    atoms: Atoms
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What crystal this is: the same for every cell and origin in which it can be given."""

    formula: str  # of one formula unit, metals first
    spacegroup: str
    number: int
    cell_angstrom: tuple[float, ...]  # conventional: a, b, c in Angstrom, then alpha, beta, gamma in degrees

    @property
    def name(self) -> str:
        """Formula and space group, for a sentence."""
        return f"{self.formula} ({self.spacegroup})"


def split(name: str) -> tuple[str, str]:
    """File and data block of `file.cif#block`; the block is empty where none is named."""
    if Path(name).exists() or _format(name) is not None:
        return name, ""
    file, _, block = name.rpartition("#")
    return (file, block) if file else (name, "")


def load(path: Path, block: str = "") -> Crystal:
    """The crystal of a file.

    Raises:
        ValueError: the file cannot be read, or what it holds is no crystal.
    """
    kind = _format(path.name)
    if kind is None:
        raise ValueError(f"{path}: is none of the formats of a crystal; give {FORMATS}")
    if not path.is_file():
        raise ValueError(f"{path}: no such file; give the path of {FORMATS}")
    if kind == "cif":
        found = cif.read(path, block)
        atoms, notes, rounding = found.atoms, found.notes, found.rounding_angstrom
    else:
        atoms, notes, rounding = _plain(path, kind, block), (), 0.0
    try:
        standard, done = conventional(atoms, rounding_angstrom=rounding)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return Crystal(standard, (*notes, *done))


def conventional(atoms: Atoms, *, rounding_angstrom: float = 0.0) -> tuple[Atoms, tuple[str, ...]]:
    """The conventional cell in a standard setting, first vector along x, second in the xy plane; and what was done.

    Args:
        atoms: of a whole cell.
        rounding_angstrom: what the digits of the coordinates leave open; symmetry is looked for within three times it.

    Raises:
        ValueError: no symmetry is found.
    """
    notes = []
    if atoms.cell.handedness < 0:
        notes.append("the axes of the file are left-handed; all three were reversed")
        places = atoms.positions
        atoms = Atoms(atoms.symbols, positions=places, cell=-atoms.cell.array, pbc=True)
    upright = Cell.fromcellpar(atoms.cell.cellpar())
    turned = Atoms(atoms.symbols, scaled_positions=atoms.get_scaled_positions(), cell=upright, pbc=True)
    found, tolerance = _symmetry(turned, rounding_angstrom)
    rounded = tolerance > SYMPREC_ANGSTROM
    group = f"{found.international} ({found.number})"
    if not rounded and _is_standard(found):
        return turned, tuple(notes)
    import spglib

    lattice, places, numbers = spglib.standardize_cell(_cell(turned), to_primitive=False, symprec=tolerance)
    standard = Atoms(numbers=numbers, scaled_positions=places, cell=lattice, pbc=True)
    if rounded:
        notes.append(f"the rounded coordinates of the file were moved onto the positions of {group}")
    notes.append(
        f"the cell of the file, {_described(turned)}, was brought to the standard conventional cell of {group}, "
        f"{_described(standard)}; Miller indices refer to the latter"
    )
    return standard, tuple(notes)


def identify(atoms: Atoms) -> Identity:
    """What crystal a conventional cell holds."""
    found = _dataset(atoms, SYMPREC_ANGSTROM)
    if found is None:
        raise ValueError(f"{atoms.get_chemical_formula()}: no symmetry is found; check the cell")
    return Identity(
        formula=str(Formula(atoms.get_chemical_formula(mode="metal")).reduce()[0].format("metal")),
        spacegroup=str(found.international),
        number=int(found.number),
        cell_angstrom=tuple(round(float(x), 6) for x in atoms.cell.cellpar()),
    )


def same(one: Identity, other: Identity) -> bool:
    """Whether two identities are of one crystal: formula, space group, and lattice within 3 % and 2 degrees."""
    if (one.number, Formula(one.formula).count()) != (other.number, Formula(other.formula).count()):
        return False
    ours, theirs = np.array(one.cell_angstrom), np.array(other.cell_angstrom)
    return bool(
        np.abs(ours[:3] / theirs[:3] - 1).max() < LATTICE_SHARE and np.abs(ours[3:] - theirs[3:]).max() < ANGLE_DEGREES
    )


# ---- files ----


def _format(name: str) -> str | None:
    """The ASE format of a file by its name; None for a file that holds no crystal."""
    base = Path(name).name.lower()
    suffix = Path(base).suffix
    if suffix in {".cif", ".mcif"}:
        return "cif"
    if suffix in {".xyz", ".extxyz"}:
        return "extxyz"
    if suffix == ".json":
        return "json"
    return "vasp" if suffix in {".vasp", ".poscar"} or base.startswith(("poscar", "contcar")) else None


def _plain(path: Path, kind: str, block: str) -> Atoms:
    """The one periodic cell of a POSCAR, extended XYZ or JSON file."""
    if block and kind != "json":
        raise ValueError(f"{path}#{block}: only CIF and JSON files have names inside; give the path alone")
    frames = [structure_json.read(path, block)] if kind == "json" else _frames(path, kind)
    if len(frames) != 1 or len(frames[0]) == 0:
        raise ValueError(f"{path}: holds {len(frames)} structures, {sum(map(len, frames))} atoms; give one crystal")
    atoms = frames[0]
    if atoms.cell.rank < 3 or not atoms.pbc.all():
        raise ValueError(f"{path}: is not periodic in three directions; give a cell and pbc T T T")
    if not np.isfinite(atoms.positions).all() or not np.isfinite(atoms.cell.array).all():
        raise ValueError(f"{path}: holds a coordinate that is no finite number; correct it")
    if (atoms.numbers < 1).any():
        raise ValueError(f"{path}: atom {int((atoms.numbers < 1).argmax())} is no element; give its symbol")
    bare = Atoms(atoms.symbols, positions=atoms.positions, cell=atoms.cell, pbc=True)
    if reason := cif.refusal(bare):
        raise ValueError(f"{path}: no crystal: {reason}; correct the file")
    return bare


def _frames(path: Path, kind: str) -> Sequence[Atoms]:
    try:
        frames: Sequence[Atoms] = read(path, format=kind, index=":")
    except Exception as error:
        raise ValueError(f"{path}: is not a readable {kind} file ({' '.join(str(error).split())})") from error
    return frames


# ---- symmetry ----


def _cell(atoms: Atoms) -> tuple[Any, Any, Any]:
    return atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers


def _dataset(atoms: Atoms, tolerance_angstrom: float) -> Any:
    import spglib

    return spglib.get_symmetry_dataset(_cell(atoms), symprec=tolerance_angstrom)


def _symmetry(atoms: Atoms, rounding_angstrom: float) -> tuple[Any, float]:
    """The symmetry of a cell, and the tolerance in Angstrom: larger where only the rounding of coordinates hides it."""
    found = _dataset(atoms, SYMPREC_ANGSTROM)
    tolerance = min(3 * rounding_angstrom, LOOSEST_ANGSTROM)
    if tolerance > SYMPREC_ANGSTROM:
        loose = _dataset(atoms, tolerance)
        if loose is not None and (found is None or loose.number > found.number):
            return loose, tolerance
    if found is None:
        raise ValueError(f"{atoms.get_chemical_formula()}: no symmetry is found; check the cell and its atoms")
    return found, SYMPREC_ANGSTROM


def _is_standard(found: Any) -> bool:
    """Whether the axes of a cell are those of its space group in International Tables, at any origin."""
    own = list(zip(found.rotations.astype(float), found.translations, strict=True))
    standard = spacegroups.standard_fingerprint(int(found.number))
    return spacegroups.order(int(found.number)) == len(own) and spacegroups.fingerprint(own) == standard


def _described(atoms: Atoms) -> str:
    lengths = " x ".join(f"{x:.3f}" for x in atoms.cell.lengths())
    angles = atoms.cell.angles()
    skewed = "" if np.abs(angles - 90).max() < 0.01 else ", " + " ".join(f"{x:.1f}" for x in angles) + " degrees"
    return f"{len(atoms)} atoms, {lengths} A{skewed}"
