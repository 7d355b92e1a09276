"""Labels of the chosen frames of a round, what the potential had said of them, and the dataset of the next round.

Takes a choice; leaves `frames.extxyz`, `paths.yaml` and, last, `result.json` in `<run>/learn/`. The labels themselves
are in the store that all rounds share. An error of a saddle is that of its energy above the initial image of its hop,

    (E_saddle - E_initial)_potential - (E_saddle - E_initial)_label,

by the potential of the round, which has not seen the label of the saddle. The initial image is that of the same band
where it was labelled, else one of the same hop from this or an earlier round.
"""

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import yaml
from ase import Atoms

from mlip import driver
from mlip.core import files, unfinished
from mlip.core.progress import console, estimate
from mlip.dft import queue
from mlip.learn.candidates import Candidate, HopKey
from mlip.learn.choosing import FOLDER, Choice, Round, chosen, comparable, initial_labels, predictions
from mlip.stages.dataset import dataset, labels
from mlip.stages.dataset.card import LabelledPath
from mlip.stages.dataset.settings import DatasetSettings
from mlip.tools import merge_datasets


@dataclass(frozen=True, kw_only=True)
class ImageError:
    """Energy of an image above the initial image of its hop, by the potential before it saw the label, and by DFT."""

    frame_id: str
    host: str
    ion: str
    hop: str
    member: int
    image: int
    saddle: bool
    reference: str  # frame_id of the initial image
    predicted_ev: float
    labelled_ev: float

    @property
    def error_ev(self) -> float:
        """Potential minus label."""
        return self.predicted_ev - self.labelled_ev


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """What a round labelled.

    Attributes:
        choice: what was chosen.
        frames: how many have a label.
        failed: frames without a label, with the reason.
        images: errors of the potential along the bands, on labels it had not seen.
        force_rmse_ev_per_angstrom: error of the force components on the new labels, which it had not seen.
    """

    choice: Choice
    frames: int
    failed: tuple[queue.Problem, ...]
    images: tuple[ImageError, ...]
    force_rmse_ev_per_angstrom: float

    @property
    def saddles(self) -> tuple[ImageError, ...]:
        """The images that are saddles."""
        return tuple(image for image in self.images if image.saddle)


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """Frames whose jobs have to be run before the round can go on."""

    problems: tuple[queue.Problem, ...]


def done(own: Round) -> Labelled | None:
    """What the round labelled, where that is whole, of the present settings, and nothing is to be tried again."""
    result = own.folder / "result.json"
    if not result.exists() or files.read_provenance(result).fingerprint != own.fingerprint:
        return None
    return None if unfinished.is_left(own.folder) else files.read_result(result, Labelled)


def labelled(own: Round) -> Labelled | Waiting | None:
    """Labels of the frames that the round chooses; None where no candidate is left, `Waiting` where jobs have to run.

    Raises:
        ValueError: none of the frames gets a label, or what choice and queue raise.
    """
    found = done(own)
    if found is not None:
        return found
    started = time.time()
    choice, frames = chosen(own)
    if not frames:
        return None
    with driver.carried_out(own.run, "label", "learn"), estimate(f"labels of round {own.number}") as tick:
        made = queue.label([c.atoms for c in frames], own.dft, own.store, workers=own.run.common.workers, on_tick=tick)
    waiting = tuple(p for p in made.problems if p.file is None)
    if waiting:
        return Waiting(problems=waiting)
    pairs = [(c, _marked(atoms, c, own.number)) for c, atoms in zip(frames, made.frames, strict=True) if atoms]
    fit, refused = _fit_for_training(own, pairs)
    problems = (*made.problems, *refused)
    for problem in problems:
        console.print(f"  {problem.frame_id}: {problem.reason}", soft_wrap=True)
    if not fit:
        raise ValueError(
            f"round {own.number}: none of {len(frames)} frames has a label to train on; the first: {problems[0].reason}"
        )
    result = _compared(own, choice, fit, problems)
    files.write_frames(own.folder / "frames.extxyz", [atoms for _, atoms in fit])
    listed = [asdict(path) for path in _paths(own, fit)]
    files.write_text_atomic(own.folder / "paths.yaml", yaml.safe_dump(listed, sort_keys=False, width=120))
    left = queue.left(made.problems)
    unfinished.add(own.folder, *left)
    made_by = files.provenance(FOLDER, settings=own.learn.model_dump(mode="json"), inputs={}, started=started)
    files.write_result(own.folder / "result.json", result, replace(made_by, fingerprint=own.fingerprint))
    unfinished.leave(own.folder, *left)
    return result


def _marked(atoms: Atoms, one: Candidate, number: int) -> Atoms:
    """The label with what later rounds want to know; a frame with `learned` is never taken for validation."""
    atoms.info |= {dataset.LEARNED: number}
    if one.hop is not None:
        atoms.info |= {"hop": one.hop[2], "member": one.member, "image": one.image}
    return atoms


def _fit_for_training(
    own: Round, pairs: Sequence[tuple[Candidate, Atoms]]
) -> tuple[list[tuple[Candidate, Atoms]], list[queue.Problem]]:
    """The labels that pass the checks of a dataset, and why the others do not."""
    limits, target = own.run.sections["dataset"], own.run.common.target
    settings = limits if isinstance(limits, DatasetSettings) else DatasetSettings()
    card = replace(own.card, settings_hash=queue.settings_hash(own.dft))  # that of a card may be of an older form
    fit, refused = [], []
    for one, atoms in pairs:
        try:
            labels.check([atoms], settings, source=f"round {own.number}", target=target, card=card)
        except ValueError as error:
            refused.append(queue.Problem(frame_id=one.name, reason=str(error), file=str(own.folder)))
        else:
            fit.append((one, atoms))
    return fit, refused


def _compared(
    own: Round, choice: Choice, fit: Sequence[tuple[Candidate, Atoms]], problems: Sequence[queue.Problem]
) -> Labelled:
    """The potential of the round held against the labels it had not seen."""
    target = own.run.common.target
    references = _references(own, fit)
    frames = {str(a.info["frame_id"]): a for a in (*references.values(), *(atoms for _, atoms in fit))}
    predicted = dict(zip(frames, predictions(own.run, list(frames.values())), strict=True))
    truth = {name: dataset.at_target(atoms, target) for name, atoms in frames.items()}
    wrong = [predicted[c.name].mean_forces - truth[c.name].arrays["REF_forces"] for c, _ in fit]
    images = []
    for one, atoms in fit:
        start = references.get((one.hop, one.member)) if one.hop and one.image else None
        if start is None or one.hop is None or not comparable(atoms, start):
            continue
        names = one.name, str(start.info["frame_id"])
        energies = [predicted[n].energy_ev for n in names], [float(truth[n].info["REF_energy"]) for n in names]
        images.append(
            ImageError(
                frame_id=one.name,
                host=one.hop[0],
                ion=one.hop[1],
                hop=one.hop[2],
                member=one.member,
                image=one.image,
                saddle=one.saddle and one.converged,
                reference=names[1],
                predicted_ev=energies[0][0] - energies[0][1],
                labelled_ev=energies[1][0] - energies[1][1],
            )
        )
    rmse = float(np.sqrt(np.mean(np.concatenate([w.ravel() for w in wrong]) ** 2)))
    return Labelled(
        choice=choice,
        frames=len(fit),
        failed=tuple(problems),
        images=tuple(images),
        force_rmse_ev_per_angstrom=rmse,
    )


def _references(own: Round, fit: Sequence[tuple[Candidate, Atoms]]) -> Mapping[tuple[HopKey, int], Atoms]:
    """A labelled initial image for every band: its own, else one of the same hop from this or an earlier round."""
    mine = {(c.hop, c.member): atoms for c, atoms in fit if c.hop is not None and c.image == 0}
    of_hop = dict(initial_labels(own.card, own.frames))
    of_hop |= {hop: atoms for (hop, _), atoms in mine.items()}
    bands = {(c.hop, c.member) for c, _ in fit if c.hop is not None}
    found = {band: mine.get(band) or of_hop.get(band[0]) for band in bands}
    return {band: atoms for band, atoms in found.items() if atoms is not None}


def _paths(own: Round, fit: Sequence[tuple[Candidate, Atoms]]) -> list[LabelledPath]:
    """Converged bands whose saddle and initial image are both labelled, as a card lists them."""
    starts = {(c.hop, c.member): c for c, _ in fit if c.hop is not None and c.image == 0}
    return [
        LabelledPath(
            group=one.group,
            host=one.hop[0],
            ion=one.hop[1],
            hop=one.hop[2],
            initial=starts[one.hop, one.member].name,
            saddle=one.name,
            geometry=f"CI-NEB band of member {one.member} in round {own.number} of mlip learn; not relaxed with DFT",
        )
        for one, _ in fit
        if one.saddle and one.converged and one.hop is not None and (one.hop, one.member) in starts
    ]


def next_dataset(own: Round, folder: Path) -> Path:
    """The dataset of the next round: that of this one with the new labels. It is made anew where it is another's."""
    origin = folder / "origin.json"
    key = files.digest_of([own.card.sha256, files.sha256(own.folder / "frames.extxyz"), own.fingerprint])
    kept = files.read_record(origin, Origin) if origin.exists() else None
    if kept is not None and kept.key == key:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    limits, target = own.run.sections["dataset"], own.run.common.target
    checks = merge_datasets.Checks(limits if isinstance(limits, DatasetSettings) else DatasetSettings(), target)
    merge_datasets.merge([own.data, own.run.folder], folder, checks=checks)
    files.write_record(origin, Origin(key=key, round=own.number))
    return folder


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a dataset of a round was made of."""

    key: str
    round: int


def require_level(own_level: str, data_level: str, *, data: Path, preset: str) -> None:
    """Raise a ValueError where the labels of a run would be of another level than those of its dataset."""
    if own_level != data_level:
        raise ValueError(
            f"dft.preset: {preset} with dft.settings is the level {own_level}, the labels of {data} are of the level "
            f"{data_level}; one dataset holds one level: set dft to that of the dataset, or name another dataset"
        )
