"""The time of training a member: ours against mace_run_train of mace-torch."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench_setup import REPOSITORY, STORE

from mlip.potential.architecture import Architecture
from mlip.stages.dataset.settings import DatasetSettings
from mlip.stages.train.settings import TrainSettings


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
