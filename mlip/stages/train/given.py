"""A potential that is used as it is: copied or converted into the model folder of a run, without training.

Takes a released model, a trusted file or a foundation model; gives the committee of the run, and whether frames of the
dataset were held out when the model was trained.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlip.core.section import Target
from mlip.core.status import Status
from mlip.potential import models

HELD_OUT, TRAINED_ON, UNKNOWN = "held out", "trained on", "not known"


@dataclass(frozen=True, kw_only=True)
class Given:
    """A committee that was not trained in the run."""

    source: str  # as `train.model` names it
    members: int
    elements: tuple[str, ...]


def convert(
    found: models.Released,
    name: str,
    folder: Path,
    *,
    target: Target,
    symbols: Iterable[str],
    setting: str = "train.model",
) -> Given:
    """Write the model into a folder of the run.

    Args:
        found: the model.
        name: as `train.model` gives it.
        folder: where the model goes.
        target: level of the run, which is taken as the level of a model whose card has none.
        symbols: elements that the run needs.
        setting: that asks for the model, for messages.

    Raises:
        ValueError: an element is missing, or the model is at another level than the run.
    """
    missing = sorted(set(symbols) - set(found.elements))
    if missing:
        raise ValueError(
            f"{setting}: {name} knows {', '.join(found.elements)} and not {', '.join(missing)}, which the run needs; "
            "give a model with these elements"
        )
    if found.card.get("target") not in (None, target):
        raise ValueError(
            f"{setting}: {name} is at {found.card['target']} and the run at {target}; set common.target: "
            f"{found.card['target']}"
        )
    card = {**found.card, "target": target, "source": name}
    if found.card.get("target") is None:
        card["level"] = f"not known; taken as {target} (common.target)"
    weights = [member.state_dict() for member in found.members]
    models.save(folder, shape=found.shape, weights=weights, card=card)
    return Given(source=name, members=len(found.members), elements=found.elements)


def exposure(card: Mapping[str, Any], *, settings_hash: str, groups: Iterable[str]) -> Status:
    """Whether the model of a card was trained on groups of a dataset: HELD_OUT, TRAINED_ON or UNKNOWN.

    Args:
        card: of the model.
        settings_hash: level of the labels of the dataset.
        groups: groups that the run holds out.
    """
    labels = card.get("labels")
    known = labels.get("settings_hash") if isinstance(labels, Mapping) else None
    if known is None:
        return Status(UNKNOWN, "the card of the model does not say which labels it was trained on")
    if known != settings_hash:
        return Status(UNKNOWN, "the model was trained on labels of another level")
    seen = sorted(set(groups) - set(card.get("held_out_groups", ())))
    if seen:
        return Status(TRAINED_ON, f"{len(seen)} of the groups, such as {seen[0]}")
    return Status(HELD_OUT)
