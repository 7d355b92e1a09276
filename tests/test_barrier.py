"""A barrier between two structure files, and relaxed structures, without a run."""

import re

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc100
from ase.calculators.emt import EMT
from ase.io import read, write
from helpers import tiny
from helpers.potentials import hop
from numpy.testing import assert_allclose

import mlip
from mlip import cli
from mlip.atoms.ends import matched
from mlip.core import files
from mlip.stages.neb import neb
from mlip.stages.neb.settings import NebSettings
from mlip.tools import barrier as tool

SHORT = NebSettings(images=3, max_steps=4, end_max_steps=3, end_fmax_ev_per_angstrom=5.0)


def shuffled(atoms, seed=0):
    order = np.random.default_rng(seed).permutation(len(atoms))
    return atoms[order]


# --- one order of atoms for both ends


def test_matched_puts_the_ion_last_and_undoes_another_order_and_wrapping():
    initial, final = hop()
    mixed = shuffled(final)
    mixed.positions[2] += mixed.cell[0]
    first, last = matched(initial[[4, 0, 1, 2, 3]], mixed)
    assert first.symbols[-1] == last.symbols[-1] == "Li"
    assert_allclose(first.positions[-1], initial.positions[-1], atol=1e-12)
    moves = last.positions - first.positions
    moves -= np.round(moves / initial.cell.lengths()) * initial.cell.lengths()
    assert_allclose(np.linalg.norm(moves, axis=1), [0, 0, 0, 0, 3.0], atol=1e-9)


def test_matched_keeps_an_order_in_which_only_the_ion_moves_far():
    """Two Ti exchange places in no hop: where the order fits, nothing is assigned anew."""
    initial, final = hop()
    first, last = matched(initial, final)
    assert_allclose(first.positions, initial.positions, atol=0)
    assert_allclose(last.positions, final.positions, atol=0)


def test_matched_finds_the_ion_of_the_crystal_that_moves():
    """Three Li of a crystal with a vacancy: the second one hops."""
    places = np.array([[0, 0, 0], [3, 0, 0], [6, 0, 0], [1.5, 2, 0]], float)
    initial = Atoms("Li3O", positions=places, cell=[12, 8, 8], pbc=True)
    final = initial.copy()
    final.positions[1] = [3, 0, 3]
    first, last = matched(initial, final[[3, 2, 1, 0]], ion="Li")
    assert_allclose(first.positions[-1], [3, 0, 0])
    assert_allclose(last.positions[-1], [3, 0, 3])


@pytest.mark.parametrize(
    ("change", "ion", "told"),
    [
        (lambda a: a[:-1], None, r"hold different atoms \(Li1O2Ti2 and O2Ti2\): give one cell"),
        (lambda a: a, "Na", "hold no Na, only Li1O2Ti2: name the ion"),
        (lambda a: (a.set_cell(a.cell * 1.01), a)[1], None, "differ in cell by up to 0.14 Angstrom"),
    ],
)
def test_matched_refuses(change, ion, told):
    initial, final = hop()
    with pytest.raises(ValueError, match=told):
        matched(initial, change(final.copy()), ion=ion)


# --- barriers


@pytest.fixture
def ends():
    """A small cell with Li at two places."""
    host = tiny.rattled()
    host = host[[a.index for a in host if a.symbol not in {"Li", "Mg"}]]
    made = []
    for shift in (0.0, 1.2):
        spot = host.cell.array.sum(axis=0) * 0.5 + [shift, 0, 0]
        made.append(host + Atoms("Li", positions=[spot]))
    return made


def test_bands_of_the_pool_are_those_of_each_member_alone(committee, ends):
    found, images = mlip.barrier(*ends, mlip.load(committee), settings=SHORT)
    assert [band.member for band in found.bands] == [1, 2]
    assert (found.level, len(images), len(images[0])) == ("PBE", 2, len(found.bands[0].energies_ev))
    for k, band in enumerate(found.bands, 1):
        alone, _ = neb.climb(
            *ends, calculator=mlip.load(committee, members=[k]), settings=SHORT, name=neb.BandName(hop="x", host="x")
        )
        assert len(band.energies_ev) > 1
        assert_allclose(band.energies_ev, alone.energies_ev, atol=1e-6)
    if found.barrier.forward_ev is None:
        assert tool.summary(found).startswith(f"Li: no barrier: {found.barrier.status}")


def test_the_summary_of_a_barrier(committee, ends):
    found, _ = mlip.barrier(*ends, mlip.load(committee), settings=SHORT)
    values = {"forward_ev": 0.4, "forward_std_ev": 0.01, "reverse_ev": 0.3, "reverse_std_ev": 0.02}
    one = tool.HopBarrier(level="PBE", barrier=neb.replace(found.barrier, **values), bands=found.bands)
    assert tool.summary(one) == (
        "Li: 0.400 +- 0.010 eV forward, 0.300 +- 0.020 eV reverse (PBE; mean +- standard deviation of 2 members)"
    )


def test_barrier_of_two_files_in_different_formats_and_orders(committee, ends, tmp_path, capsys):
    write(tmp_path / "initial.vasp", ends[0], sort=True)
    write(tmp_path / "final.xyz", shuffled(ends[1]), format="extxyz")
    words = ["barrier", tmp_path / "initial.vasp", tmp_path / "final.xyz", "--model", committee, "--ion", "Li"]
    words += ["--images", "3", "--max-steps", "3", "-o", tmp_path / "out"]
    assert cli.main([str(w) for w in words]) == 0
    told = capsys.readouterr().out
    assert re.match(r"Li: (no barrier: |-?\d)", told)
    assert str(tmp_path / "out") in told
    stored = files.read_record(tmp_path / "out" / "barrier.json", tool.HopBarrier)
    assert [band.member for band in stored.bands] == [1, 2]
    bands = [read(tmp_path / "out" / f"band-{k}.extxyz", ":") for k in (1, 2)]
    assert all(image.symbols[-1] == "Li" for band in bands for image in band)
    assert (tmp_path / "out" / "profile.svg").read_text().lstrip().startswith("<?xml")


# --- relaxed structures


def test_relaxed_structures_have_a_status(committee, tmp_path, capsys):
    start = tiny.rattled()
    start.rattle(0.1, seed=3)
    write(tmp_path / "two.xyz", [start, start], format="extxyz")
    out = tmp_path / "out.xyz"
    words = ["relax", tmp_path / "two.xyz", "--model", committee, "--fmax", "0.01", "--max-steps", "100", "-o", out]
    assert cli.main([str(w) for w in words]) == 0
    told = capsys.readouterr().out
    first, second = read(out, ":")
    assert first.info["mlip_status"] == "relaxed"
    assert f"structure 1: relaxed, {second.get_potential_energy():.4f} eV" in told
    assert np.linalg.norm(first.get_forces(), axis=1).max() < 0.01
    own = start.copy()
    own.calc = mlip.load(committee)
    assert np.linalg.norm(own.get_forces(), axis=1).max() > 0.04
    assert first.get_potential_energy() < own.get_potential_energy() - 1e-5
    same = first.copy()
    same.calc = mlip.load(committee)
    assert_allclose(same.get_potential_energy(), first.get_potential_energy(), atol=1e-6)


def test_a_structure_that_does_not_relax_says_so(committee):
    image, status = mlip.relaxed(tiny.rattled(), mlip.load(committee), fmax_ev_per_angstrom=1e-6, max_steps=1)
    assert str(status) == "not converged: 1 steps"
    assert np.linalg.norm(image.get_forces(), axis=1).max() > 1e-6


@pytest.mark.parametrize("wrapped", [(0,), (1,), (0, 1)])
def test_a_slab_cut_by_the_cell_is_one_slab(wrapped):
    """pbc is F along the normal, and an end was wrapped into the cell: its two halves are neighbours across the face."""
    ends = [fcc100("Cu", (2, 2, 4), vacuum=8.0) for _ in range(2)]
    for number, end in enumerate(ends):
        end.pbc = (True, True, False)
        end.append("Li")
        end.positions[-1] = end.positions[:-1].max(axis=0) + np.array([number, 0.0, 1.8])
        if number in wrapped:
            end.positions[:, 2] += end.cell[2, 2] / 2
            end.wrap(pbc=True)
    first, last = tool._in_one_piece(*ends)
    assert first.pbc.all()
    assert last.pbc.all()
    assert not any(end.pbc[2] for end in ends)


def test_ends_in_one_piece_stay_as_they_are():
    initial, final = hop()
    assert all(a is b for a, b in zip(tool._in_one_piece(initial, final), (initial, final), strict=True))


# --- an ASE calculator in the place of a model


def test_a_calculator_relaxes_and_gives_a_barrier_without_a_spread(tmp_path, capsys):
    """The hop of a Cu atom into the vacancy beside it, by EMT: 0.69 eV is its barrier of a relaxed saddle or less."""
    cell = bulk("Cu", cubic=True).repeat((2, 2, 2))
    start, end = cell[1:], cell[1:]
    end.positions[0] = cell.positions[0]
    for name, atoms in (("a", start), ("b", end)):
        write(tmp_path / f"{name}.vasp", atoms)
    emt = ["--calculator", "ase.calculators.emt:EMT", "--arguments", '{"asap_cutoff": false}', "--trusted"]
    for name in "ab":
        words = ["relax", tmp_path / f"{name}.vasp", *emt, "-o", tmp_path / f"{name}.xyz"]
        assert cli.main([str(w) for w in words]) == 0
    relaxed = read(tmp_path / "a.xyz")
    relaxed.calc = EMT()
    assert np.linalg.norm(relaxed.get_forces(), axis=1).max() < 0.02
    words = ["barrier", tmp_path / "a.xyz", tmp_path / "b.xyz", *emt, "--images", "3", "-o", tmp_path / "out"]
    assert cli.main([str(w) for w in words]) == 0
    found = files.read_record(tmp_path / "out" / "barrier.json", tool.HopBarrier)
    assert (found.level, found.barrier.members, found.barrier.forward_std_ev) == ("unknown", 1, None)
    assert found.barrier.status.code == neb.CONVERGED
    assert_allclose(found.barrier.forward_ev, found.barrier.reverse_ev, rtol=0, atol=5e-3)
    saddle = read(tmp_path / "out" / "band-1.extxyz", "2")
    saddle.calc = EMT()
    relaxed.calc = EMT()
    height = saddle.get_potential_energy() - relaxed.get_potential_energy()
    assert_allclose(found.barrier.forward_ev, height, rtol=0, atol=5e-3)
    assert "(unknown; one member)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--calculator", "ase.calculators.emt:EMT"], "EMT runs its own code; if you trust it add --trusted"),
        (["--calculator", "EMT", "--trusted"], "'EMT' is no package.module:Class"),
        (["--calculator", "a.b:C", "--trusted", "--arguments", "x=1"], "--arguments: 'x=1' is no JSON"),
        (["--calculator", "a.b:C", "--trusted", "--arguments", "[1]"], r"'\[1\]' is no JSON object"),
        (["--calculator", "no.such:C", "--trusted"], "calculator no.such:C cannot be imported"),
    ],
)
def test_what_is_no_calculator_is_told_in_a_line(words, told, tmp_path, capsys):
    write(tmp_path / "a.vasp", bulk("Cu", cubic=True))
    assert cli.main(["relax", str(tmp_path / "a.vasp"), *words, "-o", str(tmp_path / "b.xyz")]) == 1
    line = capsys.readouterr().err.strip()
    assert re.search(told, line), line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda a: a.set_initial_magnetic_moments([2, 0, 0, 0]), "initial magnetic moments are not passed to the calc"),
        (
            lambda a: a.set_initial_charges([1, -1, 0, 0]),
            "initial charges are not passed to the calculator; give them ",
        ),
        (lambda a: a.info.update(charge=1, spin=3), "charge=1 and spin=3 are not passed to the calculator; give them "),
    ],
)
def test_what_a_calculator_does_not_get_is_refused(change, told, tmp_path, capsys):
    zero, atoms = bulk("Cu", cubic=True), bulk("Cu", cubic=True)
    zero.info, zero.arrays["initial_charges"] = {"charge": 0, "spin": 0}, np.zeros(4)
    change(atoms)
    emt = ["--calculator", "ase.calculators.emt:EMT", "--trusted", "-o", str(tmp_path / "o.extxyz")]
    for name, frames, code in (("zero", [zero], 0), ("a", [zero, atoms], 1)):
        write(tmp_path / f"{name}.traj", frames)
        assert cli.main(["relax", str(tmp_path / f"{name}.traj"), *emt]) == code
    assert f"a.traj: frame 1: {told}" in capsys.readouterr().err


def test_a_model_or_a_calculator_is_asked_for(capsys):
    with pytest.raises(SystemExit):
        cli.main(["relax", "a.xyz", "-o", "b.xyz"])
    with pytest.raises(SystemExit):
        cli.main(["relax", "a.xyz", "--model", "m", "--calculator", "a:B", "-o", "b.xyz"])
    assert "not allowed with argument --model" in capsys.readouterr().err


# --- CIF files

CUBIC = """\
data_{name}
_cell_length_a 4.21
_cell_length_b 4.21
_cell_length_c 4.21
_space_group_name_H-M_alt 'F m -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Mg1 Mg 0 0 0 {share}
O1 O 0.5 0.5 0.5 1
"""
ANATASE = CUBIC.replace("'F m -3 m'", "'I 41/a m d'").replace("c 4.21", "c 9.68").replace("4.21", "3.80")
ANATASE = ANATASE.replace("Mg", "Ti").replace("O 0.5 0.5 0.5", "O 0 0 0.2066")


def relaxed_by_springs(tmp_path, text, name="a.cif"):
    """Exit code of `mlip relax` with an analytic potential, and the structures."""
    (tmp_path / "a.cif").write_text(text)
    words = ["relax", str(tmp_path / name), "--calculator", "helpers.lattice_potential:OxidePotential", "--trusted"]
    code = cli.main([*words, "--max-steps", "1", "--fmax", "50", "-o", str(tmp_path / "o.extxyz")])
    return code, read(tmp_path / "o.extxyz", ":") if code == 0 else []


def test_a_cif_file_is_read_as_a_crystal(tmp_path, capsys):
    """Anatase in the first origin, which the file does not state; ASE takes the other one and doubles the titanium."""
    code, (atoms,) = relaxed_by_springs(tmp_path, ANATASE.format(name="a", share=1))
    assert code == 0
    assert atoms.get_chemical_formula(mode="metal") == "Ti4O8"
    assert "a.cif: the file does not state its setting; I 41/a m d:1 is taken" in capsys.readouterr().err


def test_a_partly_occupied_site_is_refused(tmp_path, capsys):
    assert relaxed_by_springs(tmp_path, CUBIC.format(name="a", share=0.5))[0] == 1
    assert "a.cif: site Mg1 is occupied to 0.5" in capsys.readouterr().err


def test_every_block_of_a_cif_file_or_one_is_relaxed(tmp_path):
    both = CUBIC.format(name="one", share=1) + ANATASE.format(name="two", share=1)
    assert [len(atoms) for atoms in relaxed_by_springs(tmp_path, both)[1]] == [8, 12]
    assert [len(atoms) for atoms in relaxed_by_springs(tmp_path, both, "a.cif#two")[1]] == [12]


def test_labels_of_the_file_do_not_stay_on_the_relaxed_structure(tmp_path):
    """They belong to the positions that were given; who the frame is stays."""
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=1)
    old = ("dft_energy", "dft_energy_extrapolated", "d3_energy", "net_force", "mlip_energy", "REF_energy", "my_virial")
    atoms.info = dict.fromkeys(old, 1.0) | {"settings_hash": "abc", "frame_id": "f", "group": "g", "vacuum": False}
    for key in ("dft_forces", "d3_forces", "mlip_forces", "mlip_forces_std", "REF_forces"):
        atoms.arrays[key] = np.ones((4, 3))
    atoms.arrays["mine"] = np.arange(4)
    write(tmp_path / "a.extxyz", atoms, format="extxyz")
    emt = ["--calculator", "ase.calculators.emt:EMT", "--trusted"]
    assert cli.main(["relax", str(tmp_path / "a.extxyz"), *emt, "-o", str(tmp_path / "o.extxyz")]) == 0
    made = read(tmp_path / "o.extxyz")
    assert set(made.info) == {"frame_id", "group", "vacuum", "mlip_status", "mlip_level"}
    assert set(made.arrays) == {"numbers", "positions", "mine"}
    assert made.calc.results["energy"] < 0.1


FOREIGN = {
    "a.vasp": "words\n1.0\n3.6 0 0\n0 3.6 0\n0 0 3.6\n1\nDirect\n0 0 0\n",  # no line of symbols
    "vasprun.xml": '<?xml version="1.0" encoding="ISO-8859-1"?>\n<modeling>\n <generator>\n',  # cut short
    "a.xsf": "CRYSTAL\n",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_a_foreign_reader_raises_is_told_in_a_line(name, tmp_path, capsys):
    (tmp_path / name).write_text(FOREIGN[name])
    emt = ["--calculator", "ase.calculators.emt:EMT", "--trusted"]
    assert cli.main(["relax", str(tmp_path / name), *emt, "-o", str(tmp_path / "o")]) == 1
    told = capsys.readouterr().err.strip()
    assert re.search(
        rf"{name}: not readable as a structure \(.+\); give a whole file: extended XYZ, CIF, or a POSCAR", told
    )
    assert "\n" not in told


def test_an_unknown_space_group_of_a_cif_file_is_told(tmp_path, capsys):
    text = CUBIC.format(name="a", share=1).replace("'F m -3 m'", "'Q 99 9'")
    assert relaxed_by_springs(tmp_path, text)[0] == 1
    assert re.search(r"a\.cif: .*'Q 99 9'.*; ", capsys.readouterr().err)


def broken(*, cell):
    """A structure with a coordinate, or a cell vector, that is no number."""
    atoms = bulk("Cu", cubic=True)
    if cell:
        atoms.cell[1, 1] = np.nan
    else:
        atoms.positions[2, 1] = np.inf
    return atoms


@pytest.mark.parametrize("cell", [False, True])
@pytest.mark.parametrize("command", ["relax", "barrier"])
def test_what_is_not_finite_is_named_before_anything_is_computed(command, cell, tmp_path, capsys):
    whole = bulk("Cu", cubic=True)
    write(tmp_path / "a.traj", [whole, broken(cell=cell)] if command == "relax" else broken(cell=cell))
    write(tmp_path / "b.traj", whole)
    files_of = {"relax": ["a.traj"], "barrier": ["b.traj", "a.traj"]}[command]
    words = [command, *(str(tmp_path / name) for name in files_of), "--calculator", "ase.calculators.emt:EMT"]
    assert cli.main([*words, "--trusted", "-o", str(tmp_path / "o")]) == 1
    what = "the cell" if cell else r"the position of atom 2 \(Cu\)"
    told = capsys.readouterr().err
    assert re.search(rf"a\.traj: frame {int(command == 'relax')}: {what} is not finite; correct or remove", told), told
    assert not (tmp_path / "o").is_file()


def test_a_structure_that_fails_is_named_and_those_before_it_stay(tmp_path, capsys):
    """EMT knows no Ti: the second structure fails while it is relaxed."""
    write(tmp_path / "a.extxyz", [bulk("Cu", cubic=True), bulk("Ti")], format="extxyz")
    emt = ["--calculator", "ase.calculators.emt:EMT", "--trusted"]
    out = tmp_path / "o.extxyz"
    assert cli.main(["relax", str(tmp_path / "a.extxyz"), *emt, "-o", str(out)]) == 1
    told = capsys.readouterr().err
    assert re.search(rf"a\.extxyz: structure 1: .*EMT fails on Ti2 .*; the structures before it are in {out}$", told)
    assert len(read(out, ":")) == 1


# --- bad input


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda p: p.write_text("nothing"), "not readable as a structure|does not know this format"),
        (lambda p: write(p, [tiny.rattled()] * 2, format="extxyz"), "holds 2 structures, one is wanted"),
        (lambda p: write(p, Atoms("Li"), format="extxyz"), "structure 0 has no cell of three vectors"),
        (lambda p: write(p, Atoms("Xe", cell=[9, 9, 9], pbc=True), format="extxyz"), "elements .'Xe'. are not in the"),
        (lambda p: None, "no such file"),
    ],
)
def test_bad_files_are_told_in_a_line(make, told, committee, ends, tmp_path, capsys):
    make(tmp_path / "bad.xyz")
    write(tmp_path / "good.xyz", ends[0], format="extxyz")
    words = ["barrier", tmp_path / "bad.xyz", tmp_path / "good.xyz", "--model", committee, "-o", tmp_path / "out"]
    assert cli.main([str(w) for w in words]) == 1
    line = capsys.readouterr().err.strip()
    assert "\n" not in line
    assert re.search(told, line), line
    assert "bad.xyz" in line


def test_an_output_that_cannot_be_written_is_told_first(committee, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    words = ["relax", tmp_path / "missing.xyz", "--model", committee, "-o", tmp_path / "file" / "out.xyz"]
    assert cli.main([str(w) for w in words]) == 1
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("limit", ["0", "-1", "nan", "x"])
def test_a_force_limit_is_a_positive_number(limit, capsys):
    with pytest.raises(SystemExit):
        cli.main(["relax", "a.xyz", "--model", "m", "-o", "b.xyz", f"--fmax={limit}"])
    assert "give eV/Angstrom above 0" in capsys.readouterr().err
