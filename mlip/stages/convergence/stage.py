"""The stage `convergence`: what the DFT settings cost, against tighter ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase import Atoms

from mlip.atoms import extxyz
from mlip.core.report import ReportSection
from mlip.core.stage import Context, Stage
from mlip.dft import engines, queue
from mlip.dft.labeller import Labeller
from mlip.dft.settings import Dft
from mlip.stages.convergence import convergence
from mlip.stages.convergence.report import convergence_section
from mlip.stages.convergence.settings import ConvergenceSettings
from mlip.stages.dataset.stage import STAGE as DATASET


@dataclass(frozen=True, kw_only=True)
class Convergence:
    """Result of the stage."""

    level: str  # settings hash of the run's DFT level
    frames: tuple[str, ...]
    variants: tuple[convergence.Variant, ...]


def run(context: Context[ConvergenceSettings]) -> Convergence:
    """Measure errors of the settings against tighter ones, or another code, on frames of the dataset."""
    settings, dft = context.settings, context.section(Dft)
    ask = Labeller(
        dft, queue.labels_folder(context.run_folder), workers=context.workers, say=context.say, with_refused=True
    )
    for variant in (v for variants in settings.studies.values() for v in variants):
        engines.settings_of(engines.varied(dft, variant))  # a wrong one is told before any is calculated
    path = context.file(_frames(context))
    there = {str(f.info["frame_id"]): f for f in extxyz.read_frames(path)}
    if missing := [name for name in settings.frames if name not in there]:
        raise ValueError(f"convergence.frames: {missing[0]!r} is no frame of {path.parent}; name frames of it")
    frames = [there[name] for name in settings.frames]
    asked = _only_what_lacks(ask, dft)
    made = [convergence.study(name, variants, frames, asked) for name, variants in settings.studies.items()]
    context.leave_unfinished(*queue.left(ask.problems))
    variants = tuple(v for study in made for v in study)
    return Convergence(level=queue.settings_hash(dft), frames=settings.frames, variants=variants)


def _only_what_lacks(ask: convergence.Ask, dft: Dft) -> convergence.Ask:
    """Ask for the labels that the dataset does not have at a level; its own come without their time.

    They may be from another machine, so their times say nothing about the cost of a setting.
    """

    def asked(frames: Sequence[Atoms], changes: Mapping[str, Any]) -> tuple[Atoms | None, ...]:
        level = queue.settings_hash(engines.varied(dft, changes))
        there = [f.info.get("settings_hash") == level for f in frames]
        lacking = [f for f, known in zip(frames, there, strict=True) if not known]
        calculated = iter(ask(lacking, changes) if lacking else ())
        return tuple(_without_time(f) if known else next(calculated) for f, known in zip(frames, there, strict=True))

    return asked


def _without_time(frame: Atoms) -> Atoms:
    made = frame.copy()
    made.info.pop("wall_s", None)
    return made


def report(_: Context[ConvergenceSettings], result: Convergence) -> tuple[ReportSection, ...]:
    """The table of the settings."""
    return (convergence_section(result.variants),)


def _frames(context: Context[ConvergenceSettings]) -> Path:
    path = context.settings_of(DATASET).path
    if path is None:
        raise ValueError("convergence.frames: dataset.path is null, so there are no frames; name a dataset")
    return path / "frames.extxyz"


STAGE = Stage(
    name="convergence",
    settings=ConvergenceSettings,
    result=Convergence,
    run=run,
    settings_of=(DATASET,),
    sections=(Dft,),
    inputs=lambda context: [] if context.settings_of(DATASET).path is None else [_frames(context)],
    report=report,
    cores=lambda context: context.section(Dft).ranks,
)
