"""The stage `refine`: ends and saddles of hops relaxed with DFT, from the potential's bands.

The rounds of each hop are in `refine/hops/<ion>_<hop>/`, the labelled frames in `refine/frames.extxyz`, entries for the
card of a dataset in `refine/paths.yaml`.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import yaml
from ase import Atoms

from mlip.atoms import extxyz, symmetry
from mlip.core import files
from mlip.core.report import ReportSection
from mlip.core.stage import Context, Stage
from mlip.core.status import WAITING, Status
from mlip.dft import queue
from mlip.dft.labeller import Labeller
from mlip.dft.settings import Dft
from mlip.literature import matching, references
from mlip.literature.settings import Literature
from mlip.stages import structures
from mlip.stages.dataset.stage import STAGE as DATASET
from mlip.stages.neb.neb import nearest_member
from mlip.stages.neb.stage import STAGE as NEB
from mlip.stages.neb.stage import band_file, bottlenecks_of
from mlip.stages.refine import jobs, loop, refined
from mlip.stages.refine.barriers import of_refined, relaxed
from mlip.stages.refine.correction import Noise
from mlip.stages.refine.jobs import HopJob
from mlip.stages.refine.order import Network, lowest_paths, order, replaced
from mlip.stages.refine.refined import Refined
from mlip.stages.refine.report import refine_section
from mlip.stages.refine.settings import RefineSettings
from mlip.stages.sites import backends
from mlip.stages.sites.network import Hop
from mlip.stages.sites.settings import SitesSettings
from mlip.stages.sites.stage import STAGE as SITES
from mlip.stages.sites.stage import chosen_hops, relaxed_host

LATE = "refine.max_hours are over"


@dataclass(frozen=True, kw_only=True)
class Refinement:
    """Result of the stage."""

    level: str  # settings hash of the run's DFT level
    hops: tuple[Refined, ...]
    problems: tuple[queue.Problem, ...]


class Budget:
    """Calls and hours that are left."""

    def __init__(self, settings: RefineSettings) -> None:
        self._calls, self._hours, self._begun = settings.max_calls, settings.max_hours, time.monotonic()

    def refuses(self, made: int, more: int) -> str | None:
        """Why no more calls may be begun; None where they may."""
        if self._calls is not None and made + more > self._calls:
            return f"refine.max_calls of {self._calls} is used"
        return None

    @property
    def is_late(self) -> bool:
        """Whether the hours are over."""
        return self._hours is not None and time.monotonic() - self._begun > 3600 * self._hours


def run(context: Context[RefineSettings]) -> Refinement:
    """Refine the chosen hops, as many side by side as there are workers, the decisive ones first."""
    dft = context.section(Dft)
    ask = Labeller(dft, queue.labels_folder(context.run_folder), workers=context.workers, say=context.say)
    todo, without = _hops(context)
    found = context.result(SITES)
    barriers, target = context.result(NEB).barriers, context.common.target
    network = Network(found.sites, found.hops, barriers, _published(context), target)
    work = _Work(context, ask, Budget(context.settings))
    made: list[Refined] = [
        refined.named(hop, Status(loop.NO_BAND, "no member has a converged band")) for hop in without
    ]
    left = {(job.hop.host, job.hop.ion, job.hop.name): job for job in todo}
    abreast = context.workers if context.settings.max_calls is None else 1  # workers must not change who has a call
    while left:
        hops = [job.hop for job in left.values()]
        first = order(hops, network, made, error_ev=context.settings.potential_error_ev)[:abreast]
        made += work.refine([left.pop((hop.host, hop.ion, hop.name)) for hop in first])
    if work.frames:
        files.write_frames(context.folder / "frames.extxyz", work.frames)
    rows = _rows(context, made)
    entries = [asdict(e) for row in rows if (e := refined.labelled_path(row, source=context.run_name)) is not None]
    files.write_text_atomic(context.folder / "paths.yaml", yaml.safe_dump(entries, sort_keys=False, width=120))
    context.leave_unfinished(*queue.left(ask.problems))
    return Refinement(level=queue.settings_hash(dft), hops=rows, problems=tuple(ask.problems))


class _Work:
    """Labels, budget and frames of one call of the stage."""

    def __init__(self, context: Context[RefineSettings], ask: Labeller, budget: Budget) -> None:
        self._context, self._ask, self._budget = context, ask, budget
        self._made = 0  # calls so far, of all hops, without those for the curvature
        self.frames: list[Atoms] = []

    def refine(self, group: Sequence[HopJob]) -> list[Refined]:
        """Hops side by side, round by round, until each has its result."""
        active, out = list(group), []
        labels: dict[str, dict[str, Atoms]] = {job.folder.name: {} for job in group}
        while active:
            stopped = self._labelled(active, labels)
            out += [
                self._stopped(job, labels[name], why) for job in active if (why := stopped.get(name := job.folder.name))
            ]
            ready = [self._ready(job, labels[job.folder.name]) for job in active if job.folder.name not in stopped]
            found = self._context.map(jobs.advance, ready, label="searches", uses_torch=False) if ready else []
            out += [one for one in found if one is not None]
            active = [job for job, one in zip(ready, found, strict=True) if one is None]
        for one in out:
            self._context.say(f"{one.ion} {one.hop}: {one.status} after {one.calls} calls")
        self.frames += [frame for found in labels.values() for frame in found.values()]
        return out

    def _labelled(self, active: Sequence[HopJob], labels: dict[str, dict[str, Atoms]]) -> dict[str, Status]:
        """Label what is on disk and has no label yet, together; why hops cannot go on, by folder."""
        stopped: dict[str, Status] = {}
        batch: dict[str, list[Atoms]] = {}
        probes: set[str] = set()  # frame_ids of calls for the curvature
        for job in active:
            name, known = job.folder.name, labels[job.folder.name]
            calls = [call for call in jobs.stored(job.folder, known)[0] if call.label is None]
            frames = jobs.to_label(calls)
            probes |= {_id(f) for f, call in zip(frames, calls, strict=True) if call.part in refined.EXTRA}
            counted = [f for f in frames if _id(f) not in probes]
            so_far = self._made + sum(_id(f) not in probes for asked in batch.values() for f in asked)
            if why := self._budget.refuses(so_far, len(counted)):
                stopped[name] = Status(loop.NOT_CONVERGED if known else loop.NOT_BEGUN, why)
            elif frames and self._budget.is_late and not self._ask.has(frames):
                self._ask.problems += [queue.Problem(frame_id=_id(f), reason=LATE) for f in frames]
                stopped[name] = Status(WAITING, LATE)
            elif frames:
                batch[name] = frames
        every = [frame for frames in batch.values() for frame in frames]
        made = dict(zip([_id(f) for f in every], self._ask(every, {}) if every else (), strict=True))
        for name, frames in batch.items():
            found = {key: label for f in frames if (label := made[key := _id(f)]) is not None}
            labels[name] |= found
            self._made += len(found.keys() - probes)
            if lacking := [_id(f) for f in frames if made[_id(f)] is None]:
                status = self._lacks(lacking)
                if not (set(lacking) <= probes and status.code == loop.REFUSED):
                    stopped[name] = status
        return stopped

    @staticmethod
    def _ready(job: HopJob, known: dict[str, Atoms]) -> HopJob:
        """The hop with its labels; without a curvature where a call for it was refused."""
        lacks = any(call.label is None for call in jobs.stored(job.folder, known)[0])
        settings = job.settings.model_copy(update={"curvature": False}) if lacks else job.settings
        return replace(job, labels=known, settings=settings)

    def _lacks(self, lacking: Sequence[str]) -> Status:
        """Why frames have no label."""
        problem = next(p for p in self._ask.problems if p.frame_id in lacking)
        return Status(WAITING if problem.file is None else loop.REFUSED, f"{', '.join(lacking)}: {problem.reason}")

    def _stopped(self, job: HopJob, known: dict[str, Atoms], status: Status) -> Refined:
        calls, _ = jobs.stored(job.folder, known)
        named = refined.named(job.hop, status)
        return replace(named, calls=sum(c.label is not None and c.part not in refined.EXTRA for c in calls))


def _id(frame: Atoms) -> str:
    return str(frame.info["frame_id"])


def _hops(context: Context[RefineSettings]) -> tuple[list[HopJob], list[Hop]]:
    """The chosen hops with a converged band, and those without."""
    found, moved, settings = context.result(SITES), context.result(NEB), context.settings
    slabs = structures.slab_names(context.result(structures.STAGE).hosts)
    prior = jobs.CommitteePrior(backends.model_use(context))
    known = _known(context)
    todo, without = [], []
    for hop in chosen_hops(found.hops, settings.hops, section="refine"):
        band = nearest_member([b for b in moved.bands if (b.host, b.ion, b.hop) == (hop.host, hop.ion, hop.name)])
        if band is None:
            without.append(hop)
            continue
        frames = extxyz.read_frames(band_file(context.folder_of(NEB), band))
        if frames[0].constraints:
            raise ValueError(
                f"refine.hops: {hop.name} is on a slab with frozen atoms, and refine moves all; leave it out"
            )
        images = tuple(loop.bare(a) for a in frames)
        path = loop.Hop(
            band=images,
            symmetric=hop.symmetric,
            target=context.common.target,
            operations=_operations(context, hop.host, images[0]),
            known=tuple(f for f in known if _same_cell(f, images[0])),
            noise=noise_of(settings, hop.host),
        )
        folder = context.folder / "hops" / f"{hop.ion}_{hop.name}"
        folder.mkdir(parents=True, exist_ok=True)
        todo.append(HopJob(hop, path, hop.host in slabs, folder, {}, prior, settings, context.settings_of(NEB)))
    return todo, without


def noise_of(settings: RefineSettings, host: str) -> Noise:
    """The noise of labels of a host."""
    own = settings.host_force_noise_ev_per_angstrom.get(host, settings.force_noise_ev_per_angstrom)
    return Noise(settings.energy_noise_ev, own)


def _operations(context: Context[RefineSettings], name: str, image: Atoms) -> tuple[symmetry.Operation, ...]:
    """Operations of the relaxed host of a band; none where the host is not the cell of the band."""
    path = context.folder_of(SITES) / "hosts" / f"{name}.extxyz"
    host = relaxed_host(context.folder_of(SITES), name) if path.exists() else image[:-1]
    if len(host) != len(image) - 1:
        return ()
    sites: SitesSettings = context.settings_of(SITES)
    return symmetry.operations(host, tolerance_angstrom=sites.symmetry_angstrom)


def _known(context: Context[RefineSettings]) -> list[Atoms]:
    """Frames of the datasets at the level of the run."""
    frames = [frame for path in _datasets(context) for frame in extxyz.read_frames(context.file(path))]
    level = queue.settings_hash(context.section(Dft))
    return [f for f in frames if f.info.get("settings_hash") == level]


def _same_cell(frame: Atoms, image: Atoms) -> bool:
    same = len(frame) == len(image) and (frame.numbers == image.numbers).all()
    return bool(same and abs(frame.cell.array - image.cell.array).max() < 1e-4)


def _datasets(context: Context[RefineSettings]) -> list[Path]:
    return [folder / "frames.extxyz" for folder in context.settings.folders(context.settings_of(DATASET).path)]


def _references(context: Context[RefineSettings]) -> list[Path]:
    """The published values, where a number of calls makes the order of the hops a part of the result."""
    return [context.section(Literature).references] if context.settings.max_calls is not None else []


def _published(context: Context[RefineSettings]) -> frozenset[tuple[str, str]]:
    """Host and ion of every published barrier that a verdict is given on; none where the order does not matter."""
    if context.settings.max_calls is None and context.settings.max_hours is None:
        return frozenset()
    path = files.place(context.section(Literature).references)  # no input where hours alone end the call
    everything = references.load(path)
    built, made = context.settings_of(structures.STAGE), context.result(structures.STAGE)
    own = matching.of_run(everything, structures.identity_of(built, made), hosts=made.hosts)
    values = own.select(role="checked", quantity="migration barrier")
    return frozenset((v.host, v.ion) for v in values if v.host is not None and v.ion is not None)


def _rows(context: Context[RefineSettings], made: Sequence[Refined]) -> tuple[Refined, ...]:
    """The results in the order of the network, with the potential's barriers and which hops limit a path."""
    found, barriers = context.result(SITES), context.result(NEB).barriers
    own = {(b.host, b.ion, b.hop): b for b in barriers}
    known = relaxed(of_refined(made), target=context.common.target)
    lowest = lowest_paths(bottlenecks_of(found.sites, found.hops, replaced(barriers, known)))
    limiting = {(p.host, p.ion, p.limiting_hop) for p in lowest.values()}
    places = {(h.host, h.ion, h.name): k for k, h in enumerate(found.hops)}
    out = []
    for row in sorted(made, key=lambda r: places[r.host, r.ion, r.hop]):
        key = (row.host, row.ion, row.hop)
        barrier = own.get(key)
        out.append(
            replace(
                row,
                limiting=key in limiting,
                mlip_forward_ev=barrier.forward_ev if barrier else None,
                mlip_reverse_ev=barrier.reverse_ev if barrier else None,
            )
        )
    return tuple(out)


def report(_: Context[RefineSettings], result: Refinement) -> tuple[ReportSection, ...]:
    """The refined barriers, and potential and DFT at the same geometry."""
    return (refine_section(result.hops),)


STAGE = Stage(
    name="refine",
    settings=RefineSettings,
    result=Refinement,
    run=run,
    needs=(*backends.NEEDS, SITES, NEB),
    common=(*backends.SETTINGS, "target"),
    sections=(Dft, Literature),
    inputs=lambda context: [*_datasets(context), *_references(context)],
    report=report,
    cores=lambda context: context.section(Dft).ranks,
    version=2,
)
