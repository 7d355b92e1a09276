"""A tiny MACE committee, trained once per session on a few of the shipped frames."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy and torch: sums in one order, and no quarrel over cores
os.environ["MPLBACKEND"] = "Agg"

import fcntl
import subprocess
from types import SimpleNamespace

import pytest
from helpers import tiny

from mlip.atoms import extxyz
from mlip.stages.dataset import dataset


@pytest.fixture(scope="session")
def labelled():
    """The small shipped frames (up to 13 atoms) by frame_id, with their DFT labels."""
    frames = extxyz.read_frames(tiny.DATA / "frames.extxyz")
    return {f.info["frame_id"]: f for f in frames if len(f) <= 13}


@pytest.fixture(scope="session")
def split(tmp_path_factory, labelled):
    """Folder with train, valid and test files of a few frames, its manifest, and the frames themselves."""
    folder = tmp_path_factory.mktemp("split")
    train = [f"bulk1_{ion}_{part}" for ion in ("Li", "Mg") for part in ("site", "hop25", "hop50")]
    parts = dataset.Split(
        train=tuple(labelled[k] for k in (*train, "001_11_clean_relaxed", "001_11_Li_hop0")),
        valid=tuple(labelled[k] for k in ("001_11_Li_hop1", "001_11_Mg_hop1")),
        test=tuple(labelled[k] for k in ("001_11_Mg_site", "001_11_Mg_sub")),
    )
    manifest = dataset.write_split(folder, parts, "pbe")
    read = {name: extxyz.read_frames(folder / f"{name}.extxyz") for name in ("train", "valid", "test")}
    return SimpleNamespace(folder=folder, manifest=manifest, e0_ev=manifest.e0_ev["pbe"], **read)


@pytest.fixture(scope="session")
def one_thread():
    """Torch on one thread: sums of the same numbers are then the same to the bit."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def trained(tmp_path_factory, split, one_thread):
    """Outcome, shape and weights of two tiny members."""
    from mlip.stages.train import train

    folder = tmp_path_factory.mktemp("trained")
    return [
        train.run(
            tiny.TRAIN,
            train=split.train,
            valid=split.valid,
            e0_ev=split.e0_ev,
            seed=3,
            member=k,
            folder=folder / str(k),
        )
        for k in (1, 2)
    ]


@pytest.fixture(scope="session")
def committee(tmp_path_factory, split, trained):
    """A model folder with two members."""
    from mlip.potential import models

    folder = tmp_path_factory.mktemp("models") / "tiny"
    card = {"name": "tiny", "target": "pbe", "e0_ev": split.e0_ev}
    models.save(folder, shape=trained[0][1], weights=[weights for _, _, weights in trained], card=card)
    return folder


@pytest.fixture(scope="session")
def calculator(committee):
    """The calculator of the committee."""
    from mlip.potential.potential import load

    return load(committee)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished run in `.folder` with its `.config`, made once for all workers of the session: copy it to change it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    config, folder = shared / "finished.yaml", shared / "finished"
    with (shared / "finished.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not config.exists():
            data = tiny.write_dataset(shared / "finished_data")
            tiny.write_config(shared / "c.yaml", dataset={"path": str(data)}, tracking={"mode": "offline"})
            done = subprocess.run(
                tiny.command("run", shared / "c.yaml", folder),
                env=tiny.environment(),
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            (shared / "finished.txt").write_text(done.stderr, encoding="utf-8")
            given = (shared / "c.yaml").read_text(encoding="utf-8").replace("mode: offline", "mode: disabled")
            (folder / "config.yaml").write_text(given, encoding="utf-8")  # copies that are run again record nothing
            config.write_text(given, encoding="utf-8")
    screen = (shared / "finished.txt").read_text(encoding="utf-8")
    return SimpleNamespace(config=config, folder=folder, screen=screen)


def mounted(folder, size):
    """A file system of this size at `folder`, while the generator is held."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        done = subprocess.run(["mount", *options], check=False, capture_output=True).returncode == 0
    except OSError:
        done = False
    if not done:
        pytest.skip("mounting a small file system is not permitted")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of 64 KiB."""
    yield from mounted(tmp_path / "disk", "64k")


@pytest.fixture(scope="session")
def gpu():
    """Skips the test where there is no GPU."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no GPU")


def pytest_collection_modifyitems(config, items):
    """Leave slow tests out of the default run (`pytest -m slow` has them); whole runs first, they take longest."""
    items.sort(key=lambda item: item.path.name != "test_stages.py")
    if not config.option.markexpr:
        slow = [item for item in items if item.get_closest_marker("slow")]
        items[:] = [item for item in items if not item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)
