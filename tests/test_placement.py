"""Ions on hosts: how many, where, and which atoms stay fixed."""

import numpy as np
import pytest
from ase.geometry import get_distances
from numpy.testing import assert_allclose, assert_array_equal

from mlip.atoms import structures
from mlip.atoms.structures import Facet
from mlip.atoms.symmetry import copies, operations
from mlip.core.status import Status
from mlip.stages.md import placement
from mlip.stages.md.settings import MdSystem
from mlip.stages.sites import sites

FACET = Facet(name="001", miller=(0, 0, 1), layers=4, repeat=(2, 2))
SLAB = structures.slab(structures.crystal("anatase"), FACET, bond_angstrom=2.35)
BULK = structures.bulk(structures.crystal("anatase"), (2, 2, 1))


def site(name, ion, point, *, energy=0.0, host=SLAB, where="001"):
    found = operations(host, tolerance_angstrom=0.1, keep_top=structures.is_slab(host))
    places = copies(host, found, np.array(point))
    return sites.Site(
        name=name,
        host=where,
        ion=ion,
        layer="surface",
        position_angstrom=tuple(point),
        depth_angstrom=0.0,
        energy_ev=energy,
        coordination=4,
        multiplicity=len(places),
        status=Status("relaxed"),
        copies_angstrom=tuple(map(tuple, places.tolist())),
    )


HOLLOW = [*(SLAB.positions[structures.metals(SLAB), :2][0] + 1.9), SLAB.positions[:, 2].max()]
SITES = [
    site("S1", "Li", HOLLOW),
    site("S2", "Li", [*HOLLOW[:2], HOLLOW[2] + 2.0], energy=0.3),
    site("S1", "Mg", HOLLOW),
]


def system(**changes):
    return MdSystem.model_validate({"host": "001", "ions": ["Li"], **changes})


def loaded(**changes):
    relaxed = SLAB.copy()
    relaxed.append("Li")
    relaxed.positions[-1] = HOLLOW
    relaxed.positions[0] += 0.05
    return placement.with_ions(SLAB, SITES, system(**changes), {"Li S1": relaxed, "Li S2": relaxed}, apart_angstrom=2.0)


def test_a_single_ion_starts_from_its_relaxed_configuration():
    atoms = loaded()
    assert_allclose(atoms.positions[0] - SLAB.positions[0], 0.05, rtol=0, atol=1e-9)
    assert atoms.symbols[-1] == "Li"


@pytest.mark.parametrize(("coverage", "count"), [(0.0625, 1), (0.25, 4), (0.5, 8), (1.0, 16)])
def test_coverage_counts_outermost_metals(coverage, count):
    atoms = loaded(repeat=[2, 2, 1], coverage=coverage)
    assert len(atoms) == 4 * 48 + count
    ions = atoms.positions[192:]
    apart = get_distances(ions, cell=atoms.cell, pbc=True)[1] + 99 * np.eye(count)
    assert apart.min() > 3.7
    if count == 4:
        assert apart.min() > 7.5  # as far from each other as they can be
    assert_array_equal(atoms.positions[:192], SLAB.repeat((2, 2, 1)).positions)


def test_ions_take_turns():
    assert placement.ions_of(system(ions=["Mg", "Li"], repeat=[2, 2, 1], coverage=0.25), SLAB) == (
        "Mg",
        "Li",
        "Mg",
        "Li",
    )
    assert placement.ions_of(system(ions=["Li", "Li", "Mg"]), SLAB) == ("Li", "Li", "Mg")
    atoms = loaded(ions=["Mg", "Li"], repeat=[2, 1, 1])
    assert list(atoms.symbols[-2:]) == ["Mg", "Li"]


def test_names_tell_systems_apart():
    assert placement.name_of(system()) == "001_Li"
    assert (
        placement.name_of(system(ions=["Mg", "Li"], repeat=[2, 2, 1], coverage=0.25, site="S1"))
        == "001_Mg-Li_2x2x1_0.25_S1"
    )


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"ions": ["K"]}, "K on 001 has no relaxed site any site; there are: none"),
        ({"site": "U9"}, "Li on 001 has no relaxed site U9; there are: S1, S2"),
        ({"ions": ["Li"] * 9}, r"only 0.00 Angstrom between ions \(md.apart_angstrom 2\) with 9 of them; lower"),
        ({"repeat": [1, 1, 2]}, "stacks slabs; its third number is 1"),
    ],
)
def test_what_cannot_be_loaded_is_refused(changes, match):
    with pytest.raises(ValueError, match=match):
        loaded(**changes)


def test_bulk_has_no_coverage():
    with pytest.raises(ValueError, match="bulk has no surface to be covered; name its ions"):
        placement.ions_of(MdSystem(host="bulk", ions=("Li",), coverage=0.5), BULK)


def test_frozen_layers_are_whole_formula_layers():
    for layers in (1, 2, 3):
        moves = placement.mobile(SLAB, layers)
        fixed = SLAB[~moves]
        assert fixed.get_chemical_formula(mode="metal") == f"Ti{4 * layers}O{8 * layers}"
        assert fixed.positions[:, 2].max() < SLAB.positions[moves, 2].max()
    assert placement.mobile(SLAB, 0).all()
    assert placement.mobile(BULK, 1).all()
    with pytest.raises(ValueError, match="4 of 4 layers leave nothing to move; freeze fewer"):
        placement.mobile(SLAB, 4)
