"""What runs in a worker process of the md stage: one batch of replicas.

Takes a frozen description (paths, header, settings); gives the outcome of every replica, with its trajectory on disk. A
batch that was killed goes on where its last chunk ended.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from mlip.atoms import extxyz
from mlip.core import files
from mlip.core.arrays import Array
from mlip.core.status import Status
from mlip.potential import potential, use
from mlip.potential.batch import Batch
from mlip.potential.use import ModelUse
from mlip.stages.md import dynamics, md
from mlip.stages.md.settings import MdSettings
from mlip.stages.md.trajectory import Header

NOTE_S = 1.0  # seconds between notes of progress


@dataclass(frozen=True)
class MdJob:
    """A batch of replicas to run."""

    folder: Path  # of the trajectory
    start: Path  # structure, host first and ions last
    header: Header
    mobile: tuple[bool, ...]
    model: ModelUse
    settings: MdSettings
    seed: int


@dataclass(frozen=True, kw_only=True)
class Note:
    """How far a batch is."""

    replica_ps: float  # of all its replicas together, equilibration included
    temperature_kelvin: float
    ps_per_s: float  # of all its replicas together, since this process began


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """A replica that was stopped, for labelling."""

    replica: str
    temperature_kelvin: float
    status: Status
    step: int


@dataclass(frozen=True, kw_only=True)
class BatchOutcome:
    """Result of a job; the frames of stopped replicas are in `stopped.extxyz` in its folder."""

    replicas: tuple[md.Outcome, ...]
    stopped: tuple[Stopped, ...]


class Committee:
    """The potential of a batch: forces by one member, the spread by all."""

    def __init__(
        self, evaluator: potential.Evaluator, frames: list[Atoms], *, member: int, skin_angstrom: float
    ) -> None:
        self._moving = Batch(evaluator, frames, members=[member - 1] * len(frames), skin_angstrom=skin_angstrom)
        several = len(evaluator.members) > 1
        self._committee = Batch(evaluator, frames, skin_angstrom=skin_angstrom) if several else None

    def forces(self, positions: Array) -> tuple[Array, Array]:
        """Energies (R,) and forces (R, N, 3) by the member."""
        found = self._moving(positions)
        return np.array([f.energies_ev[0] for f in found]), np.stack([f.forces[0] for f in found])

    def spread(self, positions: Array) -> Array | None:
        """Largest standard deviation over the members of the force on an atom, (R,)."""
        if self._committee is None:
            return None
        deviations = [f.forces.std(axis=0, ddof=1) for f in self._committee(positions)]
        return np.array([float(np.linalg.norm(d, axis=1).max()) for d in deviations])


def run_batch(job: MdJob) -> BatchOutcome:
    """Run a batch to its target length."""
    atoms = extxyz.read_frames(job.start)[0]
    count = len(job.header.replicas)
    batch = dynamics.Batch(
        header=job.header,
        masses=atoms.get_masses(),
        mobile=np.array(job.mobile),
        starts=np.repeat(atoms.positions[None], count, axis=0),
        seed=job.seed,
    )

    def begin(positions: Array) -> Committee:
        frames = []
        for places in positions:
            frame = atoms.copy()
            frame.positions = places
            frames.append(frame)
        evaluator = use.evaluator(job.model)
        return Committee(evaluator, frames, member=job.settings.member, skin_angstrom=job.settings.skin_angstrom)

    outcomes, state = md.run(batch, job.settings, begin, job.folder, on_frame=_noted(job, count))
    stopped = [r for r, outcome in enumerate(outcomes) if outcome.status.code != md.DONE]
    kept = []
    for r in stopped:
        frame = Atoms(atoms.symbols, positions=state.kept[r], cell=atoms.cell, pbc=atoms.pbc)
        frame.info |= {"replica": job.header.replicas[r], "status": str(outcomes[r].status)}
        kept.append(frame)
    if kept:
        files.write_frames(job.folder / "stopped.extxyz", kept)
    return BatchOutcome(
        replicas=tuple(outcomes),
        stopped=tuple(
            Stopped(
                replica=o.replica, temperature_kelvin=o.temperature_kelvin, status=o.status, step=state.stopped_at[r]
            )
            for r, o in enumerate(outcomes)
            if r in stopped
        ),
    )


def _noted(job: MdJob, count: int) -> Callable[[int, float], None]:
    """A function that writes a note of progress now and then."""
    ps_per_step = count * job.settings.time_step_fs / 1000.0
    begun: list[float] = []
    last = [0.0]

    def note(step: int, temperature: float) -> None:
        now = time.monotonic()
        if not begun:
            begun.extend([now, float(step)])
        if now - last[0] < NOTE_S:
            return
        last[0] = now
        speed = (step - begun[1]) * ps_per_step / max(now - begun[0], 1e-9)
        files.write_record(
            job.folder / "progress.json",
            Note(replica_ps=step * ps_per_step, temperature_kelvin=temperature, ps_per_s=speed),
        )

    return note


def noted(folder: Path) -> Note | None:
    """The last note of a batch."""
    path = folder / "progress.json"
    return files.read_record(path, Note) if path.exists() else None
