import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
from numpy.testing import assert_allclose

from mlip import config, extxyz, files, gate, jobs, run, stages, ways

NATIVE = gate.Way("symmetrix-xl", "cpu", "float64")


@pytest.fixture
def copied(finished, tmp_path, monkeypatch):
    """A finished run of one's own, and the ways that were checked in it during the test."""
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    counted = []
    check = ways._apart
    monkeypatch.setattr(ways, "_apart", lambda opened: counted.append(1) or check(opened))
    return SimpleNamespace(run=run.opened(folder), counted=counted)


def test_a_run_is_checked_once_and_the_result_is_that_of_the_sites_stage(copied):
    found = files.read_result(copied.run.path("sites", "result.json"), stages.SiteNetwork)
    assert ways.checked(copied.run) == found.equivalence == ways.latest(copied.run, ())
    assert ways.use(copied.run) == jobs.model_use(copied.run.path("train", "model"), found.equivalence)
    assert copied.counted == []


def test_a_run_made_before_the_package_was_there_uses_it_and_its_stages_stay_done(copied, monkeypatch):
    """The check says what it finds on a machine with other packages; no result is made anew for that."""
    taken = gate.Equivalence(NATIVE, 3, 1e-7, 1e-7, accepted=True)
    monkeypatch.setattr(ways, "machine", lambda: {"symmetrix-xl": "another"})
    monkeypatch.setattr(ways, "_apart", lambda _: copied.counted.append(1) or (taken,))
    assert ways.use(copied.run).way == NATIVE
    assert ways.use(copied.run).way == NATIVE
    assert copied.counted == [1]
    assert ways.latest(copied.run, ()) == (taken,)
    assert all(copied.run.is_done(stage) for stage in ("train", "sites", "neb"))


@pytest.mark.parametrize("spoil", ["cut", "missing"])
def test_a_damaged_or_missing_record_is_made_again(copied, spoil):
    kept = copied.run.path("train", "ways.json")
    before = kept.read_text(encoding="utf-8")
    kept.write_text(before[:20], encoding="utf-8") if spoil == "cut" else kept.unlink()
    assert ways.latest(copied.run, ("of the sites",)) == ("of the sites",)
    ways.checked(copied.run)
    assert copied.counted == [1]
    assert kept.read_text(encoding="utf-8") == before


def test_other_limits_are_another_check(copied, tmp_path):
    common = copied.run.config.common.model_copy(update={"equivalence_ev": 1e-2})
    other = run.Run(copied.run.folder, copied.run.config.model_copy(update={"common": common}))
    assert ways._key(other) != ways._key(copied.run)
    same = run.Run(copied.run.folder, config.load(copied.run.folder / "config.yaml"))
    assert ways._key(same) == ways._key(copied.run)


def test_a_compiler_that_comes_or_goes_is_another_machine(monkeypatch):
    monkeypatch.setenv("CXX", "/nowhere/c++ -O1")
    assert ways.machine()["compiler"] is None
    monkeypatch.setenv("CXX", "")
    assert ways.machine()["compiler"] is None
    monkeypatch.setattr("mlip.compiled.version", lambda: None)
    assert ways.machine()["symmetrix-xl"] is None


def test_of_each_composition_the_frame_of_the_largest_force():
    frames = []
    for symbols, force in (("Ti2O4", 0.1), ("Ti2O4", -3.0), ("Ti2O4", 2.0), ("Ti2O4Li", 0.0)):
        atoms = tiny.rattled(symbols)
        atoms.arrays["REF_forces"] = np.full((len(atoms), 3), force)
        frames.append(atoms)
    found = ways.hottest(frames)
    assert [a is b for a, b in zip(found, (frames[1], frames[3]), strict=True)] == [True, True]
    assert ways.hottest([]) == []
    assert len(ways.hottest([tiny.rattled(), tiny.rattled(seed=3)])) == 1  # without labels


def test_the_check_sees_every_host_and_every_kind_of_held_out_cell(copied):
    frames = ways._frames(copied.run)
    hosts = [extxyz.read_frames(p)[0] for p in sorted(copied.run.path("structures").glob("*.extxyz"))]
    for atoms, host in zip(frames, hosts, strict=False):
        assert_allclose(atoms.positions, host.positions)
    held = extxyz.read_frames(copied.run.path("dataset", "test.extxyz"))
    assert {a.get_chemical_formula() for a in frames[len(hosts) :]} == {a.get_chemical_formula() for a in held}
