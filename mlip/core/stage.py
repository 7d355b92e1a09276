"""What a stage is, and what it may see of a run.

A `Stage` declares everything the pipeline has to know: its settings, its result, what it needs, which files it reads.
Everything else is derived from the declaration: the config schema, the command, the make target, what is stale, the
order of the report. A `Context` gives a stage what it declared and refuses the rest, so that no list can be forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from mlip.core import files, unfinished
from mlip.core.progress import console, progress
from mlip.core.section import Common, OptionalSection, Section
from mlip.core.workers import run_parallel

if TYPE_CHECKING:
    from mlip.core.report import ReportSection
    from mlip.core.run import Run

S = TypeVar("S", bound=Section)
R = TypeVar("R")
Other = TypeVar("Other", bound=Section)
Found = TypeVar("Found")
Job = TypeVar("Job")
Outcome = TypeVar("Outcome")

# settings of `common` that change where and how long a stage runs, never its result
EXECUTION = frozenset({"workers", "gpus", "executor", "site"})


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Files of a stage that belong together: an artifact of Weights & Biases."""

    kind: str  # such as model
    patterns: tuple[str, ...]  # in the folder of the stage


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage(Generic[S, R]):
    """The declaration of a stage.

    Attributes:
        name: of the stage, its config section, command, make target and folder in a run.
        settings: the section of the config that the stage owns.
        result: what `run` gives: a frozen dataclass of JSON-able fields.
        run: the computation.
        needs: stages whose results it reads; they must be done before.
        uses: optional stages whose results it reads where they are done.
        uses_all: whether it reads every stage before it where that is done, as the report does.
        settings_of: stages of which it reads the settings and nothing else.
        common: names of the settings of `common` it uses.
        sections: sections of the config that no stage owns and that it uses, such as that of the DFT level.
        inputs: files and folders it reads from outside the run.
        version: raised when the same settings and inputs give other numbers than before.
        check: raises ValueError where settings of several stages contradict each other; asked before any computing.
        check_whole: the same for a run of all stages, which may need more than single ones; asked by `mlip run`.
        report: sections of the report.
        artifact: files of the stage that Weights & Biases keeps, with the stages that use them.
        recorded: tables and figures for Weights & Biases that are not in the sections of the report.
        show: prints what a person wants to see after the stage.
        cores: cores that one of its jobs uses, where these may be several.
    """

    name: str
    settings: type[S]
    result: type[R]
    run: Callable[[Context[S]], R]
    needs: tuple[Stage[Any, Any], ...] = ()
    uses: tuple[Stage[Any, Any], ...] = ()
    uses_all: bool = False
    settings_of: tuple[Stage[Any, Any], ...] = ()
    common: tuple[str, ...] = ()
    sections: tuple[type[Section], ...] = ()
    inputs: Callable[[Context[S]], Iterable[Path]] | None = None
    version: int = 1
    check: Callable[[Context[S]], None] | None = None
    check_whole: Callable[[Context[S]], None] | None = None
    report: Callable[[Context[S], R], Sequence[ReportSection]] | None = None
    artifact: Kept | None = None
    recorded: Callable[[Context[S], R], Sequence[ReportSection]] | None = None
    show: Callable[[Context[S], R], None] | None = None
    cores: Callable[[Context[S]], int] | None = None

    def __post_init__(self) -> None:
        """Refuse a declaration that cannot work.

        Raises:
            ValueError: a setting of `common` that does not exist.
        """
        for name in self.common:
            if name not in Common.model_fields:
                there = ", ".join(Common.model_fields)
                raise ValueError(f"stage {self.name}: common setting {name!r} does not exist; there are: {there}")

    @property
    def is_optional(self) -> bool:
        """Whether `mlip run` leaves the stage out unless its section says `run: true`."""
        return issubclass(self.settings, OptionalSection)


class Context(Generic[S]):
    """What a stage sees of a run: what it declared, and nothing else."""

    def __init__(self, run: Run, stage: Stage[S, Any]) -> None:
        self._run, self._stage = run, stage
        self.left: tuple[str | None, tuple[str | Path, ...]] = (None, ())  # see `leave_unfinished`

    @property
    def settings(self) -> S:
        """The stage's own section of the config."""
        return cast("S", self._run.sections[self._stage.name])

    @property
    def common(self) -> Common:
        """The settings of `common` that the stage declared; reading another one raises ValueError."""
        return cast("Common", _Declared(self._run.common, self._stage))

    @property
    def workers(self) -> int:
        """Processes that may run side by side."""
        return self._run.common.workers

    @property
    def gpus(self) -> int:
        """Jobs on GPUs that may run side by side."""
        return self._run.common.gpus or 1

    @property
    def folder(self) -> Path:
        """The folder of the stage."""
        return self._run.path(self._stage.name)

    @property
    def run_name(self) -> str:
        """The name of the run's folder."""
        return self._run.folder.resolve().name

    @property
    def run_folder(self) -> Path:
        """The folder of the run, for what belongs to no stage: labels and trajectories, kept for good."""
        return self._run.folder

    @property
    def fingerprint(self) -> str:
        """Hash of everything the result of the stage depends on."""
        return self._run.fingerprint(self._stage)

    def fingerprint_of(self, stage: Stage[Any, Any]) -> str:
        """The fingerprint of a declared stage."""
        self._require(stage, (*self._stage.needs, *self._stage.uses), "needs")
        return self._run.fingerprint(stage)

    def settings_of(self, stage: Stage[Other, Any]) -> Other:
        """The settings of a declared stage."""
        self._require(stage, (*self._stage.needs, *self._stage.uses, *self._stage.settings_of), "settings_of")
        return cast("Other", self._run.sections[stage.name])

    def section(self, kind: type[Other]) -> Other:
        """A declared section of the config that no stage owns.

        Raises:
            ValueError: the section is not declared.
        """
        if kind not in self._stage.sections:
            raise ValueError(f"stage {self._stage.name}: reads section {kind.__name__}; add it to `sections`")
        return next(s for s in self._run.sections.values() if isinstance(s, kind))

    def result(self, stage: Stage[Any, Found]) -> Found:
        """The result of a stage that this one needs."""
        self._require(stage, self._stage.needs, "needs")
        return files.read_result(self._run.path(stage.name, "result.json"), stage.result)

    def result_if_done(self, stage: Stage[Any, Found]) -> Found | None:
        """The result of an optional stage, or None where it is not done with the present settings."""
        self._require(stage, (*self._stage.needs, *self._stage.uses), "uses")
        if not self._run.is_done(stage):
            return None
        return files.read_result(self._run.path(stage.name, "result.json"), stage.result)

    def folder_of(self, stage: Stage[Any, Any]) -> Path:
        """The folder of a declared stage."""
        self._require(stage, (*self._stage.needs, *self._stage.uses), "needs")
        return self._run.path(stage.name)

    def file(self, path: str | Path) -> Path:
        """Where a declared input is, a file in a declared folder, or the folder of declared files.

        Raises:
            ValueError: the stage did not declare it, or there is no such file.
        """
        found = files.place(path)
        declared = {files.place(p) for p in self._stage.inputs(self)} if self._stage.inputs is not None else set()
        if not (declared & {found, *found.parents} or any(found in one.parents for one in declared)):
            raise ValueError(f"stage {self._stage.name}: reads {path}; add it to `inputs`")
        return found

    def map(
        self, function: Callable[[Job], Outcome], jobs: Sequence[Job], *, label: str, uses_torch: bool = True
    ) -> list[Outcome]:
        """Results of a function of every job, in processes side by side, with a progress bar.

        Jobs keep what they finished on disk: after a kill the same call continues from there.
        """
        with progress(label, len(jobs)) as tick:
            return run_parallel(function, jobs, workers=self.workers, on_tick=tick, uses_torch=uses_torch)

    def report_sections(self) -> tuple[ReportSection, ...]:
        """Report sections of the stages that are needed or used, where they are done, in the order of the pipeline."""
        return self._run.report_sections(self._run.upstream(self._stage))

    def provenances(self) -> dict[str, files.Provenance]:
        """Where the results of the stages that are needed or used come from, where they are done."""
        return self._run.provenances(self._run.upstream(self._stage))

    def configuration(self) -> dict[str, Any]:
        """Every section of the config, JSON-able: to be shown, not to be computed with."""
        return {name: section.model_dump(mode="json") for name, section in self._run.sections.items()}

    def say(self, text: str) -> None:
        """Print a line for the person who watches."""
        console.print(f"  {text}", soft_wrap=True)

    def leave_unfinished(self, reason: str | None, refused: Iterable[str | Path] = ()) -> None:
        """Mark the result as whole (None), or as one to which the next call adds something, with the reason.

        Marks of an earlier call go once the result is on disk, so that no kill makes an earlier result a whole one.

        Args:
            reason: why; None where nothing is left.
            refused: files that the user may remove so that the next call tries again.
        """
        self.left = (reason, tuple(refused))
        unfinished.add(self.folder, *self.left)
        if reason is not None:
            self.say(f"{reason}; run the same command again to continue")

    def _require(self, stage: Stage[Any, Any], declared: Iterable[Stage[Any, Any]], where: str) -> None:
        may_read = (*declared, self._stage, *(self._run.before(self._stage) if self._stage.uses_all else ()))
        if all(stage is not one for one in may_read):
            raise ValueError(f"stage {self._stage.name}: reads stage {stage.name}; add it to `{where}`")


class _Declared:
    """The settings of `common` that a stage declared."""

    def __init__(self, common: Common, stage: Stage[Any, Any]) -> None:
        self._common, self._stage = common, stage

    def __getattr__(self, name: str) -> Any:
        if name not in self._stage.common and name not in EXECUTION:
            raise ValueError(f"stage {self._stage.name}: reads common.{name}; add it to `common`")
        return getattr(self._common, name)
