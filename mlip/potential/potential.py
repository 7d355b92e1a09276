"""A model as an ASE calculator and as a batched evaluator.

Takes a model folder (or a trusted `.model` file); gives energies, forces and the committee's spread. Many structures go
through one model call. Structures are evaluated as they are: pbc, cell and wrapping do not change energies or forces.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from mlip.atoms import cells, contacts
from mlip.atoms.extxyz import read_frames
from mlip.core.arrays import Array
from mlip.core.files import located, require_writable, write_frames
from mlip.core.progress import console
from mlip.potential import models
from mlip.potential.backends.ase_calculator import AseCalculator, require_plain
from mlip.potential.backends.mace_scalar import MaceScalar
from mlip.potential.backends.mace_torch import MaceTorch
from mlip.potential.backends.symmetrix import Symmetrix
from mlip.potential.graphs import Graph, graph, offsets

BackendName = Literal["mace-torch", "mace-scalar", "mace-cueq", "symmetrix-xl", "ase"]
LEVELS = {"pbe": "PBE", "pbe-d3": "PBE-D3(BJ)"}
NOT_FINITE = "an energy or a force is not finite: the frame is outside the domain of the potential; remove it"
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "Unable to allocate")


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


class Evaluator:
    """A committee on a device, ready for many calls.

    Attributes:
        edges_per_call: directed edges in one call of more than one structure, at most; halved when memory is out.
    """

    def __init__(
        self,
        model: models.Released,
        *,
        device: str = "cpu",
        dtype: str = "float64",
        backend: BackendName = "mace-torch",
        folder: Path | None = None,
    ) -> None:
        """`folder`: where compiled backends keep what they make of a model; symmetrix-xl needs one."""
        self.model, self.device, self.dtype = model, device, dtype
        self.elements, self.cutoff_angstrom = model.elements, model.cutoff_angstrom
        self.backend = _backend(backend, model, device=device, dtype=dtype, folder=folder)
        self.edges_per_call: int = self.backend.edges_per_call
        self.batched = model.calculator is None

    def one_by_one(self) -> "Evaluator":
        """Itself, from now on with one structure a call and neighbour lists without a skin."""
        self.batched, self.edges_per_call = False, 0
        return self

    @property
    def members(self) -> Sequence[Any]:
        """The members, as the backend has them."""
        found: Sequence[Any] = self.backend.members
        return found

    def __call__(
        self, frames: Sequence[Atoms], *, stress: bool = False, members: Sequence[int] | None = None
    ) -> list[Predicted]:
        """Every frame by every member, in order.

        Args:
            frames: any number of structures of any size.
            stress: also the stress; needs structures periodic in all three directions.
            members: numbers (from 0) of those that are asked; all by default.
        """
        if stress and not isinstance(self.backend, MaceTorch | AseCalculator):
            return Evaluator(self.model, device=self.device, dtype=self.dtype)(frames, stress=True, members=members)
        out: list[Predicted] = []
        part: list[Graph] = []
        every = range(len(self.members)) if members is None else members
        for atoms in frames:
            one = graph(atoms, self.elements, self.cutoff_angstrom)
            if part and sum(g.edges for g in part) + one.edges > self.edges_per_call:
                out.extend(self.on_graphs(part, every, stress=stress))
                part = []
            part.append(one)
        return out + self.on_graphs(part, every, stress=stress) if part else out

    def on_graphs(self, graphs: Sequence[Graph], members: Sequence[int], *, stress: bool = False) -> list[Predicted]:
        """Joined graphs, as they are, by these members (counted from 0); in parts where memory is out."""
        try:
            data = self.backend.prepare(graphs)
            return split([self.backend.run(m, data, stress=stress) for m in members], graphs)
        except (MemoryError, RuntimeError) as error:
            self.shrink(error, len(graphs))
        half = len(graphs) // 2
        return [f for part in (graphs[:half], graphs[half:]) for f in self.on_graphs(part, members, stress=stress)]

    def shrink(self, error: Exception, structures: int) -> None:
        """Halve the size of a call where the error says that memory is out; raise it again where it says anything else.

        Raises:
            ValueError: memory is out for a single structure.
        """
        if not out_of_memory(error):
            raise error
        if structures == 1:
            raise ValueError(
                "memory is out for a single structure; use a smaller cell, or a machine with more"
            ) from error
        self.edges_per_call = max(1, self.edges_per_call // 2)


def _backend(name: BackendName, model: models.Released, *, device: str, dtype: str, folder: Path | None) -> Any:
    if model.calculator is not None:
        return AseCalculator(model.calculator, model.elements)
    if name == "ase":
        raise ValueError(f"{model.source}: holds weights and no calculator; use another backend")
    if name == "symmetrix-xl":
        if folder is None:
            raise ValueError("symmetrix-xl: keeps converted models in a folder; name one")
        return Symmetrix(model, device=device, dtype=dtype, folder=folder)
    if name == "mace-scalar":
        return MaceScalar(model, device=device, dtype=dtype)
    return MaceTorch(model, device=device, dtype=dtype, cueq=name == "mace-cueq")


def out_of_memory(error: Exception) -> bool:
    """Whether this error of numpy or torch says that memory is out, on the device or the host."""
    return isinstance(error, MemoryError) or any(m in str(error) for m in OUT_OF_MEMORY)


def split(found: Sequence[tuple[Array, Array, Array | None]], graphs: Sequence[Graph]) -> list[Predicted]:
    """Results of joined graphs, a tuple of energies, forces and stresses for each member, structure by structure."""
    energies, forces = np.stack([f[0] for f in found]), np.stack([f[1] for f in found])
    each = np.split(forces, offsets(graphs)[1:-1], axis=1)
    stresses = None if found[0][2] is None else np.stack([f[2] for f in found if f[2] is not None])
    return [
        Predicted(energies[:, k], each[k], None if stresses is None else stresses[:, k]) for k in range(len(graphs))
    ]


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
    return Potential(Evaluator(model if members is None else model.subset(members), device=device, dtype=dtype))


def predict(
    model: str | Path, frames: Path, out: Path, *, device: str = "cpu", trust_pickle: bool = False
) -> list[Atoms]:
    """Write every frame with the model's energy and forces; gives the frames as written.

    Each frame comes back in order with info `mlip_energy`, `mlip_energy_std` (eV), `mlip_level` and arrays
    `mlip_forces`, `mlip_forces_std` (eV/Angstrom); the spreads are nan where the model has a single member.

    Raises:
        ValueError: unreadable frames, an element the model does not know (with the number of the frame), or an output
            that cannot be written or is an input (found before anything is computed), or a frame whose `pbc`
            contradicts its atoms, a pair of atoms that is too close, or a result that is not finite (the frames before
            that one are written).
    """
    require_writable(out, (frames, model))
    structures = read_frames(located(frames))
    released = models.load(model, trust_pickle=trust_pickle)
    evaluator = Evaluator(released, device=device)
    require_usable(structures, evaluator, frames)
    whole = whole_frames(structures, frames)
    _require_apart(whole, frames)
    predictions = evaluator(whole)
    bad = first_not_finite(predictions)
    for atoms, found in zip(structures[:bad], predictions[:bad], strict=True):
        spread = found.forces_std
        atoms.info["mlip_energy"] = found.energy_ev
        atoms.info["mlip_energy_std"] = float("nan") if found.energy_std_ev is None else found.energy_std_ev
        atoms.info["mlip_level"] = LEVELS.get(str(released.card.get("target")), "unknown")
        atoms.arrays["mlip_forces"] = found.mean_forces
        atoms.arrays["mlip_forces_std"] = np.full_like(found.mean_forces, np.nan) if spread is None else spread
    if structures[:bad]:
        write_frames(out, structures[:bad])
    if bad is not None:
        kept = f"; the frames before it are in {out}" if bad else ""
        raise ValueError(f"{frames}: frame {bad}: {NOT_FINITE}{kept}")
    return structures


def first_not_finite(found: Sequence[Predicted]) -> int | None:
    """The number of the first prediction with an energy or a force that is not finite; None where there is none."""
    bad = (k for k, one in enumerate(found) if not (np.isfinite(one.energy_ev) and np.isfinite(one.forces).all()))
    return next(bad, None)


def largest_spread(frames: Sequence[Atoms]) -> str | None:
    """The largest spread of a force in frames of `predict`, with its frame and atom; None without a committee."""
    spreads = [np.linalg.norm(atoms.arrays["mlip_forces_std"], axis=1) for atoms in frames]
    largest = np.array([one.max() for one in spreads])
    if not np.isfinite(largest).all():
        return None
    frame = int(largest.argmax())
    atom = int(spreads[frame].argmax())
    symbol = frames[frame].symbols[atom]
    return (
        f"largest force spread of the committee {largest[frame]:.2f} eV/Angstrom: frame {frame}, atom {atom} ({symbol})"
    )


def _require_apart(structures: Sequence[Atoms], path: Path) -> None:
    """Raise a ValueError with the first frame of `path` in which two atoms are closer than in any material."""
    for number, atoms in enumerate(structures):
        if found := contacts.too_close(atoms):
            one, other, length = found
            raise ValueError(
                f"{path}: frame {number}: atoms {one} ({atoms.symbols[one]}) and {other} ({atoms.symbols[other]}) are "
                f"{length:.2f} Angstrom apart, less than {contacts.SHORTEST_OF_RADII:g} of the sum of their covalent "
                "radii; correct or remove the frame"
            )


def whole_frames(structures: Sequence[Atoms], path: Path) -> list[Atoms]:
    """The frames of a file; those that a face of the cell cuts where `pbc` is F are periodic there, and told.

    Raises:
        ValueError: `pbc` of a frame contradicts its atoms; the message has the number of the frame.
    """
    made = []
    for number, atoms in enumerate(structures):
        where = f"frame {number} ({atoms.info.get('frame_id', 'no frame_id')})"
        try:
            whole, cut = cells.rejoined(atoms)
        except ValueError as error:
            raise ValueError(f"{path}: {where}: {error}") from error
        for axis in cut:
            console.print(
                f"  {where}: cut in two by the faces of the {cells.VECTORS[axis]} cell vector, along which pbc is F; "
                "evaluated in one piece",
                markup=False,
                soft_wrap=True,
            )
        made.append(whole)
    return made


def require_usable(structures: Sequence[Atoms], evaluator: Evaluator, path: Path) -> None:
    """Raise a ValueError with the number of the first frame of `path` that cannot be evaluated as it is.

    A frame has an element that the model does not know, a position or cell that is not finite, or moments or charges
    that a calculator would not get.
    """
    for number, atoms in enumerate(structures):
        unknown = sorted(set(atoms.get_chemical_symbols()) - set(evaluator.elements))
        if unknown:
            known = list(evaluator.elements)
            raise ValueError(f"{path}: frame {number}: elements {unknown} are not in the model ({known})")
        broken = np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))
        if broken.size or not np.isfinite(atoms.cell.array).all():
            what = f"the position of atom {broken[0]} ({atoms.symbols[broken[0]]})" if broken.size else "the cell"
            raise ValueError(f"{path}: frame {number}: {what} is not finite; correct or remove the frame")
        try:
            if evaluator.model.calculator is not None:
                require_plain(atoms)
        except ValueError as error:
            raise ValueError(f"{path}: frame {number}: {error}") from error
