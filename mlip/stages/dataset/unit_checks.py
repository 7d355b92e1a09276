"""Units and sign of somebody else's labels, checked against what is known without the labels.

Takes frames under this project's keys; gives a line for each check that could not be made, or one line that says what
is wrong and what to do. Three relations are used, none of which needs two frames that are near each other.

Energies: a crystal is bound at least as strongly as half of its elements, E < -(1/2) sum_s n_s E_coh,s, in every code
whose energies count from atoms, and more strongly where they count from nuclei and electrons.
Forces and energies against a potential that knows the elements: slopes of a regression through the origin,

    sum F F_model / sum F_model^2,    sum dE dE_model / sum dE_model^2,  dE from the mean of frames of one composition.

Forces against bonds as springs, where no potential knows the elements: F_i = k sum_j (d_0 - d_ij) r_ij / d_ij with d_0
the mean length of the bonds of a pair of elements. The sign is that of k.

Cohesive energies: C. Kittel, Introduction to Solid State Physics, 8th edition, chapter 3, table 1 (from memory, in no
result; half of them is a bound).
"""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list

from mlip.core.arrays import Array
from mlip.core.units import BOHR_ANGSTROM, HARTREE_EV
from mlip.stages.dataset import labels

Predict = Callable[[Sequence[Atoms]], Sequence[tuple[float, Array]]]  # energies (eV), forces (eV/Angstrom)

KITTEL = """
    H 2.24 Li 1.63 Be 3.32 B 5.81 C 7.37 N 4.92 O 2.60 F 0.84 Na 1.11 Mg 1.51 Al 3.39 Si 4.63 P 3.43 S 2.85 Cl 1.40
    K 0.93 Ca 1.84 Sc 3.90 Ti 4.85 V 5.31 Cr 4.10 Mn 2.92 Fe 4.28 Co 4.39 Ni 4.44 Cu 3.49 Zn 1.35 Ga 2.81 Ge 3.85
    As 2.96 Se 2.46 Br 1.22 Rb 0.85 Sr 1.72 Y 4.37 Zr 6.25 Nb 7.57 Mo 6.82 Ru 6.74 Rh 5.75 Pd 3.89 Ag 2.95 Cd 1.16
    In 2.52 Sn 3.14 Sb 2.75 Te 2.19 I 1.11 Cs 0.80 Ba 1.90 La 4.47 Ce 4.32 Pr 3.70 Nd 3.40 Hf 6.44 Ta 8.10 W 8.90
    Re 8.03 Os 8.17 Ir 6.94 Pt 5.84 Au 3.81 Pb 2.03 Bi 2.18
"""
COHESIVE_EV = {symbol: float(energy) for symbol, energy in re.findall(r"(\w+) ([\d.]+)", KITTEL)}
BOUND = 0.5  # of the cohesive energies of the elements
MOST = 16  # frames of one composition
SAMPLE_ATOMS = 1500  # that a potential is evaluated on, at most
KNOWN, ALIKE = 0.9, 0.5  # correlations from which a potential tells a factor, and an order of magnitude
ORDER = 5.0  # a factor that no material explains where the potential is only alike
FRAME_FACTOR = 2.0  # of one frame against the others
FRAME_FORCE = 0.3  # eV/Angstrom rms, from which a single frame is judged
ENERGY_SPREAD_EV = 0.2  # rms from the mean of a composition, from which energies are judged
FEWEST_DIFFERENCES = 3  # of energies of one composition
ENERGY_LIMIT = 0.6  # of their slope from 1: the least that units of energy differ by is a factor of two
BOND = 1.25  # times the sum of covalent radii
SPRINGS = 0.3  # correlation from which bonds tell the sign
SOFTEST, STIFFEST = 0.25, 15.0  # k d^2 over the cohesive energy; 1 to 5 in oxides and metals, 40 in O2
ADVICE = "; where the labels are right, say units_are_true: true in the level file"
FORCE_UNITS = {
    "Hartree/Bohr: multiply by 51.4221": BOHR_ANGSTROM / HARTREE_EV,
    "Rydberg/Bohr: multiply by 25.7110": 2 * BOHR_ANGSTROM / HARTREE_EV,
    "Hartree/Angstrom: multiply by 27.2114": 1 / HARTREE_EV,
    "Rydberg/Angstrom: multiply by 13.6057": 2 / HARTREE_EV,
    "eV/Bohr: multiply by 1.88973": BOHR_ANGSTROM,
    "kcal/mol/Angstrom: divide by 23.0605": 23.0605,
    "kJ/mol/Angstrom: divide by 96.4853": 96.4853,
    "eV/Angstrom already, not Hartree/Bohr": HARTREE_EV / BOHR_ANGSTROM,
    "the negative of forces (gradients): multiply by -1": -1.0,
}  # how large right labels are in them
ENERGY_UNITS = {
    "Hartree: multiply by 27.2114": 1 / HARTREE_EV,
    "Rydberg: multiply by 13.6057": 2 / HARTREE_EV,
    "kcal/mol: divide by 23.0605": 23.0605,
    "kJ/mol: divide by 96.4853": 96.4853,
    "eV already, not Hartree": HARTREE_EV,
}
LIKE = 0.2  # of a factor, from which a unit is named


@dataclass(frozen=True)
class Potential:
    """A potential to check against: its name, its elements, and what it predicts."""

    name: str
    elements: Sequence[str]
    predict: Predict


def check(frames: Sequence[Atoms], *, source: str, limit: float, potential: Potential | None) -> tuple[str, ...]:
    """What could not be checked, a line each, once energies and forces have passed the checks that can be made.

    Args:
        frames: labelled frames under this project's keys.
        source: the file, for messages.
        limit: how far slopes may be from 1 (max_energy_force_mismatch).
        potential: to compare with where it knows all elements; None where there is none.

    Raises:
        ValueError: energies too small for bound atoms, or labels of another unit or sign.
    """
    _require_bound(frames, source)
    symbols = {s for frame in frames for s in frame.get_chemical_symbols()}
    known = potential if potential is not None and symbols <= set(potential.elements) else None
    numbers = sample(frames)
    other = "no potential here knows all elements: compared with bonds"
    if known is not None:
        other = f"compared with {known.name} on {len(numbers)} of {len(frames)} frames"
    notes = []
    if labels.energy_force_ratio(frames)[0] is None:
        notes.append(f"{source}: too few pairs of near frames to check energies against the work of forces; {other}")
    more = (
        _against_bonds(frames, source) if known is None else _against_potential(frames, numbers, source, limit, known)
    )
    return (*notes, *more)


def _require_bound(frames: Sequence[Atoms], source: str) -> None:
    for number, frame in enumerate(frames):
        symbols = frame.get_chemical_symbols()
        if not set(symbols) <= set(COHESIVE_EV):
            continue
        least = BOUND * sum(COHESIVE_EV[s] for s in symbols) / len(symbols)
        energy = float(frame.info["dft_energy"]) / len(symbols)
        if not energy < -least:
            units = {"Hartree": HARTREE_EV, "Rydberg": HARTREE_EV / 2}
            fits = [u for u, factor in units.items() if least < -energy * factor < 12 * least]
            hint = f"is it in {' or '.join(fits)}?" if fits else "check unit, sign and zero of the energies"
            raise ValueError(
                f"{source}: frame {number} ({frame.info['frame_id']}): energy is {energy:.3f} eV/atom, below "
                f"-{least:.2f} is allowed (half of the cohesive energies of its elements): {hint}{ADVICE}"
            )


def sample(frames: Sequence[Atoms], atoms: int = SAMPLE_ATOMS) -> list[int]:
    """Numbers of frames with at most so many atoms together, or one; small cells and frames of one composition first.

    Of a composition come up to MOST frames, spread over the file.
    """
    kinds: defaultdict[str, list[int]] = defaultdict(list)
    for number, frame in enumerate(frames):
        kinds[frame.get_chemical_formula()].append(number)
    chosen: list[int] = []
    left = atoms
    for numbers in sorted(kinds.values(), key=lambda n: (len(frames[n[0]]) / min(len(n), MOST), n[0])):
        size = len(frames[numbers[0]])
        count = min(MOST, len(numbers), max(left // size, 0 if chosen else 1))
        picked = np.unique(np.linspace(0, len(numbers) - 1, count).round().astype(int))
        chosen += [numbers[k] for k in picked]
        left -= len(picked) * size
    return sorted(chosen)


def slope(values: Array, references: Array) -> tuple[float, float]:
    """Slope of values on references through the origin, and their correlation; (0, 0) where one of them is zero."""
    square, own = float((references**2).sum()), float((values**2).sum())
    if square <= 0.0 or own <= 0.0:
        return 0.0, 0.0
    product = float((values * references).sum())
    return product / square, product / np.sqrt(square * own)


def _against_potential(
    frames: Sequence[Atoms], numbers: Sequence[int], source: str, limit: float, potential: Potential
) -> list[str]:
    chosen = [frames[n] for n in numbers]
    found = potential.predict(chosen)
    forces = [frame.arrays["dft_forces"] for frame in chosen]
    name, notes = potential.name, []
    factor, alike = slope(np.concatenate(forces).ravel(), np.concatenate([f for _, f in found]).ravel())
    of = f"those of {name} ({len(chosen)} frames, correlation {alike:.2f})"
    if abs(alike) >= KNOWN or (abs(alike) >= ALIKE and not 1 / ORDER < factor < ORDER):
        what = f"{source}: all frames: forces are {factor:.3g} times {of}"
        _require_one(factor, limit if abs(alike) >= KNOWN else ORDER, FORCE_UNITS, what)
    for number, own, (_, model) in zip(numbers, forces, found, strict=True):
        one, close = slope(own.ravel(), model.ravel())
        if _rms(model) > FRAME_FORCE and abs(close) >= KNOWN and not 1 / FRAME_FACTOR < one < FRAME_FACTOR:
            where = f"{source}: frame {number} ({frames[number].info['frame_id']})"
            what = f"{where}: forces are {one:.3g} times those of {name} (correlation {close:.2f})"
            _require_one(one, 0.0, FORCE_UNITS, what)
    if abs(alike) < KNOWN:
        notes.append(f"{source}: forces correlate with {of}: too little to check their unit to better than {ORDER:g}")
        notes += _against_bonds(frames, source)
    energies, models, differences = _from_means(chosen, np.array([e for e, _ in found]))
    known = abs(alike) >= KNOWN and differences >= FEWEST_DIFFERENCES and _rms(models) > ENERGY_SPREAD_EV
    factor, alike = slope(energies, models)
    if known and abs(alike) >= KNOWN:
        of = f"those of {name} ({len(energies)} frames, correlation {alike:.2f})"
        what = f"{source}: all frames: differences of energies of one composition are {factor:.3g} times {of}"
        _require_one(factor, ENERGY_LIMIT, ENERGY_UNITS, what)
    else:
        notes.append(f"{source}: differences of energies could not be compared with {name}")
    return notes


def _require_one(factor: float, limit: float, units: Mapping[str, float], what: str) -> None:
    if 1 / (1 + limit) <= factor <= 1 + limit:
        return
    unit, found = min(units.items(), key=lambda item: abs(factor / item[1] - 1))
    hint = f"they look like {unit}" if abs(factor / found - 1) < LIKE else "check unit and sign"
    raise ValueError(f"{what}, about 1 is allowed; {hint}{ADVICE}")


def _from_means(frames: Sequence[Atoms], models_ev: Array) -> tuple[Array, Array, int]:
    """Labels and predictions from their means over the frames of one composition, eV; how many are independent."""
    kinds: defaultdict[str, list[int]] = defaultdict(list)
    for number, frame in enumerate(frames):
        kinds[frame.get_chemical_formula()].append(number)
    own = np.array([float(frame.info["dft_energy"]) for frame in frames])
    several = [numbers for numbers in kinds.values() if len(numbers) > 1]
    parts = [np.concatenate([e[n] - e[n].mean() for n in several] or [np.zeros(0)]) for e in (own, models_ev)]
    return parts[0], parts[1], len(parts[0]) - len(several)


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2))) if values.size else 0.0


def springs(frames: Sequence[Atoms]) -> tuple[float, float, float]:
    """Stiffness of bonds (eV/Angstrom^2) that explains the forces best, the correlation, and the mean bond length."""
    bonds = [neighbor_list("ijdD", f, [BOND * covalent_radii[n] for n in f.numbers]) for f in frames]
    pairs = [np.sort(f.numbers[np.stack(b[:2], axis=1)], axis=1) for f, b in zip(frames, bonds, strict=True)]
    every, lengths = np.concatenate(pairs), np.concatenate([b[2] for b in bonds])
    if not len(lengths):
        return 0.0, 0.0, 0.0
    kinds, which = np.unique(every, axis=0, return_inverse=True)
    means = np.bincount(which.ravel(), weights=lengths) / np.bincount(which.ravel(), minlength=len(kinds))
    pulls, start = [], 0
    for frame, (first, _, distance, vector) in zip(frames, bonds, strict=True):
        wanted = means[which.ravel()[start : start + len(first)]]
        start += len(first)
        pull = np.zeros((len(frame), 3))
        np.add.at(pull, first, ((distance - wanted) / distance)[:, None] * vector)
        pulls.append(pull)
    forces = np.concatenate([f.arrays["dft_forces"] for f in frames])
    return *slope(forces.ravel(), np.concatenate(pulls).ravel()), float(lengths.mean())


def _against_bonds(frames: Sequence[Atoms], source: str) -> list[str]:
    stiffness, alike, length = springs(frames)
    symbols = [s for frame in frames for s in frame.get_chemical_symbols()]
    known = [COHESIVE_EV[s] for s in symbols if s in COHESIVE_EV]
    if abs(alike) < SPRINGS or not known:
        return [f"{source}: sign and unit of the forces could not be checked against bonds"]
    reduced = stiffness * length**2 / float(np.mean(known))
    if reduced < -SOFTEST:
        raise ValueError(
            f"{source}: all frames: forces pull where bonds are too short and push where they are too long (stiffness "
            f"{stiffness:.2g} eV/Angstrom^2, correlation {alike:.2f}): the sign is wrong (gradients): multiply by -1"
            f"{ADVICE}"
        )
    if reduced < SOFTEST:
        soft = f"bonds are as soft as {stiffness:.2g} eV/Angstrom^2"
        return [f"{source}: {soft}: relaxed frames, or forces in Hartree/Bohr or Rydberg/Bohr; check their unit"]
    if reduced > STIFFEST:
        stiff = f"bonds are as stiff as {stiffness:.3g} eV/Angstrom^2"
        return [f"{source}: {stiff}: molecules, or forces in kcal/mol or kJ/mol; check their unit"]
    return []
