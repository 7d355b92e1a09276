"""Rates beside what moves on its own: molecular dynamics of a lone ion, and kinetic Monte Carlo of several.

Takes systems and what the stages `md` and `diffusion` found; gives rows of the result.

Dynamics are classical and move with one member of the committee without D3. So D from rates is calculated here with the
barriers and prefactors of that member, classically and without D3: what is left in the ratio is harmonic
transition-state theory itself (anharmonic wells and saddles, recrossing, jumps over several sites).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mlip.core.status import NOT_RESOLVED, RESOLVED, Status
from mlip.core.units import CM2_PER_S
from mlip.stages.diffusion.diffusion import NEVER_IN_A_SITE
from mlip.stages.diffusion.hops import Estimate, Rate
from mlip.stages.diffusion.kinetics import Motion
from mlip.stages.rates import monte_carlo
from mlip.stages.rates.laws import Draws
from mlip.stages.rates.result import AgainstDynamics, HopAgainstDynamics, Interval, Walk
from mlip.stages.rates.settings import WalkSettings
from mlip.stages.rates.system import NO_RATE, Diffusion, System, diffusion, status

NO_HOP, UNDER_SAMPLED = "no hop", "under-sampled"
UPPER_LIMIT = "the dynamics give an upper limit"
OF_COMMITTEE = "prefactor of the committee, as not every member has a first-order saddle"
MIN_HOPS, MAX_ERROR = 100, 0.25  # that D of a species rests on; its relative standard error
PS_PER_NS = 1000.0


def against_dynamics(
    motions: Sequence[Motion], lone: Mapping[str, str], systems: Sequence[System], *, member: int
) -> list[AgainstDynamics]:
    """D from hops in dynamics over D from rates, for every system of one ion at every temperature.

    Args:
        motions: of the stage diffusion.
        lone: the only ion of a system of dynamics, by its name; systems of several ions are left out.
        systems: without D3.
        member: of the committee, whose forces moved the ion.
    """
    known = {(s.host, s.ion): s for s in systems}
    out = []
    for motion in motions:
        if motion.system in lone and (motion.host, motion.ion) in known:
            system = of_member(known[motion.host, motion.ion], member)
            out.append(_compared(motion, system))
    return out


def hops_against_dynamics(
    motions: Sequence[Motion], lone: Mapping[str, str], systems: Sequence[System], *, member: int
) -> list[HopAgainstDynamics]:
    """How often hops occur in dynamics over how often they should, with the arguments of `against_dynamics`.

    Hops of the network between named sites; where near sites are one basin in dynamics, their hops are left out.
    """
    known = {(s.host, s.ion): s for s in systems}
    out = []
    for motion in motions:
        if motion.system not in lone or (motion.host, motion.ion) not in known:
            continue
        system = of_member(known[motion.host, motion.ion], member)
        names = {name: k for k, name in enumerate(system.net.names)}
        hops = {name: k for k, name in enumerate(system.net.hops)}
        out += [
            hop_compared(motion, rate, system, (hops[rate.hop], names[rate.initial]))
            for rate in motion.rates
            if rate.hop in hops and rate.initial in names and rate.final in names and rate.exposure_ps > 0
        ]
    return out


def hop_compared(motion: Motion, rate: Rate, system: System, place: tuple[int, int]) -> HopAgainstDynamics:
    """One hop out of one site in dynamics beside its rate; `place`: numbers of the hop and the site in the system."""
    hop, site = place
    dynamics = scaled(rate.per_ps, PS_PER_NS)
    law, per_ns = system.laws[hop], None
    said = Status(NO_RATE, system.reasons.get(rate.hop, ""))
    if law is not None:
        sense = 0 if system.net.ends[hop, 0] == site else 1
        ln_rate = law.ln_rates(motion.temperature_kelvin, Draws(0, 0), quantum=False)[0, sense]
        per_ns = float(PS_PER_NS * system.net.ways(hop, site) * np.exp(ln_rate))
        resolved = Status(RESOLVED, "" if law.has_own_prefactor else OF_COMMITTEE)
        said = resolved if rate.count else _without_a_hop(dynamics)
    return HopAgainstDynamics(
        system=motion.system,
        host=motion.host,
        ion=motion.ion,
        temperature_kelvin=motion.temperature_kelvin,
        hop=rate.hop,
        initial=rate.initial,
        final=rate.final,
        count=rate.count,
        dynamics=dynamics,
        rates=per_ns,
        ratio=over(dynamics, per_ns),
        status=said,
    )


def scaled(found: Estimate, factor: float) -> Interval:
    """An estimate in another unit."""
    e = found.scaled(factor)
    return Interval(value=e.value, low=e.low, high=e.high)


def over(found: Interval, rates: float | None) -> Interval:
    """An interval over a number; nothing where there is no number."""
    if rates is None:
        return Interval()
    value, low, high = (None if x is None else x / rates for x in (found.value, found.low, found.high))
    return Interval(value=value, low=low, high=high)


def of_member(system: System, member: int) -> System:
    """The system with the rates of one member where all hops have them, or else with those of the committee."""
    own = [law.of_member(member) if law is not None else None for law in system.laws]
    whole = all(mine is not None or law is None for mine, law in zip(own, system.laws, strict=True))
    return replace(system, laws=tuple(own)) if whole else system


def _without_a_hop(dynamics: Interval) -> Status:
    return Status(NO_HOP, NEVER_IN_A_SITE if dynamics.high is None else UPPER_LIMIT)


def _compared(motion: Motion, system: System) -> AgainstDynamics:
    dynamics = scaled(motion.from_jumps.mean, CM2_PER_S)
    found = diffusion(system, motion.temperature_kelvin, Draws(0, 0), quantum=False)
    said = status(system, found)
    rates = float(CM2_PER_S * found.mean[0]) if said.code == RESOLVED else None
    if rates is not None and dynamics.value is None:
        said = motion.from_jumps.status if motion.from_jumps.hops else _without_a_hop(dynamics)
    elif rates is not None and any(law is not None and not law.has_own_prefactor for law in system.laws):
        said = Status(RESOLVED, OF_COMMITTEE)
    return AgainstDynamics(
        system=motion.system,
        host=motion.host,
        ion=motion.ion,
        temperature_kelvin=motion.temperature_kelvin,
        dynamics=dynamics,
        displacements=scaled(motion.from_displacements.mean, CM2_PER_S),
        rates=rates,
        ratio=over(dynamics, rates),
        status=said,
    )


def walks(asked: Sequence[WalkSettings], systems: Sequence[System], *, seed: int) -> list[Walk]:
    """Kinetic Monte Carlo of several ions, one row for each species of each walk.

    Raises:
        ValueError: a host or an ion that is not in the run, ions that do not fit on the sites, or none that can move.
    """
    out = []
    for number, one in enumerate(asked):
        own = [_system(f"rates.walks.{number}", one.host, ion, systems) for ion in dict.fromkeys(one.ions)]
        out += _walked(one, own, seed=seed + number, where=f"rates.walks.{number}")
    return out


def _system(where: str, host: str, ion: str, systems: Sequence[System]) -> System:
    for system in systems:
        if (system.host, system.ion) == (host, ion):
            return system
    there = ", ".join(f"{s.ion} on {s.host}" for s in systems)
    raise ValueError(f"{where}: the run has no sites of {ion} on {host}; there are: {there}")


def _walked(asked: WalkSettings, systems: Sequence[System], *, seed: int, where: str) -> list[Walk]:
    temperature, still = asked.temperature_kelvin, Draws(0, 0)
    alone = [diffusion(system, temperature, still, quantum=True) for system in systems]
    said = [status(system, found) for system, found in zip(systems, alone, strict=True)]
    rows = [_row(asked, system, one) for system, one in zip(systems, said, strict=True)]
    if any(one.code != RESOLVED for one in said):
        return [
            row if row.status.code != RESOLVED else replace(row, status=Status(NOT_RESOLVED, "another ion of the walk"))
            for row in rows
        ]
    species = [_species(system, asked) for system in systems]
    try:
        done = monte_carlo.walk(
            species, repeat=asked.repeat, steps=asked.steps, apart_angstrom=asked.apart_angstrom, seed=seed
        )
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return [_filled(row, one, found) for row, one, found in zip(rows, done, alone, strict=True)]


def _filled(row: Walk, done: monte_carlo.Walked, alone: Diffusion) -> Walk:
    """The row of a species after the walk; without D where the walk was too short."""
    lone = float(CM2_PER_S * alone.mean[0])
    row = replace(row, hops=done.hops, time_ns=done.time_ps / PS_PER_NS, lone_cm2_per_s=lone, blocked=done.blocked)
    if why := _too_short(done):
        return replace(row, status=Status(UNDER_SAMPLED, f"{why}; raise steps"))
    return replace(row, d_cm2_per_s=CM2_PER_S * done.angstrom2_per_ps, std_error=CM2_PER_S * done.std_error)


def _too_short(done: monte_carlo.Walked) -> str:
    """Why the walk gives no D; empty where it does.

    The scatter of the displacements alone does not tell: where only fast hops happened, back and forth, all
    displacements are alike and near zero. So the hops that carry a lone ion onwards are counted, too.
    """
    if done.carriers < MIN_HOPS:
        return f"of {done.hops} hops, D rests on {done.carriers:.0f} (at least {MIN_HOPS})"
    if done.std_error >= MAX_ERROR * done.angstrom2_per_ps:
        return f"{done.hops} hops leave a standard error of {100 * MAX_ERROR:.0f} % or more"
    if done.remembers:
        return "the ions remember longer than a block of the walk lasts: D falls where blocks are joined"
    return ""


def _row(asked: WalkSettings, system: System, said: Status) -> Walk:
    count = asked.ions.count(system.ion)
    sites = int((system.net.site == system.start).sum()) * int(np.prod(asked.repeat))
    return Walk(
        host=asked.host,
        ions=asked.ions,
        repeat=asked.repeat,
        temperature_kelvin=asked.temperature_kelvin,
        ion=system.ion,
        status=said,
        filled=count / sites,
        hops=0,
        time_ns=0.0,
        d_cm2_per_s=None,
        std_error=None,
        lone_cm2_per_s=None,
        blocked=None,
    )


def _species(system: System, asked: WalkSettings) -> monte_carlo.Species:
    """Rates and weights of a system, brought to detailed balance; hops without a rate are not taken."""
    found = system.at(asked.temperature_kelvin, Draws(0, 0), quantum=True)
    forward = found.ln_flux[0] - found.ln_weight[0, system.net.ends[:, 0]]
    reverse = found.ln_flux[0] - found.ln_weight[0, system.net.ends[:, 1]]
    reached = list(system.reached)
    open_ = system.known & np.isin(system.net.ends[:, 0], reached)
    weight = np.exp(found.ln_weight[0] - found.ln_weight[0].max())
    inside = np.isin(np.arange(len(weight)), reached)
    return monte_carlo.Species(
        ion=system.ion,
        count=asked.ions.count(system.ion),
        net=system.net,
        per_ps=np.where(open_[:, None], np.exp(np.stack([forward, reverse], axis=1)), 0.0),
        weight=np.where(inside, weight, 0.0),
        axes=system.axes,
    )
