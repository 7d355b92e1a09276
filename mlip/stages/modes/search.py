"""Searches on the committee mean that advance together: what they ask for goes through the potential in one call.

A search is a generator: it yields structures (`Ask`) and gets what every member says of them. Minima are found with
BFGS of ASE, saddles by following the lowest mode: a Newton step with the sign of every curvature taken away, uphill
along that mode and downhill along all others,

    dx = sum_k s_k (F . v_k) / max(|h_k|, soft) v_k,    s_0 = -1, s_k = 1,    H v_k = h_k v_k,

cut to a trust radius; H is kept up to date by the forces (J. M. Bofill, J. Comput. Chem. 15, 1 (1994),
doi:10.1002/jcc.540150102). Atoms under `FixAtoms` never move.
"""

from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.optimize import BFGS
from numpy.typing import NDArray

from mlip.atoms import slab_files
from mlip.core.arrays import Array
from mlip.potential.potential import Predicted

MAX_STEP_ANGSTROM = 0.1  # of an atom in one step towards a saddle
SOFT = 1.0  # eV/Angstrom^2: along softer modes a step is no longer than with this curvature
STIFF = 35.0  # eV/Angstrom^2: curvature of atoms of which nothing is known

T = TypeVar("T")
Evaluate = Callable[[Sequence[Atoms]], Sequence[Predicted]]


@dataclass(frozen=True)
class Ask:
    """Structures that a search wants evaluated: by the committee, or by one member (counted from 1)."""

    frames: Sequence[Atoms]
    member: int | None = None


Search = Generator[Ask, Sequence[Predicted], T]


@dataclass(frozen=True)
class Point:
    """A geometry where a search ended, with what the committee says of it."""

    atoms: Atoms
    found: Predicted
    converged: bool

    @property
    def fmax_ev_per_angstrom(self) -> float:
        """Largest force on an atom that may move."""
        return largest(self.atoms, self.found)


class NotFiniteError(ArithmeticError):
    """The potential gave an energy or force that is no number."""


def together(
    searches: Sequence[Search[T]],
    evaluate: Mapping[int | None, Evaluate],
    *,
    on_done: Callable[[int, T, int], None] = lambda *_: None,
) -> list[T]:
    """Results of all searches, in order; each round every search that is not done gets what it asked for.

    Args:
        searches: to be run to their ends.
        evaluate: by member, the committee under None: structures -> what it says of each.
        on_done: called with the number of a search, its result and how many times a member evaluated a structure for
            it, as soon as the result is there.
    """
    results: dict[int, T] = {}
    waiting: dict[int, Ask] = {}
    spent: Counter[int] = Counter()

    def go_on(number: int, found: Sequence[Predicted] | None) -> None:
        try:
            waiting[number] = next(searches[number]) if found is None else searches[number].send(found)
        except StopIteration as end:
            results[number] = end.value
            on_done(number, end.value, spent[number])

    for number in range(len(searches)):
        go_on(number, None)
    while waiting:
        asked = dict(waiting)
        found: dict[int, list[Predicted]] = {}
        waiting.clear()
        for member in dict.fromkeys(ask.member for ask in asked.values()):
            own = {number: ask.frames for number, ask in asked.items() if ask.member == member}
            answers = iter(evaluate[member]([frame for frames in own.values() for frame in frames]))
            found |= {number: [next(answers) for _ in frames] for number, frames in own.items()}
        for number in asked:
            spent[number] += sum(len(one.energies_ev) for one in found[number])
            go_on(number, found[number])
    return [results[number] for number in range(len(searches))]


def single(atoms: Atoms) -> Search[Predicted]:
    """What the committee says of one structure.

    Raises:
        NotFiniteError: an energy or force is not finite.
    """
    (found,) = yield Ask([atoms])
    if not (np.isfinite(found.energies_ev).all() and np.isfinite(found.forces).all()):
        raise NotFiniteError("the potential gives an energy or force that is not finite")
    return found


def mobile(atoms: Atoms) -> NDArray[np.int64]:
    """Numbers of the atoms that may move.

    Raises:
        ValueError: a constraint other than FixAtoms.
    """
    held = set(slab_files.frozen(atoms))
    return np.array([k for k in range(len(atoms)) if k not in held], dtype=np.int64)


def largest(atoms: Atoms, found: Predicted) -> float:
    """Length of the largest mean force on an atom that may move, eV/Angstrom."""
    return float(np.linalg.norm(found.mean_forces[mobile(atoms)], axis=1).max())


def settled(start: Atoms, *, fmax: float, max_steps: int) -> Search[Point]:
    """The minimum below a structure, on the committee mean, in the fixed cell."""
    atoms = start.copy()
    optimiser = BFGS(atoms, logfile=None)
    found = yield from single(atoms)
    for _ in range(max_steps):
        if largest(atoms, found) < fmax:
            break
        atoms.calc = SinglePointCalculator(atoms, energy=found.energy_ev, forces=found.mean_forces)
        optimiser.step()
        found = yield from single(atoms)
    atoms.calc = None
    return Point(atoms, found, largest(atoms, found) < fmax)


def climbed(start: Atoms, hessian: Array, *, fmax: float, max_steps: int) -> Search[Point]:
    """The saddle that the lowest mode leads to, on the committee mean, in the fixed cell.

    Args:
        start: near the saddle.
        hessian: a guess there, (3N, 3N) eV/Angstrom^2; only its lowest mode has to be about right.
        fmax: largest force that may remain on an atom (eV/Angstrom).
        max_steps: of the search.
    """
    atoms, free = start.copy(), np.zeros((len(start), 3), bool)
    free[mobile(start)] = True
    kept = np.flatnonzero(free.ravel())
    curvature = hessian[np.ix_(kept, kept)]
    found = yield from single(atoms)
    for _ in range(max_steps):
        if largest(atoms, found) < fmax:
            break
        forces = found.mean_forces.ravel()[kept]
        move = uphill(forces, curvature)
        positions = atoms.positions.ravel()
        positions[kept] += move
        atoms.positions = positions.reshape(-1, 3)
        found = yield from single(atoms)
        curvature = updated(curvature, move, forces - found.mean_forces.ravel()[kept])
    return Point(atoms, found, largest(atoms, found) < fmax)


def uphill(forces: Array, curvature: Array) -> Array:
    """The step (3n,) towards a saddle: uphill along the lowest mode and downhill along all others."""
    values, modes = np.linalg.eigh(curvature)
    along = modes.T @ forces / np.maximum(np.abs(values), SOFT)
    along[0] *= -1
    move = modes @ along
    longest = float(np.linalg.norm(move.reshape(-1, 3), axis=1).max())
    return np.asarray(move * min(1.0, MAX_STEP_ANGSTROM / longest) if longest > 0 else move)


def updated(curvature: Array, move: Array, change: Array) -> Array:
    """The Hessian after a move (3n,) that changed the gradient by `change` (3n,): Bofill's mean of two updates."""
    error = change - curvature @ move
    length, off, both = float(move @ move), float(error @ error), float(error @ move)
    if length == 0 or off == 0:
        return curvature
    symmetric = (np.outer(error, move) + np.outer(move, error)) / length - both / length**2 * np.outer(move, move)
    weight = both**2 / (off * length)
    one = np.outer(error, error) / both if weight > 0 else 0.0
    return np.asarray(curvature + weight * one + (1 - weight) * symmetric)


@dataclass(frozen=True)
class Differences:
    """How forces are differenced to a Hessian.

    Attributes:
        step: displacement of one coordinate (Angstrom).
        central: in both directions; in one direction the error is proportional to the step.
    """

    step: float = 0.01
    central: bool = True


def hessians(
    atoms: Atoms, moved: Sequence[int], differences: Differences, *, member: int | None = None
) -> Search[Array]:
    """Hessians of some atoms by every member, (M, 3n, 3n) eV/Angstrom^2, symmetric.

    Args:
        atoms: the geometry.
        moved: numbers of the atoms whose displacements count; all others stand still.
        differences: of the forces.
        member: the one that is asked (counted from 1); all by default.

    Raises:
        NotFiniteError: a force is not finite.
    """
    step, numbers = differences.step, list(moved)
    up = [displaced(atoms, atom, axis, step) for atom in numbers for axis in range(3)]
    if differences.central:
        down = [displaced(atoms, atom, axis, -step) for atom in numbers for axis in range(3)]
    else:
        down = [atoms]
    found = yield Ask([*up, *down], member)
    forces = np.array([one.forces[:, numbers].reshape(len(one.forces), -1) for one in found])
    if not np.isfinite(forces).all():
        raise NotFiniteError("the potential gives a force that is not finite")
    width = 2 * step if differences.central else step
    rows = (forces[len(up) :] - forces[: len(up)]).transpose(1, 0, 2) / width
    return np.asarray((rows + rows.transpose(0, 2, 1)) / 2)


def displaced(atoms: Atoms, atom: int, axis: int, distance: float) -> Atoms:
    """A bare copy with one coordinate of one atom moved."""
    frame = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    frame.positions[atom, axis] += distance
    return frame


def guessed(atoms: Atoms, moved: Sequence[int], hessian: Array) -> Array:
    """A Hessian of all atoms (3N, 3N) from one of some of them; the others sit in stiff wells of their own."""
    out = STIFF * np.eye(3 * len(atoms))
    kept = (3 * np.asarray(moved)[:, None] + np.arange(3)).ravel()
    out[np.ix_(kept, kept)] = hessian
    return out
