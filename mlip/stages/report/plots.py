"""Figures of the report: data in, SVG or PNG bytes out.

Takes rows, bands, sites and structures; gives the bytes of one figure. Colours are those of Okabe and Ito, told apart
with any colour vision; every series also differs in marker or line. Nothing is read, written or shown.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii
from numpy.typing import NDArray

from mlip.stages.evaluate.evaluate import Parity
from mlip.stages.neb.neb import Band
from mlip.stages.report.rows import Headline
from mlip.stages.sites.sites import Site
from mlip.stages.train.train import Epoch

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#7F7F7F"
MEMBERS = (BLUE, VERMILION, GREEN, PURPLE, SKY, ORANGE, GREY)
ELEMENTS = {"O": "#EBD3C8", "Ti": "#8EA4B8"}
LAYERS = {"surface": VERMILION, "subsurface": BLUE, "bulk": GREEN}
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
def canvas(width: float, height: float, panels: int = 1) -> Iterator[tuple["Figure", list["Axes"]]]:
    """A figure of width x height inches and its axes, in the style of the report."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, list(figure.subplots(1, panels, squeeze=False)[0])


def encoded(figure: "Figure", form: str = "svg") -> bytes:
    """The bytes of a figure, the same for the same figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    target = io.BytesIO()
    metadata = {"Date": None} if form == "svg" else {"Software": None}
    figure.savefig(target, format=form, dpi=160, metadata=metadata)
    return target.getvalue()


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


def _headline_row(axis: "Axes", y: float, row: Headline) -> None:
    axis.plot(row.published_ev, y + 0.18, "D", color=BLACK, markersize=4.5, label="published")
    if row.dft_ev is not None and not row.dft_is_elsewhere:
        axis.plot(row.dft_ev, y, "s", color=ORANGE, markersize=5, label="our DFT (single points)")
    if row.ours_ev is not None:
        bar: dict[str, Any] = {"fmt": "o", "color": BLUE, "markersize": 4.5, "capsize": 2.5, "linewidth": 1.0}
        axis.errorbar(row.ours_ev, y - 0.18, xerr=row.two_sigma_ev or 0.0, label="potential, 2 sigma", **bar)
    else:
        axis.text(row.published_ev + 0.03, y - 0.1, row.verdict, fontsize=7, color=GREY, va="center")


def _legend_of(axis: "Axes") -> None:
    handles, labels = axis.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    if once:
        axis.legend(list(once.values()), list(once), loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)


def profile(bands: Sequence[Band], *, dft_ev: float | None = None) -> bytes:
    """Energy along one hop (SVG): every member thin, their mean thick where all converged; others dashed.

    Args:
        bands: of one hop and ion, one per member.
        dft_ev: DFT barrier, drawn as a level.
    """
    with canvas(3.1, 2.1) as (figure, axes):
        axis = axes[0]
        for band in bands:
            if len(band.energies_ev) == len(band.coordinate_angstrom) and band.energies_ev:
                colour = MEMBERS[band.member % len(MEMBERS)]
                line = "-" if band.status == "converged" else "--"
                x = np.array(band.coordinate_angstrom)
                axis.plot(x, band.energies_ev, line, color=colour, linewidth=0.7, marker=".", markersize=3, alpha=0.8)
        _mean_line(axis, bands)
        if dft_ev is not None:
            axis.axhline(dft_ev, color=ORANGE, linewidth=1.0, linestyle=":", label="DFT barrier")
        axis.axhline(0, color="#BBBBBB", linewidth=0.5)
        axis.set_xlabel("path length, all atoms (\u00c5)")
        axis.set_ylabel("energy (eV)")
        if axis.get_legend_handles_labels()[0]:
            axis.legend(loc="best")
        return encoded(figure)


def _mean_line(axis: "Axes", bands: Sequence[Band]) -> None:
    """Mean of the members on a common coordinate; only where two or more of them all converged."""
    if len(bands) < 2 or any(b.status != "converged" for b in bands):
        return
    lengths = [b.coordinate_angstrom[-1] for b in bands]
    if min(lengths) <= 0:
        return
    grid = np.linspace(0, 1, 41)
    curves = [
        np.interp(grid, np.array(b.coordinate_angstrom) / length, b.energies_ev)
        for b, length in zip(bands, lengths, strict=True)
    ]
    axis.plot(grid * np.mean(lengths), np.mean(curves, axis=0), color=BLACK, linewidth=1.6, label="mean of members")


def parity(found: Parity) -> bytes:
    """Energies and forces of the potential against DFT (PNG)."""
    with canvas(6.4, 2.9, panels=2) as (figure, axes):
        energy = np.array(found.energy_ref_ev_per_atom), np.array(found.energy_ev_per_atom)
        _parity_panel(axes[0], *energy, "energy (eV/atom)", size=14)
        _parity_panel(axes[1], np.array(found.force_ref), np.array(found.force), "force component (eV/\u00c5)", size=4)
        return encoded(figure, "png")


def _parity_panel(axis: "Axes", reference: Array, model: Array, label: str, *, size: float) -> None:
    if len(reference) == 0:
        axis.text(0.5, 0.5, "no frames", ha="center", va="center", transform=axis.transAxes)
        return
    both = np.concatenate([reference, model])
    low, high = float(both.min()), float(both.max())
    pad = 0.04 * (high - low or 1.0)
    axis.plot([low - pad, high + pad], [low - pad, high + pad], color="#BBBBBB", linewidth=0.8, zorder=0)
    axis.scatter(reference, model, s=size, color=BLUE, alpha=0.45, linewidths=0)
    axis.set_aspect("equal", adjustable="box")
    axis.set_xlabel(f"DFT {label}")
    axis.set_ylabel(f"model {label}")


def training(histories: Mapping[int, Sequence[Epoch]]) -> bytes:
    """Loss and force error by epoch, a colour per member (SVG)."""
    with canvas(6.4, 2.3, panels=2) as (figure, axes):
        for member, history in histories.items():
            colour = MEMBERS[member % len(MEMBERS)]
            x = [e.epoch + 1 for e in history]
            axes[0].plot(x, [e.train_loss for e in history], ":", color=colour)
            axes[0].plot(x, [e.valid_loss for e in history], "-", color=colour, label=f"member {member}")
            force = [1e3 * e.valid_force_rmse_ev_per_angstrom for e in history]
            axes[1].plot(x, force, "-", color=colour, label=f"member {member}")
        axes[0].set_ylabel("loss")
        axes[1].set_ylabel("validation force RMSE (meV/\u00c5)")
        for axis in axes:
            axis.set_xlabel("epoch")
            axis.set_yscale("log")
        if histories:
            axes[1].legend()
        return encoded(figure)


def structure(host: Atoms, sites: Sequence[Site] = (), bands: Sequence[Band] = ()) -> bytes:
    """A cell from above and from the side, with its sites and the ion's ways along bands (SVG).

    Args:
        host: the relaxed clean cell; drawn with its periodic images within 1.2 Angstrom of the cell.
        sites: of one ion, coloured by layer, the name beside each.
        bands: of the same ion; the ion's way is drawn as a line.
    """
    lengths = host.cell.lengths()
    ratio = _depth(host) / lengths[1]
    with canvas(6.4, 3.1 + 0.2 * max(0.0, ratio - 1), panels=2) as (figure, axes):
        _view(axes[0], host, sites, bands, plane=(0, 1, 2))
        axes[0].set_title("from above", fontsize=8)
        _view(axes[1], host, sites, bands, plane=(0, 2, 1))
        axes[1].set_title("from the side", fontsize=8)
        return encoded(figure)


def _depth(host: Atoms) -> float:
    z = host.positions[:, 2]
    return float(z.max() - z.min()) + 3.0


def periodic(host: Atoms, margin_angstrom: float = 1.2) -> tuple[list[str], Array]:
    """Symbols and positions of the atoms in the cell and of their lateral images within a margin around it."""
    symbols, positions = [], []
    inverse = np.linalg.inv(np.array(host.cell))
    margin = margin_angstrom / host.cell.lengths()
    wrapped = host.get_scaled_positions(wrap=False)
    wrapped[:, :2] %= 1.0
    for shift in np.ndindex(3, 3):
        moved = wrapped + np.array([shift[0] - 1, shift[1] - 1, 0])
        inside = np.all((moved[:, :2] > -margin[:2]) & (moved[:, :2] < 1 + margin[:2]), axis=1)
        positions.append(moved[inside] @ np.linalg.inv(inverse))
        symbols += [s for s, keep in zip(host.get_chemical_symbols(), inside, strict=True) if keep]
    return symbols, np.concatenate(positions)


def _view(
    axis: "Axes", host: Atoms, sites: Sequence[Site], bands: Sequence[Band], *, plane: tuple[int, int, int]
) -> None:
    """Circles ordered by height along plane[2], the cell, the ion's ways and the sites, in one projection."""
    from matplotlib.patches import Circle

    across, up, along = plane
    symbols, positions = periodic(host)
    sign = 1.0 if along == 2 else -1.0  # from the side the nearest atoms have the smallest y
    height = sign * positions[:, along]
    span = float(np.ptp(height)) or 1.0
    for k in np.argsort(height):
        near = (height[k] - height.min()) / span
        radius = 0.35 * covalent_radii[atomic_numbers[symbols[k]]] + 0.3
        colour = ELEMENTS.get(symbols[k], "#C8C8C8")
        style = {"facecolor": colour, "edgecolor": "#55606B", "linewidth": 0.4, "alpha": 0.3 + 0.7 * near}
        axis.add_patch(Circle((positions[k, across], positions[k, up]), radius, zorder=1 + near, **style))
    _outline(axis, host, across, up)
    for band in bands:
        _way(axis, np.array(band.ion_angstrom), across, up)
    for site in sites:
        _mark(axis, site, across, up)
    _frame(axis, positions, sites, across, up)


def _outline(axis: "Axes", host: Atoms, across: int, up: int) -> None:
    cell = np.array(host.cell)
    corners = np.array([np.zeros(3), cell[across], cell[across] + cell[up], cell[up], np.zeros(3)])
    if up == 1 or host.cell.lengths()[2] < 1.5 * _depth(host):
        axis.plot(corners[:, across], corners[:, up], color="#55606B", linewidth=0.6, linestyle="--", zorder=3)


def _way(axis: "Axes", way: Array, across: int, up: int) -> None:
    if way.ndim == 2 and len(way) > 1:
        axis.plot(way[:, across], way[:, up], "-", color=PURPLE, linewidth=1.4, zorder=4)


def _mark(axis: "Axes", site: Site, across: int, up: int) -> None:
    x, y = site.position_angstrom[across], site.position_angstrom[up]
    colour = LAYERS.get(site.layer, GREY)
    axis.plot(x, y, "o", color=colour, markeredgecolor="white", markersize=6, zorder=5)
    halo = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
    axis.text(x + 0.3, y + 0.3, site.name, fontsize=6.5, color=colour, zorder=6, bbox=halo)


def _frame(axis: "Axes", positions: Array, sites: Sequence[Site], across: int, up: int) -> None:
    points = [positions[:, [across, up]]]
    points += [np.array([[s.position_angstrom[across], s.position_angstrom[up]]]) for s in sites]
    both = np.concatenate(points)
    low, high = both.min(axis=0) - 1.2, both.max(axis=0) + 1.2
    axis.set_xlim(low[0], high[0])
    axis.set_ylim(low[1], high[1])
    axis.set_aspect("equal")
    axis.set_xlabel(f"{'xyz'[across]} (\u00c5)")
    axis.set_ylabel(f"{'xyz'[up]} (\u00c5)")
