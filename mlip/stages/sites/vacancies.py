"""Hops of an ion that is part of the crystal: the exchange of the ion with a vacancy beside it.

Takes a relaxed host that holds the ion and an ASE calculator; gives the symmetry-distinct lattice positions of the ion,
the host relaxed with a vacancy at each, and every distinct hop into the vacancy with both ends.

The vacancy stands at one position of each orbit and is relaxed there; a vacancy anywhere else in the orbit is an
operation of the host applied to that structure, so equivalent ends have equal energies by construction. In a hop from
position i to j the vacancy goes from i to j and the ion from j to i; the ion is the last atom of both ends.
One vacancy in a cell: the charge that it leaves and its images in other cells are those of the cell that is given.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from ase import Atoms
from ase.geometry import find_mic

from mlip.atoms.slab_files import frozen
from mlip.atoms.structures import is_slab
from mlip.atoms.symmetry import Operation, apply, distances, operations
from mlip.core.arrays import Array
from mlip.core.status import Status
from mlip.stages.sites.settings import SitesSettings
from mlip.stages.sites.sites import NOT_CONVERGED, RELAXED, relaxed_in_cell, top_metal_height, zero_ev

SAME_ANGSTROM = 0.3  # vectors of hops that differ by less are one
PARALLEL = 0.995  # cosine of a hop that runs along a cell vector


@dataclass(frozen=True, kw_only=True)
class Vacancy:
    """A distinct lattice position of the ion, and the host without the ion there."""

    name: str  # symbol and number, Li1: by energy
    index: int  # of the ion in the host
    equivalent: tuple[int, ...]  # all ions of the orbit
    energy_ev: float  # above the lowest relaxed vacancy
    status: Status  # RELAXED or NOT_CONVERGED


@dataclass(frozen=True, kw_only=True)
class VacancyHop:
    """A distinct hop of the vacancy; the ion goes the other way."""

    name: str
    initial: str  # vacancies
    final: str
    length_angstrom: float  # of the ideal positions
    vector_angstrom: tuple[float, float, float]
    along: str  # a, b or c where the hop runs along a cell vector; else empty
    multiplicity: int  # equivalent hops out of one vacancy
    symmetric: bool


@dataclass(frozen=True)
class _Exchange:
    """A vacancy at ion `i` and the neighbour `j` that goes there."""

    i: int
    j: int
    vector: Array  # from i to j
    multiplicity: int = 1


def relaxed_vacancies(
    host: Atoms, ion: str, calculator: Any, settings: SitesSettings
) -> tuple[list[Vacancy], dict[str, Atoms]]:
    """The distinct vacancies of an ion, and the host relaxed with each by its name; atoms in the order of the host.

    Args:
        host: relaxed bulk cell or slab that holds the ion; on a slab only ions near the top face count.
        ion: chemical symbol.
        calculator: any ASE calculator.
        settings: force limit, steps, symmetry and depth.

    Raises:
        ValueError: the host does not hold the ion, or holds one only.
    """
    kept = _movable(host, ion, settings)
    found = _operations(host, settings)
    energies, parts = [], []
    for orbit in _orbits(kept, found):
        start = host.copy()
        del start[orbit[0]]
        atoms, energy, converged = relaxed_in_cell(start, calculator, settings)
        energies.append(energy)
        parts.append((orbit, atoms, Status(RELAXED) if converged else Status(NOT_CONVERGED)))
    lowest = zero_ev([(energy, status.code) for energy, (*_, status) in zip(energies, parts, strict=True)])
    vacancies, relaxed = [], {}
    for rank, number in enumerate(np.argsort(energies, kind="stable"), start=1):
        orbit, atoms, status = parts[int(number)]
        one = Vacancy(
            name=f"{ion}{rank}",
            index=orbit[0],
            equivalent=orbit,
            energy_ev=energies[int(number)] - lowest,
            status=status,
        )
        vacancies.append(one)
        relaxed[one.name] = atoms
    return vacancies, relaxed


def vacancy_hops(
    host: Atoms, vacancies: Sequence[Vacancy], relaxed: Mapping[str, Atoms], settings: SitesSettings, *, name: str
) -> list[tuple[VacancyHop, Atoms, Atoms]]:
    """All distinct hops up to max_hop_angstrom with their ends, the shortest first; the ion is the last atom.

    Left out: hops past another position of the ion (they are two hops), hops whose straight line passes another atom
    nearer than blocked_angstrom, and hops to an own copy in another cell.
    """
    found = _operations(host, settings)
    usable = [v for v in vacancies if v.status.code == RELAXED and v.energy_ev <= settings.max_site_ev]
    owner = {k: v for v in usable for k in v.equivalent}
    out = []
    for one in _distinct(host, found, list(_exchanges(host, usable, owner, settings))):
        initial, final = _ends(host, found, one, owner, relaxed)
        length = float(np.linalg.norm(one.vector))
        hop = VacancyHop(
            name=f"{name}_{owner[one.i].name}-{owner[one.j].name}_{length:.2f}",
            initial=owner[one.i].name,
            final=owner[one.j].name,
            length_angstrom=length,
            vector_angstrom=(float(one.vector[0]), float(one.vector[1]), float(one.vector[2])),
            along=_along(host, one.vector),
            multiplicity=one.multiplicity,
            symmetric=owner[one.i] is owner[one.j],
        )
        out.append((hop, initial, final))
    return sorted(out, key=lambda entry: (round(entry[0].length_angstrom, 3), entry[0].name))


def _operations(host: Atoms, settings: SitesSettings) -> tuple[Operation, ...]:
    return operations(host, tolerance_angstrom=settings.symmetry_angstrom, keep_top=is_slab(host))


def _movable(host: Atoms, ion: str, settings: SitesSettings) -> list[int]:
    """Numbers of the ions that may leave; on slabs those within depth_angstrom of the top face."""
    held = set(frozen(host))
    mine = [k for k, symbol in enumerate(host.get_chemical_symbols()) if symbol == ion and k not in held]
    if len(mine) < 2:
        raise ValueError(
            f"{host.get_chemical_formula()} holds {len(mine)} {ion}; a vacancy exchanges with another one: give a "
            "crystal that holds the ion, in a larger cell"
        )
    if not is_slab(host):
        return mine
    lowest = top_metal_height(host) - settings.depth_angstrom
    return [k for k in mine if host.positions[k, 2] > lowest]


def _orbits(kept: Sequence[int], found: Sequence[Operation]) -> list[tuple[int, ...]]:
    left, out = list(kept), []
    while left:
        orbit = {int(op.permutation[left[0]]) for op in found} & set(kept)
        out.append((left[0], *sorted(orbit - {left[0]})))
        left = [k for k in left if k not in orbit and k != left[0]]
    return out


def _exchanges(
    host: Atoms, usable: Sequence[Vacancy], owner: Mapping[int, Vacancy], settings: SitesSettings
) -> Iterator[_Exchange]:
    """Every way out of the first position of each orbit."""
    ions = sorted(owner)
    others = [k for k in range(len(host)) if k not in owner]
    for vacancy in usable:
        i = vacancy.index
        for j, image in product(ions, product((-1, 0, 1), repeat=3)):
            vector = host.positions[j] + np.array(image) @ host.cell.array - host.positions[i]
            if j == i or not 0 < np.linalg.norm(vector) <= settings.max_hop_angstrom:
                continue
            middle = [k for k in ions if k not in {i, j}]
            if _nearest(host, middle, i, vector) < settings.through_angstrom:
                continue
            if _nearest(host, others, i, vector) >= settings.blocked_angstrom:
                yield _Exchange(i, j, vector)


def _nearest(host: Atoms, atoms: Sequence[int], start: int, vector: Array) -> float:
    """Distance of the straight line of a hop from the nearest of these atoms, Angstrom."""
    if not atoms:
        return float(np.inf)
    points = host.positions[start] + np.linspace(0.05, 0.95, 19)[:, None] * vector
    return min(float(distances(host, host.positions[list(atoms)], point).min()) for point in points)


def _distinct(host: Atoms, found: Sequence[Operation], every: list[_Exchange]) -> list[_Exchange]:
    """One exchange of each kind, with the number of its kind that leave the first position."""
    rest, out = sorted(every, key=lambda e: (round(float(np.linalg.norm(e.vector)), 3), e.i, e.j)), []
    while rest:
        chosen = rest[0]
        vectors = _images(host, found, chosen)
        same = [e for e in rest if any(e.i == i and np.linalg.norm(e.vector - v) < SAME_ANGSTROM for i, v in vectors)]
        out.append(replace(chosen, multiplicity=sum(e.i == chosen.i for e in same)))
        rest = [e for e in rest if not any(e is s for s in same)]
    return out


def _images(host: Atoms, found: Sequence[Operation], one: _Exchange) -> list[tuple[int, Array]]:
    """Where the exchange starts and its vector, under every operation, in either direction."""
    out = []
    for op in found:
        ends = apply(host, op, np.array([host.positions[one.i], host.positions[one.i] + one.vector]))
        out.append((int(op.permutation[one.i]), ends[1] - ends[0]))
        out.append((int(op.permutation[one.j]), ends[0] - ends[1]))
    return out


def _ends(
    host: Atoms,
    found: Sequence[Operation],
    one: _Exchange,
    owner: Mapping[int, Vacancy],
    relaxed: Mapping[str, Atoms],
) -> tuple[Atoms, Atoms]:
    """Initial and final structure: all other atoms in the order of the host, then the ion that moves."""
    rest = [k for k in range(len(host)) if k not in {one.i, one.j}]
    before, after = (_with_vacancy(host, found, owner[k], k, relaxed[owner[k].name]) for k in (one.i, one.j))
    ends = []
    for places, ion in ((before, one.j), (after, one.i)):
        atoms = host[[*rest, one.j]]
        atoms.positions = places[[*rest, ion]]
        ends.append(atoms)
    initial, final = ends
    initial.positions[-1] = host.positions[one.i] + one.vector + (before[one.j] - host.positions[one.j])
    return initial, final


def _with_vacancy(host: Atoms, found: Sequence[Operation], of: Vacancy, at: int, source: Atoms) -> Array:
    """Positions (n, 3) of all atoms, near those of the host, relaxed for a vacancy at an ion; its own row is ideal."""
    places: Array = host.positions.copy()
    others = [k for k in range(len(host)) if k != of.index]
    op = next(op for op in found if int(op.permutation[of.index]) == at)
    moved = apply(host, op, source.positions)
    held = set(frozen(host))
    for atom, point in zip(others, moved, strict=True):
        goal = int(op.permutation[atom])
        if goal in held:
            continue
        places[goal] += find_mic(point - host.positions[goal], host.cell, pbc=True)[0]
    return places


def _along(host: Atoms, vector: Array) -> str:
    """The cell vector along which a hop runs; empty for another direction."""
    units = host.cell.array / host.cell.lengths()[:, None]
    cosines = np.abs(units @ vector) / np.linalg.norm(vector)
    return "abc"[int(cosines.argmax())] if cosines.max() > PARALLEL else ""
