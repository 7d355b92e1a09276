"""A hop between stationary points of the committee mean: is the saddle that of the hop, and how do the atoms vibrate?

Takes a band of the hop and, step by step, what the committee says of the structures that are asked for; gives what was
found, with a status. Proved is a hop whose ends are minima, and whose saddle has exactly one unstable mode, along the
hop, and leads downhill to the two named sites, or to minima on a band whose other parts lie below the saddle.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from ase import Atoms

from mlip.atoms.ends import SAME_ANGSTROM
from mlip.core.arrays import Array
from mlip.core.status import Status
from mlip.stages.modes import search, side_by_side
from mlip.stages.modes.downhill import Sites, descents, halfway, highest_ev, mismatch, rest_of_band
from mlip.stages.modes.result import NO_MINIMUM, NOT_REFINED, OTHER_SITES, PROVED, SECOND_ORDER
from mlip.stages.modes.search import Ask, Differences, Point, Search
from mlip.stages.modes.settings import ModesSettings
from mlip.stages.modes.vibrations import Vibrations, vibrations
from mlip.stages.neb.endpoints import ion_moved
from mlip.stages.neb.neb import INTERMEDIATE_EV

INITIAL, SADDLE, FINAL = "initial", "saddle", "final"


@dataclass(frozen=True, kw_only=True)
class Start:
    """A hop to be proved: where its stationary points are searched.

    Attributes:
        host: name of the host.
        ion: its symbol; the ion is the last atom of every image.
        hop: name of the hop.
        images: from one end to the other, unwrapped; three are enough.
        top: number of the image nearest the saddle.
        member: whose images these are (counted from 1): its Hessian guides the search for the saddle.
        symmetric: a symmetry operation of the host maps one end onto the other, so that one end is enough.
    """

    host: str
    ion: str
    hop: str
    images: tuple[Atoms, ...]
    top: int
    member: int
    symmetric: bool

    @property
    def along(self) -> Array:
        """Direction of the band at the saddle, (N, 3), normalised."""
        way = self.images[self.top + 1].positions - self.images[self.top - 1].positions
        return np.asarray(way / np.linalg.norm(way))

    @property
    def ends(self) -> dict[str, Atoms]:
        """The ends that have to be refined."""
        return {INITIAL: self.images[0]} | ({} if self.symmetric else {FINAL: self.images[-1]})


@dataclass
class Findings:
    """What has been found of a hop so far; a final end that is missing on a symmetric hop is an image of the initial.

    Attributes:
        status: proved, or why not.
        points: stationary points by name.
        moved: numbers of the atoms in the Hessians.
        shell: which of these are the ion and its shell.
        hessians: by every member, (M, 3n, 3n) eV/Angstrom^2, by name of the point.
        vibrations: of the mean Hessian, by name of the point.
        overlap: of the unstable mode with the direction of the band.
        reached: where the two ways down end.
        between: the minimum halfway, where a symmetric hop crosses two equal saddles.
        passed_ev: energies of minima on the band next to the saddle that are no sites, above the initial minimum.
        rest_ev: highest energy of the band beyond such minima, above the initial minimum.
        saddle_images: equal saddles side by side between the two sites.
        wells: equal minima that are one site, by name of the end.
    """

    status: Status = Status(NOT_REFINED, "not begun")  # noqa: RUF009  (frozen)
    points: dict[str, Point] = field(default_factory=dict)
    moved: list[int] = field(default_factory=list)
    shell: list[int] = field(default_factory=list)
    hessians: dict[str, Array] = field(default_factory=dict)
    vibrations: dict[str, Vibrations] = field(default_factory=dict)
    overlap: float | None = None
    reached: tuple[Point, ...] = ()
    between: Point | None = None
    passed_ev: tuple[float, ...] = ()
    rest_ev: float | None = None
    saddle_images: int = 1
    wells: dict[str, int] = field(default_factory=dict)

    @property
    def free(self) -> bool:
        """Whether every atom is in the Hessians, so that translations cost nothing."""
        return len(self.moved) == len(self.points[INITIAL].atoms)

    @property
    def masses(self) -> Array:
        """Of the atoms in the Hessians, u."""
        return np.asarray(self.points[INITIAL].atoms.get_masses()[self.moved])

    def above_ev(self, point: Point) -> float:
        """Energy of a point above the initial minimum, committee mean."""
        return point.found.energy_ev - self.points[INITIAL].found.energy_ev

    def mode(self) -> Array:
        """Displacements (N, 3) of all atoms along the lowest mode of the saddle, normalised."""
        out = np.zeros((len(self.points[SADDLE].atoms), 3))
        out[self.moved] = self.vibrations[SADDLE].modes[0].reshape(-1, 3)
        return out


class FailedError(Exception):
    """A hop is not proved."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.status = Status(code, reason)


def prove(start: Start, sites: Sites, settings: ModesSettings) -> Search[Findings]:
    """What the committee mean says of a hop: stationary points, Hessians, status."""
    findings = Findings()
    try:
        yield from _ends(start, sites, settings, findings)
        yield from _saddle(start, settings, findings)
        yield from _downhill(start, sites, settings, findings)
        yield from _minima(start, settings, findings)
        _count(start, sites, findings)
        findings.status = Status(PROVED, _remark(findings))
    except FailedError as error:
        findings.status = error.status
    except search.NotFiniteError as error:
        findings.status = Status(NOT_REFINED, str(error))
    return findings


def _ends(start: Start, sites: Sites, settings: ModesSettings, findings: Findings) -> Search[None]:
    """Refine the ends.

    Raises:
        FailedError: an end does not converge or slides out of its site, or both are one structure.
    """
    for name, atoms in start.ends.items():
        point = yield from search.settled(atoms, fmax=settings.fmax_ev_per_angstrom, max_steps=settings.max_steps)
        findings.points[name] = point
        _require_converged(point, f"{name} end", settings)
        slid = ion_moved(atoms, point.atoms)
        if slid > sites.merge_angstrom:
            raise FailedError(NO_MINIMUM, f"the ion slides {slid:.2f} A out of its site at the {name} end")
    if FINAL in findings.points:
        moves = findings.points[FINAL].atoms.positions - findings.points[INITIAL].atoms.positions
        if np.linalg.norm(moves, axis=1).max() < SAME_ANGSTROM:
            raise FailedError(NO_MINIMUM, "both ends relax to one minimum")


def _saddle(start: Start, settings: ModesSettings, findings: Findings) -> Search[None]:
    """Refine the saddle and find its modes; once more from beside a point that is a minimum, or one of a ridge.

    Raises:
        FailedError: no convergence, not exactly one unstable mode, or that mode is not along the hop.
    """
    yield from _guided(start.images[start.top], start, settings, findings)
    unstable = findings.vibrations[SADDLE].unstable
    if not unstable:
        guess = yield from _beside(findings.points[SADDLE], start)
        yield from _guided(guess, start, settings, findings)
    elif unstable > 1:
        yield from _off_the_ridge(start, settings, findings)
    _require_one_unstable(findings)
    mode, along = findings.mode(), start.along
    findings.overlap = abs(float((mode * along).sum()))
    if findings.overlap < settings.min_overlap:
        raise FailedError(OTHER_SITES, f"the overlap of the unstable mode with the hop is {findings.overlap:.2f}")


def _climbed(guess: Atoms, hessian: Array, start: Start, settings: ModesSettings, findings: Findings) -> Search[None]:
    """The saddle from a guess and a Hessian (3N, 3N) there, with its modes.

    Raises:
        FailedError: no convergence.
    """
    fmax, steps = settings.fmax_ev_per_angstrom, settings.max_steps
    point = yield from search.climbed(guess, hessian, fmax=fmax, max_steps=steps)
    findings.points[SADDLE] = point
    _require_converged(point, "saddle", settings)
    findings.moved = near(findings, start, settings.hessian_angstrom)
    shell = set(near(findings, start, settings.shell_angstrom))
    findings.shell = [k for k, atom in enumerate(findings.moved) if atom in shell]
    yield from _vibrate(SADDLE, settings, findings)


def _guided(guess: Atoms, start: Start, settings: ModesSettings, findings: Findings) -> Search[None]:
    """The saddle from a guess, guided by the Hessian of one member around the ion.

    Raises:
        FailedError: no convergence.
    """
    apart = guess.get_distances(-1, range(len(guess)), mic=True)
    around = [k for k in search.mobile(guess).tolist() if apart[k] < settings.shell_angstrom]
    (hessian,) = yield from search.hessians(guess, around, _differences(settings), member=start.member)
    yield from _climbed(guess, search.guessed(guess, around, hessian), start, settings, findings)


def _off_the_ridge(start: Start, settings: ModesSettings, findings: Findings) -> Search[None]:
    """The saddle beside a point with several unstable modes: they are left downhill, but for the one along the hop.

    Symmetric bands end on such points, as no force of theirs leads aside. The lower side is tried first. Where there is
    no such saddle on either side, the point stays.
    """
    point, hessian = findings.points[SADDLE], findings.hessians[SADDLE].mean(axis=0)
    values, vectors = np.linalg.eigh(hessian)
    count = findings.vibrations[SADDLE].unstable
    modes = vectors[:, :count].T
    overlaps = np.abs(modes @ start.along[findings.moved].ravel())
    aside = [k for k in range(count) if k != int(np.argmax(overlaps))]
    left = hessian + sum(2 * abs(values[k]) * np.outer(modes[k], modes[k]) for k in aside)
    moves = np.zeros((len(point.atoms), 3))
    moves[findings.moved] = modes[aside[0]].reshape(-1, 3)
    moves *= search.MAX_STEP_ANGSTROM / np.linalg.norm(moves, axis=1).max()
    frames = [point.atoms.copy(), point.atoms.copy()]
    for frame, sign in zip(frames, (1, -1), strict=True):
        frame.positions += sign * moves
    found = yield Ask(frames)
    for side in sorted((0, 1), key=lambda k: found[k].energy_ev):
        beside = replace(findings, points=dict(findings.points), hessians={}, vibrations={})
        guess = frames[side]
        try:
            yield from _climbed(guess, search.guessed(guess, findings.moved, left), start, settings, beside)
            _require_one_unstable(beside)
        except FailedError:
            continue
        findings.points[SADDLE] = beside.points[SADDLE]
        findings.moved, findings.shell = beside.moved, beside.shell
        findings.hessians, findings.vibrations = beside.hessians, beside.vibrations
        return


def _require_one_unstable(findings: Findings) -> None:
    unstable = findings.vibrations[SADDLE].unstable
    if unstable != 1:
        code = SECOND_ORDER if unstable else NOT_REFINED
        raise FailedError(code, f"{unstable or 'no'} unstable mode{'s' if unstable > 1 else ''}")


def _beside(point: Point, start: Start) -> Search[Atoms]:
    """Halfway from a point at the top of a band to the neighbouring image on the higher side."""
    frames = []
    for neighbour in (start.images[start.top - 1], start.images[start.top + 1]):
        frame = point.atoms.copy()
        frame.positions = (frame.positions + neighbour.positions) / 2
        frames.append(frame)
    first, second = yield Ask(frames)
    return frames[0] if first.energy_ev >= second.energy_ev else frames[1]


def near(findings: Findings, start: Start, reach_angstrom: float | None) -> list[int]:
    """Numbers of the atoms that may move and are near the ion at an end or at the saddle; all with no reach."""
    frames = [*(point.atoms for point in findings.points.values()), start.images[-1]]
    free = search.mobile(frames[0]).tolist()
    if reach_angstrom is None:
        return list(free)
    apart = np.min([frame.get_distances(-1, range(len(frame)), mic=True) for frame in frames], axis=0)
    return [k for k in free if apart[k] < reach_angstrom]


def _vibrate(name: str, settings: ModesSettings, findings: Findings) -> Search[None]:
    """Hessians of every member and the vibrations of their mean at a point."""
    atoms = findings.points[name].atoms
    found = yield from search.hessians(atoms, findings.moved, _differences(settings))
    findings.hessians[name] = found
    findings.vibrations[name] = vibrations(found.mean(axis=0), findings.masses, free=findings.free)


def _downhill(start: Start, sites: Sites, settings: ModesSettings, findings: Findings) -> Search[None]:
    """Follow the unstable mode down on both sides.

    Raises:
        FailedError: neither to the two named sites nor to minima on a band that has no higher saddle.
    """
    last = findings.points[FINAL].atoms if FINAL in findings.points else start.images[-1]
    named = (findings.points[INITIAL].atoms.positions[-1], last.positions[-1])
    reached = yield from descents(findings.points[SADDLE], findings.mode(), named, sites, settings)
    findings.reached = reached
    apart = mismatch(reached, named, sites)
    if apart <= sites.merge_angstrom:
        return
    findings.between = halfway(reached, named, sites) if start.symmetric else None
    if findings.between is None:
        yield from _passed_minima(start, sites, findings, apart)


def _passed_minima(start: Start, sites: Sites, findings: Findings, apart: float) -> Search[None]:
    """Whether the ways down end in minima that the band passes, and the rest of the band lies below the saddle.

    Raises:
        FailedError: no.
    """
    ahead, behind = findings.reached if (findings.mode() * start.along).sum() >= 0 else findings.reached[::-1]
    ends = [findings.points[name].atoms if name in findings.points else start.images[-1] for name in (INITIAL, FINAL)]
    sides = ((behind, [*start.images[start.top : 0 : -1], ends[0]]), (ahead, [*start.images[start.top : -1], ends[1]]))
    ways = [rest_of_band(point, side, sites) for point, side in sides]
    first, second = (findings.above_ev(point) for point, _ in sides)
    where = f"downhill the ion ends {apart:.2f} A from the named sites, at {first:.2f} and {second:.2f} eV"
    for way in ways:
        if way is None:
            raise FailedError(OTHER_SITES, where)
        if not way:
            continue
        found = yield Ask(way)
        height = highest_ev(way, found) - findings.points[INITIAL].found.energy_ev
        if height > findings.above_ev(findings.points[SADDLE]) - INTERMEDIATE_EV:
            raise FailedError(OTHER_SITES, f"{where}; beyond, the band rises to {height:.2f} eV")
        findings.rest_ev = height if findings.rest_ev is None else max(height, findings.rest_ev)
    findings.passed_ev = tuple(findings.above_ev(point) for (point, _), way in zip(sides, ways, strict=True) if way)


def _minima(start: Start, settings: ModesSettings, findings: Findings) -> Search[None]:
    """Vibrations of the ends.

    Raises:
        FailedError: an end has an unstable mode.
    """
    for name in start.ends:
        yield from _vibrate(name, settings, findings)
        unstable = findings.vibrations[name].unstable
        if unstable:
            lowest = -findings.vibrations[name].thz[0]
            raise FailedError(NO_MINIMUM, f"{unstable} unstable at the {name} end, the largest {lowest:.2f}i THz")


def _count(start: Start, sites: Sites, findings: Findings) -> None:
    """Count equal saddles side by side and the wells of both sites.

    A vacancy has one well: where the ion beside it stands is due to the vacancy.
    """
    places = {name: point.atoms.positions[-1] for name, point in findings.points.items()}
    ends = (places[INITIAL], places.get(FINAL, start.images[-1].positions[-1]))
    in_series = findings.between is not None
    findings.saddle_images = side_by_side.saddles(places[SADDLE], ends, sites, in_series=in_series)
    if len(start.images[0]) > len(sites.host):
        findings.wells = {name: side_by_side.wells(places[name], sites) for name in start.ends}


def _remark(findings: Findings) -> str:
    if findings.passed_ev:
        heights = " and ".join(f"{height:.2f}" for height in findings.passed_ev)
        return f"the band passes minima that are no sites, at {heights} eV"
    if findings.between is None:
        return ""
    return f"two equal saddles with a minimum between them at {findings.above_ev(findings.between):.2f} eV"


def _require_converged(point: Point, name: str, settings: ModesSettings) -> None:
    if not point.converged:
        raise FailedError(
            NOT_REFINED, f"{name}: {point.fmax_ev_per_angstrom:.3f} eV/A are left after {settings.max_steps} steps"
        )


def _differences(settings: ModesSettings) -> Differences:
    return Differences(step=settings.step_angstrom, central=settings.central)
