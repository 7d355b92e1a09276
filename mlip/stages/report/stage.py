"""The stage `report`: published values, our DFT and the potential side by side, with a verdict each.

Writes `report/report.html`, `report.md`, `report.json` and one CSV file per table in `report/tables/`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.data import atomic_numbers
from pydantic import TypeAdapter
from rich.table import Table as Printed

from mlip.atoms import extxyz
from mlip.atoms.structures import crystal as conventional_cell
from mlip.core import files
from mlip.core.progress import console
from mlip.core.report import Page, ReportSection, card, number, with_error
from mlip.core.report.csv import to_csv
from mlip.core.report.html import to_html
from mlip.core.report.markdown import to_markdown
from mlip.core.stage import Context, Stage
from mlip.literature import audit, matching
from mlip.literature import references as published
from mlip.literature.settings import Literature
from mlip.stages import structures
from mlip.stages.convergence.stage import STAGE as CONVERGENCE
from mlip.stages.dataset.card import LabelledPath, labels_fit, read_card
from mlip.stages.dataset.stage import STAGE as DATASET
from mlip.stages.diffusion.stage import STAGE as DIFFUSION
from mlip.stages.energetics.stage import STAGE as ENERGETICS
from mlip.stages.evaluate.evaluate import Evaluation
from mlip.stages.evaluate.stage import STAGE as EVALUATE
from mlip.stages.label import STAGE as LABEL
from mlip.stages.ladder.stage import STAGE as LADDER
from mlip.stages.md.stage import STAGE as MD
from mlip.stages.neb.stage import STAGE as NEB
from mlip.stages.report import sections, tables
from mlip.stages.report.energies import energies_section
from mlip.stages.report.given import Given
from mlip.stages.report.rows import AGREES, DIFFERS, NOT_COMPARABLE, NOT_RESOLVED, Headline, Results, Rows
from mlip.stages.report.settings import ReportSettings
from mlip.stages.sites import backends
from mlip.stages.sites.stage import STAGE as SITES
from mlip.stages.train.stage import STAGE as TRAIN

LABELLED = ("frames.extxyz", "card.yaml")


@dataclass(frozen=True, kw_only=True)
class Reported:
    """Result of the stage."""

    html: str  # file names in the folder of the stage
    markdown: str
    json: str
    headline: tuple[Headline, ...]


@dataclass(frozen=True, kw_only=True)
class Document:
    """The comparison as data: what the JSON file holds."""

    title: str
    target: str
    tolerances: dict[str, float]
    rows: Rows
    audit: tuple[audit.Finding, ...]
    crystal: Given | None = None


def run(context: Context[ReportSettings]) -> Reported:
    """Write the report."""
    everything = published.load(context.file(context.section(Literature).references))
    crystal = _crystal(context, everything)
    hosts, surfaces = context.result(structures.STAGE).hosts, context.settings_of(ENERGETICS).surfaces
    references = matching.of_run(everything, crystal.identity, hosts=hosts, surfaces=surfaces)
    heading = context.settings.title or title(context.settings_of(structures.STAGE).ions, crystal.name)
    document = compare(results_of(context), references, context.settings, title=heading, crystal=crystal)
    page = make_page(context, document, references)
    for name, text in (("html", to_html(page)), ("md", to_markdown(page)), ("json", as_json(document))):
        files.write_text_atomic(context.folder / f"report.{name}", text)
    for section in page.ordered():
        _write_tables(section, context.folder / "tables")
    return Reported(html="report.html", markdown="report.md", json="report.json", headline=document.rows.headline)


def _write_tables(section: ReportSection, folder: Path) -> None:
    for table in section.tables:
        files.write_text_atomic(folder / f"{table.key}.csv", to_csv(table))
    for part in section.parts:
        _write_tables(part, folder)


def results_of(context: Context[ReportSettings]) -> Results:
    """What the stages found, as far as rows and verdicts need it."""
    found, moved, evaluation = context.result(SITES), context.result(NEB), context.result(EVALUATE)
    climbed, energies = context.result_if_done(LADDER), context.result_if_done(ENERGETICS)
    folder = context.file(context.settings_of(DATASET).path / "card.yaml").parent
    frames = {str(f.info["frame_id"]): f for f in extxyz.read_frames(folder / "frames.extxyz")}
    return Results(
        target=context.result(TRAIN).target,
        hosts=context.result(structures.STAGE).hosts,
        sites=found.sites,
        hops=found.hops,
        barriers=moved.barriers,
        bottlenecks=moved.bottlenecks,
        dft=(
            *tables.ladder_barriers(climbed.steps if climbed else ()),
            *tables.dft_barriers(_labelled_paths(context, folder, frames), frames),
        ),
        calibration=evaluation.arms[0].calibration,
        path_error_ev=path_error_ev(evaluation),
        adsorption=energies.adsorption if energies else (),
    )


def _labelled_paths(context: Context[ReportSettings], folder: Path, frames: Mapping[str, Atoms]) -> list[LabelledPath]:
    """The labelled paths of the dataset that belong to the run's crystal and facets."""
    conventional = conventional_cell(structures.crystal_name(context.settings_of(structures.STAGE)))
    hosts = context.result(structures.STAGE).hosts
    return [p for p in read_card(folder).paths if labels_fit(p, frames, hosts, conventional)]


def path_error_ev(evaluation: Evaluation | None) -> float | None:
    """RMS error of the energy from the initial image to the saddle of each held-out path; None without such a path.

    The term of the uncertainty that the committee cannot hide: `Results.path_error_ev`.
    """
    if evaluation is None or not evaluation.arms:
        return None
    errors = [(p.model_ev - p.dft_ev) ** 2 for p in evaluation.arms[0].paths]
    return float((sum(errors) / len(errors)) ** 0.5) if errors else None


def _crystal(context: Context[ReportSettings], references: published.References) -> Given:
    """The crystal of the run under the name that the references give it."""
    settings, made = context.settings_of(structures.STAGE), context.result(structures.STAGE)
    identity, path = structures.identity_of(settings, made), structures.crystal_file(settings)
    return Given(
        name=matching.name_of(references, identity),
        identity=identity,
        file=None if path is None else path.name,
        notes=made.notes,
        others=matching.others(references, identity),
    )


def title(ions: Sequence[str], crystal: str) -> str:
    """The title of a report that has none of its own, heavier ions first."""
    *first, last = sorted(ions, key=lambda symbol: -atomic_numbers[symbol])
    listed = f"{', '.join(first)} and {last}" if first else last
    return f"{listed} migration on {crystal}: cross-check"


def compare(
    results: Results,
    references: published.References,
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
    )


def as_json(document: Document) -> str:
    """The document as JSON text."""
    return TypeAdapter(Document).dump_json(document, indent=1).decode() + "\n"


def make_page(context: Context[ReportSettings], document: Document, references: published.References) -> Page:
    """The report's own sections, those of the stages, and the cards."""
    own = sections.comparison_sections(
        document.rows, context.result(NEB).bands, rules(document), target=document.target
    )
    return Page(
        title=document.title,
        subtitle=subtitle(document, references),
        summary=tally(document),
        sections=(
            *own,
            ReportSection(key="crystal", heading="Crystal", text=document.crystal.words if document.crystal else ()),
            *context.report_sections(),
            energies_section(context.result_if_done(ENERGETICS), references),
            sections.independent_section(references),
            sections.audit_section(document.audit, references.not_stated),
            sections.limits_section(),
            _provenance(context),
        ),
    )


def subtitle(document: Document, references: published.References) -> str:
    """What stands side by side, and which paper is under check."""
    if not document.rows.headline:
        return f"Migration barriers by a machine-learned potential at the level {document.target.upper()}."
    text = (
        "Published barriers, our DFT single points and a machine-learned potential at the level "
        f"{document.target.upper()}, side by side."
    )
    checked = references.checked()
    if checked is None:
        return text
    doi = f", doi:{checked.doi}" if checked.doi else ""
    return f"{text} Paper under check: {checked.citation}{doi}; read: {checked.read}."


def tally(document: Document) -> str:
    """Counts of the verdicts in words."""
    rows = document.rows.headline
    counts = [(v, sum(r.verdict == v for r in rows)) for v in (AGREES, DIFFERS, NOT_COMPARABLE, NOT_RESOLVED)]
    words = ", ".join(f"{n} {v}" for v, n in counts if n)
    of = f" of {document.crystal.name}" if document.crystal is not None else ""
    return f"Published barriers: {words}." if words else f"No published barrier{of} is known to the references."


def rules(document: Document) -> tuple[str, ...]:
    """How verdicts are reached, with the tolerances of this run; nothing where there are no verdicts."""
    t = document.tolerances
    if not document.rows.headline:
        return ()
    return (
        f"agrees: the difference is at most {t['agree_ev']:g} eV or 2 sigma, whichever is larger; differs: it is more.",
        f"not resolved: no converged path (then no number), or within 2 sigma above {t['max_uncertainty_ev']:g} eV.",
        "not comparable: the slab or the site is not the one that the published value is for.",
        *_geometries(document.rows.headline),
        *sections.VERDICTS_TEXT,
    )


def _geometries(rows: Sequence[Headline]) -> tuple[str, ...]:
    """The geometry of every DFT value of the headline table, and what a hop beside one means."""
    known = [f"{r.ion} {r.facet} {r.dft_hop} on the {r.dft_geometry}" for r in rows if r.dft_ev is not None]
    lines = [f"Our DFT: single points at fixed geometries: {'; '.join(known)}."] if known else []
    if any(r.dft_is_elsewhere for r in rows):
        lines.append(
            "A hop beside our DFT: no label has the limiting hop; this is the lowest labelled one of that ion there."
        )
    return tuple(lines)


def _provenance(context: Context[ReportSettings]) -> ReportSection:
    """Settings of the run; versions, hashes and times of its stages."""
    stages = context.provenances()
    found = context.result(SITES)
    shown: dict[str, Any] = {
        "versions": files.versions(),
        "commit": files.commit(),
        "fingerprints": {s: p.fingerprint[:16] for s, p in stages.items()},
        "wall_time_s": {s: p.wall_time_s for s, p in stages.items()},
        "input_hashes": {f"{s}: {n}": h[:16] for s, p in stages.items() for n, h in p.inputs.items()},
        "notes": list(found.notes),
        "equivalence": [asdict(e) for e in backends.latest(context.run_folder, found.equivalence)],
    }
    return ReportSection(
        key="cards",
        heading="Settings and provenance",
        level="detail",
        tables=(
            card("settings", context.configuration(), caption="Settings of the run"),
            card("provenance", shown, caption="Versions, hashes, machine, times"),
        ),
    )


def show(context: Context[ReportSettings], result: Reported) -> None:
    """Print the headline table and where the report is."""
    head, *body = headline_lines(result.headline)
    if not body:
        console.print("no published barrier of this crystal: the barriers are in the report")
    printed = Printed(title="Migration barriers, eV (ours with D3; potential: mean +- 2 sigma)")
    for column in head:
        printed.add_column(column)
    for line in body:
        printed.add_row(*line)
    if body:
        console.print(printed)
    console.print(f"report: {context.folder / 'report.html'}", soft_wrap=True)


def headline_lines(rows: Sequence[Headline]) -> tuple[tuple[str, ...], ...]:
    """Header and lines of the headline table for a terminal."""
    lines = [("ion", "facet", "published", "our DFT", "potential", "difference", "verdict")]
    lines += [
        (
            r.ion,
            r.facet,
            number(r.published_ev),
            sections.dft_with_hop(r),
            with_error(r.ours_ev, r.two_sigma_ev),
            number(r.difference_ev, 2, signed=True),
            r.verdict,
        )
        for r in rows
    ]
    return tuple(lines)


def _inputs(context: Context[ReportSettings]) -> list[Path]:
    labelled = [context.settings_of(DATASET).path / name for name in LABELLED]
    return [context.section(Literature).references, *labelled, files.PACKAGE]  # new code makes another report


STAGE = Stage(
    name="report",
    settings=ReportSettings,
    result=Reported,
    run=run,
    needs=(structures.STAGE, DATASET, TRAIN, EVALUATE, SITES, NEB),
    uses=(LABEL, CONVERGENCE, ENERGETICS, LADDER, MD, DIFFUSION),
    sections=(Literature,),
    inputs=_inputs,
    show=show,
)
