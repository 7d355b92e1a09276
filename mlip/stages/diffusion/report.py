"""Report section of the stage `diffusion`: diffusivities, rates, activation energies.

Without a value there is an upper limit with its sign, or a status; intervals hold 95 %.
"""

from collections.abc import Mapping, Sequence

from ase import Atoms

from mlip.core.report import (
    DASH,
    NUMBER,
    TEXT,
    VERDICT,
    Column,
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
from mlip.stages.sites.network import Hop
from mlip.stages.sites.sites import Site

D_UNIT = "(cm\u00b2/s)"
PER_NS = 1000.0  # 1/ps
DEMONSTRATION_PS = 100.0  # shorter trajectories are called a demonstration
TEXT_LINES = (
    (
        "D is that of a tagged ion. From hops: jumps between the sites of the network, their memory taken into "
        "account where there are enough of them. From displacements: Bayesian regression with kinisi, "
        "some 8 % low with eight tracks, less with more. Intervals hold 95 % and are statistical: the error of the "
        "potential comes on top, see the NEB barriers' 2 sigma. Without a hop there is an upper limit, no value. A "
        "jump that is no hop of the network, such as two hops from one frame to the next, is called other."
    ),
    (
        "A value at 300 K is an extrapolation along a straight line from much higher temperatures, no "
        "measurement; its interval does not know whether the line stays straight. The dashed line follows from "
        "NEB barriers and an assumed prefactor of 10 THz, of which calculated ones differ by up to ten times."
    ),
    (
        "GITT gives chemical diffusion coefficients of whole electrodes, with concentration gradients, grain "
        "boundaries and an assumed length: another quantity, drawn for its range only."
    ),
)


def diffusion_section(
    found: Diffused,
    sites: Sequence[Site],
    hops: Sequence[Hop],
    hosts: Mapping[str, Atoms],
    references: References,
) -> ReportSection:
    """The section of the diffusion stage."""
    return ReportSection(
        key="diffusion",
        heading="Diffusion from molecular dynamics",
        text=(*remarks(found), *TEXT_LINES),
        tables=tables(found),
        figures=figures.everything(found, sites, hops, hosts, references),
        small_figures=True,
    )


def tables(found: Diffused) -> tuple[Table, ...]:
    """All tables that have rows."""
    return filled(
        extrapolated(found.kinetics),
        activation(found.kinetics),
        diffusivities(found.motions),
        memory(found.motions),
        tensors(found.motions),
        rates(found.motions),
    )


def interval(found: Estimate, factor: float = 1.0) -> str:
    """A value with its interval, an upper limit, or a dash."""
    e = found.scaled(factor)
    if e.value is None:
        return DASH if e.high is None else f"< {compact(e.high)}"
    if e.low is None or e.high is None:
        return compact(e.value)
    return f"{compact(e.value)} ({compact(e.low)} to {compact(e.high)})"


def remarks(found: Diffused) -> tuple[str, ...]:
    """Lines that say so where trajectories are too short to be more than a demonstration, and where no ion hopped."""
    lines = []
    if found.target_ps < DEMONSTRATION_PS:
        lines.append(
            f"A demonstration: the trajectories last {found.target_ps:g} ps each, too short for numbers to quote."
        )
    if found.motions and not any(m.jumps for m in found.motions):
        lines.append(
            "No ion hopped: every D and every rate below is an upper limit at 95 % (marked <), which says how long "
            "was looked and nothing of how fast ions are. It falls as trajectories get longer."
        )
    return tuple(lines)


def diffusivities(motions: Sequence[Motion]) -> Table:
    """D of every ion in every system at every temperature, by both ways."""
    columns = [
        Column("System", TEXT, lambda m: m.system),
        Column("Ion", TEXT, lambda m: m.ion),
        Column("T (K)", NUMBER, lambda m: f"{m.temperature_kelvin:g}"),
        Column("Time of ions (ps)", NUMBER, lambda m: number(m.ion_ps, 1)),
        Column("Hops", NUMBER, lambda m: str(m.jumps)),
        Column("Stay (ps)", NUMBER, lambda m: number(m.residence_ps, 1)),
        Column("Below surface", NUMBER, _below),
        Column(f"D from hops {D_UNIT}", NUMBER, lambda m: interval(m.from_jumps.mean, CM2_PER_S)),
        Column(f"D from displacements {D_UNIT}", NUMBER, lambda m: interval(m.from_displacements.mean, CM2_PER_S)),
        Column("Do they agree", TEXT, _both),
        Column("Status", TEXT, lambda m: m.from_jumps.status),
    ]
    return table(
        "diffusivities", columns, motions, caption="Diffusion coefficients at the temperatures of the trajectories"
    )


def memory(motions: Sequence[Motion]) -> Table:
    """How far jumps depend on the ones before, and D along the last axis over D along the others."""
    columns = [
        Column("System", TEXT, lambda m: m.system),
        Column("Ion", TEXT, lambda m: m.ion),
        Column("T (K)", NUMBER, lambda m: f"{m.temperature_kelvin:g}"),
        Column("Hops that lead somewhere", NUMBER, lambda m: str(m.from_jumps.hops)),
        Column("D over that of independent jumps", NUMBER, lambda m: interval(m.from_jumps.correlation)),
        Column("Ratio", TEXT, lambda m: "D_zz / mean of D_xx, D_yy" if "zz" in m.from_jumps.tensor else "D_yy / D_xx"),
        Column("Anisotropy", NUMBER, lambda m: interval(m.from_jumps.anisotropy)),
    ]
    return table("memory", columns, [m for m in motions if m.from_jumps.hops], caption="Memory of jumps and anisotropy")


def tensors(motions: Sequence[Motion]) -> Table:
    """The elements of D."""
    rows = [(m, name, e) for m in motions if m.from_jumps.hops for name, e in m.from_jumps.tensor.items()]
    columns = [
        Column("System", TEXT, lambda r: r[0].system),
        Column("Ion", TEXT, lambda r: r[0].ion),
        Column("T (K)", NUMBER, lambda r: f"{r[0].temperature_kelvin:g}"),
        Column("Element", TEXT, lambda r: r[1]),
        Column(f"D {D_UNIT}", NUMBER, lambda r: interval(r[2], CM2_PER_S)),
    ]
    return table("tensors", columns, rows, caption="Elements of the tensor")


def rates(motions: Sequence[Motion]) -> Table:
    """Hops that happened, and those of the network that did not and could have."""
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
    """Activation energies of hops beside the barriers of NEB."""
    rows = [(k, h) for k in kinetics for h in k.hops]
    columns = [
        Column("System", TEXT, lambda r: r[0].system),
        Column("Ion", TEXT, lambda r: r[0].ion),
        Column("Hop", TEXT, lambda r: r[1].hop),
        Column("Sites", TEXT, lambda r: f"{r[1].initial} to {r[1].final}"),
        Column("Activation energy (eV)", NUMBER, lambda r: interval(r[1].line.activation_ev)),
        Column("NEB barrier \u00b1 2 sigma (eV)", NUMBER, lambda r: _barrier(r[1])),
        Column("Attempts, one way (THz)", NUMBER, lambda r: interval(r[1].attempt_thz)),
        Column("Verdict", VERDICT, lambda r: r[1].verdict),
        Column("Line", TEXT, lambda r: r[1].line.status),
    ]
    return table("activation", columns, rows, caption="Activation energies of hops beside NEB barriers")


def extrapolated(kinetics: Sequence[Kinetics]) -> Table:
    """D at the temperature to which the lines are extended, and what barriers alone say."""
    at = {k.diffusion.at_kelvin for k in kinetics}
    label = f"{min(at, default=300.0):g} K"
    columns = [
        Column("System", TEXT, lambda k: k.system),
        Column("Ion", TEXT, lambda k: k.ion),
        Column("Activation energy of D (eV)", NUMBER, lambda k: interval(k.diffusion.activation_ev)),
        Column("Measured at (K)", TEXT, _measured_at),
        Column(f"D at {label}, extrapolated {D_UNIT}", NUMBER, lambda k: interval(k.diffusion.extrapolated, CM2_PER_S)),
        Column(f"D at {label} from NEB barriers, 10 THz assumed {D_UNIT}", NUMBER, _from_barriers),
        Column("Line", TEXT, lambda k: k.diffusion.status),
    ]
    return table(
        "extrapolated", columns, kinetics, caption="Diffusion coefficients extrapolated from higher temperatures"
    )


def _below(motion: Motion) -> str:
    if "bulk" in motion.layers or not motion.layers:
        return DASH
    return f"{100 * motion.layers.get('subsurface', 0.0):.1f} %"


def _both(motion: Motion) -> str:
    """Whether the intervals of both ways overlap."""
    a, b = motion.from_jumps.mean, motion.from_displacements.mean
    if a.value is None or b.value is None or None in (a.low, a.high, b.low, b.high):
        return DASH
    return "yes" if (a.low or 0.0) <= (b.high or 0.0) and (b.low or 0.0) <= (a.high or 0.0) else "no"


def _barrier(line: HopLine) -> str:
    return with_error(line.barrier_ev, None if line.barrier_std_ev is None else 2 * line.barrier_std_ev)


def _measured_at(found: Kinetics) -> str:
    points = found.diffusion.points
    if not points:
        return DASH
    return f"{points[0].temperature_kelvin:g} to {points[-1].temperature_kelvin:g}"


def _from_barriers(found: Kinetics) -> str:
    if found.expected is None:
        return DASH
    value = compact(found.expected.angstrom2_per_ps[0] * CM2_PER_S)
    return f"{value}, without {', '.join(found.expected.missing)}" if found.expected.missing else value
