"""A command of another program, which ends when this process does.

Takes a command and the folder where it runs; gives its exit status, with its output in a file. A guard stands between
this process and the command: this file, run as a script. Where this process ends, even by SIGKILL, Linux tells the
guard, which ends the command with all its processes: no two commands ever work in one folder.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

PR_SET_PDEATHSIG = 1  # linux/prctl.h
GRACE_S = 5.0  # between SIGTERM and SIGKILL
LAST_BYTES, LAST_CHARACTERS = 65536, 200
BY_SIGNAL = 128  # exit status of a command that a signal ended, less the signal


def started(
    command: Sequence[str], *, folder: Path, log: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """A command that runs; its exit status is 128 + n where signal n ended it.

    Args:
        command: program and arguments.
        folder: where it runs.
        log: takes what it prints, in place of what was there.
        environment: of the command; None: that of this process.
    """
    guard = [sys.executable, "-I", str(Path(__file__).resolve()), str(os.getpid()), *command]
    with log.open("wb") as out:
        return subprocess.Popen(  # noqa: S603  (the command of the user)
            guard, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
        )


def run(command: Sequence[str], *, folder: Path, log: Path, environment: Mapping[str, str] | None = None) -> int:
    """Exit status of a command that is run to its end; see `started`."""
    process = started(command, folder=folder, log=log, environment=environment)
    try:
        return process.wait()
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a command that may still run, with all its processes."""
    if process.poll() is None:
        process.terminate()
        process.wait()


def last_line(log: Path) -> str:
    """The last line of a file that is not empty, shortened; or that there is none."""
    with contextlib.suppress(OSError), log.open("rb") as source:
        source.seek(max(0, log.stat().st_size - LAST_BYTES))
        lines = source.read().decode("utf-8", errors="replace").splitlines()
        for line in reversed(lines):
            if words := " ".join(line.split()):
                return words[:LAST_CHARACTERS]
    return "(no output)"


def dies_with(parent: int, how: signal.Signals) -> None:
    """Have this process get a signal when its parent ends; ends at once where the parent is not there any more."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, how)
    if os.getppid() != parent:
        os._exit(BY_SIGNAL + how)


def _guard(parent: int, command: Sequence[str]) -> NoReturn:
    """Run a command to its end, or until this process gets a signal to stop."""
    dies_with(parent, signal.SIGTERM)
    stops = (signal.SIGTERM, signal.SIGINT)
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)  # none between the start of the command and the handlers
    try:
        process = subprocess.Popen(command, start_new_session=True, preexec_fn=_unblocked)  # noqa: PLW1509, S603
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        sys.exit(127)

    def end(number: int, _: object) -> NoReturn:
        for each in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, each)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_S)
        os._exit(BY_SIGNAL + number)

    for one in stops:
        signal.signal(one, end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, stops)
    status = process.wait()
    sys.exit(BY_SIGNAL - status if status < 0 else status)


def _unblocked() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))


if __name__ == "__main__":
    _guard(int(sys.argv[1]), sys.argv[2:])
