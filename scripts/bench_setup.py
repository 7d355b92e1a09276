"""What every benchmark begins from: structures, models, a clock, and a process for each measurement."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).parents[1]
SCRIPT = Path(__file__).with_name("bench.py")
MODEL = REPOSITORY / "datasets" / "models" / "tio2-mg-li"
HOPS = Path(__file__).with_name("bench_hops.extxyz")
STORE = REPOSITORY / "runs" / "bench"
CORES = os.cpu_count() or 1
REPEATS = {49: (1, 1, 1), 196: (2, 2, 1), 980: (5, 4, 1), 1960: (8, 5, 1)}


def frames():
    from mlip.atoms import extxyz

    return extxyz.read_frames(HOPS)


def released():
    from mlip.potential import models

    return models.load(MODEL).subset([1])


def mace_file():
    """The first member as the `.model` file that peers load."""
    from mlip.potential import models

    path = STORE / "member-1.model"
    if not path.exists():
        models.export_mace(models.load(MODEL), path)
    return str(path)


def evaluator(backend, dtype="float64"):
    """Ours: symmetrix-xl, or mace-scalar, which is used without it."""
    from mlip.potential import potential

    return potential.Evaluator(released(), dtype=dtype, backend=backend, folder=STORE / "symmetrix-xl")


def calculator(dtype="float64"):
    from mace.calculators import MACECalculator

    return MACECalculator(model_paths=mace_file(), device="cpu", default_dtype=dtype)


def best(function, *, seconds=4.0, least=5):
    """Shortest of many calls, after warm-up."""
    for _ in range(3):
        function()
    times, end = [], time.perf_counter() + seconds
    while len(times) < least or time.perf_counter() < end:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def slab(atoms):
    return next(f for f in frames() if f.info["hop"] == "Li_001_in").repeat(REPEATS[atoms])


def walk(start):
    """Positions that change from call to call, as in dynamics."""
    rng = np.random.default_rng(0)
    while True:
        yield start + rng.normal(scale=0.01, size=start.shape)


# measurements: each runs in a process of its own and gives a mapping of numbers


def begin(item, *words, threads=None):
    """A measurement in a process of its own."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "MKL_"))}
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    command = [sys.executable, "-W", "ignore", str(SCRIPT), "--run", item, *map(str, words)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(process):
    """What a measurement gave.

    Raises:
        ValueError: it failed, with its last words.
    """
    out, err = process.communicate()
    if process.returncode:
        raise ValueError((err.strip().splitlines() or ["no message"])[-1][:200])
    return json.loads(out.strip().splitlines()[-1])
