"""Single points on several MPI ranks, `dft.ranks`, on the cores of one machine.

Takes the section `dft`; gives a session, as an engine does. With one rank that is the session of the engine. With more,
the ranks are started by `mpiexec`, or by `srun` inside a task of SLURM, when the first structure comes; each structure
and each answer is a file in a folder of the session. How k-points and bands are divided among the ranks is the choice
of the engine. A refusal ends all ranks, as some of them may wait for the others; the next structure has new ones.
"""

import itertools
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from ase import Atoms

from mlip.core import files, guarded, process
from mlip.dft import engines
from mlip.dft.engines import Calculated, Ranks, Refused
from mlip.dft.settings import Dft

DFT, BEGUN, LOG, POLL_S = "dft.json", "begun", "ranks.log", 0.02
NO_LAUNCHER = "dft.ranks: no mpiexec on this machine; install Open MPI or MPICH, or set dft.ranks to 1"
LEFT_OUT = ("SLURM_", "PMI", "OMPI_COMM_")  # mpiexec shall see this machine, and no launcher above
OPEN_MPI = {  # several tasks share the machine: no rank is bound to a core; hardware threads count as cores
    "OMPI_MCA_hwloc_base_binding_policy": "none",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_hwloc_default_binding_policy": "none",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "OMPI_MCA_mpi_yield_when_idle": "1",  # a rank that waits leaves its core to others
}
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}  # in containers


def cores() -> int:
    """Cores that this process may use: those of its task of SLURM, or of the machine."""
    asked = os.environ.get("SLURM_CPUS_PER_TASK", "") if "SLURM_JOB_ID" in os.environ else ""
    return int(asked) if asked.isdigit() else len(os.sched_getaffinity(0))


def streams(workers: int, dft: Dft) -> int:
    """Tasks that run side by side on this machine, so that their ranks are no more than its cores."""
    return workers if dft.ranks == 1 else max(1, min(workers, cores() // dft.ranks))


def count(dft: Dft, points: engines.Mesh) -> int:
    """Ranks of a structure with this mesh of k-points, `dft.ranks` at most."""
    own = engines.parallel(dft)
    return 1 if own is None else own.ranks_for(engines.settings_of(dft), points, dft.ranks)


@contextmanager
def session(dft: Dft, number: int, folder: Path) -> Iterator[engines.Session]:
    """A session of the engine.

    Args:
        dft: level of theory.
        number: of ranks, see `count`.
        folder: for structures and answers; none of it is needed afterwards.

    Raises:
        ValueError: more ranks than cores, no launcher, an engine without MPI, or ranks that were killed.
    """
    if number == 1:
        yield engines.engine(dft).session(engines.settings_of(dft))
        return
    if dft.ranks > cores():
        raise ValueError(
            f"dft.ranks: {dft.ranks} ranks, but there are {cores()} cores; lower dft.ranks, or raise cores in the "
            "profile of the cluster"
        )
    own = _Session(dft.model_copy(update={"ranks": number}), folder)
    try:
        yield own
    finally:
        own.end()
    shutil.rmtree(folder, ignore_errors=True)


class _Session:
    """Single points one after another on ranks that outlive a frame."""

    def __init__(self, dft: Dft, folder: Path) -> None:
        self._dft, self._folder = dft, folder.resolve()
        self._running: subprocess.Popen[bytes] | None = None
        self._number = 0  # of the next structure

    def __call__(self, atoms: Atoms, place: Path) -> Calculated:
        """What the ranks give for a structure.

        Raises:
            Refused, ValueError: what the session of the engine raises on a rank, or the ranks were killed.
        """
        if self._running is None:
            self._running = self._started()
        answer = _answer(self._folder, self._number)
        files.write_bytes_atomic(_question(self._folder, self._number), pickle.dumps((atoms, place)))
        self._number += 1
        while not answer.exists():
            if self._running.poll() is not None and not answer.exists():
                raise ValueError(self._died(self._running.returncode))
            time.sleep(POLL_S)
        kind, found = pickle.loads(answer.read_bytes())  # noqa: S301  (written by our ranks)
        if kind is Calculated:
            return cast("Calculated", found)
        self.end()
        raise kind(found)

    def end(self) -> None:
        """End the ranks."""
        if self._running is not None:
            guarded.stop(self._running)
        self._running = None

    def _started(self) -> subprocess.Popen[bytes]:
        """The ranks, when all are there."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        self._number = 0
        files.write_text_atomic(self._folder / DFT, self._dft.model_dump_json())
        begun = self._folder / BEGUN
        for launcher, environment in _launchers(self._dft):
            command = [*launcher, sys.executable, "-W", "ignore", "-m", "mlip.dft.ranks", str(self._folder)]
            log = self._folder / LOG
            running = guarded.started(command, folder=self._folder, log=log, environment=environment)
            while running.poll() is None and not begun.exists():
                time.sleep(POLL_S)
            if begun.exists():
                break
        if begun.exists() and (reason := begun.read_text(encoding="utf-8")):
            guarded.stop(running)
            raise ValueError(reason)
        if not begun.exists():
            raise ValueError(self._died(running.returncode))
        return running

    def _died(self, status: int) -> str:
        log = self._folder / LOG
        return (
            f"dft.ranks: {self._dft.ranks} MPI ranks ended with status {status} (out of memory?), last line of {log}: "
            f"{guarded.last_line(log)}; finished work is kept"
        )


def _question(folder: Path, number: int) -> Path:
    return folder / f"{number}.question"


def _answer(folder: Path, number: int) -> Path:
    return folder / f"{number}.answer"


def _launchers(dft: Dft) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Commands that start the ranks, the best first, each with its environment.

    Raises:
        ValueError: there is none.
    """
    own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    own |= {**_engine(dft).RANKS_ENVIRONMENT, **(AS_ROOT if os.geteuid() == 0 else {})}
    mpiexec, plugin = shutil.which("mpiexec") or shutil.which("mpirun"), _plugin()
    if plugin is None and mpiexec is None:
        raise ValueError(NO_LAUNCHER)
    if plugin is not None:
        options = ["--overlap", "--nodes=1", f"--ntasks={dft.ranks}", "--cpus-per-task=1", "--cpu-bind=none"]
        yield ["srun", *options, "--kill-on-bad-exit=1", f"--mpi={plugin}"], _with(os.environ, own)
    if mpiexec is not None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(LEFT_OUT)}
        yield [mpiexec, "-n", str(dft.ranks)], _with(kept, own | OPEN_MPI)


def _with(one: Mapping[str, str], other: Mapping[str, str]) -> dict[str, str]:
    return {**one, **other}


def _plugin() -> str | None:
    """The plugin with which srun starts the ranks of MPI in the task of SLURM that this process is in, or None."""
    if "SLURM_JOB_ID" not in os.environ or shutil.which("srun") is None:
        return None
    done = subprocess.run(["srun", "--mpi=list"], capture_output=True, text=True, check=False)  # noqa: S607
    return next((name for name in ("pmix", "pmi2") if name in (done.stdout + done.stderr).split()), None)


def _engine(dft: Dft) -> engines.ParallelEngine:
    engines.settings_of(dft)  # which refuses an engine without ranks
    return cast("engines.ParallelEngine", engines.engine(dft))


def _rank(folder: Path) -> None:
    """What every rank does: the structures that rank 0 finds, until all ranks are ended from outside.

    Rank 0 alone reads and writes the files of this module. ASE's functions of files are not called here: ASE would have
    all ranks take part.
    """
    process.own()
    dft = Dft.model_validate_json((folder / DFT).read_text(encoding="utf-8"))
    try:
        world = _engine(dft).ranks()
    except ValueError as error:
        files.write_text_atomic(folder / BEGUN, str(error))
        sys.exit(1)
    guarded.dies_with(os.getppid(), signal.SIGKILL)
    if world.count != dft.ranks:  # the launcher and MPI do not know each other
        sys.exit(f"{world.count} of {dft.ranks} ranks are there")
    own = _engine(dft).session(engines.settings_of(dft))
    if world.number == 0:
        files.write_text_atomic(folder / BEGUN, "")
    for number in itertools.count():
        atoms, place = world.share(_awaited(_question(folder, number)) if world.number == 0 else None)
        try:
            found = own(atoms, place)
        except (ValueError, OSError) as error:
            _refuse(error, _answer(folder, number), world)
        if world.number == 0:
            files.write_bytes_atomic(_answer(folder, number), pickle.dumps((Calculated, found)))


def _awaited(question: Path) -> Any:
    while not question.exists():
        time.sleep(POLL_S)
    return pickle.loads(question.read_bytes())  # noqa: S301  (written by our parent)


def _refuse(error: Exception, answer: Path, world: Ranks) -> None:
    """Answer with an error, and end all ranks, which may not have the same."""
    kind = Refused if isinstance(error, Refused) else ValueError
    files.write_bytes_atomic(answer, pickle.dumps((kind, str(error))))
    world.abort()


if __name__ == "__main__":
    _rank(Path(sys.argv[1]))
