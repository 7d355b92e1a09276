"""The stage `modes`: saddles proved by their modes, prefactors, and the phonons of the crystal.

The stationary points of each hop are in `modes/hops/<ion>_<hop>.extxyz`, those that there are of initial end, saddle
(with its unstable mode in the array `mode`) and final end.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ase import Atoms

from mlip.atoms import extxyz
from mlip.core import files
from mlip.core.progress import progress
from mlip.core.report import ReportSection
from mlip.core.stage import Context, Stage
from mlip.literature import matching, references
from mlip.literature.settings import Literature
from mlip.stages import structures
from mlip.stages.modes import jobs
from mlip.stages.modes.outcome import without_band
from mlip.stages.modes.prove import Start
from mlip.stages.modes.report import modes_sections
from mlip.stages.modes.result import HopModes, Modes
from mlip.stages.modes.settings import ModesSettings
from mlip.stages.neb.neb import Band, nearest_member
from mlip.stages.neb.stage import STAGE as NEB
from mlip.stages.neb.stage import band_file
from mlip.stages.sites import backends
from mlip.stages.sites.network import Hop
from mlip.stages.sites.stage import STAGE as SITES
from mlip.stages.sites.stage import chosen_hops


def run(context: Context[ModesSettings]) -> Modes:
    """Prove every chosen hop that has a converged band; phonons of the crystal."""
    hops = chosen_hops(context.result(SITES).hops, context.settings.hops, section="modes")
    bands, hosts, folder = context.result(NEB).bands, context.folder_of(SITES) / "hosts", context.folder / "hops"
    todo = [
        jobs.HopJob(start, hosts / f"{hop.host}.extxyz", folder)
        for hop in hops
        if (start := start_of(hop, bands, context.folder_of(NEB))) is not None
    ]
    crystal = structures.conventional_cell(context.settings_of(structures.STAGE))
    with progress("modes", len(todo) + 1) as tick:
        found, phonons = jobs.run_all(
            todo,
            jobs.CrystalJob(crystal, context.folder),
            backends.exact_use(context),
            context.settings,
            context.settings_of(SITES),
            workers=context.workers,
            gpus=context.gpus,
            on_tick=tick,
        )
    by_hop = {one.key: one for one in found}
    results = tuple(by_hop.get((hop.host, hop.ion, hop.name), without_band(hop)) for hop in hops)
    for line in summary(results):
        context.say(line)
    return Modes(hops=results, bulk=phonons.phonons, notes=(phonons.note,) if phonons.note else ())


def start_of(hop: Hop, bands: Sequence[Band], folder: Path) -> Start | None:
    """The converged band nearest the committee mean of a hop, where its stationary points are searched; None: no band.

    Args:
        hop: of the network.
        bands: of all hops and members.
        folder: of the stage `neb`.
    """
    band = nearest_member([b for b in bands if (b.host, b.ion, b.hop) == (hop.host, hop.ion, hop.name)])
    if band is None:
        return None
    images = tuple(_bare(image) for image in extxyz.read_frames(band_file(folder, band)))
    top = max(range(len(images)), key=lambda k: band.energies_ev[k])
    return Start(
        host=hop.host,
        ion=hop.ion,
        hop=hop.name,
        images=images,
        top=top,
        member=band.member,
        symmetric=hop.symmetric,
    )


def _bare(image: Atoms) -> Atoms:
    """Structure and constraints, without the member's own energy and forces."""
    atoms = Atoms(image.get_chemical_symbols(), positions=image.positions, cell=image.cell, pbc=image.pbc)
    atoms.set_constraint(image.constraints)
    return atoms


def summary(hops: Sequence[HopModes]) -> list[str]:
    """Lines for the person who watches: how many hops have which status, and what it took."""
    counted = Counter(hop.status.code for hop in hops)
    spent = sum(hop.evaluations for hop in hops)
    lines = [f"{count} {code}" for code, count in counted.most_common()]
    return [f"{len(hops)} hops: {', '.join(lines)}; {spent} evaluations of a structure by a member"] if hops else []


def saddle(folder: Path, hop: HopModes) -> Atoms | None:
    """The refined saddle of a hop, from the folder of the stage; None where there is none."""
    path = folder / "hops" / f"{hop.ion}_{hop.hop}.extxyz"
    frames = extxyz.read_frames(path) if path.exists() else []
    return next((frame for frame in frames if frame.info.get("part") == "saddle"), None)


def report(context: Context[ModesSettings], result: Modes) -> tuple[ReportSection, ...]:
    """Saddles, frequencies and prefactors; phonons of the crystal beside published ones."""
    everything = references.load(files.place(context.section(Literature).references))
    made = context.result(structures.STAGE)
    crystal = structures.identity_of(context.settings_of(structures.STAGE), made)
    published = matching.of_run(everything, crystal, hosts=made.hosts)
    limiting = {(path.host, path.ion, path.limiting_hop) for path in context.result(NEB).bottlenecks}
    drawn = [hop for hop in result.hops if hop.mode and hop.key in limiting]
    saddles = {hop.key: atoms for hop in drawn if (atoms := saddle(context.folder, hop)) is not None}
    bands = {(b.host, b.ion, b.hop): b.forward_ev for b in context.result(NEB).barriers if b.forward_ev is not None}
    return modes_sections(result, saddles, published, bands)


def _inputs(context: Context[ModesSettings]) -> list[Path]:
    path = structures.crystal_file(context.settings_of(structures.STAGE))
    return [] if path is None else [path]


STAGE = Stage(
    name="modes",
    settings=ModesSettings,
    result=Modes,
    run=run,
    needs=(*backends.NEEDS, SITES, NEB),
    common=backends.SETTINGS,
    sections=(Literature,),
    inputs=_inputs,
    report=report,
    version=3,
)
