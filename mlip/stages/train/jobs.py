"""What a worker process does for the stage train: one member of the committee.

Takes frozen descriptions of jobs (paths and settings, no open files); gives frozen results, each also on disk, so that
a finished job is not done again after a kill.
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mlip.atoms import extxyz
from mlip.core import files
from mlip.core.arrays import Array
from mlip.core.progress import progress
from mlip.core.tracking import Task, Tracker, Tracking
from mlip.core.workers import run_parallel
from mlip.potential import models, potential
from mlip.stages.dataset import dataset, labels
from mlip.stages.train import train
from mlip.stages.train.settings import TrainSettings
from mlip.stages.train.training import Epoch

OF_LEVEL_EV_PER_ATOM = 0.1  # error of a base at the level of the labels: 0.01; other codes count from another zero
FRAMES_OF_LEVEL = 20  # at least, that show it
CURVES = ("train_loss", "valid_loss", "valid_force_rmse_ev_per_angstrom", "valid_energy_rmse_ev_per_atom")


@dataclass(frozen=True)
class TrainJob:
    """One member to train."""

    folder: Path
    data: Path  # with train.extxyz and valid.extxyz
    settings: TrainSettings
    e0_ev: dict[str, float]
    seed: int
    member: int
    device: str


def reference_energies(
    settings: TrainSettings, manifest: dataset.Manifest, training: Sequence[Atoms]
) -> dict[str, float]:
    """Reference energies for training: the base model's own at its level, else those fitted to the training frames.

    A base of another target gets the difference of the two fits added, so that its constant part moves with the level.
    A base whose level is another one gets the fit of what it misses on the training frames added: a foundation model,
    and one that misses more energy than a base of the level of the labels does, such as after another DFT code.

    Raises:
        ValueError: the base is at a level that the labels lack.
    """
    fitted = manifest.e0_ev[manifest.target]
    if settings.base is None:
        return fitted
    base = models.load(settings.base, trust_pickle=settings.trust_pickle)
    if base.card.get("labels", {}).get("settings_hash") == manifest.settings_hash:
        raise ValueError(
            f"train.base: {settings.base} was trained on labels of this level, so held-out groups may not be held out; "
            "start from datasets/models/base or another model that never saw them"
        )
    own = dict(zip(base.elements, base.shape["atomic_energies"][0], strict=True))
    use = potential.Evaluator(base)
    if base.card.get("target") is None:
        return _refitted(own, fitted, training, missed_ev(training, use(training)))
    there = manifest.e0_ev.get(base.target)
    if there is None:
        raise ValueError(f"train.base: is at {base.target}, a level the labels lack; use a base at {manifest.target}")
    moved = {s: e + fitted.get(s, 0.0) - there.get(s, 0.0) for s, e in own.items()}
    if any(set(frame.symbols) - set(own) for frame in training):
        return moved  # the training names the elements that the base lacks
    some = training[:: max(1, len(training) // FRAMES_OF_LEVEL)]
    constants = [sum(moved[s] - own[s] for s in frame.symbols) for frame in some]
    if some and is_another_level(some, missed_ev(some, use(some)) - constants):
        return _refitted(own, fitted, training, missed_ev(training, use(training)))
    return moved


def missed_ev(frames: Sequence[Atoms], found: Sequence[potential.Predicted]) -> Array:
    """What the energies (eV) of a model lack on labelled frames."""
    return np.array([float(f.info["REF_energy"]) - p.energy_ev for f, p in zip(frames, found, strict=True)])


def is_another_level(frames: Sequence[Atoms], missed_ev: Array) -> bool:
    """Whether energies of a base are off by more than the error of a base at the level of the labels."""
    per_atom = np.abs(missed_ev) / np.array([len(frame) for frame in frames])
    return bool(np.median(per_atom) > OF_LEVEL_EV_PER_ATOM)


def _refitted(
    own: Mapping[str, float], fitted: Mapping[str, float], training: Sequence[Atoms], missed_ev: Array
) -> dict[str, float]:
    """The reference energies with the fit of what the base misses on the training frames added."""
    symbols = [s for s in own if s in fitted]
    shift = labels.element_fit(labels.composition(training, symbols), missed_ev, robust=False)
    return {**own, **{s: own[s] + float(d) for s, d in zip(symbols, shift, strict=True)}}


def train_member(job: TrainJob) -> train.Trained:
    """Train one member to the end; its weights are in the job's folder."""
    done = job.folder / "outcome.json"
    if done.exists():
        return files.read_record(done, train.Trained)
    history: list[Epoch] = []

    def note(epoch: Epoch) -> None:
        history.append(epoch)
        files.write_text_atomic(job.folder / "history.jsonl", train.history_lines(history))

    outcome, shape, weights = train.run(
        job.settings,
        train=extxyz.read_frames(job.data / "train.extxyz"),
        valid=extxyz.read_frames(job.data / "valid.extxyz"),
        e0_ev=job.e0_ev,
        seed=job.seed,
        member=job.member,
        folder=job.folder,
        device=job.device,
        on_epoch=note,
    )
    models.save(job.folder / "model", shape=shape, weights=[weights], card={"name": f"member-{job.member}"})
    files.write_record(done, outcome)
    return outcome


def train_members(
    todo: Sequence[TrainJob], *, workers: int, tracking: Tracking, run_folder: Path, fingerprint: str
) -> list[train.Trained]:
    """Train every member side by side, with a bar in epochs (a fit of energies counts as one), a W&B run for each."""
    fitted = [job for job in todo if job.settings.energy_fit is not None]
    total = sum(job.settings.epochs for job in todo) + len(fitted)
    with contextlib.ExitStack() as stack, progress("epochs", total) as tick:
        trackers = [stack.enter_context(_tracker(job, tracking, run_folder, fingerprint)) for job in todo]

        def watch(_: int) -> None:
            histories = [_history(job.folder / "history.jsonl") for job in todo]
            tick(sum(len(h) for h in histories) + sum(_finished(job) for job in fitted))
            for tracker, history in zip(trackers, histories, strict=True):
                for line in history[tracker.next_step :]:
                    tracker.log({name: line[name] for name in CURVES}, step=line["epoch"])

        done = run_parallel(train_member, todo, workers=workers, on_tick=watch)
        watch(len(todo))
    return done


def _tracker(job: TrainJob, tracking: Tracking, run_folder: Path, fingerprint: str) -> Tracker:
    """The W&B run of a member."""
    task = Task(run=run_folder, stage="train", fingerprint=fingerprint, name=f"member-{job.member}")
    config = {**job.settings.model_dump(mode="json"), "member": job.member, "seed": job.seed, "commit": files.commit()}
    return Tracker(tracking, task, config=config)


def _finished(job: TrainJob) -> bool:
    return (job.folder / "outcome.json").exists()


def _history(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def save_committee(folder: Path, todo: Sequence[TrainJob], card: Mapping[str, Any]) -> None:
    """Gather trained members in one model folder."""
    members = [models.load(job.folder / "model") for job in todo]
    first = members[0]
    card = {**card, "elements": list(first.elements), "cutoff_angstrom": first.cutoff_angstrom}
    models.save(folder, shape=first.shape, weights=[m.members[0].state_dict() for m in members], card=card)
