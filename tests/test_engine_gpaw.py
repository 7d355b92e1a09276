import re
import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import bulk
from helpers import cells, tiny
from numpy.testing import assert_allclose

from mlip.atoms import extxyz
from mlip.dft import engines, queue
from mlip.dft.engines import gpaw
from mlip.dft.settings import Dft

DEFAULT = gpaw.PRESETS["gpaw-pbe-520"]


def test_the_default_preset_is_the_level_of_the_shipped_labels():
    card = yaml.safe_load((tiny.DATA / "card.yaml").read_text(encoding="utf-8"))
    assert gpaw.described(DEFAULT) == card["settings"]
    assert list(gpaw.described(DEFAULT)) == list(card["settings"])
    assert queue.settings_hash(Dft()) == card["settings_hash"] == "84b3beb6c0557ee2"


def test_k_points_are_those_of_the_shipped_labels():
    for frame in extxyz.read_frames(tiny.DATA / "frames.extxyz"):
        assert_allclose(gpaw.mesh(frame, DEFAULT), frame.info["kpts"], rtol=0, atol=0)


def test_k_points_treat_cells_of_different_size_alike():
    primitive, conventional = bulk("Al", "fcc", a=4.0), bulk("Al", "fcc", a=4.0, cubic=True)
    assert engines.length_mesh(conventional, 16.0) == (4, 4, 4)
    assert engines.length_mesh(conventional.repeat((2, 1, 4)), 16.0) == (2, 4, 1)
    # the faces of the primitive cell are a / sqrt(3) = 2.309 apart, its edges are 2.828 long: spacing decides
    assert engines.length_mesh(primitive, 16.0) == (7, 7, 7)
    slab = conventional.copy()
    slab.info["vacuum"] = True
    assert engines.length_mesh(slab, 16.0) == (4, 4, 1)


def test_a_sheared_cell_of_the_same_crystal_has_as_many_points_across():
    straight = Atoms("Al", cell=np.diag([4.0, 4.0, 4.0]), pbc=True)
    sheared = Atoms("Al", cell=[[4.0, 0, 0], [4.0, 4.0, 0], [0, 0, 4.0]], pbc=True)  # the same lattice
    assert engines.length_mesh(straight, 16.0) == (4, 4, 4)
    assert engines.length_mesh(sheared, 16.0) == (6, 4, 4)  # planes 4 / sqrt(2) apart along the first vector


@pytest.mark.parametrize(
    ("change", "key", "value"),
    [
        (
            {"spin": "polarised", "moments_bohr": {"Ti": 0.2}},
            "spin",
            "polarised, starting moments Ti 0.2 Bohr magnetons",
        ),
        ({"dipole": True}, "dipole_correction", "slabs, along the normal"),
        ({"point_group": True}, "symmetry", "point group and time reversal"),
        ({"cutoff_ev": 600}, "cutoff_ev", 600.0),
        ({"smearing_ev": 0.1}, "smearing_ev", 0.1),
        ({"grid_angstrom": 0.12}, "grid_angstrom", 0.12),
        ({"bands_percent": 120}, "bands", "120 %"),
    ],
)
def test_every_setting_of_the_level_changes_its_hash(change, key, value):
    dft = Dft(settings=change)
    assert queue.settings_of(dft)[key] == value
    assert queue.settings_hash(dft) != queue.settings_hash(Dft())


def test_patience_is_no_part_of_the_level():
    assert queue.settings_hash(Dft(settings={"max_iterations": 7})) == queue.settings_hash(Dft())


@pytest.mark.parametrize(
    ("dft", "message"),
    [
        ({"preset": "cp2k-pbe"}, r"dft\.preset: 'cp2k-pbe' is of no engine; a preset begins with gpaw or vasp"),
        ({"preset": "gpaw-lda"}, r"dft\.preset: 'gpaw-lda' is unknown; gpaw has gpaw-pbe-520"),
        ({"settings": {"cutof": 1}}, r"dft\.settings\.cutof: unknown key; gpaw-pbe-520 has .*cutoff_ev"),
        ({"settings": {"cutoff_ev": -1}}, r"dft\.settings\.cutoff_ev: .*greater than 0 \(got -1\)"),
        ({"settings": {"spin": "polarised"}}, r"spin polarised and moments_bohr .* belong together"),
        ({"settings": {"moments_bohr": {"Li": 1}}}, r"spin polarised and moments_bohr .* belong together"),
    ],
)
def test_wrong_settings_are_told_in_one_line(dft, message):
    with pytest.raises(ValueError, match=message) as caught:
        engines.settings_of(Dft(**dft))
    assert "\n" not in str(caught.value)


def test_the_estimate_is_that_of_the_shipped_labels():
    frames = {f.info["frame_id"]: f for f in extxyz.read_frames(tiny.DATA / "frames.extxyz")}
    measured = {"001_11_Mg_md800_1": 142.7, "100_11_Li_md800_1": 365.4, "100_zz_Mg_neb2": 718.3, "bulk1_Li_site": 125.5}
    for name, seconds in measured.items():
        assert_allclose(gpaw.seconds(frames[name], DEFAULT), seconds, rtol=0.35, atol=0)


def test_the_estimate_counts_the_finer_grid_of_the_refined_labels():
    frames = extxyz.read_frames(tiny.REPOSITORY / "datasets/tio2-mg-li-refined-001/frames.extxyz")
    fine = DEFAULT.model_copy(update={"grid_angstrom": 0.16})
    ratios = [f.info["wall_s"] / gpaw.seconds(f, fine) for f in frames]
    assert_allclose(np.median(ratios), 1.0, rtol=0.35, atol=0)
    coarse = DEFAULT.model_copy(update={"grid_angstrom": 0.3})
    assert gpaw.seconds(frames[0], coarse) == gpaw.seconds(frames[0], DEFAULT)


def test_twice_the_cutoff_or_spin_costs_more():
    frame = cells.hydride()
    base = gpaw.seconds(frame, DEFAULT)
    assert gpaw.seconds(frame, DEFAULT.model_copy(update={"cutoff_ev": 1040.0})) > 1.5 * (base - 5)
    assert gpaw.seconds(frame, DEFAULT.model_copy(update={"spin": "polarised"})) > base


def tiny_settings(**changes):
    return engines.settings_of(Dft(settings={**cells.SETTINGS, **changes}))


@cells.needs_gpaw
def test_a_finer_grid_feels_less_where_the_atoms_are(tmp_path):
    frames = [cells.hydride(), cells.hydride()]
    frames[1].positions[:, 2] += 0.08
    changes = []
    for grid in (None, 0.1):
        run = gpaw.session(tiny_settings(grid_angstrom=grid, density_convergence=1e-6, eigenstates_convergence=1e-8))
        one, other = (run(frame, tmp_path / str(grid)).energy_ev for frame in frames)
        changes.append(abs(one - other))
    assert changes[1] < 0.5 * changes[0]


@cells.needs_gpaw
def test_forces_are_the_slope_of_the_free_energy_and_warm_is_cold(tmp_path):
    settings = tiny_settings(density_convergence=1e-7, eigenstates_convergence=1e-10, energy_convergence_ev=1e-8)
    run = gpaw.session(settings)
    step = 0.01
    low, middle, high = (run(cells.hydride(bond=b), tmp_path / "warm") for b in (1.7 - step, 1.7, 1.7 + step))
    slope = (high.energy_ev - low.energy_ev) / (2 * step)
    assert_allclose(-slope, middle.forces[1, 2], rtol=0.02, atol=0)
    assert abs(middle.forces[1, 2]) > 0.2
    cold = gpaw.session(settings)(cells.hydride(bond=1.7 + step), tmp_path / "cold")
    assert_allclose(high.energy_ev, cold.energy_ev, rtol=0, atol=1e-5)
    assert_allclose(high.forces, cold.forces, rtol=0, atol=1e-3)
    assert high.iterations < cold.iterations
    assert middle.dipole_e_angstrom is None
    assert middle.magnetic_moment_bohr is None


@cells.needs_gpaw
def test_free_atom_has_its_moment_and_a_lower_energy_when_polarised(tmp_path):
    atom = cells.lithium(edge=5.0)
    paired = gpaw.session(tiny_settings())(atom, tmp_path)
    polarised = gpaw.session(tiny_settings(spin="polarised", moments_bohr={"Li": 1.0}))(atom, tmp_path)
    assert_allclose(polarised.magnetic_moment_bohr, 1.0, rtol=1e-3, atol=0)
    assert -0.5 < polarised.energy_ev - paired.energy_ev < -0.05
    assert paired.extrapolated_ev > paired.energy_ev  # half a level filled: -T S / 2 above the free energy


@cells.needs_gpaw
def test_the_moment_of_a_slab_is_along_its_normal_and_the_correction_lowers_the_energy(tmp_path):
    up = cells.hydride(cell=(4.0, 4.0, 9.0), vacuum=True)
    up.positions[:, 2] += 2.2
    down = up.copy()
    down.positions[:, 2] = 9.0 - down.positions[:, 2]
    plain = gpaw.session(tiny_settings())
    found = [plain(frame, tmp_path) for frame in (up, down)]
    assert found[0].dipole_e_angstrom < -0.3  # from H(-) to Li(+): Li is below
    assert_allclose(found[1].dipole_e_angstrom, -found[0].dipole_e_angstrom, rtol=0.02, atol=0)
    corrected = gpaw.session(tiny_settings(dipole=True))(up, tmp_path)
    # periodic images of dipoles p in a column attract: E(plain) < E(corrected), about p^2 / (2 eps0 V) = 90.5 p^2/V
    assert 0.0 < corrected.energy_ev - found[0].energy_ev < 2 * 90.5 * corrected.dipole_e_angstrom**2 / 144.0
    low = up.copy()
    low.positions[:, 2] -= 3.0
    assert plain(low, tmp_path).dipole_e_angstrom is None  # across the boundary: no moment can be said
    with pytest.raises(engines.Refused, match="at the cell boundary, where the dipole layer sits"):
        gpaw.session(tiny_settings(dipole=True))(low, tmp_path)


def test_the_second_frame_of_a_task_is_asked_too_whether_the_dipole_layer_cuts_it(tmp_path, monkeypatch):
    monkeypatch.setattr(gpaw.Session, "_calculator", lambda *_, **__: None)
    frame = cells.hydride(cell=(4.0, 4.0, 9.0), vacuum=True)
    frame.positions[:, 2] += 2.2
    low = frame.copy()
    low.positions[:, 2] -= 3.0
    session = gpaw.Session(tiny_settings(dipole=True))
    session._prepared(frame, tmp_path)
    with pytest.raises(engines.Refused, match="at the cell boundary, where the dipole layer sits"):
        session._prepared(low, tmp_path)


@cells.needs_gpaw
def test_electrons_that_do_not_converge_are_refused_and_the_next_frame_goes_on(tmp_path):
    run = gpaw.session(tiny_settings(max_iterations=2))
    with pytest.raises(engines.Refused, match=r"did not converge in 2 iterations \(max_iterations\); see "):
        run(cells.hydride(), tmp_path / "a")
    with pytest.raises(engines.Refused, match="did not converge"):
        run(cells.hydride(bond=1.7), tmp_path / "b")
    assert (tmp_path / "b" / "gpaw.txt").exists()  # a cold start of its own


@cells.needs_gpaw
def test_another_version_is_another_level():
    with pytest.raises(ValueError, match=r"gpaw .* is installed, the settings say 20\.1\.0: .*which is another level"):
        gpaw.require(tiny_settings(version="20.1.0"), {"Li"})
    with pytest.raises(ValueError, match=r"gpaw-data .* is installed, the settings say 0\.9"):
        gpaw.require(tiny_settings(version=version("gpaw"), paw_data="0.9"), {"Li"})
    gpaw.require(tiny_settings(), {"Li", "H", "Ti", "O", "Mg"})


@cells.needs_gpaw
def test_elements_without_paw_data():
    with pytest.raises(ValueError, match=r"GPAW has no PAW data Po\.PBE in gpaw-data .*; label no frames with Po"):
        gpaw.require(tiny_settings(), {"Li", "Po"})


REQUIRE = "import mlip.dft.engines.gpaw as g; g.require(g.PRESETS['gpaw-pbe-520'], ['Li'])"
BLOCK = "import sys; sys.modules['{}'] = None; "


def required(script, **extra):
    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(command, env=tiny.environment(**extra), capture_output=True, text=True, check=False)
    return done.stderr.strip().splitlines()[-1] if done.returncode else ""


def test_no_gpaw_and_no_paw_data(tmp_path):
    for package in ("gpaw", "gpaw_data"):
        message = required(BLOCK.format(package) + REQUIRE, GPAW_SETUP_PATH=str(tmp_path))
        assert re.search(r"gpaw.* is not installed \(.*\); make setup-dft installs it", message)


@cells.needs_gpaw
def test_paw_data_of_another_place_are_refused(tmp_path):
    from gpaw.setup_data import search_for_file

    assert required(REQUIRE) == ""
    assert required(REQUIRE, GPAW_SETUP_PATH=str(tmp_path)) == ""  # empty: gpaw-data is used
    (tmp_path / "Li.PBE").write_bytes(search_for_file("Li.PBE")[1])
    message = required(REQUIRE, GPAW_SETUP_PATH=str(tmp_path))
    assert f"the PAW data of Li are {tmp_path / 'Li.PBE'}, not those of gpaw-data" in message


@pytest.mark.slow
@cells.needs_gpaw
def test_a_shipped_frame_comes_out_again(tmp_path):
    """12 atoms, 16 k-points, two minutes: 1 meV a cell and 5 meV/Angstrom from the stored settings alone."""
    frames = {f.info["frame_id"]: f for f in extxyz.read_frames(tiny.DATA / "frames.extxyz")}
    shipped = frames["001_11_clean_md700_3"]
    (made,) = queue.label([shipped], Dft(), tmp_path, workers=1).frames
    assert made.info["settings_hash"] == shipped.info["settings_hash"]
    assert made.info["kpts"].tolist() == [4, 4, 1]
    energy = abs(made.info["dft_energy"] - shipped.info["dft_energy"])
    difference = made.arrays["dft_forces"] - shipped.arrays["dft_forces"]
    forces, rms = np.abs(difference).max(), np.sqrt((difference**2).mean())
    sys.stdout.write(
        f"energy: {1000 * energy:.4f} meV, forces: up to {1000 * forces:.4f}, rms {1000 * rms:.4f} meV/A\n"
    )
    assert energy < 1e-3
    assert forces < 5e-3
    assert_allclose(made.info["d3_energy"], shipped.info["d3_energy"], rtol=0, atol=1e-6)
