"""Structures that are copies of each other: moved, reordered, turned, mirrored, or in another choice of the same cell.

Takes frames; gives pairs (earlier, later) of frames with x -> Q x + t between their crystals, Q orthogonal. Such frames
have the same energy and the same forces up to Q, so a model that was trained on one knows the other.

First two filters: copies have equal radial densities. With Gaussians g_m of distances, ending smoothly at 5 Angstrom,

    rho_im = sum_j w_j g_m(d_ij),  features: mean_i w_i rho_im,  mean_i w_i^2 rho_im^2,  rho_im sorted within a kind

and a move of every atom by less than the tolerance changes them by less than their steepest slope allows. Only frames
whose features are nearer than that are compared atom by atom.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from mlip.core.arrays import Array

REACH_ANGSTROM = 5.0
CENTRES_ANGSTROM = np.arange(1.5, 5.0, 0.5)
WIDTH_ANGSTROM = 0.5
MARGIN = 2.0  # of the filter over the slopes of the features, for cells that differ and for rounding
STEPS = range(-2, 3)  # whole numbers of cell vectors that another choice of a cell is made of


@dataclass(frozen=True)
class _Described:
    features: Array  # (F,) of the crystal
    slopes: Array  # (F,) largest change per Angstrom that every atom moves
    ranked: Array  # (N, M) densities at the atoms, sorted within each kind of atom
    steepest: Array  # (M,) largest change of them


def copies(frames: Sequence[Atoms], tolerance_angstrom: float) -> list[tuple[int, int]]:
    """Pairs (earlier, later), each later frame once, of the same crystal within the tolerance for every atom."""
    from scipy.spatial import cKDTree

    pairs = []
    for numbers in _of_one_composition(frames):
        described = [_describe(frames[n]) for n in numbers]
        steepest = np.maximum(np.max([d.slopes for d in described], axis=0), 1e-9)
        features = np.array([d.features for d in described]) / steepest
        seen: set[int] = set()
        near: defaultdict[int, list[int]] = defaultdict(list)
        for first, second in sorted(cKDTree(features).query_pairs(MARGIN * tolerance_angstrom, p=np.inf)):
            near[second].append(first)
        for later in sorted(near):
            for earlier in near[later]:
                if earlier in seen or not _alike(described[earlier], described[later], tolerance_angstrom):
                    continue
                if same_crystal(frames[numbers[earlier]], frames[numbers[later]], tolerance_angstrom):
                    pairs.append((numbers[earlier], numbers[later]))
                    seen.add(later)
                    break
    return sorted(pairs, key=lambda pair: pair[1])


def same_crystal(one: Atoms, other: Atoms, tolerance_angstrom: float) -> bool:
    """Whether an isometry brings one crystal onto the other, every atom within the tolerance of one of its kind."""
    kinds, counts = np.unique(one.numbers, return_counts=True)
    if len(one) != len(other) or not np.array_equal(np.sort(one.numbers), np.sort(other.numbers)):
        return False
    if not len(one):
        return True
    rare = kinds[np.argmin(counts)]
    target, inverse = other.cell.array, np.linalg.inv(other.cell.array)
    first = one.get_scaled_positions(wrap=False)
    second = other.positions @ inverse
    start = first[one.numbers == rare][0]
    for integers in _choices(one.cell.array, target, tolerance_angstrom):
        turned = (first - start) @ integers
        few = turned[one.numbers == rare]
        for place in second[other.numbers == rare]:
            if _fits(few + place, second[other.numbers == rare], target, 3 * tolerance_angstrom) is None:
                continue
            if _all_fit(turned + place, second, (one.numbers, other.numbers), target, tolerance_angstrom):
                return True
    return False


def _of_one_composition(frames: Sequence[Atoms]) -> list[list[int]]:
    kinds: defaultdict[bytes, list[int]] = defaultdict(list)
    for number, frame in enumerate(frames):
        kinds[np.sort(frame.numbers).tobytes()].append(number)
    return [numbers for numbers in kinds.values() if len(numbers) > 1]


def _describe(frame: Atoms) -> _Described:
    from matscipy.neighbours import neighbour_list

    weights = np.sqrt(frame.numbers.astype(np.float64))
    first, second, distance = neighbour_list("ijd", _periodic(frame), REACH_ANGSTROM)
    apart = (distance[:, None] - CENTRES_ANGSTROM) / WIDTH_ANGSTROM
    end = np.cos(np.pi * distance / (2 * REACH_ANGSTROM))[:, None]
    bell = np.exp(-0.5 * apart**2) * end**2
    steep = np.abs(bell * apart / WIDTH_ANGSTROM) + np.exp(-0.5 * apart**2) * np.abs(end) * np.pi / REACH_ANGSTROM
    density, slope = np.zeros((2, len(frame), len(CENTRES_ANGSTROM)))
    np.add.at(density, first, weights[second, None] * bell)
    np.add.at(slope, first, 2 * weights[second, None] * steep)
    own = weights[:, None]
    features = [(own * density).mean(0), (own**2 * density**2).mean(0)]
    slopes = [(own * slope).mean(0), (own**2 * 2 * density * slope).mean(0)]
    ranked = np.concatenate([np.sort(density[frame.numbers == kind], axis=0) for kind in np.unique(frame.numbers)])
    return _Described(np.concatenate(features), np.concatenate(slopes), ranked, slope.max(axis=0))


def _alike(one: _Described, other: _Described, tolerance: float) -> bool:
    limit = MARGIN * tolerance * np.maximum(one.steepest, other.steepest)
    return bool((np.abs(one.ranked - other.ranked) <= limit + 1e-9).all())


def _periodic(frame: Atoms) -> Atoms:
    return Atoms(frame.numbers, positions=frame.positions, cell=frame.cell, pbc=True)


def _choices(cell: Array, target: Array, tolerance: float) -> Iterator[Array]:
    """Whole numbers W (3, 3), cell vectors of one as rows W target: those with the lengths and angles of `cell`."""
    vectors = np.array(list(product(STEPS, repeat=3)))
    lengths = np.linalg.norm(vectors @ target, axis=1)
    wanted = np.linalg.norm(cell, axis=1)
    rows = [vectors[np.abs(lengths - length) <= tolerance] for length in wanted]
    metric = cell @ cell.T
    for a, b in product(rows[0], rows[1]):
        if abs(a @ target @ (b @ target) - metric[0, 1]) > tolerance * (wanted[0] + wanted[1]):
            continue
        for c in rows[2]:
            whole = np.array([a, b, c])
            limit = tolerance * (wanted[:, None] + wanted[None, :])
            if abs(round(float(np.linalg.det(whole)))) == 1 and np.all(
                np.abs((whole @ target) @ (whole @ target).T - metric) <= limit
            ):
                yield whole


def _fits(places: Array, others: Array, cell: Array, limit: float) -> Array | None:
    """Vectors (n, 3) in Angstrom from fractional places to the nearest of the others, one each; None where none fit."""
    apart = others[None, :, :] - places[:, None, :]
    apart -= np.round(apart)
    vectors = apart @ cell
    lengths = np.linalg.norm(vectors, axis=2)
    nearest = lengths.argmin(1)
    if lengths.min(1).max() > limit or len(set(nearest.tolist())) < len(places):
        return None
    return np.asarray(vectors[np.arange(len(places)), nearest])


def _all_fit(
    places: Array, others: Array, numbers: tuple[NDArray[np.int64], NDArray[np.int64]], cell: Array, tolerance: float
) -> bool:
    moved = []
    for kind in np.unique(numbers[0]):
        found = _fits(places[numbers[0] == kind], others[numbers[1] == kind], cell, 3 * tolerance)
        if found is None:
            return False
        moved.append(found)
    every = np.concatenate(moved)
    return bool(np.linalg.norm(every - every.mean(axis=0), axis=1).max() <= tolerance)
