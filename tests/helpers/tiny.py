"""The smallest potential and the smallest run that still go through every line: shared by several test files."""

import os
import sys
from pathlib import Path

import numpy as np
import yaml
from ase import Atoms

from mlip.atoms import extxyz
from mlip.core import files
from mlip.potential.architecture import Architecture
from mlip.stages.train.settings import TrainSettings

REPOSITORY = Path(__file__).parents[2]
DATA = REPOSITORY / "datasets" / "tio2-mg-li"
HEAVY = ("torch", "mace", "e3nn", "wandb", "matplotlib", "numpy", "ase", "scipy", "spglib", "pydantic")  # slow imports
HELD_OUT = ("001_11_Mg_site",)

ARCHITECTURE = Architecture(channels=4, max_ell=1, layers=2, correlation=2, cutoff_angstrom=3.5)
TRAIN = TrainSettings(
    base=None,
    architecture=ARCHITECTURE,
    epochs=5,
    batch_frames=3,
    learning_rate=5e-2,
    ema_decay=0.9,
    energy_weight=10.0,
    force_weight=100.0,
    huber_ev_per_angstrom=0.5,
    patience=30,
    keep="best",
    dtype="float64",
)


def write_dataset(folder, change=lambda frames: frames):
    """A dataset folder with the smallest shipped frames; `change` may spoil them before they are written."""
    frames = [f for f in extxyz.read_frames(DATA / "frames.extxyz") if len(f) <= 13 and "md" not in f.info["group"]]
    files.write_frames(folder / "frames.extxyz", change(frames))
    card = yaml.safe_load((DATA / "card.yaml").read_text(encoding="utf-8"))
    card |= {"name": "tiny", "paths": [], "sha256": files.sha256(folder / "frames.extxyz")}
    (folder / "card.yaml").write_text(yaml.safe_dump(card, sort_keys=False), encoding="utf-8")
    return folder


def run_settings(**changes):
    """Settings of a whole run in seconds: nothing in it converges, and a report must say so.

    `changes` maps sections to the keys that differ.
    """
    settings = {
        "common": {"workers": 1, "seed": 3, "symmetrix": False},  # a compiled model takes longer than the whole run
        "tracking": {"mode": "disabled"},
        "structures": {
            "bulk_repeat": [1, 1, 1],
            "facets": [{"name": "001", "miller": [0, 0, 1], "layers": 2, "repeat": [2, 1], "vacuum_angstrom": 8.0}],
            "ions": ["Li"],
        },
        "dataset": {"test_groups": list(HELD_OUT)},
        "train": {
            "base": None,
            "members": 2,
            "epochs": 3,
            "batch_frames": 8,
            "dtype": "float64",
            "architecture": ARCHITECTURE.model_dump(mode="json") | {"layers": 1},
        },
        "sites": {
            "fmax_ev_per_angstrom": 50.0,
            "max_steps": 5,
            "host_rattles": 1,
            "max_candidates": 1,
            "grid_angstrom": 0.6,
            "max_hop_angstrom": 3.9,
        },
        "neb": {
            "images": 3,
            "fmax_ev_per_angstrom": 1e-6,
            "max_steps": 4,
            "checkpoint_steps": 1,
            "end_fmax_ev_per_angstrom": 50.0,
        },
        "refine": {"datasets": []},  # nothing of the run has the cells of what is shipped
    }
    for section, keys in changes.items():
        settings[section] = {**settings.get(section, {}), **keys}
    return settings


def write_config(path, **changes):
    """A config file with `run_settings`."""
    path.write_text(yaml.safe_dump(run_settings(**changes)), encoding="utf-8")
    return path


def rattled(symbols="TiO2LiMg", *, seed=0, cell=(4.5, 5.0, 5.5)):
    """A periodic structure without symmetry whose atoms are not on top of each other."""
    rng = np.random.default_rng(seed)
    atoms = Atoms(symbols, cell=np.diag(cell) + rng.normal(scale=0.1, size=(3, 3)), pbc=True)
    spots = np.array([[x, y, z] for x in (0.1, 0.6) for y in (0.1, 0.6) for z in (0.1, 0.6)])
    atoms.set_scaled_positions(spots[rng.permutation(8)[: len(atoms)]] + rng.normal(scale=0.03, size=(len(atoms), 3)))
    return atoms


def command(*words):
    """The command line that runs `mlip` in a process of its own."""
    return [sys.executable, "-W", "ignore", "-m", "mlip.cli", *map(str, words)]


def environment(**extra):
    """The environment of such a process: this checkout, one thread."""
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", **extra}
