"""The stage `evaluate`: errors of the committee and of its base model on the groups that the run holds out."""

from functools import partial
from pathlib import Path

from mlip.atoms import extxyz
from mlip.core.stage import Context, Stage
from mlip.core.status import Status
from mlip.potential import models
from mlip.stages.dataset import dataset
from mlip.stages.dataset.card import read_card
from mlip.stages.dataset.stage import STAGE as DATASET
from mlip.stages.evaluate import evaluate, jobs
from mlip.stages.evaluate.report import report_sections
from mlip.stages.evaluate.settings import EvaluateSettings
from mlip.stages.structures import STAGE as STRUCTURES
from mlip.stages.train import given
from mlip.stages.train.jobs import is_another_level, missed_ev
from mlip.stages.train.stage import STAGE as TRAIN
from mlip.stages.train.stage import base_model, model_folder

NONE_HELD_OUT = "dataset.test_groups: no group is held out, so there is no accuracy to report"


def run(context: Context[EvaluateSettings]) -> evaluate.Evaluation:
    """Measure the errors on the held-out groups."""
    if context.result(DATASET).status.code == dataset.NO_LABELS:
        return evaluate.not_measured(context.result(DATASET).status)
    path = context.folder_of(DATASET) / "test.extxyz"
    if not path.exists():
        raise ValueError(f"{NONE_HELD_OUT}; name at least one")
    frames = extxyz.read_frames(path)
    measure = partial(
        evaluate.errors,
        paths=read_card(context.file(_cards(context)[0]).parent).paths,
        ions=context.settings_of(STRUCTURES).moving,
        shell_angstrom=context.settings.first_shell_angstrom,
    )
    predicted, *of_base = context.map(jobs.predict, _jobs(context, path), label="models")
    groups = tuple(sorted({str(f.info["group"]) for f in frames}))
    exposure, own = _exposure(context, groups), measure("committee", frames, predicted)
    measured = [own if exposure.code == given.HELD_OUT else evaluate.not_held_out(own)]
    for found in filter(None, of_base):
        if is_another_level(frames, missed_ev(frames, found)):
            context.say("the base model is at another level of theory than the labels, so its errors mean nothing")
        else:
            measured.append(measure("base model, not fine-tuned", frames, found))
    context.say(evaluate.table({errors.model: errors for errors in measured}))
    return evaluate.Evaluation(
        held_out_groups=groups,
        models=tuple(measured),
        parity=evaluate.parity(frames, predicted),
        exposure=exposure,
    )


def _exposure(context: Context[EvaluateSettings], groups: tuple[str, ...]) -> Status:
    """Whether the committee was trained on the groups; what the run trains itself never is."""
    if context.result(TRAIN).given is None:
        return Status(given.HELD_OUT)
    card = models.of_run(model_folder(context.folder_of(TRAIN))).card
    found = given.exposure(card, settings_hash=context.result(DATASET).settings_hash, groups=groups)
    if found.code != given.HELD_OUT:
        context.say(f"the errors are not of held-out frames: {found}")
    return found


def _jobs(context: Context[EvaluateSettings], frames: Path) -> list[jobs.PredictJob]:
    """The committee of the run, and the base model where there is one."""
    settings, device = context.settings_of(TRAIN), context.common.device
    own = jobs.PredictJob(model_folder(context.folder_of(TRAIN)), frames, device)
    base = base_model(settings)
    if base is None:
        return [own]
    return [own, jobs.PredictJob(base, frames, device, settings.trust_pickle, context.common.target)]


def _cards(context: Context[EvaluateSettings]) -> list[Path]:
    path = context.settings_of(DATASET).path
    return [] if path is None else [path / "card.yaml"]


def _check_whole(context: Context[EvaluateSettings]) -> None:
    """Refuse a run that would stop here, after its training.

    Raises:
        ValueError: there are labels, and no group of them is held out.
    """
    labels = context.settings_of(DATASET)
    if labels.path is not None and not labels.test_groups:
        raise ValueError(
            f"{NONE_HELD_OUT}; name at least one before the training, which a later change would make anew; single "
            "stages (mlip train, mlip neb) and mlip learn need none"
        )


STAGE = Stage(
    name="evaluate",
    settings=EvaluateSettings,
    result=evaluate.Evaluation,
    run=run,
    needs=(STRUCTURES, DATASET, TRAIN),
    common=("device", "target"),
    inputs=_cards,
    check_whole=_check_whole,
    report=report_sections,
)
