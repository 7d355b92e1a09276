"""What runs in a worker process: one training, one host, one site search; bands are in `band_jobs`.

Takes frozen descriptions of jobs (paths and settings, no open things); gives frozen results, each also on disk, so that
a job that was finished is not done again after a kill.
"""

import fnmatch
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from mlip import config
from mlip.atoms import extxyz, structures
from mlip.core import files
from mlip.core.progress import progress
from mlip.core.tracking import Tracker
from mlip.core.workers import run_parallel
from mlip.potential import equivalence, models, potential
from mlip.stages.dataset import dataset, labels
from mlip.stages.neb import endpoints
from mlip.stages.sites import network, sites
from mlip.stages.train import train

Array = NDArray[np.float64]

log = logging.getLogger(__name__)
__all__ = ["HostJob", "ModelUse", "SiteJob", "TrainJob", "run_parallel"]


@dataclass(frozen=True)
class ModelUse:
    """Which model folder to use, and how."""

    folder: Path
    way: equivalence.Way

    @property
    def device(self) -> str:
        """Where it runs."""
        return self.way.device

    @property
    def dtype(self) -> str:
        """float64 or float32."""
        return self.way.dtype


def model_use(folder: Path, checks: Sequence[equivalence.Equivalence]) -> ModelUse:
    """The model in the first way that was found equivalent to the plain one, or else in that."""
    return ModelUse(folder, equivalence.accepted(checks))


def native_folder(model: Path) -> Path:
    """Where a model folder's converted weights are."""
    return model.parent / "native"


@lru_cache(maxsize=8)
def evaluator(use: ModelUse, members: tuple[int, ...] | None = None) -> potential.Evaluator:
    """The committee, or some members (counted from 1); loaded once per process."""
    model = models.load(use.folder) if members is None else models.load(use.folder).subset(members)
    try:
        return equivalence.evaluator(model, use.way, folder=native_folder(use.folder))
    except ValueError as error:
        if use.way == equivalence.PLAIN:
            raise
        log.warning("%s was found equivalent, but fails here: %s; mace-torch is used", use.way.backend, error)
        return equivalence.evaluator(model, equivalence.PLAIN, folder=native_folder(use.folder))


def calculator(use: ModelUse, member: int | None) -> potential.Potential:
    """The calculator of one member, or of the whole committee."""
    return potential.Potential(evaluator(use, None if member is None else (member,)))


def predictions(model: Path, frames: Sequence[Atoms], *, device: str) -> list[potential.Predicted]:
    """Every frame by every member of a model folder."""
    return potential.Evaluator(models.load(model), device=device)(frames)


@dataclass(frozen=True)
class TrainJob:
    """One member to train."""

    folder: Path
    data: Path  # with train.extxyz and valid.extxyz
    settings: config.Train
    e0_ev: dict[str, float]
    seed: int
    member: int
    device: str


def reference_energies(
    settings: config.Train, manifest: dataset.Manifest, training: Sequence[Atoms]
) -> dict[str, float]:
    """Reference energies for training: the base model's own at its level, else those fitted to the training frames.

    A base of another level gets the difference of the two fits added, so that its constant part moves with the level. A
    foundation model, whose level is not ours, gets the fit of what it misses on the training frames added.

    Raises:
        ValueError: the base is at a level that the labels lack.
    """
    fitted = manifest.e0_ev[manifest.target]
    if settings.base is None:
        return fitted
    base = models.load(settings.base, trust_pickle=settings.trust_pickle)
    if base.card.get("labels", {}).get("settings_hash") == manifest.settings_hash:
        raise ValueError(
            f"train.base: {settings.base} was trained on labels of this level, so held-out groups may not be held out; "
            "start from datasets/models/base or another model that never saw them"
        )
    own = dict(zip(base.elements, base.shape["atomic_energies"][0], strict=True))
    if base.card.get("target") is None:
        symbols = [s for s in base.elements if s in fitted]
        missed = [
            float(frame.info["REF_energy"]) - found.energy_ev
            for frame, found in zip(training, potential.Evaluator(base)(training), strict=True)
        ]
        shift = labels.element_fit(labels.composition(training, symbols), np.array(missed), robust=False)
        return own | {s: own[s] + float(d) for s, d in zip(symbols, shift, strict=True)}
    there = manifest.e0_ev.get(base.target)
    if there is None:
        raise ValueError(f"train.base: is at {base.target}, a level the labels lack; use a base at {manifest.target}")
    return {s: e + fitted.get(s, 0.0) - there.get(s, 0.0) for s, e in own.items()}


def train_member(job: TrainJob) -> train.Trained:
    """Train one member to the end; its weights are in the job's folder."""
    done = job.folder / "outcome.json"
    if done.exists():
        return files.read_record(done, train.Trained)
    history: list[train.Epoch] = []

    def note(epoch: train.Epoch) -> None:
        history.append(epoch)
        files.write_text_atomic(job.folder / "history.jsonl", train.history_lines(history))

    outcome, shape, weights = train.run(
        job.settings,
        train=extxyz.read_frames(job.data / "train.extxyz"),
        valid=extxyz.read_frames(job.data / "valid.extxyz"),
        e0_ev=job.e0_ev,
        seed=job.seed,
        member=job.member,
        folder=job.folder,
        device=job.device,
        on_epoch=note,
    )
    models.save(job.folder / "model", shape=shape, weights=[weights], card={"name": f"member-{job.member}"})
    files.write_record(done, outcome)
    return outcome


def train_members(
    todo: Sequence[TrainJob], *, workers: int, tracking: config.Tracking, folder: Path, run_id: str
) -> list[train.Trained]:
    """Train every member side by side, with a bar in epochs (a fit of energies counts as one) and one W&B run."""
    fitted = [job for job in todo if job.settings.energy_fit is not None]
    total = sum(job.settings.epochs for job in todo) + len(fitted)
    name = f"{folder.name}-train"
    settings = todo[0].settings.model_dump(mode="json")
    logged = folder / "train" / "tracked_epochs"
    with (
        Tracker(tracking, folder, run_id=run_id, name=name, config=settings) as tracker,
        progress("epochs", total) as tick,
    ):

        def watch(_: int) -> None:
            histories = [_history(job.folder / "history.jsonl") for job in todo]
            tick(sum(len(h) for h in histories) + sum(_finished(job) for job in fitted))
            first = int(logged.read_text(encoding="utf-8")) if logged.exists() else 0
            ready = min((len(h) for h, job in zip(histories, todo, strict=True) if not _finished(job)), default=None)
            last = max(len(h) for h in histories) if ready is None else ready
            for epoch in range(first, last):
                tracker.log(_metrics(histories, epoch), step=epoch)
            if last > first:
                files.write_text_atomic(logged, f"{last}\n")

        done = run_parallel(train_member, todo, workers=workers, on_tick=watch)
        watch(len(todo))
    return done


def _finished(job: TrainJob) -> bool:
    return (job.folder / "outcome.json").exists()


def _history(path: Path) -> list[dict[str, Any]]:
    import json

    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def _metrics(histories: Sequence[list[dict[str, Any]]], epoch: int) -> dict[str, float]:
    return {
        f"member-{k}/{name}": float(lines[epoch][name])
        for k, lines in enumerate(histories, start=1)
        if epoch < len(lines)
        for name in ("train_loss", "valid_loss", "valid_force_rmse_ev_per_angstrom", "valid_energy_rmse_ev_per_atom")
    }


def collect(folder: Path, todo: Sequence[TrainJob], card: Mapping[str, Any]) -> None:
    """Gather trained members in one model folder."""
    members = [models.load(job.folder / "model") for job in todo]
    first = members[0]
    card = {**card, "elements": list(first.elements), "cutoff_angstrom": first.cutoff_angstrom}
    models.save(folder, shape=first.shape, weights=[m.members[0].state_dict() for m in members], card=card)


@dataclass(frozen=True)
class HostJob:
    """A host to relax."""

    name: str
    source: Path
    folder: Path
    model: ModelUse
    settings: config.Sites
    seed: int
    registry: bool = False  # name hops by their kind: for anatase

    @property
    def relaxed(self) -> Path:
        """Where the relaxed host goes."""
        return self.folder / f"{self.name}.extxyz"


def relax_host(job: HostJob) -> str | None:
    """Relax a host unless that is done; gives the reason where it does not relax."""
    if job.relaxed.exists():
        return None
    host = extxyz.read_frames(job.source)[0]
    use = calculator(job.model, None)
    try:
        relaxed = sites.host_relaxed(host, use, job.settings, seed=job.seed)
    except ValueError as error:
        return f"{job.name}: {error}"
    files.write_frames(job.relaxed, [_bare(relaxed)])
    return None


@dataclass(frozen=True)
class SiteJob:
    """The sites and hops of one ion on one host."""

    host: HostJob
    ion: str
    folder: Path


@dataclass(frozen=True)
class FoundSites:
    """Result of a site job."""

    sites: tuple[sites.Site, ...]
    hops: tuple[network.Hop, ...]
    notes: tuple[str, ...]


def search_sites(job: SiteJob) -> FoundSites:
    """Sites and hops of one ion on one relaxed host; configurations and end points go to disk."""
    done = job.folder / f"{job.host.name}_{job.ion}.json"
    if done.exists():
        return files.read_record(done, FoundSites)
    host = extxyz.read_frames(job.host.relaxed)[0]
    kinds = sorted({s for s, metal in zip(host.get_chemical_symbols(), structures.metals(host), strict=True) if metal})
    use = calculator(job.host.model, None)
    try:
        found, configurations = sites.relaxed_sites(
            host, job.ion, use, job.host.settings, name=job.host.name, metal_symbols=kinds, seed=job.host.seed
        )
    except ValueError as error:
        return FoundSites((), (), (f"{job.host.name} {job.ion}: {error}",))
    usable = [s for s in found if s.status == "relaxed"]
    notes = [
        f"{job.host.name} {job.ion} {s.name}: {s.status}, left out of the network" for s in found if s not in usable
    ]
    hops = []
    for hop, initial, final in network.hop_network(
        host, usable, configurations, job.host.settings, registry=job.host.registry
    ):
        try:
            endpoints.unwrapped(initial, final)
        except ValueError as error:  # such as a hop to the ion's own copy in a cell that is too small for it
            notes.append(f"{hop.ion} {hop.name}: left out of the network: {error}")
        else:
            hops.append((hop, initial, final))
    if not hops:
        notes.append(f"{job.host.name} {job.ion}: no hops up to sites.max_hop_angstrom between {len(usable)} sites")
    for name, atoms in configurations.items():
        files.write_frames(job.folder / "configurations" / f"{job.host.name}_{job.ion}_{name}.extxyz", [_bare(atoms)])
    for hop, initial, final in hops:
        files.write_frames(end_points(job.folder / "hops", hop), [_bare(initial), _bare(final)])
    result = FoundSites(tuple(found), tuple(hop for hop, _, _ in hops), tuple(notes))
    files.write_record(done, result)
    return result


def end_points(folder: Path, hop: network.Hop) -> Path:
    """Where the two end points of a hop are."""
    return folder / f"{hop.ion}_{hop.name}.extxyz"


def _bare(atoms: Atoms) -> Atoms:
    """Structure only: species, positions, cell, pbc."""
    return Atoms(atoms.get_chemical_symbols(), positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


def chosen_hops(hops: Sequence[network.Hop], patterns: Sequence[str], *, section: str = "neb") -> list[network.Hop]:
    """The hops whose name matches a pattern of a section's `hops`, with shell wildcards.

    Raises:
        ValueError: a pattern other than * that matches nothing.
    """
    names = {h.name for h in hops}
    for pattern in patterns:
        if pattern != "*" and not fnmatch.filter(names, pattern):
            raise ValueError(f"{section}.hops: {pattern!r} matches no hop; there are: {', '.join(sorted(names))}")
    return [h for h in hops if any(fnmatch.fnmatchcase(h.name, p) for p in patterns)]
