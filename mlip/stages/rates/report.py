"""Report sections of the stage `rates`: the gain over bulk, diffusion coefficients over temperature, rates of hops.

Diffusion coefficients are shown in cm^2/s, rates in 1/s, energies in eV. Where there is no value, the cell shows a
lower bound marked '>', an upper limit marked '<' or a dash, and the status says why. Intervals hold 95 %.
"""

from collections.abc import Sequence

from mlip.core.report import (
    DASH,
    NUMBER,
    PLUS_MINUS,
    TEXT,
    VERDICT,
    Cell,
    Column,
    Figure,
    ReportSection,
    Table,
    compact,
    filled,
    number,
    table,
    thousandth,
    with_error,
)
from mlip.stages.rates import figures
from mlip.stages.rates.cells import D_UNIT, interval, quantity
from mlip.stages.rates.dynamics_report import dynamics_section
from mlip.stages.rates.result import (
    Diffusivity,
    Gain,
    HopRate,
    Interval,
    Rates,
    Sense,
    Walk,
)

GAIN_TEXT = (
    "The table compares the diffusion coefficient on a facet with that in bulk, both calculated from rates. Barriers "
    "with D3, prefactors, zero-point energies, tunnelling and the geometry of all hops enter. The diffusion "
    "coefficient of a facet is the mean of its two in-plane directions, that of bulk the mean of three directions. The "
    "interval holds 95 % of the samples. Every sample varies facet and bulk together, so the deviations of committee "
    "members that are equal in both cancel in the ratio."
)
VERDICT_TEXT = (
    "agrees: the interval reaches the lower end of the claimed gain or lies above it; differs: the interval lies "
    "below the claimed gain; not resolved: a rate is missing, or the interval reaches the claim but is wider than the "
    "limit that was set before results were seen; not comparable: the claim is for another facet, the slab is no model "
    "of the surface, or the ion is below it most of the time. The coefficients are those of one ion on an ideal facet, "
    "and not those of an electrode."
)
TEXT_LINES = (
    (
        "Rates follow from harmonic transition-state theory. Vineyard prefactors and barriers give the classical rate. "
        "Quantum partition functions, which contain the zero-point energies, and Wigner's tunnelling factor correct "
        "this rate. A hop whose saddle is not proved by its modes has no rate. If a hop passes two equal saddles in "
        "series, its rate, and so the prefactor shown, is half of the rate over one of them. Equal saddles side by "
        "side multiply this prefactor by their number, and equal wells of the initial site divide it. Where a saddle "
        "is relaxed with DFT, in this run or in one of its datasets, it has the height of DFT: the mean of forward and "
        "reverse barrier is that of DFT, while prefactors and the energy difference between the two sites are those of "
        "the potential. The barriers of a hop between unequal sites can therefore differ a little from those of DFT."
    ),
    (
        "The diffusion tensor is the exact solution of the master equation of one ion on the network of hops. Only the "
        "uncertainties are sampled. Barriers are varied by the calibrated committee spread, jointly for all hops, and "
        "by the part of the held-out path error that exceeds this spread, and by the convergence error of the bands. "
        "Prefactors are varied by their committee spread and by a factor for the contributions that their Hessians "
        "leave out."
    ),
    (
        "D is resolved if the hops without a rate could change D by no more than 5 %, even if these hops were as fast "
        "as a hop can be. Otherwise D without these hops is a lower bound. The effective barrier is the slope of -ln D "
        "over 1/kT. The bottleneck is the highest saddle on the path to the next cell, for the path whose highest "
        "saddle is lowest, from the same barriers."
    ),
)
WALKS_TEXT = (
    "Several ions are simulated by kinetic Monte Carlo with the same rates. An ion blocks the sites near it; "
    "attraction and repulsion between ions are not included. The tracer diffusion coefficient of each species is shown "
    "beside that of one ion alone."
)


def rates_sections(found: Rates) -> tuple[ReportSection, ...]:
    """The gain over bulk on the first screen; rates and diffusion coefficients as evidence."""
    claims = [gain for gain in found.gains if gain.claimed is not None]
    gain = ReportSection(
        key="gain",
        heading="Diffusion on facets against bulk",
        level="answer" if claims else "evidence",
        text=(GAIN_TEXT, *((VERDICT_TEXT,) if claims else ())) if found.gains else (),
        tables=filled(gains_table(found.gains, found.diffusivities)),
    )
    rates = ReportSection(
        key="rates",
        heading="Rates and diffusion coefficients",
        text=TEXT_LINES,
        tables=filled(diffusivities_table(found.diffusivities), hops_table(found.hops, found.reference_kelvin)),
        figures=_figures(found),
        small_figures=True,
        parts=tuple(
            part for part in (dynamics_section(found), _walks(found), _temperatures(found)) if not part.is_empty
        ),
    )
    return gain, rates


def _figures(found: Rates) -> tuple[Figure, ...]:
    out = []
    for ion in dict.fromkeys(row.ion for row in found.diffusivities):
        own = [row for row in found.diffusivities if row.ion == ion]
        points = [point for point in found.dynamics if point.ion == ion]
        if any(p.mean.value for row in own for p in row.points):
            marks = "; points: molecular dynamics" if any(p.dynamics.value for p in points) else ""
            caption = f"{ion}: D from rates against 1/T, with bands of 95 %{marks}"
            image = figures.over_temperature(ion, own, points)
            out.append(Figure(image=image, form="svg+xml", caption=caption, alt=caption))
    return tuple(out)


def _walks(found: Rates) -> ReportSection:
    return ReportSection(
        key="rates-walks",
        heading="Several ions",
        text=(WALKS_TEXT,) if found.walks else (),
        tables=filled(walks_table(found.walks)),
    )


def _temperatures(found: Rates) -> ReportSection:
    return ReportSection(
        key="rates-temperatures",
        heading="Diffusion coefficients at all temperatures",
        level="detail",
        tables=filled(temperatures_table(found.diffusivities)),
    )


def gains_table(gains: Sequence[Gain], rows: Sequence[Diffusivity]) -> Table:
    """Decades by which D on a facet exceeds D in bulk, with the verdict on what is claimed."""
    known = {(row.host, row.ion): row.at_reference.mean for row in rows}
    nothing = Interval()
    columns = [
        Column("Ion", TEXT, lambda g: g.ion),
        Column("Facet", TEXT, lambda g: g.host),
        Column("T (K)", NUMBER, lambda g: f"{g.temperature_kelvin:g}"),
        Column(f"D on the facet {D_UNIT}", NUMBER, lambda g: interval(known.get((g.host, g.ion), nothing))),
        Column(f"D in bulk {D_UNIT}", NUMBER, lambda g: interval(known.get(("bulk", g.ion), nothing))),
        Column("Gain (decades)", NUMBER, lambda g: interval(g.decades, digits=1)),
        Column("From published barriers (decades)", NUMBER, lambda g: number(g.implied, 1)),
        Column("Claimed gain (decades)", TEXT, claimed_decades),
        Column("Verdict", VERDICT, lambda g: g.verdict or DASH),
        Column("Reason", TEXT, lambda g: g.reason or DASH),
    ]
    return table("gain", columns, gains, stacked=True)


def diffusivities_table(rows: Sequence[Diffusivity]) -> Table:
    """D in cm^2/s and effective barriers in eV of every ion on every host at the reference temperature."""
    at = f"{rows[0].at_reference.temperature_kelvin:g} K" if rows else ""
    columns = [
        Column("Host", TEXT, lambda r: r.host),
        Column("Ion", TEXT, lambda r: r.ion),
        Column(f"D at {at} {D_UNIT}", NUMBER, lambda r: interval(r.at_reference.mean)),
        Column(f"Classical D {D_UNIT}", NUMBER, lambda r: quantity(r.at_reference.classical)),
        Column(f"D_xx {D_UNIT}", NUMBER, lambda r: _element(r, 0)),
        Column(f"D_yy {D_UNIT}", NUMBER, lambda r: _element(r, 1)),
        Column(f"D_zz {D_UNIT}", NUMBER, lambda r: _element(r, 2)),
        Column("Effective barrier (eV)", NUMBER, lambda r: interval(r.effective_ev, digits=3)),
        Column("Bottleneck (eV)", NUMBER, lambda r: number(r.bottleneck_ev)),
        Column("Time at surface sites (%)", NUMBER, lambda r: number(_percent(r.on_surface), 1)),
        Column("Status", TEXT, lambda r: str(r.status)),
    ]
    return table("rates_diffusivities", columns, rows, caption="Diffusion coefficients from rates")


def temperatures_table(rows: Sequence[Diffusivity]) -> Table:
    """D in cm^2/s of every ion on every host at every temperature."""
    pairs = [(row, point) for row in rows for point in row.points]
    columns = [
        Column("Host", TEXT, lambda p: p[0].host),
        Column("Ion", TEXT, lambda p: p[0].ion),
        Column("T (K)", NUMBER, lambda p: f"{p[1].temperature_kelvin:g}"),
        Column(f"D {D_UNIT}", NUMBER, lambda p: interval(p[1].mean)),
        Column(f"Classical D {D_UNIT}", NUMBER, lambda p: quantity(p[1].classical)),
        Column("Status", TEXT, lambda p: str(p[1].status)),
    ]
    return table("rates_temperatures", columns, pairs)


def hops_table(rows: Sequence[HopRate], temperature_kelvin: float) -> Table:
    """Rates in 1/s of one of the equivalent hops, in both senses where these differ, or why there is none."""
    pairs: list[tuple[HopRate, Sense | None]] = []
    for row in rows:
        pairs.append((row, row.forward))
        if row.forward is not None and row.forward.initial != row.forward.final:
            pairs.append((row, row.reverse))
    columns = [
        Column("Host", TEXT, lambda p: p[0].host),
        Column("Ion", TEXT, lambda p: p[0].ion),
        Column("Hop", TEXT, lambda p: p[0].hop),
        Column("Sites", TEXT, lambda p: f"{p[1].initial} to {p[1].final}" if p[1] else DASH),
        Column("Equivalent hops", NUMBER, lambda p: str(p[1].ways) if p[1] else DASH),
        Column(f"Barrier with D3, {PLUS_MINUS} 2 sigma (eV)", NUMBER, lambda p: _barrier(p[1])),
        Column("Saddle from", TEXT, lambda p: ("DFT" if p[0].is_dft else "potential") if p[1] else DASH),
        Column("Prefactor (THz)", NUMBER, lambda p: number(p[1].prefactor_thz, 1) if p[1] else DASH),
        Column("Zero-point correction (meV)", NUMBER, lambda p: _zero_point(p[1])),
        Column("Tunnelling factor", NUMBER, lambda p: number(p[1].tunnelling, 2) if p[1] else DASH),
        Column(f"Classical rate at {temperature_kelvin:g} K (1/s)", NUMBER, lambda p: _classical(p[1])),
        Column(f"Rate at {temperature_kelvin:g} K (1/s)", NUMBER, lambda p: _rate(p[1])),
        Column("Status", TEXT, lambda p: str(p[0].status)),
    ]
    return table("rates_hops", columns, pairs, caption="Rates of hops")


def walks_table(rows: Sequence[Walk]) -> Table:
    """Tracer diffusion coefficients in cm^2/s of several ions, with one standard error."""
    columns = [
        Column("Host", TEXT, lambda w: w.host),
        Column("Ions", TEXT, lambda w: " ".join(f"{w.ions.count(i)} {i}" for i in dict.fromkeys(w.ions))),
        Column("Repeat", TEXT, lambda w: " x ".join(str(n) for n in w.repeat)),
        Column("T (K)", NUMBER, lambda w: f"{w.temperature_kelvin:g}"),
        Column("Ion", TEXT, lambda w: w.ion),
        Column("Ions per lowest site", NUMBER, lambda w: number(w.filled, 2)),
        Column("Hops", NUMBER, lambda w: str(w.hops)),
        Column("Time (ns)", NUMBER, lambda w: quantity(w.time_ns)),
        Column(f"D, {PLUS_MINUS} 1 sigma {D_UNIT}", NUMBER, _walked),
        Column(f"D of one ion alone {D_UNIT}", NUMBER, lambda w: quantity(w.lone_cm2_per_s)),
        Column("Hops that are blocked (%)", NUMBER, lambda w: number(_percent(w.blocked), 1)),
        Column("Status", TEXT, lambda w: str(w.status)),
    ]
    return table("rates_walks", columns, rows)


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def claimed_decades(gain: Gain) -> str:
    """The claimed decades: at least so many, or from so many to so many."""
    if gain.claimed is None:
        return DASH
    at_least = f"{gain.claimed:g}"
    return f"{at_least} to {gain.claimed_up_to:g}" if gain.claimed_up_to is not None else f"at least {at_least}"


def _element(row: Diffusivity, axis: int) -> Cell:
    """A diagonal element of D; a dash across a slab."""
    if row.at_reference.tensor is None or axis >= row.axes:
        return Cell(DASH)
    return quantity(row.at_reference.tensor[axis][axis])


def _barrier(sense: Sense | None) -> Cell:
    if sense is None:
        return Cell(DASH)
    return with_error(sense.barrier_ev, None if sense.barrier_std_ev is None else 2 * sense.barrier_std_ev)


def _zero_point(sense: Sense | None) -> Cell:
    return thousandth(sense.zero_point_ev if sense else None, 0, signed=True)


def _classical(sense: Sense | None) -> Cell:
    return quantity(sense.classical_per_s if sense else None)


def _rate(sense: Sense | None) -> Cell:
    return interval(sense.quantum_per_s) if sense else Cell(DASH)


def _walked(walk: Walk) -> Cell:
    if walk.d_cm2_per_s is None or walk.std_error is None:
        return Cell(DASH)
    text = f"{compact(walk.d_cm2_per_s)} {PLUS_MINUS} {compact(walk.std_error)}"
    return Cell(text, value=walk.d_cm2_per_s, error=walk.std_error)
