"""Figures of the stage `rates`: D of all hosts over temperature.

Takes rows of the result; gives the bytes of figures.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlip.core.figures import BLACK, MEMBERS, canvas, encoded
from mlip.stages.rates.result import AgainstDynamics, Diffusivity

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STYLES = ("-", "--", "-.", ":")
MARKERS = "osD^v"
BULK = "bulk"
LEAST = 1e-3  # part of a value at which its error bar ends on a logarithmic axis


def over_temperature(ion: str, rows: Sequence[Diffusivity], dynamics: Sequence[AgainstDynamics]) -> bytes:
    """D (cm^2/s) of one ion on all hosts against 1000 K/T with bands of 95 %, and dynamics as points (SVG).

    Where D is not resolved there is no line; an upper limit of dynamics is an open triangle.
    """
    hosts = sorted({row.host for row in rows}, key=lambda name: (name != BULK, name))
    with canvas(3.4, 3.0) as (figure, (axis,)):
        for row in sorted(rows, key=lambda r: hosts.index(r.host)):
            number = hosts.index(row.host)
            colour = BLACK if row.host == BULK else MEMBERS[number % len(MEMBERS)]
            _line(axis, row, STYLES[number % len(STYLES)], colour)
            for point in dynamics:
                if point.host == row.host:
                    _point(axis, point, MARKERS[number % len(MARKERS)], colour)
        axis.set_yscale("log")
        axis.set_xlabel("1000 K / T")
        axis.set_ylabel("D (cm\u00b2/s)")
        axis.legend(fontsize=6)
        axis.set_title(ion, fontsize=8)
        return encoded(figure)


def _line(axis: "Axes", row: Diffusivity, style: str, colour: str) -> None:
    known = [
        (1000 / p.temperature_kelvin, m.value, m.low or m.value, m.high or m.value)
        for p in sorted(row.points, key=lambda p: p.temperature_kelvin)
        if (m := p.mean).value is not None and m.value > 0
    ]
    if known:
        x, value, low, high = np.array(known).T
        axis.plot(x, value, style, color=colour, label=row.host)
        axis.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def _point(axis: "Axes", point: AgainstDynamics, marker: str, colour: str) -> None:
    x, d = 1000 / point.temperature_kelvin, point.dynamics
    if d.value is not None and d.low is not None and d.high is not None:
        reach = [[d.value - max(d.low, LEAST * d.value)], [d.high - d.value]]
        axis.errorbar([x], [d.value], reach, fmt=marker, color=colour, markersize=4)
    elif d.high is not None:
        axis.plot([x], [d.high], "v", color=colour, markersize=5, markerfacecolor="white")
