"""The DFT barriers that a run knows: of its own refinement, and declared by its datasets.

Takes the context of a stage that needs `structures` and `neb`, may use `refine` and reads the settings of `dataset` and
`refine`; gives the barriers, and the files that they rest on.
"""

from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mlip.atoms import extxyz
from mlip.core.stage import Context
from mlip.stages import structures
from mlip.stages.dataset.card import LABELLED, LabelledPath
from mlip.stages.dataset.stage import STAGE as DATASET
from mlip.stages.neb.neb import nearest_member
from mlip.stages.neb.stage import STAGE as NEB
from mlip.stages.neb.stage import band_file
from mlip.stages.refine.barriers import BandOf, DftBarrier, declared, of_refined
from mlip.stages.refine.stage import STAGE as REFINE


def of_run(context: Context[Any]) -> tuple[DftBarrier, ...]:
    """Barriers that the run refined, then those that its datasets declare for its crystal and facets."""
    own = context.result_if_done(REFINE)
    conventional = structures.conventional_cell(context.settings_of(structures.STAGE))
    folders = [context.file(folder / "card.yaml").parent for folder in _folders(context)]
    hosts = context.result(structures.STAGE).hosts
    shipped = declared(folders, hosts, conventional, say=context.say, band_of=_bands(context))
    return *of_refined(own.hops if own else ()), *shipped


def _bands(context: Context[Any]) -> BandOf:
    """Ends and saddle of the band of a hop, of the member whose barrier is nearest the mean; None: no band."""
    bands = context.result(NEB).bands

    def band_of(path: LabelledPath) -> tuple[Atoms, Atoms, Atoms] | None:
        own = [b for b in bands if (b.host, b.ion, b.hop) == (path.host, path.ion, path.hop)]
        band = nearest_member(own)
        if band is None or not (file := band_file(context.folder_of(NEB), band)).exists():
            return None
        images = extxyz.read_frames(file)
        return images[0], images[int(np.argmax(band.energies_ev))], images[-1]

    return band_of


def inputs_of(context: Context[Any]) -> list[Path]:
    """Cards and frames of the datasets."""
    return [folder / name for folder in _folders(context) for name in LABELLED]


def _folders(context: Context[Any]) -> tuple[Path, ...]:
    return context.settings_of(REFINE).folders(context.settings_of(DATASET).path)
