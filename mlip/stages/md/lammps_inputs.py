"""The inputs of a LAMMPS deck held against its deck.json: what was run is what is analysed.

Takes the folder of a deck; gives the temperatures that its thermostat names, or refuses with the name of the file, the
value there and the value of deck.json. Looked at are units, time step, dump and drift intervals, groups, species, the
cell and atoms of the data file, and fixes that change the cell or the time step. A variable that the command line can
set counts with its default. Everything else (length, thermo output, neighbour lists, partitions) is the user's.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase.data import atomic_masses, atomic_numbers, chemical_symbols
from ase.io import read

from mlip.core.texts import read_text
from mlip.stages.md.lammps_deck import (
    COPY,
    DRIFT,
    DUMP,
    INPUT,
    MORE,
    START,
    Deck,
    edges_in_words,
    lattice_difference_angstrom,
    prism,
)

CELL_ANGSTROM = 2e-3  # of an edge, as rounded as a dump may have it
MASS = 0.2  # relative; isotopes differ by less, other elements of an oxide by more
DEFAULT_STEP_PS = 0.001  # of LAMMPS in metal units
MOVING_CELL = ("npt", "nph", "deform", "press", "box/relax", "dt/reset")
SET_BY_RUN = ("T", "seed", "out", "every", "part", "last")


@dataclass
class _Seen:
    """What an input has said so far."""

    step_ps: float | None = None  # None: a variable without a number
    dumping: bool = False
    checked: bool = False
    temperatures: list[float] = field(default_factory=list)


def temperatures(folder: Path, deck: Deck) -> list[float]:
    """Temperatures that the inputs of a deck fix as numbers, Kelvin; none where all come from the variable T.

    Raises:
        ValueError: an input disagrees with deck.json.
    """
    found = []
    data = START
    for name in (INPUT, MORE):
        path = folder / name
        if path.exists():
            lines = list(commands(path))
            found += _check(path, lines, deck)
            data = next((words[1] for words in lines if words[0] == "read_data" and len(words) > 1), data)
    if (folder / data).exists():
        _check_data(folder / data, deck)
    return found


def commands(path: Path) -> Iterator[list[str]]:
    """The commands of an input as words, comments left out and variables with a known value put in."""
    text = re.sub(r"&[ \t]*\n", " ", read_text(path, advice=COPY))
    values: dict[str, str] = {}
    for line in text.splitlines():
        words = line.split("#")[0].split()
        for name, value in values.items():
            words = [w.replace("${" + name + "}", value) for w in words]
        if words[:1] == ["variable"] and len(words) >= 4 and words[2] in {"index", "string", "equal", "internal"}:
            if words[1] not in SET_BY_RUN:
                values[words[1]] = words[3].strip("\"'")
        elif words:
            yield words


def number(word: str) -> float | None:
    """The number that a word is, if it is one."""
    try:
        return float(word)
    except ValueError:
        return None


def _refuse(path: Path, what: str, there: object, wanted: object) -> None:
    raise ValueError(
        f"{path}: {what} {there}, deck.json says {wanted}; analyse the run with the deck it was made from, or export "
        "the deck again"
    )


def _check(path: Path, lines: list[list[str]], deck: Deck) -> list[float]:
    seen = _Seen(step_ps=DEFAULT_STEP_PS if path.name == INPUT else None)
    for words in lines:
        name, rest = words[0], words[1:]
        if name in CHECKS and rest:
            CHECKS[name](path, rest, deck, seen)
    if not seen.checked:
        _check_step(path, seen, deck)
    return seen.temperatures


def _units(path: Path, rest: list[str], _: Deck, _seen: _Seen) -> None:
    if rest[0] != "metal":
        _refuse(path, "units are", rest[0], "picoseconds and Angstrom, those of metal")


def _timestep(_path: Path, rest: list[str], _deck: Deck, seen: _Seen) -> None:
    seen.step_ps = number(rest[0])


def _check_step(path: Path, seen: _Seen, deck: Deck) -> None:
    seen.checked = True
    if seen.step_ps is not None and not np.isclose(seen.step_ps, deck.step_ps, rtol=1e-6, atol=0):
        _refuse(path, "the time step is", f"{1000 * seen.step_ps:g} fs", f"{deck.header.time_step_fs:g} fs")


def _run(path: Path, _rest: list[str], deck: Deck, seen: _Seen) -> None:
    if seen.dumping:
        _check_step(path, seen, deck)


def _interval(path: Path, what: str, word: str, deck: Deck) -> None:
    found = number(word)
    if found is not None and found != deck.header.frame_steps:
        _refuse(path, f"{what} every", f"{found:g} steps", f"{deck.header.frame_steps} steps")


def _dump(path: Path, rest: list[str], deck: Deck, seen: _Seen) -> None:
    stem, ending = DUMP.split(".")
    if len(rest) < 5:
        return
    file = rest[4].rsplit("/", 1)[-1]
    if file.startswith(stem) and file.endswith(ending):
        seen.dumping = True
        _interval(path, f"{DUMP} is written", rest[3], deck)


def _dump_modify(path: Path, rest: list[str], deck: Deck, _seen: _Seen) -> None:
    if rest[0] == "ions" and "every" in rest[:-1]:
        _interval(path, f"{DUMP} is written", rest[rest.index("every") + 1], deck)


def _group(path: Path, rest: list[str], deck: Deck, _seen: _Seen) -> None:
    first = deck.ion_ids.start
    wanted = {"ions": set(deck.ion_ids), "host": set(range(1, first)), "frozen": {k + 1 for k in deck.frozen}}
    if rest[0] not in wanted or len(rest) < 2 or rest[1] not in {"id", "empty"}:
        return
    found = _ids(rest[2:]) if rest[1] == "id" else set()
    if found is not None and found != wanted[rest[0]]:
        own = wanted[rest[0]]
        _refuse(
            path, f"the group {rest[0]} has", f"{len(found)} atoms ({_short(found)})", f"{len(own)} ({_short(own)})"
        )


def _ids(words: list[str]) -> set[int] | None:
    found: set[int] = set()
    for word in words:
        ends = word.split(":")
        if not all(e.isdecimal() for e in ends) or len(ends) > 2:
            return None
        found |= set(range(int(ends[0]), int(ends[-1]) + 1))
    return found


def _short(ids: set[int]) -> str:
    return f"ids {min(ids)} to {max(ids)}" if ids else "none"


def _pair_coeff(path: Path, rest: list[str], deck: Deck, _seen: _Seen) -> None:
    found = tuple(word for word in rest[2:] if word in chemical_symbols)
    if found and found != deck.elements:
        _refuse(path, "the species of pair_coeff are", " ".join(found), " ".join(deck.elements))


def _fix(path: Path, rest: list[str], deck: Deck, seen: _Seen) -> None:
    style = rest[2].removesuffix("/kk").removesuffix("/omp") if len(rest) > 2 else ""
    if any(style == s or style.startswith(f"{s}/") for s in MOVING_CELL):
        _refuse(path, "there is a fix", style, "a cell and a time step that stay")
    if style == "ave/time" and any(DRIFT.split(".")[0] in w for w in rest[3:]) and len(rest) > 5:
        _interval(path, f"{DRIFT} is written", rest[5], deck)
    at = 3 if style == "langevin" else rest.index("temp") + 1 if "temp" in rest and style.startswith("nvt") else None
    if at is not None:
        seen.temperatures += [t for t in map(number, rest[at : at + 2]) if t is not None]


CHECKS = {
    "units": _units,
    "timestep": _timestep,
    "run": _run,
    "dump": _dump,
    "dump_modify": _dump_modify,
    "group": _group,
    "pair_coeff": _pair_coeff,
    "fix": _fix,
}


def _check_data(path: Path, deck: Deck) -> None:
    """Cell, number of atoms, species and masses of the data file, as ASE reads it."""
    numbers = {k: atomic_numbers[s] for k, s in enumerate(deck.elements, start=1)}
    try:
        atoms = read(path, format="lammps-data", Z_of_type=numbers, units="metal", sort_by_id=True)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        why = " ".join(str(error).split())[:80]
        raise ValueError(f"{path}: does not fit deck.json or is damaged ({type(error).__name__}: {why})") from error
    header, cell = deck.header, atoms.cell.array
    if len(atoms) != header.atoms:
        _refuse(path, "the atoms are", len(atoms), header.atoms)
    own = np.array(header.cell_angstrom)
    if lattice_difference_angstrom(cell, own) > CELL_ANGSTROM:
        _refuse(path, "the cell is", edges_in_words(cell), edges_in_words(prism(own).cell))
    ions = tuple(atoms.get_chemical_symbols()[-len(header.ions) :])
    if ions != header.ions:
        _refuse(path, "the last atoms are", " ".join(ions), " ".join(header.ions))
    for symbol in deck.elements:
        found = atoms.get_masses()[atoms.symbols == symbol]
        mass = float(atomic_masses[atomic_numbers[symbol]])
        if len(found) and abs(float(found[0]) / mass - 1.0) > MASS:
            _refuse(
                path, f"atoms of type {deck.elements.index(symbol) + 1} weigh", f"{found[0]:g}", f"{symbol}, {mass:g}"
            )
