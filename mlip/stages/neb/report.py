"""Report section of the stage `neb`: figures of the cells with sites and paths, and of the energy along a hop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

from mlip.core.arrays import Array
from mlip.core.figures import BLACK, BLUE, GREEN, GREY, MEMBERS, ORANGE, PURPLE, VERMILION, canvas, encoded
from mlip.core.report import NUMBER, TEXT, Column, Figure, ReportSection, number, table
from mlip.stages.neb.neb import CONVERGED, Band
from mlip.stages.sites.sites import Site

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ELEMENTS, OTHER = {"O": "#EBD3C8", "Ti": "#8EA4B8"}, "#C8C8C8"
LAYERS = {"surface": VERMILION, "subsurface": BLUE, "bulk": GREEN}
LEGEND = (
    "Oxygen atoms are pale and metal atoms blue-grey. Surface sites are red, subsurface sites blue and bulk sites "
    "green. The lines are the paths of the ion along the bands."
)


def pictures_section(hosts: Mapping[str, Atoms], sites: Sequence[Site], bands: Sequence[Band]) -> ReportSection:
    """Every host from above and from the side, with the sites and paths of each ion; empty without hosts."""
    figures = []
    for host, atoms in hosts.items():
        for ion in sorted({s.ion for s in sites if s.host == host}) or [""]:
            own = [s for s in sites if (s.host, s.ion) == (host, ion)]
            paths = [b for b in bands if (b.host, b.ion) == (host, ion)]
            caption = f"{host}: {ion} sites and paths" if ion else host
            figures.append(
                Figure(
                    image=structure(atoms, own, paths),
                    form="svg+xml",
                    caption=caption,
                    alt=f"{caption}: cell from above and from the side",
                )
            )
    return ReportSection(
        key="pictures", heading="Sites and paths", text=(LEGEND,) if figures else (), figures=tuple(figures)
    )


def profile(bands: Sequence[Band], *, dft_ev: float | None = None) -> bytes:
    """Energy (eV) along one hop (SVG): every member thin, dashed if not converged; the mean thick if all converged.

    Args:
        bands: of one hop and ion, one per member.
        dft_ev: DFT barrier (eV), drawn as a horizontal line.
    """
    with canvas(3.1, 2.1) as (figure, axes):
        axis = axes[0]
        for band in bands:
            if len(band.energies_ev) == len(band.coordinate_angstrom) and band.energies_ev:
                colour = MEMBERS[band.member % len(MEMBERS)]
                line = "-" if band.status.code == CONVERGED else "--"
                x = np.array(band.coordinate_angstrom)
                axis.plot(x, band.energies_ev, line, color=colour, linewidth=0.7, marker=".", markersize=3, alpha=0.8)
        if mean := mean_of(bands):
            axis.plot(*zip(*mean, strict=True), color=BLACK, linewidth=1.6, label="mean of members")
        if dft_ev is not None:
            axis.axhline(dft_ev, color=ORANGE, linewidth=1.0, linestyle=":", label="DFT barrier")
        axis.axhline(0, color="#BBBBBB", linewidth=0.5)
        axis.set_xlabel("path length, all atoms (\u00c5)")
        axis.set_ylabel("energy (eV)")
        if axis.get_legend_handles_labels()[0]:
            axis.legend(loc="best")
        return encoded(figure)


def profiles_section(bands: Sequence[Band]) -> ReportSection:
    """The energy along every band: a row per image, a row without numbers per unconverged band, a figure per hop."""
    columns = [
        Column("Host", TEXT, lambda p: p[0].host),
        Column("Ion", TEXT, lambda p: p[0].ion),
        Column("Hop", TEXT, lambda p: p[0].hop),
        Column("Member", NUMBER, lambda p: number(p[0].member, 0)),
        Column("Status", TEXT, lambda p: p[0].status.code),
        Column("Path length (\u00c5)", NUMBER, lambda p: number(p[1])),
        Column("Energy (eV)", NUMBER, lambda p: number(p[2])),
    ]
    points = [(band, x, energy) for band in bands for x, energy in _points(band)]
    figures = []
    for host, ion, hop in dict.fromkeys((b.host, b.ion, b.hop) for b in bands):
        own = [b for b in bands if (b.host, b.ion, b.hop) == (host, ion, hop)]
        caption = f"{host}: {ion} along {hop}"
        figures.append(Figure(image=profile(own), form="svg+xml", caption=caption, alt=f"{caption}: energy by length"))
    return ReportSection(
        key="band-profiles",
        heading="Energy along the bands",
        tables=(table("band-profiles", columns, points),),
        figures=tuple(figures),
    )


def _points(band: Band) -> list[tuple[float | None, float | None]]:
    """Path length (Angstrom) and energy (eV) of the images of a converged band."""
    if band.status.code != CONVERGED:
        return [(None, None)]
    return list(zip(band.coordinate_angstrom, band.energies_ev, strict=True))


def mean_of(bands: Sequence[Band]) -> list[tuple[float, float]]:
    """Mean path length (Angstrom) and energy (eV) of the members; empty unless two or more of them all converged."""
    if len(bands) < 2 or any(b.status.code != CONVERGED for b in bands):
        return []
    lengths = [b.coordinate_angstrom[-1] for b in bands]
    if min(lengths) <= 0:
        return []
    grid = np.linspace(0, 1, 41)
    curves = [
        np.interp(grid, np.array(b.coordinate_angstrom) / length, b.energies_ev)
        for b, length in zip(bands, lengths, strict=True)
    ]
    return list(zip((grid * np.mean(lengths)).tolist(), np.mean(curves, axis=0).tolist(), strict=True))


def structure(host: Atoms, sites: Sequence[Site] = (), bands: Sequence[Band] = ()) -> bytes:
    """A cell from above and from the side, with its sites and the paths of the ion (SVG); lengths in Angstrom.

    Args:
        host: the relaxed clean cell; drawn with its periodic images within 1.2 Angstrom of the cell.
        sites: of one ion, coloured by layer, the name beside each.
        bands: of the same ion; the positions of the ion are drawn as a line.
    """
    lengths = host.cell.lengths()
    ratio = depth(host) / lengths[1]
    with canvas(6.4, 3.1 + 0.2 * max(0.0, ratio - 1), panels=2) as (figure, axes):
        _view(axes[0], host, sites, bands, plane=(0, 1, 2))
        axes[0].set_title("from above", fontsize=8)
        _view(axes[1], host, sites, bands, plane=(0, 2, 1))
        axes[1].set_title("from the side", fontsize=8)
        return encoded(figure)


def depth(host: Atoms) -> float:
    """Height of a cell from its lowest to its highest atom, with a margin (Angstrom)."""
    z = host.positions[:, 2]
    return float(z.max() - z.min()) + 3.0


def periodic(host: Atoms, margin_angstrom: float = 1.2) -> tuple[list[str], Array]:
    """Symbols and positions (Angstrom) of the atoms in the cell and of the lateral images within a margin."""
    symbols, positions = [], []
    inverse = np.linalg.inv(np.array(host.cell))
    wrapped = host.get_scaled_positions(wrap=False)
    wrapped[:, :2] %= 1.0
    for shift in np.ndindex(3, 3):
        moved = wrapped + np.array([shift[0] - 1, shift[1] - 1, 0])
        inside = within(moved, host, margin_angstrom)
        positions.append(moved[inside] @ np.linalg.inv(inverse))
        symbols += [s for s, keep in zip(host.get_chemical_symbols(), inside, strict=True) if keep]
    return symbols, np.concatenate(positions)


def within(scaled: Array, host: Atoms, margin_angstrom: float = 1.2) -> Array:
    """Whether scaled positions (n, 3) lie in the cell or within a lateral margin of it."""
    margin = margin_angstrom / host.cell.lengths()[:2]
    inside: Array = np.all((scaled[:, :2] > -margin) & (scaled[:, :2] < 1 + margin), axis=1)
    return inside


def draw_atoms(axis: Axes, host: Atoms, *, plane: tuple[int, int, int]) -> Array:
    """Draw circles ordered by height along plane[2], and the cell; gives the positions (n, 3) that were drawn."""
    from matplotlib.patches import Circle

    across, up, along = plane
    symbols, positions = periodic(host)
    sign = 1.0 if along == 2 else -1.0  # from the side the nearest atoms have the smallest y
    height = sign * positions[:, along]
    span = float(np.ptp(height)) or 1.0
    for k in np.argsort(height):
        near = (height[k] - height.min()) / span
        radius = 0.35 * covalent_radii[atomic_numbers[symbols[k]]] + 0.3
        colour = ELEMENTS.get(symbols[k], OTHER)
        style = {"facecolor": colour, "edgecolor": "#55606B", "linewidth": 0.4, "alpha": 0.3 + 0.7 * near}
        axis.add_patch(Circle((positions[k, across], positions[k, up]), radius, zorder=1 + near, **style))
    _outline(axis, host, across, up)
    return positions


def _view(
    axis: Axes, host: Atoms, sites: Sequence[Site], bands: Sequence[Band], *, plane: tuple[int, int, int]
) -> None:
    """The atoms, the cell, the paths and the sites, in one projection."""
    across, up, _ = plane
    positions = draw_atoms(axis, host, plane=plane)
    for band in bands:
        _path(axis, np.array(band.ion_angstrom), across, up)
    for site in sites:
        _mark(axis, site, across, up)
    _frame(axis, positions, sites, across, up)


def _outline(axis: Axes, host: Atoms, across: int, up: int) -> None:
    cell = np.array(host.cell)
    corners = np.array([np.zeros(3), cell[across], cell[across] + cell[up], cell[up], np.zeros(3)])
    if up == 1 or host.cell.lengths()[2] < 1.5 * depth(host):
        axis.plot(corners[:, across], corners[:, up], color="#55606B", linewidth=0.6, linestyle="--", zorder=3)


def _path(axis: Axes, path: Array, across: int, up: int) -> None:
    if path.ndim == 2 and len(path) > 1:
        axis.plot(path[:, across], path[:, up], "-", color=PURPLE, linewidth=1.4, zorder=4)


def _mark(axis: Axes, site: Site, across: int, up: int) -> None:
    x, y = site.position_angstrom[across], site.position_angstrom[up]
    colour = LAYERS.get(site.layer, GREY)
    axis.plot(x, y, "o", color=colour, markeredgecolor="white", markersize=6, zorder=5)
    halo = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
    axis.text(x + 0.3, y + 0.3, site.name, fontsize=6.5, color=colour, zorder=6, bbox=halo)


def _frame(axis: Axes, positions: Array, sites: Sequence[Site], across: int, up: int) -> None:
    points = [positions[:, [across, up]]]
    points += [np.array([[s.position_angstrom[across], s.position_angstrom[up]]]) for s in sites]
    both = np.concatenate(points)
    low, high = both.min(axis=0) - 1.2, both.max(axis=0) + 1.2
    axis.set_xlim(low[0], high[0])
    axis.set_ylim(low[1], high[1])
    axis.set_aspect("equal")
    axis.set_xlabel(f"{'xyz'[across]} (\u00c5)")
    axis.set_ylabel(f"{'xyz'[up]} (\u00c5)")
