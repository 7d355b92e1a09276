"""Crystals from files: the right setting, one atom per place, the standard cell; what is no crystal is refused."""

import re
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import make_supercell
from ase.io import read, write
from ase.spacegroup import crystal as build
from numpy.testing import assert_allclose

from mlip import driver
from mlip.atoms import crystals, structures
from mlip.atoms.structures import Facet
from mlip.core import files
from mlip.stages.structures import Hosts

DATA = Path(__file__).parent / "data" / "crystals"
G_PER_CM3 = 1.66053907
ANATASE = structures.crystal("anatase")


def seen(atoms):
    """Formula, space group, shortest distance and density."""
    distances = atoms.get_all_distances(mic=True)
    np.fill_diagonal(distances, np.inf)
    density = atoms.get_masses().sum() / atoms.cell.volume * G_PER_CM3
    own = crystals.identify(atoms)
    return atoms.get_chemical_formula(mode="metal"), own.number, distances.min(), density


def assert_is(atoms, formula, number, shortest, density):
    found = seen(atoms)
    assert found[:2] == (formula, number)
    assert_allclose(found[2:], (shortest, density), rtol=0, atol=0.006)


def slab(atoms, miller=(0, 0, 1), layers=4, repeat=(1, 1), bond=2.35):
    return structures.slab(atoms, Facet(name="f", miller=miller, layers=layers, repeat=repeat), bond_angstrom=bond)


def assert_same_cell(one, other):
    """The same atoms in the same cell, in any order."""
    assert_allclose(one.cell.array, other.cell.array, rtol=0, atol=1e-4)
    assert sorted(one.symbols) == sorted(other.symbols)
    apart = one.positions[:, None] - other.positions[None]
    scaled = apart @ np.linalg.inv(one.cell.array)
    lengths = np.linalg.norm((scaled - np.round(scaled)) @ one.cell.array, axis=2)
    lengths[one.numbers[:, None] != other.numbers[None]] = np.inf
    assert lengths.min(1).max() < 2e-3


# ---- inputs of public bug reports ----

CASES = {
    **{f"zno-{n}": ("Zn2O2", 186, 1.974, 5.674) for n in (2, 3, 4, 5)},
    "mgo-boundary": ("Mg4O4", 225, 2.106, 3.583),
    **dict.fromkeys(
        ("code-2", "hall", "not-said", "number-only", "operations", "suffix-2", "suffix-Z"),
        ("Ti4O8", 141, 1.946, 3.795),
    ),
    "limn2o4-2": ("Li8Mn16O32", 227, 1.957, 4.293),
    "ceo2": ("Ce4O8", 225, 2.343, 7.216),
    "ceo2-typed": ("Ce4O8", 225, 2.343, 7.216),
    "coo": ("Co4O4", 225, 2.130, 6.438),
    "nio": ("Ni4O4", 225, 2.0885, 6.808),
}


@pytest.mark.parametrize("name", CASES)
def test_reported_cases_give_the_crystal_of_the_file(name):
    assert_is(crystals.load(DATA / "cases" / f"{name}.cif").atoms, *CASES[name])


def test_rounded_thirds_are_thirds_exactly():
    for digits in (2, 3, 4, 5):
        places = crystals.load(DATA / "cases" / f"zno-{digits}.cif").atoms.get_scaled_positions()
        assert_allclose(np.sort(places[:, :2].ravel()), np.repeat([1 / 3, 2 / 3], 4), rtol=0, atol=1e-12)


def test_several_blocks_are_refused_by_name_and_one_can_be_chosen():
    path = DATA / "cases" / "tio2.cif"
    with pytest.raises(
        ValueError, match=r"holds 2 crystals, in the data blocks anatase, rutile; name one: tio2.cif#an"
    ):
        crystals.load(path)
    assert seen(structures.crystal(f"{path}#anatase"))[:2] == ("Ti4O8", 141)
    assert seen(structures.crystal(f"{path}#Rutile"))[:2] == ("Ti2O4", 136)
    with pytest.raises(ValueError, match="has no data block 'brookite'; there are: global, anatase, rutile"):
        structures.crystal(f"{path}#brookite")
    with pytest.raises(ValueError, match="no cell: _cell_length_a"):
        structures.crystal(f"{path}#global")


def test_a_setting_that_is_not_stated_is_said():
    (note,) = crystals.load(DATA / "cases" / "not-said.cif").notes
    assert note.startswith(
        "the file does not state its setting; I 41/a m d:2 is taken: with I 41/a m d:1 Ti1 and Ti1 are"
    )
    assert crystals.load(DATA / "cases" / "suffix-2.cif").notes == ()
    assert crystals.load(DATA / "cases" / "mgo-boundary.cif").notes[0].startswith("19 of 27 listed atoms repeat others")


# ---- the same crystals as other programs write them ----

PROGRAMS = {
    "anatase-vesta": ("Ti4O8", 141, 1.934, 3.893),
    "rutile-icsd": ("Ti2O4", 136, 1.947, 4.247),
    "mgo-cod": ("Mg4O4", 225, 2.106, 3.585),
    "zno-pymatgen": ("Zn2O2", 186, 1.974, 5.674),
    "ceo2-materials-project": ("Ce4O8", 225, 2.343, 7.216),
    "al2o3-ase": ("Al12O18", 167, 1.8554, 3.987),
    "al2o3-rhombohedral": ("Al12O18", 167, 1.854, 3.989),
    "licoo2-icsd": ("Co3Li3O6", 166, 1.921, 5.053),
    "srtio3-old": ("SrTiO3", 221, 1.9525, 5.116),
    "lifepo4-ddlm": ("Fe4Li4O16P4", 62, 1.523, 3.597),
    "lifepo4-pbnm": ("Fe4Li4O16P4", 62, 1.523, 3.597),
    "limn2o4-origin-1": ("Li8Mn16O32", 227, 1.957, 4.293),
    "limn2o4-origin-2": ("Li8Mn16O32", 227, 1.957, 4.293),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_layouts_of_programs_and_databases(name):
    found = crystals.load(DATA / "programs" / f"{name}.cif")
    assert_is(found.atoms, *PROGRAMS[name])
    brought = any("standard conventional cell" in note for note in found.notes)
    assert brought == (name in {"al2o3-rhombohedral", "lifepo4-pbnm"})


@pytest.mark.parametrize(
    ("name", "miller", "bond"),
    [
        ("programs/anatase-vesta", (1, 0, 1), 2.35),
        ("programs/anatase-vesta", (0, 0, 1), 2.35),
        ("programs/rutile-icsd", (1, 1, 0), 2.35),
        ("programs/ceo2-materials-project", (1, 1, 1), 2.6),
        ("programs/al2o3-ase", (0, 0, 1), 2.2),
        ("cases/operations", (1, 0, 0), 2.35),
        ("cases/zno-5", (1, 0, 0), 2.35),
    ],
)
def test_files_that_ase_reads_right_give_the_same_slabs_as_with_ase(name, miller, bond):
    """The cell, origin and orientation of a standard setting are those of the file, as before."""
    path = DATA / f"{name}.cif"
    plain = read(path, format="cif")
    plain = Atoms(plain.symbols, positions=plain.positions, cell=plain.cell, pbc=True)
    ours = structures.crystal(str(path))
    assert_same_cell(ours, plain)
    layers = 6 if "al2o3" in name else 4
    assert_same_cell(slab(ours, miller, layers, bond=bond), slab(plain, miller, layers, bond=bond))


def test_the_structures_stage_stores_what_was_done(tmp_path):
    settings = "tracking: {mode: disabled}\nstructures:\n  ions: [Li]\n  bond_angstrom: 2.35\n  facets: []\n"
    config = tmp_path / "run.yaml"
    config.write_text(f"{settings}  crystal: {DATA / 'programs' / 'lifepo4-pbnm.cif'}\n")
    driver.init(config, tmp_path / "run")
    driver.run_one("structures", tmp_path / "run")
    made = files.read_result(tmp_path / "run" / "structures" / "result.json", Hosts)
    assert made.crystal.name == "FeLiO4P (Pnma)"
    assert "4.692 x 10.332 x 6.010 A, was brought to the standard conventional cell of Pnma (62)" in made.notes[0]


# ---- the standard cell ----


def supercell():
    return ANATASE.repeat((2, 1, 1))


def other_axes():
    return Atoms(
        ANATASE.symbols,
        scaled_positions=np.roll(ANATASE.get_scaled_positions(), 1, axis=1),
        cell=[9.68, 3.8, 3.8],
        pbc=1,
    )


def primitive():
    atoms = Atoms(ANATASE[[0, 2, 4, 6, 8, 10]])
    atoms.set_cell([[3.8, 0, 0], [0, 3.8, 0], [1.9, 1.9, 4.84]])
    return atoms


def doubled_tetragonal():
    return make_supercell(ANATASE, [[1, 1, 0], [-1, 1, 0], [0, 0, 1]])


def sheared():
    return Atoms(
        ANATASE.symbols, positions=ANATASE.positions, cell=[[3.8, 0, 0], [3.8, 3.8, 0], [0, 0, 9.68]], pbc=True
    )


@pytest.mark.parametrize("suffix", ["cif", "vasp", "extxyz"])
@pytest.mark.parametrize("make", [supercell, other_axes, primitive, doubled_tetragonal, sheared])
def test_any_cell_of_anatase_becomes_the_standard_one(tmp_path, make, suffix):
    path = tmp_path / f"a.{suffix}"
    write(path, make())
    found = crystals.load(path)
    assert_is(found.atoms, "Ti4O8", 141, 1.946, 3.795)
    assert_allclose(found.atoms.cell.cellpar(), [3.8, 3.8, 9.68, 90, 90, 90], rtol=1e-5)
    assert (
        "brought to the standard conventional cell of I4_1/amd (141), 12 atoms, 3.800 x 3.800 x 9.680 A"
        in found.notes[0]
    )


@pytest.mark.parametrize("make", [supercell, other_axes])
def test_miller_indices_refer_to_the_standard_cell(make):
    found, _ = crystals.conventional(make())
    ours, known = slab(found, (1, 0, 1), 2), slab(ANATASE, (1, 0, 1), 2)
    assert_allclose(ours.cell.array, known.cell.array, rtol=0, atol=1e-4)
    assert_allclose(np.sort(ours.positions[:, 2]), np.sort(known.positions[:, 2]), rtol=0, atol=1e-3)


@pytest.mark.parametrize("suffix", ["vasp", "extxyz"])
def test_left_handed_and_turned_cells(tmp_path, suffix):
    left = Atoms(ANATASE.symbols, positions=ANATASE.positions, cell=ANATASE.cell.array * [[1], [1], [-1]], pbc=True)
    left.rotate(35, (1, 2, 3), rotate_cell=True)
    path = tmp_path / f"left.{suffix}"
    write(path, left)
    found = crystals.load(path)
    assert_is(found.atoms, "Ti4O8", 141, 1.946, 3.795)
    assert_allclose(found.atoms.cell.array, np.diag([3.8, 3.8, 9.68]), rtol=0, atol=1e-6)
    assert found.notes == ("the axes of the file are left-handed; all three were reversed",)


def test_a_left_handed_axis_set_of_a_cif():
    """Swapping two axes of a chiral crystal gives its mirror image: as a CIF that is a valid crystal."""
    quartz = build(
        ["Si", "O"],
        [(0.4697, 0, 1 / 3), (0.4135, 0.2669, 0.7858)],
        spacegroup=152,
        cellpar=[4.916, 4.916, 5.405, 90, 90, 120],
    )
    swapped = Atoms(
        quartz.symbols, scaled_positions=quartz.get_scaled_positions()[:, [1, 0, 2]], cell=quartz.cell, pbc=True
    )
    found, notes = crystals.conventional(swapped)
    assert crystals.identify(found).number == 154
    assert notes == ()


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_every_order_of_the_axes_of_pnma(order):
    standard = crystals.load(DATA / "programs" / "lifepo4-ddlm.cif").atoms
    given = Atoms(
        standard.symbols, positions=standard.positions[:, order], cell=standard.cell.lengths()[list(order)], pbc=True
    )
    found, notes = crystals.conventional(given)
    assert_allclose(found.cell.cellpar(), standard.cell.cellpar(), rtol=1e-6)
    assert_is(found, *PROGRAMS["lifepo4-ddlm"])
    assert any("standard conventional cell of Pnma (62)" in note for note in notes) == (order != (0, 1, 2))


@pytest.mark.parametrize(
    ("matrix", "kept"),
    [([[1, 0, 0], [0, 1, 0], [0, 0, 1]], True), ([[1, 0, 0], [0, 1, 0], [1, 0, 1]], False), ([[0, 1, 0], [0, 0, 1], [1, 0, 0]], False)],
)  # fmt: skip
def test_cell_choices_of_a_monoclinic_crystal(matrix, kept):
    """Baddeleyite in P 1 21/c 1, which stays, in P 1 21/n 1, and with the unique axis along a."""
    places = [(0.2754, 0.0395, 0.2083), (0.0700, 0.3317, 0.3447), (0.4496, 0.7569, 0.4792)]
    standard = build(["Zr", "O", "O"], places, spacegroup=14, cellpar=[5.1505, 5.2116, 5.3173, 90, 99.23, 90])
    found, notes = crystals.conventional(make_supercell(standard, matrix))
    assert seen(found)[:2] == ("Zr4O8", 14)
    assert (notes == ()) == kept
    assert_allclose(np.sort(found.cell.lengths()), [5.1505, 5.2116, 5.3173], rtol=1e-4)


# ---- neighbours ----


def cif(*, name="'P 1'", cell=(4.212, 4.212, 4.212, 90, 90, 90), columns="", sites="", more=""):
    lines = ["data_test"]
    lines += [f"_cell_length_{k} {v}" for k, v in zip("abc", cell, strict=False)]
    lines += [f"_cell_angle_{k} {v}" for k, v in zip(("alpha", "beta", "gamma"), cell[3:], strict=False)]
    lines += [f"_symmetry_space_group_name_H-M {name}"] if name else []
    lines += [more.rstrip(), "loop_", "_atom_site_label", "_atom_site_type_symbol"]
    lines += [f"_atom_site_fract_{k}" for k in "xyz"] + columns.split()
    return "\n".join(filter(None, lines)) + f"\n{sites}"


ROCKSALT = "Mg1 Mg 0 0 0\nO1 O 0.5 0.5 0.5\n"
FM3M = "'F m -3 m'"
HEX = (3.25, 3.25, 5.207, 90, 90, 120)
ANATASE_CELL = (3.8, 3.8, 9.68, 90, 90, 90)
ORIGIN_1 = "Ti1 Ti 0 0 0\nO1 O 0 0 0.2066\n"
ORIGIN_2 = "Ti1 Ti 0 0.75 0.125\nO1 O 0 0.75 0.3316\n"


def loaded(tmp_path, text, name="a.cif"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return crystals.load(path)


@pytest.mark.parametrize("digits", [2, 3, 4, 6])
def test_rounded_sixths(tmp_path, digits):
    """The oxygen of corundum-like R sites: x = 1/6 and 5/6 on mirror planes of P 6/m m m."""
    sixth, rest = f"{1 / 6:.{digits}f}", f"{1 / 3:.{digits}f}"
    text = cif(name="'P 6/m m m'", cell=(8.0, 8.0, 4.2, 90, 90, 120), sites=f"Mg1 Mg 0 0 0\nO1 O {sixth} {rest} 0.5\n")
    assert loaded(tmp_path, text).atoms.get_chemical_formula() == "MgO6"


@pytest.mark.parametrize("near", ["0.9999", "-0.0001", "1.0", "0.99999", "-0.00"])
def test_atoms_at_the_edge_of_the_cell(tmp_path, near):
    found = loaded(tmp_path, cif(name=FM3M, sites=f"Mg1 Mg {near} 0 {near}\nO1 O 0.5 0.5 0.5\n"))
    assert_is(found.atoms, "Mg4O4", 225, 2.106, 3.583)
    listed = [(0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)]
    sites = "".join(f"Mg{n} Mg {x or near} {y} {z}\n" for n, (x, y, z) in enumerate(listed))
    sites += "".join(f"O{n} O {x + 0.5} {y} {z}\n" for n, (x, y, z) in enumerate(listed))
    assert_is(loaded(tmp_path, cif(sites=sites)).atoms, "Mg4O4", 225, 2.106, 3.583)


@pytest.mark.parametrize(
    ("name", "sites"),
    [
        ("'I 41/a m d :1'", ORIGIN_1),
        ("'I 41/a m d:2'", ORIGIN_2),
        ("I41/amd:2", ORIGIN_2),
        ("I41/amdS", ORIGIN_1),
        ("'I41/amd Z'", ORIGIN_2),
        ("'I 41/a 2/m 2/d :2'", ORIGIN_2),
        ("'I 4_1/a m d (origin choice 2)'", ORIGIN_2),
        ("'I 41/a m d'", ORIGIN_1),
        ("I 41/a m d :2", ORIGIN_2),
        ("?\n_symmetry_Int_Tables_number 141", ORIGIN_1),
        ("?\n_space_group_IT_number 141\n_space_group_IT_coordinate_system_code 1", ORIGIN_1),
        ("?\n_space_group_IT_number 141\n_space_group_IT_coordinate_system_code 2", ORIGIN_2),
        ("?\n_space_group_name_Hall 'I 4bw 2bw -1bw'", ORIGIN_1),
        ("?\n_symmetry_space_group_name_Hall '-I 4bd 2'", ORIGIN_2),
    ],
)
def test_ways_to_state_the_origin(tmp_path, name, sites):
    text = cif(name=name, cell=ANATASE_CELL, sites=sites)
    assert_is(loaded(tmp_path, text).atoms, "Ti4O8", 141, 1.946, 3.795)


@pytest.mark.parametrize("name", ["'R -3 m :R'", "'R -3 m R'", "R-3mR", "'R -3 m'", "?\n_space_group_IT_number 166"])
def test_rhombohedral_axes(tmp_path, name):
    cell = (4.9580, 4.9580, 4.9580, 32.9863, 32.9863, 32.9863)
    text = cif(name=name, cell=cell, sites="Li1 Li 0.5 0.5 0.5\nCo1 Co 0 0 0\nO1 O .2605 .2605 .2605\n")
    found = loaded(tmp_path, text)
    assert seen(found.atoms)[:2] == ("Co3Li3O6", 166)
    assert_allclose(found.atoms.cell.cellpar(), [2.8152, 2.8152, 14.055, 90, 90, 120], rtol=2e-3)


@pytest.mark.parametrize(
    ("kind", "symbol"),
    [
        ("Ti4+", "Ti"),
        ("TI4+", "Ti"),
        ("Ti+4", "Ti"),
        ("TiIV", "Ti"),
        ("ti", "Ti"),
        ("Ti0+", "Ti"),
        ("D", "H"),
        ("T", "H"),
    ],
)
def test_types_of_atoms(tmp_path, kind, symbol):
    found = loaded(tmp_path, cif(name=FM3M, sites=f"X1 {kind} 0 0 0\nO1 O2- .5 .5 .5\n"))
    assert sorted(set(found.atoms.symbols)) == sorted([symbol, "O"])


@pytest.mark.parametrize(
    ("label", "formula", "symbol"),
    [
        ("CE1", "", "Ce"),
        ("Ce1", "", "Ce"),
        ("Ti4+", "", "Ti"),
        ("D1", "", "H"),
        ("CO1", "'Co O'", "Co"),
        ("Sn2A", "", "Sn"),
    ],
)
def test_labels_without_types(tmp_path, label, formula, symbol):
    more = f"_chemical_formula_sum {formula}" if formula else ""
    found = loaded(tmp_path, cif(name=FM3M, more=more, sites=f"{label} ? 0 0 0\nO1 . .5 .5 .5\n"))
    assert sorted(set(found.atoms.symbols)) == sorted([symbol, "O"])


@pytest.mark.parametrize(
    "formula", ["'Mg O'", "'O Mg'", "MgO", "'MG O'", "'Mg1 O1'", "'Mg4 O4'", "'Mg1.0 O1.00'", "'(Mg O)n'", "?"]
)
def test_ways_to_write_the_formula(tmp_path, formula):
    text = cif(name=FM3M, more=f"_chemical_formula_sum {formula}\n_cell_formula_units_Z 4", sites=ROCKSALT)
    assert_is(loaded(tmp_path, text).atoms, "Mg4O4", 225, 2.106, 3.583)


def test_a_distortion_larger_than_the_rounding_stays(tmp_path):
    """Tetragonal BaTiO3 with coordinates of two digits: titanium is 0.08 Angstrom off the centre."""
    sites = "Ba1 Ba 0 0 0\nTi1 Ti .5 .5 .52\nO1 O .5 .5 -.03\nO2 O .5 0 .48\nO3 O 0 .5 .48\n"
    found = loaded(tmp_path, cif(cell=(3.99, 3.99, 4.03, 90, 90, 90), sites=sites))
    assert seen(found.atoms)[:2] == ("BaTiO3", 99)


def test_text_before_the_first_block(tmp_path):
    text = "Structure of periclase\n" + cif(name=FM3M, sites=ROCKSALT)
    assert_is(loaded(tmp_path, text).atoms, "Mg4O4", 225, 2.106, 3.583)


def test_handedness_is_kept():
    """Quartz of P3_121 does not become its mirror image when its supercell is reduced."""
    places = [(0.4697, 0, 1 / 3), (0.4135, 0.2669, 0.7858)]
    quartz = build(["Si", "O"], places, spacegroup=152, cellpar=[4.916, 4.916, 5.405, 90, 90, 120])
    found, _ = crystals.conventional(quartz.repeat((1, 2, 1)))
    assert seen(found)[:2] == ("O6Si3", 152)


@pytest.mark.parametrize("share", ["?", ".", "1", "1.", "1.0(0)", "1.000(3)", "0.9999"])
def test_full_occupancies(tmp_path, share):
    text = cif(name=FM3M, columns="_atom_site_occupancy", sites=f"Mg1 Mg 0 0 0 {share}\nO1 O .5 .5 .5 1\n")
    found = loaded(tmp_path, text)
    assert_is(found.atoms, "Mg4O4", 225, 2.106, 3.583)
    assert found.notes == (("an occupancy that is not given (? or .) counts as 1",) if share in "?." else ())


def test_isotopes_are_hydrogen_of_their_mass(tmp_path):
    more = "_exptl_crystal_density_diffrn 0.9\n_chemical_formula_sum 'Li D'"
    text = cif(name=FM3M, cell=(4.07, 4.07, 4.07, 90, 90, 90), more=more, sites="Li1 Li 0 0 0\nD1 D .5 .5 .5\n")
    assert loaded(tmp_path, text).atoms.get_chemical_formula() == "H4Li4"
    with pytest.raises(ValueError, match=r"density is 0.78 g/cm3, stated is 0.9"):
        loaded(tmp_path, text.replace("D1 D", "H1 H").replace("Li D", "Li H"))


def test_cartesian_coordinates(tmp_path):
    text = cif(name=FM3M, sites="Mg1 Mg 0 0 0\nO1 O 2.106 2.106 2.106\n").replace("_fract_", "_Cartn_")
    assert_is(loaded(tmp_path, text).atoms, "Mg4O4", 225, 2.106, 3.583)


def test_dummy_atoms_are_left_out_and_said(tmp_path):
    text = cif(name=FM3M, columns="_atom_site_calc_flag", sites="Mg1 Mg 0 0 0 d\nO1 O .5 .5 .5 d\nQ1 X .1 .2 .3 dum\n")
    found = loaded(tmp_path, text)
    assert_is(found.atoms, "Mg4O4", 225, 2.106, 3.583)
    assert found.notes == ("site Q1 is a dummy atom; left out",)


@pytest.mark.parametrize("encode", [str.encode, lambda t: b"\xef\xbb\xbf" + t.encode(), lambda t: t.encode("utf-16")])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(tmp_path, encode, end):
    text = "# M\u00fcller, 90\u00b0\n" + cif(name=FM3M, more="_publ_author 'M\u00fcller'", sites=ROCKSALT)
    assert_is(loaded(tmp_path, encode(text.replace("\n", end))).atoms, "Mg4O4", 225, 2.106, 3.583)


def test_no_space_group_takes_the_atoms_as_they_are(tmp_path):
    text = cif(
        name=None, cell=(2.83, 2.83, 2.83, 90, 90, 90), sites="Cs1 Cs 0 0 0\nI1 I 0.5 0.5 0.5\n".replace("2.83", "4.5")
    )
    found = loaded(tmp_path, text.replace(" 2.83", " 4.5"))
    assert seen(found.atoms)[:2] == ("CsI", 221)
    assert found.notes == ("the file states no space group; the atoms are taken as listed",)


def test_listed_atoms_of_few_digits_get_their_symmetry_back(tmp_path):
    sites = "Zn1 Zn .33 .67 0\nZn2 Zn .67 .33 .5\nO1 O .33 .67 .38\nO2 O .67 .33 .88\n"
    found = loaded(tmp_path, cif(cell=HEX, sites=sites))
    assert seen(found.atoms)[:2] == ("Zn2O2", 186)
    assert found.notes[0] == "the rounded coordinates of the file were moved onto the positions of P6_3mc (186)"


def test_charges_and_multiplicities_tell_origins_apart(tmp_path):
    """Without oxygen's short distance only what the sites say of themselves remains."""
    sites = "Si1 Si4+ .125 .125 .125 8\nMg1 Mg2+ .5 .5 .5 16\n"
    text = cif(
        name="'F d -3 m'", cell=(8.2, 8.2, 8.2, 90, 90, 90), columns="_atom_site_symmetry_multiplicity", sites=sites
    )
    assert loaded(tmp_path, text).atoms.get_chemical_formula() == "Mg16Si8"
    with pytest.raises(
        ValueError, match=r"several are possible: F d -3 m:1 gives .*, F d -3 m:2 gives .*; add the origin"
    ):
        loaded(tmp_path, text.replace(".125 8", ".125 ?").replace(".5 16", ".5 ?").replace("4+", "").replace("2+", ""))


# ---- bad input ----


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (cif(name=FM3M, columns="_atom_site_occupancy", sites="Mg1 Mg 0 0 0 0.5\nO1 O .5 .5 .5 1\n"), "site Mg1 is occupied to 0.5; only"),
        (cif(name=FM3M, columns="_atom_site_occupancy", sites="Mg1 Mg 0 0 0 2\nO1 O .5 .5 .5 1\n"), "site Mg1 is occupied to 2; only"),
        (cif(name=FM3M, columns="_atom_site_occupancy", sites="Mg1 Mg 0 0 0 full\nO1 O .5 .5 .5 1\n"), "occupancy of Mg1 is 'full', not a number"),
        (cif(name=FM3M, sites="M1 M 0 0 0\nO1 O .5 .5 .5\n"), "site M1: 'M' is no element; give its symbol as _atom_site_type"),
        (cif(name=FM3M, sites="T1 ? 0 0 0\nO1 O .5 .5 .5\n"), "site T1: 'T1' is no element"),
        (cif(name=FM3M, sites="O1 OH- 0 0 0\nMg1 Mg .5 .5 .5\n"), "site O1: 'OH-' is no element"),
        (cif(name=FM3M, sites="Wat1 ? 0 0 0\nMg1 Mg .5 .5 .5\n"), "site Wat1: 'Wat1' is no element"),
        (cif(name=FM3M, sites=""), "holds no atoms: a loop with _atom_site_fract_x"),
        (cif(name=FM3M, sites="Mg1 Mg 0 0 ?\nO1 O .5 .5 .5\n"), "_atom_site_fract_z of Mg1 is None, not a number"),
        (cif(name=FM3M, sites=ROCKSALT, cell=(4.2, 4.2)), r"no cell: _cell_length_a, _b and _c are needed"),
        (cif(name=FM3M, sites=ROCKSALT, cell=(4.2, 4.2, 0, 90, 90, 90)), "lengths or angles that are not possible"),
        (cif(name=FM3M, sites=ROCKSALT, cell=(4.2, 4.2, 4.2, 90, 90, 200)), "lengths or angles that are not possible"),
        (cif(name=FM3M, sites=ROCKSALT, cell=(4.2, 4.2, 4.2, 30, 30, 120)), "enclose no volume"),
        (cif(name=FM3M, sites=ROCKSALT, cell=(4.2, 4.2, 5.2, 90, 90, 90)), r"does not fit the cell \(4.2, 4.2, 5.2, 90"),
        (cif(name="'F q -3 m'", sites=ROCKSALT), "space group 'F q -3 m' is unknown; give its number"),
        (cif(name="?\n_space_group_IT_number 231", sites=ROCKSALT), "space group no. 231 does not exist; give 1 to 230"),
        (cif(name=f"{FM3M}\n_space_group_IT_number 221", sites=ROCKSALT), "'F m -3 m' is no. 225, stated is no. 221"),
        (cif(name=FM3M, more="_chemical_formula_sum 'Ca O'", sites=ROCKSALT), "the cell holds Mg4O4, the formula is Ca O"),
        (cif(name=FM3M, more="_chemical_formula_sum 'Mg O2'", sites=ROCKSALT), "the cell holds Mg4O4, the formula is Mg O2"),
        (cif(name=FM3M, more="_chemical_formula_sum 'Mg O'\n_cell_formula_units_Z 8", sites=ROCKSALT), "stated are 8 formula units of Mg O"),
        (cif(name=FM3M, more="_exptl_crystal_density_diffrn 7.2(1)", sites=ROCKSALT), "density is 3.58 g/cm3, stated is 7.2"),
        (cif(name=FM3M, more="_cell_volume 149.4", sites=ROCKSALT), "volume of the cell is 74.72 A3, stated is 149.4"),
        (cif(name=FM3M, sites="Mg1 Mg 0 0 0\nO1 O .1 .1 .1\n"), "no crystal: F m -3 m: Mg1 and O1 are 0.73 Angstrom apart"),
        (cif(name=FM3M, sites="Mg1 Mg 0 0 0\nCa1 Ca 0 0 0\nO1 O .5 .5 .5\n"), "Mg1 and Ca1 are 0.00 Angstrom apart|Ca1 and Mg1"),
        (cif(name=FM3M, more="loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\n-x,-y\n", sites=ROCKSALT), "symmetry operation '-x,-y' cannot be read"),
        (cif(name="?", more="loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\n-y,x,z\n", sites=ROCKSALT), "2 listed symmetry operations are no group: .* 4"),
        (cif(name="?\n_space_group_IT_number 225", more="loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\n", sites=ROCKSALT), "operations are those of space group no. 1, stated is no. 225"),
        (cif(name=FM3M, more="_cell_modulation_dimension 1", sites=ROCKSALT), "_cell_modulation_dimension is given: no plain crystal"),
        ("data_a\n_x 1\ndata_a\n_y 1\n", r"is not a readable CIF file \(duplicate block name: a\)"),
        ("data_a\n_cell_length_a 1\n_cell_length_a 2\n", r"is not a readable CIF file \(line 3 in data_a: duplicate tag"),
        ("title\n\ndata_a\n_x 1 2 ''\n", r"is not a readable CIF file \(line 4, column 5: parse error\)"),
        (cif(name=FM3M, sites="? . 0 0 0\nO1 O .5 .5 .5\n"), "site number 1 has neither label nor type"),
        ("", r"no data_ block"),
        ("_cell_length_a 3\n", "is not a readable CIF file"),
        ("data_x\nloop_\n_a\n_b\n1 2 3\n", "is not a readable CIF file .*Wrong number of values"),
    ],
)  # fmt: skip
def test_bad_files_are_refused_in_one_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        loaded(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'a.cif'}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.vasp", "nothing\n", "is not a readable vasp file"),
        ("a.extxyz", "3\n", "is not a readable extxyz file"),
        ("a.extxyz", '1\nProperties=species:S:1:pos:R:3 pbc="F F F"\nO 0 0 0\n', "is not periodic in three directions"),
        ("a.extxyz", 2 * '1\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3 pbc="T T T"\nO 0 0 0\n', "holds 2 structures"),
        ("a.extxyz", '2\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3 pbc="T T T"\nO 0 0 0\nMg 0 0 1\n', "are 1.00 Angstrom apart"),
        ("a.pdb", "{}", "is none of the formats of a crystal; give a .cif, a POSCAR, an .extxyz file or a .json of the"),
    ],
)  # fmt: skip
def test_bad_files_of_other_formats(tmp_path, name, text, message):
    with pytest.raises(ValueError, match=f"{re.escape(str(tmp_path / name))}: .*{message}") as caught:
        loaded(tmp_path, text, name)
    assert "\n" not in str(caught.value)


def test_identity_is_of_the_crystal_and_not_of_its_cell(tmp_path):
    known = crystals.identify(ANATASE)
    assert (known.formula, known.number, known.name) == ("TiO2", 141, "TiO2 (I4_1/amd)")
    measured = crystals.identify(crystals.load(DATA / "programs" / "anatase-vesta.cif").atoms)
    assert crystals.same(measured, known)
    assert crystals.same(
        crystals.identify(loaded(tmp_path, cif(name="I41/amdZ", cell=ANATASE_CELL, sites=ORIGIN_2)).atoms), known
    )
    assert not crystals.same(crystals.identify(crystals.load(DATA / "programs" / "rutile-icsd.cif").atoms), known)
    stretched = ANATASE.copy()
    stretched.set_cell([3.8, 3.8, 10.2], scale_atoms=True)
    assert not crystals.same(crystals.identify(stretched), known)
    zirconium = Atoms(
        ["Zr" if s == "Ti" else s for s in ANATASE.symbols], positions=ANATASE.positions, cell=ANATASE.cell, pbc=True
    )
    assert not crystals.same(crystals.identify(zirconium), known)
