import numpy as np
import pytest
from helpers import tiny
from pydantic import TypeAdapter

from mlip.potential import equivalence, models
from mlip.potential.batch import Batch
from mlip.potential.potential import Evaluator

LIMITS = (1e-3, 1e-3)
BATCHED = equivalence.Backend(name="mace-torch", device="cpu", dtype="float64")
SCALAR = equivalence.Backend(name="mace-scalar", device="cpu", dtype="float64")


@pytest.fixture(scope="module")
def model(committee):
    return models.load(committee)


@pytest.fixture(scope="module")
def frames():
    """Cells larger than the cutoff, in which an atom that moves far meets others."""
    return [tiny.rattled("Ti2O4LiMg", seed=k).repeat((1, 1, 2)) for k in range(3)]


def check(model, frames, tried, make=None, limits=LIMITS):
    return equivalence.check(
        model,
        frames,
        tried,
        limits=limits,
        make=make or (lambda backend: equivalence.evaluator(model, backend, folder=None)),
    )


def test_batched_float64_is_the_reference(model, frames):
    (found,) = check(model, frames, [BATCHED])
    assert found.accepted
    assert (found.backend, found.structures) == (BATCHED, 3)
    assert found.energy_ev < 1e-9
    assert found.force_ev_per_angstrom < 1e-9
    assert equivalence.accepted([found]) == BATCHED
    assert "mace-torch in float64 on cpu" in found.summary
    assert found.summary.endswith("from mace-torch in float64 on 3 structures: used")


def test_float32_passes_or_not_by_the_limits(model, frames):
    tried = equivalence.candidates(device="cpu", dtype="float32", symmetrix=False)
    assert [b.name for b in tried] == ["mace-scalar", "mace-scalar", "mace-torch", "mace-torch"]
    assert [b.dtype for b in tried] == ["float32", "float64"] * 2
    (found,) = check(model, frames, tried, limits=(1e-2, 1e-2))
    assert found.accepted
    assert 1e-9 < found.force_ev_per_angstrom < 1e-2
    refused, taken = check(model, frames, tried, limits=(1e-8, 1e-8))
    assert not refused.accepted
    assert refused.summary.endswith("refused")
    assert equivalence.accepted([refused, taken]) == SCALAR
    assert equivalence.accepted([refused]) == equivalence.REFERENCE


def test_wrong_weights_are_refused(model, frames):
    import torch

    def make(backend):
        fast = equivalence.evaluator(model, backend, folder=None)
        with torch.no_grad():
            for weights in fast.members[1].parameters():
                weights.mul_(1.001)
        return fast

    (found,) = check(model, frames, [BATCHED], make)
    assert not found.accepted
    assert max(found.energy_ev, found.force_ev_per_angstrom) > 1e-3


def test_a_neighbour_list_that_is_not_made_anew_is_refused(model, frames, monkeypatch):
    fresh = Batch._renewed
    monkeypatch.setattr(Batch, "_renewed", lambda self, k, p: self._graphs[k] is None and fresh(self, k, p))
    (found,) = check(model, frames, [BATCHED])
    assert not found.accepted


def test_forces_of_the_wrong_structure_are_refused(model, frames, monkeypatch):
    plan = Batch._run

    def swapped(self, part, given):
        found = plan(self, part, given)
        return dict(zip(found, reversed(found.values()), strict=True))

    monkeypatch.setattr(Batch, "_run", swapped)
    assert not check(model, frames, [BATCHED])[0].accepted


def test_a_backend_that_does_not_run_is_a_line_and_the_next_is_tried(model, frames):
    def make(backend):
        if backend.name == "symmetrix-xl":
            raise ValueError("no compiler")
        return equivalence.evaluator(model, backend, folder=None)

    found = check(model, frames, equivalence.candidates(device="cpu", dtype="float64", symmetrix=True), make)
    assert [f.accepted for f in found] == [False, True]
    assert found[0].summary == "symmetrix-xl in float64 on cpu: not used: no compiler"
    assert equivalence.accepted(found) == SCALAR


@pytest.mark.parametrize("wrong", [(0, 1, 2), (1,)])
def test_no_number_is_refused(model, frames, wrong):
    """On all structures, or on the second alone."""

    def make(backend):
        fast = equivalence.evaluator(model, backend, folder=None)
        true = fast.backend.run

        def run(*arguments):
            energies, forces, stress = true(*arguments)
            energies = np.array(energies)
            energies[list(wrong)] = np.nan
            return energies, forces, stress

        fast.backend.run = run
        return fast

    (found,) = check(model, frames, [BATCHED], make)
    assert (found.accepted, found.energy_ev) == (False, None)
    assert "not finite" in found.summary
    adapter = TypeAdapter(equivalence.Equivalence)
    assert adapter.validate_json(adapter.dump_json(found)) == found


def test_the_reference_is_one_structure_a_call(model, frames, monkeypatch):
    exact = equivalence.evaluator(model, equivalence.REFERENCE, folder=None)
    sizes = []
    prepare = exact.backend.prepare
    monkeypatch.setattr(exact.backend, "prepare", lambda graphs: sizes.append(len(graphs)) or prepare(graphs))
    exact(frames)
    batch = Batch(exact, frames)
    for _ in range(2):
        batch([f.positions for f in frames])
    assert sizes == [1] * 6
    assert batch.skin_angstrom == 0
    batch([f.positions + 1e-6 for f in frames])
    assert batch.rebuilds == 6
    assert isinstance(exact, Evaluator)
