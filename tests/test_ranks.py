"""One frame on several MPI ranks: the numbers of one rank, and faults in one line."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers import cells, tiny
from numpy.testing import assert_allclose

from mlip.core import files
from mlip.dft import engines, queue, ranks, single_points, tasks
from mlip.dft.settings import Dft

SETTINGS = {"cutoff_ev": 200.0, "k_length_angstrom": 8.0}  # 2x2x2: four k-points
TWO = Dft(settings=SETTINGS, ranks=2)


def fault():
    """Why no frame can be calculated on two ranks here; None where it can."""
    if not cells.HAS_GPAW:
        return cells.NO_GPAW
    from gpaw import cgpaw

    if not cgpaw.have_mpi:
        return "GPAW is compiled without MPI"
    if shutil.which("mpiexec") is None:
        return "no mpiexec (Debian: openmpi-bin)"
    return None if ranks.cores() > 1 else "one core"


WHY_NOT = fault()
needs_ranks = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))


def job(frames, dft, folder):
    """A task with these frames."""
    named = {tasks.digest(f, dft): f for f in frames}
    points = engines.engine(dft).mesh(frames[0], engines.settings_of(dft))
    task = tasks.Task(tuple(named), tuple(named), points, None)
    return single_points.Job(task, named, dft, tasks.Store(folder / tasks.settings_hash(dft)))


def labels(job):
    return [single_points.read_label(job.store.label(name), frame) for name, frame in job.frames.items()]


@needs_ranks
def test_two_ranks_give_the_numbers_of_one(tmp_path):
    frames = [cells.hydride(k, 1.6 + 0.02 * k) for k in range(2)]  # the second begins with the first one's density
    one, two = (job(frames, Dft(settings=SETTINGS, ranks=n), tmp_path / str(n)) for n in (1, 2))
    assert list(one.frames) == list(two.frames)  # the same digests
    assert single_points.calculate(one) == single_points.calculate(two) == {}
    for a, b in zip(labels(one), labels(two), strict=True):
        assert abs(a.info["dft_energy"] - b.info["dft_energy"]) < 1e-6
        assert_allclose(b.arrays["dft_forces"], a.arrays["dft_forces"], rtol=0, atol=1e-5)
        assert a.info["settings_hash"] == b.info["settings_hash"]
        assert ("ranks" in a.info, b.info["ranks"]) == (False, 2)
    (log,) = two.store.folder.rglob("gpaw.txt")
    assert "kpt:    2" in log.read_text()  # GPAW's own word on how it divided the work
    assert not list(two.store.folder.rglob("ranks"))  # nothing is left of the exchange


@needs_ranks
def test_a_refused_frame_is_set_aside_and_the_next_one_has_new_ranks(tmp_path):
    hasty = Dft(settings={**SETTINGS, "max_iterations": 1}, ranks=2)
    own = job([cells.hydride(), cells.hydride(1, 1.7)], hasty, tmp_path)
    assert single_points.calculate(own) == {}
    for name in own.frames:
        failure = files.read_record(own.store.failure(name), single_points.Failure)
        assert "did not converge in 1 iterations" in failure.reason


SESSION = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import test_ranks
own = test_ranks.job([test_ranks.cells.hydride(k, 1.5 + 0.01 * k) for k in range(2)], test_ranks.TWO, Path(sys.argv[1]))
test_ranks.single_points.calculate(own)
"""


def processes(word):
    """Processes with a word in their command line."""
    found = subprocess.run(["pgrep", "-f", word], capture_output=True, text=True, check=False).stdout.split()
    return {int(pid) for pid in found} - {os.getpid()}


@needs_ranks
def test_the_ranks_end_with_who_started_them(tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", SESSION, str(tmp_path), str(tiny.REPOSITORY / "tests")]
    caller = subprocess.Popen(command, env=tiny.environment())
    end = time.monotonic() + 60
    while not list(tmp_path.rglob("begun")):
        assert caller.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)
    assert len(processes(f"mlip.dft.ranks {tmp_path}")) >= 3  # guard, mpiexec, ranks
    os.kill(caller.pid, signal.SIGKILL)
    caller.wait()
    while processes(f"mlip.dft.ranks {tmp_path}"):
        assert time.monotonic() < end
        time.sleep(0.1)


def test_more_ranks_than_cores(tmp_path):
    dft = Dft(ranks=ranks.cores() + 1)
    with (
        pytest.raises(ValueError, match=rf"dft\.ranks: {dft.ranks} ranks, but there are {ranks.cores()} cores; lower"),
        ranks.session(dft, dft.ranks, tmp_path / "x"),
    ):
        pass
    assert not (tmp_path / "x").exists()


def test_the_cores_of_a_task_of_slurm_are_those_it_asked_for(monkeypatch):
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "3")
    assert ranks.cores() == len(os.sched_getaffinity(0))  # left over from somewhere: not in a task
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    assert ranks.cores() == 3


def test_tasks_side_by_side_have_no_more_ranks_than_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert [ranks.streams(4, Dft(ranks=n)) for n in (1, 2, 3, 8, 16)] == [4, 4, 2, 1, 1]


@needs_ranks
def test_no_launcher_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        ranks.session(TWO, 2, tmp_path / "x") as session,
        pytest.raises(ValueError, match=r"^dft\.ranks: no mpiexec on this machine; install Open MPI or MPICH.*[^\n]$"),
    ):
        session(cells.hydride(), tmp_path)


@needs_ranks
def test_gpaw_without_mpi_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("import _gpaw\ndel _gpaw.Communicator\n")  # as in a build without MPI
    monkeypatch.syspath_prepend(str(tmp_path))
    with (
        ranks.session(TWO, 2, tmp_path / "x") as session,
        pytest.raises(ValueError, match=r"dft\.ranks: GPAW is compiled without MPI; make setup-dft .*ranks to 1$"),
    ):
        session(cells.hydride(), tmp_path)


@needs_ranks
def test_a_launcher_that_fails_is_named_with_its_last_line(tmp_path, monkeypatch):
    (tmp_path / "mpiexec").write_text("#!/bin/sh\necho cannot reach the daemon\nexit 5\n")
    (tmp_path / "mpiexec").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        ranks.session(TWO, 2, tmp_path / "x") as session,
        pytest.raises(ValueError, match=r"2 MPI ranks ended with status 5 .*: cannot reach the daemon; finished"),
    ):
        session(cells.hydride(), tmp_path)


def test_ranks_of_vasp_are_refused_and_a_variant_of_another_code_has_one():
    with pytest.raises(ValueError, match=r"dft\.ranks: 4 with vasp-paper, whose program is started by dft\.command"):
        engines.settings_of(Dft(preset="vasp-paper", ranks=4))
    assert engines.varied(Dft(ranks=4), {"preset": "vasp-paper"}).ranks == 1
    assert engines.varied(Dft(ranks=4), {"cutoff_ev": 600}).ranks == 4


@needs_ranks
def test_ranks_share_k_points_and_no_more_than_there_are(monkeypatch):
    from mlip.dft.engines import gpaw

    monkeypatch.setattr(gpaw, "_has_scalapack", lambda: False)
    meshes = [(1, 1, 1), (2, 2, 1), (3, 3, 3)]
    assert [ranks.count(Dft(ranks=4), m) for m in meshes] == [1, 2, 4]
    assert ranks.count(Dft(ranks=4, settings={"point_group": True}), (3, 3, 3)) == 1
    monkeypatch.setattr(gpaw, "_has_scalapack", lambda: True)
    assert ranks.count(Dft(ranks=4), (1, 1, 1)) == 4


def test_ranks_and_command_are_no_part_of_the_level():
    plain, other = Dft(), Dft(ranks=4, command="vasp_std")
    assert queue.settings_hash(plain) == queue.settings_hash(other)
    frame = cells.hydride()
    assert tasks.digest(frame, plain) == tasks.digest(frame, other)


@pytest.mark.slow
@needs_ranks
def test_two_ranks_are_faster_than_one(tmp_path):
    """On a quiet machine with two cores."""
    frame = cells.hydride()
    seconds = {}
    for n in (1, 2):
        dft = Dft(settings={"cutoff_ev": 500.0, "k_length_angstrom": 24.0}, ranks=n)
        own = job([frame], dft, tmp_path / str(n))
        single_points.calculate(own)
        seconds[n] = float(labels(own)[0].info["wall_s"])
    sys.stdout.write(f"{seconds[1]:.1f} s on one rank, {seconds[2]:.1f} s on two: {seconds[1] / seconds[2]:.2f}\n")
    assert np.isfinite(seconds[1])
    assert seconds[1] / seconds[2] > 1.3
