"""The report as data: the comparison, and the page with its sections.

Takes results of a run, references and the sections of the stages; gives a `Document` for the JSON file and a `Page` for
the other formats. Reads and writes nothing. Energies are in eV.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ase.data import atomic_numbers
from pydantic import TypeAdapter

from mlip.core.report import Page, ReportSection, card, filled, number
from mlip.literature import audit
from mlip.literature.references import References
from mlip.stages.energetics.energetics import Energetics
from mlip.stages.neb.neb import Band
from mlip.stages.neb.viewer import Images
from mlip.stages.report import paper, quotes, sections, tables
from mlip.stages.report.energies import energies_section
from mlip.stages.report.given import Given
from mlip.stages.report.rows import Headline, Results, Rows
from mlip.stages.report.settings import ReportSettings

ACCURACY = "accuracy"  # key of the section of the stage `evaluate`
WIDER = 5  # times the error of the DFT settings, up to which verdicts are tested
NO_ACCURACY = "No evaluation on held-out groups is part of this run: the errors of the potential are not known."


@dataclass(frozen=True, kw_only=True)
class Document:
    """The comparison as data: what the JSON file holds."""

    title: str
    target: str  # 'pbe' | 'pbe-d3': level of the potential
    tolerances: dict[str, float]  # eV
    rows: Rows
    audit: tuple[audit.Finding, ...]
    crystal: Given | None = None
    base: str = ""  # the model of the column zero-shot, in words


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the page shows of a run beside the comparison."""

    bands: tuple[Band, ...]
    energetics: Energetics | None
    stages: tuple[ReportSection, ...]  # sections of the stages, in the order of the pipeline
    settings: Mapping[str, object]  # every section of the config
    provenance: Mapping[str, object]  # versions, hashes, times
    images: Images = field(default_factory=dict)  # of the bands
    made_by: quotes.MadeBy = field(default_factory=quotes.MadeBy)


def title(ions: Sequence[str], crystal: str) -> str:
    """The title of a report whose settings give none, heavier ions first."""
    *first, last = sorted(ions, key=lambda symbol: -atomic_numbers[symbol])
    listed = f"{', '.join(first)} and {last}" if first else last
    return f"{listed} migration on {crystal}: cross-check"


def compare(
    results: Results,
    references: References,
    settings: ReportSettings,
    *,
    title: str,
    crystal: Given | None = None,
) -> Document:
    """Published values of the run's crystal beside ours, with verdicts."""
    return Document(
        title=title,
        target=results.target,
        tolerances={
            "agree_ev": settings.agree_ev,
            "max_uncertainty_ev": settings.max_uncertainty_ev,
            "symmetric_ev": settings.symmetric_ev,
        },
        rows=tables.rows(results, references, settings),
        audit=audit.findings(references),
        crystal=crystal,
        base=results.base,
    )


def as_json(document: Document) -> str:
    """The document as JSON text."""
    return TypeAdapter(Document).dump_json(document, indent=1).decode() + "\n"


def make_page(document: Document, references: References, found: Found) -> Page:
    """The sections of the comparison, those of the stages, the audit of the paper, the limits and the settings."""
    headline = document.rows.headline
    compared = sections.comparison_sections(
        document.rows,
        found.bands,
        rules(document),
        target=document.target,
        images=found.images,
        quotes=quotes.sentences(headline, found.made_by),
    )
    return Page(
        title=document.title,
        subtitle=subtitle(document, references),
        summary=answers(document),
        sections=(
            *compared,
            ReportSection(
                key="crystal", heading="Crystal", text=document.crystal.sentences if document.crystal else ()
            ),
            *found.stages,
            *_accuracy_unknown(found.stages),
            energies_section(found.energetics, references),
            paper.independent_section(references),
            paper.audit_section(document.audit, references.not_stated),
            sections.limits_section(),
            settings_section(found.settings, found.provenance),
        ),
    )


def _accuracy_unknown(stages: Sequence[ReportSection]) -> tuple[ReportSection, ...]:
    """A section that says so where no stage reports the accuracy of the potential."""
    if any(section.key == ACCURACY for section in stages):
        return ()
    return (ReportSection(key=ACCURACY, heading="Accuracy of the potential", text=(NO_ACCURACY,)),)


def settings_section(settings: Mapping[str, object], provenance: Mapping[str, object]) -> ReportSection:
    """Settings of the run; versions, hashes and times of its stages."""
    return ReportSection(
        key="settings",
        heading="Settings and provenance",
        level="detail",
        tables=filled(
            card("settings", settings, caption="Settings of the run"),
            card("provenance", provenance, caption="Versions, hashes and times"),
        ),
    )


def subtitle(document: Document, references: References) -> str:
    """What stands side by side, and which paper is under check."""
    if not document.rows.headline:
        return f"Migration barriers by a machine-learned potential at the level {document.target.upper()}."
    potential = f"a machine-learned potential trained on {document.target.upper()}"
    text = f"Published barriers, our DFT and {potential}, side by side. D3 is included in the first table."
    checked = references.checked()
    if checked is None:
        return text
    doi = f", doi:{checked.doi}" if checked.doi else ""
    return f"{text} Paper under check: {checked.citation}{doi}; parts read: {checked.read}."


def answers(document: Document) -> tuple[str, ...]:
    """One sentence per verdict."""
    if not document.rows.headline:
        of = f" of {document.crystal.name}" if document.crystal is not None else ""
        return (f"The references have no barrier{of} to check.",)
    return quotes.verdict_sentences(document.rows.headline)


def rules(document: Document) -> tuple[str, ...]:
    """How verdicts are reached, with the tolerances (eV) of this run; nothing where there are no verdicts."""
    if not document.rows.headline:
        return ()
    agree, largest = (document.tolerances[name] for name in ("agree_ev", "max_uncertainty_ev"))
    return (
        (
            f"agrees: the difference is at most {agree:g} eV or 2 sigma, whichever is larger; differs: the difference "
            "is larger."
        ),
        (
            "not resolved: no path converged, no uncertainty is known, only an upper bound above the published value "
            f"is known, or 2 sigma exceeds {largest:g} eV and the difference is smaller than 2 sigma."
        ),
        "not comparable: the slab or the site is not the one that the published value is for.",
        *_dispersion(document.rows.headline),
        *settings_error(document.rows.headline),
        *_geometries(document.rows.headline),
        *((f"{sections.ZERO_SHOT} {document.base}.",) if document.base else ()),
        *sections.VERDICTS_TEXT,
    )


def _dispersion(rows: Sequence[Headline]) -> tuple[str, ...]:
    """How many verdicts would be others without D3."""
    both = [r for r in rows if r.verdict_without_d3 is not None]
    if not both:
        return ()
    others = [f"{r.ion} {r.facet}" for r in both if r.verdict_without_d3 != r.verdict]
    said = f"the verdicts of {', '.join(others)} would be others (see the reasons)" if others else "no verdict changes"
    return (f"A published barrier may or may not contain D3. Without D3 in our barriers, {said}.",)


def settings_error(rows: Sequence[Headline]) -> tuple[str, ...]:
    """Which verdicts on barriers relaxed with DFT depend on the error of the DFT settings."""
    refined = [(r, r.budget.convergence_ev) for r in rows if r.dft_refined and r.budget is not None]
    if not refined:
        return ()
    named: dict[float, list[str]] = {}
    for row, error in refined:
        named.setdefault(error, []).append(f"{row.ion} {row.facet}")
    taken = " and ".join(
        f"{error:g} eV" + (f" ({', '.join(places)})" if len(named) > 1 else "") for error, places in named.items()
    )
    near = [r for r, error in refined if r.covered_from_ev is not None and r.covered_from_ev <= WIDER * error]
    depend = ", ".join(f"{r.ion} {r.facet} (from {number(r.covered_from_ev)} eV)" for r in near)
    would = f"these barriers would no longer differ: {depend}" if near else "no barrier would cease to differ"
    said = f"The error of the DFT settings in barriers relaxed with DFT is taken as {taken}, 1 sigma."
    return (f"{said} With one up to {WIDER:g} times as large, {would}.",)


def _geometries(rows: Sequence[Headline]) -> tuple[str, ...]:
    """The geometry of every DFT value of the headline table, and what the name of a hop beside a value means."""
    known: dict[str, list[str]] = {}
    for r in rows:
        if r.dft_ev is not None and not r.dft_refined:
            known.setdefault(r.dft_geometry or "not stated", []).append(f"{r.ion} {r.facet} {r.dft_hop}")
    lines = [
        f"Our DFT values of {', '.join(names)} are single points and not relaxed; geometry: {geometry}."
        for geometry, names in known.items()
    ]
    if any(r.dft_refined for r in rows):
        lines.append(
            "Where DFT is converged, initial state and saddle are relaxed with DFT, and the verdict rests on DFT."
        )
    if any(r.dft_is_elsewhere for r in rows):
        lines.append(
            "Where the name of a hop stands beside our DFT value, the limiting hop has no DFT label; the value is that "
            "of the lowest labelled hop of the ion on the facet."
        )
    return tuple(lines)
