"""Molecular dynamics of many replicas of one system to a target length, on disk and resumable.

Takes a batch (see `dynamics`), settings and `begin`, which prepares the potential at given positions; gives
trajectories in a folder and an outcome per replica. The state is written after every chunk of frames, and the potential
is prepared anew at the start of every chunk: a run that was killed goes on from the last chunk to the same bit.
"""

import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlip.core.arrays import Array
from mlip.core.files import write_atomic
from mlip.core.status import Status, of_text
from mlip.stages.md import trajectory
from mlip.stages.md.dynamics import CODES, EXPLODED, Batch, Begin, State, advance, grid, start
from mlip.stages.md.settings import MdSettings

DONE = "done"
OLD_TEXTS = MappingProxyType({"forces are not finite|a force of |[0-9]+ K ": EXPLODED})


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a replica."""

    replica: str
    temperature_kelvin: float
    status: Status  # DONE, or why it was stopped: a code of `dynamics`
    length_ps: float  # after equilibration
    mean_temperature_kelvin: float | None
    largest_force_std_ev_per_angstrom: float | None


@dataclass(frozen=True, kw_only=True)
class Followed:
    """One system that was followed."""

    name: str
    host: str
    ions: tuple[str, ...]
    atoms: int
    mobile: int
    repeat: tuple[int, int, int]
    folders: tuple[str, ...]  # of its trajectories, from the run's folder
    replicas: tuple[Outcome, ...]


def ended(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """How many replicas ended in each way, by the code of their status."""
    return dict(Counter(outcome.status.code for outcome in outcomes))


def run(
    batch: Batch,
    settings: MdSettings,
    begin: Begin,
    folder: Path,
    *,
    on_frame: Callable[[int, float], None] = lambda _step, _temperature: None,
) -> tuple[list[Outcome], State]:
    """Run a batch to its target length, going on where an earlier call ended or was killed.

    Raises:
        ValueError: the folder holds another trajectory, or one that is damaged.
    """
    trajectory.create(folder, batch.header)
    _, target, chunk = grid(settings)
    state = read_state(folder / "state.npz", batch) if (folder / "state.npz").exists() else None
    if state is None:
        state = start(batch, settings, begin(batch.starts))
    while state.step < target and state.running.any():
        until = min((state.step // chunk + 1) * chunk, target)
        state, frames = advance(batch, state, settings, begin(state.positions), until=until, on_frame=on_frame)
        trajectory.append(folder, frames)
        write_state(folder / "state.npz", state)
    return outcomes(batch, settings, folder, state), state


def outcomes(batch: Batch, settings: MdSettings, folder: Path, state: State) -> list[Outcome]:
    """Status, length and means of every replica."""
    equilibration, target, _ = grid(settings)
    upto = (target - equilibration) // settings.frame_steps + 1
    any_frames = any(folder.glob("frames-*.npz"))
    frames = trajectory.read(folder, upto=upto)[1] if any_frames else None
    out = []
    for r, (name, temperature) in enumerate(zip(batch.header.replicas, batch.temperatures, strict=True)):
        last = target if state.stopped_at[r] < 0 else min(state.stopped_at[r], target)
        stopped = 0 <= state.stopped_at[r] <= target
        heat = None if frames is None else frames.temperatures_kelvin[:, r]
        spread = None if frames is None else frames.force_std_ev_per_angstrom[:, r]
        out.append(
            Outcome(
                replica=name,
                temperature_kelvin=float(temperature),
                status=state.status[r] if stopped else Status(DONE),
                length_ps=max(last - equilibration, 0) * settings.time_step_fs / 1000.0,
                mean_temperature_kelvin=_finite(heat, np.mean),
                largest_force_std_ev_per_angstrom=_finite(spread, np.max),
            )
        )
    return out


def _finite(values: Array | None, summary: Callable[[Array], float]) -> float | None:
    known = np.empty(0) if values is None else values[np.isfinite(values)]
    return float(summary(known)) if len(known) else None


def write_state(path: Path, state: State) -> None:
    """Write a state, whole or not at all."""
    codes, reasons = [s.code for s in state.status], [s.reason for s in state.status]

    def fill(temporary: Path) -> None:
        with temporary.open("wb") as handle:
            np.savez(handle, **vars(state) | {"status": codes, "reason": reasons})

    write_atomic(path, fill)


def _statuses(arrays: Mapping[str, NDArray[Any]]) -> tuple[Status, ...]:
    texts = [str(x) for x in arrays["status"]]
    if "reason" not in arrays:  # of version 0.1, which kept code and reason in one text
        return tuple(of_text(text, CODES, others=OLD_TEXTS) for text in texts)
    return tuple(Status(code, str(reason)) for code, reason in zip(texts, arrays["reason"], strict=True))


def read_state(path: Path, batch: Batch) -> State:
    """The state in a file.

    Raises:
        ValueError: it is damaged or of another batch.
    """
    try:
        with path.open("rb") as handle, np.load(handle) as found:
            arrays = {name: found[name] for name in found.files}
            state = State(
                step=int(arrays["step"]),
                **{k: arrays[k] for k in ("positions", "velocities", "forces", "energies_ev", "kept")},
                random=tuple(str(x) for x in arrays["random"]),
                status=_statuses(arrays),
                stopped_at=tuple(int(x) for x in arrays["stopped_at"]),
            )
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path}: is cut short or damaged ({' '.join(str(error).split())[:80]}); the frames beside it are whole: "
            "move the folder away and run md again"
        ) from error
    if state.positions.shape != batch.starts.shape:
        raise ValueError(f"{path}: holds {state.positions.shape[:2]} replicas and atoms, not {batch.starts.shape[:2]}")
    return state
