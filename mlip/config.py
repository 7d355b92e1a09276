"""The schema of a run, assembled from the settings of its stages.

Takes a YAML file; gives the validated sections by name. Unknown keys fail at every level and all problems are reported
at once, each with its path. Defaults live in the stages; a YAML file states what differs.
"""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError, create_model

from mlip import pipeline
from mlip.core import files
from mlip.core.learn import Learn
from mlip.core.section import Common, Section, Setting, describe
from mlip.core.stage import Stage
from mlip.core.tracking import Tracking
from mlip.core.uncertainty import Uncertainty
from mlip.dft.settings import Dft
from mlip.literature.settings import Literature

SHARED: dict[str, type[Section]] = {
    "dft": Dft,
    "learn": Learn,
    "literature": Literature,
    "tracking": Tracking,
    "uncertainty": Uncertainty,
}  # sections that no single stage owns


MOVED = {
    "report.references": "literature.references",
    "ladder": "refine, whose settings differ (mlip settings refine)",
    "report.convergence_ev": "uncertainty.convergence_ev",
    "report.dft_settings_ev": "uncertainty.dft_settings_ev",
    "report.dispersion_ev": "uncertainty.dispersion_ev",
    "rates.convergence_ev": "uncertainty.convergence_ev",
    "rates.dispersion_ev": "uncertainty.dispersion_ev",
}  # keys of earlier versions


def stages() -> tuple[Stage[Any, Any], ...]:
    """The stages of the pipeline, in order.

    Raises:
        ValueError: a stage needs one that is not in the pipeline before it, or bears another name than its entry.
    """
    found: list[Stage[Any, Any]] = []
    for name, entry in pipeline.STAGES.items():
        stage = entry.load()
        if stage.name != name:
            raise ValueError(f"pipeline: the entry {name!r} loads a stage called {stage.name!r}; name both alike")
        for other in (*stage.needs, *stage.uses, *stage.settings_of):
            if all(other is not one for one in found):
                raise ValueError(f"stage {name}: needs {other.name!r}, which is not in the pipeline before it")
        found.append(stage)
    return tuple(found)


def sections() -> dict[str, type[Section]]:
    """Every section of a config by name, in the order in which they are shown."""
    return {"common": Common, **{stage.name: stage.settings for stage in stages()}, **SHARED}


def settings(section: str | None = None) -> Iterator[Setting]:
    """Every setting with its default and description, of one section or of all.

    Raises:
        ValueError: there is no such section, or a setting has no description.
    """
    known = sections()
    if section is not None and section not in known:
        raise ValueError(f"{section}: no such section; there are: {', '.join(known)}")
    for name, kind in known.items():
        if section in {None, name}:
            yield from describe(kind, name)


def defaults() -> dict[str, Section]:
    """Every section with its defaults."""
    return {name: kind() for name, kind in sections().items()}


def load(path: Path) -> dict[str, Section]:
    """The validated sections of the configuration in a YAML file.

    Raises:
        ValueError: with one line per problem, each with the path of the key.
    """
    raw = files.read_yaml(path, advice="give the path of a YAML file")
    if not isinstance(raw, dict):
        raise ValueError(  # noqa: TRY004  (the input is wrong, not the program)
            f"{path}: holds no sections; expected a mapping such as 'common:' with indented keys"
        )
    try:
        whole = _schema(tuple(sections().items())).model_validate(raw)
    except ValidationError as error:
        lines = [f"{path}: {'.'.join(str(p) for p in e['loc'])}: {_reason(e)}" for e in error.errors()]
        raise ValueError("\n".join(lines)) from error
    return {name: getattr(whole, name) for name in sections()}


@lru_cache(maxsize=8)
def _schema(known: tuple[tuple[str, type[Section]], ...]) -> type[Section]:
    for name, kind in known:
        for _ in describe(kind, name):  # raises where a setting has no description
            pass
    fields: dict[str, Any] = {name: (kind, kind()) for name, kind in known}
    return create_model("Config", __base__=Section, **fields)


def _reason(error: object) -> str:
    details = dict(error)  # type: ignore[call-overload]
    if details["type"] == "extra_forbidden" and (moved := MOVED.get(".".join(map(str, details["loc"])))):
        return f"has moved: write it as {moved}"
    if details["type"] == "extra_forbidden":
        where = str(details["loc"][0]) if len(details["loc"]) > 1 else ""
        return f"unknown key; the keys are listed by: mlip settings {where}".rstrip()
    if details["type"] == "value_error":  # from a validator of ours, which names what it got
        return str(details["ctx"]["error"])
    return f"{details['msg']} (got {details['input']!r})"
