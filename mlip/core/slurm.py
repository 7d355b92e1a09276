"""Jobs as tasks of SLURM arrays, submitted through submitit.

Takes a function and its jobs as `run_parallel` does; gives their results in order. A task runs its job in a process of
its own, as a local worker does. Before the time limit SLURM sends a signal: the process is stopped, the task requeued,
and the job goes on from its own files. What the driver submitted is in `task_records`: a driver that was killed and
started again waits for what runs, takes what is done and submits what is missing. Whether a task has ended is read from
the files of the task; the controller is asked at most once in `poll_seconds`, and by squeue alone, as sacct needs an
accounting database that not every cluster has.
"""

import contextlib
import multiprocessing
import os
import pickle
import re
import shutil
import signal
import subprocess
import time
import traceback
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from mlip.core import files
from mlip.core.progress import console
from mlip.core.site import Resources, Site
from mlip.core.task_records import Array, Record, key
from mlip.core.workers import run_local

Job = TypeVar("Job")
Result = TypeVar("Result")
NEEDED = ("sbatch", "srun", "squeue", "scancel", "sinfo", "scontrol")
RUNNING = frozenset({"RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STAGE_OUT"})  # as squeue names them
ENDED = {
    "COMPLETED": "exited",
    "FAILED": "exited with an error",
    "CANCELLED": "cancelled",
    "TIMEOUT": "killed at its time limit",
    "OUT_OF_MEMORY": "killed because it exceeded its memory; raise memory_gb",
    "NODE_FAIL": "its node failed",
    "BOOT_FAIL": "its node failed",
    "DEADLINE": "killed at its deadline",
    "PREEMPTED": "preempted",
}
NO_SUBMITIT = "submitit is not installed; install the extra hpc: pip install 'facet-mlip[hpc]'"
VANISHED = "ended without a result (the task was cancelled, exceeded its memory, or its node failed)"


class TasksFailed(ValueError):  # noqa: N818  (told to the user)
    """Tasks of a stage failed; the others are done."""


@dataclass(frozen=True)
class Task:
    """What a node calls. submitit calls `checkpoint` before a requeue."""

    uses_torch: bool

    def __call__(self, function: Callable[[Any], Any], job: Any) -> tuple[bool, Any]:
        """Whether the job succeeded, and its result or why not."""
        from submitit import JobEnvironment

        signal.signal(signal.SIGTERM, _leave)
        own = JobEnvironment()
        mark = own.paths.folder / f"{own.job_id}_failed.txt"
        mark.unlink(missing_ok=True)
        try:
            return True, run_local(function, [job], workers=1, uses_torch=self.uses_torch)[0]
        except Exception as error:  # noqa: BLE001  (whatever it is, the driver tells it)
            traceback.print_exc()
            reason = " ".join(str(error).split()) or type(error).__name__
            files.write_text_atomic(mark, f"{reason}\n")
            return False, reason

    def checkpoint(self, *arguments: Any) -> Any:
        """The same task again; the job goes on from its own files, so its process may die at once."""
        from submitit.helpers import DelayedSubmission

        for child in multiprocessing.active_children():
            child.kill()
        return DelayedSubmission(self, *arguments)


def _leave(*_: object) -> None:
    """End at once and without a result: SLURM ends this task, and knows why."""
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(1)


def require(site: Site, stages: Collection[str], where: Path) -> None:
    """Check that tasks can be submitted from this machine.

    Raises:
        ValueError: submitit or a command of SLURM is missing, or a partition does not exist.
    """
    try:
        import submitit  # noqa: F401
    except ImportError as error:
        raise ValueError(f"common.executor: slurm: {NO_SUBMITIT}") from error
    require_commands()
    there = _asked("sinfo", "-h", "-o", "%R").split()
    for stage in stages:
        asked = site.resources(stage).partition
        if asked is not None and asked not in there:
            raise ValueError(f"{where}: partition {asked!r} does not exist; there are: {', '.join(sorted(set(there)))}")


def require_commands() -> None:
    """Check that the commands of SLURM are on this machine; a ValueError names those that are missing."""
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        advice = "run on a machine with SLURM, or set common.executor: local"
        raise ValueError(f"slurm: no {', '.join(missing)} on this machine; {advice}")


def submit_script(path: Path) -> str:
    """Submit a batch script; gives the number of the job."""
    return _asked("sbatch", "--parsable", str(path)).strip().partition(";")[0]


def reason(record: Record, task: str) -> str:
    """Why a task that has ended has no result, in one line."""
    failure = record.failure(task)
    return f"{task}: {failure.read_text(encoding='utf-8').strip() if failure.exists() else VANISHED}"


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)  # noqa: S603


def _asked(*command: str) -> str:
    """What a command of SLURM prints.

    Raises:
        ValueError: it fails.
    """
    done = _run(*command)
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())[:300]
        raise ValueError(f"{command[0]} failed ({said})")
    return done.stdout


@dataclass(frozen=True)
class Queued:
    """A task as squeue shows it."""

    name: str  # of its array
    state: str  # such as RUNNING
    reason: str  # why it waits


def queued() -> dict[str, Queued]:
    """Every task of this user that has not ended, by its id: one question to the controller."""
    return {task: one for task, one in _listed().items() if one.state not in ENDED}


def _listed() -> dict[str, Queued]:
    """The tasks that the controller knows; by default squeue leaves out those that are being requeued."""
    form = "%i|%j|%T|%r"
    lines = _asked("squeue", "-h", "-r", "--states=all", f"--user={os.getuid()}", "-o", form).splitlines()
    return {one[0]: Queued(one[1], one[2], one[3]) for line in lines if len(one := line.split("|", 3)) == 4}


def cancel(tasks: Collection[str]) -> None:
    """Cancel arrays or single tasks."""
    if tasks:
        _run("scancel", *tasks)


@dataclass(kw_only=True)
class _Controller:
    """Asks the controller seldom; where the controller does not answer, the last answer stays."""

    seconds: float
    _last: float = float("-inf")
    _silent: bool = False

    def tasks(self) -> dict[str, Queued] | None:
        """The tasks that the controller knows, where it is time to ask again and there is an answer."""
        if time.monotonic() - self._last < self.seconds:
            return None
        self._last = time.monotonic()
        try:
            found = _listed()
        except ValueError as error:
            if not self._silent:
                console.print(f"  {error}; waiting until SLURM answers", soft_wrap=True)
            self._silent = True
            return None
        self._silent = False
        return found


@dataclass(frozen=True, kw_only=True)
class Slurm:
    """Carries out the jobs of a stage."""

    record: Record
    fingerprint: str
    site: Site
    _controller: _Controller = field(init=False)

    def __post_init__(self) -> None:
        """One controller for all calls of a stage."""
        object.__setattr__(self, "_controller", _Controller(seconds=self.site.poll_seconds))

    def __call__(
        self,
        function: Callable[[Job], Result],
        jobs: Sequence[Job],
        *,
        on_tick: Callable[[int], None],
        tick_s: float,
        uses_torch: bool,
    ) -> list[Result]:
        """Results of the jobs in order; see `run_parallel`.

        Raises:
            TasksFailed: a task failed, after all others have ended.
        """
        keys = [key(function, job) for job in jobs]
        known = self._known(keys)
        todo = {k: job for k, job in zip(keys, jobs, strict=True) if k not in known}
        known |= self._submitted(function, todo, uses_torch=uses_torch)
        self._wait(known.values(), lambda ended: on_tick(sum(known[k] in ended for k in keys)), tick_s)
        found = {k: self._outcome(task) for k, task in known.items()}
        if failed := [k for k in found if not found[k][0]]:
            raise TasksFailed(self._why(known[failed[0]], found[failed[0]][1], len(failed), len(found)))
        return [found[k][1] for k in keys]

    def settle(self) -> None:
        """Wait for tasks that an earlier driver left: they write to the files that the stage reads next.

        Raises:
            ValueError: tasks of other settings still run.
        """
        every = [one for one in self.record.arrays() if not one.used]
        if not every:
            return
        self._cancel_half_submitted(every)
        alive = queued()
        left = [one for one in every if any(task in alive for task in one.tasks)]
        if other := [one for one in left if one.fingerprint != self.fingerprint]:
            raise ValueError(
                f"stage {self.record.stage}: tasks of other settings still run (job {other[0].job_id}); wait for "
                f"their end, or stop them with: mlip cancel {self.record.run}"
            )
        tasks = [task for one in left for task in one.tasks if task in alive]
        if tasks:
            console.print(f"  {len(tasks)} tasks of an earlier call still run; waiting for them", soft_wrap=True)
            self._wait(tasks, lambda _: None, 1.0)

    def _cancel_half_submitted(self, every: Sequence[Array]) -> None:
        """Arrays whose submission was cut off by a kill: SLURM may have them, their jobs are not whole."""
        for one in every:
            if one.job_id is None:
                _run("scancel", f"--name={one.name}")
                while any(task.name == one.name for task in queued().values()):
                    time.sleep(self.site.poll_seconds)
                self.record.put(replace(one, used=True))

    def _known(self, keys: Collection[str]) -> dict[str, str]:
        """Tasks that were submitted before and run, or are done."""
        mine = [one for one in self.record.arrays() if one.fingerprint == self.fingerprint and not one.used]
        tasks = {k: task for one in mine if one.tasks for k, task in zip(one.keys, one.tasks, strict=True) if k in keys}
        open_ones = {k for k, task in tasks.items() if not self.record.has_ended(task)}
        alive = queued() if open_ones else {}
        return {k: t for k, t in tasks.items() if (k in open_ones and t in alive) or self.record.is_done(t)}

    def _submitted(self, function: Callable[[Job], Any], todo: dict[str, Job], *, uses_torch: bool) -> dict[str, str]:
        """Submit jobs, an array for each `array_size` of them; gives the tasks by key."""
        names, found = list(todo), dict[str, str]()
        for start in range(0, len(names), self.site.array_size):
            part = names[start : start + self.site.array_size]
            array = Array(
                name=f"mlip-{self.record.stage}-{uuid.uuid4().hex[:8]}",
                fingerprint=self.fingerprint,
                keys=tuple(part),
                submitted=time.time(),
            )
            self.record.put(array)
            with _told_in_one_line():
                submitit_jobs = executor(self.site, self.record, array.name).map_array(
                    Task(uses_torch), [function] * len(part), [todo[k] for k in part]
                )
            array = replace(array, job_id=submitit_jobs[0].job_id.partition("_")[0])
            self.record.put(array)
            found |= dict(zip(part, array.tasks, strict=True))
        return found

    def _wait(self, tasks: Collection[str], on_tick: Callable[[set[str]], None], tick_s: float) -> None:
        """Until every task has ended: it has a result, or two answers of the controller in a row do not name it."""
        pending, missed, ended = set(tasks), set[str](), set[str]()
        while True:
            there = {p.name for p in self.record.folder.glob("*_result.pkl")}  # one look for all tasks
            ended |= {task for task in pending if self.record.result(task).name in there}
            pending -= ended
            on_tick(ended)
            if not pending:
                return
            if (known := self._controller.tasks()) is not None:
                gone = {task for task in pending if task not in known or known[task].state in ENDED}
                for task in gone & missed:
                    self._vanished(task, known.get(task))
                    ended.add(task)
                pending -= ended
                missed = gone
            time.sleep(max(tick_s, 0.5))

    def _vanished(self, task: str, last: Queued | None) -> None:
        record, hint = self.record, ""
        how = VANISHED if last is None else f"ended without a result ({ENDED[last.state]})"
        if not record.log(task).exists():
            hint = f"; there is no log: if the nodes do not see {record.folder}, use a run folder that they see"
        if not record.failure(task).exists():
            files.write_text_atomic(record.failure(task), f"{how}{hint}\n")

    def _outcome(self, task: str) -> tuple[bool, Any]:
        result = self.record.result(task)
        if not result.exists():
            return False, self.record.failure(task).read_text(encoding="utf-8").strip()
        kind, value = pickle.loads(result.read_bytes())  # noqa: S301  (written by our task)
        return value if kind == "success" else (False, value.strip().splitlines()[-1])

    def _why(self, task: str, reason: str, failed: int, all_of_them: int) -> str:
        return (
            f"stage {self.record.stage}: {failed} of {all_of_them} tasks failed, first {task}: {reason} "
            f"(log: {self.record.log(task)}); finished tasks are kept; the same command submits the others again"
        )


@contextlib.contextmanager
def _told_in_one_line() -> Iterator[None]:
    """Errors of submitit as one line: sbatch refused the script."""
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    try:
        yield
    except (FailedJobError, FailedSubmissionError, subprocess.CalledProcessError) as error:
        said = re.findall(r"sbatch: (?:error: )?(.*)", str(error)) or [" ".join(str(error).split())[:200]]
        advice = "correct the profile that common.site names"
        raise ValueError(f"sbatch refused the tasks ({'; '.join(said)}); {advice}") from error


def executor(site: Site, record: Record, name: str) -> Any:
    """The executor of submitit for the tasks of a stage."""
    import submitit

    made = submitit.SlurmExecutor(record.folder.resolve(), max_num_timeout=site.requeues, python=site.python)
    made.update_parameters(**parameters(site.resources(record.stage), site, name))
    return made


def parameters(own: Resources, site: Site, name: str) -> dict[str, Any]:
    """The options of sbatch as submitit names them."""
    found = {
        "job_name": name,
        "partition": own.partition,
        "account": own.account,
        "gpus_per_node": own.gpus or None,
        "cpus_per_task": own.cores,
        "mem": f"{round(own.memory_gb * 1024)}M",
        "time": max(1, round(own.hours * 60)),
        "setup": list(site.setup) or None,
        "signal_delay_s": site.signal_seconds,
        "srun_args": ["--mpi=none"],  # a task is one process, and may start ranks of MPI of its own
        "array_parallelism": own.parallel,
        "additional_parameters": {"requeue": True, **own.options},
    }
    return {name: value for name, value in found.items() if value is not None}


def script(site: Site, record: Record) -> str:
    """The script of the tasks of a stage, as it would be submitted."""
    made = executor(site, record, f"mlip-{record.stage}")
    return str(made._make_submission_file_text(made._submitit_command_str, "dry"))  # noqa: SLF001
