"""Training of one MACE potential, resumable to the bit.

Takes split files with `REF_energy` and `REF_forces` and a starting point (a new network or a base model); gives weights
with the best validation loss. Each epoch ends with one atomic checkpoint of everything that decides the next: weights,
averaged weights, optimiser, best loss, history. The order of frames and the weights of groups come from
(seed, member, epoch) alone, so a run that was killed continues exactly as if it had not been.

Where `train.energy_fit` says so, the energies are fitted at the end in closed form (`energy_fit`).
"""

import io
import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mlip.core.files import digest_of, write_bytes_atomic
from mlip.core.status import Status
from mlip.potential import models
from mlip.potential.backends import mace_torch
from mlip.stages.train.energy_fit import EnergyFit, fit
from mlip.stages.train.samples import Sample, force_rms, group_weights, mean_neighbours, require_labels, samples
from mlip.stages.train.settings import EnergyFitSettings, TrainSettings
from mlip.stages.train.training import Epoch, Training

log = logging.getLogger(__name__)

FINISHED, STOPPED_EARLY = "finished", "stopped early"
FLOAT32 = 2.0**-23  # relative rounding of what a training in float32 holds


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The outcome of one training."""

    member: int
    seed: int
    status: Status  # FINISHED or STOPPED_EARLY
    best_epoch: int
    history: tuple[Epoch, ...]
    energy_fit: EnergyFit | None = None  # the history is of what was before it


def start(
    settings: TrainSettings, *, frames: Sequence[Atoms], e0_ev: dict[str, float], seed: int, member: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Shape and initial weights: of the base model with these reference energies, or of a new network.

    Member k of a committee starts from member k of the base, counted around.

    Raises:
        ValueError: the base model lacks an element of the frames.
    """
    import torch

    torch.manual_seed(seed * 1000 + member)
    needed = sorted({s for f in frames for s in f.get_chemical_symbols()})
    if settings.base is None:
        cutoff = settings.architecture.cutoff_angstrom
        shape = models.scratch_shape(
            settings.architecture, e0_ev=e0_ev, force_rms=force_rms(frames), neighbours=mean_neighbours(frames, cutoff)
        )
        return shape, models.build(shape).state_dict()
    base = models.load(settings.base, trust_pickle=settings.trust_pickle)
    missing = [s for s in needed if s not in base.elements]
    if missing:
        raise ValueError(
            f"train.base: {settings.base} knows {list(base.elements)} and not {missing}, which the labels hold; "
            "use a base with these elements or base: null"
        )
    weights = dict(base.members[(member - 1) % len(base.members)].state_dict())
    known = weights[models.E0]
    values = [e0_ev.get(s, float(old)) for s, old in zip(base.elements, known.flatten().tolist(), strict=True)]
    weights[models.E0] = torch.tensor([values], dtype=known.dtype)
    return {**base.shape, "atomic_energies": [values]}, weights


def run(  # noqa: PLR0913  (data, seeds and places are independent)
    settings: TrainSettings,
    *,
    train: Sequence[Atoms],
    valid: Sequence[Atoms],
    e0_ev: dict[str, float],
    seed: int,
    member: int,
    folder: Path,
    device: str = "cpu",
    on_epoch: Callable[[Epoch], None] = lambda _: None,
) -> tuple[Trained, dict[str, Any], dict[str, Any]]:
    """Train one member; gives its history, shape and best weights. A killed run continues from `folder`.

    Args:
        settings: of the training.
        train: frames with REF_energy (eV), REF_forces (N, 3) (eV/Angstrom) and info `group`.
        valid: frames that decide which epoch is best.
        e0_ev: reference energy of every element, eV; the saved model holds exactly these.
        seed: of the run.
        member: number of the committee member, from 1.
        folder: for `checkpoint.pt`; a checkpoint of other data or settings is ignored.
        device: cpu or cuda.
        on_epoch: called after every epoch, and once for every epoch already done.

    Raises:
        ValueError: missing labels, elements the model does not know, no GPU where one is asked for, or a loss that is
            not finite.
    """
    mace_torch.require_device(device)
    if not train or not valid:
        raise ValueError(f"training needs frames on both sides: {len(train)} to train on, {len(valid)} to validate on")
    require_labels([*train, *valid])
    shape, weights = start(settings, frames=[*train, *valid], e0_ev=e0_ev, seed=seed, member=member)
    elements = models.elements_of(shape)
    parts = group_weights([f.info["group"] for f in train], seed=seed, member=member)
    training_set = samples(train, elements, shape["r_max"], parts)
    validation_set = samples(valid, elements, shape["r_max"])
    steps = -(-len(training_set) // settings.batch_frames)
    state = Training(settings, shape, weights, device=device, steps_per_epoch=steps)
    state.check_matrices(training_set[0])
    tag = _tag(settings, weights, training_set, validation_set, seed=seed, member=member)
    _resume(state, folder / "checkpoint.pt", tag)
    for done in state.history:
        on_epoch(done)
    while len(state.history) < settings.epochs and not _exhausted(state, settings):
        on_epoch(_one_epoch(state, training_set, validation_set, seed=seed, member=member))
        _store(state, folder / "checkpoint.pt", tag)
    fitted, final = None, state.best_weights
    if settings.energy_fit is not None:
        fitted, final = _fit_energies(state, training_set, settings.energy_fit, seed=seed, member=member)
    _check_e0(final, e0_ev, elements)
    final = _with_e0(final, shape)
    best = max((e.epoch for e in state.history if e.best), default=0)
    early = len(state.history) < settings.epochs
    outcome = Trained(
        member=member,
        seed=seed,
        status=Status(STOPPED_EARLY if early else FINISHED),
        best_epoch=best,
        history=tuple(state.history),
        energy_fit=fitted,
    )
    return outcome, shape, final


def _fit_energies(
    state: Training, train: Sequence[Sample], settings: EnergyFitSettings, *, seed: int, member: int
) -> tuple[EnergyFit, dict[str, Any]]:
    """What the fit of energies did, and the weights after it; in double precision and without special kernels."""
    plainly = state.settings.model_copy(update={"dtype": "float64", "cueq": False})
    exact = Training(plainly, state.shape, state.best_weights, device=state.device, steps_per_epoch=1)
    exact.check_matrices(train[0])
    done = fit(
        exact.calculated,
        [p for p in exact.model.parameters() if p.requires_grad],
        [s.graph for s in train],
        energies_ev=np.array([s.energy_ev for s in train]),
        weights=np.array([s.weight for s in train]),
        settings=settings,
        seed=(seed, member),
    )
    weights = {k: v.detach().cpu() for k, v in exact.model.state_dict().items()}
    return done, weights


def _one_epoch(state: Training, train: Sequence[Sample], valid: Sequence[Sample], *, seed: int, member: int) -> Epoch:
    epoch = len(state.history)
    train_loss = state.train_epoch(train, epoch=epoch, seed=seed, member=member)
    loss, force, energy = state.validate(valid)
    if not math.isfinite(train_loss + loss):
        raise ValueError(f"member {member}, epoch {epoch}: the loss is not finite; lower train.learning_rate")
    best = loss < state.best_loss or state.settings.keep == "last"
    if best:
        state.best_loss, state.best_weights = loss, state.averaged_weights()
    line = Epoch(
        epoch=epoch,
        train_loss=train_loss,
        valid_loss=loss,
        valid_force_rmse_ev_per_angstrom=force,
        valid_energy_rmse_ev_per_atom=energy,
        best=best,
    )
    state.history.append(line)
    return line


def _exhausted(state: Training, settings: TrainSettings) -> bool:
    best = max((e.epoch for e in state.history if e.best), default=0)
    return len(state.history) - best > settings.patience


def _tag(settings: TrainSettings, weights: dict[str, Any], *sets: Sequence[Sample], seed: int, member: int) -> str:
    """What a checkpoint must share with a training; the starting weights count, not the path they were read from."""
    labels = [
        [s.energy_ev, float(np.abs(s.forces).sum()), float(s.graph.positions.sum())] for part in sets for s in part
    ]
    begin = [[name, float(w.double().sum()), float(w.double().abs().sum())] for name, w in sorted(weights.items())]
    plain = settings.model_dump(mode="json", exclude={"members", "base", "trust_pickle", "energy_fit"})
    return digest_of([plain, begin, labels, seed, member])


def _store(state: Training, path: Path, tag: str) -> None:
    import torch

    buffer = io.BytesIO()
    torch.save({"tag": tag, **state.state()}, buffer)
    write_bytes_atomic(path, buffer.getvalue())


def _resume(state: Training, path: Path, tag: str) -> None:
    import pickle

    import torch

    if not path.exists():
        return
    try:
        stored = torch.load(path, map_location=state.device, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise ValueError(f"{path}: damaged checkpoint ({type(error).__name__}); delete it to train anew") from error
    if stored.pop("tag", None) == tag:
        state.restore(stored)


def _check_e0(weights: dict[str, Any], e0_ev: dict[str, float], elements: Sequence[str]) -> None:
    stored = weights[models.E0].flatten().tolist()
    for symbol, value in zip(elements, stored, strict=True):
        if symbol in e0_ev and not math.isclose(value, e0_ev[symbol], rel_tol=FLOAT32, abs_tol=1e-5):
            raise ValueError(
                f"trained model: reference energy of {symbol} is {value} eV, not {e0_ev[symbol]} eV as given"
            )


def _with_e0(weights: dict[str, Any], shape: dict[str, Any]) -> dict[str, Any]:
    """The weights with the reference energies of the shape, which a training in float32 has rounded."""
    import torch

    exact = torch.tensor(shape["atomic_energies"], dtype=weights[models.E0].dtype)
    return {**weights, models.E0: exact.view_as(weights[models.E0])}


def history_lines(history: Sequence[Epoch]) -> str:
    """The history as JSON lines."""
    return "".join(json.dumps(asdict(e)) + "\n" for e in history)
