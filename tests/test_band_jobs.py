from dataclasses import replace

import pytest
import tiny
from ase import Atoms
from ase.io import read
from numpy.testing import assert_allclose

from mlip.core import files
from mlip.potential import equivalence, models
from mlip.stages import jobs
from mlip.stages.neb import band_jobs
from mlip.stages.neb.settings import NebSettings
from mlip.stages.sites import network
from mlip.tools import select_frames


@pytest.mark.parametrize(("device", "sizes"), [("cpu", [5, 5, 5, 5]), ("cuda", [20])])
def test_pools_hold_every_band_once(tmp_path, device, sizes):
    use = jobs.ModelUse(tmp_path, equivalence.Way("mace-torch", device, "float64"))
    todo = [band_jobs.BandJob(h, m, tmp_path, tmp_path, use, NebSettings(), "pbe") for h in range(10) for m in (1, 2)]
    found = band_jobs.pools(todo, workers=2)
    assert sorted(map(len, found)) == sizes
    assert {(job.hop, job.member) for part in found for job in part} == {(job.hop, job.member) for job in todo}
    if device == "cpu":
        assert all(len({job.member for job in part}) == 1 for part in found)
        assert sorted(map(len, band_jobs.pools(todo[:6:2], workers=2))) == [1, 2]  # nobody idles
    assert band_jobs.pools([], workers=2) == []


@pytest.fixture
def job(tmp_path, labelled):
    """A hop in bulk by one shipped member in float32, with loose settings."""
    released = models.load(tiny.REPOSITORY / "datasets" / "models" / "tio2-mg-li").subset([1])
    states = [m.state_dict() for m in released.members]
    card = {"name": "one", "target": "pbe", "elements": list(released.elements), "cutoff_angstrom": 5.0}
    models.save(tmp_path / "model", shape=released.shape, weights=states, card=card)
    site, middle = labelled["bulk1_Li_site"], labelled["bulk1_Li_hop50"]
    ends = [Atoms(site.symbols, site.positions, cell=site.cell, pbc=True) for _ in range(2)]
    ends[1].positions[-1] += 2 * (middle.positions[-1] - site.positions[-1])
    hop = network.Hop("bulk_oct", "bulk", "Li", "V1", "V1", 3.07, (0.0, 0.0, 0.0), 1, symmetric=True)
    files.write_frames(jobs.end_points(tmp_path, hop), ends)
    settings = NebSettings(images=3, end_fmax_ev_per_angstrom=0.03, end_moved_angstrom=3.0)
    use = jobs.ModelUse(tmp_path / "model", equivalence.Way("mace-torch", "cpu", "float32"))
    (tmp_path / "bands").mkdir()
    return band_jobs.BandJob(hop, 1, tmp_path, tmp_path / "bands", use, settings, "pbe")


def test_a_band_that_settled_in_float32_is_finished_the_plain_way(job):
    """Both ways end in the same barrier; the finished band's energies are those of float64."""
    finishing = job.settings.model_copy(update={"finish_plain": True})
    band_jobs.run_pool([replace(job, settings=finishing)])
    found = files.read_record(job.done, band_jobs.BandOutcome).band
    images = read(job.done.with_suffix(".extxyz"), ":")
    job.done.unlink()
    use = replace(job.model, way=equivalence.PLAIN)
    band_jobs.run_pool([replace(job, model=use)])
    plain = files.read_record(job.done, band_jobs.BandOutcome).band
    assert found.status == plain.status == "converged"
    assert_allclose(found.forward_ev, plain.forward_ev, rtol=0, atol=1e-3)
    assert "eV the fast way, finished the plain way" in found.note
    assert found.force_calls > plain.force_calls
    assert not plain.note
    exact = [one.energies_ev[0] for one in jobs.evaluator(use)(images)]
    assert_allclose([image.get_potential_energy() for image in images], exact, rtol=0, atol=1e-7)
    assert not list(job.folder.glob("*.npz"))
    said = [frame.info for frame in select_frames.candidates(job.done.with_suffix(".extxyz"))]
    assert [info["frame_id"] for info in said] == [f"Li_bulk_oct_member-1_{k}" for k in range(5)]
    assert {(info["host"], info["ion"], info["group"], info["vacuum"]) for info in said} == {
        ("bulk", "Li", "ladder_bulk_oct_Li", False)
    }
