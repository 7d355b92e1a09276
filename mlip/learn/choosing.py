"""The choice of a round: which frames of bands and dynamics are labelled, made once and kept.

Takes a round whose bands (and dynamics) are done; leaves `chosen.extxyz` and `choice.json` in `<run>/learn/`. Left out
are frames of groups that are held out for testing, frames that were labelled or refused before, frames that no engine
takes, and frames on which the potential has a force beyond `learn.max_force_ev_per_angstrom`. A structure that several
members share, such as an end that none of them moved, counts once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from mlip.atoms import extxyz
from mlip.core import files
from mlip.core.arrays import Array
from mlip.core.learn import Learn
from mlip.core.progress import console
from mlip.core.run import Run
from mlip.core.workers import run_parallel
from mlip.dft import queue, single_points, tasks
from mlip.dft.settings import Dft
from mlip.learn import candidates as pool
from mlip.learn import choice
from mlip.learn.candidates import Candidate, HopKey
from mlip.potential import models, potential, use
from mlip.potential.graphs import graph
from mlip.stages.dataset.card import Card, group_of_hops
from mlip.stages.dataset.settings import DatasetSettings
from mlip.stages.md.stage import STAGE as MD
from mlip.stages.md.stage import Trajectories
from mlip.stages.neb.band import largest
from mlip.stages.neb.stage import STAGE as NEB
from mlip.stages.neb.stage import Barriers
from mlip.stages.sites import backends
from mlip.stages.sites.stage import STAGE as SITES
from mlip.stages.sites.stage import SiteNetwork
from mlip.stages.train import tangent
from mlip.stages.train.samples import samples
from mlip.stages.train.settings import EnergyFitSettings, TrainSettings
from mlip.stages.train.stage import model_folder

FOLDER = "learn"  # in the folder of a round's run
VERSION = 2  # raised when the same settings choose other frames
Picks = tuple[list[choice.Picked], list[str], tuple[float | None, float | None]]  # who, why, sigma before and after
NEAR_CELL = 0.01  # by which lengths of two cells may differ whose energies are compared
SHAPING = {"frames", "choose", "per_group", "md_frames", "max_force_ev_per_angstrom"}  # settings that shape a choice


@dataclass(frozen=True)
class Round:
    """A round whose bands are done: its run, the dataset behind its potential, and where labels go."""

    number: int
    run: Run
    data: Path
    card: Card
    frames: tuple[Atoms, ...]  # of the dataset
    store: Path  # labels of all rounds and levels
    learn: Learn
    dft: Dft

    @property
    def folder(self) -> Path:
        """Where the round keeps its choice and its labels."""
        return self.run.path(FOLDER)

    @property
    def fingerprint(self) -> str:
        """Hash of everything the choice depends on."""
        before = [self.run.fingerprint(stage) for stage in (NEB, MD) if self.run.is_done(stage)]
        shaping = self.learn.model_dump(mode="json", include=SHAPING)
        return files.digest_of([FOLDER, VERSION, self.number, before, shaping, tasks.settings_hash(self.dft)])


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A frame that was chosen."""

    frame_id: str
    group: str
    reason: str
    hop: HopKey | None
    member: int
    image: int
    saddle: bool
    converged: bool = True  # the band, where it is an image of one


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was chosen, from how many candidates.

    Attributes:
        fingerprint: of what the choice depends on.
        candidates: frames that were found.
        held_out: left out, as their group is held out for testing.
        labelled_before: left out, as they were labelled or refused before.
        too_strong: left out for their forces.
        unfit: left out, as atoms are too close, or an ion in the vacuum leaves no slab.
        sigma_before_ev: root of the mean posterior variance of the barriers; None where that was not calculated.
        sigma_after_ev: the same once the chosen frames are labelled.
    """

    fingerprint: str
    candidates: int
    held_out: int
    labelled_before: int
    too_strong: int
    unfit: int
    chosen: tuple[Chosen, ...]
    sigma_before_ev: float | None = None
    sigma_after_ev: float | None = None


def chosen(own: Round) -> tuple[Choice, list[Candidate]]:
    """The choice of a round, made where it is not there yet, and the frames chosen.

    Raises:
        ValueError: no band and no trajectory has a frame, or what a reader of the run's files raises.
    """
    kept, frames = own.folder / "choice.json", own.folder / "chosen.extxyz"
    found = files.read_record(kept, Choice) if kept.exists() else None
    if found is not None and found.fingerprint == own.fingerprint:
        made = extxyz.read_frames(frames) if found.chosen else []
        return found, [_candidate(c, atoms) for c, atoms in zip(found.chosen, made, strict=True)]
    found, picked = _made(own)
    if picked:
        files.write_frames(frames, [c.atoms for c in picked])
    files.write_record(kept, found)
    made = extxyz.read_frames(frames) if picked else []  # as the next call has them: a label is found by its positions
    return found, [_candidate(c, atoms) for c, atoms in zip(found.chosen, made, strict=True)]


def _candidate(said: Chosen, atoms: Atoms) -> Candidate:
    return Candidate(atoms, said.hop, said.member, said.image, said.saddle, said.converged)


def _made(own: Round) -> tuple[Choice, list[Candidate]]:
    every = _candidates(own)
    if not every:
        raise ValueError(
            f"{own.run.folder}: no band has images and no trajectory has frames, so there is nothing to choose from; "
            "see the notes of the stages sites and neb, or set md.run and md.stored: all"
        )
    held_out = [_held_out(own, c) for c in every]
    store = tasks.Store(own.store / tasks.settings_hash(own.dft))
    digests = [tasks.digest(c.atoms, own.dft) for c in every]
    before = [store.is_settled(digest) for digest in digests]
    predicted = _evaluator(own.run)([c.atoms for c in every])
    strong = [largest(p.mean_forces) > own.learn.max_force_ev_per_angstrom for p in predicted]
    unfit = [_unfit(c.atoms) for c in every]
    same = [digests.index(digest) for digest in digests]
    again = [k != first for k, first in enumerate(same)]
    allowed = [not any(reasons) for reasons in zip(held_out, before, strong, unfit, again, strict=True)]
    nothing: Picks = ([], [], (None, None))
    picked, reasons, sigmas = _picked(own, every, predicted, allowed, same) if any(allowed) else nothing
    made = Choice(
        fingerprint=own.fingerprint,
        candidates=len(every),
        held_out=sum(held_out),
        labelled_before=sum(before),
        too_strong=sum(strong),
        unfit=sum(unfit),
        chosen=tuple(_said(every[p.number], reason) for p, reason in zip(picked, reasons, strict=True)),
        sigma_before_ev=sigmas[0],
        sigma_after_ev=sigmas[1],
    )
    return made, [every[p.number] for p in picked]


def _said(one: Candidate, reason: str) -> Chosen:
    return Chosen(
        frame_id=one.name,
        group=one.group,
        reason=reason,
        hop=one.hop,
        member=one.member,
        image=one.image,
        saddle=one.saddle,
        converged=one.converged,
    )


def _candidates(own: Round) -> list[Candidate]:
    run = own.run
    bands = files.read_result(run.path(NEB.name, "result.json"), Barriers)
    found = pool.of_bands(bands, run.path(NEB.name), number=own.number)
    if run.is_done(MD):
        systems = files.read_result(run.path(MD.name, "result.json"), Trajectories).systems
        stopped = run.path(MD.name, "stopped.extxyz")
        found += pool.of_dynamics(systems, run.folder, stopped, number=own.number, most=own.learn.md_frames)
    return found


def _held_out(own: Round, one: Candidate) -> bool:
    settings = own.run.sections["dataset"]
    paths = group_of_hops(own.card.paths)
    return isinstance(settings, DatasetSettings) and paths.get(one.group, one.group) in settings.test_groups


def _unfit(atoms: Atoms) -> bool:
    """Whether the queue would refuse a frame."""
    try:
        queue.require_consistent([atoms])
    except ValueError:
        return True
    return single_points.unfit(atoms) is not None


def _evaluator(run: Run) -> potential.Evaluator:
    """The committee of a run with the backend that its bands used."""
    found = files.read_result(run.path(SITES.name, "result.json"), SiteNetwork)
    checks = backends.latest(run.folder, found.equivalence)
    return use.evaluator(use.model_use(model_folder(run.path("train")), checks))


def predictions(run: Run, frames: Sequence[Atoms]) -> list[potential.Predicted]:
    """What the committee of a run says of frames."""
    return _evaluator(run)(frames)


def _picked(
    own: Round,
    every: Sequence[Candidate],
    predicted: Sequence[potential.Predicted],
    allowed: Sequence[bool],
    same: Sequence[int],
) -> Picks:
    """Numbers of the candidates to label, why each, and the uncertainty of the barriers before and after.

    `same` has of every candidate the number of the first one with its structure.
    """
    known = [key for key, frame in initial_labels(own.card, own.frames).items() if _served(every, key, frame)]
    partners = [None if k is None else same[k] for k in pool.partners_of(every, known)]
    hops = [c.hop for c in every]
    if own.learn.choose == "committee-spread":
        spreads = [largest(_spread(p)) for p in predicted]
        picked = choice.by_spread(
            spreads,
            groups=[c.group for c in every],
            partners=partners,
            allowed=allowed,
            hops=hops,
            count=own.learn.frames,
            per_group=own.learn.per_group,
        )
        return picked, [_why(p, f"force spread {p.score:.3f} eV/Angstrom") for p in picked], (None, None)
    barriers = pool.barriers_of(every)
    if not barriers:
        raise ValueError(
            "learn.choose: barrier-variance needs bands, and no band has images; use committee-spread, which takes "
            "frames of the dynamics too"
        )
    covariance, noise = _covariance(own, [c.atoms for c in every])
    picked, before, after = choice.by_variance(
        covariance,
        noise,
        barriers=barriers,
        partners=partners,
        allowed=allowed,
        hops=hops,
        count=own.learn.frames,
    )
    lowers = "lowers the summed variance of the barriers by"
    return picked, [_why(p, f"{lowers} {1e6 * p.score:.3g} meV^2 a label") for p in picked], (before, after)


def _why(picked: choice.Picked, reason: str) -> str:
    return "initial image of its hop, which has no label yet" if picked.along else reason


def _spread(predicted: potential.Predicted) -> Array:
    if predicted.forces_std is None:
        raise ValueError("the model has a single member and no spread; set train.members to 2 or more")
    return predicted.forces_std


def initial_labels(card: Card, frames: Sequence[Atoms]) -> Mapping[HopKey, Atoms]:
    """Of every hop a frame of the dataset that is its initial image: of a labelled path, or of an earlier round."""
    named = {str(f.info["frame_id"]): f for f in frames}
    found = {(p.host, p.ion, p.hop): named[p.initial] for p in card.paths}
    for frame in frames:
        if frame.info.get("hop") and frame.info.get("image") == 0:
            found[str(frame.info["host"]), str(frame.info["ion"]), str(frame.info["hop"])] = frame
    return found


def comparable(one: Atoms, other: Atoms) -> bool:
    """Whether the energies of two frames belong to one composition and one cell."""
    same = sorted(one.symbols) == sorted(other.symbols)
    return same and bool(np.allclose(one.cell.lengths(), other.cell.lengths(), rtol=NEAR_CELL, atol=0))


def _served(every: Sequence[Candidate], key: HopKey, frame: Atoms) -> bool:
    return any(c.hop == key and comparable(c.atoms, frame) for c in every)


@dataclass(frozen=True)
class VarianceJob:
    """Covariance of energies by the first member of a committee, in a process of its own."""

    model: Path
    training: Path
    frames: tuple[Atoms, ...]
    settings: EnergyFitSettings
    seed: int
    device: str


def _covariance(own: Round, frames: Sequence[Atoms]) -> tuple[Array, Array]:
    train, common = own.run.sections["train"], own.run.common
    fitted = train.energy_fit if isinstance(train, TrainSettings) else None
    job = VarianceJob(
        model_folder(own.run.path("train")),
        own.run.path("dataset", "train.extxyz"),
        tuple(frames),
        fitted or EnergyFitSettings(),
        common.seed,
        common.device,
    )
    console.print(f"  variance of the barriers: {len(frames)} candidates")
    return run_parallel(covariance, [job], workers=1)[0]


def covariance(job: VarianceJob) -> tuple[Array, Array]:
    """Covariance of the energies (n, n) and noise of their labels (n,), eV^2; see `tangent.energy_covariance`."""
    model = models.load(job.model)
    training = samples(extxyz.read_frames(job.training), model.elements, model.cutoff_angstrom)
    exact = tangent.network(model.shape, model.members[0].state_dict(), training[0], device=job.device)
    return tangent.energy_covariance(
        exact.calculated,
        [p for p in exact.model.parameters() if p.requires_grad],
        [s.graph for s in training],
        [graph(f, model.elements, model.cutoff_angstrom) for f in job.frames],
        weights=np.ones(len(training)),
        settings=job.settings,
        seed=(job.seed, 1),
    )
