"""The headline figure: published, DFT and potential's barriers side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlip.core.figures import BLACK, BLUE, GREY, ORANGE, canvas, encoded
from mlip.stages.report.rows import Headline

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def headline(rows: Sequence[Headline]) -> bytes:
    """Published, DFT and potential's barriers side by side (SVG); rows without a number have no mark and say so."""
    with canvas(4.8, 0.42 * len(rows) + 0.9) as (figure, axes):
        axis = axes[0]
        for k, row in enumerate(rows):
            _headline_row(axis, -k, row)
        axis.set_yticks([-k for k in range(len(rows))], [f"{r.ion} {r.facet}" for r in rows])
        axis.set_ylim(-len(rows) + 0.4, 0.6)
        axis.set_xlim(left=0)
        axis.set_xlabel("migration barrier (eV)")
        axis.grid(visible=True, axis="x", color="#E5E5E5", linewidth=0.6)
        axis.set_axisbelow(True)
        _legend_of(axis)
        return encoded(figure)


def _headline_row(axis: Axes, y: float, row: Headline) -> None:
    axis.plot(row.published_ev, y + 0.18, "D", color=BLACK, markersize=4.5, label="published")
    if row.dft_ev is not None and not row.dft_is_elsewhere:
        label = "our DFT, converged" if row.dft_refined else "our DFT (single points)"
        fill = ORANGE if row.dft_refined else "none"
        axis.plot(row.dft_ev, y, "s", color=ORANGE, markerfacecolor=fill, markersize=5, label=label)
    if row.ours_ev is not None:
        bar: dict[str, Any] = {"fmt": "o", "color": BLUE, "markersize": 4.5, "capsize": 2.5, "linewidth": 1.0}
        axis.errorbar(row.ours_ev, y - 0.18, xerr=row.two_sigma_ev or 0.0, label="potential, 2 sigma", **bar)
    else:
        axis.text(row.published_ev + 0.03, y - 0.1, row.verdict, fontsize=7, color=GREY, va="center")


def _legend_of(axis: Axes) -> None:
    handles, labels = axis.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    if once:
        axis.legend(list(once.values()), list(once), loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
