"""The report section that holds rates against molecular dynamics: numbers of hops, D, slopes.

Takes rows that compare dynamics with rates of one potential; gives the section. D in cm^2/s, rates in 1/ns, energies in
eV.
"""

from collections.abc import Sequence

from mlip.core.report import DASH, NUMBER, TEXT, Cell, Column, ReportSection, Table, filled, number, table
from mlip.stages.rates.cells import D_UNIT, interval, limited, quantity
from mlip.stages.rates.result import AgainstDynamics, DynamicsTogether, HopAgainstDynamics, Rates
from mlip.stages.rates.together import sentence

DYNAMICS_TEXT = (
    "Molecular dynamics of a lone ion is compared with harmonic transition-state theory. Both use the same potential: "
    "the committee member that moved the atoms, classical and without D3. Intervals of numbers of hops are 95 % "
    "Poisson intervals. Transition-state theory counts every crossing of the plane midway between two sites; dynamics "
    "counts only the crossings that end in the core of the other site. The ratio of crossings to predicted hops shows "
    "the effect of anharmonic vibrations, and the number of hops per crossing shows the effect of recrossings. "
    "Crossings back and forth between two stored frames are not seen. The number of reversed hops without memory is "
    "the number that is expected if successive hops are independent."
)


def dynamics_section(found: Rates) -> ReportSection:
    """Dynamics of lone ions over classical rates, where a run has both."""
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
        Column("Hops without a rate", NUMBER, lambda r: str(r.unrated)),
        Column("Hops predicted by rates", NUMBER, lambda r: number(r.expected, 1)),
        Column("Ratio", NUMBER, lambda r: limited(r.ratio)),
        Column("Crossings", NUMBER, lambda r: DASH if r.crossings is None else str(r.crossings)),
        Column("Ratio of crossings", NUMBER, lambda r: number(r.crossings_ratio, 2)),
        Column("Hops per crossing", NUMBER, _transmission),
        Column("Reversed hops", NUMBER, lambda r: DASH if r.reversed is None else str(r.reversed)),
        Column("Reversed hops without memory", NUMBER, lambda r: number(r.reversed_expected, 1)),
    ]
    return table("rates_dynamics_hops", columns, rows, caption="Numbers of hops in dynamics and from rates")


def dynamics_table(rows: Sequence[AgainstDynamics]) -> Table:
    """D in cm^2/s from dynamics and from classical rates of the same potential, and their ratio."""
    columns = [
        Column("System", TEXT, lambda r: r.system),
        Column("Ion", TEXT, lambda r: r.ion),
        Column("T (K)", NUMBER, lambda r: f"{r.temperature_kelvin:g}"),
        Column(f"D from hops in dynamics {D_UNIT}", NUMBER, lambda r: limited(r.dynamics)),
        Column(f"D from displacements {D_UNIT}", NUMBER, lambda r: limited(r.displacements)),
        Column(f"D from rates {D_UNIT}", NUMBER, lambda r: quantity(r.rates)),
        Column("Ratio", NUMBER, lambda r: limited(r.ratio)),
        Column("Status", TEXT, lambda r: str(r.status)),
    ]
    return table("rates_dynamics", columns, rows)


def slopes_table(rows: Sequence[DynamicsTogether]) -> Table:
    """Slopes of -ln D over 1/kT (eV) of dynamics and of rates over the same temperatures, beside the barrier."""
    columns = [
        Column("System", TEXT, lambda r: r.system),
        Column("Ion", TEXT, lambda r: r.ion),
        Column("Temperatures (K)", TEXT, lambda r: ", ".join(f"{t:g}" for t in r.temperatures_kelvin)),
        Column("Activation energy of D (eV)", NUMBER, lambda r: interval(r.activation_ev, digits=3)),
        Column("Activation energy of D from rates (eV)", NUMBER, lambda r: number(r.activation_rates_ev, 3)),
        Column("Barrier of the most frequent hop (eV)", NUMBER, lambda r: number(r.barrier_ev, 3)),
        Column("Status", TEXT, lambda r: str(r.activation_status or "")),
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
        Column("Rate in dynamics (1/ns)", NUMBER, lambda r: limited(r.dynamics)),
        Column("Rate of equivalent hops together (1/ns)", NUMBER, lambda r: quantity(r.rates)),
        Column("Ratio", NUMBER, lambda r: limited(r.ratio)),
        Column("Status", TEXT, lambda r: str(r.status)),
    ]
    return table("rates_hop_dynamics", columns, rows)


def _transmission(row: DynamicsTogether) -> Cell:
    """Hops per crossing, of all hops; other jumps have crossed too."""
    return number((row.hops + row.unrated + row.others) / row.crossings if row.crossings else None, 2)
