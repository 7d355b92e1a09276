"""Crystals and facet slabs.

Takes a built-in crystal or a file and a facet (Miller indices, layers, repeat, vacuum); gives stoichiometric,
symmetric, non-polar slabs with the surface normal along z, the bulk supercell, and a `Host` that describes either.

A slab is cut between whole atomic planes. Every plane of one period is tried as the lowest one; a cut counts when it
has the bulk composition, no dipole along the normal (sum q_i z_i = 0 with nominal charges, Tasker type 1 or 2,
doi:10.1088/0022-3719/12/22/036) and an operation that exchanges its faces. The highest coordination wins.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from math import gcd
from pathlib import Path
from typing import Annotated

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray
from pydantic import Field, model_validator

from mlip.atoms import crystals
from mlip.atoms.crystals import SYMPREC_ANGSTROM, Crystal
from mlip.atoms.ions import ANION_CHARGES, NONE, nominal_charges
from mlip.atoms.symmetry import is_translation, operations, tilts
from mlip.core.arrays import Array
from mlip.core.section import Count, Section

PLANE_ANGSTROM = 0.05  # atoms whose heights differ by less lie in one plane
LAYER_GAP_ANGSTROM = 1.2  # cation planes closer than this form one formula layer, as in anatase (101)
VACUUM_GAP_ANGSTROM = 6.0  # a gap along z as wide as this makes a cell a slab


class Facet(Section):
    """One slab to build."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", description="Name of the slab.")
    miller: tuple[int, int, int] = Field(description="Miller indices of the facet in the conventional cell.")
    layers: Count = Field(default=4, description="Formula layers along the normal; TiO2 layers in anatase.")
    repeat: tuple[Count, Count] = Field(
        default=(2, 2), description="Repeats of the surface cell along its two vectors."
    )
    vacuum_angstrom: Annotated[float, Field(ge=8.0)] = Field(
        default=15.0, description="Vacuum between periodic images of the slab (Angstrom), at least 8."
    )

    @model_validator(mode="after")
    def _miller_is_a_direction(self) -> "Facet":
        if self.miller == (0, 0, 0):
            raise ValueError("miller: (0, 0, 0) is no plane; give three indices that are not all zero")
        return self


@dataclass(frozen=True, kw_only=True)
class Host:
    """A clean bulk cell or slab, described for the report."""

    name: str
    kind: str  # bulk or slab
    miller: tuple[int, int, int] | None
    formula: str
    atoms: int
    cell_angstrom: tuple[float, ...]  # a, b, c in Angstrom, then alpha, beta, gamma in degrees
    coordination: dict[str, int]  # how many atoms of each kind, such as Ti5c
    thickness_angstrom: float | None  # outermost metal plane to outermost metal plane
    area_angstrom2: float | None
    dipole_e_angstrom: float | None  # of nominal charges, along the normal
    spacegroup: str
    note: str = ""
    frozen: int = 0  # atoms of a slab from a file that do not move


def crystal(name_or_path: str, charges: Mapping[str, float] = NONE) -> Atoms:
    """The conventional cell of a built-in crystal or of a file: `loaded` without its notes."""
    return loaded(name_or_path, charges).atoms


def loaded(name_or_path: str, charges: Mapping[str, float] = NONE) -> Crystal:
    """The conventional cell of a built-in crystal or of a file, and what was done to reach it.

    'anatase' is I4_1/amd with a = 3.800, c = 9.680 Angstrom and u = 0.2066, the cell of the labels. A file is a CIF
    (`file.cif#block` where it holds several crystals), a POSCAR or an extended XYZ file; see `crystals`.

    Raises:
        ValueError: for an unknown name, a file that `crystals.load` refuses, or a crystal without anions.
    """
    if name_or_path == "anatase":
        return Crystal(_anatase(), ())
    path, block = crystals.split(name_or_path)
    if not Path(path).suffix and not Path(path).exists():
        raise ValueError(f"crystal '{name_or_path}' is unknown; give 'anatase' or the path of {crystals.FORMATS}")
    found = crystals.load(Path(path), block)
    try:
        nominal_charges(found.atoms, charges)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return found


def bulk(conventional: Atoms, repeat: Sequence[int]) -> Atoms:
    """The bulk supercell of repeat (n_a, n_b, n_c) conventional cells, metals first."""
    return _metals_first(conventional.repeat(tuple(repeat)))


def slab(conventional: Atoms, facet: Facet, *, bond_angstrom: float, charges: Mapping[str, float] = NONE) -> Atoms:
    """The slab of a facet: normal along z, centred in the vacuum, periodic in all directions, metals first.

    The lateral cell is right-angled where the lattice allows it, its shorter edge along x, then repeated. A formula
    layer is one plane of cations, or several within 1.2 Angstrom: c/4 on anatase (001), a/2 on (100), d(101) on (101).

    Raises:
        ValueError: when no cut is stoichiometric, non-polar and symmetric; the message counts the reasons.
    """
    basis, spacing = surface_basis(conventional, facet.miller)
    period = _period(conventional, basis)
    nominal = nominal_charges(conventional, charges)
    per_layer = len(period) // _layers_per_period(period, spacing)
    cuts, refused = [], Counter[str]()
    for lowest in _plane_heights(period, spacing):
        cut = _cut(period, lowest, count=facet.layers * per_layer)
        reason = "have another composition than the bulk" if cut is None else _refusal(cut, conventional, nominal)
        if cut is None or reason:
            refused[reason] += 1
        else:
            cuts.append(cut)
    if not cuts:
        why = ", ".join(f"{n} {reason}" for reason, n in refused.items())
        raise ValueError(
            f"facet {facet.name} {facet.miller} of {conventional.get_chemical_formula(mode='metal')}, {facet.layers} "
            f"layers: no termination can be used ({sum(refused.values())} cuts: {why}); choose another plane or number "
            "of layers",
        )
    best = max(cuts, key=lambda cut: _quality(cut, bond_angstrom))
    best = best.repeat((*facet.repeat, 1))
    best.cell[2, 2] = np.ptp(best.positions[:, 2]) + facet.vacuum_angstrom
    best.positions[:, 2] += best.cell[2, 2] / 2 - (best.positions[:, 2].max() + best.positions[:, 2].min()) / 2
    best.wrap(pbc=(True, True, False), eps=1e-6)
    return _metals_first(best)


def describe(
    atoms: Atoms,
    *,
    name: str,
    kind: str,
    miller: tuple[int, int, int] | None,
    bond_angstrom: float,
    charges: Mapping[str, float] = NONE,
) -> Host:
    """What a clean host is: counts, coordination, thickness, nominal dipole, space group.

    Raises:
        ValueError: when no metal-anion distance is below bond_angstrom.
    """
    numbers = coordination(atoms, bond_angstrom)
    counted = Counter(f"{s}{n}c" for s, n in zip(atoms.symbols, numbers, strict=True))
    metal = metals(atoms)
    is_slab = kind == "slab"
    heights = atoms.positions[metal, 2]
    note = ""
    if is_slab and len(set(numbers[metal])) == 1 and np.ptp(heights) < 2 * LAYER_GAP_ANGSTROM:
        kinds = sorted({str(s) for s in atoms.symbols[metal]})
        note = f"every {' and '.join(kinds)} is {numbers[metal][0]}-fold: no bulk-like metal inside the slab"
    nominal = nominal_charges(atoms, charges)
    dipole = sum(nominal[s] * z for s, z in zip(atoms.symbols, atoms.positions[:, 2], strict=True))
    return Host(
        name=name,
        kind=kind,
        miller=miller,
        formula=atoms.get_chemical_formula(mode="metal"),
        atoms=len(atoms),
        cell_angstrom=tuple(float(x) for x in atoms.cell.cellpar()),
        coordination=dict(sorted(counted.items())),
        thickness_angstrom=float(np.ptp(heights)) if is_slab else None,
        area_angstrom2=float(np.linalg.norm(np.cross(atoms.cell[0], atoms.cell[1]))) if is_slab else None,
        dipole_e_angstrom=round(float(dipole), 6) + 0.0 if is_slab else None,
        spacegroup=_spacegroup(atoms),
        note=note,
        frozen=len({int(k) for c in atoms.constraints for k in c.index}),
    )


def metals(atoms: Atoms) -> NDArray[np.bool_]:
    """Which atoms are cations: shape (n,)."""
    return np.array([s not in ANION_CHARGES for s in atoms.symbols])


def is_slab(atoms: Atoms) -> bool:
    """Whether the cell holds vacuum along z."""
    heights = np.sort(atoms.get_scaled_positions()[:, 2])
    gaps = np.diff(np.append(heights, heights[0] + 1.0))
    return bool(gaps.max() * abs(atoms.cell[2, 2]) > VACUUM_GAP_ANGSTROM)


def coordination(atoms: Atoms, bond_angstrom: float) -> NDArray[np.int64]:
    """Number of opposite ions within bond_angstrom of each atom: shape (n,)."""
    metal = metals(atoms)
    i, j = neighbor_list("ij", atoms, bond_angstrom)
    bonds = metal[i] != metal[j]
    if not bonds.any():
        raise ValueError(f"bond_angstrom {bond_angstrom}: no metal-anion distance is as short; make it larger")
    return np.bincount(i[bonds], minlength=len(atoms))


def surface_basis(conventional: Atoms, miller: tuple[int, int, int]) -> tuple[Array, float]:
    """Lattice vectors as rows (3, 3), two in the plane and one to the next, and the spacing of planes in Angstrom."""
    h = np.array(miller) // gcd(*miller)
    lattice = _lattice_vectors(conventional, int(np.abs(h).max()) + 2)
    steps = lattice @ h
    cell = conventional.cell.array
    normal = np.linalg.inv(cell) @ h
    spacing = float(steps[steps > 1e-6].min() / np.linalg.norm(normal))
    normal /= np.linalg.norm(normal)
    upward = lattice[np.abs(steps - steps[steps > 1e-6].min()) < 1e-6] @ cell
    third = min(upward, key=lambda v: round(float(np.linalg.norm(v)), 6))
    flat = lattice[(np.abs(steps) < 1e-6) & (np.abs(lattice).max(1) > 1e-6)]
    flat = np.array(sorted(flat, key=lambda f: (round(float(np.linalg.norm(f @ cell)), 4), *(-f))))[:60]
    return np.array([*_lateral(flat @ cell, normal), third]), spacing


def plane_vectors(conventional: Atoms, miller: tuple[int, int, int]) -> Array:
    """The two shortest lattice vectors in a plane of the crystal, which span its primitive cell: (2, 3) in Angstrom."""
    h = np.array(miller) // gcd(*miller)
    lattice = _lattice_vectors(conventional, int(np.abs(h).max()) + 2)
    flat = lattice[(np.abs(lattice @ h) < 1e-6) & (np.abs(lattice).max(1) > 1e-6)] @ conventional.cell.array
    flat = flat[np.argsort(np.linalg.norm(flat, axis=1), kind="stable")]
    aside = np.linalg.norm(np.cross(flat[0], flat), axis=1) > 1e-3
    return np.array([flat[0], flat[aside][0]])


def _lateral(flat: Array, normal: Array) -> tuple[Array, Array]:
    best: tuple[tuple[float, ...], Array, Array] | None = None
    areas: dict[tuple[int, int], float] = {}
    for i, j in product(range(len(flat)), repeat=2):
        area = float(np.cross(flat[i], flat[j]) @ normal)
        if area > 1e-3 and np.linalg.norm(flat[i]) < np.linalg.norm(flat[j]) + 1e-4:
            areas[i, j] = area
    smallest = min(areas.values())
    for (i, j), area in areas.items():
        lengths = np.linalg.norm(flat[i]), np.linalg.norm(flat[j])
        cosine = abs(flat[i] @ flat[j]) / (lengths[0] * lengths[1])
        oblique = cosine > 1e-3
        if area > (1.01 if oblique else 2.01) * smallest:
            continue
        key = (float(oblique), round(area, 3), round(float(sum(lengths)), 3), i, j)
        if best is None or key < best[0]:
            best = (key, flat[i], flat[j])
    if best is None:
        raise ValueError("no lateral cell found for this plane; use smaller Miller indices")
    return best[1], best[2]


def _lattice_vectors(conventional: Atoms, reach: int) -> Array:
    moves = [
        op.translation for op in operations(conventional, tolerance_angstrom=SYMPREC_ANGSTROM) if is_translation(op)
    ]
    whole = np.array(list(product(range(-reach, reach + 1), repeat=3)), float)
    return np.concatenate([whole + np.round(move * 12) / 12 for move in moves])


def _period(conventional: Atoms, basis: Array) -> Atoms:
    """All atoms of one period, in a cell with x along the first vector, z along the normal and the third oblique."""
    lattice = _lattice_vectors(conventional, 4) @ conventional.cell.array @ np.linalg.inv(basis)
    wrapped = np.round(lattice - np.floor(lattice + 1e-6), 6)
    cosets = np.unique(wrapped, axis=0) + 0.0
    inner = conventional.positions @ np.linalg.inv(basis)
    kept: list[Array] = []
    symbols: list[str] = []
    for symbol, place in zip(conventional.symbols, inner, strict=True):
        for coset in cosets:
            scaled = place + coset
            scaled -= np.floor(scaled + 1e-6)
            apart = [np.linalg.norm((d := scaled - other) - np.round(d)) for other in kept]
            if not kept or min(apart) > 1e-3:
                kept.append(scaled)
                symbols.append(str(symbol))
    x = basis[0] / np.linalg.norm(basis[0])
    z = np.cross(basis[0], basis[1])
    z /= np.linalg.norm(z)
    frame = np.array([x, np.cross(z, x), z])
    inside = np.array(kept)
    inside -= np.floor(inside + 1e-4)  # an atom a rounding error below the cell belongs to its lowest plane
    return Atoms(symbols, positions=inside @ basis @ frame.T, cell=basis @ frame.T, pbc=True)


def _plane_heights(period: Atoms, spacing: float) -> list[float]:
    heights = np.sort(period.positions[:, 2])
    above = np.append(heights[-1] - spacing, heights)
    return [float(b) for a, b in pairwise(above) if b - a > PLANE_ANGSTROM]


def _layers_per_period(period: Atoms, spacing: float) -> int:
    metal = period[metals(period)]
    heights = np.sort(metal.positions[:, 2])
    gaps = np.diff(np.append(heights, heights[0] + spacing))
    layers = max(1, int((gaps > LAYER_GAP_ANGSTROM).sum()))
    counts = Counter(str(s) for s in period.symbols).values()
    return layers if all(n % layers == 0 for n in counts) else 1


def _cut(period: Atoms, lowest: float, *, count: int) -> Atoms | None:
    """The slab of `count` atoms in whole planes from the plane at `lowest` upwards; None when planes do not fit."""
    tall = period.repeat((1, 1, count // len(period) + 2))
    tall = tall[tall.positions[:, 2] > lowest - PLANE_ANGSTROM / 2]
    tall = tall[np.argsort(tall.positions[:, 2], kind="stable")]
    heights = tall.positions[:, 2]
    if heights[count] - heights[count - 1] < PLANE_ANGSTROM:
        return None
    out = tall[:count]
    out.set_cell([period.cell[0], period.cell[1], [0, 0, np.ptp(heights[:count]) + 15.0]])
    out.positions[:, 2] += 7.5 - heights[0]
    return out


def _refusal(cut: Atoms, conventional: Atoms, charges: dict[str, float]) -> str:
    """Why a cut cannot be used; empty when it can."""
    counts, whole = Counter(cut.symbols), Counter(conventional.symbols)
    if any(counts[s] * len(conventional) != whole[s] * len(cut) for s in whole):
        return "have another composition than the bulk"
    nominal = np.array([charges[str(s)] for s in cut.symbols])
    if abs(nominal @ cut.positions[:, 2]) > 0.01 * np.abs(nominal).sum():
        return "have a dipole along the normal (polar)"
    found = operations(cut, tolerance_angstrom=SYMPREC_ANGSTROM)
    if not any(op.rotation[2, 2] == -1 and not tilts(op.rotation) for op in found):
        return "have inequivalent faces"
    return ""


def _quality(cut: Atoms, bond_angstrom: float) -> tuple[int, int, int]:
    numbers, metal = coordination(cut, bond_angstrom), metals(cut)
    return int(numbers[metal].min()), int(numbers[~metal].min()), int(numbers.sum())


def _spacegroup(atoms: Atoms) -> str:
    import spglib

    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    return str(spglib.get_spacegroup(cell, symprec=SYMPREC_ANGSTROM))


def _metals_first(atoms: Atoms) -> Atoms:
    order = np.lexsort((np.arange(len(atoms)), atoms.numbers, ~metals(atoms)))
    out = atoms[order]
    return Atoms(out.symbols, positions=out.positions, cell=out.cell, pbc=True)


def _anatase() -> Atoms:
    a, c, u = 3.800, 9.680, 0.2066
    titanium = np.array([(0, 0, 0), (0.5, 0.5, 0.5), (0, 0.5, 0.25), (0.5, 0, 0.75)])
    apex = np.array([0, 0, u])
    oxygen = np.concatenate([titanium + apex, titanium - apex]) % 1.0
    return Atoms("Ti4O8", scaled_positions=np.concatenate([titanium, oxygen]), cell=(a, a, c), pbc=True)
