"""One step of one hop in a worker process: from the labels that are there to the next round or the result.

Every round is a file `round-<k>.extxyz` in the folder of the hop, written whole before anything of it is calculated:
the geometries to calculate, then the images from which the next round begins. What is read back is what counts, so a
run that was killed at any moment asks for the same calls.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ase import Atoms

from mlip.atoms import extxyz
from mlip.core import files
from mlip.potential import use
from mlip.stages.neb.settings import NebSettings
from mlip.stages.refine import loop, refined, search
from mlip.stages.refine.loop import BAND, MODE, PART, Call
from mlip.stages.refine.refined import Refined
from mlip.stages.refine.settings import RefineSettings
from mlip.stages.sites.network import Hop


class MakesPrior(Protocol):
    """What gives the potential for so many structures like a template."""

    def __call__(self, template: Atoms, count: int) -> search.Prior:
        """Energies and forces of structures in `count` slots."""


@dataclass(frozen=True)
class CommitteePrior:
    """The committee mean of a run's model."""

    model: use.ModelUse

    def __call__(self, template: Atoms, count: int) -> search.Prior:
        """Energies and forces of structures in `count` slots."""
        return search.committee(use.evaluator(self.model), template, count)


@dataclass(frozen=True)
class HopJob:
    """A hop with the labels made so far."""

    hop: Hop
    path: loop.Hop
    vacuum: bool
    folder: Path
    labels: Mapping[str, Atoms]  # by frame_id
    prior: MakesPrior
    settings: RefineSettings
    neb_settings: NebSettings


def advance(job: HopJob) -> Refined | None:
    """The result of a hop whose rounds are all labelled; None where the next round is now on disk."""
    calls, band = stored(job.folder, job.labels)
    calls = [call for call in calls if call.label is not None or call.part not in refined.EXTRA]
    prior = job.prior(job.path.band[0], len(job.path.band))
    step = loop.next_round(
        job.path, calls, band or job.path.band, prior=prior, settings=job.settings, neb_settings=job.neb_settings
    )
    if isinstance(step, loop.Finished):
        return refined.outcome(job.hop, job.path, calls, step, prior=prior, settings=job.settings)
    number = 1 + max((call.round for call in calls), default=-1)
    write_round(job, number, step)
    return None


def write_round(job: HopJob, number: int, step: loop.Asked) -> None:
    """Put a round on disk."""
    frames = []
    for part, atoms in step.frames.items():
        asked = atoms.copy()
        asked.info = {
            "frame_id": f"refine_{job.hop.name}_{job.hop.ion}_{part}{number}",
            "system": job.hop.host,
            "host": job.hop.host,
            "ion": job.hop.ion,
            "group": job.hop.group,
            "sampling": f"refinement of {job.hop.name}, {part}, round {number}",
            "vacuum": job.vacuum,
            PART: part,
        }
        frames.append(asked)
    for image in step.band:
        kept = loop.bare(image)
        kept.info[PART] = BAND
        frames.append(kept)
    files.write_frames(job.folder / f"round-{number}.extxyz", frames)


def stored(folder: Path, labels: Mapping[str, Atoms]) -> tuple[list[Call], list[Atoms]]:
    """The calls of all rounds on disk, with their labels where these are known, and the images of the last round.

    Raises:
        ValueError: a file is damaged.
    """
    calls: list[Call] = []
    band: list[Atoms] = []
    for number, path in enumerate(rounds(folder)):
        frames = extxyz.read_frames(path)
        band = [frame for frame in frames if frame.info[PART] == BAND]
        calls += [
            Call(str(frame.info[PART]), number, frame, labels.get(str(frame.info["frame_id"])))
            for frame in frames
            if frame.info[PART] != BAND
        ]
    return calls, band


def rounds(folder: Path) -> list[Path]:
    """Files of the rounds of a hop, in order."""
    found: list[Path] = []
    while (path := folder / f"round-{len(found)}.extxyz").exists():
        found.append(path)
    return found


def to_label(calls: Sequence[Call]) -> list[Atoms]:
    """The frames of calls as the queue of labels takes them."""
    out = []
    for call in calls:
        frame = loop.bare(call.asked)
        frame.info = {key: value for key, value in call.asked.info.items() if key not in {PART, MODE}}
        out.append(frame)
    return out
