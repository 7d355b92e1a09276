"""The command of the user that runs a DFT job in the folder of its inputs, such as `mpirun -n 16 vasp_std`.

Takes the command and the folder; gives nothing where the command has succeeded. Errors of the program are the concern
of the command, which may be a script of custodian: a job that fails leaves its frame without a label, with the last
line of the output as the reason.
"""

import os
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mlip.core import guarded
from mlip.dft.engines import Refused, Waiting

LOG = "command.log"
STOPS = (signal.SIGINT, signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
STOPPED = {guarded.BY_SIGNAL + one: one.name for one in map(signal.Signals, STOPS)}  # from outside: try again later
NOT_EXECUTABLE, NOT_FOUND = 126, 127  # exit status of the shell
Result = TypeVar("Result")
OF_TASK = ("SLURM_MPI_TYPE", "SLURM_CPU_BIND")  # how the one process of the task was started: not how those of the job


def run(command: str, folder: Path) -> None:
    """Run the command in the folder; its output is in `command.log` there.

    Raises:
        Refused: the command failed.
        Waiting: it was stopped from outside, as at a time limit.
        ValueError: there is no such program.
    """
    log = folder / LOG
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OF_TASK)}
    status = guarded.run(["/bin/sh", "-c", command], folder=folder, log=log, environment=environment)
    said = guarded.last_line(log)
    if status in STOPPED:
        raise Waiting(f"{shlex.quote(command)} was stopped ({STOPPED[status]}; time limit, or memory): run again")
    if status in {NOT_EXECUTABLE, NOT_FOUND}:
        raise ValueError(f"dft.command: {command!r} cannot be started ({said}); name a program that is on the nodes")
    if status != 0:
        raise Refused(f"the command failed (exit status {status}); the last line of {log}: {said}")


def result_of(read: Callable[[], Result], folder: Path, command: str | None) -> Result:
    """What the job in a folder gives; where it waits and there is a command, after the command has run the job.

    Args:
        read: writes the inputs and waits where there is no result.
        folder: of the job.
        command: of the user; None: the user runs the job.

    Raises:
        Waiting: the job has to run first.
        Refused: the command failed, or left no complete result.
    """
    try:
        return read()
    except Waiting:
        if command is None:
            raise
    run(command, folder)
    try:
        return read()
    except Waiting as reason:
        raise _incomplete(command, folder, reason) from reason


def _incomplete(command: str, folder: Path, reason: Waiting) -> Refused:
    """Why a command that has succeeded gives no result."""
    log = folder / LOG
    return Refused(f"{command!r} left no complete result ({reason}); the last line of {log}: {guarded.last_line(log)}")
