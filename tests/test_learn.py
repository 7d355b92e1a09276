"""Rounds of `mlip learn` with an engine of the tests as DFT: what is chosen, what a stop leaves, what is refused.

Stages from the training to the bands give the results of the finished run of the tests; the slow test runs them.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers import tiny
from numpy.testing import assert_allclose

from mlip import cli, config
from mlip.atoms import extxyz
from mlip.core import files
from mlip.core.run import locked
from mlip.core.status import NOT_RESOLVED, RESOLVED, Status
from mlip.dft import engines, queue
from mlip.dft.settings import Dft
from mlip.learn import rounds
from mlip.stages.dataset import dataset
from mlip.stages.neb.stage import Barriers
from mlip.tools import merge_datasets

MORE = Path(__file__).parent / "more_engines"
HELD_OUT = "bulk1_Li_hop"


@pytest.fixture(autouse=True)
def further_engine(monkeypatch):
    monkeypatch.setattr(engines, "__path__", [*engines.__path__, str(MORE)])
    monkeypatch.setenv("PYTHONPATH", f"{MORE}:{MORE.parent}:{tiny.REPOSITORY}")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A dataset of small shipped frames with the labels of the engine of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engines, "__path__", [*engines.__path__, str(MORE)])
        return relabelled(tmp_path_factory.mktemp("data") / "tiny", {})


def relabelled(folder, settings):
    dft = Dft(preset="pretend-morse", settings=settings)
    calculate = engines.engine(dft).session(engines.settings_of(dft))
    frames = extxyz.read_frames(tiny.DATA / "frames.extxyz")
    kept = [f for f in frames if len(f) <= 13 and f.info["host"] == "bulk" and f.info["ion"] != "Mg"]
    for frame in kept:
        found = calculate(frame, folder)
        frame.info |= {"dft_energy": found.energy_ev, "settings_hash": queue.settings_hash(dft)}
        frame.arrays["dft_forces"] = found.forces
    level = queue.settings_of(dft)
    merge_datasets.write(
        folder, kept, level="pretend", settings=level, licence="MIT", sampled="tests", limits=(), paths=()
    )
    return folder


@pytest.fixture
def stages_of_the_finished_run(monkeypatch, finished):
    """Training, sites and bands give what the finished run has, whatever the dataset of the round is."""
    for stage in config.stages():
        if stage.name in {"train", "evaluate", "sites", "neb"}:
            monkeypatch.setitem(
                vars(stage), "run", lambda context, stage=stage: copied(finished.folder, stage, context)
            )


def copied(folder, stage, context):
    own = folder / stage.name
    kept = shutil.ignore_patterns("result.json", "fingerprint")
    shutil.copytree(own, context.folder, dirs_exist_ok=True, ignore=kept)
    for path in (context.folder / "bands").glob("*.extxyz"):  # vacuum that a slab needs for a label
        images = extxyz.read_frames(path)
        for image in images:
            image.set_cell(image.cell.array + np.diag([0.0, 0.0, 6.0]))
        files.write_frames(path, images)
    return files.read_result(own / "result.json", stage.result)


def written(folder, data, *, learn=None, dft=None, **changes):
    settings = {
        "dataset": {"path": str(data), "test_groups": [HELD_OUT]},
        "dft": {"preset": "pretend-morse", "settings": dft or {}},
        "learn": {"rounds": 2, "frames": 3, **(learn or {})},
        "tracking": {"mode": "disabled"},
        **changes,
    }
    return tiny.write_config(folder / "learn.yaml", **settings)


def learn(folder, data, **changes):
    return cli.main(["learn", str(written(folder, data, **changes)), str(folder / "out")])


def record(folder):
    return json.loads((folder / "out" / "learn.json").read_text(encoding="utf-8"))


def labels_of(folder):
    return {p.name: p.stat().st_mtime_ns for p in (folder / "out" / "labels").glob("*/*.xyz")}


def reason(capsys):
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("mlip learn: ")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.usefixtures("stages_of_the_finished_run")
def test_two_rounds_and_what_a_stop_leaves(tmp_path, data, finished, capsys):
    started = tmp_path / "the_job_ran"
    waits = {"wait_for": str(started)}
    assert learn(tmp_path, data, dft=waits) == 0
    assert "3 jobs of round 0; then run this again" in capsys.readouterr().err
    stopped = record(tmp_path)
    assert stopped["status"]["code"] == "waiting for labels"
    assert len(stopped["rounds"]) == 1
    choice = (tmp_path / "out" / "round-0" / "learn" / "choice.json").read_text()

    started.touch()
    assert learn(tmp_path, data, dft=waits) == 0
    table = capsys.readouterr().out.splitlines()
    whole = record(tmp_path)
    assert (tmp_path / "out" / "round-0" / "learn" / "choice.json").read_text() == choice
    assert whole["status"] == {"code": "all rounds done", "reason": ""}
    counts = [len(r["labels"]["choice"]["chosen"]) if r["labels"] else 0 for r in whole["rounds"]]
    assert counts[0] == 3
    assert counts[1] == 2  # of six candidates: both members share an unrelaxed initial image, which counts once
    assert [int(line.split()[2]) for line in table[1:]] == counts
    grown = np.diff([r["training_frames"] for r in whole["rounds"]]).tolist()
    assert sum(grown) == 5  # of six candidates; every new label is trained on, a copy once
    labels = labels_of(tmp_path)
    assert len(labels) == 5

    first, second = whole["rounds"][:2]
    assert second["labels"]["choice"]["labelled_before"] in {3, 4}
    bands = files.read_result(finished.folder / "neb" / "result.json", Barriers).bands
    for image in first["labels"]["images"]:
        band = next(b for b in bands if (b.hop, b.member) == (image["hop"], image["member"]))
        assert image["reference"].startswith("round-0_Li_")
        assert abs(image["predicted_ev"] - band.energies_ev[image["image"]]) < 0.05  # a member against the committee

    frames = {f.info["frame_id"]: f for f in extxyz.read_frames(tmp_path / "out" / "dataset-2" / "frames.extxyz")}
    image = first["labels"]["images"][0]
    truth = [float(frames[image[key]].info["dft_energy"]) for key in ("frame_id", "reference")]
    assert_allclose(image["labelled_ev"], truth[0] - truth[1], rtol=0, atol=1e-6)
    assert (
        sorted(f.info["learned"] for f in frames.values() if "learned" in f.info) == [0] * counts[0] + [1] * counts[1]
    )

    # as a kill between the labels and the dataset leaves it, and one while a frame was labelled
    (tmp_path / "out" / "round-1" / "learn" / "result.json").unlink()
    lost = next((tmp_path / "out" / "labels").glob("*/*.xyz"))
    shutil.rmtree(tmp_path / "out" / "dataset-2")
    lost.unlink()
    assert learn(tmp_path, data, dft=waits) == 0
    again = record(tmp_path)
    assert again == whole
    kept = {name: when for name, when in labels.items() if name != lost.name}
    assert labels_of(tmp_path).items() >= kept.items()

    page = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "## Learning curve" in page
    assert "all rounds done." in page
    assert (tmp_path / "out" / "report.html").read_text(encoding="utf-8").count("data:image/svg+xml") == 1
    assert len((tmp_path / "out" / "tables" / "curve.csv").read_text().splitlines()) == 4


@pytest.mark.usefixtures("stages_of_the_finished_run")
def test_labels_that_fail_are_told_and_a_round_without_a_label_is_not_gone_on_with(tmp_path, data, capsys):
    """With committee-spread; the refused image is the saddle of member 1."""
    spread = {"choose": "committee-spread", "rounds": 1, "frames": 4, "per_group": 9}
    one = relabelled(tmp_path / "one", {"refuse": "member-1_1"})
    assert learn(tmp_path, one, learn=spread, dft={"refuse": "member-1_1"}) == 0
    labels = record(tmp_path)["rounds"][0]["labels"]
    assert [p["frame_id"][-10:] for p in labels["failed"]] == ["member-1_1"]
    assert "the electrons did not converge" in labels["failed"][0]["reason"]
    assert labels["frames"] == 3
    assert labels["choice"]["sigma_before_ev"] is None
    capsys.readouterr()
    none = relabelled(tmp_path / "none", {"refuse": "round-0"})
    (tmp_path / "all").mkdir()
    assert learn(tmp_path / "all", none, learn=spread, dft={"refuse": "round-0"}) == 1
    assert "round 0: none of 4 frames has a label to train on; the first: the electrons" in reason(capsys)


@pytest.mark.usefixtures("stages_of_the_finished_run")
def test_groups_held_out_are_never_labelled_and_without_candidates_the_rounds_end(tmp_path, data):
    hop = "ladder_001_perp_over_Li"
    frames = extxyz.read_frames(data / "frames.extxyz")
    for frame in frames:
        if frame.info["group"] == HELD_OUT:
            frame.info["group"] = hop
    own = tmp_path / "own"
    card = dataset.read_card(data)
    merge_datasets.write(
        own, frames, level="pretend", settings=card.settings, licence="MIT", sampled="tests", limits=(), paths=()
    )
    changes = {"dataset": {"path": str(own), "test_groups": [hop]}}
    assert learn(tmp_path, own, **changes) == 0
    found = record(tmp_path)
    assert found["status"]["code"] == "no candidate left"
    assert found["rounds"][0]["labels"] is None
    assert not (tmp_path / "out" / "labels").exists()


@pytest.mark.usefixtures("stages_of_the_finished_run")
def test_no_round_where_the_barriers_are_certain_enough(tmp_path, data, monkeypatch, finished):
    """The limiting hop gets a spread of 0.01 eV; 2 sigma is that or more, by the calibration on held-out frames."""
    neb = next(stage for stage in config.stages() if stage.name == "neb")
    found = files.read_result(finished.folder / "neb" / "result.json", Barriers)
    monkeypatch.setitem(vars(neb), "run", lambda context: copied(finished.folder, neb, context) and certain(found))
    assert learn(tmp_path, data, learn={"stop_below_ev": 1e3}) == 0
    whole = record(tmp_path)
    assert whole["status"]["code"] == "uncertainty below the limit"
    assert whole["rounds"][0]["two_sigma_ev"] >= 0.02
    limiting = [b for b in whole["rounds"][0]["barriers"] if b["limiting"]]
    assert [b["two_sigma_ev"] for b in limiting] == [whole["rounds"][0]["two_sigma_ev"]]


@pytest.mark.usefixtures("stages_of_the_finished_run")
def test_an_ion_without_a_resolved_barrier_is_not_certain(tmp_path, data, monkeypatch, finished):
    """One system is known to 0.01 eV, the other has no barrier: the rounds go on."""
    neb = next(stage for stage in config.stages() if stage.name == "neb")
    found = certain(files.read_result(finished.folder / "neb" / "result.json", Barriers))
    (known,) = found.bottlenecks
    lost = replace(known, ion="Mg", barrier_ev=None, limiting_hop=None, hops=(), status=Status(NOT_RESOLVED))
    both = replace(found, bottlenecks=(known, lost))
    monkeypatch.setitem(vars(neb), "run", lambda context: copied(finished.folder, neb, context) and both)
    assert learn(tmp_path, data, learn={"stop_below_ev": 1e3, "rounds": 1}) == 0
    whole = record(tmp_path)
    assert whole["status"]["code"] == "all rounds done"
    assert [r["two_sigma_ev"] for r in whole["rounds"]] == [None, None]


def certain(found):
    """The bands of the finished run with a barrier of 0.5 eV on the limiting hop."""
    barriers = tuple(replace(b, forward_ev=0.5, reverse_ev=0.5, forward_std_ev=0.01) for b in found.barriers)
    first = barriers[0]
    path = next(b for b in found.bottlenecks if (b.host, b.ion) == (first.host, first.ion))
    resolved = Status(RESOLVED)
    bottleneck = replace(path, barrier_ev=0.5, hops=(first.hop,), limiting_hop=first.hop, status=resolved)
    return replace(found, barriers=barriers, bottlenecks=(bottleneck,))


@pytest.mark.usefixtures("stages_of_the_finished_run")
def test_without_bands_and_dynamics_there_is_nothing_to_choose_from(tmp_path, data, monkeypatch, capsys):
    neb = next(stage for stage in config.stages() if stage.name == "neb")
    monkeypatch.setitem(vars(neb), "run", lambda _: Barriers(bands=(), barriers=(), bottlenecks=()))
    assert learn(tmp_path, data) == 1
    assert "no band has images and no trajectory has frames, so there is nothing to choose from" in reason(capsys)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learn": {"choose": "by-eye"}}, "learn.choose: Input should be 'barrier-variance' or 'committee-spread'"),
        ({"learn": {"frames": 1}}, "learn.frames: Input should be greater than or equal to 2"),
        ({"dft": {"scale": 2.0}}, "one dataset holds one level: set dft to that of the dataset"),
        (
            {"learn": {"choose": "committee-spread"}, "train": {"members": 1}},
            "learn.choose: committee-spread needs train.members of 2 or more",
        ),
        (
            {"learn": {"stop_below_ev": 0.05}, "train": {"members": 1}},
            "learn.stop_below_ev: needs a spread, so train.members of 2 or more",
        ),
        ({"dataset": {"path": "nowhere"}}, "nowhere: no such file or folder"),
    ],
)
def test_bad_input_is_refused_before_anything_is_computed(tmp_path, data, capsys, changes, message):
    assert learn(tmp_path, data, **changes) == 1
    assert message in reason(capsys)
    assert not (tmp_path / "out" / "round-0").exists()


def test_folders_that_cannot_take_rounds(tmp_path, data, capsys):
    source = written(tmp_path, data)
    (tmp_path / "file").write_text("")
    assert cli.main(["learn", str(source), str(tmp_path / "file" / "out")]) == 1
    assert "cannot be written" in reason(capsys)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("common: {}\n")
    assert cli.main(["learn", str(source), str(tmp_path / "run")]) == 1
    assert "is the folder of a single run; give another folder for the rounds" in reason(capsys)


@pytest.mark.usefixtures("stages_of_the_finished_run")
def test_a_dataset_that_cannot_be_written_is_named_and_the_labels_stay(tmp_path, data, capsys):
    """The dataset of the config is only read; a file stands where that of round 1 belongs."""
    before = files.sha256(data)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "dataset-1").write_text("in the way")
    spread = {"choose": "committee-spread", "rounds": 1}
    assert learn(tmp_path, data, learn=spread) == 1
    assert "dataset-1" in reason(capsys)
    made = record(tmp_path)["rounds"][0]["labels"]["frames"]
    labels = labels_of(tmp_path)
    assert 0 < len(labels) <= made  # both members may have one unrelaxed initial image
    assert files.sha256(data) == before
    (tmp_path / "out" / "dataset-1").unlink()
    assert learn(tmp_path, data, learn=spread) == 0
    assert labels_of(tmp_path).items() >= labels.items()


def test_a_second_process_is_refused(tmp_path, data, capsys):
    (tmp_path / "out").mkdir()
    with locked(tmp_path / "out"):
        assert learn(tmp_path, data) == 1
    assert "another process works in this run; wait for it or stop it" in reason(capsys)


def test_the_path_of_a_dataset_keeps_its_spelling(tmp_path, data, monkeypatch):
    """The path is a setting: another spelling of it would train every round again."""
    source = written(tmp_path, data)
    (tmp_path / "out" / "dataset-1").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    text = rounds._config(source, Path("out"), 1, Path("out/dataset-1")).read_text()
    assert yaml.safe_load(text)["dataset"] == {"path": "out/dataset-1", "test_groups": [HELD_OUT]}
    whole = tmp_path / "out"
    assert rounds._config(source, whole, 1, whole / "dataset-1").read_text() == text
    monkeypatch.chdir(whole)  # where the old spelling leads nowhere
    again = rounds._config(source, whole, 1, whole / "dataset-1").read_text()
    assert yaml.safe_load(again)["dataset"]["path"] == str(whole / "dataset-1")


@pytest.mark.slow
def test_killed_twice_and_gone_on_with(tmp_path, data):
    """All stages for real, two rounds, in a process that is killed while it trains and while it labels."""
    source, out = written(tmp_path, data), tmp_path / "out"
    settings = yaml.safe_load(source.read_text())
    settings["train"]["architecture"] |= {"channels": 2, "elements": ["Li", "O", "Ti"]}
    settings["structures"]["facets"][0]["vacuum_angstrom"] = 14.0  # that a slab needs for a label
    source.write_text(yaml.safe_dump(settings))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for mark in ("round-0/train/member-1", "round-1/learn/choice.json"):
        process = subprocess.Popen(
            tiny.command("learn", source, out), env=environment, start_new_session=True, stderr=subprocess.DEVNULL
        )
        while not (out / mark).exists() and process.poll() is None:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    choice = (out / "round-1" / "learn" / "choice.json").read_text()
    again = tiny.command("learn", source, out)
    done = subprocess.run(again, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (out / "round-1" / "learn" / "choice.json").read_text() == choice
    found = record(tmp_path)
    assert [bool(r["labels"]) for r in found["rounds"]] == [True, True, False]
    assert found["rounds"][2]["training_frames"] > found["rounds"][0]["training_frames"]
