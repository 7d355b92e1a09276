"""A run on a cluster: submit its driver, see how far it is, cancel it.

Takes a config and a run folder; gives the batch script of the driver, a table of the stages, and the end of the tasks.
The driver is `mlip run CONFIG RUN` in a small job. It may be killed at any moment: the same command goes on.
"""

import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from mlip import driver
from mlip.core import files, site, slurm
from mlip.core.run import Run
from mlip.core.stage import Stage
from mlip.core.task_records import FOLDER, Array, Record

DONE, UNDER_WAY, FAILED, STOPPED, NOT_BEGUN = "done", "under way", "failed", "stopped", "not begun"


@dataclass(frozen=True, kw_only=True)
class StageState:
    """How far a stage is."""

    stage: str
    state: str  # one of the codes above
    done: int  # tasks
    running: int
    waiting: int
    failed: int
    wall_s: float | None  # of the stage where it is done, else since its first task was submitted
    note: str  # the last line of what failed, or why tasks wait


def submit(config: Path, folder: Path, *, dry_run: bool) -> str:
    """Submit the driver as a job of SLURM; gives a message with the job, or the scripts of driver and tasks.

    Raises:
        ValueError: anything wrong with the config, the profile or the cluster, or a driver is there already.
    """
    run = driver.init(config, folder)
    if run.common.executor != "slurm":
        raise ValueError(f"{config}: common.executor is local; set it to slurm, or call: mlip run {config} {folder}")
    driver.require_executor(run)
    driver.require_whole(run)
    profile, record = driver.profile(run), Record(folder.resolve(), site.DRIVER)
    text = _script(profile, record, [str(config.resolve() if config.exists() else config), str(folder.resolve())])
    if dry_run:
        stages = [stage for stage in run.planned() if not run.is_whole(stage)]
        made = [f"# tasks of {s.name}\n{slurm.script(profile, Record(folder.resolve(), s.name))}" for s in stages]
        return "\n".join([f"# driver\n{text}", *made])
    alive = slurm.queued()
    if there := [task for one in record.arrays() for task in one.tasks if task in alive]:
        raise ValueError(f"{folder}: its driver is already in the queue, job {there[-1]}; see: mlip status {folder}")
    path = folder / FOLDER / "driver.sh"
    files.write_text_atomic(path, text)
    job_id = slurm.submit_script(path)
    record.put(Array(name=_name(folder), fingerprint="", keys=("driver",), submitted=time.time(), job_id=job_id))
    return f"driver submitted as job {job_id}; log: {folder / FOLDER / 'driver.log'}; see: mlip status {folder}"


def _name(folder: Path) -> str:
    return f"mlip-driver-{files.digest_of(str(folder.resolve()))[:8]}"


def _script(profile: site.Site, record: Record, arguments: Sequence[str]) -> str:
    """The batch script of the driver, which is requeued before its time limit."""
    own, log = profile.resources(site.DRIVER), record.run / FOLDER / "driver.log"
    options: dict[str, Any] = {
        "job-name": _name(record.run),
        "partition": own.partition,
        "account": own.account,
        "gpus-per-node": own.gpus or None,
        "cpus-per-task": own.cores,
        "mem": f"{round(own.memory_gb * 1024)}M",
        "time": max(1, round(own.hours * 60)),
        "output": log,
        "open-mode": "append",
        "signal": f"B:USR2@{profile.signal_seconds}",
        "chdir": Path.cwd(),
        **own.options,
    }
    asked = [f"#SBATCH --{name}={shlex.quote(str(value))}" for name, value in options.items() if value is not None]
    python = profile.python or shlex.quote(sys.executable)
    return "\n".join(
        (
            "#!/bin/bash",
            *asked,
            "#SBATCH --requeue",
            *profile.setup,
            'trap \'kill "$driver"; scontrol requeue "$SLURM_JOB_ID"\' USR2',
            f"{python} -m mlip.cli run {shlex.join(arguments)} &",
            "driver=$!",
            'wait "$driver"',
            "",
        )
    )


def cancel(folder: Path) -> str:
    """Cancel the driver and every task of a run; what is finished is kept."""
    run = driver.opened(folder)
    slurm.require_commands()
    alive = slurm.queued()
    # the driver first: it would tell of tasks that failed
    jobs = [one for record in _records(run, driver_too=True) for one in record.arrays()]
    mine = [one.job_id for one in jobs if one.job_id and any(task in alive for task in one.tasks)]
    slurm.cancel(mine)
    tasks = sum(task in alive for one in jobs for task in one.tasks)
    if not tasks:
        return "no task of this run is in the queue"
    return f"{tasks} {'task' if tasks == 1 else 'tasks'} cancelled; finished results are kept, and mlip run continues"


def _records(run: Run, *, driver_too: bool = False) -> list[Record]:
    names = [site.DRIVER] * driver_too + [stage.name for stage in run.stages]
    return [Record(run.folder.resolve(), name) for name in names]


def status(folder: Path) -> Iterator[StageState]:
    """How far every stage of a run is, in the order of the pipeline; asks the controller once.

    Raises:
        ValueError: no run folder, or the controller of SLURM does not answer.
    """
    run = driver.opened(folder)
    records = {record.stage: record for record in _records(run)}
    is_open = any(record.is_open for record in records.values())
    alive = slurm.queued() if is_open else {}
    planned = run.planned()
    for stage in run.stages:
        if stage in planned or records[stage.name].arrays() or run.is_done(stage):
            yield _state(run, stage, records[stage.name], alive)


def _state(run: Run, stage: Stage[Any, Any], record: Record, alive: dict[str, slurm.Queued]) -> StageState:
    whole = run.is_whole(stage)
    last = _newest(record.arrays())
    open_ones = {
        task: alive[task] for task, used in last.items() if not used and task in alive and not record.has_ended(task)
    }
    running = sum(one.state in slurm.RUNNING for one in open_ones.values())
    failed = [t for t, used in last.items() if t not in open_ones and not (used or record.is_done(t))]
    waiting = [one for one in open_ones.values() if one.state not in slurm.RUNNING]
    notes = [slurm.reason(record, t) for t in failed] or [f"waiting: {t.reason}" for t in waiting if t.reason != "None"]
    ended = FAILED if failed else STOPPED if last else NOT_BEGUN
    state = DONE if whole else UNDER_WAY if open_ones else ended
    first = min((one.submitted for one in record.arrays() if not one.used), default=None)
    wall_s = None if first is None else time.time() - first
    if whole:
        wall_s = files.read_provenance(run.path(stage.name, "result.json")).wall_time_s
    return StageState(
        stage=stage.name,
        state=state,
        done=len(last) - len(open_ones) - len(failed),
        running=running,
        waiting=len(open_ones) - running,
        failed=len(failed),
        wall_s=wall_s,
        note=notes[-1] if notes else "",
    )


def _newest(arrays: Sequence[Array]) -> dict[str, bool]:
    """The last task of every job, and whether its result was used."""
    by_key = {k: (t, one.used) for one in arrays if one.tasks for k, t in zip(one.keys, one.tasks, strict=True)}
    return dict(by_key.values())


def shown(states: Sequence[StageState]) -> Iterator[str]:
    """The table, line by line."""
    counted = "".join(f" {name:>7s}" for name in ("done", "running", "waiting", "failed"))
    yield f"{'stage':<12s} {'state':<10s}{counted} {'wall':>10s}  note"
    for one in states:
        wall = "" if one.wall_s is None else str(timedelta(seconds=round(one.wall_s)))
        counts = f"{one.done:7d} {one.running:7d} {one.waiting:7d} {one.failed:7d}"
        yield f"{one.stage:<12s} {one.state:<10s} {counts} {wall:>10s}  {one.note}".rstrip()
