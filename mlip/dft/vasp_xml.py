"""`vasprun.xml` as a file: whole, of the structure asked for, with converged electrons and forces on all atoms.

Takes the path, or the root of the file; gives its parts, or says that the job has to go on (`Waiting`) or that it gives
no label (`Refused`). ASE reads the last structure with energies and forces. The level: mlip/dft/vasp_level.py.
"""

from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
from ase import Atoms

from mlip.dft import vasp_level
from mlip.dft.engines import Refused, Waiting

MOVED_ANGSTROM = 1e-4  # between the frame and the structure in the file


def root(source: Path) -> ET.Element:
    """Root of the file; a force field is told even where the file ends early, as waiting would not help."""
    try:
        with source.open("rb") as stream:
            for _, element in ET.iterparse(stream):  # noqa: S314  (the user's own file)
                vasp_level.require_no_force_field(element)
    except ET.ParseError as error:
        raise Waiting(
            f"{source}: is truncated ({error}); let the job finish or run it again, then this command"
        ) from error
    except OSError as error:
        raise Waiting(f"{source}: cannot be read ({error.strerror}); mend that, then this command") from error
    tree = ET.parse(source).getroot()  # noqa: S314
    if tree.find("calculation") is None:
        raise Waiting(f"{source}: holds no forces; let the job finish or run it again, then this command")
    return tree


def require_elements(tree: ET.Element, ordered: Atoms, source: Path) -> None:
    """Raise `Refused` where the atoms are not those of the frame, in the order of its POSCAR."""
    rows = tree.findall("atominfo/array[@name='atoms']/set/rc/c[1]")
    symbols = [(row.text or "").strip() for row in rows]
    if symbols != ordered.get_chemical_symbols():
        formula = "".join(f"{s}{n if n > 1 else ''}" for s, n in sorted(Counter(symbols).items())) or "no atoms"
        order = " in another order" if sorted(symbols) == ordered.get_chemical_symbols() else ""
        raise Refused(f"{source}: holds {formula}{order}, the frame is {ordered.get_chemical_formula()}")


def electronic_steps(tree: ET.Element, calculation: ET.Element, source: Path, *, most: int) -> list[ET.Element]:
    """Energies of the electronic steps of the last structure.

    Args:
        tree: root of the file.
        calculation: its last structure.
        source: path, for messages.
        most: iterations allowed where the file does not say.

    Raises:
        Waiting: there are no forces yet.
        Refused: there are no steps, or as many as were allowed.
    """
    if calculation.find("varray[@name='forces']") is None:
        raise Waiting(f"{source}: holds no forces; let the job finish or run it again, then this command")
    steps = calculation.findall("scstep/energy")
    if not steps:
        raise Refused(
            f"{source}: the last structure has no electronic step: its energy and forces are not of DFT (those of a "
            "machine-learned force field, perhaps); run it with the INCAR given"
        )
    said = (_number(tree, f"{part}//i[@name='NELM']") for part in ("parameters", "incar"))
    allowed = next((int(number) for number in said if np.isfinite(number)), most)
    if len(steps) >= allowed:
        raise Refused(f"{source}: the electrons did not converge in {allowed} iterations (NELM)")
    return steps


def last_structure(source: Path) -> Atoms:
    """The last structure with its energies and forces, as ASE reads them."""
    from ase.io import read

    try:
        return read(source, format="vasp-xml")
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        raise Refused(f"{source}: cannot be read ({reason}); run the job again with the inputs given") from error


def require_structure(ordered: Atoms, found: Atoms, source: Path) -> None:
    """Raise `Refused` where an atom or the cell is not where the frame has it."""
    shift = found.get_scaled_positions(wrap=False) - ordered.get_scaled_positions(wrap=False)
    moved = np.linalg.norm((shift - np.round(shift)) @ ordered.cell.array, axis=1).max()
    cell = np.abs(found.cell.array - ordered.cell.array).max()
    if max(moved, cell) > MOVED_ANGSTROM:
        raise Refused(f"{source}: is of another structure: an atom or the cell is {max(moved, cell):.4f} Angstrom off")


def require_forces(calculation: ET.Element, found: Atoms, source: Path) -> None:
    """Raise `Refused` where atoms have no forces; ASE would read zeros."""
    rows = len(calculation.findall("varray[@name='forces']/v"))
    if rows != len(found):
        raise Refused(f"{source}: has forces on {rows} of {len(found)} atoms; run the job again with the inputs given")


def require_one_cell(tree: ET.Element, found: Atoms, source: Path) -> None:
    """Raise `Refused` where the cell changed (ISIF): the plane waves are of the first cell, not of the cutoff asked."""
    rows = tree.findall("structure[@name='initialpos']/crystal/varray[@name='basis']/v")
    first = np.array([[float(x) for x in (row.text or "").split()] for row in rows])
    changed = np.abs(first - found.cell.array).max()
    if changed > MOVED_ANGSTROM:
        raise Refused(
            f"{source}: the cell changed by {changed:.4f} Angstrom during the job (ISIF), so its plane waves are those "
            "of another cell; run a single point with the INCAR given"
        )


def added_ev(calculation: ET.Element) -> float:
    """What VASP added to the energy after the electrons, which is dispersion; nan where that is not known."""
    steps = calculation.findall("scstep/energy/i[@name='e_fr_energy']")
    last = _number(calculation, "scstep[last()]/energy/i[@name='e_fr_energy']") if steps else float("nan")
    return _number(calculation, "energy/i[@name='e_fr_energy']") - last


def text_of(tree: ET.Element, path: str) -> str | None:
    """Text of an element; None where there is none."""
    found = tree.find(path)
    return None if found is None or found.text is None else found.text.strip()


def _number(tree: ET.Element, path: str) -> float:
    """A number of the file; nan where there is none, or stars in its place."""
    try:
        return float(text_of(tree, path) or "nan")
    except ValueError:
        return float("nan")
