"""One file and one entry add a stage; a declaration that is wrong is refused in one line."""

import json
import re
from dataclasses import dataclass, replace

import pytest
import yaml
from pydantic import Field

from mlip import cli, config, pipeline
from mlip.core import files
from mlip.core.report import NUMBER, Column, ReportSection, number, table
from mlip.core.section import Common, Section, describe
from mlip.core.stage import Stage
from mlip.literature.settings import Literature
from mlip.stages import structures


class CountSettings(Section):
    """Counts what a file holds."""

    path: str = Field(default="none", description="File whose lines are counted.")
    factor: int = Field(default=1, description="Multiplies the count.")


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Result of the stage."""

    lines: int
    cells: int
    seed: int


def run(context):
    lines = len(context.file(context.settings.path).read_text(encoding="utf-8").splitlines())
    cells = len(context.result(structures.STAGE).hosts)
    return Counted(lines=context.settings.factor * lines, cells=cells, seed=context.common.seed)


def report(_, result):
    shown = table("counted", [Column("Lines", NUMBER, lambda r: number(r.lines, 0))], [result])
    return (ReportSection(key="count", heading="Lines", tables=(shown,)),)


COUNT = Stage(
    name="count",
    settings=CountSettings,
    result=Counted,
    run=run,
    needs=(structures.STAGE,),
    common=("seed",),
    inputs=lambda context: [context.settings.path],
    report=report,
)


@pytest.fixture
def added(monkeypatch):
    """Puts a stage at the end of the pipeline, as an entry in `pipeline.STAGES` does."""

    def add(stage):
        monkeypatch.setitem(pipeline.STAGES, stage.name, pipeline.Entry(stage.name, "count lines", lambda: stage))

    return add


@pytest.fixture
def run_folder(tmp_path, added):
    """A run with the stage `count` whose structures are built, and the file that is counted."""
    added(COUNT)
    (tmp_path / "lines.txt").write_text("a\nb\n")
    write(tmp_path)
    assert cli.main(["init", str(tmp_path / "c.yaml"), str(tmp_path / "run")]) == 0
    assert cli.main(["structures", str(tmp_path / "run")]) == 0
    return tmp_path / "run"


def write(tmp_path, **count):
    facet = {"name": "001", "miller": [0, 0, 1], "layers": 2, "repeat": [1, 1]}
    sections = {
        "structures": {"facets": [facet]},
        "count": {"path": str(tmp_path / "lines.txt"), **count},
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(sections))


def counted(folder):
    assert cli.main(["count", str(folder)]) == 0
    return json.loads((folder / "count" / "result.json").read_text())["result"]


def test_the_stage_is_in_help_settings_and_config(run_folder, capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert "count lines" in capsys.readouterr().out
    assert cli.main(["settings", "count"]) == 0
    assert "count.factor: whole number = 1\n    Multiplies the count.\n" in capsys.readouterr().out
    assert list(config.sections())[-1 - len(config.SHARED)] == "count"


def test_it_runs_once_and_its_section_can_be_reported(run_folder, capsys):
    assert counted(run_folder) == {"lines": 2, "cells": 2, "seed": 1}
    capsys.readouterr()
    counted(run_folder)
    assert "up to date" in capsys.readouterr().err
    made = files.read_result(run_folder / "count" / "result.json", Counted)
    assert report(None, made)[0].tables[0].rows == (("2",),)


def test_it_is_stale_when_file_setting_or_version_changes(run_folder, tmp_path, added, capsys):
    counted(run_folder)
    (tmp_path / "lines.txt").write_text("a\nb\nc\n")
    assert counted(run_folder)["lines"] == 3
    write(tmp_path, factor=10)
    assert cli.main(["init", str(tmp_path / "c.yaml"), str(run_folder)]) == 0
    assert counted(run_folder)["lines"] == 30
    capsys.readouterr()
    added(replace(COUNT, version=2))
    counted(run_folder)
    assert "count      done" in capsys.readouterr().err


def test_it_waits_for_what_it_needs(tmp_path, added, capsys):
    added(COUNT)
    (tmp_path / "lines.txt").write_text("a\n")
    write(tmp_path)
    assert cli.main(["init", str(tmp_path / "c.yaml"), str(tmp_path / "run")]) == 0
    assert cli.main(["count", str(tmp_path / "run")]) == 1
    assert "structures is not done with these settings; first run: mlip structures" in capsys.readouterr().err


def reading(what):
    return replace(COUNT, run=what)


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (replace(COUNT, common=()), "stage count: reads common.seed; add it to `common`"),
        (replace(COUNT, needs=()), "stage count: reads stage structures; add it to `needs`"),
        (replace(COUNT, inputs=None), r"stage count: reads .*lines\.txt; add it to `inputs`"),
        (reading(lambda c: c.section(Literature)), "stage count: reads section Literature; add it to `sections`"),
        (
            replace(reading(lambda c: c.settings_of(structures.STAGE)), needs=()),
            "stage count: reads stage structures; add it to `settings_of`",
        ),
        (
            replace(reading(lambda c: c.folder_of(structures.STAGE)), needs=()),
            "stage count: reads stage structures; add it to `needs`",
        ),
    ],
)
def test_what_is_not_declared_is_refused(run_folder, added, capsys, stage, message):
    added(stage)
    assert cli.main(["count", str(run_folder)]) == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.search(message, line), line
    assert not (run_folder / "count" / "result.json").exists()


def test_execution_settings_need_no_declaration(run_folder, added):
    added(reading(lambda c: Counted(lines=c.workers, cells=c.common.workers, seed=0)))
    assert counted(run_folder) == {"lines": 2, "cells": 2, "seed": 0}


def test_wrong_declarations(added, monkeypatch):
    with pytest.raises(ValueError, match=r"stage count: common setting 'sead' does not exist; there are: seed, device"):
        replace(COUNT, common=("sead",))
    added(replace(COUNT, needs=(replace(COUNT, name="nowhere"),)))
    with pytest.raises(ValueError, match="stage count: needs 'nowhere', which is not in the pipeline before it"):
        config.stages()
    monkeypatch.setitem(pipeline.STAGES, "count", pipeline.Entry("count", "", lambda: replace(COUNT, name="counts")))
    with pytest.raises(ValueError, match="the entry 'count' loads a stage called 'counts'; name both alike"):
        config.stages()

    def structures_again():
        return COUNT

    structures_again.__name__ = "structures"
    with pytest.raises(ValueError, match="two stages are called 'structures'; every stage has a name of its own"):
        pipeline.entry("again")(structures_again)


def test_settings_without_a_description_are_refused(tmp_path, added, capsys):
    class Silent(Section):
        loud: int = 1

    added(replace(COUNT, settings=Silent, inputs=None))
    (tmp_path / "c.yaml").write_text("common: {}\n")
    assert cli.main(["init", str(tmp_path / "c.yaml"), str(tmp_path / "run")]) == 1
    line = capsys.readouterr().err.strip()
    assert line == "mlip init: count.loud: the setting has no description; give it Field(description=...)"


def test_every_shipped_setting_is_described():
    found = list(config.settings())
    assert len({s.path for s in found}) == len(found) > 130
    assert all(s.description.endswith((".", ")")) and s.description[0].isupper() for s in found)
    assert next(describe(Common, "common")).path == "common.seed"
