import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time

import pytest
import yaml
from helpers import tiny

from mlip import cli, config, driver, pipeline
from mlip.atoms import extxyz
from mlip.core import files
from mlip.potential import models
from mlip.stages.modes import result
from mlip.stages.neb import neb


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the finished run."""
    shutil.copytree(finished.folder, tmp_path / "run", symlinks=True)
    return tmp_path / "run"


def changed(finished, path, **changes):
    """The config of the finished run with some keys changed."""
    settings = yaml.safe_load(finished.config.read_text())
    for section, keys in changes.items():
        settings[section] = {**settings.get(section, {}), **keys}
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.fixture
def watched(monkeypatch, finished):
    """Stages do nothing but note their name and give the result of the finished run."""
    called = []
    found = results(finished.folder)
    for stage in config.stages():
        if not stage.is_optional:
            patch_run(monkeypatch, stage, lambda _, name=stage.name: called.append(name) or found[name])
    return called


def patch_run(monkeypatch, stage, fake):
    """Let a stage do something else; a stage is frozen, so its dictionary is changed."""
    monkeypatch.setitem(vars(stage), "run", fake)


def finished_stages():
    return [stage.name for stage in config.stages() if not stage.is_optional]


def results(folder):
    """The result of every stage, read back."""
    stages = [stage for stage in config.stages() if not stage.is_optional]
    return {s.name: files.read_result(folder / s.name / "result.json", s.result) for s in stages}


def train_fingerprint(folder):
    run = driver.opened(folder)
    return run.fingerprint(run.stage("train"))


def numbers(folder):
    """What must not depend on when, where and how often a run was interrupted."""
    out = {s: json.loads((folder / s / "result.json").read_text())["result"] for s in finished_stages()}
    report = json.loads((folder / "report" / "report.json").read_text())
    return out | {"report.json": without(report, {"provenance", "card", "model_card", "name"})}


def without(value, keys):
    if isinstance(value, dict):
        return {k: without(v, keys) for k, v in value.items() if k not in keys}
    return [without(v, keys) for v in value] if isinstance(value, list) else value


def test_every_stage_has_a_name_a_command_and_a_section():
    assert list(pipeline.STAGES) == [stage.name for stage in config.stages()] == list(cli.STAGES)
    assert set(pipeline.STAGES) <= set(config.sections())


def test_whole_run_ends_with_the_report_and_the_headline(finished):
    assert all((finished.folder / stage / "result.json").exists() for stage in finished_stages())
    last = finished.screen.strip().splitlines()[-1]
    assert last == f"report: {finished.folder / 'report' / 'report.html'}"
    assert "verdict" in finished.screen
    html = (finished.folder / "report" / "report.html").read_text(encoding="utf-8")
    assert html.lstrip().lower().startswith("<!doctype html>")
    assert not list(finished.folder.rglob("*.tmp"))


def test_bands_that_did_not_converge_have_a_status_and_no_number(finished):
    found = results(finished.folder)
    barriers = found["neb"].barriers
    assert {b.status.code for b in found["neb"].bands} == {neb.MAX_STEPS}
    assert barriers
    for barrier in barriers:
        assert barrier.status.detail == "0 of 2 members converged: 2 max steps"
        assert barrier.forward_ev is None
        assert barrier.reverse_ev is None
    assert all(b.barrier_ev is None and b.status.code == "not resolved" for b in found["neb"].bottlenecks)
    for row in found["report"].headline:
        shown = json.loads(json.dumps(row, default=vars))
        assert "not resolved" in json.dumps(shown) or "not comparable" in json.dumps(shown)
    markdown = (finished.folder / "report" / "report.md").read_text(encoding="utf-8")
    assert "max steps" in markdown


def test_hops_without_a_converged_band_are_not_proved(finished):
    found = results(finished.folder)["modes"]
    assert found.hops
    assert {hop.status.code for hop in found.hops} == {result.NO_BAND}
    assert result.failed_hops(found) == {}
    assert all(hop.forward_ev is None and hop.forward_prefactor_thz is None for hop in found.hops)
    assert (found.bulk is None) == bool(found.notes)


def test_trained_committee_is_a_model_folder_with_a_card(finished):
    model = models.load(finished.folder / "train" / "model")
    committee = results(finished.folder)["train"]
    assert len(model.members) == 2
    assert model.target == "pbe"
    assert model.card["e0_ev"] == committee.e0_ev
    assert model.card["held_out_groups"] == list(tiny.HELD_OUT)
    for member in model.members:
        stored = member.atomic_energies_fn.atomic_energies.flatten().tolist()
        assert stored == pytest.approx([committee.e0_ev[s] for s in model.elements], rel=1e-12)


def test_evaluation_is_of_frames_the_committee_never_saw(finished):
    found = results(finished.folder)
    parts = found["dataset"].parts
    assert found["evaluate"].held_out_groups == tiny.HELD_OUT
    assert not set(parts["test"].groups) & (set(parts["train"].groups) | set(parts["valid"].groups))
    assert found["evaluate"].models[0].frames == parts["test"].frames == 2
    assert found["evaluate"].models[0].calibration > 0


def test_predict_agrees_with_the_evaluation(finished, tmp_path):
    test, out = finished.folder / "dataset" / "test.extxyz", tmp_path / "out.xyz"
    assert cli.main(["predict", str(finished.folder / "train" / "model"), str(test), "-o", str(out)]) == 0
    frames, parity = extxyz.read_frames(out), results(finished.folder)["evaluate"].parity
    energies = [f.info["mlip_energy"] / len(f) for f in frames]
    assert energies == pytest.approx(parity.energy_ev_per_atom, abs=1e-6)


def test_second_run_does_nothing(finished, copied, watched):
    before = {p: p.stat().st_mtime_ns for p in copied.rglob("*") if p.is_file() and p.name != ".lock"}
    assert cli.main(["run", str(finished.config), str(copied)]) == 0
    assert watched == []
    assert before == {p: p.stat().st_mtime_ns for p in copied.rglob("*") if p.is_file() and p.name != ".lock"}


def test_second_run_takes_seconds(finished, copied):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        tiny.command("run", finished.config, copied), env=tiny.environment(), check=True, capture_output=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 5


def test_editing_neb_runs_neb_and_report_and_editing_back_runs_nothing(finished, copied, watched, tmp_path, capsys):
    other = changed(finished, tmp_path / "other.yaml", neb={"max_steps": 5})
    assert cli.main(["run", str(other), str(copied)]) == 0
    assert watched == ["neb", "modes", "rates", "report"]
    watched.clear()
    capsys.readouterr()
    assert cli.main(["run", str(finished.config), str(copied)]) == 0
    assert watched == []
    assert capsys.readouterr().err.count("restored: these settings were run before") == 4
    assert numbers(copied) == numbers(finished.folder)


def test_one_stage_needs_the_stages_before_it(finished, copied, watched, tmp_path, capsys):
    other = changed(finished, tmp_path / "other.yaml", sites={"max_steps": 6})
    assert cli.main(["init", str(other), str(copied)]) == 0
    assert cli.main(["neb", str(copied)]) == 1
    line = capsys.readouterr().err.strip()
    assert line == f"mlip neb: sites is not done with these settings; first run: mlip sites {copied}"
    assert cli.main(["sites", str(copied)]) == cli.main(["neb", str(copied)]) == cli.main(["report", str(copied)]) == 0
    assert watched == ["sites", "neb", "report"]


def test_interrupted_stage_has_no_result(finished, copied, monkeypatch, tmp_path):
    def stop(_):
        raise KeyboardInterrupt

    patch_run(monkeypatch, next(s for s in config.stages() if s.name == "neb"), stop)
    other = changed(finished, tmp_path / "other.yaml", neb={"max_steps": 5})
    assert cli.main(["run", str(other), str(copied)]) == 130
    assert not (copied / "neb" / "result.json").exists()
    assert cli.main(["init", str(finished.config), str(copied)]) == 0  # the lock is free again


def kill_within(stage, finished, folder, *, rng):
    """Start the run, wait for a stage, kill -9 at a random moment of it; gives the moment, or None if it was over."""
    took = files.read_provenance(finished.folder / stage / "result.json").wall_time_s
    child = subprocess.Popen(
        tiny.command("run", finished.config, folder),
        env=tiny.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with child:
        for line in child.stderr:
            if line.startswith(f"{stage} ") and line.endswith("...\n"):
                break
        moment = rng.uniform(0.0, max(took, 0.1))
        time.sleep(moment)
        if child.poll() is None:
            os.kill(child.pid, signal.SIGKILL)
        rest = child.stderr.read()
    assert child.returncode in {0, -signal.SIGKILL}, rest
    return moment if child.returncode else None


def complete(finished, folder, moments):
    done = subprocess.run(
        tiny.command("run", finished.config, folder),
        env=tiny.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{moments}: {done.stderr}"
    assert numbers(folder) == numbers(finished.folder), moments


def test_killed_in_every_stage_and_completed_equals_uninterrupted(finished, tmp_path):
    rng, order = random.Random(), ("dataset", "train", "neb", "report")
    moments = [(stage, kill_within(stage, finished, tmp_path / "run", rng=rng)) for stage in order]
    assert any(moment is not None for _, moment in moments)
    complete(finished, tmp_path / "run", moments)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["dataset", "train", "sites", "neb", "report"])
def test_killed_at_ten_random_moments_of_a_stage(finished, tmp_path, stage):
    rng, kills, folder = random.Random(), [], tmp_path / "run"
    while len(kills) < 10:
        moment = kill_within(stage, finished, folder, rng=rng)
        if moment is None:  # it was over before: look at the result, and do the stage again
            complete(finished, folder, kills)
            for later in finished_stages()[finished_stages().index(stage) :]:
                shutil.rmtree(folder / later)
        else:
            kills.append(moment)
    complete(finished, folder, kills)
