"""A finished run, read from Python: results as objects and tables as rows.

run = mlip.open_run("runs/quick")
run.result("neb").barriers
run.table("hops")[0]["Forward (eV)"]
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlip import driver
from mlip.core import files
from mlip.core.run import Run

Row = dict[str, str | float | None]
NAMES = {"Facet", "Host", "System", "Site", "Sites", "Hop"}  # headings of names, which may be digits: the facet 001


@dataclass(frozen=True)
class OpenRun:
    """A run folder opened for reading."""

    run: Run

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages that are done with the settings of the run, in the order of the pipeline."""
        return tuple(stage.name for stage in self.run.stages if self.run.is_done(stage))

    def result(self, stage: str) -> Any:
        """The result of a stage: its frozen dataclass, energies in eV, lengths in Angstrom.

        Raises:
            ValueError: there is no such stage, or it is not done with the settings of the run.
        """
        known = [one.name for one in self.run.stages]
        if stage not in known:
            raise ValueError(f"{stage}: no such stage; there are: {', '.join(known)}")
        if stage not in self.stages:
            raise ValueError(f"{stage}: not done with these settings; first run: mlip {stage} {self.run.folder}")
        return files.read_result(self.run.path(stage, "result.json"), self.run.stage(stage).result)

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables of the report."""
        return tuple(sorted(path.stem for path in self._folder.glob("*.csv")))

    def table(self, name: str) -> list[Row]:
        """The rows of a table of the report by heading: numbers as float, names as text, what is not known as None.

        Raises:
            ValueError: the report has no such table.
        """
        path = self._folder / f"{name}.csv"
        if not path.exists():
            there = ", ".join(self.tables) or f"none; first run: mlip report {self.run.folder}"
            raise ValueError(f"{name}: no such table; there are: {there}")
        with path.open(encoding="utf-8", newline="") as lines:
            return [{key: _value(key, text) for key, text in row.items()} for row in csv.DictReader(lines)]

    @property
    def _folder(self) -> Path:
        return self.run.path("report", "tables")


def open_run(folder: str | Path) -> OpenRun:
    """The run in a folder.

    Raises:
        ValueError: the folder is not a run, or its config does not validate.
    """
    return OpenRun(driver.opened(Path(folder)))


def _value(heading: str, text: str) -> str | float | None:
    if not text:
        return None
    if heading in NAMES:
        return text
    try:
        return float(text)
    except ValueError:
        return text
