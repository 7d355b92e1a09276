import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import tiny

from mlip.core import guarded


def is_alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def until(true, seconds=20):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "did not come to pass"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("command", "status", "last"),
    [
        ("echo one; echo two; echo", 0, "two"),
        ("echo first; echo wrong >&2; exit 7", 7, "wrong"),
        ("kill -KILL $$", 128 + 9, "(no output)"),
        ("kill -USR2 $$", 128 + 12, "(no output)"),
    ],
)
def test_status_and_last_line_of_a_command(tmp_path, command, status, last):
    assert guarded.run(["/bin/sh", "-c", command], folder=tmp_path, log=tmp_path / "log") == status
    assert guarded.last_line(tmp_path / "log") == last


def test_a_program_that_is_not_there(tmp_path):
    assert guarded.run(["no-such-program"], folder=tmp_path, log=tmp_path / "log") == 127
    assert guarded.last_line(tmp_path / "log") == "no-such-program: No such file or directory"


def test_folder_and_environment_are_those_given(tmp_path):
    guarded.run(["/bin/sh", "-c", "echo $PWD $X"], folder=tmp_path, log=tmp_path / "log", environment={"X": "3"})
    assert guarded.last_line(tmp_path / "log") == f"{tmp_path} 3"


CALLER = """
import signal
import sys
from pathlib import Path
from mlip.core import guarded
folder = Path(sys.argv[1])
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell that runs the tests in the background ignores
guarded.run(["/bin/sh", "-c", "sleep 60 & echo $! > inner; echo $$ > outer; wait"], folder=folder, log=folder / "log")
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_command_ends_with_who_called(tmp_path, number):
    caller = subprocess.Popen(
        [sys.executable, "-c", CALLER, str(tmp_path)], env=tiny.environment(), stderr=subprocess.DEVNULL
    )
    until(lambda: (tmp_path / "outer").exists() and (tmp_path / "outer").read_text().strip())
    processes = [int((tmp_path / name).read_text()) for name in ("inner", "outer")]
    assert all(map(is_alive, processes))
    os.kill(caller.pid, number)
    caller.wait(20)
    until(lambda: not any(map(is_alive, processes)))
