"""Tracks of ions from the frames of a trajectory of any program.

Takes frames one by one (`trajectory_files.read`); gives the positions of the ions, unwrapped and without the drift of
the other atoms.

Unwrapping adds the shortest displacement from frame to frame, taken in the cell of each frame (von Buelow, Bullerjahn
and Hummer, doi:10.1063/5.0008316), also where a program flips a tilted cell to other vectors of the same lattice. A
displacement near half a cell vector is ambiguous and refused.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from mlip.atoms import cells
from mlip.core.arrays import Array

AMBIGUOUS = 0.4  # of a cell vector: a displacement between two frames beyond this may be the wrong image
HALF = 0.5  # of a cell vector: an atom that moves farther between two frames and stays in the cell is wrapped
OUTSIDE = 1.2  # cell vectors: wrapped atoms reach less far (LAMMPS wraps when it renews neighbours, so more than 1)
TIME_KEYS = {"time_fs": 1e-3, "time_ps": 1.0}  # info of a frame, in ps
OTHER_CELL = 0.05  # of a mean volume or area: more is neither thermal expansion nor a fluctuation at one temperature
OTHER_VECTOR = 0.2  # of a cell vector: no cell changes by more between two frames, but for a choice of other vectors
SAME_ANGSTROM = 0.01  # rounding of coordinates in files; vibrations are ten times larger
UNEQUAL = 1e-3  # of the time between frames
Where = str | Path
Indices = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a trajectory does not say itself.

    Attributes:
        frame_fs: time from frame to frame; None: the frames say (info `time_fs`, `time_ps`, LAMMPS steps).
        time_step_fs: of LAMMPS, by which the steps of a dump become times.
        species: elements of the LAMMPS types 1, 2 and so on, for a dump without the column `element`.
        dimensions: 2 or 3; None: 2 where the first frame is a slab.
    """

    frame_fs: float | None = None
    time_step_fs: float | None = None
    species: tuple[str, ...] = ()
    dimensions: int | None = None

    def __post_init__(self) -> None:
        """Refuse values that no trajectory has.

        Raises:
            ValueError: a time that is not a number above 0, or dimensions other than 2 and 3.
        """
        for name, value in (("frame_fs", self.frame_fs), ("time_step_fs", self.time_step_fs)):
            if value is not None and not 0 < value < np.inf:
                raise ValueError(f"{name}: {value:g} is not above 0; give a time in fs")
        if self.dimensions not in {None, 2, 3}:
            raise ValueError(
                f"dimensions: {self.dimensions} is neither 2 nor 3; give 2 for D in the plane of a slab, 3 in a crystal"
            )


@dataclass(frozen=True, kw_only=True)
class IonTracks:
    """The ions of one trajectory.

    Attributes:
        positions: (F, n, 3) Angstrom, unwrapped, without drift; on a slab the third axis is the normal.
        frame_ps: time from frame to frame.
        volume_angstrom3: mean over the frames; None where the first cell holds vacuum, which is no volume of the ions.
        dimensions: 2 on a slab, 3 in a crystal.
        others: how many atoms define the drift; with none the drift stays.
        formula: of all atoms; "": not known.
        area_angstrom2: of a slab, mean over the frames; None in a crystal.
        name: of the trajectory, for messages.
    """

    positions: Array
    frame_ps: float
    volume_angstrom3: float | None
    dimensions: int
    others: int
    formula: str = ""
    area_angstrom2: float | None = None
    name: Where = ""


def tracks(frames: Iterable[Atoms], ion: str, name: Where, reading: Reading) -> IonTracks:
    """The ions of one trajectory, unwrapped and without the drift of the other atoms.

    Args:
        frames: in order of time, all with the same atoms in the same order.
        ion: chemical symbol.
        name: of the trajectory, for messages.
        reading: times and dimensions.

    Raises:
        ValueError: no ion, changing atoms, unknown or unequal times, or frames too far apart to be unwrapped.
    """
    first: Atoms | None = None
    mine = others = np.empty(0, np.int64)
    before, places, times, steps = np.empty((0, 3)), [], [], []
    boxes: list[Array] = []
    here, drift, leaps = np.empty((0, 3)), np.zeros(3), []
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for number, atoms in enumerate(frames):
        if first is None:
            first = atoms
            mine, others = _who(atoms, ion, name)
            before, here = _scaled(atoms, name, number), atoms.positions[mine].copy()
        elif not np.array_equal(atoms.numbers, first.numbers):
            raise ValueError(f"{name}: frame {number} holds other atoms, or in another order, than the first frame")
        now = _scaled(atoms, name, number)
        before = before @ _turned(boxes[-1] if boxes else atoms.cell.array, atoms, name, number)
        leaps.append(np.where(atoms.pbc, 0.0, np.abs(now - before).max(axis=0)))
        low, high = np.minimum(low, now.min(axis=0)), np.maximum(high, now.max(axis=0))
        moves = _shortest(now - before, atoms.pbc) @ atoms.cell.array
        _refuse_ambiguous(moves[mine], atoms, name, number)
        here, before = here + moves[mine], now
        drift = drift + (moves[others].mean(0) if len(others) else 0.0)
        places.append(here - drift)
        times.append(_time_ps(atoms, reading.time_step_fs, name, number))
        steps.append(atoms.info.get("lammps_step"))
        boxes.append(atoms.cell.array.copy())
    if first is None or len(places) < 2:
        raise ValueError(f"{name}: holds {len(places)} frames; a trajectory has at least two")
    _refuse_wrapped(np.array(leaps), high - low, name)
    empty = _vacuum(first, mine, name)
    axes = _basis(first, empty, reading.dimensions)
    return IonTracks(
        positions=np.array(places) @ axes[0].T,
        frame_ps=_frame_ps(times, steps, reading.frame_fs, name),
        volume_angstrom3=None if empty else float(np.abs(np.linalg.det(boxes)).mean()),
        dimensions=axes[1],
        others=len(others),
        formula=first.get_chemical_formula(),
        area_angstrom2=_area(np.array(boxes), empty[0]) if empty else None,
        name=name,
    )


def require_one_system(found: Sequence[IonTracks]) -> None:
    """Refuse trajectories of which two are of different systems or the same.

    Raises:
        ValueError: another formula, volume or area of the surface, or ions on one way.
    """
    first = found[0]
    for number, one in enumerate(found):
        if one.formula != first.formula:
            raise ValueError(
                f"{one.name} holds {one.formula}, {first.name} {first.formula}: different systems; analyse them one by "
                "one"
            )
        for what, unit, here, there in (
            ("a volume", "Angstrom^3", one.volume_angstrom3, first.volume_angstrom3),
            ("an area of the surface", "Angstrom^2", one.area_angstrom2, first.area_angstrom2),
        ):
            if here is not None and there is not None and abs(here - there) > OTHER_CELL * there:
                raise ValueError(
                    f"{one.name} has {what} of {here:.1f} {unit}, {first.name} of {there:.1f}: different systems; "
                    "analyse them one by one"
                )
        twin = next((other for other in found[:number] if _same_way(one.positions, other.positions)), None)
        if twin is not None:
            raise ValueError(
                f"{one.name} and {twin.name}: the ions move alike, the trajectory is the same; give it once"
            )


def _same_way(one: Array, other: Array) -> bool:
    """Whether ions make the same moves, (F, n, 3), to the end of the shorter trajectory; ions at rest may."""
    if one.shape[1:] != other.shape[1:]:
        return False
    last = min(len(one), len(other)) - 1
    if not _alike(one[last] - one[0], other[last] - other[0]):
        return False
    moves, others = one[: last + 1] - one[0], other[: last + 1] - other[0]
    return _alike(moves, others) and not _alike(moves, np.zeros_like(moves))


def _alike(moves: Array, others: Array) -> bool:
    return bool(np.abs(moves - others).max() < SAME_ANGSTROM)


def _area(boxes: Array, normal: int) -> float:
    """Mean area (Angstrom^2) of the face of cells (F, 3, 3) that two vectors span."""
    one, other = (boxes[:, (normal + k) % 3] for k in (1, 2))
    return float(np.linalg.norm(np.cross(one, other), axis=1).mean())


def _who(atoms: Atoms, ion: str, name: Where) -> tuple[Indices, Indices]:
    mine = np.flatnonzero(atoms.symbols == ion)
    if not len(mine):
        there = ", ".join(sorted(set(atoms.get_chemical_symbols())))
        raise ValueError(f"{name}: holds no {ion}, only {there}; name the ion that moves")
    return mine.astype(np.int64), np.setdiff1d(np.arange(len(atoms)), mine).astype(np.int64)


def _scaled(atoms: Atoms, name: Where, number: int) -> Array:
    if atoms.cell.rank < 3:
        raise ValueError(f"{name}: frame {number} has no cell of three vectors; write the trajectory with its lattice")
    if not np.isfinite(atoms.positions).all():
        raise ValueError(f"{name}: frame {number} holds a coordinate that is no finite number; cut it there")
    return np.asarray(atoms.cell.scaled_positions(atoms.positions))


def _turned(box: Array, atoms: Atoms, name: Where, number: int) -> Array:
    """The matrix (3, 3) that takes scaled positions in the cell of the frame before to this frame's vectors.

    Not the unit matrix where a program chose other vectors of the same lattice, as LAMMPS does with a box that is
    tilted too far: new cell = whole numbers @ old cell.

    Raises:
        ValueError: the cell is another one.
    """
    change = np.where(atoms.pbc[:, None], atoms.cell.array @ np.linalg.inv(box), np.eye(3))
    whole = np.round(change)
    if np.abs(change - whole).max() > OTHER_VECTOR or not np.isclose(abs(np.linalg.det(whole)), 1.0):
        by = np.abs(change - np.eye(3)).max(axis=1)
        axis = int(by.argmax())
        raise ValueError(
            f"{name}: the {cells.VECTORS[axis]} cell vector changes by {by[axis]:.2f} of a "
            f"cell vector between frames {number - 1} and {number}, to no other choice of the same lattice; cut the "
            "trajectory there or store frames more often"
        )
    return np.asarray(np.round(np.linalg.inv(whole)))


def _shortest(scaled: Array, pbc: Array) -> Array:
    return np.where(pbc, scaled - np.round(scaled), scaled)


def _refuse_wrapped(leaps: Array, extent: Array, name: Where) -> None:
    """Refuse atoms that leave the cell at one face and come back at the opposite one although pbc is F.

    Args:
        leaps: (F, 3), the largest displacement since the frame before, in cell vectors; 0 where pbc is T.
        extent: (3,) of all atoms in all frames, in cell vectors; atoms that are unwrapped leave the cell.
        name: of the trajectory.
    """
    wrong = (leaps > HALF) & (extent < OUTSIDE)
    if wrong.any():
        frame, axis = (int(k) for k in np.argwhere(wrong)[0])
        raise ValueError(
            f"{name}: pbc is F along the {cells.VECTORS[axis]} cell vector, and an atom jumps by "
            f"{leaps[frame, axis]:.2f} of it between frames {frame - 1} and {frame}: the trajectory is wrapped; "
            "write pbc=T (in a LAMMPS dump: pp)"
        )


def _refuse_ambiguous(moves: Array, atoms: Atoms, name: Where, number: int) -> None:
    largest = np.abs(atoms.cell.scaled_positions(moves))[:, atoms.pbc].max(initial=0.0)
    if largest > AMBIGUOUS:
        raise ValueError(
            f"{name}: an ion moves by {largest:.2f} of a cell vector between frames {number - 1} and {number}, which "
            "cannot be unwrapped; store frames more often"
        )


def _time_ps(atoms: Atoms, time_step_fs: float | None, name: Where, number: int) -> float | None:
    if "lammps_step" in atoms.info and time_step_fs is not None:
        return float(atoms.info["lammps_step"]) * time_step_fs * 1e-3
    key = next((key for key in TIME_KEYS if key in atoms.info), None)
    if key is None:
        return None
    try:
        time = float(atoms.info[key])
    except (TypeError, ValueError):
        time = np.nan
    if not np.isfinite(time):
        raise ValueError(f"{name}: frame {number} has the {key} {atoms.info[key]!s:.40}, which is no finite number")
    return time * TIME_KEYS[key]


def _frame_ps(times: Sequence[float | None], steps: Sequence[int | None], frame_fs: float | None, name: Where) -> float:
    """Time from frame to frame, as given or as the frames say; steps of LAMMPS must be even in either case."""
    counted = [k for k in steps if k is not None]
    if counted:
        _spacing(counted, "steps", name)
    known = [t for t in times if t is not None]
    if known and len(known) < len(times):
        without, having = times.index(None), next(k for k, t in enumerate(times) if t is not None)
        raise ValueError(
            f"{name}: frame {without} says no time and frame {having} does; write time_fs or time_ps to all frames, or "
            "to none"
        )
    if not known:
        if frame_fs is None:
            raise ValueError(
                f"{name}: does not say how far frames are apart in time; give the time from frame to frame "
                "(--frame-time FS), or for a LAMMPS dump its time step (--time-step FS)"
            )
        return frame_fs * 1e-3
    apart = _spacing(known, "ps", name)
    if frame_fs is not None and abs(frame_fs * 1e-3 - apart) > UNEQUAL * apart:
        raise ValueError(f"{name}: its frames are {1e3 * apart:g} fs apart, {frame_fs:g} fs are given; correct one")
    return apart


def _spacing(values: Sequence[float], unit: str, name: Where) -> float:
    """The difference between neighbours.

    Raises:
        ValueError: it is not above 0, or not the same everywhere.
    """
    apart = np.diff(np.array(values, dtype=float))
    back, uneven = apart <= 0, np.abs(apart - apart[0]) > UNEQUAL * abs(apart[0])
    if back.any():
        at = int(back.argmax())
        raise ValueError(
            f"{name}: from frame {at} to {at + 1} the time goes from {values[at]:g} to {values[at + 1]:g} {unit}; "
            "write each frame once and in order of time, or give a part that begins anew as a file of its own"
        )
    if uneven.any():
        at = int(uneven.argmax())
        raise ValueError(
            f"{name}: frames {at} and {at + 1} are {apart[at]:g} {unit} apart, the first two {apart[0]:g} {unit}; "
            "leave frames out until all are equally far apart"
        )
    return float(apart[0])


def _vacuum(first: Atoms, mine: Indices, name: Where) -> tuple[int, ...]:
    """The cell vector along which a slab has vacuum; none in a crystal.

    Where ions in the vacuum leave no gap, the gap of the other atoms counts, unless ions fill it (a metal of the ion).

    Raises:
        ValueError: a wire or molecule.
    """
    host = np.setdiff1d(np.arange(len(first)), mine)
    empty = cells.vacuum_axes(first) if len(host) else ()
    if len(empty) > 1:
        raise ValueError(
            f"{name}: a wire or molecule, with vacuum along {len(empty)} cell vectors; give a crystal or slab"
        )
    if empty or not len(host):
        return empty
    gaps = cells.gaps_angstrom(first)
    wide = [k for k in cells.vacuum_axes(first[host], cells.RELAXED_ANGSTROM) if gaps[k] >= cells.FULL_ANGSTROM]
    return tuple(wide) if len(wide) == 1 else ()


def _basis(first: Atoms, empty: Sequence[int], dimensions: int | None) -> tuple[Array, int]:
    """Three unit vectors as rows, the last one along the normal of a slab, and the number of dimensions."""
    wanted = dimensions or (2 if empty else 3)
    normal = empty[0] if empty else 2
    if wanted == 3:
        return np.eye(3), 3
    one, other = (first.cell.array[(normal + k) % 3] for k in (1, 2))
    x, z = one / np.linalg.norm(one), np.cross(one, other) / np.linalg.norm(np.cross(one, other))
    return np.array([x, np.cross(z, x), z]), 2
