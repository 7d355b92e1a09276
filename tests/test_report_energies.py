"""The section of the energetics: windows, metals, surfaces, adsorption."""

from dataclasses import replace

import pytest
from helpers.energies import FOUND, LATTICE
from helpers.material import FOLDER

from mlip.literature import references
from mlip.stages.energetics.lattice import Errors
from mlip.stages.report import energies


@pytest.fixture(scope="module")
def loaded():
    return references.load(FOLDER)


def test_values_are_held_against_their_windows(loaded):
    rows = {(r.quantity, r.of): r for r in energies.measured(FOUND, loaded)}
    assert len(rows) == 10
    expected = {
        ("lattice a", "bulk"): (3.81, "inside"),
        ("lattice c", "bulk"): (9.70, "inside"),
        ("oxygen coordinate u", "bulk"): (0.2066, "inside"),
        ("bulk modulus (VRH)", "bulk"): (183.0, "inside"),
        ("cohesive energy", "Li"): (1.62, "inside"),
        ("surface energy", "(001)"): (1.20, "outside"),
        ("insertion energy", "Li"): (-1.7, "inside"),
    }
    assert {key: (rows[key].run, rows[key].where) for key in expected} == expected
    assert rows["surface energy", "(101)"].run is None
    assert rows["cohesive energy", "Mg"].run is None


def test_a_value_whose_error_is_wider_than_its_window_is_not_resolved(loaded):
    wide = replace(LATTICE, errors=Errors(lengths_angstrom=(0.004, 0.004, 0.09), apex=0.0005, hill_gpa=28.2))
    rows = {r.quantity: r for r in energies.measured(replace(FOUND, crystal=wide), loaded) if r.of == "bulk"}
    assert rows["lattice a"].where == "inside"
    assert rows["lattice c"].where == rows["bulk modulus (VRH)"].where == "not resolved"  # 9.62 to 9.78, 172 to 196
    table = energies.windows(tuple(rows.values()))
    assert [row[2] for row in table.rows if row[0] == "bulk modulus (VRH)"] == ["183 \u00b1 28"]


def test_windows_are_those_of_published_values(loaded):
    """Each window holds the published PBE values of its quantity."""
    for row in energies.measured(None, loaded):
        published = [
            v.value
            for v in loaded.values
            if v.role == "independent"
            and v.quantity == row.quantity
            and row.of in {v.ion, v.facet}
            and "PBE" in v.method
            if "D3" not in v.method and "1x4" not in v.method and "reconstruction" not in v.method
        ]
        assert all(row.low <= value <= row.high for value in published), row


def test_without_a_run_the_project_values_stand_alone(loaded):
    rows = energies.measured(None, loaded)
    assert all(r.run is None for r in rows)
    table = energies.windows(rows)
    assert len(table.rows) == len(rows)
    assert {row[-1] for row in table.rows} <= {"inside", "outside", "not calculated"}


def test_adsorption_and_surfaces_and_metals():
    assert energies.adsorption(FOUND.adsorption, "pbe").rows[0] == (
        (
            "bulk",
            "Li",
            "V1",
            "\u2013",
            "\u2013",
            "\u22121.700",
            "\u22121.900",
            "\u22121.750",
            "\u22121.700",
            "1.700",
            "no label of the atom",
        )
    )
    assert energies.surfaces(FOUND.surfaces, "pbe-d3").rows[0][4] == "1.200"
    metals = energies.metals(FOUND).rows
    assert metals[0][:2] == ("bcc Li", "3.810, 9.700")
    assert metals[1] == ("hcp Mg", *["\u2013"] * 4, "not calculated: 13 of 13 cells have no label")


def test_columns_have_distinct_headings_and_units():
    table = energies.adsorption(FOUND.adsorption, "pbe")
    assert "Relative to the metal, potential, PBE (eV)" in table.columns
    assert len(set(table.columns)) == len(table.columns)


def test_the_section_shows_what_there_is(loaded):
    captions = ["", "Metals", "Surface energies", "Adsorption energies per ion", "Earlier DFT of this project"]
    assert [t.caption for t in energies.energies_section(FOUND, loaded).tables] == captions
    assert [t.caption for t in energies.energies_section(None, loaded).tables] == [captions[0], captions[-1]]
    assert energies.energies_section(None, replace(loaded, values=())).is_empty


def test_a_value_with_its_error_keeps_both_as_numbers(loaded):
    wide = replace(LATTICE, errors=Errors(lengths_angstrom=(0.004, 0.004, 0.09), apex=0.0005, hill_gpa=28.2))
    rows = energies.measured(replace(FOUND, crystal=wide), loaded)
    cell = next(row[2] for row in energies.windows(rows).rows if row[0] == "bulk modulus (VRH)")
    assert (cell.value, cell.error) == (183.0, 28.2)
