"""VASP: inputs written, jobs run by the user, `vasprun.xml` of finished jobs read back. Nothing is run here.

Takes a structure and its folder; gives energy and forces without dispersion, or says what the job still needs. Preset
`vasp-paper` has what the paper under test states: PBE, 520 eV, 1e-6 eV, Grimme's D3 of 2010 (zero damping, IVDW = 11),
Monkhorst-Pack 2x3x1 on (001) and 3x2x1 on (100). What it does not state (spin, smearing, dipole, PAW data, the mesh of
bulk) is ours, below.

D3 in the job's total energy and forces is subtracted: E(PBE) = E(job) - E(D3), the same for forces, with D3 from the
dftd3 package at VASP's radii and compared with what VASP added. The labels then carry D3(BJ) beside them like others.
D3: doi:10.1063/1.3382344 (zero damping), doi:10.1002/jcc.21759 (BJ).
"""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree as ET

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from pydantic import Field, model_validator

from mlip import cells, files
from mlip.config import Count, Positive, Section
from mlip.engines import (
    Calculated,
    Described,
    Mesh,
    Refused,
    Waiting,
    clear_of_boundary,
    is_slab,
    length_mesh,
    normal_axis,
)
from mlip.units import BOHR_ANGSTROM, HARTREE_EV

IVDW = {"none": 0, "d3-zero": 11, "d3-bj": 12}
PAIR_BOHR, COORDINATION_BOHR = 50.2 / BOHR_ANGSTROM, 20.0 / BOHR_ANGSTROM  # VDW_RADIUS and VDW_CNRADIUS of VASP
D3_DIFFERENCE_EV_PER_ATOM = 5e-4  # between VASP's dispersion and ours, beyond which something is set differently
UNSET = {"IVDW": 0, "ISPIN": 1}  # what VASP takes where INCAR does not say
MOVED_ANGSTROM = 1e-4  # between the frame and the structure in vasprun.xml


class Settings(Section):
    """Settings of a VASP single point."""

    cutoff_ev: Positive = 520.0
    energy_convergence_ev: Positive = 1e-6
    smearing_ev: Positive = 0.05
    dispersion: Literal["none", "d3-zero", "d3-bj"] = "d3-zero"  # of the job; subtracted from the labels
    k_meshes: dict[str, Mesh] = Field(default_factory=dict)  # host -> points, where they are as dense as the length
    k_length_angstrom: Positive = 15.0
    spin: Literal["paired", "polarised"] = "paired"
    moments_bohr: dict[str, float] = Field(default_factory=dict)  # element -> starting moment of its atoms
    dipole: bool = False  # correction of slabs
    paw: dict[str, str] = Field(default_factory=dict)  # element -> PAW data, where not the recommended ones
    max_iterations: Count = 120  # not a part of the level: what converges later is refused

    @model_validator(mode="after")
    def _spin_has_a_start(self) -> "Settings":
        if (self.spin == "polarised") != any(self.moments_bohr.values()):
            raise ValueError("spin polarised and moments_bohr (not all zero) belong together, such as {Ti: 0.2}")
        return self


PRESETS = {"vasp-paper": Settings(k_meshes={"001": (2, 3, 1), "100": (3, 2, 1)})}


def described(settings: Settings) -> Described:
    """The level of theory, as on the card of a dataset; see `Engine`."""
    moments = ", ".join(f"{s} {m:g}" for s, m in sorted(settings.moments_bohr.items()))
    meshes = "; ".join(f"{h} {'x'.join(map(str, n))}" for h, n in sorted(settings.k_meshes.items())) or "none"
    own = ", ".join(f"{s} {name}" for s, name in sorted(settings.paw.items()))
    return {
        "code": "VASP",
        "paw_data": f"PBE, recommended; {own}" if own else "PBE, recommended",
        "mode": "plane waves, PREC = Accurate",
        "cutoff_ev": settings.cutoff_ev,
        "xc": "PBE",
        "spin": f"polarised, starting moments {moments} Bohr magnetons" if settings.spin == "polarised" else "paired",
        "hubbard_u": "none",
        "smearing": "Gaussian",
        "smearing_ev": settings.smearing_ev,
        "energy": "force-consistent (free energy)",
        "k_points": f"Monkhorst-Pack, by host where as dense as the length (meshes: {meshes}), "
        f"else n_i = ceil({settings.k_length_angstrom:g} Angstrom / L_i), 1 along the normal of a slab",
        "energy_convergence_ev": settings.energy_convergence_ev,
        "periodic": "three directions",
        "dipole_correction": "slabs, along the normal" if settings.dipole else "none",
        "dispersion": "none",
        "subtracted": "none" if settings.dispersion == "none" else f"{settings.dispersion} of the job",
    }


def require(settings: Settings, symbols: Collection[str]) -> None:
    """Nothing where the POTCAR of every element is there; see `Engine`."""
    for symbol in sorted(symbols):
        _potcar(symbol, settings)


def mesh(atoms: Atoms, settings: Settings) -> Mesh:
    """The mesh of the frame's host where it is at least as dense as the length rule asks for; else the rule's."""
    rule = length_mesh(atoms, settings.k_length_angstrom)
    given = settings.k_meshes.get(str(atoms.info.get("host")))
    return given if given and all(g >= r for g, r in zip(given, rule, strict=True)) else rule


def seconds(atoms: Atoms, settings: Settings) -> None:
    """None: nothing runs here."""


def session(settings: Settings) -> "Session":
    """A function of structure and folder; see `Engine`."""
    return Session(settings)


@dataclass(frozen=True)
class Session:
    """Inputs out, results in."""

    settings: Settings

    def __call__(self, atoms: Atoms, folder: Path) -> Calculated:
        """What the finished job in the folder gives.

        Raises:
            Waiting: there is no finished job yet; its inputs are in the folder.
            Refused: the job did not converge, or is of another structure or other settings.
        """
        if not (folder / "vasprun.xml").exists():
            write_inputs(atoms, folder, self.settings)
            raise Waiting(f"inputs are written: run VASP in {folder}, then this command again")
        return read_job(atoms, folder / "vasprun.xml", self.settings)


def write_inputs(atoms: Atoms, folder: Path, settings: Settings) -> None:
    """Write INCAR, KPOINTS, POSCAR and POTCAR; atoms are grouped by element in the order of the alphabet.

    VASP stops at left-handed cell vectors, so the POSCAR then has all three reversed.
    """
    if settings.dipole and is_slab(atoms) and not clear_of_boundary(atoms):
        raise Refused("the slab is at the cell boundary, where the dipole layer sits; shift it to the middle")
    ordered = cells.right_handed(atoms[_order(atoms)])
    symbols = sorted(set(ordered.get_chemical_symbols()))
    tags = incar(ordered, settings)
    files.write_text_atomic(folder / "INCAR", "".join(f"{k} = {v}\n" for k, v in tags.items()))
    points = " ".join(map(str, mesh(atoms, settings)))
    files.write_text_atomic(folder / "KPOINTS", f"single point\n0\nMonkhorst-Pack\n{points}\n0 0 0\n")
    files.write_text_atomic(folder / "POSCAR", _poscar(ordered, symbols))
    files.write_bytes_atomic(folder / "POTCAR", b"".join(_potcar(s, settings).read_bytes() for s in symbols))


def incar(ordered: Atoms, settings: Settings) -> dict[str, str]:
    """The tags of the job and their values; atoms in the order of the POSCAR."""
    tags = {
        "SYSTEM": ordered.get_chemical_formula(),
        "GGA": "PE",
        "PREC": "Accurate",
        "ENCUT": f"{settings.cutoff_ev:g}",
        "EDIFF": f"{settings.energy_convergence_ev:g}",
        "NELM": str(settings.max_iterations),
        "ISMEAR": "0",
        "SIGMA": f"{settings.smearing_ev:g}",
        "IVDW": str(IVDW[settings.dispersion]),
        "LREAL": ".FALSE.",
        "ISPIN": "2" if settings.spin == "polarised" else "1",
        "IBRION": "-1",
        "NSW": "0",
        "LWAVE": ".FALSE.",
        "LCHARG": ".FALSE.",
    }
    if settings.spin == "polarised":
        tags["MAGMOM"] = " ".join(f"{settings.moments_bohr.get(s, 0.0):g}" for s in ordered.get_chemical_symbols())
    if settings.dipole and (axis := normal_axis(ordered)) is not None:
        tags |= {"IDIPOL": str(axis + 1), "LDIPOL": ".TRUE."}
    return tags


def _order(atoms: Atoms) -> list[int]:
    return sorted(range(len(atoms)), key=lambda k: atoms[k].symbol)  # stable


def _poscar(ordered: Atoms, symbols: list[str]) -> str:
    names = ordered.get_chemical_symbols()
    rows = [ordered.get_chemical_formula(), "1.0"]
    rows += [" ".join(f"{x:.10f}" for x in vector) for vector in ordered.cell.array]
    rows += [" ".join(symbols), " ".join(str(names.count(s)) for s in symbols), "Cartesian"]
    rows += [" ".join(f"{x:.10f}" for x in place) for place in ordered.positions]
    return "\n".join(rows) + "\n"


def _paw_name(symbol: str, settings: Settings) -> str:
    from ase.calculators.vasp.setups import setups_defaults

    return settings.paw.get(symbol, f"{symbol}{setups_defaults['recommended'].get(symbol, '')}")


def _potcar(symbol: str, settings: Settings) -> Path:
    root, name = os.environ.get("VASP_PP_PATH"), _paw_name(symbol, settings)
    if not root:
        raise ValueError(
            "VASP_PP_PATH is not set; name the folder that holds the PBE PAW data of your VASP licence, such as "
            f"$VASP_PP_PATH/potpaw_PBE/{name}/POTCAR"
        )
    for place in (Path(root, "potpaw_PBE", name, "POTCAR"), Path(root, name, "POTCAR")):
        if place.is_file():
            return place
    raise ValueError(
        f"{root}: has no POTCAR of {name}, neither {name}/POTCAR nor potpaw_PBE/{name}/POTCAR; add it or name another "
        f"one: dft: {{settings: {{paw: {{{symbol}: NAME}}}}}}"
    )


def read_job(atoms: Atoms, source: Path, settings: Settings) -> Calculated:
    """Energy and forces of a finished job without dispersion, atoms in the order of the frame.

    Raises:
        Waiting: the file ends early.
        Refused: not converged, another structure, other settings, or a dispersion energy that is not ours.
    """
    try:
        tree = ET.parse(source).getroot()  # noqa: S314  (the user's own file)
    except ET.ParseError as error:
        raise Waiting(
            f"{source}: is truncated ({error}); let the job finish or run it again, then this command"
        ) from error
    calculation = tree.findall("calculation")[-1:]
    steps = calculation[0].findall("scstep/energy") if calculation else []
    if not steps or calculation[0].find("varray[@name='forces']") is None:
        raise Waiting(f"{source}: holds no forces; let the job finish or run it again, then this command")
    _check_settings(tree, settings)
    most = int(_value(tree, "parameters//i[@name='NELM']") or settings.max_iterations)
    if len(steps) >= most:
        raise Refused(f"{source}: the electrons did not converge in {most} iterations (NELM)")
    found = _read(source)
    order = _order(atoms)
    _check_structure(cells.right_handed(atoms[order]), found, source)
    added = _number(calculation[0], "energy/i[@name='e_fr_energy']") - _number(steps[-1], "i[@name='e_fr_energy']")
    d3_ev, d3_forces = _job_dispersion(found, settings, added)
    forces = np.empty((len(atoms), 3))
    forces[order] = found.get_forces() - d3_forces
    return Calculated(
        energy_ev=float(found.calc.results["free_energy"]) - d3_ev,
        extrapolated_ev=float(found.get_potential_energy()) - d3_ev,
        forces=forces,
        iterations=len(steps),
        extra={"vasp_version": str(_value(tree, "generator/i[@name='version']")), "vasp_d3_energy": round(d3_ev, 8)},
    )


def _read(source: Path) -> Atoms:
    from ase.io import read

    return read(source, format="vasp-xml")


def _value(tree: ET.Element, path: str) -> str | None:
    found = tree.find(path)
    return None if found is None or found.text is None else found.text.strip()


def _number(tree: ET.Element, path: str) -> float:
    text = _value(tree, path)
    return float("nan") if text is None or "*" in text else float(text)


def _check_settings(tree: ET.Element, settings: Settings) -> None:
    wanted: Mapping[str, float] = {
        "ENCUT": settings.cutoff_ev,
        "EDIFF": settings.energy_convergence_ev,
        "ISMEAR": 0,
        "SIGMA": settings.smearing_ev,
        "IVDW": IVDW[settings.dispersion],
        "ISPIN": 2 if settings.spin == "polarised" else 1,
    }
    for tag, value in wanted.items():
        path = f"incar/i[@name='{tag}']"
        there = float(UNSET[tag]) if tag in UNSET and tree.find(path) is None else _number(tree, path)
        if not np.isclose(there, value, rtol=1e-6, atol=0):
            raise Refused(f"the job has {tag} = {there:g}, the settings say {value:g}; run it with the INCAR given")
    for row in tree.findall("atominfo/array[@name='atomtypes']/set/rc"):  # number, element, mass, valence, PAW data
        symbol, given = ((row[k].text or "").strip() for k in (1, -1))
        if _paw_name(symbol, settings) not in given.split():
            raise Refused(f"the job has the PAW data {given!r}, the settings say {_paw_name(symbol, settings)}")


def _check_structure(ordered: Atoms, found: Atoms, source: Path) -> None:
    if ordered.get_chemical_symbols() != found.get_chemical_symbols():
        raise Refused(f"{source}: holds {found.get_chemical_formula()}, the frame is {ordered.get_chemical_formula()}")
    shift = found.get_scaled_positions(wrap=False) - ordered.get_scaled_positions(wrap=False)
    moved = np.linalg.norm((shift - np.round(shift)) @ ordered.cell.array, axis=1).max()
    cell = np.abs(found.cell.array - ordered.cell.array).max()
    if max(moved, cell) > MOVED_ANGSTROM:
        raise Refused(f"{source}: is of another structure: an atom or the cell is {max(moved, cell):.4f} Angstrom off")


def _job_dispersion(found: Atoms, settings: Settings, added_ev: float) -> tuple[float, NDArray[np.float64]]:
    """D3 energy and forces that are in the job's total; `added_ev` is what VASP added after the electrons."""
    if settings.dispersion == "none":
        return 0.0, np.zeros((len(found), 3))
    energy_ev, forces = _d3(found, settings.dispersion)
    if abs(added_ev) > 1e-6 and abs(added_ev - energy_ev) > D3_DIFFERENCE_EV_PER_ATOM * len(found):
        raise Refused(
            f"the dispersion energy in the job is {added_ev:.4f} eV, {settings.dispersion} gives {energy_ev:.4f}; "
            "leave the VDW_ tags at their defaults"
        )
    return energy_ev, forces


def _d3(atoms: Atoms, kind: str) -> tuple[float, NDArray[np.float64]]:
    from dftd3.interface import DispersionModel, RationalDampingParam, ZeroDampingParam

    damping: Any = (
        ZeroDampingParam(s6=1.0, s8=0.722, s9=0.0, rs6=1.217, rs8=1.0, alp=14.0)
        if kind == "d3-zero"
        else RationalDampingParam(s6=1.0, s8=0.7875, s9=0.0, a1=0.4289, a2=4.4407, alp=14.0)
    )
    model = DispersionModel(
        atoms.numbers, atoms.positions / BOHR_ANGSTROM, atoms.cell.array / BOHR_ANGSTROM, np.array([True] * 3)
    )
    model.set_realspace_cutoff(disp2=PAIR_BOHR, disp3=40.0, cn=COORDINATION_BOHR)
    result = model.get_dispersion(damping, grad=True)
    forces = -np.asarray(result["gradient"], dtype=np.float64) * (HARTREE_EV / BOHR_ANGSTROM)
    return float(np.asarray(result["energy"])) * HARTREE_EV, forces
