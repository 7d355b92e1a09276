"""Figures of diffusion: densities, mean squared displacements, hop networks, Arrhenius lines.

Takes results of `kinetics` and `density`, sites and hosts; gives figures of the report.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from ase import Atoms

from mlip.core.figures import BLACK, GREEN, GREY, MEMBERS, canvas, encoded
from mlip.core.report import Figure
from mlip.core.units import CM2_PER_S
from mlip.literature.references import References, Value
from mlip.stages.diffusion.density import Density
from mlip.stages.diffusion.hops import JOINT, Estimate
from mlip.stages.diffusion.kinetics import Diffused, Kinetics, Motion
from mlip.stages.neb.report import LAYERS, periodic
from mlip.stages.sites.network import Hop
from mlip.stages.sites.sites import RELAXED, Site

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PARTS = ("value", "low", "high")
OUTERMOST_ANGSTROM = 1.6  # atoms this far down are drawn
WIDEST, THINNEST = 6.0, 0.6  # widths of hops, points


@dataclass(frozen=True)
class Range:
    """A published range of D, marked beside the lines."""

    label: str
    low_cm2_per_s: float
    high_cm2_per_s: float


def everything(
    found: Diffused,
    sites: Sequence[Site],
    hops: Sequence[Hop],
    hosts: Mapping[str, Atoms],
    references: References,
) -> tuple[Figure, ...]:
    """Arrhenius plot, mean squared displacements, hop network and density of every ion in every system."""
    out = []
    for k in found.kinetics:
        name, own = f"{k.ion} in {k.system}", [m for m in found.motions if (m.system, m.ion) == (k.system, k.ion)]
        marks = "circles: from hops; squares: from displacements; open triangles: upper limits"
        image = arrhenius(k, own, ranges(references, k.host, k.ion))
        out.append(_figure(image, "svg+xml", f"{name}: D against 1/T ({marks})"))
        caption = f"{name}: mean squared displacement with one standard deviation"
        out.append(_figure(displacements(own), "svg+xml", caption))
        if k.host not in hosts:
            continue
        own_sites = [s for s in sites if (s.host, s.ion, s.status.code) == (k.host, k.ion, RELAXED)]
        own_hops = [h for h in hops if (h.host, h.ion) == (k.host, k.ion)]
        caption = f"{name}: hops from above; the width grows with the rate, dotted hops did not occur"
        out.append(_figure(network(own[-1], own_sites, own_hops, hosts[k.host]), "svg+xml", caption))
        maps = [d for d in found.densities if (d.system, d.ion) == (k.system, k.ion)]
        caption = f"{name}: positions of the ion from above"
        out += [_figure(density(maps[-1], hosts[k.host]), "png", caption)] if maps else []
    return tuple(out)


def _figure(image: bytes, form: Literal["svg+xml", "png"], caption: str) -> Figure:
    return Figure(image=image, form=form, caption=caption, alt=caption)


def ranges(references: References, host: str, ion: str) -> list[Range]:
    """Published ranges (cm^2/s) of chemical diffusion coefficients of electrodes with this facet and ion."""
    return [
        Range(f"GITT, {v.ion or 'dual'} salt, {v.facet}", v.value, v.upper)
        for v in references.values
        if v.method == "GITT" and v.upper is not None and v.ion in {None, ion} and _is_for(v, host)
    ]


def _is_for(value: Value, host: str) -> bool:
    return value.host == host if value.host is not None else value.facet in {host, f"({host})"}


def density(found: Density, host: Atoms) -> bytes:
    """Number of frames with an ion at each point of one cell, from above (PNG); lengths in Angstrom.

    The outermost atoms of the host are written on top.
    """
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import NullFormatter, StrMethodFormatter

    counts = np.array(found.counts, dtype=float)
    edges = np.array(found.cell_angstrom)
    s, t = (np.linspace(0, 1, n + 1) for n in counts.shape)
    corners = s[:, None, None] * edges[0] + t[None, :, None] * edges[1]
    with canvas(3.4, 3.0) as (figure, (axis,)):
        shown = np.ma.masked_less(counts, 1.0)
        norm = LogNorm(1.0, max(2.0, float(counts.max())))
        mesh = axis.pcolormesh(corners[..., 0], corners[..., 1], shown, norm=norm, cmap="viridis", rasterized=True)
        bar = figure.colorbar(mesh, ax=axis, label="frames", shrink=0.85, format=StrMethodFormatter("{x:g}"))
        bar.ax.yaxis.set_minor_formatter(NullFormatter())
        symbols, places = periodic(host, margin_angstrom=0.1)
        top = places[:, 2] > places[:, 2].max() - OUTERMOST_ANGSTROM
        for symbol, place in zip(np.array(symbols)[top], places[top], strict=True):
            axis.text(place[0], place[1], symbol, ha="center", va="center", fontsize=6, color=BLACK)
        axis.set_aspect("equal")
        axis.set_xlabel("x (\u00c5)")
        axis.set_ylabel("y (\u00c5)")
        axis.set_title(f"{found.system}, {found.ion}, {found.temperature_kelvin:g} K", fontsize=8)
        return encoded(figure, "png")


def displacements(motions: Sequence[Motion]) -> bytes:
    """Mean squared displacement (Angstrom^2) against time (ps) with one standard deviation, per temperature (SVG)."""
    with canvas(3.4, 2.6) as (figure, (axis,)):
        for k, m in enumerate(motions):
            r = m.from_displacements
            if not r.times_ps:
                continue
            times, msd, std = np.array(r.times_ps), np.array(r.msd_angstrom2), np.array(r.msd_std_angstrom2)
            colour = MEMBERS[k % len(MEMBERS)]
            style = ("-", "--", "-.", ":")[k % 4]
            axis.plot(times, msd, style, color=colour, label=f"{m.temperature_kelvin:g} K")
            axis.fill_between(times, msd - std, msd + std, color=colour, alpha=0.2, linewidth=0)
            if r.start_ps is not None:
                axis.axvline(r.start_ps, color=colour, linewidth=0.5, linestyle=":")
        axis.set_xlabel("time (ps)")
        axis.set_ylabel("mean squared displacement (\u00c5\u00b2)")
        axis.set_ylim(bottom=0)
        if axis.lines:
            axis.legend()
        return encoded(figure)


def network(motion: Motion, sites: Sequence[Site], hops: Sequence[Hop], host: Atoms) -> bytes:
    """Sites and hops of one cell from above (SVG); lengths in Angstrom.

    The width of a hop grows with the logarithm of its rate, or of the joint rate of hops that are counted together; a
    hop that did not occur is dotted.
    """
    rates: dict[str, float] = {}
    for rate in motion.rates:
        for name in rate.hop.split(JOINT):
            rates[name] = max(rates.get(name, 0.0), rate.per_ps.value or 0.0)
    named = {s.name: s for s in sites}
    cell = host.cell.array
    with canvas(3.4, 3.0) as (figure, (axis,)):
        for hop in hops:
            if hop.initial not in named or hop.final not in named:
                continue
            width = _width(rates.get(hop.name, 0.0), rates)
            style: dict[str, Any] = (
                {"color": GREEN, "linewidth": width} if width else {"color": GREY, "linewidth": 0.4, "linestyle": ":"}
            )
            for i, j, *image in hop.edges:
                a = np.array(named[hop.initial].copies_angstrom[i])
                b = np.array(named[hop.final].copies_angstrom[j]) + np.array(image) @ cell
                axis.plot([a[0], b[0]], [a[1], b[1]], **style, zorder=2, solid_capstyle="round")
        for site in sites:
            places = np.array(site.copies_angstrom)
            colour = LAYERS.get(site.layer, GREY)
            axis.plot(places[:, 0], places[:, 1], "o", color=colour, markersize=4, zorder=3, label=site.name)
        axis.set_aspect("equal")
        axis.set_xlabel("x (\u00c5)")
        axis.set_ylabel("y (\u00c5)")
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        axis.set_title(f"{motion.system}, {motion.ion}, {motion.temperature_kelvin:g} K", fontsize=8)
        return encoded(figure)


def _width(rate: float, rates: Mapping[str, float]) -> float:
    if rate <= 0:
        return 0.0
    decades = np.log10(max(rates.values()) / rate)
    return float(max(THINNEST, WIDEST * (1 - decades / 3)))


def arrhenius(found: Kinetics, motions: Sequence[Motion], published: Sequence[Range]) -> bytes:
    """D (cm^2/s) against 1000 K/T (SVG).

    Points, Arrhenius line with its 95 % band, and published ranges of GITT.
    """
    line = found.diffusion
    with canvas(3.4, 3.0) as (figure, (axis,)):
        for m in motions:
            x = 1000.0 / m.temperature_kelvin
            _point(axis, x, m.from_jumps.mean, marker="o", colour=BLACK)
            if m.from_displacements.mean.value is not None:
                _point(axis, x + 0.02, m.from_displacements.mean, marker="s", colour=GREY)
        if line.band:
            x_band = 1000.0 / np.array(line.temperatures_kelvin)
            value, low, high = (np.array([getattr(e, n) for e in line.band]) * CM2_PER_S for n in PARTS)
            axis.plot(x_band, value, "-", color=BLACK, label="molecular dynamics")
            axis.fill_between(x_band, low, high, color=BLACK, alpha=0.15, linewidth=0)
        for k, given in enumerate(published):
            at, colour = 1000.0 / line.at_kelvin + 0.06 * (k + 1), MEMBERS[k % len(MEMBERS)]
            label = f"{given.label}: another quantity"
            ends = [given.low_cm2_per_s, given.high_cm2_per_s]
            axis.plot([at, at], ends, color=colour, linewidth=5, alpha=0.4, label=label)
        axis.set_yscale("log")
        axis.set_xlabel("1000 K / T")
        axis.set_ylabel("D (cm\u00b2/s)")
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize=6, loc="upper left", bbox_to_anchor=(0.0, -0.2))
        axis.set_title(f"{found.system}, {found.ion}", fontsize=8)
        return encoded(figure)


def _point(axis: "Axes", x: float, found: Estimate, *, marker: str, colour: str) -> None:
    """A value with its interval, or an upper limit."""
    e = found.scaled(CM2_PER_S)
    if e.value is not None and e.low is not None and e.high is not None:
        low = max(e.low, 1e-3 * e.value)  # a lower end of zero has no place on this axis
        reach = [[e.value - low], [e.high - e.value]]
        axis.errorbar([x], [e.value], reach, fmt=marker, color=colour, markersize=4)
    elif e.high is not None:
        axis.plot([x], [e.high], "v", color=GREY, markersize=5, markerfacecolor="white")
