"""Is a fast way of evaluating a model the same model? Asked of the user's own model on the user's own structures.

Takes a model, structures and ways, fastest first; gives how far each is from the plain one, up to the first that is
near enough. Plain is mace-torch in float64 on the CPU, one structure a call, neighbour lists made on the spot.
Structures are moved between two calls of the fast way, so that a neighbour list that is not made anew in time shows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from mlip.core.arrays import Array
from mlip.potential import models
from mlip.potential.batch import Batch
from mlip.potential.potential import Backend, Evaluator, Predicted

MOVE_ANGSTROM = 0.03  # standard deviation of every coordinate between the two calls


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a model is evaluated."""

    backend: Backend
    device: str
    dtype: str
    batched: bool = True  # many structures in a call, neighbour lists with a skin


PLAIN = Way(backend="mace-torch", device="cpu", dtype="float64", batched=False)


@dataclass(frozen=True, kw_only=True)
class Equivalence:
    """A fast way of evaluating a model held against the plain one."""

    way: Way
    structures: int
    energy_ev: float | None  # largest difference, per cell; None: it does not run here
    force_ev_per_angstrom: float | None  # largest difference of a component
    accepted: bool
    note: str = ""  # why it does not run

    @property
    def summary(self) -> str:
        """One line."""
        name = f"{self.way.backend} in {self.way.dtype} on {self.way.device}"
        if self.energy_ev is None or self.force_ev_per_angstrom is None:
            return f"{name}: not used: {self.note}"
        return (
            f"{name}: {1e3 * self.energy_ev:.4f} meV and {1e3 * self.force_ev_per_angstrom:.4f} meV/Angstrom "
            f"from plain float64 on {self.structures} structures: {'used' if self.accepted else 'refused'}"
        )


def ways(*, device: str, dtype: str, native: bool, cueq: bool = False) -> tuple[Way, ...]:
    """Ways to try, fastest first: kernels, then fewer operations; the precision that is asked for before float64."""
    asked: dict[Backend, bool] = {"symmetrix-xl": native, "mace-cueq": cueq, "mace-scalar": True, "mace-torch": True}
    backends = [name for name, wanted in asked.items() if wanted]
    return tuple(Way(backend=b, device=device, dtype=d) for b in backends for d in dict.fromkeys((dtype, "float64")))


def evaluator(model: models.Released, way: Way, *, folder: Path) -> Evaluator:
    """The model, ready to be evaluated this way; `folder` keeps what compiled ways make of it."""
    found = Evaluator(model, device=way.device, dtype=way.dtype, backend=way.backend, folder=folder)
    if not way.batched:
        found.one_by_one()
    return found


def accepted(checks: Sequence[Equivalence]) -> Way:
    """The first way that was found equivalent, or else the plain one."""
    return next((c.way for c in checks if c.accepted), PLAIN)


def check(
    model: models.Released,
    frames: Sequence[Atoms],
    tried: Sequence[Way],
    *,
    limits: tuple[float, float],
    make: Callable[[Way], Evaluator],
    seed: int = 0,
) -> tuple[Equivalence, ...]:
    """Ways held against the plain one, up to the first that is accepted.

    Args:
        model: the model that will be used.
        frames: structures of the run.
        tried: ways, fastest first.
        limits: largest differences that are accepted, in eV per cell and in eV/Angstrom of a force component.
        make: gives the evaluator of a way; a ValueError says why there is none.
        seed: of the moves.
    """
    moved = _moved(frames, seed=seed)
    plain: list[Predicted] | None = None
    found: list[Equivalence] = []
    for way in tried:
        try:
            batch = Batch(make(way), frames)
            batch([atoms.positions for atoms in frames])
            fast = batch([atoms.positions for atoms in moved])
        except ValueError as error:
            found.append(
                Equivalence(
                    way=way,
                    structures=len(frames),
                    energy_ev=None,
                    force_ev_per_angstrom=None,
                    accepted=False,
                    note=str(error),
                )
            )
            continue
        if plain is None:
            plain = Evaluator(model).one_by_one()(moved)
        pairs = list(zip(plain, fast, strict=True))
        energy = _largest([p.energies_ev - f.energies_ev for p, f in pairs])
        force = _largest([p.forces - f.forces for p, f in pairs])
        near = energy <= limits[0] and force <= limits[1]
        if not np.isfinite(energy + force):
            note = "gives energies or forces that are not finite"
            found.append(
                Equivalence(
                    way=way,
                    structures=len(frames),
                    energy_ev=None,
                    force_ev_per_angstrom=None,
                    accepted=False,
                    note=note,
                )
            )
            continue
        found.append(
            Equivalence(way=way, structures=len(frames), energy_ev=energy, force_ev_per_angstrom=force, accepted=near)
        )
        if near:
            break
    return tuple(found)


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
    return max(float(np.abs(d).max()) for d in differences)
