"""The pipeline: the one list of stages, and what runs them.

A stage is added by one entry below. Config schema, commands, help, make targets, what is stale and the order of the
report follow from this list. Stages are imported when they are needed, so that `mlip --help` is instant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlip.core.stage import Stage

    AnyStage = Stage[Any, Any]


@dataclass(frozen=True)
class Entry:
    """A stage by name: one line of help, and how to import it."""

    name: str
    help: str
    load: Callable[[], AnyStage]


STAGES: dict[str, Entry] = {}  # in the order in which they run


def entry(text: str) -> Callable[[Callable[[], AnyStage]], Callable[[], AnyStage]]:
    """Add the stage that the decorated function imports, under the name of the function.

    Raises:
        ValueError: another stage has this name.
    """

    def add(load: Callable[[], AnyStage]) -> Callable[[], AnyStage]:
        if load.__name__ in STAGES:
            raise ValueError(f"pipeline: two stages are called {load.__name__!r}; every stage has a name of its own")
        STAGES[load.__name__] = Entry(load.__name__, text, load)
        return load

    return add


@entry("build the bulk cell and the facet slabs from the crystal")
def structures() -> AnyStage:
    """The stage `structures`."""
    from mlip.stages.structures import STAGE

    return STAGE


@entry("check the labels and split them by group")
def dataset() -> AnyStage:
    """The stage `dataset`."""
    from mlip.stages.dataset.stage import STAGE

    return STAGE


@entry("train the committee of MACE potentials")
def train() -> AnyStage:
    """The stage `train`."""
    from mlip.stages.train.stage import STAGE

    return STAGE


@entry("measure the errors on the held-out groups")
def evaluate() -> AnyStage:
    """The stage `evaluate`."""
    from mlip.stages.evaluate.stage import STAGE

    return STAGE


@entry("relax the hosts and the ion's sites, find the hop network")
def sites() -> AnyStage:
    """The stage `sites`."""
    from mlip.stages.sites.stage import STAGE

    return STAGE


@entry("run climbing-image NEB of every hop with every member of the committee")
def neb() -> AnyStage:
    """The stage `neb`."""
    from mlip.stages.neb.stage import STAGE

    return STAGE


@entry("prove the saddles by their modes; prefactors, and phonons of the crystal")
def modes() -> AnyStage:
    """The stage `modes`."""
    from mlip.stages.modes.stage import STAGE

    return STAGE


@entry("label frames of your own by DFT single points")
def label() -> AnyStage:
    """The stage `label`."""
    from mlip.stages.label import STAGE

    return STAGE


@entry("measure what the DFT settings cost, against tighter ones")
def convergence() -> AnyStage:
    """The stage `convergence`."""
    from mlip.stages.convergence.stage import STAGE

    return STAGE


@entry("calculate atoms, metals, lattice, surfaces and adsorption by DFT")
def energetics() -> AnyStage:
    """The stage `energetics`."""
    from mlip.stages.energetics.stage import STAGE

    return STAGE


@entry("calculate gaps, densities of states and Bader charges by DFT")
def electronic() -> AnyStage:
    """The stage `electronic`."""
    from mlip.stages.electronic.stage import STAGE

    return STAGE


@entry("relax ends and saddles of the hops with DFT, from the converged bands")
def refine() -> AnyStage:
    """The stage `refine`."""
    from mlip.stages.refine.stage import STAGE

    return STAGE


@entry("run molecular dynamics of the ions, many replicas at once")
def md() -> AnyStage:
    """The stage `md`."""
    from mlip.stages.md.stage import STAGE

    return STAGE


@entry("find hops, rates and diffusivities in the trajectories")
def diffusion() -> AnyStage:
    """The stage `diffusion`."""
    from mlip.stages.diffusion.stage import STAGE

    return STAGE


@entry("calculate rates of hops and, from the master equation, diffusivities")
def rates() -> AnyStage:
    """The stage `rates`."""
    from mlip.stages.rates.stage import STAGE

    return STAGE


@entry("write the cross-check report: HTML, Markdown, JSON, CSV")
def report() -> AnyStage:
    """The stage `report`."""
    from mlip.stages.report.stage import STAGE

    return STAGE
