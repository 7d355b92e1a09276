"""Training of one MACE potential, resumable to the bit.

Takes split files with `REF_energy` and `REF_forces` and a starting point (a new network or a base model); gives weights
with the best validation loss. Each epoch ends with one atomic checkpoint of everything that decides the next: weights,
averaged weights, optimiser, best loss, history. The order of frames and the weights of groups come from
(seed, member, epoch) alone, so a run that was killed continues exactly as if it had not been.

    loss = w_E mean[((E - E_ref)/N)^2] + w_F mean[huber(F - F_ref)]

Where `train.energy_fit` says so, the energies are fitted at the end in closed form (`energy_fit`).

A network with scalar messages is written as matrices in every call (`scalar`): the same numbers by fewer operations.
Frames of an update are packed by their edges into calls of bounded size, and the gradients of the calls add up to that
of the whole, so memory does not depend on how large the frames of an update happen to be.

Members of a committee differ by the order of frames, by their initial weights when new, and by the weight of each group
in the loss, drawn from Gamma(4)/4: a Bayesian bootstrap (Rubin 1981, doi:10.1214/aos/1176345338) with half the usual
standard deviation, since few labels go around; none is left out.
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
from ase.data import chemical_symbols
from numpy.typing import NDArray

from mlip.core.files import digest_of, write_bytes_atomic
from mlip.potential import graphs, models
from mlip.potential.backends import mace_scalar, mace_torch
from mlip.potential.potential import out_of_memory
from mlip.stages.train.energy_fit import EnergyFit, fit
from mlip.stages.train.settings import EnergyFitSettings, TrainSettings

WARMUP_EPOCHS = 1.0  # linear rise of the learning rate at the start
FINAL_RATE = 0.01  # of the learning rate, reached along a cosine
GROUP_WEIGHT_SHAPE = 4.0  # of the gamma distribution of a group's weight; 1 is the Bayesian bootstrap
EDGES_PER_CALL = {"cpu": 24_000, "cuda": 400_000}  # halved when memory is out
SAME_FORCE_EV_PER_ANGSTROM, SAME_ENERGY_EV = 1e-3, 1e-4  # per atom; float32 is 100 times closer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Epoch:
    """One line of the training history; valid_* are of the averaged weights."""

    epoch: int
    train_loss: float
    valid_loss: float
    valid_force_rmse_ev_per_angstrom: float
    valid_energy_rmse_ev_per_atom: float
    best: bool


@dataclass(frozen=True)
class Trained:
    """The outcome of one training."""

    member: int
    seed: int
    status: str  # 'finished' | 'stopped early'
    best_epoch: int
    history: tuple[Epoch, ...]
    energy_fit: EnergyFit | None = None  # the history is of what was before it


@dataclass(frozen=True)
class Sample:
    """A frame ready for training."""

    graph: graphs.Graph
    energy_ev: float
    forces: NDArray[np.float64]
    weight: float


def force_rms(frames: Sequence[Atoms]) -> float:
    """Root mean square of all reference force components, eV/Angstrom."""
    return float(np.sqrt(np.mean(np.concatenate([f.arrays["REF_forces"].ravel() for f in frames]) ** 2)))


def mean_neighbours(frames: Sequence[Atoms], cutoff_angstrom: float) -> float:
    """Mean number of neighbours within the cutoff over all atoms."""
    found = [graphs.graph(f, sorted(set(f.get_chemical_symbols())), cutoff_angstrom) for f in frames]
    return float(sum(g.edges for g in found) / sum(len(g.positions) for g in found))


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


def group_weights(groups: Sequence[str], *, seed: int, member: int) -> dict[str, float]:
    """Weight of each group in the loss of this member: 1 for the first, of mean 1 and deviation 1/2 for others."""
    names = sorted(set(groups))
    if member == 1:
        return dict.fromkeys(names, 1.0)
    drawn = np.random.default_rng([seed, member, 7]).gamma(GROUP_WEIGHT_SHAPE, size=len(names))
    return dict(zip(names, (drawn / drawn.mean()).tolist(), strict=True))


def samples(
    frames: Sequence[Atoms], elements: Sequence[str], cutoff_angstrom: float, weights: dict[str, float] | None = None
) -> list[Sample]:
    """Frames as graphs with labels.

    Raises:
        ValueError: a frame without REF_energy or REF_forces: labels are never taken as zero.
    """
    _require_labels(frames)
    out = []
    for frame in frames:
        weight = 1.0 if weights is None else weights[frame.info["group"]]
        graph = graphs.graph(frame, elements, cutoff_angstrom)
        out.append(Sample(graph, float(frame.info["REF_energy"]), frame.arrays["REF_forces"], weight))
    return out


def _require_labels(frames: Sequence[Atoms]) -> None:
    for number, frame in enumerate(frames):
        if "REF_energy" not in frame.info or "REF_forces" not in frame.arrays:
            raise ValueError(f"training frame {number}: has no REF_energy or REF_forces; run the dataset stage again")


def packed(chosen: Sequence[Sample], edges: int) -> list[list[Sample]]:
    """The samples in order, as calls of at most so many edges, or of a single sample."""
    out: list[list[Sample]] = []
    filled = 0
    for one in chosen:
        if not out or filled + one.graph.edges > edges:
            out.append([])
            filled = 0
        out[-1].append(one)
        filled += one.graph.edges
    return out


class Training:
    """State of one training between epochs."""

    def __init__(
        self,
        settings: TrainSettings,
        shape: dict[str, Any],
        weights: dict[str, Any],
        *,
        device: str,
        steps_per_epoch: int,
    ) -> None:
        import torch
        from torch_ema import ExponentialMovingAverage

        self.settings, self.shape, self.device = settings, shape, device
        self.n_elements = len(shape["atomic_numbers"])
        self.dtype = getattr(torch, settings.dtype)
        self.model = models.build(shape)
        self.model.load_state_dict(weights)
        self.model.to(device=device, dtype=self.dtype)
        if settings.cueq:
            self.model = models.with_cueq(self.model, device=device)
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimiser = torch.optim.Adam(parameters, lr=settings.learning_rate, amsgrad=True)
        self.average = ExponentialMovingAverage(parameters, decay=settings.ema_decay, use_num_updates=True)
        self.steps_per_epoch = steps_per_epoch
        self.edges_per_call = EDGES_PER_CALL[device]
        self.as_matrices = not settings.cueq and mace_scalar.why_not(shape, self.model) is None
        self.history: list[Epoch] = []
        self.best_loss = math.inf
        self.best_weights: dict[str, Any] = {}

    def state(self) -> dict[str, Any]:
        """Everything that decides what comes next."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "best_loss": self.best_loss,
            "best_weights": self.best_weights,
            "history": [asdict(e) for e in self.history],
            "edges_per_call": self.edges_per_call,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a stored state."""
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.best_loss, self.best_weights = state["best_loss"], state["best_weights"]
        self.history = [Epoch(**e) for e in state["history"]]
        self.edges_per_call = state.get("edges_per_call", self.edges_per_call)

    def set_rate(self, step: int) -> None:
        """Learning rate of this step: linear warm-up, then a cosine down to FINAL_RATE."""
        warm = WARMUP_EPOCHS * self.steps_per_epoch
        total = max(self.settings.epochs * self.steps_per_epoch - warm, 1)
        cosine = 0.5 * (1 + math.cos(math.pi * min(max(step - warm, 0) / total, 1.0)))
        factor = min(1.0, (step + 1) / warm) * (FINAL_RATE + (1 - FINAL_RATE) * cosine)
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.learning_rate * factor

    def calculated(self, given: Sequence[graphs.Graph], *, training: bool) -> tuple[Any, Any]:
        """Energies (B,) and forces (N, 3) of joined graphs by the network as it is."""
        if not self.as_matrices:
            data = graphs.collate(given, self.n_elements, dtype=self.dtype, device=self.device)
            out = self.model(data, training=training, compute_force=True, compute_stress=False)
            return out["energy"], out["forces"]
        placed = mace_scalar.prepare(given, self.n_elements, self.shape["r_max"], dtype=self.dtype, device=self.device)
        layers = mace_scalar.matrices(self.model)
        energies, forces = mace_scalar.energies_and_forces(self.model, layers, placed, training=training)
        alone = self.model.atomic_energies_fn.atomic_energies.flatten()[placed.prepared.species]
        return energies.index_add(0, placed.prepared.structure, alone.to(energies.dtype)), forces

    def check_matrices(self, sample: Sample) -> None:
        """Go on with mace-torch, with one line, where the matrices do not give what it gives for this sample."""
        if not self.as_matrices:
            return
        energies, forces = self.calculated([sample.graph], training=False)
        self.as_matrices = False
        plain_energies, plain_forces = self.calculated([sample.graph], training=False)
        far = float((forces - plain_forces).abs().max())
        off = float((energies.detach() - plain_energies.detach()).abs().max()) / len(sample.forces)
        self.as_matrices = far <= SAME_FORCE_EV_PER_ANGSTROM and off <= SAME_ENERGY_EV
        if not self.as_matrices:
            log.warning("training as matrices differs by %.1e eV/Angstrom from mace-torch, which is used", far)

    def errors(self, part: Sequence[Sample], *, training: bool, of: tuple[int, int]) -> tuple[Any, Any, Any]:
        """What samples add to a loss, errors of the energy per atom (B,) and of the forces (N, 3).

        `of`: frames and atoms over which that loss is a mean.
        """
        import torch

        def real(values: Any) -> Any:
            return torch.as_tensor(values, dtype=self.dtype, device=self.device)

        sizes = [len(s.forces) for s in part]
        found, forces = self.calculated([s.graph for s in part], training=training)
        weights, reference = real([s.weight for s in part]), real(np.concatenate([s.forces for s in part]))
        energy_error = (found - real([s.energy_ev for s in part])) / real(sizes)
        huber = self.settings.huber_ev_per_angstrom
        per_atom = torch.nn.functional.huber_loss(forces, reference, reduction="none", delta=huber).mean(dim=1) * 2
        atom_weights = weights.repeat_interleave(torch.as_tensor(sizes, device=self.device))
        loss = self.settings.energy_weight * (weights * energy_error**2).mean() * (len(part) / of[0])
        loss = loss + self.settings.force_weight * (atom_weights * per_atom).mean() * (len(forces) / of[1])
        return loss, energy_error.detach(), (forces - reference).detach()

    def gradient(self, chosen: Sequence[Sample]) -> float:
        """Loss of samples; its gradient is in the parameters. Calls get smaller where memory is out.

        Raises:
            ValueError: memory is out for a single frame.
        """
        whole = len(chosen), sum(len(s.forces) for s in chosen)
        calls = packed(chosen, self.edges_per_call)
        self.optimiser.zero_grad(set_to_none=True)
        total = 0.0
        try:
            for part in calls:
                loss, _, _ = self.errors(part, training=True, of=whole)
                loss.backward()
                total += float(loss.detach())
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            if max(map(len, calls)) == 1:
                raise ValueError("memory is out for a single frame; train on smaller cells, or in float32") from error
            self.edges_per_call //= 2
        else:
            return total
        return self.gradient(chosen)

    def train_epoch(self, train: Sequence[Sample], *, epoch: int, seed: int, member: int) -> float:
        """One pass over the training samples; gives the mean loss."""
        import torch

        order = np.random.default_rng([seed, member, epoch]).permutation(len(train))
        size = self.settings.batch_frames
        total = 0.0
        self.model.train()
        for number, first in enumerate(range(0, len(train), size)):
            self.set_rate(epoch * self.steps_per_epoch + number)
            part = [train[k] for k in order[first : first + size]]
            total += self.gradient(part) * len(part)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 10.0)
            self.optimiser.step()
            self.average.update()
        return total / len(train)

    def validate(self, valid: Sequence[Sample]) -> tuple[float, float, float]:
        """Loss, force RMSE and energy RMSE per atom of the averaged weights."""
        import torch

        total, energy, force = 0.0, [], []
        whole = len(valid), sum(len(s.forces) for s in valid)
        self.model.eval()
        with self.average.average_parameters():
            for part in packed(valid, self.edges_per_call):
                loss, energy_error, force_error = self.errors(part, training=False, of=whole)
                total += float(loss.detach())
                energy.append(energy_error)
                force.append(force_error)
        self.model.zero_grad(set_to_none=True)
        e_rmse = float(torch.cat(energy).pow(2).mean().sqrt())
        return total, float(torch.cat(force).pow(2).mean().sqrt()), e_rmse

    def averaged_weights(self) -> dict[str, Any]:
        """A copy of the averaged weights in float64 on the CPU."""
        import torch

        with self.average.average_parameters():
            plain = models.without_cueq(self.model) if self.settings.cueq else self.model
            state = {k: v.detach().cpu().clone() for k, v in plain.state_dict().items()}
        return {k: v.to(torch.float64) if v.is_floating_point() else v for k, v in state.items()}


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
    _require_labels([*train, *valid])
    shape, weights = start(settings, frames=[*train, *valid], e0_ev=e0_ev, seed=seed, member=member)
    elements = [chemical_symbols[z] for z in shape["atomic_numbers"]]
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
    best = max((e.epoch for e in state.history if e.best), default=0)
    early = len(state.history) < settings.epochs
    outcome = Trained(member, seed, "stopped early" if early else "finished", best, tuple(state.history), fitted)
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
    line = Epoch(epoch, train_loss, loss, force, energy, best)
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
        if symbol in e0_ev and not math.isclose(value, e0_ev[symbol], rel_tol=1e-5, abs_tol=1e-5):
            raise ValueError(
                f"trained model: reference energy of {symbol} is {value} eV, not {e0_ev[symbol]} eV as given"
            )


def history_lines(history: Sequence[Epoch]) -> str:
    """The history as JSON lines."""
    return "".join(json.dumps(asdict(e)) + "\n" for e in history)
