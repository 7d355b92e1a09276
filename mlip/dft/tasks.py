"""Frames cut into tasks: what runs in sequence with warm wave functions, and what runs side by side.

Takes frames and a level of theory; gives tasks in an order that depends on nothing else, so that every process of a
cluster cuts the same tasks and takes its own without asking: process k of n has the tasks whose number mod n is k.
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from mlip.atoms import extxyz
from mlip.core import files
from mlip.dft import engines
from mlip.dft.settings import Dft

MOST_FRAMES = 4  # of a task: its first frame begins without wave functions, which costs a third more


@dataclass(frozen=True)
class Store:
    """The folder of the labels of one level: what is done is a file."""

    folder: Path

    def label(self, digest: str) -> Path:
        """The labelled frame; it is whole where it exists."""
        return self.folder / f"{digest}.xyz"

    def failure(self, digest: str) -> Path:
        """Why a frame has no label; where it exists the frame is not tried again."""
        return self.folder / "failed" / f"{digest}.json"

    def work(self, digest: str) -> Path:
        """Inputs and logs of the engine."""
        return self.folder / "work" / digest

    def is_settled(self, digest: str) -> bool:
        """Whether there is nothing left to do for a frame."""
        return self.label(digest).exists() or self.failure(digest).exists()


@dataclass(frozen=True)
class Task:
    """Frames of one cell and composition, to be calculated in sequence."""

    digests: tuple[str, ...]
    peers: tuple[str, ...]  # all frames of this cell and composition: their labels must look alike
    k_points: engines.Mesh
    seconds: float | None  # estimated core-seconds of each frame


def settings_hash(dft: Dft) -> str:
    """Hash of the level of theory; it names the folder of its labels.

    Raises:
        ValueError: see `engines.settings_of`.
    """
    return extxyz.settings_hash(engines.engine(dft).described(engines.settings_of(dft)))


def digest(frame: Atoms, dft: Dft) -> str:
    """Name of a frame's label: 16 digits of the hash of level, cell, species, positions (1e-6 Angstrom) and k-points.

    All cells are periodic in three directions, so `pbc` does not count; a slab differs from a crystal by its k-points.
    """
    points = engines.engine(dft).mesh(frame, engines.settings_of(dft))
    numbers = [frame.numbers.tolist(), *((np.round(x, 6) + 0.0).tolist() for x in (frame.cell.array, frame.positions))]
    return files.digest_of([settings_hash(dft), engines.said_to_be_slab(frame), points, numbers])[:16]


def tasks(frames: Mapping[str, Atoms], dft: Dft, *, streams: int) -> list[Task]:
    """Tasks of all frames, by their digest, in stable order.

    Args:
        frames: by digest.
        dft: level of theory.
        streams: processes that will work at the same time, here and elsewhere; a task is cut so that all have work.
    """
    own, settings = engines.engine(dft), engines.settings_of(dft)
    systems: defaultdict[tuple[object, ...], list[str]] = defaultdict(list)
    for name, frame in frames.items():
        cell = (np.round(frame.cell.array, 6) + 0.0).tobytes()
        systems[frame.numbers.tobytes(), cell, own.mesh(frame, settings)].append(name)
    shared = math.ceil(len(frames) / (2 * streams)) if streams > 1 else MOST_FRAMES
    most = max(1, min(MOST_FRAMES, shared))
    made = []
    for names in systems.values():
        first = frames[names[0]]
        seconds = own.seconds(first, settings)
        pieces = len(names) if seconds is None and dft.command else math.ceil(len(names) / most)
        for piece in np.array_split(np.array(names), pieces):
            digests = tuple(str(d) for d in piece)
            made.append(Task(digests, tuple(names), own.mesh(first, settings), seconds))
    return sorted(made, key=lambda task: task.digests[0])


@dataclass(frozen=True)
class Line:
    """What is left to do for frames of one cell and composition."""

    system: str  # formula
    atoms: int
    k_points: str
    frames: int
    tasks: int
    core_hours: float | None


@dataclass(frozen=True)
class Plan:
    """What labelling would do."""

    settings_hash: str
    frames: int
    done: int
    failed: int
    lines: tuple[Line, ...]
    core_hours: float | None  # None: nothing runs here


def plan(frames: Mapping[str, Atoms], dft: Dft, store: Store, *, streams: int) -> Plan:
    """What is left to do, with an estimate of what it costs; see `tasks`."""
    groups: defaultdict[tuple[str, ...], list[Task]] = defaultdict(list)
    for task in tasks(frames, dft, streams=streams):
        groups[task.peers].append(task)
    lines = []
    for peers, parts in groups.items():
        left = [[d for d in task.digests if not store.is_settled(d)] for task in parts]
        count, one = sum(map(len, left)), parts[0].seconds
        if count:
            atoms = frames[peers[0]]
            points = "x".join(map(str, parts[0].k_points))
            cost = None if one is None else count * one / 3600
            formula = atoms.get_chemical_formula()
            lines.append(Line(formula, len(atoms), points, count, sum(map(bool, left)), cost))
    hours = [line.core_hours for line in lines if line.core_hours is not None]
    return Plan(
        settings_hash=settings_hash(dft),
        frames=len(frames),
        done=sum(store.label(d).exists() for d in frames),
        failed=sum(store.failure(d).exists() and not store.label(d).exists() for d in frames),
        lines=tuple(sorted(lines, key=lambda line: (line.atoms, line.system))),
        core_hours=sum(hours) if len(hours) == len(lines) else None,
    )
