"""The profile of a cluster: who has a GPU."""

import re

import pytest
import yaml

from mlip import cluster
from mlip.core import site
from mlip.core.task_records import Record

STAGES = ("train", "neb", "md", "label")


def profile(folder, **keys):
    (folder / "site.yaml").write_text(yaml.safe_dump(keys))
    return site.load(folder / "site.yaml", stages=STAGES)


@pytest.mark.parametrize(
    "keys",
    [
        {"gpus": 1, "stages": {"label": {"gpus": 0}}},
        {"stages": {name: {"gpus": 2} for name in STAGES[:3]}},
        {"options": {"gres": "gpu:a100:1"}},
    ],
)
def test_tasks_have_a_gpu_by_number_or_by_an_option(tmp_path, keys):
    profile(tmp_path, **keys).require_gpus(STAGES[:3], tmp_path / "site.yaml")


def test_stages_without_a_gpu_are_named_before_anything_is_submitted(tmp_path):
    found = profile(tmp_path, stages={"train": {"gpus": 1}}, options={"qos": "long"})
    where = tmp_path / "site.yaml"
    with pytest.raises(
        ValueError, match=re.escape(f"{where}: common.device is cuda, and the tasks of neb, md have no")
    ):
        found.require_gpus(STAGES[:3], where)


def test_the_driver_has_the_gpus_of_its_profile(tmp_path):
    record = Record(tmp_path, site.DRIVER)
    assert "--gpus" not in cluster._script(profile(tmp_path), record, ["c.yaml", "run"])
    asked = cluster._script(profile(tmp_path, stages={"driver": {"gpus": 2}}), record, ["c.yaml", "run"])
    assert "#SBATCH --gpus-per-node=2" in asked.splitlines()
