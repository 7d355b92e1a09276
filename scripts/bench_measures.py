"""The measurements, ours and a peer's: each takes the name of the peer and gives its numbers."""

import resource
import subprocess
import sys
import time

import bench_refine
import numpy as np
from bench_setup import (
    CORES,
    REPOSITORY,
    STORE,
    begin,
    best,
    calculator,
    evaluator,
    finished,
    frames,
    mace_file,
    slab,
    walk,
)

from mlip.stages.md.settings import MdSettings
from mlip.stages.neb.settings import NebSettings
from mlip.stages.sites.settings import SitesSettings

FMAX, END_FMAX, IMAGES, SPRING = 0.05, 0.02, 5, 0.5


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
