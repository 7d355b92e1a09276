"""A path looked at image by image: what the page needs to draw atoms from above and from the side beside a profile.

Takes positions (Angstrom) and values along paths of one structure; gives the data of the viewer as JSON, in whole
picometres and relative to the first image, and the profile as SVG, which is shown without a script too.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from mlip.core.arrays import Array

WIDTH, HEIGHT = 340, 210  # of the profile, in its own units
LEFT, RIGHT, TOP, BOTTOM = 52, 330, 12, 168  # of its axes
MARGIN_PM = 120  # around the outermost atoms


@dataclass(frozen=True, kw_only=True)
class Track:
    """One path through the images.

    Attributes:
        name: what it is called where there are several, such as 'potential 1'.
        images: positions (n, atoms, 3) in Angstrom, without jumps across the cell.
        coordinate: of every image, along the horizontal axis of the profile.
        values: of every image, on its vertical axis.
        said: every image in words.
        start: the image that is shown first, from 0.
        colour: of its line.
        dashed: its line is dashed, as of a path that is not converged.
    """

    name: str
    images: Array
    coordinate: tuple[float, ...]
    values: tuple[float, ...]
    said: tuple[str, ...]
    start: int
    colour: str
    dashed: bool = False


@dataclass(frozen=True, kw_only=True)
class Viewer:
    """Paths of one structure, with what is drawn of every image.

    Attributes:
        key: anchor in the page.
        caption: shown above it.
        colours: of every atom.
        radii: of every atom (Angstrom).
        copies: periodic images that are drawn too: index of the atom and shift (Angstrom).
        outlines: corners of the cell from above and from the side, (x, y) in Angstrom; empty where none is drawn.
        marked: index of the atom whose path is drawn as a line.
        tracks: the paths; at least one, of equal numbers of atoms.
        mean: (x, y) of a thick line in the profile.
        level: a horizontal line in the profile, and its name.
        labels: of the horizontal and of the vertical axis of the profile.
    """

    key: str
    caption: str
    colours: tuple[str, ...]
    radii: tuple[float, ...]
    copies: tuple[tuple[int, float, float, float], ...]
    outlines: tuple[tuple[tuple[float, float], ...], tuple[tuple[float, float], ...]]
    marked: int
    tracks: tuple[Track, ...]
    mean: tuple[tuple[float, float], ...] = ()
    level: tuple[float, str] | None = None
    labels: tuple[str, str]


def payload(viewer: Viewer) -> str:
    """The data of the viewer as JSON that may stand inside a script element; lengths in pm."""
    base = _pm(viewer.tracks[0].images[0])
    scale = _Axes(viewer)
    palette = list(dict.fromkeys(zip(viewer.colours, viewer.radii, strict=True)))
    data = {
        "kinds": [[colour, round(100 * radius)] for colour, radius in palette],
        "kind": [palette.index(pair) for pair in zip(viewer.colours, viewer.radii, strict=True)],
        "base": base.ravel().tolist(),
        "copies": [[k, *_pm(np.array(shift)).tolist()] for k, *shift in viewer.copies],
        "outlines": [_pm(np.array(corners)).tolist() for corners in viewer.outlines],
        "marked": viewer.marked,
        "box": _box(viewer),
        "tracks": [
            {
                "moves": [(_pm(image) - base).ravel().tolist() for image in track.images],
                "marks": [scale.point(x, y) for x, y in zip(track.coordinate, track.values, strict=True)],
                "said": track.said,
                "start": track.start,
            }
            for track in viewer.tracks
        ],
    }
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def profile(viewer: Viewer) -> str:
    """The values along every path as an SVG element; its text and axes take the colours of the page."""
    axes = _Axes(viewer)
    words = f"{viewer.labels[1]} along the path, {viewer.caption}"
    parts = [f'<svg class="profile" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(words)}">']
    parts += [_tick(axes.point(value, axes.low[1])[0], BOTTOM, text, across=True) for value, text in axes.ticks(0)]
    parts += [_tick(LEFT, axes.point(axes.low[0], value)[1], text, across=False) for value, text in axes.ticks(1)]
    parts.append(f'<path class="axis" d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}"/>')
    across, up = map(escape, viewer.labels)
    parts.append(f'<text x="{(LEFT + RIGHT) / 2:g}" y="{HEIGHT - 8}" text-anchor="middle">{across}</text>')
    middle = (TOP + BOTTOM) // 2
    parts.append(f'<text transform="translate(12 {middle}) rotate(-90)" text-anchor="middle">{up}</text>')
    parts += [_line(axes, track) for track in viewer.tracks]
    if viewer.mean:
        parts.append(f'<path class="mean" d="{axes.path(viewer.mean)}"/>')
    if viewer.level is not None:
        y = axes.point(axes.low[0], viewer.level[0])[1]
        parts.append(f'<path class="level" d="M{LEFT} {y}H{RIGHT}"/>')
        parts.append(f'<text x="{RIGHT}" y="{y - 4:g}" text-anchor="end">{escape(viewer.level[1])}</text>')
    return "".join([*parts, '<circle class="marker" r="6" hidden=""/></svg>'])


class _Axes:
    """Where a point of the profile lies in its picture."""

    def __init__(self, viewer: Viewer) -> None:
        across = [x for track in viewer.tracks for x in track.coordinate]
        up = [y for track in viewer.tracks for y in track.values] + [0.0]
        up += [viewer.level[0]] if viewer.level is not None else []
        spread = max(max(up) - min(up), 1e-3)
        self.low = (min(across), min(up) - 0.04 * spread)
        self.high = (max(*across, min(across) + 1e-3), max(up) + 0.1 * spread)

    def point(self, x: float, y: float) -> list[float]:
        a = (x - self.low[0]) / (self.high[0] - self.low[0])
        b = (y - self.low[1]) / (self.high[1] - self.low[1])
        return [round(LEFT + a * (RIGHT - LEFT), 1), round(BOTTOM - b * (BOTTOM - TOP), 1)]

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        return "M" + "L".join("{:g} {:g}".format(*self.point(x, y)) for x, y in points)

    def ticks(self, axis: int) -> list[tuple[float, str]]:
        """Round numbers within the axis, about five, and how they are written."""
        low, high = self.low[axis], self.high[axis]
        rough = (high - low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * k for k in (1, 2, 5, 10) if power * k >= rough)
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        values = [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
        return [(value, f"{value + 0.0:.{digits}f}".replace("-", "\u2212")) for value in values]


def _line(axes: _Axes, track: Track) -> str:
    points = list(zip(track.coordinate, track.values, strict=True))
    dash = ' stroke-dasharray="5 4"' if track.dashed else ""
    dots = "".join("M{:g} {:g}h0".format(*axes.point(x, y)) for x, y in points)
    line = f'<path class="track" stroke="{track.colour}"{dash} d="{axes.path(points)}"/>'
    return line + f'<path class="dots" stroke="{track.colour}" d="{dots}"/>'


def _tick(x: float, y: float, text: str, *, across: bool) -> str:
    if across:
        return f'<path class="axis" d="M{x} {y}v4"/><text x="{x}" y="{y + 17}" text-anchor="middle">{text}</text>'
    return f'<path class="axis" d="M{x} {y}h-4"/><text x="{x - 7}" y="{y + 4}" text-anchor="end">{text}</text>'


def _box(viewer: Viewer) -> list[list[int]]:
    """Lowest and highest corner of all that is drawn (pm)."""
    shifts = np.array([shift for _, *shift in viewer.copies] or np.zeros((0, 3)))
    copied = [k for k, *_ in viewer.copies]
    places = np.concatenate([i for t in viewer.tracks for i in [*t.images, *(t.images[:, copied] + shifts)]])
    return [(_pm(places.min(axis=0)) - MARGIN_PM).tolist(), (_pm(places.max(axis=0)) + MARGIN_PM).tolist()]


def _pm(angstrom: Array) -> Array:
    return np.rint(100 * angstrom).astype(int)
