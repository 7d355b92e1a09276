"""What LAMMPS wrote in the folder of a deck, back as tracks of the ions.

Takes a folder with deck.json and `runs/*/`; gives tracks without the drift of the host, turned back into the frame of
the start. Input, data file, dumps, logs and temperatures are first held against deck.json and against each other.

Dumps are read here and not by `ase.io.lammpsrun`: its reader needs the species of every atom, which these dumps of the
ions (id xu yu zu) leave out, gives no time steps, holds the whole file in memory and takes a frame that was cut off for
damage or for none, depending on where the cut is. The box of a frame is parsed as ASE does, by its `construct_cell`;
data files are read by ASE.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from ase.io.lammpsrun import construct_cell
from numpy.typing import NDArray

from mlip.core import files
from mlip.core.arrays import Array
from mlip.core.texts import read_text
from mlip.stages.md import lammps_inputs
from mlip.stages.md.lammps_deck import (
    COPY,
    DECK,
    DRIFT,
    DUMP,
    INPUT,
    LOG,
    MORE,
    SCRIPT,
    START,
    TEMPERATURE,
    Deck,
    edges_in_words,
    lattice_difference_angstrom,
    prism,
)
from mlip.stages.md.trajectory import Header, Track

LOG_ROWS, LOG_TEMPERATURE = 20, 0.2  # of so many rows the mean temperature is within this part of what was asked for


def read(folder: Path) -> tuple[Header, list[Track]]:
    """Header and tracks of the ions of every run in the folder of a deck: `runs/*/`, each with its dump.

    Raises:
        ValueError: no deck, no run, a file that is cut short or does not fit, or inputs that disagree with deck.json.
    """
    deck = files.read_record(folder / DECK, Deck)
    runs = _runs(folder)
    if not runs:
        raise ValueError(f"{folder}: holds no runs/*/{DUMP}; run LAMMPS there with {SCRIPT}")
    fixed = lammps_inputs.temperatures(folder, deck)
    return deck.header, [_track(run, deck, fixed) for run in runs]


def sources(folder: Path) -> list[Path]:
    """Every file that `read` reads in the folder of a deck, as far as it is there."""
    found = [folder / name for name in (DECK, INPUT, MORE, START)]
    for run in _runs(folder):
        found += [*_parts(run, DUMP), *_parts(run, DRIFT), run / TEMPERATURE, run / LOG]
    return [path for path in found if path.is_file()]


def _runs(folder: Path) -> list[Path]:
    return sorted(p.parent for p in folder.glob(f"runs/*/{DUMP}"))


def _track(run: Path, deck: Deck, fixed: list[float]) -> Track:
    temperature = _temperature(run, fixed)
    _check_log(run / LOG, deck, temperature)
    steps, places = _dumps(run, deck)
    if (np.diff(steps) != deck.header.frame_steps).any():
        raise ValueError(f"{run}/{DUMP}: frames are not {deck.header.frame_steps} steps apart; use the deck as it is")
    drift: dict[int, list[float]] = {}
    for path in _parts(run, DRIFT):
        drift |= _drift(path)
    absent = [int(s) for s in steps if int(s) not in drift]
    if absent:
        raise ValueError(f"{run / DRIFT}: has no line for step {absent[0]}; it is cut short, or of another run")
    shift = np.array([drift[int(s)] for s in steps])
    turn = prism(np.array(deck.header.cell_angstrom)).rot_mat
    return Track(run.name, temperature, deck.header.frame_ps, deck.header.ions, (places - shift[:, None]) @ turn.T)


def _temperature(run: Path, fixed: list[float]) -> float:
    """Temperature of a run, the same in its file, in its name and in the thermostat of the inputs."""
    path = run / TEMPERATURE
    text = read_text(path, advice=COPY).strip()
    found = lammps_inputs.number(text)
    if found is None or not 0 < found < np.inf:
        raise ValueError(f"{path}: holds {text[:40]!r} where a temperature in Kelvin belongs")
    named = lammps_inputs.number(run.name.removeprefix("T").split("-")[0]) if run.name.startswith("T") else None
    for value, where in [
        (named, "the name of the folder"),
        *((t, f"the thermostat in {INPUT} or {MORE}") for t in fixed),
    ]:
        if value is not None and not np.isclose(value, found, rtol=1e-6, atol=0):
            raise ValueError(
                f"{path}: the temperature is {found:g} K, {where} says {value:g} K; keep the runs of a deck as "
                f"{SCRIPT} makes them"
            )
    return found


def _check_log(path: Path, deck: Deck, temperature: float) -> None:
    """Raise a ValueError where the log of LAMMPS, if there is one, shows another time step or temperature."""
    if not path.is_file():
        return
    step_ps: float | None = None
    column: list[str] = []
    rows: list[list[float]] = []
    with path.open(encoding="utf-8", errors="replace") as handle:
        for line in handle:
            words = line.split()
            if words[:1] == ["timestep"] and len(words) > 1:
                step_ps = lammps_inputs.number(words[1]) or step_ps
            elif words[:1] == ["Step"]:
                column, rows = words, []
            elif len(words) == len(column) and all(lammps_inputs.number(w) is not None for w in words):
                rows.append([float(w) for w in words])
    table = np.array(rows)
    if step_ps is None and "Time" in column and len(table) > 1 and table[-1, 0] > table[0, 0]:
        time = table[[0, -1], column.index("Time")]
        step_ps = float(np.diff(time)[0] / (table[-1, 0] - table[0, 0]))
    if step_ps is not None and not np.isclose(step_ps, deck.step_ps, rtol=1e-3, atol=0):
        raise ValueError(
            f"{path}: the time step was {1000 * step_ps:g} fs, deck.json says {deck.header.time_step_fs:g} fs; analyse "
            "the run with the deck it was made from"
        )
    if "c_heat" in column and len(table) >= LOG_ROWS:
        mean = float(table[len(table) // 2 :, column.index("c_heat")].mean())
        if abs(mean / temperature - 1.0) > LOG_TEMPERATURE:
            raise ValueError(f"{path}: the atoms had {mean:.0f} K, {TEMPERATURE} says {temperature:g} K; run again")


def _parts(run: Path, name: str) -> list[Path]:
    """The file of this name and those of continuations, `name.1.ending` and so on, in order."""
    stem, ending = name.split(".")
    later = [p for p in run.glob(f"{stem}.*.{ending}") if p.name.split(".")[1].isdecimal()]
    return [run / name, *sorted(later, key=lambda p: int(p.name.split(".")[1]))]


def _dumps(run: Path, deck: Deck) -> tuple[NDArray[np.int64], Array]:
    """Steps (F,) and positions (F, n, 3) of a run; what a continuation has calculated again counts from there.

    Only a part that was gone on from may end in a frame that is cut off.
    """
    found: dict[int, Array] = {}
    parts = _parts(run, DUMP)
    for path in parts:
        try:
            for step, rows in _frames(path, deck):
                found = {s: r for s, r in found.items() if s < step} if step in found else found
                found[step] = rows
        except _CutShort:
            if path == parts[-1]:
                raise
    if not found:
        raise ValueError(f"{run / DUMP}: holds no frame; run LAMMPS first")
    return np.array(list(found)), np.array(list(found.values()))


class _CutShort(ValueError):  # noqa: N818  (a file that ends early, told to the user)
    """A dump that ends within a frame."""


def _frames(path: Path, deck: Deck) -> Iterator[tuple[int, Array]]:
    """Step and positions of each frame of a dump, in the order of the ions' numbers, as far as it is whole."""
    count, line, box = len(deck.ion_ids), 1, [""]
    with path.open(encoding="utf-8") as handle:
        while head := list(islice(handle, 9)):
            if len(head) < 9 or head[0] != "ITEM: TIMESTEP\n" or head[8].split()[2:] != ["id", "xu", "yu", "zu"]:
                raise _CutShort(
                    f"{path}: line {line} begins no whole frame 'id xu yu zu'; the file is cut short or no such dump"
                )
            if head[3].strip() != str(count) or not head[1].strip().isdecimal():
                raise ValueError(
                    f"{path}: {head[3].strip()} ions at step {head[1].strip()}, not {count}; the file is cut short or "
                    "of another deck"
                )
            if head[4:8] != box:
                _check_box(path, head[4:8], deck)
                box = head[4:8]
            yield int(head[1]), _rows(path, list(islice(handle, count)), line, deck)
            line += 9 + count


def _rows(path: Path, lines: list[str], line: int, deck: Deck) -> Array:
    """Positions (n, 3) of the ions from the lines after the head of a frame, which begins at a line."""
    if lines and not lines[-1].endswith("\n"):
        raise _CutShort(f"{path}: a line after line {line + 8} is cut short; remove the last frame")
    try:
        rows = [[float(x) for x in text.split()] for text in lines]
    except ValueError as error:
        raise ValueError(f"{path}: a frame after line {line} is not numbers ({error}); the file is damaged") from error
    if any(len(row) != 4 for row in rows):
        raise _CutShort(f"{path}: a line after line {line + 8} is cut short; remove the last frame")
    if len(rows) != len(deck.ion_ids):
        raise _CutShort(f"{path}: {len(rows)} ions after line {line}, not {len(deck.ion_ids)}; the file is cut short")
    rows.sort()
    if [row[0] for row in rows] != list(deck.ion_ids):
        found = " ".join(f"{row[0]:g}" for row in rows[:8])
        raise ValueError(
            f"{path}: the atoms after line {line} have the ids {found}, deck.json says {deck.ion_ids.start} to "
            f"{deck.ion_ids.stop - 1}; the file is of another deck"
        )
    return np.array(rows)[:, 1:]


def _check_box(path: Path, lines: list[str], deck: Deck) -> None:
    """Raise a ValueError where the box of a frame is not the cell of the deck."""
    labels = lines[0].split()[3:]
    try:
        bounds = np.array([[float(x) for x in line.split()] for line in lines[1:]])
        tilts = bounds[:, 2] if bounds.shape[1] > 2 else np.zeros(3)
        cell = bounds[:, :3] if labels[:1] == ["abc"] else construct_cell(bounds[:, :2].ravel(), tilts)[0]
    except (ValueError, IndexError) as error:
        raise _CutShort(f"{path}: the box {' '.join(lines[1:]).split()} is no box; the file is damaged") from error
    own = np.array(deck.header.cell_angstrom)
    if lattice_difference_angstrom(cell, own) > lammps_inputs.CELL_ANGSTROM:
        raise ValueError(
            f"{path}: the cell is {edges_in_words(cell)}, deck.json says {edges_in_words(prism(own).cell)}; analyse "
            "the run with the deck it was made from"
        )


def _drift(path: Path) -> dict[int, list[float]]:
    """Mean displacement of the host by step."""
    out = {}
    for line in read_text(path, advice=COPY).split("\n")[:-1]:  # what follows the last line feed is not whole
        words = line.split()
        if words and not line.startswith("#") and len(words) == 4:
            out[int(words[0])] = [float(x) for x in words[1:]]
    return out
