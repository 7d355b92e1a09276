import numpy as np
import pytest
from helpers import tiny
from numpy.testing import assert_allclose

from mlip.potential.batch import Batch
from mlip.potential.graphs import graph


def frames_of_three_sizes():
    return [tiny.rattled(seed=1), tiny.rattled("Ti2O4", seed=5), tiny.rattled("Ti2O4", seed=6).repeat((2, 1, 1))]


def at(frames, positions):
    out = [f.copy() for f in frames]
    for atoms, p in zip(out, positions, strict=True):
        atoms.positions = p
    return out


def check_same(found, expected, atol=1e-10):
    for a, b in zip(found, expected, strict=True):
        assert_allclose(a.energies_ev, b.energies_ev, rtol=0, atol=atol)
        assert_allclose(a.forces, b.forces, rtol=0, atol=atol)


def walk(frames, *, steps, scale, seed=0):
    """Positions of a random walk in which atoms leave and enter each other's cutoff spheres."""
    rng = np.random.default_rng(seed)
    positions = [f.positions.copy() for f in frames]
    for _ in range(steps):
        yield [p.copy() for p in positions]
        positions = [p + rng.normal(scale=scale, size=p.shape) for p in positions]


def test_a_walk_equals_lists_made_at_every_step(calculator):
    frames = frames_of_three_sizes()
    batch = Batch(calculator.evaluator, frames, skin_angstrom=0.6)
    steps = 12
    for positions in walk(frames, steps=steps, scale=0.03):
        check_same(batch(positions), calculator.evaluator(at(frames, positions)))
    assert len(frames) < batch.rebuilds < len(frames) * steps


def test_history_of_the_lists_leaves_no_bit(calculator):
    frames = frames_of_three_sizes()
    batch = Batch(calculator.evaluator, frames, skin_angstrom=1.0)
    for positions in walk(frames, steps=5, scale=0.02):
        found = batch(positions)
        fresh = Batch(calculator.evaluator, frames, skin_angstrom=0.3)(positions)
        for a, b in zip(found, fresh, strict=True):
            assert (a.forces == b.forces).all()
            assert (a.energies_ev == b.energies_ev).all()
    assert batch.rebuilds == len(frames)


def test_only_the_structure_that_moved_far_gets_a_new_list(calculator):
    frames = frames_of_three_sizes()
    batch = Batch(calculator.evaluator, frames, skin_angstrom=0.5)
    positions = [f.positions.copy() for f in frames]
    batch(positions)
    positions[1][2] += [0.24, 0.0, 0.0]
    batch(positions)
    assert batch.rebuilds == 3
    positions[1][2] += [0.02, 0.0, 0.0]
    check_same(batch(positions), calculator.evaluator(at(frames, positions)))
    assert batch.rebuilds == 4


def test_each_structure_by_its_own_member(calculator):
    frames = [tiny.rattled(seed=k) for k in range(4)]
    members = [1, 0, 0, 1]
    found = Batch(calculator.evaluator, frames, members=members)([f.positions for f in frames])
    for one, whole, m in zip(found, calculator.evaluator(frames), members, strict=True):
        assert one.forces.shape == (1, 5, 3)
        assert_allclose(one.energies_ev, whole.energies_ev[[m]], rtol=0, atol=1e-10)
        assert_allclose(one.forces, whole.forces[[m]], rtol=0, atol=1e-10)
    with pytest.raises(ValueError, match="members: 3 numbers for 4 structures"):
        Batch(calculator.evaluator, frames, members=[0, 0, 0])


def test_structures_that_left_cost_nothing_and_may_come_back(calculator):
    frames = frames_of_three_sizes()
    batch = Batch(calculator.evaluator, frames)
    positions = [f.positions for f in frames]
    every = batch(positions)
    assert batch.calls == 6
    some = batch([positions[2], positions[0]], which=(2, 0))
    check_same(some, [every[2], every[0]])
    assert (batch.calls, batch.rebuilds) == (10, 3)
    check_same(batch(np.array(positions[0])[None], which=[0]), every[:1])


def test_small_calls_give_the_same(calculator, monkeypatch):
    frames = frames_of_three_sizes() * 2
    positions = [f.positions for f in frames]
    together = Batch(calculator.evaluator, frames)(positions)
    monkeypatch.setattr(calculator.evaluator, "edges_per_call", 1)
    check_same(Batch(calculator.evaluator, frames)(positions), together)


class Crowded:
    """A backend that has memory for so many atoms only."""

    def __init__(self, backend, atoms, error):
        self.inner, self.atoms, self.error, self.sizes = backend, atoms, error, []

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def run(self, member, data, **more):
        self.sizes.append(len(data["positions"]))
        if self.sizes[-1] > self.atoms:
            raise self.error
        return self.inner.run(member, data, **more)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 8 GiB"),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
)
def test_out_of_memory_halves_the_call_and_goes_on(calculator, monkeypatch, error):
    frames = [tiny.rattled(seed=k) for k in range(8)]
    positions = [f.positions for f in frames]
    evaluator = calculator.evaluator
    expected = evaluator(frames)
    before = sum(graph(f, evaluator.elements, evaluator.cutoff_angstrom + 0.5).edges for f in frames)
    monkeypatch.setattr(evaluator, "edges_per_call", before)
    monkeypatch.setattr(evaluator, "backend", Crowded(evaluator.backend, 12, error))
    batch = Batch(evaluator, frames)
    check_same(batch(positions), expected)
    assert evaluator.edges_per_call < before
    evaluator.backend.sizes.clear()
    batch(positions)
    assert max(evaluator.backend.sizes) <= 12  # it was learned once
    evaluator.edges_per_call = 10**9
    check_same(evaluator(frames), expected)


def test_other_errors_and_a_structure_too_large_are_raised(calculator, monkeypatch):
    frames = [tiny.rattled(seed=k) for k in range(2)]
    evaluator = calculator.evaluator
    monkeypatch.setattr(evaluator, "edges_per_call", evaluator.edges_per_call)
    monkeypatch.setattr(evaluator, "backend", Crowded(evaluator.backend, 1, MemoryError("Unable to allocate")))
    for call in (lambda: Batch(evaluator, frames)([f.positions for f in frames]), lambda: evaluator(frames)):
        with pytest.raises(ValueError, match="memory is out for a single structure"):
            call()
    monkeypatch.setattr(evaluator, "backend", Crowded(evaluator.backend, 1, RuntimeError("shapes differ")))
    with pytest.raises(RuntimeError, match="shapes differ"):
        Batch(evaluator, frames)([f.positions for f in frames])
    with pytest.raises(ValueError, match="positions are not finite"):
        Batch(evaluator, frames)([f.positions * np.nan for f in frames])
