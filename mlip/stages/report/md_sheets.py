"""Tables of molecular dynamics: trajectories, diffusivities, rates, activation energies.

Takes results of `md` and `kinetics`; gives `Sheet`s. Without a value there is an upper limit with its sign, or a
status; intervals hold 95 %.
"""

from collections.abc import Sequence

from mlip.core.units import CM2_PER_S
from mlip.stages.diffusion.hops import OTHER, Estimate
from mlip.stages.diffusion.kinetics import Diffused, HopLine, Kinetics, Motion, stopped_by
from mlip.stages.md.md import Followed
from mlip.stages.report.sheets import DASH, NUMBER, TEXT, VERDICT, Column, Sheet, compact, number, sheet, with_error

D_UNIT = "(cm\u00b2/s)"
PER_NS = 1000.0  # 1/ps
DEMONSTRATION_PS = 100.0  # shorter trajectories are called a demonstration


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


def diffusion(found: Diffused) -> tuple[tuple[str, Sheet], ...]:
    """All tables of the diffusion stage that have rows, with their captions."""
    tables = (
        ("Diffusion coefficients extrapolated from higher temperatures", extrapolated(found.kinetics)),
        ("Activation energies of hops beside NEB barriers", activation(found.kinetics)),
        ("Diffusion coefficients at the temperatures of the trajectories", diffusivities(found.motions)),
        ("Memory of jumps and anisotropy", memory(found.motions)),
        ("Elements of the tensor", tensors(found.motions)),
        ("Rates of hops", rates(found.motions)),
    )
    return tuple(t for t in tables if t[1].rows)


def trajectories(followed: Sequence[Followed]) -> Sheet:
    """Every system, with what became of its replicas."""
    columns: list[Column] = [
        ("System", TEXT, lambda f: f.name),
        ("Atoms", NUMBER, lambda f: str(f.atoms)),
        ("Mobile", NUMBER, lambda f: str(f.mobile)),
        ("Temperatures (K)", TEXT, lambda f: ", ".join(f"{t:g}" for t in dict.fromkeys(_temperatures(f)))),
        ("Replicas", NUMBER, lambda f: str(len(f.replicas))),
        ("Together (ps)", NUMBER, lambda f: number(sum(o.length_ps for o in f.replicas), 1)),
        ("Measured over set temperature", NUMBER, lambda f: number(_heat(f))),
        ("Ended", TEXT, lambda f: ", ".join(f"{n} {why}" for why, n in _ends(f).items())),
    ]
    return sheet(columns, followed)


def _temperatures(followed: Followed) -> list[float]:
    return [o.temperature_kelvin for o in followed.replicas]


def _ends(followed: Followed) -> dict[str, int]:
    return stopped_by([o.status for o in followed.replicas])


def _heat(followed: Followed) -> float | None:
    """Mean over the replicas of measured over set temperature, each weighted by its length."""
    known = [o for o in followed.replicas if o.mean_temperature_kelvin is not None and o.length_ps > 0]
    time = sum(o.length_ps for o in known)
    parts = [o.length_ps * (o.mean_temperature_kelvin or 0.0) / o.temperature_kelvin for o in known]
    return sum(parts) / time if time else None


def diffusivities(motions: Sequence[Motion]) -> Sheet:
    """D of every ion in every system at every temperature, by both ways."""
    columns: list[Column] = [
        ("System", TEXT, lambda m: m.system),
        ("Ion", TEXT, lambda m: m.ion),
        ("T (K)", NUMBER, lambda m: f"{m.temperature_kelvin:g}"),
        ("Time of ions (ps)", NUMBER, lambda m: number(m.ion_ps, 1)),
        ("Hops", NUMBER, lambda m: str(m.jumps)),
        ("Stay (ps)", NUMBER, lambda m: number(m.residence_ps, 1)),
        ("Below surface", NUMBER, _below),
        (f"D from hops {D_UNIT}", NUMBER, lambda m: interval(m.from_jumps.mean, CM2_PER_S)),
        (f"D from displacements {D_UNIT}", NUMBER, lambda m: interval(m.from_displacements.mean, CM2_PER_S)),
        ("Do they agree", TEXT, _both),
        ("Status", TEXT, lambda m: m.from_jumps.status),
    ]
    return sheet(columns, motions)


def memory(motions: Sequence[Motion]) -> Sheet:
    """How far jumps depend on the ones before, and D along the last axis over D along the others."""
    columns: list[Column] = [
        ("System", TEXT, lambda m: m.system),
        ("Ion", TEXT, lambda m: m.ion),
        ("T (K)", NUMBER, lambda m: f"{m.temperature_kelvin:g}"),
        ("Hops that lead somewhere", NUMBER, lambda m: str(m.from_jumps.hops)),
        ("D over that of independent jumps", NUMBER, lambda m: interval(m.from_jumps.correlation)),
        ("Ratio", TEXT, lambda m: "D_zz / mean of D_xx, D_yy" if "zz" in m.from_jumps.tensor else "D_yy / D_xx"),
        ("Anisotropy", NUMBER, lambda m: interval(m.from_jumps.anisotropy)),
    ]
    return sheet(columns, [m for m in motions if m.from_jumps.hops])


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


def tensors(motions: Sequence[Motion]) -> Sheet:
    """The elements of D."""
    rows = [(m, name, e) for m in motions if m.from_jumps.hops for name, e in m.from_jumps.tensor.items()]
    columns: list[Column] = [
        ("System", TEXT, lambda r: r[0].system),
        ("Ion", TEXT, lambda r: r[0].ion),
        ("T (K)", NUMBER, lambda r: f"{r[0].temperature_kelvin:g}"),
        ("Element", TEXT, lambda r: r[1]),
        (f"D {D_UNIT}", NUMBER, lambda r: interval(r[2], CM2_PER_S)),
    ]
    return sheet(columns, rows)


def rates(motions: Sequence[Motion]) -> Sheet:
    """Hops that happened, and those of the network that did not and could have."""
    rows = [(m, r) for m in motions for r in m.rates if r.count or (r.exposure_ps > 0 and r.hop != OTHER)]
    columns: list[Column] = [
        ("System", TEXT, lambda r: r[0].system),
        ("Ion", TEXT, lambda r: r[0].ion),
        ("T (K)", NUMBER, lambda r: f"{r[0].temperature_kelvin:g}"),
        ("Hop", TEXT, lambda r: r[1].hop),
        ("Sites", TEXT, lambda r: f"{r[1].initial} to {r[1].final}"),
        ("Count", NUMBER, lambda r: str(r[1].count)),
        ("Time at the first site (ps)", NUMBER, lambda r: number(r[1].exposure_ps, 1)),
        ("Rate (1/ns)", NUMBER, lambda r: interval(r[1].per_ps, PER_NS)),
    ]
    return sheet(columns, rows)


def activation(kinetics: Sequence[Kinetics]) -> Sheet:
    """Activation energies of hops beside the barriers of NEB."""
    rows = [(k, h) for k in kinetics for h in k.hops]
    columns: list[Column] = [
        ("System", TEXT, lambda r: r[0].system),
        ("Ion", TEXT, lambda r: r[0].ion),
        ("Hop", TEXT, lambda r: r[1].hop),
        ("Sites", TEXT, lambda r: f"{r[1].initial} to {r[1].final}"),
        ("Activation energy (eV)", NUMBER, lambda r: interval(r[1].line.activation_ev)),
        ("NEB barrier \u00b1 2 sigma (eV)", NUMBER, lambda r: _barrier(r[1])),
        ("Attempts, one way (THz)", NUMBER, lambda r: interval(r[1].attempt_thz)),
        ("Verdict", VERDICT, lambda r: r[1].verdict),
        ("Line", TEXT, lambda r: r[1].line.status),
    ]
    return sheet(columns, rows)


def _barrier(line: HopLine) -> str:
    return with_error(line.barrier_ev, None if line.barrier_std_ev is None else 2 * line.barrier_std_ev)


def extrapolated(kinetics: Sequence[Kinetics]) -> Sheet:
    """D at the temperature to which the lines are extended, and what barriers alone say."""
    at = {k.diffusion.at_kelvin for k in kinetics}
    label = f"{min(at, default=300.0):g} K"
    columns: list[Column] = [
        ("System", TEXT, lambda k: k.system),
        ("Ion", TEXT, lambda k: k.ion),
        ("Activation energy of D (eV)", NUMBER, lambda k: interval(k.diffusion.activation_ev)),
        ("Measured at (K)", TEXT, _measured_at),
        (f"D at {label}, extrapolated {D_UNIT}", NUMBER, lambda k: interval(k.diffusion.extrapolated, CM2_PER_S)),
        (f"D at {label} from NEB barriers, 10 THz assumed {D_UNIT}", NUMBER, _from_barriers),
        ("Line", TEXT, lambda k: k.diffusion.status),
    ]
    return sheet(columns, kinetics)


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
