import re

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from ase.spacegroup import crystal as build
from numpy.testing import assert_allclose

from mlip.atoms import structures
from mlip.atoms.structures import Facet

ANATASE = structures.crystal("anatase")
RUTILE = build(["Ti", "O"], [(0, 0, 0), (0.3053, 0.3053, 0)], spacegroup=136, cellpar=[4.594, 4.594, 2.959, 90, 90, 90])
ROCKSALT = build(["Mg", "O"], [(0, 0, 0), (0.5, 0.5, 0.5)], spacegroup=225, cellpar=[4.212] * 3 + [90] * 3)


def made(crystal, miller, layers, repeat, name="test"):
    atoms = structures.slab(crystal, Facet(name=name, miller=miller, layers=layers, repeat=repeat), bond_angstrom=2.35)
    return atoms, structures.describe(atoms, name=name, kind="slab", miller=miller, bond_angstrom=2.35)


@pytest.mark.parametrize(
    ("miller", "layers", "repeat", "cell", "thickness", "coordination"),
    [
        ((0, 0, 1), 4, (2, 2), (7.60, 7.60), 7.26, {"Ti5c": 8, "Ti6c": 8, "O2c": 8, "O3c": 24}),
        ((1, 0, 0), 4, (2, 1), (7.60, 9.68), 5.70, {"Ti5c": 8, "Ti6c": 8, "O2c": 8, "O3c": 24}),
        ((0, 1, 0), 4, (2, 1), (7.60, 9.68), 5.70, {"Ti5c": 8, "Ti6c": 8, "O2c": 8, "O3c": 24}),
        ((1, 0, 0), 2, (2, 2), (7.60, 19.36), 1.90, {"Ti5c": 16, "O2c": 16, "O3c": 16}),
        ((1, 0, 0), 6, (2, 1), (7.60, 9.68), 9.50, {"Ti5c": 8, "Ti6c": 16, "O2c": 8, "O3c": 40}),
        ((0, 0, 1), 5, (2, 2), (7.60, 7.60), 9.68, {"Ti5c": 8, "Ti6c": 12, "O2c": 8, "O3c": 32}),
        ((1, 0, 1), 3, (1, 1), (3.80, 10.399), 7.959, {"Ti5c": 4, "Ti6c": 8, "O2c": 4, "O3c": 20}),
    ],
)
def test_anatase_slabs_have_the_published_counts(miller, layers, repeat, cell, thickness, coordination):
    atoms, host = made(ANATASE, miller, layers, repeat)
    assert host.coordination == coordination
    assert host.atoms == len(atoms) == sum(coordination.values()) == 3 * atoms.symbols.count("Ti")
    assert host.dipole_e_angstrom == 0
    assert_allclose(host.cell_angstrom[:2], cell, rtol=1e-4)
    assert_allclose(host.thickness_angstrom, thickness, rtol=1e-3)
    assert_allclose(host.cell_angstrom[3:], 90.0, rtol=1e-6)
    assert_allclose(host.area_angstrom2, cell[0] * cell[1], rtol=1e-4)
    assert atoms.pbc.all()


def test_primary_and_literal_100_are_told_apart_by_the_note():
    assert made(ANATASE, (1, 0, 0), 4, (2, 1))[1].note == ""
    assert "every Ti is 5-fold" in made(ANATASE, (1, 0, 0), 2, (2, 2))[1].note


def test_slab_is_centred_in_the_vacuum_and_bonds_keep_their_bulk_lengths():
    atoms, _ = made(ANATASE, (0, 0, 1), 4, (1, 1))
    heights = atoms.positions[:, 2]
    assert_allclose(atoms.cell[2, 2] - np.ptp(heights), 15.0, rtol=1e-9)
    assert_allclose(heights.min(), atoms.cell[2, 2] - heights.max(), rtol=1e-9)
    pairs = atoms.get_all_distances(mic=True)[structures.metals(atoms)][:, ~structures.metals(atoms)]
    assert_allclose(np.unique(pairs[pairs < 2.3].round(3)), [1.946, 2.0], rtol=1e-3)


def test_bridging_oxygen_rows_of_001_run_along_y():
    atoms, _ = made(ANATASE, (0, 0, 1), 4, (1, 1))
    top = atoms.positions[atoms.positions[:, 2].argmax()]
    metal = atoms.positions[structures.metals(atoms)]
    apart = top - metal[metal[:, 2].argmax()]
    assert_allclose(np.abs(apart[:2]), [0.0, 1.9], rtol=0, atol=1e-6)


def test_other_oxides():
    _, rutile = made(RUTILE, (1, 1, 0), 4, (2, 1))
    assert rutile.coordination == {"O2c": 4, "O3c": 28, "Ti5c": 4, "Ti6c": 12}
    assert rutile.dipole_e_angstrom == 0
    assert_allclose(rutile.cell_angstrom[:2], (2 * 2.959, 6.4969), rtol=1e-4)
    _, rocksalt = made(ROCKSALT, (1, 0, 0), 4, (1, 1))
    assert rocksalt.coordination == {"Mg5c": 2, "Mg6c": 2, "O5c": 2, "O6c": 2}


def test_polar_facets_are_refused_with_the_reason():
    with pytest.raises(ValueError, match=r"\(1, 1, 1\) of Mg4O4.*2 have a dipole along the normal \(polar\)"):
        made(ROCKSALT, (1, 1, 1), 4, (1, 1))


def test_bulk_supercell():
    atoms = structures.bulk(ANATASE, (2, 2, 1))
    host = structures.describe(atoms, name="bulk", kind="bulk", miller=None, bond_angstrom=2.35)
    assert (host.formula, host.spacegroup) == ("Ti16O32", "I4_1/amd (141)")
    assert host.coordination == {"O3c": 32, "Ti6c": 16}
    assert host.thickness_angstrom is None
    with pytest.raises(ValueError, match="no metal-anion distance is as short"):
        structures.describe(atoms, name="bulk", kind="bulk", miller=None, bond_angstrom=1.2)


def test_cif_gives_the_same_slab_whatever_its_cell(tmp_path):
    write(tmp_path / "conventional.cif", ANATASE)
    primitive = Atoms(ANATASE[[0, 2, 4, 6, 8, 10]])
    primitive.set_cell([[3.8, 0, 0], [0, 3.8, 0], [1.9, 1.9, 4.84]])
    primitive.wrap()
    write(tmp_path / "primitive.cif", primitive)
    for name in ("conventional.cif", "primitive.cif"):
        conventional = structures.crystal(str(tmp_path / name))
        assert len(conventional) == 12
        assert made(conventional, (0, 0, 1), 4, (2, 2))[1].coordination == {"O2c": 8, "O3c": 24, "Ti5c": 8, "Ti6c": 8}


def test_bad_crystals_are_refused(tmp_path):
    with pytest.raises(ValueError, match="'brookite' is unknown; give 'anatase' or"):
        structures.crystal("brookite")
    with pytest.raises(ValueError, match="no such file"):
        structures.crystal(str(tmp_path / "absent.cif"))
    broken = tmp_path / "broken.cif"
    broken.write_text("data_x\n_cell_length_a nonsense\n")
    with pytest.raises(ValueError, match=re.escape(f"{broken}: is not a readable CIF file")):
        structures.crystal(str(broken))
    write(tmp_path / "metal.cif", Atoms("Ti", cell=[3, 3, 3], pbc=True))
    with pytest.raises(ValueError, match="no anions or no cations"):
        structures.crystal(str(tmp_path / "metal.cif"))


def test_nominal_charges():
    assert structures.nominal_charges(ANATASE) == {"O": -2.0, "Ti": 4.0}
    assert structures.nominal_charges(Atoms("SrTiO3"))["Ti"] == 4.0
    assert_allclose(structures.nominal_charges(Atoms("Fe3O4"))["Fe"], 8 / 3)
    with pytest.raises(ValueError, match="do not follow"):
        structures.nominal_charges(Atoms("NbTiO4"))
