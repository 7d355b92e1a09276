"""Which tasks of a run were given to SLURM: one record per stage, `<run>/hpc/<stage>.json`, written before and after.

Takes calls of `run_parallel`; gives what a driver that was killed and started again has to know: arrays, their jobs by
key, and whether the stage has used the results.
"""

import dataclasses
import hashlib
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from pydantic import BaseModel

from mlip.core import files

FOLDER = "hpc"


@dataclass(frozen=True, kw_only=True)
class Array:
    """Jobs that were submitted together."""

    name: str  # of the job in SLURM; of this array alone
    fingerprint: str  # of the stage
    keys: tuple[str, ...]  # of the jobs, in the order of the array
    submitted: float  # seconds since 1970
    job_id: str | None = None  # None: the driver was killed while it submitted
    used: bool = False  # the stage is whole, or the tasks were cancelled: results are not taken again

    @property
    def tasks(self) -> tuple[str, ...]:
        """The ids of the tasks."""
        if self.job_id is None:
            return ()
        return (self.job_id,) if len(self.keys) == 1 else tuple(f"{self.job_id}_{k}" for k in range(len(self.keys)))


@dataclass(frozen=True, kw_only=True)
class Arrays:
    """The record of a stage."""

    arrays: tuple[Array, ...] = ()


@dataclass(frozen=True)
class Record:
    """The record of a stage on disk."""

    run: Path
    stage: str

    @property
    def path(self) -> Path:
        """The file."""
        return self.run / FOLDER / f"{self.stage}.json"

    @property
    def folder(self) -> Path:
        """Where scripts, logs and results of the tasks are."""
        return self.run / FOLDER / self.stage

    def arrays(self) -> tuple[Array, ...]:
        """Every array, oldest first."""
        return files.read_record(self.path, Arrays).arrays if self.path.exists() else ()

    @property
    def is_open(self) -> bool:
        """Whether there are tasks whose results the stage has not used."""
        return any(not one.used for one in self.arrays())

    def put(self, array: Array) -> None:
        """Add an array, or write the present state of one."""
        kept = [one for one in self.arrays() if one.name != array.name]
        self._write([*kept, array])

    def use_up(self) -> None:
        """Mark every result as used, and remove the pickled jobs and results: the stage has its own files."""
        if self.path.exists():
            self._write([replace(one, used=True) for one in self.arrays()])
            for pickled in self.folder.glob("*.pkl"):
                pickled.unlink(missing_ok=True)

    def _write(self, arrays: list[Array]) -> None:
        files.write_record(self.path, Arrays(arrays=tuple(arrays)))

    def result(self, task: str) -> Path:
        """Where submitit writes the result of a task."""
        return self.folder / f"{task}_0_result.pkl"

    def has_ended(self, task: str) -> bool:
        """Whether a task has a result or a reason why there is none."""
        return self.result(task).exists() or self.failure(task).exists()

    def is_done(self, task: str) -> bool:
        """Whether a task has its result."""
        return self.result(task).exists() and not self.failure(task).exists()

    def log(self, task: str) -> Path:
        """What a task printed."""
        return self.folder / f"{task}_0_log.err"

    def failure(self, task: str) -> Path:
        """Why a task failed, in one line."""
        return self.folder / f"{task}_failed.txt"


def key(function: Callable[..., Any], job: Any) -> str:
    """Name of a job by what it is: the same in another process."""
    return files.digest_of([function.__module__, function.__qualname__, _plain(job)])[:16]


def _plain(value: Any) -> Any:
    """The value in lists, texts and numbers."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return [f"{type(value).__module__}.{type(value).__qualname__}", _content(value)]


def _content(value: Any) -> Any:
    """What tells a value from others of its type."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, np.ndarray):
        return [str(value.dtype), value.shape, hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()]
    if isinstance(value, Atoms):
        value = value.todict()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return sorted(([str(k), _plain(v)] for k, v in value.items()), key=lambda pair: str(pair[0]))
    return hashlib.sha256(pickle.dumps(value)).hexdigest()
