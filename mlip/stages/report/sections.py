"""The report's own sections: published values beside ours, paths and hops, the audit of the paper, the limits."""

from collections.abc import Sequence

from mlip.core.report import (
    ANGSTROM,
    DASH,
    NUMBER,
    PLUS_MINUS,
    TEXT,
    VERDICT,
    Column,
    Figure,
    ReportSection,
    Table,
    compact,
    filled,
    number,
    table,
    unit,
    with_error,
)
from mlip.literature.audit import Finding
from mlip.literature.references import References
from mlip.stages.neb.neb import Band
from mlip.stages.neb.report import profile
from mlip.stages.report import figures
from mlip.stages.report.rows import Comparison, Headline, HopRow, Nearest, Other, PathRow, Rows

VERDICTS_TEXT = (
    "Our DFT is with D3 of its images, the potential with D3 of its own where known; differences are taken so.",
    (
        "The uncertainty joins the larger of calibrated committee spread and held-out path error with "
        "convergence and, where D3 at the saddle is not known, dispersion. All tolerances were set before "
        "results were seen."
    ),
    (
        "Ours is the lowest path between neighbouring equivalent sites; the published surface paths are not "
        "described in the text, so agreement is with a number, not with a path."
    ),
)
ORDER_TEXT = (
    (
        "Bulk against facets and ion against ion, where values are published. The published order is reported "
        "here, not imposed; an order counts only where the difference exceeds 2 sigma. Errors are combined as if "
        "they were independent: shared errors of the potential may cancel in a difference."
    ),
)
PATHS_TEXT = (
    (
        "For every facet, ion and direction the path whose highest saddle is lowest, over all combinations of"
        " converged hops through surface and subsurface sites; its barrier counts from the site where it "
        "starts."
    ),
)
HOPS_TEXT = (
    (
        "A hop without a number did not converge, lost its ion or left the range of the potential: its status"
        " says which. Spread is the standard deviation over the committee members' own bands, not calibrated."
    ),
)
NEAREST_TEXT = (
    (
        "A caution, not a result: among many hops some barrier comes close to any published value. The chance"
        " is that of at least one match within the tolerance if as many values were spread evenly over the "
        "computed range."
    ),
)
PROFILES_TEXT = (
    (
        "Thin lines: the members of the committee, dashed where a band is not converged; thick: their mean. "
        "Energies are relative to the initial image, at the level of the potential."
    ),
)
LITERATURE_TEXT = (
    (
        "Evidence: S read in the source, C computed from public data or geometry, M expert knowledge that was"
        " not verified, I judgement. These values are for comparison; no verdict uses them."
    ),
)
LIMITS = (
    (
        "Barriers are for ideal, unreconstructed facets in vacuum at zero temperature, one ion in the cell: "
        "no electrolyte, no fluorine, no steps, no other coverage."
    ),
    (
        "Band gaps and charges are not computed; adsorption energies and voltages are those of one ion in the cell,"
        " not of a composition."
    ),
    (
        "DFT barriers are single points on images of a potential's path, not relaxed with DFT; they "
        "bound the error of the potential there, they are no DFT nudged elastic bands."
    ),
    (
        "Slab thickness, lateral size, k-points, dipole and the functional (PBE against hybrid or +U, about "
        "0.1 eV) are not part of the uncertainty."
    ),
    (
        "A lowest path is the lowest among the sites and hops that were found; a path through a site that was"
        " missed would lower it further."
    ),
    "Rates, prefactors and diffusion coefficients do not follow from a barrier alone; trajectories are classical.",
)


def comparison_sections(
    rows: Rows, bands: Sequence[Band], rules: Sequence[str], *, target: str
) -> tuple[ReportSection, ...]:
    """Every table that sets published values beside ours."""
    return (
        headline_section(rows.headline, rules, target=target),
        ReportSection(key="order", heading="Claimed orders", text=ORDER_TEXT, tables=(order_table(rows.order),))
        if rows.order
        else ReportSection(key="order", heading="Claimed orders"),
        ReportSection(
            key="paths",
            heading="Lowest paths between neighbouring equivalent sites",
            text=PATHS_TEXT,
            tables=(paths_table(rows.paths),),
        ),
        ReportSection(key="hops", heading="Every hop", text=HOPS_TEXT, tables=(hops_table(rows.hops),)),
        ReportSection(
            key="nearest",
            heading="Nearest hop to each published value",
            level="detail",
            text=NEAREST_TEXT if rows.nearest else (),
            tables=filled(nearest_table(rows.nearest)),
        ),
        ReportSection(
            key="profiles",
            heading="Energy along the hops",
            text=PROFILES_TEXT,
            figures=profile_figures(rows.hops, bands),
            small_figures=True,
        ),
        ReportSection(key="other", heading="Other published quantities", tables=filled(other_table(rows.other))),
    )


def headline_section(rows: Sequence[Headline], rules: Sequence[str], *, target: str) -> ReportSection:
    """The barriers, how verdicts are reached, and the uncertainty."""
    picture = Figure(
        image=figures.headline(rows),
        form="svg+xml",
        caption="Published and computed barriers",
        alt="published barriers, our DFT and the potential side by side",
    )
    reached = ReportSection(key="verdicts", heading="How the verdicts are reached", points=tuple(rules))
    uncertain = ReportSection(key="uncertainty", heading="Uncertainty", tables=filled(budget_table(rows)))
    return ReportSection(
        key="headline",
        heading="Barriers",
        level="answer",
        tables=filled(headline_table(rows, target=target)),
        figures=(picture,) if rows else (),
        parts=tuple(part for part in (reached, uncertain) if not part.is_empty),
    )


def profile_figures(rows: Sequence[HopRow], bands: Sequence[Band]) -> tuple[Figure, ...]:
    """The energy along every hop that has a band, with the DFT barrier where there is one."""
    drawn = []
    for row in rows:
        own = [b for b in bands if (b.host, b.ion, b.hop) == (row.host, row.ion, row.hop)]
        if any(b.energies_ev for b in own):
            drawn.append(
                Figure(
                    image=profile(own, dft_ev=row.dft_ev),
                    form="svg+xml",
                    caption=f"{row.ion}, {row.hop}: {row.status}",
                    alt=f"energy along {row.hop} of {row.ion}",
                )
            )
    return tuple(drawn)


def headline_table(rows: Sequence[Headline], *, target: str) -> Table:
    """The headline table: one line per published barrier; DFT with D3, the potential where D3 is known."""
    dispersion = [Column("D3 in it (eV)", NUMBER, lambda r: number(r.d3_ev, signed=True))]
    columns = [
        Column("Ion", TEXT, lambda r: r.ion),
        Column("Facet", TEXT, lambda r: r.facet),
        Column("Published (eV)", NUMBER, lambda r: number(r.published_ev)),
        Column("Our DFT (eV)", NUMBER, dft_with_hop),
        Column(f"Potential, {PLUS_MINUS} 2 sigma (eV)", NUMBER, lambda r: with_error(r.ours_ev, r.two_sigma_ev)),
        *(dispersion if target == "pbe" else ()),
        Column("Difference (eV)", NUMBER, lambda r: number(r.difference_ev, 2, signed=True)),
        Column("Verdict", VERDICT, lambda r: r.verdict),
        Column("Why", TEXT, lambda r: r.reason),
        Column("Limiting hop", TEXT, lambda r: f"{r.limiting_hop}, from {r.start}" if r.limiting_hop else DASH),
    ]
    return table("headline", columns, rows, stacked=True)


def dft_with_hop(row: Headline) -> str:
    """The DFT barrier of a headline row, with the hop where it is not the limiting one."""
    return number(row.dft_ev) + (f" ({row.dft_hop})" if row.dft_is_elsewhere else "")


def budget_table(rows: Sequence[Headline]) -> Table:
    """Parts of the uncertainty of every headline barrier that has one, 1 sigma each."""
    columns = [
        Column("Ion", TEXT, lambda r: r.ion),
        Column("Facet", TEXT, lambda r: r.facet),
        Column("Committee, calibrated (eV)", NUMBER, lambda r: number(r.budget.committee_ev)),
        Column("Held-out path (eV)", NUMBER, lambda r: number(r.budget.held_out_ev)),
        Column("Convergence (eV)", NUMBER, lambda r: number(r.budget.convergence_ev)),
        Column("Dispersion (eV)", NUMBER, lambda r: number(r.budget.dispersion_ev)),
        Column("Total, 1 sigma (eV)", NUMBER, lambda r: number(r.budget.total_ev)),
    ]
    return table("uncertainty", columns, [r for r in rows if r.budget is not None], caption="Uncertainty")


def paths_table(rows: Sequence[PathRow]) -> Table:
    """Lowest way between neighbouring equivalent sites, per host, ion and direction."""
    columns = [
        Column("Host", TEXT, lambda r: r.host),
        Column("Ion", TEXT, lambda r: r.ion),
        Column("Direction", TEXT, lambda r: r.direction),
        Column("From", TEXT, lambda r: r.start),
        Column(f"Barrier, {PLUS_MINUS} 2 sigma (eV)", NUMBER, lambda r: with_error(r.barrier_ev, r.two_sigma_ev)),
        Column("D3 (eV)", NUMBER, lambda r: number(r.d3_ev, signed=True)),
        Column("Path", TEXT, lambda r: " then ".join(r.hops) or DASH),
        Column("Limiting hop", TEXT, lambda r: r.limiting_hop or DASH),
        Column("Status", TEXT, lambda r: r.status),
    ]
    return table("paths", columns, rows)


def hops_table(rows: Sequence[HopRow]) -> Table:
    """Every hop of the network."""
    columns = [
        Column("Host", TEXT, lambda r: r.host),
        Column("Ion", TEXT, lambda r: r.ion),
        Column("Hop", TEXT, lambda r: r.hop),
        Column("Sites", TEXT, lambda r: r.sites),
        Column(f"Length ({ANGSTROM})", NUMBER, lambda r: number(r.length_angstrom, 2)),
        Column("Ways", NUMBER, lambda r: str(r.multiplicity)),
        Column("Status", TEXT, lambda r: r.status),
        Column("Forward (eV)", NUMBER, lambda r: number(r.forward_ev)),
        Column("Reverse (eV)", NUMBER, lambda r: number(r.reverse_ev)),
        Column("Spread (eV)", NUMBER, lambda r: number(r.std_ev)),
        Column("D3 (eV)", NUMBER, lambda r: number(r.d3_ev, signed=True)),
        Column("Forward = reverse", TEXT, _symmetry),
        Column("Members", NUMBER, lambda r: str(r.members)),
        Column("DFT (eV)", NUMBER, lambda r: number(r.dft_ev)),
        Column("DFT geometry", TEXT, lambda r: r.dft_note or DASH),
    ]
    return table("hops", columns, rows)


def nearest_table(rows: Sequence[Nearest]) -> Table:
    """The computed hop nearest to each published value, and how likely that is by chance."""
    columns = [
        Column("Ion", TEXT, lambda r: r.ion),
        Column("Facet", TEXT, lambda r: r.facet),
        Column("Published (eV)", NUMBER, lambda r: number(r.published_ev)),
        Column("Nearest hop", TEXT, lambda r: f"{r.hop}, {r.sense}" if r.hop else "none converged"),
        Column("Its barrier (eV)", NUMBER, lambda r: number(r.mlip_ev)),
        Column("Difference (eV)", NUMBER, lambda r: number(r.difference_ev, signed=True)),
        Column("Barriers looked at", NUMBER, lambda r: str(r.looked_at)),
        Column("Chance of a match", NUMBER, lambda r: f"{100 * r.chance:.0f} %" if r.chance is not None else DASH),
    ]
    return table("nearest", columns, rows)


def order_table(rows: Sequence[Comparison]) -> Table:
    """Claimed orders and facet contrasts."""
    columns = [
        Column("Claim", TEXT, lambda r: r.statement),
        Column("Published (eV)", NUMBER, lambda r: number(r.published_difference_ev, signed=True)),
        Column(f"Ours, {PLUS_MINUS} 2 sigma (eV)", NUMBER, lambda r: with_error(r.difference_ev, r.two_sigma_ev)),
        Column("In sigmas", NUMBER, lambda r: number(r.sigmas, 1)),
        Column("Outcome", TEXT, lambda r: r.outcome),
    ]
    return table("order", columns, rows)


def other_table(rows: Sequence[Other]) -> Table:
    """Published quantities that this run has no value for."""
    columns = [
        Column("Quantity", TEXT, lambda r: r.quantity),
        Column("Ion", TEXT, lambda r: r.ion or DASH),
        Column("Facet", TEXT, lambda r: r.facet),
        Column("Published", NUMBER, lambda r: compact(r.value)),
        Column("Unit", TEXT, lambda r: r.unit),
        Column("Method", TEXT, lambda r: r.method),
        Column("Ours", TEXT, lambda r: r.status),
    ]
    return table("other", columns, rows)


def _symmetry(row: HopRow) -> str:
    if row.mirrored:
        return "by construction: half of the images made by symmetry"
    if not row.symmetric or row.asymmetry_ev is None:
        return DASH
    return f"{'yes' if row.asymmetry_ok else 'no'}, {1e3 * row.asymmetry_ev:.1f} meV"


def audit_section(found: Sequence[Finding], not_stated: Sequence[str]) -> ReportSection:
    """What follows from the paper's own numbers, and what the paper does not state."""
    text = (
        "Each part takes numbers that the paper states and does the arithmetic. Evidence: P stated in the paper, C "
        "computed here, S read in another source, M expert knowledge that was not verified."
    )
    gaps = ReportSection(key="not-stated", heading="What the paper does not state", points=tuple(not_stated))
    return ReportSection(
        key="audit",
        heading="Audit of the paper from its own numbers" if found else "The paper under check",
        text=(text,) if found else (),
        parts=(*(_finding(one) for one in found), *(() if gaps.is_empty else (gaps,))),
    )


def _finding(found: Finding) -> ReportSection:
    columns = [
        Column("Number", TEXT, lambda n: n.name),
        Column("Value", NUMBER, lambda n: compact(n.value)),
        Column("Unit", TEXT, lambda n: unit(n.unit)),
    ]
    follows = (f"Formula: {found.formula}. Evidence: {found.evidence}.", found.consequence)
    return ReportSection(
        key=f"audit-{found.key}",
        heading=found.topic,
        text=(f"Claimed: {found.claimed} ({found.where})", *(follows if found.numbers else (found.status,))),
        tables=filled(table(f"audit_{found.key}", columns, found.numbers)),
    )


def independent_section(references: References) -> ReportSection:
    """Barriers from other sources; no verdict uses them."""
    tables = filled(independent_table(references))
    return ReportSection(
        key="literature",
        heading="Independent barriers",
        level="detail",
        text=LITERATURE_TEXT if tables else (),
        tables=tables,
    )


def independent_table(references: References) -> Table:
    """Independent migration barriers with their sources and evidence tags."""
    cited = {s.key: s.citation for s in references.sources}
    columns = [
        Column("Ion", TEXT, lambda v: v.ion or DASH),
        Column("Medium", TEXT, lambda v: v.facet or DASH),
        Column("Barrier (eV)", NUMBER, lambda v: compact(v.value)),
        Column("Method", TEXT, lambda v: v.method),
        Column("Evidence", TEXT, lambda v: v.evidence),
        Column("Source", TEXT, lambda v: "; ".join(cited[k] for k in v.sources)),
    ]
    return table("independent", columns, references.select(role="independent", quantity="migration barrier"))


def limits_section() -> ReportSection:
    """What the report does not show."""
    return ReportSection(key="limits", heading="What this report does not show", points=LIMITS)
