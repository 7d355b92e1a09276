import pytest

from mlip import config, jobs, models
from mlip.dataset import Manifest


def test_a_single_member_has_no_judge(committee, tmp_path):
    use = jobs.ModelUse(committee, "cpu", "float64")
    assert len(jobs.judge(use).evaluator.members) == 2
    whole = models.load(committee)
    models.save(tmp_path / "one", shape=whole.shape, weights=[whole.members[0].state_dict()], card=whole.card)
    assert jobs.judge(jobs.ModelUse(tmp_path / "one", "cpu", "float64")) is None


def test_base_that_saw_the_labels_is_refused(committee, tmp_path):

    whole = models.load(committee)
    card = {**whole.card, "labels": {"settings_hash": "abc"}}
    models.save(tmp_path / "seen", shape=whole.shape, weights=[whole.members[0].state_dict()], card=card)
    e0 = dict.fromkeys(whole.elements, -1.0)
    manifest = Manifest(target="pbe", settings_hash="abc", parts={}, e0_ev={"pbe": e0})
    with pytest.raises(ValueError, match="may not be held out"):
        jobs.reference_energies(config.Train(base=str(tmp_path / "seen")), manifest, [])
