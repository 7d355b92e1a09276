import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers import cells, tiny
from helpers.vasp_jobs import paw_data, vasprun
from numpy.testing import assert_allclose

from mlip import cli, driver
from mlip.atoms import dispersion, extxyz
from mlip.core import files
from mlip.dft import queue, single_points, tasks
from mlip.dft.settings import Dft
from mlip.stages.dataset import labels
from mlip.stages.dataset.settings import DatasetSettings
from mlip.stages.label import LabelledFrames

HASH = queue.settings_hash(cells.DFT)


def names(folder):
    """What a store holds, without the logs."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and "work" not in p.parts)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Three labelled hydrides and a lithium atom, done by two processes."""
    if not cells.HAS_GPAW:
        pytest.skip(cells.NO_GPAW)
    folder = tmp_path_factory.mktemp("store")
    frames = [*(cells.hydride(k, 1.6 + 0.03 * k) for k in range(3)), cells.lithium()]
    ticks = []
    found = queue.label(frames, cells.DFT, folder, workers=2, on_tick=lambda *tick: ticks.append(tick))
    return frames, folder, found, ticks


def test_labels_come_in_order_and_in_the_keys_of_a_dataset(store):
    frames, _, found, _ = store
    assert found.problems == ()
    assert [f.info["frame_id"] for f in found.frames] == [f.info["frame_id"] for f in frames]
    labels.check(found.frames, DatasetSettings(max_energy_outlier_ev_per_atom=2.0), source="here", target="pbe-d3")
    for given, made in zip(frames, found.frames, strict=True):
        assert_allclose(made.positions, given.positions, rtol=0, atol=1e-8)
        assert_allclose(made.info["d3_energy"], dispersion.d3(given)[0], rtol=0, atol=1e-7)
        assert made.info["settings_hash"] == HASH
        assert made.info["vacuum"] == given.info["vacuum"]
        assert_allclose(made.arrays["dft_forces"].sum(axis=0), 0.0, rtol=0, atol=1e-7)
        assert made.info["dft_energy_extrapolated"] > made.info["dft_energy"] - 1e-9
        assert {"kpts", "net_force", "scf_iterations", "wall_s"} <= made.info.keys()


def test_progress_ends_with_all_frames_and_nothing_left(store):
    *_, ticks = store
    assert [t[0] for t in ticks] == sorted(t[0] for t in ticks)
    assert ticks[0][1:] == (4, pytest.approx(4 * 5, rel=0.5))  # the cost model, before anything is measured
    assert ticks[-1] == (4, 4, 0.0)


def test_what_is_there_is_not_calculated_again_and_takes_the_identity_of_who_asks(store):
    frames, folder, found, _ = store
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*.xyz")}
    again = frames[1].copy()
    again.info = {**again.info, "frame_id": "other", "group": "of_another_stage"}
    started = time.monotonic()
    (made,) = queue.label([again], cells.DFT, folder, workers=2).frames
    assert time.monotonic() - started < 1.0
    assert made.info["frame_id"] == "other"
    assert made.info["group"] == "of_another_stage"
    assert made.info["dft_energy"] == found.frames[1].info["dft_energy"]
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*.xyz")} == before


def test_plan_counts_what_is_left_and_what_it_costs(store):
    frames, folder, *_ = store
    more = [cells.hydride(k, 1.9 + 0.02 * k) for k in range(5, 10)]
    found = queue.planned([*frames, *more], cells.DFT, folder, workers=2)
    assert (found.frames, found.done, found.failed) == (9, 4, 0)
    (line,) = found.lines
    assert (line.system, line.atoms, line.k_points, line.frames) == ("HLi", 2, "1x1x1", 5)
    assert line.core_hours == found.core_hours == pytest.approx(5 * 5.1 / 3600, rel=0.1)
    assert queue.planned(frames, cells.DFT, folder, workers=2).lines == ()


def many():
    frames = [cells.hydride(k, 1.5 + 0.01 * k) for k in range(11)]
    frames += [cells.hydride(20 + k, 1.5 + 0.01 * k, cell=(4.0, 4.0, 6.0)) for k in range(6)] + [cells.lithium(1)]
    return {tasks.digest(f, cells.DFT): f for f in frames}


@pytest.mark.parametrize("streams", [1, 2, 3, 16])
def test_shares_have_every_frame_once_and_depend_on_nothing_else(streams):
    frames = many()
    cut = tasks.tasks(frames, cells.DFT, streams=streams)
    assert sorted(d for t in cut for d in t.digests) == sorted(frames)
    assert max(len(t.digests) for t in cut) <= tasks.MOST_FRAMES
    assert cut == tasks.tasks(many(), cells.DFT, streams=streams)
    if streams == 16:  # frames enough for all
        assert len(cut) >= 16
    if streams == 1:  # nobody to share with, so that as many frames as possible begin from wave functions
        assert len(cut) == 3 + 2 + 1  # of 11, 6 and 1 frames
    for task in cut:
        assert len({tuple(np.round(frames[d].cell.lengths(), 6)) for d in task.digests}) == 1
        assert set(task.digests) <= set(task.peers)


def test_the_digest_is_of_level_and_structure_alone():
    frame = cells.hydride()
    same, moved, stretched, slab = (frame.copy() for _ in range(4))
    same.info["frame_id"] = "other"
    same.positions += 1e-8
    same.positions[0, 0] -= 1e-8
    moved.positions[0, 0] += 2e-6
    stretched.cell[2, 2] += 2e-6
    slab.info["vacuum"] = True
    assert tasks.digest(same, cells.DFT) == tasks.digest(frame, cells.DFT)
    others = {tasks.digest(f, cells.DFT) for f in (frame, moved, stretched, slab)}
    others |= {tasks.digest(frame, Dft(settings={**cells.SETTINGS, "cutoff_ev": 210.0}))}
    assert len(others) == 5


def without(key):
    frame = cells.hydride()
    del frame.info[key]
    return frame


def flat():
    frame = cells.hydride()
    frame.cell[2] = 0.0
    return frame


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (list, "there are no frames to label; name extended XYZ files in label.frames"),
        (lambda: [without("vacuum")], "frame lih_0: has no vacuum in its info"),
        (lambda: [without("frame_id")], "frame number 0: has no frame_id in its info"),
        (lambda: [cells.hydride(vacuum="15 A")], "frame lih_0: vacuum is '15 A'; write T for a slab, F for a crystal"),
        (lambda: [flat()], "frame lih_0: has no three-dimensional cell"),
        (lambda: [cells.hydride(), cells.hydride(bond=1.7)], "frame_id 'lih_0' is there twice"),
    ],
)
def test_frames_that_cannot_be_labelled_at_all(tmp_path, frames, message):
    with pytest.raises(ValueError, match=message):
        queue.label(frames(), cells.DFT, tmp_path, workers=1)
    assert names(tmp_path) == []


@cells.needs_gpaw
def test_atoms_on_top_of_each_other_are_refused_before_anything_runs(tmp_path):
    close, wrong = cells.hydride(1, 0.6), cells.hydride(2)
    wrong.positions[0, 0] = np.nan
    started = time.monotonic()
    found = queue.label([close, wrong], cells.DFT, tmp_path, workers=1)
    assert time.monotonic() - started < 2.0
    assert found.frames == (None, None)
    reasons = [p.reason for p in found.problems]
    assert reasons[0].startswith("Li0 and H1 are 0.608 Angstrom apart, at least 0.7 are needed; nothing was calculated")
    assert reasons[1].startswith("a position or cell vector is not finite")
    assert all("to try again remove" in r for r in reasons)
    assert len(names(tmp_path)) == 2


def test_a_frame_whose_reason_is_removed_meanwhile_waits_for_the_next_call(tmp_path, monkeypatch):
    monkeypatch.setenv("VASP_PP_PATH", str(paw_data(tmp_path / "pp")))
    frames, level = [cells.lithium(), cells.hydride(1, 0.6)], Dft(preset="vasp-paper")

    def remove(_done, _all, _left):
        for file in tmp_path.glob("labels/*/failed/*.json"):
            file.unlink()

    first, close = queue.label(frames, level, tmp_path / "labels", workers=1, on_tick=remove).problems
    assert "run VASP in" in first.reason
    assert (close.frame_id, close.reason, close.file) == ("lih_1", queue.GONE, None)
    assert queue.left([first, close]) == ("2 frames wait for a label", [])
    (again,) = queue.label(frames[1:], level, tmp_path / "labels", workers=1).problems
    (file,) = tmp_path.glob("labels/*/failed/*.json")
    assert queue.left([again]) == (None, [str(file)])


def test_core_seconds_count_the_cores_of_a_label():
    assert single_points.core_seconds({"wall_s": 10.0, "ranks": 4}) == 40.0
    assert single_points.core_seconds({"wall_s": 10.0}) == 10.0
    assert single_points.core_seconds({"ranks": 4}) is None


@cells.needs_gpaw
def test_electrons_that_do_not_converge_are_kept_aside_once(tmp_path):
    hasty = Dft(settings={**cells.SETTINGS, "max_iterations": 2})
    frame = cells.hydride()
    cells.in_process([frame], hasty, tmp_path)
    found = queue.label([frame], hasty, tmp_path, workers=1)  # settled: not tried again
    (problem,) = found.problems
    assert found.frames == (None,)
    assert "did not converge in 2 iterations" in problem.reason
    assert names(tmp_path) == [f"{HASH}/failed/{tasks.digest(frame, hasty)}.json"]
    cells.in_process([frame], cells.DFT, tmp_path)  # the same level, more patience: still aside
    assert queue.label([frame], cells.DFT, tmp_path, workers=1).frames == (None,)
    Path(problem.file).unlink()
    cells.in_process([frame], cells.DFT, tmp_path)
    assert queue.label([frame], cells.DFT, tmp_path, workers=1).frames[0] is not None


@cells.needs_gpaw
def test_a_label_far_from_the_last_one_of_its_system_is_kept_aside(tmp_path):
    frames = [cells.hydride(0), cells.hydride(1, 0.75), cells.hydride(2, 1.7)]
    cells.in_process(frames, cells.DFT, tmp_path)
    found = queue.label(frames, cells.DFT, tmp_path, workers=1)
    assert [f is None for f in found.frames] == [False, True, False]
    (problem,) = found.problems
    assert problem.frame_id == "lih_1"
    assert "eV per atom from that of lih_0 in the same cell" in problem.reason
    kept = next((tmp_path / HASH / "failed").glob("*.xyz"))  # with its numbers
    assert extxyz.read_frames(kept)[0].info["frame_id"] == "lih_1"
    other = cells.hydride(1, 0.75, group="who_asks")
    seen = single_points.read_refused(Path(problem.file), other)
    assert (seen.info["group"], seen.info["refused"]) == ("who_asks", problem.reason.split("; to try")[0])


@cells.needs_gpaw
def test_a_smearing_that_changes_the_energy_is_kept_aside(tmp_path):
    hot = Dft(settings={**cells.SETTINGS, "smearing_ev": 2.0})
    cells.in_process([cells.lithium()], hot, tmp_path)
    (problem,) = queue.label([cells.lithium()], hot, tmp_path, workers=1).problems
    assert "free and extrapolated energy differ by" in problem.reason
    assert "see smearing_ev" in problem.reason


@cells.needs_gpaw
def test_a_killed_worker_loses_nothing_that_is_finished(tmp_path):
    frames = [cells.hydride(k, 1.6 + 0.02 * k) for k in range(4)]

    def kill(done, _all, _left):
        if done >= 1:
            for child in multiprocessing.active_children():
                os.kill(child.pid, signal.SIGKILL)

    with pytest.raises(ValueError, match=r"a worker process was killed .* finished work is kept"):
        queue.label(frames, cells.DFT, tmp_path, workers=1, on_tick=kill)
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / HASH).glob("*.xyz")}
    assert len(kept) >= 1
    found = queue.label(frames, cells.DFT, tmp_path, workers=1)
    assert None not in found.frames
    assert {p: p.stat().st_mtime_ns for p in kept} == kept
    assert len(names(tmp_path)) == 4  # and nothing half-written beside them


@cells.needs_gpaw
def test_a_full_disk_loses_nothing_that_is_finished(small_disk):
    frames = [cells.hydride(k, 1.6 + 0.02 * k) for k in range(3)]
    cells.in_process(frames[:1], cells.DFT, small_disk)
    whole = next((small_disk / HASH).glob("*.xyz"))
    before = whole.read_bytes()
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "filler").write_bytes(bytes(65536))
    with pytest.raises(ValueError, match=r"cannot be written \(No space left on device\); free space") as caught:
        queue.label(frames, cells.DFT, small_disk, workers=1)
    assert "\n" not in str(caught.value)
    assert whole.read_bytes() == before
    assert list((small_disk / HASH).glob("*.xyz")) == [whole]
    (small_disk / "filler").unlink()
    for log in small_disk.rglob("gpaw.txt"):
        log.unlink()
    cells.in_process(frames, cells.DFT, small_disk)
    assert None not in queue.label(frames, cells.DFT, small_disk, workers=1).frames


# The command


def made_run(folder, frames, **dft):
    """A run folder whose label section names a file with these frames."""
    files.write_frames(folder / "mine.extxyz", frames)
    settings = {"label": {"frames": [str(folder / "mine.extxyz")]}, "common": {"workers": 1}}
    settings["dft"] = {"settings": {**cells.SETTINGS, **dft}}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    driver.init(folder / "config.yaml", folder / "run")
    return folder / "run"


def finished(*words, **extra):
    """The command in a process of its own, to its end."""
    environment = tiny.environment(**extra)
    return subprocess.run(tiny.command(*words), env=environment, capture_output=True, text=True, check=False)


def test_wrong_dft_settings_are_found_by_init(tmp_path, capsys):
    files.write_frames(tmp_path / "mine.extxyz", [cells.hydride()])
    (tmp_path / "c.yaml").write_text("dft: {settings: {cutof: 1}}\n", encoding="utf-8")
    assert cli.main(["init", str(tmp_path / "c.yaml"), str(tmp_path / "run")]) == 1
    assert "dft.settings.cutof: unknown key" in capsys.readouterr().err


@cells.needs_gpaw
def test_the_command_from_check_to_result(tmp_path, capsys):
    frames = [cells.hydride(0), cells.hydride(1, 0.5), cells.hydride(2, 1.7)]
    folder = made_run(tmp_path, frames)
    assert cli.main(["label", str(folder), "--check"]) == 0
    plan = capsys.readouterr().err
    assert f"3 frames at gpaw-pbe-520 ({HASH}): 0 done, 0 failed before" in plan
    assert "1x1x1" in plan
    assert "core-hours" in plan
    assert not (folder / "labels").exists()
    assert cli.main(["label", str(folder)]) == 0
    screen = capsys.readouterr().err
    assert "lih_1: Li0 and H1 are 0.510 Angstrom apart" in screen.replace("\n", " ")
    assert [f.info["frame_id"] for f in extxyz.read_frames(folder / "label" / "frames.extxyz")] == ["lih_0", "lih_2"]
    result = files.read_result(folder / "label" / "result.json", LabelledFrames)
    assert (result.frames, result.settings_hash) == (2, HASH)
    assert [p.frame_id for p in result.problems] == ["lih_1"]
    assert cli.main(["label", str(folder)]) == 0
    assert "up to date" in capsys.readouterr().err
    Path(result.problems[0].file).unlink()  # asks for another try
    assert cli.main(["label", str(folder)]) == 0
    assert "2 of 3 frames" in capsys.readouterr().err


def test_a_stage_with_a_frame_that_waits_is_reopened_as_by_a_whole_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VASP_PP_PATH", str(paw_data(tmp_path / "pp")))
    files.write_frames(tmp_path / "mine.extxyz", [cells.hydride(0), cells.hydride(1, 1.7)])
    settings = {"label": {"frames": [str(tmp_path / "mine.extxyz")]}, "common": {"workers": 1}}
    settings["dft"] = {"preset": "vasp-paper", "settings": {"dispersion": "none"}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    run = driver.init(tmp_path / "config.yaml", tmp_path / "run")
    cells.in_process([cells.hydride(0), cells.hydride(1, 1.7)], run.sections["dft"], run.folder / "labels")
    for number, folder in enumerate(sorted((run.folder / "labels").glob("*/work/*"))):
        vasprun(folder, energy_ev=-6.0, forces=np.zeros((2, 3)))
        run = driver.run_stages(run.folder, ["label"])
        said = " ".join(capsys.readouterr().err.split())
        assert f"{number + 1} of 2 frames" in said
        assert ("1 frames wait for a label; run the same command again" in said) == (number == 0)
        assert run.is_whole(run.stage("label")) == (number == 1)
    driver.run_stages(run.folder, ["label"])
    assert "label up to date" in " ".join(capsys.readouterr().err.split())


def test_the_command_where_none_can_be_labelled(tmp_path, capsys):
    folder = made_run(tmp_path, [cells.hydride(1, 0.5)])
    assert cli.main(["label", str(folder)]) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("mlip label: none of 1 frames has a label; the first: Li0 and H1 are 0.510 Angstrom apart")
    assert not (folder / "label" / "result.json").exists()


def test_no_gpaw_is_one_line(tmp_path):
    folder = made_run(tmp_path, [cells.hydride()])
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['gpaw'] = None\n")
    path = os.pathsep.join([str(tmp_path), str(tiny.REPOSITORY)])
    for words in (("label", folder), ("label", folder, "--check")):
        done = finished(*words, PYTHONPATH=path)
        assert done.returncode == 1
        assert "is not installed" in done.stderr.strip().splitlines()[-1]
        assert "make setup-dft" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.slow
@cells.needs_gpaw
def test_killed_twenty_times_at_random_no_finished_frame_is_lost(tmp_path):
    """SIGKILL of the driver, whose workers die with it; every label that was there stays as it was."""
    frames = [cells.hydride(k, 1.5 + 0.005 * k) for k in range(60)]
    folder = made_run(tmp_path, frames)
    store = folder / "labels" / HASH
    rng, kept = random.Random(7), {}
    for _ in range(20):
        driver = subprocess.Popen(
            tiny.command("label", folder), env=tiny.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            driver.wait(rng.uniform(1.0, 9.0))
        except subprocess.TimeoutExpired:
            driver.kill()
            driver.wait()
        now = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in store.glob("*.xyz")}
        assert kept.items() <= now.items()
        for path in now:
            extxyz.read_frames(path)  # each is whole
        kept = now
    done = finished("label", folder)
    assert done.returncode == 0, done.stderr
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in kept} == kept
    result = json.loads((folder / "label" / "result.json").read_text())["result"]
    assert result["frames"] == 60
    assert list(store.glob(".*.tmp")) == []


@pytest.mark.slow
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
@cells.needs_gpaw
def test_two_workers_against_one(tmp_path):
    """On a quiet machine with two real cores; frames of several seconds each, so that starting up counts little."""
    settings = Dft(settings={"cutoff_ev": 400.0, "k_length_angstrom": 32.0})
    frames = [cells.hydride(k, 1.6 + 0.01 * k) for k in range(12)]
    seconds = {}
    for workers in (1, 2):
        started = time.monotonic()
        assert None not in queue.label(frames, settings, tmp_path / str(workers), workers=workers).frames
        seconds[workers] = time.monotonic() - started
    sys.stdout.write(
        f"{seconds[1]:.1f} s with one worker, {seconds[2]:.1f} s with two: {seconds[1] / seconds[2]:.2f}\n"
    )
    assert seconds[1] / seconds[2] > 1.5
