"""The stages md and diffusion on a finished tiny run: what they leave, how they go on, what they refuse."""

import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from helpers.lammps_dumps import dumped
from helpers.md_runs import MD, command, configured

from mlip import driver
from mlip.atoms import extxyz
from mlip.core import files
from mlip.potential import equivalence
from mlip.stages.diffusion import kinetics
from mlip.stages.diffusion import stage as diffusion
from mlip.stages.md import lammps, trajectory
from mlip.stages.md.stage import Trajectories, _named_backend


@pytest.fixture(scope="module")
def moved(finished, tmp_path_factory):
    """The finished run with md, diffusion and the report done."""
    folder = tmp_path_factory.mktemp("moved")
    shutil.copytree(finished.folder, folder / "run", symlinks=True)
    assert command("init", configured(finished, folder / "c.yaml"), folder / "run") == 0
    for stage in ("md", "diffusion", "report"):
        assert command("--debug", stage, folder / "run") == 0
    return SimpleNamespace(folder=folder / "run", config=finished.config)


@pytest.fixture
def again(moved, tmp_path):
    """A copy of it."""
    shutil.copytree(moved.folder, tmp_path / "run", symlinks=True)
    return tmp_path / "run"


def result(folder):
    return files.read_result(folder / "md" / "result.json", Trajectories)


def test_every_replica_is_followed_to_the_target(moved):
    found = result(moved.folder)
    slab, bulk = found.systems
    assert (slab.name, bulk.name) == ("001_Li", "bulk_Li")
    assert slab.mobile < slab.atoms
    assert bulk.mobile == bulk.atoms
    for system in (slab, bulk):
        assert [(o.replica, str(o.status), o.length_ps) for o in system.replicas] == [
            ("300K-1", "done", 0.001),
            ("600K-1", "done", 0.001),
        ]
        header, frames = trajectory.read(moved.folder / system.folders[0])
        assert frames.count == 21
        assert header.model == found.model == files.sha256(moved.folder / "train" / "model")
        start = extxyz.read_frames(moved.folder / "md" / f"{system.name}.extxyz")[0]
        assert start.info["host"] == system.host
        assert int(start.arrays["mobile"].sum()) == system.mobile
        assert np.isfinite(frames.force_std_ev_per_angstrom).all()


def test_diffusion_has_limits_and_the_report_says_so(moved):
    found = files.read_result(moved.folder / "diffusion" / "result.json", kinetics.Diffused)
    assert [(m.system, m.temperature_kelvin) for m in found.motions] == [
        ("001_Li", 300.0),
        ("001_Li", 600.0),
        ("bulk_Li", 300.0),
        ("bulk_Li", 600.0),
    ]
    assert all(m.from_jumps.mean.value is None for m in found.motions)
    assert [d.system for d in found.densities] == ["001_Li", "001_Li"]
    text = (moved.folder / "report" / "report.md").read_text()
    assert "## Molecular dynamics" in text
    assert "## Diffusion from molecular dynamics" in text
    assert "A demonstration: the trajectories last 0.001 ps each" in text
    assert "No ion hopped: every D and every rate below is an upper limit" in text
    assert "is extrapolated along a straight Arrhenius line" in text
    assert "< " in text.split("Diffusion coefficients at the temperatures")[1]


def test_a_longer_target_goes_on_from_where_it_was(moved, again, tmp_path):
    before = {p.relative_to(again): p.read_bytes() for p in again.glob("trajectories/*/frames-*.npz")}
    assert command("init", configured(moved, tmp_path / "c.yaml", target_ps=0.002), again) == 0
    assert command("md", again) == 0
    assert [o.length_ps for s in result(again).systems for o in s.replicas] == [0.002] * 4
    for path, data in before.items():
        assert (again / path).read_bytes() == data
    assert len(list(again.glob("trajectories/*"))) == 2
    assert trajectory.read(again / result(again).systems[0].folders[0])[1].count == 41


def test_replicas_that_stop_leave_frames_for_labelling(moved, again, tmp_path):
    changes = {"max_force_std_ev_per_angstrom": 1e-9, "systems": MD["systems"][:1]}
    assert command("init", configured(moved, tmp_path / "c.yaml", **changes), again) == 0
    assert command("md", again) == 0
    found = result(again)
    assert found.notes == ("001_Li: 2 of 2 out of domain",)
    frames = extxyz.read_frames(again / "md" / "stopped.extxyz")
    assert len(frames) == 2
    info = frames[0].info
    assert {k: info[k] for k in ("host", "ion", "group", "sampling", "vacuum")} == {
        "host": "001",
        "ion": "Li",
        "group": "md_001_Li_300K-1",
        "sampling": "md",
        "vacuum": True,
    }
    assert info["frame_id"] == "001_Li_300K-1_1"
    assert info["stopped"].startswith("out of domain: committee spread")
    assert command("diffusion", again) == 0
    done = files.read_result(again / "diffusion" / "result.json", kinetics.Diffused)
    assert done.motions == ()


def test_an_exploded_start_is_a_status_and_nothing_is_made_of_it(moved, again, tmp_path, capsys):
    changes = {"max_force_ev_per_angstrom": 1e-6, "systems": MD["systems"][:1]}
    assert command("init", configured(moved, tmp_path / "c.yaml", **changes), again) == 0
    assert command("md", again) == 0
    assert "001_Li: 2 of 2 exploded at the start" in capsys.readouterr().err
    (system,) = result(again).systems
    assert all(str(o.status).startswith("exploded at the start: a force of") for o in system.replicas)
    assert [o.length_ps for o in system.replicas] == [0.0, 0.0]
    assert len(extxyz.read_frames(again / "md" / "stopped.extxyz")) == 2
    assert command("diffusion", again) == 0
    assert files.read_result(again / "diffusion" / "result.json", kinetics.Diffused).motions == ()


def test_a_run_of_lammps_is_taken_into_the_diffusion_stage(moved, again, tmp_path):
    words = ["export", again / "train" / "model", "--to", "lammps", "-o", tmp_path / "deck"]
    assert command(*words, "--start", again / "md" / "001_Li.extxyz") == 0
    dumped(tmp_path / "deck", files.read_record(tmp_path / "deck" / "deck.json", lammps.Deck))
    settings = yaml.safe_load(moved.config.read_text()) | {"md": MD}
    settings["diffusion"] = {"lammps": [str(tmp_path / "deck")], "core_angstrom": 3.0}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(settings))
    assert command("init", tmp_path / "c.yaml", again) == 0
    assert command("diffusion", again) == 0
    last = files.read_result(again / "diffusion" / "result.json", kinetics.Diffused).motions[-1]
    assert (last.system, last.host, last.temperature_kelvin, last.replicas) == ("001_Li_lammps", "001", 900.0, 1)
    assert len(last.from_displacements.times_ps) > 5


def test_a_damaged_trajectory_is_one_line_and_nothing_is_lost(again, capsys):
    path = max(again.glob("trajectories/001_Li-*/frames-*.npz"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    kept = {p: p.read_bytes() for p in again.rglob("*") if p.is_file() and p.name != "lock"}
    (again / "diffusion" / "result.json").unlink()
    assert command("diffusion", again) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("mlip diffusion: ")
    assert f"{path.name}: is cut short or damaged" in error
    assert {p: p.read_bytes() for p in kept if p.parts[-2] != "diffusion"} == {
        p: d for p, d in kept.items() if p.parts[-2] != "diffusion"
    }


def test_a_trajectory_of_another_model_is_refused(again):
    context = driver.opened(again).context(diffusion.STAGE)
    found = result(again)
    for folder in again.glob("trajectories/001_Li-*"):
        header = files.read_record(folder / "header.json", trajectory.Header)
        files.write_record(folder / "header.json", type(header)(**{**vars(header), "model": "0123456789abcdef"}))
    with pytest.raises(ValueError, match="is a trajectory of another model"):
        list(diffusion._read(context, found))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"systems": [{"host": "001", "ions": ["K"]}]},
            r"\['K'\] on 001 are not in structures.ions \['Li'\]; add them",
        ),
        ({"systems": [{"host": "101", "ions": ["Li"]}]}, r"host '101' is not built by structures; there are: \['bulk'"),
        ({"systems": [{"host": "001", "ions": ["Xx"]}]}, "give chemical symbols such as Li"),
        ({"time_step_fs": 10}, "time_step_fs: 10 fs is too long for an oxide"),
        ({"member": 3}, "md.member: 3 of 2 members"),
        ({"temperatures_kelvin": [300, 300]}, "each is named once"),
    ],
)
def test_bad_settings_are_refused_before_anything_runs(finished, tmp_path, capsys, changes, match):
    assert command("init", configured(finished, tmp_path / "c.yaml", **changes), tmp_path / "run") == 1
    assert re.search(match, capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


def test_the_backend_has_the_keys_that_decide_the_digests_of_earlier_trajectories():
    known = {"way": {"backend": "mace-torch", "device": "cpu", "dtype": "float64", "batched": False}}
    assert _named_backend(equivalence.REFERENCE) == known
