"""Sections of the report on the literature: the audit of the paper under check, barriers from other sources.

Takes references and findings of the audit; gives sections. Energies are in eV.
"""

from collections.abc import Sequence

from mlip.core.report import DASH, NUMBER, TEXT, Column, ReportSection, Table, compact, filled, table, unit
from mlip.literature.audit import Finding
from mlip.literature.references import References

LITERATURE_TEXT = (
    (
        "Evidence: S, read in the source; C, computed from public data or geometry; M, expert knowledge that was not "
        "verified; I, judgement. These values are for comparison; no verdict uses them."
    ),
)


def audit_section(found: Sequence[Finding], not_stated: Sequence[str]) -> ReportSection:
    """What follows from the numbers that the paper states, and what the paper does not state."""
    text = (
        "Each part starts from numbers that the paper states and calculates their consequences. Evidence: P, stated in "
        "the paper; C, computed here; S, read in another source; M, expert knowledge that was not verified."
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
    known = (f"Formula: {found.formula}. Evidence: {found.evidence}.", f"Consequence: {found.consequence}")
    return ReportSection(
        key=f"audit-{found.key}",
        heading=found.topic,
        text=(f"Claim: {found.claimed} ({found.where})", *(known if found.numbers else (str(found.status),))),
        tables=filled(table(f"audit_{found.key}", columns, found.numbers)),
    )


def independent_section(references: References) -> ReportSection:
    """Barriers (eV) from other sources; no verdict uses them."""
    shown = independent_table(references)
    return ReportSection(
        key="literature",
        heading="Barriers from other sources",
        level="detail",
        text=LITERATURE_TEXT if shown.rows else (),
        tables=filled(shown),
    )


def independent_table(references: References) -> Table:
    """Independent migration barriers (eV) with their sources and evidence tags."""
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
