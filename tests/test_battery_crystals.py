"""Oxides of batteries go from their files to the hops of an ion, or say in a line why not."""

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.neighborlist import neighbor_list
from helpers.crystal_springs import Lattice
from numpy.testing import assert_allclose

from mlip.atoms import crystals, structures
from mlip.atoms.symmetry import operations
from mlip.stages.rates import lattice
from mlip.stages.sites import network, sites, vacancies, vacancy_jobs
from mlip.stages.sites.settings import SitesSettings
from mlip.stages.structures import StructuresSettings, bulk_repeat

DATA = Path(__file__).parent / "data" / "crystals" / "battery"
REPEAT = StructuresSettings().bulk_repeat


class Cage(Calculator):
    """Host atoms on springs, and an ion that they repel: the voids are its sites."""

    implemented_properties = ("energy", "forces")

    def __init__(self, host):
        super().__init__()
        self.places = host.positions.copy()

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        count = len(self.places)
        away = self.atoms.positions[:count] - self.places
        forces = np.zeros((len(self.atoms), 3))
        forces[:count] = -10.0 * away
        energy = 5.0 * float((away**2).sum())
        i, j, r, d = neighbor_list("ijdD", self.atoms, 5.0)
        pairs = (i == count) & (j < count)
        repulsion = 800.0 * np.exp(-r[pairs] / 0.3)
        along = (repulsion / 0.3 / r[pairs])[:, None] * d[pairs]
        np.add.at(forces, j[pairs], along)
        forces[count:] -= along.sum(0)
        self.results = {"energy": energy + float(repulsion.sum()), "forces": forces}


def searched(name, ion="Li"):
    """Sites and hops of an ion at all defaults."""
    host = structures.bulk(structures.crystal(str(DATA / f"{name}.cif")), REPEAT)
    kinds = sorted({str(s) for s in host.symbols[structures.metals(host)]})
    settings = SitesSettings()
    found, relaxed = sites.relaxed_sites(host, ion, Cage(host), settings, name="bulk", metal_symbols=kinds, seed=1)
    usable = [site for site in found if site.status.code == sites.RELAXED]
    hops = [hop for hop, *_ in network.hop_network(host, usable, relaxed, settings, registry=False)]
    return usable, hops


READ = {  # formula of the cell, number of the space group, shortest and longest bond of a metal (Angstrom)
    "licoo2": ("Co3Li3O6", 166, 1.92, 2.10),
    "lifepo4": ("Fe4Li4O16P4", 62, 1.52, 2.26),
    "limn2o4": ("Li8Mn16O32", 227, 1.95, 1.98),
    "tio2-rutile": ("Ti2O4", 136, 1.94, 1.99),
    "tio2-b": ("Ti8O16", 12, 1.75, 2.25),
    "v2o5": ("V4O10", 59, 1.57, 2.03),
    "mno2-beta": ("Mn2O4", 136, 1.88, 1.90),
    "li2mno3": ("Li8Mn4O12", 12, 1.90, 2.18),
    "nafeo2": ("Fe3Na3O6", 166, 2.04, 2.38),
    "mgo": ("Mg4O4", 225, 2.10, 2.11),
}


@pytest.mark.parametrize("name", READ)
def test_a_file_gives_the_crystal_that_it_names(name):
    formula, number, shortest, longest = READ[name]
    found = crystals.load(DATA / f"{name}.cif").atoms
    assert found.get_chemical_formula() == Atoms(formula).get_chemical_formula()
    assert crystals.identify(found).number == number
    i, j, r = neighbor_list("ijd", found, 2.4)
    metal = structures.metals(found)
    bonds = r[metal[i] & ~metal[j]]
    assert shortest < bonds.min() <= bonds.max() < longest
    assert sum(structures.nominal_charges(found)[str(s)] for s in found.symbols) == pytest.approx(0.0, abs=1e-9)


HOPS = {  # the shortest hop of Li (Angstrom): along the channel of each crystal
    "tio2-rutile": 2.9587 / 2,  # c/2
    "mno2-beta": 2.873 / 2,  # c/2
    "tio2-b": 3.735,  # b
    "v2o5": 3.564,  # b, between the layers
}


@pytest.mark.parametrize("name", HOPS)
def test_an_open_crystal_gives_sites_and_hops_at_all_defaults(name):
    usable, hops = searched(name)
    assert usable
    shortest = min(hops, key=lambda hop: hop.length_angstrom)
    assert shortest.symmetric
    assert_allclose(shortest.length_angstrom, HOPS[name], rtol=0, atol=0.02)


def test_an_extra_ion_in_lifepo4_has_a_site_and_no_hop():
    usable, hops = searched("lifepo4")
    assert len(usable) == 1
    assert not hops


@pytest.mark.parametrize(
    ("name", "ion"), [("licoo2", "Li"), ("limn2o4", "Li"), ("li2mno3", "Li"), ("nafeo2", "Na"), ("mgo", "Mg")]
)
def test_a_full_crystal_says_that_its_ion_needs_a_vacancy(name, ion):
    with pytest.raises(
        ValueError, match=rf"no void with 1.55 Angstrom around it, and {ion} of the crystal itself moves by"
    ):
        searched(name, ion)


VACANT = {  # distinct vacancies, length of the shortest hop (Angstrom), equivalent hops of it, dimensions of the walk
    ("licoo2", "Li"): (1, 2.816, 6, 2),
    ("nafeo2", "Na"): (1, 3.022, 6, 2),
    ("lifepo4", "Li"): (1, 3.005, 2, 1),
    ("limn2o4", "Li"): (1, 3.571, 4, 3),  # past an empty octahedron
    ("li2mno3", "Li"): (3, 2.740, None, 3),
    ("mgo", "Mg"): (1, 2.978, 12, 3),
}


@pytest.mark.parametrize(("name", "ion"), VACANT)
def test_a_full_crystal_gives_vacancies_and_hops_at_all_defaults(name, ion):
    count, length, ways, dimensions = VACANT[name, ion]
    settings = StructuresSettings(vacancies=(ion,))
    conventional = structures.crystal(str(DATA / f"{name}.cif"))
    host = structures.bulk(conventional, bulk_repeat(conventional, settings))
    chosen = SitesSettings()
    own, relaxed = vacancies.relaxed_vacancies(host, ion, Lattice(host), chosen)
    moves = vacancies.vacancy_hops(host, own, relaxed, chosen, name="bulk")
    assert len(own) == count
    assert_allclose(moves[0][0].length_angstrom, length, rtol=0, atol=0.02)
    assert ways in {None, moves[0][0].multiplicity}
    found = operations(host, tolerance_angstrom=chosen.symmetry_angstrom)
    placed = [vacancy_jobs.site_of(host, found, "bulk", one) for one in own]
    hops = [vacancy_jobs.hop_of(host, found, placed, move) for move, *_ in moves]
    net = lattice.lattice(host.cell.array, placed, hops)
    assert max(part.rank for part in lattice.parts(net, range(len(hops)), 0)) == dimensions


def test_a_mixed_site_is_refused_by_its_name():
    with pytest.raises(ValueError, match=r"li4ti5o12.cif: site Li2 is occupied to 0.1667; only fully occupied"):
        crystals.load(DATA / "li4ti5o12.cif")


# --- JSON of the Materials Project


def as_json(atoms, charges=None):
    """A structure as pymatgen writes one."""
    charges = charges or {}
    return {
        "@module": "pymatgen.core.structure",
        "@class": "Structure",
        "lattice": {"matrix": atoms.cell.array.tolist(), "volume": atoms.get_volume()},
        "sites": [
            {
                "species": [
                    {"element": symbol, "occu": 1, **({"oxidation_state": charges[symbol]} if charges else {})}
                ],
                "abc": scaled.tolist(),
                "xyz": place.tolist(),
                "label": symbol,
                "properties": {"magmom": 0.0},
            }
            for symbol, scaled, place in zip(atoms.symbols, atoms.get_scaled_positions(), atoms.positions, strict=True)
        ],
    }


def primitive():
    """The rhombohedral cell of LiCoO2, as the Materials Project gives crystals."""
    import spglib

    whole = crystals.load(DATA / "licoo2.cif").atoms
    cell, places, numbers = spglib.find_primitive((whole.cell.array, whole.get_scaled_positions(), whole.numbers))
    return Atoms(numbers=numbers, scaled_positions=places, cell=cell, pbc=True)


WRAPPED = {
    "structure": lambda one: one,
    "document": lambda one: {"material_id": "mp-22526", "structure": one, "symmetry": {"number": 166}},
    "answer": lambda one: {"data": [{"material_id": "mp-22526", "structure": one}], "meta": {}},
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_json_of_the_materials_project_gives_the_conventional_cell(kind, tmp_path):
    path = tmp_path / "licoo2.json"
    path.write_text(json.dumps(WRAPPED[kind](as_json(primitive(), {"Li": 1, "Co": 3, "O": -2}))))
    found, whole = structures.loaded(str(path)), crystals.load(DATA / "licoo2.cif").atoms
    assert crystals.same(crystals.identify(found.atoms), crystals.identify(whole))
    assert_allclose(found.atoms.cell.cellpar(), whole.cell.cellpar(), rtol=1e-6, atol=1e-6)
    assert found.notes[0].startswith("the cell of the file, 4 atoms")


def test_one_of_several_structures_is_chosen_by_its_name(tmp_path):
    mgo = crystals.load(DATA / "mgo.cif").atoms
    docs = [{"material_id": name, "structure": as_json(a)} for name, a in (("mp-1", primitive()), ("mp-2", mgo))]
    (tmp_path / "two.json").write_text(json.dumps(docs))
    assert len(structures.crystal(f"{tmp_path}/two.json#mp-2")) == 8
    with pytest.raises(ValueError, match=r"holds 2 structures \(mp-1, mp-2\); name one: two.json#mp-1"):
        structures.crystal(f"{tmp_path}/two.json")
    with pytest.raises(ValueError, match="holds no structure of 'mp-3'; there are: mp-1, mp-2"):
        structures.crystal(f"{tmp_path}/two.json#mp-3")


def mixed(one):
    one["sites"][1]["species"] = [{"element": "Li", "occu": 0.3}, {"element": "Co", "occu": 0.7}]


def partial(one):
    one["sites"][0]["species"][0]["occu"] = 0.5


def unknown(one):
    one["sites"][0]["species"][0]["element"] = "X0+"


def damaged(one):
    one["sites"][2]["abc"] = [0.0, None, 0.5]


def no_cell(one):
    one["lattice"] = {"a": 3.0}


def no_species(one):
    del one["sites"][0]["species"]


REFUSED = {
    mixed: r"site 2 \(\w+\) is occupied by Li to 0.3, Co to 0.7; only fully occupied",
    partial: r"site 1 \(\w+\) is occupied by \w+ to 0.5; only fully occupied",
    unknown: r"site 1 \(\w+\): 'X0\+' is no element",
    damaged: "abc of site 3",
    no_cell: "lattice.matrix: None is no array",
    no_species: "site 1: names no species",
}


@pytest.mark.parametrize("change", REFUSED)
def test_what_is_wrong_with_a_structure_is_told(change, tmp_path):
    one = as_json(primitive())
    change(one)
    (tmp_path / "a.json").write_text(json.dumps(one))
    with pytest.raises(ValueError, match=rf"a\.json: {REFUSED[change]}"):
        crystals.load(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("text", "told"), [("{", "is no JSON"), ("{}", "holds no structure"), ("[1, 2]", "holds no structure")]
)
def test_what_is_no_structure_is_told(text, told, tmp_path):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=told):
        crystals.load(tmp_path / "a.json")
