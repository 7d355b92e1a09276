"""Bands in worker processes: pools side by side, the bands of a pool in one batch.

Takes frozen descriptions of bands; gives their results in order, each also on disk as soon as it is there, so that a
killed run goes on from the bands that are done and the checkpoints of those that are not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ase import Atoms

from mlip.atoms import dispersion, extxyz, structures
from mlip.core import files
from mlip.core.section import Target
from mlip.core.workers import run_parallel
from mlip.potential import equivalence
from mlip.potential.use import ModelUse, evaluator
from mlip.stages.neb import endpoints, neb, pool
from mlip.stages.neb.settings import NebSettings
from mlip.stages.sites import network
from mlip.stages.sites.jobs import end_points
from mlip.stages.sites.settings import ROUNDS

Result = tuple[neb.Band, list[Atoms]]
POOL = 8  # bands that advance together on a CPU


@dataclass(frozen=True, kw_only=True)
class BandOutcome:
    """Result of a band job."""

    band: neb.Band
    d3_forward_ev: float | None  # None where the band has no barrier or the potential contains D3


@dataclass(frozen=True)
class BandJob:
    """One band by one member."""

    hop: network.Hop
    member: int
    ends: Path
    folder: Path
    model: ModelUse
    settings: NebSettings
    target: Target

    @property
    def stem(self) -> str:
        """What its files are called."""
        return f"{self.hop.ion}_{self.hop.name}_member-{self.member}"

    @property
    def done(self) -> Path:
        """Where the outcome goes, last of its files."""
        return self.folder / f"{self.stem}.json"


def run_bands(
    todo: Sequence[BandJob], *, workers: int, gpus: int = 1, on_tick: Callable[[int], None] = lambda _: None
) -> list[BandOutcome]:
    """The band of every job, continued if it was begun: pools side by side, the bands of a pool in one batch.

    Args:
        todo: bands to run; those with an outcome on disk are not run again.
        workers: pools at the same time.
        gpus: pools on GPUs.
        on_tick: called with the number of finished bands, again and again.
    """
    left = [job for job in todo if not job.done.exists()]
    run_parallel(
        run_pool,
        pools(left, workers=workers, gpus=gpus),
        workers=workers,
        on_tick=lambda _: on_tick(sum(job.done.exists() for job in todo)),
    )
    on_tick(len(todo))
    return [files.read_record(job.done, BandOutcome) for job in todo]


def pools(todo: Sequence[BandJob], *, workers: int, gpus: int = 1) -> list[tuple[BandJob, ...]]:
    """Bands that advance together: up to POOL, of one member each, on a CPU, where more bring nothing; one a GPU."""
    if not todo:
        return []
    if todo[0].model.backend.device == "cuda":
        return [tuple(todo[k::gpus]) for k in range(min(gpus, len(todo)))]
    out = []
    members = sorted({job.member for job in todo})
    for member in members:
        own = [job for job in todo if job.member == member]
        count = min(len(own), max(-(-len(own) // POOL), -(-workers // len(members))))
        out += [tuple(own[k::count]) for k in range(count)]
    return out


def run_pool(todo: Sequence[BandJob]) -> int:
    """The bands of a pool, continued where they were begun; images and outcomes go to disk band by band."""

    def finish(number: int, result: Result) -> None:
        job, (band, images) = todo[number], result
        for k, image in enumerate(images):
            image.info |= _said_of(job, k, image)
        files.write_frames(job.folder / f"{job.stem}.extxyz", images)
        files.write_record(job.done, BandOutcome(band=band, d3_forward_ev=_dispersion(band, images, job.target)))
        for left in (job.folder / f"{job.stem}.npz", *job.folder.glob(f"{job.stem}_*.npz")):
            left.unlink(missing_ok=True)

    backend = todo[0].model.backend
    exact = replace(equivalence.REFERENCE, device=backend.device)
    if todo[0].settings.finish_mace_torch and backend != exact and backend.name != "ase":
        _settle_and_finish(todo, exact, finish)
    else:
        _advance(todo, finish)
    return len(todo)


def _said_of(job: BandJob, number: int, image: Atoms) -> dict[str, str | bool]:
    """What `mlip select-frames` and `mlip label` want to know of an image."""
    return {
        "frame_id": f"{job.stem}_{number}",
        "host": job.hop.host,
        "ion": job.hop.ion,
        "group": job.hop.group,
        "sampling": f"CI-NEB image {number}, member {job.member}",
        "vacuum": structures.is_slab(image),
    }


def _settle_and_finish(
    todo: Sequence[BandJob], exact: equivalence.Backend, finish: Callable[[int, Result], None]
) -> None:
    """Bands with the fast backend first; those that converged go on with mace-torch in float64 from there."""
    settled: dict[int, Result] = {}
    _advance(todo, settled.__setitem__)
    numbers = [k for k, (band, _) in settled.items() if band.status.code == neb.CONVERGED]
    for k in settled.keys() - numbers:
        finish(k, settled[k])

    def on_done(place: int, result: Result) -> None:
        (before, _), (band, images) = settled[numbers[place]], result
        note = f"{before.forward_ev:.4f} eV with {todo[0].model.backend.name}, finished with mace-torch in float64"
        whole = band.noted(note, steps=before.steps + band.steps, force_calls=before.force_calls + band.force_calls)
        finish(numbers[place], (whole, images))

    again = [replace(todo[k], model=replace(todo[k].model, backend=exact)) for k in numbers]
    _advance(again, on_done, begun=[settled[k][1] for k in numbers], phase="_finish")


def _advance(
    todo: Sequence[BandJob],
    on_done: Callable[[int, Result], None],
    *,
    begun: Sequence[Sequence[Atoms]] = (),
    rounds: int = ROUNDS,
    phase: str = "",
) -> None:
    """The bands of jobs in one pool, from interpolations or from images of theirs, in so many rounds of max_steps.

    The checkpoints of a round have the phase and the rounds that are left in their names: two potentials share none.
    Whether a band settles in one round can depend on the last digit of a force, and so can the verdict on a path.
    """
    again: dict[int, Result] = {}

    def sort(number: int, result: Result) -> None:
        if rounds > 1 and unsettled(result[0]):
            again[number] = result
        else:
            on_done(number, result)

    _round(todo, sort, begun=begun, name=phase + ("" if rounds == ROUNDS else f"_{rounds}"))
    numbers = sorted(again)

    def join(place: int, result: Result) -> None:
        (before, _), (band, images) = again[numbers[place]], result
        note = f"not converged after {before.steps} steps, gone on with from there"
        whole = band.noted(note, steps=before.steps + band.steps, force_calls=before.force_calls + band.force_calls)
        on_done(numbers[place], (whole, images))

    if numbers:
        begun = [again[k][1] for k in numbers]
        _advance([todo[k] for k in numbers], join, begun=begun, rounds=rounds - 1, phase=phase)


def unsettled(band: neb.Band) -> bool:
    """Whether a band stopped for want of steps: its ends are relaxed, its forces are above the threshold."""
    ran = band.fmax_ev_per_angstrom is not None
    return ran and not band.stationary and band.status.code in {neb.MAX_STEPS, endpoints.DESORBED}


def _round(
    todo: Sequence[BandJob], on_done: Callable[[int, Result], None], *, begun: Sequence[Sequence[Atoms]], name: str
) -> None:
    """The bands of jobs in one pool for max_steps; `name` is a part of those of their checkpoints."""
    if not todo:
        return
    use = evaluator(todo[0].model)
    spread_of = pool.committee_spread(use) if len(use.members) > 1 else None
    entries = []
    for number, job in enumerate(todo):
        images = begun[number] if begun else ()
        initial, final = (images[0], images[-1]) if images else extxyz.read_frames(end_points(job.ends, job.hop))
        steps = neb.climbing(
            initial,
            final,
            settings=job.settings,
            name=neb.BandName(hop=job.hop.name, host=job.hop.host, member=job.member),
            checkpoint=job.folder / f"{job.stem}{name}.npz",
            spread_of=spread_of,
            begun=images,
            ion_as_given=True,
        )
        entries.append(pool.Entry(steps, initial, job.settings.images + 2, job.member - 1))
    pool.advance(entries, use, on_done=on_done)


def _dispersion(band: neb.Band, images: Sequence[Atoms], target: Target) -> float | None:
    if band.forward_ev is None:
        return None
    saddle = images[max(range(len(images)), key=lambda k: band.energies_ev[k])]
    at_saddle, at_start = dispersion.missing_at(target, saddle), dispersion.missing_at(target, images[0])
    return None if at_saddle is None or at_start is None else at_saddle - at_start
