"""Trajectories as extended XYZ: what ASE reads back is what was stored; stops, damage and wrong folders are told."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from ase.io import read
from helpers.md_runs import MD, command, configured
from helpers.trajectories import HEADER, frames, written
from numpy.testing import assert_allclose

from mlip.core import files
from mlip.stages.md import trajectory
from mlip.stages.md.stage import Trajectories
from mlip.tools import export_md


@pytest.fixture(scope="module")
def followed(finished, tmp_path_factory):
    """The finished run with a short md of one system, all atoms stored."""
    folder = tmp_path_factory.mktemp("followed")
    shutil.copytree(finished.folder, folder / "run", symlinks=True)
    config = configured(finished, folder / "c.yaml", systems=MD["systems"][:1], stored="all")
    assert command("init", config, folder / "run") == 0
    assert command("md", folder / "run") == 0
    return folder / "run"


@pytest.fixture
def copied(followed, tmp_path):
    shutil.copytree(followed, tmp_path / "run", symlinks=True)
    return tmp_path / "run"


def stored(run):
    """Header, frames and folder of the only batch of a run."""
    (system,) = files.read_result(run / "md" / "result.json", Trajectories).systems
    (name,) = system.folders
    return *trajectory.read(run / name), run / name


# --- frames


def test_frames_are_those_that_were_stored_chunk_after_chunk(tmp_path):
    parts = written(tmp_path)
    found = list(export_md.frames(tmp_path, HEADER, 1))
    assert len(found) == 8
    places = np.concatenate([p.positions for p in parts])[:, 1]
    heat = np.concatenate([p.temperatures_kelvin for p in parts])[:, 1]
    assert_allclose([f.positions for f in found], places, rtol=1e-6)
    assert_allclose([f.info["temperature_kelvin"] for f in found], heat, rtol=1e-12)
    assert_allclose([f.info["time_ps"] for f in found], 0.02 * np.arange(8), rtol=1e-12)
    assert {str(f.symbols) for f in found} == {"OLiMg"}
    assert found[0].info["thermostat_kelvin"] == 900.0
    assert_allclose(found[0].cell.array, HEADER.cell_angstrom, rtol=0)


def test_one_chunk_is_in_memory_at_a_time(tmp_path, monkeypatch):
    written(tmp_path)
    opened = []
    known = trajectory._chunk
    monkeypatch.setattr(trajectory, "_chunk", lambda path, *a, **k: opened.append(path.name) or known(path, *a, **k))
    found = export_md.frames(tmp_path, HEADER, 0)
    assert opened == []
    for _ in range(3):
        next(found)
    assert opened == ["frames-000000000.npz"]
    next(found)
    assert len(opened) == 2


def test_frames_end_where_the_replica_was_stopped(tmp_path):
    trajectory.create(tmp_path, HEADER)
    whole = frames(0, 6)
    places = whole.positions.copy()
    places[4:, 1] = np.nan
    trajectory.append(tmp_path, replace(whole, positions=places))
    trajectory.append(
        tmp_path,
        replace(
            frames(6, 2), positions=np.where([[[[True]], [[False]]]], 0.0, np.nan)[[0, 0]] + np.zeros((2, 2, 3, 3))
        ),
    )
    assert [len(list(export_md.frames(tmp_path, HEADER, k))) for k in (0, 1)] == [8, 4]


def test_without_a_committee_there_is_no_spread(tmp_path):
    trajectory.create(tmp_path, HEADER)
    trajectory.append(tmp_path, replace(frames(0, 1), force_std_ev_per_angstrom=np.full((1, 2), np.nan)))
    (frame,) = export_md.frames(tmp_path, HEADER, 0)
    assert "force_std_ev_per_angstrom" not in frame.info


# --- the command


def test_export_of_a_run_is_read_back_by_ase(followed, tmp_path, capsys):
    out = tmp_path / "out"
    assert command("export", followed, "--to", "extxyz", "-o", out) == 0
    header, whole, _ = stored(followed)
    names = [f"001_Li_{replica}.extxyz" for replica in ("300K-1", "600K-1")]
    assert sorted(p.name for p in out.iterdir()) == names
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{out / name}: 21 frames of {header.atoms} atoms, 0.001 ps" for name in names]
    for number, name in enumerate(names):
        found = read(out / name, ":")
        assert len(found) == 21
        assert found[0].get_chemical_symbols() == list(header.symbols)
        assert found[0].pbc.all()
        assert_allclose(found[0].cell.array, header.cell_angstrom, atol=1e-7)
        assert_allclose([f.positions for f in found], whole.positions[:, number], rtol=0, atol=1e-6)
        assert_allclose([f.info["time_ps"] for f in found], 5e-5 * np.arange(21), atol=1e-9)
        heat = [f.info["temperature_kelvin"] for f in found]
        assert_allclose(heat, whole.temperatures_kelvin[:, number], rtol=1e-6)
        assert_allclose([f.info["host_shift_angstrom"] for f in found], whole.host_shift[:, number], atol=1e-7)
        assert found[0].info["thermostat_kelvin"] == header.temperatures_kelvin[number]


def only_ions(run):
    """The trajectory of a run as if `md.stored` were ions."""
    header, whole, folder = stored(run)
    ion = header.atoms - 1
    files.write_record(folder / trajectory.HEADER, replace(header, symbols=("Li",), stored=(ion,)))
    for path in folder.glob("frames-*.npz"):
        path.unlink()
    trajectory.append(folder, replace(whole, positions=whole.positions[:, :, [ion]]))


def test_ions_alone_are_said_on_the_screen(copied, tmp_path, capsys):
    only_ions(copied)
    assert command("export", copied, "--to", "extxyz", "-o", tmp_path) == 0
    atoms = stored(copied)[0].atoms
    assert f"21 frames of 1 of {atoms} atoms (the ions: md.stored is ions), 0.001 ps" in capsys.readouterr().out
    assert str(read(tmp_path / "001_Li_300K-1.extxyz", "-1").symbols) == "Li"


def test_a_replica_without_frames_has_no_file(copied, tmp_path, capsys):
    _, whole, folder = stored(copied)
    places = whole.positions.copy()
    places[:, 0] = np.nan
    for path in folder.glob("frames-*.npz"):
        path.unlink()
    trajectory.append(folder, replace(whole, positions=places))
    assert command("export", copied, "--to", "extxyz", "-o", tmp_path / "out") == 0
    assert capsys.readouterr().out.startswith("001_Li_300K-1.extxyz: not written, the replica has no frames")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["001_Li_600K-1.extxyz"]


def fails(capsys, *words):
    """The one line of a command that must end with exit code 1."""
    assert command("export", *words[:1], "--to", "extxyz", "-o", *words[1:]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    return told


def test_runs_that_cannot_be_exported(finished, copied, tmp_path, capsys):
    out = tmp_path / "out"
    line = f"mlip export: md is not done with these settings; first run: mlip md {finished.folder}\n"
    assert fails(capsys, finished.folder, out) == line
    assert "not a run folder (no config.yaml)" in fails(capsys, finished.folder / "train" / "model", out)
    (tmp_path / "file").touch()
    assert "is a file; give the name of a folder" in fails(capsys, copied, tmp_path / "file")
    assert "cannot be written (Not a directory)" in fails(capsys, copied, tmp_path / "file" / "out")
    assert not out.exists()


def test_damaged_trajectories_are_one_line_and_leave_no_half_file(copied, tmp_path, capsys):
    out = tmp_path / "out"
    folder = stored(copied)[2]
    first, second, *_ = sorted(folder.glob("frames-*.npz"))
    second.write_bytes(second.read_bytes()[:-50])
    assert "is cut short or damaged" in fails(capsys, copied, out)
    second.unlink()
    assert "are missing; move the folder away and run md again" in fails(capsys, copied, out)
    first.write_bytes(b"")
    assert "is cut short or damaged" in fails(capsys, copied, out)
    shutil.rmtree(folder)
    assert "no such file; run the stage that makes it" in fails(capsys, copied, out)
    assert not out.exists() or list(out.iterdir()) == []
