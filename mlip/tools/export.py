"""Models in the formats of other tools: a MACE file, or a deck for LAMMPS."""

from pathlib import Path
from typing import cast

from mlip import config
from mlip.atoms import extxyz
from mlip.core.files import located, require_writable
from mlip.potential import models
from mlip.stages.md import lammps
from mlip.stages.md.settings import MdSettings


def to_mace(model: Path, file: Path, *, member: int) -> None:
    """Write a member of a model folder as a `.model` file of mace-torch.

    Raises:
        ValueError: no such model or member, or a file that cannot be written or is a part of the model.
    """
    require_writable(file, (model,))
    models.export_mace(models.load(model), file, member=member)


def to_lammps(model: Path, folder: Path, *, start: Path | None, source: Path | None, member: int) -> lammps.Deck:
    """Write the deck of a model folder, a start in a file, and the md section of a config (the defaults without one).

    Raises:
        ValueError: no start, or anything wrong with one of the files.
    """
    if start is None:
        raise ValueError("--start: LAMMPS needs a start; give one of the md stage, such as runs/quick/md/100_Li.extxyz")
    settings = MdSettings() if source is None else cast("MdSettings", config.load(located(source))["md"])
    return lammps.export(models.load(model), folder, extxyz.read_frames(start)[0], settings, member=member)
