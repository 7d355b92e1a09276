"""Lattice constants, free coordinates and bulk modulus of a crystal from single points.

Takes a crystal (right-angled or hexagonal along x and z); gives strained copies of its primitive cell to label, and
from their energies and forces a `Lattice`. Variables are the logarithmic strains e of the Cartesian axes that symmetry
leaves free and the amplitudes q of the totally symmetric displacements; a cubic polynomial is fitted to energies and
to the forces along q, and its minimum is found by Newton's method.

    hydrostatic (Reuss): 1 / K = V n . H^-1 . n          isotropic (Voigt): K = 1 . H' . 1 / (9 V)

with H the second derivatives at the minimum, H' those in e with q relaxed, n how many axes share a strain. The mean of
both is the Voigt-Reuss-Hill modulus (Hill, Proc. Phys. Soc. A 65, 349 (1952), doi:10.1088/0370-1298/65/5/307). Energies
only, so there is no Pulay stress. At a fixed cutoff the number of plane waves jumps from cell to cell, and energies
with it. Standard errors take every strained cell to be off on its own, by as much as the residual of the fit says:
s^2 = residual^2 n / (n - m) with n strained cells and m terms in the strains.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement, product

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from mlip.atoms.structures import metals
from mlip.atoms.symmetry import operations
from mlip.core.arrays import Array
from mlip.core.units import GPA_PER_EV_PER_ANGSTROM3

SYMPREC_ANGSTROM = 1e-3
ORDER = 3
RIGHT_ANGLED = 3  # free strains of an orthorhombic crystal; monoclinic ones have 4, triclinic ones 6
SMALL = 1e-3  # of a standard error, to differentiate


@dataclass(frozen=True)
class Space:
    """What may vary in a crystal without a loss of symmetry."""

    primitive: Atoms
    lengths_angstrom: tuple[float, float, float]  # of the conventional cell
    axes: tuple[tuple[int, ...], ...]  # Cartesian axes that share a strain
    modes: Array  # (m, N, 3), orthonormal displacements


@dataclass(frozen=True)
class Sample:
    """One strained cell."""

    point: tuple[float, ...]  # strains, then amplitudes in Angstrom
    atoms: Atoms


@dataclass(frozen=True, kw_only=True)
class Errors:
    """Standard errors of a lattice, from the residual of its fit."""

    lengths_angstrom: tuple[float, float, float]
    apex: float | None
    hill_gpa: float


@dataclass(frozen=True, kw_only=True)
class Lattice:
    """The minimum of a crystal's energy."""

    point: tuple[float, ...]  # strains and amplitudes of the minimum
    lengths_angstrom: tuple[float, float, float]  # of the conventional cell
    apex: float | None  # metal-anion distance along the axis over c: u of anatase
    volume_angstrom3: float  # of the primitive cell
    energy_ev: float  # of the primitive cell
    atoms: int  # in the primitive cell
    reuss_gpa: float
    voigt_gpa: float
    hill_gpa: float
    samples: int
    residual_ev: float  # root mean square, energies of the primitive cell
    errors: Errors | None = None  # None: as many terms as cells


def space(conventional: Atoms) -> Space:
    """The primitive cell, its free strains and its totally symmetric displacements.

    Raises:
        ValueError: symmetry leaves a shear free, or the free strains are not along x, y and z.
    """
    primitive = _primitive(conventional)
    found = operations(primitive, tolerance_angstrom=SYMPREC_ANGSTROM)
    to_cartesian = primitive.cell.array.T
    turns = np.array([to_cartesian @ op.rotation @ np.linalg.inv(to_cartesian) for op in found])
    free = round(float(np.mean([(np.trace(turn) ** 2 + np.trace(turn @ turn)) / 2 for turn in turns])))
    if free > RIGHT_ANGLED:
        raise ValueError(
            f"{conventional.get_chemical_formula()}: angles of the cell are free (its symmetry allows {free} strains), "
            "and only lengths are fitted; take lattice out of energetics.parts"
        )
    means = [np.einsum("nij,jk,nlk->il", turns, np.diag(row), turns) / len(turns) for row in np.eye(3)]
    off = max(float(np.abs(mean - np.diag(np.diag(mean))).max()) for mean in means)
    if off > 1e-6 or not np.allclose(turns @ np.swapaxes(turns, 1, 2), np.eye(3), atol=1e-4):
        raise ValueError(
            f"{conventional.get_chemical_formula()}: the axes of the crystal are not along x, y and z; turn the cell"
        )
    axes: dict[tuple[float, ...], list[int]] = {}
    for axis, mean in enumerate(means):
        axes.setdefault(tuple(np.round(np.diag(mean), 4).tolist()), []).append(axis)
    lengths = conventional.cell.lengths()
    return Space(
        primitive=primitive,
        lengths_angstrom=(float(lengths[0]), float(lengths[1]), float(lengths[2])),
        axes=tuple(tuple(group) for group in axes.values()),
        modes=_modes(turns, [op.permutation for op in found], len(primitive)),
    )


def samples(of: Space, *, strain: float, displacement_angstrom: float) -> tuple[Sample, ...]:
    """Cells with up to two variables one step away, and each strain two steps, the nearest first; also three strains.

    They determine every term of the polynomial: the forces along the displacements stand for the third variable, and
    three strains (orthorhombic) have the cells in which all of them are one step away, on either side.
    """
    cells, modes = len(of.axes), len(of.modes)
    steps = np.array([strain] * cells + [displacement_angstrom] * modes)
    grid = {p for p in product((-1, 0, 1), repeat=cells + modes) if sum(map(abs, p)) <= 2}
    for axis, sign in product(range(cells), (-2, 2)):
        grid.add(tuple(sign if k == axis else 0 for k in range(cells + modes)))
    if cells == RIGHT_ANGLED:
        grid |= {(sign,) * cells + (0,) * modes for sign in (-1, 1)}
    made = []
    for p in sorted(grid, key=lambda p: (sum(map(abs, p)), p)):
        point = np.array(p) * steps
        made.append(Sample(tuple(point.tolist()), at(of, point)))
    return tuple(made)


def at(of: Space, point: Sequence[float] | Array) -> Atoms:
    """The primitive cell at these strains and amplitudes."""
    stretch = _strain(of, point)
    amplitudes = np.asarray(point)[len(of.axes) :]
    positions = of.primitive.positions + np.tensordot(amplitudes, of.modes, axes=1)
    return Atoms(of.primitive.symbols, positions=positions * stretch, cell=of.primitive.cell.array * stretch, pbc=True)


def fitted(
    of: Space, points: Sequence[Sequence[float]], energies_ev: Sequence[float], forces: Sequence[Array]
) -> Lattice:
    """The minimum of the polynomial through labelled samples.

    Args:
        of: the crystal.
        points: strains and amplitudes of each sample.
        energies_ev: of each sample's primitive cell.
        forces: (N, 3) of each sample, eV/Angstrom.

    Raises:
        ValueError: too few samples, or no minimum among them.
    """
    fit = _Fit(of, np.array(points, dtype=np.float64), np.array(energies_ev), forces)
    found, rank = fit.solved(fit.wanted)
    if rank < len(fit.powers):
        raise ValueError(
            f"{len(points)} labelled cells do not determine the {len(fit.powers)} terms of the fit; label the rest"
        )
    low = _minimum(found, fit.powers, fit.y[int(np.argmin(energies_ev))])
    whole = fit.lattice(found, low)
    return replace(whole, errors=_errors(fit, low, whole))


class _Fit:
    """The samples of a crystal, scaled, and the terms of the polynomial."""

    def __init__(self, of: Space, x: Array, energies_ev: Array, forces: Sequence[Array]) -> None:
        self.of, self.cells = of, len(of.axes)
        self.scale = np.abs(x).max(axis=0)
        self.y, self.shift = x / self.scale, float(energies_ev.min())
        self.powers = [p for order in range(ORDER + 1) for p in combinations_with_replacement(range(x.shape[1]), order)]
        modes = range(len(of.modes))
        rows, wanted = [_monomials(self.y, self.powers, ())], [energies_ev - self.shift]
        for k in modes:
            slopes = [_slope(of, p, f, k) for p, f in zip(x, forces, strict=True)]
            rows.append(_monomials(self.y, self.powers, (self.cells + k,)))
            wanted.append(np.array(slopes) * self.scale[self.cells + k])
        self.rows, self.wanted = np.array(rows), np.array(wanted)

    def solved(self, wanted: Array) -> tuple[Array, int]:
        """Coefficients for energies and slopes, and how many terms these determine."""
        found, _, rank, _ = np.linalg.lstsq(np.concatenate(self.rows), np.concatenate(wanted), rcond=None)
        return np.asarray(found), int(rank)

    def lattice(self, found: Array, low: Array) -> Lattice:
        """The crystal at a point."""
        residual = float(np.sqrt(((self.rows[0] @ found - self.wanted[0]) ** 2).mean()))
        hessian = _second(found, self.powers, low) / np.outer(self.scale, self.scale)
        energy = float((_monomials(low[None], self.powers, ()) @ found)[0]) + self.shift
        return _lattice(self.of, low * self.scale, energy, hessian, len(self.y), residual)


def _errors(fit: _Fit, low: Array, whole: Lattice) -> Errors | None:
    """What energies of strained cells that are off by one standard error each change, in quadrature, to first order."""
    strains, which = np.unique(np.round(fit.y[:, : fit.cells], 6), axis=0, return_inverse=True)
    terms = sum(all(variable < fit.cells for variable in power) for power in fit.powers)
    if len(strains) <= terms:
        return None
    off = whole.residual_ev * float(np.sqrt(len(strains) / (len(strains) - terms)))
    changes = []
    for strain in range(len(strains)):
        wanted = fit.wanted.copy()
        wanted[0, which == strain] += SMALL * off
        found, _ = fit.solved(wanted)
        slope = [float((_monomials(low[None], fit.powers, (k,)) @ found)[0]) for k in range(len(low))]
        moved = fit.lattice(found, low - np.linalg.solve(_second(found, fit.powers, low), slope))
        now, before = (np.array([*r.lengths_angstrom, r.apex or 0.0, r.hill_gpa]) for r in (moved, whole))
        changes.append((now - before) / SMALL)
    a, b, c, height, modulus = np.sqrt((np.array(changes) ** 2).sum(axis=0)).tolist()
    return Errors(lengths_angstrom=(a, b, c), apex=height if whole.apex is not None else None, hill_gpa=modulus)


def apex(atoms: Atoms, length_angstrom: float) -> float | None:
    """Smallest metal-anion distance along z over `length_angstrom`, of pairs right above each other; None: no pair."""
    metal = metals(atoms)
    apart = atoms.get_all_distances(mic=True, vector=True)[metal][:, ~metal].reshape(-1, 3)
    above = apart[np.linalg.norm(apart[:, :2], axis=1) < 1e-2]
    return float(np.abs(above[:, 2]).min() / length_angstrom) if len(above) else None


def _primitive(conventional: Atoms) -> Atoms:
    import spglib

    cell = (conventional.cell.array, conventional.get_scaled_positions(), conventional.numbers)
    found = spglib.standardize_cell(cell, to_primitive=True, no_idealize=True, symprec=SYMPREC_ANGSTROM)
    if found is None:
        raise ValueError(f"{conventional.get_chemical_formula()}: no symmetry was found; check the crystal")
    return Atoms(numbers=found[2], scaled_positions=found[1], cell=found[0], pbc=True)


def _modes(turns: Array, permutations: Sequence[NDArray[np.int64]], count: int) -> Array:
    """Orthonormal displacements that keep the symmetry, (m, N, 3), without the rigid shift that polar crystals have."""
    projector = np.zeros((count, 3, count, 3))
    for turn, permutation in zip(turns, permutations, strict=True):
        projector[permutation, :, np.arange(count), :] += turn / len(turns)
    symmetric = projector.reshape(3 * count, 3 * count)
    rigid = symmetric @ np.tile(np.eye(3) / count, (count, count))
    if np.trace(rigid) > 0.5:  # a polar crystal; in others the modes, and the cells that are labelled, stay
        symmetric = symmetric - (rigid + rigid.T) / 2
    values, vectors = np.linalg.eigh(symmetric)
    return np.asarray(vectors[:, values > 0.5].T.reshape(-1, count, 3))


def _strain(of: Space, point: Sequence[float] | Array) -> Array:
    out = np.zeros(3)
    for value, group in zip(point, of.axes, strict=False):
        out[list(group)] = value
    return np.exp(out)


def _slope(of: Space, point: Array, forces: Array, mode: int) -> float:
    return -float((forces * of.modes[mode] * _strain(of, point)).sum())


def _monomials(y: Array, powers: Sequence[tuple[int, ...]], by: tuple[int, ...]) -> Array:
    """Values at y (n, d) of each monomial, differentiated once by each variable in `by`: shape (n, monomials)."""
    out = np.empty((len(y), len(powers)))
    for column, power in enumerate(powers):
        exponents = np.bincount(power, minlength=y.shape[1]) if power else np.zeros(y.shape[1], dtype=np.int64)
        factor = 1.0
        for variable in by:
            factor *= exponents[variable]
            exponents = exponents - np.eye(y.shape[1], dtype=np.int64)[variable]
        out[:, column] = factor * np.prod(y ** np.maximum(exponents, 0), axis=1) if factor else 0.0
    return out


def _second(found: Array, powers: Sequence[tuple[int, ...]], y: Array) -> Array:
    d = len(y)
    return np.array([[float((_monomials(y[None], powers, (i, j)) @ found)[0]) for j in range(d)] for i in range(d)])


def _minimum(found: Array, powers: Sequence[tuple[int, ...]], y: Array) -> Array:
    for _ in range(50):
        slope = np.array([float((_monomials(y[None], powers, (k,)) @ found)[0]) for k in range(len(y))])
        move = np.linalg.solve(_second(found, powers, y), slope)
        y = y - move
        if np.abs(move).max() < 1e-10:
            break
    if np.abs(y).max() > 1.0 or np.linalg.eigvalsh(_second(found, powers, y)).min() <= 0:
        raise ValueError(
            f"the energy has no minimum among the sampled cells (step {np.round(y, 2).tolist()} of the largest); "
            "start from a crystal nearer to it or raise energetics.strain"
        )
    return y


def _lattice(of: Space, point: Array, energy_ev: float, hessian: Array, count: int, residual: float) -> Lattice:
    cells = len(of.axes)
    relaxed = at(of, point)
    volume = float(relaxed.get_volume())
    share = np.array([len(group) for group in of.axes] + [0] * len(of.modes), dtype=np.float64)
    inverse = np.linalg.inv(hessian)
    reuss = 1 / (volume * share @ inverse @ share)
    voigt = float(np.linalg.inv(inverse[:cells, :cells]).sum()) / (9 * volume)
    stretched = _strain(of, point) * of.lengths_angstrom
    return Lattice(
        point=tuple(point.tolist()),
        lengths_angstrom=(float(stretched[0]), float(stretched[1]), float(stretched[2])),
        apex=apex(relaxed, float(stretched[2])) if metals(relaxed).any() and not metals(relaxed).all() else None,
        volume_angstrom3=volume,
        energy_ev=energy_ev,
        atoms=len(relaxed),
        reuss_gpa=float(reuss) * GPA_PER_EV_PER_ANGSTROM3,
        voigt_gpa=voigt * GPA_PER_EV_PER_ANGSTROM3,
        hill_gpa=(float(reuss) + voigt) / 2 * GPA_PER_EV_PER_ANGSTROM3,
        samples=count,
        residual_ev=residual,
    )
