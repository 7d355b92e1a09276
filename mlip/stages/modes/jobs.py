"""What worker processes do for the stage `modes`: pools of hops whose searches advance together, and the crystal.

Takes frozen descriptions of jobs; every hop that is done is on disk, with its stationary points, so that a killed run
does not do it again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from ase import Atoms

from mlip.atoms import extxyz
from mlip.atoms.structures import is_slab
from mlip.atoms.symmetry import operations
from mlip.core import files
from mlip.core.workers import run_parallel
from mlip.potential.potential import Evaluator
from mlip.potential.use import ModelUse, evaluator
from mlip.stages.modes import phonons, search
from mlip.stages.modes.downhill import Sites
from mlip.stages.modes.outcome import outcome
from mlip.stages.modes.prove import FINAL, INITIAL, SADDLE, Findings, Start, prove
from mlip.stages.modes.result import BulkPhonons, HopModes
from mlip.stages.modes.search import Evaluate
from mlip.stages.modes.settings import ModesSettings
from mlip.stages.sites.settings import SitesSettings

EDGES_PER_CALL = 25_000  # on a CPU more in one call gain nothing, and take gigabytes


@dataclass(frozen=True)
class HopJob:
    """A hop to prove.

    Attributes:
        start: where its stationary points are searched.
        host: file of the relaxed host without the ion.
        folder: where its results go.
    """

    start: Start
    host: Path
    folder: Path

    @property
    def stem(self) -> str:
        """What its files are called."""
        return f"{self.start.ion}_{self.start.hop}"

    @property
    def done(self) -> Path:
        """Where the result goes, last of its files."""
        return self.folder / f"{self.stem}.json"


@dataclass(frozen=True)
class CrystalJob:
    """Phonons of the crystal."""

    conventional: Atoms
    folder: Path

    @property
    def done(self) -> Path:
        """Where the result goes."""
        return self.folder / "bulk.json"


@dataclass(frozen=True, kw_only=True)
class CrystalPhonons:
    """What became of a crystal job."""

    phonons: BulkPhonons | None
    note: str = ""  # why there are none


@dataclass(frozen=True)
class Work:
    """What one worker does in one go: hops that advance together, or the crystal."""

    jobs: tuple[HopJob, ...] | CrystalJob
    model: ModelUse
    settings: ModesSettings
    sites: SitesSettings


def run_all(
    hops: Sequence[HopJob],
    crystal: CrystalJob,
    model: ModelUse,
    settings: ModesSettings,
    sites: SitesSettings,
    *,
    workers: int,
    gpus: int = 1,
    on_tick: Callable[[int], None] = lambda _: None,
) -> tuple[list[HopModes], CrystalPhonons]:
    """Results of all hops in order and of the crystal; what is on disk is not done again.

    Args:
        hops: to prove.
        crystal: its phonons.
        model: in float64.
        settings: section `modes`.
        sites: section `sites`, which tells sites apart.
        workers: processes at the same time.
        gpus: parts into which the hops are divided on GPUs.
        on_tick: called with the number of jobs that are done, again and again.

    Raises:
        ValueError: the model is not in float64.
    """
    require_float64(model)
    left = [job for job in hops if not job.done.exists()]
    pools = min(gpus if model.device == "cuda" else workers, len(left))
    parts: list[tuple[HopJob, ...] | CrystalJob] = [] if crystal.done.exists() else [crystal]
    parts += [tuple(left[k::pools]) for k in range(pools)]
    every: list[HopJob | CrystalJob] = [*hops, crystal]
    run_parallel(
        work,
        [Work(part, model, settings, sites) for part in parts],
        workers=workers,
        on_tick=lambda _: on_tick(sum(job.done.exists() for job in every)),
    )
    on_tick(len(every))
    return [files.read_record(job.done, HopModes) for job in hops], files.read_record(crystal.done, CrystalPhonons)


def require_float64(model: ModelUse) -> None:
    """Nothing for a model in float64.

    Raises:
        ValueError: it is in another precision.
    """
    if model.dtype != "float64":
        raise ValueError(
            f"modes: the potential is evaluated in {model.dtype}, whose rounding spoils Hessians; use float64"
        )


def work(todo: Work) -> int:
    """Do one part; how many jobs it had."""
    committee = evaluator(todo.model)
    if todo.model.device == "cpu":
        committee.edges_per_call = min(committee.edges_per_call, EDGES_PER_CALL)
    if isinstance(todo.jobs, CrystalJob):
        run_crystal(todo.jobs, committee, todo.settings)
        return 1
    evaluate: dict[int | None, Evaluate] = {None: committee}
    for member in {job.start.member for job in todo.jobs}:
        evaluate[member] = partial(committee, members=(member - 1,))
    run_hops(todo.jobs, evaluate, todo.settings, todo.sites)
    return len(todo.jobs)


def run_hops(
    todo: Sequence[HopJob],
    evaluate: dict[int | None, Evaluate],
    settings: ModesSettings,
    sites: SitesSettings,
) -> None:
    """Prove the hops of a pool; each goes to disk as soon as it is done."""

    def finish(number: int, findings: Findings, evaluations: int) -> None:
        job = todo[number]
        result = outcome(job.start, findings, evaluations=evaluations)
        files.write_frames(job.folder / f"{job.stem}.extxyz", stationary(job.start, findings))
        files.write_record(job.done, result)

    searches = [prove(job.start, told_apart(job.host, sites), settings) for job in todo]
    search.together(searches, evaluate, on_done=finish)


def told_apart(host: Path, sites: SitesSettings) -> Sites:
    """What tells the sites of a relaxed host apart."""
    atoms = extxyz.read_frames(host)[0]
    found = operations(atoms, tolerance_angstrom=sites.symmetry_angstrom, keep_top=is_slab(atoms))
    return Sites(host=atoms, operations=found, merge_angstrom=sites.merge_angstrom)


def stationary(start: Start, findings: Findings) -> list[Atoms]:
    """The refined points that there are with their energies and mean forces, and where the ways down end, as frames.

    The saddle has its unstable mode in the array `mode`.
    """
    points = [(part, findings.points[part]) for part in (INITIAL, SADDLE, FINAL) if part in findings.points]
    points += [("below", point) for point in findings.reached]
    frames = []
    for part, point in points:
        frame = point.atoms.copy()
        frame.info = {"part": part, "host": start.host, "ion": start.ion, "hop": start.hop}
        frame.info["energy_ev"] = point.found.energy_ev
        frame.arrays["mlip_forces"] = np.array(point.found.mean_forces)
        if part == SADDLE and SADDLE in findings.vibrations:
            frame.arrays["mode"] = findings.mode()
        frames.append(frame)
    return frames


def run_crystal(job: CrystalJob, evaluate: Evaluator | Evaluate, settings: ModesSettings) -> None:
    """Phonons of the crystal, or why there are none, to disk."""
    try:
        found = CrystalPhonons(phonons=phonons.bulk_phonons(job.conventional, evaluate, settings))
    except (ValueError, search.NotFiniteError) as error:
        found = CrystalPhonons(phonons=None, note=str(error))
    files.write_record(job.done, found)
