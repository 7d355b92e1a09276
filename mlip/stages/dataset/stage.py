"""The stage `dataset`: checked labels, split by group, at the target level.

The split is in `dataset/train.extxyz`, `valid.extxyz` and `test.extxyz`. Without a dataset (`dataset.path: null`) there
is no split, and the status says so.
"""

from pathlib import Path

from mlip.core import files
from mlip.core.report import ReportSection, card_section
from mlip.core.stage import Context, Kept, Stage
from mlip.core.status import Status
from mlip.stages.dataset import dataset
from mlip.stages.dataset.card import card_as_mapping, read_card
from mlip.stages.dataset.settings import DatasetSettings

ABSENT = Status(dataset.NO_LABELS, "dataset.path is null")


def run(context: Context[DatasetSettings]) -> dataset.Manifest:
    """Check the labels and split them."""
    settings, common = context.settings, context.common
    if settings.path is None:
        context.say("no labels: the errors of the potential are not known")
        return dataset.Manifest(target=common.target, settings_hash="", parts={}, e0_ev={}, status=ABSENT)
    card, frames = dataset.read_dataset(dataset_folder(context), settings, target=common.target)
    kept, dropped = dataset.deduplicate(
        frames,
        settings.duplicate_angstrom,
        settings.test_groups,
        source=str(dataset_folder(context) / "frames.extxyz"),
    )
    for later, earlier in dropped:
        context.say(f"{later} repeats {earlier}: left out")
    dataset.require_own(settings.test_groups, frames, dropped)
    dataset.require_held_out_paths(card.paths, settings.test_groups, dropped)
    parts = dataset.split(kept, settings.test_groups, valid_fraction=settings.valid_fraction, seed=common.seed)
    manifest = dataset.write_split(context.folder, parts, common.target)
    for name, part in manifest.parts.items():
        context.say(f"{name:6s} {part.frames:5d} frames in {len(part.groups)} groups")
    return manifest


def dataset_folder(context: Context[DatasetSettings]) -> Path:
    """The folder with the labels and their card."""
    if context.settings.path is None:
        raise ValueError("dataset.path: null names no folder; give one with labels")
    return context.file(context.settings.path / "card.yaml").parent


def report(context: Context[DatasetSettings], result: dataset.Manifest) -> tuple[ReportSection, ...]:
    """The card of the dataset; nothing where there is none."""
    if result.status.code == dataset.NO_LABELS:
        return ()
    shown = card_as_mapping(read_card(dataset_folder(context)))
    return (card_section("dataset-card", "Dataset card", shown),)


def _inputs(context: Context[DatasetSettings]) -> list[Path]:
    if context.settings.path is None:
        return []
    files.place(context.settings.path)  # a missing folder is named as such
    return [context.settings.path / "frames.extxyz", context.settings.path / "card.yaml"]


STAGE = Stage(
    name="dataset",
    settings=DatasetSettings,
    result=dataset.Manifest,
    run=run,
    common=("seed", "target"),
    inputs=_inputs,
    report=report,
    artifact=Kept(kind="dataset", patterns=("result.json", "*.extxyz")),
)
