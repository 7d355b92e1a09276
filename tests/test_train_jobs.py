import pytest

from mlip.potential import models
from mlip.stages.dataset.dataset import Manifest
from mlip.stages.train import jobs
from mlip.stages.train.settings import TrainSettings


def test_base_that_saw_the_labels_is_refused(committee, tmp_path):
    whole = models.load(committee)
    card = {**whole.card, "labels": {"settings_hash": "abc"}}
    models.save(tmp_path / "seen", shape=whole.shape, weights=[whole.members[0].state_dict()], card=card)
    e0 = dict.fromkeys(whole.elements, -1.0)
    manifest = Manifest(target="pbe", settings_hash="abc", parts={}, e0_ev={"pbe": e0})
    with pytest.raises(ValueError, match="may not be held out"):
        jobs.reference_energies(TrainSettings(base=str(tmp_path / "seen")), manifest, [])
