"""Gaps and densities of states by VASP: inputs written, pretend results read back."""

import itertools

import numpy as np
import pytest
from ase import Atoms
from helpers import cells, vasp_jobs
from numpy.testing import assert_allclose

from mlip.core.status import RESOLVED, WAITING, Status
from mlip.dft import vasp_bands
from mlip.dft.engines import Refused, Waiting, vasp
from mlip.stages.electronic import gaps, jobs
from mlip.stages.electronic.settings import ElectronicSettings

PLAIN = vasp.Settings(dispersion="none")
PARTS = (0.8, 0.1)  # of every level on H and Li, in the order of the POSCAR
LENGTHS = (8.0, 16.0)


@pytest.fixture(autouse=True)
def _paw(tmp_path, monkeypatch):
    monkeypatch.setenv("VASP_PP_PATH", str(vasp_jobs.paw_data(tmp_path / "paw")))


def centred(mesh):
    return np.array(list(itertools.product(*(np.arange(n) / n for n in mesh))))


def two_bands(points):
    """Indirect gap of 2 eV from the zone boundary to the centre along the first vector; 2.6 eV at the centre."""
    wave = np.cos(2 * np.pi * points[:, 0])
    return np.stack([-0.3 * (1 + wave), 2.0 + 0.5 * (1 - wave)], axis=1)


def finished(folder, mesh, parts=PARTS):
    """The job that VASP would have run in the folder; each atom has one electron."""
    vasp_jobs.vasprun(folder, energy_ev=-6.0, forces=np.zeros((len(parts), 3)))
    points = centred(mesh)
    vasp_jobs.levels(folder, points, two_bands(points), parts, electrons=len(parts))


def job(folder, **changes):
    given = {
        "host": "bulk",
        "atoms": cells.hydride(cell=(4.0, 4.0, 5.0)),
        "metals": None,
        "folder": folder,
        "key": "k",
        "dft": PLAIN,
        "settings": ElectronicSettings(mesh_lengths_angstrom=LENGTHS),
    }
    return jobs.HostJob(**given | changes)


def test_a_gap_waits_for_one_job_after_the_other_and_is_read_back(tmp_path):
    asked = job(tmp_path)
    for mesh in ((2, 2, 2), (4, 4, 4)):
        found = jobs.states(asked)
        folder = tmp_path / f"vasp-{'x'.join(map(str, mesh))}"
        assert found.status.code == WAITING
        assert f"run VASP in {folder}" in found.status.reason
        assert (folder / "KPOINTS").read_text().splitlines()[2:4] == ["Gamma", " ".join(map(str, mesh))]
        assert "LORBIT = 11" in (folder / "INCAR").read_text()
        finished(folder, mesh)
    found = jobs.states(asked)
    assert found.status.code == RESOLVED
    assert_allclose([found.gap_ev, found.direct_ev], [2.0, 2.6], rtol=0, atol=1e-6)
    assert [m.mesh for m in found.meshes] == [(2, 2, 2), (4, 4, 4)]
    assert found.meshes[-1].top[0] == 0.5
    assert_allclose([found.valence.elements[s] for s in ("H", "Li")], [8 / 9, 1 / 9], rtol=1e-6, atol=0)
    (tmp_path / "vasp-4x4x4" / "vasprun.xml").unlink()
    assert jobs.states(asked) == found  # kept


@pytest.mark.parametrize("atoms", [1, 3])
def test_an_odd_number_of_electrons_is_a_metal(tmp_path, atoms):
    """One electron half fills the lower one of two bands, three half fill the upper one; 2 eV are between them."""
    cell = cells.hydride(cell=(4.0, 4.0, 5.0))
    asked = job(tmp_path, atoms=(cell + Atoms("H", positions=[[2.5, 2.5, 0.5]]))[:atoms])
    jobs.states(asked)
    finished(tmp_path / "vasp-2x2x2", (2, 2, 2), (0.3,) * atoms)
    found = jobs.states(asked)
    assert (found.status, found.gap_ev) == (Status(gaps.METALLIC, gaps.ODD), None)
    assert not (tmp_path / "vasp-4x4x4").exists()  # no job is asked for that makes no gap


def test_a_density_of_states_holds_two_electrons_a_band(tmp_path):
    mesh = (2, 2, 1)
    atoms = cells.hydride()
    with pytest.raises(Waiting):
        vasp_bands.levels(atoms, mesh, PLAIN, tmp_path / "job")
    finished(tmp_path / "job", mesh)
    levels, states = vasp_bands.levels(atoms, mesh, PLAIN, tmp_path / "job")
    axis = np.linspace(-3.0, 5.0, 4001)
    found = vasp_bands.projected(states, axis, width_ev=0.1)
    step = axis[1] - axis[0]
    assert levels.occupied == 1
    assert_allclose(found.total.sum() * step, 4.0, rtol=1e-8, atol=0)
    # the structure has Li first, the POSCAR has H first
    assert_allclose(found.atoms.sum(axis=1) * step, [4.0 * PARTS[1], 4.0 * PARTS[0]], rtol=1e-6, atol=0)


def test_paw_data_that_say_how_many_electrons_there_are_give_empty_bands(tmp_path):
    for place, count in (("potpaw_PBE/Li_sv", 3), ("potpaw_PBE/H", 1)):
        file = tmp_path / "paw" / place / "POTCAR"
        file.write_text(file.read_text() + f"   POMASS =    7.010; ZVAL   =    {count:.3f}    mass and valenz\n")
    with pytest.raises(Waiting):
        vasp_bands.levels(cells.hydride(), (2, 2, 2), PLAIN, tmp_path / "job")
    assert "NBANDS = 6" in (tmp_path / "job" / "INCAR").read_text()


def test_a_job_of_another_mesh_or_without_levels_is_refused(tmp_path):
    folder = tmp_path / "job"
    with pytest.raises(Waiting):
        vasp_bands.levels(cells.hydride(), (2, 2, 2), PLAIN, folder)
    vasp_jobs.vasprun(folder, energy_ev=-6.0, forces=np.zeros((2, 3)))
    with pytest.raises(Refused, match=r"has no levels with projections \(levels of 0 spins"):
        vasp_bands.levels(cells.hydride(), (2, 2, 2), PLAIN, folder)
    finished(folder, (2, 2, 2))
    with pytest.raises(Refused, match=r"k-points Gamma 2x2x2, the settings say Gamma 4x4x4"):
        vasp_bands.levels(cells.hydride(), (4, 4, 4), PLAIN, folder)
    text = (folder / "vasprun.xml").read_text().replace('param="Gamma"', 'param="Monkhorst-Pack"')
    (folder / "vasprun.xml").write_text(text)
    with pytest.raises(Refused, match=r"k-points Monkhorst-Pack 2x2x2, the settings say Gamma 2x2x2"):
        vasp_bands.levels(cells.hydride(), (2, 2, 2), PLAIN, folder)


def test_a_command_that_fails_is_a_status(tmp_path):
    found = jobs.states(job(tmp_path, command="echo no licence; exit 3"))
    assert found.status.code == jobs.REFUSED
    assert "no licence" in found.status.reason
