"""The section of the convergence of the DFT settings."""

from mlip.stages.convergence import report
from mlip.stages.convergence.convergence import CONFIGURATIONS, INSERTION, Difference, Variant


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
    table = report.settings_table(rows)
    assert table.rows[0][1:6] == ("cutoff ev 400.0", "3", "68.0", "300.0", "Li 20, O 71")
    assert table.rows[0][6:10] == ("12", "4.0", "\u221212.0", "90")
    assert table.rows[1][1] == "as the run (reference)"
    assert table.rows[1][3:9] == (*["\u2013"] * 3, "6", *["\u2013"] * 2)  # its own net force is known


def test_without_settings_there_is_no_table():
    assert report.convergence_section(()).tables == ()
    assert report.in_words({}) == "as the run"
