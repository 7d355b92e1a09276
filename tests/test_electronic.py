"""The stage electronic: gaps of levels with a known answer, charges of known densities, and GPAW on small cells."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from helpers import tiny
from numpy.testing import assert_allclose

from mlip.core.status import AGREES, DIFFERS, NOT_COMPARABLE, RESOLVED, Status
from mlip.dft import electronic
from mlip.dft.electronic import Levels, Projected
from mlip.dft.engines import Refused
from mlip.dft.engines.gpaw import Settings
from mlip.literature import references
from mlip.stages.electronic import gaps, jobs, report, stage
from mlip.stages.electronic.bader import bader
from mlip.stages.electronic.difference import NOT_CONSERVED, difference
from mlip.stages.electronic.result import Electronic, HostStates, IonCharge
from mlip.stages.electronic.settings import ElectronicSettings
from mlip.stages.report.electrons import compared
from mlip.stages.report.settings import ReportSettings

GPAW = pytest.mark.skipif(importlib.util.find_spec("gpaw") is None, reason="GPAW is not installed: make setup-dft")
BADER = pytest.mark.skipif(importlib.util.find_spec("baderkit") is None, reason="baderkit is not installed")
CELL = 6.0


def two_bands(n, *, bottom=2.0):
    """A valence band with its top at the zone boundary and a conduction band with its bottom at the centre, in 1D."""
    k = np.arange(n) / n
    valence, conduction = -0.3 * (1 + np.cos(2 * np.pi * k)), bottom + 0.5 * (1 - np.cos(2 * np.pi * k))
    points = np.stack([k, 0 * k, 0 * k], axis=1)
    energies = np.stack([valence - 3, valence, conduction], axis=1)
    return Levels(mesh=(n, 1, 1), points=points, weights=np.ones(n) / n, energies_ev=energies, occupied=2)


def test_the_gap_of_two_bands_is_between_the_edges_at_different_points():
    """Indirect: 2 eV from k = 1/2 to k = 0; direct: 2.6 eV at the centre."""
    found = gaps.gap(two_bands(8))
    assert_allclose((found.gap_ev, found.direct_ev), (2.0, 2.6), rtol=1e-12, atol=0)
    assert (found.top, found.bottom, found.is_direct) == ((0.5, 0.0, 0.0), (0.0, 0.0, 0.0), False)


def test_an_odd_mesh_misses_the_zone_boundary_so_meshes_are_even():
    odd = gaps.gap(two_bands(5))
    assert odd.gap_ev > 2.0
    assert jobs.even_mesh(Atoms("Ti", cell=[3, 4, 5], pbc=True), 12.0) == (4, 4, 4)


def test_a_mesh_is_the_same_along_vectors_of_one_length():
    """Anatase in its primitive cell: the rule of lengths alone gives 4 x 4 x 5."""
    cell = 0.5 * np.array([[-3.8, 3.8, 9.68], [3.8, -3.8, 9.68], [3.8, 3.8, -9.68]])
    assert jobs.even_mesh(Atoms("Ti", cell=cell, pbc=True, info={"vacuum": False}), 12.0) == (6, 6, 6)


def test_a_slab_has_one_point_along_its_normal():
    atoms = slab()
    atoms.info["vacuum"] = True
    assert jobs.even_mesh(atoms, 60.0) == (20, 20, 1)
    atoms.set_cell([3, 20, 20])
    assert jobs.even_mesh(atoms, 60.0) == (20, 4, 1)


def test_a_gap_counts_where_two_meshes_agree():
    rough, fine = gaps.gap(two_bands(5)), gaps.gap(two_bands(8))
    assert gaps.status([fine, fine], same_ev=0.02).code == RESOLVED
    said = gaps.status([rough, fine], same_ev=0.02)
    assert said.code == gaps.NOT_CONVERGED
    assert "the last two meshes differ by 0.057 eV (at most 0.02)" in said.reason
    assert gaps.status([fine], same_ev=0.02).code == gaps.NOT_CONVERGED
    metal = gaps.gap(two_bands(8, bottom=-0.1))
    assert gaps.status([metal, metal], same_ev=0.02) == Status(gaps.METALLIC, "the bands overlap by 0.10 eV")


def half_filled_band(n):
    """A filled band and, 3 eV below the empty ones, a band of half a pair: the metal of 25 electrons, in 1D."""
    k = np.arange(n) / n
    points = np.stack([k, 0 * k, 0 * k], axis=1)
    energies = np.stack([0 * k - 3, -np.cos(2 * np.pi * k), 0 * k + 4], axis=1)
    weights = np.ones(n) / n
    return Levels(mesh=(n, 1, 1), points=points, weights=weights, energies_ev=energies, occupied=1, left=1.0)


def test_an_odd_number_of_electrons_is_a_metal():
    """Neither the 2 eV below the half-filled band nor the 3 eV above it are a gap."""
    found = gaps.gap(half_filled_band(8))
    assert_allclose((found.gap_ev, found.direct_ev), (-2.0, 0.0), rtol=0, atol=1e-12)
    said = gaps.status([found, found], same_ev=0.02)
    assert str(said) == "metallic: odd number of electrons: no gap in a spin-paired calculation"
    flat = replace(found, gap_ev=0.0)  # one radical in a box
    assert gaps.status([flat, flat], same_ev=0.02) == said


@pytest.mark.parametrize(
    ("electrons", "pairs", "left"),
    [(24.0, 12, 0.0), (24 - 1e-9, 12, 0.0), (24 + 1e-9, 12, 0.0), (25.0, 12, 1.0), (1.0, 0, 1.0), (25.5, 12, 1.5)],
)
def test_electrons_fill_bands_in_pairs(electrons, pairs, left):
    assert electronic.filled(electrons) == (pairs, left)


def slab():
    """Four layers TiO2 of one Ti each, 2 Angstrom apart."""
    heights = [z + dz for z in (2.0, 4.0, 6.0, 8.0) for dz in (0.0, 0.4, -0.4)]
    return Atoms("TiO2" * 4, [[0, 0, z] for z in heights], cell=[3, 3, 20], pbc=True)


def test_the_outermost_layers_are_the_first_and_the_last_formula():
    outer = gaps.outermost(slab(), metals=["Ti"])
    assert outer.tolist() == [True] * 3 + [False] * 6 + [True] * 3


def test_states_at_an_edge_are_told_by_layer_and_element():
    """All states at the top of the valence band are on O of the outer layers, those at the bottom on all Ti."""
    atoms, axis = slab(), np.linspace(-1, 3, 401)
    outer, ti = gaps.outermost(atoms, metals=["Ti"]), atoms.numbers == 22
    held = np.zeros((12, 401))
    held[outer & ~ti] = (axis > -0.2) & (axis < 0)
    held[ti] = (axis > 2) & (axis < 2.2)
    states = Projected(energies_ev=axis, total=held.sum(axis=0), atoms=held)
    top, bottom = gaps.edges(states, atoms, top_ev=0.0, bottom_ev=2.0, outer=outer)
    assert (top.outer, top.share, top.elements) == (1.0, 0.5, {"O": 1.0, "Ti": 0.0})
    assert (bottom.outer, bottom.elements) == (0.5, {"O": 0.0, "Ti": 1.0})
    assert gaps.edges(states, atoms, top_ev=0.0, bottom_ev=2.0, outer=None)[0].outer is None


def gaussian(centre, electrons, *, n=48, width=0.5):
    """Electrons in a Gaussian of a periodic cube, electrons per cubic Angstrom on a grid."""
    axis = np.arange(n) / n * CELL
    away = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1) - centre
    away -= CELL * np.round(away / CELL)
    shape = np.exp(-(away**2).sum(axis=-1) / (2 * width**2))
    return electrons * shape / (shape.sum() * (CELL / n) ** 3)


@BADER
def test_bader_charges_of_two_separate_ions_are_known():
    atoms = Atoms("NaCl", [[0, 0, 0], [3, 3, 3]], cell=[CELL] * 3, pbc=True)
    density = gaussian([0, 0, 0], 9.2) + gaussian([3, 3, 3], 16.8)
    found = bader(atoms, density)
    assert_allclose(found.electrons, [9.2, 16.8], rtol=0, atol=0.02)
    assert_allclose(found.charges, [1.8, 0.2], rtol=0, atol=0.02)  # of nuclear charges 11 and 17
    assert_allclose(found.left, 2.0, rtol=0, atol=0.03)  # 26 electrons where the neutral cell has 28


def test_the_change_of_a_density_that_moves_half_an_electron_is_known():
    """An ion of one electron leaves half of it at its place and gives half to the atom below."""
    atoms = Atoms("OLi", [[3, 3, 2], [3, 3, 4]], cell=[CELL] * 3, pbc=True)
    host, ion = gaussian([3, 3, 2], 6.0, width=0.3), gaussian([3, 3, 4], 1.0, width=0.3)
    moved = gaussian([3, 3, 2], 0.5, width=0.3) - gaussian([3, 3, 4], 0.5, width=0.3)
    found = difference(host + ion + moved, host, ion, atoms)
    assert found.status.code == RESOLVED
    assert_allclose((found.moved, found.integral), (0.5, 0.0), rtol=0, atol=1e-3)  # the Gaussians overlap
    step = CELL / len(found.planar)
    assert_allclose(found.planar.sum() * step, 0.0, rtol=0, atol=1e-9)
    lower = found.heights_angstrom < 3.0
    assert_allclose(found.planar[lower].sum() * step, 0.5, rtol=0, atol=1e-3)
    assert found.section.shape == (48, 48)
    assert found.section[24].argmax() == 16
    assert found.section[24].argmin() == 32


def test_electrons_that_get_lost_are_told():
    atoms = Atoms("OLi", [[3, 3, 2], [3, 3, 4]], cell=[CELL] * 3, pbc=True)
    host, ion = gaussian([3, 3, 2], 6.0), gaussian([3, 3, 4], 1.0)
    found = difference(0.99 * (host + ion), host, ion, atoms)
    assert found.status.code == NOT_CONSERVED
    assert_allclose(found.integral, -0.07, rtol=1e-6, atol=0)
    with pytest.raises(ValueError, match="give all on one grid"):
        difference(host, host, gaussian([3, 3, 4], 1.0, n=24), atoms)


def test_the_primitive_cell_keeps_the_normal_of_a_slab():
    """The standard setting of spglib has the normal of this slab as the second vector, and downwards."""
    flat = slab().repeat((2, 2, 1))
    flat.info["vacuum"] = True
    found = stage.primitive(flat)
    assert len(found) == 12
    assert_allclose(found.cell.array[2], [0, 0, 20.0], rtol=0, atol=1e-9)
    assert np.linalg.det(found.cell.array) > 0
    assert found.cell.array.min() > -1e-9
    assert_allclose(np.sort(found.positions[:, 2]), np.sort(slab().positions[:, 2]), rtol=0, atol=1e-6)
    assert jobs.even_mesh(found, 12.0) == (4, 4, 1)
    assert len(stage.primitive(bulk("MgO", "rocksalt", a=4.25, cubic=True))) == 2


FAST = Settings(cutoff_ev=520.0, point_group=True, k_length_angstrom=8.0)


def host_job(folder, atoms, *, dft=FAST, **settings):
    """A crystal whose gap is asked for."""
    own = ElectronicSettings(**settings)
    return jobs.HostJob(host="bulk", atoms=atoms, metals=None, folder=folder, key="k", dft=dft, settings=own)


def magnesia():
    return bulk("MgO", "rocksalt", a=4.25)


@GPAW
def test_the_gap_of_mgo_by_gpaw_is_direct_and_its_states_are_on_oxygen(tmp_path):
    """PBE has 4.4 to 4.8 eV for MgO, direct at Gamma (doi:10.1103/PhysRevB.73.045112)."""
    job = host_job(tmp_path, magnesia(), mesh_lengths_angstrom=(5.0, 12.0, 40.0), same_gap_ev=0.1)
    found = jobs.states(job)
    assert found.status.code == RESOLVED
    assert len(found.meshes) == 2  # the gap stays: the third one is not needed
    assert 4.0 < found.gap_ev < 5.2
    assert found.meshes[-1].is_direct
    assert found.meshes[-1].bottom == (0.0, 0.0, 0.0)
    assert found.valence.elements["O"] > 0.8
    assert len(found.energies_ev) == len(found.total) == len(found.elements["O"])
    inside = [t for e, t in zip(found.energies_ev, found.total, strict=True) if 0.5 < e < found.gap_ev - 0.5]
    assert max(inside) < 0.01
    before = (tmp_path / "scf-4x4x4.gpw").stat().st_mtime_ns
    assert jobs.states(job) == found  # nothing is calculated twice
    assert (tmp_path / "scf-4x4x4.gpw").stat().st_mtime_ns == before


@GPAW
def test_the_gap_on_a_mesh_that_was_not_enough_is_kept(tmp_path, monkeypatch):
    lengths, same = (4.0, 20.0, 26.0), 1e-9  # the conduction band has its bottom near 0.85 X
    silicon, soft = bulk("Si", "diamond", a=5.43), FAST.model_copy(update={"cutoff_ev": 200.0})
    job = host_job(tmp_path, silicon, dft=soft, mesh_lengths_angstrom=lengths, same_gap_ev=same)
    meshes, calculated = [jobs.even_mesh(job.atoms, length) for length in lengths], []

    def levels(calc, mesh, log):
        calculated.append(mesh)
        if mesh == stopped:
            raise KeyboardInterrupt
        return given(calc, mesh, log)

    given, stopped = electronic.levels, meshes[1]
    monkeypatch.setattr(electronic, "levels", levels)
    with pytest.raises(KeyboardInterrupt):
        jobs.states(job)
    assert calculated == meshes[:2]
    calculated.clear()
    stopped = None
    found = jobs.states(job)
    assert calculated == meshes[1:]
    assert [m.mesh for m in found.meshes] == meshes
    assert found.status.code == gaps.NOT_CONVERGED
    assert found.gap_ev is None


@GPAW
@BADER
def test_lithium_gives_its_electron_to_hydrogen_and_the_change_keeps_all_electrons(tmp_path):
    """LiH: a charge of 0.8 to 1 e; all electrons are in the basins of the two atoms."""
    atoms = Atoms("HLi", [[0, 0, 0], [0, 0, 1.8]], cell=[3.6, 3.6, 3.6], pbc=True)
    own = ElectronicSettings(refinements=(2, 4), same_charge_e=0.05, starting_moments_bohr={"H": 0.5})
    dft = FAST.model_copy(update={"cutoff_ev": 300.0, "point_group": False, "k_length_angstrom": 3.0})
    job = jobs.IonJob(host="box", ion="Li", site="S1", atoms=atoms, folder=tmp_path, key="k", dft=dft, settings=own)
    found = jobs.charges(job)
    assert found.status.code == RESOLVED
    assert 0.7 < found.charge_e < 1.0
    assert abs(found.electrons_left) < 0.05
    changed = jobs.change(job)
    assert changed.difference_status.code == RESOLVED
    assert 0.1 < changed.moved < 1.0
    (element, distance, more), *_ = changed.neighbours
    assert (element, distance) == ("H", 1.8)
    assert more < -0.5  # hydrogen has become more negative
    spin = jobs.moment(job)
    assert abs(spin.moment_bohr) < 0.05
    assert abs(spin.spin_energy_ev) < 0.02


@GPAW
def test_electrons_that_do_not_converge_are_a_status(tmp_path):
    job = host_job(
        tmp_path, magnesia(), dft=FAST.model_copy(update={"max_iterations": 2}), mesh_lengths_angstrom=(4.0, 5.0)
    )
    found = jobs.states(job)
    assert found.status.code == jobs.REFUSED
    assert "did not converge in 2 iterations" in found.status.reason
    assert (found.gap_ev, found.meshes) == (None, ())


class Pretend:
    """A calculator whose energy is minus the sum of the starting moments, all it keeps; `made` tells what ran."""

    made: list[str] = []  # noqa: RUF012  (reset by `pretend`)

    def __init__(self, file=None, txt=None, **_):
        self.start = json.loads(Path(file).read_text()) if file else None
        self.made.append(f"read {Path(file).name}" if file else "calculated")

    def get_potential_energy(self, atoms=None, force_consistent=False):
        if self.start is None:
            self.start = [float(m) for m in atoms.get_initial_magnetic_moments()]
        return -float(np.abs(self.start).sum())

    def get_magnetic_moment(self, atoms=None):
        return float(np.sum(self.start))

    def write(self, file):
        Path(file).write_text(json.dumps(self.start))


class NotConvergedError(Exception):
    """Of the pretend GPAW."""


@pytest.fixture
def pretend(monkeypatch):
    """GPAW, pretended; gives the list of what it did."""
    monkeypatch.setattr(Pretend, "made", [])
    module = SimpleNamespace(GPAW=Pretend, KohnShamConvergenceError=NotConvergedError)
    monkeypatch.setattr(electronic, "loaded", lambda: module)
    return Pretend.made


def ion_job(folder, moments, *, dft=FAST):
    """Li beside TiO, with starting moments of the stage."""
    atoms = Atoms("TiOLi", [[0, 0, 0], [0, 0, 2], [2, 0, 0]], cell=[5] * 3, pbc=True, info={"vacuum": False})
    own = ElectronicSettings(starting_moments_bohr=moments)
    key = "-".join(f"{element}{moment}" for element, moment in moments.items())
    return jobs.IonJob(host="h", ion="Li", site="S1", atoms=atoms, folder=folder, key=key, dft=dft, settings=own)


def test_other_starting_moments_are_other_electrons(tmp_path, pretend):
    assert jobs.moment(ion_job(tmp_path, {"Ti": 0.2})).moment_bohr == 0.2
    pretend.clear()
    assert jobs.moment(ion_job(tmp_path, {"Ti": 1.0})).moment_bohr == 1.0
    assert pretend == ["calculated", "read both.gpw"]  # the spin-paired electrons are those of the first call
    pretend.clear()
    assert jobs.moment(ion_job(tmp_path, {"Ti": 0.2})).moment_bohr == 0.2
    assert pretend == []


def test_spin_polarised_electrons_are_compared_with_paired_ones_at_a_polarised_level(tmp_path, pretend):
    level = Settings(spin="polarised", moments_bohr={"Ti": 0.5})
    found = jobs.moment(ion_job(tmp_path, {"Ti": 0.2}, dft=level))
    assert (found.moment_bohr, found.spin_energy_ev) == (0.2, -0.2)


@pytest.mark.parametrize("moments", [{"Mn": 4.0}, {"Ti": 0.0}, {}])
def test_a_cell_without_a_starting_moment_is_told(tmp_path, pretend, moments):
    said = "electronic.starting_moments_bohr: no atom of h_Li_S1 has .*; name one of Li, O, Ti, such as {Ti: 0.2}"
    with pytest.raises(ValueError, match=said):
        jobs.moment(ion_job(tmp_path, moments))
    assert pretend == []


@pytest.fixture
def levels_of(monkeypatch):
    """Levels whose gap depends on their own mesh and on that of the density; gives the list of what was calculated."""
    calculated = []

    def levels(first, mesh, log):
        calculated.append((mesh[0], first[0]))
        energies = np.array([[-1.0, 0.0, 2.0 + 0.1 / first[0] + 0.5 / mesh[0]]])
        return Levels(mesh=mesh, points=np.zeros((1, 3)), weights=np.ones(1), energies_ev=energies, occupied=2), None

    def projected(fixed, axis, *, width_ev):
        return Projected(energies_ev=axis, total=0 * axis, atoms=np.ones((1, len(axis))))

    monkeypatch.setattr(electronic, "converged", lambda atoms, mesh, dft, file: mesh)
    monkeypatch.setattr(electronic, "levels", levels)
    monkeypatch.setattr(electronic, "projected", projected)
    return calculated


def one_atom(folder, lengths, *, host="001", same=0.002):
    own = ElectronicSettings(mesh_lengths_angstrom=lengths, same_gap_ev=same)
    key = "-".join(map(str, lengths))
    atoms = Atoms("Ti", cell=[5] * 3, pbc=True, info={"vacuum": False})
    return jobs.HostJob(host=host, atoms=atoms, metals=None, folder=folder, key=key, dft=FAST, settings=own)


def test_a_kept_gap_is_of_the_density_on_the_first_mesh(tmp_path, levels_of):
    jobs.states(one_atom(tmp_path, (10.0, 20.0, 30.0)))
    assert levels_of == [(2, 2), (4, 2), (6, 2)]
    levels_of.clear()
    finer = jobs.states(one_atom(tmp_path, (20.0, 30.0, 40.0)))
    assert levels_of == [(4, 4), (6, 4), (8, 4)]
    assert finer == jobs.states(one_atom(tmp_path / "fresh", (20.0, 30.0, 40.0)))
    levels_of.clear()
    jobs.states(one_atom(tmp_path, (10.0, 20.0, 40.0)))
    assert levels_of == [(8, 2)]  # the others are kept


def test_a_kept_gap_of_another_version_is_not_read(tmp_path, levels_of, monkeypatch):
    before = one_atom(tmp_path, (10.0, 20.0))
    jobs.states(before)
    levels_of.clear()
    monkeypatch.setattr(jobs, "GAPS_VERSION", jobs.GAPS_VERSION + 1)
    jobs.states(replace(before, key="other"))
    assert levels_of == [(2, 2), (4, 2)]


def test_kept_states_have_the_name_that_their_host_has_now(tmp_path, levels_of):
    jobs.states(one_atom(tmp_path, (10.0, 20.0)))
    levels_of.clear()
    assert jobs.states(one_atom(tmp_path, (10.0, 20.0), host="top")).host == "top"
    assert levels_of == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NotConvergedError(), "the levels on 2 x 2 x 2 points did not converge in the fixed density"),
        (RuntimeError("no bands"), r"GPAW gave up \(RuntimeError: no bands\)"),
    ],
)
def test_levels_that_do_not_converge_are_refused(tmp_path, pretend, error, reason, monkeypatch):
    def fixed_density(self, **_):
        raise error

    monkeypatch.setattr(Pretend, "fixed_density", fixed_density, raising=False)
    monkeypatch.setattr(Pretend, "get_number_of_electrons", lambda _: 12.0, raising=False)
    monkeypatch.setattr(Pretend, "get_number_of_spins", lambda _: 1, raising=False)
    monkeypatch.setattr(Pretend, "get_atoms", lambda _: magnesia(), raising=False)
    with pytest.raises(Refused, match=reason):
        electronic.levels(Pretend(), (2, 2, 2), tmp_path / "levels.txt")
    found = jobs.states(one_atom(tmp_path, (10.0, 20.0)))
    assert (found.status.code, found.gap_ev) == (jobs.REFUSED, None)


def fixed(bands):
    """A pretend GPAW calculator with levels on a mesh, (k, bands)."""
    return SimpleNamespace(
        get_ibz_k_points=lambda: np.zeros((len(bands), 3)),
        get_k_point_weights=lambda: np.ones(len(bands)) / len(bands),
        get_eigenvalues=lambda kpt: bands[kpt],
        get_atoms=lambda: [None],
    )


@pytest.fixture
def half_filled(pretend, monkeypatch):
    """Pretend GPAW of three electrons: one filled band, a half-filled one, two empty ones."""
    bands = np.array([[-5.0, -1.0, 3.0, 4.0], [-5.0, 1.0, 3.0, 4.0]])
    monkeypatch.setattr(Pretend, "fixed_density", lambda *_, **__: fixed(bands), raising=False)
    monkeypatch.setattr(Pretend, "get_number_of_electrons", lambda _: 3.0, raising=False)
    monkeypatch.setattr(Pretend, "get_number_of_spins", lambda _: 1, raising=False)
    monkeypatch.setattr(Pretend, "get_atoms", lambda _: [None], raising=False)
    zero = {"total": np.zeros(jobs.POINTS), "atoms": np.ones((1, jobs.POINTS))}
    monkeypatch.setattr(electronic, "projected", lambda _, axis, **__: Projected(energies_ev=axis, **zero))


def test_a_host_of_an_odd_number_of_electrons_has_no_gap(tmp_path, half_filled):
    found = jobs.states(one_atom(tmp_path, (10.0, 20.0)))
    assert (found.status, found.gap_ev, found.direct_ev) == (Status(gaps.METALLIC, gaps.ODD), None, None)
    assert (found.valence.energy_ev, found.conduction.energy_ev) == (1.0, -1.0)
    assert len(found.meshes) == 1  # no finer mesh makes a gap


def test_levels_of_spin_polarised_electrons_are_refused(tmp_path, half_filled, monkeypatch):
    """Their bands hold one electron each: half of the electrons do not fill the bands of one spin."""
    monkeypatch.setattr(Pretend, "get_number_of_spins", lambda _: 2)
    with pytest.raises(Refused, match="levels are read of spin-paired electrons"):
        electronic.levels(Pretend(), (2, 2, 2), tmp_path / "levels.txt")


def test_spin_in_the_settings_of_gaps_is_refused():
    with pytest.raises(ValueError, match="gaps are those of spin-paired electrons, and spin is not read"):
        ElectronicSettings(gap_settings={"spin": "polarised", "moments_bohr": {"Ti": 0.2}})
    assert ElectronicSettings(gap_settings={"spin": "paired", "moments_bohr": {}}).gap_settings


STATES = HostStates(host="001", atoms=12, status=Status(RESOLVED), gap_ev=1.8, direct_ev=1.9, meshes=())
CHARGE = IonCharge(host="001", ion="Mg", site="S1", status=Status(RESOLVED), charge_e=1.6)


@pytest.fixture(scope="module")
def published():
    return references.load(tiny.REPOSITORY / "datasets" / "references")


def test_published_gaps_and_charges_get_a_verdict(published):
    result = Electronic(level="0", hosts=(STATES,), ions=(CHARGE,))
    by_id = {v.id: compared(v, result, published, ReportSettings()) for v in published.values}
    assert (by_id["gap-dft-001"].ours, by_id["gap-dft-001"].verdict) == (1.8, AGREES)
    assert (by_id["bader-Mg-001"].ours, by_id["bader-Mg-001"].verdict) == (1.6, DIFFERS)
    assert by_id["gap-uvvis-001"].verdict == NOT_COMPARABLE


def test_what_is_not_converged_is_a_status_and_no_number(published):
    rough = replace(STATES, gap_ev=None, status=Status(gaps.NOT_CONVERGED, "one mesh only"))
    value = next(v for v in published.values if v.id == "gap-dft-001")
    found = compared(value, Electronic(level="0", hosts=(rough,), ions=()), published, ReportSettings())
    assert (found.ours, found.verdict, str(found.status)) == (None, "", "mesh not converged: one mesh only")


def test_the_report_shows_gaps_and_charges():
    hosts = (replace(STATES, energies_ev=(-1.0, 0.0, 1.0), total=(1.0, 0.5, 0.0), elements={"O": (1.0, 0.4, 0.0)}),)
    row = replace(
        CHARGE,
        grids=((2, 1.61), (4, 1.6)),
        difference_status=Status(RESOLVED),
        heights_angstrom=(0.0, 1.0),
        planar=(0.1, -0.1),
        section=((0.0, 0.1),) * 2,
    )
    states, charges = report.electronic_sections(Electronic(level="0", hosts=hosts, ions=(row,)))
    assert states.tables[0].rows[0][:3] == ("001", "1.80", "1.90")
    assert charges.tables[0].rows[0][3:5] == ("1.60", "1.610, 1.600")
    assert [len(s.figures) for s in (states, charges)] == [1, 1]
    assert report.electronic_sections(Electronic(level="0", hosts=(), ions=())) == ()


def test_the_report_has_no_number_of_what_is_not_resolved_and_says_why():
    lost = replace(
        CHARGE,
        moved=3.21,
        integral=-0.7,
        neighbours=(("O", 2.0, -0.1),),
        difference_status=Status(NOT_CONSERVED, "the integral is -0.7"),
        heights_angstrom=(0.0, 1.0),
        planar=(0.1, -0.1),
        section=((0.0, 0.1),) * 2,
        moment_bohr=0.98,
        spin_energy_ev=-0.123,
        moment_status=Status(jobs.REFUSED, "no"),
    )
    (charges,) = report.electronic_sections(Electronic(level="0", hosts=(), ions=(lost,)))
    (table,) = charges.tables
    assert charges.figures == ()
    assert not {"3.21", "0.98"} & set(table.rows[0])
    assert [c in str(table.rows[0]) for c in ("0.7000", "0.123")] == [False, False]
    assert table.rows[0][-1] == (
        "charges: resolved; difference: electrons not conserved: the integral is -0.7; spin: refused by DFT: no"
    )
    sound = replace(lost, difference_status=Status(RESOLVED), moment_status=Status(RESOLVED))
    (charges,) = report.electronic_sections(Electronic(level="0", hosts=(), ions=(sound,)))
    assert {"3.21", "0.98"} <= set(charges.tables[0].rows[0])
    assert (len(charges.tables), len(charges.figures)) == (2, 1)
