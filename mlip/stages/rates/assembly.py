"""Laws and systems from the results of the stages before: barriers, modes, bands and sites.

Takes what `sites`, `neb` and `modes` found; gives a `System` for every ion on every host. A hop has a law if its saddle
is proved and its prefactor known. The barrier is that of DFT where the saddle of the hop is converged in DFT.

Uncertainty of a barrier (1 sigma), the budget of the report: the members' own barriers with their spread at the
refined points, times its calibration; where the held-out path error is larger, what it exceeds them by; the
convergence of the bands; and D3 where it is not known. The first term is drawn jointly for all hops (see `laws`), the
others for each hop on its own. The potential has no part in the error of a barrier of DFT: noise of the labels and
forces left, settings of DFT, and D3 where it is not known.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mlip.core.arrays import Array
from mlip.core.uncertainty import Uncertainty
from mlip.stages.modes.result import HopModes
from mlip.stages.neb.neb import Band, Barrier
from mlip.stages.rates import transition
from mlip.stages.rates.lattice import lattice
from mlip.stages.rates.laws import Law
from mlip.stages.rates.system import System
from mlip.stages.refine.barriers import Relaxed
from mlip.stages.sites.network import Hop
from mlip.stages.sites.sites import Site

Pair = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What is known about the error of barriers and prefactors, beside the members of the committee."""

    calibration: float  # factor from the committee's spread to its error
    path_error_ev: float | None  # RMSE of the energy along held-out paths
    errors: Uncertainty  # that the run does not measure
    prefactor_ln: float
    balance_factor: float = 3.0  # largest one by which the rates of a network may violate detailed balance


@dataclass(frozen=True, kw_only=True)
class Found:
    """Results of the stages before for all hosts and ions.

    Attributes:
        sites: of the stage sites.
        hops: the same.
        barriers: of the stage neb.
        bands: the same.
        modes: of the stage modes.
        d3_ev: D3 of forward and reverse barrier by host, ion and hop; empty where the potential contains D3.
        contains_d3: whether the potential does.
        refined: barriers of DFT, at the level of the potential.
    """

    sites: tuple[Site, ...]
    hops: tuple[Hop, ...]
    barriers: tuple[Barrier, ...]
    bands: tuple[Band, ...]
    modes: tuple[HopModes, ...]
    d3_ev: Mapping[tuple[str, str, str], Pair] = field(default_factory=dict)
    contains_d3: bool = False
    refined: tuple[Relaxed, ...] = ()


def systems(found: Found, cells: Mapping[str, Array], budget: Budget, *, with_d3: bool) -> list[System]:
    """One system for every host and ion with a site.

    Args:
        found: results of the stages before.
        cells: (3, 3) of every host.
        budget: uncertainties.
        with_d3: add D3 to the barriers where it is known.
    """
    out = []
    for host, ion in dict.fromkeys((s.host, s.ion) for s in found.sites):
        hops = [h for h in found.hops if (h.host, h.ion) == (host, ion)]
        touched = {name for h in hops for name in (h.initial, h.final)}
        own = [s for s in found.sites if (s.host, s.ion) == (host, ion)]
        sites = [s for s in own if s.name in touched or s.energy_ev == min(x.energy_ev for x in own)]
        laws = [_law_or_reason(hop, found, budget, with_d3=with_d3) for hop in hops]
        barriers = [b for b in found.barriers if (b.host, b.ion) == (host, ion)]
        out.append(
            System(
                host=host,
                ion=ion,
                net=lattice(cells[host], sites, hops),
                laws=tuple(law if isinstance(law, Law) else None for law in laws),
                reasons={h.name: law for h, law in zip(hops, laws, strict=True) if isinstance(law, str)},
                site_ev=np.array([s.energy_ev for s in sites]),
                layers=tuple(s.layer for s in sites),
                balance_factor=budget.balance_factor,
                heights_ev={b.hop: b.vacuum_ev for b in barriers if b.vacuum_ev is not None},
            )
        )
    return out


def _law_or_reason(hop: Hop, found: Found, budget: Budget, *, with_d3: bool) -> Law | str:
    key = (hop.host, hop.ion, hop.name)
    barrier = next((b for b in found.barriers if (b.host, b.ion, b.hop) == key), None)
    if barrier is None or barrier.forward_ev is None:
        return "no converged barrier"
    modes = next((m for m in found.modes if (m.host, m.ion, m.hop) == key), None)
    if modes is None:
        return "no modes"
    bands = [b for b in found.bands if (b.host, b.ion, b.hop) == key]
    d3_ev = found.d3_ev.get(key) if with_d3 else None
    made = law(modes, bands, budget, d3_ev=d3_ev, has_d3=found.contains_d3)
    dft = next((r for r in found.refined if (r.host, r.ion, r.hop) == key), None)
    if isinstance(made, str) or dft is None:
        return made
    return with_dft(made, modes, dft, budget, d3_known=found.contains_d3 or d3_ev is not None)


def law(
    modes: HopModes, bands: Sequence[Band], budget: Budget, *, d3_ev: Pair | None, has_d3: bool = False
) -> Law | str:
    """The law of a hop, or why there is none.

    Where two equal saddles lie in series, an ion that has passed the first one comes back as often as it goes on: the
    rate of the hop is half of that over one of them. Equal saddles side by side multiply the rates of both senses;
    equal wells of a site divide the rates out of the site, and so multiply its weight in equilibrium.

    Args:
        modes: of the hop.
        bands: of the hop, one of each member.
        budget: uncertainties.
        d3_ev: D3 of the forward and the reverse barrier, to be added; None: not known.
        has_d3: whether the potential contains D3.
    """
    prefactors = (modes.forward_prefactor_thz, modes.reverse_prefactor_thz)
    if modes.forward_ev is None or modes.reverse_ev is None or prefactors[0] is None or prefactors[1] is None:
        return str(modes.status)
    minima, imaginary = (modes.initial_thz, modes.final_thz), abs(modes.imaginary_thz or 0.0)
    try:
        for minimum in minima:
            transition.vineyard_thz(minimum, modes.saddle_thz)
        transition.wigner(imaginary, 300.0)
    except ValueError as error:
        return str(error)
    forward, reverse = d3_ev or (0.0, 0.0)
    ways, wells = modes.saddle_images / modes.saddles, (modes.initial_wells, modes.final_wells)
    stds = (modes.forward_std_ev, modes.reverse_std_ev)
    members, logs = _members_ev(bands, stds), _logs(modes)
    is_joint = len(logs) == len(members)  # every member has a saddle of its own
    return Law(
        names=(modes.host, modes.ion, modes.hop),
        barrier_ev=(modes.forward_ev + forward, modes.reverse_ev + reverse),
        prefactor_thz=(prefactors[0] * ways / wells[0], prefactors[1] * ways / wells[1]),
        minima_thz=minima,
        saddle_thz=modes.saddle_thz,
        imaginary_thz=imaginary,
        rest_below_ev=modes.rest_below_ev,
        members_ev=members,
        members_ln=logs if is_joint else np.zeros((0, 2)),
        calibration=max(1.0, budget.calibration),
        rest_ev=_rest_ev(members, stds, budget, d3_known=d3_ev is not None or has_d3),
        rest_ln=budget.prefactor_ln if is_joint else math.hypot(budget.prefactor_ln, _std(logs)),
        is_uncertain=len(members) > 1 or stds[0] is not None or budget.path_error_ev is not None,
    )


def with_dft(made: Law, modes: HopModes, dft: Relaxed, budget: Budget, *, d3_known: bool) -> Law:
    """The law with the saddle of DFT in the place of the potential's; prefactors and frequencies stay.

    The saddle is shifted by the mean of what DFT changes the forward and the reverse barrier by. The difference between
    the two sites stays the potential's, so that hops with and without DFT fit together; half of what DFT changes this
    difference by counts as an uncertainty. It is zero where both ends are the same site.

    Args:
        made: of the potential, with D3 where that is known.
        modes: of the hop.
        dft: its barriers in DFT, at the level of the potential.
        budget: uncertainties.
        d3_known: whether `made` contains D3.
    """
    own = np.array([modes.forward_ev, modes.reverse_ev], dtype=float)
    d3 = np.array(made.barrier_ev) - own  # zero where the potential contains D3
    at_level = np.array(
        [dft.forward_ev, own[1] + dft.forward_ev - own[0] if dft.reverse_ev is None else dft.reverse_ev]
    )
    if d3_known and dft.d3_forward_ev is not None and d3.any():
        back = d3[1] + dft.d3_forward_ev - d3[0] if dft.d3_reverse_ev is None else dft.d3_reverse_ev
        d3 = np.array([dft.d3_forward_ev, back])
    changes = at_level + d3 - made.barrier_ev
    shift, apart = changes.mean(), abs(changes[0] - changes[1]) / 2
    forward, reverse = np.array(made.barrier_ev) + shift
    dispersion = 0.0 if d3_known else budget.errors.dispersion_ev
    settings_ev = budget.errors.settings_of(modes.ion, modes.host)
    return replace(
        made,
        barrier_ev=(float(forward), float(reverse)),
        members_ev=_site_differences(made.members_ev) if dft.reverse_ev is None else np.zeros((0, 2)),
        rest_ev=math.hypot(dft.std_ev or 0.0, settings_ev, apart, dispersion),
        is_uncertain=dft.std_ev is not None,
        is_dft=True,
    )


def _members_ev(bands: Sequence[Band], stds: tuple[float | None, float | None]) -> Array:
    """Deviations of the members' own barriers from their mean, (M, 2), in the order of the members; or (0, 2).

    They are brought to the standard deviations of the members at the refined points, where these are known: bands of
    members can end in different minima near a site.
    """
    pairs = [(b.forward_ev, b.reverse_ev) for b in sorted(bands, key=lambda b: b.member)]
    if len(pairs) < 2 or any(None in pair for pair in pairs):
        return np.zeros((0, 2))
    values = np.array(pairs, dtype=float)
    left = values - values.mean(0)
    own = values.std(axis=0, ddof=1)
    return np.asarray(left * [s / o if s is not None and o > 0 else 1.0 for s, o in zip(stds, own, strict=True)])


def _site_differences(members: Array) -> Array:
    """Deviations of the reverse barriers, (M, 2), that are left where all members have the same forward barrier."""
    return np.stack([np.zeros(len(members)), members[:, 1] - members[:, 0]], axis=1)


def _logs(modes: HopModes) -> Array:
    """Deviations of ln(prefactor) of the members that have one, (m, 2), from their mean."""
    pairs = list(zip(modes.forward_prefactors_thz, modes.reverse_prefactors_thz, strict=False))
    values = np.log(pairs).reshape(-1, 2)
    return np.asarray(values - values.mean(0)) if len(values) > 1 else np.zeros((0, 2))


def _rest_ev(members: Array, stds: tuple[float | None, float | None], budget: Budget, *, d3_known: bool) -> float:
    """Standard deviation of the saddle that the joint draws of the members leave to be drawn."""
    spread = _std(members) if len(members) else min((s for s in stds if s is not None), default=0.0)
    known = spread * max(1.0, budget.calibration)
    drawn = known if len(members) else 0.0
    model = math.sqrt(max(known, budget.path_error_ev or 0.0) ** 2 - drawn**2)
    return math.hypot(model, budget.errors.convergence_ev, 0.0 if d3_known else budget.errors.dispersion_ev)


def _std(deviations: Array) -> float:
    """The smaller of the standard deviations of both senses; 0 where no members are known."""
    return float(np.sqrt((deviations**2).sum(0) / max(len(deviations) - 1, 1)).min())
