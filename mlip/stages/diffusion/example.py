"""One hop of a trajectory as pictures: before, on the way, after.

Takes tracks and stored frames; gives three structures in `hop.extxyz` and an image strip of them. Where only ions were
stored, they are shown on the relaxed host.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from mlip.core.arrays import Array
from mlip.core.figures import VERMILION, canvas, encoded
from mlip.core.report import Figure
from mlip.stages.diffusion.hops import OTHER, Basins, visits
from mlip.stages.md import trajectory
from mlip.stages.neb.report import depth, draw_atoms

FILE = "hop.extxyz"
LONGEST = 12  # stored frames between two cores: longer ways are not shown if there is a shorter one
PARTS = ("before", "on the way", "after")


@dataclass(frozen=True)
class Shown:
    """Which frames of which replica show a hop."""

    replica: str
    temperature_kelvin: float
    ion: int  # number among the ions of the replica
    hop: str
    frames: tuple[int, int, int]


def choose(tracks: Sequence[trajectory.Track], ion: str, where: Basins) -> Shown | None:
    """A hop of the network with a stored frame on the way, at the lowest temperature that has one; None without."""
    found: list[tuple[bool, float, Shown]] = []
    for track in tracks:
        for number in (k for k, symbol in enumerate(track.symbols) if symbol == ion and len(track.positions)):
            visit = visits(track.positions[:, number], track.frame_ps, where)
            for arrived, kind in zip(visit.jump_frames, visit.jump_kinds, strict=True):
                left, reached = int(visit.core_frames[arrived - 1]), int(arrived)
                if kind[0] != OTHER and reached - left > 1:
                    frames = (left, (left + reached) // 2, reached)
                    one = Shown(track.replica, track.temperature_kelvin, number, kind[0], frames)
                    found.append((reached - left > LONGEST, track.temperature_kelvin, one))
    return min(found, key=lambda item: item[:2])[2] if found else None


def structures(shown: Shown, folders: Iterable[Path], host: Atoms) -> list[Atoms]:
    """The three structures: whole frames where all atoms were stored, else the ions on the relaxed host.

    Args:
        shown: the hop.
        folders: of the trajectories of the system; one of them has the replica.
        host: the relaxed cell of the host.
    """
    out: dict[int, Atoms] = {}
    for folder in folders:
        header = trajectory.read_header(folder)
        if shown.replica not in header.replicas:
            continue
        replica = header.replicas.index(shown.replica)
        for chunk in trajectory.chunks(folder, header):
            for frame in shown.frames:
                if chunk.first <= frame < chunk.first + chunk.count:
                    places = chunk.positions[frame - chunk.first, replica].astype(float)
                    places -= chunk.host_shift[frame - chunk.first, replica]
                    out[frame] = _atoms(header, places, host)
    for part, frame in zip(PARTS, shown.frames, strict=True):
        ps = (frame - shown.frames[0]) * header.frame_ps
        out[frame].info = {
            "part": part,
            "system": header.name,
            "hop": shown.hop,
            "replica": shown.replica,
            "temperature_kelvin": shown.temperature_kelvin,
            "time_ps": round(ps, 6),
            "ion": len(out[frame]) - len(header.ions) + shown.ion,
        }
    return [out[frame] for frame in shown.frames]


def _atoms(header: trajectory.Header, places: Array, host: Atoms) -> Atoms:
    cell = np.array(header.cell_angstrom)
    if len(header.stored) == header.atoms:
        return Atoms(header.symbols, positions=places, cell=cell, pbc=True)
    atoms = host.repeat(header.repeat)
    return atoms + Atoms(header.symbols, positions=places, cell=cell, pbc=True)


def figure(frames: Sequence[Atoms]) -> Figure:
    """An image strip of the three structures, from above and from the side."""
    info = frames[0].info
    ion = frames[0].symbols[int(info["ion"])]
    times = ", ".join(f"{float(f.info['time_ps']):.2f}" for f in frames)
    name = f"{ion} in {info['system']}: hop {info['hop']} at {float(info['temperature_kelvin']):g} K"
    alt = (
        f"{name} in molecular dynamics, from above and from the side: {ion} in the core of its site, on the way to the "
        f"next site, and in the core of that site, at 0, {times.split(', ', 1)[1]} ps; the line is the way of the ion"
    )
    return Figure(image=strip(frames), form="svg+xml", caption=f"{name}, at {times} ps", alt=alt)


def strip(frames: Sequence[Atoms]) -> bytes:
    """Structures side by side, from above and below that from the side, with the way of the ion as a line (SVG)."""
    centred = _centred(frames)
    ratio = depth(frames[0]) / frames[0].cell.lengths()[1]
    number = int(frames[0].info["ion"])
    way = np.array([f.positions[number] for f in centred])
    with canvas(6.4, 2.2 * (1 + ratio), panels=len(frames), rows=2) as (drawn, axes):
        for row, (title, plane) in enumerate((("from above", (0, 1, 2)), ("from the side", (0, 2, 1)))):
            for k, frame in enumerate(centred):
                axis = axes[row * len(frames) + k]
                positions = draw_atoms(axis, frame, plane=plane)
                across, up, _ = plane
                axis.plot(way[:, across], way[:, up], "-", color=VERMILION, linewidth=1.0, zorder=5)
                axis.plot(way[k, across], way[k, up], "o", color=VERMILION, markeredgecolor="white", zorder=6)
                low, high = positions.min(axis=0) - 1.2, positions.max(axis=0) + 1.2
                axis.set_xlim(low[across], high[across])
                axis.set_ylim(low[up], high[up])
                axis.set_aspect("equal")
                axis.set_axis_off()
                axis.set_title(f"{frame.info['part']}, {title}", fontsize=7)
        return encoded(drawn)


def _centred(frames: Sequence[Atoms]) -> list[Atoms]:
    """The structures moved along the plane so that the way of the ion is around the middle of the cell."""
    number = int(frames[0].info["ion"])
    middle = np.mean([f.positions[number] for f in frames], axis=0)
    shift = frames[0].cell.array[:2].sum(axis=0) / 2 - middle
    shift[2] = 0.0
    out = []
    for frame in frames:
        moved = frame.copy()
        moved.positions += shift
        out.append(moved)
    return out
