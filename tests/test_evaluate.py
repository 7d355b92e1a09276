import math
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from numpy.testing import assert_allclose

from mlip.potential.potential import Predicted
from mlip.stages.dataset.card import LabelledPath
from mlip.stages.evaluate import evaluate


def frame(name, group, *, energy=-10.0, seed=0, symbols="TiO2Li"):
    rng = np.random.default_rng(seed)
    positions = np.array([[0.0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 2.0]])[: len(Atoms(symbols))]
    atoms = Atoms(symbols, positions=positions, cell=[8, 8, 8], pbc=True)
    atoms.info |= {"frame_id": name, "group": group, "REF_energy": energy}
    atoms.arrays["REF_forces"] = rng.normal(size=(len(atoms), 3))
    return atoms


def found(atoms, *, wrong=0.0, scale=1.0, energies=(0.0,)):
    """A prediction whose forces are `scale` times the reference plus `wrong`, per member; energies add to it."""
    energy = atoms.info["REF_energy"] + np.array(energies)
    forces = np.array([scale * atoms.arrays["REF_forces"] + wrong for _ in energies])
    return Predicted(energy, forces, None)


def measured(frames, predicted, *, paths=(), ions=("Li",), shell=2.5):
    return evaluate.errors("arm", frames, predicted, paths=paths, ions=ions, shell_angstrom=shell)


def test_perfect_model():
    frames = [frame("a", "g1"), frame("b", "g2", seed=1)]
    e = measured(frames, [found(f) for f in frames])
    assert (e.force_rmse_ev_per_angstrom, e.energy_rmse_ev_per_atom) == (0.0, 0.0)
    assert_allclose(e.force_slope, 1.0, rtol=1e-12, atol=0)
    assert e.calibration is None
    assert e.frames == 2


def test_known_errors():
    frames = [frame("a", "g1"), frame("b", "g2", seed=1)]
    predicted = [found(frames[0], wrong=0.3, energies=[0.4]), found(frames[1], wrong=-0.1, energies=[-0.8])]
    e = measured(frames, predicted)
    assert_allclose(e.force_rmse_ev_per_angstrom, math.sqrt((0.09 + 0.01) / 2), rtol=1e-12, atol=0)
    assert_allclose(e.energy_rmse_ev_per_atom, math.sqrt((0.01 + 0.04) / 2), rtol=1e-12, atol=0)
    assert [(g.group, g.frames) for g in e.groups] == [("g1", 1), ("g2", 1)]
    assert_allclose([g.force_rmse_ev_per_angstrom for g in e.groups], [0.3, 0.1], rtol=1e-12, atol=0)
    assert_allclose([g.energy_rmse_ev_per_atom for g in e.groups], [0.1, 0.2], rtol=1e-12, atol=0)


def test_softening_is_the_slope():
    frames = [frame("a", "g")]
    assert_allclose(measured(frames, [found(frames[0], scale=0.8)]).force_slope, 0.8, rtol=1e-12, atol=0)


def test_errors_by_species_and_on_the_ion_with_its_shell():
    atoms = frame("a", "g")
    wrong = np.zeros((4, 3))
    wrong[0], wrong[1], wrong[3] = 0.1, 0.2, 0.3  # Ti, one O, Li
    e = measured([atoms], [found(atoms, wrong=wrong)])
    assert set(e.species_force_rmse) == {"Li", "O", "Ti"}
    assert_allclose(e.species_force_rmse["Ti"], 0.1, rtol=1e-12, atol=0)
    assert_allclose(e.species_force_rmse["O"], 0.2 / math.sqrt(2), rtol=1e-12, atol=0)
    # Li at (0, 0, 2): Ti at 2.0 is inside 2.5 Angstrom, both O at 2.83 are not
    assert_allclose(e.ion_shell_force_rmse, math.sqrt((0.01 + 0.09) / 2), rtol=1e-12, atol=0)
    across = frame("b", "g")
    across.positions[3] = [0, 0, 6.0]  # the same distance through the boundary
    assert_allclose(
        measured([across], [found(across, wrong=wrong)]).ion_shell_force_rmse,
        e.ion_shell_force_rmse,
        rtol=1e-12,
        atol=0,
    )


def test_no_ion_no_shell_error():
    atoms = frame("a", "g", symbols="TiO2")
    assert measured([atoms], [found(atoms)]).ion_shell_force_rmse is None


def test_saddles_are_relative_to_the_initial_image_of_their_labelled_path():
    frames = [frame(f"p{k}", "x", energy=-10.0 + 0.1 * k) for k in range(3)] + [frame("md", "x_md")]
    predicted = [found(f, energies=[0.5 + 0.02 * k]) for k, f in enumerate(frames)]
    path = LabelledPath(
        group="x", host="001", ion="Li", hop="001_in", initial="p0", saddle="p2", geometry="CI-NEB image"
    )
    elsewhere = replace(path, group="y", saddle="of another part")
    (one,) = measured(frames, predicted, paths=(elsewhere, path)).paths
    assert (one.group, one.initial, one.saddle) == ("x", "p0", "p2")
    assert_allclose([one.dft_ev, one.model_ev], [0.2, 0.24], rtol=1e-9, atol=0)
    assert measured(frames, predicted).paths == ()


def test_calibration_is_one_where_the_spread_is_the_error():
    rng = np.random.default_rng(0)
    frames = [frame(str(k), "g", seed=k) for k in range(400)]
    predicted = []
    for atoms in frames:
        reference = atoms.arrays["REF_forces"]
        forces = reference + rng.normal(scale=0.2, size=(2, *reference.shape))
        predicted.append(Predicted(np.full(2, -10.0), forces, None))
    # the mean of two errs by sigma/sqrt(2), their sample deviation estimates sigma
    assert_allclose(measured(frames, predicted).calibration, 1 / math.sqrt(2), rtol=0.05, atol=0)
    assert measured(frames[:1], [found(frames[0], energies=[0.0])]).calibration is None


def test_calibration_of_members_that_agree_is_finite():
    atoms = frame("a", "g")
    assert math.isfinite(measured([atoms], [found(atoms, wrong=0.1, energies=[0, 0])]).calibration)


def test_parity_lists_everything():
    frames = [frame("a", "g"), frame("b", "g", symbols="TiO2")]
    drawn = evaluate.parity(frames, [found(f, wrong=0.5, energies=[0.4]) for f in frames])
    assert_allclose(drawn.energy_ref_ev_per_atom, [-2.5, -10 / 3], rtol=1e-12, atol=0)
    assert_allclose(drawn.energy_ev_per_atom, [-2.4, -9.6 / 3], rtol=1e-12, atol=0)
    assert len(drawn.force) == len(drawn.force_ref) == 12 + 9
    assert_allclose(np.array(drawn.force) - drawn.force_ref, 0.5, rtol=0, atol=2e-4)


def test_pooled_folds_hold_each_frame_once():
    a, b = frame("a", "g1"), frame("b", "g2")
    frames, predicted = evaluate.pooled([([a], [found(a)]), ([b], [found(b)])])
    assert [f.info["frame_id"] for f in frames] == ["a", "b"]
    assert len(predicted) == 2
    with pytest.raises(ValueError, match="a frame is in two of them"):
        evaluate.pooled([([a], [found(a)]), ([a], [found(a)])])


def test_table_has_a_line_per_arm():
    atoms = frame("a", "g")
    clean = frame("b", "g", symbols="TiO2")
    lines = evaluate.table(
        {"one": measured([atoms], [found(atoms, wrong=0.05)]), "two": measured([clean], [found(clean)])}
    ).splitlines()
    assert len(lines) == 3
    assert lines[1].split()[:4] == [
        "one",
        "50.0",
        f"{measured([atoms], [found(atoms, wrong=0.05)]).force_slope:.3f}",
        "50",
    ]
    assert lines[2].split()[3] == "-"


def test_on_the_tiny_potential(split, calculator):
    e = measured(split.test, calculator.evaluator(split.test), ions=("Mg", "Li"))
    assert e.frames == len(split.test)
    assert e.force_rmse_ev_per_angstrom > 0
    assert e.calibration > 0
    assert sorted(e.species_force_rmse) == ["Mg", "O", "Ti"]


def as_predicted(level, **labels):
    """Two frames as `mlip predict` gives them; the second has no labels. Forces are off by 0.1, the energy by 0.02 an atom."""
    atoms = Atoms("TiO2", positions=[[0, 0, 0], [2, 0, 0], [0, 2, 0]], cell=[8, 8, 8], pbc=True)
    atoms.info |= {"mlip_energy": -29.94, "mlip_level": level}
    atoms.arrays["mlip_forces"] = np.array([[1.1, 0, 0], [0.1, 0, 0], [-0.9, 0, 0]])
    bare = atoms.copy()
    for key, value in labels.items():
        (atoms.arrays if key.endswith("forces") else atoms.info)[key] = value
    return [atoms, bare]


PBE = {"dft_energy": -30.0, "dft_forces": np.array([[1.0, 0, 0], [0, 0, 0], [-1.0, 0, 0]])}


def test_predictions_are_compared_with_the_labels_that_are_in_the_file():
    said = evaluate.against_labels(as_predicted("PBE", **PBE))
    assert said.startswith(
        "against the labels of 1 of 2 frames: forces 58 meV/A rms of 471, energies 20.0 meV/atom rms"
    )
    assert evaluate.against_labels(as_predicted("PBE")) is None
    assert evaluate.against_labels(as_predicted("unknown", **PBE)) is None


def test_predictions_with_dispersion_are_compared_with_labels_that_have_it():
    assert evaluate.against_labels(as_predicted("PBE-D3(BJ)", **PBE)) is None
    labels = PBE | {"d3_energy": -0.03, "d3_forces": np.full((3, 3), [0.1, 0, 0])}
    said = evaluate.against_labels(as_predicted("PBE-D3(BJ)", **labels))
    assert "forces 0 meV/A rms" in said
    assert "energies 30.0 meV/atom" in said
