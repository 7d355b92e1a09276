"""Frames of trajectory files of any program.

Takes extended XYZ, ASE .traj, LAMMPS text dumps or another format of several frames that ASE reads; gives the frames.
One frame is in memory at a time where the reader of ASE allows it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ase import Atoms
from ase.io import iread
from ase.io.formats import UnknownFileTypeError

from mlip.core import files

DUMP_HEAD = "ITEM: TIMESTEP"
COORDINATES = (("x", "y", "z"), ("xs", "ys", "zs"), ("xu", "yu", "zu"), ("xsu", "ysu", "zsu"))  # columns of a dump


def read(path: Path, species: Sequence[str] = ()) -> Iterator[Atoms]:
    """The frames of a trajectory, one by one; those of a LAMMPS dump have `lammps_step` in their info.

    Args:
        path: of the file.
        species: elements of the LAMMPS types 1, 2 and so on, for a dump without the column `element`.

    Raises:
        ValueError: no such file, a format that ASE does not know, or a dump that names no elements.
    """
    place = files.located(path)
    if not place.is_file():
        raise ValueError(f"{path}: no such file; give extended XYZ, an ASE .traj or a LAMMPS dump")
    with place.open("rb") as handle:
        is_dump = handle.read(len(DUMP_HEAD)) == DUMP_HEAD.encode()
    if is_dump:
        yield from _dump(place, species)
        return
    try:
        yield from iread(place, index=":")
    except (UnknownFileTypeError, ImportError) as error:
        raise ValueError(
            f"{path}: ASE does not know this format ({error}); give extended XYZ, an ASE .traj or a LAMMPS dump"
        ) from error
    except Exception as error:  # whatever a reader of a foreign format raises
        raise ValueError(f"{path}: not readable as a trajectory ({_reason(error)}); cut off what is damaged") from error


def _dump(path: Path, species: Sequence[str]) -> Iterator[Atoms]:
    columns, steps = _heads(path)
    if "element" not in columns and not species:
        raise ValueError(f"{path}: the dump names no elements; give the elements of types 1, 2 ... (--species Li,O,Ti)")
    if columns and not any(set(names) <= set(columns) for names in COORDINATES):
        sets = ", ".join(" ".join(names) for names in COORDINATES)
        raise ValueError(
            f"{path}: the dump has the columns {' '.join(columns)}, which hold no full set of coordinates; "
            f"write one of {sets}"
        )
    types = None if "element" in columns else list(species)
    try:
        frames = list(iread(path, index=":", format="lammps-dump-text", specorder=types))
    except Exception as error:  # whatever the reader raises
        raise ValueError(
            f"{path}: not readable as a LAMMPS dump ({_reason(error)}); cut off what is damaged"
        ) from error
    for step, atoms in zip(steps, frames, strict=False):  # the reader of ASE leaves a frame out that is cut short
        atoms.info["lammps_step"] = step
        yield atoms


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:120]


def _heads(path: Path) -> tuple[list[str], list[int]]:
    """Columns of the first frame of a dump and the time step of every frame."""
    columns: list[str] = []
    steps: list[int] = []
    with path.open(encoding="utf-8", errors="replace") as handle:
        for line in handle:
            if line.startswith(DUMP_HEAD):
                text = next(handle, "").strip()
                if not text.isdecimal():
                    raise ValueError(f"{path}: {text[:40]!r} stands where the number of a time step belongs")
                steps.append(int(text))
            elif not columns and line.startswith("ITEM: ATOMS"):
                columns = line.split()[2:]
    return columns, steps
