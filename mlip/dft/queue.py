"""Frames to DFT single points: planned, calculated in processes side by side, checked, and never twice.

Takes frames and the config section `dft`; gives the frames with labels in the keys of atoms/extxyz.py, and for each
frame without a label the reason. A frame is done when its file `<store>/<settings hash>/<digest>.xyz` exists: the same
call goes on after a kill at any moment, and what was labelled once is not labelled again.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from mlip.atoms import cells, extxyz
from mlip.core import files
from mlip.core.workers import run_parallel
from mlip.dft import engines, ranks, single_points
from mlip.dft.engines import Described
from mlip.dft.settings import Dft
from mlip.dft.tasks import Plan, Store, Task, digest, plan, settings_hash, tasks

__all__ = ["Labelled", "Problem", "label", "left", "planned", "settings_hash", "settings_of"]

NEEDED = ("frame_id", "host", "ion", "group", "sampling", "vacuum")
GONE = "its label, or the reason why there is none, was removed during the calculations; run again"
Tick = Callable[[int, int, float | None], None]  # frames done, of how many, estimated seconds left


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Why a frame has no label."""

    frame_id: str
    reason: str
    file: str | None = None  # that keeps it from being tried again; None: it waits for a job elsewhere


@dataclass(frozen=True)
class Labelled:
    """Labels in the order of the frames given; None where there is none."""

    frames: tuple[Atoms | None, ...]
    problems: tuple[Problem, ...]


def labels_folder(run_folder: Path) -> Path:
    """Where the labels of a run are, at all levels; no stage owns them, so they are never superseded."""
    return run_folder / "labels"


def settings_of(dft: Dft) -> Described:
    """The level of theory in words and numbers, as on the card of a dataset."""
    return engines.engine(dft).described(engines.settings_of(dft))


def label(
    frames: Sequence[Atoms],
    dft: Dft,
    store: Path,
    *,
    workers: int,
    on_tick: Tick = lambda _done, _all, _left: None,
) -> Labelled:
    """Labels of the frames, calculated where they are not in the store.

    Args:
        frames: structures with frame_id, host, ion, group, sampling and vacuum (bool: a slab) in their info.
        dft: level of theory.
        store: folder of the labels of all levels.
        workers: processes side by side, of `dft.ranks` cores each.
        on_tick: called with the frames that are settled, their number, and the estimated seconds left.

    Raises:
        ValueError: a frame is not fit for labelling at all, the engine is not installed or lacks data of an element, a
            worker was killed, or the disk is full. What was finished is kept.
    """
    named = _named(frames, dft)
    place = Store(store / settings_hash(dft))
    unique = _unique(named)
    files.require_writable(place.folder / "x")
    for half in place.folder.glob(".*.tmp"):  # no other process writes here: what a kill left half-written is litter
        half.unlink()
    _refuse(unique, place)
    every = tasks(unique, dft, streams=workers)
    waiting = _calculated(every, unique, dft, place, workers=workers, on_tick=on_tick)
    return _gathered(named, place, waiting)


def left(problems: Sequence[Problem]) -> tuple[str | None, list[str]]:
    """What the next call may add: why, where frames wait, and the files that keep others from being tried again."""
    waiting = sum(problem.file is None for problem in problems)
    reason = f"{waiting} frames wait for a label" if waiting else None
    return reason, [problem.file for problem in problems if problem.file is not None]


def planned(frames: Sequence[Atoms], dft: Dft, store: Path, *, workers: int) -> Plan:
    """What `label` would do and what it would cost; nothing is calculated or written.

    Raises:
        ValueError: a frame is not fit for labelling, or the engine is not installed or lacks data of an element.
    """
    unique = _unique(_named(frames, dft))
    engines.engine(dft).require(engines.settings_of(dft), _symbols(unique.values()))
    return plan(unique, dft, Store(store / settings_hash(dft)), streams=workers)


def _named(frames: Sequence[Atoms], dft: Dft) -> list[tuple[str, Atoms]]:
    if not frames:
        raise ValueError("there are no frames to label; name extended XYZ files in label.frames")
    require_named(frames)
    require_consistent(frames)
    return [(digest(frame, dft), frame) for frame in frames]


def require_named(frames: Sequence[Atoms]) -> None:
    """Raise a ValueError where a frame does not say what a label needs, has no cell, or shares its frame_id."""
    seen: set[str] = set()
    for number, frame in enumerate(frames):
        name = str(frame.info.get("frame_id", f"number {number}"))
        lacking = [key for key in NEEDED if frame.info.get(key) is None]
        if lacking:
            raise ValueError(f"frame {name}: has no {', '.join(lacking)} in its info; see docs/labelling.md")
        if not isinstance(frame.info["vacuum"], bool | np.bool_):
            raise ValueError(  # noqa: TRY004  (wrong input)
                f"frame {name}: vacuum is {frame.info['vacuum']!r}; write T for a slab, F for a crystal"
            )
        if not cells.has_volume(frame):
            raise ValueError(f"frame {name}: has no three-dimensional cell; slabs need their vacuum in the cell")
        if name in seen:
            raise ValueError(f"frame_id {name!r} is there twice; give each frame its own")
        seen.add(name)


def require_consistent(frames: Sequence[Atoms]) -> None:
    """Raise a ValueError with the name of the first frame whose `vacuum` or `pbc` contradicts its atoms."""
    for frame in frames:
        if not np.isfinite(frame.positions).all():
            continue  # set aside with its own reason
        try:
            cells.require_consistent(frame)
        except ValueError as error:
            raise ValueError(f"frame {frame.info['frame_id']}: {error}") from error


def _unique(named: Sequence[tuple[str, Atoms]]) -> dict[str, Atoms]:
    found: dict[str, Atoms] = {}
    for name, frame in named:
        found.setdefault(name, frame)
    return found


def _symbols(frames: Iterable[Atoms]) -> set[str]:
    return {symbol for frame in frames for symbol in frame.get_chemical_symbols()}


def _refuse(frames: dict[str, Atoms], store: Store) -> None:
    for name, frame in frames.items():
        reason = None if store.is_settled(name) else single_points.unfit(frame)
        if reason:
            single_points.set_aside(store, name, frame, reason)


def _calculated(
    mine: Sequence[Task], frames: dict[str, Atoms], dft: Dft, store: Store, *, workers: int, on_tick: Tick
) -> dict[str, str]:
    left = {t: [d for d in t.digests if not store.is_settled(d)] for t in mine}
    todo = sorted((t for t in mine if left[t]), key=lambda t: -(t.seconds or 0.0) * len(left[t]))  # largest first
    if not todo:
        return {}
    engines.engine(dft).require(engines.settings_of(dft), _symbols(frames[d] for t in todo for d in left[t]))
    jobs = [single_points.Job(t, {d: frames[d] for d in t.digests}, dft, store) for t in todo]
    workers = ranks.streams(workers, dft)
    watch = _Watch({d: t.seconds for t in todo for d in left[t]}, store, min(workers, len(jobs)) * dft.ranks, on_tick)
    waiting = run_parallel(single_points.calculate, jobs, workers=workers, on_tick=watch, uses_torch=False)
    watch(0)
    return {name: reason for part in waiting for name, reason in part.items()}


class _Watch:
    """Counts finished frames and turns the measured seconds of those into an estimate of what is left."""

    def __init__(self, todo: dict[str, float | None], store: Store, cores: int, tell: Tick) -> None:
        self._todo, self._store, self._cores, self._tell = dict(todo), store, cores, tell
        self._all, self._estimated, self._measured = len(todo), 0.0, 0.0

    def __call__(self, _: int) -> None:
        for name in [d for d in self._todo if self._store.is_settled(d)]:
            estimate = self._todo.pop(name) or 0.0
            if self._store.label(name).exists():
                self._estimated += estimate
                self._measured += _core_seconds(self._store.label(name))
        self._tell(self._all - len(self._todo), self._all, self._left())

    def _left(self) -> float | None:
        estimates = [e for e in self._todo.values() if e is not None]
        if len(estimates) < len(self._todo):
            return None
        ratio = self._measured / self._estimated if self._estimated else 1.0
        return ratio * sum(estimates) / self._cores


def _core_seconds(label: Path) -> float:
    (made,) = extxyz.read_frames(label)
    return single_points.core_seconds(made.info) or 0.0


def _gathered(named: Sequence[tuple[str, Atoms]], store: Store, waiting: dict[str, str]) -> Labelled:
    made: list[Atoms | None] = []
    problems = []
    for name, frame in named:
        whole, failure, who = store.label(name), store.failure(name), str(frame.info["frame_id"])
        made.append(single_points.read_label(whole, frame) if whole.exists() else None)
        if whole.exists():
            continue
        if failure.exists():
            reason = files.read_record(failure, single_points.Failure).reason
            problems.append(Problem(frame_id=who, reason=f"{reason}; to try again remove {failure}", file=str(failure)))
        else:
            problems.append(Problem(frame_id=who, reason=waiting.get(name, GONE)))
    return Labelled(tuple(made), tuple(problems))
