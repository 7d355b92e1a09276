"""Files that the arguments of a calculator name: each is an input, wherever it stands in the arguments."""

from types import SimpleNamespace

import pytest
import yaml

from mlip import driver
from mlip.core import files
from mlip.stages.train import calculator_files
from mlip.stages.train.settings import CalculatorSettings
from mlip.stages.train.stage import _calculated, model_folder

METAL = "ase.calculators.emt:EMT"


def planned(folder, arguments):
    settings = {
        "common": {"workers": 1},
        "dataset": {"path": None},
        "train": {"calculator": {"name": METAL, "arguments": arguments, "trusted": True}},
    }
    (folder / "c.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return driver.init(folder / "c.yaml", folder / "run")


@pytest.mark.parametrize(
    "arguments",
    [
        lambda path: {"model": str(path)},
        lambda path: {"model_paths": [str(path)]},
        lambda path: {"config": {"members": [{"file": str(path)}]}},
        lambda path: {"model": str(path.parent)},
    ],
    ids=["string", "list", "mapping", "folder"],
)
def test_new_weights_make_every_result_stale(arguments, tmp_path):
    (tmp_path / "weights").mkdir()
    path = tmp_path / "weights" / "w.model"
    before, after = [], []
    for text, found in (("A", before), ("B", after)):
        path.write_text(text, encoding="utf-8")
        run = planned(tmp_path, arguments(path))
        found += [run.fingerprint(run.stage(name)) for name in ("train", "neb")]
    assert len({*before, *after}) == 4


def test_what_a_calculator_writes_and_what_is_no_path_are_no_inputs(tmp_path):
    (tmp_path / "scratch").mkdir()
    (tmp_path / "log.txt").write_text("", encoding="utf-8")
    arguments = {"directory": str(tmp_path / "scratch"), "device": "cpu", "size": 3, "text": "x" * 5000, "none": None}
    arguments |= {"parts": ({"txt": str(tmp_path / "log.txt")}, "", "a\0b")}
    assert calculator_files.inputs(arguments, tmp_path / "run") == []


def test_a_folder_that_may_hold_anything_is_left_out_and_named(tmp_path, monkeypatch):
    home, small = tmp_path / "home", tmp_path / "small"
    for folder, count in ((home, 4), (small, 3)):
        folder.mkdir()
        for k in range(count):
            (folder / f"{k}").write_bytes(b"x" * 10)
    arguments = {"paths": [str(home), str(small), str(small), str(tmp_path)]}
    monkeypatch.setattr(calculator_files, "MOST_FILES", 3)
    assert calculator_files.inputs(arguments, tmp_path / "run") == [small]
    assert calculator_files.left_out(arguments, tmp_path / "run") == [home, tmp_path]  # the last one holds the run
    monkeypatch.setattr(calculator_files, "MOST_BYTES", 29)
    assert calculator_files.inputs(arguments, tmp_path / "run") == []


def taken(folder, arguments, say=lambda _: None):
    """The folder of the committee of one calculator."""
    context = SimpleNamespace(
        result=lambda _: SimpleNamespace(target="pbe"),
        folder=folder / "train",
        run_folder=folder,
        run_name="run",
        say=say,
    )
    _calculated(context, CalculatorSettings(name=METAL, arguments=arguments, trusted=True))
    return model_folder(context.folder)


def test_trajectories_of_other_weights_are_not_continued(tmp_path):
    """The folder of a trajectory bears the hash of the model's folder, which holds those of the weights."""
    path, digests = tmp_path / "w.model", set()
    for text in ("A", "B"):
        path.write_text(text, encoding="utf-8")
        digests.add(files.sha256(taken(tmp_path / "run", {"weights": [str(path)]})))
    assert len(digests) == 2


def test_the_run_says_which_folder_is_no_input(tmp_path):
    said = []
    taken(tmp_path / "run", {"weights": str(tmp_path)}, say=said.append)
    assert any(line.startswith(f"train.calculator: {tmp_path}: no input of the run") for line in said), said
