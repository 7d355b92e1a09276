"""The DFT barriers that a run knows: of its own refinement, and declared by its datasets.

Takes the context of a stage that needs `structures`, may use `refine` and reads the settings of `dataset` and `refine`;
gives the barriers, and the files that they rest on.
"""

from pathlib import Path
from typing import Any

from mlip.atoms.structures import crystal
from mlip.core.stage import Context
from mlip.stages import structures
from mlip.stages.dataset.card import LABELLED
from mlip.stages.dataset.stage import STAGE as DATASET
from mlip.stages.refine.barriers import DftBarrier, declared, of_refined
from mlip.stages.refine.stage import STAGE as REFINE


def of_run(context: Context[Any]) -> tuple[DftBarrier, ...]:
    """Barriers that the run refined, then those that its datasets declare for its crystal and facets."""
    own = context.result_if_done(REFINE)
    conventional = crystal(structures.crystal_name(context.settings_of(structures.STAGE)))
    folders = [context.file(folder / "card.yaml").parent for folder in _folders(context)]
    shipped = declared(folders, context.result(structures.STAGE).hosts, conventional, say=context.say)
    return *of_refined(own.hops if own else ()), *shipped


def inputs_of(context: Context[Any]) -> list[Path]:
    """Cards and frames of the datasets."""
    return [folder / name for folder in _folders(context) for name in LABELLED]


def _folders(context: Context[Any]) -> tuple[Path, ...]:
    return context.settings_of(REFINE).folders(context.settings_of(DATASET).path)
