"""How figures look: a canvas in the style of the report, colours, and the bytes of a finished figure.

Colours are those of Okabe and Ito, told apart with any colour vision; every series also differs in marker or line.
"""

import io
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#7F7F7F"
MEMBERS = (BLUE, VERMILION, GREEN, PURPLE, SKY, ORANGE, GREY)
OUTLINE, FRACTION = re.compile(rb'd="[^"]*"'), re.compile(rb"(\.\d)\d+")
CURVES = re.compile(rb'<path d="(M[^C"]*(?:C[^C"]*){8}z\s*)"')  # matplotlib draws a circle as eight curves
NUMBERS = re.compile(rb"-?\d+(?:\.\d+)?")
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "lines.linewidth": 1.0,
    "svg.hashsalt": "mlip",
    "svg.fonttype": "path",
}


@contextmanager
def canvas(width: float, height: float, panels: int = 1, rows: int = 1) -> Iterator[tuple["Figure", list["Axes"]]]:
    """A figure of width x height inches and its axes, row by row, in the style of the report."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, list(figure.subplots(rows, panels, squeeze=False).ravel())


def encoded(figure: "Figure", form: str = "svg") -> bytes:
    """The bytes of a figure, the same for the same figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    target = io.BytesIO()
    metadata = {"Date": None} if form == "svg" else {"Software": None}
    figure.savefig(target, format=form, dpi=160, metadata=metadata)
    if form != "svg":
        return target.getvalue()
    return OUTLINE.sub(_shorter, CURVES.sub(_circle, target.getvalue()))


def _circle(curves: re.Match[bytes]) -> bytes:
    """Eight curves as one circle, a tenth of the bytes; as they are where they are something else."""
    ends = [float(x) for x in NUMBERS.findall(curves[1])]
    if len(ends) != 50:  # the first point, then two handles and an end per curve
        return curves[0]
    points = [ends[:2], *(ends[k : k + 2] for k in range(6, 50, 6))]
    x, y = points[0][0], (points[0][1] + points[4][1]) / 2
    radius = abs(points[0][1] - y)
    if any(abs(math.hypot(a - x, b - y) - radius) > 0.02 for a, b in points):
        return curves[0]
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.2f}"'.encode()


def _shorter(outline: re.Match[bytes]) -> bytes:
    """An outline cut to a tenth of a point: half of the bytes, and nothing that can be seen."""
    return FRACTION.sub(rb"\1", outline[0])
