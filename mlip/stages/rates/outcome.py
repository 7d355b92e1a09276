"""What follows from a system: rates at one temperature, diffusion coefficients over temperature, gains over bulk.

Takes systems, draws and settings; gives rows of the result. A number that is not resolved is None, with a status.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mlip.core.arrays import Array
from mlip.core.status import RESOLVED, Status
from mlip.core.units import CM2_PER_S
from mlip.stages.rates import gains, transition
from mlip.stages.rates.laws import Draws, Law
from mlip.stages.rates.result import Diffusivity, Gain, HopRate, Interval, Point, Sense, Tensor
from mlip.stages.rates.settings import RatesSettings
from mlip.stages.rates.system import (
    CONFINED,
    LOWER_BOUND,
    NO_RATE,
    Diffusion,
    System,
    diffusion,
    effective_barrier,
    status,
)

PER_S = 1e12  # of 1/ps


@dataclass(frozen=True)
class Solved:
    """D of a system as a row of the result, and the samples of its mean at the reference temperature."""

    row: Diffusivity
    mean: Array | None  # (s,) Angstrom^2/ps; None where D is not resolved


def hop_rates(system: System, settings: RatesSettings, draws: Draws) -> list[HopRate]:
    """The rates of every hop of a system at the reference temperature, or why there is none."""
    out = []
    for number, (name, law) in enumerate(zip(system.net.hops, system.laws, strict=True)):
        said = Status(RESOLVED) if law is not None else Status(NO_RATE, system.reasons.get(name, ""))
        senses = _senses(system, number, law, settings.reference_kelvin, draws) if law is not None else (None, None)
        forward, reverse = senses
        out.append(
            HopRate(
                host=system.host,
                ion=system.ion,
                hop=name,
                status=said,
                forward=forward,
                reverse=reverse,
                is_dft=law is not None and law.is_dft,
            )
        )
    return out


def _senses(system: System, number: int, law: Law, temperature_kelvin: float, draws: Draws) -> tuple[Sense, Sense]:
    quantum = np.exp(law.ln_rates(temperature_kelvin, draws, quantum=True)) * PER_S
    central = np.exp(law.ln_rates(temperature_kelvin, Draws(0, 0), quantum=False)[0]) * PER_S
    ends = [int(e) for e in system.net.ends[number]]
    made = []
    for k in (0, 1):
        samples = quantum[:, k] if law.is_uncertain else quantum[:1, k]
        made.append(
            Sense(
                initial=system.net.names[ends[k]],
                final=system.net.names[ends[1 - k]],
                ways=system.net.ways(number, ends[k]),
                barrier_ev=law.barrier_ev[k],
                barrier_std_ev=law.std_ev[k] if law.is_uncertain else None,
                prefactor_thz=law.prefactor_thz[k],
                zero_point_ev=transition.zero_point_ev(law.minima_thz[k], law.saddle_thz),
                tunnelling=transition.wigner(law.imaginary_thz, temperature_kelvin),
                classical_per_s=float(central[k]),
                quantum_per_s=gains.interval(samples),
            )
        )
    return made[0], made[1]


def solved(system: System, bottleneck_ev: float | None, settings: RatesSettings, draws: Draws) -> Solved:
    """D of a system at all temperatures and at the reference temperature."""
    reference = diffusion(system, settings.reference_kelvin, draws, quantum=True)
    temperatures = (settings.reference_kelvin, *settings.temperatures_kelvin)
    at, *points = [_point(system, t, draws) for t in temperatures]
    resolved = at.status.code == RESOLVED
    slope = Interval()
    if resolved:
        samples = effective_barrier(system, settings.reference_kelvin, draws, quantum=True)
        slope = gains.interval(samples if _is_uncertain(system) else samples[:1])
    row = Diffusivity(
        host=system.host,
        ion=system.ion,
        axes=system.axes,
        status=at.status,
        points=tuple(points),
        at_reference=at,
        effective_ev=slope,
        bottleneck_ev=bottleneck_ev,
        on_surface=reference.on_surface if resolved else None,
        missing=system.missing,
    )
    mean = reference.mean if _is_uncertain(system) else reference.mean[:1]
    return Solved(row, mean if resolved else None)


def _is_uncertain(system: System) -> bool:
    """Whether the error of the potential is known for every hop that has a rate."""
    return all(law.is_uncertain for law in system.laws if law is not None)


def _point(system: System, temperature_kelvin: float, draws: Draws) -> Point:
    found = diffusion(system, temperature_kelvin, draws, quantum=True)
    said = status(system, found)
    nothing = Point(temperature_kelvin=temperature_kelvin, status=said, mean=Interval(), classical=None, tensor=None)
    samples = CM2_PER_S * (found.mean if _is_uncertain(system) else found.mean[:1])
    if said.code == LOWER_BOUND:
        low = gains.interval(samples).low
        return replace(nothing, mean=Interval(low=float(samples[0]) if low is None else low))
    if said.code not in {RESOLVED, CONFINED}:
        return nothing
    lone = Draws(0, draws.seed)
    return Point(
        temperature_kelvin=temperature_kelvin,
        status=said,
        mean=gains.interval(samples),
        classical=float(CM2_PER_S * diffusion(system, temperature_kelvin, lone, quantum=False).mean[0]),
        tensor=_tensor(found),
    )


def _tensor(found: Diffusion) -> Tensor:
    """The central tensor in cm^2/s; None along axes that are not known."""
    known, values = found.known_axes, CM2_PER_S * found.tensor[0]
    rows = [[float(values[a, b]) if known[a] and known[b] else None for b in range(3)] for a in range(3)]
    a, b, c = ((x, y, z) for x, y, z in rows)
    return a, b, c


def gains_of(
    found: Sequence[Solved],
    bulk: str,
    settings: RatesSettings,
    *,
    claimed: Mapping[tuple[str, str], gains.Claim],
    notes: Mapping[str, str],
) -> list[Gain]:
    """The gain of every slab over the bulk cell for every ion at the reference temperature.

    Args:
        found: D of all systems, their samples drawn with the same numbers.
        bulk: name of the bulk host.
        settings: of the stage.
        claimed: what is published, by host and ion.
        notes: why a slab is no model of a surface, by host.
    """
    inside = {s.row.ion: s for s in found if s.row.host == bulk}
    out = []
    for one in found:
        row, other = one.row, inside.get(one.row.ion)
        if row.host == bulk:
            continue
        missing = _missing(one, other, bulk)
        decades = Interval()
        if one.mean is not None and other is not None and other.mean is not None:
            count = min(len(one.mean), len(other.mean))
            decades = gains.decades(one.mean[:count], other.mean[:count])
        claim = claimed.get((row.host, row.ion))
        case = gains.Case(
            decades=decades,
            claimed=claim.decades if claim is not None else 0.0,
            claimed_up_to=claim.up_to if claim is not None else None,
            elsewhere=claim.elsewhere if claim is not None else "",
            missing=missing,
            slab=notes.get(row.host, ""),
            on_surface=row.on_surface,
            max_decades=settings.max_decades,
        )
        verdict, reason = gains.verdict(case) if claim is not None else ("", missing)
        own = claim if claim is not None and not claim.elsewhere else None
        out.append(
            Gain(
                host=row.host,
                ion=row.ion,
                temperature_kelvin=settings.reference_kelvin,
                decades=decades,
                claimed=own.decades if own is not None else None,
                claimed_up_to=own.up_to if own is not None else None,
                implied=claim.implied if claim is not None else None,
                verdict=verdict,
                reason=reason,
            )
        )
    return out


def _missing(one: Solved, other: Solved | None, bulk: str) -> str:
    """Why there is no gain; empty where there is one."""
    if other is None:
        return f"no {one.row.ion} in {bulk}"
    rows = [s.row for s in (one, other) if s.mean is None]
    return "; ".join(f"D on {row.host}: {row.status}" for row in rows)
