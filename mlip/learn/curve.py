"""The learning curve: what every round measured before its labels, and what its labels said of it.

Takes the run of a round; gives its barriers with their spread, the held-out errors, and the uncertainty of the barriers
on which rows of the report rest: those of the limiting hops, 2 sigma = 2 x spread of the committee x max(1,
calibration), as in the report without its other terms.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlip.core import files
from mlip.core.run import Run
from mlip.core.status import RESOLVED, Status
from mlip.learn.labelling import ImageError, Labelled
from mlip.stages.dataset.dataset import Manifest
from mlip.stages.dataset.stage import STAGE as DATASET
from mlip.stages.evaluate.evaluate import Errors, Evaluation
from mlip.stages.evaluate.stage import STAGE as EVALUATE
from mlip.stages.neb.stage import STAGE as NEB
from mlip.stages.neb.stage import Barriers

RUNNING, WAITING = "running", "waiting for labels"
BELOW, ROUNDS, EXHAUSTED = "uncertainty below the limit", "all rounds done", "no candidate left"


@dataclass(frozen=True, kw_only=True)
class RoundBarrier:
    """A barrier in one round; numbers are None where a band did not converge."""

    host: str
    ion: str
    hop: str
    limiting: bool
    status: str
    forward_ev: float | None
    two_sigma_ev: float | None


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Errors of the committee on the held-out groups."""

    frames: int
    force_rmse_ev_per_angstrom: float
    energy_rmse_ev_per_atom: float
    path_rms_ev: float | None  # of the saddles of labelled paths; None where no path is held out


@dataclass(frozen=True, kw_only=True)
class RoundRecord:
    """One point of the learning curve.

    Attributes:
        number: 0 is the potential of the dataset that `learn` began with.
        run: folder of its run.
        dataset: folder of its dataset.
        training_frames: frames trained on.
        two_sigma_ev: largest of a limiting hop; None where one has no spread, or an ion on a host no resolved barrier.
        barriers: of every hop.
        held_out: None where no group is held out.
        labels: what the round labelled; None for the last round, and where it waits.
    """

    number: int
    run: str
    dataset: str
    training_frames: int
    two_sigma_ev: float | None
    barriers: tuple[RoundBarrier, ...]
    held_out: HeldOut | None
    labels: Labelled | None = None


@dataclass(frozen=True, kw_only=True)
class Learned:
    """Result of `mlip learn`."""

    status: Status
    level: str  # settings hash of the labels
    choose: str
    rounds: tuple[RoundRecord, ...]


def measured(run: Run, number: int) -> RoundRecord:
    """What a run says before its round labels anything."""
    found = files.read_result(run.path(NEB.name, "result.json"), Barriers)
    manifest = files.read_result(run.path(DATASET.name, "result.json"), Manifest)
    errors = _errors(run)
    factor = max(1.0, errors.calibration or 1.0) if errors is not None else 1.0
    limiting = {(b.host, b.ion, b.limiting_hop) for b in found.bottlenecks if b.barrier_ev is not None}
    resolved = {(b.host, b.ion) for b in found.bottlenecks if b.status.code == RESOLVED}
    open_ = {(b.host, b.ion) for b in found.bottlenecks} - resolved
    barriers = tuple(
        RoundBarrier(
            host=b.host,
            ion=b.ion,
            hop=b.hop,
            limiting=(b.host, b.ion, b.hop) in limiting,
            status=str(b.status),
            forward_ev=b.forward_ev,
            two_sigma_ev=None if b.forward_std_ev is None else 2 * factor * b.forward_std_ev,
        )
        for b in found.barriers
    )
    return RoundRecord(
        number=number,
        run=run.folder.name,
        dataset=str(run.sections[DATASET.name].model_dump(mode="json")["path"]),
        training_frames=manifest.parts["train"].frames,
        two_sigma_ev=None if open_ else _largest(barriers),
        barriers=barriers,
        held_out=None if errors is None else _held_out(errors),
    )


def _errors(run: Run) -> Errors | None:
    if not run.is_done(EVALUATE):
        return None
    return files.read_result(run.path(EVALUATE.name, "result.json"), Evaluation).models[0]


def _largest(barriers: Sequence[RoundBarrier]) -> float | None:
    """The largest 2 sigma of a limiting hop; None where one of them has none."""
    own = [b.two_sigma_ev for b in barriers if b.limiting]
    known = [value for value in own if value is not None]
    return max(known) if known and len(known) == len(own) else None


def _held_out(errors: Errors) -> HeldOut:
    paths = [p.model_ev - p.dft_ev for p in errors.paths]
    return HeldOut(
        frames=errors.frames,
        force_rmse_ev_per_angstrom=errors.force_rmse_ev_per_angstrom,
        energy_rmse_ev_per_atom=errors.energy_rmse_ev_per_atom,
        path_rms_ev=rms(paths),
    )


def rms(values: Sequence[float]) -> float | None:
    """Root mean square, None of nothing."""
    return float(np.sqrt(np.mean(np.square(values)))) if len(values) else None


def saddle_error(images: Sequence[ImageError]) -> float | None:
    """Root mean square error of the energies of saddles above their initial images, eV."""
    return rms([image.error_ev for image in images if image.saddle])
