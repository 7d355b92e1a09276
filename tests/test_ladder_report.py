"""The section of the ladder: barriers and forces of the potential beside those of DFT."""

from helpers.material import step

from mlip.stages.ladder import report


def test_ladder_says_what_follows():
    table = report.barriers_table((step("001_in", 1.03, 1.09), step("001_par", 1.7, None)))
    first, second = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
    assert first["DFT, same geometry (eV)"] == "1.090"
    assert first["Difference (eV)"] == "+0.060"
    assert first["Hop"] == "001_in (limiting)"
    assert first["Consequence"] == (
        "DFT band needed: force on the ion above 0.15 eV/A; the DFT maximum of the path is at least 1.110 eV; lacks final"
    )
    assert second["DFT, same geometry (eV)"] == second["Difference (eV)"] == "\u2013"
    assert second["Consequence"] == "not calculated"
    forces = report.forces_table((step("001_in", 1.03, 1.09), step("001_par", 1.7, None)))
    assert forces.rows == (("001", "Li", "001_in (limiting)", "210", "\u221250", "300", "120", "200", "100"),)


def test_the_section_leaves_forces_out_where_none_is_known():
    assert [t.key for t in report.ladder_section((step("001_in", 1.03, 1.09),)).tables] == ["ladder", "ladder_forces"]
    assert [t.key for t in report.ladder_section((step("001_par", 1.7, None),)).tables] == ["ladder"]
