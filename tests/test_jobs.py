import shutil

import pytest
import tiny
from numpy.testing import assert_allclose

from mlip.potential import equivalence, models
from mlip.stages import jobs
from mlip.stages.dataset.dataset import Manifest
from mlip.stages.train.settings import TrainSettings


def test_the_first_accepted_way_is_used(committee):
    ways = equivalence.ways(device="cpu", dtype="float32", native=True)
    checks = [equivalence.Equivalence(way, 1, 0.0, 0.0, accepted=number > 1) for number, way in enumerate(ways)]
    assert jobs.model_use(committee, checks) == jobs.ModelUse(committee, ways[2])
    assert jobs.model_use(committee, checks[:1]) == jobs.ModelUse(committee, equivalence.PLAIN)


def test_an_accepted_way_that_fails_in_a_worker_falls_back(committee, tmp_path, caplog):
    shutil.copytree(committee, tmp_path / "model")
    use = jobs.ModelUse(tmp_path / "model", equivalence.Way("symmetrix-xl", "cpu", "float64"))
    (tmp_path / "native").write_text("where a folder should be", encoding="utf-8")
    found = jobs.evaluator(use)
    assert not found.batched
    assert_allclose(
        found([tiny.rattled()])[0].forces,
        jobs.evaluator(jobs.ModelUse(committee, equivalence.PLAIN))([tiny.rattled()])[0].forces,
    )
    assert len(caplog.records) == 1
    assert "symmetrix-xl was found equivalent, but fails here" in caplog.text


def test_base_that_saw_the_labels_is_refused(committee, tmp_path):

    whole = models.load(committee)
    card = {**whole.card, "labels": {"settings_hash": "abc"}}
    models.save(tmp_path / "seen", shape=whole.shape, weights=[whole.members[0].state_dict()], card=card)
    e0 = dict.fromkeys(whole.elements, -1.0)
    manifest = Manifest(target="pbe", settings_hash="abc", parts={}, e0_ev={"pbe": e0})
    with pytest.raises(ValueError, match="may not be held out"):
        jobs.reference_energies(TrainSettings(base=str(tmp_path / "seen")), manifest, [])
