"""Tables of the DFT stages: windows, ladder, adsorption, convergence."""

from dataclasses import replace

import pytest
from material import FOLDER, step

from mlip.literature import references
from mlip.stages.convergence.convergence import CONFIGURATIONS, INSERTION, Difference, Variant
from mlip.stages.energetics.energetics import Adsorption, Atom, Energetics, Metal, Surface
from mlip.stages.energetics.lattice import Errors, Lattice
from mlip.stages.report import dft_sheets


@pytest.fixture(scope="module")
def loaded():
    return references.load(FOLDER)


LATTICE = Lattice((0.0,), (3.81, 3.81, 9.70), 0.2066, 70.4, -51.1, 6, 176.0, 190.0, 183.0, 23, 1e-4)
FOUND = Energetics(
    level="84b3beb6c0557ee2",
    atoms=(Atom("Li", -0.28, 1.0, "calculated"),),
    metals=(
        Metal("Li", "bcc", LATTICE, -1.9, -0.17, 1.62, 1.79, "calculated"),
        Metal("Mg", "hcp", None, None, None, None, None, "not calculated: 13 of 13 cells have no label"),
    ),
    crystal=LATTICE,
    crystal_status="calculated",
    surfaces=(Surface("001", 4, 12, 14.4, 1.20, 1.5, "the potential", "calculated"),),
    adsorption=(Adsorption("bulk", "Li", "V1", 1.0, None, None, -1.7, -1.9, -1.7, 1.7, "no label of the atom", -1.75),),
)


def test_values_are_held_against_their_windows(loaded):
    rows = {(r.quantity, r.of): r for r in dft_sheets.measured(FOUND, loaded)}
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
    wide = replace(LATTICE, errors=Errors((0.004, 0.004, 0.09), 0.0005, 28.2))
    rows = {r.quantity: r for r in dft_sheets.measured(replace(FOUND, crystal=wide), loaded) if r.of == "bulk"}
    assert rows["lattice a"].where == "inside"
    assert rows["lattice c"].where == rows["bulk modulus (VRH)"].where == "not resolved"  # 9.62 to 9.78, 172 to 196
    table = dft_sheets.windows(tuple(rows.values()))
    assert [row[2] for row in table.rows if row[0] == "bulk modulus (VRH)"] == ["183 \u00b1 28"]


def test_windows_are_those_of_published_values(loaded):
    """Each window holds the published PBE values of its quantity."""
    for row in dft_sheets.measured(None, loaded):
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
    rows = dft_sheets.measured(None, loaded)
    assert all(r.run is None for r in rows)
    table = dft_sheets.windows(rows)
    assert len(table.rows) == len(rows)
    assert {row[-1] for row in table.rows} <= {"inside", "outside", "not calculated"}


def test_ladder_says_what_follows():
    table = dft_sheets.climbed((step("001_in", 1.03, 1.09), step("001_par", 1.7, None)))
    first, second = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
    assert first["DFT at its geometry (eV)"] == "1.090"
    assert first["Difference (eV)"] == "+0.060"
    assert first["Hop"] == "001_in (limiting)"
    assert first["It follows"] == (
        "DFT band needed: force on the ion above 0.15 eV/A; its DFT maximum is at least 1.110 eV; lacks final"
    )
    assert second["DFT at its geometry (eV)"] == second["Difference (eV)"] == "\u2013"
    assert second["It follows"] == "not calculated"
    forces = dft_sheets.saddle_forces((step("001_in", 1.03, 1.09), step("001_par", 1.7, None)))
    assert forces.rows == (("001", "Li", "001_in (limiting)", "210", "\u221250", "300", "120", "200", "100"),)


def test_adsorption_and_surfaces_and_metals():
    assert dft_sheets.adsorption(FOUND.adsorption, "pbe").rows[0] == (
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
    assert dft_sheets.surfaces(FOUND.surfaces, "pbe-d3").rows[0][4] == "1.200"
    metals = dft_sheets.metals(FOUND).rows
    assert metals[0][:2] == ("bcc Li", "3.810, 9.700")
    assert metals[1] == ("hcp Mg", *["\u2013"] * 4, "not calculated: 13 of 13 cells have no label")


def test_settings_against_the_reference():
    changes = (
        Difference(CONFIGURATIONS, "hop", "site", 0.6, 0.004),
        Difference(INSERTION, "hop", "clean", -3.0, -0.012),
        Difference(INSERTION, "site", "clean", -3.6, 0.002),
    )
    reference = False
    rows = (
        Variant(
            "cutoff",
            {"cutoff_ev": 400.0},
            reference,
            3,
            0.068,
            0.3,
            {"Li": 0.0204, "O": 0.071},
            0.0123,
            0.012,
            changes,
            90.0,
            "calculated",
        ),
        Variant("cutoff", {}, not reference, 3, 0.0, 0.0, {"Li": 0.0, "O": 0.0}, 0.006, 0.0, (), None, "calculated"),
    )
    table = dft_sheets.settings(rows)
    assert table.rows[0][1:6] == ("cutoff ev 400.0", "3", "68.0", "300.0", "Li 20, O 71")
    assert table.rows[0][6:10] == ("12", "4.0", "\u221212.0", "90")
    assert table.rows[1][1] == "as the run (reference)"
    assert table.rows[1][3:9] == (*["\u2013"] * 3, "6", *["\u2013"] * 2)  # its own net force is known
