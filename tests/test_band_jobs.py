from dataclasses import replace
from types import SimpleNamespace

import pytest
from ase import Atoms
from ase.io import read
from helpers import tiny
from numpy.testing import assert_allclose

from mlip.atoms.dispersion import d3
from mlip.core import files
from mlip.core.status import Status
from mlip.potential import equivalence, models, use
from mlip.stages.neb import band_jobs, neb
from mlip.stages.neb.settings import NebSettings
from mlip.stages.sites import jobs as sites_jobs
from mlip.stages.sites import network
from mlip.tools import select_frames


@pytest.mark.parametrize(("device", "sizes"), [("cpu", [5, 5, 5, 5]), ("cuda", [20])])
def test_pools_hold_every_band_once(tmp_path, device, sizes):
    model = use.ModelUse(tmp_path, equivalence.Backend(name="mace-torch", device=device, dtype="float64"))
    todo = [band_jobs.BandJob(h, m, tmp_path, tmp_path, model, NebSettings(), "pbe") for h in range(10) for m in (1, 2)]
    found = band_jobs.pools(todo, workers=2)
    assert sorted(map(len, found)) == sizes
    assert {(job.hop, job.member) for part in found for job in part} == {(job.hop, job.member) for job in todo}
    if device == "cpu":
        assert all(len({job.member for job in part}) == 1 for part in found)
        assert sorted(map(len, band_jobs.pools(todo[:6:2], workers=2))) == [1, 2]  # nobody idles
    else:
        shared = band_jobs.pools(todo, workers=2, gpus=3)
        assert sorted(map(len, shared)) == [6, 7, 7]
        assert {(job.hop, job.member) for part in shared for job in part} == {(job.hop, job.member) for job in todo}
        assert len(band_jobs.pools(todo[:2], workers=2, gpus=3)) == 2
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
    hop = network.Hop(
        name="bulk_oct",
        host="bulk",
        ion="Li",
        initial="V1",
        final="V1",
        length_angstrom=3.07,
        vector_angstrom=(0.0, 0.0, 0.0),
        multiplicity=1,
        symmetric=True,
    )
    files.write_frames(sites_jobs.end_points(tmp_path, hop), ends)
    settings = NebSettings(images=3, end_fmax_ev_per_angstrom=0.03, end_moved_angstrom=3.0)
    model = use.ModelUse(tmp_path / "model", equivalence.Backend(name="mace-torch", device="cpu", dtype="float32"))
    (tmp_path / "bands").mkdir()
    return band_jobs.BandJob(hop, 1, tmp_path, tmp_path / "bands", model, settings, "pbe")


def test_a_band_that_settled_in_float32_is_finished_with_mace_torch_in_float64(job):
    """Both backends end in the same barrier; the finished band's energies are those of float64."""
    finishing = job.settings.model_copy(update={"finish_mace_torch": True})
    band_jobs.run_pool([replace(job, settings=finishing)])
    found = files.read_record(job.done, band_jobs.BandOutcome).band
    images = read(job.done.with_suffix(".extxyz"), ":")
    job.done.unlink()
    exactly = replace(job.model, backend=equivalence.REFERENCE)
    band_jobs.run_pool([replace(job, model=exactly)])
    slow = files.read_record(job.done, band_jobs.BandOutcome).band
    assert found.status.code == slow.status.code == "converged"
    assert_allclose(found.forward_ev, slow.forward_ev, rtol=0, atol=1e-3)
    assert "eV with mace-torch, finished with mace-torch in float64" in found.note
    assert found.force_calls > slow.force_calls
    assert not slow.note
    exact = [one.energies_ev[0] for one in use.evaluator(exactly)(images)]
    assert_allclose([image.get_potential_energy() for image in images], exact, rtol=0, atol=1e-7)
    assert not list(job.folder.glob("*.npz"))
    said = [frame.info for frame in select_frames.candidates(job.done.with_suffix(".extxyz"))]
    assert [info["frame_id"] for info in said] == [f"Li_bulk_oct_member-1_{k}" for k in range(5)]
    assert {(info["host"], info["ion"], info["group"], info["vacuum"]) for info in said} == {
        ("bulk", "Li", "ladder_bulk_oct_Li", False)
    }


def test_a_band_that_wants_steps_goes_on_and_ends_where_an_undisturbed_one_does(job):
    band_jobs.run_pool([job])
    whole = files.read_record(job.done, band_jobs.BandOutcome).band
    job.done.unlink()
    few = job.settings.model_copy(update={"max_steps": whole.steps - 2})
    band_jobs.run_pool([replace(job, settings=few)])
    found = files.read_record(job.done, band_jobs.BandOutcome).band
    assert found.status.code == whole.status.code == "converged"
    assert found.note == f"not converged after {few.max_steps} steps, gone on with from there"
    assert found.steps > few.max_steps
    assert_allclose(found.forward_ev, whole.forward_ev, rtol=0, atol=2e-3)
    assert not list(job.folder.glob("*.npz"))


def test_a_band_that_never_settles_has_three_rounds_and_no_number(job):
    never = job.settings.model_copy(update={"max_steps": 2, "fmax_ev_per_angstrom": 1e-9})
    band_jobs.run_pool([replace(job, settings=never)])
    found = files.read_record(job.done, band_jobs.BandOutcome).band
    assert (found.status.code, found.steps, found.forward_ev) == ("max steps", 6, None)
    assert found.note.count("gone on with") == 2


def test_a_killed_round_goes_on_to_the_same_band(job, monkeypatch):
    few = replace(job, settings=job.settings.model_copy(update={"max_steps": 3, "checkpoint_steps": 1}))
    band_jobs.run_pool([few])
    whole = files.read_record(job.done, band_jobs.BandOutcome).band
    job.done.unlink()
    first = band_jobs._round

    def killed(todo, on_done, *, begun=(), name):
        if name:
            raise KeyboardInterrupt
        first(todo, on_done, begun=begun, name=name)

    with monkeypatch.context() as patch:
        patch.setattr(band_jobs, "_round", killed)
        with pytest.raises(KeyboardInterrupt):
            band_jobs.run_pool([few])
    assert len(list(job.folder.glob("*.npz"))) == 1
    band_jobs.run_pool([few])
    again = files.read_record(job.done, band_jobs.BandOutcome).band
    assert again.energies_ev == whole.energies_ev
    assert again.steps == whole.steps


@pytest.mark.parametrize(
    ("status", "fmax", "stationary", "expected"),
    [
        ("max steps", 0.1, False, True),
        ("ion desorbed", 0.1, False, True),  # on its way over the vacuum, whose height a verdict needs
        ("ion desorbed", 0.01, True, False),
        ("ion desorbed", None, False, False),  # an end left: the band never ran
        ("end point not relaxed", None, False, False),
        ("out of domain", None, False, False),  # no finite number: going on gives none
        ("no barrier", 0.01, True, False),
        ("converged", 0.01, True, False),
    ],
)
def test_which_bands_go_on(status, fmax, stationary, expected):
    made = neb.Band(
        hop="001_par", host="001", ion="Mg", member=1, status=Status(status), forward_ev=None, reverse_ev=None, energies_ev=(0.0,), coordinate_angstrom=(0.0,), ion_angstrom=((0.0,) * 3,), fmax_ev_per_angstrom=fmax, steps=9, force_calls=9, force_std_ev_per_angstrom=None, stationary=stationary
    )  # fmt: skip
    assert band_jobs.unsettled(made) is expected


def test_d3_of_a_barrier_is_that_of_the_saddle_less_that_of_the_initial_image():
    """Two atoms that come closer are bound more strongly, so the barrier falls."""
    images = [Atoms("Ar2", positions=[[2, 2, 2], [2, 2, 2 + r]], cell=[30] * 3, pbc=True) for r in (5.0, 4.0, 5.5)]
    band = SimpleNamespace(forward_ev=0.4, energies_ev=(0.0, 0.4, 0.1))
    found = band_jobs._dispersion(band, images, "pbe")
    assert_allclose(found, d3(images[1])[0] - d3(images[0])[0], rtol=1e-9, atol=0)
    assert found < -1e-4
    assert band_jobs._dispersion(band, images, "pbe-d3") is None  # the potential contains it
    assert band_jobs._dispersion(SimpleNamespace(forward_ev=None), images, "pbe") is None
