import math
import os
import random
import signal
import subprocess
import sys
import time
from itertools import pairwise

import numpy as np
import pytest
from helpers import tiny
from numpy.testing import assert_allclose, assert_array_equal

from mlip.potential import models, potential
from mlip.stages.train import samples as sampling
from mlip.stages.train import train, training
from mlip.stages.train.settings import EnergyFitSettings

FIT = EnergyFitSettings(prior_ev=0.1, min_atoms=13)
SMALL = tiny.TRAIN.model_copy(update={"architecture": tiny.ARCHITECTURE.model_copy(update={"layers": 1})})


class Stopped(Exception):  # noqa: N818
    pass


def quick_run(settings, **given):
    """A training that does not compile the parts of its new model first: that takes longer than to train it here."""
    import mace  # noqa: F401, I001  (before e3nn)
    import e3nn

    if settings.base is not None:
        return train.run(settings, **given)
    e3nn.set_optimization_defaults(jit_script_fx=False)
    try:
        return train.run(settings, **given)
    finally:
        e3nn.set_optimization_defaults(jit_script_fx=True)


@pytest.fixture(scope="module")
def whole(split, tmp_path_factory, one_thread):
    """Outcome, shape and weights of an uninterrupted training."""
    folder = tmp_path_factory.mktemp("whole")
    return quick_run(SMALL, train=split.train, valid=split.valid, e0_ev=split.e0_ev, seed=3, member=1, folder=folder)


@pytest.fixture
def do(split, tmp_path, one_thread):
    """Run a training in tmp_path; keyword arguments override, settings are those of SMALL plus `changes`."""

    def run(changes=None, **given):
        settings = SMALL.model_copy(update=changes or {})
        arguments = {
            "train": split.train,
            "valid": split.valid,
            "e0_ev": split.e0_ev,
            "seed": 3,
            "member": 1,
            "folder": tmp_path,
        }
        return quick_run(settings, **(arguments | given))

    return run


def same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert_array_equal(a[name], b[name], err_msg=name)


def test_training_lowers_the_loss_and_says_so(whole):
    outcome, shape, weights = whole
    losses = [e.train_loss for e in outcome.history]
    assert len(losses) == tiny.TRAIN.epochs
    assert outcome.status.code == "finished"
    assert losses[-1] < 0.98 * losses[0]
    best = min(outcome.history, key=lambda e: e.valid_loss)
    assert outcome.best_epoch == best.epoch
    assert best.best
    assert shape["atomic_numbers"] == [3, 8, 12, 22]
    assert all(w.dtype.itemsize == 8 for w in weights.values() if w.is_floating_point())


def test_the_saved_model_holds_the_reference_energies(trained, split, committee):
    for _, _, weights in trained:
        stored = weights["atomic_energies_fn.atomic_energies"].flatten().tolist()
        assert_allclose(stored, [split.e0_ev[s] for s in ("Li", "O", "Mg", "Ti")], rtol=1e-12, atol=0)
    alone = tiny.rattled()
    alone.set_cell(10 * alone.cell, scale_atoms=True)
    expected = sum(split.e0_ev[s] for s in alone.get_chemical_symbols())
    assert_allclose(potential.load(committee).evaluator([alone])[0].energies_ev, expected, rtol=1e-12, atol=0)


def test_reported_errors_are_those_of_the_saved_weights(trained, split, committee):
    best = trained[0][0].history[trained[0][0].best_epoch]
    found = potential.load(committee, members=[1]).evaluator(split.valid)
    wrong = np.concatenate([p.mean_forces - f.arrays["REF_forces"] for p, f in zip(found, split.valid, strict=True)])
    per_atom = [(p.energy_ev - f.info["REF_energy"]) / len(f) for p, f in zip(found, split.valid, strict=True)]
    assert_allclose(best.valid_force_rmse_ev_per_angstrom, np.sqrt(np.mean(wrong**2)), rtol=1e-8, atol=0)
    assert_allclose(best.valid_energy_rmse_ev_per_atom, np.sqrt(np.mean(np.square(per_atom))), rtol=1e-6, atol=0)


def test_members_differ_and_seeds_repeat(whole, do, tmp_path):
    same(do()[2], whole[2])
    other = do({"epochs": 1}, member=2, folder=tmp_path / "2")[2]
    assert not np.allclose(other["products.0.linear.weight"], whole[2]["products.0.linear.weight"])


def test_group_weights_are_a_bootstrap_with_mean_one():
    groups = ["a", "b", "b", "c"]
    assert sampling.group_weights(groups, seed=1, member=1) == {"a": 1.0, "b": 1.0, "c": 1.0}
    drawn = sampling.group_weights(groups, seed=1, member=2)
    assert_allclose(np.mean(list(drawn.values())), 1.0, rtol=1e-12, atol=0)
    assert min(drawn.values()) > 0
    assert drawn == sampling.group_weights(groups[::-1], seed=1, member=2)
    assert drawn != sampling.group_weights(groups, seed=1, member=3)
    many = list(sampling.group_weights([str(n) for n in range(4000)], seed=1, member=2).values())
    assert_allclose(np.std(many), 0.5, rtol=0.05)


def test_learning_rate_rises_then_falls_along_a_cosine(split, one_thread):
    settings = tiny.TRAIN.model_copy(update={"epochs": 11})
    shape, weights = train.start(settings, frames=split.train, e0_ev=split.e0_ev, seed=1, member=1)
    state = training.Training(settings, shape, weights, device="cpu", steps_per_epoch=10)
    rates = []
    for step in range(110):
        state.set_rate(step)
        rates.append(state.optimiser.param_groups[0]["lr"] / settings.learning_rate)
    assert_allclose(rates[0], 0.1, rtol=1e-12, atol=0)
    assert_allclose(rates[10], 1.0, rtol=1e-12, atol=0)  # end of the warm-up epoch
    assert_allclose(rates[60], (1 + training.FINAL_RATE) / 2, rtol=1e-12, atol=0)  # half way
    assert training.FINAL_RATE < rates[109] < 1.1 * training.FINAL_RATE


@pytest.mark.parametrize("epochs", [1, 3])
def test_interrupted_between_epochs_ends_with_the_same_weights(do, whole, epochs):
    seen = []

    def stop(epoch):
        seen.append(epoch)
        if len(seen) == epochs + 1:  # before the checkpoint of this epoch is written
            raise Stopped

    with pytest.raises(Stopped):
        do(on_epoch=stop)
    told = []
    outcome, _, weights = do(on_epoch=told.append)
    assert told == list(outcome.history) == list(whole[0].history)
    same(weights, whole[2])


CHILD = """
import sys
sys.path.insert(0, {tests!r})
import test_train, torch
torch.set_num_threads(1)
from pathlib import Path
from mlip.atoms import extxyz
data = Path({data!r})
test_train.quick_run(test_train.SMALL.model_copy(update={{"epochs": {epochs}, "energy_fit": test_train.FIT}}), train=extxyz.read_frames(data / "train.extxyz"),
          valid=extxyz.read_frames(data / "valid.extxyz"), e0_ev={e0!r}, seed=3, member=2, folder=Path({folder!r}))
"""


def test_killed_at_a_random_moment_ends_with_the_same_weights(do, split, tmp_path):
    epochs, folder = 40, tmp_path / "killed"
    words = {
        "tests": str(tiny.REPOSITORY / "tests"),
        "data": str(split.folder),
        "epochs": epochs,
        "e0": split.e0_ev,
        "folder": str(folder),
    }
    child = subprocess.Popen([sys.executable, "-W", "ignore", "-c", CHILD.format(**words)], env=tiny.environment())
    checkpoints, written = set(), random.randint(1, epochs // 2)
    while len(checkpoints) < written:
        assert child.poll() is None, "the training ended early"
        if (folder / "checkpoint.pt").exists():
            checkpoints.add((folder / "checkpoint.pt").stat().st_mtime_ns)
        time.sleep(1e-3)
    moment = random.uniform(0.0, 0.05)
    time.sleep(moment)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL, "it ended before it was killed"
    told = []
    changes = {"epochs": epochs, "energy_fit": FIT}
    outcome, _, weights = do(changes, member=2, folder=folder, on_epoch=told.append)
    complete, _, expected = do(changes, member=2, folder=tmp_path / "whole")
    assert outcome == complete, f"killed {moment:.3f} s after checkpoint {written}"
    same(weights, expected)
    assert not [p for p in folder.iterdir() if p.name != "checkpoint.pt" and not p.name.endswith(".tmp")]


def test_energies_are_fitted_at_the_end_and_forces_stay(do, whole, split, tmp_path, monkeypatch):
    """The epochs are those of a training without the fit, and are not done again for it."""
    do()
    monkeypatch.setattr(training.Training, "train_epoch", lambda *_, **__: pytest.fail("trained again"))
    outcome, shape, weights = do({"energy_fit": FIT})
    assert outcome.history == whole[0].history
    assert whole[0].energy_fit is None
    large = [f for f in split.train if len(f) >= 13]
    assert outcome.energy_fit.cells == len(large) < len(split.train)
    errors = {}
    for name, found in (("before", whole[2]), ("after", weights)):
        card = {"name": name, "target": "pbe", "elements": ["Li", "O", "Mg", "Ti"], "cutoff_angstrom": shape["r_max"]}
        models.save(tmp_path / name, shape=shape, weights=[found], card=card)
        predicted = potential.load(tmp_path / name).evaluator(large)
        energy = [p.energy_ev - f.info["REF_energy"] for p, f in zip(predicted, large, strict=True)]
        force = np.concatenate([p.mean_forces - f.arrays["REF_forces"] for p, f in zip(predicted, large, strict=True)])
        errors[name] = [np.sqrt(np.mean(np.square(x))) for x in (energy, force)]
    assert_allclose(outcome.energy_fit.before_ev, errors["before"][0], rtol=1e-6)
    assert_allclose(outcome.energy_fit.after_ev, errors["after"][0], rtol=1e-6)
    assert errors["after"][0] < 0.95 * errors["before"][0]
    assert errors["after"][1] < 1.2 * errors["before"][1]
    same(do({"energy_fit": FIT})[2], weights)


@pytest.fixture
def update(split, one_thread):
    """A training between two updates, and its samples."""
    shape, weights = train.start(SMALL, frames=split.train, e0_ev=split.e0_ev, seed=1, member=1)
    state = training.Training(SMALL, shape, weights, device="cpu", steps_per_epoch=1)
    return state, sampling.samples(split.train, ("Li", "O", "Mg", "Ti"), shape["r_max"])


def gradients(state):
    return {n: p.grad.clone() for n, p in state.model.named_parameters() if p.grad is not None}


def test_calls_are_packed_by_edges(update):
    _, samples = update
    edges = [s.graph.edges for s in samples]
    limit = max(edges) + min(edges)
    calls = sampling.packed(samples, limit)
    assert [s for part in calls for s in part] == samples
    assert all(sum(s.graph.edges for s in part) <= limit for part in calls)
    assert all(
        sum(s.graph.edges for s in part) + following[0].graph.edges > limit for part, following in pairwise(calls)
    )
    assert [len(part) for part in sampling.packed(samples, 1)] == [1] * len(samples)


def test_gradients_of_small_calls_add_up_to_that_of_the_update(update):
    state, samples = update
    loss = state.gradient(samples)
    whole = gradients(state)
    state.edges_per_call = 1
    assert_allclose(state.gradient(samples), loss, rtol=1e-12, atol=0)
    for name, value in gradients(state).items():
        assert_allclose(value, whole[name], rtol=1e-9, atol=1e-9 * float(whole[name].abs().max()))


def test_out_of_memory_makes_calls_smaller_and_goes_on(update, monkeypatch):
    state, samples = update
    expected = state.gradient(samples)
    whole, errors, sizes = gradients(state), state.errors, []

    def crowded(part, **more):
        sizes.append(len(part))
        if len(part) > 3:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return errors(part, **more)

    monkeypatch.setattr(state, "errors", crowded)
    state.edges_per_call = sum(s.graph.edges for s in samples)
    assert_allclose(state.gradient(samples), expected, rtol=1e-12, atol=0)
    for name, value in gradients(state).items():
        assert_allclose(value, whole[name], rtol=1e-9, atol=1e-9 * float(whole[name].abs().max()))
    assert max(sizes) == len(samples)
    monkeypatch.setattr(state, "errors", lambda *_, **__: (_ for _ in ()).throw(MemoryError("Unable to allocate")))
    with pytest.raises(ValueError, match="memory is out for a single frame"):
        state.gradient(samples)


ALL_ELECTRONS_EV = {"Li": -205.0, "O": -2045.0, "Mg": -5450.0, "Ti": -23235.0}


def with_all_electrons(frames, e0_ev):
    """Frames and reference energies of a code that counts every electron."""
    found = [f.copy() for f in frames]
    for frame in found:
        frame.info["REF_energy"] += sum(ALL_ELECTRONS_EV[s] for s in frame.get_chemical_symbols())
    return found, {s: e + ALL_ELECTRONS_EV[s] for s, e in e0_ev.items()}


@pytest.mark.parametrize("as_matrices", [True, False])
def test_energies_of_all_electrons_are_not_rounded_in_float32(split, one_thread, as_matrices):
    settings = SMALL.model_copy(update={"dtype": "float32"})
    found = []
    for frames, e0_ev in ((split.train, split.e0_ev), with_all_electrons(split.train, split.e0_ev)):
        shape, weights = train.start(settings, frames=frames, e0_ev=e0_ev, seed=1, member=1)
        state = training.Training(settings, shape, weights, device="cpu", steps_per_epoch=1)
        state.as_matrices = as_matrices
        part = sampling.samples(frames[:6], ("Li", "O", "Mg", "Ti"), shape["r_max"])
        per_atom = state.errors(part, training=True, of=(6, 60))[1].double().numpy()
        calculated = state.calculated([s.graph for s in part], training=False)[0].detach().double().numpy()
        sizes = np.array([len(s.forces) for s in part])
        assert_allclose((calculated - [s.energy_ev for s in part]) / sizes, per_atom, atol=1e-6)
        found.append(per_atom)
    assert_allclose(found[1], found[0], atol=1e-6)  # eV


def test_a_reference_energy_that_is_off_is_refused_however_large_it_is():
    import torch

    def checked(value, *, given):
        train._check_e0({models.E0: torch.tensor([[value]], dtype=torch.float64)}, {"Ti": given}, ["Ti"])

    for energy in (-8.0, -1585.0, -23235.0):
        checked(float(np.float32(energy + 0.1)), given=energy + 0.1)  # as a training in float32 holds it
        with pytest.raises(ValueError, match="reference energy of Ti"):
            checked(energy + 0.2, given=energy)


def test_a_training_in_float32_keeps_the_reference_energies_as_they_are_given(do, split):
    _, _, weights = do({"dtype": "float32", "epochs": 1})
    stored = weights[models.E0].flatten().tolist()
    assert_allclose(stored, [split.e0_ev[s] for s in ("Li", "O", "Mg", "Ti")], rtol=1e-12, atol=0)


def test_checkpoint_is_for_its_own_data_and_settings(do, tmp_path):
    do({"epochs": 1})
    seen, again = [], []
    do({"epochs": 1, "learning_rate": 1e-3}, on_epoch=seen.append)
    do({"epochs": 1, "learning_rate": 1e-3}, folder=tmp_path / "new", on_epoch=again.append)
    assert seen == again


def test_checkpoint_does_not_care_where_the_base_lies(do, committee, tmp_path, monkeypatch):
    moved = tmp_path / "moved"
    moved.symlink_to(committee)
    first = do({"base": str(committee), "epochs": 1})[0]
    monkeypatch.setattr(training.Training, "train_epoch", lambda *_, **__: pytest.fail("trained again"))
    assert do({"base": str(moved), "epochs": 1})[0] == first


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_damaged_checkpoint(do, tmp_path, damage):
    do({"epochs": 1})
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:3000] if damage is None else damage)
    with pytest.raises(ValueError, match=r"checkpoint\.pt: damaged checkpoint .* delete it to train anew"):
        do({"epochs": 1})


def test_early_stop(do, monkeypatch):
    losses = iter([3.0, 2.0, 1.0, 1.5, 1.2, 1.1, 1.0, 0.5])
    monkeypatch.setattr(training.Training, "validate", lambda *_: (next(losses), 0.1, 0.01))
    monkeypatch.setattr(training.Training, "train_epoch", lambda *_, **__: 1.0)
    outcome, *_ = do({"epochs": 50, "patience": 4})
    assert outcome.status.code == "stopped early"
    assert outcome.best_epoch == 2
    assert [e.best for e in outcome.history] == [True, True, True, False, False, False, False]


def test_best_weights_are_kept_not_the_last(do, monkeypatch):
    weights = {}
    validate = training.Training.validate

    def judged(self, valid):
        epoch = len(self.history)
        weights[epoch] = self.averaged_weights()
        return [3.0, 1.0, 2.0, 2.5, 2.6][epoch], *validate(self, valid)[1:]

    monkeypatch.setattr(training.Training, "validate", judged)
    outcome, _, best = do()
    assert outcome.best_epoch == 1
    same(best, weights[1])


def test_fine_tuning_starts_from_the_base(do, committee, split):
    base = models.load(committee)
    e0_ev = {"Li": -1.5, "O": -8.0, "Mg": -2.5, "Ti": -8.5}
    settings = tiny.TRAIN.model_copy(update={"base": str(committee)})
    for member in (2, 3):
        shape, weights = train.start(settings, frames=split.train, e0_ev=e0_ev, seed=1, member=member)
        assert shape["atomic_energies"] == [[-1.5, -8.0, -2.5, -8.5]]
        expected = base.members[(member - 1) % 2].state_dict()
        for name, value in expected.items():
            if name != "atomic_energies_fn.atomic_energies":
                assert_array_equal(weights[name], value)
    _, shape, weights = do({"base": str(committee), "epochs": 1}, e0_ev=e0_ev)
    assert_allclose(weights["atomic_energies_fn.atomic_energies"].flatten(), [-1.5, -8.0, -2.5, -8.5], rtol=1e-12)
    models.build(shape).load_state_dict(weights)


def test_base_without_an_element_of_the_labels(do, tmp_path, one_thread):
    small = tiny.ARCHITECTURE.model_copy(update={"elements": ("O", "Ti")})
    shape = models.scratch_shape(small, e0_ev={"O": -1.0, "Ti": -2.0}, force_rms=1.0, neighbours=10.0)
    card = {"target": "pbe"}
    models.save(tmp_path / "base", shape=shape, weights=[models.build(shape).state_dict()], card=card)
    with pytest.raises(ValueError, match=r"train\.base: .* knows \['O', 'Ti'\] and not \['Li', 'Mg'\]"):
        do({"base": str(tmp_path / "base")})


def test_absent_labels_are_an_error(do, split):
    for key in ("energy", "forces"):
        bare = split.train[1].copy()
        (bare.info if key == "energy" else bare.arrays).pop(f"REF_{key}")
        with pytest.raises(ValueError, match="training frame 1: has no REF_energy or REF_forces"):
            do(train=[split.train[0], bare])
    with pytest.raises(ValueError, match="8 to train on, 0 to validate on"):
        do(valid=[])


def test_a_loss_that_is_not_finite_ends_the_training(do, tmp_path, monkeypatch):
    monkeypatch.setattr(training.Training, "train_epoch", lambda *_, **__: math.nan)
    with pytest.raises(ValueError, match=r"member 1, epoch 0: the loss is not finite; lower train\.learning_rate"):
        do()
    assert not (tmp_path / "checkpoint.pt").exists()


def test_wrong_reference_energies_are_noticed(do, monkeypatch):
    monkeypatch.setattr(train, "start", lambda *a, e0_ev, **k: train_start(*a, e0_ev={**e0_ev, "O": -9.0}, **k))
    with pytest.raises(ValueError, match=r"trained model: reference energy of O is -9\.0 eV, not"):
        do({"epochs": 1})


train_start = train.start


def test_no_gpu(do, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match="cuda was asked for and no GPU is visible"):
        do(device="cuda")


def test_float32_training_saves_reference_energies_to_its_precision(do, split):
    _, _, weights = do({"dtype": "float32", "epochs": 1})
    stored = weights["atomic_energies_fn.atomic_energies"].flatten().tolist()
    assert_allclose(stored, [split.e0_ev[s] for s in ("Li", "O", "Mg", "Ti")], rtol=1e-7, atol=0)


def test_history_is_one_json_line_per_epoch(trained):
    import json

    lines = train.history_lines(trained[0][0].history).splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(tiny.TRAIN.epochs))


@pytest.mark.parametrize(
    "changes", [{"max_ell": 3, "correlation": 3, "layers": 2}, {"max_ell": 1, "correlation": 2, "layers": 1}]
)
def test_matrices_have_the_loss_and_gradients_of_mace_torch(split, one_thread, changes):
    settings = SMALL.model_copy(update={"architecture": tiny.ARCHITECTURE.model_copy(update=changes)})
    shape, weights = train.start(settings, frames=split.train, e0_ev=split.e0_ev, seed=1, member=1)
    state = training.Training(settings, shape, weights, device="cpu", steps_per_epoch=1)
    samples = sampling.samples(split.train, ("Li", "O", "Mg", "Ti"), shape["r_max"])[:5]
    assert state.as_matrices
    loss, found = state.gradient(samples), gradients(state)
    state.as_matrices = False
    assert_allclose(state.gradient(samples), loss, rtol=1e-10, atol=0)
    expected = gradients(state)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert_allclose(value, expected[name], rtol=1e-8, atol=1e-10 * float(expected[name].abs().max()))


def test_matrices_that_are_off_are_not_used(update, monkeypatch, caplog):
    state, samples = update
    state.check_matrices(samples[0])
    assert state.as_matrices
    right = training.mace_scalar.energies_and_forces

    def off(*given, **more):
        energies, forces = right(*given, **more)
        return energies, forces + 0.01

    monkeypatch.setattr(training.mace_scalar, "energies_and_forces", off)
    state.check_matrices(samples[0])
    assert not state.as_matrices
    assert "training as matrices differs by" in caplog.text


def test_vector_messages_are_trained_with_mace_torch(split, one_thread):
    settings = SMALL.model_copy(update={"architecture": tiny.ARCHITECTURE.model_copy(update={"max_l": 1})})
    shape, weights = train.start(settings, frames=split.train, e0_ev=split.e0_ev, seed=1, member=1)
    assert not training.Training(settings, shape, weights, device="cpu", steps_per_epoch=1).as_matrices
