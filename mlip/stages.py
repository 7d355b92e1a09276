"""The stages: read files, call the science, write files. Only here paths are joined and modules meet.

Each stage takes a `Run` and gives a frozen dataclass, which is stored with its provenance in
`<run>/<stage>/result.json`, last of all files: where that exists, the stage is whole.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from ase.formula import Formula

from mlip import (
    band_jobs,
    config,
    dataset,
    evaluate,
    extxyz,
    files,
    gate,
    jobs,
    models,
    neb,
    network,
    potential,
    sites,
    structures,
    train,
    ways,
)
from mlip.run import Run, base_model, init, locked, opened, place
from mlip.screen import console, progress

__all__ = ["STAGES", "init", "run_all", "run_one"]


@dataclass(frozen=True)
class Structures:
    """Result of the structures stage; each host is in `structures/<name>.extxyz`."""

    hosts: tuple[structures.Host, ...]


@dataclass(frozen=True)
class Committee:
    """Result of the train stage; the model folder is `train/model`."""

    target: config.Target
    e0_ev: dict[str, float]
    members: tuple[train.Trained, ...]


@dataclass(frozen=True)
class SiteNetwork:
    """Result of the sites stage; the end points of each hop are in `sites/hops/<ion>_<hop>.extxyz`."""

    sites: tuple[sites.Site, ...]
    hops: tuple[network.Hop, ...]
    notes: tuple[str, ...]  # what could not be found, and why
    equivalence: tuple[gate.Equivalence, ...]  # of the ways of evaluating that were tried, fastest first


@dataclass(frozen=True)
class Barriers:
    """Result of the neb stage; each band is in `neb/bands/`."""

    bands: tuple[neb.Band, ...]
    barriers: tuple[neb.Barrier, ...]
    bottlenecks: tuple[network.Bottleneck, ...]


def run_all(folder: Path) -> None:
    """Every stage that is not up to date, in order, then the headline table."""
    run = opened(folder)
    with locked(folder):
        for stage in run.planned():
            _ensure(run, stage)
    _show(run)


def run_one(stage: str, folder: Path) -> None:
    """One stage, if it is not up to date.

    Raises:
        ValueError: a stage before it has not been run with the present settings.
    """
    run = opened(folder)
    with locked(folder):
        for before in run.upstream(stage):
            if not run.is_done(before):
                raise ValueError(f"{before} is not done with these settings; first run: mlip {before} {folder}")
        _ensure(run, stage)
    if stage == "report":
        _show(run)


def _ensure(run: Run, stage: str) -> None:
    if run.is_whole(stage):
        console.print(f"{stage:10s} up to date")
        return
    started = time.time()
    run.prepare(stage)
    if run.is_whole(stage):
        console.print(f"{stage:10s} restored: these settings were run before")
        return
    console.print(f"{stage:10s} ...")
    result = STAGES[stage](run)
    made = files.provenance(stage, settings=run.settings(stage), inputs=run.inputs(stage), started=started)
    made = replace(
        made, fingerprint=run.fingerprint(stage), seed=run.config.common.seed, device=run.config.common.device
    )
    files.write_result(run.path(stage, "result.json"), result, made)
    console.print(f"{stage:10s} done in {time.time() - started:.0f} s")


def build_structures(run: Run) -> Structures:
    """Bulk cell and facet slabs."""
    settings = run.config.structures
    name = str(place(settings.crystal)) if settings.crystal.endswith(".cif") else settings.crystal
    conventional = structures.crystal(name)
    describe = partial(structures.describe, bond_angstrom=settings.bond_angstrom)
    cell = structures.bulk(conventional, settings.bulk_repeat)
    made = [(cell, describe(cell, name="bulk", kind="bulk", miller=None))]
    for facet in settings.facets:
        slab = structures.slab(conventional, facet, bond_angstrom=settings.bond_angstrom)
        made.append((slab, describe(slab, name=facet.name, kind="slab", miller=facet.miller)))
    for atoms, host in made:
        files.write_frames(run.path("structures", f"{host.name}.extxyz"), [atoms])
        counts = " ".join(f"{count} {kind}" for kind, count in sorted(host.coordination.items()))
        console.print(f"  {host.name:12s} {host.formula:12s} {host.atoms} atoms: {counts}")
    return Structures(tuple(host for _, host in made))


def split_dataset(run: Run) -> dataset.Manifest:
    """Checked labels, split by group, at the target level."""
    settings, common = run.config.dataset, run.config.common
    _, frames = dataset.read_dataset(place(settings.path), settings, target=common.target)
    frames, dropped = dataset.deduplicate(frames, settings.duplicate_angstrom)
    for later, earlier in dropped:
        console.print(f"  {later} repeats {earlier}: left out")
    parts = dataset.split(frames, settings.test_groups, valid_fraction=settings.valid_fraction, seed=common.seed)
    manifest = dataset.write_split(run.path("dataset"), parts, common.target)
    for name, part in manifest.parts.items():
        console.print(f"  {name:6s} {part.frames:5d} frames in {len(part.groups)} groups")
    return manifest


def train_committee(run: Run) -> Committee:
    """One MACE potential per member, in processes of their own."""
    c = run.config
    manifest = files.read_result(run.path("dataset", "result.json"), dataset.Manifest)
    base = None if c.train.base is None else str(base_model(c.train.base))
    settings = c.train.model_copy(update={"base": base})
    e0_ev = jobs.reference_energies(settings, manifest, extxyz.read_frames(run.path("dataset", "train.extxyz")))
    todo = [
        jobs.TrainJob(
            run.path("train", f"member-{k}"), run.path("dataset"), settings, e0_ev, c.common.seed, k, c.common.device
        )
        for k in range(1, c.train.members + 1)
    ]
    done = jobs.train_members(
        todo, workers=c.common.workers, tracking=c.tracking, folder=run.folder, run_id=run.fingerprint("train")[:16]
    )
    card = {
        "name": run.folder.resolve().name,
        "target": manifest.target,
        "level": "PBE" if manifest.target == "pbe" else "PBE-D3(BJ), dispersion inside the potential",
        "members": len(done),
        "labels": {"settings_hash": manifest.settings_hash, "parts": {k: p.sha256 for k, p in manifest.parts.items()}},
        "held_out_groups": sorted(manifest.parts["test"].groups),
        "e0_ev": e0_ev,
        "settings": settings.model_dump(mode="json") | {"base": c.train.base},
        "versions": files.versions(),
    }
    jobs.collect(run.path("train", "model"), todo, card)
    return Committee(manifest.target, e0_ev, tuple(done))


def evaluate_committee(run: Run) -> evaluate.Evaluation:
    """Errors of the committee, and of the base model, on the held-out groups."""
    c = run.config
    path = run.path("dataset", "test.extxyz")
    if not path.exists():
        raise ValueError(
            "dataset.test_groups: no group is held out, so there is no accuracy to report; name at least one"
        )
    frames = extxyz.read_frames(path)
    paths = dataset.read_card(place(c.dataset.path)).paths
    measure = partial(
        evaluate.errors, paths=paths, ions=c.structures.ions, shell_angstrom=c.evaluate.first_shell_angstrom
    )
    predicted = jobs.predictions(run.path("train", "model"), frames, device=c.common.device)
    arms = [measure("committee", frames, predicted)]
    if c.train.base is not None:
        base = models.load(base_model(c.train.base), trust_pickle=c.train.trust_pickle)
        if base.card.get("target") == c.common.target:  # another level or reference would compare nothing
            found = potential.Evaluator(base, device=c.common.device)(frames)
            arms.append(measure("base model, not fine-tuned", frames, found))
    console.print(evaluate.table({arm.arm: arm for arm in arms}), soft_wrap=True)
    groups = tuple(sorted({str(f.info["group"]) for f in frames}))
    return evaluate.Evaluation(groups, tuple(arms), evaluate.parity(frames, predicted))


def find_sites(run: Run) -> SiteNetwork:
    """Relaxed hosts, the distinct sites of every ion and the hops between them."""
    c = run.config
    hosts = files.read_result(run.path("structures", "result.json"), Structures).hosts
    trained = models.load(run.path("train", "model"))
    _refuse_unknown_elements(trained, hosts, c.structures.ions)
    model = ways.use(run)
    relaxing = [
        jobs.HostJob(
            host.name,
            run.path("structures", f"{host.name}.extxyz"),
            run.path("sites", "hosts"),
            model,
            c.sites,
            c.common.seed,
            registry=c.structures.crystal == "anatase",
        )
        for host in hosts
    ]
    with progress("hosts", len(relaxing)) as tick:
        failed = jobs.run_parallel(jobs.relax_host, relaxing, workers=c.common.workers, on_tick=tick)
    whole = [job for job, reason in zip(relaxing, failed, strict=True) if reason is None]
    searching = [jobs.SiteJob(job, ion, run.path("sites")) for job in whole for ion in c.structures.ions]
    with progress("sites", len(searching)) as tick:
        found = jobs.run_parallel(jobs.search_sites, searching, workers=c.common.workers, on_tick=tick)
    notes = (*(r for r in failed if r is not None), *(note for part in found for note in part.notes))
    for note in notes:
        console.print(f"  {note}")
    return SiteNetwork(
        sites=tuple(s for part in found for s in part.sites),
        hops=tuple(h for part in found for h in part.hops),
        notes=notes,
        equivalence=ways.checked(run),
    )


def _refuse_unknown_elements(trained: models.Released, hosts: Sequence[structures.Host], ions: Sequence[str]) -> None:
    needed = {s for h in hosts for s in Formula(h.formula).count()} | set(ions)
    if missing := sorted(needed - set(trained.elements)):
        raise ValueError(
            f"structures: the crystal and ions need {missing}, the potential knows {sorted(trained.elements)}; "
            "train one on labels that hold them, or change structures.ions"
        )


def run_bands(run: Run) -> Barriers:
    """A band of every chosen hop by every member; barriers and bottlenecks of the committee."""
    c = run.config
    found = files.read_result(run.path("sites", "result.json"), SiteNetwork)
    members = files.read_result(run.path("train", "result.json"), Committee).members
    model = ways.use(run)
    chosen = jobs.chosen_hops(found.hops, c.neb.hops)
    target = c.common.target
    todo = [
        band_jobs.BandJob(hop, member, run.path("sites", "hops"), run.path("neb", "bands"), model, c.neb, target)
        for hop in chosen
        for member in range(1, len(members) + 1)
    ]
    with progress("bands", len(todo)) as tick:
        outcomes = band_jobs.run_bands(todo, workers=c.common.workers, on_tick=tick)
    barriers = []
    for hop in chosen:
        own = [o for job, o in zip(todo, outcomes, strict=True) if job.hop == hop]
        d3 = [o.d3_forward_ev for o in own]
        mean = None if any(d is None for d in d3) else sum(d for d in d3 if d is not None) / len(d3)
        barriers.append(neb.committee([o.band for o in own], symmetric=hop.symmetric, d3_forward_ev=mean))
    return Barriers(tuple(o.band for o in outcomes), tuple(barriers), _bottlenecks(found, barriers))


def _bottlenecks(found: SiteNetwork, barriers: list[neb.Barrier]) -> tuple[network.Bottleneck, ...]:
    out: list[network.Bottleneck] = []
    for host, ion in dict.fromkeys((s.host, s.ion) for s in found.sites):
        known = {
            b.hop: None if b.forward_ev is None or b.reverse_ev is None else (b.forward_ev, b.reverse_ev)
            for b in barriers
            if (b.host, b.ion) == (host, ion)
        }
        own_sites = [s for s in found.sites if (s.host, s.ion) == (host, ion)]
        own_hops = [h for h in found.hops if (h.host, h.ion) == (host, ion)]
        vacuum = {b.hop: b.vacuum_ev for b in barriers if (b.host, b.ion) == (host, ion) and b.vacuum_ev is not None}
        out.extend(network.bottlenecks(own_sites, own_hops, known, vacuum=vacuum))
    return tuple(out)


def write_report(run: Run) -> Any:
    """The cross-check report."""
    from mlip import reporting

    return reporting.build(run)


def _show(run: Run) -> None:
    from mlip import reporting

    reporting.show(run)


def _in(module: str, verb: str) -> Callable[[Run], Any]:
    """A stage that lives in another module, which is imported when it runs."""

    def stage(run: Run) -> Any:
        return getattr(import_module(f"mlip.{module}"), verb)(run)

    return stage


DFT_STAGES = {
    "label": "label_frames",
    "convergence": "study_convergence",
    "energetics": "find_energetics",
    "ladder": "climb_ladder",
}
MD_STAGES = {"md": "run_md", "diffusion": "find_diffusion"}
STAGES: dict[str, Callable[[Run], Any]] = {
    "structures": build_structures,
    "dataset": split_dataset,
    "train": train_committee,
    "evaluate": evaluate_committee,
    "sites": find_sites,
    "neb": run_bands,
    **{name: _in("dft_stages", verb) for name, verb in DFT_STAGES.items()},
    **{name: _in("md_stages", verb) for name, verb in MD_STAGES.items()},
    "report": write_report,
}
