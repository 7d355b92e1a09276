"""Tables of the report beside the headline: every hop, every minimax path, chance matches, claimed orders.

Takes `rows.Results` and the references; gives `rows.Rows`, verdicts included.

Chance: of n values spread evenly over the computed range w, one falls within the tolerance t of a published value with
probability 1 - (1 - 2 t / w)^n: many hops make a match likely.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

from mlip.core.status import CALCULATED, NOT_CALCULATED, NOT_RESOLVED, Status
from mlip.literature.references import References, Value
from mlip.stages.neb.neb import CONVERGED, Barrier
from mlip.stages.refine.barriers import DftBarrier, dft_of
from mlip.stages.report import verdicts
from mlip.stages.report.electrons import Compared, compared
from mlip.stages.report.rows import (
    BeforeTraining,
    Comparison,
    Headline,
    HopRow,
    Nearest,
    Other,
    PathRow,
    Results,
    Rows,
)
from mlip.stages.report.settings import ReportSettings
from mlip.stages.sites.network import Bottleneck, Hop

ORDER = ("bulk", "100", "001")  # published barriers fall in this order
ELSEWHERE = {  # quantity -> why this run has no value for it
    "adsorption energy": "not calculated in this run: stage energetics",
    "band gap": "not calculated in this run: stage electronic",
    "Bader charge transfer": "not calculated in this run: stage electronic",
}


def rows(results: Results, references: References, settings: ReportSettings) -> Rows:
    """Every row of the report, verdicts included."""
    published = references.select(role="checked", quantity="migration barrier")
    headline = tuple(verdicts.headline(value, results, settings) for value in published)
    whole = results.with_dft or results
    return Rows(
        headline=headline,
        hops=tuple(_hop_row(hop, results, settings) for hop in results.hops),
        paths=tuple(_path_row(path, whole) for path in whole.bottlenecks),
        nearest=tuple(_nearest(value, whole, settings) for value in published),
        order=_order(headline),
        other=tuple(
            _other(v, results, references, settings)
            for v in references.values
            if v.role == "checked" and v.quantity in ELSEWHERE
        ),
    )


def _barrier_of(hop: Hop, results: Results) -> Barrier | None:
    same = (b for b in results.barriers if (b.host, b.ion, b.hop) == (hop.host, hop.ion, hop.name))
    return next(same, None)


def _zero_shot(hop: Hop, results: Results | None) -> BeforeTraining | None:
    barrier = None if results is None else _barrier_of(hop, results)
    return None if barrier is None else BeforeTraining(barrier_ev=barrier.forward_ev, status=barrier.status)


def _hop_row(hop: Hop, results: Results, settings: ReportSettings) -> HopRow:
    barrier = _barrier_of(hop, results)
    done = barrier is not None and barrier.status.code == CONVERGED
    kept = barrier if done else None
    dft = dft_of(results.dft, hop.host, hop.ion, hop.name)
    asymmetry = kept.asymmetry_ev if kept else None
    return HopRow(
        host=hop.host,
        ion=hop.ion,
        hop=hop.name,
        sites=f"{hop.initial} to {hop.final}",
        length_angstrom=hop.length_angstrom,
        multiplicity=hop.multiplicity,
        status=barrier.status if barrier else Status(NOT_CALCULATED),
        members=barrier.members if barrier else 0,
        forward_ev=kept.forward_ev if kept else None,
        reverse_ev=kept.reverse_ev if kept else None,
        std_ev=kept.forward_std_ev if kept else None,
        d3_ev=kept.d3_forward_ev if kept else None,
        symmetric=hop.symmetric,
        asymmetry_ev=asymmetry,
        asymmetry_ok=asymmetry <= settings.symmetric_ev if asymmetry is not None else None,
        dft_ev=dft.at_level(results.target) if dft else None,
        dft_note=_dft_note(dft) if dft else "",
        mirrored=kept.mirrored if kept else False,
        zero_shot=_zero_shot(hop, results.zero_shot),
    )


def _dft_note(dft: DftBarrier) -> str:
    force, place = dft.force_ev_per_angstrom, "left" if dft.refined else "at initial state or saddle up to"
    calls = f"{dft.calls} DFT calls" if dft.calls is not None else ""
    parts = [dft.geometry, calls, f"DFT force {place} {force:.2f} eV/A" if force is not None else "", dft.note]
    return "; ".join(p for p in parts if p)


def _path_row(path: Bottleneck, results: Results) -> PathRow:
    resolved = verdicts.has_barrier(path)
    d3 = verdicts.path_d3(path, results) if resolved else None
    total = verdicts.budget(path, results, d3_known=True).total_ev if resolved else None
    return PathRow(
        host=path.host,
        ion=path.ion,
        direction=path.direction,
        start=path.start,
        barrier_ev=path.barrier_ev if resolved else None,
        two_sigma_ev=2 * total if total is not None else None,
        d3_ev=d3 if results.target == "pbe" else None,
        hops=path.hops,
        limiting_hop=path.limiting_hop if resolved else None,
        status=path.status,
    )


def _nearest(value: Value, results: Results, settings: ReportSettings) -> Nearest:
    values: list[tuple[float, str, str]] = []
    for b in results.barriers:
        if (b.host, b.ion, b.status.code) != (value.host, value.ion, CONVERGED):
            continue
        senses = [("forward", b.forward_ev)] + ([] if b.symmetric else [("reverse", b.reverse_ev)])
        values += [(ev, b.hop, sense) for sense, ev in senses if ev is not None]
    best = min(values, key=lambda v: abs(v[0] - value.value)) if values else None
    return Nearest(
        reference=value.id,
        facet=value.facet or "",
        ion=value.ion or "",
        published_ev=value.value,
        hop=best[1] if best else None,
        sense=best[2] if best else None,
        mlip_ev=best[0] if best else None,
        difference_ev=best[0] - value.value if best else None,
        looked_at=len(values),
        chance=_chance([v[0] for v in values], settings.agree_ev),
    )


def _chance(values: Sequence[float], tolerance_ev: float) -> float | None:
    """Probability that one of n values, uniform over the range of the computed ones, hits within the tolerance."""
    if len(values) < 2 or max(values) <= min(values):
        return None
    share = min(1.0, 2 * tolerance_ev / (max(values) - min(values)))
    return 1 - (1 - share) ** len(values)


def _order(headline: Sequence[Headline]) -> tuple[Comparison, ...]:
    """Facet order of each ion and ion order on each facet: reported, not forced."""
    by_key = {(h.ion, (h.facet or h.host).strip("()")): h for h in headline}
    ions = sorted({h.ion for h in headline})
    pairs = [((ion, a), (ion, b)) for ion in ions for a, b in pairwise(ORDER)]
    pairs += [((ion, ORDER[0]), (ion, ORDER[-1])) for ion in ions]
    pairs += [(("Mg", host), ("Li", host)) for host in ORDER]
    return tuple(_compare(by_key[x], by_key[y]) for x, y in pairs if x in by_key and y in by_key)


def _compare(high: Headline, low: Headline) -> Comparison:
    statement = f"{high.ion} {high.facet} above {low.ion} {low.facet}"
    published = high.published_ev - low.published_ev
    errors = (high.decided_two_sigma_ev, low.decided_two_sigma_ev)
    if high.decided_ev is None or low.decided_ev is None or errors[0] is None or errors[1] is None:
        return Comparison(
            statement=statement,
            published_difference_ev=published,
            difference_ev=None,
            two_sigma_ev=None,
            sigmas=None,
            outcome=NOT_RESOLVED,
        )
    difference = high.decided_ev - low.decided_ev
    two_sigma = math.hypot(errors[0], errors[1])
    clear = "holds" if difference > 0 else "reversed"
    outcome = clear if abs(difference) > two_sigma else "within uncertainty"
    return Comparison(
        statement=statement,
        published_difference_ev=published,
        difference_ev=difference,
        two_sigma_ev=two_sigma,
        sigmas=difference / (two_sigma / 2) if two_sigma > 0 else None,
        outcome=outcome,
    )


def _other(value: Value, results: Results, references: References, settings: ReportSettings) -> Other:
    if value.quantity == "adsorption energy":
        said = _adsorbed(value, results) or _own(value, references)
        found = Compared(Status(CALCULATED, said)) if said else None
    else:
        found = compared(value, results.electronic, references, settings)
    found = found or Compared(Status(NOT_CALCULATED, ELSEWHERE[value.quantity]))
    return Other(
        reference=value.id,
        quantity=value.quantity,
        facet=value.facet or "",
        ion=value.ion or "",
        value=value.value,
        unit=value.unit,
        method=value.method,
        where=value.where,
        status=found.status,
        ours=found.ours,
        verdict=found.verdict,
    )


def _adsorbed(value: Value, results: Results) -> str:
    """This run's DFT adsorption energies: the published reference is not stated, so both are given."""
    lines = []
    for a in results.adsorption:
        sides = (("atom", a.atom_d3_ev), ("metal", a.metal_d3_ev))
        known = ", ".join(f"{e:.3f} eV against the {name}" for name, e in sides if e is not None)
        if (a.host, a.ion) == (value.host, value.ion) and known:
            lines.append(f"{a.site}: {known}")
    return "; ".join(lines) + " (PBE-D3, geometry of the potential)" if lines else ""


def _own(value: Value, references: References) -> str:
    """The same of an earlier calculation of the project, coverage by coverage."""
    lines: dict[str, list[str]] = {}
    for reference in ("atom", "metal"):
        for v in references.select(role="own", quantity=f"adsorption energy against the {reference} with D3"):
            if (v.facet, v.ion) == (value.facet, value.ion):
                lines.setdefault(v.path or "", []).append(f"{v.value:.3f} eV against the {reference}")
    listed = "; ".join(f"{path}: {', '.join(energies)}" for path, energies in lines.items())
    return f"{listed} (PBE-D3, single points of this project)" if listed else ""
