"""All hops of a lone ion in dynamics together, against those that harmonic transition-state theory predicts.

Takes motions, lines through D, and rows of hops beside their rates; gives the ratio of the numbers of hops with its
Poisson interval at each temperature and over all of them, its two factors, and slopes of ln D:

    hops/predicted = (crossings/predicted) (hops/crossings),

the first from anharmonic wells and saddles (transition-state theory that is not harmonic counts crossings of the plane
midway between two sites), the second from recrossings.
"""

import math
from collections import Counter
from collections.abc import Sequence

from mlip.core.status import RESOLVED
from mlip.core.units import BOLTZMANN_EV_PER_KELVIN
from mlip.stages.diffusion.hops import OTHER, poisson_rate
from mlip.stages.diffusion.kinetics import Kinetics, Motion
from mlip.stages.rates.comparison import PS_PER_NS, of_member, scaled
from mlip.stages.rates.laws import Draws
from mlip.stages.rates.result import DynamicsTogether, HopAgainstDynamics, Interval
from mlip.stages.rates.system import System, diffusion, status


def together(
    motions: Sequence[Motion],
    lines: Sequence[Kinetics],
    rows: Sequence[HopAgainstDynamics],
    systems: Sequence[System],
    *,
    member: int,
) -> list[DynamicsTogether]:
    """A row for every temperature of every system in `rows`, and one for all temperatures where there are several.

    Args:
        motions: of the stage diffusion.
        lines: of the same stage.
        rows: hops of lone ions beside their rates.
        systems: without D3.
        member: of the committee, whose forces moved the ion.
    """
    known = {(s.host, s.ion): of_member(s, member) for s in systems}
    out: list[DynamicsTogether] = []
    for system, ion in dict.fromkeys((row.system, row.ion) for row in rows):
        own = [m for m in motions if (m.system, m.ion) == (system, ion)]
        parts = [[m] for m in own] + ([own] if len(own) > 1 else [])
        line = next((k for k in lines if (k.system, k.ion) == (system, ion)), None)
        out += [_row(part, rows, known[part[0].host, ion], line if len(part) > 1 else None) for part in parts]
    return out


def _row(
    motions: Sequence[Motion], rows: Sequence[HopAgainstDynamics], system: System, line: Kinetics | None
) -> DynamicsTogether:
    first = motions[0]
    hops, expected = _counts(motions, rows)
    found = poisson_rate(hops, expected)
    counts = [m.recrossing for m in motions if m.recrossing is not None]
    crossings = sum(c.crossings for c in counts)
    seen = [r for m in motions for r in m.rates]
    others = sum(r.count for r in seen if r.hop == OTHER)
    unrated = sum(r.count for r in seen) - hops - others
    slope = line.diffusion if line is not None else None
    return DynamicsTogether(
        system=first.system,
        host=first.host,
        ion=first.ion,
        temperatures_kelvin=tuple(sorted(m.temperature_kelvin for m in motions)),
        ps=sum(m.ion_ps for m in motions),
        hops=hops,
        others=others,
        unrated=unrated,
        expected=expected,
        ratio=Interval(value=found.value, low=found.low, high=found.high),
        within_ps=counts[0].within_ps if counts else None,
        crossings=crossings if counts else None,
        crossings_ratio=crossings / expected if crossings and expected > 0 and not unrated else None,
        reversed=sum(c.reversed for c in counts) if counts else None,
        reversed_expected=sum(c.expected for c in counts) if counts else None,
        activation_ev=scaled(slope.activation_ev, 1.0) if slope and slope.status.code == RESOLVED else Interval(),
        activation_status=slope.status if slope else None,
        activation_rates_ev=_slope(motions, system),
        barrier_ev=_barrier(rows, system),
    )


def _counts(motions: Sequence[Motion], rows: Sequence[HopAgainstDynamics]) -> tuple[int, float]:
    """Hops that have a rate, and the number of them that the rates give in the time at the initial sites."""
    hops, expected = 0, 0.0
    for motion in motions:
        exposures = {(r.hop, r.initial, r.final): r.exposure_ps for r in motion.rates}
        for row in rows:
            places = [(one.system, one.ion, one.temperature_kelvin) for one in (row, motion)]
            if places[0] == places[1] and row.rates is not None:
                hops += row.count
                expected += row.rates / PS_PER_NS * exposures[row.hop, row.initial, row.final]
    return hops, expected


def _slope(motions: Sequence[Motion], system: System) -> float | None:
    """Slope of -ln D from rates over 1/kT between the lowest and the highest temperature (eV)."""
    temperatures = (min(m.temperature_kelvin for m in motions), max(m.temperature_kelvin for m in motions))
    if temperatures[0] == temperatures[1]:
        return None
    found = [diffusion(system, t, Draws(0, 0), quantum=False) for t in temperatures]
    if any(status(system, one).code != RESOLVED for one in found):
        return None
    low, high = (math.log(float(one.mean[0])) for one in found)
    betas = [1.0 / (BOLTZMANN_EV_PER_KELVIN * t) for t in temperatures]
    return (high - low) / (betas[0] - betas[1])


def _barrier(rows: Sequence[HopAgainstDynamics], system: System) -> float | None:
    """Barrier (eV) of the hop that was seen most often; None without a hop."""
    counts: Counter[str] = Counter()
    for row in rows:
        if (row.host, row.ion) == (system.host, system.ion):
            counts[row.hop] += row.count
    ((hop, count),) = counts.most_common(1)
    law = system.laws[system.net.hops.index(hop)]
    return None if law is None or not count else float(min(law.barrier_ev))


def sentence(row: DynamicsTogether) -> str:
    """The effects of anharmonicity and recrossing in words, for a row over all temperatures of a system."""
    low, high = row.temperatures_kelvin[0], row.temperatures_kelvin[-1]
    kelvin = f"{low:g} K" if low == high else f"{low:g} to {high:g} K"
    where = f"{row.ion} in {row.system}, {kelvin}, {row.ps:.0f} ps in total: "
    ratio = row.ratio
    if ratio.value is None or ratio.low is None or ratio.high is None:
        return f"{where}no hop with a rate was seen; harmonic transition-state theory predicts {row.expected:.1f} hops."
    said = (
        f"{where}{_counted(row.hops, 'hop')}, {ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f}) times the "
        f"{row.expected:.1f} hops that harmonic transition-state theory predicts. "
    )
    if row.others:
        said += f"{_counted(row.others, 'other jump')} joined sites that no hop of the network connects. "
    if row.unrated:
        said += f"{_counted(row.unrated, 'hop')} had no rate to compare with. "
    if row.crossings is None or row.crossings_ratio is None or row.reversed is None:
        return said.strip()
    return (
        f"{said}In the stored frames the ion crossed the planes midway between neighbouring sites "
        f"{_counted(row.crossings, 'time')}, {row.crossings_ratio:.2f} times the predicted number of hops. This factor "
        "is the effect of anharmonic wells and saddles, if no crossings are hidden between frames. "
        f"{_percent(row.hops + row.others, row.crossings)} of the crossings were hops; the others were recrossings. "
        f"{_counted(row.reversed, 'hop')} {'was' if row.reversed == 1 else 'were'} reversed within {row.within_ps:g} "
        f"ps; {row.reversed_expected:.1f} would be expected if successive hops were independent."
    )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %"
