"""Gathers what the stages of a run left behind into the cross-check report.

Takes a `Run` whose other stages are whole; writes `report/report.{html,md,json}` and gives the headline rows.
"""

from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from ase import Atoms
from rich.table import Table

from mlip import (
    dft_stages,
    energetics,
    evaluate,
    extxyz,
    files,
    kinetics,
    md_stages,
    models,
    report,
    rows,
    tables,
    ways,
)
from mlip.card import card_as_mapping, read_card
from mlip.references import load as load_references
from mlip.run import Run, place
from mlip.screen import console
from mlip.stages import Barriers, Committee, SiteNetwork, Structures

T = TypeVar("T")


@dataclass(frozen=True)
class Reported:
    """Result of the report stage."""

    html: str  # file names in the folder of the stage
    markdown: str
    json: str
    headline: tuple[rows.Headline, ...]


def build(run: Run) -> Reported:
    """Write the report of a run."""
    rendered = report.render(gather(run))
    for name, text in (("html", rendered.html), ("md", rendered.markdown), ("json", rendered.json)):
        files.write_text_atomic(run.path("report", f"report.{name}"), text)
    return Reported("report.html", "report.md", "report.json", rendered.headline)


def gather(run: Run) -> report.Material:
    """Everything the report shows, read back from the stages."""
    c = run.config
    made = files.read_result(run.path("structures", "result.json"), Structures)
    committee = files.read_result(run.path("train", "result.json"), Committee)
    evaluation = files.read_result(run.path("evaluate", "result.json"), evaluate.Evaluation)
    found = files.read_result(run.path("sites", "result.json"), SiteNetwork)
    moved = files.read_result(run.path("neb", "result.json"), Barriers)
    folder = place(c.dataset.path)
    card = read_card(folder)
    frames = {str(f.info["frame_id"]): f for f in extxyz.read_frames(folder / "frames.extxyz")}
    climbed = _optional(run, "ladder", dft_stages.Ladder)
    energies = _optional(run, "energetics", energetics.Energetics)
    studied = _optional(run, "convergence", dft_stages.Convergence)
    trajectories = _optional(run, "md", md_stages.Trajectories)
    results = rows.Results(
        target=committee.target,
        hosts=made.hosts,
        sites=found.sites,
        hops=found.hops,
        barriers=moved.barriers,
        bottlenecks=moved.bottlenecks,
        dft=(*tables.ladder_barriers(climbed.steps if climbed else ()), *tables.dft_barriers(card.paths, frames)),
        calibration=evaluation.arms[0].calibration,
        path_error_ev=report.path_error_ev(evaluation),
        adsorption=energies.adsorption if energies else (),
    )
    return report.Material(
        title=c.report.title,
        settings=c.report,
        references=load_references(place(c.report.references)),
        results=results,
        bands=moved.bands,
        pictures=_pictures(run, made),
        evaluation=evaluation,
        histories={m.member: m.history for m in committee.members},
        energy_fits=tuple(m.energy_fit for m in committee.members if m.energy_fit is not None),
        dataset_card=card_as_mapping(card),
        model_card=models.load(run.path("train", "model")).card,
        run_settings=c.model_dump(mode="json"),
        provenance=_provenance(run)
        | {"notes": list(found.notes), "equivalence": [asdict(e) for e in ways.latest(run, found.equivalence)]},
        ladder=climbed.steps if climbed else (),
        energetics=energies,
        convergence=studied.variants if studied else (),
        followed=trajectories.systems if trajectories else (),
        diffused=_optional(run, "diffusion", kinetics.Diffused),
    )


def _optional(run: Run, stage: str, kind: type[T]) -> T | None:
    """The result of an optional stage, where it is done with the present settings."""
    return files.read_result(run.path(stage, "result.json"), kind) if run.is_done(stage) else None


def _pictures(run: Run, made: Structures) -> dict[str, Atoms]:
    paths = {h.name: run.path("sites", "hosts", f"{h.name}.extxyz") for h in made.hosts}
    return {name: extxyz.read_frames(path)[0] for name, path in paths.items() if path.exists()}


def _provenance(run: Run) -> dict[str, Any]:
    stages = {s: files.read_provenance(run.path(s, "result.json")) for s in run.upstream("report")}
    return {
        "versions": files.versions(),
        "commit": files.commit(),
        "device": run.config.common.device,
        "dtype": run.config.common.dtype,
        "seed": run.config.common.seed,
        "fingerprints": {s: p.fingerprint[:16] for s, p in stages.items()},
        "wall_time_s": {s: p.wall_time_s for s, p in stages.items()},
        "input_hashes": {f"{s}: {n}": h[:16] for s, p in stages.items() for n, h in p.inputs.items()},
    }


def show(run: Run) -> None:
    """Print the headline table and where the report is."""
    headline = files.read_result(run.path("report", "result.json"), Reported).headline
    head, *body = report.headline_lines(headline)
    table = Table(title="Migration barriers, eV (ours with D3; potential: mean +- 2 sigma)")
    for column in head:
        table.add_column(column)
    for line in body:
        table.add_row(*line)
    console.print(table)
    console.print(f"report: {run.path('report', 'report.html')}", soft_wrap=True)
