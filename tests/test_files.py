import errno
import hashlib
import json
import os
import re
import time
from dataclasses import dataclass

import pytest
from helpers import tiny

from mlip import cli
from mlip.atoms import extxyz
from mlip.core import files


@dataclass(frozen=True)
class Inner:
    name: str
    values_ev: tuple[float, ...]


@dataclass(frozen=True)
class Outer:
    number: int | None
    inner: tuple[Inner, ...]
    by_name: dict[str, float]


WHOLE = Outer(None, (Inner("a", (0.1, 1 / 3)), Inner("b", ())), {"x": 1e-300})


def contents(folder):
    return sorted(p.name for p in folder.iterdir())


def test_records_come_back_equal(tmp_path):
    files.write_record(tmp_path / "r.json", WHOLE)
    assert files.read_record(tmp_path / "r.json", Outer) == WHOLE


def test_result_with_its_provenance(tmp_path):
    settings = {"common": {"seed": 7, "device": "cpu"}, "neb": {"images": 5}}
    made = files.provenance("neb", settings=settings, inputs={"sites": "abc"}, started=time.time() - 2)
    files.write_result(tmp_path / "result.json", WHOLE, made)
    assert files.read_result(tmp_path / "result.json", Outer) == WHOLE
    assert files.read_provenance(tmp_path / "result.json") == made
    assert made.seed == 7
    assert 2 <= made.wall_time_s < 5
    assert {"python", "torch", "mace-torch", "ase", "numpy"} <= made.versions.keys()


def test_nan_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_record(tmp_path / "r.json", Inner("a", (float("nan"),)))
    assert contents(tmp_path) == []


def test_old_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "f"
    files.write_text_atomic(path, "old")

    def fails(temporary):
        temporary.write_text("half of the n")
        assert path.read_text() == "old"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        files.write_atomic(path, fails)
    assert path.read_text() == "old"
    assert contents(tmp_path) == ["f"]
    files.write_bytes_atomic(path, b"new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o644


def test_folders_are_made(tmp_path):
    files.write_text_atomic(tmp_path / "a" / "b" / "c.txt", "x")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "x"


def test_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    for write in (lambda p: files.write_text_atomic(p, "y"), files.require_writable):
        with pytest.raises(
            ValueError, match=r"file/result\.json: cannot be written .*choose a folder you may write to"
        ):
            write(tmp_path / "file" / "result.json")
    with pytest.raises(ValueError, match="is a folder"):
        files.require_writable(tmp_path)
    files.require_writable(tmp_path / "new" / "x")
    assert contents(tmp_path / "new") == []


@pytest.mark.parametrize(
    "words",
    [
        "relax a.extxyz --model m -o a.extxyz",
        "relax a.extxyz --model m -o ../{here}/a.extxyz",
        "relax a.extxyz --model m -o link.extxyz",
        "relax a.extxyz --model m -o m/card.yaml",
        "barrier barrier.json a.extxyz --model m -o .",
        "predict m a.extxyz -o a.extxyz",
        "predict m a.extxyz -o m/card.yaml",
        "select-frames m b.extxyz a.extxyz -o a.extxyz",
        "diffusion-of b.extxyz a.extxyz --ion Li -o a.extxyz",
        "export m --to mace -o m/card.yaml",
    ],
)
def test_no_command_overwrites_its_input(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m").mkdir()
    for name in ("a.extxyz", "b.extxyz", "barrier.json", "m/card.yaml"):
        (tmp_path / name).write_text("kept")
    (tmp_path / "link.extxyz").symlink_to("a.extxyz")
    assert cli.main(words.format(here=tmp_path.name).split()) == 1
    told = capsys.readouterr().err
    assert re.search(r": is the input .*, or a part of it; write to another file\n$", told), told
    assert {p.read_text() for p in tmp_path.rglob("*") if p.is_file()} == {"kept"}


def test_an_earlier_result_may_be_overwritten(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text("")
    files.require_writable(tmp_path / "b", [tmp_path / "a", tmp_path / "missing"])
    files.require_writable(tmp_path / "c", [tmp_path])


def test_full_disk_leaves_what_was_there(small_disk):
    path = small_disk / "result.json"
    files.write_text_atomic(path, "whole")
    for write in (
        lambda: files.write_text_atomic(path, "x" * 100_000),
        lambda: files.write_bytes_atomic(path, bytes(100_000)),
        lambda: files.write_frames(path, [tiny.rattled("Ti2O4").repeat(9)]),
    ):
        with pytest.raises(ValueError, match=r"cannot be written \(No space left on device\); free space"):
            write()
        assert path.read_text() == "whole"
        assert contents(small_disk) == ["result.json"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_disk_that_fails_late_leaves_what_was_there(tmp_path, monkeypatch, call):
    path = tmp_path / "result.json"
    files.write_text_atomic(path, "whole")

    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    target = "mlip.core.files.os.fsync" if call == "fsync" else "pathlib.Path.replace"
    monkeypatch.setattr(target, refuse)
    with pytest.raises(ValueError, match="No space left on device"):
        files.write_text_atomic(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "whole"
    assert contents(tmp_path) == ["result.json"]


def test_frames_come_back(tmp_path):
    frames = [tiny.rattled(seed=k) for k in range(2)]
    frames[1].info["host"] = "001"
    files.write_frames(tmp_path / "f.xyz", frames)
    again = extxyz.read_frames(tmp_path / "f.xyz")
    assert [len(f) for f in again] == [5, 5]
    assert again[1].info["host"] == "001"
    assert abs(again[0].positions - frames[0].positions).max() < 1e-8


def test_hash_of_a_file_and_of_a_folder(tmp_path):
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "d" / "e" / "f").write_bytes(b"abc")
    assert files.sha256(tmp_path / "d" / "e" / "f") == hashlib.sha256(b"abc").hexdigest()
    before = files.sha256(tmp_path / "d")
    assert before == hashlib.sha256(b"e/fabc").hexdigest()
    (tmp_path / "d" / "e" / "f").rename(tmp_path / "d" / "e" / "g")
    assert files.sha256(tmp_path / "d") != before


def test_digest_does_not_depend_on_key_order():
    assert files.digest_of({"a": 1, "b": [1.5, None]}) == files.digest_of({"b": [1.5, None], "a": 1})
    assert files.digest_of({"a": 1}) != files.digest_of({"a": 2})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file; run the stage that makes it"),
        ('{"result": {"number": 1', "not readable as JSON .*delete it and run the stage again"),
        ("", "not readable as JSON"),
        ("[1]", "holds no result"),
        ('{"result": {"number": "many", "inner": [], "by_name": {}}}', "number: .*made by another version"),
        ("{}", "made by another version"),
    ],
)
def test_results_that_cannot_be_read(tmp_path, text, message):
    path = tmp_path / "result.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=rf"result\.json: .*{message}"):
        files.read_result(path, Outer)


def test_result_is_readable_json(tmp_path):
    files.write_record(tmp_path / "r.json", WHOLE)
    assert json.loads((tmp_path / "r.json").read_text())["inner"][0] == {"name": "a", "values_ev": [0.1, 1 / 3]}
