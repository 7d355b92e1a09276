"""The stages that need DFT: label, convergence, energetics, ladder.

Each takes a `Run` and gives a frozen dataclass, as the stages in `stages` do.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from ase import Atoms

from mlip.atoms import extxyz
from mlip.core import files
from mlip.core.progress import console, estimate
from mlip.dft import engines, queue, single_points, tasks
from mlip.run import Run, locked, opened, place
from mlip.stages import dft_inputs
from mlip.stages.convergence import convergence
from mlip.stages.energetics import energetics
from mlip.stages.ladder import ladder


@dataclass(frozen=True)
class LabelledFrames:
    """Result of the label stage; the frames are in `label/frames.extxyz`."""

    settings_hash: str
    settings: engines.Described
    frames: int
    problems: tuple[queue.Problem, ...]
    core_seconds: float  # measured, of all frames


@dataclass(frozen=True)
class Convergence:
    """Result of the convergence stage."""

    level: str  # settings hash of the run's DFT level
    frames: tuple[str, ...]
    variants: tuple[convergence.Variant, ...]


@dataclass(frozen=True)
class Ladder:
    """Result of the ladder stage; frames are in `ladder/frames.extxyz`, entries for a card in `ladder/paths.yaml`."""

    level: str  # settings hash of the run's DFT level
    steps: tuple[ladder.Step, ...]
    wanted: int  # frames
    labelled: int
    problems: tuple[queue.Problem, ...]


def label_frames(run: Run) -> LabelledFrames:
    """Labels of the frames that the user names, as a dataset's frames."""
    c = run.config
    frames = _named(run)
    made = _with_bar(run, frames)
    for problem in made.problems:
        console.print(f"  {problem.frame_id}: {problem.reason}", soft_wrap=True)
    there = [frame for frame in made.frames if frame is not None]
    if not there:
        raise ValueError(f"none of {len(frames)} frames has a label; the first: {made.problems[0].reason}")
    files.write_frames(run.path("label", "frames.extxyz"), there)
    console.print(f"  {len(there)} of {len(frames)} frames: {run.path('label', 'frames.extxyz')}", soft_wrap=True)
    return LabelledFrames(
        settings_hash=queue.settings_hash(c.dft),
        settings=queue.settings_of(c.dft),
        frames=len(there),
        problems=made.problems,
        core_seconds=round(sum(float(frame.info["wall_s"]) for frame in there), 1),
    )


def label_share(folder: Path, share: tuple[int, int]) -> None:
    """Label the share (k, n) of the frames; other shares may run at the same time, a whole run may not."""
    run = opened(folder)
    with locked(folder, shared=True):
        made = _with_bar(run, _named(run), share)
    for problem in made.problems:
        console.print(f"  {problem.frame_id}: {problem.reason}", soft_wrap=True)


def reopen_label(folder: Path) -> None:
    """Forget the result of the label stage where a frame waits, or its reason for having no label was removed."""
    result = opened(folder).path("label", "result.json")
    if result.exists():
        problems = files.read_result(result, LabelledFrames).problems
        if any(p.file is None or not Path(p.file).exists() for p in problems):
            with locked(folder):
                result.unlink(missing_ok=True)


def check_label(folder: Path) -> None:
    """Print what the label stage would do and what it would cost."""
    run = opened(folder)
    workers = run.config.common.workers
    found = queue.planned(_named(run), run.config.dft, run.folder / "labels", workers=workers)
    console.print(
        f"{found.frames} frames at {run.config.dft.preset} ({found.settings_hash}): "
        f"{found.done} done, {found.failed} failed before"
    )
    for line in found.lines:
        cost = "run by you" if line.core_hours is None else f"{line.core_hours:.2f} core-hours"
        console.print(
            f"  {line.system:12s} {line.atoms:4d} atoms, {line.k_points} k-points: {line.frames} frames, "
            f"tasks: {line.tasks}, {cost}",
            soft_wrap=True,
        )
    if found.core_hours is not None:
        hours = found.core_hours / workers
        console.print(f"about {found.core_hours:.2f} core-hours: {hours:.2f} hours on {workers} cores (common.workers)")


def _named(run: Run) -> list[Atoms]:
    return [frame for path in run.config.label.frames for frame in extxyz.read_frames(place(path))]


def _with_bar(run: Run, frames: list[Atoms], share: tuple[int, int] = (0, 1)) -> queue.Labelled:
    c = run.config
    with estimate("frames") as tick:
        return queue.label(frames, c.dft, run.folder / "labels", workers=c.common.workers, share=share, on_tick=tick)


def study_convergence(run: Run) -> Convergence:
    """Errors of the DFT settings against tighter ones, or against another code, on frames of the dataset."""
    c, ask = run.config, _Asker(run, refused=True)
    for variant in (v for variants in c.convergence.studies.values() for v in variants):
        engines.settings_of(engines.varied(c.dft, variant))  # a wrong one is told before any is calculated
    there = {str(f.info["frame_id"]): f for f in extxyz.read_frames(place(c.dataset.path) / "frames.extxyz")}
    if missing := [name for name in c.convergence.frames if name not in there]:
        raise ValueError(f"convergence.frames: {missing[0]!r} is no frame of {c.dataset.path}; name frames of it")
    frames = [there[name] for name in c.convergence.frames]
    made = [convergence.study(name, variants, frames, ask) for name, variants in c.convergence.studies.items()]
    ask.close("convergence")
    return Convergence(queue.settings_hash(c.dft), c.convergence.frames, tuple(v for study in made for v in study))


def find_energetics(run: Run) -> energetics.Energetics:
    """Atoms, metals, lattice, surfaces and adsorption, as far as their parts are asked for and labelled."""
    c, ask = run.config, _Asker(run)
    own, ions = c.energetics, c.structures.ions
    atoms = {ion: energetics.atom(ion, ask, own) for ion in ions} if "atoms" in own.parts else {}
    metals = {ion: energetics.metal(ion, ask, own, alone=atoms.get(ion)) for ion in ions if "metals" in own.parts}
    crystal, status = None, energetics.NOT_CALCULATED
    if "lattice" in own.parts:
        name = f"crystal_{Path(c.structures.crystal).stem}"
        crystal, status = energetics.crystal(dft_inputs.crystal(run), name, ask, own, changes=own.lattice_settings)
    surfaces = _surfaces(run, ask) if "surfaces" in own.parts else ()
    bound = _bound(run, ask, atoms, metals) if "adsorption" in own.parts else ()
    ask.close("energetics")
    return energetics.Energetics(
        level=queue.settings_hash(c.dft),
        atoms=tuple(atoms.values()),
        metals=tuple(metals.values()),
        crystal=crystal,
        crystal_status=status,
        surfaces=tuple(surfaces),
        adsorption=tuple(bound),
        target=c.common.target,
    )


def climb_ladder(run: Run) -> Ladder:
    """DFT single points at the ends, the saddle and its neighbours of every chosen band, limiting hops first."""
    c, source = run.config, run.folder.resolve().name
    paths = dft_inputs.paths(run)
    tiers = ladder.frames(paths, neighbours=c.ladder.neighbours, source=f"run {source}")
    ask = _Asker(run)
    labels: dict[str, Atoms] = {}
    size = 2 * c.common.workers if c.ladder.max_hours is not None else None
    deadline = None
    for batch in _batches(tiers, size):
        if not ask.has(batch):  # at least one batch a call
            if deadline is not None and time.monotonic() > deadline:
                ask.waiting += len(batch)
                continue
            deadline = deadline or time.monotonic() + 3600 * (c.ladder.max_hours or math.inf)
        labels |= {str(frame.info["frame_id"]): frame for frame in ask(batch, {}) if frame is not None}
    steps = [ladder.step(path, labels, c.ladder, target=c.common.target) for path in paths]
    entries = [ladder.labelled_path(path, made, source=source) for path, made in zip(paths, steps, strict=True)]
    if labels:
        files.write_frames(run.path("ladder", "frames.extxyz"), list(labels.values()))
    listed = [asdict(entry) for entry in entries if entry is not None]
    files.write_text_atomic(run.path("ladder", "paths.yaml"), yaml.safe_dump(listed, sort_keys=False, width=120))
    ask.close("ladder")
    wanted = sum(len(tier) for tier in tiers)
    console.print(f"  {len(labels)} of {wanted} frames are labelled")
    return Ladder(queue.settings_hash(c.dft), tuple(steps), wanted, len(labels), tuple(ask.problems))


class _Asker:
    """Labels of frames at the level of a run, or at a variant of it; remembers what has no label and why.

    With `refused` the numbers of labels that failed a check too, to be measured and never trained on.
    """

    def __init__(self, run: Run, *, refused: bool = False) -> None:
        self._run, self._refused = run, refused
        self.problems: list[queue.Problem] = []
        self.waiting = 0  # frames that the next call may label

    def __call__(self, frames: Sequence[Atoms], changes: Mapping[str, Any]) -> tuple[Atoms | None, ...]:
        dft, workers = engines.varied(self._run.config.dft, changes), self._run.config.common.workers
        with estimate(str(frames[0].info["group"])) as tick:
            made = queue.label(frames, dft, self._run.folder / "labels", workers=workers, on_tick=tick)
        for problem in made.problems:
            console.print(f"  {problem.frame_id}: {problem.reason}", soft_wrap=True)
        self.problems += made.problems
        self.waiting += sum(problem.file is None for problem in made.problems)
        return self._with_refused(frames, made) if self._refused else made.frames

    @staticmethod
    def _with_refused(frames: Sequence[Atoms], made: queue.Labelled) -> tuple[Atoms | None, ...]:
        aside = {p.frame_id: Path(p.file) for p in made.problems if p.file is not None}
        pairs = [(f, found, aside.get(str(f.info["frame_id"]))) for f, found in zip(frames, made.frames, strict=True)]
        return tuple(found if file is None else single_points.read_refused(file, f) for f, found, file in pairs)

    def has(self, frames: Sequence[Atoms]) -> bool:
        """Whether there is nothing to calculate for these frames at the level of the run."""
        dft = self._run.config.dft
        store = tasks.Store(self._run.folder / "labels" / queue.settings_hash(dft))
        return all(store.is_settled(tasks.digest(frame, dft)) for frame in frames)

    def close(self, stage: str) -> None:
        """Mark the stage as unfinished where frames wait."""
        mark = self._run.path(stage, "unfinished")
        if self.waiting:
            files.write_text_atomic(mark, f"{self.waiting} frames wait for a label\n")
            console.print(f"  {self.waiting} frames wait: run the same command again to go on")
        else:
            mark.unlink(missing_ok=True)


def _batches(tiers: Sequence[Sequence[Atoms]], size: int | None) -> Iterator[Sequence[Atoms]]:
    for tier in tiers:
        step = size or len(tier)
        yield from (tier[k : k + step] for k in range(0, len(tier), step))


def _bound(
    run: Run, ask: _Asker, atoms: Mapping[str, energetics.Atom], metals: Mapping[str, energetics.Metal]
) -> list[energetics.Adsorption]:
    """Adsorption energies of the chosen sites, by DFT and by the potential."""
    places = dft_inputs.occupied(run)
    own = dft_inputs.potential_energies(run, [atoms for p in places for atoms in (p.covered, p.clean)])
    every = {str(f.info["frame_id"]): f for p in places for f in energetics.adsorption_frames(p)}
    labels = dict(zip(every, ask(list(every.values()), {}), strict=True))  # all at once, for the workers
    return [
        energetics.adsorption(
            p,
            lambda frames, _: [labels[str(f.info["frame_id"])] for f in frames],
            alone=atoms.get(p.ion),
            elemental=metals.get(p.ion),
            potential_ev=covered - clean,
            target=run.config.common.target,
        )
        for p, covered, clean in zip(places, own[::2], own[1::2], strict=True)
    ]


def _surfaces(run: Run, ask: _Asker) -> list[energetics.Surface]:
    """Surface energies of slabs relaxed by the potential, and by DFT where that is asked for."""
    own, relaxed, word = run.config.energetics, dft_inputs.relaxed_slabs(run), "the potential"
    known = dict(zip(relaxed, dft_inputs.potential_energies(run, list(relaxed.values())), strict=True))
    if own.relax == "dft":
        word = "DFT"
        for name, atoms in relaxed.items():
            relax = energetics.relaxed_by_labels(
                ask,
                fmax_ev_per_angstrom=own.relax_fmax_ev_per_angstrom,
                name=f"surface_{name}",
                vacuum=name != "bulk",
            )
            relaxed[name] = relax(atoms)
    return [
        energetics.surface(
            relaxed[f.name],
            relaxed["bulk"],
            ask,
            name=f.name,
            layers=f.layers,
            relaxed_by=word,
            potential_ev=(known[f.name], known["bulk"]),
        )
        for f in own.surfaces
    ]
