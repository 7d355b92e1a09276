"""Tracks of ions from trajectory files of any program.

Takes extended XYZ, ASE .traj, LAMMPS text dumps or another format of several frames that ASE reads; gives the
positions of the ions, unwrapped and without the drift of the other atoms. One frame is in memory at a time where the
reader of ASE allows it.

Unwrapping adds the shortest displacement from frame to frame, taken in the cell of each frame (von Buelow, Bullerjahn
and Hummer, doi:10.1063/5.0008316). A displacement near half a cell vector is ambiguous and refused.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import iread
from ase.io.formats import UnknownFileTypeError
from numpy.typing import NDArray

from mlip.atoms import cells
from mlip.core import files
from mlip.core.arrays import Array

DUMP_HEAD = "ITEM: TIMESTEP"
AMBIGUOUS = 0.4  # of a cell vector: a displacement between two frames beyond this may be the wrong image
TIME_KEYS = {"time_fs": 1e-3, "time_ps": 1.0}  # info of a frame, in ps
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
    """

    positions: Array
    frame_ps: float
    volume_angstrom3: float | None
    dimensions: int
    others: int


def read(path: Path, species: Sequence[str] = ()) -> Iterator[Atoms]:
    """The frames of a trajectory, one by one; those of a LAMMPS dump have `lammps_step` in their info.

    Args:
        path: of the file.
        species: elements of the LAMMPS types 1, 2 and so on, for a dump without the column `element`.

    Raises:
        ValueError: no such file, a format that ASE does not know, or a dump that names no elements.
    """
    place = files.located(path)
    if not place.is_file():
        raise ValueError(f"{path}: no such file; give extended XYZ, an ASE .traj or a LAMMPS dump")
    with place.open("rb") as handle:
        is_dump = handle.read(len(DUMP_HEAD)) == DUMP_HEAD.encode()
    if is_dump:
        yield from _dump(place, species)
        return
    try:
        yield from iread(place, index=":")
    except (UnknownFileTypeError, ImportError) as error:
        raise ValueError(
            f"{path}: ASE does not know this format ({error}); give extended XYZ, an ASE .traj or a LAMMPS dump"
        ) from error
    except Exception as error:  # whatever a foreign reader raises
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise ValueError(f"{path}: not readable as a trajectory ({reason}); cut off what is damaged") from error


def _dump(path: Path, species: Sequence[str]) -> Iterator[Atoms]:
    columns, steps = _heads(path)
    if "element" not in columns and not species:
        raise ValueError(f"{path}: the dump names no elements; give the elements of types 1, 2 ... (--species Li,O,Ti)")
    types = None if "element" in columns else list(species)
    try:
        frames = list(iread(path, index=":", format="lammps-dump-text", specorder=types))
    except Exception as error:  # whatever a foreign reader raises
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise ValueError(f"{path}: not readable as a LAMMPS dump ({reason}); cut off what is damaged") from error
    for step, atoms in zip(steps, frames, strict=False):  # the reader of ASE leaves a frame out that is cut short
        atoms.info["lammps_step"] = step
        yield atoms


def _heads(path: Path) -> tuple[list[str], list[int]]:
    """Columns of the first frame of a dump and the time step of every frame."""
    columns: list[str] = []
    steps: list[int] = []
    with path.open(encoding="utf-8", errors="replace") as handle:
        for line in handle:
            if line.startswith(DUMP_HEAD):
                text = next(handle, "").strip()
                if not text.isdecimal():
                    raise ValueError(f"{path}: {text[:40]!r} stands where the number of a time step belongs")
                steps.append(int(text))
            elif not columns and line.startswith("ITEM: ATOMS"):
                columns = line.split()[2:]
    return columns, steps


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
    before, places, times, volumes = np.empty((0, 3)), [], [], []
    here, drift = np.empty((0, 3)), np.zeros(3)
    for number, atoms in enumerate(frames):
        if first is None:
            first = atoms
            mine, others = _who(atoms, ion, name)
            before, here = _scaled(atoms, name, number), atoms.positions[mine].copy()
        elif not np.array_equal(atoms.numbers, first.numbers):
            raise ValueError(f"{name}: frame {number} holds other atoms, or in another order, than the first frame")
        now = _scaled(atoms, name, number)
        moves = _shortest(now - before, atoms.pbc) @ atoms.cell.array
        _refuse_ambiguous(moves[mine], atoms, name, number)
        here, before = here + moves[mine], now
        drift = drift + (moves[others].mean(0) if len(others) else 0.0)
        places.append(here - drift)
        times.append(_time_ps(atoms, reading.time_step_fs))
        volumes.append(atoms.get_volume())
    if first is None or len(places) < 2:
        raise ValueError(f"{name}: holds {len(places)} frames; a trajectory has at least two")
    empty = _vacuum(first, mine, name)
    axes = _basis(first, empty, reading.dimensions)
    return IonTracks(
        positions=np.array(places) @ axes[0].T,
        frame_ps=_frame_ps(times, reading.frame_fs, name),
        volume_angstrom3=None if empty else float(np.mean(volumes)),
        dimensions=axes[1],
        others=len(others),
    )


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


def _shortest(scaled: Array, pbc: Array) -> Array:
    return np.where(pbc, scaled - np.round(scaled), scaled)


def _refuse_ambiguous(moves: Array, atoms: Atoms, name: Where, number: int) -> None:
    largest = np.abs(atoms.cell.scaled_positions(moves))[:, atoms.pbc].max(initial=0.0)
    if largest > AMBIGUOUS:
        raise ValueError(
            f"{name}: an ion moves by {largest:.2f} of a cell vector between frames {number - 1} and {number}, which "
            "cannot be unwrapped; store frames more often"
        )


def _time_ps(atoms: Atoms, time_step_fs: float | None) -> float | None:
    if "lammps_step" in atoms.info and time_step_fs is not None:
        return float(atoms.info["lammps_step"]) * time_step_fs * 1e-3
    return next((float(atoms.info[key]) * factor for key, factor in TIME_KEYS.items() if key in atoms.info), None)


def _frame_ps(times: Sequence[float | None], frame_fs: float | None, name: Where) -> float:
    known = [t for t in times if t is not None]
    if len(known) < len(times):
        if frame_fs is None:
            raise ValueError(
                f"{name}: does not say how far frames are apart in time; give the time from frame to frame "
                "(--frame-time FS), or for a LAMMPS dump its time step (--time-step FS)"
            )
        return frame_fs * 1e-3
    steps = np.diff(known)
    if steps[0] <= 0 or np.abs(steps - steps[0]).max() > UNEQUAL * steps[0]:
        at = int(np.abs(steps - steps[0]).argmax())
        raise ValueError(
            f"{name}: frames {at} and {at + 1} are {steps[at]:g} ps apart, the first two {steps[0]:g} ps; leave frames "
            "out until all are equally far apart"
        )
    if frame_fs is not None and abs(frame_fs * 1e-3 - steps[0]) > UNEQUAL * steps[0]:
        raise ValueError(f"{name}: its frames are {1e3 * steps[0]:g} fs apart, {frame_fs:g} fs are given; correct one")
    return float(steps[0])


def _vacuum(first: Atoms, mine: Indices, name: Where) -> tuple[int, ...]:
    """The cell vector along which a slab has vacuum; none in a crystal.

    Raises:
        ValueError: a wire or molecule.
    """
    host = np.setdiff1d(np.arange(len(first)), mine)
    empty = cells.vacuum_axes(first) if len(host) else ()
    if len(empty) > 1:
        raise ValueError(
            f"{name}: a wire or molecule, with vacuum along {len(empty)} cell vectors; give a crystal or slab"
        )
    return empty


def _basis(first: Atoms, empty: Sequence[int], dimensions: int | None) -> tuple[Array, int]:
    """Three unit vectors as rows, the last one along the normal of a slab, and the number of dimensions."""
    wanted = dimensions or (2 if empty else 3)
    normal = empty[0] if empty else 2
    if wanted == 3:
        return np.eye(3), 3
    one, other = (first.cell.array[(normal + k) % 3] for k in (1, 2))
    x, z = one / np.linalg.norm(one), np.cross(one, other) / np.linalg.norm(np.cross(one, other))
    return np.array([x, np.cross(z, x), z]), 2
