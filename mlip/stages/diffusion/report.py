"""Report section of the stage `diffusion`: diffusivities, rates, activation energies.

Diffusion coefficients are shown in cm^2/s, rates in 1/ns, energies in eV. Where there is no value, the cell shows an
upper limit marked '<' or a dash with a status. Intervals hold 95 %.
"""

from collections.abc import Mapping, Sequence

from ase import Atoms

from mlip.core.report import (
    ANGSTROM,
    DASH,
    NUMBER,
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
    with_error,
)
from mlip.core.units import CM2_PER_S
from mlip.literature.references import References
from mlip.stages.diffusion import figures
from mlip.stages.diffusion.hops import OTHER, Estimate
from mlip.stages.diffusion.kinetics import Diffused, HopLine, Kinetics, Motion
from mlip.stages.diffusion.unknown import UnknownJump
from mlip.stages.sites.network import Hop
from mlip.stages.sites.sites import Site

D_UNIT = "(cm\u00b2/s)"
PER_NS = 1000.0  # 1/ps
DEMONSTRATION_PS = 100.0  # shorter trajectories are called a demonstration
TEXT_LINES = (
    (
        "D is the tracer diffusion coefficient. D from hops is calculated from the jumps between the sites of the "
        "network; correlations between successive jumps are included where there are enough jumps. D from "
        "displacements is a Bayesian regression with kinisi, which is about 8 % too low with eight trajectories and "
        "less with more. Intervals hold 95 % and are statistical. The error of the potential is not part of them; the "
        "uncertainty of the barriers in the first table shows its size. The spread of a NEB barrier is the standard "
        "deviation over the members, without calibration. Without a hop the table gives an upper limit instead of a "
        "value. A jump that is no hop of the network, such as two hops between successive frames, is called 'other'."
    ),
    (
        "A value at 300 K is extrapolated along a straight Arrhenius line from much higher temperatures. Its interval "
        "does not include the error made if the line is not straight."
    ),
    (
        "GITT gives chemical diffusion coefficients of whole electrodes, which include concentration gradients, grain "
        "boundaries and an assumed diffusion length. These are not tracer coefficients; only their range is drawn."
    ),
)


def diffusion_section(
    found: Diffused,
    sites: Sequence[Site],
    hops: Sequence[Hop],
    hosts: Mapping[str, Atoms],
    references: References,
    *,
    example: Figure | None = None,
) -> ReportSection:
    """Diffusion coefficients, rates and activation energies with their figures, and a hop in pictures."""
    return ReportSection(
        key="diffusion",
        heading="Diffusion from molecular dynamics",
        text=(*remarks(found), *TEXT_LINES),
        tables=tables(found),
        figures=figures.everything(found, sites, hops, hosts, references),
        small_figures=True,
        parts=tuple(part for part in (_example(example), _unknown(found)) if not part.is_empty),
    )


def _example(figure: Figure | None) -> ReportSection:
    return ReportSection(key="diffusion-hop", heading="A hop in pictures", figures=() if figure is None else (figure,))


def _unknown(found: Diffused) -> ReportSection:
    """The jumps that are no hop of the network."""
    rows = [(motion, jump) for motion in found.motions for jump in motion.unknown]
    said = (
        "The frames are in the trajectories of the run (mlip export RUN --to extxyz). Without a frame between the "
        "cores a jump may be two hops of the network between stored frames: a smaller md.frame_steps tells. A jump "
        "that was seen on the way is a path that the network lacks: sites.extra_hops takes this up by its sites and "
        "length."
    )
    return ReportSection(
        key="diffusion-unknown",
        heading="Jumps that no hop of the network explains",
        level="detail",
        text=(said,) if rows else (),
        tables=filled(unknown_table(rows)),
    )


def unknown_table(rows: Sequence[tuple[Motion, UnknownJump]]) -> Table:
    """Where and when ions jumped between sites that no hop connects; at most some hundred of a temperature."""
    columns = [
        Column("System", TEXT, lambda r: r[0].system),
        Column("Ion", TEXT, lambda r: r[0].ion),
        Column("T (K)", NUMBER, lambda r: f"{r[0].temperature_kelvin:g}"),
        Column("Replica", TEXT, lambda r: r[1].replica),
        Column("Number of the ion", NUMBER, lambda r: str(r[1].ion)),
        Column("Sites", TEXT, lambda r: f"{r[1].initial} to {r[1].final}"),
        Column(f"Length ({ANGSTROM})", NUMBER, lambda r: number(r[1].length_angstrom, 2)),
        Column("Frames", TEXT, lambda r: f"{r[1].first_frame} to {r[1].last_frame}"),
        Column("Seen on the way", TEXT, lambda r: "yes" if r[1].passed else "no"),
    ]
    return table("unknown_jumps", columns, rows)


def tables(found: Diffused) -> tuple[Table, ...]:
    """All tables that have rows; D in cm^2/s, rates in 1/ns, energies in eV."""
    return filled(
        extrapolated(found.kinetics),
        activation(found.kinetics),
        diffusivities(found.motions),
        memory(found.motions),
        tensors(found.motions),
        rates(found.motions),
    )


def interval(found: Estimate, factor: float = 1.0) -> Cell:
    """A value with its 95 % interval, an upper limit, or a dash; `factor` converts to the unit of the column."""
    e = found.scaled(factor)
    if e.value is None:
        return Cell(DASH) if e.high is None else Cell(f"< {compact(e.high)}", high=e.high)
    if e.low is None or e.high is None:
        return compact(e.value)
    text = f"{compact(e.value)} ({compact(e.low)} to {compact(e.high)})"
    return Cell(text, value=e.value, low=e.low, high=e.high)


def remarks(found: Diffused) -> tuple[str, ...]:
    """Warnings where the trajectories are too short for more than a demonstration, and where no ion hopped."""
    lines = []
    if found.target_ps < DEMONSTRATION_PS:
        lines.append(
            f"A demonstration: the trajectories last {found.target_ps:g} ps each, too short for numbers to quote."
        )
    if found.motions and not any(m.jumps for m in found.motions):
        lines.append(
            "No ion hopped: every D and every rate below is an upper limit at 95 % (marked <). The limits reflect the "
            "length of the trajectories, not the mobility of the ions, and fall as the trajectories get longer."
        )
    return tuple(lines)


def diffusivities(motions: Sequence[Motion]) -> Table:
    """D in cm^2/s of every ion in every system at every temperature, from hops and from displacements."""
    columns = [
        Column("System", TEXT, lambda m: m.system),
        Column("Ion", TEXT, lambda m: m.ion),
        Column("T (K)", NUMBER, lambda m: f"{m.temperature_kelvin:g}"),
        Column("Total ion time (ps)", NUMBER, lambda m: number(m.ion_ps, 1)),
        Column("Hops", NUMBER, lambda m: str(m.jumps)),
        Column("Residence time (ps)", NUMBER, lambda m: number(m.residence_ps, 1)),
        Column("Time below the surface (%)", NUMBER, _below),
        Column(f"D from hops {D_UNIT}", NUMBER, lambda m: interval(m.from_jumps.mean, CM2_PER_S)),
        Column(f"D from displacements {D_UNIT}", NUMBER, lambda m: interval(m.from_displacements.mean, CM2_PER_S)),
        Column("Intervals overlap", TEXT, _overlap),
        Column("Status", TEXT, lambda m: str(m.from_jumps.status)),
    ]
    return table(
        "diffusivities", columns, motions, caption="Diffusion coefficients at the temperatures of the trajectories"
    )


def memory(motions: Sequence[Motion]) -> Table:
    """Correlation factor of the jumps, and the ratio of D along the last axis to D along the others."""
    columns = [
        Column("System", TEXT, lambda m: m.system),
        Column("Ion", TEXT, lambda m: m.ion),
        Column("T (K)", NUMBER, lambda m: f"{m.temperature_kelvin:g}"),
        Column("Hops with net displacement", NUMBER, lambda m: str(m.from_jumps.hops)),
        Column("Correlation factor", NUMBER, lambda m: interval(m.from_jumps.correlation)),
        Column("Definition of the anisotropy", TEXT, _ratio),
        Column("Anisotropy", NUMBER, lambda m: interval(m.from_jumps.anisotropy)),
    ]
    rows = [m for m in motions if m.from_jumps.hops]
    return table("memory", columns, rows, caption="Correlation between successive jumps, and anisotropy")


def tensors(motions: Sequence[Motion]) -> Table:
    """The elements of the diffusion tensor in cm^2/s."""
    rows = [(m, name, e) for m in motions if m.from_jumps.hops for name, e in m.from_jumps.tensor.items()]
    columns = [
        Column("System", TEXT, lambda r: r[0].system),
        Column("Ion", TEXT, lambda r: r[0].ion),
        Column("T (K)", NUMBER, lambda r: f"{r[0].temperature_kelvin:g}"),
        Column("Element", TEXT, lambda r: r[1]),
        Column(f"D {D_UNIT}", NUMBER, lambda r: interval(r[2], CM2_PER_S)),
    ]
    return table("tensors", columns, rows, caption="Elements of the diffusion tensor")


def rates(motions: Sequence[Motion]) -> Table:
    """Rates in 1/ns of the hops that occurred, and of those hops of the network that could have occurred."""
    rows = [(m, r) for m in motions for r in m.rates if r.count or (r.exposure_ps > 0 and r.hop != OTHER)]
    columns = [
        Column("System", TEXT, lambda r: r[0].system),
        Column("Ion", TEXT, lambda r: r[0].ion),
        Column("T (K)", NUMBER, lambda r: f"{r[0].temperature_kelvin:g}"),
        Column("Hop", TEXT, lambda r: r[1].hop),
        Column("Sites", TEXT, lambda r: f"{r[1].initial} to {r[1].final}"),
        Column("Count", NUMBER, lambda r: str(r[1].count)),
        Column("Time at the first site (ps)", NUMBER, lambda r: number(r[1].exposure_ps, 1)),
        Column("Rate (1/ns)", NUMBER, lambda r: interval(r[1].per_ps, PER_NS)),
    ]
    return table("rates", columns, rows, caption="Rates of hops")


def activation(kinetics: Sequence[Kinetics]) -> Table:
    """Activation energies of hops beside their NEB barriers, in eV; attempt frequencies in THz."""
    rows = [(k, h) for k in kinetics for h in k.hops]
    columns = [
        Column("System", TEXT, lambda r: r[0].system),
        Column("Ion", TEXT, lambda r: r[0].ion),
        Column("Hop", TEXT, lambda r: r[1].hop),
        Column("Sites", TEXT, lambda r: f"{r[1].initial} to {r[1].final}"),
        Column("Activation energy (eV)", NUMBER, lambda r: interval(r[1].line.activation_ev)),
        Column("NEB barrier \u00b1 2 \u00d7 spread (eV)", NUMBER, lambda r: _barrier(r[1])),
        Column("Attempt frequency per equivalent hop (THz)", NUMBER, lambda r: interval(r[1].attempt_thz)),
        Column("Verdict", VERDICT, lambda r: r[1].verdict),
        Column("Arrhenius fit", TEXT, lambda r: str(r[1].line.status)),
    ]
    return table("activation", columns, rows, caption="Activation energies of hops beside NEB barriers")


def extrapolated(kinetics: Sequence[Kinetics]) -> Table:
    """D in cm^2/s extrapolated to one temperature."""
    at = {k.diffusion.at_kelvin for k in kinetics}
    label = f"{min(at, default=300.0):g} K"
    columns = [
        Column("System", TEXT, lambda k: k.system),
        Column("Ion", TEXT, lambda k: k.ion),
        Column("Activation energy of D (eV)", NUMBER, lambda k: interval(k.diffusion.activation_ev)),
        Column("Simulated at (K)", TEXT, _simulated_at),
        Column(f"D at {label}, extrapolated {D_UNIT}", NUMBER, lambda k: interval(k.diffusion.extrapolated, CM2_PER_S)),
        Column("Arrhenius fit", TEXT, lambda k: str(k.diffusion.status)),
    ]
    return table(
        "extrapolated", columns, kinetics, caption="Diffusion coefficients extrapolated from higher temperatures"
    )


def _ratio(motion: Motion) -> str:
    return "D_zz / mean of D_xx, D_yy" if "zz" in motion.from_jumps.tensor else "D_yy / D_xx"


def _below(motion: Motion) -> Cell:
    """Share of the time that the ions of a slab spend below the surface (%)."""
    if "bulk" in motion.layers or not motion.layers:
        return Cell(DASH)
    return number(100 * motion.layers.get("subsurface", 0.0), 1)


def _overlap(motion: Motion) -> str:
    """Whether the interval of D from hops overlaps the interval of D from displacements."""
    a, b = motion.from_jumps.mean, motion.from_displacements.mean
    if a.value is None or b.value is None or None in (a.low, a.high, b.low, b.high):
        return DASH
    return "yes" if (a.low or 0.0) <= (b.high or 0.0) and (b.low or 0.0) <= (a.high or 0.0) else "no"


def _barrier(line: HopLine) -> Cell:
    return with_error(line.barrier_ev, None if line.barrier_std_ev is None else 2 * line.barrier_std_ev)


def _simulated_at(found: Kinetics) -> str:
    points = found.diffusion.points
    if not points:
        return DASH
    return f"{points[0].temperature_kelvin:g} to {points[-1].temperature_kelvin:g}"
