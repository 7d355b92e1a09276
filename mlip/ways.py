"""How a run evaluates its potential: checked once, kept beside the model, checked anew where the machine offers others.

Takes a run whose structures and potential are there; gives the ways that were tried with what `gate` found, and the
model in the accepted one. The choice is no part of a result: ways are equal within `common.equivalence_ev`, so a stage
that is done stays done when a package is installed or taken away, and what comes after uses what is there.
"""

import os
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from ase import Atoms

from mlip import compiled, extxyz, files, gate, jobs, models
from mlip.run import Run
from mlip.screen import console

SETTINGS = ("seed", "device", "dtype", "native", "cueq", "equivalence_ev", "equivalence_ev_per_angstrom")


@dataclass(frozen=True)
class Checked:
    """What is kept of a check."""

    key: str  # of the model, the structures, the settings and what is installed
    checks: tuple[gate.Equivalence, ...]  # fastest first


def checked(run: Run) -> tuple[gate.Equivalence, ...]:
    """The ways of evaluating that were tried, fastest first, up to the first that is equivalent to the plain one."""
    kept, key = run.path("train", "ways.json"), _key(run)
    found = _kept(run)
    if found is not None and found.key == key:
        return found.checks
    checks = _apart(run)
    files.write_record(kept, Checked(key, checks))
    for one in checks:
        console.print(f"  {one.summary}", soft_wrap=True)
    return checks


def latest(run: Run, before: Sequence[gate.Equivalence]) -> tuple[gate.Equivalence, ...]:
    """The checks that were made last; `before`, of the sites stage, where none are kept."""
    found = _kept(run)
    return tuple(before) if found is None else found.checks


def use(run: Run) -> jobs.ModelUse:
    """The run's model in the first way that was found equivalent, or else in the plain one."""
    return jobs.model_use(run.path("train", "model"), checked(run))


def _kept(run: Run) -> Checked | None:
    path = run.path("train", "ways.json")
    try:
        return files.read_record(path, Checked) if path.exists() else None
    except ValueError:  # damaged, or of another version: the check is made again
        return None


def _key(run: Run) -> str:
    common = run.config.common.model_dump(mode="json")
    settings = {name: common[name] for name in SETTINGS}
    return files.digest_of([run.fingerprint("train"), run.fingerprint("structures"), settings, machine()])


def machine() -> dict[str, str | None]:
    """What decides which ways there are: packages, and the compiler that symmetrix-xl calls."""
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


def _apart(run: Run) -> tuple[gate.Equivalence, ...]:
    """The check in a process of one thread, as all others that evaluate.

    With a thread for each core the conversion, thousands of small products, waits for its own threads: minutes on a
    machine that is shared.
    """
    return jobs.run_parallel(_check, [run], workers=1)[0]


def _check(run: Run) -> tuple[gate.Equivalence, ...]:
    common, folder = run.config.common, run.path("train", "model")
    trained = models.load(folder)
    return gate.check(
        trained,
        _frames(run),
        gate.ways(device=common.device, dtype=common.dtype, native=common.native, cueq=common.cueq),
        limits=(common.equivalence_ev, common.equivalence_ev_per_angstrom),
        make=lambda way: gate.evaluator(trained, way, folder=jobs.native_folder(folder)),
        seed=common.seed,
    )


def _frames(run: Run) -> list[Atoms]:
    """The run's own hosts, and of each composition that is held out the frame with the largest force."""
    made = sorted(run.path("structures").glob("*.extxyz"))
    labelled = run.path("dataset", "test.extxyz")
    return [extxyz.read_frames(path)[0] for path in made] + hottest(
        extxyz.read_frames(labelled) if labelled.exists() else []
    )


def hottest(frames: Sequence[Atoms]) -> list[Atoms]:
    """Of each composition the frame with the largest labelled force: more of one kind of cell prove nothing more."""
    found: dict[str, tuple[float, Atoms]] = {}
    for atoms in frames:
        name, largest = atoms.get_chemical_formula(), float(np.abs(atoms.arrays.get("REF_forces", 0.0)).max())
        if name not in found or largest > found[name][0]:
            found[name] = largest, atoms
    return [atoms for _, atoms in found.values()]
