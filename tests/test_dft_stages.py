"""The stages convergence and energetics on a run of known barriers, labelled by an engine of the tests."""

import importlib.util
import json
import shutil

import numpy as np
import pytest
import yaml
from ase.calculators.morse import MorsePotential
from ase.io import read
from helpers import tiny
from helpers.bands import path
from helpers.dft_runs import MORE, PYTHONPATH, made
from helpers.material import site
from helpers.vasp_jobs import paw_data, vasprun
from numpy.testing import assert_allclose

from mlip import cli, driver
from mlip.atoms import extxyz
from mlip.core import files
from mlip.core.units import joule_per_m2
from mlip.dft import engines, tasks
from mlip.dft.settings import Dft
from mlip.stages.convergence.stage import Convergence
from mlip.stages.energetics import energetics
from mlip.stages.energetics import stage as energetics_stage


@pytest.fixture(autouse=True)
def cosine_engine(monkeypatch):
    """A further engine is one file: nothing of the package is changed for it."""
    monkeypatch.setattr(engines, "__path__", [*engines.__path__, str(MORE)])
    monkeypatch.setenv("PYTHONPATH", PYTHONPATH)


@pytest.fixture(scope="module")
def bands():
    """A limiting symmetric hop and another one between two sites."""
    other = path(symmetric=False, name="001_in", barrier=0.5, step=0.3)
    return [path(barrier=0.5), other]


def report_fingerprint(folder):
    run = driver.opened(folder)
    return run.fingerprint(run.stage("report"))


def morse():
    """What the engine of the tests has for anything but its own hop."""
    return MorsePotential(epsilon=0.2, r0=3.22, rho0=7.0, rcut1=1.6, rcut2=2.0)


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


def test_labels_of_the_dataset_are_not_calculated_again(tmp_path, bands):
    """One of two frames has a label at the reference's level: for it, only the other level is calculated."""
    names = ["001_11_Li_site", "001_11_clean_relaxed"]
    studies = {"shift": [{"shift": 0.5}, {}]}
    level = tasks.settings_hash(Dft(preset="cosine-exact", settings={"barrier": 0.56}))

    def labelled(frames):
        known = next(f for f in frames if f.info["frame_id"] == names[0])
        known.info.update(settings_hash=level, wall_s=999.0)
        known.arrays["dft_forces"] = np.ones((len(known), 3))
        return frames

    dataset = tiny.write_dataset(tmp_path / "own", labelled)
    run = made(tmp_path, bands, dataset={"path": str(dataset)}, convergence={"frames": names, "studies": studies})
    assert cli.main(["convergence", str(run.folder)]) == 0
    first, last = files.read_result(run.path("convergence", "result.json"), Convergence).variants
    assert len(list((run.folder / "labels" / level).glob("*.xyz"))) == 1  # of the clean slab
    assert (first.frames, last.frames) == (2, 2)
    assert first.force_max_ev_per_angstrom > 0.9  # against the forces of 1 that the dataset has
    assert last.seconds_per_frame < 100.0


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


@pytest.mark.parametrize(
    ("stage", "refused", "sections"),
    [
        (
            "convergence",
            "001_11_Li_site",
            {"convergence": {"frames": ["001_11_Li_site"], "studies": {"shift": [{"shift": 0.5}, {}]}}},
        ),
        (
            "energetics",
            "atom_Mg",
            {"structures": {"ions": ["Mg"]}, "energetics": {"parts": ["atoms"], "atom_settings": {}}},
        ),
    ],
)
def test_what_was_refused_is_tried_again_once_its_file_is_removed(tmp_path, bands, capsys, stage, refused, sections):
    until = tmp_path / "patience"
    level = {"preset": "cosine-exact", "settings": {"refuse": refused, "until": str(until)}}
    run = made(tmp_path, bands, dft=level, **sections)
    assert cli.main([stage, str(run.folder)]) == 0
    kept = sorted((run.folder / "labels").glob("*/failed/*.json"))
    assert len(kept) >= 1
    until.touch()
    capsys.readouterr()
    assert cli.main([stage, str(run.folder)]) == 0
    assert "up to date" in capsys.readouterr().err
    for file in kept:
        file.unlink()
        assert not run.is_whole(run.stage(stage))
    assert cli.main([stage, str(run.folder)]) == 0
    said = capsys.readouterr().err
    assert f"{stage} done in" in " ".join(said.split())
    assert "did not converge" not in said
    assert run.is_whole(run.stage(stage))
    assert list((run.folder / "labels").glob("*/failed/*.json")) == []


def test_gaps_by_vasp_are_whole_where_a_job_is_refused_until_its_output_changes(tmp_path, bands, monkeypatch, capsys):
    monkeypatch.setenv("VASP_PP_PATH", str(paw_data(tmp_path / "pp")))
    level = {"preset": "vasp-paper", "settings": {"dispersion": "none"}}
    run = made(tmp_path, bands, dft=level, electronic={"parts": ["gaps"], "mesh_lengths_angstrom": [3.0, 4.0]})
    slab = bands[0].images[0][:-1]
    files.write_frames(run.path("sites", "hosts", "001.extxyz"), [slab])
    stage = run.stage("electronic")
    assert cli.main(["electronic", str(run.folder)]) == 0
    assert "1 of 1 hosts need VASP jobs; run the same command again" in capsys.readouterr().err
    assert not run.is_whole(stage)
    (folder,) = (run.folder / "electrons").glob("*/vasp-*")
    atoms = len(read(folder / "POSCAR", format="vasp"))
    vasprun(folder, energy_ev=-6.0, forces=np.zeros((atoms, 3)), steps=400)
    assert cli.main(["electronic", str(run.folder)]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "did not converge in" in said
    assert f"to try again remove or replace {folder / 'vasprun.xml'}" in said
    assert run.is_whole(stage)
    vasprun(folder, energy_ev=-6.0, forces=np.zeros((atoms, 3)))
    assert not run.is_whole(stage)
    (folder / "vasprun.xml").unlink()
    assert cli.main(["electronic", str(run.folder)]) == 0
    assert not run.is_whole(stage)  # the job waits again


@pytest.mark.skipif(importlib.util.find_spec("gpaw") is None, reason="GPAW is not installed: make setup-dft")
def test_a_cell_without_a_starting_moment_is_told_before_anything_is_calculated(tmp_path, bands, capsys):
    asked = {"parts": ["gaps", "spin"], "starting_moments_bohr": {"Mn": 4.0}}
    level = {"preset": "gpaw-pbe-520"}
    run = made(tmp_path, bands, sites=[site("001", "Li", "S1")], dft=level, electronic=asked)
    whole = bands[0].images[0]
    files.write_frames(run.path("sites", "hosts", "001.extxyz"), [whole[:-1]])
    files.write_frames(run.path("sites", "configurations", "001_Li_S1.extxyz"), [whole])
    assert cli.main(["electronic", str(run.folder)]) == 1
    assert "electronic.starting_moments_bohr: no atom of 001_Li_S1 has" in " ".join(capsys.readouterr().err.split())
    assert not (run.folder / "electrons").exists()


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
