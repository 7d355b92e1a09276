import numpy as np
import pytest
from ase import Atoms
from helpers import tiny
from numpy.testing import assert_allclose

from mlip.potential import equivalence, models, potential
from mlip.potential.batch import Batch


def released(*, members=1, **changes):
    """Random weights: no part is small enough to be forgotten."""
    import torch

    architecture = tiny.ARCHITECTURE.model_copy(update={"channels": 6, **changes})
    shape = models.scratch_shape(
        architecture,
        e0_ev=dict(zip(architecture.elements, (-1.5, -2.5, -0.5, -3.5), strict=True)),
        force_rms=1.3,
        neighbours=10.0,
    )
    torch.manual_seed(4)
    return models.Released(
        tuple(models.build(shape).eval() for _ in range(members)), shape, {"target": "pbe"}, "random"
    )


FRAMES = [
    tiny.rattled(seed=1),
    tiny.rattled("Ti2O4", seed=5).repeat((2, 1, 1)),
    tiny.rattled("O3Mg2LiO", seed=6),  # species in no order, one of them missing
]


def check_close(found, expected, atol=1e-10):
    for a, b in zip(found, expected, strict=True):
        assert_allclose(a.energies_ev, b.energies_ev, rtol=0, atol=atol)
        assert_allclose(a.forces, b.forces, rtol=0, atol=atol)


@pytest.mark.parametrize(
    "changes",
    [
        {"max_ell": 3, "correlation": 3},
        {"max_ell": 1, "correlation": 2, "layers": 3},
        {"max_ell": 2, "correlation": 1, "layers": 1},
    ],
)
def test_same_energies_and_forces_as_mace_torch(changes):
    model = released(**changes)
    plain, fast = potential.Evaluator(model), potential.Evaluator(model, backend="mace-scalar")
    found = fast(FRAMES)
    check_close(found, plain(FRAMES))
    assert np.abs(found[0].forces).max() > 1e-2


def test_members_are_each_their_own():
    model = released(members=2)
    found = potential.Evaluator(model, backend="mace-scalar")(FRAMES)
    check_close(found, potential.Evaluator(model)(FRAMES))
    assert min(abs(f.energies_ev[0] - f.energies_ev[1]) for f in found) > 1e-3


def test_forces_are_the_slope_of_the_energy():
    fast = potential.Evaluator(released(correlation=3), backend="mace-scalar")
    atoms, step = FRAMES[0], 1e-4
    forces = fast([atoms])[0].forces[0]
    for atom, axis in ((0, 2), (3, 0), (4, 1)):
        pair = [atoms.copy() for _ in range(2)]
        for sign, image in zip((-1, 1), pair, strict=True):
            image.positions[atom, axis] += sign * step
        lower, upper = fast(pair)
        assert_allclose((lower.energy_ev - upper.energy_ev) / (2 * step), forces[atom, axis], rtol=1e-5, atol=1e-7)


def test_the_released_model_on_a_slab_and_in_dynamics(labelled):
    model = models.load(tiny.REPOSITORY / "datasets" / "models" / "tio2-mg-li").subset([1])
    frames = [labelled["001_11_Li_site"], labelled["bulk1_Mg_hop25"]]
    plain, fast = potential.Evaluator(model), potential.Evaluator(model, backend="mace-scalar")
    batch, rng = Batch(fast, frames), np.random.default_rng(0)
    for _ in range(4):
        moved = [f.copy() for f in frames]
        for atoms in moved:
            atoms.rattle(0.05, rng=rng)
        check_close(batch([f.positions for f in moved]), plain(moved))


def test_float32_is_float64_rounded():
    model = released(correlation=3)
    fast = potential.Evaluator(model, backend="mace-scalar", dtype="float32")
    found, expected = fast(FRAMES), potential.Evaluator(model)(FRAMES)
    check_close(found, expected, atol=1e-4)
    assert max(np.abs(a.forces - b.forces).max() for a, b in zip(found, expected, strict=True)) > 1e-9


def test_atoms_without_neighbours():
    model = released()
    lone = Atoms("Li", cell=[9, 9, 9], pbc=True)
    far = Atoms("LiO", [[0, 0, 0], [0, 0, 4.5]], cell=[9, 9, 9], pbc=True)
    plain, fast = potential.Evaluator(model), potential.Evaluator(model, backend="mace-scalar")
    for frames in ([lone], [far], [lone, far, FRAMES[0]]):
        check_close(fast(frames), plain(frames))


def test_stress_is_that_of_mace_torch():
    model = released()
    found = potential.Evaluator(model, backend="mace-scalar")(FRAMES[:1], stress=True)
    assert_allclose(found[0].stresses, potential.Evaluator(model)(FRAMES[:1], stress=True)[0].stresses, rtol=0, atol=0)


def test_other_models_are_refused_and_evaluated_by_mace_torch():
    model = released(max_l=1, max_ell=2)
    with pytest.raises(ValueError, match="only scalar ones"):
        potential.Evaluator(model, backend="mace-scalar")
    found = equivalence.check(
        model,
        FRAMES,
        equivalence.candidates(device="cpu", dtype="float64", symmetrix=False),
        limits=(1e-3, 1e-3),
        make=lambda backend: equivalence.evaluator(model, backend, folder=None),
    )
    assert [f.accepted for f in found] == [False, True]
    assert "only scalar ones" in found[0].summary
    assert equivalence.accepted(found).name == "mace-torch"


@pytest.mark.parametrize("key", ["distance_transform", "pair_repulsion", "apply_cutoff"])
def test_parts_that_are_not_known_are_refused(key):
    model = released()
    model.shape[key] = {"distance_transform": "Agnesi", "pair_repulsion": True, "apply_cutoff": False}[key]
    with pytest.raises(ValueError, match=key):
        potential.Evaluator(model, backend="mace-scalar")
