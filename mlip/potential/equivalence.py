"""The equivalence check: does a fast backend give the energies and forces of the model, on the user's own structures?

Takes a model, structures and backends, fastest first; gives how far each is from the reference, up to the first that is
near enough. The reference is mace-torch in float64 on the CPU, one structure a call, neighbour lists made on the spot.
Structures are moved between two calls of the fast backend, so that a neighbour list that is not made anew shows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from mlip.core.arrays import Array
from mlip.potential import models
from mlip.potential.batch import Batch
from mlip.potential.potential import BackendName, Evaluator, Predicted

MOVE_ANGSTROM = 0.03  # standard deviation of every coordinate between the two calls


@dataclass(frozen=True, kw_only=True)
class Backend:
    """What evaluates a model, and how."""

    name: BackendName
    device: str
    dtype: str
    batched: bool = True  # many structures in a call, neighbour lists with a skin


REFERENCE = Backend(name="mace-torch", device="cpu", dtype="float64", batched=False)


@dataclass(frozen=True, kw_only=True)
class Equivalence:
    """A backend held against the reference."""

    backend: Backend
    structures: int
    energy_ev: float | None  # largest difference, per cell; None: it does not run here
    force_ev_per_angstrom: float | None  # largest difference of a component
    accepted: bool
    note: str = ""  # why it does not run

    @property
    def summary(self) -> str:
        """One line."""
        name = f"{self.backend.name} in {self.backend.dtype} on {self.backend.device}"
        if self.energy_ev is None or self.force_ev_per_angstrom is None:
            return f"{name}: not used: {self.note}"
        other = "itself" if self.backend.name == "ase" else "mace-torch in float64"
        return (
            f"{name}: {1e3 * self.energy_ev:.4f} meV and {1e3 * self.force_ev_per_angstrom:.4f} meV/Angstrom "
            f"from {other} on {self.structures} structures: {'used' if self.accepted else 'refused'}"
        )


def candidates(*, device: str, dtype: str, symmetrix: bool, cueq: bool = False) -> tuple[Backend, ...]:
    """Backends to try, fastest first: kernels, then fewer operations; the wanted precision before float64."""
    asked: dict[BackendName, bool] = {
        "symmetrix-xl": symmetrix,
        "mace-cueq": cueq,
        "mace-scalar": True,
        "mace-torch": True,
    }
    names = [name for name, wanted in asked.items() if wanted]
    return tuple(Backend(name=n, device=device, dtype=d) for n in names for d in dict.fromkeys((dtype, "float64")))


def of_calculator() -> tuple[Backend, ...]:
    """The one backend of an ASE calculator: the calculator itself, held against itself on moved structures."""
    return (Backend(name="ase", device="cpu", dtype="float64", batched=False),)


def evaluator(model: models.Released, backend: Backend, *, folder: Path) -> Evaluator:
    """The model, ready to be evaluated by this backend; `folder` keeps what compiled backends make of the model."""
    found = Evaluator(model, device=backend.device, dtype=backend.dtype, backend=backend.name, folder=folder)
    if not backend.batched:
        found.one_by_one()
    return found


def accepted(checks: Sequence[Equivalence]) -> Backend:
    """The first backend that was found equivalent, or else the reference."""
    return next((c.backend for c in checks if c.accepted), REFERENCE)


def check(
    model: models.Released,
    frames: Sequence[Atoms],
    tried: Sequence[Backend],
    *,
    limits: tuple[float, float],
    make: Callable[[Backend], Evaluator],
    seed: int = 0,
) -> tuple[Equivalence, ...]:
    """Backends held against the reference, up to the first that is accepted.

    Args:
        model: the model that will be used.
        frames: structures of the run.
        tried: backends, fastest first.
        limits: largest differences that are accepted, in eV per cell and in eV/Angstrom of a force component.
        make: gives the evaluator of a backend; a ValueError says why there is none.
        seed: of the moves.
    """
    moved = _moved(frames, seed=seed)
    exact: list[Predicted] | None = None
    found: list[Equivalence] = []
    for backend in tried:
        try:
            batch = Batch(make(backend), frames)
            batch([atoms.positions for atoms in frames])
            fast = batch([atoms.positions for atoms in moved])
        except ValueError as error:
            found.append(_unusable(backend, len(frames), str(error)))
            continue
        if exact is None:
            exact = Evaluator(model).one_by_one()(moved)
        pairs = list(zip(exact, fast, strict=True))
        energy = _largest([e.energies_ev - f.energies_ev for e, f in pairs])
        force = _largest([e.forces - f.forces for e, f in pairs])
        if not np.isfinite(energy + force):
            found.append(_unusable(backend, len(frames), "gives energies or forces that are not finite"))
            continue
        found.append(
            Equivalence(
                backend=backend,
                structures=len(frames),
                energy_ev=energy,
                force_ev_per_angstrom=force,
                accepted=energy <= limits[0] and force <= limits[1],
            )
        )
        if found[-1].accepted:
            break
    return tuple(found)


def _unusable(backend: Backend, structures: int, note: str) -> Equivalence:
    return Equivalence(
        backend=backend,
        structures=structures,
        energy_ev=None,
        force_ev_per_angstrom=None,
        accepted=False,
        note=note,
    )


def _moved(frames: Sequence[Atoms], *, seed: int) -> list[Atoms]:
    """Copies with every atom moved a little, and one atom of every other structure by a period of the cell besides.

    A period changes nothing, but a neighbour list from before then has that atom out of everybody's reach.
    """
    rng = np.random.default_rng(seed)
    out = []
    for number, atoms in enumerate(frames):
        copy = atoms.copy()
        copy.positions += rng.normal(scale=MOVE_ANGSTROM, size=copy.positions.shape)
        if number % 2 and copy.pbc.any():
            copy.positions[-1] += min(copy.cell.array[copy.pbc], key=np.linalg.norm)
        out.append(copy)
    return out


def _largest(differences: Sequence[Array]) -> float:
    """The largest of all; NaN where one of them is."""
    return float(np.max([np.abs(d).max() for d in differences]))
