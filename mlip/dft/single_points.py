"""One task of DFT single points: calculated in sequence, every label checked, every frame a file.

Takes a task and its frames; gives which of them wait for a job elsewhere. A label that fails a check is kept aside with
the reason, where nothing reads it; a frame that is there is never calculated again.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list

from mlip.atoms import extxyz
from mlip.core import files
from mlip.dft import engines, job_command, ranks
from mlip.dft.settings import Dft
from mlip.dft.tasks import Store, Task, settings_hash

CLOSEST_ANGSTROM = 0.7  # nearer atoms are refused before anything is calculated
NET_FORCE_PER_ATOM = 0.03  # eV/Angstrom; 0.02 is the egg-box effect of the worst shipped frames
LAST_LABEL_EV_PER_ATOM = 0.5  # between two frames of the same cell and composition
SMEARING_EV = (0.25, 0.02)  # |free - extrapolated| energy of a frame, or per atom: whichever is larger


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a frame has no label; `failed/<digest>.json`."""

    frame_id: str
    reason: str


@dataclass(frozen=True)
class Job:
    """A task for a worker process."""

    task: Task
    frames: Mapping[str, Atoms]  # by digest
    dft: Dft
    store: Store


def calculate(job: Job) -> dict[str, str]:
    """Label every frame of a task that is not settled; gives, by digest, what waits and for what."""
    waiting = {}
    last: Path | None = None
    place, number = job.store.work(job.task.digests[0]) / "ranks", ranks.count(job.dft, job.task.k_points)
    with ranks.session(job.dft, number, place) as session:
        for name in job.task.digests:
            if not job.store.is_settled(name):
                try:
                    _label(job, name, session, last or _peer(job))
                except engines.Waiting as reason:
                    waiting[name] = str(reason)
            if job.store.label(name).exists():
                last = job.store.label(name)
    return waiting


def _label(job: Job, name: str, session: engines.Session, last: Path | None) -> None:
    """Calculate a frame, and keep its label or why there is none."""
    frame, started = job.frames[name], time.monotonic()
    try:
        folder = job.store.work(name)
        found = job_command.result_of(lambda: session(frame, folder), folder, job.dft.command)
    except engines.Refused as reason:
        set_aside(job.store, name, frame, str(reason))
        return
    made = _labelled(frame, found, job, wall_s=time.monotonic() - started)
    fault = _wrong(made, last)
    if fault:
        set_aside(job.store, name, made, fault, has_numbers=True)
    else:
        files.write_frames(job.store.label(name), [made])


def _labelled(frame: Atoms, found: engines.Calculated, job: Job, *, wall_s: float) -> Atoms:
    number = ranks.count(job.dft, job.task.k_points)
    known = {
        "dft_energy_extrapolated": found.extrapolated_ev,
        "settings_hash": settings_hash(job.dft),
        "kpts": " ".join(map(str, job.task.k_points)),
        "scf_iterations": found.iterations,
        "wall_s": round(wall_s, 1),
        "ranks": number if number > 1 else None,
        "dipole_normal_e_angstrom": found.dipole_e_angstrom,
        "magnetic_moment_bohr": found.magnetic_moment_bohr,
        **found.extra,
    }
    info = identity(frame) | {key: value for key, value in known.items() if value is not None}
    return extxyz.with_labels(frame, energy_ev=found.energy_ev, forces=found.forces, info=info)


def identity(frame: Atoms) -> dict[str, object]:
    """What a frame's info says about where it belongs."""
    keys = ("frame_id", "system", "host", "ion", "group", "sampling", "vacuum")
    return {key: frame.info[key] for key in keys if key in frame.info}


def _peer(job: Job) -> Path | None:
    """The label of another frame of this cell and composition, where there is one."""
    there = (job.store.label(name) for name in job.task.peers)
    return next((path for path in there if path.exists()), None)


def unfit(frame: Atoms) -> str | None:
    """Why a structure cannot be calculated at all; None where it can."""
    if not (np.isfinite(frame.positions).all() and np.isfinite(frame.cell.array).all()):
        return "a position or cell vector is not finite"
    first, second, distance = neighbor_list("ijd", _periodic(frame), CLOSEST_ANGSTROM)
    if not len(distance):
        return None
    k = int(np.argmin(distance))
    pair = " and ".join(f"{frame[int(n)].symbol}{int(n)}" for n in (first[k], second[k]))
    return (
        f"{pair} are {distance[k]:.3f} Angstrom apart, at least {CLOSEST_ANGSTROM} are needed; nothing was calculated"
    )


def _periodic(frame: Atoms) -> Atoms:
    return Atoms(frame.symbols, positions=frame.positions, cell=frame.cell, pbc=True)


def _wrong(made: Atoms, last: Path | None) -> str | None:
    """What is wrong with a label; None where nothing is."""
    energy, extrapolated = float(made.info["dft_energy"]), float(made.info["dft_energy_extrapolated"])
    forces = np.asarray(made.arrays["dft_forces"])
    if not (np.isfinite([energy, extrapolated, made.info["d3_energy"]]).all() and np.isfinite(forces).all()):
        return "the energy or a force is not finite"
    net = float(made.info["net_force"]) / len(made)
    if net > NET_FORCE_PER_ATOM:
        return (
            f"the net force is {net:.4f} eV/Angstrom per atom, at most {NET_FORCE_PER_ATOM} is allowed: raise cutoff_ev"
        )
    smearing, most = abs(energy - extrapolated), max(SMEARING_EV[0], SMEARING_EV[1] * len(made))
    if smearing > most:
        return (
            f"free and extrapolated energy differ by {smearing:.3f} eV, at most {most:.3f} are allowed; see smearing_ev"
        )
    if last is None:
        return None
    (other,) = extxyz.read_frames(last)
    jump = abs(energy - float(other.info["dft_energy"])) / len(made)
    if jump <= LAST_LABEL_EV_PER_ATOM:
        return None
    return (
        f"the energy is {jump:.3f} eV per atom from that of {other.info['frame_id']} in the same cell, at most "
        f"{LAST_LABEL_EV_PER_ATOM} are allowed: one of the two is in a wrong state"
    )


def set_aside(store: Store, name: str, frame: Atoms, reason: str, *, has_numbers: bool = False) -> None:
    """Keep a frame out of the labels, with the reason; with its numbers where it has them."""
    if has_numbers and np.isfinite(frame.arrays["dft_forces"]).all():
        files.write_frames(store.failure(name).with_suffix(".xyz"), [frame])
    files.write_record(store.failure(name), Failure(frame_id=str(frame.info["frame_id"]), reason=reason))


def read_label(path: Path, frame: Atoms) -> Atoms:
    """The label in the store with the identity of the frame that asks for it.

    Raises:
        ValueError: the file is damaged.
    """
    (made,) = extxyz.read_frames(path)
    made.info = {**made.info, **identity(frame)}
    return made


def read_refused(failure: Path, frame: Atoms) -> Atoms | None:
    """The numbers of a label that failed a check, the reason in info `refused`; None where there are none."""
    numbers = failure.with_suffix(".xyz")
    if not numbers.exists():
        return None
    made = read_label(numbers, frame)
    made.info["refused"] = files.read_record(failure, Failure).reason
    return made


def core_seconds(info: Mapping[str, Any]) -> float | None:
    """Measured seconds of a label times its MPI ranks, from its info; None where the info does not say."""
    return float(info["wall_s"]) * int(info.get("ranks", 1)) if "wall_s" in info else None
