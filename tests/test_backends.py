import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import tiny
from numpy.testing import assert_allclose

from mlip import driver
from mlip.atoms import extxyz, structures
from mlip.core import files
from mlip.core.run import Run
from mlip.potential import equivalence, use
from mlip.stages.sites import backends
from mlip.stages.sites.stage import SiteNetwork

SYMMETRIX = equivalence.Backend(name="symmetrix-xl", device="cpu", dtype="float64")


@pytest.fixture
def copied(finished, tmp_path, monkeypatch):
    """A finished run of one's own, and how often its backends were checked during the test."""
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    counted = []
    parallel = backends.run_parallel
    monkeypatch.setattr(backends, "run_parallel", lambda *a, **k: counted.append(1) or parallel(*a, **k))
    run = driver.opened(folder)
    return SimpleNamespace(run=run, context=run.context(run.stage("neb")), counted=counted)


def test_a_run_is_checked_once_and_the_result_is_that_of_the_sites_stage(copied):
    found = files.read_result(copied.run.path("sites", "result.json"), SiteNetwork)
    assert backends.checked(copied.context) == found.equivalence == backends.latest(copied.run.folder, ())
    expected = use.model_use(copied.run.path("train", "model"), found.equivalence)
    assert backends.model_use(copied.context) == expected
    assert copied.counted == []


def test_a_run_made_before_the_package_was_there_uses_it_and_its_stages_stay_done(copied, monkeypatch):
    """The check says what it finds on a machine with other packages; no result is made anew for that."""
    taken = equivalence.Equivalence(
        backend=SYMMETRIX, structures=3, energy_ev=1e-7, force_ev_per_angstrom=1e-7, accepted=True
    )
    monkeypatch.setattr(backends, "machine", lambda: {"symmetrix-xl": "another"})
    monkeypatch.setattr(backends, "run_parallel", lambda *_, **__: copied.counted.append(1) or [(taken,)])
    assert backends.model_use(copied.context).backend == SYMMETRIX
    assert backends.model_use(copied.context).backend == SYMMETRIX
    assert copied.counted == [1]
    assert backends.latest(copied.run.folder, ()) == (taken,)
    assert all(copied.run.is_done(copied.run.stage(stage)) for stage in ("train", "sites", "neb"))


@pytest.mark.parametrize("spoil", ["cut", "missing"])
def test_a_damaged_or_missing_record_is_made_again(copied, spoil):
    kept = copied.run.folder / backends.KEPT
    before = kept.read_text(encoding="utf-8")
    kept.write_text(before[:20], encoding="utf-8") if spoil == "cut" else kept.unlink()
    assert backends.latest(copied.run.folder, ("of the sites",)) == ("of the sites",)
    backends.checked(copied.context)
    assert copied.counted == [1]
    assert kept.read_text(encoding="utf-8") == before


def test_other_limits_are_another_check(copied):
    common = copied.run.common.model_copy(update={"equivalence_ev": 1e-2})
    other = Run(copied.run.folder, copied.run.sections | {"common": common}, copied.run.stages)
    own, found = copied.context, other.context(other.stage("neb"))
    assert backends._key(found, backends._settings(found)) != backends._key(own, backends._settings(own))
    same = driver.opened(copied.run.folder)
    found = same.context(same.stage("neb"))
    assert backends._key(found, backends._settings(found)) == backends._key(own, backends._settings(own))


def test_a_compiler_that_comes_or_goes_is_another_machine(monkeypatch):
    monkeypatch.setenv("CXX", "/nowhere/c++ -O1")
    assert backends.machine()["compiler"] is None
    monkeypatch.setenv("CXX", "")
    assert backends.machine()["compiler"] is None
    monkeypatch.setattr("mlip.potential.backends.compiled.version", lambda: None)
    assert backends.machine()["symmetrix-xl"] is None


def test_of_each_composition_the_frame_of_the_largest_force():
    frames = []
    for symbols, force in (("Ti2O4", 0.1), ("Ti2O4", -3.0), ("Ti2O4", 2.0), ("Ti2O4Li", 0.0)):
        atoms = tiny.rattled(symbols)
        atoms.arrays["REF_forces"] = np.full((len(atoms), 3), force)
        frames.append(atoms)
    found = backends.hottest(frames)
    assert [a is b for a, b in zip(found, (frames[1], frames[3]), strict=True)] == [True, True]
    assert backends.hottest([]) == []
    assert len(backends.hottest([tiny.rattled(), tiny.rattled(seed=3)])) == 1  # without labels


def test_the_check_sees_every_host_and_every_kind_of_held_out_cell(copied):
    folders = [copied.run.path(name) for name in ("train", "structures", "dataset")]
    job = backends.CheckJob(folders[0] / "model", folders[1], folders[2] / "test.extxyz", ("Mg",), {})
    frames = backends.frames(job)  # a held-out frame has Mg
    hosts = [extxyz.read_frames(p)[0] for p in sorted(copied.run.path("structures").glob("*.extxyz"))]
    for atoms, host in zip(frames, hosts, strict=False):
        assert_allclose(atoms.positions, host.positions)
    held = extxyz.read_frames(copied.run.path("dataset", "test.extxyz"))
    assert {a.get_chemical_formula() for a in frames[len(hosts) :]} == {a.get_chemical_formula() for a in held}


def test_without_labels_the_check_sees_every_ion_on_every_host(tmp_path):
    crystal = structures.crystal("anatase")
    facet = structures.Facet(name="001", miller=(0, 0, 1), repeat=(2, 2))
    hosts = [structures.slab(crystal, facet, bond_angstrom=2.35), structures.bulk(crystal, (2, 2, 1))]
    for name, host in zip(("001", "bulk"), hosts, strict=True):
        files.write_frames(tmp_path / f"{name}.extxyz", [host])
    found = backends.frames(backends.CheckJob(tmp_path, tmp_path, tmp_path / "test.extxyz", ("Li", "Mg"), {}))
    alone = [host.get_chemical_formula() for host in hosts]
    assert [f.get_chemical_formula() for f in found] == [*alone, *(ion + one for ion in ("Li", "Mg") for one in alone)]
    for atoms in found[len(hosts) :]:
        away = atoms.get_distances(-1, range(len(atoms) - 1), mic=True).min()
        assert 1.6 < away < 2.6  # near enough to be a part of its surroundings
