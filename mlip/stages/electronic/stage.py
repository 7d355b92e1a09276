"""The stage `electronic`: gaps, densities of states, Bader charges and charge density differences, by DFT.

Geometries are those of the potential: clean hosts in their primitive cells, and the lowest sites of the ions. What was
calculated is in `electrons/` of the run folder, named by structure and settings, and is not calculated again.
"""

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
from ase import Atoms

from mlip.atoms import ions
from mlip.core import files
from mlip.core.arrays import Array
from mlip.core.report import ReportSection
from mlip.core.section import Section
from mlip.core.stage import Context, Stage
from mlip.core.status import NOT_CALCULATED, WAITING, Status
from mlip.dft import engines, queue
from mlip.dft.engines import gpaw, normal_axis, vasp
from mlip.dft.settings import Dft
from mlip.stages import structures
from mlip.stages.electronic import bader, jobs
from mlip.stages.electronic.report import electronic_sections
from mlip.stages.electronic.result import Electronic, HostStates, IonCharge
from mlip.stages.electronic.settings import ElectronicSettings
from mlip.stages.sites.sites import RELAXED, Site
from mlip.stages.sites.stage import STAGE as SITES
from mlip.stages.sites.stage import configuration, relaxed_hosts

VERSION = 3  # raised where the same settings give other numbers; kept results have their own versions in `jobs`
SYMMETRIC = {"point_group": True}  # of GPAW, for gaps
OF_GAPS = ("mesh_lengths_angstrom", "same_gap_ev", "width_ev")  # settings that a result depends on, beside the level
OF_IONS = ("refinements", "same_charge_e", "starting_moments_bohr")
PRIMITIVE_ANGSTROM = 0.02  # positions that differ by less are equivalent, for the primitive cell
PARTS = {  # of the settings: what is calculated for an ion, and the fields of its row
    "charges": (jobs.charges, ("status", "charge_e", "grids", "electrons_left")),
    "difference": (
        jobs.change,
        ("neighbours", "moved", "difference_status", "integral", "heights_angstrom", "planar", "section"),
    ),
    "spin": (jobs.moment, ("moment_bohr", "moment_status", "spin_energy_ev")),
}
Settings = ElectronicSettings


def run(context: Context[Settings]) -> Electronic:
    """Calculate the parts that are asked for."""
    settings, dft, folder = context.settings, context.section(Dft), context.folder_of(SITES)
    _require(context)
    names = [h.name for h in context.result(structures.STAGE).hosts]
    kept = [n for n in names if any(fnmatch.fnmatchcase(n, p) for p in settings.hosts)]
    hosts = _marked(relaxed_hosts(folder, kept), context)
    states = [_host_job(context, name, atoms) for name, atoms in hosts.items()] if "gaps" in settings.parts else []
    of_ions = bool(set(PARTS) & set(settings.parts))
    sites = chosen_sites(context.result(SITES).sites, settings.sites, kept) if of_ions else []
    placed = [_marked({site.host: configuration(folder, site)}, context)[site.host] for site in sites]
    with_ions = [_ion_job(context, site, atoms) for site, atoms in zip(sites, placed, strict=True)]
    if "spin" in settings.parts:
        for job in with_ions:
            jobs.polarised(job)  # refuses a cell without a starting moment before anything is calculated
    found = context.map(jobs.states, states, label="gaps", uses_torch=False)
    rows = [jobs.without(job, Status(NOT_CALCULATED)) for job in with_ions]
    for part, (function, fields) in PARTS.items():
        if part in settings.parts:
            made = context.map(function, with_ions, label=part, uses_torch=False)
            rows = [_taken(row, one, fields) for row, one in zip(rows, made, strict=True)]
    context.leave_unfinished(*_left(context, states, found))
    return Electronic(level=queue.settings_hash(dft), hosts=tuple(found), ions=tuple(rows))


def _left(
    context: Context[Settings], states: Sequence[jobs.HostJob], found: Sequence[HostStates]
) -> tuple[str | None, list[Path]]:
    """What the next call may add: why, where VASP jobs wait, and the outputs for which hosts were refused."""
    waiting = 0
    refused = []
    for job, row in zip(states, found, strict=True):
        output = jobs.last_output(job)
        if row.status.code == WAITING:
            waiting += 1
            context.say(f"{row.host}: {row.status}")
        elif row.status.code == jobs.REFUSED and output is not None:
            refused.append(output)
            context.say(f"{row.host}: {row.status}; to try again remove or replace {output}")
    return f"{waiting} of {len(found)} hosts need VASP jobs" if waiting else None, refused


def _marked(found: Mapping[str, Atoms], context: Context[Settings]) -> dict[str, Atoms]:
    """Structures by host that say whether they have vacuum, which k-meshes depend on."""
    slabs = structures.slab_names(context.result(structures.STAGE).hosts)
    for name, atoms in found.items():
        atoms.info["vacuum"] = name in slabs
    return dict(found)


def _taken(row: IonCharge, made: IonCharge, fields: Sequence[str]) -> IonCharge:
    """The row with fields of another one."""
    return replace(row, **{name: getattr(made, name) for name in fields})


def chosen_sites(sites: Sequence[Site], patterns: Sequence[str], hosts: Sequence[str]) -> list[Site]:
    """The relaxed sites of the hosts that match a pattern HOST_ION_SITE, or the lowest of every host and ion.

    Raises:
        ValueError: a pattern that matches nothing.
    """
    there = {f"{s.host}_{s.ion}_{s.name}": s for s in sites if s.status.code == RELAXED and s.host in hosts}
    for pattern in patterns:
        if not fnmatch.filter(there, pattern):
            raise ValueError(f"electronic.sites: {pattern!r} matches no site; there are: {', '.join(sorted(there))}")
    if patterns:
        return [s for name, s in there.items() if any(fnmatch.fnmatchcase(name, p) for p in patterns)]
    lowest: dict[tuple[str, str], Site] = {}
    for site in sorted(there.values(), key=lambda s: s.energy_ev):
        lowest.setdefault((site.host, site.ion), site)
    return [s for s in there.values() if lowest[s.host, s.ion] is s]


def _host_job(context: Context[Settings], name: str, atoms: Atoms) -> jobs.HostJob:
    level = _level_of_gaps(context)
    cell = primitive(atoms)
    symbols = set(atoms.get_chemical_symbols())
    metals = tuple(sorted(symbols - set(ions.ANION_CHARGES))) if normal_axis(atoms) is not None else None
    return jobs.HostJob(
        host=name,
        atoms=cell,
        metals=metals,
        folder=_place(context, cell, level),
        key=_key(context.settings, OF_GAPS, jobs.GAPS_VERSION),
        dft=level,
        settings=context.settings,
        command=context.section(Dft).command,
    )


def _ion_job(context: Context[Settings], site: Site, atoms: Atoms) -> jobs.IonJob:
    level = _level_of_charges(context)
    return jobs.IonJob(
        host=site.host,
        ion=site.ion,
        site=site.name,
        atoms=atoms,
        folder=_place(context, atoms, level),
        key=_key(context.settings, OF_IONS, jobs.IONS_VERSION),
        dft=level,
        settings=context.settings,
    )


def _level_of_gaps(context: Context[Settings]) -> gpaw.Settings | vasp.Settings:
    """Spin-paired; in GPAW with the point group of the crystal, which saves k-points and which VASP uses by itself.

    Raises:
        ValueError: another engine than GPAW and VASP.
    """
    dft = context.section(Dft)
    changes = SYMMETRIC if isinstance(engines.settings_of(dft), gpaw.Settings) else {}
    found = engines.settings_of(engines.varied(dft, {**changes, **context.settings.gap_settings}))
    if not isinstance(found, gpaw.Settings | vasp.Settings):
        raise ValueError(  # noqa: TRY004  (wrong input)
            f"electronic: levels are known of GPAW and VASP, not of dft.preset {dft.preset!r}"
        )
    return found.model_copy(update={"spin": "paired", "moments_bohr": {}})


def _level_of_charges(context: Context[Settings]) -> gpaw.Settings:
    """The level of densities.

    Raises:
        ValueError: another engine than GPAW.
    """
    dft = context.section(Dft)
    if not isinstance(engines.settings_of(dft), gpaw.Settings):
        raise ValueError(  # noqa: TRY004  (wrong input)
            f"electronic.parts: densities are those of GPAW, and dft.preset is {dft.preset!r}; write "
            "electronic: {parts: [gaps]}, or choose gpaw-pbe-520"
        )
    return cast("gpaw.Settings", engines.settings_of(engines.varied(dft, context.settings.charge_settings)))


def _place(context: Context[Settings], atoms: Atoms, level: Section) -> Path:
    """The folder of a structure at a level, where its converged electrons are kept."""
    what = {
        "numbers": atoms.numbers.tolist(),
        "positions": atoms.positions.round(6).tolist(),
        "cell": atoms.cell.array.round(6).tolist(),
        "level": level.model_dump(mode="json"),
    }
    return context.run_folder / "electrons" / files.digest_of(what)[:16]


def _key(own: Settings, names: Sequence[str], version: int) -> str:
    """Names kept results by settings of the stage and their version."""
    return files.digest_of({"version": version, **own.model_dump(mode="json", include=set(names))})[:16]


def primitive(atoms: Atoms) -> Atoms:
    """The primitive cell in the same orientation; of a slab with the same normal."""
    import spglib

    given = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    cell, positions, numbers = spglib.standardize_cell(
        given, to_primitive=True, no_idealize=True, symprec=PRIMITIVE_ANGSTROM
    )
    made = Atoms(numbers, scaled_positions=positions, cell=cell, pbc=True, info=dict(atoms.info))
    axis = normal_axis(atoms)
    return made if axis is None else _with_normal_last(made, atoms.cell.array[axis])


def _with_normal_last(atoms: Atoms, normal: Array) -> Atoms:
    """The slab with the vector along its normal as the third one; all vectors point forwards, right-handed.

    GPAW stops at a cell that points backwards.
    """
    vectors = atoms.cell.array
    last = int(np.argmax([abs(v @ normal) / np.linalg.norm(v) for v in vectors]))
    first, second = (_forwards(vectors[k]) for k in range(3) if k != last)
    up = np.sign(vectors[last] @ normal) * vectors[last]
    right = np.linalg.det([first, second, up]) > 0
    made: Atoms = atoms.copy()
    made.set_cell([first, second, up] if right else [second, first, up], scale_atoms=False)
    made.wrap()
    return made


def _forwards(vector: Array) -> Array:
    """The vector or its opposite, with a positive largest component."""
    return np.asarray(vector * np.sign(vector[np.abs(vector).argmax()]))


def _require(context: Context[Settings]) -> None:
    """Refuse what cannot be calculated, before any computing.

    Raises:
        ValueError: an engine that does not give what is asked for, or a package that is not installed.
    """
    hosts = relaxed_hosts(context.folder_of(SITES), [h.name for h in context.result(structures.STAGE).hosts])
    elements = {s for atoms in hosts.values() for s in atoms.get_chemical_symbols()}
    dft, parts = context.section(Dft), context.settings.parts
    if "gaps" in parts:
        engines.engine(dft).require(_level_of_gaps(context), elements)
    if set(PARTS) & set(parts):
        moving = context.settings_of(structures.STAGE).ions
        engines.engine(dft).require(_level_of_charges(context), elements | set(moving))
    if {"charges", "difference"} & set(parts):
        bader.require()


def report(_: Context[Settings], result: Electronic) -> tuple[ReportSection, ...]:
    """Gaps and charges with their convergence, densities of states, and changes of the density."""
    return electronic_sections(result)


STAGE = Stage(
    name="electronic",
    settings=ElectronicSettings,
    result=Electronic,
    run=run,
    needs=(structures.STAGE, SITES),
    version=VERSION,
    sections=(Dft,),
    report=report,
)
