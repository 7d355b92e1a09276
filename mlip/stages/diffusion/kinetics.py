"""Motion of ions, system by system: from tracks to rates, diffusivities and activation energies beside barriers.

Takes tracks of ions at several temperatures, the basins of their host and the committee's barriers; gives for each
temperature a `Motion` and over the temperatures a `Kinetics`: lines through the rates of every hop and through D. What
transition-state theory says about the same hops is the matter of the stage `rates`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlip.core.status import AGREES, DIFFERS, NOT_RESOLVED
from mlip.stages.diffusion import arrhenius, diffusion, hops
from mlip.stages.diffusion.arrhenius import Line, Point
from mlip.stages.diffusion.density import Density
from mlip.stages.diffusion.hops import Basins, Estimate
from mlip.stages.diffusion.recrossing import Recrossing, recrossing
from mlip.stages.diffusion.settings import DiffusionSettings
from mlip.stages.diffusion.unknown import UnknownJump, unknown_jumps
from mlip.stages.md.trajectory import Track
from mlip.stages.neb.neb import Barrier
from mlip.stages.sites.network import Hop
from mlip.stages.sites.sites import Site


@dataclass(frozen=True, kw_only=True)
class Motion:
    """One species of ion in one system at one temperature."""

    system: str
    host: str
    ion: str
    temperature_kelvin: float
    replicas: int
    ion_ps: float  # time of all ions of this species together
    jumps: int  # of the network, those that lead nowhere included
    residence_ps: float | None
    layers: dict[str, float]  # part of the time in each
    rates: tuple[hops.Rate, ...]
    from_jumps: diffusion.Jumps
    from_displacements: diffusion.Regression
    recrossing: Recrossing | None = None  # None: of version 0.1
    unknown: tuple[UnknownJump, ...] = ()  # jumps that are no hop of the network


@dataclass(frozen=True, kw_only=True)
class HopLine:
    """Arrhenius line of one hop beside its barrier."""

    hop: str
    initial: str
    final: str
    ways: int | None  # equivalent hops that leave one initial site
    line: Line
    attempt_thz: Estimate  # prefactor of one way
    barrier_ev: float | None
    barrier_std_ev: float | None
    verdict: str  # AGREES, DIFFERS or NOT_RESOLVED


@dataclass(frozen=True, kw_only=True)
class Kinetics:
    """One species of ion in one system over all temperatures."""

    system: str
    host: str
    ion: str
    diffusion: Line  # of D, Angstrom^2/ps
    hops: tuple[HopLine, ...]


@dataclass(frozen=True, kw_only=True)
class Diffused:
    """Result of the diffusion stage."""

    motions: tuple[Motion, ...]
    kinetics: tuple[Kinetics, ...]
    densities: tuple[Density, ...]
    target_ps: float  # of the trajectories of the md stage
    notes: tuple[str, ...]


def motion(
    name: tuple[str, str, str],
    tracks: Sequence[Track],
    where: Basins,
    settings: DiffusionSettings,
    *,
    axes: int,
    seed: int,
) -> Motion:
    """Motion of one species from the tracks of all replicas at one temperature.

    Args:
        name: system, host and ion.
        tracks: of the replicas; their ions of this species count.
        where: basins of this species on the host.
        settings: of the analysis.
        axes: 2 on slabs, 3 in bulk.
        seed: of the regression's sampling.
    """
    own = [
        (track.replica, number, track.positions[:, k])
        for track in tracks
        if len(track.positions)
        for number, k in enumerate((k for k, symbol in enumerate(track.symbols) if symbol == name[2]), start=1)
    ]
    ways, frame_ps = [way for _, _, way in own], tracks[0].frame_ps
    found = [hops.visits(way, frame_ps, where) for way in ways]
    rates = hops.rates(found, where)
    ion_ps = sum(v.known_ps for v in found)
    leading = hops.leading_jumps(found, where)
    residence = hops.residence_ps(found) if any(len(j) for j in leading) else None
    from_jumps = diffusion.from_jumps(leading, ion_ps, settings, axes=axes, longest_jump_angstrom=where.longest)
    return Motion(
        system=name[0],
        host=name[1],
        ion=name[2],
        temperature_kelvin=tracks[0].temperature_kelvin,
        replicas=sum(len(t.positions) > 0 for t in tracks),
        ion_ps=ion_ps,
        jumps=sum(len(v.jump_frames) for v in found),
        residence_ps=hops.residence_ps(found),
        layers=hops.time_in_layers(found, where),
        rates=rates,
        from_jumps=from_jumps,
        from_displacements=diffusion.from_displacements(
            ways, frame_ps, axes=axes, residence_ps=residence, seed=seed, refused=from_jumps.refused
        ),
        recrossing=recrossing(found, rates, where, within_ps=settings.recrossing_ps),
        unknown=unknown_jumps([(replica, ion, visit) for (replica, ion, _), visit in zip(own, found, strict=True)]),
    )


def kinetics(
    motions: Sequence[Motion],
    network: Sequence[Hop],
    sites: Sequence[Site],
    barriers: Sequence[Barrier],
    settings: DiffusionSettings,
) -> Kinetics:
    """Lines over the temperatures of the motions of one species in one system."""
    first = motions[0]
    known = {b.hop: b for b in barriers if (b.host, b.ion) == (first.host, first.ion)}
    points = [
        Point(
            temperature_kelvin=m.temperature_kelvin, count=m.from_jumps.effective_events, exposure=m.from_jumps.exposure
        )
        for m in motions
    ]
    at, least = settings.temperature_kelvin, settings.min_hops
    own = {(h.name): h for h in network if (h.host, h.ion) == (first.host, first.ion)}
    kinds = dict.fromkeys((r.hop, r.initial, r.final) for m in motions for r in m.rates if r.hop in own)
    lines = [_hop_line(kind, motions, own[kind[0]], known.get(kind[0]), sites, settings) for kind in kinds]
    return Kinetics(
        system=first.system,
        host=first.host,
        ion=first.ion,
        diffusion=arrhenius.line(points, at_kelvin=at, min_events=least),
        hops=tuple(lines),
    )


def _hop_line(
    kind: tuple[str, str, str],
    motions: Sequence[Motion],
    hop: Hop,
    barrier: Barrier | None,
    sites: Sequence[Site],
    settings: DiffusionSettings,
) -> HopLine:
    seen = [(m.temperature_kelvin, r) for m in motions for r in m.rates if (r.hop, r.initial, r.final) == kind]
    points = [Point(temperature_kelvin=t, count=r.count, exposure=r.exposure_ps) for t, r in seen]
    line = arrhenius.line(points, at_kelvin=settings.temperature_kelvin, min_events=settings.min_hops)
    forward = kind[1] == hop.initial
    copies = {s.name: s.multiplicity for s in sites if (s.host, s.ion) == (hop.host, hop.ion)}
    ways: int | None = None
    if kind[1] in copies:
        ways = hop.multiplicity if forward else round(hop.multiplicity * copies[hop.initial] / copies[hop.final])
    height, std = None, None
    if barrier is not None and kind[1] in (hop.initial, hop.final):
        height, std = (
            (barrier.forward_ev, barrier.forward_std_ev) if forward else (barrier.reverse_ev, barrier.reverse_std_ev)
        )
    prefactor = line.ln_prefactor
    value, low, high = (
        None if x is None else float(np.exp(x)) for x in (prefactor.value, prefactor.low, prefactor.high)
    )
    return HopLine(
        hop=kind[0],
        initial=kind[1],
        final=kind[2],
        ways=ways,
        line=line,
        attempt_thz=Estimate(value=value, low=low, high=high).scaled(1 / ways) if ways else hops.NOTHING,
        barrier_ev=height,
        barrier_std_ev=std,
        verdict=verdict(line, height, std, settings.agree_ev),
    )


def verdict(line: Line, barrier_ev: float | None, barrier_std_ev: float | None, agree_ev: float) -> str:
    """Whether an activation energy agrees with a barrier: within agree_ev or 2 sigma of both, whichever is larger."""
    if line.activation_ev.value is None or line.activation_std_ev is None or barrier_ev is None:
        return NOT_RESOLVED
    sigma = float(np.hypot(line.activation_std_ev, barrier_std_ev or 0.0))
    if abs(line.activation_ev.value - barrier_ev) > max(agree_ev, 2 * sigma):
        return DIFFERS
    return AGREES if 2 * sigma <= 2 * agree_ev else NOT_RESOLVED
