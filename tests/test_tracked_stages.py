import json
import shutil

import pytest
from helpers.tracked_runs import steps, stored

from mlip import config, driver
from mlip.core import tracked_stages, tracking
from mlip.core.report import NUMBER, TEXT, Column, number, table, with_error
from mlip.core.tracking import Task


@pytest.fixture(scope="module")
def runs(finished):
    """What the whole run recorded, the stages by name and the members by number."""
    return stored(finished.folder)


@pytest.fixture
def bare(finished, tmp_path):
    """A copy of the finished run that was not recorded, and is to be from now on."""
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder, symlinks=True, ignore=shutil.ignore_patterns("wandb"))
    path = folder / "config.yaml"
    path.write_text(path.read_text().replace("mode: disabled", "mode: offline"))
    return folder


def stage_runs(runs):
    return {run.job_type: run for run in runs if not run.name.rpartition("/")[2].startswith("member-")}


def test_a_whole_run_is_one_group_with_a_run_per_stage_and_member(finished, runs):
    planned = [stage.name for stage in driver.opened(finished.folder).planned()]
    assert list(stage_runs(runs)) == planned
    assert [run.name.partition("/")[2] for run in runs if run.job_type == "train"] == [
        "train/member-1",
        "train/member-2",
        "train",
    ]
    assert {run.group for run in runs} == {tracking.group_of(finished.folder)}
    assert len({run.id for run in runs}) == len(runs)
    assert {run.exit_code for run in runs} == {0}
    assert [steps([run]) for run in runs if "/member-" in run.name] == [[0, 1, 2]] * 2


def test_the_history_of_a_member_is_that_of_its_result_under_the_id_of_what_is_computed(finished, runs):
    run = driver.opened(finished.folder)
    result = json.loads((finished.folder / "train" / "result.json").read_text())["result"]
    for member in result["members"]:
        name = f"member-{member['member']}"
        (own,) = (one for one in runs if one.name.endswith(f"/{name}"))
        fingerprint = run.fingerprint(run.stage("train"))
        assert own.id == Task(run=finished.folder, stage="train", fingerprint=fingerprint, name=name).run_id
        assert [line["valid_loss"] for line in own.history] == [epoch["valid_loss"] for epoch in member["history"]]


def test_artifacts_are_made_and_used_by_the_stages_that_the_pipeline_says(finished, runs):
    group, found = tracking.group_of(finished.folder), stage_runs(runs)
    kinds = {"dataset": "dataset", "train": "model", "report": "report"}
    for name, run in found.items():
        assert list(run.made) == ([f"{group}-{kinds[name]}"] if name in kinds else [])
    assert list(found["train"].used) == [f"{group}-dataset"]
    assert list(found["neb"].used) == list(found["report"].used) == [f"{group}-dataset", f"{group}-model"]
    model = found["train"].made[f"{group}-model"]
    assert {model.digest} == {found[name].used[f"{group}-model"].digest for name in ("evaluate", "neb", "report")}
    files = [entry.path for entry in model.manifest.contents]
    assert {"model/model.json", "model/member-1.safetensors", "model/member-2.safetensors"} <= set(files)
    provenance = json.loads((finished.folder / "train" / "result.json").read_text())["provenance"]
    assert json.loads(model.metadata)["commit"] == provenance["commit"]
    assert json.loads(model.metadata)["settings"]["train"]["members"] == 2


def test_settings_commit_tables_and_figures_are_recorded(finished, runs):
    found = stage_runs(runs)
    assert found["neb"].config["neb"]["images"] == 3
    assert all(run.config["commit"] for run in runs)
    (line,) = found["neb"].history
    assert line["tables/band-profiles._type"] == "table-file"
    assert line["figures/band-profiles-1._type"] == "html-file"
    assert line["wall_time_s"] > 0
    (folder,) = finished.folder.glob(f"wandb/offline-run-*-{found['neb'].id}")
    profiles = json.loads((folder / "files" / line["tables/band-profiles.path"]).read_text())
    assert profiles["columns"][-3:] == ["Status", "Path length (\u00c5)", "Energy (eV)"]
    bands = json.loads((finished.folder / "neb" / "result.json").read_text())["result"]["bands"]
    assert len(profiles["data"]) == sum(
        len(band["energies_ev"]) if band["status"]["code"] == "converged" else 1 for band in bands
    )
    assert all((row[-1] is None) == (row[-3] != "converged") for row in profiles["data"])
    (headline,) = stage_runs(runs)["report"].history
    assert headline["tables/headline.nrows"] == 6


def test_what_is_done_and_not_recorded_is_recorded_by_the_next_call_and_once(bare):
    before = (bare / "structures" / "result.json").read_bytes()
    driver.run_one("structures", bare)
    (run,) = stored(bare)
    assert run.job_type == "structures"
    driver.run_one("structures", bare)
    assert len(stored(bare)) == 1
    assert (bare / "structures" / "result.json").read_bytes() == before


def test_without_wandb_a_stage_runs_and_says_so_once(bare, monkeypatch, capsys):
    monkeypatch.setattr(tracking, "PACKAGE", "wandb-of-nobody")
    tracking._say_once.cache_clear()
    shutil.rmtree(bare / "structures")
    driver.run_one("structures", bare)
    driver.run_one("structures", bare)
    assert (bare / "structures" / "result.json").exists()
    assert capsys.readouterr().err.count("Weights & Biases is not installed, nothing is recorded") == 1
    assert not (bare / "wandb").exists()


def test_online_without_wandb_stops_before_a_stage(bare, monkeypatch):
    path = bare / "config.yaml"
    path.write_text(path.read_text().replace("mode: offline", "mode: online"))
    monkeypatch.setattr(tracking, "PACKAGE", "wandb-of-nobody")
    with pytest.raises(ValueError, match=r"tracking\.mode: online, and .* is not installed"):
        driver.run_one("structures", bare)


def test_columns_of_numbers_are_numbers_and_a_status_stays_in_words():
    columns = [
        Column("name", TEXT, lambda r: r[0]),
        Column("a", NUMBER, lambda r: number(r[1])),
        Column("b", NUMBER, lambda r: number(r[2]) if r[2] else "not converged"),
        Column("c", NUMBER, lambda r: with_error(r[2], 0.1 if r[2] else None)),
    ]
    made = table("t", columns, [("x", -1.5, 1.0), ("y", None, None)])
    assert tracked_stages.values(made) == [
        ["x", -1.5, "1.000", "1.00 \u00b1 0.10"],
        ["y", None, "not converged", "\u2013"],
    ]


def test_artifacts_of_the_pipeline():
    kinds = {stage.name: stage.artifact.kind for stage in config.stages() if stage.artifact is not None}
    assert kinds == {"dataset": "dataset", "train": "model", "report": "report"}
