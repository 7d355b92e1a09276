"""Weights & Biases (W&B), offline first.

Takes numbers, tables, figures and files of a run; gives W&B runs on disk, which `mlip wandb-sync` uploads later. A key,
a network and a W&B package are not needed.

A run folder is one group. A task of the run, such as the training of one member, is one W&B run. Its id follows from
group, stage, fingerprint and task: a process that was killed and started again continues the same W&B run, in a second
folder on disk. W&B writes in blocks, so a process that was killed leaves a record that is cut or empty. Such a record
is removed, and its steps are recorded again from the files of the run: over all folders of one id, steps only rise.
"""

import os
import re
import shutil
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from pydantic import Field

from mlip.core import files
from mlip.core.process import with_variables
from mlip.core.progress import console
from mlip.core.section import ExecutionSection

PACKAGE = "wandb"
INSTALL = "pip install 'facet-mlip[wandb]'"
FOLDER = "wandb"  # of a run folder
CLOSED = "closed.txt"  # in the folder of a W&B run that is whole: the step that comes next
LARGEST_FILE_BYTES = 5_000_000  # a larger one stays where it is: the artifact holds its path and checksum
EMPTY_BYTES = 7  # the head of a file of W&B
WAIT_S = 0.1
UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")


class Tracking(ExecutionSection):
    """Weights & Biases."""

    mode: Literal["offline", "online", "disabled"] = Field(
        default="offline",
        description="Whether Weights & Biases records offline, online or not at all; offline needs no account.",
    )
    project: str = Field(default="facet-mlip", description="Name of the W&B project.")


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is recorded as one W&B run."""

    run: Path  # the run folder
    stage: str
    fingerprint: str  # of the stage
    name: str = ""  # such as member-1; empty: the stage as a whole

    @property
    def run_id(self) -> str:
        """Id of the W&B run."""
        return files.digest_of([group_of(self.run), self.stage, self.fingerprint, self.name])[:16]

    @property
    def next_step(self) -> int:
        """The first step that no closed record holds."""
        return max((int(mark.read_text(encoding="utf-8")) for mark in self._folders(CLOSED)), default=0)

    @property
    def is_recorded(self) -> bool:
        """Whether there is a closed record."""
        return any(self._folders(CLOSED))

    def remove_cut_records(self) -> None:
        """Remove what a killed process left."""
        for folder in self._folders(""):
            if folder.name.startswith("offline-") and not (folder / CLOSED).exists():
                shutil.rmtree(folder)

    def _folders(self, inside: str) -> list[Path]:
        return sorted((self.run / FOLDER).glob(f"*run-*-{self.run_id}/{inside}"))


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """Files that belong together, with what W&B shows beside them."""

    run: Path  # the run folder
    kind: str  # such as model
    folder: Path
    paths: tuple[Path, ...]
    metadata: Mapping[str, Any]


def group_of(run: Path) -> str:
    """The W&B group of a run folder: made once and kept in the folder."""
    path = run / FOLDER / "group"
    if not path.exists():
        name = UNSAFE.sub("-", run.resolve().name) or "run"
        files.write_text_atomic(path, f"{name}-{uuid.uuid4().hex[:8]}\n")
    return path.read_text(encoding="utf-8").strip()


def is_on(settings: Tracking) -> bool:
    """Whether anything is recorded; one line, once, where W&B is not installed.

    Raises:
        ValueError: it is not installed, and the mode is online.
    """
    if settings.mode == "disabled":
        return False
    try:
        version(PACKAGE)
    except PackageNotFoundError as error:
        if settings.mode == "online":
            raise ValueError(f"tracking.mode: online, and {PACKAGE} is not installed; {INSTALL}") from error
        _say_once(f"Weights & Biases is not installed, nothing is recorded; {INSTALL}, or tracking.mode: disabled")
        return False
    return True


@cache
def _say_once(line: str) -> None:
    console.print(line, soft_wrap=True)


class Tracker:
    """One W&B run, begun with the first step that is not recorded yet; does nothing where nothing is recorded."""

    def __init__(self, settings: Tracking, task: Task, *, config: Mapping[str, Any]) -> None:
        self._settings, self._task, self._config = settings, task, config
        self._run: Any = None
        self._on = is_on(settings)
        self.next_step = task.next_step if self._on else 0

    def log(self, values: Mapping[str, Any], *, step: int) -> None:
        """Log numbers, or media of W&B, at a step; nothing where the step is recorded already."""
        if not self._on or step < self.next_step:
            return
        run = self._begun()
        if run is None or step < self.next_step:  # the server knows of a later step
            return
        run.log(dict(values), step=step)
        self.next_step = step + 1

    def table(self, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> Any:
        """A table of W&B; every column is of numbers or of text."""
        import wandb

        return wandb.Table(columns=list(columns), data=[list(row) for row in rows])

    def figure(self, uri: str, alt: str) -> Any:
        """An image of W&B from its data URI, which keeps vectors as they are."""
        import wandb

        return wandb.Html(f'<img src="{uri}" alt="{escape(alt)}" style="max-width:100%">', inject=False)

    def make(self, artifact: Artifact) -> None:
        """Log an artifact that the task made."""
        if (run := self._begun()) is not None:
            run.log_artifact(self._filled(artifact))

    def use(self, artifact: Artifact) -> None:
        """Log an artifact that the task used. The same files are the same version, whoever logs them first."""
        if (run := self._begun()) is not None:  # run.use_artifact refuses to work offline
            run._log_artifact(self._filled(artifact), use_after_commit=True)  # noqa: SLF001

    def _filled(self, artifact: Artifact) -> Any:
        import wandb

        name = f"{group_of(artifact.run)}-{artifact.kind}"
        made = wandb.Artifact(name, type=artifact.kind, metadata=dict(artifact.metadata))
        with with_variables(WANDB_DATA_DIR=str((artifact.run / FOLDER / "staging").resolve())):
            for path in artifact.paths:
                inside = path.relative_to(artifact.folder).as_posix()
                if path.stat().st_size > LARGEST_FILE_BYTES:
                    made.add_reference(path.resolve().as_uri(), name=inside)
                else:
                    made.add_file(str(path), name=inside)
        return made

    def _begun(self) -> Any:
        """The run of W&B; None where nothing is recorded."""
        if self._run is None and self._on:
            self._task.remove_cut_records()
            self._run = self._init()
            self._on = self._run is not None
            if self._on and self._settings.mode == "online":
                self.next_step = max(self.next_step, self._run.step)
        return self._run

    def _init(self) -> Any:
        """A new run of W&B; None where W&B fails offline."""
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        task = self._task
        try:
            return wandb.init(
                project=self._settings.project,
                group=group_of(task.run),
                job_type=task.stage,
                id=task.run_id,
                name="/".join(part for part in (task.run.resolve().name, task.stage, task.name) if part),
                dir=str(task.run.resolve()),
                config=dict(self._config),
                mode=self._settings.mode,
                resume="allow",
                reinit="create_new",
                settings=wandb.Settings(console="off", x_disable_stats=True, disable_git=True),
            )
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            if self._settings.mode == "offline":  # a record is not worth a run
                _say_once(f"tracking.mode: offline failed ({reason}); the run continues without a record")
                return None
            raise ValueError(f"tracking.mode: online failed ({reason}); log in to it, or use offline") from error

    def __enter__(self) -> Self:
        """The tracker itself, connected where the mode is online: a missing key is told before anything is computed."""
        if self._settings.mode == "online":
            self._begun()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the run, marked as failed after an error."""
        if self._run is not None:
            self._run.finish(exit_code=0 if kind is None else 1)
            folder = Path(self._run.dir).parent
            _wait_until_written(folder)
            files.write_text_atomic(folder / CLOSED, f"{self.next_step}\n")


def _wait_until_written(folder: Path) -> None:
    """Wait for the service of W&B, which writes the last block of a record after the run is finished."""
    sizes = [-1, 0]
    for _ in range(100):
        sizes.append(sum(path.stat().st_size for path in folder.glob("*.wandb")))
        if sizes[-1] > EMPTY_BYTES and sizes[-1] == sizes[-2]:
            return
        time.sleep(WAIT_S)
