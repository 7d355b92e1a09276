"""The run folder: which stage is whole, and which has to be done again.

Takes the validated sections of a config and the stages in order; gives, per stage, a fingerprint of everything its
result depends on: the version of the stage, its own section, the shared settings it declared, the files it reads and
the fingerprints of the stages before it. A result with the same fingerprint is kept; another one is moved to
`superseded/` and comes back when the settings do. Nothing depends on file times.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlip.core.files import (
    PACKAGE,
    ROOT,
    Provenance,
    digest_of,
    place,
    read_provenance,
    read_result,
    sha256,
    write_text_atomic,
)
from mlip.core.report import ReportSection
from mlip.core.section import Common, ExecutionSection, Section
from mlip.core.stage import Context, Stage
from mlip.core.unfinished import is_left


@dataclass(frozen=True)
class Run:
    """A run folder, its configuration and the stages of the pipeline in order."""

    folder: Path
    sections: Mapping[str, Section]
    stages: tuple[Stage[Any, Any], ...]
    _hashes: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def common(self) -> Common:
        """The settings that stages share."""
        found = self.sections["common"]
        if not isinstance(found, Common):
            raise TypeError("the section `common` is not of class Common")
        return found

    def stage(self, name: str) -> Stage[Any, Any]:
        """The stage of this name."""
        return next(stage for stage in self.stages if stage.name == name)

    def path(self, stage: str, *parts: str) -> Path:
        """A path inside the folder of a stage."""
        return self.folder.joinpath(stage, *parts)

    def context(self, stage: Stage[Any, Any]) -> Context[Any]:
        """What the stage sees of this run."""
        return Context(self, stage)

    def settings(self, stage: Stage[Any, Any]) -> dict[str, Any]:
        """The settings a stage depends on, JSON-able."""
        common = self.common.model_dump(mode="json", by_alias=True)
        stored = {name: field.serialization_alias or name for name, field in type(self.common).model_fields.items()}
        shared = [
            name
            for name, section in self.sections.items()
            if type(section) in stage.sections and not isinstance(section, ExecutionSection)
        ]
        names = (stage.name, *shared, *(other.name for other in stage.settings_of))
        parts = {name: self.sections[name].model_dump(mode="json", by_alias=True) for name in names}
        for name in names:
            for setting in self.sections[name].execution:
                parts[name].pop(setting, None)
        return {"common": {stored[name]: common[stored[name]] for name in stage.common}, **parts}

    def upstream(self, stage: Stage[Any, Any]) -> tuple[Stage[Any, Any], ...]:
        """The stages whose results a stage reads: those it needs, and those it uses where they are done."""
        return stage.needs + tuple(other for other in self._used(stage) if self.is_done(other))

    def before(self, stage: Stage[Any, Any]) -> tuple[Stage[Any, Any], ...]:
        """The stages that stand before this one in the pipeline."""
        return tuple(itertools.takewhile(lambda one: one is not stage, self.stages))

    def _used(self, stage: Stage[Any, Any]) -> tuple[Stage[Any, Any], ...]:
        """The stages whose results a stage reads only where they are done."""
        others = self.before(stage) if stage.uses_all else stage.uses
        return tuple(other for other in others if all(other is not one for one in stage.needs))

    def planned(self) -> tuple[Stage[Any, Any], ...]:
        """The stages of a whole run, in order."""
        return tuple(s for s in self.stages if not s.is_optional or getattr(self.sections[s.name], "run"))  # noqa: B009

    def inputs(self, stage: Stage[Any, Any]) -> dict[str, str]:
        """Hash of every file the stage reads from outside, and the fingerprint of every stage before it."""
        found = {other.name: self.fingerprint(other) for other in self.upstream(stage)}
        for path in stage.inputs(self.context(stage)) if stage.inputs is not None else ():
            found[f"file:{_name(Path(path))}"] = self._hash(place(path))  # a file may bear the name of a stage
        for other in self._used(stage):  # what an unfinished stage adds later makes another result
            if self.is_done(other):
                found[f"{other.name}/result.json"] = self._hash(self.path(other.name, "result.json"))
        return found

    def _hash(self, path: Path) -> str:
        key = str(path)
        if key not in self._hashes:
            self._hashes[key] = sha256(path)
        return self._hashes[key]

    def fingerprint(self, stage: Stage[Any, Any]) -> str:
        """Hash of everything the result of a stage depends on."""
        key = f"stage:{stage.name}"
        if key not in self._hashes:
            whole = [stage.name, stage.version, self.settings(stage), self.inputs(stage)]
            self._hashes[key] = digest_of(whole)
        return self._hashes[key]

    def is_done(self, stage: Stage[Any, Any]) -> bool:
        """Whether a whole result with the present fingerprint exists."""
        result = self.path(stage.name, "result.json")
        return result.exists() and read_provenance(result).fingerprint == self.fingerprint(stage)

    def is_whole(self, stage: Stage[Any, Any]) -> bool:
        """Whether a stage is done and left nothing for the next call; see `unfinished`."""
        return self.is_done(stage) and not is_left(self.path(stage.name))

    def report_sections(self, of: Collection[Stage[Any, Any]]) -> tuple[ReportSection, ...]:
        """What these stages have to say in the report, where they are done, in the order of the pipeline."""
        found: list[ReportSection] = []
        for stage in self._done(of):
            if stage.report is not None:
                result = read_result(self.path(stage.name, "result.json"), stage.result)
                found += stage.report(self.context(stage), result)
        return tuple(found)

    def provenances(self, of: Collection[Stage[Any, Any]]) -> dict[str, Provenance]:
        """Where the results of these stages come from, where they are done."""
        return {stage.name: read_provenance(self.path(stage.name, "result.json")) for stage in self._done(of)}

    def _done(self, of: Collection[Stage[Any, Any]]) -> list[Stage[Any, Any]]:
        return [s for s in self.stages if any(s is one for one in of) and self.is_done(s)]

    def prepare(self, stage: Stage[Any, Any]) -> Path:
        """The folder of a stage, holding only work with the present fingerprint."""
        folder, mark = self.path(stage.name), self.path(stage.name, "fingerprint")
        now = self.fingerprint(stage)
        if folder.exists():
            before = mark.read_text(encoding="utf-8").strip() if mark.exists() else "unknown"
            if before == now:
                return folder
            kept = self.folder / "superseded" / f"{stage.name}-{before[:12]}"
            kept.parent.mkdir(exist_ok=True)
            shutil.rmtree(kept, ignore_errors=True)
            folder.rename(kept)
        earlier = self.folder / "superseded" / f"{stage.name}-{now[:12]}"
        if earlier.exists():
            earlier.rename(folder)
        write_text_atomic(mark, now + "\n")
        return folder


def _name(path: Path) -> str:
    """An input by the path that the config gives; a path of the project itself is the same on every machine."""
    inside = next((root for root in (ROOT, PACKAGE.parent) if path.is_relative_to(root)), None)
    return (path if inside is None else path.relative_to(inside)).as_posix()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the run folder: a second process working in it is refused."""
    try:
        handle = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR)
    except OSError as error:
        raise ValueError(f"{folder}: cannot be written ({error.strerror}); choose a folder you may write to") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(f"{folder}: another process works in this run; wait for it or stop it") from error
        yield
    finally:
        os.close(handle)
