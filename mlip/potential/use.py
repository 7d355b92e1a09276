"""A model folder together with the backend that evaluates it: what worker processes are told to load."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ase import Atoms

from mlip.potential import equivalence, models, potential

log = logging.getLogger(__name__)

CONVERTED = "symmetrix"  # folder beside that of a model


@dataclass(frozen=True)
class ModelUse:
    """Which model folder to use, and how."""

    folder: Path
    backend: equivalence.Backend

    @property
    def device(self) -> str:
        """Where it runs."""
        return self.backend.device

    @property
    def dtype(self) -> str:
        """float64 or float32."""
        return self.backend.dtype


def model_use(folder: Path, checks: Sequence[equivalence.Equivalence]) -> ModelUse:
    """The model with the first backend that was found equivalent to the reference, or else with the reference."""
    return ModelUse(folder, equivalence.accepted(checks))


def converted_folder(model: Path) -> Path:
    """Where a model folder's weights are, converted for symmetrix-xl."""
    return model.parent / CONVERTED


@lru_cache(maxsize=8)
def evaluator(use: ModelUse, members: tuple[int, ...] | None = None) -> potential.Evaluator:
    """The committee, or some members (counted from 1); loaded once per process."""
    model = models.of_run(use.folder) if members is None else models.of_run(use.folder).subset(members)
    try:
        return equivalence.evaluator(model, use.backend, folder=converted_folder(use.folder))
    except ValueError as error:
        if use.backend == equivalence.REFERENCE:
            raise
        log.warning("%s was found equivalent, but fails here: %s; mace-torch is used", use.backend.name, error)
        return equivalence.evaluator(model, equivalence.REFERENCE, folder=converted_folder(use.folder))


def calculator(use: ModelUse, member: int | None) -> potential.Potential:
    """The calculator of one member, or of the whole committee."""
    return potential.Potential(evaluator(use, None if member is None else (member,)))


def predictions(model: Path, frames: Sequence[Atoms], *, device: str) -> list[potential.Predicted]:
    """Every frame by every member of a model folder."""
    return potential.Evaluator(models.of_run(model), device=device)(frames)
