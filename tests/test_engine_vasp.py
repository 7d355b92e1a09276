import re
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read
from helpers import cells, tiny
from helpers.vasp_jobs import PAW, paw_data, vasprun
from numpy.testing import assert_allclose

from mlip.atoms import dispersion, extxyz
from mlip.dft import engines, queue
from mlip.dft.engines import vasp
from mlip.dft.settings import Dft

PAPER = vasp.PRESETS["vasp-paper"]
DFT = Dft(preset="vasp-paper")
PULL = np.array([[0, 0, 0.1], [0, 0, -0.1]])


@pytest.fixture
def potcars(tmp_path, monkeypatch):
    """A folder with PAW data in name only."""
    root = paw_data(tmp_path / "pp")
    monkeypatch.setenv("VASP_PP_PATH", str(root))
    return root


@pytest.fixture
def shipped():
    return {f.info["frame_id"]: f for f in extxyz.read_frames(tiny.DATA / "frames.extxyz")}


def prepared(tmp_path, frame, dft=DFT):
    """The folder of the inputs of a frame, and what it waits for."""
    waiting = cells.in_process([frame], dft, tmp_path / "labels")
    (incar,) = (tmp_path / "labels").rglob("INCAR")
    return incar.parent, waiting[frame.info["frame_id"]]


def gathered(tmp_path, frame, dft=DFT):
    """The label of a frame, or the problem with it, after its job has finished."""
    assert cells.in_process([frame], dft, tmp_path / "labels") == {}
    found = queue.label([frame], dft, tmp_path / "labels", workers=1)  # all is settled: no process starts
    return found.problems[0] if found.problems else found.frames[0]


def job_d3(frame, kind="d3-zero"):
    return dispersion.d3(frame[vasp.order(frame)], vasp.D3_OF_JOB[kind])


def test_inputs_are_written_exactly_and_the_frame_waits(tmp_path, potcars, shipped):
    folder, reason = prepared(tmp_path, shipped["001_perp_Li_neb0"])
    assert reason == f"inputs are written: run VASP in {folder}, then this command again"
    assert (folder / "INCAR").read_text() == (
        "SYSTEM = LiO32Ti16\nGGA = PE\nPREC = Accurate\nENCUT = 520\nEDIFF = 1e-06\nNELM = 120\nISMEAR = 0\n"
        "SIGMA = 0.05\nIVDW = 11\nLREAL = .FALSE.\nISPIN = 1\nIBRION = -1\nNSW = 0\nLWAVE = .FALSE.\nLCHARG = .FALSE.\n"
    )
    assert (folder / "KPOINTS").read_text() == "single point\n0\nMonkhorst-Pack\n2 3 1\n0 0 0\n"
    assert (folder / "POTCAR").read_text() == "".join(f"  PAW_PBE {n} 01Jan2000\n" for n in ("Li_sv", "O", "Ti_sv"))
    head = (folder / "POSCAR").read_text().splitlines()
    assert head[5:8] == ["Li O Ti", "1 32 16", "Cartesian"]
    again, frame = read(folder / "POSCAR", format="vasp"), shipped["001_perp_Li_neb0"]
    assert_allclose(again.positions, frame.positions[vasp.order(frame)], rtol=0, atol=1e-9)
    assert_allclose(again.cell, frame.cell, rtol=0, atol=1e-9)
    assert sorted(p.name for p in folder.iterdir()) == ["INCAR", "KPOINTS", "POSCAR", "POTCAR"]  # nothing was run


def test_meshes_of_the_paper_where_they_are_dense_enough(shipped):
    meshes = {name: vasp.mesh(shipped[name], PAPER) for name in shipped}
    assert meshes["001_perp_Li_neb0"] == (2, 3, 1)
    assert meshes["100_zz_Mg_neb0"] == (3, 2, 1)
    assert meshes["001_11_Li_site"] == (4, 4, 1)  # a quarter of the cell: the paper's mesh would be too coarse
    assert meshes["bulk_Li_neb0"] == (2, 2, 2)  # not stated in the paper


def test_spin_and_dipole_are_tags(shipped):
    frame = shipped["100_11_Li_site"]
    settings = engines.settings_of(
        Dft(preset="vasp-paper", settings={"spin": "polarised", "moments_bohr": {"Ti": 0.2}, "dipole": True})
    )
    tags = vasp.incar(frame[vasp.order(frame)], settings)
    assert tags["ISPIN"] == "2"
    assert tags["MAGMOM"].split() == ["0"] * 17 + ["0.2"] * 8
    assert (tags["IDIPOL"], tags["LDIPOL"]) == ("3", ".TRUE.")
    bulk = shipped["bulk1_Li_site"]
    assert "LDIPOL" not in vasp.incar(bulk[vasp.order(bulk)], settings)


def test_a_finished_job_is_read_back_without_its_dispersion(tmp_path, potcars):
    frame = cells.hydride()  # Li, H in the frame; H, Li in the job
    folder, _ = prepared(tmp_path, frame)
    pbe_ev, forces = -6.25, np.array([[0.011, 0.02, -0.3], [-0.01, -0.02, 0.3]])  # in the order of the frame
    d3_ev, d3_forces = job_d3(frame)
    assert d3_ev < -0.02
    vasprun(folder, energy_ev=pbe_ev + d3_ev, forces=forces[::-1] + d3_forces, d3_ev=d3_ev)
    made = gathered(tmp_path, frame)
    assert_allclose(made.info["dft_energy"], pbe_ev, rtol=0, atol=1e-7)
    assert_allclose(made.info["dft_energy_extrapolated"], pbe_ev + 0.01, rtol=0, atol=1e-7)
    assert_allclose(made.arrays["dft_forces"], forces - forces.mean(axis=0), rtol=0, atol=2e-8)
    assert_allclose(made.info["net_force"], 0.001, rtol=0, atol=1e-7)
    assert_allclose(made.info["vasp_d3_energy"], d3_ev, rtol=0, atol=1e-7)
    ours_ev, ours = dispersion.d3(frame)  # D3(BJ) beside the label, as in every other one
    assert_allclose(made.info["d3_energy"], ours_ev, rtol=0, atol=1e-7)
    assert_allclose(made.arrays["d3_forces"], ours, rtol=0, atol=2e-8)
    assert made.get_chemical_symbols() == ["Li", "H"]
    assert made.info["scf_iterations"] == 7
    assert made.info["vasp_version"] == "6.4.2"
    assert made.info["settings_hash"] == queue.settings_hash(DFT)


def test_a_job_without_dispersion_is_taken_as_it_is(tmp_path, potcars):
    dft = Dft(preset="vasp-paper", settings={"dispersion": "none"})
    folder, _ = prepared(tmp_path, cells.hydride(), dft)
    vasprun(folder, energy_ev=-6.25, forces=PULL)
    made = gathered(tmp_path, cells.hydride(), dft)
    assert_allclose(made.info["dft_energy"], -6.25, rtol=1e-9, atol=0)


@pytest.mark.parametrize(("kind", "fine"), [("none", True), ("d3-zero", False)])
def test_tags_that_a_job_does_not_name_have_the_defaults_of_vasp(tmp_path, potcars, kind, fine):
    dft = Dft(preset="vasp-paper", settings={"dispersion": kind})
    folder, _ = prepared(tmp_path, cells.hydride(), dft)
    vasprun(folder, energy_ev=-6.25, forces=PULL)
    text = (folder / "vasprun.xml").read_text()
    (folder / "vasprun.xml").write_text(re.sub(r'<i name="(IVDW|ISPIN)">.*?</i>\n', "", text))
    source, settings = folder / "vasprun.xml", vasp.Settings.model_validate({"dispersion": kind})
    if fine:
        assert_allclose(vasp.read_job(cells.hydride(), source, settings).energy_ev, -6.25, rtol=1e-9, atol=0)
    else:
        with pytest.raises(engines.Refused, match="the job has IVDW = 0, the settings say 11"):
            vasp.read_job(cells.hydride(), source, settings)


def test_zero_damping_is_that_of_the_library_and_damps_more_at_short_range():
    frame = Atoms("Ar2", positions=[[2, 2, 2], [2, 2, 5.8]], cell=[40, 40, 40], pbc=True)
    zero, _ = dispersion.d3(frame, vasp.D3_OF_JOB["d3-zero"])
    bj, _ = dispersion.d3(frame, vasp.D3_OF_JOB["d3-bj"])
    assert -0.02 < bj < zero < -0.002
    _, forces = dispersion.d3(frame, vasp.D3_OF_JOB["d3-zero"])
    step = 1e-3
    ends = []
    for sign in (1, -1):
        moved = frame.copy()
        moved.positions[1, 2] += sign * step
        ends.append(dispersion.d3(moved, vasp.D3_OF_JOB["d3-zero"])[0])
    assert_allclose(-(ends[0] - ends[1]) / (2 * step), forces[1, 2], rtol=1e-4, atol=0)
    assert_allclose(bj, dispersion.d3(frame)[0], rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 120}, r"the electrons did not converge in 120 iterations \(NELM\)"),
        ({"tags": {"ENCUT": "400"}}, "the job has ENCUT = 400, the settings say 520; run it with the INCAR given"),
        ({"tags": {"IVDW": "12"}}, "the job has IVDW = 12, the settings say 11"),
        ({"d3_ev": -1.0}, r"the dispersion energy in the job is -1\.0000 eV, d3-zero gives -0\.0\d+"),
        ({"paw": {**PAW, "Li": "Li"}}, r"the job has the PAW data 'PAW_PBE Li 01Jan2000', the settings say Li_sv"),
        ({"forces": [[0, 0, 1.0], [0, 0, 1.0]]}, r"the net force is 1\.0000 eV/Angstrom per atom, at most 0\.03"),
        ({"energy_ev": float("nan")}, "the energy or a force is not finite"),
    ],
)
def test_a_bad_job_is_kept_aside_with_the_reason(tmp_path, potcars, changes, message):
    frame = cells.hydride()
    folder, _ = prepared(tmp_path, frame)
    d3_ev, d3_forces = job_d3(frame)
    good = {"energy_ev": -6.25 + d3_ev, "forces": d3_forces + PULL, "d3_ev": d3_ev}
    vasprun(folder, **{**good, **changes})
    for _ in range(2):  # not tried again
        problem = gathered(tmp_path, frame)
        assert problem.reason.count("to try again remove") == 1
        assert re.search(message, problem.reason)
        assert "\n" not in problem.reason
        vasprun(folder, **good)
    Path(problem.file).unlink()
    assert gathered(tmp_path, frame).info["frame_id"] == "lih_0"


def test_another_structure_is_refused(tmp_path, potcars):
    folder, _ = prepared(tmp_path, cells.hydride())
    vasprun(folder, energy_ev=-6.0, forces=np.zeros((2, 3)))
    for frame, message in (
        (cells.hydride(bond=1.62), r"is of another structure: an atom or the cell is 0\.0200 Angstrom off"),
        (cells.lithium(), "holds HLi, the frame is Li"),
    ):
        with pytest.raises(engines.Refused, match=message):
            vasp.read_job(frame, folder / "vasprun.xml", PAPER)


@pytest.mark.parametrize("part", [0.2, 0.6, 0.95])
def test_a_file_that_ends_early_waits(tmp_path, potcars, part):
    frame = cells.hydride()
    folder, _ = prepared(tmp_path, frame)
    vasprun(folder, energy_ev=-6.0, forces=np.zeros((2, 3)))
    text = (folder / "vasprun.xml").read_text()
    (folder / "vasprun.xml").write_text(text[: int(part * len(text))])
    (reason,) = cells.in_process([frame], DFT, tmp_path / "labels").values()
    assert "is truncated" in reason
    assert "let the job finish or run it again" in reason
    assert "\n" not in reason


def test_a_waiting_frame_is_a_problem_of_the_whole(tmp_path, potcars):
    found = queue.label([cells.hydride()], DFT, tmp_path, workers=1)
    assert found.frames == (None,)
    assert found.problems[0].frame_id == "lih_0"
    assert found.problems[0].file is None
    assert "run VASP in" in found.problems[0].reason


def test_missing_potcars(tmp_path, potcars, monkeypatch):
    (potcars / "potpaw_PBE" / "Li_sv" / "POTCAR").unlink()
    with pytest.raises(
        ValueError, match=r"has no POTCAR of Li_sv, neither .* or name another one: .*paw: \{Li: NAME\}"
    ):
        queue.label([cells.hydride()], DFT, tmp_path / "labels", workers=1)
    monkeypatch.delenv("VASP_PP_PATH")
    with pytest.raises(ValueError, match="VASP_PP_PATH is not set; name the folder"):
        queue.label([cells.hydride()], DFT, tmp_path / "labels", workers=1)


def test_every_setting_of_the_level_changes_its_hash():
    changes = [
        {"cutoff_ev": 600}, {"energy_convergence_ev": 1e-7}, {"smearing_ev": 0.1}, {"dispersion": "d3-bj"},
        {"k_meshes": {}}, {"k_length_angstrom": 20}, {"dipole": True}, {"paw": {"Ti": "Ti_pv"}},
        {"spin": "polarised", "moments_bohr": {"Ti": 0.2}},
    ]  # fmt: skip
    hashes = {queue.settings_hash(Dft(preset="vasp-paper", settings=c)) for c in ({}, *changes)}
    assert len(hashes) == len(changes) + 1
    assert queue.settings_of(DFT)["k_points"].startswith("Monkhorst-Pack, by host where as dense")
