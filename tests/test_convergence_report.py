"""The section of the convergence of the DFT settings."""

import pytest

from mlip.core.status import Status
from mlip.stages.convergence import report
from mlip.stages.convergence.convergence import CONFIGURATIONS, INSERTION, Difference, Variant


@pytest.fixture
def rows():
    changes = (
        Difference(kind=CONFIGURATIONS, high="hop", low="site", value_ev=0.6, change_ev=0.004),
        Difference(kind=INSERTION, high="hop", low="clean", value_ev=-3.0, change_ev=-0.012),
        Difference(kind=INSERTION, high="site", low="clean", value_ev=-3.6, change_ev=0.002),
    )
    reference = False
    return (
        Variant(
            study="cutoff",
            settings={"cutoff_ev": 400.0},
            reference=reference,
            frames=3,
            force_rms_ev_per_angstrom=0.068,
            force_max_ev_per_angstrom=0.3,
            force_rms_by_species={"Li": 0.0204, "O": 0.071},
            net_force_ev_per_angstrom=0.0123,
            energy_ev=0.012,
            differences=changes,
            seconds_per_frame=90.0,
            status=Status("calculated"),
        ),
        Variant(
            study="cutoff",
            settings={},
            reference=not reference,
            frames=3,
            force_rms_ev_per_angstrom=0.0,
            force_max_ev_per_angstrom=0.0,
            force_rms_by_species={"Li": 0.0, "O": 0.0},
            net_force_ev_per_angstrom=0.006,
            energy_ev=0.0,
            differences=(Difference(kind=CONFIGURATIONS, high="hop", low="site", value_ev=0.596, change_ev=0.0),),
            seconds_per_frame=None,
            status=Status("calculated"),
        ),
    )


def test_settings_against_the_reference(rows):
    table = report.settings_table(rows)
    assert table.rows[0][1:6] == ("cutoff ev 400.0", "3", "68.0", "300.0", "Li 20, O 71")
    assert table.rows[0][6:10] == ("12", "4.0", "\u221212.0", "90")
    assert table.rows[1][1] == "as the run (reference)"
    assert table.rows[1][3:9] == (*["\u2013"] * 3, "6", *["\u2013"] * 2)  # its own net force is known


def test_every_difference_has_its_row(rows):
    table = report.differences_table(rows)
    assert [row[2:] for row in table.rows[:3]] == [
        ("hop", "site", "0.600", "4.0"),
        ("hop", "clean", "\u22123.000", "\u221212.0"),
        ("site", "clean", "\u22123.600", "2.0"),
    ]
    assert table.rows[3][1:] == ("as the run (reference)", "hop", "site", "0.596", "\u2013")


def test_without_settings_there_is_no_table():
    assert report.convergence_section(()).tables == ()
    assert report.in_words({}) == "as the run"
