"""VASP: inputs written, jobs run by the user, `vasprun.xml` of finished jobs read back. Nothing is run here.

Takes a structure and its folder; gives energy and forces without dispersion, or says what the job still needs. Preset
`vasp-paper` has what the paper under test states: PBE, 520 eV, 1e-6 eV, Grimme's D3 of 2010 (zero damping, IVDW = 11),
Monkhorst-Pack 2x3x1 on (001) and 3x2x1 on (100). What it does not state (spin, smearing, dipole, PAW data, the mesh of
bulk) is ours, below.

D3 in the job's total energy and forces is subtracted: E(PBE) = E(job) - E(D3), the same for forces, with D3 from the
dftd3 package at VASP's radii and compared with what VASP added. The labels then carry D3(BJ) beside them like others.
D3: doi:10.1063/1.3382344 (zero damping), doi:10.1002/jcc.21759 (BJ).

ASE writes INCAR and POSCAR and reads structure, energies and forces, the forces without the constraints of selective
dynamics. Written here: KPOINTS (four lines; that of ASE has a title of its own) and POTCAR (files one after another).
vasp_level and vasp_xml beside this folder read `<incar>`, `<parameters>`, `<kpoints>`, `<atominfo>` and the electronic
steps with ElementTree, because ASE gives no `<incar>`, no PAW data, no number of iterations, and only one value of a
tag that stands in several places.
"""

import io
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree as ET

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from pydantic import Field, model_validator

from mlip.atoms import cells, dispersion
from mlip.core import files
from mlip.core.section import Count, Positive, Section
from mlip.core.units import BOHR_ANGSTROM
from mlip.dft import vasp_level, vasp_xml
from mlip.dft.engines import (
    Calculated,
    Described,
    Mesh,
    Refused,
    Waiting,
    clear_of_boundary,
    length_mesh,
    normal_axis,
    said_to_be_slab,
)

IVDW = {"none": 0, "d3-zero": 11, "d3-bj": 12}
PAIR_BOHR, COORDINATION_BOHR = 50.2 / BOHR_ANGSTROM, 20.0 / BOHR_ANGSTROM  # VDW_RADIUS and VDW_CNRADIUS of VASP
D3_OF_JOB: dict[str, dispersion.Dispersion | dispersion.ZeroDamped] = {
    "d3-zero": replace(dispersion.D3_ZERO_PBE, pair_cutoff_bohr=PAIR_BOHR, coordination_cutoff_bohr=COORDINATION_BOHR),
    "d3-bj": replace(dispersion.D3_BJ_PBE, pair_cutoff_bohr=PAIR_BOHR, coordination_cutoff_bohr=COORDINATION_BOHR),
}
D3_DIFFERENCE_EV_PER_ATOM = 5e-4  # between VASP's dispersion and ours, beyond which something is set differently
ADDED_EV = 1e-6  # below which nothing was added after the electrons


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
        potcar(symbol, settings)


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


@dataclass(frozen=True, kw_only=True)
class Bands:
    """What a job for energy levels has beside its settings."""

    mesh: Mesh  # centred on Gamma
    tags: Mapping[str, str]  # more of the INCAR: output, numbers of bands


def write_inputs(atoms: Atoms, folder: Path, settings: Settings, bands: Bands | None = None) -> None:
    """Write INCAR, KPOINTS, POSCAR and POTCAR; atoms are grouped by element in the order of the alphabet.

    VASP stops at left-handed cell vectors, so the POSCAR then has all three reversed.
    """
    if settings.dipole and said_to_be_slab(atoms) and not clear_of_boundary(atoms):
        raise Refused("the slab is at the cell boundary, where the dipole layer sits; shift it to the middle")
    from ase.io.vasp_parsers.incar_writer import generate_incar_lines

    ordered = cells.right_handed(atoms[order(atoms)])
    symbols = sorted(set(ordered.get_chemical_symbols()))
    tags = incar(ordered, settings) | (dict(bands.tags) if bands else {})
    files.write_text_atomic(folder / "INCAR", generate_incar_lines(tags))
    points = " ".join(map(str, bands.mesh if bands else mesh(atoms, settings)))
    scheme = "Gamma" if bands else "Monkhorst-Pack"
    files.write_text_atomic(folder / "KPOINTS", f"single point\n0\n{scheme}\n{points}\n0 0 0\n")
    files.write_text_atomic(folder / "POSCAR", _poscar(ordered))
    files.write_bytes_atomic(folder / "POTCAR", b"".join(potcar(s, settings).read_bytes() for s in symbols))


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


def order(atoms: Atoms) -> list[int]:
    """Places of the atoms of the POSCAR in the structure."""
    return sorted(range(len(atoms)), key=lambda k: atoms[k].symbol)  # stable


def _poscar(ordered: Atoms) -> str:
    from ase.io.vasp import write_vasp

    text = io.StringIO()
    write_vasp(text, ordered, direct=False, ignore_constraints=True)
    return "".join(f"{' '.join(line.split())}\n" for line in text.getvalue().splitlines())


def _paw_name(symbol: str, settings: Settings) -> str:
    from ase.calculators.vasp.setups import setups_defaults

    return settings.paw.get(symbol, f"{symbol}{setups_defaults['recommended'].get(symbol, '')}")


def potcar(symbol: str, settings: Settings) -> Path:
    """The PAW data of an element.

    Raises:
        ValueError: VASP_PP_PATH is not set or has none.
    """
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
        Refused: not converged, another structure, another level, a force field, or a dispersion energy that is not
            ours.
    """
    tree, found, iterations = checked(atoms, source, settings)
    calculation = tree.findall("calculation")[-1]
    vasp_xml.require_forces(calculation, found, source)
    places = order(atoms)
    d3_ev, d3_forces = _job_dispersion(found, settings, vasp_xml.added_ev(calculation))
    forces = np.empty((len(atoms), 3))
    forces[places] = found.get_forces(apply_constraint=False) - d3_forces
    return Calculated(
        energy_ev=float(found.calc.results["free_energy"]) - d3_ev,
        extrapolated_ev=float(found.get_potential_energy()) - d3_ev,
        forces=forces,
        iterations=iterations,
        extra={
            "vasp_version": str(vasp_xml.text_of(tree, "generator/i[@name='version']")),
            "vasp_d3_energy": round(d3_ev, 8),
        },
    )


def checked(
    atoms: Atoms, source: Path, settings: Settings, bands: Bands | None = None
) -> tuple[ET.Element, Atoms, int]:
    """Root of the file of a finished job, its last structure, and the number of electronic steps.

    Raises:
        Waiting: the file ends early.
        Refused: not converged, another structure, another level, or a force field.
    """
    tree = vasp_xml.root(source)
    ordered = cells.right_handed(atoms[order(atoms)])
    vasp_xml.require_elements(tree, ordered, source)
    _require_level(tree, ordered, bands.mesh if bands else mesh(atoms, settings), source, settings, bands is not None)
    calculation = tree.findall("calculation")[-1]
    steps = vasp_xml.electronic_steps(tree, calculation, source, most=settings.max_iterations)
    found = vasp_xml.last_structure(source)
    vasp_xml.require_structure(ordered, found, source)
    vasp_xml.require_one_cell(tree, found, source)
    return tree, found, len(steps)


def _require_level(
    tree: ET.Element, ordered: Atoms, points: Mesh, source: Path, settings: Settings, has_gamma: bool
) -> None:
    symbols, beside = set(ordered.get_chemical_symbols()), source.parent / "INCAR"
    tags = incar(ordered, settings)
    if not vasp_level.states(tree, "IVDW") and abs(vasp_xml.added_ev(tree.findall("calculation")[-1])) > ADDED_EV:
        del tags["IVDW"]  # not every version of VASP echoes this tag; _job_dispersion compares the energy added
    asked = vasp_level.Asked(
        tags=tags,
        mesh=points,
        paw={symbol: _paw_name(symbol, settings) for symbol in symbols},
        titles=_titles(symbols, settings),
        has_gamma=has_gamma,
    )
    text = beside.read_text(encoding="utf-8", errors="replace") if beside.is_file() else ""
    try:
        vasp_level.require(tree, asked, text)
    except Refused:
        raise
    except (ValueError, IndexError) as error:  # a number or a row that is none
        raise Refused(f"{source}: cannot be read ({error}); run the job again with the inputs given") from error


def _titles(symbols: Collection[str], settings: Settings) -> dict[str, str]:
    """First line of the POTCAR of every element, where the PAW data are at hand."""
    if not os.environ.get("VASP_PP_PATH"):
        return {}
    found = {}
    for symbol in symbols:
        with potcar(symbol, settings).open(encoding="utf-8", errors="replace") as lines:
            found[symbol] = lines.readline()
    return found


def _job_dispersion(found: Atoms, settings: Settings, added_ev: float) -> tuple[float, NDArray[np.float64]]:
    """D3 energy and forces that are in the job's total; `added_ev`: see `vasp_xml.added_ev`."""
    if settings.dispersion == "none":
        if abs(added_ev) > D3_DIFFERENCE_EV_PER_ATOM * len(found):
            raise Refused(
                f"the job added {added_ev:.4f} eV after its electrons, the settings say no dispersion; run it with the "
                "INCAR given"
            )
        return 0.0, np.zeros((len(found), 3))
    energy_ev, forces = dispersion.d3(found, D3_OF_JOB[settings.dispersion])
    if abs(added_ev) > ADDED_EV and abs(added_ev - energy_ev) > D3_DIFFERENCE_EV_PER_ATOM * len(found):
        raise Refused(
            f"the dispersion energy in the job is {added_ev:.4f} eV, {settings.dispersion} gives {energy_ev:.4f}; "
            "leave the VDW_ tags at their defaults"
        )
    return energy_ev, forces
