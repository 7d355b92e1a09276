"""The DFT codes behind one interface; an engine is one file here, named by the first word of its presets.

Takes the config section `dft`; gives the engine's module and its validated settings. A further code is a further file
with the names of `Engine`: nothing else has to be edited.
"""

import math
import pkgutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from pydantic import ValidationError

from mlip.atoms import cells
from mlip.core.section import Section
from mlip.dft.settings import Dft

Described = dict[str, str | float | int | bool]
Mesh = tuple[int, int, int]
FACES = "face_distances_angstrom"  # info of a frame: `length_mesh` takes these distances for those of its cell


class Refused(ValueError):  # noqa: N818  (a refusal of one frame, told to the user)
    """This frame gets no label, and trying again would give the same; the others go on."""


class Waiting(ValueError):  # noqa: N818  (not an error)
    """This frame's inputs are written and its job has to be run, or finished, by the user."""


@dataclass(frozen=True)
class Calculated:
    """What an engine gives for one structure, all of it without dispersion."""

    energy_ev: float  # force-consistent (free) energy
    extrapolated_ev: float  # to zero smearing
    forces: NDArray[np.float64]  # (N, 3), eV/Angstrom, as the code gives them
    iterations: int  # of the electrons
    dipole_e_angstrom: float | None = None  # along the normal of a slab
    magnetic_moment_bohr: float | None = None  # of the cell, where spin-polarised
    extra: Mapping[str, str | float] = field(default_factory=dict)  # further info of the frame


Session = Callable[[Atoms, Path], Calculated]  # structure, folder of its own for inputs and logs


@dataclass(frozen=True)
class Ranks:
    """The MPI ranks that calculate together with this process; the function `ranks` of an engine gives them.

    Attributes:
        number: of this process, from 0.
        count: of all.
        share: gives the argument that rank 0 calls it with, on every rank.
        abort: ends all ranks at once.
    """

    number: int
    count: int
    share: Callable[[Any], Any]
    abort: Callable[[], None]


class Engine(Protocol):
    """What the file of an engine holds. `settings` is always an instance of the class of its presets."""

    PRESETS: Mapping[str, Section]

    def described(self, settings: Any) -> Described:
        """The level of theory in words and numbers, as on the card of a dataset; its hash names the level."""

    def require(self, settings: Any, symbols: Collection[str]) -> None:
        """Nothing where these elements can be calculated; else a ValueError of one line."""

    def mesh(self, atoms: Atoms, settings: Any) -> Mesh:
        """Numbers of k-points."""

    def seconds(self, atoms: Atoms, settings: Any) -> float | None:
        """Estimated core-seconds of a single point; None where nothing runs here."""

    def session(self, settings: Any) -> Session:
        """A function that calculates one structure after another and starts from the last one where it can."""


class ParallelEngine(Engine, Protocol):
    """What the file of an engine holds that calculates one structure on several MPI ranks."""

    RANKS_ENVIRONMENT: Mapping[str, str]  # of the processes

    def ranks_for(self, settings: Any, points: Mesh, most: int) -> int:
        """How many of `most` ranks can share a structure with this mesh of k-points."""

    def ranks(self) -> Ranks:
        """The ranks of this process; a ValueError of one line where the engine has no MPI."""


def engine(dft: Dft) -> Engine:
    """The module of the engine that the preset names.

    Raises:
        ValueError: there is no such engine or preset.
    """
    name, there = dft.preset.split("-")[0], sorted(m.name for m in pkgutil.iter_modules(__path__))
    if name not in there:
        raise ValueError(f"dft.preset: {dft.preset!r} is of no engine; a preset begins with {' or '.join(there)}")
    found = cast("Engine", import_module(f"mlip.dft.engines.{name}"))
    if dft.preset not in found.PRESETS:
        raise ValueError(f"dft.preset: {dft.preset!r} is unknown; {name} has {', '.join(found.PRESETS)}")
    return found


def settings_of(dft: Dft) -> Section:
    """The preset with the differences of `dft.settings`, validated.

    Raises:
        ValueError: an unknown engine or preset, one line per wrong setting, or ranks where the engine has none.
    """
    preset = engine(dft).PRESETS[dft.preset]
    if dft.ranks > 1 and parallel(dft) is None:
        raise ValueError(
            f"dft.ranks: {dft.ranks} with {dft.preset}, whose program is started by dft.command: write the number of "
            "ranks into that command, and set dft.ranks to 1"
        )
    try:
        return type(preset).model_validate(preset.model_dump() | dft.settings)
    except ValidationError as error:
        lines = []
        for e in error.errors():
            where = ".".join(["dft.settings", *map(str, e["loc"])])
            known = f"unknown key; {dft.preset} has {', '.join(type(preset).model_fields)}"
            text = known if e["type"] == "extra_forbidden" else f"{e['msg']} (got {e['input']!r})"
            lines.append(f"{where}: {text}")
        raise ValueError("\n".join(lines)) from error


def parallel(dft: Dft) -> ParallelEngine | None:
    """The module of the engine where it calculates one structure on several MPI ranks."""
    found = engine(dft)
    return cast("ParallelEngine", found) if hasattr(found, "ranks") else None


def varied(dft: Dft, changes: Mapping[str, Any]) -> Dft:
    """A level with further differences; a key `preset` names another one, of another code perhaps, to differ from."""
    preset, rest = changes.get("preset"), {key: value for key, value in changes.items() if key != "preset"}
    if preset is None:
        return dft.model_copy(update={"settings": dft.settings | rest})
    other = dft.model_copy(update={"preset": str(preset), "settings": rest})
    return other if parallel(other) else other.model_copy(update={"ranks": 1})


def said_to_be_slab(atoms: Atoms) -> bool:
    """Whether the frame is a slab, as its info says; `cells.require_consistent` holds that against its atoms."""
    return bool(atoms.info.get("vacuum", False))


def normal_axis(atoms: Atoms) -> int | None:
    """The cell vector (0, 1, 2) that crosses the vacuum of a slab; the third where no single one has vacuum.

    None for a frame that is not a slab.
    """
    if not said_to_be_slab(atoms):
        return None
    axes = cells.slab_axes(atoms) if np.isfinite(atoms.positions).all() else ()
    return axes[0] if len(axes) == 1 else 2


def normal(atoms: Atoms) -> NDArray[np.float64]:
    """Unit vector along the normal of a slab, its largest component positive."""
    vector = np.asarray(atoms.cell.reciprocal().array[normal_axis(atoms)])
    length = float(np.linalg.norm(vector)) * float(np.sign(vector[np.abs(vector).argmax()]))
    return np.asarray(vector / length)


def length_mesh(atoms: Atoms, length_angstrom: float) -> Mesh:
    """k-points n_i = ceil(length / L_i), where L_i = 1/|b_i| is the distance of the cell's faces; 1 along a normal.

    In an orthogonal cell L_i is the edge. Twice the cell then has half the points (rounded up) and the same sampling.
    Frames that share a mesh have their L_i in the info, see `share_mesh`.
    """
    points = [max(1, math.ceil(length_angstrom / d - 1e-3)) for d in atoms.info.get(FACES, _face_distances(atoms))]
    if (axis := normal_axis(atoms)) is not None:
        points[axis] = 1
    return points[0], points[1], points[2]


def share_mesh(frames: Sequence[Atoms]) -> None:
    """Let strained cells of one crystal have one k-mesh, at every length: that of their smallest L_i along each vector.

    An energy jumps where the mesh does, so energies that one curve is fitted to need the same mesh.
    """
    smallest = np.min([_face_distances(atoms) for atoms in frames], axis=0).tolist()
    for atoms in frames:
        atoms.info[FACES] = smallest


def _face_distances(atoms: Atoms) -> NDArray[np.float64]:
    """Distances of opposite faces of the cell, 1/|b_i|, Angstrom."""
    return np.asarray(1.0 / np.linalg.norm(atoms.cell.reciprocal().array, axis=1))


def clear_of_boundary(atoms: Atoms, margin_angstrom: float = 2.0) -> bool:
    """Whether no atom of a slab is near the face where its cell begins: moments and dipole layers need vacuum there."""
    axis = normal_axis(atoms)
    axis = 2 if axis is None else axis
    height = 1.0 / float(np.linalg.norm(atoms.cell.reciprocal().array[axis]))
    z = atoms.get_scaled_positions(wrap=True)[:, axis] * height
    return bool(z.min() > margin_angstrom and height - z.max() > margin_angstrom)
