"""A model as an ASE calculator and as a batched evaluator.

Takes a model folder (or a trusted `.model` file); gives energies, forces and the committee's spread. Many structures go
through one model call. Structures are evaluated as they are: pbc, cell and wrapping do not change energies or forces.
"""

from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.data import atomic_numbers
from numpy.typing import NDArray

from mlip import models
from mlip.extxyz import read_frames
from mlip.files import require_writable, write_frames

Array = NDArray[np.float64]
LEVELS = {"pbe": "PBE", "pbe-d3": "PBE-D3(BJ)"}
EDGES_PER_BATCH = 40_000  # directed edges in one model call: about 0.5 GB in float64


@dataclass(frozen=True)
class Graph:
    """Neighbour graph of one structure; arrays as mace names them."""

    positions: Array  # (N, 3) Angstrom
    species: NDArray[np.int64]  # (N,) index into the model's elements
    edge_index: NDArray[np.int64]  # (2, E) sender, receiver
    shifts: Array  # (E, 3) Angstrom
    unit_shifts: Array  # (E, 3)
    cell: Array  # (3, 3) Angstrom


@dataclass(frozen=True)
class Predicted:
    """Energies and forces of one structure by every committee member."""

    energies_ev: Array  # (M,)
    forces: Array  # (M, N, 3) eV/Angstrom
    stresses: Array | None  # (M, 3, 3) eV/Angstrom^3

    @property
    def energy_ev(self) -> float:
        """Committee mean."""
        return float(self.energies_ev.mean())

    @property
    def energy_std_ev(self) -> float | None:
        """Sample standard deviation over the members; None for a single model."""
        return float(self.energies_ev.std(ddof=1)) if len(self.energies_ev) > 1 else None

    @property
    def mean_forces(self) -> Array:
        """Committee mean, (N, 3)."""
        return np.asarray(self.forces.mean(axis=0))

    @property
    def forces_std(self) -> Array | None:
        """Sample standard deviation per component, (N, 3); None for a single model."""
        return np.asarray(self.forces.std(axis=0, ddof=1)) if len(self.forces) > 1 else None


def graph(atoms: Atoms, elements: Sequence[str], cutoff_angstrom: float) -> Graph:
    """The neighbour graph of a structure.

    Raises:
        ValueError: an element the model does not know, or positions that are not finite.
    """
    with models.quiet():
        from mace.data.neighborhood import get_neighborhood

    index = {atomic_numbers[s]: k for k, s in enumerate(elements)}
    unknown = sorted({s for s in atoms.symbols if atomic_numbers[s] not in index})
    if unknown:
        raise ValueError(
            f"elements {unknown} are not in the model, which knows {list(elements)}; train one that has them"
        )
    if not np.isfinite(atoms.positions).all():
        raise ValueError("positions are not finite; check the structure")
    edges, shifts, units, cell = get_neighborhood(
        positions=atoms.positions,
        cutoff=cutoff_angstrom,
        pbc=tuple(bool(p) for p in atoms.pbc),
        cell=np.array(atoms.cell.array),
    )
    species = np.array([index[z] for z in atoms.numbers], dtype=np.int64)
    return Graph(np.array(atoms.positions), species, edges.astype(np.int64), shifts, units.astype(float), cell)


def collate(graphs: Sequence[Graph], n_elements: int, *, dtype: Any, device: str) -> dict[str, Any]:
    """One input of mace's forward call for several graphs, as torch tensors."""
    import torch

    counts = np.array([len(g.positions) for g in graphs])
    offsets = np.concatenate([[0], np.cumsum(counts)])

    def real(parts: list[Array]) -> Any:
        return torch.as_tensor(np.concatenate(parts), dtype=dtype, device=device)

    def whole(array: NDArray[Any]) -> Any:
        return torch.as_tensor(array, dtype=torch.int64, device=device)

    species = whole(np.concatenate([g.species for g in graphs]))
    return {
        "positions": real([g.positions for g in graphs]),
        "node_attrs": torch.nn.functional.one_hot(species, n_elements).to(dtype),
        "edge_index": whole(np.concatenate([g.edge_index + o for g, o in zip(graphs, offsets, strict=False)], axis=1)),
        "shifts": real([g.shifts for g in graphs]),
        "unit_shifts": real([g.unit_shifts for g in graphs]),
        "cell": real([g.cell for g in graphs]),
        "batch": whole(np.repeat(np.arange(len(graphs)), counts)),
        "ptr": whole(offsets),
        "head": whole(np.zeros(len(graphs), dtype=int)),
    }


def require_device(device: str) -> None:
    """Nothing where the device is there.

    Raises:
        ValueError: cuda without a GPU that torch can use.
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "device: cuda was asked for and no GPU is visible; use cpu, or check the driver and torch's build"
        )


class Evaluator:
    """A committee on a device, ready for many calls."""

    def __init__(self, model: models.Released, *, device: str = "cpu", dtype: str = "float64") -> None:
        import torch

        require_device(device)
        self.model = model
        self.elements, self.cutoff_angstrom = model.elements, model.cutoff_angstrom
        self.device, self.dtype = device, getattr(torch, dtype)
        self.members = [deepcopy(m).to(device=device, dtype=self.dtype).eval() for m in model.members]
        for member in self.members:
            member.requires_grad_(requires_grad=False)

    def __call__(self, frames: Sequence[Atoms], *, stress: bool = False) -> list[Predicted]:
        """Every frame by every member, in order.

        Args:
            frames: any number of structures of any size.
            stress: also the stress; needs structures periodic in all three directions.
        """
        out: list[Predicted] = []
        for part in self._parts(frames):
            out.extend(self._batch(part, stress=stress))
        return out

    def _parts(self, frames: Iterable[Atoms]) -> Iterator[list[Graph]]:
        part: list[Graph] = []
        edges = 0
        for atoms in frames:
            one = graph(atoms, self.elements, self.cutoff_angstrom)
            if part and edges + one.edge_index.shape[1] > EDGES_PER_BATCH:
                yield part
                part, edges = [], 0
            part.append(one)
            edges += one.edge_index.shape[1]
        if part:
            yield part

    def _batch(self, graphs: list[Graph], *, stress: bool) -> list[Predicted]:
        data = collate(graphs, len(self.elements), dtype=self.dtype, device=self.device)
        energies, forces, stresses = [], [], []
        for member in self.members:
            out = member(dict(data), training=False, compute_force=True, compute_stress=stress)
            data["positions"] = data["positions"].detach()
            energies.append(out["energy"].detach().double().cpu().numpy())
            forces.append(out["forces"].detach().double().cpu().numpy())
            if stress:
                stresses.append(out["stress"].detach().double().cpu().numpy())
        cuts = np.cumsum([len(g.positions) for g in graphs])[:-1]
        each = np.split(np.stack(forces), cuts, axis=1)
        e, s = np.stack(energies), np.stack(stresses) if stress else None
        return [Predicted(e[:, k], each[k], None if s is None else s[:, k]) for k in range(len(graphs))]


@dataclass(frozen=True)
class Equivalence:
    """A fast way of evaluating a model held against plain float64 on the CPU, on the user's own structures."""

    device: str
    dtype: str
    structures: int
    energy_ev: float  # largest difference, per cell
    force_ev_per_angstrom: float  # largest difference of a component
    accepted: bool


def equivalence(
    model: models.Released, frames: Sequence[Atoms], *, device: str, dtype: str, limits: tuple[float, float]
) -> Equivalence:
    """How far a model on this device and in this precision is from plain float64 on the CPU.

    Args:
        model: the model that will be used.
        frames: structures of the run.
        device: cpu or cuda.
        dtype: float64 or float32.
        limits: largest differences that are accepted, in eV per cell and in eV/Angstrom of a force component.
    """
    plain, fast = Evaluator(model)(frames), Evaluator(model, device=device, dtype=dtype)(frames)
    energy = max(float(np.abs(p.energies_ev - f.energies_ev).max()) for p, f in zip(plain, fast, strict=True))
    force = max(float(np.abs(p.forces - f.forces).max()) for p, f in zip(plain, fast, strict=True))
    return Equivalence(device, dtype, len(frames), energy, force, energy <= limits[0] and force <= limits[1])


class Potential(Calculator):  # type: ignore[misc]
    """ASE calculator of a model: energy, forces, stress, and for committees energy_std and forces_std.

    `energy` and `forces` are committee means at the model's own target level (`Potential.level`).
    """

    implemented_properties: ClassVar[list[str]] = [
        "energy",
        "free_energy",
        "forces",
        "stress",
        "energy_std",
        "forces_std",
    ]

    def __init__(self, evaluator: Evaluator) -> None:
        super().__init__()
        self.evaluator = evaluator
        self.level = LEVELS.get(str(evaluator.model.card.get("target")), "unknown")

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Fill `results` for `atoms`.

        Raises:
            ValueError: the stress of a structure that is not periodic in three directions, or an unknown element.
        """
        super().calculate(atoms, list(properties), list(system_changes))
        wants_stress = "stress" in properties
        if wants_stress and not self.atoms.pbc.all():
            raise ValueError("stress: the structure is not periodic in all directions; set pbc=True and leave vacuum")
        found = self.evaluator([self.atoms], stress=wants_stress)[0]
        self.results = {"energy": found.energy_ev, "free_energy": found.energy_ev, "forces": found.mean_forces}
        if found.energy_std_ev is not None:
            self.results |= {"energy_std": found.energy_std_ev, "forces_std": found.forces_std}
        if found.stresses is not None:
            self.results["stress"] = found.stresses.mean(axis=0).flat[[0, 4, 8, 5, 2, 1]]


def load(
    path: str | Path,
    *,
    device: str = "cpu",
    dtype: str = "float64",
    members: Sequence[int] | None = None,
    trust_pickle: bool = False,
) -> Potential:
    """The ASE calculator of a model folder or a trusted `.model` file.

    Args:
        path: such as `datasets/models/tio2-mg-li`.
        device: cpu or cuda.
        dtype: float64 or float32 for the evaluation.
        members: numbers (from 1) of the committee members to use; all by default.
        trust_pickle: allow a pickled `.model`, which runs the code inside it.
    """
    model = models.load(path, trust_pickle=trust_pickle)
    if members is not None:
        if not members or min(members) < 1 or max(members) > len(model.members):
            raise ValueError(f"members {list(members)}: {path} has the members 1 to {len(model.members)}")
        chosen = tuple(model.members[k - 1] for k in members)
        model = models.Released(chosen, model.shape, model.card, model.source)
    return Potential(Evaluator(model, device=device, dtype=dtype))


def predict(model: str | Path, frames: Path, out: Path, *, device: str = "cpu", trust_pickle: bool = False) -> int:
    """Write every frame with the model's energy and forces; gives the number of frames.

    Each frame comes back in order with info `mlip_energy`, `mlip_energy_std` (eV), `mlip_level` and arrays
    `mlip_forces`, `mlip_forces_std` (eV/Angstrom); the spreads are nan where the model has a single member.

    Raises:
        ValueError: unreadable frames, an element the model does not know (with the number of the frame), or an output
            that cannot be written (found before anything is computed).
    """
    require_writable(out)
    structures = read_frames(frames)
    released = models.load(model, trust_pickle=trust_pickle)
    evaluator = Evaluator(released, device=device)
    for number, atoms in enumerate(structures):
        unknown = sorted(set(atoms.get_chemical_symbols()) - set(evaluator.elements))
        if unknown:
            raise ValueError(
                f"{frames}: frame {number}: elements {unknown} are not in the model ({list(evaluator.elements)})"
            )
    for atoms, found in zip(structures, evaluator(structures), strict=True):
        spread = found.forces_std
        atoms.info["mlip_energy"] = found.energy_ev
        atoms.info["mlip_energy_std"] = float("nan") if found.energy_std_ev is None else found.energy_std_ev
        atoms.info["mlip_level"] = LEVELS.get(str(released.card.get("target")), "unknown")
        atoms.arrays["mlip_forces"] = found.mean_forces
        atoms.arrays["mlip_forces_std"] = np.full_like(found.mean_forces, np.nan) if spread is None else spread
    write_frames(out, structures)
    return len(structures)
