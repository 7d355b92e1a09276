"""What runs in a worker process of the stage `evaluate`: the predictions of one model for a file of frames."""

from dataclasses import dataclass
from pathlib import Path

from mlip.atoms import extxyz
from mlip.core.section import Target
from mlip.potential import models, potential


@dataclass(frozen=True)
class PredictJob:
    """A model and the frames that it evaluates; `target`: only if the model is at this level."""

    model: Path
    frames: Path
    device: str
    trust_pickle: bool = True  # a model of the run
    target: Target | None = None


def predict(job: PredictJob) -> list[potential.Predicted]:
    """Every frame by every member; nothing if the model is at another level: a comparison would then mean nothing."""
    found = models.load(job.model, trust_pickle=job.trust_pickle)
    if job.target is not None and found.card.get("target") != job.target:
        return []
    return potential.Evaluator(found, device=job.device)(extxyz.read_frames(job.frames))
