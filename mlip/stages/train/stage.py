"""The stage `train`: one MACE potential per member of the committee.

With `train.model` the committee is a potential that is used as it is. The model folder is `train/model`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlip.atoms import extxyz
from mlip.core import files
from mlip.core.section import Target
from mlip.core.stage import Context, Kept, Stage
from mlip.core.tracking import Tracking
from mlip.potential import calculators, models
from mlip.potential.backends.ase_calculator import Named
from mlip.stages.dataset.dataset import Manifest
from mlip.stages.dataset.stage import STAGE as DATASET
from mlip.stages.train import calculator_files, jobs
from mlip.stages.train.given import Given, convert
from mlip.stages.train.report import report_sections
from mlip.stages.train.settings import CalculatorSettings, TrainSettings
from mlip.stages.train.train import Trained


@dataclass(frozen=True, kw_only=True)
class Committee:
    """Result of the stage."""

    target: Target
    e0_ev: dict[str, float]
    members: tuple[Trained, ...]  # empty where nothing was trained
    given: Given | None = None  # the potential that is used as it is

    @property
    def size(self) -> int:
        """Number of committee members."""
        return len(self.members) if self.given is None else self.given.members


def run(context: Context[TrainSettings]) -> Committee:
    """Train every member, in processes of their own; or take the potential that is given."""
    if context.settings.calculator is not None:
        return _calculated(context, context.settings.calculator)
    if context.settings.model is not None:
        return _taken(context, context.settings.model)
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
        run_folder=context.run_folder,
        fingerprint=context.fingerprint,
    )
    jobs.save_committee(model_folder(context.folder), todo, _card(context, manifest, e0_ev))
    return Committee(target=manifest.target, e0_ev=e0_ev, members=tuple(done))


def _taken(context: Context[TrainSettings], name: str) -> Committee:
    """The committee of a run that trains nothing."""
    manifest, data = context.result(DATASET), context.folder_of(DATASET)
    found = models.load(located(name), trust_pickle=context.settings.trust_pickle)
    parts = (extxyz.read_frames(path) for path in sorted(data.glob("*.extxyz")))
    symbols = {symbol for frames in parts for frame in frames for symbol in frame.get_chemical_symbols()}
    made = convert(found, name, model_folder(context.folder), target=manifest.target, symbols=symbols)
    context.say(f"{name}: {made.members} members, used as they are; nothing is trained")
    e0_ev = dict(zip(found.elements, (float(x) for x in found.shape["atomic_energies"][0]), strict=True))
    return Committee(target=manifest.target, e0_ev=e0_ev, members=(), given=made)


def _calculated(context: Context[TrainSettings], chosen: CalculatorSettings) -> Committee:
    """The committee of one ASE calculator."""
    target, named = context.result(DATASET).target, Named(chosen.name, chosen.arguments)
    named.made()
    card = {
        "name": context.run_name,
        "target": target,
        "level": f"not known; taken as {target} (common.target)",
        "members": 1,
        "source": chosen.name,
        "arguments": chosen.arguments,
        "versions": files.versions(),
    }
    if read := calculator_files.inputs(chosen.arguments, context.run_folder):
        card["inputs"] = {str(path): files.sha256(path) for path in read}  # part of the name of a trajectory
    for path in calculator_files.left_out(chosen.arguments, context.run_folder):
        context.say(
            f"train.calculator: {path}: no input of the run, because it holds the run, more than 1000 files or 10 GiB; "
            "give it another name when its files change"
        )
    calculators.save(model_folder(context.folder), named, card)
    context.say(f"{chosen.name}: used as it is, one structure a call and without a spread; nothing is trained")
    return Committee(target=target, e0_ev={}, members=(), given=Given(source=chosen.name, members=1, elements=()))


def _check(context: Context[TrainSettings]) -> None:
    """Refuse a training without labels.

    Raises:
        ValueError: `dataset.path` is null and no potential is given.
    """
    if context.settings.given is None and context.settings_of(DATASET).path is None:
        raise ValueError(
            "dataset.path: null leaves nothing to train on; name a folder with labels, or give a potential with "
            "train.model or train.calculator"
        )


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
    """The folder or file of the base model; None where there is none."""
    return None if settings.base is None or settings.given is not None else located(settings.base)


def elements_to_be(settings: TrainSettings) -> tuple[str, ...] | None:
    """Elements that the potential of a run will know; None where only loading a file tells."""
    if settings.calculator is not None:
        return None
    name = settings.model or settings.base
    return settings.architecture.elements if name is None else models.elements_in(located(name))


def located(name: str) -> Path:
    """The folder or file of a model: a path, or a foundation model that mace-torch knows by name."""
    try:
        return files.place(name)
    except ValueError:
        return models.foundation(name)


def _inputs(context: Context[TrainSettings]) -> list[Path]:
    if context.settings.calculator is not None:
        return calculator_files.inputs(context.settings.calculator.arguments, context.run_folder)
    name = context.settings.model or context.settings.base
    if name is None:
        return []
    return [Path(name) if Path(name).exists() else located(name)]


STAGE = Stage(
    name="train",
    settings=TrainSettings,
    result=Committee,
    run=run,
    needs=(DATASET,),
    common=("seed", "device"),
    sections=(Tracking,),
    inputs=_inputs,
    check=_check,
    report=report_sections,
    artifact=Kept(kind="model", patterns=("model/*",)),
)
