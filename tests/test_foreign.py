"""Files of other people: which label is meant, isolated atoms, zero forces, and what frames claim."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.io import read, write
from numpy.testing import assert_allclose

from mlip.atoms import cells, extxyz, foreign
from mlip.core.units import BOHR_ANGSTROM, HARTREE_EV

CASES = Path(__file__).parent / "data" / "labels"
UNITS = {"level_hash": "abc", "energy_unit": "eV", "force_unit": "eV/Angstrom"}


def imported(path, **more):
    return extxyz.import_frames(path, **UNITS, **more)


def refused(path, match, **more):
    with pytest.raises(ValueError, match=match) as caught:
        imported(path, **more)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


@pytest.fixture
def one(labelled):
    """A labelled slab as somebody else has it: names, energy and forces under any keys."""
    frame = labelled["001_11_Li_hop0"]
    made = Atoms(frame.symbols, positions=frame.positions, cell=frame.cell, pbc=True)
    made.info = {k: frame.info[k] for k in ("frame_id", "group", "host", "ion")}
    return made, frame.info["dft_energy"], frame.arrays["dft_forces"]


def written(path, frame, *, info=None, arrays=None, **results):
    frame = frame.copy()
    frame.info |= info or {}
    for key, value in (arrays or {}).items():
        frame.arrays[key] = value
    frame.calc = SinglePointCalculator(frame, **results) if results else None
    write(path, frame, format="extxyz")
    return path


# -- two energies, two sets of forces ----------------------------------------------------------------------------------


def test_energy_beside_free_energy_is_a_question_that_a_key_answers():
    path = CASES / "energy-and-free-energy.extxyz"
    text = refused(path, r"frame 0 \(001_11_Li_ah00\): holds energy and free_energy, which differ by 0\.0249")
    assert "keys: {energy: energy} or keys: {energy: free_energy}" in text
    free = imported(path, keys=extxyz.Keys(energy="free_energy"))
    assert_allclose(free[0].info["dft_energy"], -99.87110584656658, rtol=1e-12, atol=0)
    other = imported(path, keys=extxyz.Keys(energy="energy"))
    assert_allclose(other[0].info["dft_energy"], -99.84616411406752, rtol=1e-12, atol=0)


def test_two_sets_of_forces_are_a_second_question(labelled):
    path = CASES / "energy-and-REF.extxyz"
    refused(path, r"holds REF_energy and energy, which differ by 0\.169 ")
    refused(path, r"holds REF_forces and forces, which differ by", keys=extxyz.Keys(energy="REF_energy"))
    made = imported(path, keys=extxyz.Keys(energy="REF_energy", forces="REF_forces"))
    wanted = labelled["001_11_Li_ah00"]
    assert_allclose(made[0].info["dft_energy"], wanted.info["dft_energy"], rtol=1e-12, atol=0)
    assert_allclose(made[0].arrays["dft_forces"], wanted.arrays["dft_forces"], rtol=0, atol=1e-7)


ENERGIES = (
    "free_energy",
    "REF_energy",
    "dft_energy",
    "energy_free",
    "TotalEnergy",
    "E0",
    "energy_sigma_0",
    "MACE_energy",
)
NO_TOTAL_ENERGIES = (
    "energy_per_atom",
    "formation_energy",
    "kinetic_energy",
    "energy_std",
    "energy_weight",
    "mlip_energy",
    "dispersion_energy",
    "E_fermi",
    "energy_cutoff",
)


@pytest.mark.parametrize("key", ENERGIES)
def test_another_total_energy_is_asked_about(tmp_path, one, key):
    frame, energy, forces = one
    path = written(tmp_path / "a.extxyz", frame, info={key: energy + 0.03}, energy=energy, forces=forces)
    refused(path, rf"{key}.*which differ by 0\.03 ")


@pytest.mark.parametrize("key", NO_TOTAL_ENERGIES)
def test_a_value_that_is_no_total_energy_is_no_question(tmp_path, one, key):
    frame, energy, forces = one
    path = written(tmp_path / "a.extxyz", frame, info={key: 0.5}, energy=energy, forces=forces)
    assert_allclose(imported(path)[0].info["dft_energy"], energy, rtol=1e-12, atol=0)


def test_a_total_with_dispersion_is_asked_about_and_the_dispersion_alone_is_not(tmp_path, one):
    frame, energy, forces = one
    known = {"energy": energy, "forces": forces}
    imported(written(tmp_path / "a.extxyz", frame, info={"d3_energy": -2.3}, **known))
    refused(written(tmp_path / "b.extxyz", frame, info={"PBE_D3_energy": energy - 2.3}, **known), "PBE_D3_energy")


@pytest.mark.parametrize("key", ["REF_forces", "dft_forces", "MACE_forces", "gradient"])
def test_another_set_of_forces_is_asked_about(tmp_path, one, key):
    frame, energy, forces = one
    path = written(tmp_path / "a.extxyz", frame, arrays={key: 1.1 * forces}, energy=energy, forces=forces)
    refused(path, rf"holds .*{key}.* say which one is meant with keys: {{forces: forces}}")


def test_the_same_values_under_two_names_are_no_question(tmp_path, one):
    """Codes without smearing write energy and free_energy alike, and a gradient is the negative of the forces."""
    frame, energy, forces = one
    arrays = {"gradient": -forces, "forces_std": 0.1 * forces, "REF_forces": forces}
    path = written(tmp_path / "a.extxyz", frame, arrays=arrays, energy=energy, free_energy=energy, forces=forces)
    assert_allclose(imported(path)[0].info["dft_energy"], energy, rtol=1e-12, atol=0)


def test_labels_without_numbers_are_named(tmp_path, one):
    frame, _, forces = one
    path = written(tmp_path / "a.extxyz", frame, info={"E": "unknown"}, arrays={"F": forces})
    refused(path, r"E has the shape \(\) where numbers", keys=extxyz.Keys(energy="E", forces="F"))
    path = written(tmp_path / "b.extxyz", frame, info={"E": -1.0}, arrays={"F": forces[:, :2].copy()})
    refused(path, r"F has the shape \(13, 2\) where", keys=extxyz.Keys(energy="E", forces="F"))


# -- isolated atoms ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["few", "in-a-box", "without-cell"])
def test_isolated_atoms_are_left_out_with_that_reason(name):
    said = []
    made = imported(CASES / f"{name}.extxyz", say=said.append)
    assert [f.info["frame_id"] for f in made] == ["001_11_Li_ah00", "001_11_Li_ah01", "001_11_Li_ah02"]
    assert said == [
        f"{name}.extxyz: 4 isolated atoms left out (Ti, O, Li, Mg): no crystal or slab to train on",
    ]


def test_what_is_an_isolated_atom():
    assert foreign.is_isolated_atom(Atoms("Ti"))
    assert foreign.is_isolated_atom(Atoms("Ti", cell=[12, 12, 12], pbc=True))
    said = Atoms("Ti", cell=[5, 5, 5], pbc=True)
    said.info["config_type"] = "isolated_atom"
    assert foreign.is_isolated_atom(said)
    assert not foreign.is_isolated_atom(bulk("Cs", "bcc", a=6.1))  # one atom, and a metal
    assert not foreign.is_isolated_atom(bulk("Cu"))
    assert not foreign.is_isolated_atom(Atoms("O2", positions=[[0, 0, 0], [0, 0, 1.2]]))


def test_isolated_atoms_alone_are_no_dataset(tmp_path):
    write(tmp_path / "a.extxyz", read(CASES / "few.extxyz", ":4"), format="extxyz")
    refused(tmp_path / "a.extxyz", "holds isolated atoms only")


def test_a_molecule_without_a_cell_is_still_refused(tmp_path):
    write(tmp_path / "a.extxyz", Atoms("O2", positions=[[0, 0, 0], [0, 0, 1.2]]), format="extxyz")
    refused(tmp_path / "a.extxyz", r"frame 0 \(no frame_id\): has no three-dimensional cell")


# -- zero forces -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["zero-with-mask", "zero-without-mask"])
def test_zeros_on_held_atoms_are_refused_with_their_number(name):
    path = CASES / f"{name}.extxyz"
    text = refused(path, r"frame 0 \(001_11_Li_ah04\): forces on 6 of 13 atoms are exactly 0 where no symmetry")
    assert ("move_mask" in text) == (name == "zero-with-mask")
    assert "zero_forces_are_true: true" in text
    made = imported(path, zero_forces_are_true=True)
    assert len(made) == 3


@pytest.mark.parametrize("name", ["true-with-mask", "true"])
def test_true_forces_of_held_atoms_are_read_as_they_are(name, labelled):
    """ASE turns move_mask into a constraint and would give zero forces for the held atoms."""
    for frame in imported(CASES / f"{name}.extxyz"):
        wanted = labelled[frame.info["frame_id"]].arrays["dft_forces"]
        assert_allclose(frame.arrays["dft_forces"], wanted, rtol=0, atol=2e-8)
        assert not frame.constraints


def test_forces_in_other_arrays_are_read_through_constraints(tmp_path, one):
    frame, energy, forces = one
    frame.set_constraint(FixAtoms(range(6)))
    path = written(tmp_path / "a.extxyz", frame, info={"E": energy}, arrays={"F": forces})
    (made,) = imported(path, keys=extxyz.Keys(energy="E", forces="F"))
    assert_allclose(made.arrays["dft_forces"], forces, rtol=0, atol=2e-8)


def spoilt(one, change):
    frame, _, forces = one
    forces = forces.copy()
    change(forces)
    return frame, forces


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda f: f.__setitem__(3, 0.0), r"forces on 1 of 13 atoms"),
        (lambda f: f.__setitem__(3, [1e-12, -0.0, -3e-11]), r"forces on 1 of 13 atoms"),
        (lambda f: f.__setitem__(slice(0, 12), 0.0), r"forces on 12 of 13 atoms"),
        (lambda f: f.__setitem__((slice(0, 4), 2), 0.0), r"components of the forces on 4 of 13 atoms"),
        (lambda f: f.__setitem__((slice(0, 4), slice(0, 2)), 0.0), r"components of the forces on 4 of 13 atoms"),
    ],
)
def test_neighbours_of_zeros_on_held_atoms(one, change, match):
    frame, forces = spoilt(one, change)
    frame.rattle(0.05, seed=1)  # no site symmetry
    with pytest.raises(ValueError, match=match):
        foreign.require_true_zeros(frame, forces, step=1e-8)


def test_zeros_by_symmetry_are_true(labelled):
    """Ti of ideal anatase has no force by symmetry, O has one along c alone; atoms on a mirror plane have none across."""
    ideal = labelled["bulk_eq_0"]
    forces = ideal.arrays["dft_forces"]
    assert (forces == 0).sum() == 28
    foreign.require_true_zeros(ideal, forces, step=1e-8)
    free = foreign.free_components(ideal)
    assert not free[ideal.numbers == 22].any()
    assert (free[ideal.numbers == 8] == [False, False, True]).all()
    shifted = ideal.copy()
    shifted.positions[0] += [0.1, 0.13, 0.17]
    with pytest.raises(ValueError, match="forces on 4 of 12 atoms are exactly 0"):
        foreign.require_true_zeros(shifted, forces, step=1e-8)


def test_a_turned_crystal_has_its_zeros_along_its_own_axes():
    """The components that a symmetry allows are along x, y and z of the file, however the crystal lies in them."""
    chain = Atoms("TiO", positions=[[0, 0, 0], [0, 0, 1.9]], cell=[4, 4, 4], pbc=True)
    assert foreign.free_components(chain).tolist() == [[False, False, True]] * 2
    chain.rotate(30, "x", rotate_cell=True)
    assert foreign.free_components(chain).tolist() == [[False, True, True]] * 2


def test_zeros_of_rounding_are_true(one):
    frame, _, forces = one
    frame.rattle(0.05, seed=1)
    relaxed = np.round(forces * 0.02 / np.abs(forces).max(), 2)  # at most 0.02, in steps of 0.01
    assert (relaxed == 0).all(axis=1).any()
    assert foreign.decimals([relaxed]) == 2
    foreign.require_true_zeros(frame, relaxed, step=0.01)
    with pytest.raises(ValueError, match="are exactly 0"):
        foreign.require_true_zeros(frame, relaxed, step=1e-8)


def test_decimals():
    assert foreign.decimals([np.array([1.0, 20.0])]) == 0
    assert foreign.decimals([np.array([0.25]), np.array([-3.125, np.nan])]) == 3
    assert foreign.decimals([np.array([1 / 3])]) == foreign.DIGITS
    assert foreign.decimals([]) == 0


def test_zeros_in_atomic_units_are_zeros(tmp_path, one):
    frame, energy, forces = one
    forces = forces * BOHR_ANGSTROM / HARTREE_EV
    forces[:5] = 0.0
    path = written(tmp_path / "a.extxyz", frame, energy=energy / HARTREE_EV, forces=forces)
    with pytest.raises(ValueError, match="forces on 5 of 13 atoms"):
        extxyz.import_frames(path, level_hash="abc", energy_unit="Hartree", force_unit="Hartree/Bohr")


# -- claims ------------------------------------------------------------------------------------------------------------


def test_labels_of_a_cluster_in_a_tight_box_are_refused():
    refused(
        CASES / "labels-FFF-tight-box.extxyz",
        r"frame 0 \(cluster0\): pbc is F along the first cell vector, where only 2\.0 Angstrom are empty",
    )


@pytest.mark.parametrize("pbc", ["TTT", "TTF"])
def test_a_slab_may_be_open_along_its_vacuum(tmp_path, one, pbc):
    frame, energy, forces = one
    frame.pbc = [c == "T" for c in pbc]
    (made,) = imported(written(tmp_path / "a.extxyz", frame, energy=energy, forces=forces))
    assert made.info["vacuum"] is True
    assert made.pbc.all()


@pytest.mark.parametrize("pbc", ["FTT", "TFF", "FFF"])
def test_a_slab_is_not_open_along_its_surface(tmp_path, one, pbc):
    frame, energy, forces = one
    frame.pbc = [c == "T" for c in pbc]
    refused(written(tmp_path / "a.extxyz", frame, energy=energy, forces=forces), "pbc is F along the (first|second)")


def test_a_cluster_in_a_wide_box_is_taken_and_is_no_slab(tmp_path, one):
    frame, energy, forces = one
    frame.set_cell([20, 20, 30])
    frame.pbc = False
    (made,) = imported(written(tmp_path / "a.extxyz", frame, energy=energy, forces=forces))
    assert made.info["vacuum"] is False
    refused(
        written(tmp_path / "b.extxyz", frame, info={"vacuum": True}, energy=energy, forces=forces),
        r"vacuum is T, but the gaps along .* are those around a molecule; .*vacuum=F",
    )


def test_a_crystal_is_no_slab_and_a_slab_no_crystal(tmp_path, one, labelled):
    frame, energy, forces = one
    path = written(tmp_path / "a.extxyz", frame, info={"vacuum": False}, energy=energy, forces=forces)
    refused(path, r"vacuum is F, but .* 13\.5 Angstrom, along the third cell vector: write vacuum=T")
    crystal = labelled["bulk1_Li_site"]
    bare = Atoms(crystal.symbols, positions=crystal.positions, cell=crystal.cell, pbc=True)
    bare.info = {k: crystal.info[k] for k in ("group", "host", "ion")}
    forces = crystal.arrays["dft_forces"]
    path = written(tmp_path / "b.extxyz", bare, info={"vacuum": True}, energy=-99.0, forces=forces)
    refused(path, "vacuum is T, but .*; write vacuum=F")
    path = written(tmp_path / "c.extxyz", bare, info={"vacuum": "maybe"}, energy=-99.0, forces=forces)
    refused(path, "vacuum is 'maybe', T or F is allowed")
    (made,) = imported(written(tmp_path / "d.extxyz", bare, energy=-99.0, forces=forces))
    assert made.info["vacuum"] is False


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("claim", [{}, {"vacuum": True}])
def test_a_slab_whose_normal_is_another_vector_is_turned(tmp_path, one, axis, claim):
    frame, energy, forces = one
    there, back = foreign.turned(frame, forces, 1 - axis)
    assert cells.vacuum_axes(there) == (axis,)
    said = []
    path = written(tmp_path / "a.extxyz", there, info={"kpts": "4 4 1"} | claim, energy=energy, forces=back)
    (made,) = imported(path, say=said.append)
    assert cells.vacuum_axes(made) == (2,)
    assert made.info["vacuum"] is True
    assert_allclose(np.linalg.det(made.cell.array), np.linalg.det(frame.cell.array), rtol=1e-10, atol=0)
    assert_allclose(made.get_all_distances(mic=True), frame.get_all_distances(mic=True), rtol=0, atol=1e-6)
    assert said == [
        f"a.extxyz: 1 slabs turned, so that their vacuum is along the third vector: {frame.info['frame_id']}"
    ]


def test_turning_turns_forces_with_positions(one):
    frame, _, forces = one
    frame.info["kpts"] = np.array([4, 3, 1])
    made, turned = foreign.turned(frame, forces, 0)
    assert_allclose(made.positions[:, 2], frame.positions[:, 0], rtol=0, atol=0)
    assert_allclose(made.cell.array[2], [0, 0, frame.cell[0, 0]], rtol=0, atol=0)
    assert_allclose(turned[:, 2], forces[:, 0], rtol=0, atol=0)
    assert_allclose((turned * made.positions).sum(), (forces * frame.positions).sum(), rtol=1e-12, atol=0)
    assert made.info["kpts"].tolist() == [3, 1, 4]
