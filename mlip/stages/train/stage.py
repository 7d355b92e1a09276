"""The stage `train`: one MACE potential per member of the committee.

The model folder is `train/model`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlip.atoms import extxyz
from mlip.core import files
from mlip.core.section import Target
from mlip.core.stage import Context, Stage
from mlip.core.tracking import Tracking
from mlip.potential import models
from mlip.stages.dataset.dataset import Manifest
from mlip.stages.dataset.stage import STAGE as DATASET
from mlip.stages.train import jobs
from mlip.stages.train.report import report_sections
from mlip.stages.train.settings import TrainSettings
from mlip.stages.train.train import Trained


@dataclass(frozen=True, kw_only=True)
class Committee:
    """Result of the stage."""

    target: Target
    e0_ev: dict[str, float]
    members: tuple[Trained, ...]


def run(context: Context[TrainSettings]) -> Committee:
    """Train every member, in processes of their own."""
    manifest, data = context.result(DATASET), context.folder_of(DATASET)
    base = base_model(context.settings)
    settings = context.settings.model_copy(update={"base": None if base is None else str(base)})
    e0_ev = jobs.reference_energies(settings, manifest, extxyz.read_frames(data / "train.extxyz"))
    todo = [
        jobs.TrainJob(
            context.folder / f"member-{k}", data, settings, e0_ev, context.common.seed, k, context.common.device
        )
        for k in range(1, settings.members + 1)
    ]
    done = jobs.train_members(
        todo,
        workers=context.workers,
        tracking=context.section(Tracking),
        folder=context.run_folder,
        run_id=context.fingerprint[:16],
    )
    jobs.save_committee(model_folder(context.folder), todo, _card(context, manifest, e0_ev))
    return Committee(target=manifest.target, e0_ev=e0_ev, members=tuple(done))


def _card(context: Context[TrainSettings], manifest: Manifest, e0_ev: dict[str, float]) -> dict[str, Any]:
    return {
        "name": context.run_name,
        "target": manifest.target,
        "level": "PBE" if manifest.target == "pbe" else "PBE-D3(BJ), dispersion inside the potential",
        "members": context.settings.members,
        "labels": {"settings_hash": manifest.settings_hash, "parts": {k: p.sha256 for k, p in manifest.parts.items()}},
        "held_out_groups": sorted(manifest.parts["test"].groups),
        "e0_ev": e0_ev,
        "settings": context.settings.model_dump(mode="json"),
        "versions": files.versions(),
    }


def model_folder(folder: Path) -> Path:
    """Where the committee is in the folder of the stage."""
    return folder / "model"


def base_model(settings: TrainSettings) -> Path | None:
    """The folder or file of the base model: a path, or a foundation model that mace-torch knows by name; or None."""
    if settings.base is None:
        return None
    try:
        return files.place(settings.base)
    except ValueError:
        return models.foundation(settings.base)


def _inputs(context: Context[TrainSettings]) -> list[Path]:
    base = base_model(context.settings)
    if base is None:
        return []
    return [Path(context.settings.base or "") if Path(context.settings.base or "").exists() else base]


STAGE = Stage(
    name="train",
    settings=TrainSettings,
    result=Committee,
    run=run,
    needs=(DATASET,),
    common=("seed", "device"),
    sections=(Tracking,),
    inputs=_inputs,
    report=report_sections,
)
