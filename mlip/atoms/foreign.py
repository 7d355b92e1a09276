"""What other people's files of labels hold: which values are meant, isolated atoms, zeros, and what a frame states.

Takes frames as ASE reads them; gives the labels that are meant, the frames that count and frames with their vacuum
along the third cell vector, or one line that says what is wrong and what to do. Nothing is guessed: where a file holds
two energies, or forces of exactly zero that no symmetry demands, the level file has to say what is true.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray

from mlip.atoms import cells, symmetry
from mlip.core.arrays import Array

SAME = 1e-6  # of two values under two names, in the unit of the file
ALONE_ANGSTROM = 6.0  # to the nearest image of an isolated atom, beyond the bonds of any metal
SYMMETRY_ANGSTROM = 2e-3  # of geometries whose forces a code has made symmetric, rounded in a file
DIGITS = 8  # decimals of a file that are looked at
ZERO = 1e-9  # eV/Angstrom: no calculation gives forces as small, and no file writes them
ROUNDED = 20  # forces up to so many units of the last decimal may round to zero
FEWEST_ZEROS = 3  # components that are exactly zero and need not be

ENERGY_WORDS = {"energy", "e", "e0", "etot", "etotal", "toten"}
FORCE_WORDS = {"force", "forces", "grad", "gradient", "gradients"}
OTHER_WORD = re.compile(
    "std|stdev|stddev|var|variance|sigma|error|errors|err|mae|rmse|rms|norm|mean|max|fmax|net|uncertainty|spread|mask|"
    "weights?|units?|per|atom|kinetic|kin|correction|mlip|fermi|gap|zpe|point|field|cutoff|encut|band|homo|lumo|hull|"
    "formation|form|adsorption|ads|binding|cohesive|coh|atomi[sz]ation|interaction|surface|relative|delta|diff|"
    "difference|barrier|strain"
)  # in names of values that are no total energy and no set of forces
DISPERSION_WORDS = {"d3", "d4", "disp", "dispersion", "vdw"}  # a part, or a total that holds the part: by its size
PART = 0.5  # of the energy or the largest force: a dispersion label below this is a part


def words(name: str) -> set[str]:
    """The words of a key in lower case: REF_energy, dftEnergy, freeenergy and energy(sigma->0) hold the word energy."""
    parts = re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", "_", name).lower()
    parts = re.sub(r"sigma[^a-z0-9]*(0|zero)", "extrapolated", parts)
    found = set(re.split(r"[^a-z0-9]+", parts))
    return found | {"energy"} if any(word.endswith("energy") for word in found) else found


def _candidates(values: Mapping[str, Any], kind: Literal["energy", "forces"], atoms: int) -> dict[str, Array]:
    wanted, shape = (ENERGY_WORDS, ()) if kind == "energy" else (FORCE_WORDS, (atoms, 3))
    found = {}
    for name, value in values.items():
        own = words(name)
        if own & wanted and not any(OTHER_WORD.fullmatch(w) for w in own) and np.shape(value) == shape:
            array = np.asarray(value)
            if np.issubdtype(array.dtype, np.number):
                found[name] = array.astype(np.float64)
    whole = np.abs(found[kind]).max(initial=0.0) if kind in found else 0.0
    return {
        name: array
        for name, array in found.items()
        if not words(name) & DISPERSION_WORDS or np.abs(array).max(initial=0.0) > PART * whole
    }


def require_one(values: Mapping[str, Any], kind: Literal["energy", "forces"], named: str | None, *, atoms: int) -> str:
    """The key of the energy or of the forces of a frame: the one named, or `energy` or `forces` where nothing else is.

    Two keys with the same values are no question, and neither is a gradient that is the negative of the forces.

    Raises:
        ValueError: there is another energy, or another set of forces, and the level file names none.
    """
    if named is not None:
        return named
    found = _candidates(values, kind, atoms)
    if kind not in found:
        return kind
    own = found[kind]
    for name, other in found.items():
        sign = -1.0 if words(name) & {"grad", "gradient", "gradients"} else 1.0
        apart = float(np.abs(sign * other - own).max(initial=0.0))
        if not apart <= SAME:
            raise ValueError(
                f"holds {' and '.join(sorted(found))}, which differ by {apart:.4g} in the unit of the file; say which "
                f"one is meant with keys: {{{kind}: {kind}}} or keys: {{{kind}: {name}}} in the level file"
            )
    return kind


def is_isolated_atom(frame: Atoms) -> bool:
    """Whether a frame is one atom by itself: said by `config_type`, or farther than 6 Angstrom from its images."""
    if len(frame) != 1:
        return False
    said = re.sub(r"[^a-z]", "", str(frame.info.get("config_type", "")).lower())
    if "isolatedatom" in said or not frame.pbc.any() or frame.cell.rank < 3:
        return True
    return not len(neighbor_list("d", frame, ALONE_ANGSTROM))


def decimals(values: Sequence[Array]) -> int:
    """How many decimals the values of a file have, at most 8."""
    flat = np.concatenate([np.ravel(v) for v in values]) if values else np.zeros(0)
    flat = flat[np.isfinite(flat)]
    for digits in range(DIGITS):
        scaled = flat * 10.0**digits
        if np.abs(scaled - np.round(scaled)).max(initial=0.0) < 1e-4:
            return digits
    return DIGITS


def free_components(atoms: Atoms) -> NDArray[np.bool_]:
    """Which components of the forces (N, 3) may differ from zero by the symmetry of the crystal."""
    periodic = Atoms(atoms.symbols, positions=atoms.positions, cell=atoms.cell, pbc=True)
    own = np.zeros((len(atoms), 3, 3))
    count = np.zeros(len(atoms))
    cell, inverse = atoms.cell.array, np.linalg.inv(atoms.cell.array)
    for op in symmetry.operations(periodic, tolerance_angstrom=SYMMETRY_ANGSTROM):
        fixed = op.permutation == np.arange(len(atoms))
        own[fixed] += inverse @ op.rotation.T @ cell
        count += fixed
    return np.asarray(np.linalg.norm(own / count[:, None, None], axis=1) > 1e-3)


def require_true_zeros(atoms: Atoms, forces: Array, *, step: float) -> None:
    """Refuse forces (N, 3) in eV/Angstrom that are exactly zero on a part of the atoms without a symmetry behind it.

    Codes and tools write zeros for atoms that were held. Zeros by symmetry, zeros of forces that are small against the
    last decimal of the file (`step`, eV/Angstrom) and frames without any force are not meant.

    Raises:
        ValueError: with the number of atoms.
    """
    zero = np.abs(forces) < ZERO
    if not zero.any() or zero.all() or not np.isfinite(forces).all():
        return
    rms = float(np.sqrt(np.mean(forces[~zero] ** 2)))
    if rms < ROUNDED * step:
        return
    free = free_components(atoms)
    odd = zero & free
    by_chance = float(free.sum()) * step / rms
    held = odd.all(axis=1)
    if not held.any() and odd.sum() < max(FEWEST_ZEROS, 10 * by_chance):
        return
    whole = int((zero.all(axis=1) & free.any(axis=1)).sum())
    number = whole or int(odd.any(axis=1).sum())
    what = "forces" if whole else "components of the forces"
    mask = " (held, says the move_mask of the file)" if atoms.constraints else ""
    raise ValueError(
        f"{what} on {number} of {len(atoms)} atoms are exactly 0 where no symmetry demands it{mask}, the others have "
        f"{rms:.3g} eV/Angstrom rms; give the true forces or leave the frame out; where the zeros are true, say "
        "zero_forces_are_true: true in the level file"
    )


def consistent_vacuum(frame: Atoms) -> tuple[bool, int | None]:
    """Whether a frame is a slab, and the cell vector along which its vacuum is, once pbc and `vacuum` are true.

    Where a frame says nothing of vacuum, its atoms do.

    Raises:
        ValueError: see `cells.require_consistent`; or `vacuum` is neither T nor F, or the cell has no volume.
    """
    axes = cells.slab_axes(frame)
    stated = frame.info.get("vacuum", len(axes) == 1)
    if not isinstance(stated, bool | np.bool_ | int | np.integer) or stated not in {0, 1}:
        raise ValueError(f"vacuum is {str(stated)!r}, T or F is allowed; correct it or leave it out")
    said = frame.copy()
    said.info["vacuum"] = bool(stated)
    cells.require_consistent(said)
    return bool(stated), axes[0] if stated else None


def turned(frame: Atoms, forces: Array, axis: int) -> tuple[Atoms, Array]:
    """The frame and its forces (N, 3) with another cell vector as the third one: vectors and x, y, z change places."""
    order = [(axis + 1) % 3, (axis + 2) % 3, axis]
    made = Atoms(
        frame.symbols,
        positions=frame.positions[:, order],
        cell=frame.cell.array[np.ix_(order, order)],
        pbc=frame.pbc[order],
    )
    made.info = dict(frame.info)
    if np.shape(made.info.get("kpts")) == (3,):
        made.info["kpts"] = np.asarray(made.info["kpts"])[order]
    return made, forces[:, order]
