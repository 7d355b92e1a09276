"""Benchmarks against the field: one process per measurement, ours and a peer side by side.

    python scripts/bench.py [--only point neb ...] [--again] [--show]

Results are kept in runs/bench/results.json, so that measurements can be made one by one on a quiet machine; what is
there is not measured again without --again. Afterwards docs/benchmarks.md is written where all are there, otherwise
runs/bench/benchmarks.md (--show: only that). Peers are run as shipped: ASE with MACECalculator of mace-torch, its own
NEB and Langevin, the training of mace-torch, and torch-sim where it is installed. Ours runs as the worker of a stage
does, with the same settings of malloc. Threads: whatever a peer takes by default; ours uses as many processes as there
are cores where its command line would.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import bench_page
import bench_refine
import numpy as np

from mlip.core import process
from mlip.potential.architecture import Architecture
from mlip.stages.dataset.settings import DatasetSettings
from mlip.stages.md.settings import MdSettings
from mlip.stages.neb.settings import NebSettings
from mlip.stages.sites.settings import SitesSettings
from mlip.stages.train.settings import TrainSettings

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY))
MODEL = REPOSITORY / "datasets" / "models" / "tio2-mg-li"
HOPS = Path(__file__).with_name("bench_hops.extxyz")
STORE = REPOSITORY / "runs" / "bench"
REPEATS = {49: (1, 1, 1), 196: (2, 2, 1), 980: (5, 4, 1), 1960: (8, 5, 1)}
FMAX, END_FMAX, IMAGES, SPRING = 0.05, 0.02, 5, 0.5
TIGHT = 0.01  # eV/Angstrom, for the barriers that the others are measured against
CORES = os.cpu_count() or 1
TORCH_SIM = "make bench PYTHON=python3.12 VENV=.venv-bench"
VERSIONED = ("torch", "mace-torch", "symmetrix-xl", "e3nn", "ase", "numpy", "torch-sim-atomistic")


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


def point(peer, atoms, dtype):
    """One structure after another, as in dynamics, and the memory it took."""
    from mlip.potential.batch import Batch

    start = slab(atoms)
    places = walk(start.positions)
    if peer == "ase":
        start.calc = calculator(dtype)

        def call():
            start.positions = next(places)
            start.get_forces()

    else:
        batch = Batch(evaluator(peer, dtype), [start])

        def call():
            batch([next(places)])

    seconds = best(call)
    return {"ms": 1e3 * seconds, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def many(peer, dtype):
    """40 structures of 49 atoms in a call, per structure and core (one thread)."""
    import torch

    from mlip.potential.batch import Batch

    torch.set_num_threads(1)
    start = slab(49)
    places = walk(start.positions)
    if peer == "ase":
        start.calc = calculator(dtype)

        def call():
            for _ in range(5):
                start.positions = next(places)
                start.get_forces()

        return {"ms": 1e3 * best(call, least=3) / 5}
    batch = Batch(evaluator(peer, dtype), [start] * 40)
    return {"ms": 1e3 * best(lambda: batch([next(places) for _ in range(40)]), least=3) / 40}


def neb(peer, fmax=FMAX):
    """The six headline hops: ends relaxed, bands to fmax, everything after the model is loaded."""
    hops = list(dict.fromkeys(f.info["hop"] for f in frames()))
    if peer == "ase":
        return neb_of_ase(hops)
    start = time.perf_counter()
    parts = [hops[k::CORES] for k in range(CORES)]
    workers = [begin("neb_part", peer, ",".join(part), fmax, threads=1) for part in parts if part]
    found = [finished(w) for w in workers]
    out = {"seconds": max(f["seconds"] for f in found), "whole_seconds": time.perf_counter() - start}
    for k in ("end_calls", "band_calls", "cpu_seconds"):
        out[k] = sum(f[k] for f in found)
    return out | {"barriers_ev": {h: b for f in found for h, b in f["barriers_ev"].items()}}


def neb_part(peer, hops, fmax):
    """What a worker process of `mlip neb` does: its bands in one pool."""
    from mlip.stages.neb import neb as bands
    from mlip.stages.neb import pool

    settings = NebSettings(images=IMAGES, fmax_ev_per_angstrom=float(fmax), end_fmax_ev_per_angstrom=END_FMAX)
    use = evaluator(peer)
    use(frames()[:2])
    done, entries = {}, []
    start, used = time.perf_counter(), time.process_time()
    for hop in hops.split(","):
        initial, final = (f for f in frames() if f.info["hop"] == hop)
        steps = bands.climbing(initial, final, settings=settings, name=bands.BandName(hop=hop, host=hop))
        entries.append(pool.Entry(steps, initial, IMAGES + 2, 0))
    pool.advance(entries, use, on_done=lambda k, result: done.update({k: result[0]}))
    found = list(done.values())
    band_calls = sum(IMAGES * (b.steps + 1) for b in found)
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - used,
        "band_calls": band_calls,
        "end_calls": sum(b.force_calls for b in found) - band_calls,
        "barriers_ev": {b.hop: b.forward_ev for b in found},
    }


def neb_of_ase(hops):
    """ASE's serial climbing-image NEB with FIRE and one shared calculator, from the same start."""
    from ase.mep import NEB
    from ase.optimize import BFGS, FIRE

    from mlip.atoms.ends import unwrapped
    from mlip.stages.neb.band import interpolated

    calc = calculator()
    frames()[0].copy().calc = calc
    out = {"seconds": 0.0, "band_calls": 0, "end_calls": 0, "barriers_ev": {}}
    begun, used = time.perf_counter(), time.process_time()
    for hop in hops:
        initial, final = (f for f in frames() if f.info["hop"] == hop)
        ends = [initial, unwrapped(initial, final)]
        for end in ends:
            end.calc = calc
            with BFGS(end, logfile=None) as relax:
                relax.run(fmax=END_FMAX, steps=300)
                out["end_calls"] += relax.nsteps + 1
            end.calc = None
        images = interpolated(*ends, count=IMAGES)
        for image in images:
            image.calc = calc
        ring = NEB(images, k=SPRING, climb=True, method="improvedtangent", allow_shared_calculator=True)
        with FIRE(ring, logfile=None) as fire:
            converged = fire.run(fmax=FMAX, steps=300)
            out["band_calls"] += IMAGES * (fire.nsteps + 1) + 2
        energies = [image.get_potential_energy() for image in images]
        out["barriers_ev"][hop] = max(energies) - energies[0] if converged else None
    return out | {"seconds": time.perf_counter() - begun, "cpu_seconds": time.process_time() - used}


def refine(peer, hop):
    """True calls of one hop, another potential as the truth."""
    ends = [f for f in frames() if f.info["hop"] == hop]
    return bench_refine.measured(peer, ends, STORE)


def md(peer, atoms, replicas):
    """Steps of Langevin dynamics, all replicas together, per second, with all cores."""
    start, steps = slab(atoms), 20 if atoms < 100 else 5
    if peer == "ase":
        from ase import units
        from ase.md.langevin import Langevin
        from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

        start.calc = calculator()
        rng = np.random.default_rng(0)
        MaxwellBoltzmannDistribution(start, temperature_K=700, rng=rng)
        moving = Langevin(start, units.fs, temperature_K=700, friction=0.5e-3 / units.fs, rng=rng)
        return {"steps_per_s": steps / best(lambda: moving.run(steps), seconds=10, least=2)}
    if peer == "torch-sim":
        return {"steps_per_s": steps * replicas / best(torch_sim_steps([start] * replicas, steps), seconds=10, least=2)}
    from mlip.stages.md import dynamics, md_jobs, trajectory

    settings = MdSettings(replicas=replicas, temperatures_kelvin=(700.0,), equilibrate_ps=0.0, target_ps=1000.0)
    header = trajectory.Header(
        name="bench",
        host="001",
        ions=("Li",),
        symbols=("Li",),
        stored=(len(start) - 1,),
        atoms=len(start),
        mobile=len(start),
        cell_angstrom=tuple(map(tuple, start.cell.array.tolist())),
        repeat=(1, 1, 1),
        replicas=tuple(map(str, range(replicas))),
        temperatures_kelvin=(700.0,) * replicas,
        time_step_fs=1.0,
        frame_steps=20,
        model="bench",
        settings="bench",
    )
    several = np.repeat(start.positions[None], replicas, axis=0)
    batch = dynamics.Batch(header, start.get_masses(), np.ones(len(start), bool), several, 0)
    field = md_jobs.Committee(evaluator(peer), [start] * replicas, member=1, skin_angstrom=settings.skin_angstrom)
    state = dynamics.start(batch, settings, field)

    def some():
        nonlocal state
        state, _ = dynamics.advance(batch, state, settings, field, until=state.step + steps)

    return {"steps_per_s": steps * replicas / best(some, seconds=10, least=2)}


def torch_sim_steps(starts, steps):
    """So many steps of torch-sim's Langevin dynamics of all structures in one batch, as a call."""
    import torch
    import torch_sim
    from ase import units
    from torch_sim.models.mace import MaceModel

    torch.manual_seed(0)
    device, dtype = torch.device("cpu"), torch.float64
    network = torch.load(mace_file(), map_location=device, weights_only=False)  # a file of our own making
    model = MaceModel(network, device=device, dtype=dtype, compute_stress=False)
    time_unit = torch_sim.units.MetalUnits.time  # one picosecond
    heat = torch.tensor(700 * units.kB, dtype=dtype)
    moving = {
        "dt": torch.tensor(time_unit * 1e-3, dtype=dtype),
        "kT": heat,
        "gamma": torch.tensor(0.5 / time_unit, dtype=dtype),
    }
    state = torch_sim.nvt_langevin_init(torch_sim.initialize_state(starts, device, dtype), model, kT=heat)

    def some():
        nonlocal state
        for _ in range(steps):
            state = torch_sim.nvt_langevin_step(state, model, **moving)

    return some


def train(peer):
    """Ten epochs on 40 small frames, one thread: frames per second and the error on 8 others."""
    from mlip.atoms import extxyz
    from mlip.stages.dataset import dataset

    data = REPOSITORY / "datasets" / "tio2-mg-li"
    settings = DatasetSettings(path=data)
    _, every = dataset.read_dataset(data, settings, target="pbe")
    others = set(sorted({f.info["group"] for f in every})[::6])
    part = {
        name: [f for f in every if (f.info["group"] in others) == held] for name, held in (("train", 0), ("valid", 1))
    }
    part = {name: part[name][:: len(part[name]) // count][:count] for name, count in (("train", 40), ("valid", 8))}
    e0 = dataset.write_split(
        STORE / "split", dataset.Split(tuple(part["train"]), tuple(part["valid"]), ()), "pbe"
    ).e0_ev["pbe"]
    part = {k: extxyz.read_frames(STORE / "split" / f"{k}.extxyz") for k in part}
    epochs = 10
    if peer == "mace-torch":
        return train_mace(e0, epochs)
    from mlip.stages.train import train as training

    own = TrainSettings(
        base=None,
        epochs=epochs,
        batch_frames=4,
        architecture=Architecture(max_ell=2),
        patience=epochs,
        members=1,
    )
    history = []
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        arguments = {"e0_ev": e0, "seed": 1, "member": 1, "folder": Path(folder), "device": "cpu"}
        training.run(own, train=part["train"], valid=part["valid"], on_epoch=history.append, **arguments)
        seconds = time.perf_counter() - start
    last = history[-1].valid_force_rmse_ev_per_angstrom
    return {"frames_per_s": 40 * epochs / seconds, "seconds": seconds, "force_rmse_ev_per_angstrom": last}


def train_mace(e0, epochs):
    """mace_run_train with the same data and model, its own loss."""
    from ase.data import atomic_numbers

    energies = {atomic_numbers[s]: e for s, e in e0.items()}
    words = {
        "name": "bench", "seed": 1, "train_file": STORE / "split" / "train.extxyz", "valid_file": STORE / "split" / "valid.extxyz",
        "E0s": energies, "model": "ScaleShiftMACE", "hidden_irreps": "64x0e", "max_ell": 2, "r_max": 5.0, "correlation": 3,
        "num_interactions": 2, "batch_size": 4, "valid_batch_size": 4, "max_num_epochs": epochs, "lr": 1e-3, "ema_decay": 0.99,
        "energy_weight": 500, "forces_weight": 100, "default_dtype": "float32", "device": "cpu", "energy_key": "REF_energy",
        "forces_key": "REF_forces", "plot": False, "num_workers": 0,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-W", "ignore", "-m", "mace.cli.run_train", "--ema", "--work_dir", folder]
        command += [w for k, v in words.items() for w in (f"--{k}", str(v))]
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
        whole = time.perf_counter() - start
        if done.returncode:
            raise ValueError(done.stderr[-300:])
        lines = [json.loads(x) for x in next(Path(folder).rglob("*_train.txt")).read_text().splitlines()]
    seconds = sum(x["time"] for x in lines if x["mode"] == "opt")
    last = [x for x in lines if x["mode"] == "eval"][-1]
    return {
        "frames_per_s": 40 * epochs / whole,
        "seconds": whole,
        "optimiser_seconds": seconds,
        "force_rmse_ev_per_angstrom": last["rmse_f"],
    }


def start_up(_peer):
    """`mlip --help`, from nothing to the prompt."""
    command = [sys.executable, "-m", "mlip.cli", "--help"]
    return {
        "seconds": best(lambda: subprocess.run(command, check=True, capture_output=True, cwd=REPOSITORY), seconds=2)
    }


def run_again(_peer):
    """`mlip run` on runs/quick, which must be finished: nothing is left to do."""
    folder = REPOSITORY / "runs" / "quick"
    if not (folder / "report" / "result.json").exists():
        raise ValueError("runs/quick is not there or not finished; make run first")
    command = [sys.executable, "-m", "mlip.cli", "run", "configs/quick.yaml", str(folder)]
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, cwd=REPOSITORY)
        times.append(time.perf_counter() - start)
    return {"first_seconds": times[0], "seconds": min(times)}


def sites(peer):
    """Site search of Li on the clean (001) slab, one process."""
    from mlip.potential import potential
    from mlip.stages.sites import sites as search

    host = slab(49)[:-1]
    settings = SitesSettings()
    use = potential.Potential(evaluator(peer))
    start = time.perf_counter()
    relaxed = search.host_relaxed(host, use, settings, seed=1)
    found, _ = search.relaxed_sites(relaxed, "Li", use, settings, name="001", metal_symbols=["Ti"], seed=1)
    return {"seconds": time.perf_counter() - start, "sites": len(found)}


def profile(peer):
    """Where the time of one structure of 49 atoms goes, one thread: the floor is the network forward and backward."""
    import torch

    from mlip.potential.batch import Batch
    from mlip.potential.graphs import graph

    torch.set_num_threads(1)
    start, use = slab(49), evaluator(peer)
    places = walk(start.positions)
    batch = Batch(use, [start])
    prepared = use.backend.prepare([graph(start, use.elements, use.cutoff_angstrom)])
    whole = best(lambda: batch([next(places)]))
    floor = best(lambda: use.backend.run(0, prepared))
    rebuilt = best(lambda: use([start]))
    return {
        "floor_ms": 1e3 * floor,
        "batch_ms": 1e3 * whole,
        "new_list_ms": 1e3 * rebuilt,
        "overhead": whole / floor - 1,
    }


OURS = ("symmetrix-xl", "mace-scalar")
PLAN = {
    "point": [("point", p, n, d) for d in ("float64", "float32") for n in REPEATS for p in (*OURS, "ase")],
    "many": [("many", p, d) for d in ("float64", "float32") for p in (*OURS, "ase")],
    "neb": [*(("neb", p) for p in (*OURS, "ase")), ("neb", "mace-scalar", TIGHT)],
    "md": [("md", p, n, 1) for n in REPEATS for p in (*OURS, "ase", "torch-sim") if n < 1000 or p in OURS]
    + [("md", p, 49, 16) for p in (*OURS, "torch-sim")],
    "train": [("train", p) for p in ("ours", "mace-torch")],
    "sites": [("sites", p) for p in OURS],
    "start": [("start_up", "ours")],
    "profile": [("profile", p) for p in OURS],
    "again": [("run_again", "ours")],
    "refine": [("refine", p, h) for h in ("Li_100_010zz", "Li_001_in") for p in ("ours", "neb", "dimer")],
}


def begin(item, *words, threads=None):
    """A measurement in a process of its own."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "MKL_"))}
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    command = [sys.executable, "-W", "ignore", __file__, "--run", item, *map(str, words)]
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


def skipped(words):
    """Why a measurement cannot be made here, or None."""
    if "symmetrix-xl" in words and importlib.util.find_spec("symmetrix") is None:
        return "symmetrix-xl is not installed"
    if "torch-sim" in words and importlib.util.find_spec("torch_sim") is None:
        return f"torch-sim is not installed; it needs Python 3.12 or later: {TORCH_SIM}"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PLAN, default=list(PLAN))
    parser.add_argument("--again", action="store_true", help="measure again what is there")
    parser.add_argument("--show", action="store_true", help="write docs/benchmarks.md and measure nothing")
    parser.add_argument("--run", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        item, *words = given.run
        if words[0] in (*OURS, "ours"):
            process.own()
        print(json.dumps(globals()[item](*(int(w) if w.isdigit() else w for w in words))))
        return
    STORE.mkdir(parents=True, exist_ok=True)
    path = STORE / "results.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    for item, *words in [] if given.show else [step for name in given.only for step in PLAN[name]]:
        name = " ".join(map(str, (item, *words)))
        if name in known and not given.again:
            continue
        if reason := skipped(words):
            print(f"{name}: skipped: {reason}")
            continue
        try:
            made = {"date": datetime.now(UTC).date().isoformat(), "versions": versions()}
            known[name] = finished(begin(item, *words)) | made
        except ValueError as error:
            print(f"{name}: failed: {error}")
            continue
        print(
            f"{name}: " + ", ".join(f"{k} {v:.4g}" for k, v in known[name].items() if isinstance(v, float | int)),
            flush=True,
        )
        path.write_text(json.dumps(known, indent=1) + "\n")
    planned = {" ".join(map(str, step)) for steps in PLAN.values() for step in steps}
    page = REPOSITORY / "docs" / "benchmarks.md" if planned <= set(known) else STORE / "benchmarks.md"
    if known:
        page.write_text(bench_page.page(known, machine()), encoding="utf-8")
        print(f"{page}: {len(planned & set(known))} of {len(planned)} measurements")


def versions():
    """Of Python and the packages that decide the speed."""
    found = {"python": platform.python_version()}
    for package in VERSIONED:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine():
    """Processor, cores and memory."""
    info = Path("/proc/cpuinfo")
    names = (
        [x.split(":")[1].strip() for x in info.read_text().splitlines() if x.startswith("model name")]
        if info.exists()
        else []
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": CORES,
        "memory_gb": round(memory),
    }


if __name__ == "__main__":
    main()
