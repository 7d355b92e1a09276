"""The state of one training between epochs: network, averaged weights, optimiser, history.

    loss = w_E mean[((E - E_ref)/N)^2] + w_F mean[huber(F - F_ref)]

E and E_ref are taken beyond the reference energies of the atoms, in float64; the rest is small enough for float32.

A network with scalar messages is written as matrices in every call (`mace_scalar`): the same numbers by fewer
operations. Frames of an update are packed by their edges into calls of bounded size, and the gradients of the calls add
up to that of the whole, so memory does not depend on the size of the frames of an update.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mlip.core.arrays import Array
from mlip.potential import graphs, models
from mlip.potential.backends import mace_scalar
from mlip.potential.potential import out_of_memory
from mlip.stages.train.samples import Sample, packed
from mlip.stages.train.settings import TrainSettings

WARMUP_EPOCHS = 1.0  # linear rise of the learning rate at the start
FINAL_RATE = 0.01  # of the learning rate, reached along a cosine
EDGES_PER_CALL = {"cpu": 24_000, "cuda": 400_000}  # halved when memory is out
SAME_FORCE_EV_PER_ANGSTROM, SAME_ENERGY_EV = 1e-3, 1e-4  # per atom; float32 is 100 times closer

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One line of the training history; valid_* are of the averaged weights."""

    epoch: int
    train_loss: float
    valid_loss: float
    valid_force_rmse_ev_per_angstrom: float
    valid_energy_rmse_ev_per_atom: float
    best: bool


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
        """Energies (B,), in float64, and forces (N, 3) of joined graphs by the network as it is."""
        import torch

        energies, forces = self.interactions(given, training=training)
        return energies + torch.as_tensor(self.alone(given), device=self.device), forces

    def interactions(self, given: Sequence[graphs.Graph], *, training: bool) -> tuple[Any, Any]:
        """Energies (B,) beyond those of isolated atoms, and forces (N, 3), of joined graphs by the network as it is."""
        if not self.as_matrices:
            data = graphs.collate(given, self.n_elements, dtype=self.dtype, device=self.device)
            out = self.model(data, training=training, compute_force=True, compute_stress=False)
            return out["interaction_energy"], out["forces"]
        placed = mace_scalar.prepare(given, self.n_elements, self.shape["r_max"], dtype=self.dtype, device=self.device)
        layers = mace_scalar.matrices(self.model)
        return mace_scalar.energies_and_forces(self.model, layers, placed, training=training)

    def alone(self, given: Sequence[graphs.Graph]) -> Array:
        """Reference energies of the atoms of graphs, summed (B,), eV.

        In float64: of all electrons they are so large that float32 rounds the sum of a cell by some meV.
        """
        each = np.asarray(self.shape["atomic_energies"], dtype=np.float64).ravel()
        return np.array([each[g.species].sum() for g in given])

    def check_matrices(self, sample: Sample) -> None:
        """Go on with mace-torch, with one line, where the matrices do not give what it gives for this sample."""
        if not self.as_matrices:
            return
        energies, forces = self.interactions([sample.graph], training=False)
        self.as_matrices = False
        plain_energies, plain_forces = self.interactions([sample.graph], training=False)
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
        given = [s.graph for s in part]
        found, forces = self.interactions(given, training=training)
        labels = np.array([s.energy_ev for s in part]) - self.alone(given)
        weights, reference = real([s.weight for s in part]), real(np.concatenate([s.forces for s in part]))
        energy_error = (found - real(labels)) / real(sizes)
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
