"""Which DFT calls a hop needs next: a state machine that depends on nothing but the labels made so far.

Takes the potential's band of a hop and the calls made so far, in rounds; gives the geometries of the next round, or the
result. In a round, every end or saddle whose DFT force is not below the limit is calculated at the place where the
potential plus the correction has it. A symmetric hop has one end: its operation makes the other. The hop is done when
all forces are below the limit and, on the surface corrected with all labels, the ways from the labelled points to the
stationary ones change the barrier by less than `max_change_ev`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from ase import Atoms
from scipy.special import gammaincinv

from mlip.atoms.dispersion import target_labels
from mlip.atoms.symmetry import Operation
from mlip.core.arrays import Array
from mlip.core.section import Target
from mlip.core.status import Status
from mlip.stages.neb import band as moving
from mlip.stages.neb import endpoints, neb, reversal
from mlip.stages.neb.settings import NebSettings
from mlip.stages.refine import copies
from mlip.stages.refine.correction import Bounds, Correction, Noise, Residual, fitted
from mlip.stages.refine.search import Found, Prior, Surface, search
from mlip.stages.refine.settings import RefineSettings

INITIAL, SADDLE, FINAL, AHEAD, BEHIND, BAND = "initial", "saddle", "final", "ahead", "behind", "band"
CONVERGED, NOT_CONVERGED = "converged", "not converged"
LEFT, COLLAPSED, EXCHANGED = "ion left the path", "saddle collapsed", "ends exchanged"
REFUSED, NO_BAND, NOT_BEGUN = "no label", "no band", "not begun"
PART, MODE = "part", "mode"  # keys of a frame's info and arrays
QUANTILE = 0.95  # of the labels at a stationary point have all forces below the noise limit
NEIGHBOUR_ANGSTROM = 0.8  # the ion of a saddle this far from the climbing image is on another hop


@dataclass(frozen=True)
class Call:
    """A geometry of a round, and its label where it has one."""

    part: str
    round: int
    asked: Atoms
    label: Atoms | None


@dataclass(frozen=True)
class Hop:
    """What a hop is refined from; the same on every call."""

    band: tuple[Atoms, ...]  # the potential's, ends included, the ion last
    symmetric: bool
    target: Target
    operations: tuple[Operation, ...] = ()  # of the host
    known: tuple[Atoms, ...] = ()  # labelled frames of this cell
    noise: Noise = field(default_factory=lambda: Noise(2e-3, 1e-2))


@dataclass(frozen=True)
class Asked:
    """The next round."""

    frames: Mapping[str, Atoms]  # by part; the saddle with its mode
    band: tuple[Atoms, ...]  # from which the round after it begins


@dataclass(frozen=True)
class Finished:
    """A hop to which nothing is added."""

    status: Status
    found: Found | None
    correction: Correction | None


def limit(noise: Noise, atoms: int, fmax: float) -> float:
    """Largest force (eV/Angstrom) that counts as zero: fmax, or what noise alone stays below in 95 % of the labels."""
    squared = 2 * gammaincinv(1.5, QUANTILE ** (1 / atoms))  # quantile of chi-squared of three components
    return max(fmax, noise.force_ev_per_angstrom * float(np.sqrt(squared)))


def latest(calls: Sequence[Call]) -> dict[str, Call]:
    """The last labelled call of each part."""
    return {call.part: call for call in sorted(calls, key=lambda c: c.round) if call.label is not None}


def label_of(call: Call, target: Target) -> tuple[float, Array]:
    """Energy and forces of a labelled call at a level.

    Raises:
        ValueError: the call has no label.
    """
    if call.label is None:
        raise ValueError(f"{call.part} of round {call.round} has no label")
    return target_labels(call.label, target)


def next_round(
    hop: Hop,
    calls: Sequence[Call],
    band: Sequence[Atoms],
    *,
    prior: Prior,
    settings: RefineSettings,
    neb_settings: NebSettings,
) -> Asked | Finished:
    """The geometries to calculate next, or the result.

    Args:
        hop: what never changes.
        calls: all so far, each labelled.
        band: images to begin from: those of the last round, or the potential's.
        prior: energies and forces of the potential, with a slot for each image.
        settings: section `refine`.
        neb_settings: section `neb`, for the band.
    """
    bounds = Bounds(settings.length_bounds_angstrom, settings.amplitude_bounds_ev)
    labelled, copied = residuals(hop, calls, prior, reach=settings.reach_angstrom)
    correction = fitted(labelled, hop.noise, bounds, copies=copied)
    surface = Surface(prior, correction)
    found = search(band, surface, neb_settings, symmetric=hop.symmetric)
    fault = _fault(hop, found, settings)
    if fault is not None:
        return Finished(fault, found, correction)
    wanted = _wanted(hop, found, latest(calls), surface, settings)
    if not wanted:
        probes = _probes(calls, settings)
        return Asked(probes, found.images) if probes else Finished(Status(CONVERGED), found, correction)
    made = sum(call.part not in {AHEAD, BEHIND} for call in calls)
    room = settings.max_calls_per_hop - made
    if room <= 0:
        why = f"after {made} calls; {', '.join(wanted)} would be next"
        return Finished(Status(NOT_CONVERGED, why), found, correction)
    return Asked({part: wanted[part] for part in list(wanted)[:room]}, found.images)


def residuals(hop: Hop, calls: Sequence[Call], prior: Prior, *, reach: float) -> tuple[list[Residual], list[Residual]]:
    """DFT minus potential at every label, and at the images of labels that symmetry puts near the band."""
    labels = [copies.Labelled(call.asked.positions, *label_of(call, hop.target)) for call in calls]
    for frame in hop.known:
        made = copies.of_frame(frame.positions, *target_labels(frame, hop.target), band=hop.band, reach=reach)
        if made is not None and not any(copies.is_same(made, one) for one in labels):
            labels.append(made)  # a call that a dataset has too is one datum
    turned = reversal.between(hop.band[0], hop.band[-1]) if hop.symmetric else None
    known, images = [], []
    for one in labels:
        ((energy, forces),) = prior([0], [one.positions])
        apart = copies.Labelled(one.positions, one.energy_ev - energy, one.forces - forces)
        own, *others = copies.with_reversed(copies.images(apart, hop.operations, band=hop.band, reach=reach), turned)
        known.append(_residual(own))
        images += [_residual(other) for other in others]
    return known, images


def _residual(one: copies.Labelled) -> Residual:
    return Residual(one.positions, one.energy_ev, one.forces)


def _fault(hop: Hop, found: Found, settings: RefineSettings) -> Status | None:
    """Why there is no saddle between the two ends on the corrected surface; None where there is one."""
    code = found.band.status.code
    ends = [image.positions[-1] for image in (hop.band[0], hop.band[-1])]
    moved = found.images[0].positions[-1]
    crossed = np.linalg.norm(moved - ends[1]) < np.linalg.norm(moved - ends[0])
    whole = len(found.images) == len(hop.band) and (found.saddle is not None or found.band.stationary)
    faults = (
        (code == endpoints.DESORBED, LEFT, "the ion is farther from every atom than neb.desorbed_angstrom"),
        (crossed, EXCHANGED, "the initial end relaxed to the final one"),
        (code == endpoints.COLLAPSED, EXCHANGED, "an end left its site on the corrected surface"),
        (code == neb.NO_BARRIER, COLLAPSED, "no image of the band lies above both ends"),
        (not whole, NOT_CONVERGED, f"the band on the corrected surface: {code}"),
        (found.saddle is None, COLLAPSED, "no negative curvature where the band has its climbing image"),
    )
    first = next((Status(status, reason) for true, status, reason in faults if true), None)
    return first if first is not None or found.saddle is None else _astray(hop, found, found.saddle, settings)


def _astray(hop: Hop, found: Found, saddle: Atoms, settings: RefineSettings) -> Status | None:
    """Why a saddle is not that of the hop; None where it is."""
    top = found.images[int(np.argmax(found.band.energies_ev))]
    if endpoints.ion_moved(top, saddle) > NEIGHBOUR_ANGSTROM:
        return Status(COLLAPSED, "the lowest mode leads to the saddle of another hop")
    most = settings.left_angstrom
    if _off(saddle.positions[-1], [image.positions[-1] for image in hop.band]) > most:
        return Status(LEFT, f"the saddle is more than {most:g} Angstrom from the path of the potential")
    return None


def _off(point: Array, path: Sequence[Array]) -> float:
    """Distance in Angstrom of a point from a polyline."""
    apart = []
    for a, b in pairwise(path):
        along = np.clip((point - a) @ (b - a) / max(float((b - a) @ (b - a)), 1e-12), 0, 1)
        apart.append(float(np.linalg.norm(point - a - along * (b - a))))
    return min(apart)


def moves(found: Found, last: Mapping[str, Call], surface: Surface) -> dict[str, float]:
    """Energy (eV) that an end or saddle gains on a surface from where it is labelled to where it is stationary.

    Both energies are of the surface, so that it does not count how well the surface meets the label.
    """
    now = {INITIAL: found.images[0], SADDLE: found.saddle, FINAL: found.images[-1]}
    return {
        part: float(atoms.get_potential_energy()) - surface(0, [last[part].asked.positions])[0][0]
        for part, atoms in now.items()
        if atoms is not None and part in last
    }


def _wanted(
    hop: Hop, found: Found, last: Mapping[str, Call], surface: Surface, settings: RefineSettings
) -> dict[str, Atoms]:
    """Where to calculate next: every end or saddle that is not stationary, else what moves the barrier; or nothing."""
    if found.saddle is None or found.forward_ev is None:
        raise ValueError("a search without a saddle wants no calls")
    saddle = bare(found.saddle)
    saddle.arrays[MODE] = np.array(found.mode)
    places = {INITIAL: bare(found.images[0]), SADDLE: saddle}
    if not hop.symmetric:
        places[FINAL] = bare(found.images[-1])
    most = limit(hop.noise, len(saddle), settings.fmax_ev_per_angstrom)
    labels = {part: label_of(call, hop.target) for part, call in last.items()}
    rough = [part for part in places if part not in labels or moving.largest(labels[part][1]) > most]
    if not rough:
        shifts = {part: shift for part, shift in moves(found, last, surface).items() if part in places}
        if max(abs(shifts[SADDLE] - shifts[end]) for end in places if end != SADDLE) <= settings.max_change_ev:
            return {}
        rough = [max(shifts, key=lambda part: abs(shifts[part]))]
    return {part: places[part] for part in rough}


def _probes(calls: Sequence[Call], settings: RefineSettings) -> dict[str, Atoms]:
    """The two geometries beside the last saddle that show its curvature; none where they are there or not asked for."""
    last = latest(calls)
    saddle = last[SADDLE]
    done = all(part in last and last[part].round > saddle.round for part in (AHEAD, BEHIND))
    if done or not settings.curvature:
        return {}
    out = {}
    for part, sign in ((AHEAD, 1), (BEHIND, -1)):
        out[part] = bare(saddle.asked)
        out[part].positions += sign * settings.curvature_step_angstrom * saddle.asked.arrays[MODE]
    return out


def curvature(calls: Sequence[Call], target: Target) -> float | None:
    """DFT curvature along the mode at the last saddle, eV/Angstrom^2; None where the two calls are not there."""
    last = latest(calls)
    if not {SADDLE, AHEAD, BEHIND} <= set(last) or last[AHEAD].round < last[SADDLE].round:
        return None
    mode = last[SADDLE].asked.arrays[MODE]
    apart = float(((last[AHEAD].asked.positions - last[BEHIND].asked.positions) * mode).sum())
    pull = label_of(last[BEHIND], target)[1] - label_of(last[AHEAD], target)[1]
    return float((pull * mode).sum()) / apart


def bare(atoms: Atoms) -> Atoms:
    """The atoms alone, periodic in three directions."""
    return Atoms(atoms.symbols, positions=atoms.positions, cell=atoms.cell, pbc=True)


def refined(
    hop: Hop,
    *,
    label: Callable[[Mapping[str, Atoms], int], Sequence[Call]],
    prior: Prior,
    settings: RefineSettings,
    neb_settings: NebSettings,
) -> tuple[Finished, list[Call]]:
    """The loop in one process, nothing on disk: how it ended, and all calls.

    Args:
        hop: what is refined.
        label: labels the geometries of a round, given by part, and its number.
        prior: energies and forces of the potential, with a slot for each image.
        settings: section `refine`.
        neb_settings: section `neb`, for the band.
    """
    calls: list[Call] = []
    band: Sequence[Atoms] = hop.band
    while True:
        step = next_round(hop, calls, band, prior=prior, settings=settings, neb_settings=neb_settings)
        if isinstance(step, Finished):
            return step, calls
        calls += label(step.frames, 1 + max((c.round for c in calls), default=-1))
        band = step.band
