import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.collections import g2
from ase.stress import voigt_6_to_full_3x3_stress
from helpers import tiny
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from mlip import cli
from mlip.atoms import contacts, extxyz
from mlip.core.files import write_frames
from mlip.potential import models, potential
from mlip.tools import select_frames


def evaluated(calculator, atoms):
    atoms = atoms.copy()
    atoms.calc = calculator
    return atoms.get_potential_energy(), atoms.get_forces()


@pytest.fixture(scope="module")
def single(committee):
    return potential.load(committee, members=[1])


def test_forces_are_the_gradient(calculator):
    atoms, step = tiny.rattled(), 1e-4
    forces = evaluated(calculator, atoms)[1]
    slope = np.zeros_like(forces)
    for k in np.ndindex(*forces.shape):
        ends = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[k] += sign * step
            ends.append(evaluated(calculator, moved)[0])
        slope[k] = -(ends[0] - ends[1]) / (2 * step)
    largest = np.abs(forces).max()
    assert largest > 0.01
    assert_allclose(slope, forces, rtol=0, atol=1e-5 * largest)


def test_stress_is_the_strain_derivative(calculator):
    atoms, step = tiny.rattled(), 1e-4
    atoms.calc = calculator
    stress = voigt_6_to_full_3x3_stress(atoms.get_stress())
    for i, j in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):
        ends = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[i, j] += sign * step / 2
            strain[j, i] += sign * step / 2
            bent = atoms.copy()
            bent.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            ends.append(evaluated(calculator, bent)[0])
        slope = (ends[0] - ends[1]) / (2 * step) / atoms.get_volume()
        assert_allclose(stress[i, j], slope, rtol=1e-5, atol=1e-9)


def test_rotation_turns_forces_and_keeps_the_energy(calculator):
    atoms = tiny.rattled()
    turn = Rotation.from_euler("xyz", [0.4, -1.1, 2.0]).as_matrix()
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ turn.T, scale_atoms=False)
    turned.positions = atoms.positions @ turn.T
    (energy, forces), (other, others) = evaluated(calculator, atoms), evaluated(calculator, turned)
    assert_allclose(other, energy, rtol=0, atol=1e-9)
    assert_allclose(others, forces @ turn.T, rtol=0, atol=1e-9)


def test_translation_wrapping_and_order_change_nothing(calculator):
    atoms = tiny.rattled()
    energy, forces = evaluated(calculator, atoms)
    order = np.array([3, 0, 4, 1, 2])
    moved = atoms.copy()
    moved.positions += [1.3, -0.7, 2.9]
    wrapped = moved.copy()
    wrapped.wrap()
    away = atoms.copy()
    away.positions[0] += 3 * atoms.cell[0] - 2 * atoms.cell[2]
    assert not np.allclose(moved.positions, wrapped.positions)
    for other in (moved, wrapped, away):
        assert_allclose(evaluated(calculator, other)[0], energy, rtol=0, atol=1e-9)
        assert_allclose(evaluated(calculator, other)[1], forces, rtol=0, atol=1e-9)
    shuffled = evaluated(calculator, atoms[order])
    assert_allclose(shuffled[0], energy, rtol=0, atol=1e-9)
    assert_allclose(shuffled[1], forces[order], rtol=0, atol=1e-9)


def test_supercell_has_twice_the_energy(calculator):
    atoms = tiny.rattled()
    energy, forces = evaluated(calculator, atoms)
    double = evaluated(calculator, atoms.repeat((2, 1, 1)))
    assert_allclose(double[0], 2 * energy, rtol=1e-10, atol=0)
    assert_allclose(double[1], np.tile(forces, (2, 1)), rtol=0, atol=1e-9)


def test_inputs_are_not_changed(calculator):
    atoms = tiny.rattled()
    atoms.positions[0] += 5 * atoms.cell[0]
    before = atoms.copy()
    atoms.calc = calculator
    atoms.get_stress()
    assert_allclose(atoms.positions, before.positions, rtol=0, atol=0)
    assert_allclose(atoms.cell.array, before.cell.array, rtol=0, atol=0)


def test_batched_equals_one_by_one(calculator, monkeypatch):
    frames = [tiny.rattled(seed=k) for k in range(3)] + [tiny.rattled("Ti2O4", seed=5), tiny.rattled("Ti2O4").repeat(2)]
    together = calculator.evaluator(frames, stress=True)
    monkeypatch.setattr(calculator.evaluator, "edges_per_call", 1)
    alone = calculator.evaluator(frames, stress=True)
    assert len(together) == len(alone) == 5
    for a, b, atoms in zip(together, alone, frames, strict=True):
        assert a.forces.shape == (2, len(atoms), 3)
        assert_allclose(a.energies_ev, b.energies_ev, rtol=1e-12, atol=0)
        assert_allclose(a.forces, b.forces, rtol=0, atol=1e-10)
        assert_allclose(a.stresses, b.stresses, rtol=0, atol=1e-12)
    assert calculator.evaluator([]) == []


def test_committee_mean_and_spread(committee, calculator):
    atoms = tiny.rattled()
    members = [evaluated(potential.load(committee, members=[k]), atoms) for k in (1, 2)]
    energies, forces = np.array([m[0] for m in members]), np.array([m[1] for m in members])
    energy, mean = evaluated(calculator, atoms)
    assert_allclose(energy, energies.mean(), rtol=1e-12, atol=0)
    assert_allclose(mean, forces.mean(axis=0), rtol=0, atol=1e-10)
    # sample standard deviation of two values: half their distance times the square root of 2
    assert_allclose(calculator.results["energy_std"], abs(energies[0] - energies[1]) / np.sqrt(2), rtol=1e-6, atol=0)
    assert_allclose(calculator.results["forces_std"], abs(forces[0] - forces[1]) / np.sqrt(2), rtol=0, atol=1e-9)
    assert calculator.results["energy_std"] > 0
    assert calculator.level == "PBE"


def test_a_single_model_has_no_spread(single):
    atoms = tiny.rattled()
    atoms.calc = single
    assert single.evaluator([atoms])[0].forces_std is None
    assert single.evaluator([atoms])[0].energy_std_ev is None
    with pytest.raises(PropertyNotImplementedError):
        single.get_property("forces_std", atoms)


def test_float32_is_near_float64(committee, single):
    atoms = tiny.rattled()
    low = evaluated(potential.load(committee, members=[1], dtype="float32"), atoms)
    high = evaluated(single, atoms)
    assert low[0] != high[0]
    assert_allclose(low[0], high[0], rtol=1e-5, atol=0)
    assert_allclose(low[1], high[1], rtol=0, atol=1e-3)


def test_a_molecule_without_cell(single):
    molecule = Atoms("TiO2", [[0, 0, 0], [1.7, 0, 0], [0, 1.8, 0.3]])
    boxed = molecule.copy()
    boxed.set_cell([20, 20, 20])
    boxed.pbc = True
    assert_allclose(evaluated(single, molecule)[0], evaluated(single, boxed)[0], rtol=1e-12, atol=0)
    assert_allclose(evaluated(single, molecule)[1], evaluated(single, boxed)[1], rtol=0, atol=1e-10)


def test_stress_needs_three_periodic_directions(single):
    atoms = tiny.rattled()
    atoms.pbc = [True, True, False]
    atoms.calc = single
    with pytest.raises(ValueError, match="not periodic in all directions"):
        atoms.get_stress()


def test_unknown_element_and_broken_positions(calculator):
    with pytest.raises(
        ValueError, match=r"elements \['Na'\] are not in the model, which knows \['Li', 'O', 'Mg', 'Ti'\]"
    ):
        calculator.evaluator([tiny.rattled("TiO2Na")])
    atoms = tiny.rattled()
    atoms.positions[0, 0] = np.nan
    with pytest.raises(ValueError, match="positions are not finite"):
        calculator.evaluator([atoms])


@pytest.mark.parametrize("members", [[0], [3], [-1], []])
def test_members_are_counted_from_one(committee, members):
    with pytest.raises(ValueError, match="has the members 1 to 2"):
        potential.load(committee, members=members)


def test_some_members_give_their_own_rows(calculator):
    frames = [tiny.rattled(), tiny.rattled(seed=1)]
    every, second = calculator.evaluator(frames), calculator.evaluator(frames, members=(1,))
    for all_of_them, one in zip(every, second, strict=True):
        assert (one.energies_ev == all_of_them.energies_ev[1:]).all()
        assert (one.forces == all_of_them.forces[1:]).all()
        assert not (one.forces == all_of_them.forces[:1]).all()


def test_no_gpu(committee, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match="cuda was asked for and no GPU is visible; use cpu"):
        potential.load(committee, device="cuda")


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu")
def test_gpu_gives_the_same_numbers(committee, calculator):
    atoms = tiny.rattled()
    energy, forces = evaluated(potential.load(committee, device="cuda"), atoms)
    assert_allclose(energy, evaluated(calculator, atoms)[0], rtol=1e-10, atol=0)
    assert_allclose(forces, evaluated(calculator, atoms)[1], rtol=0, atol=1e-9)


@pytest.fixture
def predicted(committee, tmp_path):
    frames = [tiny.rattled(seed=k) for k in range(3)] + [tiny.rattled("Ti2O4", seed=9)]
    for number, atoms in enumerate(frames):
        atoms.info |= {"frame_id": f"f{number}", "host": "001", "mine": 0.25 * number}
        atoms.arrays["tag_of_mine"] = np.arange(len(atoms))
    write_frames(tmp_path / "in.xyz", frames)
    count = len(potential.predict(committee, tmp_path / "in.xyz", tmp_path / "out.xyz"))
    return frames, count, extxyz.read_frames(tmp_path / "out.xyz")


def test_predict_keeps_order_and_adds_keys(predicted, calculator):
    frames, count, out = predicted
    assert count == len(out) == 4
    for before, after in zip(frames, out, strict=True):
        assert after.info["frame_id"] == before.info["frame_id"]
        assert after.info["host"] == "001"
        assert after.info["mine"] == before.info["mine"]
        assert after.arrays["tag_of_mine"].tolist() == before.arrays["tag_of_mine"].tolist()
        assert after.get_chemical_symbols() == before.get_chemical_symbols()
        assert_allclose(after.positions, before.positions, rtol=0, atol=1e-7)
        found = calculator.evaluator([before])[0]
        assert_allclose(after.info["mlip_energy"], found.energy_ev, rtol=0, atol=1e-5)
        assert_allclose(after.info["mlip_energy_std"], found.energy_std_ev, rtol=0, atol=1e-5)
        assert_allclose(after.arrays["mlip_forces"], found.mean_forces, rtol=0, atol=1e-5)
        assert_allclose(after.arrays["mlip_forces_std"], found.forces_std, rtol=0, atol=1e-5)
        assert after.info["mlip_level"] == "PBE"


def test_predict_with_one_member_has_no_spread(committee, tmp_path):
    whole = models.load(committee)
    models.save(tmp_path / "m", shape=whole.shape, weights=[whole.members[0].state_dict()], card={"target": "pbe-d3"})
    write_frames(tmp_path / "in.xyz", [tiny.rattled()])
    potential.predict(tmp_path / "m", tmp_path / "in.xyz", tmp_path / "out.xyz")
    text = (tmp_path / "out.xyz").read_text()
    assert "mlip_energy_std=nan" in text
    assert 'mlip_level="PBE-D3(BJ)"' in text or "mlip_level=PBE-D3(BJ)" in text


def test_predict_names_the_frame_with_the_unknown_element(committee, tmp_path):
    write_frames(tmp_path / "in.xyz", [tiny.rattled(), tiny.rattled("TiO2Na")])
    with pytest.raises(ValueError, match=r"in\.xyz: frame 1: elements \['Na'\] are not in the model"):
        potential.predict(committee, tmp_path / "in.xyz", tmp_path / "out.xyz")
    assert not (tmp_path / "out.xyz").exists()


def test_predict_names_the_frame_that_is_not_finite(committee, tmp_path):
    atoms = tiny.rattled()
    atoms.positions[3, 1] = np.nan
    write_frames(tmp_path / "in.xyz", [tiny.rattled(), atoms])
    with pytest.raises(ValueError, match=r"in\.xyz: frame 1: the position of atom 3 \(\w+\) is not finite; correct or"):
        potential.predict(committee, tmp_path / "in.xyz", tmp_path / "out.xyz")


def test_predict_refuses_atoms_on_top_of_each_other(committee, tmp_path):
    """The image across a face counts too."""
    one = tiny.rattled()
    one.append("Li")
    one.positions[-1] = one.positions[1] + one.cell[2] + [0, 0, 0.3]
    write_frames(tmp_path / "in.xyz", [tiny.rattled(), one])
    told = rf"in\.xyz: frame 1: atoms 1 \({one.symbols[1]}\) and {len(one) - 1} \(Li\) are 0\.30 Angstrom apart, less than "
    with pytest.raises(ValueError, match=told):
        potential.predict(committee, tmp_path / "in.xyz", tmp_path / "out.xyz")
    assert not (tmp_path / "out.xyz").exists()


def test_no_molecule_has_atoms_too_close():
    """All small molecules of the G2 set, with bonds from H2 (0.74 Angstrom) to Na2."""
    assert len(g2.names) > 100
    assert [name for name in g2.names if contacts.too_close(g2[name]) is not None] == []
    assert contacts.too_close(Atoms("H2", [[0, 0, 0], [0, 0, 0.3]])) in {(0, 1, 0.3), (1, 0, 0.3)}


@pytest.fixture
def not_finite(monkeypatch):
    """Every evaluator gives a force that is no number for the second of its frames."""

    def call(self, frames, **_):
        made = [potential.Predicted(np.zeros(2), np.zeros((2, len(a), 3)), None) for a in frames]
        made[1].forces[0, 2, 1] = np.nan
        return made

    monkeypatch.setattr(potential.Evaluator, "__call__", call)


@pytest.mark.usefixtures("not_finite")
def test_a_result_that_is_not_finite_is_refused_with_its_frame(committee, tmp_path):
    frames = [tiny.rattled(seed=k) for k in range(3)]
    for atoms in frames:
        atoms.info = {"host": "001", "ion": "Li", "vacuum": False}
    write_frames(tmp_path / "in.xyz", frames)
    with pytest.raises(
        ValueError, match=r"in\.xyz: frame 1: an energy or a force is not finite.*before it are in .*out"
    ):
        potential.predict(committee, tmp_path / "in.xyz", tmp_path / "out.xyz")
    assert len(extxyz.read_frames(tmp_path / "out.xyz")) == 1
    words = {"count": 1, "per_group": 1, "largest_force": 10.0}
    with pytest.raises(ValueError, match=r"in\.xyz: frame 1: an energy or a force is not finite"):
        select_frames.from_files(committee, [tmp_path / "in.xyz"], tmp_path / "o.xyz", **words)


def test_the_largest_spread_is_told_with_its_frame(committee, tmp_path, capsys):
    write_frames(tmp_path / "in.xyz", [tiny.rattled(seed=k) for k in range(3)])
    assert cli.main(["predict", *map(str, (committee, tmp_path / "in.xyz", "-o", tmp_path / "out.xyz"))]) == 0
    made = extxyz.read_frames(tmp_path / "out.xyz")
    norms = np.array([np.linalg.norm(f.arrays["mlip_forces_std"], axis=1) for f in made])
    frame, atom = np.unravel_index(norms.argmax(), norms.shape)
    where = f"{norms.max():.2f} eV/Angstrom: frame {frame}, atom {atom} ({made[frame].symbols[atom]})"
    assert f"largest force spread of the committee {where}" in capsys.readouterr().out
    alone = made[0].copy()
    alone.arrays["mlip_forces_std"] = np.full((len(alone), 3), np.nan)
    assert potential.largest_spread([alone]) is None


def test_the_shipped_model_is_found_from_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_frames(tmp_path / "in.xyz", [tiny.rattled()])
    (frame,) = potential.predict("datasets/models/tio2-mg-li", tmp_path / "in.xyz", tmp_path / "out.xyz")
    frame.calc = potential.load(tiny.REPOSITORY / "datasets" / "models" / "tio2-mg-li")
    assert_allclose(frame.info["mlip_energy"], frame.get_potential_energy(), rtol=1e-9, atol=0)


def test_predict_asks_for_the_place_before_it_computes(committee, tmp_path, monkeypatch):
    def never(*_, **__):
        raise AssertionError

    monkeypatch.setattr("mlip.potential.potential.Evaluator", never)
    (tmp_path / "file").touch()
    write_frames(tmp_path / "in.xyz", [tiny.rattled()])
    with pytest.raises(ValueError, match="cannot be written"):
        potential.predict(committee, tmp_path / "in.xyz", tmp_path / "file" / "out.xyz")
    with pytest.raises(ValueError, match="is a folder; give the name of a file"):
        potential.predict(committee, tmp_path / "in.xyz", tmp_path)
