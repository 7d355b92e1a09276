"""Bands of the base model as it is, before training: what the labels of the run have changed.

Takes the context of the stage `neb`; gives the base model ready to use. The ends of its bands are the same sites,
relaxed anew by each of its members. It is evaluated by mace-torch in float64. Its bands are in `neb/bands-base/`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mlip.atoms import extxyz
from mlip.core.stage import Context
from mlip.potential import equivalence, models
from mlip.potential.use import ModelUse
from mlip.stages import structures
from mlip.stages.neb import neb
from mlip.stages.neb.settings import NebSettings
from mlip.stages.sites import network
from mlip.stages.sites.sites import Site
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


def sites_of(sites: Sequence[Site], hops: Sequence[network.Hop], barriers: Sequence[neb.Barrier]) -> tuple[Site, ...]:
    """The sites with the energies of the base model: from site to site over hops, forward less reverse barrier.

    Each part of the network begins at its lowest site of the run. A site that no hop with a barrier reaches keeps its
    energy; no path with a barrier leads over it.
    """
    heights = {
        (b.host, b.ion, b.hop): b.forward_ev - b.reverse_ev
        for b in barriers
        if b.forward_ev is not None and b.reverse_ev is not None
    }
    named = [((h.host, h.ion, h.name), h.initial, h.final) for h in hops]
    steps = [(*key[:2], initial, final, heights[key]) for key, initial, final in named if key in heights]
    steps += [(host, ion, final, initial, -rise) for host, ion, initial, final, rise in steps]
    energies: dict[tuple[str, str, str], float] = {}
    for site in sorted(sites, key=lambda s: s.energy_ev):
        todo = [(site.host, site.ion, site.name)]
        energies.setdefault(todo[0], site.energy_ev)
        for host, ion, name in todo:  # grows while it is walked
            for other, kind, start, end, rise in steps:
                if (other, kind, start) == (host, ion, name) and (host, ion, end) not in energies:
                    energies[host, ion, end] = energies[host, ion, name] + rise
                    todo.append((host, ion, end))
    return tuple(replace(site, energy_ev=energies[site.host, site.ion, site.name]) for site in sites)
