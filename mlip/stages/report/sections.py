"""The report's own sections: published values beside ours, paths and hops, the limits.

Takes rows of the report and bands; gives sections. Energies are in eV, lengths in Angstrom.
"""

from collections.abc import Sequence

from mlip.core.report import (
    ANGSTROM,
    DASH,
    NUMBER,
    PLUS_MINUS,
    TEXT,
    VERDICT,
    Cell,
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
from mlip.core.report.viewer import Viewer
from mlip.stages.neb.neb import Band
from mlip.stages.neb.report import profile
from mlip.stages.neb.viewer import Images, band_viewer
from mlip.stages.report import figures as headline_figure
from mlip.stages.report.rows import Comparison, Headline, HopRow, Nearest, Other, PathRow, Rows
from mlip.stages.sites.network import UPPER_BOUND

VERDICTS_TEXT = (
    (
        "Our DFT values include D3 at the labelled images. The barriers of the potential include D3 at the saddle "
        "where D3 is known there. The differences are taken between these values."
    ),
    (
        "The uncertainty combines three terms in quadrature: the model term, which is the larger of the calibrated "
        "committee spread and the held-out path error; the convergence term; and, where D3 at the saddle is not known, "
        "the dispersion term. Where the ends and the saddle are relaxed with DFT, the model term comes from the noise "
        "of the labels and the remaining forces, and the convergence term is the error from the settings of DFT "
        "(uncertainty.dft_settings_ev). The tolerances were set before results were seen; docs/method.md lists what "
        "was changed later."
    ),
    (
        "Our value is that of the lowest path between neighbouring equivalent sites. The paper does not describe its "
        "surface paths in the text, so agreement on a surface is agreement with a number, not with a path."
    ),
)
ZERO_SHOT = (
    "Zero-shot is the barrier by the base model as it is, before training, with D3 in this table. The value has no "
    "uncertainty, and no verdict uses it. Base model:"
)
ORDER_TEXT = (
    (
        "Barriers of the bulk are compared with those of the facets, and barriers of the two ions with each other. The "
        "published order is tested, not imposed: an order counts only where the difference exceeds 2 sigma. Errors are "
        "combined as if they were independent, although errors that both barriers share may cancel in the difference. "
        "The barriers are those that the verdicts rest on, with D3 where it is known. For two barriers relaxed with "
        "DFT, sigma is little more than the error of the DFT settings."
    ),
)
PATHS_TEXT = (
    (
        "For every facet, ion and direction, the table gives the path whose highest saddle is lowest among all "
        "combinations of converged hops through surface and subsurface sites. The barrier is measured from the site "
        "where the path starts. Barriers and uncertainties of hops that are relaxed with DFT are those of DFT."
    ),
)
HOPS_TEXT = (
    (
        "A hop without a number did not converge, lost its ion or left the domain of the potential; the status says "
        "which. The spread is the standard deviation over the bands of the committee members and is not calibrated. "
        "Equivalent hops are those that leave one initial site and are related by symmetry."
    ),
)
NEAREST_TEXT = (
    (
        "This table is a caution, not a result: among many hops, some barrier is close to any published value. The "
        "chance is the probability of at least one match within the tolerance if the same number of barriers were "
        "distributed evenly over the computed range."
    ),
)
LEVEL_TEXT = {
    "pbe": "Barriers are PBE without D3; where D3 is known, it stands beside them.",
    "pbe-d3": "Barriers are PBE-D3.",
}
NO_D3_TEXT = "The computed barriers of this table are PBE without D3, and those of the potential for every hop."
PROFILES_TEXT = (
    (
        "Thin lines show the members of the committee, dashed where a band is not converged; the thick line is their "
        "mean. Energies are relative to the initial image and at the level of the potential. The dotted line is the "
        "DFT barrier."
    ),
)
IMAGES_TEXT = (
    "The atoms are those of one image of one band: the ion is red, oxygen is pale, other atoms are grey or blue-grey, "
    "and the pink line is the path of the ion. The circle in the profile marks the image. Choose the image with the "
    "buttons or the slider; on the slider, the arrow keys, Home and End work too."
)
LIMITS = (
    (
        "Barriers are for ideal, unreconstructed facets in vacuum at zero temperature with one ion in the cell. "
        "Electrolyte, fluorine, steps and other coverages are not included."
    ),
    (
        "Band gaps and charges are those of PBE, which underestimates gaps and spreads added electrons over many Ti "
        "atoms. Adsorption energies and voltages are those of one ion in the cell, not of a composition."
    ),
    (
        "DFT barriers that are not marked as converged are single points on images of the path of a potential, not "
        "always this one. They show the error of the potential at these images and do not replace saddles relaxed "
        "with DFT."
    ),
    (
        "Errors from slab thickness, lateral size and the functional are not part of the uncertainty. Those from "
        "cutoff, k-points, dipole and spin are part of it only for barriers relaxed with DFT, by a setting."
    ),
    (
        "A lowest path is the lowest among the sites and hops that were found; a path through a site that was not "
        "found may be lower."
    ),
    "Rates, prefactors and diffusion coefficients do not follow from a barrier alone; trajectories are classical.",
)


def comparison_sections(
    rows: Rows,
    bands: Sequence[Band],
    rules: Sequence[str],
    *,
    target: str,
    images: Images | None = None,
    quotes: Sequence[str] = (),
) -> tuple[ReportSection, ...]:
    """Every section that sets published values beside ours; barriers in eV."""
    figures, viewers = drawn_bands(rows.hops, bands, images or {})
    return (
        headline_section(rows.headline, rules, target=target, quotes=quotes),
        ReportSection(
            key="order",
            heading="Published order of the barriers",
            text=ORDER_TEXT if rows.order else (),
            tables=filled(order_table(rows.order)),
        ),
        ReportSection(
            key="paths",
            heading="Lowest paths between neighbouring equivalent sites",
            text=(*PATHS_TEXT, LEVEL_TEXT[target]),
            tables=(paths_table(rows.paths),),
        ),
        ReportSection(
            key="hops", heading="All hops", text=(*HOPS_TEXT, LEVEL_TEXT[target]), tables=(hops_table(rows.hops),)
        ),
        ReportSection(
            key="nearest",
            heading="Computed barrier nearest to each published value",
            level="detail",
            text=(*NEAREST_TEXT, *((NO_D3_TEXT,) if target == "pbe" else ())) if rows.nearest else (),
            tables=filled(nearest_table(rows.nearest)),
        ),
        ReportSection(
            key="profiles",
            heading="Bands, image by image",
            text=(*(PROFILES_TEXT if figures or viewers else ()), *((IMAGES_TEXT,) if viewers else ())),
            figures=figures,
            small_figures=True,
            viewers=viewers,
        ),
        ReportSection(key="other", heading="Other published quantities", tables=filled(other_table(rows.other))),
    )


def headline_section(
    rows: Sequence[Headline], rules: Sequence[str], *, target: str, quotes: Sequence[str] = ()
) -> ReportSection:
    """The barriers (eV), how verdicts are reached, and the uncertainty."""
    picture = Figure(
        image=headline_figure.headline(rows),
        form="svg+xml",
        caption="Published and computed barriers",
        alt="Published barriers, our DFT and the potential side by side; the table below has the numbers",
    )
    reached = ReportSection(key="verdicts", heading="How the verdicts are reached", points=tuple(rules))
    quoted = ReportSection(key="quote", heading="Quote this", quotes=tuple(quotes))
    uncertain = ReportSection(key="uncertainty", heading="Uncertainty", tables=filled(budget_table(rows)))
    return ReportSection(
        key="headline",
        heading="Barriers",
        level="answer",
        tables=filled(headline_table(rows, target=target)),
        figures=(picture,) if rows else (),
        parts=tuple(part for part in (quoted, reached, uncertain) if not part.is_empty),
    )


def drawn_bands(
    rows: Sequence[HopRow], bands: Sequence[Band], images: Images
) -> tuple[tuple[Figure, ...], tuple[Viewer, ...]]:
    """The bands of every hop with the DFT barrier: a viewer, or only the profile where no images are known."""
    figures, viewers = [], []
    for row in rows:
        own = [b for b in bands if (b.host, b.ion, b.hop) == (row.host, row.ion, row.hop)]
        where = "in the bulk" if row.host == "bulk" else f"on {row.host}"
        caption = f"{row.ion} {where}, hop {row.hop}: {row.status.detail}"
        viewer = band_viewer(own, images, caption=caption, dft_ev=row.dft_ev)
        if viewer is not None:
            viewers.append(viewer)
        elif any(b.energies_ev for b in own):
            image = profile(own, dft_ev=row.dft_ev)
            figures.append(Figure(image=image, form="svg+xml", caption=caption, alt=f"Energy along the hop, {caption}"))
    return tuple(figures), tuple(viewers)


def headline_table(rows: Sequence[Headline], *, target: str) -> Table:
    """One line per published barrier, in eV; DFT includes D3, the potential includes D3 where it is known."""
    dispersion = [Column("D3 in the potential's value (eV)", NUMBER, lambda r: number(r.d3_ev, signed=True))]
    columns = [
        Column("Ion", TEXT, lambda r: r.ion),
        Column("Facet", TEXT, lambda r: r.facet),
        Column("Published (eV)", NUMBER, lambda r: number(r.published_ev)),
        *_zero_shot(rows),
        Column("Our DFT (eV)", NUMBER, dft_with_hop),
        Column("DFT, how", TEXT, dft_how),
        Column(f"Potential, {PLUS_MINUS} 2 sigma (eV)", NUMBER, lambda r: with_error(r.ours_ev, r.two_sigma_ev)),
        *(dispersion if target == "pbe" else ()),
        Column("Difference (eV)", NUMBER, lambda r: number(r.difference_ev, 2, signed=True)),
        Column("Verdict", VERDICT, lambda r: r.verdict),
        Column("Reason", TEXT, lambda r: r.reason),
        Column("Limiting hop", TEXT, lambda r: f"{r.limiting_hop}, from {r.start}" if r.limiting_hop else DASH),
    ]
    return table("headline", columns, rows, stacked=True)


def _zero_shot(rows: Sequence[Headline] | Sequence[HopRow]) -> tuple[Column, ...]:
    """The column of the base model before training (eV), where the run has it: a barrier or its status."""
    if not any(r.zero_shot is not None for r in rows):
        return ()
    return (Column("Zero-shot (eV)", NUMBER, _before_training),)


def _before_training(row: Headline | HopRow) -> Cell:
    found = row.zero_shot
    if found is None or found.barrier_ev is None:
        return number(None).noted(f"({found.status.detail})") if found is not None else number(None)
    bound = found.status.code == UPPER_BOUND
    return number(found.barrier_ev).noted("(upper bound)") if bound else number(found.barrier_ev)


def dft_with_hop(row: Headline) -> Cell:
    """The DFT barrier (eV) of a headline row, with the name of the hop where it is not the limiting one."""
    barrier = with_error(row.dft_ev, row.dft_two_sigma_ev) if row.dft_refined else number(row.dft_ev)
    if row.dft_refined and not row.decided_has_d3:
        barrier = barrier.noted("(without D3)")
    return barrier.noted(f"({row.dft_hop})") if row.dft_is_elsewhere else barrier


def dft_how(row: Headline) -> str:
    """How the DFT barrier was reached: relaxed with calls and the largest force left, or not relaxed."""
    if row.dft_ev is None:
        return ""
    if not row.dft_refined:
        return "not relaxed"
    force = row.dft_force_ev_per_angstrom
    left = "" if force is None else f", residual force {1e3 * force:.0f} meV/{ANGSTROM}"
    return f"converged: {row.dft_calls} calls{left}"


def budget_table(rows: Sequence[Headline]) -> Table:
    """Terms of the uncertainty of every headline barrier that has one, 1 sigma each, in eV."""
    columns = [
        Column("Ion", TEXT, lambda r: r.ion),
        Column("Facet", TEXT, lambda r: r.facet),
        Column("Committee spread, calibrated (eV)", NUMBER, lambda r: number(r.budget.committee_ev)),
        Column("Held-out path error (eV)", NUMBER, lambda r: number(r.budget.held_out_ev)),
        Column("DFT labels and forces left (eV)", NUMBER, lambda r: number(r.budget.refined_ev)),
        Column("Convergence (eV)", NUMBER, lambda r: number(r.budget.convergence_ev)),
        Column("Dispersion (eV)", NUMBER, lambda r: number(r.budget.dispersion_ev)),
        Column("Total, 1 sigma (eV)", NUMBER, lambda r: number(r.budget.total_ev)),
    ]
    return table("uncertainty", columns, [r for r in rows if r.budget is not None])


def paths_table(rows: Sequence[PathRow]) -> Table:
    """Lowest path between neighbouring equivalent sites, per host, ion and direction; barriers in eV."""
    columns = [
        Column("Host", TEXT, lambda r: r.host),
        Column("Ion", TEXT, lambda r: r.ion),
        Column("Direction", TEXT, lambda r: r.direction),
        Column("Start", TEXT, lambda r: r.start),
        Column(f"Barrier, {PLUS_MINUS} 2 sigma (eV)", NUMBER, lambda r: with_error(r.barrier_ev, r.two_sigma_ev)),
        Column("D3 (eV)", NUMBER, lambda r: number(r.d3_ev, signed=True)),
        Column("Path", TEXT, lambda r: " then ".join(r.hops) or DASH),
        Column("Limiting hop", TEXT, lambda r: r.limiting_hop or DASH),
        Column("Status", TEXT, lambda r: str(r.status)),
    ]
    return table("paths", columns, rows)


def hops_table(rows: Sequence[HopRow]) -> Table:
    """Every hop of the network; lengths in Angstrom, barriers in eV."""
    columns = [
        Column("Host", TEXT, lambda r: r.host),
        Column("Ion", TEXT, lambda r: r.ion),
        Column("Hop", TEXT, lambda r: r.hop),
        Column("Sites", TEXT, lambda r: r.sites),
        Column(f"Length ({ANGSTROM})", NUMBER, lambda r: number(r.length_angstrom, 2)),
        Column("Equivalent hops", NUMBER, lambda r: str(r.multiplicity)),
        Column("Status", TEXT, lambda r: r.status.detail),
        *_zero_shot(rows),
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
    """The computed barrier (eV) nearest to each published value, and the chance (%) of such a match."""
    columns = [
        Column("Ion", TEXT, lambda r: r.ion),
        Column("Facet", TEXT, lambda r: r.facet),
        Column("Published (eV)", NUMBER, lambda r: number(r.published_ev)),
        Column("Nearest hop", TEXT, lambda r: f"{r.hop}, {r.sense}" if r.hop else "none converged"),
        Column("Computed barrier (eV)", NUMBER, lambda r: number(r.mlip_ev)),
        Column("Difference (eV)", NUMBER, lambda r: number(r.difference_ev, signed=True)),
        Column("Barriers compared", NUMBER, lambda r: str(r.looked_at)),
        Column("Chance of a match (%)", NUMBER, lambda r: number(100 * r.chance if r.chance is not None else None, 0)),
    ]
    return table("nearest", columns, rows)


def order_table(rows: Sequence[Comparison]) -> Table:
    """Published orders of two barriers beside the computed difference, in eV."""
    columns = [
        Column("Published order", TEXT, lambda r: r.statement),
        Column("Published (eV)", NUMBER, lambda r: number(r.published_difference_ev, signed=True)),
        Column(f"Computed, {PLUS_MINUS} 2 sigma (eV)", NUMBER, lambda r: with_error(r.difference_ev, r.two_sigma_ev)),
        Column("Computed / sigma", NUMBER, lambda r: number(r.sigmas, 1)),
        Column("Outcome", TEXT, lambda r: r.outcome),
    ]
    return table("order", columns, rows)


def other_table(rows: Sequence[Other]) -> Table:
    """Published quantities other than barriers, each in the unit of its row, and what this work says about them."""
    columns = [
        Column("Quantity", TEXT, lambda r: r.quantity),
        Column("Ion", TEXT, lambda r: r.ion or DASH),
        Column("Facet", TEXT, lambda r: r.facet),
        Column("Published", NUMBER, lambda r: compact(r.value)),
        Column("Unit", TEXT, lambda r: unit(r.unit)),
        Column("Method", TEXT, lambda r: r.method),
        Column("This work", TEXT, lambda r: r.status.detail),
        Column("Verdict", VERDICT, lambda r: r.verdict or DASH),
    ]
    return table("other", columns, rows, stacked=True)


def _symmetry(row: HopRow) -> str:
    if row.mirrored:
        return "by construction: symmetry gives half of the images"
    if not row.symmetric or row.asymmetry_ev is None:
        return DASH
    return f"{'yes' if row.asymmetry_ok else 'no'}, {1e3 * row.asymmetry_ev:.1f} meV"


def limits_section() -> ReportSection:
    """What the report does not show."""
    return ReportSection(key="limits", heading="What this report does not show", points=LIMITS)
