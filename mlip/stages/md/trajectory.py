"""Trajectories on disk: whole chunks of frames of a batch of replicas.

Takes frames as arrays; gives a folder with `header.json` (what was run, with which model) and `frames-<first>.npz`
files, each written beside its place and renamed, so that a killed run leaves whole chunks only. Positions are unwrapped
(no jumps across the cell), float32, of the stored atoms only; the mean displacement of the host is kept for the drift.
"""

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlip.core.arrays import Array
from mlip.core.files import read_record, write_atomic, write_record

HEADER = "header.json"


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a folder of trajectories holds; replicas share everything but temperature and random numbers."""

    name: str  # of the system, such as 001_Li
    host: str
    ions: tuple[str, ...]  # symbols of the ions, in the order of their atoms
    symbols: tuple[str, ...]  # of the stored atoms
    stored: tuple[int, ...]  # numbers of the stored atoms
    atoms: int  # in the cell
    mobile: int  # that move
    cell_angstrom: tuple[tuple[float, float, float], ...]
    repeat: tuple[int, int, int]  # of the host's cell
    replicas: tuple[str, ...]
    temperatures_kelvin: tuple[float, ...]
    time_step_fs: float
    frame_steps: int
    model: str  # hash of the model's folder, or the name of another program
    settings: str  # hash of everything else that shapes the trajectory

    @property
    def frame_ps(self) -> float:
        """Time from frame to frame."""
        return self.frame_steps * self.time_step_fs / 1000.0

    @property
    def dimensions(self) -> str:
        """Axes along which diffusion is meant: xy on slabs, xyz in bulk."""
        return "xyz" if self.host == "bulk" else "xy"


@dataclass(frozen=True)
class Frames:
    """Frames of R replicas on a uniform grid; after a replica was stopped its entries are NaN."""

    first: int  # number of the first frame
    positions: NDArray[np.float32]  # (F, R, n, 3) Angstrom, unwrapped
    host_shift: Array  # (F, R, 3) Angstrom: mean displacement of the host's atoms since the start
    energies_ev: Array  # (F, R)
    temperatures_kelvin: Array  # (F, R)
    force_std_ev_per_angstrom: Array  # (F, R); NaN without a committee

    @property
    def count(self) -> int:
        """Number of frames."""
        return len(self.positions)


ARRAYS = ("positions", "host_shift", "energies_ev", "temperatures_kelvin", "force_std_ev_per_angstrom")


def create(folder: Path, header: Header) -> None:
    """Begin a trajectory, or find the one that is there to be the same.

    Raises:
        ValueError: the folder holds a trajectory of another model, system or setting.
    """
    path = folder / HEADER
    if not path.exists():
        write_record(path, header)
        return
    require_same(folder, header)


def require_same(folder: Path, header: Header) -> None:
    """Nothing where the trajectory in a folder is the one that the header describes.

    Raises:
        ValueError: it is of another model, or differs otherwise; the message names the first difference.
    """
    found = read_record(folder / HEADER, Header)
    if found.model != header.model:
        raise ValueError(
            f"{folder}: is a trajectory of another model ({found.model[:12]}, not {header.model[:12]}); "
            "move it away, or use the model it was made with"
        )
    for name, value in vars(header).items():
        if getattr(found, name) != value:
            raise ValueError(
                f"{folder}: is a trajectory with {name} {_short(getattr(found, name))}, not {_short(value)}; "
                "move it away"
            )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def append(folder: Path, frames: Frames) -> None:
    """Write frames as one chunk, whole or not at all; a chunk with the same first frame is replaced."""
    if not frames.count:
        return
    arrays = {name: getattr(frames, name) for name in ARRAYS}

    def fill(temporary: Path) -> None:
        with temporary.open("wb") as handle:
            np.savez_compressed(handle, first=frames.first, **arrays)

    write_atomic(chunk_path(folder, frames.first), fill)


def chunk_path(folder: Path, first: int) -> Path:
    """Where the chunk that begins with a frame is."""
    return folder / f"frames-{first:09d}.npz"


def read_header(folder: Path) -> Header:
    """What a folder holds."""
    return read_record(folder / HEADER, Header)


def read(folder: Path, *, upto: int | None = None) -> tuple[Header, Frames]:
    """Header and all frames (or the first `upto`) of a folder.

    Raises:
        ValueError: no trajectory, a chunk that is cut short or missing; the message says which frames are whole.
    """
    header = read_record(folder / HEADER, Header)
    parts = list(chunks(folder, header))
    if not parts:
        raise ValueError(f"{folder}: holds no frames; run md first")
    whole = {name: np.concatenate([getattr(part, name) for part in parts])[:upto] for name in ARRAYS}
    return header, Frames(0, **whole)


def chunks(folder: Path, header: Header) -> Iterator[Frames]:
    """The frames of a folder in order, one chunk in memory at a time.

    Raises:
        ValueError: a chunk that is cut short or missing; the message says which frames are whole.
    """
    following = 0
    for path in sorted(folder.glob("frames-*.npz")):
        chunk = _chunk(path, header, whole=following)
        if chunk.first != following:
            raise ValueError(
                f"{folder}: frames {following} to {chunk.first - 1} are missing; move the folder away and run md again"
            )
        following += chunk.count
        yield chunk


def _chunk(path: Path, header: Header, *, whole: int) -> Frames:
    try:
        with path.open("rb") as handle, np.load(handle) as arrays:
            found = Frames(int(arrays["first"]), **{name: arrays[name] for name in ARRAYS})
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path}: is cut short or damaged ({' '.join(str(error).split())[:80]}); frames 0 to {whole - 1} before it "
            "are whole: restore the file from a copy, or move the folder away and run md again"
        ) from error
    wanted = (found.count, len(header.replicas), len(header.stored), 3)
    if found.positions.shape != wanted:
        raise ValueError(
            f"{path}: positions have the shape {found.positions.shape}, not {wanted}; it belongs elsewhere"
        )
    return found


@dataclass(frozen=True)
class Track:
    """The ions of one replica, the drift of the host taken away."""

    replica: str
    temperature_kelvin: float
    frame_ps: float
    symbols: tuple[str, ...]  # of the ions
    positions: Array  # (F, n, 3) Angstrom, unwrapped


def tracks(header: Header, frames: Frames) -> list[Track]:
    """One track per replica, up to the frame where it was stopped."""
    ions = [k for k, number in enumerate(header.stored) if number >= header.atoms - len(header.ions)]
    out = []
    for r, (name, temperature) in enumerate(zip(header.replicas, header.temperatures_kelvin, strict=True)):
        places = frames.positions[:, r, ions].astype(float) - frames.host_shift[:, r, None, :]
        alive = np.isfinite(places.reshape(len(places), -1).sum(axis=1))
        last = len(alive) if alive.all() else int(alive.argmin())
        out.append(Track(name, temperature, header.frame_ps, header.ions, places[:last]))
    return out


def joined(parts: Sequence[tuple[Header, Frames]]) -> list[Track]:
    """The tracks of several folders."""
    return [track for header, frames in parts for track in tracks(header, frames)]
