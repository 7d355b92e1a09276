"""The stage `report`: published values, our DFT and the potential side by side, with a verdict each.

Writes `report/report.html`, `report.md`, `report.json` and one CSV file per table in `report/tables/`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.table import Table as Printed

import mlip
from mlip.atoms import extxyz, likeness
from mlip.core import files
from mlip.core.progress import console
from mlip.core.report import ReportSection, number, with_error
from mlip.core.report.csv import to_csv
from mlip.core.report.html import to_html
from mlip.core.report.markdown import to_markdown
from mlip.core.stage import Context, Kept, Stage
from mlip.core.uncertainty import Uncertainty
from mlip.literature import matching
from mlip.literature import references as published
from mlip.literature.settings import Literature
from mlip.stages import structures
from mlip.stages.dataset.stage import STAGE as DATASET
from mlip.stages.electronic.stage import STAGE as ELECTRONIC
from mlip.stages.energetics.stage import STAGE as ENERGETICS
from mlip.stages.evaluate.evaluate import path_error_ev
from mlip.stages.evaluate.stage import STAGE as EVALUATE
from mlip.stages.modes.headline import proved_barriers
from mlip.stages.modes.stage import STAGE as MODES
from mlip.stages.neb.stage import STAGE as NEB
from mlip.stages.neb.stage import band_file
from mlip.stages.neb.viewer import Images
from mlip.stages.refine import known
from mlip.stages.refine.stage import STAGE as REFINE
from mlip.stages.report import page, quotes, sections
from mlip.stages.report.given import Given
from mlip.stages.report.refined import with_refined
from mlip.stages.report.rows import Headline, Results
from mlip.stages.report.settings import ReportSettings
from mlip.stages.sites import backends
from mlip.stages.sites.stage import STAGE as SITES
from mlip.stages.train.stage import STAGE as TRAIN


@dataclass(frozen=True, kw_only=True)
class Reported:
    """Result of the stage."""

    html: str  # file names in the folder of the stage
    markdown: str
    json: str
    headline: tuple[Headline, ...]


def run(context: Context[ReportSettings]) -> Reported:
    """Write the report."""
    everything = published.load(context.file(context.section(Literature).references))
    crystal = _crystal(context, everything)
    hosts, surfaces = context.result(structures.STAGE).hosts, context.settings_of(ENERGETICS).surfaces
    references = matching.of_run(everything, crystal.identity, hosts=hosts, surfaces=surfaces)
    title = context.settings.title or page.title(context.settings_of(structures.STAGE).moving, crystal.name)
    document = page.compare(results_of(context), references, context.settings, title=title, crystal=crystal)
    made = page.make_page(document, references, _found(context, crystal))
    for name, text in (("html", to_html(made)), ("md", to_markdown(made)), ("json", page.as_json(document))):
        files.write_text_atomic(context.folder / f"report.{name}", text)
    for section in made.ordered():
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
    barriers, bottlenecks = proved_barriers(found, moved, context.result_if_done(MODES))
    energies = context.result_if_done(ENERGETICS)
    results = Results(
        target=context.result(TRAIN).target,
        hosts=context.result(structures.STAGE).hosts,
        sites=found.sites,
        hops=found.hops,
        barriers=barriers,
        bottlenecks=bottlenecks,
        dft=known.of_run(context),
        calibration=evaluation.models[0].calibration if evaluation.models else None,
        path_error_ev=path_error_ev(evaluation),
        adsorption=energies.adsorption if energies else (),
        electronic=context.result_if_done(ELECTRONIC),
        labelled=_is_labelled(context),
        errors=context.section(Uncertainty),
    )
    if (before := moved.zero_shot) is not None:
        own = replace(results, barriers=before.barriers, bottlenecks=before.bottlenecks)
        members = "1 member" if before.members == 1 else f"mean of {before.members} members"
        results = replace(results, zero_shot=own, base=f"{before.source} ({members}; {before.level})")
    return with_refined(results)


def _is_labelled(context: Context[ReportSettings]) -> bool:
    """Whether a frame of the dataset is of the run's crystal; so taken where the dataset has slabs alone."""
    own = context.settings_of(DATASET).path
    if own is None:
        return False
    crystal = structures.conventional_cell(context.settings_of(structures.STAGE))
    return not likeness.are_of_others(extxyz.read_frames(context.file(own / "frames.extxyz")), crystal)


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


def _found(context: Context[ReportSettings], crystal: Given) -> page.Found:
    """What the page shows of the run beside the comparison."""
    return page.Found(
        bands=context.result(NEB).bands,
        energetics=context.result_if_done(ENERGETICS),
        stages=context.report_sections(),
        settings=context.configuration(),
        provenance=_provenance(context),
        images=_images(context),
        made_by=_made_by(context, crystal.name),
    )


def _images(context: Context[ReportSettings]) -> Images:
    """The images of every band whose file is there."""
    folder, images = context.folder_of(NEB), {}
    for band in context.result(NEB).bands:
        path = band_file(folder, band)
        if path.is_file():
            images[band.host, band.ion, band.hop, band.member] = extxyz.read_frames(path)
    return images


def _made_by(context: Context[ReportSettings], crystal: str) -> quotes.MadeBy:
    """What a quoted number needs beside the number."""
    runs = {name: provenance.fingerprint[:12] for name, provenance in context.provenances().items()}
    return quotes.MadeBy(
        crystal=crystal,
        members=context.result(TRAIN).size,
        images=context.settings_of(NEB).images,
        version=mlip.__version__,
        run=runs.get(NEB.name),
        refined_run=runs.get(REFINE.name),
    )


def _provenance(context: Context[ReportSettings]) -> dict[str, Any]:
    """Versions, hashes and times of the stages."""
    stages, found = context.provenances(), context.result(SITES)
    return {
        "versions": files.versions(),
        "commit": files.commit(),
        "fingerprints": {s: p.fingerprint[:16] for s, p in stages.items()},
        "wall_time_s": {s: p.wall_time_s for s, p in stages.items()},
        "input_hashes": {f"{s}: {n}": h[:16] for s, p in stages.items() for n, h in p.inputs.items()},
        "notes": list(found.notes),
        "equivalence": [asdict(e) for e in backends.latest(context.run_folder, found.equivalence)],
    }


def recorded(context: Context[ReportSettings], result: Reported) -> tuple[ReportSection, ...]:
    """The barriers with their verdicts: the other sections are recorded with their own stages."""
    return (sections.headline_section(result.headline, (), target=context.result(TRAIN).target),)


def show(context: Context[ReportSettings], result: Reported) -> None:
    """Print the headline table and where the report is."""
    head, *body = headline_lines(result.headline)
    if not body:
        console.print("no barrier of this crystal to check: the barriers are in the report")
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
    return [
        context.section(Literature).references,
        *known.inputs_of(context),
        files.PACKAGE,
    ]  # new code makes another report


STAGE = Stage(
    name="report",
    settings=ReportSettings,
    result=Reported,
    run=run,
    needs=(structures.STAGE, DATASET, TRAIN, EVALUATE, SITES, NEB),
    uses_all=True,
    settings_of=(REFINE, ENERGETICS),
    sections=(Literature, Uncertainty),
    inputs=_inputs,
    artifact=Kept(kind="report", patterns=("report.*", "*.csv", "*/*.csv")),
    recorded=recorded,
    show=show,
)
