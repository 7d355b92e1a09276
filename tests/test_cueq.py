import numpy as np
import pytest
from helpers import tiny
from numpy.testing import assert_allclose

from mlip.potential import equivalence, models, potential
from mlip.potential.batch import Batch

pytest.importorskip("cuequivariance_torch")

LIMITS = (1e-6, 1e-6)
FRAMES = [tiny.rattled(seed=1), tiny.rattled("Ti2O4", seed=5).repeat((2, 1, 1)), tiny.rattled("O3Mg2LiO", seed=6)]


def released(**changes):
    import torch

    architecture = tiny.ARCHITECTURE.model_copy(update={"channels": 8, "max_ell": 2, "correlation": 3, **changes})
    shape = models.scratch_shape(
        architecture, e0_ev=dict.fromkeys(architecture.elements, -1.5), force_rms=1.3, neighbours=10.0
    )
    torch.manual_seed(4)
    return models.Released((models.build(shape).eval(),), shape, {"target": "pbe"}, "random")


@pytest.mark.parametrize("max_l", [0, 1])
def test_the_gate_takes_it_and_it_is_the_same_model(max_l):
    model = released(max_l=max_l)
    tried = equivalence.candidates(device="cpu", dtype="float64", symmetrix=False, cueq=True)
    (found,) = equivalence.check(
        model, FRAMES, tried, limits=LIMITS, make=lambda backend: equivalence.evaluator(model, backend, folder=None)
    )
    assert (found.accepted, found.backend.name) == (True, "mace-cueq")
    assert found.force_ev_per_angstrom < 1e-10
    batch, rng = Batch(equivalence.evaluator(model, found.backend, folder=None), FRAMES), np.random.default_rng(0)
    for _ in range(3):
        moved = [f.copy() for f in FRAMES]
        for atoms in moved:
            atoms.rattle(0.05, rng=rng)
        for a, b in zip(batch([f.positions for f in moved]), potential.Evaluator(model)(moved), strict=True):
            assert_allclose(a.energies_ev, b.energies_ev, rtol=0, atol=1e-10)
            assert_allclose(a.forces, b.forces, rtol=0, atol=1e-10)


def test_the_released_model_loads_whatever_is_installed():
    model = models.load(tiny.REPOSITORY / "datasets" / "models" / "tio2-mg-li").subset([1])
    found = potential.Evaluator(model, backend="mace-cueq")(FRAMES[:1])
    expected = potential.Evaluator(model)(FRAMES[:1])
    assert_allclose(found[0].forces, expected[0].forces, rtol=0, atol=1e-7)  # its products' basis was kept in float32


def test_there_and_back_is_the_same_model():
    model = released()
    back = models.without_cueq(models.with_cueq(model.members[0], device="cpu"))
    again = models.Released((back.eval(),), model.shape, model.card, "back")
    for a, b in zip(potential.Evaluator(again)(FRAMES), potential.Evaluator(model)(FRAMES), strict=True):
        assert_allclose(a.forces, b.forces, rtol=0, atol=1e-10)
