"""A finished stage as a run of Weights & Biases: settings, tables and figures of its report, files with their lineage.

Takes a run and a stage that is done; gives one W&B run with the name of the stage as its job type. A stage that is done
and not recorded, since W&B was installed later or the process was killed, is recorded by the next call.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from mlip.core import files
from mlip.core.report import DASH, NUMBER, Cell, ReportSection, Table
from mlip.core.run import Run
from mlip.core.stage import Stage
from mlip.core.tracking import Artifact, Task, Tracker, Tracking, is_on

AnyStage = Stage[Any, Any]


def settings_of(run: Run) -> Tracking:
    """The section `tracking` of a run; disabled where the run has none."""
    found = run.sections.get("tracking")
    return found if isinstance(found, Tracking) else Tracking(mode="disabled")


def record(run: Run, stage: AnyStage, *, again: bool) -> None:
    """Record a stage that is done.

    Args:
        run: the run.
        stage: of the run.
        again: also where it is recorded, as its result grew.
    """
    settings = settings_of(run)
    if not is_on(settings):
        return
    made = files.read_provenance(run.path(stage.name, "result.json"))
    task = Task(run=run.folder, stage=stage.name, fingerprint=made.fingerprint)
    if task.is_recorded and not again:
        return
    about = {"commit": made.commit, "fingerprint": made.fingerprint, "seed": made.seed, "device": made.device}
    config = {**made.settings, **about, "versions": made.versions, "inputs": made.inputs}
    with Tracker(settings, task, config=config) as tracker:
        for other in run.upstream(stage):
            if (used := artifact_of(run, other)) is not None:
                tracker.use(used)
        tracker.log({"wall_time_s": made.wall_time_s, **_media(tracker, _sections(run, stage))}, step=tracker.next_step)
        if (own := artifact_of(run, stage)) is not None:
            tracker.make(own)


def artifact_of(run: Run, stage: AnyStage) -> Artifact | None:
    """The files of a stage that is done which W&B keeps, or None."""
    if stage.artifact is None:
        return None
    folder = run.path(stage.name)
    made = files.read_provenance(folder / "result.json")
    paths = sorted({path for pattern in stage.artifact.patterns for path in folder.glob(pattern) if path.is_file()})
    metadata = {
        "stage": stage.name,
        "fingerprint": made.fingerprint,
        "commit": made.commit,
        "settings": made.settings,
        "versions": made.versions,
    }
    return Artifact(run=run.folder, kind=stage.artifact.kind, folder=folder, paths=tuple(paths), metadata=metadata)


def _sections(run: Run, stage: AnyStage) -> tuple[ReportSection, ...]:
    """What the stage has to show, with the sections inside its sections."""
    shown = list(run.report_sections((stage,)))
    if stage.recorded is not None:
        result = files.read_result(run.path(stage.name, "result.json"), stage.result)
        shown += stage.recorded(run.context(stage), result)
    return tuple(one for section in shown for one in _flat(section))


def _flat(section: ReportSection) -> Iterator[ReportSection]:
    yield section
    for part in section.parts:
        yield from _flat(part)


def _media(tracker: Tracker, sections: Sequence[ReportSection]) -> dict[str, Any]:
    """Tables and figures of W&B by key: a figure has the key of its section, with its number from 1."""
    found: dict[str, Any] = {}
    for section in sections:
        for one in section.tables:
            if one.rows:
                found[f"tables/{one.key}"] = tracker.table(one.columns, values(one))
        for number, figure in enumerate(section.figures, start=1):
            found[f"figures/{section.key}-{number}"] = tracker.figure(figure.uri, figure.alt)
    return found


def values(table: Table) -> list[list[float | str | None]]:
    """The rows of a table that has some; a column of numbers and dashes as numbers, every other one as text."""
    columns = zip(table.kinds, zip(*table.rows, strict=True), strict=True)
    return [list(row) for row in zip(*(_column(cells, numeric=kind == NUMBER) for kind, cells in columns), strict=True)]


def _column(cells: Sequence[str], *, numeric: bool) -> list[float | str | None]:
    numbers = [cell for cell in cells if isinstance(cell, Cell) and _is_number_alone(cell)]
    return [cell.value for cell in numbers] if numeric and len(numbers) == len(cells) else [str(cell) for cell in cells]


def _is_number_alone(cell: Cell) -> bool:
    """Whether the cell is a number without error, range and words, or a dash."""
    bare = cell.error is None and cell.low is None and cell.high is None and not cell.note
    return cell == DASH or (cell.value is not None and bare)
