"""Symmetry-distinct sites of an ion on and below a facet, or in bulk.

Takes a relaxed host, an ion and an ASE calculator; gives the sites, relaxed and merged by the symmetry of the host,
each with its configuration (host atoms in the order of the host, ion last).

Starting positions come from geometry: voids are the local maxima of the clearance, the smallest of (distance to an
anion) and (distance to a metal - 0.7 Angstrom), because metals repel the ion; surface hollows are the local minima of
the height at which a sphere of the ion-anion distance touches the top face (metals count 0.7 Angstrom larger).

A symmetric (001) slab keeps its mirror plane while it relaxes and stays above the true minimum, where one Ti-O bond of
each pair is short and one long (Lazzeri, Vittadini, Selloni, doi:10.1103/PhysRevB.63.155409); so hosts are rattled.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from ase import Atom, Atoms
from ase.optimize import LBFGS
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter
from scipy.spatial import cKDTree

from mlip.atoms.ions import OXYGEN_RADIUS_ANGSTROM, radius_angstrom
from mlip.atoms.structures import is_slab, metals
from mlip.atoms.symmetry import Operation, cell_image, copies, distances, images, operations, periods
from mlip.core.arrays import Array
from mlip.core.status import Status
from mlip.potential import free_energy
from mlip.stages.sites.settings import ROUNDS, SitesSettings

Vector = tuple[float, float, float]

RELAXED, NOT_CONVERGED, DESORBED = "relaxed", "not converged", "desorbed"

SURFACE_DEPTH_ANGSTROM = 1.0  # a site deeper than this below the outermost metal plane is subsurface
HEIGHT_ANGSTROM = 2.2  # hollows higher than this above the outermost metal plane are on top of ridges
PLANE_ANGSTROM = 0.6  # metal atoms that belong to the outermost plane of a relaxed slab
SHELL_ANGSTROM = 2.5  # anions within it coordinate the ion
START_ANGSTROM = 1.0  # starting positions closer than this would relax to the same site
HOST_TIE_EV = 0.01  # per cell: of relaxed hosts closer in energy than this the more symmetric one is kept
NEAR_KNOWN_ANGSTROM, NEAR_KNOWN_EV = 0.3, 0.1  # a relaxation this near a relaxed site falls into it and stops
METAL_EXTRA_ANGSTROM = 0.7  # cations keep this much farther from metals than from anions
LETTERS = {"surface": "S", "subsurface": "U", "bulk": "V"}


@dataclass(frozen=True, kw_only=True)
class Period:
    """The way from a site to its neighbouring copy along one lattice direction of the host."""

    direction: str
    translation_angstrom: Vector
    copy: int
    image: tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Site:
    """A distinct place of an ion."""

    name: str  # S surface, U subsurface, V bulk; numbered by energy
    host: str
    ion: str
    layer: str  # surface, subsurface or bulk
    position_angstrom: Vector
    depth_angstrom: float  # below the outermost metal plane of the top face; 0 in bulk
    energy_ev: float  # above the lowest relaxed site of this host and ion
    coordination: int  # anions within 2.5 Angstrom
    multiplicity: int  # copies in the cell, on slabs on the top side only
    status: Status  # RELAXED, NOT_CONVERGED or DESORBED
    copies_angstrom: tuple[Vector, ...] = ()  # all of them, the site itself first
    periods: tuple[Period, ...] = ()  # in the plane of a slab, along all distinct axes of a bulk cell


def host_relaxed(host: Atoms, calculator: Any, settings: SitesSettings, *, seed: int) -> Atoms:
    """The host after a rattle and a relaxation in a fixed cell; on slabs the lowest of several.

    The first rattle keeps the translations of the host, so that the relaxed slab can keep them too; a less symmetric
    one replaces it only when it is lower by more than 10 meV per cell.

    Raises:
        ValueError: when no relaxation converges.
    """
    rng = np.random.default_rng(seed)
    tries = settings.host_rattles if is_slab(host) else 1
    best: tuple[float, Atoms] | None = None
    for number in range(tries):
        start = host.copy()
        kicks = rng.normal(0.0, settings.rattle_angstrom, host.positions.shape)
        start.set_positions(start.positions + (_translational(host, kicks) if number == 0 else kicks))
        relaxed, energy, converged = relaxed_in_cell(start, calculator, settings)
        if converged and (best is None or energy < best[0] - HOST_TIE_EV):
            best = energy, relaxed
    if best is None:
        raise ValueError(
            f"the host {host.get_chemical_formula(mode='metal')} did not relax to {settings.fmax_ev_per_angstrom} "
            f"eV/Angstrom in {settings.max_steps} steps, {ROUNDS} times over ({tries} tries); raise sites.max_steps or "
            "check the potential",
        )
    if not host.constraints:
        best[1].positions -= best[1].positions.mean(0) - host.positions.mean(0)
    return best[1]


def candidates(host: Atoms, ion: str, settings: SitesSettings, *, metal_symbols: Sequence[str]) -> Array:
    """Starting positions of an ion, symmetry-reduced, at most max_candidates: shape (n, 3) in Angstrom."""
    return every_candidate(host, ion, settings, metal_symbols=metal_symbols)[: settings.max_candidates]


def every_candidate(host: Atoms, ion: str, settings: SitesSettings, *, metal_symbols: Sequence[str]) -> Array:
    """The same without a limit of their number.

    On slabs surface hollows and voids of the upper half take turns, the lowest hollow and the widest void first.
    """
    found = operations(host, tolerance_angstrom=settings.symmetry_angstrom, keep_top=is_slab(host))
    metal = np.isin(host.get_chemical_symbols(), list(metal_symbols))
    voids = _voids(host, settings, metal)
    hollows = _hollows(host, ion, settings, metal) if is_slab(host) else np.empty((0, 3))
    order: list[Array] = []
    for pair in range(max(len(voids), len(hollows))):
        order += [group[pair] for group in (hollows, voids) if pair < len(group)]
    kept: list[Array] = []
    for point in order:
        everywhere = images(host, found, point)
        if all(distances(host, everywhere, other).min() > START_ANGSTROM for other in kept):
            kept.append(point)
    return np.array(kept).reshape(-1, 3)


def relaxed_sites(
    host: Atoms,
    ion: str,
    calculator: Any,
    settings: SitesSettings,
    *,
    name: str,
    metal_symbols: Sequence[str],
    seed: int,
) -> tuple[list[Site], dict[str, Atoms]]:
    """The distinct sites of an ion on a relaxed host, and the configuration of each by its name.

    Every candidate is displaced a little, relaxed with all atoms free in a fixed cell, and merged with the sites that
    an operation of the host maps within merge_angstrom of it; of merged ones the lowest is kept.

    Raises:
        ValueError: when the geometric search finds no candidate.
    """
    starts = candidates(host, ion, settings, metal_symbols=metal_symbols)
    if not len(starts):
        own = f", and {ion} of the crystal itself moves by vacancies only" if ion in host.get_chemical_symbols() else ""
        raise ValueError(
            f"{name}: no void with {settings.clearance_angstrom} Angstrom around it{own}; lower "
            "sites.clearance_angstrom",
        )
    found = operations(host, tolerance_angstrom=settings.symmetry_angstrom, keep_top=is_slab(host))
    rng = np.random.default_rng(seed)
    kept: list[tuple[float, Atoms, str]] = []
    for start in starts:
        begin = host.copy()  # with the constraints of the host
        begin.append(Atom(ion, start + _kick(rng, settings.displace_angstrom)))
        known = [(energy, copies(host, found, a.positions[-1])) for energy, a, status in kept if status != DESORBED]
        atoms, energy, converged = relaxed_in_cell(begin, calculator, settings, stop=_falls_into(host, known))
        if converged is None:
            continue
        status = _status(atoms, converged=converged, desorbed_angstrom=settings.desorbed_angstrom)
        kept = _merged(host, found, kept, (energy, atoms, status), limit=settings.merge_angstrom)
    return _named(host, found, kept, name=name, ion=ion, limit=settings.merge_angstrom)


def neighbouring_copies(host: Atoms, found: Sequence[Operation], places: Array) -> tuple[Period, ...]:
    """For each lattice direction the copy of a site, of those at places (n, 3), that lies one period from the first."""
    out = []
    for direction, vector in periods(host, found, axes=(0, 1) if is_slab(host) else (0, 1, 2)):
        goal = places[0] + vector
        copy = int(distances(host, places, goal).argmin())
        out.append(
            Period(
                direction=direction,
                translation_angstrom=_vector(vector),
                copy=copy,
                image=cell_image(host, goal - places[copy]),
            )
        )
    return tuple(out)


def top_metal_height(host: Atoms) -> float:
    """Height in Angstrom of the outermost metal plane of the top face."""
    heights = host.positions[metals(host), 2]
    return float(heights[heights > heights.max() - PLANE_ANGSTROM].mean())


def relaxed_in_cell(
    atoms: Atoms,
    calculator: Any,
    settings: SitesSettings,
    *,
    stop: Callable[[Atoms], bool] | None = None,
) -> tuple[Atoms, float, bool | None]:
    """The relaxed atoms without calculator, their energy, and whether they converged; None when `stop` ended it.

    Atoms that are not converged after max_steps go on for ROUNDS rounds, with an optimiser that remembers nothing.
    """
    work = atoms.copy()
    work.calc = calculator
    converged: bool | None = False
    for _ in range(ROUNDS):
        converged = _descended(work, settings, stop)
        if converged is not False:
            break
    energy = free_energy.of(work)
    out = work.copy()
    out.calc = None
    return out, energy, converged


def _descended(work: Atoms, settings: SitesSettings, stop: Callable[[Atoms], bool] | None) -> bool | None:
    """Move atoms with a calculator for up to max_steps; whether they converged, None when `stop` ended it."""
    converged: bool | None = False
    with LBFGS(work, logfile=None, maxstep=0.1) as optimizer:
        for step, done in enumerate(optimizer.irun(fmax=settings.fmax_ev_per_angstrom, steps=settings.max_steps)):
            converged = bool(done)
            if stop is not None and not converged and step > 8 and step % 4 == 0 and stop(work):
                converged = None
                break
    return converged


def _translational(host: Atoms, kicks: Array) -> Array:
    """Kicks (n, 3) made equal on all atoms that a pure translation of the host connects."""
    lowest = np.arange(len(host))
    for op in operations(host, tolerance_angstrom=0.02):
        if np.abs(op.rotation - np.eye(3)).max() == 0:
            lowest = np.minimum(lowest, op.permutation)
    return np.asarray(kicks[lowest])


def _kick(rng: np.random.Generator, length: float) -> Array:
    direction = rng.normal(size=3)
    return np.asarray(length * direction / np.linalg.norm(direction))


def _cloud(host: Atoms, chosen: NDArray[np.bool_], margin: float) -> Array:
    """Positions of the chosen atoms and of those periodic images that lie within margin of the cell."""
    shifts = np.array(list(product((-1, 0, 1), repeat=3))) @ host.cell.array
    points = (host.get_positions(wrap=True)[None, chosen] + shifts[:, None]).reshape(-1, 3)
    scaled = points @ np.linalg.inv(host.cell.array)
    room = margin * np.linalg.norm(np.linalg.inv(host.cell.array), axis=0)
    return np.asarray(points[((scaled > -room) & (scaled < 1 + room)).all(1)])


def _top(host: Atoms, chosen: NDArray[np.bool_], margin: float) -> Array:
    """The same in the plane of a slab, at the heights of the atoms as they are: no image of the slab lies above it."""
    inverse = np.linalg.inv(host.cell.array)
    scaled = host.positions[chosen] @ inverse
    shifts = np.array([(a, b, 0) for a, b in product((-1, 0, 1), repeat=2)])
    scaled = (scaled - np.floor(scaled * (1, 1, 0)) + shifts[:, None]).reshape(-1, 3)
    room = margin * np.linalg.norm(inverse, axis=0)[:2]
    return np.asarray(scaled[((scaled[:, :2] > -room) & (scaled[:, :2] < 1 + room)).all(1)] @ host.cell.array)


def _grid(host: Atoms, spacing: float) -> tuple[Array, tuple[int, int, int]]:
    counts = [max(4, int(np.ceil(length / spacing))) for length in host.cell.lengths()]
    fractions = np.meshgrid(*[np.arange(n) / n for n in counts], indexing="ij")
    points = np.stack([f.ravel() for f in fractions], axis=1) @ host.cell.array
    return points, (counts[0], counts[1], counts[2])


def _voids(host: Atoms, settings: SitesSettings, metal: NDArray[np.bool_]) -> Array:
    """Local maxima of the clearance, the widest first; on slabs in the upper half only."""
    trees = cKDTree(_cloud(host, ~metal, 5.0)), cKDTree(_cloud(host, metal, 5.0))

    def clearance(points: Array) -> Array:
        return np.asarray(np.minimum(trees[0].query(points)[0], trees[1].query(points)[0] - METAL_EXTRA_ANGSTROM))

    points, shape = _grid(host, settings.grid_angstrom)
    room = clearance(points)
    peaks = room >= maximum_filter(room.reshape(shape), size=3, mode="wrap").ravel() - 1e-9
    wide = (room > settings.clearance_angstrom - settings.grid_angstrom) & (room < 4.0)
    found = _climb(clearance, points[peaks & wide])
    keep = clearance(found) >= settings.clearance_angstrom
    if is_slab(host):
        middle = (host.positions[metal, 2].max() + host.positions[metal, 2].min()) / 2
        lowest = max(top_metal_height(host) - settings.depth_angstrom, middle - 0.3)
        keep &= (found[:, 2] > lowest) & (found[:, 2] < host.positions[:, 2].max())
    found = found[keep]
    return np.asarray(found[np.argsort(-np.round(clearance(found), 2), kind="stable")])


def _climb(clearance: Callable[[Array], Array], points: Array) -> Array:
    """The points after a pattern search for more clearance."""
    out = points.copy()
    moves = np.array(list(product((-1.0, 0.0, 1.0), repeat=3)))
    for step in (0.15, 0.07, 0.03, 0.01):
        for _ in range(8):
            trial = out[:, None, :] + step * moves
            best = clearance(trial.reshape(-1, 3)).reshape(len(out), len(moves)).argmax(1)
            out = trial[np.arange(len(out)), best]
    return np.asarray(out)


def _hollows(host: Atoms, ion: str, settings: SitesSettings, metal: NDArray[np.bool_]) -> Array:
    """Local minima of the height at which a sphere around the ion touches the top face, the lowest first."""
    contact = radius_angstrom(ion, settings.radii_angstrom) + OXYGEN_RADIUS_ANGSTROM
    points, shape = _grid(host, settings.grid_angstrom)
    columns = points.reshape(*shape, 3)[:, :, 0, :2].reshape(-1, 2)
    heights = np.full(len(columns), host.positions[:, 2].min())
    for chosen, radius in ((~metal, contact), (metal, contact + METAL_EXTRA_ANGSTROM)):
        cloud = _top(host, chosen, 5.0)
        across = ((columns[:, None] - cloud[None, :, :2]) ** 2).sum(2)
        touch = np.where(across < radius**2, cloud[:, 2] + np.sqrt(np.maximum(radius**2 - across, 0.0)), -np.inf)
        heights = np.maximum(heights, touch.max(1))
    low = heights <= minimum_filter(heights.reshape(shape[:2]), size=3, mode="wrap").ravel() + 1e-9
    found = np.column_stack([columns, heights])[low]
    above = found[:, 2] - top_metal_height(host)
    found = found[(above > -SURFACE_DEPTH_ANGSTROM) & (above < HEIGHT_ANGSTROM)]
    return np.asarray(found[np.argsort(np.round(found[:, 2], 2), kind="stable")])


def _falls_into(host: Atoms, known: Sequence[tuple[float, Array]]) -> Callable[[Atoms], bool]:
    def near(atoms: Atoms) -> bool:
        energy = free_energy.of(atoms)
        return any(
            distances(host, places, atoms.positions[-1]).min() < NEAR_KNOWN_ANGSTROM and energy < level + NEAR_KNOWN_EV
            for level, places in known
        )

    return near


def _status(atoms: Atoms, *, converged: bool, desorbed_angstrom: float) -> str:
    nearest = distances(atoms, atoms.positions[:-1], atoms.positions[-1]).min()
    if nearest > desorbed_angstrom:
        return DESORBED
    return RELAXED if converged else NOT_CONVERGED


def _merged(
    host: Atoms,
    found: Sequence[Operation],
    kept: list[tuple[float, Atoms, str]],
    new: tuple[float, Atoms, str],
    *,
    limit: float,
) -> list[tuple[float, Atoms, str]]:
    """The kept configurations with the new one added, or in place of the higher ones that are the same site."""
    places = images(host, found, new[1].positions[-1])
    same = [old for old in kept if distances(host, places, old[1].positions[-1]).min() < limit]
    best = min([new, *same], key=lambda entry: (entry[2] != RELAXED, entry[0]))
    return [old for old in kept if not any(old is s for s in same)] + [best]


def _named(
    host: Atoms,
    found: Sequence[Operation],
    kept: list[tuple[float, Atoms, str]],
    *,
    name: str,
    ion: str,
    limit: float,
) -> tuple[list[Site], dict[str, Atoms]]:
    surface = top_metal_height(host) if is_slab(host) else None
    lowest = zero_ev([(energy, status) for energy, _, status in kept])
    counts = dict.fromkeys(LETTERS, 0)
    sites, relaxed = [], {}
    for energy, atoms, status in sorted(kept, key=lambda entry: (entry[2] == DESORBED, entry[0])):
        inside = _ion_inside(atoms)
        place = inside.positions[-1]
        depth = 0.0 if surface is None else surface - float(place[2])
        layer = "bulk" if surface is None else "surface" if depth < SURFACE_DEPTH_ANGSTROM else "subsurface"
        counts[layer] += 1
        equivalent = copies(host, found, place, tolerance_angstrom=limit)
        anions = ~metals(host)
        site = Site(
            name=f"{LETTERS[layer]}{counts[layer]}",
            host=name,
            ion=ion,
            layer=layer,
            position_angstrom=_vector(place),
            depth_angstrom=depth,
            energy_ev=energy - lowest,
            coordination=int((distances(host, inside.positions[:-1][anions], place) < SHELL_ANGSTROM).sum()),
            multiplicity=len(equivalent),
            status=Status(status),
            copies_angstrom=tuple(_vector(x) for x in equivalent),
            periods=neighbouring_copies(host, found, equivalent),
        )
        sites.append(site)
        relaxed[site.name] = inside
    order = {letter: rank for rank, letter in enumerate(LETTERS.values())}
    return sorted(sites, key=lambda s: (order[s.name[0]], int(s.name[1:]))), relaxed


def zero_ev(configurations: Sequence[tuple[float, str]]) -> float:
    """Where energies of sites count from (eV): the lowest relaxed one; where none is, one that has not left, or any.

    Args:
        configurations: energy (eV) and code of the status of each.
    """
    for codes in ({RELAXED}, {RELAXED, NOT_CONVERGED}):
        if own := [energy for energy, code in configurations if code in codes]:
            return min(own)
    return min(energy for energy, _ in configurations)


def _ion_inside(atoms: Atoms) -> Atoms:
    """The atoms with the ion in the cell; on a slab in the plane alone, since above the cell is above the surface."""
    out = atoms.copy()
    scaled = np.linalg.solve(atoms.cell.array.T, atoms.positions[-1])
    wrapped = np.floor(scaled + 1e-3) * (1, 1, 0 if is_slab(atoms) else 1)
    out.positions[-1] = (scaled - wrapped) @ atoms.cell.array
    return out


def _vector(point: Array) -> Vector:
    return float(point[0]), float(point[1]), float(point[2])
