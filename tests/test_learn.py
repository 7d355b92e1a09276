"""Rounds of `mlip learn` with an engine of the tests as DFT: what is chosen, what a kill leaves, what is refused."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import tiny

from mlip import cli
from mlip.atoms import dispersion, extxyz
from mlip.dft import engines, queue
from mlip.dft.settings import Dft
from mlip.tools import merge_datasets

MORE = Path(__file__).parent / "more_engines"
DFT = {"preset": "pretend-morse", "settings": {}}
SHAPE = tiny.run_settings()["train"]["architecture"]
LEARN = {"rounds": 2, "frames": 3}


@pytest.fixture(autouse=True)
def further_engine(monkeypatch):
    monkeypatch.setattr(engines, "__path__", [*engines.__path__, str(MORE)])
    monkeypatch.setenv("PYTHONPATH", f"{MORE}:{MORE.parent}:{tiny.REPOSITORY}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The smallest shipped frames with the labels of the engine of the tests."""
    folder = tmp_path_factory.mktemp("data") / "tiny"
    frames = extxyz.read_frames(tiny.DATA / "frames.extxyz")
    kept = [f for f in frames if len(f) <= 13 and f.info["host"] == "bulk" and f.info["ion"] != "Mg"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engines, "__path__", [*engines.__path__, str(MORE)])
        dft = Dft.model_validate(DFT)
        settings = queue.settings_of(dft)
        engine = engines.engine(dft)
        calculate = engine.session(engines.settings_of(dft))
        for frame in kept:
            found = calculate(frame, folder)
            frame.info |= {"dft_energy": found.energy_ev, "settings_hash": queue.settings_hash(dft)}
            frame.arrays["dft_forces"] = found.forces
        merge_datasets.write(
            folder, kept, level="analytic", settings=settings, licence="MIT", sampled="tests", limits=(), paths=()
        )
    return folder


def config(folder, data, **changes):
    settings = {
        "dataset": {"path": str(data), "test_groups": ["bulk1_Li_hop"]},
        "dft": DFT,
        "learn": LEARN,
        "structures": {"facets": []},
        "train": {"architecture": {**SHAPE, "elements": ["Li", "O", "Ti"]}},
        "tracking": {"mode": "disabled"},
        **changes,
    }
    return tiny.write_config(folder / "learn.yaml", **settings)


def rounds_of(folder):
    return json.loads((folder / "learn.json").read_text())


def test_first(tmp_path, data):
    t = time.time()
    assert cli.main(["learn", str(config(tmp_path, data)), str(tmp_path / "out")]) == 0
    print(time.time() - t)
    print((tmp_path / "out" / "report.md").read_text())
    print(sorted(os.listdir(tmp_path / "out")))
