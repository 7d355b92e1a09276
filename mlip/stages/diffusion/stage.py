"""The stage `diffusion`: hops, rates and diffusivities from trajectories, also those made by LAMMPS."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from mlip.atoms import extxyz
from mlip.core import files
from mlip.core.report import ReportSection
from mlip.core.stage import Context, Stage
from mlip.literature import matching, references
from mlip.literature.settings import Literature
from mlip.stages import structures
from mlip.stages.diffusion import density, example, hops, kinetics
from mlip.stages.diffusion.hops import Estimate
from mlip.stages.diffusion.report import diffusion_section
from mlip.stages.diffusion.settings import DiffusionSettings
from mlip.stages.md import dynamics, lammps_runs, trajectory
from mlip.stages.md.stage import STAGE as MD
from mlip.stages.md.stage import Trajectories, require_extra_ions
from mlip.stages.neb.stage import STAGE as NEB
from mlip.stages.sites.stage import STAGE as SITES
from mlip.stages.sites.stage import relaxed_host, relaxed_hosts
from mlip.stages.train.stage import STAGE as TRAIN
from mlip.stages.train.stage import model_folder


def run(context: Context[DiffusionSettings]) -> kinetics.Diffused:
    """Find hops, rates and diffusivities."""
    settings, found = context.settings, context.result(SITES)
    barriers, followed = context.result(NEB).barriers, context.result(MD)
    systems = list(_read(context, followed))
    systems += [lammps_runs.read(context.file(folder)) for folder in settings.lammps]
    motions: list[kinetics.Motion] = []
    lines, maps, notes = [], [], list(followed.notes)
    for header, tracks in systems:
        host = relaxed_host(context.folder_of(SITES), header.host)
        for ion in dict.fromkeys(header.ions):
            own = [s for s in found.sites if (s.host, s.ion) == (header.host, ion)]
            network = [h for h in found.hops if (h.host, h.ion) == (header.host, ion)]
            where = hops.basins(host.cell.array, own, network, settings)
            part = _motions(header, ion, tracks, where, context)
            if not part:
                notes.append(f"{header.name} {ion}: no frame after equilibration")
                continue
            motions += part
            lines.append(kinetics.kinetics(part, network, own, barriers, settings))
            _keep_example(context, header, tracks, hops_of=(ion, where), followed=followed)
            maps += density.densities((header.name, header.host, ion), tracks, host.cell.array) if where.is_slab else []
    for line in _lines(motions):
        context.say(line)
    return kinetics.Diffused(
        motions=tuple(motions),
        kinetics=tuple(lines),
        densities=tuple(maps),
        target_ps=followed.target_ps,
        notes=tuple(notes),
    )


def _keep_example(
    context: Context[DiffusionSettings],
    header: trajectory.Header,
    tracks: Sequence[trajectory.Track],
    *,
    hops_of: tuple[str, hops.Basins],
    followed: Trajectories,
) -> None:
    """Write the frames of the first hop that can be shown; hops of LAMMPS are not."""
    target = context.folder / example.FILE
    folders = [context.run_folder / f for s in followed.systems if s.name == header.name for f in s.folders]
    if target.exists() or not folders:
        return
    shown = example.choose(tracks, *hops_of)
    if shown is not None:
        host = relaxed_host(context.folder_of(SITES), header.host)
        files.write_frames(target, example.structures(shown, folders, host))


def _motions(
    header: trajectory.Header,
    ion: str,
    tracks: Sequence[trajectory.Track],
    where: hops.Basins,
    context: Context[DiffusionSettings],
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
                    context.settings,
                    axes=len(header.dimensions),
                    seed=context.common.seed,
                )
            )
    return out


def _read(
    context: Context[DiffusionSettings], followed: Trajectories
) -> Iterator[tuple[trajectory.Header, list[trajectory.Track]]]:
    """Header and tracks of every system, up to the target length.

    Raises:
        ValueError: a trajectory that is damaged, or of another model.
    """
    settings = context.settings_of(MD)
    equilibration, target, _ = dynamics.grid(settings)
    upto = (target - equilibration) // settings.frame_steps + 1
    model = files.sha256(model_folder(context.folder_of(TRAIN)))
    for system in followed.systems:
        tracks: list[trajectory.Track] = []
        header = None
        for name in system.folders:
            if not any((context.run_folder / name).glob("frames-*.npz")):
                continue  # every replica was stopped before its first frame
            header, frames = trajectory.read(context.run_folder / name, upto=upto)
            trajectory.require_same(context.run_folder / name, replace(header, model=model))
            tracks += trajectory.tracks(header, frames)
        if header is not None:
            yield header, tracks


def _lines(motions: Sequence[kinetics.Motion]) -> list[str]:
    return [
        f"{m.system:16s} {m.ion:2s} {m.temperature_kelvin:5.0f} K {m.ion_ps:8.1f} ps {m.jumps:5d} hops  "
        f"{_in_words(m.from_jumps.mean)}"
        for m in motions
    ]


def _in_words(d: Estimate) -> str:
    """A diffusion coefficient (Angstrom^2/ps): its value, its upper limit, or that nothing is known of it."""
    if d.value is not None:
        return f"D {d.value:.2e} A2/ps"
    return "D not known" if d.high is None else f"D below {d.high:.2e} A2/ps"


def report(context: Context[DiffusionSettings], result: kinetics.Diffused) -> tuple[ReportSection, ...]:
    """Diffusivities, rates and activation energies."""
    found = context.result(SITES)
    names = [host.name for host in context.result(structures.STAGE).hosts]
    hosts = relaxed_hosts(context.folder_of(SITES), names)
    made, published = (
        context.result(structures.STAGE),
        references.load(files.place(context.section(Literature).references)),
    )
    crystal = structures.identity_of(context.settings_of(structures.STAGE), made)
    published = matching.of_run(published, crystal, hosts=made.hosts)
    path = context.folder / example.FILE
    hop = example.figure(extxyz.read_frames(path)) if path.exists() else None
    return (diffusion_section(result, found.sites, found.hops, hosts, published, example=hop),)


def _check(context: Context[DiffusionSettings]) -> None:
    """Refuse a run whose dynamics the stage `md` refuses."""
    if context.settings.run:
        require_extra_ions(context.settings_of(MD), context.settings_of(structures.STAGE))


def _inputs(context: Context[DiffusionSettings]) -> list[Path]:
    """Every file that is read in the folders of LAMMPS; a folder may appear later."""
    folders = (files.located(folder) for folder in context.settings.lammps)
    return [path for folder in folders if folder.exists() for path in lammps_runs.sources(folder)]


STAGE = Stage(
    name="diffusion",
    settings=DiffusionSettings,
    result=kinetics.Diffused,
    run=run,
    needs=(structures.STAGE, TRAIN, SITES, NEB, MD),
    common=("seed",),
    sections=(Literature,),
    inputs=_inputs,
    version=6,
    check=_check,
    report=report,
)
