"""The barrier of one hop, or relaxed structures, from structure files and a potential, without a run.

Takes files in any format that ASE reads, and CIF files by the reader of crystals; gives a climbing-image band by every
member of the committee with its barrier and spread, or structures relaxed on the mean of the committee. What did not
converge has a status and no number.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read
from ase.io.formats import UnknownFileTypeError
from pydantic import ValidationError

from mlip.atoms import cells, cif, cif_tags, crystals, foreign
from mlip.atoms.ends import matched
from mlip.core import files
from mlip.core.progress import console
from mlip.core.status import Status
from mlip.potential import calculators, models, potential
from mlip.potential.backends.ase_calculator import Named
from mlip.potential.potential import Evaluator, Potential
from mlip.stages.neb import band as moving
from mlip.stages.neb import neb, pool
from mlip.stages.neb.report import profile
from mlip.stages.neb.settings import NebSettings
from mlip.stages.train.settings import CalculatorSettings

Model = Path | Named  # a model folder, or an ASE calculator
OF_RESULTS = {"dft", "d3", "mlip", "stress", "virial", "virials"} | foreign.ENERGY_WORDS | foreign.FORCE_WORDS
WHOLE = "give a whole file: extended XYZ, CIF, or a POSCAR with its line of element symbols"
RELAXED, NOT_CONVERGED = "relaxed", "not converged"


@dataclass(frozen=True, kw_only=True)
class HopBarrier:
    """The barrier of one hop by a committee, and the bands it comes from."""

    level: str  # of the potential: PBE, PBE-D3(BJ) or unknown
    barrier: neb.Barrier
    bands: tuple[neb.Band, ...]  # one of each member


def barrier(
    initial: Atoms, final: Atoms, calculator: Potential, *, settings: NebSettings | None = None, ion: str | None = None
) -> tuple[HopBarrier, list[list[Atoms]]]:
    """The barrier of a hop by every member of a committee, all bands in one batch.

    Args:
        initial: relaxed first, in its fixed cell; never changed. A slab that a face of the cell cuts in two, along a
            vector where `pbc` is F, is taken in one piece.
        final: the same atoms in any order, wrapped or not.
        calculator: from `mlip.load`.
        settings: number of images, force limits and so on; the defaults of the stage `neb` without.
        ion: chemical symbol of the ion that hops; without it, the atom that moves farthest.

    Returns:
        The barrier with its bands, and of each band the images with energies (eV) and forces (eV/Angstrom).

    Raises:
        ValueError: the two structures do not belong together, are one structure, or hold an unknown element.

    Method: doi:10.1063/1.1329672, doi:10.1063/1.1323224.
    """
    first, last = matched(*_in_one_piece(initial, final), ion=ion)
    evaluator, chosen = calculator.evaluator, settings or NebSettings()
    members = range(len(evaluator.members))
    spread_of = pool.committee_spread(evaluator) if len(members) > 1 else None
    found: dict[int, tuple[neb.Band, list[Atoms]]] = {}
    entries = []
    for k in members:
        name = neb.BandName(hop="hop", host="host", member=k + 1)
        steps = neb.climbing(first, last, settings=chosen, name=name, spread_of=spread_of)
        entries.append(pool.Entry(steps, first, chosen.images + 2, k))
    pool.advance(entries, evaluator, on_done=found.__setitem__)
    bands = tuple(found[k][0] for k in members)
    whole = HopBarrier(level=calculator.level, barrier=neb.committee(bands, symmetric=False), bands=bands)
    return whole, [found[k][1] for k in members]


def _in_one_piece(initial: Atoms, final: Atoms) -> tuple[Atoms, Atoms]:
    """Both ends, periodic along every vector across whose faces one of them is cut in two."""
    (first, one), (last, other) = (cells.rejoined(end) for end in (initial, final))
    if one or other:
        first, last = first.copy(), last.copy()
        first.pbc = last.pbc = first.pbc | last.pbc
    return first, last


def barrier_from_files(
    initial: Path, final: Path, out: Path, *, model: Model, settings: NebSettings, ion: str | None, device: str
) -> HopBarrier:
    """Write `barrier.json`, `profile.svg` and `band-<member>.extxyz` of a hop between two structure files.

    The device is that of a model; a calculator has one by its arguments.

    Raises:
        ValueError: unreadable files, structures that do not belong together, an unknown element, or a folder that
            cannot be written or holds an input under the name of a result (found before anything is computed).
    """
    sources = (initial, final, *_folders(model))
    files.require_writable(out / "barrier.json", sources)
    given = [(path, _structures(path, least=1, most=1)) for path in (initial, final)]
    calculator = _loaded(model, given, device=device)
    (first,), (last,) = (potential.whole_frames(structures, path) for path, structures in given)
    for name in ("profile.svg", *(f"band-{k + 1}.extxyz" for k in range(len(calculator.evaluator.members)))):
        files.require_writable(out / name, sources)
    found, images = barrier(first, last, calculator, settings=settings, ion=ion)
    for band, own in zip(found.bands, images, strict=True):
        files.write_frames(out / f"band-{band.member}.extxyz", own)
    files.write_bytes_atomic(out / "profile.svg", profile(found.bands))
    files.write_record(out / "barrier.json", found)
    return found


def summary(found: HopBarrier) -> str:
    """The barrier in a line."""
    one = found.barrier
    if one.forward_ev is None or one.reverse_ev is None:
        notes = "; ".join(dict.fromkeys(band.note for band in found.bands if band.note))
        return f"{one.ion}: no barrier: {one.status}" + (f" ({notes})" if notes else "")
    forward, reverse = (
        f"{value:.3f}" + ("" if std is None else f" +- {std:.3f}")
        for value, std in ((one.forward_ev, one.forward_std_ev), (one.reverse_ev, one.reverse_std_ev))
    )
    count = f"mean +- standard deviation of {one.members} members" if one.members > 1 else "one member"
    return f"{one.ion}: {forward} eV forward, {reverse} eV reverse ({found.level}; {count})"


def relaxed(
    atoms: Atoms, calculator: Potential, *, fmax_ev_per_angstrom: float, max_steps: int
) -> tuple[Atoms, Status]:
    """A copy relaxed on the mean of the committee in its fixed cell, with energy and forces, and its status.

    Args:
        atoms: any structure; never changed.
        calculator: from `mlip.load`.
        fmax_ev_per_angstrom: the relaxation ends when no atom has a larger force.
        max_steps: largest number of steps.

    Raises:
        ValueError: an energy or a force is not finite.
    """
    steps = moving.relaxed(atoms, 0, moving.Tally(), fmax=fmax_ev_per_angstrom, max_steps=max_steps)
    try:
        image = moving.driven(steps, moving.by_calculator(calculator))
    except moving.NotFiniteError as error:
        raise ValueError(f"{error}: the structure is outside the domain of the potential") from error
    done = moving.largest(image.get_forces()) < fmax_ev_per_angstrom
    return image, Status(RELAXED) if done else Status(NOT_CONVERGED, f"{max_steps} steps")


def relax_files(
    source: Path, out: Path, *, model: Model, fmax_ev_per_angstrom: float, max_steps: int, device: str
) -> list[str]:
    """Write every structure of a file, relaxed, as extended XYZ; gives a line on each.

    Labels of the file (energies, forces, `settings_hash`) are those of other positions and are left out. The info of a
    frame holds `mlip_status` ('relaxed' or 'not converged'), `mlip_energy_std` (eV, where there is a committee) and
    `mlip_level`.

    Raises:
        ValueError: unreadable file, unknown element, an output that cannot be written or is an input (found first), or
            a structure outside the domain of the potential (those before it are written).
    """
    files.require_writable(out, (source, *_folders(model)))
    structures = _structures(source, least=1)
    calculator = _loaded(model, [(source, structures)], device=device)
    made: list[Atoms] = []
    lines: list[str] = []
    for number, atoms in enumerate(potential.whole_frames(structures, source)):
        try:
            image, status = relaxed(atoms, calculator, fmax_ev_per_angstrom=fmax_ev_per_angstrom, max_steps=max_steps)
            spread = calculator.evaluator([image])[0].energy_std_ev
        except ValueError as error:
            kept = f"; the structures before it are in {out}" if made else ""
            raise ValueError(f"{source}: structure {number}: {error}{kept}") from error
        image.info = {**atoms.info, "mlip_status": status.code, "mlip_level": calculator.level}
        if spread is not None:
            image.info["mlip_energy_std"] = spread
        made.append(image)
        files.write_frames(out, made)  # what is done stays if the next one fails
        largest, moved = moving.largest(image.get_forces()), np.linalg.norm(image.positions - atoms.positions, axis=1)
        lines.append(
            f"structure {number}: {status}, {image.get_potential_energy():.4f} eV, largest force {largest:.4f} "
            f"eV/Angstrom, largest displacement {moved.max():.3f} Angstrom"
        )
    return lines


def named_calculator(name: str, arguments: str, *, trusted: bool) -> Named:
    """An ASE calculator as a command line names it.

    Args:
        name: package.module:Class.
        arguments: of the class by keyword, JSON.
        trusted: whether somebody says so; a calculator runs its own code.

    Raises:
        ValueError: not trusted, no such form of a name, or arguments that are no JSON object.
    """
    try:
        given = json.loads(arguments)
    except json.JSONDecodeError as error:
        raise ValueError(f"--arguments: {arguments!r} is no JSON ({error}); write them as '{{\"key\": 1}}'") from error
    if not isinstance(given, dict):
        raise ValueError(f"--arguments: {arguments!r} is no JSON object; write it as '{{\"key\": 1}}'")  # noqa: TRY004
    try:
        chosen = CalculatorSettings(name=name, arguments=given, trusted=trusted)
    except ValidationError as error:
        if not trusted:
            raise ValueError(f"--calculator: {name} runs its own code; if you trust it add --trusted") from error
        raise ValueError(f"--calculator: {name!r} is no package.module:Class") from error
    return Named(chosen.name, chosen.arguments)


def _loaded(model: Model, named: Sequence[tuple[Path, Sequence[Atoms]]], *, device: str) -> Potential:
    released = _calculated(model) if isinstance(model, Named) else models.load(model)
    evaluator = Evaluator(released, device=device)
    for path, structures in named:
        potential.require_usable(structures, evaluator, path)
    return Potential(evaluator)


def _folders(model: Model) -> tuple[Path, ...]:
    """The folder of a model; a calculator has none."""
    return () if isinstance(model, Named) else (model,)


def _calculated(named: Named) -> models.Released:
    return models.Released((named,), calculators.SHAPE, {}, named.name, named)


def _structures(path: Path, *, least: int, most: int | None = None) -> list[Atoms]:
    """The structures of a file, with their cell, without labels.

    Raises:
        ValueError: as `_read`, no cell, or another number of structures.
    """
    found = _read(path)
    if len(found) < least or (most is not None and len(found) > most):
        wanted = "one" if most == 1 else f"at least {least}"
        raise ValueError(f"{path}: holds {len(found)} structures, {wanted} is wanted: write the one you mean to a file")
    for number, atoms in enumerate(found):
        if atoms.cell.rank < 3:
            raise ValueError(
                f"{path}: structure {number} has no cell of three vectors; write the file with its lattice"
            )
    return [_without_labels(atoms) for atoms in found]


def _without_labels(atoms: Atoms) -> Atoms:
    """A copy without energies, forces and other results, which are not those of the geometry that is made of it."""
    out = atoms.copy()
    for values in (out.info, out.arrays):
        for key in [key for key in values if key == "settings_hash" or foreign.words(key) & OF_RESULTS]:
            del values[key]
    return out


def _read(path: Path) -> list[Atoms]:
    """The structures of a file: the crystals of a CIF file, or that of `file.cif#block`; else those that ASE reads.

    Raises:
        ValueError: no such file, a CIF file that `cif.read` refuses, or a format that ASE does not read.
    """
    name, block = crystals.split(str(path))
    place = files.located(name)
    if not place.is_file():
        raise ValueError(f"{path}: no such file")
    if place.suffix.lower() == ".cif":
        return [_of_cif(place, one) for one in ([block] if block else cif_tags.names_with_atoms(place) or [""])]
    try:
        return list(read(place, index=":"))
    except (UnknownFileTypeError, ImportError) as error:
        raise ValueError(
            f"{path}: ASE does not know this format ({error}); give extended XYZ, POSCAR or CIF"
        ) from error
    except Exception as error:  # whatever a foreign reader raises
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path}: not readable as a structure ({reason[:120]}); {WHOLE}") from error


def _of_cif(path: Path, block: str) -> Atoms:
    """The crystal of a data block, as the file describes it; what the file left open is told."""
    found = cif.read(path, block)
    for note in found.notes:
        console.print(f"  {path.name}: {note}", markup=False, soft_wrap=True)
    return Atoms(found.atoms.symbols, positions=found.atoms.positions, cell=found.atoms.cell, pbc=True)
