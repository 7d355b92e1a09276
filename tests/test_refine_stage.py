"""The stage refine on runs of known bands: files, budgets, jobs elsewhere, kills; the truth is an engine of the tests."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from helpers import ways
from helpers.bands import path
from helpers.dft_runs import MORE, PYTHONPATH, made
from helpers.material import site
from helpers.potentials import CosineSurface, hop
from helpers.refinement import BOX, Prior, on
from helpers.vasp_jobs import paw_data, vasprun
from numpy.testing import assert_allclose

from mlip import cli, driver
from mlip.atoms import extxyz
from mlip.core import files
from mlip.core.status import WAITING
from mlip.dft import engines
from mlip.stages.dataset import dataset
from mlip.stages.dataset.card import LabelledPath
from mlip.stages.neb.settings import NebSettings
from mlip.stages.refine import jobs, loop
from mlip.stages.refine import stage as refine_stage
from mlip.stages.refine.settings import RefineSettings
from mlip.stages.refine.stage import Refinement

TRUTH = {"barrier": 0.56, "bend": 0.5}


@pytest.fixture(autouse=True)
def pretend(monkeypatch):
    """An engine in one file as DFT, and a cosine surface as the potential of the run."""
    monkeypatch.setattr(engines, "__path__", [*engines.__path__, str(MORE)])
    monkeypatch.setenv("PYTHONPATH", PYTHONPATH)
    monkeypatch.setattr(refine_stage.backends, "model_use", lambda _: None)
    monkeypatch.setattr(jobs, "CommitteePrior", lambda _: Prior())


@pytest.fixture(scope="module")
def bands():
    """A limiting symmetric hop and another one between two sites."""
    return [path(barrier=0.5), path(symmetric=False, name="001_in", barrier=0.5)]


def refined(run):
    return files.read_result(run.path("refine", "result.json"), Refinement)


def run_of(folder, bands, *, truth=TRUTH, **changes):
    return made(folder, bands, dft={"preset": "cosine-exact", "settings": truth}, **changes)


def test_barriers_frames_and_entries_for_a_card(tmp_path, bands, capsys):
    run = run_of(tmp_path, bands, refine={"curvature": True})
    assert cli.main(["refine", str(run.folder)]) == 0
    par, inner = refined(run).hops
    assert (par.hop, inner.hop) == ("001_par", "001_in")
    for one in (par, inner):
        assert one.status.code == loop.CONVERGED
        assert_allclose(one.forward_ev, 0.56, rtol=0, atol=3e-3)
        assert_allclose(one.reverse_ev, 0.56, rtol=0, atol=3e-3)
        assert one.force_ev_per_angstrom < 0.05
        assert one.curvature_ev_per_angstrom2 < 0
        assert_allclose(one.first.mlip_forward_ev, 0.5, rtol=0, atol=3e-3)
        assert_allclose(one.mlip_forward_ev, 0.5, rtol=0, atol=3e-3)
        assert one.d3_forward_ev == pytest.approx(one.d3_reverse_ev, abs=2e-3)
    assert (par.final, inner.final is None) == (None, False)
    frames = extxyz.read_frames(run.path("refine", "frames.extxyz"))
    assert len(frames) == par.calls + inner.calls + 4
    assert {f.info["group"] for f in frames} == {"ladder_001_par_Li", "ladder_001_in_Li"}
    assert {f.info["settings_hash"] for f in frames} == {refined(run).level}
    dataset.deduplicate(frames, 1e-3)  # they have what a dataset's frames have
    entries = [LabelledPath(**e) for e in yaml.safe_load(run.path("refine", "paths.yaml").read_text())]
    assert [(e.hop, e.refined, e.calls) for e in entries] == [
        ("001_par", True, par.calls),
        ("001_in", True, inner.calls),
    ]
    known = {f.info["frame_id"]: f.info["dft_energy"] for f in frames}
    assert_allclose(known[entries[0].saddle] - known[entries[0].initial], par.pbe_forward_ev, rtol=1e-9, atol=0)
    assert not run.path("refine", "unfinished").exists()
    assert "Li 001_par: converged after" in capsys.readouterr().err


def test_calls_of_all_hops_have_a_budget_and_the_decisive_hop_comes_first(tmp_path, bands):
    """001_par leads to the next copy of its site, and a barrier is published: it limits the path of Li."""
    par, inner = bands
    along = replace(par, hop=replace(par.hop, edges=ways.EDGES))
    sites = (replace(site("001", "Li", "S1"), periods=(ways.PERIOD,)), site("001", "Li", "U1"))
    run = run_of(tmp_path, [inner, along], sites=sites, refine={"max_calls": 5})
    assert cli.main(["refine", str(run.folder)]) == 0
    first, last = refined(run).hops
    assert (first.hop, first.status.code, first.calls) == ("001_in", loop.NOT_BEGUN, 0)
    assert first.status.reason == "refine.max_calls of 5 is used"
    assert first.forward_ev is None
    assert (last.hop, last.status.code) == ("001_par", loop.CONVERGED)
    assert 2 < last.calls <= 5  # the first round of the other hop, three calls, does not fit any more


@pytest.mark.parametrize("workers", [1, 2])
def test_the_budget_goes_to_the_same_hop_whatever_the_number_of_workers(tmp_path, bands, workers):
    run = run_of(tmp_path, bands, refine={"max_calls": 5}, common={"workers": workers})
    assert cli.main(["refine", str(run.folder)]) == 0
    assert sorted(one.status.code for one in refined(run).hops) == [loop.CONVERGED, loop.NOT_BEGUN]


def test_a_curvature_costs_no_barrier(tmp_path, bands):
    """Its calls are in no budget, and where one is refused the hop is converged without a curvature."""
    plain = run_of(tmp_path / "plain", bands[:1])
    assert cli.main(["refine", str(plain.folder)]) == 0
    (bare,) = refined(plain).hops
    changes = {"curvature": True, "max_calls": bare.calls}
    whole = run_of(tmp_path / "whole", bands[:1], refine=changes)
    probe = f"001_par_Li_ahead{bare.rounds}"
    refused = run_of(tmp_path / "refused", bands[:1], truth=TRUTH | {"refuse": probe}, refine=changes)
    for run, is_known in ((whole, True), (refused, False)):
        assert cli.main(["refine", str(run.folder)]) == 0
        (one,) = refined(run).hops
        assert (one.status.code, one.calls, one.forward_ev) == (loop.CONVERGED, bare.calls, bare.forward_ev)
        assert (one.curvature_ev_per_angstrom2 is not None) is is_known
    assert refined(refused).problems[0].frame_id == f"refine_{probe}"


def test_a_refused_call_is_a_status_and_a_hop_without_a_band_another(tmp_path, bands, capsys):
    other = replace(bands[1], band=replace(bands[1].band, forward_ev=None, reverse_ev=None))
    run = run_of(tmp_path, [bands[0], other], truth=TRUTH | {"refuse": "001_par_Li_saddle0"})
    assert cli.main(["refine", str(run.folder)]) == 0
    found = refined(run)
    par, inner = found.hops
    assert (par.status.code, inner.status.code) == (loop.REFUSED, loop.NO_BAND)
    assert par.status.reason.startswith("refine_001_par_Li_saddle0: the electrons did not converge")
    assert (par.forward_ev, par.calls) == (None, 1)
    assert found.problems[0].frame_id == "refine_001_par_Li_saddle0"


def test_a_refused_call_is_tried_again_once_its_file_is_removed(tmp_path, bands, capsys):
    until = tmp_path / "patience"
    truth = TRUTH | {"refuse": "001_par_Li_saddle0", "until": str(until)}
    run = run_of(tmp_path, bands[:1], truth=truth)
    assert cli.main(["refine", str(run.folder)]) == 0
    (problem,) = refined(run).problems
    until.touch()
    capsys.readouterr()
    assert cli.main(["refine", str(run.folder)]) == 0
    assert "refine     up to date" in capsys.readouterr().err
    assert problem.reason.endswith(f"to try again remove {problem.file}")
    Path(problem.file).unlink()
    assert not run.is_whole(run.stage("refine"))
    assert cli.main(["refine", str(run.folder)]) == 0
    found = refined(run)
    assert (found.hops[0].status.code, found.problems) == (loop.CONVERGED, ())
    assert run.is_whole(run.stage("refine"))


def test_calls_after_the_hours_wait_for_the_next_call(tmp_path, bands):
    run = run_of(tmp_path, bands[:1], refine={"max_hours": 1e-9})
    assert cli.main(["refine", str(run.folder)]) == 0
    (one,) = refined(run).hops
    assert (one.status.code, one.status.reason, one.calls) == (WAITING, "refine.max_hours are over", 0)
    assert not run.is_whole(run.stage("refine"))


def test_a_round_on_disk_leaves_the_geometries_as_they_were(tmp_path, bands):
    images = bands[0].images
    asked = loop.Asked({loop.INITIAL: loop.bare(images[0])}, images)
    job = jobs.HopJob(
        hop=bands[0].hop,
        path=loop.Hop(band=images, symmetric=True, target="pbe"),
        vacuum=False,
        folder=tmp_path,
        labels={},
        prior=Prior(),
        settings=RefineSettings(),
        neb_settings=NebSettings(),
    )
    jobs.write_round(job, 0, asked)
    assert asked.frames[loop.INITIAL].info == {}
    ((call,), band) = jobs.stored(tmp_path, {})
    assert (call.part, call.asked.info["frame_id"], len(band)) == (loop.INITIAL, "refine_001_par_Li_initial0", 7)


def test_unknown_hops_are_refused(tmp_path, bands, capsys):
    run = run_of(tmp_path, bands, refine={"hops": ["bulk_*"]})
    assert cli.main(["refine", str(run.folder)]) == 1
    assert "refine.hops: 'bulk_*' matches no hop; there are: 001_in, 001_par" in capsys.readouterr().err


def test_jobs_of_another_machine_are_listed_read_back_and_gone_on_with(tmp_path, bands, monkeypatch, capsys):
    """Each call of the stage writes the jobs of one round; the barrier is that of the jobs' results."""
    monkeypatch.setenv("VASP_PP_PATH", str(paw_data(tmp_path / "pp")))
    level = {"preset": "vasp-paper", "settings": {"dispersion": "none"}}
    run = made(tmp_path, bands[:1], dft=level)
    truth = CosineSurface(hop(box=BOX)[0], **TRUTH)
    jobs_done = 0
    for _ in range(6):
        assert cli.main(["refine", str(run.folder)]) == 0
        (one,) = refined(run).hops
        if one.status.code == loop.CONVERGED:
            break
        assert one.status.code == WAITING
        assert run.path("refine", "unfinished").exists()
        jobs_done += answer(run, truth)
    assert one.status.code == loop.CONVERGED
    assert_allclose(one.forward_ev, 0.56, rtol=0, atol=3e-3)
    assert (one.calls, run.path("refine", "unfinished").exists()) == (jobs_done, False)


def answer(run, truth):
    """Write the results of every job that waits; how many there were."""
    from ase.io import read

    done = 0
    for folder in sorted((run.folder / "labels").glob("*/work/*")):
        if (folder / "vasprun.xml").exists():
            continue
        template, job = hop(box=BOX)[0], read(folder / "POSCAR", format="vasp")
        order = sorted(range(len(template)), key=lambda k: template[k].symbol)
        places = template.positions.copy()
        places[order] = job.positions
        ((energy, forces),) = on(truth, [places])
        forces = forces - forces.mean(axis=0)
        vasprun(folder, energy_ev=energy - 40.0, forces=forces[order])
        done += 1
    return done


KILLED = """
import sys
from helpers.dft_runs import MORE
from helpers.refinement import Prior
from mlip import cli
from mlip.dft import engines
from mlip.stages.refine import jobs
from mlip.stages.refine import stage
engines.__path__.append(str(MORE))
stage.backends.model_use = lambda _: None
jobs.CommitteePrior = lambda _: Prior()
sys.exit(cli.main(["refine", sys.argv[1]]))
"""


def killed(run, *, when):
    """Whether the stage was killed when `when` came true, or ended before."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", KILLED, str(run.folder)],
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    while process.poll() is None:
        if when():
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.01)
    assert process.returncode == 0
    return False


def events(run):
    """How many files of rounds and labels there are."""
    rounds = list(run.folder.glob("refine/hops/*/round-*.extxyz"))
    return len(rounds) + len(list(run.folder.glob("labels/*/*.xyz")))


@pytest.mark.parametrize("times", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_at_any_moment_the_calls_and_the_barrier_are_the_same(tmp_path, bands, times):
    whole, broken = (run_of(tmp_path / name, bands[:1]) for name in ("whole", "broken"))
    assert cli.main(["refine", str(whole.folder)]) == 0
    last = events(whole)
    for k in range(times):
        killed(broken, when=lambda k=k: events(broken) > k * last // times)
    assert not killed(broken, when=lambda: False)
    one, other = (refined(driver.opened(run.folder)).hops[0] for run in (whole, broken))
    assert (one.calls, one.forward_ev, one.change_ev) == (other.calls, other.forward_ev, other.change_ev)
    labels = [sorted(p.name for p in run.folder.glob("labels/*/*.xyz")) for run in (whole, broken)]
    assert labels[0] == labels[1]
