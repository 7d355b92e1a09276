"""The stages of motion: md, diffusion.

Each takes a `Run` and gives a frozen dataclass, as the stages in `stages` do. Trajectories are in
`<run>/trajectories/<system>-<digest>/`, by what shapes them and not by how long they are: they are never superseded,
and a larger `md.target_ps` makes them longer.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from mlip import (
    config,
    density,
    dynamics,
    extxyz,
    files,
    hops,
    jobs,
    kinetics,
    lammps,
    loading,
    md,
    md_jobs,
    structures,
    trajectory,
    ways,
)
from mlip.run import Run, place
from mlip.screen import console
from mlip.stages import Barriers, Committee, SiteNetwork

OUTSIDE_SETTINGS = {"run", "systems", "temperatures_kelvin", "replicas", "batch", "target_ps"}  # do not shape a replica


@dataclass(frozen=True)
class Trajectories:
    """Result of the md stage; frames of stopped replicas are in `md/stopped.extxyz`, ready for labelling."""

    model: str  # hash of the model's folder
    device: str
    dtype: str
    target_ps: float
    systems: tuple[md.Followed, ...]
    notes: tuple[str, ...]


def run_md(run: Run) -> Trajectories:
    """Trajectories of every replica of every system at every temperature."""
    c = run.config
    found = files.read_result(run.path("sites", "result.json"), SiteNetwork)
    members = files.read_result(run.path("train", "result.json"), Committee).members
    if c.md.member > len(members):
        raise ValueError(f"md.member: {c.md.member} of {len(members)} members; give one that is there")
    model = ways.use(run)
    made = [_prepared(run, system, found, model) for system in _systems(run, found)]
    todo = [job for own in made for job in own]
    if not todo:
        raise ValueError("md: no ion has a relaxed site to start from; see the notes of the sites stage")
    with _speed(todo) as tick:
        outcomes = jobs.run_parallel(md_jobs.run_batch, todo, workers=c.common.workers, on_tick=tick)
    by_folder = {job.folder: outcome for job, outcome in zip(todo, outcomes, strict=True)}
    followed = tuple(
        md.Followed(
            name=own[0].header.name,
            host=own[0].header.host,
            ions=own[0].header.ions,
            atoms=own[0].header.atoms,
            mobile=own[0].header.mobile,
            repeat=own[0].header.repeat,
            folders=tuple(job.folder.relative_to(run.folder).as_posix() for job in own),
            replicas=tuple(o for job in own for o in by_folder[job.folder].replicas),
        )
        for own in made
    )
    kept = _stopped_frames(todo, by_folder)
    if kept:
        files.write_frames(run.path("md", "stopped.extxyz"), kept)
    notes = tuple(f"{f.name}: {n} of {len(f.replicas)} {why}" for f in followed for why, n in _ends(f).items())
    for line in notes:
        console.print(f"  {line}", soft_wrap=True)
    return Trajectories(files.sha256(model.folder), model.device, model.dtype, c.md.target_ps, followed, notes)


def _ends(followed: md.Followed) -> dict[str, int]:
    return kinetics.stopped_by([o.status for o in followed.replicas])


def _systems(run: Run, found: SiteNetwork) -> tuple[config.MdSystem, ...]:
    """The named systems, or every ion of every host alone."""
    if run.config.md.systems:
        return run.config.md.systems
    pairs = dict.fromkeys((s.host, s.ion) for s in found.sites if s.status == "relaxed")
    return tuple(config.MdSystem(host=host, ions=(ion,)) for host, ion in pairs)


def _prepared(run: Run, system: config.MdSystem, found: SiteNetwork, model: jobs.ModelUse) -> list[md_jobs.MdJob]:
    """The batches of a system; where it starts is in `md/<system>.extxyz`."""
    settings, name = run.config.md, loading.name_of(system)
    host = extxyz.read_frames(run.path("sites", "hosts", f"{system.host}.extxyz"))[0]
    own = [s for s in found.sites if s.host == system.host]
    folder = run.path("sites", "configurations")
    configurations = {
        f"{s.ion} {s.name}": extxyz.read_frames(folder / f"{system.host}_{s.ion}_{s.name}.extxyz")[0] for s in own
    }
    atoms = loading.loaded(host, own, system, configurations, apart_angstrom=settings.apart_angstrom)
    ions = loading.ions_of(system, host)
    moves = np.concatenate([loading.mobile(atoms[: -len(ions)], settings.frozen_layers), np.ones(len(ions), bool)])
    start = run.path("md", f"{name}.extxyz")
    atoms.info = {"host": system.host, "ions": "-".join(ions), "repeat": list(system.repeat)}
    atoms.arrays["mobile"] = moves
    files.write_frames(start, [atoms])
    atoms = extxyz.read_frames(start)[0]
    shaping = settings.model_dump(mode="json", exclude=OUTSIDE_SETTINGS) | {"way": asdict(model.way)}
    seed = run.config.common.seed
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
        place_ = run.folder / "trajectories" / f"{name}-{digest}"
        out.append(md_jobs.MdJob(place_, start, whole, tuple(bool(m) for m in moves), model, settings, seed))
    return out


def _header(
    atoms: Atoms,
    name: tuple[str, str, tuple[str, ...], tuple[int, int, int]],
    settings: config.Md,
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
                "vacuum": structures.is_slab(frame),
                "stopped": end.status,
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
    columns = (
        TextColumn("  md"),
        BarColumn(),
        TextColumn("{task.completed:.1f}/{task.total:.1f} ps"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("md", total=total, note="")

        def tick(_: int) -> None:
            notes = [n for job in todo if (n := md_jobs.noted(job.folder)) is not None]
            speed = sum(n.ps_per_s for n in notes) * 86400.0 / 1000.0
            heat = sum(n.temperature_kelvin for n in notes) / max(len(notes), 1)
            bar.update(task, completed=sum(n.replica_ps for n in notes), note=f"{speed:.3g} ns/day, {heat:.0f} K")

        yield tick
        bar.update(task, completed=total)


def find_diffusion(run: Run) -> kinetics.Diffused:
    """Hops, rates and diffusivities from the trajectories."""
    settings = run.config.diffusion
    found = files.read_result(run.path("sites", "result.json"), SiteNetwork)
    barriers = files.read_result(run.path("neb", "result.json"), Barriers).barriers
    followed = files.read_result(run.path("md", "result.json"), Trajectories)
    systems = list(_read(run, followed))
    systems += [lammps.read(place(folder)) for folder in settings.lammps]
    motions: list[kinetics.Motion] = []
    lines, maps, notes = [], [], list(followed.notes)
    for header, tracks in systems:
        host = extxyz.read_frames(run.path("sites", "hosts", f"{header.host}.extxyz"))[0]
        for ion in dict.fromkeys(header.ions):
            own = [s for s in found.sites if (s.host, s.ion) == (header.host, ion)]
            ways = [h for h in found.hops if (h.host, h.ion) == (header.host, ion)]
            where = hops.basins(host.cell.array, own, ways, settings)
            part = _motions(header, ion, tracks, where, run)
            if not part:
                notes.append(f"{header.name} {ion}: no frame after equilibration")
                continue
            motions += part
            lines.append(kinetics.kinetics(part, ways, own, barriers, where, settings))
            maps += density.densities((header.name, header.host, ion), tracks, host.cell.array) if where.is_slab else []
    for line in _lines(motions):
        console.print(f"  {line}", soft_wrap=True)
    return kinetics.Diffused(tuple(motions), tuple(lines), tuple(maps), followed.target_ps, tuple(notes))


def _motions(
    header: trajectory.Header, ion: str, tracks: Sequence[trajectory.Track], where: hops.Basins, run: Run
) -> list[kinetics.Motion]:
    out = []
    for temperature in sorted({t.temperature_kelvin for t in tracks}):
        alike = [t for t in tracks if t.temperature_kelvin == temperature and len(t.positions)]
        if alike:
            out.append(
                kinetics.motion(
                    (header.name, header.host, ion),
                    alike,
                    where,
                    run.config.diffusion,
                    axes=len(header.dimensions),
                    seed=run.config.common.seed,
                )
            )
    return out


def _read(run: Run, followed: Trajectories) -> Iterator[tuple[trajectory.Header, list[trajectory.Track]]]:
    """Header and tracks of every system, up to the target length.

    Raises:
        ValueError: a trajectory that is damaged, or of another model.
    """
    settings = run.config.md
    equilibration, target, _ = dynamics.grid(settings)
    upto = (target - equilibration) // settings.frame_steps + 1
    model = files.sha256(run.path("train", "model"))
    for system in followed.systems:
        tracks: list[trajectory.Track] = []
        header = None
        for name in system.folders:
            if not any((run.folder / name).glob("frames-*.npz")):
                continue  # every replica was stopped before its first frame
            header, frames = trajectory.read(run.folder / name, upto=upto)
            trajectory.require_same(run.folder / name, replace(header, model=model))
            tracks += trajectory.tracks(header, frames)
        if header is not None:
            yield header, tracks


def _lines(motions: Sequence[kinetics.Motion]) -> list[str]:
    out = []
    for m in motions:
        d = m.from_jumps.mean
        value = f"D {d.value:.2e} A2/ps" if d.value is not None else f"D below {d.high or 0.0:.2e} A2/ps"
        out.append(
            f"{m.system:16s} {m.ion:2s} {m.temperature_kelvin:5.0f} K {m.ion_ps:8.1f} ps {m.jumps:5d} hops  {value}"
        )
    return out
