import json
import os
import signal
import subprocess
import sys
import time

import pytest
from helpers import tiny
from helpers.tracked_runs import steps, stored
from numpy.testing import assert_allclose

from mlip.core.tracking import Tracking, group_of
from mlip.potential import models, potential
from mlip.stages.dataset.dataset import Manifest
from mlip.stages.train import jobs
from mlip.stages.train.settings import TrainSettings


def test_base_that_saw_the_labels_is_refused(committee, tmp_path):
    whole = models.load(committee)
    card = {**whole.card, "labels": {"settings_hash": "abc"}}
    models.save(tmp_path / "seen", shape=whole.shape, weights=[whole.members[0].state_dict()], card=card)
    e0 = dict.fromkeys(whole.elements, -1.0)
    manifest = Manifest(target="pbe", settings_hash="abc", parts={}, e0_ev={"pbe": e0})
    with pytest.raises(ValueError, match="may not be held out"):
        jobs.reference_energies(TrainSettings(base=str(tmp_path / "seen")), manifest, [])


def relabelled(frames, found, shift):
    """The frames with the energies of a model plus a constant of each element, as another DFT code has them."""
    made = [frame.copy() for frame in frames]
    for frame, one in zip(made, found, strict=True):
        frame.info["REF_energy"] = one.energy_ev + sum(shift[s] for s in frame.symbols)
    return made


@pytest.mark.parametrize("size", [0.0, 1.0])
def test_a_base_moves_to_the_zero_of_another_code(committee, split, size):
    """The labels are those of the base, from another zero: it keeps its constants, or gets the ones that are missing."""
    base = models.load(committee)
    shift = {"Li": -5.0 * size, "Mg": 3.0 * size, "O": -300.0 * size, "Ti": -1200.0 * size}
    training = relabelled(split.train, potential.Evaluator(base)(split.train), shift)
    manifest = Manifest(target="pbe", settings_hash="another", parts={}, e0_ev={"pbe": split.e0_ev})
    e0 = jobs.reference_energies(TrainSettings(base=str(committee)), manifest, training)
    own = dict(zip(base.elements, base.shape["atomic_energies"][0], strict=True))
    for frame in training:
        moved = sum(e0[s] - own[s] for s in frame.symbols)
        assert_allclose(moved, sum(shift[s] for s in frame.symbols), rtol=1e-6, atol=1e-6)


EPOCHS = 4
SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_train_jobs
if __name__ == "__main__":
    test_train_jobs.train(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def train(run, data):
    """A member of a few epochs, as the stage trains it."""
    small = tiny.ARCHITECTURE.model_copy(update={"layers": 1})
    settings = tiny.TRAIN.model_copy(update={"architecture": small, "epochs": EPOCHS})
    e0_ev = dict.fromkeys(("Li", "Mg", "O", "Ti"), -1.0)
    job = jobs.TrainJob(run / "train" / "member-1", data, settings, e0_ev, 3, 1, "cpu")
    jobs.train_members([job], workers=1, tracking=Tracking(), run_folder=run, fingerprint="now")


def losses(run):
    path = run / "train" / "member-1" / "history.jsonl"
    return [json.loads(line)["valid_loss"] for line in path.read_text().splitlines()] if path.exists() else []


def test_a_training_that_was_killed_and_continued_is_one_history(split, tmp_path):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT.format(tests=str(tiny.REPOSITORY / "tests")))
    run = tmp_path / "run"
    words = [sys.executable, "-W", "ignore", str(script), str(run), str(split.folder)]
    environment = {k: v for k, v in tiny.environment().items() if not k.startswith("WANDB_")}
    killed = subprocess.Popen(words, env=environment, start_new_session=True)
    while not losses(run):
        assert killed.poll() is None
        time.sleep(0.05)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    begun = {path.name for path in (run / "wandb").glob("offline-run-*")}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    runs = stored(run)
    assert {(r.group, r.job_type, r.name) for r in runs} == {(group_of(run), "train", "run/train/member-1")}
    assert len({r.id for r in runs}) == 1
    assert {r.config["member"] for r in runs} == {1}
    assert steps(runs) == list(range(EPOCHS))
    assert [line["valid_loss"] for r in runs for line in r.history] == losses(run)
    assert begun.isdisjoint(path.name for path in (run / "wandb").glob("offline-run-*"))  # what was cut is gone
