"""Files that are empty, cut short, of another kind or not to be opened: each ends in one line that names the file."""

import io
import os
import shutil
import zipfile

import numpy as np
import pytest
from helpers import tiny

from mlip import cli
from mlip.atoms import extxyz
from mlip.core import files
from mlip.literature import references
from mlip.stages.md import lammps

FRAMES = extxyz.read_frames(tiny.REPOSITORY / "tests" / "data" / "texts" / "unix.extxyz")
LEVEL = "settings: {code: x, xc: PBE}\nenergy_unit: eV\nforce_unit: eV/Angstrom\nkeys: {energy: dft_energy, forces: dft_forces}\n"


def archive():
    """A zip file, such as an .npz or an .xlsx."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        packed.writestr("a.txt", "hello")
    return out.getvalue()


def numbers():
    """An array of numpy."""
    out = io.BytesIO()
    np.save(out, np.arange(40.0))
    return out.getvalue()


BYTES = {
    "empty": b"",
    "blank": b" \n\t\n",
    "zeros": bytes(4096),
    "random": np.random.default_rng(0).bytes(4096),
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
    "zip": archive(),
    "numpy": numbers(),
    "prose": b"Dear colleague,\n\nplease find the frames below.\n",
    "html": b"<!DOCTYPE html>\n<html><body>404: not found</body></html>\n",
    "git lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    "brace": b"{",
    "list": b"[1, 2, 3]\n",
    "null": b"null\n",
    "number": b"13\n",
    "text": b'"text"\n',
    "nan": b"NaN\n",
    "csv": b"a,b,c\n1,2,3\n",
    "utf-16": "13\n".encode("utf-16"),
    "latin-1": "größe: 3\n".encode("latin-1"),
    "deep": 3_000 * b"[",
    "tab": b"neb:\n\timages: 3\n",
}
PLACES = ("folder", "absent", "dangling link", "link to itself", "below a file", "name too long", "not permitted")


def spoil(path, kind):
    """Put something that is no file of the right kind at `path`; gives the path to name, here or in its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "dangling link":
        path.symlink_to(path.parent / "nowhere")
    elif kind == "link to itself":
        path.symlink_to(path)
    elif kind == "below a file":
        (path.parent / "file").write_text("x")
        return path.parent / "file" / path.name
    elif kind == "name too long":
        return path.parent / (300 * "x" + path.suffix)
    elif kind == "not permitted":
        if os.geteuid() == 0:
            pytest.skip("root may read everything")
        path.write_text("x")
        path.chmod(0)
    elif kind in BYTES:
        path.write_bytes(BYTES[kind])
    return path


def refused(capsys, *words, name):
    """The command ends with exit code 1 and one line, which holds this name."""
    capsys.readouterr()
    assert cli.main([str(w) for w in words]) == 1
    told = capsys.readouterr()
    assert "Traceback" not in told.err + told.out
    line = told.err[told.err.rindex(f"mlip {words[0]}: ") :].strip()
    assert "\n" not in line, line
    assert name in line, line
    assert len(line) < 700, line


EVERY = [*BYTES, *PLACES]
FEW = ["empty", "random", "zip", "prose", "brace", "list", "null", "utf-16", "folder"]  # where a case takes long


@pytest.mark.parametrize("kind", [k for k in EVERY if k not in {"empty", "blank", "null"}])
def test_config(tmp_path, capsys, kind):
    path = spoil(tmp_path / "c.yaml", kind)
    refused(capsys, "init", path, tmp_path / "run", name=str(path))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", EVERY)
def test_frames(tmp_path, capsys, committee, kind):
    path = spoil(tmp_path / "frames.extxyz", kind)
    refused(capsys, "predict", committee, path, "-o", tmp_path / "out.xyz", name=str(path))
    refused(capsys, "select-frames", committee, path, "-o", tmp_path / "out.xyz", name=str(path))
    (tmp_path / "level.yaml").write_text(LEVEL)
    refused(capsys, "merge-datasets", tmp_path / "out", path, "--level", tmp_path / "level.yaml", name=str(path))
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.xyz").exists()


def test_frames_cut_at_every_line(tmp_path, capsys, committee):
    lines = (tiny.REPOSITORY / "tests" / "data" / "texts" / "unix.extxyz").read_text().splitlines(keepends=True)
    for kept in range(len(lines)):
        (tmp_path / "f.xyz").write_text("".join(lines[:kept]))
        refused(capsys, "predict", committee, tmp_path / "f.xyz", "-o", tmp_path / "out.xyz", name="f.xyz")


@pytest.mark.parametrize("kind", EVERY)
def test_level(tmp_path, capsys, kind):
    files.write_frames(tmp_path / "frames.extxyz", FRAMES)
    path = spoil(tmp_path / "level.yaml", kind)
    refused(capsys, "merge-datasets", tmp_path / "out", tmp_path / "frames.extxyz", "--level", path, name=str(path))


@pytest.mark.parametrize("name", ["card.yaml", "frames.extxyz"])
@pytest.mark.parametrize("kind", [*BYTES, "folder", "link to itself"])
def test_dataset_folder(tmp_path, capsys, kind, name):
    shutil.copytree(tiny.DATA, tmp_path / "data")
    spoil(tmp_path / "data" / name, kind)
    refused(capsys, "merge-datasets", tmp_path / "out", tmp_path / "data", name=str(tmp_path / "data"))


@pytest.mark.parametrize("name", ["model.json", "card.yaml", "member-1.safetensors"])
@pytest.mark.parametrize("kind", FEW)
def test_model_folder(tmp_path, capsys, committee, kind, name):
    files.write_frames(tmp_path / "frames.extxyz", FRAMES)
    shutil.copytree(committee, tmp_path / "model")
    spoil(tmp_path / "model" / name, kind)
    words = ("predict", tmp_path / "model", tmp_path / "frames.extxyz", "-o", tmp_path / "out.xyz")
    refused(capsys, *words, name=str(tmp_path / "model"))


@pytest.mark.parametrize("kind", [*BYTES, "folder", "absent", "link to itself"])
def test_pickled_model(tmp_path, capsys, kind):
    files.write_frames(tmp_path / "frames.extxyz", FRAMES)
    path = spoil(tmp_path / "a.model", kind)
    words = ("predict", path, tmp_path / "frames.extxyz", "-o", tmp_path / "out.xyz", "--trust-pickle")
    refused(capsys, *words, name="a.model")


@pytest.mark.parametrize("kind", [*BYTES, "folder", "link to itself"])
def test_crystal(tmp_path, capsys, kind):
    (tmp_path / "x.cif").write_text("data_x\n")
    config = tiny.write_config(tmp_path / "c.yaml", structures={"crystal": str(tmp_path / "x.cif")})
    assert cli.main(["init", str(config), str(tmp_path / "run")]) == 0
    spoil(tmp_path / "x.cif", kind)
    refused(capsys, "structures", tmp_path / "run", name=str(tmp_path / "x.cif"))


@pytest.mark.parametrize("kind", [*FEW, "link to itself"])
def test_frames_to_label(tmp_path, capsys, kind):
    path = tmp_path / "frames.xyz"
    files.write_frames(path, FRAMES)
    config = tiny.write_config(tmp_path / "c.yaml", label={"frames": [str(path)]})
    assert cli.main(["init", str(config), str(tmp_path / "run")]) == 0
    spoil(path, kind)
    refused(capsys, "label", tmp_path / "run", "--check", name=str(path))
    refused(capsys, "label", tmp_path / "run", name=str(path))


@pytest.mark.parametrize("kind", [k for k in BYTES if k not in {"empty", "blank", "null"}])
def test_config_in_a_run_folder(tmp_path, capsys, kind):
    assert cli.main(["init", str(tiny.write_config(tmp_path / "c.yaml")), str(tmp_path / "run")]) == 0
    spoil(tmp_path / "run" / "config.yaml", kind)
    refused(capsys, "structures", tmp_path / "run", name=str(tmp_path / "run" / "config.yaml"))


@pytest.mark.parametrize("kind", [*BYTES, "folder"])
def test_result_in_a_run_folder(tmp_path, capsys, kind):
    assert cli.main(["init", str(tiny.write_config(tmp_path / "c.yaml")), str(tmp_path / "run")]) == 0
    spoil(tmp_path / "run" / "structures" / "result.json", kind)
    refused(capsys, "structures", tmp_path / "run", name="result.json")


@pytest.mark.parametrize("kind", EVERY)
def test_start_and_settings_of_a_lammps_deck(tmp_path, capsys, committee, kind):
    path = spoil(tmp_path / "start.xyz", kind)
    words = ("export", committee, "--to", "lammps", "-o", tmp_path / "deck")
    refused(capsys, *words, "--start", path, name=str(path))
    files.write_frames(tmp_path / "good.xyz", FRAMES)
    if kind not in {"empty", "blank", "null"}:
        path = spoil(tmp_path / "c.yaml", kind)
        refused(capsys, *words, "--start", tmp_path / "good.xyz", "--config", path, name=str(path))


@pytest.mark.parametrize("kind", [*BYTES, "folder"])
def test_references(tmp_path, kind):
    path = spoil(tmp_path / "r.yaml", kind)
    with pytest.raises(ValueError, match=r"r\.yaml: ") as told:
        references.load(tmp_path)
    assert str(path) in str(told.value)


@pytest.mark.parametrize("kind", [*BYTES, "folder", "absent", "link to itself"])
def test_deck(tmp_path, kind):
    spoil(tmp_path / lammps.DECK, kind)
    with pytest.raises(ValueError, match=lammps.DECK):
        lammps.read(tmp_path)
