"""Checks of DFT labels before anything is trained, and the element-wise fit behind them.

Takes frames with the keys of atoms/extxyz.py; gives nothing where all is well, or one line that says which file, frame,
value and limit, and what to do. Nothing absent is ever replaced by zeros.

Units are checked by two relations: energies of one level are nearly linear in the composition, E = sum_s n_s e_s, and
between near images of one cell E_b - E_a = -(F_a + F_b) . (r_b - r_a) / 2 + O(|r_b - r_a|^3), the trapezoidal rule.
Linear reference energies: as in MACE, doi:10.48550/arXiv.2206.07697.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray

from mlip.atoms.extxyz import read_frames
from mlip.core.section import Target
from mlip.core.units import BOHR_ANGSTROM, HARTREE_EV
from mlip.stages.dataset.card import Card
from mlip.stages.dataset.settings import DatasetSettings

RIDGE = 1e-10  # of the squared mole fractions: far below any composition that data hold, far above rounding
NEAR_ANGSTROM = 0.8  # largest displacement of an atom between two frames whose energies and forces are compared
FEWEST_PAIRS = 5
SMALLEST_WORK = 1e-3  # eV, or Hartree where units are wrong: below it the noise of an SCF counts
COPY_EV_PER_ATOM = 3e-3  # of moved copies: 1.4e-3 were measured for the egg-box effect, 2.8e-3 for another k-mesh
COPY_EV_PER_ANGSTROM = 0.3  # the same: 0.15 and 0.23 (docs/method.md, level of theory)
ENERGY_RATIOS = {
    "Hartree: multiply by 27.2114": HARTREE_EV,
    "Rydberg: multiply by 13.6057": HARTREE_EV / 2,
    "kJ/mol: divide by 96.485": 1 / 96.4853,
    "kcal/mol: divide by 23.061": 1 / 23.0605,
}
PAIR_RATIOS = {
    "energies look like Hartree: multiply by 27.2114": 1 / HARTREE_EV,
    "energies look like Rydberg: multiply by 13.6057": 2 / HARTREE_EV,
    "forces look like Hartree/Bohr: multiply by 51.4221": HARTREE_EV / BOHR_ANGSTROM,
    "forces look like Rydberg/Bohr: multiply by 25.7110": HARTREE_EV / BOHR_ANGSTROM / 2,
    "energies and forces look like atomic units: multiply by 27.2114 and 51.4221": 1 / BOHR_ANGSTROM,
    "forces have the wrong sign (gradients): multiply by -1": -1.0,
}


def read_labelled(
    path: Path,
    settings: DatasetSettings,
    *,
    target: Target = "pbe",
    card: Card | None = None,
) -> list[Atoms]:
    """Every frame of a file, read and checked; see `check` for the arguments.

    Raises:
        ValueError: one line with file, frame, value, limit and what to do.
    """
    frames = read_frames(path)
    check(frames, settings, source=str(path), target=target, card=card)
    return frames


def check(
    frames: Sequence[Atoms],
    settings: DatasetSettings,
    *,
    source: str,
    target: Target = "pbe",
    card: Card | None = None,
) -> None:
    """Nothing, where all labels can be trained on.

    Args:
        frames: labelled frames; they are not changed.
        settings: the limits.
        source: what to call the frames in messages, usually the file.
        target: level that will be trained; 'pbe-d3' needs D3 labels too.
        card: gives the settings hash that every frame must carry and the reference energies; without it the first
            frame's hash and a robust fit to the frames are taken.

    Raises:
        ValueError: one line for the first problem: file, frame, value, limit and what to do.
    """
    if not frames:
        raise ValueError(f"{source}: holds no frames; give at least one labelled frame")
    wanted_hash = card.settings_hash if card else str(frames[0].info.get("settings_hash"))
    seen: set[str] = set()
    for number, frame in enumerate(frames):
        name = str(frame.info.get("frame_id", "no frame_id"))
        problem = (
            _absent(frame, target)
            or _not_finite(frame)
            or _zeros(frame)
            or _other_level(frame, wanted_hash)
            or _too_close(frame, settings)
            or _forces(frame, settings)
            or (f"frame_id {name!r} is there twice; give each frame its own" if name in seen else None)
        )
        if problem:
            raise ValueError(f"{source}: frame {number} ({name}): {problem}")
        seen.add(name)
    _check_energies(frames, settings, source, card.e0_ev.get("pbe") if card else None)
    _check_duplicates(frames, settings, source)
    _check_pairs(frames, settings, source)


def _absent(frame: Atoms, target: Target) -> str | None:
    texts = [k for k in ("frame_id", "group", "host", "ion", "settings_hash") if not frame.info.get(k)]
    if texts:
        return f"has no {', '.join(texts)} in its info; every frame needs them (see mlip/atoms/extxyz.py)"
    wanted = {"dft_energy": frame.info, "dft_forces": frame.arrays}
    if target == "pbe-d3":
        wanted |= {"d3_energy": frame.info, "d3_forces": frame.arrays}
    lacking = [k for k, where in wanted.items() if k not in where]
    if lacking:
        return f"has no {', '.join(lacking)}; label the frame or leave it out: absent labels are never taken as zero"
    for key in wanted:
        value, shape = wanted[key][key], (len(frame), 3) if key.endswith("forces") else ()
        if np.shape(value) != shape or not np.issubdtype(np.asarray(value).dtype, np.number):
            return f"{key} has the shape {np.shape(value)} where numbers of shape {shape} belong; write it again"
    return None


def _not_finite(frame: Atoms) -> str | None:
    parts = {"positions": frame.positions, "cell": frame.cell.array}
    parts |= {k: frame.info[k] for k in ("dft_energy", "d3_energy") if k in frame.info}
    parts |= {k: frame.arrays[k] for k in ("dft_forces", "d3_forces") if k in frame.arrays}
    for key, value in parts.items():
        bad = int((~np.isfinite(np.asarray(value, dtype=np.float64))).sum())
        if bad:
            return f"{key} holds {bad} values that are not finite; calculate the frame again or leave it out"
    return None


def _zeros(frame: Atoms) -> str | None:
    if float(frame.info["dft_energy"]) == 0.0:
        return "dft_energy is exactly 0 eV, as if it were absent; label the frame or leave it out"
    if np.any(frame.arrays["dft_forces"]):
        return None
    first, bond, distance = neighbor_list("iDd", frame, 4.0)
    pull = np.zeros((len(frame), 3))
    np.add.at(pull, first, bond / distance[:, None] ** 4)
    if np.abs(pull).max(initial=0.0) < 1e-4:  # every force vanishes by symmetry
        return None
    return "all dft_forces are exactly 0 and no symmetry demands it, as if absent; label the frame or leave it out"


def _other_level(frame: Atoms, wanted: str) -> str | None:
    found = frame.info["settings_hash"]
    if found == wanted:
        return None
    return f"settings_hash is {found}, the dataset has {wanted}; one dataset holds one level of theory: label it again"


def _too_close(frame: Atoms, settings: DatasetSettings) -> str | None:
    first, second, distance = neighbor_list("ijd", frame, settings.min_distance_angstrom)
    if not len(distance):
        return None
    k = int(np.argmin(distance))
    pair = " and ".join(f"{frame[int(n)].symbol}{int(n)}" for n in (first[k], second[k]))
    return (
        f"{pair} are {distance[k]:.3f} Angstrom apart, at least {settings.min_distance_angstrom} are allowed "
        "(min_distance_angstrom); check cell and units of length, or leave the frame out"
    )


def _forces(frame: Atoms, settings: DatasetSettings) -> str | None:
    forces = frame.arrays["dft_forces"]
    largest = float(np.linalg.norm(forces, axis=1).max())
    if largest > settings.max_force_ev_per_angstrom:
        atom = int(np.linalg.norm(forces, axis=1).argmax())
        return (
            f"force on {frame[atom].symbol}{atom} is {largest:.2f} eV/Angstrom, at most "
            f"{settings.max_force_ev_per_angstrom} are allowed (max_force_ev_per_angstrom); check units or leave it out"
        )
    net = max(float(np.abs(forces.sum(axis=0)).max()), float(frame.info.get("net_force", 0.0))) / len(frame)
    if net > settings.max_net_force_per_atom_ev_per_angstrom:
        return (
            f"net force is {net:.4f} eV/Angstrom per atom, at most {settings.max_net_force_per_atom_ev_per_angstrom} "
            "is allowed (max_net_force_per_atom_ev_per_angstrom); converge the calculation or leave the frame out"
        )
    return None


def composition(frames: Sequence[Atoms], symbols: Sequence[str]) -> NDArray[np.float64]:
    """Number of atoms of each of the symbols in each frame, shape (frames, symbols)."""
    return np.array([[frame.get_chemical_symbols().count(s) for s in symbols] for frame in frames], dtype=np.float64)


def element_fit(counts: NDArray[np.float64], energies_ev: NDArray[np.float64], *, robust: bool) -> NDArray[np.float64]:
    """Energy per element in eV, shape (symbols,), that best explains the energies per atom.

    Ridge least squares towards the median energy per atom: data determine what they can, and a split that composition
    leaves open stays at equal energy per atom. With `robust` the sum of absolute errors is minimised (reweighting), so
    that wrong labels stand out instead of bending the fit.
    """
    atoms = counts.sum(axis=1)
    fractions, per_atom = counts / atoms[:, None], energies_ev / atoms
    centre = float(np.median(per_atom))
    weights = np.ones(len(atoms))
    shift = np.zeros(counts.shape[1])
    for _ in range(50 if robust else 1):
        root = np.sqrt(weights)
        ridge = np.sqrt(RIDGE * weights.sum()) * np.eye(counts.shape[1])
        design = np.vstack([root[:, None] * fractions, ridge])
        wanted = np.concatenate([root * (per_atom - centre), np.zeros(counts.shape[1])])
        shift = np.linalg.lstsq(design, wanted, rcond=None)[0]
        weights = 1.0 / np.maximum(np.abs(per_atom - centre - fractions @ shift), 1e-3)
    return np.asarray(centre + shift, dtype=np.float64)


def _check_energies(
    frames: Sequence[Atoms], settings: DatasetSettings, source: str, e0_ev: Mapping[str, float] | None
) -> None:
    symbols = sorted({s for frame in frames for s in frame.get_chemical_symbols()})
    if e0_ev is not None and (new := sorted(set(symbols) - set(e0_ev))):
        raise ValueError(f"{source}: element {new[0]} has no reference energy on the card; make the card again")
    counts = composition(frames, symbols)
    energies = np.array([float(frame.info["dft_energy"]) for frame in frames])
    fitted = element_fit(counts, energies, robust=True) if e0_ev is None else np.array([e0_ev[s] for s in symbols])
    found, expected = energies / counts.sum(axis=1), counts @ fitted / counts.sum(axis=1)
    worst = int(np.argmax(np.abs(found - expected)))
    if abs(found[worst] - expected[worst]) <= settings.max_energy_outlier_ev_per_atom:
        return
    ratio = expected[worst] / found[worst]
    hint = next((unit for unit, r in ENERGY_RATIOS.items() if abs(ratio / r - 1) < 0.06), None)
    advice = f"{ratio:.3g} times too small, which looks like {hint}" if hint else "check its level, units and SCF"
    raise ValueError(
        f"{source}: frame {worst} ({frames[worst].info['frame_id']}): energy is {found[worst]:.4f} eV/atom, the "
        f"element-wise fit says {expected[worst]:.4f}, at most {settings.max_energy_outlier_ev_per_atom} off is "
        f"allowed (max_energy_outlier_ev_per_atom); {advice}"
    )


def _same_atoms(frames: Sequence[Atoms]) -> list[list[int]]:
    buckets: defaultdict[bytes, list[int]] = defaultdict(list)
    for number, frame in enumerate(frames):
        buckets[frame.numbers.tobytes()].append(number)
    return list(buckets.values())


def duplicates(frames: Sequence[Atoms], tolerance_angstrom: float) -> list[tuple[int, int]]:
    """Pairs (earlier, later) of equal structures: species in order, cell, and positions up to whole cell vectors."""
    pairs = []
    for bucket in _same_atoms(frames):
        cells = np.array([frames[n].cell.array for n in bucket])
        scaled = np.array([frames[n].get_scaled_positions(wrap=False) for n in bucket])
        for later in range(1, len(bucket)):
            near = np.flatnonzero(np.abs(cells[:later] - cells[later]).max(axis=(1, 2)) <= tolerance_angstrom)
            moved = scaled[near] - scaled[later]
            moved = np.linalg.norm((moved - np.round(moved)) @ cells[later], axis=2).max(axis=1, initial=0.0)
            if (moved <= tolerance_angstrom).any():
                pairs.append((bucket[near[int(np.argmax(moved <= tolerance_angstrom))]], bucket[later]))
    return sorted(pairs, key=lambda pair: pair[1])


def _check_duplicates(frames: Sequence[Atoms], settings: DatasetSettings, source: str) -> None:
    for first, second in duplicates(frames, settings.duplicate_angstrom):
        energies = [float(frames[n].info["dft_energy"]) for n in (first, second)]
        forces = float(np.abs(frames[first].arrays["dft_forces"] - frames[second].arrays["dft_forces"]).max())
        if abs(energies[0] - energies[1]) / len(frames[first]) > 1e-3 or forces > 0.1:
            raise ValueError(
                f"{source}: frame {second} ({frames[second].info['frame_id']}): same structure as frame {first} "
                f"({frames[first].info['frame_id']}) but other labels ({energies[1]:.4f} and {energies[0]:.4f} eV, "
                f"forces differ by {forces:.3f}; 0.001 eV/atom and 0.1 eV/Angstrom are allowed); keep the right one"
            )


def require_alike(frames: Sequence[Atoms], pairs: Sequence[tuple[int, int]], *, source: str) -> None:
    """Check that copies of a structure have the same labels, up to the change that a shift of the atoms may cause.

    Args:
        frames: labelled frames.
        pairs: (earlier, later) of `copies.copies`; atoms may be in another order and forces in another direction, so
            the sorted lengths of the forces on each kind of atom are compared.
        source: what to call the frames in messages, usually the file.

    Raises:
        ValueError: one line for the first pair that differs.
    """
    for first, second in pairs:
        one, other = frames[first], frames[second]
        apart_ev = abs(float(one.info["dft_energy"]) - float(other.info["dft_energy"])) / len(one)
        forces = float(np.abs(_sorted_forces(one) - _sorted_forces(other)).max())
        if apart_ev > COPY_EV_PER_ATOM or forces > COPY_EV_PER_ANGSTROM:
            raise ValueError(
                f"{source}: frame {second} ({other.info['frame_id']}): same structure as frame {first} "
                f"({one.info['frame_id']}), maybe moved, reordered, turned or mirrored, but other labels (energies "
                f"differ by {apart_ev:.4f} eV/atom, lengths of forces by {forces:.3f} eV/Angstrom; {COPY_EV_PER_ATOM} "
                f"and {COPY_EV_PER_ANGSTROM} are allowed); keep the right one"
            )


def _sorted_forces(frame: Atoms) -> NDArray[np.float64]:
    """Lengths (eV/Angstrom) of the forces, by kind of atom and then ascending, shape (atoms,)."""
    lengths = np.linalg.norm(frame.arrays["dft_forces"], axis=1)
    return np.asarray(lengths[np.lexsort((lengths, frame.numbers))], dtype=np.float64)


def energy_force_ratio(frames: Sequence[Atoms]) -> tuple[float | None, int]:
    """Median of energy difference over work of the mean force, and the number of pairs of near frames behind it.

    Pairs share cell and atoms, no atom moves farther than 0.8 Angstrom, and the half with the larger work counts. The
    ratio is 1 where energies and forces belong together, None with fewer than five pairs.
    """
    pairs = []
    for bucket in _same_atoms(frames):
        for place, a in enumerate(bucket):
            for b in bucket[place + 1 : place + 11]:
                if not np.allclose(frames[a].cell, frames[b].cell, rtol=0, atol=1e-6):
                    continue
                moved, length = find_mic(frames[b].positions - frames[a].positions, frames[a].cell)
                mean = (frames[a].arrays["dft_forces"] + frames[b].arrays["dft_forces"]) / 2
                work = -float((mean * moved).sum())
                if length.max() < NEAR_ANGSTROM and abs(work) > SMALLEST_WORK:
                    pairs.append((work, float(frames[b].info["dft_energy"]) - float(frames[a].info["dft_energy"])))
    if not pairs:
        return None, 0
    works, gains = np.array(pairs).T
    large = np.abs(works) >= np.median(np.abs(works))
    number = int(large.sum())
    return (float(np.median(gains[large] / works[large])) if number >= FEWEST_PAIRS else None), number


def _check_pairs(frames: Sequence[Atoms], settings: DatasetSettings, source: str) -> None:
    ratio, pairs = energy_force_ratio(frames)
    if ratio is None or abs(ratio - 1) <= settings.max_energy_force_mismatch:
        return
    hint = next((text for text, r in PAIR_RATIOS.items() if abs(ratio / r - 1) < 0.2), "check the units of both")
    raise ValueError(
        f"{source}: all frames: energy differences are {ratio:.3g} times the work of the forces (median of {pairs} "
        f"pairs of near frames), 1 within {settings.max_energy_force_mismatch} is allowed "
        f"(max_energy_force_mismatch); {hint}"
    )
