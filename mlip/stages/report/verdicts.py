"""Verdicts on published barriers: our lowest path beside each of them, with its uncertainty.

Takes the published values and `rows.Results`; gives one `rows.Headline` each. What is not converged, desorbed or out of
domain never turns into a number.

Uncertainty of a barrier (1 sigma): model^2 + convergence^2 + dispersion^2, where model is the larger of the calibrated
committee spread along the path and the held-out path error, convergence a setting, and dispersion a setting that counts
only where a PBE barrier meets a published PBE-D3 one without D3 at the images. For a barrier relaxed with DFT, model is
the noise of the labels and the forces left, and convergence that of the settings of DFT.
Verdicts are taken from `RULES`, first match first; the tolerances are `ReportSettings`, fixed before results are seen.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from mlip.atoms.structures import Host
from mlip.core.status import AGREES, DIFFERS, NOT_COMPARABLE, NOT_RESOLVED, RESOLVED, Status
from mlip.literature.references import Value
from mlip.stages.neb.neb import Barrier
from mlip.stages.refine.barriers import DftBarrier, Relaxed, best, dft_of, relaxed_of
from mlip.stages.report.rows import BeforeTraining, Budget, Headline, Results
from mlip.stages.report.settings import ReportSettings
from mlip.stages.sites.network import UPPER_BOUND, Bottleneck, Hop


def budget(path: Bottleneck, results: Results, *, d3_known: bool) -> Budget:
    """Uncertainty (eV, 1 sigma) of the barrier of a path: of DFT where its hops are relaxed with DFT."""
    dispersion = 0.0 if d3_known else results.errors.dispersion_ev
    return _refined_budget(path, results, dispersion) or _potential_budget(path, results, dispersion)


def _potential_budget(path: Bottleneck, results: Results, dispersion_ev: float) -> Budget:
    spread_ev, convergence = spread(path, results), results.errors.convergence_ev
    factor = max(1.0, results.calibration) if results.calibration is not None else 1.0
    committee = spread_ev * factor if spread_ev is not None else None
    terms = [t for t in (committee, results.path_error_ev) if t is not None]
    return Budget(
        committee_ev=committee,
        held_out_ev=results.path_error_ev,
        convergence_ev=convergence,
        dispersion_ev=dispersion_ev,
        total_ev=math.hypot(max(terms), convergence, dispersion_ev) if terms else None,
    )


def _refined_budget(path: Bottleneck, results: Results, dispersion_ev: float) -> Budget | None:
    """Noise of the labels and the forces that are left, settings of DFT, dispersion. The potential plays no part.

    None where the potential has a part in the barrier: the limiting hop is not relaxed with DFT, or it leaves another
    site than a copy of the start, whose energy is the potential's.
    """
    steps = _entering(path, results)
    if not results.is_dft or len(steps) != 1 or steps[0][0].name != path.limiting_hop:
        return None
    found = _relaxed(path, path.limiting_hop, results)
    if found is None or found.std_ev is None:
        return None
    own, settings_ev = found.std_ev, results.errors.settings_of(path.ion, path.host)
    return Budget(
        committee_ev=None,
        held_out_ev=None,
        convergence_ev=settings_ev,
        dispersion_ev=dispersion_ev,
        refined_ev=own,
        total_ev=math.hypot(own, settings_ev, dispersion_ev),
    )


def has_barrier(path: Bottleneck) -> bool:
    """Whether a path has a barrier: resolved, or an upper bound."""
    return path.barrier_ev is not None and path.status.code != NOT_RESOLVED


def _traversal(path: Bottleneck, results: Results) -> list[tuple[Hop, Barrier, bool]]:
    """Hops of a path in order up to the limiting one, each with its barrier and whether it is walked forward."""
    hops = {h.name: h for h in results.hops if (h.host, h.ion) == (path.host, path.ion)}
    barriers = {b.hop: b for b in results.barriers if (b.host, b.ion) == (path.host, path.ion)}
    steps, at = [], path.start
    for name in path.hops:
        if name not in hops or name not in barriers:
            break
        hop = hops[name]
        forward = hop.initial == at
        steps.append((hop, barriers[name], forward))
        at = hop.final if forward else hop.initial
        if name == path.limiting_hop:
            break
    return steps


def spread(path: Bottleneck, results: Results) -> float | None:
    """Committee spread (eV) of a path: the steps up to the limiting one in quadrature; None if any is unknown.

    Where the limiting hop leaves a copy of the start, the steps before it do not enter the barrier, nor its spread.
    """
    steps = _entering(path, results)
    spreads = [barrier.forward_std_ev if forward else barrier.reverse_std_ev for _, barrier, forward in steps]
    known = [s for s in spreads if s is not None]
    return math.hypot(*known) if known and len(known) == len(spreads) else None


def _entering(path: Bottleneck, results: Results) -> list[tuple[Hop, Barrier, bool]]:
    """The steps that enter the barrier of a path: all up to the limiting one, or that alone where it leaves a start."""
    steps = _traversal(path, results)
    return steps[-1:] if steps and _departs(steps[-1]) == path.start else steps


def _departs(step: tuple[Hop, Barrier, bool]) -> str:
    hop, _, forward = step
    return hop.initial if forward else hop.final


def _first_limits(path: Bottleneck, results: Results) -> Barrier | None:
    """The barrier of the limiting hop where it leaves the start, or a copy of it, as the hop is defined."""
    steps = _traversal(path, results)
    if not steps or steps[-1][0].name != path.limiting_hop or _departs(steps[-1]) != path.start:
        return None
    hop, barrier, forward = steps[-1]
    return barrier if forward or hop.symmetric else None


def path_d3(path: Bottleneck, results: Results) -> float | None:
    """D3 (eV) of the highest saddle relative to the start; 0 where the potential contains D3, None where unknown."""
    if results.target == "pbe-d3":
        return 0.0
    barrier = _first_limits(path, results)
    return barrier.d3_forward_ev if barrier else None


@dataclass(frozen=True)
class _Case:
    """What a rule of the verdict looks at."""

    value: Value
    path: Bottleneck | None
    tried: tuple[Bottleneck, ...]
    host: Host | None
    layer: str | None  # of the site where the path starts
    budget: Budget | None
    d3_ev: float | None
    labelled: bool
    settings: ReportSettings

    @property
    def barrier_ev(self) -> float | None:
        """Our barrier (eV), with D3 where D3 is known."""
        if self.path is None or self.path.barrier_ev is None:
            return None
        return self.path.barrier_ev + (self.d3_ev or 0.0)

    @property
    def difference_ev(self) -> float | None:
        """The same minus the published one (eV)."""
        return None if self.barrier_ev is None else self.barrier_ev - self.value.value

    @property
    def two_sigma_ev(self) -> float | None:
        """2 sigma of our barrier (eV), or None where no uncertainty is known."""
        return 2 * self.budget.total_ev if self.budget is not None and self.budget.total_ev is not None else None

    @property
    def allowed_ev(self) -> float:
        """Largest difference that counts as agreement (eV)."""
        return max(self.settings.agree_ev, self.two_sigma_ev or 0.0)


def _not_run(case: _Case) -> str | None:
    return None if case.tried else "no path was calculated for this facet and ion"


def _no_path(case: _Case) -> str | None:
    if case.path is not None:
        return None
    return "; ".join(dict.fromkeys(p.status.detail for p in case.tried))


def _no_uncertainty(case: _Case) -> str | None:
    return None if case.two_sigma_ev is not None else "no uncertainty: neither a committee spread nor a held-out path"


def _no_label(case: _Case) -> str | None:
    """Without labels of the crystal nothing tests the spread of a committee; a barrier relaxed with DFT needs none."""
    if case.labelled or (case.budget is not None and case.budget.refined_ev is not None):
        return None
    return "the dataset has no label of this crystal, so nothing tests the uncertainty of the potential on it"


def _clearly_beyond(case: _Case) -> str | None:
    """A difference of more than 2 sigma is one, however large sigma is; not so for an upper bound."""
    return _beyond(case) if abs(case.difference_ev or 0.0) > case.allowed_ev and not _bound(case) else None


def _too_uncertain(case: _Case) -> str | None:
    two_sigma, limit = case.two_sigma_ev or 0.0, case.settings.max_uncertainty_ev
    return f"2 sigma of {two_sigma:.2f} eV exceeds the limit of {limit:.2f} eV" if two_sigma > limit else None


def _other_model(case: _Case) -> str | None:
    return f"the slab is no model of a surface: {case.host.note}" if case.host is not None and case.host.note else None


def _not_on_surface(case: _Case) -> str | None:
    if case.layer is None or case.layer in {"surface", "bulk"}:
        return None
    start = case.path.start if case.path else "?"
    return f"the path starts from the {case.layer} site {start}; the published barrier is for the surface"


def _only_bound(case: _Case) -> str | None:
    """A path that others may undercut says nothing where it lies above the published value."""
    why = _bound(case)
    return f"only an upper bound, above the published value: {why}" if why and _above(case) else None


def _above(case: _Case) -> bool:
    return (case.difference_ev or 0.0) > case.allowed_ev


def _bound(case: _Case) -> str:
    """Why another path may lie below the lowest one that is resolved; empty where none can."""
    if case.path is not None and case.path.status.code == UPPER_BOUND:
        return case.path.status.reason or "some hops have no barrier"
    open_ = sum(_may_be_lower(p, case.path) for p in case.tried)
    return f"{open_} of {len(case.tried)} directions not resolved" if open_ else ""


def _may_be_lower(other: Bottleneck, path: Bottleneck | None) -> bool:
    if other.barrier_ev is not None and other.status.code != UPPER_BOUND:
        return False
    return path is None or path.barrier_ev is None or other.least_ev is None or other.least_ev < path.barrier_ev


def _within(case: _Case) -> str | None:
    close = abs(case.difference_ev or 0.0) <= case.allowed_ev
    return f"within {case.allowed_ev:.2f} eV{_caveat(case)}" if close else None


def _beyond(case: _Case) -> str | None:
    difference, allowed = case.difference_ev or 0.0, case.allowed_ev
    sense = "higher" if difference > 0 else "lower"
    digits = 2 if f"{abs(difference):.2f}" != f"{allowed:.2f}" else 3
    said = f"ours is {abs(difference):.{digits}f} eV {sense} (tolerance {allowed:.{digits}f} eV)"
    return f"{said}{_caveat(case)}"


def _caveat(case: _Case) -> str:
    bound = _bound(case)
    notes = [f"an upper bound ({bound})"] if bound else []
    if case.budget is not None and case.budget.dispersion_ev:
        notes.append("D3 at the saddle not known")
    if case.value.facet != "bulk":
        notes.append("published path not stated")
    return "; " + "; ".join(notes) if notes else ""


RULES: tuple[tuple[str, Callable[[_Case], str | None]], ...] = (
    (NOT_RESOLVED, _not_run),
    (NOT_RESOLVED, _no_path),
    (NOT_COMPARABLE, _other_model),
    (NOT_COMPARABLE, _not_on_surface),
    (NOT_RESOLVED, _no_uncertainty),
    (NOT_RESOLVED, _no_label),
    (DIFFERS, _clearly_beyond),
    (NOT_RESOLVED, _only_bound),
    (NOT_RESOLVED, _too_uncertain),
    (AGREES, _within),
    (DIFFERS, _beyond),
)


def _verdict(case: _Case) -> tuple[str, str]:
    for verdict, rule in RULES:
        reason = rule(case)
        if reason is not None:
            return verdict, reason
    return NOT_RESOLVED, "no rule applies"


def _case(value: Value, results: Results, settings: ReportSettings, *, with_d3: bool = True) -> _Case:
    """The lowest path of a facet and ion; of several directions the one whose barrier, with D3 if known, is lowest."""
    tried = tuple(p for p in results.bottlenecks if (p.host, p.ion) == (value.host, value.ion))
    d3_of = {p: path_d3(p, results) if with_d3 else None for p in tried if has_barrier(p)}
    path = min(d3_of, key=lambda p: (p.barrier_ev or 0.0) + (d3_of[p] or 0.0)) if d3_of else None
    d3 = d3_of[path] if path else None
    layers = {s.name: s.layer for s in results.sites if (s.host, s.ion) == (value.host, value.ion)}
    return _Case(
        value=value,
        path=path,
        tried=tried,
        host=next((h for h in results.hosts if h.name == value.host), None),
        layer=layers.get(path.start) if path else None,
        budget=budget(path, results, d3_known=d3 is not None or not with_d3) if path else None,
        d3_ev=d3,
        labelled=results.labelled,
        settings=settings,
    )


def headline(value: Value, results: Results, settings: ReportSettings) -> Headline:
    """The row of one published barrier: lowest resolved path of its facet and ion, difference and verdict.

    Paths run over hops relaxed with DFT where there are any; the potential's own lowest path stands beside.
    """
    own, decided = _case(value, results, settings), results.with_dft or results
    case = own if decided is results else _case(value, decided, settings)
    verdict, reason = _verdict(case)
    without = None
    if case.d3_ev is not None and results.target == "pbe":  # which the published barrier may lack
        without = _verdict(_case(value, decided, settings, with_d3=False))[0]
    if without is not None and without != verdict:
        reason = f"{reason}; without D3: {without}"
    certain = _verdict(own)[0] != NOT_RESOLVED or (own.two_sigma_ev is not None and not _bound(own))
    path = own.path if certain else None
    dft = (_dft_of_path(case.path, results) if case.path else None) or _dft_elsewhere(value, results)
    rests = case.budget is not None and case.budget.refined_ev is not None and case.path is not None
    is_shown = rests or path is not None or verdict in {AGREES, DIFFERS}
    return Headline(
        reference=value.id,
        facet=value.facet or "",
        host=value.host or "",
        ion=value.ion or "",
        path=value.path or "",
        published_ev=value.value,
        doi=value.doi,
        dft_ev=case.barrier_ev if rests else dft.with_d3_ev if dft else None,
        dft_hop=case.path.limiting_hop if rests and case.path else dft.hop if dft else None,
        dft_geometry=dft.geometry if dft else None,
        dft_refined=rests,
        dft_calls=dft.calls if dft and rests else None,
        dft_force_ev_per_angstrom=dft.force_ev_per_angstrom if dft and rests else None,
        dft_two_sigma_ev=case.two_sigma_ev if rests else None,
        mlip_ev=path.barrier_ev if path else None,
        d3_ev=own.d3_ev if path and results.target == "pbe" else None,
        two_sigma_ev=own.two_sigma_ev if path else None,
        difference_ev=case.difference_ev if verdict in {AGREES, DIFFERS} else None,
        budget=case.budget,
        direction=case.path.direction if case.path else None,
        start=case.path.start if case.path else None,
        hops=case.path.hops if case.path else (),
        limiting_hop=case.path.limiting_hop if case.path else None,
        verdict=verdict,
        reason=reason,
        verdict_without_d3=without,
        decided_ev=case.barrier_ev if is_shown else None,
        decided_two_sigma_ev=case.two_sigma_ev if is_shown else None,
        decided_has_d3=case.d3_ev is not None,
        hops_by_dft=() if rests or case.path is None or case is own else _hops_by_dft(case.path, results),
        upper_bound=bool(_bound(case)),
        zero_shot=None if results.zero_shot is None else _before_training(_case(value, results.zero_shot, settings)),
        covered_from_ev=_covered_from(case) if rests and verdict == DIFFERS else None,
    )


def _covered_from(case: _Case) -> float:
    """Error of the DFT settings (eV, 1 sigma) at which 2 sigma reaches the difference of a barrier relaxed with DFT."""
    half, own = abs(case.difference_ev or 0.0) / 2, case.budget
    known = 0.0 if own is None else math.hypot(own.refined_ev or 0.0, own.dispersion_ev)
    return math.sqrt(max(half**2 - known**2, 0.0))


def _before_training(case: _Case) -> BeforeTraining:
    """The lowest path by the base model, or why it has none."""
    barrier = None if case.d3_ev is None else case.barrier_ev
    if barrier is not None:
        return BeforeTraining(barrier_ev=barrier, status=case.path.status if case.path else Status(RESOLVED))
    why = _not_run(case) or _no_path(case) or "D3 at the saddle not known"
    return BeforeTraining(barrier_ev=None, status=Status(NOT_RESOLVED, why))


def _hops_by_dft(path: Bottleneck, results: Results) -> tuple[str, ...]:
    """Hops of a path that have the barrier of DFT."""
    return tuple(n for n in dict.fromkeys(path.hops) if _relaxed(path, n, results) is not None)


def _relaxed(path: Bottleneck, hop: str, results: Results) -> Relaxed | None:
    return relaxed_of(results.dft, path.host, path.ion, hop, target=results.target)


def _dft_elsewhere(value: Value, results: Results) -> DftBarrier | None:
    """The lowest DFT barrier of any hop of the ion on this facet, to stand beside the row; no verdict uses it."""
    own = (d for d in results.dft if (d.host, d.ion) == (value.host, value.ion))
    known = [(high, d) for d in own if (high := d.with_d3_ev) is not None]
    return min(known, key=lambda pair: pair[0])[1] if known else None


def _dft_of_path(path: Bottleneck, results: Results) -> DftBarrier | None:
    """DFT of a path's barrier, the best there is: of the limiting hop, or of the whole path ('001_in+001_in')."""
    barrier = _first_limits(path, results)
    hops = [barrier.hop] if barrier else []
    found = [dft_of(results.dft, path.host, path.ion, name) for name in (*hops, "+".join(path.hops))]
    return best([d for d in found if d is not None])
