"""The stage `ladder`: DFT single points on the converged bands.

The labelled frames are in `ladder/frames.extxyz`, entries for the card of a dataset in `ladder/paths.yaml`.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import yaml
from ase import Atoms

from mlip.atoms import extxyz
from mlip.core import files
from mlip.core.report import ReportSection
from mlip.core.stage import Context, Stage
from mlip.dft import queue
from mlip.dft.labeller import Labeller
from mlip.dft.settings import Dft
from mlip.stages import structures
from mlip.stages.ladder import ladder
from mlip.stages.ladder.report import ladder_section
from mlip.stages.ladder.settings import LadderSettings
from mlip.stages.neb import neb
from mlip.stages.neb.stage import STAGE as NEB
from mlip.stages.neb.stage import band_file
from mlip.stages.sites.stage import STAGE as SITES
from mlip.stages.sites.stage import chosen_hops


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """Result of the stage."""

    level: str  # settings hash of the run's DFT level
    steps: tuple[ladder.Step, ...]
    wanted: int  # frames
    labelled: int
    problems: tuple[queue.Problem, ...]


def run(context: Context[LadderSettings]) -> Ladder:
    """Label the ends, the saddle and its neighbours of every chosen band, limiting hops first."""
    settings, dft, target = context.settings, context.section(Dft), context.common.target
    paths = _paths(context)
    tiers = ladder.frames(paths, neighbours=settings.neighbours, source=f"run {context.run_name}")
    ask = Labeller(dft, queue.labels_folder(context.run_folder), workers=context.workers, say=context.say)
    labels = _labels(tiers, ask, workers=context.workers, max_hours=settings.max_hours)
    steps = [ladder.step(path, labels, settings, target=target) for path in paths]
    made = [ladder.labelled_path(p, s, source=context.run_name) for p, s in zip(paths, steps, strict=True)]
    if labels:
        files.write_frames(context.folder / "frames.extxyz", list(labels.values()))
    listed = [asdict(entry) for entry in made if entry is not None]
    files.write_text_atomic(context.folder / "paths.yaml", yaml.safe_dump(listed, sort_keys=False, width=120))
    context.leave_unfinished(ask.unfinished)
    wanted = sum(len(tier) for tier in tiers)
    context.say(f"{len(labels)} of {wanted} frames are labelled")
    return Ladder(
        level=queue.settings_hash(dft),
        steps=tuple(steps),
        wanted=wanted,
        labelled=len(labels),
        problems=tuple(ask.problems),
    )


def _labels(
    tiers: Sequence[Sequence[Atoms]], ask: Labeller, *, workers: int, max_hours: float | None
) -> dict[str, Atoms]:
    """Labels by frame_id, tier by tier, until the time is up; at least one batch a call."""
    labels: dict[str, Atoms] = {}
    deadline = None
    for batch in _batches(tiers, 2 * workers if max_hours is not None else None):
        if not ask.has(batch):
            if deadline is not None and time.monotonic() > deadline:
                ask.waiting += len(batch)
                continue
            deadline = deadline or time.monotonic() + 3600 * (max_hours or math.inf)
        labels |= {str(frame.info["frame_id"]): frame for frame in ask(batch, {}) if frame is not None}
    return labels


def _batches(tiers: Sequence[Sequence[Atoms]], size: int | None) -> Iterator[Sequence[Atoms]]:
    for tier in tiers:
        step = size or len(tier)
        yield from (tier[k : k + step] for k in range(0, len(tier), step))


def _paths(context: Context[LadderSettings]) -> list[ladder.Path]:
    """The converged band nearest the committee mean of every chosen hop."""
    found, moved = context.result(SITES), context.result(NEB)
    slabs = structures.slab_names(context.result(structures.STAGE).hosts)
    limiting = {(b.host, b.ion, b.limiting_hop) for b in moved.bottlenecks}
    made = []
    for hop in chosen_hops(found.hops, context.settings.hops, section="ladder"):
        key = (hop.host, hop.ion, hop.name)
        band = neb.nearest_member([b for b in moved.bands if (b.host, b.ion, b.hop) == key])
        barrier = next((b for b in moved.barriers if (b.host, b.ion, b.hop) == key), None)
        if band is None or barrier is None:
            context.say(f"{hop.ion} {hop.name}: no converged band, so nothing to label")
            continue
        images = extxyz.read_frames(band_file(context.folder_of(NEB), band))
        made.append(
            ladder.Path(
                hop=hop,
                band=band,
                barrier=barrier,
                images=tuple(images),
                vacuum=hop.host in slabs,
                limiting=key in limiting,
            )
        )
    return made


def report(_: Context[LadderSettings], result: Ladder) -> tuple[ReportSection, ...]:
    """Barriers of the potential and of DFT at the same geometry."""
    return (ladder_section(result.steps),)


STAGE = Stage(
    name="ladder",
    settings=LadderSettings,
    result=Ladder,
    run=run,
    needs=(structures.STAGE, SITES, NEB),
    common=("target",),
    sections=(Dft,),
    report=report,
)
