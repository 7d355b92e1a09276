import pytest
from helpers import tiny
from numpy.testing import assert_allclose

from mlip.potential import potential
from mlip.potential.backends import mace_torch


@pytest.mark.parametrize("limit", [30, 10**9])
def test_a_structure_in_parts_is_the_whole_structure(calculator, monkeypatch, limit):
    atoms = tiny.rattled("Ti2O4", seed=5).repeat((2, 1, 1))
    expected = calculator.evaluator([atoms], stress=True)[0]
    monkeypatch.setitem(mace_torch.EDGES_PER_CALL, "cpu", limit)
    use = potential.Evaluator(calculator.evaluator.model)
    sizes = []
    for block in use.members[0].interactions:
        block.conv_tp_weights.register_forward_hook(lambda _, given, __: sizes.append(len(given[0])))
    found = use([atoms], stress=True)[0]
    assert_allclose(found.energies_ev, expected.energies_ev, rtol=0, atol=1e-10)
    assert_allclose(found.forces, expected.forces, rtol=0, atol=1e-10)
    assert_allclose(found.stresses, expected.stresses, rtol=0, atol=1e-12)
    if limit == 30:
        assert max(sizes) <= limit
        assert len(sizes) > 8  # several parts of two layers, and each again on the way back
    else:
        assert len(sizes) == 2


def test_a_block_whose_messages_do_not_add_up_stays_whole(calculator, monkeypatch):

    from mlip.potential import edge_chunks

    monkeypatch.setattr(edge_chunks, "ADDITIVE", ())
    monkeypatch.setitem(mace_torch.EDGES_PER_CALL, "cpu", 30)
    use = potential.Evaluator(calculator.evaluator.model)
    assert not any("forward" in vars(block) for block in use.members[0].interactions)
