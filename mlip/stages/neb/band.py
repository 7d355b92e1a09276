"""The moving parts of an elastic band: counted force calls, relaxation, interpolation, optimisation, checkpoints.

Takes images (ASE Atoms); moves them; gives numbers. What the numbers mean is decided in `neb`. What moves images is a
generator: it yields the images whose energies and forces it needs and gets them sent, so that `driven` runs one band
with a calculator and `pool` many bands with one batch, by the same lines. Every image is primed with its energy and
forces before ASE sees it: tangents, springs and the climbing image are ASE's own, and no force is calculated twice.

    F_i = F_i,perp + k (|R_i+1 - R_i| - |R_i - R_i-1|) t_i,      climbing image: F = F - 2 (F . t) t

Improved tangent: Henkelman, Jonsson, J. Chem. Phys. 113, 9978 (2000), doi:10.1063/1.1323224; climbing image:
Henkelman, Uberuaga, Jonsson, J. Chem. Phys. 113, 9901 (2000), doi:10.1063/1.1329672; start: image dependent pair
potential, Smidstrup et al., J. Chem. Phys. 140, 214106 (2014), doi:10.1063/1.4878664; optimiser: see `lbfgs`.
"""

import logging
import zipfile
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_changes
from ase.calculators.singlepoint import SinglePointCalculator
from ase.mep import NEB
from ase.mep.neb import idpp_interpolate
from ase.optimize import BFGS

from mlip.core import files
from mlip.potential import free_energy
from mlip.stages.neb.lbfgs import Lbfgs
from mlip.stages.neb.reversal import Reversal
from mlip.stages.neb.settings import NebSettings

Array = np.ndarray[Any, np.dtype[Any]]
T = TypeVar("T")
Evaluate = Callable[[Sequence[Atoms]], tuple[Array, Array]]  # images -> energies (n,) eV, forces (n, N, 3) eV/Angstrom
Result = tuple[float, Array, float | None]  # energy, forces (N, 3), committee spread of the force on the ion
Source = Callable[[Sequence[Atoms]], Sequence[Result]]
Steps = Generator[tuple[int, Sequence[Atoms]], Sequence[Result], T]  # yields (place of the first image, images)

STIFFNESS = 35.0  # eV/Angstrom^2, first guess of the optimiser
MAX_STEP_ANGSTROM = 0.1  # of an atom in one step of the optimiser
MEMORY = 20  # steps the optimiser remembers
BARRIER_EV = 1e-3  # a hump lower than this is noise, not a barrier
SAME_POTENTIAL = 1e-3  # eV and eV/Angstrom: within this two calls are of one potential at one place
SPREAD = "ion_force_std_ev_per_angstrom"  # key in Atoms.info: committee spread of the force on the ion, where known
log = logging.getLogger(__name__)


class NotFiniteError(ArithmeticError):
    """The potential gave an energy or force that is no number."""


@dataclass
class Tally:
    """How many force calls a band has cost."""

    calls: int = 0


def primed(first: int, images: Sequence[Atoms], tally: Tally) -> Steps[None]:
    """Ask for the energy and forces of images, and attach what comes; one force call each.

    Args:
        first: place of the first of these images in its band.
        images: any number of neighbours in the band.
        tally: counts the calls.

    Raises:
        NotFiniteError: an energy or force is not finite.
    """
    results = yield first, images
    tally.calls += len(images)
    for i, (image, (energy, forces, std)) in enumerate(zip(images, results, strict=True)):
        if not (np.isfinite(energy) and np.isfinite(forces).all()):
            raise NotFiniteError(f"energy or force of image {i} of {len(images)} is not finite")
        prime(image, energy=energy, forces=forces, std=std)


def driven(steps: Steps[T], source: Source) -> T:
    """The result of steps that ask one source for all energies and forces."""
    try:
        wanted = next(steps)
        while True:
            wanted = steps.send(source(wanted[1]))
    except StopIteration as end:
        result: T = end.value
        return result


def by_calculator(calculator: Any) -> Source:
    """Images one by one through an ASE calculator; a committee's `forces_std` is used if it gives one."""

    def single(image: Atoms) -> Result:
        calculator.calculate(image, ["energy", "forces"], all_changes)
        results = calculator.results
        std = results.get("forces_std")
        return free_energy.among(results), np.array(results["forces"], float), None if std is None else ion_norm(std)

    return lambda images: [single(image) for image in images]


def by_function(evaluate: Evaluate) -> Source:
    """Images together through a function.

    Raises:
        ValueError: when called, if the function gives arrays of the wrong shape.
    """

    def together(images: Sequence[Atoms]) -> list[Result]:
        energies, forces = evaluate(images)
        shape = (len(images), len(images[0]), 3)
        if np.shape(energies) != shape[:1] or np.shape(forces) != shape:
            raise ValueError(
                f"evaluate gave energies {np.shape(energies)} and forces {np.shape(forces)}; "
                f"return arrays of shape {shape[:1]} and {shape}"
            )
        return [(float(e), np.array(f, float), None) for e, f in zip(energies, forces, strict=True)]

    return together


def ion_norm(vectors: Array) -> float:
    """Length of the last row of an (N, 3) array: the ion is the last atom."""
    return float(np.linalg.norm(np.asarray(vectors, float)[-1]))


def prime(image: Atoms, *, energy: float, forces: Array, std: float | None) -> None:
    """Attach known results to an image, so that ASE asks for nothing."""
    image.calc = SinglePointCalculator(image, energy=energy, forces=forces)
    image.info.pop(SPREAD, None)
    if std is not None:
        image.info[SPREAD] = std


def largest(forces: Array) -> float:
    """Length of the largest force vector, eV/Angstrom."""
    return float(np.linalg.norm(forces.reshape(-1, 3), axis=1).max())


def relaxed(atoms: Atoms, place: int, tally: Tally, *, fmax: float, max_steps: int) -> Steps[Atoms]:
    """A primed copy after BFGS in the fixed cell, until its largest force is below fmax (eV/Angstrom) or max_steps."""
    image = atoms.copy()
    optimiser = BFGS(image, logfile=None)
    yield from primed(place, [image], tally)
    for _ in range(max_steps):
        if largest(image.get_forces()) < fmax:
            break
        optimiser.step()
        yield from primed(place, [image], tally)
    return image


def interpolated(initial: Atoms, final: Atoms, *, count: int) -> list[Atoms]:
    """The ends with count images between them, on the image dependent pair potential path.

    The straight line joins the coordinates as they are (a hop of half a cell goes the way it was given); distances of
    the pair potential are minimum images. Where the line runs through a host atom the ion is bent aside by 0.5 A.
    """
    images = [initial, *(initial.copy() for _ in range(count)), final]
    neb = NEB(images, method="improvedtangent", allow_shared_calculator=True)
    neb.interpolate(method="linear", mic=False, apply_constraint=False)
    hosts = list(range(len(initial) - 1))
    if hosts and min(image.get_distances(-1, hosts, mic=True).min() for image in images[1:-1]) < 0.3:
        cell = initial.cell.complete()
        hop = final.positions[-1] - initial.positions[-1]
        axis = cell[np.argmin(np.abs(cell @ hop))]
        aside = axis - hop * (axis @ hop) / (hop @ hop)
        for i, image in enumerate(images[1:-1], start=1):
            image.positions[-1] += 0.5 * np.sin(np.pi * i / (count + 1)) * aside / np.linalg.norm(aside)
    idpp_interpolate(neb, traj=None, log=None, mic=True)
    return images


@dataclass
class Progress:
    """Where the optimisation of a band stands."""

    step: int = 0
    climbing: bool = False
    fmax_ev_per_angstrom: float = 0.0
    converged: bool = False
    optimiser: dict[str, Array] = field(default_factory=dict)  # its state


def optimised(
    images: list[Atoms],
    tally: Tally,
    *,
    settings: NebSettings,
    progress: Progress | None,
    save: Callable[[Progress], None],
    reversal: Reversal | None = None,
) -> Steps[Progress]:
    """Move the interior images onto the minimum energy path; the ends must be primed.

    A plain band runs until its largest force is below `climb_from`; if an interior image is then above both ends the
    highest one climbs, and the optimiser starts anew. `progress` continues from a checkpoint (interior primed too).
    With a `reversal` the second half of the images is what it makes of the first.
    """
    neb = NEB(images, k=settings.spring_ev_per_angstrom2, method="improvedtangent", allow_shared_calculator=True)
    optimiser = Lbfgs(stiffness=STIFFNESS, max_step=MAX_STEP_ANGSTROM, memory=MEMORY)
    if progress is None:
        progress = Progress()
        yield from interior(images, tally, reversal)
    saved = progress.step if progress.optimiser else -1
    if progress.optimiser:
        optimiser.restore(progress.optimiser)
    neb.climb = progress.climbing
    while True:
        forces = neb.get_forces()
        if reversal is not None:
            forces = mirrored(forces, reversal, count=len(images), climbing=neb.imax)
        progress.fmax_ev_per_angstrom = largest(forces)
        hump = has_barrier(neb.energies)
        climb_from = max(settings.climb_from_ev_per_angstrom, settings.fmax_ev_per_angstrom)
        if not neb.climb and hump and progress.fmax_ev_per_angstrom < climb_from:
            neb.climb = progress.climbing = True
            optimiser = Lbfgs(stiffness=STIFFNESS, max_step=MAX_STEP_ANGSTROM, memory=MEMORY)
            continue
        progress.converged = progress.fmax_ev_per_angstrom < settings.fmax_ev_per_angstrom
        last = progress.converged or progress.step >= settings.max_steps
        if progress.step != saved and (last or progress.step % settings.checkpoint_steps == 0):
            progress.optimiser = optimiser.state
            save(progress)
        if last:
            return progress
        moved = neb.get_positions()
        neb.set_positions(moved + optimiser.step(moved, forces))
        progress.step += 1
        yield from interior(images, tally, reversal)


def interior(images: Sequence[Atoms], tally: Tally, reversal: Reversal | None) -> Steps[None]:
    """Prime all images but the ends; with a reversal the first half is asked for and the second made from it."""
    if reversal is None:
        yield from primed(1, images[1:-1], tally)
        return
    half = (len(images) + 1) // 2
    if len(images) % 2:
        middle = images[half - 1]
        middle.positions = (middle.positions + reversal.positions(middle.positions)) / 2
    yield from primed(1, images[1:half], tally)
    for k in range(half, len(images) - 1):
        reflect(images[-1 - k], images[k], reversal)


def reflect(image: Atoms, other: Atoms, reversal: Reversal) -> None:
    """Make the other image of a primed one."""
    other.positions = reversal.positions(image.positions)
    forces = reversal.forces(image.get_forces(apply_constraint=False))
    prime(other, energy=float(image.get_potential_energy()), forces=forces, std=image.info.get(SPREAD))


def mirrored(forces: Array, reversal: Reversal, *, count: int, climbing: int) -> Array:
    """Forces on the images between the ends, each pair's from the one image of it that climbs, or else the first."""
    out = forces.reshape(count - 2, -1, 3).copy()
    for k in range(1, count // 2):
        first, second = (count - 1 - k, k) if climbing == count - 1 - k else (k, count - 1 - k)
        out[second - 1] = reversal.forces(out[first - 1])
    return np.asarray(out.reshape(forces.shape))


def image_error(image: Atoms, place: int, tally: Tally) -> Steps[tuple[float, float]]:
    """How far energy (eV) and force components (eV/Angstrom) of an image are from what the potential says; one call."""
    probe = image.copy()
    yield from primed(place, [probe], tally)
    energy = abs(probe.get_potential_energy() - image.get_potential_energy())
    return energy, float(np.abs(probe.get_forces() - image.get_forces()).max())


def has_barrier(energies: Sequence[float] | Array) -> bool:
    """Whether an interior image is above both ends by more than noise."""
    return bool(max(energies[1:-1]) > max(energies[0], energies[-1]) + BARRIER_EV)


def write_checkpoint(path: Path, *, key: str, images: list[Atoms], calls: int, progress: Progress | None) -> None:
    """Write primed images and the state of the optimiser to an .npz file, whole or not at all."""
    std = [image.info.get(SPREAD) for image in images]
    data: dict[str, Any] = {
        "key": key,
        "calls": calls,
        "step": (-1, 0) if progress is None else (progress.step, progress.climbing),
        "positions": [image.positions for image in images],
        "energies": [image.get_potential_energy() for image in images],
        "forces": [image.get_forces(apply_constraint=False) for image in images],
        "std": [np.nan if s is None else s for s in std],
    }
    data |= {f"optimiser_{name}": value for name, value in (progress.optimiser if progress else {}).items()}

    def write(target: Path) -> None:
        with target.open("wb") as handle:
            np.savez(handle, names=sorted(data), **data)

    files.write_atomic(path, write)


def read_checkpoint(path: Path, template: Atoms, *, key: str) -> tuple[list[Atoms], int, Progress | None] | None:
    """Primed images, force calls and progress of a checkpoint; None where there is none of this very band.

    A damaged checkpoint, or one of another band, setting or version, is reported by one logged line and not used.
    """
    if not path.exists():
        return None
    try:
        data = _arrays(path)
        if str(data["key"]) != key:
            log.warning("%s: belongs to other end points or settings; the band starts anew", path)
            return None
        images = []
        for positions, energy, forces, std in zip(
            data["positions"], data["energies"], data["forces"], data["std"], strict=True
        ):
            image = template.copy()
            image.positions = positions
            prime(image, energy=float(energy), forces=forces, std=None if np.isnan(std) else float(std))
            images.append(image)
        step, climbing = (int(v) for v in data["step"])
        calls = int(data["calls"])
    except (OSError, EOFError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
        log.warning("%s: cannot be read (%s); the band starts anew", path, error)
        return None
    state = {k.removeprefix("optimiser_"): v for k, v in data.items() if k.startswith("optimiser_")}
    return images, calls, None if step < 0 else Progress(step=step, climbing=bool(climbing), optimiser=state)


def _arrays(path: Path) -> dict[str, Array]:
    with path.open("rb") as handle, np.load(handle, allow_pickle=False) as stored:
        data = {name: stored[name] for name in stored.files}
    if set(data.pop("names").tolist()) != set(data):
        raise ValueError("parts are missing")
    return data
