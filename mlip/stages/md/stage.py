"""The stage `md`: molecular dynamics of the ions, many replicas at once.

Trajectories are in `<run>/trajectories/<system>-<digest>/`, named by what shapes them and not by how long they
are: they are never superseded, and a larger `md.target_ps` makes them longer. Frames of stopped replicas are in
`md/stopped.extxyz`, ready for labelling.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from rich.progress import TimeElapsedColumn

from mlip.atoms import extxyz
from mlip.atoms.structures import is_slab
from mlip.core import files
from mlip.core.progress import bar, literal
from mlip.core.report import ReportSection
from mlip.core.stage import Context, Stage
from mlip.core.workers import run_parallel
from mlip.potential.equivalence import Backend
from mlip.potential.use import ModelUse
from mlip.stages import structures
from mlip.stages.md import dynamics, md, md_jobs, placement, trajectory
from mlip.stages.md.report import md_section
from mlip.stages.md.settings import MdSettings, MdSystem
from mlip.stages.sites import backends
from mlip.stages.sites.sites import RELAXED
from mlip.stages.sites.stage import STAGE as SITES
from mlip.stages.sites.stage import SiteNetwork, configuration, relaxed_host
from mlip.stages.train.stage import STAGE as TRAIN

OUTSIDE_SETTINGS = {"run", "systems", "temperatures_kelvin", "replicas", "batch", "target_ps"}  # do not shape a replica


@dataclass(frozen=True, kw_only=True)
class Trajectories:
    """Result of the stage."""

    model: str  # hash of the model's folder
    device: str
    dtype: str
    target_ps: float
    systems: tuple[md.Followed, ...]
    notes: tuple[str, ...]


def run(context: Context[MdSettings]) -> Trajectories:
    """Follow every replica of every system at every temperature."""
    settings, found = context.settings, context.result(SITES)
    require_extra_ions(settings, context.settings_of(structures.STAGE))
    members = context.result(TRAIN).size
    if settings.member > members:
        raise ValueError(f"md.member: {settings.member} of {members} members; give one that is there")
    model = backends.model_use(context)
    made = [_prepared(context, system, found, model) for system in _systems(settings, found)]
    todo = [job for own in made for job in own]
    if not todo:
        raise ValueError("md: no ion has a relaxed site to start from; see the notes of the sites stage")
    with _speed(todo) as tick:
        outcomes = run_parallel(md_jobs.run_batch, todo, workers=context.workers, on_tick=tick)
    by_folder = {job.folder: outcome for job, outcome in zip(todo, outcomes, strict=True)}
    followed = tuple(_followed(own, by_folder, context.run_folder) for own in made)
    kept = _stopped_frames(todo, by_folder)
    if kept:
        files.write_frames(context.folder / "stopped.extxyz", kept)
    notes = tuple(
        f"{f.name}: {n} of {len(f.replicas)} {why}" for f in followed for why, n in md.ended(f.replicas).items()
    )
    for line in notes:
        context.say(line)
    return Trajectories(
        model=files.sha256(model.folder),
        device=model.device,
        dtype=model.dtype,
        target_ps=settings.target_ps,
        systems=followed,
        notes=notes,
    )


def _followed(
    own: Sequence[md_jobs.MdJob], outcomes: dict[Path, md_jobs.BatchOutcome], run_folder: Path
) -> md.Followed:
    header = own[0].header
    return md.Followed(
        name=header.name,
        host=header.host,
        ions=header.ions,
        atoms=header.atoms,
        mobile=header.mobile,
        repeat=header.repeat,
        folders=tuple(job.folder.relative_to(run_folder).as_posix() for job in own),
        replicas=tuple(o for job in own for o in outcomes[job.folder].replicas),
    )


def _systems(settings: MdSettings, found: SiteNetwork) -> tuple[MdSystem, ...]:
    """The named systems, or every ion of every host alone."""
    if settings.systems:
        return settings.systems
    pairs = dict.fromkeys((s.host, s.ion) for s in found.sites if s.status.code == RELAXED)
    return tuple(MdSystem(host=host, ions=(ion,)) for host, ion in pairs)


def _prepared(
    context: Context[MdSettings], system: MdSystem, found: SiteNetwork, model: ModelUse
) -> list[md_jobs.MdJob]:
    """The batches of a system; where it starts is in `md/<system>.extxyz`."""
    settings, name = context.settings, placement.name_of(system)
    host = relaxed_host(context.folder_of(SITES), system.host)
    if host.constraints:
        raise ValueError(
            f"md.systems: {system.host} has atoms that its file freezes, and md freezes whole layers; free them in the "
            "file and set md.frozen_layers"
        )
    own = [s for s in found.sites if s.host == system.host]
    configurations = {f"{s.ion} {s.name}": configuration(context.folder_of(SITES), s) for s in own}
    atoms = placement.with_ions(host, own, system, configurations, apart_angstrom=settings.apart_angstrom)
    ions = placement.ions_of(system, host)
    moves = np.concatenate([placement.mobile(atoms[: -len(ions)], settings.frozen_layers), np.ones(len(ions), bool)])
    start = context.folder / f"{name}.extxyz"
    atoms.info = {"host": system.host, "ions": "-".join(ions), "repeat": list(system.repeat)}
    atoms.arrays["mobile"] = moves
    files.write_frames(start, [atoms])
    atoms = extxyz.read_frames(start)[0]
    shaping = settings.model_dump(mode="json", exclude=OUTSIDE_SETTINGS) | _named_backend(model.backend)
    seed = context.common.seed
    header = _header(atoms, (name, system.host, ions, system.repeat), settings, moves)
    header = replace(
        header,
        model=files.sha256(model.folder),
        settings=files.digest_of([shaping, seed, atoms.positions.tolist(), moves.tolist()]),
    )
    out = []
    every = list(product(settings.temperatures_kelvin, range(1, settings.replicas + 1)))
    for first in range(0, len(every), settings.batch):
        part = every[first : first + settings.batch]
        whole = replace(
            header,
            replicas=tuple(f"{t:g}K-{k}" for t, k in part),
            temperatures_kelvin=tuple(float(t) for t, _ in part),
        )
        digest = files.digest_of(vars(whole))[:12]
        place_ = context.run_folder / "trajectories" / f"{name}-{digest}"
        out.append(md_jobs.MdJob(place_, start, whole, tuple(bool(m) for m in moves), model, settings, seed))
    return out


def _named_backend(backend: Backend) -> dict[str, dict[str, Any]]:
    """The backend under the keys that it had when the first trajectories were written: they decide their digests."""
    described = {"backend": backend.name, "device": backend.device, "dtype": backend.dtype, "batched": backend.batched}
    return {"way": described}


def _header(
    atoms: Atoms,
    name: tuple[str, str, tuple[str, ...], tuple[int, int, int]],
    settings: MdSettings,
    moves: NDArray[np.bool_],
) -> trajectory.Header:
    stored = range(len(atoms)) if settings.stored == "all" else range(len(atoms) - len(name[2]), len(atoms))
    a, b, c = (tuple(float(x) for x in row) for row in atoms.cell.array)
    return trajectory.Header(
        name=name[0],
        host=name[1],
        ions=name[2],
        symbols=tuple(atoms.symbols[k] for k in stored),
        stored=tuple(stored),
        atoms=len(atoms),
        mobile=int(moves.sum()),
        cell_angstrom=((a[0], a[1], a[2]), (b[0], b[1], b[2]), (c[0], c[1], c[2])),
        repeat=name[3],
        replicas=(),
        temperatures_kelvin=(),
        time_step_fs=settings.time_step_fs,
        frame_steps=settings.frame_steps,
        model="",
        settings="",
    )


def _stopped_frames(todo: Sequence[md_jobs.MdJob], outcomes: dict[Path, md_jobs.BatchOutcome]) -> list[Atoms]:
    """The frames of replicas that were stopped, with what labelling wants to know of them."""
    out = []
    for job in todo:
        stopped = outcomes[job.folder].stopped
        frames = extxyz.read_frames(job.folder / "stopped.extxyz") if stopped else []
        for frame, end in zip(frames, stopped, strict=True):
            frame.info = {
                "frame_id": f"{job.header.name}_{end.replica}_{end.step}",
                "host": job.header.host,
                "ion": "-".join(dict.fromkeys(job.header.ions)),
                "group": f"md_{job.header.name}_{end.replica}",
                "sampling": "md",
                "vacuum": is_slab(frame),
                "stopped": str(end.status),
                "temperature_kelvin": end.temperature_kelvin,
            }
            out.append(frame)
    return out


@contextmanager
def _speed(todo: Sequence[md_jobs.MdJob]) -> Iterator[Callable[[int], None]]:
    """A progress bar over all batches in picoseconds of replicas, with speed and temperature."""
    total = 0.0
    for job in todo:
        total += dynamics.grid(job.settings)[1] * job.settings.time_step_fs / 1000.0 * len(job.header.replicas)
    lengths = literal("{task.completed:.1f}/{task.total:.1f} ps")
    with bar(lengths, TimeElapsedColumn(), literal("{task.fields[note]}")) as shown:
        task = shown.add_task("md", total=total, note="")

        def tick(_: int) -> None:
            notes = [n for job in todo if (n := md_jobs.noted(job.folder)) is not None]
            speed = sum(n.ps_per_s for n in notes) * 86400.0 / 1000.0
            heat = sum(n.temperature_kelvin for n in notes) / max(len(notes), 1)
            shown.update(task, completed=sum(n.replica_ps for n in notes), note=f"{speed:.3g} ns/day, {heat:.0f} K")

        yield tick
        shown.update(task, completed=total)


def report(_: Context[MdSettings], result: Trajectories) -> tuple[ReportSection, ...]:
    """The table of the trajectories."""
    return (md_section(result.systems),)


def require_extra_ions(settings: MdSettings, built: structures.StructuresSettings) -> None:
    """Nothing where every system is of extra ions: which vacancy moves is no atom that could be followed.

    Raises:
        ValueError: `md.systems` is empty, which stands for every ion, and some are ions of the crystal.
    """
    if built.vacancies and not settings.systems:
        instead = f"; name systems of {', '.join(built.ions)} instead" if built.ions else ""
        raise ValueError(
            f"md.systems: empty stands for every ion, also {list(built.vacancies)} of the crystal "
            f"(structures.vacancies), which have no dynamics here; leave out the stages md and diffusion{instead}"
        )


def _check(context: Context[MdSettings]) -> None:
    """Refuse systems that no stage builds.

    Raises:
        ValueError: a host or ion that `structures` lacks, ions of the crystal, or a member that `train` lacks.
    """
    built = context.settings_of(structures.STAGE)
    if context.settings.run:
        require_extra_ions(context.settings, built)
    hosts = ["bulk", *built.slab_names]
    for system in context.settings.systems:
        if system.host not in hosts:
            raise ValueError(f"md.systems: host {system.host!r} is not built by structures; there are: {hosts}")
        if own := sorted(set(system.ions) & set(built.vacancies)):
            raise ValueError(
                f"md.systems: {own} on {system.host} are ions of the crystal (structures.vacancies), which have no "
                "dynamics here; leave the system out"
            )
        if unknown := sorted(set(system.ions) - set(built.ions)):
            raise ValueError(
                f"md.systems: {unknown} on {system.host} are not in structures.ions {list(built.ions)}; "
                "add them there, and labels that hold them"
            )
    training = context.settings_of(TRAIN)
    if training.given is None and context.settings.member > training.members:
        raise ValueError(f"md.member: {context.settings.member} of {training.members} members (train.members)")


STAGE = Stage(
    name="md",
    settings=MdSettings,
    result=Trajectories,
    run=run,
    needs=(*backends.NEEDS, SITES),
    common=backends.SETTINGS,
    check=_check,
    report=report,
)
