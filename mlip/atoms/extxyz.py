"""Labelled frames in extended XYZ: read whole or not at all, and brought under this project's keys and units.

Takes extxyz files; gives Atoms whose `info` and `arrays` hold

    info    frame_id, group (path or trajectory; splits never cut one), host, ion, system, sampling, settings_hash: text
            vacuum: bool; dft_energy, d3_energy: eV, force-consistent; net_force: eV/Angstrom, before any correction
    arrays  dft_forces, d3_forces: (N, 3) in eV/Angstrom

or one line that says which file and frame, what is wrong and what to do. A plain extxyz reader turns a host called 001
into the number 1 and takes a file that ends early for a shorter one; this one does neither. Format: the extended XYZ
of libAtoms, as ASE reads it.
"""

import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.io import read
from numpy.typing import NDArray

from mlip.atoms import cells, dispersion, foreign
from mlip.core import texts
from mlip.core.units import BOHR_ANGSTROM, HARTREE_EV

TEXT_KEYS = ("frame_id", "system", "host", "ion", "group", "sampling", "settings_hash", "level", "target", "teacher")
UNITS = {"length": "Angstrom", "energy": "eV", "force": "eV/Angstrom"}


@dataclass(frozen=True)
class Keys:
    """Names that a foreign extxyz file uses; `energy` must be force-consistent (the free energy where smeared).

    None means the name of the field, as long as a frame holds no other energy or no other set of forces.
    """

    energy: str | None = None
    forces: str | None = None
    group: str = "group"
    host: str = "host"
    ion: str = "ion"


def settings_hash(settings: Mapping[str, object]) -> str:
    """First 16 hexadecimal digits of the SHA-256 of the settings as JSON with sorted keys and no spaces.

    Whole numbers count as numbers: 520 and 520.0 are one level. True and false are no numbers.
    """
    return settings_hash_as_written({key: _as_numbers(value) for key, value in settings.items()})


def settings_hash_as_written(settings: Mapping[str, object]) -> str:
    """The hash with 520 and 520.0 as two levels, as in frames of version 0.1.0."""
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _as_numbers(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _as_numbers(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_as_numbers(inner) for inner in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def read_frames(path: Path, text_keys: Sequence[str] = TEXT_KEYS, *, needs_cell: bool = True) -> list[Atoms]:
    """Every frame of an extended XYZ file, in order, with the values of text_keys kept as text.

    Args:
        path: extended XYZ.
        text_keys: keys of the comment line whose values stay text.
        needs_cell: refuse frames without a three-dimensional cell; `require_cell` does so later.

    Raises:
        ValueError: where the file cannot be read, is empty or truncated, or a frame has an unknown species, a wrong
            number of columns, or no cell.
    """
    text = texts.read_text(path, advice="give the path of an extxyz file")
    if not text.strip():
        raise ValueError(f"{path}: holds no frames; make or copy the file again")
    blocks = list(_blocks(text.split("\n"), path))
    if not text.endswith("\n"):
        raise ValueError(
            f"{path}: frame {len(blocks) - 1}: truncated, the last line has no end; make or copy the file again"
        )
    frames = [_frame(block, f"{path}: frame {number}", text_keys) for number, block in enumerate(blocks)]
    for number, frame in enumerate(frames if needs_cell else []):
        require_cell(frame, f"{path}: frame {number}")
    return frames


def _blocks(lines: Sequence[str], path: Path) -> Iterator[list[str]]:
    last = max(number for number, line in enumerate(lines) if line.strip())
    start, number = 0, 0
    while start <= last:
        head = lines[start].strip()
        if not (head.isascii() and head.isdigit()) or int(head) == 0:
            raise ValueError(
                f"{path}: frame {number}: line {start + 1} holds {head[:40]!r} where a number of atoms belongs; "
                "the file is damaged or not extxyz: make or copy it again"
            )
        end = start + int(head) + 2
        if end > last + 1:
            raise ValueError(
                f"{path}: frame {number}: truncated, {max(last - start - 1, 0)} of {head} atoms are there; "
                "make or copy the file again"
            )
        yield list(lines[start:end])
        start, number = end, number + 1


def _frame(block: list[str], where: str, text_keys: Sequence[str]) -> Atoms:
    text = _texts(block[1], text_keys)
    where = f"{where} ({text.get('frame_id', 'no frame_id')})"
    declared = re.search(r"Properties=\"?species:S:1:", block[1])
    for row, line in enumerate(block[2:] if declared else []):
        species = line.split()[0] if line.split() else ""
        if species not in atomic_numbers or species == "X":
            raise ValueError(f"{where}: atom {row} has the unknown species {species!r}; use element symbols")
    try:
        atoms = read(io.StringIO("\n".join(block) + "\n"), format="extxyz")
    except (ValueError, KeyError, IndexError, TypeError, OSError) as error:
        raise ValueError(
            f"{where}: cannot be read ({' '.join(str(error).split())[:120]}); "
            "each atom line must have the columns that Properties= declares"
        ) from error
    atoms.info.update(text)
    return atoms


def require_cell(atoms: Atoms, where: str) -> None:
    """Raise a ValueError where the cell is not three-dimensional, or its periodic vectors lie in a plane."""
    named = f"{where} ({atoms.info.get('frame_id', 'no frame_id')})"
    if atoms.cell.rank < 3:
        raise ValueError(f"{named}: has no three-dimensional cell (Lattice=); slabs need their vacuum in the cell")
    if not cells.independent(atoms.cell.array[atoms.pbc]):
        raise ValueError(f"{named}: its periodic cell vectors (Lattice=) lie in a plane; check the cell")


def _texts(comment: str, keys: Sequence[str]) -> dict[str, str]:
    found = {}
    for key, quoted, bare in re.findall(r'([^\s="]+)=(?:"((?:[^"\\]|\\.)*)"|(\S*))', comment):
        if key in keys and not bare.startswith(("'", "{", "[")):
            found[key] = re.sub(r"\\(.)", r"\1", quoted) or bare
    return found


def with_labels(atoms: Atoms, *, energy_ev: float, forces: NDArray[np.float64], info: Mapping[str, object]) -> Atoms:
    """A new frame with this project's keys: the mean force subtracted, net_force kept, and D3(BJ) beside the labels.

    Args:
        atoms: structure; it is taken as periodic in three directions.
        energy_ev: force-consistent energy.
        forces: (N, 3) in eV/Angstrom.
        info: identity of the frame: frame_id, group, host, ion, settings_hash and whatever else is known.
    """
    frame = Atoms(atoms.symbols, positions=atoms.positions, cell=atoms.cell, pbc=True)
    d3_energy_ev, d3_forces = dispersion.d3(frame)
    frame.info = {
        **info,
        "dft_energy": float(energy_ev),
        "d3_energy": round(d3_energy_ev, 8),
        "net_force": round(float(np.abs(forces.sum(axis=0)).max()), 8),
    }
    frame.arrays["dft_forces"] = forces - forces.mean(axis=0)
    frame.arrays["d3_forces"] = d3_forces
    return frame


def import_frames(
    path: Path,
    *,
    level_hash: str,
    energy_unit: Literal["eV", "Hartree"],
    force_unit: Literal["eV/Angstrom", "Hartree/Bohr"],
    keys: Keys = Keys(),
    zero_forces_are_true: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> list[Atoms]:
    """Frames of somebody else's extxyz file under this project's keys and units; `check` them next.

    Isolated atoms are left out; a slab whose vacuum is along another cell vector is turned, so that the third one has
    it. Forces are those of the file, whatever constraints the file holds.

    Args:
        path: extxyz with energy and forces under the names in `keys`, as info/arrays or as ASE writes its results.
        level_hash: `settings_hash` of the settings that made all of these labels.
        energy_unit: unit in the file; it has no default because a file does not say it.
        force_unit: unit in the file.
        keys: names in the file. group (path or trajectory), host and ion are needed; frame_id is made where absent.
        zero_forces_are_true: forces of exactly zero on a part of the atoms are labels.
        say: takes a line on what was left out or turned.

    Raises:
        ValueError: where a unit is unknown, a frame lacks a label, a group, a host or an ion, a label could be one of
            two, forces are zero without a symmetry behind it, or pbc or `vacuum` are not true.
    """
    energies = {"eV": 1.0, "Hartree": HARTREE_EV}
    gradients = {"eV/Angstrom": 1.0, "Hartree/Bohr": HARTREE_EV / BOHR_ANGSTROM}
    for unit, known in ((energy_unit, energies), (force_unit, gradients)):
        if unit not in known:
            raise ValueError(f"{path}: unit {unit!r} is unknown; use one of {', '.join(known)}")
    found = _labelled(path, keys, say)
    scale = gradients[force_unit]
    step = scale * 10.0 ** -foreign.decimals([forces for *_, forces in found])
    made, moved = [], []
    for where, frame, info, energy, raw in found:
        atoms, forces = frame, raw * scale
        try:
            if not zero_forces_are_true:
                foreign.require_true_zeros(atoms, forces, step=step)
            is_slab, axis = foreign.consistent_vacuum(atoms)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        if axis in {0, 1}:
            atoms, forces = foreign.turned(atoms, forces, axis)
            moved.append(str(info["frame_id"]))
        info |= {k: atoms.info[k] for k in ("kpts",) if k in atoms.info}
        info |= {"settings_hash": level_hash, "vacuum": is_slab}
        made.append(with_labels(atoms, energy_ev=energy * energies[energy_unit], forces=forces, info=info))
    if moved:
        say(f"{path.name}: {len(moved)} slabs turned, so that their vacuum is along the third vector: {_listed(moved)}")
    return made


def _labelled(
    path: Path, keys: Keys, say: Callable[[str], None]
) -> list[tuple[str, Atoms, dict[str, Any], float, NDArray[np.float64]]]:
    """Place, structure, names, energy and forces (in the units of the file) of all frames but isolated atoms."""
    found, alone = [], []
    for number, frame in enumerate(read_frames(path, (*TEXT_KEYS, keys.group, keys.host, keys.ion), needs_cell=False)):
        name = str(frame.info.get("frame_id", f"{path.stem}-{number}"))
        where = f"{path}: frame {number} ({name})"
        if foreign.is_isolated_atom(frame):
            alone.append(str(frame.symbols[0]))
            continue
        require_cell(frame, f"{path}: frame {number}")
        values = {**(frame.calc.results if frame.calc else {}), **frame.info, **frame.arrays}
        try:
            energy = foreign.require_one(values, "energy", keys.energy, atoms=len(frame))
            forces = foreign.require_one(values, "forces", keys.forces, atoms=len(frame))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        if lacking := [k for k in (energy, forces, keys.group, keys.host, keys.ion) if k not in values]:
            raise ValueError(f"{where}: has no {', '.join(lacking)}; add them or name the file's own keys")
        for key, shape in ((energy, ()), (forces, (len(frame), 3))):
            if np.shape(values[key]) != shape or not np.issubdtype(np.asarray(values[key]).dtype, np.number):
                raise ValueError(
                    f"{where}: {key} has the shape {np.shape(values[key])} where numbers of shape {shape} belong; "
                    "write it again, or name another key"
                )
        info = {k: v for k, v in frame.info.items() if k in TEXT_KEYS} | {"frame_id": name}
        info |= {k: str(values[getattr(keys, k)]) for k in ("group", "host", "ion")}
        found.append((where, frame, info, float(values[energy]), np.asarray(values[forces], dtype=np.float64)))
    if alone:
        say(f"{path.name}: {len(alone)} isolated atoms left out ({_listed(alone)}): no crystal or slab to train on")
    if not found:
        raise ValueError(f"{path}: holds isolated atoms only; give at least one frame of a crystal or slab")
    return found


def _listed(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
