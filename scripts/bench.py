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
from datetime import UTC, datetime
from pathlib import Path

import bench_measures
import bench_page
import bench_train
from bench_setup import CORES, REPEATS, REPOSITORY, STORE, begin, finished

from mlip.core import process

TIGHT = 0.01  # eV/Angstrom, for the barriers that the others are measured against
TORCH_SIM = "make bench PYTHON=python3.12 VENV=.venv-bench"
VERSIONED = ("torch", "mace-torch", "symmetrix-xl", "e3nn", "ase", "numpy", "torch-sim-atomistic")
OURS = ("symmetrix-xl", "mace-scalar")
HOPS = ("Li_bulk_oct", "Mg_bulk_oct", "Li_100_010zz", "Mg_100_010zz", "Li_001_in", "Mg_001_in")
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
    "refine": [("refine", p, h) for h in HOPS for p in ("ours", "neb", "dimer")],
}


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
        measure = getattr(bench_train if item == "train" else bench_measures, item)
        print(json.dumps(measure(*(int(w) if w.isdigit() else w for w in words))))
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
