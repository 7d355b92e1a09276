"""A model folder together with the backend that evaluates it: what worker processes are told to load."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ase import Atoms

from mlip.potential import equivalence, models, potential

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelUse:
    """Which model folder to use, and how."""

    folder: Path
    way: equivalence.Way

    @property
    def device(self) -> str:
        """Where it runs."""
        return self.way.device

    @property
    def dtype(self) -> str:
        """float64 or float32."""
        return self.way.dtype


def model_use(folder: Path, checks: Sequence[equivalence.Equivalence]) -> ModelUse:
    """The model in the first way that was found equivalent to the plain one, or else in that."""
    return ModelUse(folder, equivalence.accepted(checks))


def native_folder(model: Path) -> Path:
    """Where a model folder's converted weights are."""
    return model.parent / "native"


@lru_cache(maxsize=8)
def evaluator(use: ModelUse, members: tuple[int, ...] | None = None) -> potential.Evaluator:
    """The committee, or some members (counted from 1); loaded once per process."""
    model = models.load(use.folder) if members is None else models.load(use.folder).subset(members)
    try:
        return equivalence.evaluator(model, use.way, folder=native_folder(use.folder))
    except ValueError as error:
        if use.way == equivalence.PLAIN:
            raise
        log.warning("%s was found equivalent, but fails here: %s; mace-torch is used", use.way.backend, error)
        return equivalence.evaluator(model, equivalence.PLAIN, folder=native_folder(use.folder))


def calculator(use: ModelUse, member: int | None) -> potential.Potential:
    """The calculator of one member, or of the whole committee."""
    return potential.Potential(evaluator(use, None if member is None else (member,)))


def predictions(model: Path, frames: Sequence[Atoms], *, device: str) -> list[potential.Predicted]:
    """Every frame by every member of a model folder."""
    return potential.Evaluator(models.load(model), device=device)(frames)
