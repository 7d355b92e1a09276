import shutil

from helpers import tiny
from numpy.testing import assert_allclose

from mlip.potential import equivalence, use


def test_the_first_accepted_backend_is_used(committee):
    tried = equivalence.candidates(device="cpu", dtype="float32", symmetrix=True)
    checks = [
        equivalence.Equivalence(
            backend=backend, structures=1, energy_ev=0.0, force_ev_per_angstrom=0.0, accepted=number > 1
        )
        for number, backend in enumerate(tried)
    ]
    assert use.model_use(committee, checks) == use.ModelUse(committee, tried[2])
    assert use.model_use(committee, checks[:1]) == use.ModelUse(committee, equivalence.REFERENCE)


def test_an_accepted_backend_that_fails_in_a_worker_falls_back(committee, tmp_path, caplog):
    shutil.copytree(committee, tmp_path / "model")
    model = use.ModelUse(tmp_path / "model", equivalence.Backend(name="symmetrix-xl", device="cpu", dtype="float64"))
    (tmp_path / use.CONVERTED).write_text("where a folder should be", encoding="utf-8")
    found = use.evaluator(model)
    assert not found.batched
    assert_allclose(
        found([tiny.rattled()])[0].forces,
        use.evaluator(use.ModelUse(committee, equivalence.REFERENCE))([tiny.rattled()])[0].forces,
    )
    assert len(caplog.records) == 1
    assert "symmetrix-xl was found equivalent, but fails here" in caplog.text
