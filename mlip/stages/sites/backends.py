"""Which backend evaluates the potential of a run: checked once, and anew where the machine offers others.

Takes the context of a stage that evaluates the potential; gives the backends that were tried with what `equivalence`
found, and the model with the accepted one. The choice is no part of a result: backends agree within
`common.equivalence_ev`, so a stage that is done stays done when a package is installed or removed, and later stages use
what is there. The check is kept in `<run>/backends.json`.
"""

import os
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atom, Atoms

from mlip.atoms import extxyz
from mlip.atoms.structures import metals
from mlip.core import files
from mlip.core.stage import Context
from mlip.core.workers import run_parallel
from mlip.potential import equivalence, models, use
from mlip.potential.backends import compiled
from mlip.stages import structures
from mlip.stages.dataset.stage import STAGE as DATASET
from mlip.stages.sites.settings import SitesSettings
from mlip.stages.sites.sites import candidates
from mlip.stages.train.stage import STAGE as TRAIN
from mlip.stages.train.stage import model_folder

SETTINGS = ("seed", "device", "dtype", "symmetrix", "cueq", "equivalence_ev", "equivalence_ev_per_angstrom")
KEPT, KEPT_EXACT = "backends.json", "backends-float64.json"  # in the folder of the run
STRUCTURES = 2  # raised when other structures are checked, so that a kept check is made again
ROOM = SitesSettings(clearance_angstrom=0.5, max_candidates=1)  # the widest void, or the lowest hollow of a slab
NEEDS = (structures.STAGE, DATASET, TRAIN)  # of every stage that evaluates the potential


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What is kept of a check."""

    key: str  # of the model, the structures, the settings and what is installed
    checks: tuple[equivalence.Equivalence, ...]  # fastest first


@dataclass(frozen=True)
class CheckJob:
    """A check to be made in a process of its own."""

    model: Path
    structures: Path
    test: Path
    ions: tuple[str, ...]
    settings: dict[str, Any]


def checked(context: Context[Any]) -> tuple[equivalence.Equivalence, ...]:
    """The backends that were tried, fastest first, up to the first that is equivalent to mace-torch in float64."""
    return _checked(context, _settings(context), context.run_folder / KEPT)


def _checked(context: Context[Any], settings: dict[str, Any], kept: Path) -> tuple[equivalence.Equivalence, ...]:
    key, found = _key(context, settings), _kept(kept)
    if found is not None and found.key == key:
        return found.checks
    job = CheckJob(
        model_folder(context.folder_of(TRAIN)),
        context.folder_of(structures.STAGE),
        context.folder_of(DATASET) / "test.extxyz",
        context.settings_of(structures.STAGE).ions,
        settings,
    )
    # In a process of one thread: with a thread for each core the conversion, thousands of small products, waits for its
    # own threads, minutes on a shared machine.
    checks = run_parallel(check, [job], workers=1)[0]
    files.write_record(kept, Checked(key=key, checks=checks))
    for one in checks:
        context.say(one.summary)
    return checks


def model_use(context: Context[Any]) -> use.ModelUse:
    """The run's model with the first backend that was found equivalent, or else with mace-torch."""
    return use.model_use(model_folder(context.folder_of(TRAIN)), checked(context))


def exact_use(context: Context[Any]) -> use.ModelUse:
    """The run's model in float64, whatever `common.dtype` is, with the first backend that was found equivalent."""
    found = model_use(context)
    if found.dtype == "float64":
        return found
    settings = _settings(context) | {"dtype": "float64"}
    return use.model_use(found.folder, _checked(context, settings, context.run_folder / KEPT_EXACT))


def _settings(context: Context[Any]) -> dict[str, Any]:
    return {name: getattr(context.common, name) for name in SETTINGS}


def _key(context: Context[Any], settings: dict[str, Any]) -> str:
    before = [context.fingerprint_of(stage) for stage in (TRAIN, structures.STAGE)]
    return files.digest_of([*before, settings, machine(), STRUCTURES])


def latest(run_folder: Path, before: Sequence[equivalence.Equivalence]) -> tuple[equivalence.Equivalence, ...]:
    """The checks that were made last; `before`, of the stage `sites`, where none are kept."""
    found = _kept(run_folder / KEPT)
    return tuple(before) if found is None else found.checks


def _kept(path: Path) -> Checked | None:
    try:
        return files.read_record(path, Checked) if path.exists() else None
    except ValueError:  # damaged, or of another version: the check is made again
        return None


def machine() -> dict[str, str | None]:
    """What decides which backends there are: packages, and the compiler that symmetrix-xl calls."""
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    return {
        "symmetrix-xl": compiled.version(),
        "compiler": shutil.which(compiler[0]) if compiler else None,
        **{name: _version(name) for name in ("torch", "mace-torch", "cuequivariance-torch")},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def check(job: CheckJob) -> tuple[equivalence.Equivalence, ...]:
    """The backends of a model held against mace-torch on the structures of `frames`."""
    trained, common = models.of_run(job.model), job.settings
    tried = equivalence.candidates(
        device=common["device"], dtype=common["dtype"], symmetrix=common["symmetrix"], cueq=common["cueq"]
    )
    return equivalence.check(
        trained,
        frames(job),
        tried if trained.calculator is None else equivalence.of_calculator(),
        limits=(common["equivalence_ev"], common["equivalence_ev_per_angstrom"]),
        make=lambda backend: equivalence.evaluator(trained, backend, folder=use.converted_folder(job.model)),
        seed=common["seed"],
    )


def frames(job: CheckJob) -> list[Atoms]:
    """The run's own hosts, and of each composition that is held out the frame with the largest force.

    Ions that no such frame holds, as in a run without labels, are put on every host: each element of the run is seen.
    """
    hosts = [extxyz.read_frames(path)[0] for path in sorted(job.structures.glob("*.extxyz"))]
    known = hosts + hottest(extxyz.read_frames(job.test) if job.test.exists() else [])
    lacking = [ion for ion in job.ions if not any(ion in atoms.symbols for atoms in known)]
    return known + [one for ion in lacking for host in hosts for one in occupied(host, ion)]


def occupied(host: Atoms, ion: str) -> list[Atoms]:
    """A host with an ion where there is most room for it: in the widest void, on a slab in the lowest hollow."""
    kinds = sorted(set(np.array(host.get_chemical_symbols())[metals(host)]))
    return [host + Atoms([Atom(ion, place)]) for place in candidates(host, ion, ROOM, metal_symbols=kinds)]


def hottest(frames: Sequence[Atoms]) -> list[Atoms]:
    """Of each composition the frame with the largest labelled force: more of one kind of cell prove nothing more."""
    found: dict[str, tuple[float, Atoms]] = {}
    for atoms in frames:
        name, largest = atoms.get_chemical_formula(), float(np.abs(atoms.arrays.get("REF_forces", 0.0)).max())
        if name not in found or largest > found[name][0]:
            found[name] = largest, atoms
    return [atoms for _, atoms in found.values()]
