"""Barrier of one hop: two end points and a potential in, a climbing-image band with a status out.

Takes the end points of a hop (host atoms in one order, the ion last), an ASE calculator or a batched function, and the
`neb` settings; relaxes both ends, runs the band, checks it; gives a `Band`, and a `Barrier` from a committee's bands.
A band that is not converged, has collapsed or desorbed ends, no barrier, or leaves the domain of the potential has a
status and no barrier.

    forward = max_i E_i - E_initial,   reverse = max_i E_i - E_final

Climbing-image NEB: Henkelman, Uberuaga, Jonsson, J. Chem. Phys. 113, 9901 (2000), doi:10.1063/1.1329672; the moving
parts are in `band`.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase import Atoms

from mlip.atoms.ends import SAME_ANGSTROM, unwrapped
from mlip.core.status import Status
from mlip.stages.neb import band as moving
from mlip.stages.neb import half_band
from mlip.stages.neb.endpoints import (
    COLLAPSED,
    DESORBED,
    OUT_OF_DOMAIN,
    desorbed,
    end_status,
)
from mlip.stages.neb.reversal import Reversal
from mlip.stages.neb.settings import NebSettings
from mlip.stages.sites.sites import NOT_CONVERGED, RELAXED

CONVERGED = "converged"
MAX_STEPS = "max steps"
NO_BARRIER = "no barrier"

INTERMEDIATE_EV = 5e-3  # a minimum along the band this far below both humps is a site of its own
CommitteeSpread = Callable[[Sequence[Atoms]], Sequence[moving.Array]]


@dataclass(frozen=True, kw_only=True)
class BandName:
    """What a band is called in results."""

    hop: str
    host: str
    member: int = 0


@dataclass(frozen=True, kw_only=True)
class Band:
    """One band of one hop, by one potential."""

    hop: str
    host: str
    ion: str
    member: int
    status: Status  # CONVERGED, MAX_STEPS, NO_BARRIER, or a code of `endpoints`
    forward_ev: float | None  # None unless converged
    reverse_ev: float | None
    energies_ev: tuple[float, ...]  # per image, relative to the initial one; shorter than the band if it never ran
    coordinate_angstrom: tuple[float, ...]  # arc length of all atoms
    ion_angstrom: tuple[tuple[float, float, float], ...]
    fmax_ev_per_angstrom: float | None  # of the band that was optimised; None: it never ran
    steps: int
    force_calls: int  # ends included, those for the spread of the committee not
    force_std_ev_per_angstrom: float | None  # largest committee spread on the ion along the band
    intermediate_ev: float | None = None  # lowest minimum between two humps, relative to the initial image
    note: str = ""
    mirrored: bool = False  # half of the images were made by symmetry
    stationary: bool = False  # its forces converged, whatever its status

    def noted(self, note: str, **changes: Any) -> "Band":
        """The band with another note behind its own, and these fields changed."""
        return replace(self, note=f"{self.note}; {note}".removeprefix("; "), **changes)


@dataclass(frozen=True, kw_only=True)
class Barrier:
    """The committee's barrier of one hop."""

    hop: str
    host: str
    ion: str
    status: Status  # CONVERGED or NOT_CONVERGED
    members: int
    forward_ev: float | None
    forward_std_ev: float | None  # sample standard deviation; None with one member
    reverse_ev: float | None
    reverse_std_ev: float | None
    d3_forward_ev: float | None
    symmetric: bool
    asymmetry_ev: float | None  # largest |forward - reverse| of a member, on symmetric hops that were not mirrored
    mirrored: bool = False  # of every member half of the images were made by symmetry
    vacuum_ev: float | None = None  # maximum of a way without a barrier; see `network.bottlenecks`


def climb(
    initial: Atoms,
    final: Atoms,
    *,
    calculator: Any,
    settings: NebSettings,
    name: BandName,
    checkpoint: Path | None = None,
    spread_of: CommitteeSpread | None = None,
    evaluate: moving.Evaluate | None = None,
) -> tuple[Band, list[Atoms]]:
    """The band of a hop and its final images, each with its energy and forces attached: `climbing` with one potential.

    Args:
        initial: host and, last, the ion; never changed.
        final: the same atoms; where atoms are wrapped into the cell the shortest way is taken.
        calculator: any ASE calculator; one serves all images. A committee's `forces_std` is used if it gives one.
        settings: section `neb` of the configuration.
        name: hop, host and member for the result.
        checkpoint: see `climbing`.
        spread_of: see `climbing`.
        evaluate: images -> energies (n,), forces (n, N, 3), in place of the calculator: a batched evaluator.

    Raises:
        ValueError: end points that do not belong together, or are one structure.
    """
    steps = climbing(initial, final, settings=settings, name=name, checkpoint=checkpoint, spread_of=spread_of)
    return moving.driven(steps, moving.by_function(evaluate) if evaluate else moving.by_calculator(calculator))


def climbing(
    initial: Atoms,
    final: Atoms,
    *,
    settings: NebSettings,
    name: BandName,
    checkpoint: Path | None = None,
    spread_of: CommitteeSpread | None = None,
    begun: Sequence[Atoms] = (),
    ion_as_given: bool = False,
) -> moving.Steps[tuple[Band, list[Atoms]]]:
    """The band of a hop and its final images, as steps that ask for energies and forces.

    Args:
        initial: host and, last, the ion; never changed.
        final: the same atoms; where atoms are wrapped into the cell the shortest way is taken.
        settings: section `neb` of the configuration.
        name: hop, host and member for the result.
        checkpoint: an .npz file; a run that was killed continues from it and gives bitwise the same band. One that is
            damaged, of another hop, setting or potential is logged, not used, and replaced.
        spread_of: gives a committee's standard deviation of the forces, (N, 3) of each image, for the final images.
        begun: images of this band, ends included, to go on from in place of the interpolation.
        ion_as_given: see `unwrapped`.

    Raises:
        ValueError: end points that do not belong together, or are one structure.
    """
    target = unwrapped(initial, final, ion_as_given=ion_as_given)
    key = _key(initial, target, settings=settings, name=name)
    images, progress, tally = yield from _stored(checkpoint, initial, key=key, settings=settings)

    def save(now: moving.Progress | None) -> None:
        if checkpoint is not None:
            moving.write_checkpoint(checkpoint, key=key, images=images, calls=tally.calls, progress=now)

    note, turned = "", half_band.turning(initial, target, settings)
    try:
        failed = yield from _relax_ends(
            (initial, target), images, tally=tally, settings=settings, save=save, turned=turned
        )
        if not failed:
            if progress is None:
                images[:] = _first_images(images, begun, count=settings.images)
            turned = half_band.still(turned, images, running=progress is not None)
            progress, turned = yield from half_band.optimised(
                images, tally, settings=settings, progress=progress, save=save, turned=turned
            )
    except moving.NotFiniteError as error:
        failed, note, progress = OUT_OF_DOMAIN, f"potential: {error}", None
        images[1:-1] = []  # the ends keep their energies; the images between have none
    spread = _spread(images, spread_of)
    code = failed or _outcome(images, progress, settings=settings, spread=spread)
    ion, calls = initial.symbols[-1], tally.calls
    band = _band(images, name, ion=ion, code=code, progress=progress, calls=calls, spread=spread, note=note)
    if turned is None or progress is None:
        return band, images
    return band.noted(half_band.NOTE, mirrored=True), images


def _first_images(ends: Sequence[Atoms], begun: Sequence[Atoms], *, count: int) -> list[Atoms]:
    """The band to start from, ends included: the images that were begun, or else an interpolation."""
    between = [image.copy() for image in begun[1:-1]]
    return [ends[0], *between, ends[1]] if between else moving.interpolated(*ends, count=count)


def _key(initial: Atoms, final: Atoms, *, settings: NebSettings, name: BandName) -> str:
    """What a checkpoint must share with a band to be continued; the number of steps may be raised in between."""
    free = {"hops", "max_steps", "checkpoint_steps", "max_force_std_ev_per_angstrom"}
    described = [settings.model_dump(mode="json", by_alias=True, exclude=free), asdict(name), ase.__version__]
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for atoms in (initial, final):
        for part in (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc):
            digest.update(np.ascontiguousarray(part).tobytes())
        digest.update(repr([c.todict() for c in atoms.constraints]).encode())
    return digest.hexdigest()


def _stored(
    checkpoint: Path | None, initial: Atoms, *, key: str, settings: NebSettings
) -> moving.Steps[tuple[list[Atoms], moving.Progress | None, moving.Tally]]:
    """Images, progress and calls of a checkpoint that this very potential wrote (one uncounted force call), or none."""
    found = moving.read_checkpoint(checkpoint, initial, key=key) if checkpoint is not None else None
    if found is None or (found[2] is not None and found[2].step > settings.max_steps):
        return [], None, moving.Tally()
    images, calls, progress = found
    energy, force = yield from moving.image_error(images[0], 0, moving.Tally())
    if max(force, energy) > moving.SAME_POTENTIAL:
        moving.log.warning("%s: was written with another potential; the band starts anew", checkpoint)
        return [], None, moving.Tally()
    return images, progress, moving.Tally(calls)


def _relax_ends(
    starts: tuple[Atoms, Atoms],
    images: list[Atoms],
    *,
    tally: moving.Tally,
    settings: NebSettings,
    save: Callable[[moving.Progress | None], None],
    turned: Reversal | None,
) -> moving.Steps[str]:
    """Append the relaxed ends that `images` lacks; the code of the first that failed, or ''.

    Where an operation turns the hop around, the final end is made of the initial one, if the potential agrees.
    """
    fmax, max_steps = settings.end_fmax_ev_per_angstrom, settings.end_max_steps
    for end, start in enumerate(starts):
        if len(images) <= end:
            place = end * (settings.images + 1)
            made = (yield from half_band.turned_end(images[0], place, tally, turned)) if end and turned else None
            images.append(made or (yield from moving.relaxed(start, place, tally, fmax=fmax, max_steps=max_steps)))
            save(None)
        code = end_status(start, images[-1 if end else 0], settings)
        if code != RELAXED:
            return code
    together = np.linalg.norm(images[-1].positions - images[0].positions, axis=1).max() < SAME_ANGSTROM
    return COLLAPSED if together else ""


def _spread(images: list[Atoms], spread_of: CommitteeSpread | None) -> float | None:
    """Largest committee spread of the force on the ion, eV/Angstrom; None where no committee looked."""
    found = [image.info.get(moving.SPREAD) for image in images]
    if spread_of is not None:
        found = [moving.ion_norm(std) for std in spread_of(images)]
    known = [s for s in found if s is not None]
    return (max(known) if np.isfinite(known).all() else np.inf) if known else None


def _outcome(
    images: list[Atoms], progress: moving.Progress | None, *, settings: NebSettings, spread: float | None
) -> str:
    """Code of the status of a band that ran. First comes what makes the rest meaningless."""
    checks = {
        DESORBED: any(desorbed(image, settings.desorbed_angstrom) for image in images),
        MAX_STEPS: progress is None or not progress.converged,
        OUT_OF_DOMAIN: spread is not None and spread > settings.max_force_std_ev_per_angstrom,
        NO_BARRIER: not moving.has_barrier([image.get_potential_energy() for image in images]),
    }
    return next((code for code, true in checks.items() if true), CONVERGED)


def _band(
    images: list[Atoms],
    name: BandName,
    *,
    ion: str,
    code: str,
    progress: moving.Progress | None,
    calls: int,
    spread: float | None,
    note: str,
) -> Band:
    """The result of a band; barriers only where the code of the status is CONVERGED."""
    energies = np.array([image.get_potential_energy() for image in images])
    arc = np.cumsum([0.0, *(np.linalg.norm(b.positions - a.positions) for a, b in pairwise(images))])
    relative = energies - energies[:1]
    valley = intermediate(relative) if progress else None
    if valley is not None and not note:
        note = f"minimum at image {valley} ({relative[valley]:.3f} eV) between two humps: more than one elementary hop"
    if code == NO_BARRIER:
        note = "no image lies above both ends: an end is no minimum, or the saddle hides between an end and its image"
    converged = code == CONVERGED
    return Band(
        hop=name.hop,
        host=name.host,
        ion=ion,
        member=name.member,
        status=Status(code),
        forward_ev=float(energies.max() - energies[0]) if converged else None,
        reverse_ev=float(energies.max() - energies[-1]) if converged else None,
        energies_ev=tuple(relative.tolist()),
        coordinate_angstrom=tuple(arc[: len(images)].tolist()),
        ion_angstrom=tuple(tuple(image.positions[-1].tolist()) for image in images),
        fmax_ev_per_angstrom=progress.fmax_ev_per_angstrom if progress else None,
        steps=progress.step if progress else 0,
        force_calls=calls,
        force_std_ev_per_angstrom=spread if spread is not None and np.isfinite(spread) else None,
        intermediate_ev=None if valley is None else float(relative[valley]),
        note=note,
        stationary=progress is not None and progress.converged,
    )


def intermediate(energies: Sequence[float]) -> int | None:
    """Index of the lowest image that lies at least INTERMEDIATE_EV below a higher image on either side, or None."""
    best = None
    for i in range(1, len(energies) - 1):
        below = min(max(energies[:i]), max(energies[i + 1 :])) - energies[i]
        if below > INTERMEDIATE_EV and (best is None or energies[i] < energies[best]):
            best = i
    return best


def nearest_member(bands: Sequence[Band]) -> Band | None:
    """The converged band whose barrier is nearest the mean of the converged ones; None where none converged."""
    known = [(b, b.forward_ev) for b in bands if b.forward_ev is not None]
    if not known:
        return None
    mean = sum(value for _, value in known) / len(known)
    return min(known, key=lambda pair: (abs(pair[1] - mean), pair[0].member))[0]


def committee(bands: Sequence[Band], *, symmetric: bool, d3_forward_ev: float | None = None) -> Barrier:
    """Mean and sample standard deviation of the members' own barriers.

    A barrier needs every member: one that did not converge says that the potential is not to be trusted there, and the
    spread of the others would be too small. Then the status says who failed and how, and there is no number.

    Args:
        bands: one band of each member, all of one hop.
        symmetric: an operation of the host maps the hop onto its reverse.
        d3_forward_ev: D3 energy of the saddle less that of the initial image; None if the target contains D3.

    Raises:
        ValueError: no band, bands of different hops, or one member twice.
    """
    names = {(b.hop, b.host, b.ion) for b in bands}
    if len(names) != 1:
        raise ValueError(f"a barrier needs the bands of one hop, host and ion; got {sorted(names) or 'none'}")
    members = [b.member for b in bands]
    if len(set(members)) < len(members):
        raise ValueError(f"bands of members {members}: give one band per member")
    failed = Counter(b.status.code for b in bands if b.status.code != CONVERGED)
    pairs = [] if failed else [(b.forward_ev, b.reverse_ev) for b in bands]
    forward, reverse = np.array(pairs, float).reshape(-1, 2).T
    mirrored = all(b.mirrored for b in bands)
    reasons = ", ".join(f"{count} {code}" for code, count in failed.most_common())
    counted = f"{len(bands) - failed.total()} of {len(bands)} members converged"
    left = set(failed) == {DESORBED} and all(b.stationary for b in bands)
    return Barrier(
        hop=bands[0].hop,
        host=bands[0].host,
        ion=bands[0].ion,
        status=Status(NOT_CONVERGED, f"{counted}: {reasons}") if failed else Status(CONVERGED),
        members=len(bands),
        forward_ev=None if failed else float(forward.mean()),
        forward_std_ev=_sample_std(forward),
        reverse_ev=None if failed else float(reverse.mean()),
        reverse_std_ev=_sample_std(reverse),
        d3_forward_ev=None if failed else d3_forward_ev,
        symmetric=symmetric,
        asymmetry_ev=float(np.abs(forward - reverse).max()) if symmetric and not (failed or mirrored) else None,
        mirrored=mirrored,
        vacuum_ev=min(max(b.energies_ev) for b in bands) if left else None,
    )


def _sample_std(values: moving.Array) -> float | None:
    return float(values.std(ddof=1)) if len(values) > 1 else None
