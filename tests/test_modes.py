"""The stage `modes`: where hops start, jobs on disk, what is refused, and the seams to other stages."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from helpers.bands import path
from helpers.potentials import CosineSurface, hop
from numpy.testing import assert_allclose

from mlip.atoms import extxyz
from mlip.core import files
from mlip.potential import equivalence
from mlip.potential.potential import Predicted
from mlip.potential.use import ModelUse
from mlip.stages.modes import jobs, result, stage
from mlip.stages.modes.settings import ModesSettings
from mlip.stages.neb.stage import band_file
from mlip.stages.sites.settings import SitesSettings

SETTINGS = ModesSettings(fmax_ev_per_angstrom=1e-4, step_angstrom=1e-4, hessian_angstrom=4.0, shell_angstrom=2.0)


@dataclass
class Counted:
    """Members on one cosine surface; counts what they evaluate."""

    members: int
    calls: int = 0

    def __call__(self, frames):
        self.calls += self.members * len(frames)
        out = []
        for atoms in frames:
            copy = atoms.copy()
            copy.calc = CosineSurface(hop(box=(10.5, 9.0, 14.0))[0])
            energies = np.full(self.members, copy.get_potential_energy())
            out.append(Predicted(energies, np.array([copy.get_forces()] * self.members), None))
        return out


@pytest.fixture(scope="module")
def converged():
    return path(symmetric=False)


@pytest.fixture
def folders(tmp_path, converged):
    """Folders of `neb` and `sites` with the band and its host; the bands are those of two members."""
    bands = [replace(converged.band, member=1), replace(converged.band, member=2)]
    for band in bands:
        files.write_frames(band_file(tmp_path / "neb", band), list(converged.images))
    files.write_frames(tmp_path / "sites" / "hosts" / "001.extxyz", [converged.images[0][:-1]])
    return tmp_path, bands


def job_of(folders, converged):
    folder, bands = folders
    start = stage.start_of(converged.hop, bands, folder / "neb")
    return jobs.HopJob(start, folder / "sites" / "hosts" / "001.extxyz", folder / "modes" / "hops")


def run(job):
    evaluate = {None: Counted(2), 1: Counted(1)}
    jobs.run_hops([job], evaluate, SETTINGS, SitesSettings())
    return sum(one.calls for one in evaluate.values())


def test_start_is_the_band_nearest_the_mean_without_its_energies(folders, converged):
    folder, bands = folders
    bands = [replace(bands[0], forward_ev=0.9), replace(bands[1], forward_ev=0.52), replace(bands[0], forward_ev=None)]
    start = stage.start_of(converged.hop, bands[1:], folder / "neb")
    assert (start.member, start.top, start.symmetric) == (2, 3, False)
    assert all(image.calc is None for image in start.images)
    assert_allclose(start.images[0].positions, converged.images[0].positions, atol=1e-7)
    assert_allclose(np.linalg.norm(start.along), 1.0, rtol=1e-12)
    assert stage.start_of(converged.hop, bands[2:], folder / "neb") is None


def test_hop_goes_to_disk_with_its_stationary_points(folders, converged):
    job = job_of(folders, converged)
    calls = run(job)
    found = files.read_record(job.done, result.HopModes)
    assert found.status.code == result.PROVED
    assert_allclose(found.forward_ev, CosineSurface(hop()[0]).exact_forward, rtol=1e-6)
    assert found.evaluations == calls
    frames = extxyz.read_frames(job.folder / "Li_001_par.extxyz")
    assert [f.info["part"] for f in frames] == ["initial", "saddle", "final", "below", "below"]
    energies = {f.info["part"]: f.info["energy_ev"] for f in frames}
    assert_allclose(energies["saddle"] - energies["initial"], found.forward_ev, rtol=1e-6)
    saddle = stage.saddle(job.folder.parent, found)
    assert_allclose(np.abs(np.sum(saddle.arrays["mode"] * np.array(found.mode))), 1.0, rtol=1e-6)


def test_hops_that_are_done_are_not_done_again(folders, converged, monkeypatch):
    job = job_of(folders, converged)
    run(job)
    before = job.done.read_bytes()
    crystal = jobs.CrystalJob(converged.images[0], job.folder)
    files.write_record(crystal.done, jobs.CrystalPhonons(phonons=None, note="none"))
    monkeypatch.setattr(jobs, "work", None)  # nobody may be called
    exact = ModelUse(Path("model"), equivalence.REFERENCE)
    ticks = []
    hops, phonons = jobs.run_all([job], crystal, exact, SETTINGS, SitesSettings(), workers=2, on_tick=ticks.append)
    assert [h.key for h in hops] == [("001", "Li", "001_par")]
    assert phonons.note == "none"
    assert job.done.read_bytes() == before
    assert ticks[-1] == 2


def test_potential_in_float32_is_refused():
    rounded = ModelUse(Path("model"), replace(equivalence.REFERENCE, dtype="float32"))
    with pytest.raises(
        ValueError, match="modes: the potential is evaluated in float32, whose rounding spoils Hessians"
    ):
        jobs.require_float64(rounded)


def test_crystal_that_does_not_relax_leaves_a_note_and_no_phonons(tmp_path):
    def pushed(frames):
        return [Predicted(np.zeros(1), np.full((1, len(a), 3), np.nan), None) for a in frames]

    job = jobs.CrystalJob(hop()[0], tmp_path)
    jobs.run_crystal(job, pushed, SETTINGS)
    found = files.read_record(job.done, jobs.CrystalPhonons)
    assert found.phonons is None
    assert "not finite" in found.note


def test_summary_counts_statuses_and_evaluations(folders, converged):
    job = job_of(folders, converged)
    run(job)
    good = files.read_record(job.done, result.HopModes)
    none = stage.without_band(converged.hop)
    (line,) = stage.summary([good, none, none])
    assert line == f"3 hops: 2 no converged band, 1 proved; {good.evaluations} evaluations of a structure by a member"
    assert stage.summary([]) == []


def test_result_survives_its_file(folders, converged, tmp_path):
    job = job_of(folders, converged)
    run(job)
    made = result.Modes(hops=(files.read_record(job.done, result.HopModes),), bulk=None, notes=("a",))
    files.write_record(tmp_path / "modes.json", made)
    assert files.read_record(tmp_path / "modes.json", result.Modes) == made
