"""What frames say of their vacuum, their periodicity and their normal, held against their atoms."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc100, molecule
from ase.io import read, write
from helpers import cells as tiny_frames
from helpers import tiny
from helpers.vasp_jobs import paw_data, vasprun
from numpy.testing import assert_allclose

from mlip.atoms import cells, extxyz
from mlip.cli import main
from mlip.dft import engines, queue
from mlip.dft.engines import vasp
from mlip.dft.settings import Dft
from mlip.potential import potential

DATA = Path(__file__).parent / "data" / "frames"
MODEL = tiny.DATA.parent / "models" / "tio2-mg-li"
PLAIN = {  # frames that are periodic in three directions, right-handed and in one piece, by the file that has them
    "slab": "reference_TTT",
    "cluster": "reference_box_TTT",
    "wire": "TTT_0",
    "left_handed": "bulk1_Li_hop50_right",
}
DFT = Dft(preset="vasp-paper", settings={"dispersion": "none"})
DIPOLE = Dft(preset="vasp-paper", settings={"dispersion": "none", "dipole": True})


def frame(name):
    return extxyz.read_frames(DATA / f"{name}.extxyz")[0]


@pytest.fixture(scope="module")
def evaluator():
    return potential.load(MODEL).evaluator


@pytest.fixture(scope="module")
def plain_ev(evaluator):
    """Energy of the plain frame of every file, as the potential gives it without any change of the frame."""
    listed = {file: {f.info["frame_id"]: f for f in extxyz.read_frames(DATA / f"{file}.extxyz")} for file in PLAIN}
    found = evaluator([listed[file][name] for file, name in PLAIN.items()])
    energies = {file: one.energy_ev for file, one in zip(PLAIN, found, strict=True)}
    assert len({round(ev) for ev in energies.values()}) == len(PLAIN)
    return energies


def predicted(evaluator, frames):
    """Energies as `mlip predict` gives them."""
    return [p.energy_ev for p in evaluator(potential.whole_frames(frames, Path("f.extxyz")))]


# -- predict ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["slab", "cluster", "wire"])
def test_energies_do_not_depend_on_origin_wrapping_and_vectors_along_the_vacuum(tmp_path, name, plain_ev):
    out = tmp_path / "o.extxyz"
    assert main(["predict", str(MODEL), str(DATA / f"{name}.extxyz"), "-o", str(out)]) == 0
    found = [f.info["mlip_energy"] for f in extxyz.read_frames(out)]
    assert_allclose(found, plain_ev[name], rtol=0, atol=2e-6)
    given = extxyz.read_frames(DATA / f"{name}.extxyz")
    for before, after in zip(given, extxyz.read_frames(out), strict=True):
        assert_allclose(after.positions, before.positions, rtol=0, atol=1e-7)
        assert_allclose(after.cell.array, before.cell.array, rtol=0, atol=1e-7)
        assert list(after.pbc) == list(before.pbc)


def test_left_handed_cells_have_the_energies_of_their_right_handed_ones(evaluator, plain_ev):
    found = predicted(evaluator, extxyz.read_frames(DATA / "left_handed.extxyz"))
    assert_allclose(found, [plain_ev["slab"]] * 4 + [plain_ev["left_handed"]] * 4, rtol=0, atol=2e-6)


def partial(pbc, *, shift=0.0, wrap=False):
    """The slab of the data, not periodic everywhere, moved along its normal."""
    atoms = frame("slab")
    atoms.positions[:, 2] += shift
    if wrap:
        atoms.wrap()
    atoms.pbc = pbc
    return atoms


@pytest.mark.parametrize("shift", [-11.55, -8.0, 5.0, 11.55])
def test_a_slab_that_is_wrapped_across_its_vacuum_is_evaluated_in_one_piece(evaluator, plain_ev, shift, capsys):
    cut = partial((True, True, False), shift=shift, wrap=True)
    assert_allclose(predicted(evaluator, [cut]), plain_ev["slab"], rtol=0, atol=2e-6)
    is_cut = np.ptp(cut.positions[:, 2]) > 10.0
    assert is_cut == (abs(shift) > 5.0)
    assert ("cut in two by the faces of the third cell vector" in capsys.readouterr().err) == is_cut
    assert list(cut.pbc) == [True, True, False]


def test_wires_and_clusters_that_are_wrapped_too(evaluator, plain_ev):
    for name in ("wire", "cluster"):
        atoms = next(
            f for f in extxyz.read_frames(DATA / f"{name}.extxyz") if f.info["frame_id"] in {"TFF_0_0", "FFF_in_box"}
        )
        pbc = atoms.pbc.copy()
        atoms.positions += 0.5 * atoms.cell.array[2] - [0, 0, atoms.positions[:, 2].mean()] - atoms.cell.array[2] / 2
        atoms.wrap(pbc=True)
        atoms.pbc = pbc
        assert np.ptp(atoms.positions[:, 2]) > 20.0
        assert_allclose(predicted(evaluator, [atoms]), plain_ev[name], rtol=0, atol=2e-6)


def test_an_ion_far_above_a_slab_is_no_cut():
    atoms = partial((True, True, False))
    atoms.positions[-1, 2] += 7.0
    assert cells.rejoined(atoms)[1] == ()
    small = frame("cluster")
    small.pbc = False
    small.set_cell(np.eye(3), scale_atoms=False)
    assert cells.rejoined(small)[1] == ()
    assert cells.rejoined(frame("slab"))[1] == ()


@pytest.mark.parametrize("pbc", [(False, False, True), (True, False, True), (False, True, True)])
def test_pbc_that_leaves_out_a_filled_vector_and_not_the_vacuum_is_refused(tmp_path, pbc):
    atoms = partial(pbc)
    write(tmp_path / "f.extxyz", [frame("slab"), atoms], format="extxyz")
    which = "first" if not pbc[0] else "second"
    message = (
        rf"f.extxyz: frame 1 \(reference_TTT\): pbc is F along the {which} cell vector, across whose face atoms are "
        "neighbours, and T along the third, where 14.5 Angstrom are empty: write pbc=F along the vacuum only, or T T T"
    )
    with pytest.raises(ValueError, match=message):
        potential.predict(MODEL, tmp_path / "f.extxyz", tmp_path / "o.extxyz")


def anatase_cell(*pbc):
    """Twelve atoms and Li, rattled, that fill the cell."""
    frames = extxyz.read_frames(tiny.DATA / "frames.extxyz")
    atoms = next(f for f in frames if f.info["host"] == "bulk" and f.info["ion"] == "Li" and len(f) == 13)
    return Atoms(atoms.symbols, positions=atoms.positions, cell=atoms.cell, pbc=pbc)


@pytest.mark.parametrize(
    ("pbc", "told"),
    [
        ((False, False, False), "pbc is F along the first and second and third cell vectors, across whose faces atoms"),
        ((True, False, True), "pbc is F along the second cell vector, across whose faces atoms are neighbours: write "),
        ((True, True, False), "pbc is F along the third cell vector, .*: write pbc=T, or give a cluster a cell that"),
    ],
)
def test_a_crystal_that_is_not_periodic_is_refused(tmp_path, pbc, told):
    write(tmp_path / "f.extxyz", [anatase_cell(1, 1, 1), anatase_cell(*pbc)], format="extxyz")
    source, out = tmp_path / "f.extxyz", tmp_path / "o.extxyz"
    for words in (["predict", MODEL, source], ["relax", source, "--model", MODEL]):
        with pytest.raises(ValueError, match=rf"f\.extxyz: frame 1 \(no frame_id\): {told}"):
            main(["--debug", *map(str, words), "-o", str(out)])
    assert not (tmp_path / "o.extxyz").exists()


def test_a_slab_that_is_periodic_nowhere_is_refused():
    with pytest.raises(ValueError, match="pbc is F along the first and second cell vectors, across whose faces atoms"):
        cells.rejoined(partial((False, False, False)))


@pytest.mark.parametrize("atoms", [bulk("Cu"), bulk("Na"), bulk("Al"), bulk("MgO", "rocksalt", a=4.21)])
def test_a_primitive_cell_that_is_not_periodic_is_refused(atoms):
    cells.rejoined(atoms)
    atoms.pbc = False
    with pytest.raises(ValueError, match="first and second and third cell vectors, across whose faces atoms are neigh"):
        cells.rejoined(atoms)


@pytest.mark.parametrize("name", ["H2O", "CO2", "CH4", "C6H6", "NaCl", "CH3CH2OH"])
def test_molecules_in_a_tight_box_stay_alone(name):
    """A box of 6 Angstrom leaves no vacuum, but images are not bonded either: nothing is refused."""
    atoms = molecule(name, cell=[6, 6, 6])
    atoms.center()
    assert cells.rejoined(atoms) == (atoms, ())
    alone = Atoms("Ti", positions=[[3, 3, 3]], cell=[6, 6, 6])
    assert cells.rejoined(alone) == (alone, ())


def test_clusters_and_slabs_in_a_box_of_their_own_extent_stay_alone():
    """The first and last layer would lie on each other if the cell were periodic, so it is none of a crystal."""
    cluster = bulk("MgO", "rocksalt", a=4.21, cubic=True).repeat(2)
    cluster.pbc = False
    cluster.set_cell(np.ptp(cluster.positions, axis=0) + 1e-4)
    slab = fcc100("Al", (2, 2, 3), a=4.05, periodic=True)
    slab.cell[2] = [0, 0, np.ptp(slab.positions[:, 2])]
    slab.pbc = (True, True, False)
    for atoms in (cluster, slab):
        assert cells.rejoined(atoms) == (atoms, ())


def test_periodic_vectors_in_a_plane_are_refused_with_the_frame(tmp_path):
    atoms = frame("slab")
    atoms.set_cell([[3.8, 0, 0], [7.6, 0, 0], [0, 0, 23.1]], scale_atoms=False)
    write(tmp_path / "f.extxyz", atoms, format="extxyz")
    with pytest.raises(
        ValueError, match=r"f.extxyz: frame 0 \(reference_TTT\): its periodic cell vectors .* in a plane"
    ):
        extxyz.read_frames(tmp_path / "f.extxyz")
    assert len(extxyz.read_frames(DATA / "cluster.extxyz")) == 6  # a cell that says nothing is no fault


def test_forces_stay_in_the_frame_of_the_user(evaluator):
    frames = {f.info["frame_id"]: f for f in extxyz.read_frames(DATA / "slab.extxyz")}
    first, other = evaluator([frames["reference_TTT"], frames["TTF_normal_along_x"]])
    assert_allclose(other.mean_forces[:, [2, 1, 0]], first.mean_forces, rtol=0, atol=1e-7)


# -- enclosing cells -------------------------------------------------------------------------------------------------


def test_the_cell_of_a_neighbour_list_keeps_periodic_vectors_and_is_normal_elsewhere():
    atoms = frame("slab")
    assert_allclose(cells.enclosing(atoms, margin_angstrom=12.0), atoms.cell.array, rtol=0, atol=0)
    atoms.pbc = (True, False, False)
    found = cells.enclosing(atoms, margin_angstrom=12.0)
    assert_allclose(found[0], atoms.cell.array[0], rtol=0, atol=0)
    assert_allclose(found @ found[0], [found[0] @ found[0], 0.0, 0.0], rtol=0, atol=1e-9)
    assert (np.linalg.norm(found[1:], axis=1) >= 12.0).all()
    atoms.pbc = False
    found = cells.enclosing(atoms, margin_angstrom=12.0)
    assert_allclose(found @ found.T - np.diag(np.diag(found @ found.T)), 0.0, rtol=0, atol=1e-9)
    atoms.pbc = (True, True, False)
    atoms.cell[1] = atoms.cell[0]
    with pytest.raises(ValueError, match="the periodic cell vectors are not independent"):
        cells.enclosing(atoms, margin_angstrom=12.0)


# -- labels ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def run_of(tmp_path, monkeypatch):
    """A function that makes a run of one file of frames and asks what it would cost."""
    monkeypatch.setenv("VASP_PP_PATH", str(paw_data(tmp_path / "pp")))

    def check(frames, *, dipole=False):
        files = [str(frames)]
        (tmp_path / "c.yaml").write_text(
            "common: {workers: 1}\n"
            f"dft: {{preset: vasp-paper, settings: {{dispersion: none, dipole: {str(dipole).lower()}}}}}\n"
            f"label: {{frames: {files}}}\ntracking: {{mode: disabled}}\n"
        )
        assert main(["init", str(tmp_path / "c.yaml"), str(tmp_path / "run")]) == 0
        return main(["label", str(tmp_path / "run"), "--check"])

    return check


@pytest.mark.parametrize(
    ("name", "mesh"), [("normal_a", "1x4x4"), ("normal_b", "4x1x4"), ("normal_c", "4x4x1"), ("c_tilted", "4x4x1")]
)
def test_meshes_have_one_point_along_the_normal_whichever_vector_it_is(run_of, capsys, name, mesh):
    assert run_of(DATA / f"{name}.extxyz") == 0
    assert f"12 atoms, {mesh} k-points" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "bulk_said_to_be_slab",
            (
                "frame bulk_said_to_be_slab: vacuum is T, but the largest empty gap is 1.9 Angstrom, along the third cell "
                "vector: a slab needs 8 Angstrom; write vacuum=F for a crystal"
            ),
        ),
        (
            "said_to_be_bulk",
            (
                "frame said_to_be_bulk: vacuum is F, but the largest empty gap is 14.7 Angstrom, along the third cell "
                "vector: write vacuum=T for a slab"
            ),
        ),
    ],
)
def test_frames_that_state_what_their_atoms_do_not_show_are_refused_by_name(run_of, capsys, name, message):
    assert run_of(DATA / f"{name}.extxyz") == 1
    assert message in capsys.readouterr().err


def test_a_crystal_that_is_called_one_has_its_mesh(run_of, tmp_path, capsys):
    atoms = frame("bulk_said_to_be_slab")
    atoms.info["vacuum"] = False
    write(tmp_path / "f.extxyz", atoms, format="extxyz")
    assert run_of(tmp_path / "f.extxyz") == 0
    assert "12 atoms, 4x4x2 k-points" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "axis"), [("normal_a", "1"), ("normal_b", "2"), ("normal_c", "3"), ("c_tilted", "3")])
def test_the_dipole_of_vasp_is_along_the_normal(name, axis):
    tags = vasp.incar(frame(name), engines.settings_of(DIPOLE))
    assert (tags["IDIPOL"], tags["LDIPOL"]) == (axis, ".TRUE.")
    assert "IDIPOL" not in vasp.incar(frame(name), engines.settings_of(DFT))


def test_the_layer_of_the_dipole_needs_vacuum_at_the_face_of_the_normal():
    for name, k in (("normal_a", 0), ("normal_b", 1), ("normal_c", 2)):
        atoms = frame(name)
        assert engines.clear_of_boundary(atoms)
        assert_allclose(engines.normal(atoms), np.eye(3)[k], rtol=0, atol=1e-12)
        atoms.positions[:, k] -= atoms.positions[:, k].min()
        assert not engines.clear_of_boundary(atoms)


def test_normals_of_turned_and_reversed_cells():
    tilted, below = frame("c_tilted"), frame("normal_c")
    below.cell[2] *= -1.0
    for atoms in (tilted, below):
        assert_allclose(engines.normal(atoms), [0, 0, 1], rtol=0, atol=1e-9)


@pytest.mark.parametrize("reversed_axis", [0, 1, 2])
def test_left_handed_cells_reach_vasp_right_handed_and_come_back(tmp_path, monkeypatch, reversed_axis):
    monkeypatch.setenv("VASP_PP_PATH", str(paw_data(tmp_path / "pp")))
    atoms = frame("normal_c")
    atoms.cell[reversed_axis] *= -1.0
    assert cells.is_left_handed(atoms)
    waiting = tiny_frames.in_process([atoms], DFT, tmp_path / "labels")
    assert "inputs are written" in waiting["normal_c"]
    (poscar,) = (tmp_path / "labels").rglob("POSCAR")
    written, order = read(poscar, format="vasp"), vasp.order(atoms)
    assert not cells.is_left_handed(written)
    assert_allclose(written.positions, atoms.positions[order], rtol=0, atol=1e-9)
    lattice = written.cell.array @ np.linalg.inv(atoms.cell.array)
    assert_allclose(lattice, np.round(lattice), rtol=0, atol=1e-9)
    forces = np.zeros((12, 3))
    forces[0], forces[1] = [0.1, 0.0, 0.3], [-0.1, 0.0, -0.3]
    vasprun(poscar.parent, energy_ev=-100.0, forces=forces)
    found = vasp.session(engines.settings_of(DFT))(atoms, poscar.parent)
    assert_allclose(found.forces[order], forces, rtol=0, atol=1e-8)


def al(gap, *, ion=None, repeat=(2, 2), layers=3, **info):
    """Al(001) with this gap; an ion 2 Angstrom above."""
    atoms = fcc100("Al", (*repeat, layers), a=4.05, periodic=True)
    atoms.cell[2] = [0.0, 0.0, np.ptp(atoms.positions[:, 2]) + gap]
    if ion:
        atoms += Atoms(ion, [[0.0, 0.0, atoms.positions[:, 2].max() + 2.0]])
    known = {"frame_id": "al", "host": "001", "ion": ion or "none", "group": "g", "sampling": "s", "vacuum": True}
    atoms.info = known | info
    return atoms


@pytest.mark.parametrize("vacuum", [8.0, 9.0, 40.0])
@pytest.mark.parametrize("ion", [None, "Li"])
@pytest.mark.parametrize("layers", [2, 9])
def test_slabs_thinner_and_thicker_than_their_vacuum_pass_also_with_an_ion_in_it(vacuum, ion, layers):
    queue.require_consistent([al(vacuum, ion=ion, layers=layers)])


@pytest.mark.parametrize("along", [-3.0, 0.0, 7.0, 500.0])
@pytest.mark.parametrize("pbc", [(True, True, True), (True, True, False)])
def test_slabs_off_the_origin_and_across_the_boundary_pass(along, pbc):
    atoms = al(15.0)
    atoms.positions[:, 2] += along
    atoms.pbc = pbc
    queue.require_consistent([atoms])
    atoms.wrap(pbc=True)
    queue.require_consistent([atoms])


def wire(**info):
    atoms = al(15.0, repeat=(5, 2), **info)
    atoms.cell[0] *= 2.0
    return atoms


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: al(7.0), "frame al: vacuum is T, but the largest empty gap is 7.0 Angstrom, along the third cell vec"),
        (lambda: al(15.0, vacuum=False), "frame al: vacuum is F, but the largest empty gap is 15.0 Angstrom"),
        (wire, "frame al: vacuum is T, but the gaps along the first and third cell vectors are those around a wire"),
        (
            lambda: Atoms("Li", cell=[9, 9, 9], pbc=True, info=al(9.0).info | {"ion": "none"}),
            "frame al: vacuum is T, but the gaps along the first and second and third .* around a molecule",
        ),
    ],
)
def test_other_false_statements_are_refused(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        queue.require_consistent([make()])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("pbc", [(False, False, True), (True, False, True), (False, False, False)])
def test_a_frame_that_dft_would_repeat_where_it_is_not_periodic_is_refused(pbc):
    atoms = al(15.0)
    atoms.pbc = pbc
    which = "first" if not pbc[0] else "second"
    message = (
        rf"frame al: pbc is F along the {which} cell vector, where only 1\.\d Angstrom are empty, and DFT takes each"
    )
    with pytest.raises(ValueError, match=message):
        queue.require_consistent([atoms])


def test_wires_and_molecules_are_labelled_where_nothing_calls_them_slabs():
    queue.require_consistent([wire(vacuum=False)])
    for pbc in (True, False):
        alone = Atoms("LiH", [[0, 0, 0], [0, 0, 1.6]], cell=[10, 10.5, 11], pbc=pbc, info=al(9.0, vacuum=False).info)
        queue.require_consistent([alone])


def test_every_shipped_frame_passes():
    frames = extxyz.read_frames(tiny.DATA / "frames.extxyz")
    for atoms in frames:
        cells.require_consistent(atoms)
        assert engines.normal_axis(atoms) == (2 if atoms.info["vacuum"] else None)
    assert len(frames) > 200
