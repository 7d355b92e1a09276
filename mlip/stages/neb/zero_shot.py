"""Bands of the base model as it is, before training: what the labels of the run have changed.

Takes the context of the stage `neb`; gives the base model ready to use. The ends of its bands are the same sites,
relaxed anew by each of its members. It is evaluated by mace-torch in float64. Its bands are in `neb/bands-base/`.
"""

from dataclasses import dataclass, replace

from mlip.atoms import extxyz
from mlip.core.stage import Context
from mlip.potential import equivalence, models
from mlip.potential.use import ModelUse
from mlip.stages import structures
from mlip.stages.neb import neb
from mlip.stages.neb.settings import NebSettings
from mlip.stages.sites import network
from mlip.stages.train import stage as train
from mlip.stages.train.given import Given, convert
from mlip.stages.train.stage import STAGE as TRAIN
from mlip.stages.train.stage import base_model


@dataclass(frozen=True, kw_only=True)
class ZeroShot:
    """What the base model says about the hops of the run."""

    source: str  # as `train.base` names it
    members: int
    level: str  # of the labels that it was trained on, as its card says
    barriers: tuple[neb.Barrier, ...]
    bottlenecks: tuple[network.Bottleneck, ...]


def check(context: Context[NebSettings]) -> None:
    """Refuse `neb.zero_shot` where no training starts from a base model.

    Raises:
        ValueError: there is no base model.
    """
    if context.settings.zero_shot and base_model(context.settings_of(TRAIN)) is None:
        raise ValueError(
            "neb.zero_shot: true needs a training that starts from a base model; name one with train.base, or set "
            "neb.zero_shot: false"
        )


def prepared(context: Context[NebSettings]) -> tuple[ModelUse, Given, str]:
    """The base model in the folder `base` of the stage, what it is, and its level as its card states it.

    Raises:
        ValueError: it lacks an element of the run, or is at another level than the run.
    """
    settings, folder = context.settings_of(TRAIN), context.folder / "base"
    source, target = str(settings.base), context.result(TRAIN).target
    model = models.load(train.located(source), trust_pickle=settings.trust_pickle)
    hosts = (extxyz.read_frames(file)[0] for file in sorted(context.folder_of(structures.STAGE).glob("*.extxyz")))
    symbols = {symbol for host in hosts for symbol in host.get_chemical_symbols()}
    symbols |= set(context.settings_of(structures.STAGE).moving)
    made = convert(model, source, folder, target=target, symbols=symbols, setting="neb.zero_shot")
    use = ModelUse(folder, replace(equivalence.REFERENCE, device=context.common.device))
    return use, made, str(models.of_run(folder).card.get("level", "level not stated"))
