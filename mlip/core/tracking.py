"""Weights & Biases, offline first.

Takes numbers of a run; gives offline runs on disk that `wandb sync` uploads later. No key and no network are needed.
The run id comes from what is computed, so a stage that is killed and started again continues the same W&B run.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from pydantic import Field

from mlip.core.section import ExecutionSection


class Tracking(ExecutionSection):
    """Weights & Biases."""

    mode: Literal["offline", "online", "disabled"] = Field(
        default="offline", description="Whether Weights & Biases records offline, online or not at all."
    )
    project: str = Field(default="facet-mlip", description="Name of the W&B project.")


class Tracker:
    """One W&B run; does nothing where tracking is disabled."""

    def __init__(self, settings: Tracking, folder: Path, *, run_id: str, name: str, config: Mapping[str, Any]) -> None:
        self._run: Any = None
        if settings.mode == "disabled":
            return
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._run = wandb.init(
                project=settings.project,
                id=run_id,
                name=name,
                dir=str(folder.resolve()),
                config=dict(config),
                mode=settings.mode,
                resume="allow",
                settings=wandb.Settings(console="off", x_disable_stats=True),
            )
        except wandb.errors.Error as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"tracking.mode: {settings.mode} failed ({reason}); log in to it, or use offline"
            ) from error

    def log(self, values: Mapping[str, float], *, step: int) -> None:
        """Log numbers at a step."""
        if self._run is not None:
            self._run.log(dict(values), step=step)

    def __enter__(self) -> Self:
        """The tracker itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the run, marked as failed after an error."""
        if self._run is not None:
            self._run.finish(exit_code=0 if kind is None else 1)
