"""The stage `label`: DFT single points of frames that the user names.

The labelled frames are in `label/frames.extxyz`; the labels themselves stay in `labels/` for good.
"""

from dataclasses import dataclass
from pathlib import Path

from ase import Atoms
from pydantic import Field

from mlip.atoms import extxyz
from mlip.core import files
from mlip.core.progress import estimate
from mlip.core.section import OptionalSection
from mlip.core.stage import Context, Stage
from mlip.dft import engines, queue
from mlip.dft.settings import Dft
from mlip.dft.single_points import core_seconds

CORES = "common.workers times dft.ranks"


class LabelSettings(OptionalSection):
    """DFT single points of frames that the user names."""

    frames: tuple[Path, ...] = Field(default=(), description="Extended XYZ files with the frames to label.")


@dataclass(frozen=True, kw_only=True)
class LabelledFrames:
    """Result of the stage."""

    settings_hash: str
    settings: engines.Described
    frames: int
    problems: tuple[queue.Problem, ...]
    core_seconds: float  # measured, of all frames


def run(context: Context[LabelSettings]) -> LabelledFrames:
    """Label the frames and write them in the format of a dataset."""
    dft = context.section(Dft)
    made = _labelled(context)
    there = [frame for frame in made.frames if frame is not None]
    if not there:
        raise ValueError(f"none of {len(made.frames)} frames has a label; the first: {made.problems[0].reason}")
    out = context.folder / "frames.extxyz"
    files.write_frames(out, there)
    context.say(f"{len(there)} of {len(made.frames)} frames: {out}")
    context.leave_unfinished(*queue.left(made.problems))
    return LabelledFrames(
        settings_hash=queue.settings_hash(dft),
        settings=queue.settings_of(dft),
        frames=len(there),
        problems=made.problems,
        core_seconds=round(sum(core_seconds(frame.info) or 0.0 for frame in there), 1),
    )


def _labelled(context: Context[LabelSettings]) -> queue.Labelled:
    dft, store = context.section(Dft), queue.labels_folder(context.run_folder)
    with estimate("frames") as tick:
        made = queue.label(_named(context), dft, store, workers=context.workers, on_tick=tick)
    for problem in made.problems:
        context.say(f"{problem.frame_id}: {problem.reason}")
    return made


def plan_lines(context: Context[LabelSettings]) -> list[str]:
    """What the stage would do and what that would cost."""
    dft, workers = context.section(Dft), context.workers
    found = queue.planned(_named(context), dft, queue.labels_folder(context.run_folder), workers=workers)
    lines = [
        (
            f"{found.frames} frames at {dft.preset} ({found.settings_hash}): "
            f"{found.done} done, {found.failed} failed before"
        )
    ]
    for line in found.lines:
        by = "dft.command" if dft.command else "you"
        cost = f"run by {by}" if line.core_hours is None else f"{line.core_hours:.2f} core-hours"
        lines.append(
            f"  {line.system:12s} {line.atoms:4d} atoms, {line.k_points} k-points: {line.frames} frames, "
            f"tasks: {line.tasks}, {cost}"
        )
    if found.core_hours is not None:
        cores = workers * dft.ranks
        hours = found.core_hours / cores
        lines.append(f"about {found.core_hours:.2f} core-hours: {hours:.2f} hours on {cores} cores ({CORES})")
    return lines


def _named(context: Context[LabelSettings]) -> list[Atoms]:
    return [frame for path in context.settings.frames for frame in extxyz.read_frames(context.file(path))]


def _check(context: Context[LabelSettings]) -> None:
    engines.settings_of(context.section(Dft))


STAGE = Stage(
    name="label",
    settings=LabelSettings,
    result=LabelledFrames,
    run=run,
    version=2,
    sections=(Dft,),
    inputs=lambda context: context.settings.frames,
    check=_check,
    cores=lambda context: context.section(Dft).ranks,
)
