"""A finished run, read from Python: results as objects and tables as rows.

run = mlip.open_run("runs/quick")
run.result("neb").barriers
run.table("hops")[0]["Forward (eV)"]
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlip import driver
from mlip.core import files
from mlip.core.report import csv
from mlip.core.run import Run

Row = dict[str, str | float | None]


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

        Columns of names and words hold text, also where it looks like a number: the facet 001.

        Raises:
            ValueError: the report has no such table, or an earlier version wrote it.
        """
        path = self._folder / f"{name}.csv"
        if not path.exists():
            there = ", ".join(self.tables) or f"none; first run: mlip report {self.run.folder}"
            raise ValueError(f"{name}: no such table; there are: {there}")
        try:
            return csv.read(path.read_bytes().decode("utf-8"))
        except ValueError as error:
            raise ValueError(
                f"{path}: not a table of this version; first run: mlip report {self.run.folder}"
            ) from error

    @property
    def _folder(self) -> Path:
        return self.run.path("report", "tables")


def open_run(folder: str | Path) -> OpenRun:
    """The run in a folder.

    Raises:
        ValueError: the folder is not a run, or its config does not validate.
    """
    return OpenRun(driver.opened(Path(folder)))
