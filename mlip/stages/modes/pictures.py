"""Figures of the stage `modes`: the unstable mode at a saddle, bands and density of states of the crystal."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from mlip.core.arrays import Array
from mlip.core.figures import BLUE, GREY, VERMILION, canvas, encoded
from mlip.stages.modes.result import BulkPhonons
from mlip.stages.neb.report import depth, draw_atoms

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LONGEST_ANGSTROM = 2.0  # the longest arrow as it is drawn
SHOWN = 0.08  # arrows shorter than this part of the longest are left out


def mode_picture(saddle: Atoms, mode: Array) -> bytes:
    """A saddle from above and from the side with an arrow for every atom that moves in its unstable mode (SVG).

    Args:
        saddle: the ion last.
        mode: displacements (N, 3), normalised.
    """
    ratio = depth(saddle) / saddle.cell.lengths()[1]
    with canvas(6.4, 3.1 + 0.2 * max(0.0, ratio - 1), panels=2) as (figure, axes):
        for axis, plane, title in zip(axes, ((0, 1, 2), (0, 2, 1)), ("from above", "from the side"), strict=True):
            positions = draw_atoms(axis, saddle, plane=plane)
            _arrows(axis, saddle, mode, plane[0], plane[1])
            low, high = positions.min(axis=0) - 1.2, positions.max(axis=0) + 1.2
            axis.set_xlim(low[plane[0]], high[plane[0]])
            axis.set_ylim(low[plane[1]], high[plane[1]])
            axis.set_aspect("equal")
            axis.set_xlabel(f"{'xyz'[plane[0]]} (\u00c5)")
            axis.set_ylabel(f"{'xyz'[plane[1]]} (\u00c5)")
            axis.set_title(title, fontsize=8)
        return encoded(figure)


def arrows(saddle: Atoms, mode: Array) -> tuple[Array, Array]:
    """Where the arrows of a mode begin, inside the cell, and their vectors as drawn, (n, 3) Angstrom each."""
    lengths = np.linalg.norm(mode, axis=1)
    shown = np.flatnonzero(lengths >= SHOWN * lengths.max())
    scaled = saddle.get_scaled_positions(wrap=False)
    scaled[:, :2] %= 1.0
    return (scaled @ saddle.cell.array)[shown], mode[shown] * LONGEST_ANGSTROM / lengths.max()


def _arrows(axis: Axes, saddle: Atoms, mode: Array, across: int, up: int) -> None:
    starts, vectors = arrows(saddle, mode)
    axis.quiver(
        starts[:, across],
        starts[:, up],
        vectors[:, across],
        vectors[:, up],
        angles="xy",
        scale_units="xy",
        scale=1.0,
        color=VERMILION,
        width=0.008,
        zorder=5,
    )
    ion = saddle.get_scaled_positions(wrap=False)[-1]
    ion[:2] %= 1.0
    place = ion @ saddle.cell.array
    axis.plot(place[across], place[up], "o", color=VERMILION, markeredgecolor="white", markersize=6, zorder=4)


def bands_picture(bulk: BulkPhonons) -> bytes:
    """Phonon bands along the path and the density of states (SVG); frequencies in THz."""
    bands, distances = np.array(bulk.bands_thz), np.array(bulk.distances)
    with canvas(6.4, 2.8, panels=2) as (figure, axes):
        for part in segments(distances):
            axes[0].plot(distances[part], bands[part], color=BLUE, linewidth=0.7)
        ticks = merged_labels(bulk)
        for place in ticks:
            axes[0].axvline(place, color=GREY, linewidth=0.4)
        axes[0].set_xticks(list(ticks), list(ticks.values()))
        axes[0].set_xlim(0.0, distances[-1])
        axes[0].axhline(0.0, color=GREY, linewidth=0.4)
        axes[0].set_ylabel("frequency (THz)")
        axes[1].plot(bulk.dos_states_per_thz, bulk.dos_thz, color=BLUE)
        axes[1].set_ylim(*axes[0].get_ylim())
        axes[1].set_xlabel("states per THz and formula unit")
        return encoded(figure)


def segments(distances: Array) -> list[slice]:
    """Parts of the path without a jump: where two points have one distance the path goes on elsewhere."""
    ends = [0, *(np.flatnonzero(np.diff(distances) == 0) + 1).tolist(), len(distances)]
    return [slice(a, b) for a, b in pairwise(ends)]


def merged_labels(bulk: BulkPhonons) -> dict[float, str]:
    """Labels by distance; two at one distance stand side by side."""
    out: dict[float, str] = {}
    for point in bulk.labels:
        label = "\u0393" if point.label == "G" else point.label
        out[point.distance] = f"{out[point.distance]}|{label}" if point.distance in out else label
    return out
