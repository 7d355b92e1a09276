import numpy as np
import pytest
from numpy.testing import assert_allclose

from mlip.stages.neb.lbfgs import Lbfgs


def hessian(n=6, seed=1, lowest=1.0, highest=60.0):
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(3 * n, 3 * n)))[0]
    return axes @ np.diag(np.geomspace(lowest, highest, 3 * n)) @ axes.T


def descend(optimiser, matrix, x, steps):
    path = [x]
    for _ in range(steps):
        x = x + optimiser.step(x, -(matrix @ x.ravel()).reshape(-1, 3))
        path.append(x)
    return path


def test_quadratic_well_is_solved_in_few_steps():
    start = np.random.default_rng(0).normal(scale=0.05, size=(6, 3))
    path = descend(Lbfgs(stiffness=35.0, max_step=1.0, memory=30), hessian(), start, 60)
    assert np.linalg.norm(path[-1]) < 1e-8
    plain = start.copy()
    for _ in range(60):
        plain = plain - (hessian() @ plain.ravel()).reshape(-1, 3) / 60.0
    assert np.linalg.norm(plain) > 1e-3  # steepest descent is nowhere near


def test_first_step_is_force_over_stiffness_and_no_atom_moves_too_far():
    forces = np.array([[0.7, 0.0, 0.0], [0.0, 0.35, 0.0]])
    assert_allclose(
        Lbfgs(stiffness=35.0, max_step=0.1, memory=5).step(np.zeros((2, 3)), forces), forces / 35, rtol=1e-12, atol=0
    )
    far = Lbfgs(stiffness=35.0, max_step=0.1, memory=5).step(np.zeros((2, 3)), 100 * forces)
    assert_allclose(far, 0.1 * forces / 0.7, rtol=1e-12, atol=0)
    assert (Lbfgs(stiffness=1.0, max_step=0.1, memory=5).step(np.zeros((2, 3)), np.zeros((2, 3))) == 0).all()


def test_on_a_hill_it_goes_down_the_force():
    """Where a move met negative curvature, what was learned is dropped and the step follows the force."""
    optimiser = Lbfgs(stiffness=10.0, max_step=0.1, memory=5)
    x = np.array([[0.1, 0.0, 0.0]])
    for _ in range(5):
        x = x + optimiser.step(x, np.array([[4.0, -8.0, -8.0]]) * x)  # a saddle: force away from zero along x
    assert x[0, 0] > 0.3
    assert len(optimiser.moves) == 0


def test_memory_is_bounded_and_state_continues_to_the_bit():
    start = np.random.default_rng(2).normal(scale=0.05, size=(6, 3))
    whole = descend(Lbfgs(stiffness=35.0, max_step=0.1, memory=4), hessian(), start, 20)
    first = Lbfgs(stiffness=35.0, max_step=0.1, memory=4)
    half = descend(first, hessian(), start, 9)
    assert first.moves.shape == (4, 18)
    second = Lbfgs(stiffness=35.0, max_step=0.1, memory=4)
    second.restore({name: np.array(value) for name, value in first.state.items()})
    rest = descend(second, hessian(), half[-1], 11)
    assert (rest[-1] == whole[-1]).all()


@pytest.mark.parametrize("turn", [0.3, 2.0])
def test_axes_do_not_matter(turn):
    c, s = np.cos(turn), np.sin(turn)
    R = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    many = np.kron(np.eye(6), R)
    start = np.random.default_rng(3).normal(scale=0.3, size=(6, 3))
    one = descend(Lbfgs(stiffness=35.0, max_step=0.1, memory=5), hessian(), start, 15)
    other = descend(Lbfgs(stiffness=35.0, max_step=0.1, memory=5), many @ hessian() @ many.T, start @ R.T, 15)
    assert_allclose(other[-1], one[-1] @ R.T, rtol=0, atol=1e-12)
