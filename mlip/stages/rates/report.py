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
from mlip.literature.claims import CLAIMS
from mlip.stages.rates import figures
from mlip.stages.rates.result import (
    AgainstDynamics,
    Diffusivity,
    DynamicsTogether,
    Gain,
    HopAgainstDynamics,
    HopRate,
    Interval,
    Rates,
    Sense,
    Walk,
)
from mlip.stages.rates.together import sentence

D_UNIT = "(cm\u00b2/s)"
GAIN_TEXT = (
    "The table compares the diffusion coefficient on a facet with that in bulk, both calculated from rates. Barriers "
    "with D3, prefactors, zero-point energies, tunnelling and the geometry of all hops enter. The diffusion "
    "coefficient of a facet is the mean of its two in-plane directions, that of bulk the mean of three directions. The "
    "interval holds 95 % of the samples. Every sample varies facet and bulk together, so the deviations of committee "
    "members that are equal in both cancel in the ratio."
)
VERDICT_TEXT = (
    "agrees: the interval reaches the claimed gain; differs: the whole interval lies below the claimed gain; not "
    "resolved: a rate is missing, or the interval reaches the claim but is wider than the limit that was set before "
    "results were seen."
)
TEXT_LINES = (
    (
        "Rates follow from harmonic transition-state theory. Vineyard prefactors and barriers give the classical rate. "
        "Quantum partition functions, which contain the zero-point energies, and Wigner's tunnelling factor correct "
        "this rate. A hop whose saddle is not proved by its modes has no rate. If a hop passes two equal saddles in "
        "series, its rate, and so the prefactor shown, is half of the rate over one of them. Where a saddle is relaxed "
        "with DFT, in this run or in one of its datasets, the barrier is that of DFT; the prefactors and the energy "
        "difference between the two sites are still those of the potential."
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
DYNAMICS_TEXT = (
    "Molecular dynamics of a lone ion is compared with harmonic transition-state theory. Both use the same potential: "
    "the committee member that moved the atoms, classical and without D3. Intervals of numbers of hops are 95 % "
    "Poisson intervals. Transition-state theory counts every crossing of the plane midway between two sites; dynamics "
    "counts only the crossings that end in the core of the other site. The ratio of crossings to predicted hops shows "
    "the effect of anharmonic vibrations, and the number of hops per crossing shows the effect of recrossings. "
    "Crossings back and forth between two stored frames are not seen. The number of reversed hops without memory is "
    "the number that is expected if successive hops are independent."
)
WALKS_TEXT = (
    "Several ions are simulated by kinetic Monte Carlo with the same rates. An ion blocks the sites near it; "
    "attraction and repulsion between ions are not included. The tracer diffusion coefficient of each species is shown "
    "beside that of one ion alone."
)


def rates_sections(found: Rates) -> tuple[ReportSection, ...]:
    """The gain over bulk on the first screen; rates and diffusion coefficients as evidence."""
    claims = [gain for gain in found.gains if gain.claimed is not None]
    claim = CLAIMS["rates"]
    said = (f"Claim of the paper: {claim.claimed} ({claim.where})",) if claims else ()
    gain = ReportSection(
        key="gain",
        heading="Diffusion on facets against bulk",
        level="answer" if claims else "evidence",
        text=(*said, GAIN_TEXT, *((VERDICT_TEXT,) if claims else ())) if found.gains else (),
        tables=filled(gains_table(found.gains, found.diffusivities)),
    )
    rates = ReportSection(
        key="rates",
        heading="Rates and diffusion coefficients",
        text=TEXT_LINES,
        tables=filled(diffusivities_table(found.diffusivities), hops_table(found.hops, found.reference_kelvin)),
        figures=_figures(found),
        small_figures=True,
        parts=tuple(part for part in (_dynamics(found), _walks(found), _temperatures(found)) if not part.is_empty),
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


def _dynamics(found: Rates) -> ReportSection:
    return ReportSection(
        key="rates-dynamics",
        heading="Rates against molecular dynamics",
        text=(DYNAMICS_TEXT, *_sentences(found.together)) if found.dynamics else (),
        tables=filled(
            together_table(found.together),
            dynamics_table(found.dynamics),
            slopes_table(found.together),
            hop_dynamics_table(found.hop_dynamics),
        ),
    )


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


def interval(found: Interval, *, digits: int | None = None) -> Cell:
    """A value with its 95 % interval, a bound with its sense, or a dash; `digits`: decimals, None: four figures."""
    value, low, high = found.value, found.low, found.high
    if value is None:
        if low is None and high is None:
            return Cell(DASH)
        text = f"> {_shown(low, digits)}" if low is not None else f"< {_shown(high, digits)}"
        return Cell(text, low=low, high=high)
    if low is None or high is None:
        return Cell(_shown(value, digits), value=value)
    text = f"{_shown(value, digits)} ({_shown(low, digits)} to {_shown(high, digits)})"
    return Cell(text, value=value, low=low, high=high)


def _shown(value: float | None, digits: int | None) -> str:
    if value is None:
        return DASH
    return number(value, digits) if digits is not None else compact(value)


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
        Column("Claimed gain, at least (decades)", NUMBER, lambda g: number(g.claimed, 0)),
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
        Column(f"Classical D {D_UNIT}", NUMBER, lambda r: _number(r.at_reference.classical)),
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
        Column(f"Classical D {D_UNIT}", NUMBER, lambda p: _number(p[1].classical)),
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


def dynamics_table(rows: Sequence[AgainstDynamics]) -> Table:
    """D in cm^2/s from dynamics and from classical rates of the same potential, and their ratio."""
    columns = [
        Column("System", TEXT, lambda r: r.system),
        Column("Ion", TEXT, lambda r: r.ion),
        Column("T (K)", NUMBER, lambda r: f"{r.temperature_kelvin:g}"),
        Column(f"D from hops in dynamics {D_UNIT}", NUMBER, lambda r: _limited(r.dynamics)),
        Column(f"D from displacements {D_UNIT}", NUMBER, lambda r: _limited(r.displacements)),
        Column(f"D from rates {D_UNIT}", NUMBER, lambda r: _number(r.rates)),
        Column("Ratio", NUMBER, lambda r: _limited(r.ratio)),
        Column("Status", TEXT, lambda r: str(r.status)),
    ]
    return table("rates_dynamics", columns, rows)


def _sentences(rows: Sequence[DynamicsTogether]) -> tuple[str, ...]:
    """A sentence for every system, on all its temperatures together."""
    last = {(row.system, row.ion): row for row in rows}  # the row of all temperatures comes last
    return tuple(sentence(row) for row in last.values())


def together_table(rows: Sequence[DynamicsTogether]) -> Table:
    """Numbers of hops in dynamics and by rates, with what recrossings contribute."""
    columns = [
        Column("System", TEXT, lambda r: r.system),
        Column("Ion", TEXT, lambda r: r.ion),
        Column("Temperatures (K)", TEXT, lambda r: ", ".join(f"{t:g}" for t in r.temperatures_kelvin)),
        Column("Total ion time (ps)", NUMBER, lambda r: number(r.ps, 1)),
        Column("Hops in dynamics", NUMBER, lambda r: str(r.hops)),
        Column("Other jumps", NUMBER, lambda r: str(r.others)),
        Column("Hops predicted by rates", NUMBER, lambda r: number(r.expected, 1)),
        Column("Ratio", NUMBER, lambda r: _limited(r.ratio)),
        Column("Crossings", NUMBER, lambda r: DASH if r.crossings is None else str(r.crossings)),
        Column("Ratio of crossings", NUMBER, lambda r: number(r.crossings_ratio, 2)),
        Column("Hops per crossing", NUMBER, _transmission),
        Column("Reversed hops", NUMBER, lambda r: DASH if r.reversed is None else str(r.reversed)),
        Column("Reversed hops without memory", NUMBER, lambda r: number(r.reversed_expected, 1)),
    ]
    return table("rates_dynamics_hops", columns, rows, caption="Numbers of hops in dynamics and from rates")


def slopes_table(rows: Sequence[DynamicsTogether]) -> Table:
    """Slopes of -ln D over 1/kT (eV) of dynamics and of rates over the same temperatures, beside the barrier."""
    columns = [
        Column("System", TEXT, lambda r: r.system),
        Column("Ion", TEXT, lambda r: r.ion),
        Column("Temperatures (K)", TEXT, lambda r: ", ".join(f"{t:g}" for t in r.temperatures_kelvin)),
        Column("Activation energy of D (eV)", NUMBER, lambda r: interval(r.activation_ev, digits=3)),
        Column("Activation energy of D from rates (eV)", NUMBER, lambda r: number(r.activation_rates_ev, 3)),
        Column("Barrier of the most frequent hop (eV)", NUMBER, lambda r: number(r.barrier_ev, 3)),
    ]
    several = [row for row in rows if len(row.temperatures_kelvin) > 1]
    return table(
        "rates_dynamics_slopes", columns, several, caption="Activation energies of D in dynamics and from rates"
    )


def hop_dynamics_table(rows: Sequence[HopAgainstDynamics]) -> Table:
    """How often hops occur in dynamics, per ns at the first site, beside the classical rate of all equivalent hops."""
    columns = [
        Column("System", TEXT, lambda r: r.system),
        Column("Ion", TEXT, lambda r: r.ion),
        Column("T (K)", NUMBER, lambda r: f"{r.temperature_kelvin:g}"),
        Column("Hop", TEXT, lambda r: r.hop),
        Column("Sites", TEXT, lambda r: f"{r.initial} to {r.final}"),
        Column("Hops in dynamics", NUMBER, lambda r: str(r.count)),
        Column("Rate in dynamics (1/ns)", NUMBER, lambda r: _limited(r.dynamics)),
        Column("Rate of equivalent hops together (1/ns)", NUMBER, lambda r: _number(r.rates)),
        Column("Ratio", NUMBER, lambda r: _limited(r.ratio)),
        Column("Status", TEXT, lambda r: str(r.status)),
    ]
    return table("rates_hop_dynamics", columns, rows)


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
        Column("Time (ns)", NUMBER, lambda w: _number(w.time_ns)),
        Column(f"D, {PLUS_MINUS} 1 sigma {D_UNIT}", NUMBER, _walked),
        Column(f"D of one ion alone {D_UNIT}", NUMBER, lambda w: _number(w.lone_cm2_per_s)),
        Column("Hops that are blocked (%)", NUMBER, lambda w: number(_percent(w.blocked), 1)),
        Column("Status", TEXT, lambda w: str(w.status)),
    ]
    return table("rates_walks", columns, rows)


def _number(value: float | None) -> Cell:
    return Cell(DASH) if value is None else compact(value)


def _transmission(row: DynamicsTogether) -> Cell:
    """Hops per crossing; other jumps have crossed too."""
    return number((row.hops + row.others) / row.crossings if row.crossings else None, 2)


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _element(row: Diffusivity, axis: int) -> Cell:
    """A diagonal element of D; a dash across a slab."""
    if row.at_reference.tensor is None or axis >= row.axes:
        return Cell(DASH)
    return _number(row.at_reference.tensor[axis][axis])


def _barrier(sense: Sense | None) -> Cell:
    if sense is None:
        return Cell(DASH)
    return with_error(sense.barrier_ev, None if sense.barrier_std_ev is None else 2 * sense.barrier_std_ev)


def _zero_point(sense: Sense | None) -> Cell:
    return thousandth(sense.zero_point_ev if sense else None, 0, signed=True)


def _classical(sense: Sense | None) -> Cell:
    return _number(sense.classical_per_s if sense else None)


def _rate(sense: Sense | None) -> Cell:
    return interval(sense.quantum_per_s) if sense else Cell(DASH)


def _limited(found: Interval) -> Cell:
    """As `interval`; without a value the upper limit counts."""
    return interval(found if found.value is not None else Interval(high=found.high))


def _walked(walk: Walk) -> Cell:
    if walk.d_cm2_per_s is None or walk.std_error is None:
        return Cell(DASH)
    text = f"{compact(walk.d_cm2_per_s)} {PLUS_MINUS} {compact(walk.std_error)}"
    return Cell(text, value=walk.d_cm2_per_s, error=walk.std_error)
