"""VASP jobs by `dft.command`: a stand-in that takes a recorded result for the frame. VASP itself is not run."""

import os
import shutil
from pathlib import Path

import pytest
import yaml
from ase.io import read
from helpers import cells, tiny
from helpers.vasp_jobs import paw_data, vasprun
from numpy.testing import assert_allclose

from mlip import cli, driver
from mlip.core import files
from mlip.dft import job_command, queue, tasks
from mlip.dft.engines import Refused, Waiting
from mlip.dft.settings import Dft
from mlip.stages.label import LabelledFrames

FORCES = [[0, 0, 0.1], [0, 0, -0.1]]
# a VASP that knows two structures: it looks for its own POSCAR among the recorded ones, and counts its runs
STAND_IN = """#!/bin/sh
echo run >> runs
echo " running on 1 total cores"
for job in {recorded}/*; do
  if cmp -s POSCAR "$job/POSCAR"; then
    [ -e "$job/broken" ] && {{ head -c 900 "$job/vasprun.xml" > vasprun.xml; echo "VERY BAD NEWS!"; exit 0; }}
    cp "$job/vasprun.xml" vasprun.xml && echo "writing wavefunctions" && exit 0
  fi
done
echo "internal error in subroutine SGRCON"
exit 1
"""


@pytest.fixture
def vasp(tmp_path, monkeypatch):
    """A stand-in for VASP on the path, in a folder with recorded jobs."""
    monkeypatch.setenv("VASP_PP_PATH", str(paw_data(tmp_path / "pp")))
    program = tmp_path / "bin" / "vasp_std"
    program.parent.mkdir()
    (tmp_path / "recorded").mkdir()
    program.write_text(STAND_IN.format(recorded=tmp_path / "recorded"))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return tmp_path / "recorded"


def dft(command="vasp_std"):
    return Dft(preset="vasp-paper", settings={"dispersion": "none"}, command=command)


def record(recorded, frame, energy_ev, *, broken=False):
    """The recorded job of a frame: its inputs as this package writes them, and its result."""
    folder = recorded / frame.info["frame_id"]
    own = Dft(preset="vasp-paper", settings={"dispersion": "none"})
    cells.in_process([frame], own, recorded.parent / "inputs")
    shutil.copytree(
        tasks.Store(recorded.parent / "inputs" / tasks.settings_hash(own)).work(tasks.digest(frame, own)), folder
    )
    vasprun(folder, energy_ev=energy_ev, forces=FORCES)
    if broken:
        (folder / "broken").touch()


def made_run(folder, frames, command="vasp_std"):
    files.write_frames(folder / "mine.extxyz", frames)
    settings = {"label": {"frames": [str(folder / "mine.extxyz")]}, "common": {"workers": 1}}
    settings["dft"] = dft(command).model_dump()
    (folder / "c.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    driver.init(folder / "c.yaml", folder / "run")
    return folder / "run"


def runs(run):
    """How many times the command ran, by the atoms' distance in its POSCAR."""
    return {
        round(float(read(p.parent / "POSCAR", format="vasp").get_distance(0, 1)), 2): len(p.read_text().split())
        for p in run.rglob("runs")
    }


def test_jobs_are_run_by_the_command_and_each_only_once(tmp_path, vasp, capsys):
    frames = [cells.hydride(k, 1.6 + 0.1 * k) for k in range(4)]
    record(vasp, frames[0], -6.25)
    record(vasp, frames[1], -6.20)
    record(vasp, frames[2], -6.15, broken=True)  # and nothing for the last one
    run = made_run(tmp_path, frames)
    assert cli.main(["label", str(run), "--check"]) == 0
    assert "run by dft.command" in capsys.readouterr().err
    assert cli.main(["label", str(run)]) == 0
    result = files.read_result(run / "label" / "result.json", LabelledFrames)
    assert result.frames == 2
    reasons = {p.frame_id: p.reason for p in result.problems}
    assert "'vasp_std' left no complete result" in reasons["lih_2"]
    assert "command.log: VERY BAD NEWS!; to try again remove" in reasons["lih_2"]
    assert "the command failed (exit status 1)" in reasons["lih_3"]
    assert "internal error in subroutine SGRCON" in reasons["lih_3"]
    found = queue.label(frames[:2], dft(), run / "labels", workers=1).frames
    assert_allclose([f.info["dft_energy"] for f in found], [-6.25, -6.20], rtol=0, atol=1e-7)
    assert list(runs(run).values()) == [1, 1, 1, 1]
    (run / "label" / "result.json").unlink()
    assert cli.main(["label", str(run)]) == 0
    assert list(runs(run).values()) == [1, 1, 1, 1]  # a restart runs none of them again
    (vasp / "lih_2" / "broken").unlink()
    for problem in result.problems:
        if problem.frame_id == "lih_2":
            Path(problem.file).unlink()
    assert cli.main(["label", str(run)]) == 0
    assert files.read_result(run / "label" / "result.json", LabelledFrames).frames == 3
    assert sorted(runs(run).values()) == [1, 1, 1, 2]


def test_a_job_that_is_cut_off_waits_for_the_next_call(tmp_path, vasp):
    frame = cells.hydride()
    record(vasp, frame, -6.25)
    waiting = cells.in_process([frame], dft("head -c 900 POSCAR > vasprun.xml; kill -TERM $$"), tmp_path / "labels")
    assert waiting["lih_0"].endswith("was stopped (SIGTERM; time limit, or memory): run again")
    assert cells.in_process([frame], dft(), tmp_path / "labels") == {}
    assert queue.label([frame], dft(), tmp_path / "labels", workers=1).problems == ()


def test_each_frame_is_a_task_of_its_own_where_a_command_runs_it(vasp):
    frames = {str(k): cells.hydride(k, 1.6 + 0.1 * k) for k in range(5)}
    assert len(tasks.tasks(frames, dft(), streams=1)) == 5
    assert len(tasks.tasks(frames, dft(None), streams=1)) < 5


@pytest.mark.parametrize(
    ("command", "error", "message"),
    [
        ("no-vasp", ValueError, r"dft\.command: 'no-vasp' cannot be started \(.*not found\); name a program that"),
        ("./data", ValueError, r"dft\.command: './data' cannot be started \(.*[Pp]ermission denied\)"),
        ("exit 3", Refused, r"the command failed \(exit status 3\); the last line of .*command.log: \(no output\)"),
        ("kill -USR2 $$", Waiting, r"was stopped \(SIGUSR2; time limit"),
    ],
)
def test_commands_that_fail(tmp_path, command, error, message):
    (tmp_path / "data").write_text("no program")
    with pytest.raises(error, match=message) as caught:
        job_command.run(command, tmp_path)
    assert "\n" not in str(caught.value)
    assert type(caught.value) is error


def test_a_program_that_is_not_there_sets_no_frame_aside(tmp_path, vasp, capsys):
    run = made_run(tmp_path, [cells.hydride()], "srun-of-elsewhere vasp_std")
    assert cli.main(["label", str(run)]) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("mlip label: dft.command: 'srun-of-elsewhere vasp_std' cannot be started (")
    assert not list(run.rglob("failed"))


def test_a_missing_potcar_is_one_line_before_anything_runs(tmp_path, vasp, capsys):
    run = made_run(tmp_path, [cells.hydride()])
    shutil.rmtree(tmp_path / "pp" / "potpaw_PBE" / "H")
    assert cli.main(["label", str(run)]) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert "has no POTCAR of H, neither H/POTCAR nor potpaw_PBE/H/POTCAR; add it or name another one" in last
    assert not list(run.rglob("runs"))


def test_bad_commands_in_a_config(tmp_path):
    for command in ("", "  ", "one\ntwo"):
        with pytest.raises(ValueError, match="command"):
            Dft(command=command)


def test_a_command_changes_no_fingerprint(tmp_path):
    data = tiny.write_config(tmp_path / "c.yaml")
    one = driver.init(data, tmp_path / "one")
    settings = yaml.safe_load(data.read_text())
    (tmp_path / "d.yaml").write_text(yaml.safe_dump({**settings, "dft": {"command": "vasp_std", "ranks": 2}}))
    two = driver.init(tmp_path / "d.yaml", tmp_path / "two")
    for name in ("refine", "convergence", "energetics"):
        assert one.settings(one.stage(name)) == two.settings(two.stage(name))
    changed = yaml.safe_dump({**settings, "dft": {"settings": {"cutoff_ev": 600.0}}})
    (tmp_path / "e.yaml").write_text(changed)
    three = driver.init(tmp_path / "e.yaml", tmp_path / "three")
    assert one.settings(one.stage("refine")) != three.settings(three.stage("refine"))
