"""Results of a run folder made by version 0.1, accepted where this version would calculate the same.

A result is accepted when its settings and the contents of its input files are those of the present config, and when the
stages before it are accepted. The result is then marked with its present fingerprint and kept; all others stay as they
are and are calculated anew when they are asked for. Files get the format of this version first, see `old_format`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mlip.core import files
from mlip.core.run import Run
from mlip.core.stage import Stage
from mlip.tools import old_format

REMADE = {"report"}  # made anew in seconds


def upgrade(run: Run) -> dict[str, str]:
    """What became of the result of every stage that has one, by the name of the stage."""
    old_format.rewrite(run)
    found = {}
    for stage in run.stages:
        path = run.path(stage.name, "result.json")
        if stage.name in REMADE or not path.exists():
            continue
        if run.is_done(stage):
            found[stage.name] = "up to date"
            continue
        reason = _difference(run, stage)
        found[stage.name] = "kept" if reason is None else f"to be made anew: {reason}"
        if reason is None:
            _accept(run, stage)
    return found


def _difference(run: Run, stage: Stage[Any, Any]) -> str | None:
    """Why the stored result is not that of the present config; None where it is."""
    path = run.path(stage.name, "result.json")
    try:
        files.read_result(path, stage.result)
        made = files.read_provenance(path)
    except ValueError as error:
        return str(error)
    if behind := [other.name for other in stage.needs if not run.is_done(other)]:
        return f"{behind[0]} is made anew"
    if stage.version > 1:
        return "the same settings give other numbers since"
    defaults = {
        name: type(section)().model_dump(mode="json", by_alias=True) for name, section in _sections(run).items()
    }
    if changed := _changed(made.settings, run.settings(stage), defaults):
        return f"setting {changed} differs"
    known = set(made.inputs.values()) | _inputs_of(run, stage.needs)
    names = {other.name for other in run.upstream(stage)}
    for name, digest in run.inputs(stage).items():
        if name not in names and digest not in known:
            return f"input {name} differs"
    return None


def _inputs_of(run: Run, stages: Sequence[Stage[Any, Any]]) -> set[str]:
    """Hashes of everything that these stages read."""
    made = (files.read_provenance(run.path(stage.name, "result.json")) for stage in stages)
    return {digest for one in made for digest in one.inputs.values()}


def _sections(run: Run) -> dict[str, Any]:
    return {"common": run.common, **run.sections}


def _changed(before: dict[str, Any], now: dict[str, Any], defaults: dict[str, Any]) -> str | None:
    """The first setting with another value than before; one that was not known before had its default value."""
    for section, values in now.items():
        for key, value in values.items():
            if before.get(section, {}).get(key, defaults[section].get(key)) != value:
                return f"{section}.{key}"
    return None


def _accept(run: Run, stage: Stage[Any, Any]) -> None:
    path = run.path(stage.name, "result.json")
    made = files.read_provenance(path)
    made = replace(made, fingerprint=run.fingerprint(stage), settings=run.settings(stage), inputs=run.inputs(stage))
    files.write_result(path, files.read_result(path, stage.result), made)
    files.write_text_atomic(run.path(stage.name, "fingerprint"), made.fingerprint + "\n")
