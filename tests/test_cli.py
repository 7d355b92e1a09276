import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml
from helpers import tiny

from mlip import __version__, cli, config
from mlip.atoms import extxyz
from mlip.core import files
from mlip.potential import models


@pytest.fixture
def fails(capsys):
    """Run a command that must end with exit code 1 and one clear line; gives the line."""

    def run(*words, match):
        assert cli.main([str(w) for w in words]) == 1
        told = capsys.readouterr()
        assert "Traceback" not in told.err + told.out
        start = told.err.index(f"mlip {words[0]}: ")
        line = told.err[start:].strip()
        assert "\n" not in line
        assert re.search(match, line), line
        return line

    return run


@pytest.fixture
def here(monkeypatch):
    """Jobs run in this process: what they say is the same, and torch is here already."""
    monkeypatch.setattr(
        "mlip.stages.train.jobs.run_parallel", lambda function, jobs, **_: [function(job) for job in jobs]
    )


@pytest.fixture
def frames(tmp_path):
    """A file with two structures."""
    files.write_frames(tmp_path / "frames.xyz", [tiny.rattled(), tiny.rattled("Ti2O4", seed=1)])
    return tmp_path / "frames.xyz"


def started(tmp_path, *, change=lambda frames: frames, **changes):
    """A run folder on a dataset of its own that may be spoiled, with its structures made."""
    data = tiny.write_dataset(tmp_path / "data", change)
    changes["dataset"] = {"path": str(data), **changes.get("dataset", {})}
    path = tiny.write_config(tmp_path / "c.yaml", **changes)
    assert cli.main(["init", str(path), str(tmp_path / "run")]) == 0
    assert cli.main(["structures", str(tmp_path / "run")]) == 0
    return tmp_path / "run"


def nothing_lost(run):
    """The stage before is whole, the one that failed has no result, and there is no half-written file."""
    assert config.load(run / "config.yaml")
    assert (run / "structures" / "result.json").exists()
    assert not (run / "dataset" / "result.json").exists()
    assert not list(run.rglob("*.tmp"))
    return True


# --- the command itself


def test_help_is_instant():
    code = (
        "import sys; from mlip import cli\n"
        "try: cli.main(['--help'])\n"
        f"except SystemExit: pass\nprint([m for m in {tiny.HEAVY} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=tiny.environment(), capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "[]"
    assert "Cross-check of ion migration barriers" in done.stdout
    for stage in cli.STAGES:
        assert re.search(rf"^ +{stage}\b", done.stdout, flags=re.MULTILINE)


def test_version(capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out == f"mlip {__version__}\n"


@pytest.mark.parametrize(
    "words", [[], ["frobnicate"], ["predict", "model"], ["export", "m", "--to", "onnx", "-o", "x"]]
)
def test_wrong_usage_is_exit_code_2(words, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(words)
    assert left.value.code == 2
    assert "usage: mlip" in capsys.readouterr().err


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(ValueError, match="cannot be read"):
        cli.main(["--debug", "predict", str(tmp_path / "m"), str(tmp_path / "f"), "-o", str(tmp_path / "o")])


def test_interrupt(tmp_path, monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.COMMANDS, "status", stop)
    assert cli.main(["status", str(tmp_path)]) == 130
    assert "run the same command again" in capsys.readouterr().err


# --- the config


def test_all_wrong_keys_at_once(tmp_path, capsys):
    (tmp_path / "c.yaml").write_text("neb: {imgaes: 5}\ntrain: {architecture: {chanels: 3}}\nsite: {}\n")
    assert cli.main(["init", str(tmp_path / "c.yaml"), str(tmp_path / "run")]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 3
    for path in ("neb.imgaes", "train.architecture.chanels", "site"):
        assert sum(f"c.yaml: {path}: unknown key" in line for line in lines) == 1
    assert not (tmp_path / "run").exists()


def test_config_that_is_not_there(tmp_path, fails):
    fails("run", tmp_path / "no.yaml", tmp_path / "run", match=r"no\.yaml: cannot be read \(No such file")


def test_folder_that_is_no_run(tmp_path, fails):
    fails("neb", tmp_path, match=r"not a run folder \(no config\.yaml\); make one with: mlip init")


# --- labels


def with_info(key, value):
    def change(frames):
        frames[3].info[key] = value
        return frames

    return change


def with_forces(change_forces):
    def change(frames):
        change_forces(frames[3].arrays)
        return frames

    return change


def in_hartree(frames):
    for frame in frames:
        frame.info["dft_energy"] /= 27.211386245988
    return frames


BAD_LABELS = {
    "mixed levels": (with_info("settings_hash", "0123456789abcdef"), "settings_hash is 0123.*one level of theory"),
    "nan": (
        with_forces(lambda a: a["dft_forces"].__setitem__((0, 1), np.nan)),
        "dft_forces holds 1 values that are not finite",
    ),
    "absent forces": (with_forces(lambda a: a.pop("dft_forces")), "has no dft_forces; label the frame or leave it out"),
    "hartree": (in_hartree, "which looks like Hartree: multiply by 27.2114"),
}


@pytest.mark.parametrize("name", BAD_LABELS)
def test_bad_labels(tmp_path, fails, name):
    change, match = BAD_LABELS[name]
    run = started(tmp_path, change=change)
    line = fails("dataset", run, match=match)
    assert "frames.extxyz: frame " in line
    assert nothing_lost(run)


def test_truncated_dataset_and_its_repair(tmp_path, fails):
    run = started(tmp_path)
    path = tmp_path / "data" / "frames.extxyz"
    text = path.read_text()
    path.write_text(text[: len(text) * 2 // 3])
    fails("dataset", run, match=r"frames\.extxyz: frame \d+: truncated.*make or copy the file again")
    assert nothing_lost(run)
    path.write_text(text)
    assert cli.main(["dataset", str(run)]) == 0
    assert (run / "dataset" / "result.json").exists()


def test_damaged_dataset_is_noticed_by_its_hash(tmp_path, fails):
    run = started(tmp_path)
    path = tmp_path / "data" / "frames.extxyz"
    path.write_text(path.read_text().replace("sampling=", "sampled=", 1))
    fails("dataset", run, match=r"sha256 is .*the card says")


def test_group_that_is_not_there(tmp_path, fails):
    run = started(tmp_path, dataset={"test_groups": ["001_11_Mg_sitee"]})
    fails("dataset", run, match="there is no group '001_11_Mg_sitee'; near: 001_11_Mg_site")
    assert nothing_lost(run)


# --- models


def base_of(tmp_path, elements):
    shape = models.scratch_shape(
        tiny.ARCHITECTURE.model_copy(update={"elements": elements}),
        e0_ev=dict.fromkeys(elements, -8.0),
        force_rms=1.0,
        neighbours=10.0,
    )
    models.save(tmp_path / "base", shape=shape, weights=[models.build(shape).state_dict()], card={"target": "pbe"})
    return tmp_path / "base"


@pytest.mark.usefixtures("here")
def test_base_model_without_an_element(tmp_path, fails):
    run = started(tmp_path, train={"base": str(base_of(tmp_path, ("O", "Ti")))})
    assert cli.main(["dataset", str(run)]) == 0
    fails("train", run, match=r"train\.base: .* knows \['O', 'Ti'\] and not \['Li', 'Mg'\]")
    assert (run / "dataset" / "result.json").exists()


@pytest.mark.usefixtures("here")
def test_architecture_without_an_element(tmp_path, fails):
    small = tiny.ARCHITECTURE.model_dump(mode="json") | {"elements": ["O", "Ti", "Li"]}
    run = started(tmp_path, train={"architecture": small})
    assert cli.main(["dataset", str(run)]) == 0
    fails("train", run, match=r"\['Mg'\] are not in the model")


@pytest.mark.usefixtures("here")
def test_training_on_a_gpu_that_is_not_there(tmp_path, fails, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    run = started(tmp_path, common={"device": "cuda"})
    assert cli.main(["dataset", str(run)]) == 0
    fails("train", run, match="cuda was asked for and no GPU is visible; use cpu")
    assert (run / "dataset" / "result.json").exists()


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("common", "match"),
    [
        ({"gpus": 2}, "common.gpus: 2 with device: cpu; set common.device: cuda, or gpus: null"),
        ({"gpus": 2, "device": "cuda"}, "common.gpus: 2 asked for and 1 found; lower common.gpus"),
    ],
)
def test_gpus_that_are_not_there_are_told_before_the_first_stage(tmp_path, fails, monkeypatch, common, match):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    run = tmp_path / "run"
    assert cli.main(["init", str(tiny.write_config(tmp_path / "c.yaml", common=common)), str(run)]) == 0
    fails("structures", run, match=match)
    assert not (run / "structures").exists()


def test_predict(committee, frames, tmp_path, capsys):
    out = tmp_path / "out.xyz"
    assert cli.main(["predict", str(committee), str(frames), "-o", str(out)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"2 frames with mlip_energy and mlip_forces: {out}"
    assert second.startswith("largest force spread of the committee ")
    assert [len(f) for f in extxyz.read_frames(out)] == [5, 6]


def test_predict_on_a_gpu_that_is_not_there(committee, frames, tmp_path, fails, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    match = "cuda was asked for and no GPU is visible"
    fails("predict", committee, frames, "-o", tmp_path / "o.xyz", "--device", "cuda", match=match)


def test_predict_an_element_the_model_does_not_know(committee, tmp_path, fails):
    files.write_frames(tmp_path / "na.xyz", [tiny.rattled(), tiny.rattled("TiO2Na")])
    match = r"na\.xyz: frame 1: elements \['Na'\] are not in the model"
    fails("predict", committee, tmp_path / "na.xyz", "-o", tmp_path / "o.xyz", match=match)
    assert not (tmp_path / "o.xyz").exists()


def test_predict_frames_that_are_truncated_or_absent(committee, frames, tmp_path, fails):
    text = frames.read_text()
    frames.write_text(text[: len(text) * 2 // 3])
    fails("predict", committee, frames, "-o", tmp_path / "o.xyz", match=r"frame 1: truncated")
    fails("predict", committee, tmp_path / "no.xyz", "-o", tmp_path / "o.xyz", match=r"no\.xyz: cannot be read")


def spoiled_models(committee, folder):
    """What is no model, with the words that must be in the message."""
    garbage = folder / "garbage.model"
    garbage.write_bytes(b"no model at all")
    cardless, damaged = folder / "cardless", folder / "damaged"
    shutil.copytree(committee, cardless)
    (cardless / "card.yaml").unlink()
    shutil.copytree(committee, damaged)
    weights = damaged / "member-1.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    return {
        "pickle, not trusted": ([garbage], "is a pickle and runs the code inside it .*--trust-pickle"),
        "pickle, trusted garbage": ([garbage, "--trust-pickle"], r"garbage\.model: not a MACE model"),
        "folder without a card": ([cardless], r"has no card\.yaml: the model was not written whole; make it again"),
        "damaged weights": ([damaged], "damaged model .*copy or make it again"),
        "a folder of something else": ([folder], "not a model folder"),
        "nothing": ([folder / "nothing"], "no such model"),
    }


def test_files_that_are_no_models(committee, frames, tmp_path, fails):
    (tmp_path / "m").mkdir()
    for (path, *options), match in spoiled_models(committee, tmp_path / "m").values():
        fails("predict", path, frames, "-o", tmp_path / "o.xyz", *options, match=match)
        assert not (tmp_path / "o.xyz").exists()


def test_export(committee, tmp_path, fails, capsys):
    out = tmp_path / "m.model"
    assert cli.main(["export", str(committee), "--to", "mace", "-o", str(out), "--member", "2"]) == 0
    assert capsys.readouterr().out == f"member 2 of {committee}: {out}\n"
    assert models.load(out, trust_pickle=True).elements == ("Li", "O", "Mg", "Ti")
    fails("export", committee, "--to", "mace", "-o", out, "--member", "7", match="member 7: .* has members 1 to 2")


# --- places that cannot be written


def test_places_below_a_file(committee, frames, tmp_path, fails):
    (tmp_path / "file").write_text("x")
    match = "cannot be written .*choose a folder you may write to"
    fails("predict", committee, frames, "-o", tmp_path / "file" / "o.xyz", match=match)
    fails("export", committee, "--to", "mace", "-o", tmp_path / "file" / "m.model", match=match)
    fails("init", tiny.write_config(tmp_path / "c.yaml"), tmp_path / "file" / "run", match=match)


def test_read_only_run_folder(tmp_path, small_disk, fails):
    run = started(tmp_path)
    shutil.copytree(run, small_disk / "run")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    fails("dataset", small_disk / "run", match=r"cannot be written \(Read-only file system\)")
    assert nothing_lost(small_disk / "run")


def test_disk_full_in_a_stage_and_after_making_room(tmp_path, small_disk, fails):
    shutil.copytree(started(tmp_path), small_disk / "run")
    run = small_disk / "run"
    room = shutil.disk_usage(small_disk).free - 8192
    (small_disk / "filler").write_bytes(bytes(room))
    fails("dataset", run, match=r"cannot be written \(No space left on device\); free space or choose")
    assert nothing_lost(run)
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    assert cli.main(["dataset", str(run)]) == 0


def test_disk_full_in_predict_and_export(committee, tmp_path, small_disk, fails):
    files.write_frames(tmp_path / "many.xyz", [tiny.rattled(seed=k % 8) for k in range(120)])
    match = r"cannot be written \(No space left on device\)"
    fails("predict", committee, tmp_path / "many.xyz", "-o", small_disk / "o.xyz", match=match)
    fails("export", committee, "--to", "mace", "-o", small_disk / "m.model", match=match)
    assert list(small_disk.iterdir()) == []


# --- what the shipped files promise


def test_readme_configs_are_the_shipped_ones():
    for path in (tiny.REPOSITORY / "configs").glob("*.yaml"):
        assert isinstance(yaml.safe_load(path.read_text()), dict)
        assert config.load(path)


def test_earlier_names_of_commands_work_and_are_not_in_the_help(tmp_path, capsys):
    for before, now in (("pick", "select-frames"), ("collect", "merge-datasets")):
        words = {"pick": ["model", "a.extxyz", "-o", "out.extxyz"], "collect": ["out", "a.extxyz"]}[before]
        assert cli.main([before, *(str(tmp_path / word) if word != "-o" else word for word in words)]) == 1
        assert capsys.readouterr().err.startswith(f"mlip {now}: {tmp_path}")
        assert not re.search(rf"^ +{before}\b", cli.parser().format_help(), re.MULTILINE)
        assert re.search(rf"^ +{now}\b", cli.parser().format_help(), re.MULTILINE)
