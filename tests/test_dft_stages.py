"""The stages ladder, convergence and energetics on a run of known barriers, labelled by an engine of the tests."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase.calculators.morse import MorsePotential
from helpers.bands import path
from helpers.material import host
from helpers.vasp_jobs import paw_data, vasprun
from numpy.testing import assert_allclose

from mlip import cli, driver
from mlip.atoms import extxyz
from mlip.core import files
from mlip.core.status import Status
from mlip.core.units import joule_per_m2
from mlip.dft import engines, tasks
from mlip.stages import structures
from mlip.stages.convergence.stage import Convergence
from mlip.stages.dataset import dataset
from mlip.stages.energetics import energetics
from mlip.stages.energetics import stage as energetics_stage
from mlip.stages.ladder.stage import Ladder
from mlip.stages.neb.stage import Barriers
from mlip.stages.sites.network import Bottleneck
from mlip.stages.sites.stage import SiteNetwork
from mlip.stages.train.stage import Committee

MORE = Path(__file__).parent / "more_engines"
REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def cosine_engine(monkeypatch):
    """A further engine is one file: nothing of the package is changed for it."""
    monkeypatch.setattr(engines, "__path__", [*engines.__path__, str(MORE)])
    monkeypatch.setenv("PYTHONPATH", f"{MORE}:{MORE.parent}:{REPOSITORY}")


@pytest.fixture(scope="module")
def bands():
    """A limiting symmetric hop and another one between two sites."""
    other = path(symmetric=False, limiting=False, name="001_in", barrier=0.5, step=0.3)
    return [path(barrier=0.5), other]


def made(folder, bands, **changes):
    """A run whose bands are these, all its earlier stages done."""
    settings = {
        "common": {"workers": 1},
        "structures": {"ions": ["Li"]},
        "dft": {"preset": "cosine-exact", "settings": {"barrier": 0.56}},
        **changes,
    }
    folder.mkdir(exist_ok=True)
    (folder / "c.yaml").write_text(yaml.safe_dump(settings))
    assert cli.main(["init", str(folder / "c.yaml"), str(folder / "run")]) == 0
    run = driver.opened(folder / "run")
    limiting = Bottleneck(
        host="001",
        ion="Li",
        direction="x",
        translation_angstrom=(3.0, 0.0, 0.0),
        start="S1",
        barrier_ev=0.5,
        hops=("001_par",),
        limiting_hop="001_par",
        status=Status("resolved"),
    )
    results = {
        "structures": structures.Hosts(hosts=(host("001"),)),
        "dataset": dataset.Manifest(target="pbe", settings_hash="", parts={}, e0_ev={}),
        "train": Committee(target="pbe", e0_ev={}, members=()),
        "sites": SiteNetwork(sites=(), hops=tuple(p.hop for p in bands), notes=(), equivalence=()),
        "neb": Barriers(
            bands=tuple(p.band for p in bands), barriers=tuple(p.barrier for p in bands), bottlenecks=(limiting,)
        ),
    }
    for stage, result in results.items():
        provenance = files.provenance(stage, settings={}, inputs={}, started=0.0)
        files.write_result(
            run.path(stage, "result.json"), result, replace(provenance, fingerprint=run.fingerprint(run.stage(stage)))
        )
    for p in bands:
        name = f"Li_{p.hop.name}_member-{p.band.member}.extxyz"
        files.write_frames(run.path("neb", "bands", name), list(p.images))
    return run


def report_fingerprint(folder):
    run = driver.opened(folder)
    return run.fingerprint(run.stage("report"))


def morse():
    """What the engine of the tests has for anything but its own hop."""
    return MorsePotential(epsilon=0.2, r0=3.22, rho0=7.0, rcut1=1.6, rcut2=2.0)


def ladder_of(run):
    return files.read_result(run.path("ladder", "result.json"), Ladder)


def test_ladder_labels_compares_and_writes_frames_for_a_dataset(tmp_path, bands):
    run = made(tmp_path, bands)
    assert cli.main(["ladder", str(run.folder)]) == 0
    found = ladder_of(run)
    assert (found.wanted, found.labelled, found.problems) == (8, 8, ())
    par, inner = found.steps
    assert_allclose((par.mlip_forward_ev, par.dft_forward_ev), (0.5, 0.56), rtol=2e-3, atol=0)
    assert str(par.verdict).startswith("DFT band needed: DFT and potential differ by more than 0.05 eV")
    assert inner.dft_reverse_ev is not None
    frames = extxyz.read_frames(run.path("ladder", "frames.extxyz"))
    assert [f.info["frame_id"] for f in frames[:2]] == ["ladder_001_par_Li_saddle", "ladder_001_par_Li_initial"]
    assert {f.info["group"] for f in frames} == {"ladder_001_par_Li", "ladder_001_in_Li"}
    assert {f.info["settings_hash"] for f in frames} == {found.level}
    entries = yaml.safe_load(run.path("ladder", "paths.yaml").read_text())
    assert [e["hop"] for e in entries] == ["001_par", "001_in"]
    assert entries[0]["saddle"] == "ladder_001_par_Li_saddle"
    assert not run.path("ladder", "unfinished").exists()
    dataset.deduplicate(frames, 1e-3)  # they have what a dataset's frames have


def test_ladder_stops_after_its_time_and_goes_on(tmp_path, bands, capsys):
    run = made(tmp_path, bands, ladder={"max_hours": 1e-9})
    assert cli.main(["ladder", str(run.folder)]) == 0
    first = ladder_of(run)
    assert first.labelled < first.wanted
    assert {s.hop: s.status.code for s in first.steps}["001_in"] == "not calculated"
    assert all(s.dft_forward_ev is None for s in first.steps if s.status.code == "not calculated")
    assert "wait for a label; run the same command again to continue" in capsys.readouterr().err
    for _ in range(8):
        assert cli.main(["ladder", str(run.folder)]) == 0
    whole = ladder_of(run)
    assert (whole.labelled, [s.status.code for s in whole.steps]) == (8, ["complete", "complete"])
    again = run.path("ladder", "result.json").stat().st_mtime_ns
    assert cli.main(["ladder", str(run.folder)]) == 0
    assert run.path("ladder", "result.json").stat().st_mtime_ns == again


def test_a_refused_frame_is_a_status(tmp_path, bands):
    settings = {"preset": "cosine-exact", "settings": {"barrier": 0.5, "refuse": "001_in_Li_saddle"}}
    run = made(tmp_path, bands, dft=settings, ladder={"neighbours": False})
    assert cli.main(["ladder", str(run.folder)]) == 0
    found = ladder_of(run)
    assert [s.status.code for s in found.steps] == ["complete", "not calculated"]
    assert found.problems[0].frame_id == "ladder_001_in_Li_saddle"
    assert "did not converge" in found.problems[0].reason


def test_ladder_takes_named_hops_and_refuses_unknown_ones(tmp_path, bands, capsys):
    run = made(tmp_path, bands, ladder={"hops": ["001_in"], "neighbours": False})
    assert cli.main(["ladder", str(run.folder)]) == 0
    assert [s.hop for s in ladder_of(run).steps] == ["001_in"]
    wrong = made(tmp_path / "wrong", bands, ladder={"hops": ["bulk_*"]})
    assert cli.main(["ladder", str(wrong.folder)]) == 1
    assert "ladder.hops: 'bulk_*' matches no hop; there are: 001_in, 001_par" in capsys.readouterr().err


def test_convergence_of_settings_of_known_error(tmp_path, bands, capsys):
    """All energies shifted alike: forces and differences do not change."""
    studies = {"shift": [{"shift": 0.5}, {"shift": 0.0}]}
    frames = ["001_11_Li_site", "001_11_clean_relaxed"]
    run = made(tmp_path, bands, convergence={"frames": frames, "studies": studies})
    assert cli.main(["convergence", str(run.folder)]) == 0
    found = files.read_result(run.path("convergence", "result.json"), Convergence)
    first, last = found.variants
    assert (first.frames, last.reference) == (2, True)
    assert first.force_max_ev_per_angstrom == 0.0
    assert [d.kind for d in first.differences] == ["ion on host"]
    assert_allclose(first.energy_ev, 0.0, rtol=0, atol=1e-9)
    wrong = made(tmp_path / "wrong", bands, convergence={"frames": ["nothing"], "studies": studies})
    assert cli.main(["convergence", str(wrong.folder)]) == 1
    assert "convergence.frames: 'nothing' is no frame" in capsys.readouterr().err


def test_convergence_counts_labels_that_fail_a_check_and_says_so(tmp_path, bands):
    """A net force no dataset would take is what the setting costs; the frame stays out of the labels."""
    studies = {"drift": [{"drift": 0.1}, {"drift": 0.0}]}
    frames = ["001_11_Li_site", "001_11_clean_relaxed"]
    run = made(tmp_path, bands, convergence={"frames": frames, "studies": studies})
    assert cli.main(["convergence", str(run.folder)]) == 0
    first, last = files.read_result(run.path("convergence", "result.json"), Convergence).variants
    assert first.frames == last.frames == 2
    assert_allclose(first.force_max_ev_per_angstrom, 0.0, rtol=0, atol=1e-8)  # the mean force is taken off
    assert first.status.detail.startswith(
        "001_11_Li_site is no label to train on: the net force is 0.1000 eV/Angstrom per atom"
    )
    assert "; 001_11_clean_relaxed is no label to train on" in first.status.reason
    assert str(last.status) == "calculated"
    assert len(list((run.folder / "labels").glob("*/failed/*.json"))) == 2
    assert len(list((run.folder / "labels").glob("*/*.xyz"))) == 2


def test_another_code_gives_a_second_opinion(tmp_path, bands, monkeypatch, capsys):
    """VASP jobs beside the labels of the run: inputs first, a comparison when the jobs are done."""
    monkeypatch.setenv("VASP_PP_PATH", str(paw_data(tmp_path / "pp")))
    studies = {"second opinion": [{"preset": "vasp-paper", "dispersion": "none"}, {}]}
    names = ["001_11_Li_site", "001_11_clean_relaxed"]
    run = made(tmp_path, bands, convergence={"frames": names, "studies": studies})
    assert cli.main(["convergence", str(run.folder)]) == 0
    assert "2 frames wait for a label; run the same command again to continue" in capsys.readouterr().err
    waiting = files.read_result(run.path("convergence", "result.json"), Convergence).variants[0]
    assert (waiting.frames, waiting.status.detail) == (0, "2 of 2 frames have no label")
    ours = {f.info["frame_id"]: f for p in (run.folder / "labels").glob("*/*.xyz") for f in extxyz.read_frames(p)}
    dft = engines.varied(run.sections["dft"], studies["second opinion"][0])
    for name in names:
        frame = ours[name]
        order = sorted(range(len(frame)), key=lambda k: frame[k].symbol)
        forces = frame.arrays["dft_forces"] + np.where(np.array(frame.symbols) == "Li", 0.5, 0.0)[:, None]
        energy = -70.0 + float(frame.info["dft_energy"]) + (0.03 if "Li" in name else 0.0)
        job = tasks.Store(run.folder / "labels" / tasks.settings_hash(dft)).work(tasks.digest(frame, dft))
        vasprun(job, energy_ev=energy, forces=forces[order])
    assert cli.main(["convergence", str(run.folder)]) == 0
    found = files.read_result(run.path("convergence", "result.json"), Convergence).variants[0]
    assert (found.frames, found.energy_ev) == (2, pytest.approx(0.03, abs=1e-6))
    # the net force of 0.5 eV/A is told, and taken off all 13 atoms before forces are compared; the clean slab is right
    assert "the net force is 0.0385 eV/Angstrom per atom" in found.status.reason
    assert_allclose(found.net_force_ev_per_angstrom, 0.5 / 13, rtol=1e-4, atol=0)
    assert_allclose(found.force_rms_by_species["Li"], 0.5 * 12 / 13, rtol=1e-4, atol=0)
    assert_allclose(found.force_rms_by_species["O"], 0.5 / 13 / 2**0.5, rtol=1e-4, atol=0)
    assert not run.path("convergence", "unfinished").exists()


def test_a_wrong_variant_is_told_before_any_is_calculated(tmp_path, bands, capsys):
    studies = {"shift": [{"shift": 0.5}, {"shfit": 0.0}]}
    run = made(tmp_path, bands, convergence={"frames": ["001_11_Li_site"], "studies": studies})
    assert cli.main(["convergence", str(run.folder)]) == 1
    assert "dft.settings.shfit: unknown key; cosine-exact has" in capsys.readouterr().err
    assert not (run.folder / "labels").exists()
    studies = {"shift": [{"shift": 0.5}, {}], "total": [{"preset": "castep-pbe"}, {}]}
    other = made(tmp_path / "other", bands, convergence={"frames": ["001_11_Li_site"], "studies": studies})
    assert cli.main(["convergence", str(other.folder)]) == 1
    assert "dft.preset: 'castep-pbe' is of no engine; a preset begins with cosine or gpaw" in capsys.readouterr().err
    assert not (other.folder / "labels").exists()


def test_energetics_of_a_metal_and_what_it_lacks(tmp_path, bands):
    plain = {"atom_settings": {}, "metal_settings": {}, "lattice_settings": {}}
    run = made(
        tmp_path, bands, structures={"ions": ["Mg"]}, energetics={"parts": ["atoms", "metals", "lattice"], **plain}
    )
    assert cli.main(["energetics", str(run.folder)]) == 0
    found = json.loads(run.path("energetics", "result.json").read_text())["result"]
    (metal,) = found["metals"]
    assert metal["status"]["code"] == "calculated"
    assert_allclose(metal["cohesive_ev"], -metal["energy_ev"], rtol=1e-12, atol=0)  # the atom has no neighbour
    assert found["crystal"] is None
    assert found["crystal_status"]["code"] == "not calculated"  # a Morse potential is no model of an oxide
    assert (found["surfaces"], found["adsorption"]) == ([], [])
    assert np.isfinite(metal["lattice"]["hill_gpa"])


def test_energetics_of_surfaces_and_sites(finished, tmp_path):
    """Slabs relaxed by the potential of a run, sites as its search left them; a Morse potential in place of DFT."""
    shutil.copytree(finished.folder, tmp_path / "run", symlinks=True)
    settings = yaml.safe_load(finished.config.read_text())
    facet = {"name": "101", "miller": [1, 0, 1], "layers": 2, "repeat": [1, 1], "vacuum_angstrom": 8.0}
    settings["dft"] = {"preset": "cosine-exact"}
    settings["energetics"] = {"parts": ["surfaces", "adsorption"], "surfaces": [facet]}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(settings))
    assert cli.main(["init", str(tmp_path / "c.yaml"), str(tmp_path / "run")]) == 0
    assert cli.main(["energetics", str(tmp_path / "run")]) == 0
    found = files.read_result(tmp_path / "run" / "energetics" / "result.json", energetics.Energetics)
    (surface,) = found.surfaces
    assert (surface.name, surface.relaxed_by, str(surface.status)) == ("101", "the potential", "calculated")
    slabs = tmp_path / "run" / "energetics" / "slabs" / "relaxed"
    slab, whole = (extxyz.read_frames(slabs / f"{name}.extxyz")[0] for name in ("101", "bulk"))
    for atoms in (slab, whole):
        atoms.calc = morse()
    excess = slab.get_potential_energy() - len(slab) / len(whole) * whole.get_potential_energy()
    area = np.linalg.norm(np.cross(slab.cell[0], slab.cell[1]))
    assert_allclose(surface.pbe_j_per_m2, joule_per_m2(excess, 2 * area), rtol=1e-6, atol=0)
    ours = energetics_stage._potential_energies(
        driver.opened(tmp_path / "run").context(energetics_stage.STAGE), [slab, whole]
    )
    own = joule_per_m2(ours[0] - len(slab) / len(whole) * ours[1], 2 * area)
    assert_allclose(surface.potential_j_per_m2, own, rtol=1e-6, atol=0)
    assert {b.host for b in found.adsorption} == {"bulk", "001"}
    assert all(b.potential_metal_ev is None for b in found.adsorption)  # the metal is not known
    assert {b.status.detail for b in found.adsorption} == {"no label of the atom, the metal"}
    assert all(b.metal_ev is None and b.atom_ev is None for b in found.adsorption)
    before = report_fingerprint(tmp_path / "run")
    assert cli.main(["report", str(tmp_path / "run")]) == 0
    page = (tmp_path / "run" / "report" / "report.md").read_text()
    assert "### Surface energies" in page
    assert f"{surface.pbe_j_per_m2:.3f}".replace("-", "\u2212") in page
    result = tmp_path / "run" / "energetics" / "result.json"
    result.write_text(result.read_text().replace("the potential", "a potential"))  # as if it had gone on
    assert report_fingerprint(tmp_path / "run") != before
