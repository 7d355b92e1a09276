"""Levels and projected densities of states of one structure by VASP: a job for each mesh, read from its `vasprun.xml`.

Takes a structure, a mesh and settings of the engine; gives plain data, or says that the job has to run first
(`Waiting`). The electrons of each job are converged on its own mesh. The projections are those of LORBIT = 11, inside
the spheres of the PAW data.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
from ase import Atoms

from mlip.core.arrays import Array
from mlip.dft import vasp_xml
from mlip.dft.electronic import EMPTY_BANDS, Levels, Projected, filled
from mlip.dft.engines import Mesh, Refused, Waiting, vasp

OUTPUT = {"LORBIT": "11"}
VALENCE = re.compile(r"ZVAL\s*=\s*([0-9.]+)")
PER_BAND = 2.0  # electrons


@dataclass(frozen=True, kw_only=True)
class States:
    """Levels with the part of each that lies on each atom.

    Attributes:
        energies_ev: (k, bands).
        weights: (k,) of the points, of sum 1.
        atoms: (k, bands, atoms).
    """

    energies_ev: Array
    weights: Array
    atoms: Array


def levels(atoms: Atoms, mesh: Mesh, settings: vasp.Settings, folder: Path) -> tuple[Levels, States]:
    """Energies of the bands on a mesh centred on Gamma, and their states, from the job in the folder.

    Raises:
        Waiting: there is no finished job yet; its inputs are in the folder.
        Refused: the job did not converge, or is of another structure or other settings.
    """
    source = folder / "vasprun.xml"
    job = vasp.Bands(mesh=mesh, tags=_tags(atoms, settings))
    if not source.exists():
        vasp.write_inputs(atoms, folder, settings, job)
        raise Waiting(f"inputs are written: run VASP in {folder}, then this command again")
    tree, _, _ = vasp.checked(atoms, source, settings, job)
    try:
        return _read(tree, atoms, mesh)
    except (ValueError, AttributeError) as error:
        raise Refused(f"{source}: has no levels with projections ({error}); run it with the inputs given") from error


def _tags(atoms: Atoms, settings: vasp.Settings) -> Mapping[str, str]:
    """Output of projections, and enough empty bands where the PAW data say how many electrons there are."""
    symbols, electrons = atoms.get_chemical_symbols(), 0.0
    for symbol in set(symbols):
        found = VALENCE.search(vasp.potcar(symbol, settings).read_text(encoding="utf-8", errors="replace"))
        if found is None:
            return OUTPUT
        electrons += symbols.count(symbol) * float(found.group(1))
    return OUTPUT | {"NBANDS": str(round(electrons / PER_BAND) + EMPTY_BANDS * len(atoms))}


def _read(tree: ET.Element, atoms: Atoms, mesh: Mesh) -> tuple[Levels, States]:
    calculation = tree.findall("calculation")[-1]
    spin = calculation.findall("eigenvalues/array/set/set")
    parts = calculation.findall("projected/array/set/set")
    if len(spin) != 1 or len(parts) != 1:
        raise ValueError(f"levels of {len(spin)} spins and projections of {len(parts)}, where one is asked for")
    energies = np.array([_rows(point)[:, 0] for point in spin[0]])
    held = np.array([[_rows(band).sum(axis=1) for band in point] for point in parts[0]])
    order = vasp.order(atoms)
    own = np.empty_like(held)
    own[:, :, order] = held
    points = _rows(tree.find("kpoints/varray[@name='kpointlist']"))
    weights = _rows(tree.find("kpoints/varray[@name='weights']"))[:, 0]
    electrons = float(vasp_xml.text_of(tree, "parameters//i[@name='NELECT']") or "nan")
    occupied, left = filled(electrons)
    known = electrons > 0 and occupied < energies.shape[1]
    if energies.shape != held.shape[:2] or len(points) != len(energies) or not known:
        what = f"levels {energies.shape}, projections {held.shape}, {len(points)} points, {electrons:g} electrons"
        raise ValueError(what)
    weights = weights / weights.sum()
    found = Levels(mesh=mesh, points=points, weights=weights, energies_ev=energies, occupied=occupied, left=left)
    return found, States(energies_ev=energies, weights=weights, atoms=own)


def _rows(element: ET.Element | None) -> Array:
    """Numbers of the rows of an element.

    Raises:
        ValueError: there are none, or one is no number.
    """
    if element is None or not len(element):
        raise ValueError("a part is missing")
    return np.array([[float(x) for x in (row.text or "").split()] for row in element])


def projected(states: States, energies_ev: Array, *, width_ev: float) -> Projected:
    """Densities of states, Gaussians of a width.

    Args:
        states: from `levels`.
        energies_ev: in the scale of the levels.
        width_ev: standard deviation is this over the square root of two.
    """
    total, atoms = np.zeros(len(energies_ev)), np.zeros((states.atoms.shape[2], len(energies_ev)))
    for weight, level, held in zip(states.weights, states.energies_ev, states.atoms, strict=True):
        apart = (energies_ev[None, :] - level[:, None]) / width_ev
        peaks = PER_BAND * weight * np.exp(-(apart**2)) / (np.sqrt(np.pi) * width_ev)
        total += peaks.sum(axis=0)
        atoms += held.T @ peaks
    return Projected(energies_ev=energies_ev, total=total, atoms=atoms)
