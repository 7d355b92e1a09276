"""The files of a run folder of version 0.1 in the format of this version.

Takes a run; rewrites the config, results of stages and what their jobs keep on disk. Statuses, which were one text,
become code and reason, and keys get their present names. All else stays, and so does a file that is damaged or has a
status of no known kind.
"""

import json
import re
import types
from collections.abc import Iterator
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from mlip.core import files, status
from mlip.core.run import Run
from mlip.core.status import Status
from mlip.literature import audit
from mlip.potential import equivalence, use
from mlip.stages.convergence import convergence
from mlip.stages.diffusion import arrhenius, diffusion
from mlip.stages.evaluate import evaluate
from mlip.stages.ladder import ladder
from mlip.stages.md import dynamics, md
from mlip.stages.neb import endpoints, neb
from mlip.stages.neb.band_jobs import BandOutcome
from mlip.stages.sites import network, sites
from mlip.stages.sites.jobs import FoundSites
from mlip.stages.train import train

CODES = {
    *(status.CALCULATED, status.NOT_CALCULATED, status.RESOLVED, status.NOT_RESOLVED),
    *(audit.COMPUTED, audit.NOT_COMPUTED, train.FINISHED, train.STOPPED_EARLY),
    *(sites.RELAXED, sites.NOT_CONVERGED, sites.DESORBED, network.UPPER_BOUND),
    *(neb.CONVERGED, neb.MAX_STEPS, neb.NO_BARRIER),
    *(endpoints.NOT_RELAXED, endpoints.COLLAPSED, endpoints.DESORBED, endpoints.OUT_OF_DOMAIN),
    *(ladder.COMPLETE, ladder.STANDS, ladder.BAND_NEEDED, md.DONE, *dynamics.CODES),
    *(diffusion.INDEPENDENT, diffusion.NO_HOP, diffusion.CANCELLED, arrhenius.CURVED),
}
WITHOUT_CODE = {  # what such a text begins with, and its code now
    r"\d+ of \d+ members converged": sites.NOT_CONVERGED,
    r"lacks |no label of |\d+ of \d+ frames have no label": status.INCOMPLETE,
    r"\S+ is no label to train on": convergence.REFUSED,
    **md.OLD_TEXTS,
}
RENAMED: dict[Any, dict[str, str]] = {  # keys of results
    equivalence.Equivalence: {"way": "backend"},
    equivalence.Backend: {"backend": "name"},
    evaluate.Evaluation: {"arms": "models"},
    evaluate.Errors: {"arm": "model"},
}
KEPT: dict[str, tuple[str, Any]] = {  # files that jobs of a stage leave behind, beside its result
    "train": ("*/outcome.json", train.Trained),
    "sites": ("*_*.json", FoundSites),
    "neb": ("bands/*.json", BandOutcome),
}


def rewrite(run: Run) -> None:
    """Rewrite the config, every result and every kept file of the run, of superseded stages too."""
    _rename_settings(run)
    old = run.path("train", "native")
    if old.is_dir() and not old.with_name(use.CONVERTED).exists():
        old.rename(old.with_name(use.CONVERTED))
    for path, kind, key in _stored(run):
        try:
            body = files.read_json(path)
            part = body[key] if key else body
            made = converted(part, kind)
        except (ValueError, KeyError, TypeError):  # whoever reads the file as a result says what is wrong with it
            continue
        if made != part:
            whole = body | {key: made} if key else made
            files.write_text_atomic(path, json.dumps(whole, indent=1, allow_nan=False) + "\n")


def _rename_settings(run: Run) -> None:
    path = run.folder / "config.yaml"
    before = text = path.read_text(encoding="utf-8")
    for section, settings in run.sections.items():
        for now, field in type(settings).model_fields.items():
            if field.serialization_alias:
                text = _renamed(text, section, field.serialization_alias, now)
    if text != before:
        files.write_text_atomic(path, text)


def _renamed(text: str, section: str, before: str, now: str) -> str:
    """A config with one key of a section under its present name; comments and layout stay."""
    block = re.compile(rf"^{section}:.*\n?(?:(?:[ \t#].*)?\n?)*", re.MULTILINE)
    return block.sub(lambda found: re.sub(rf"(?<=[\s{{,]){before}(?=\s*:)", now, found.group()), text, count=1)


def _stored(run: Run) -> Iterator[tuple[Path, Any, str]]:
    """Path, type and key of everything that can hold a status."""
    for stage in run.stages:
        for folder in (run.path(stage.name), *run.folder.glob(f"superseded/{stage.name}-*")):
            if (folder / "result.json").exists():
                yield folder / "result.json", stage.result, "result"
            pattern, kind = KEPT.get(stage.name, ("", None))
            for path in sorted(folder.glob(pattern)) if pattern else ():
                yield path, kind, ""


def converted(value: Any, kind: Any) -> Any:
    """A stored value of this type, with each status that is a text as code and reason."""
    if kind is Status:
        return asdict(status.of_text(value, CODES, others=WITHOUT_CODE)) if isinstance(value, str) else value
    if get_origin(kind) in (Union, types.UnionType):
        known = [one for one in get_args(kind) if one is not types.NoneType]
        return converted(value, known[0]) if len(known) == 1 else value
    if is_dataclass(kind) and isinstance(value, dict):
        hints = get_type_hints(kind)
        now = RENAMED.get(kind, {})
        named = {now.get(key, key): one for key, one in value.items()}
        return {key: converted(one, hints.get(str(key))) for key, one in named.items()}
    if isinstance(value, list) and get_args(kind):
        return [converted(one, get_args(kind)[0]) for one in value]
    if isinstance(value, dict) and len(get_args(kind)) == 2:
        return {key: converted(one, get_args(kind)[1]) for key, one in value.items()}
    return value
