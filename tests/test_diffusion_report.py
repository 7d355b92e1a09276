"""The section of diffusion: values with intervals, limits with their sign, warnings of a demonstration."""

import csv
import io
from dataclasses import replace

import pytest
from ase import Atoms
from helpers import motions as known
from helpers import walks

from mlip.core.report.csv import to_csv
from mlip.core.units import CM2_PER_S
from mlip.literature.references import References
from mlip.stages.diffusion import arrhenius, kinetics, report
from mlip.stages.diffusion.arrhenius import Point
from mlip.stages.diffusion.hops import NOTHING, Estimate


@pytest.fixture(scope="module")
def found():
    motions = [known.motion(t, frames=600) for t in (900.0, 1200.0)] + [known.motion(600.0, frames=100, value=1e-9)]
    lines = known.lines(motions)
    return kinetics.Diffused(motions=tuple(motions), kinetics=(lines,), densities=(), target_ps=60.0, notes=())


def column(table, start):
    number = next(k for k, c in enumerate(table.columns) if c.startswith(start))
    return [row[number] for row in table.rows]


@pytest.mark.parametrize(
    ("estimate", "factor", "text"),
    [
        (Estimate(value=2.0, low=1.0, high=4.0), 1e-4, "2.00e\u221204 (1.00e\u221204 to 4.00e\u221204)"),
        (Estimate(value=None, low=None, high=3.0), 1.0, "< 3"),
        (NOTHING, 1.0, "\u2013"),
    ],
)
def test_intervals(estimate, factor, text):
    assert report.interval(estimate, factor) == text


def test_limits_are_limits_in_every_table(found):
    tables = {t.caption: t for t in report.tables(found)}
    values = column(tables["Diffusion coefficients at the temperatures of the trajectories"], "D from hops")
    assert values[-1].startswith("< ")
    assert " to " in values[0]
    assert column(tables["Diffusion coefficients at the temperatures of the trajectories"], "Status")[-1].startswith(
        "no hop"
    )
    rates = tables["Rates of hops"]
    assert {r for t, r in zip(column(rates, "T"), column(rates, "Rate"), strict=True) if t == "600"} <= {
        r for r in column(rates, "Rate") if r.startswith("< ")
    }
    (extended,) = column(
        tables["Diffusion coefficients extrapolated from higher temperatures"], "D at 300 K, extrapolated"
    )
    assert " to " in extended


def test_a_curved_line_is_a_dash_with_its_status(found):
    (lines,) = found.kinetics
    points = [Point(temperature_kelvin=t, count=n, exposure=1.0) for t, n in ((600.0, 90), (900.0, 9), (1200.0, 900))]
    bent = arrhenius.line(points, at_kelvin=300.0, min_events=10)
    curved = replace(lines, diffusion=bent, hops=tuple(replace(h, line=bent) for h in lines.hops))
    table = report.extrapolated([curved])
    assert column(table, "Activation energy") == column(table, "D at 300 K") == ["\u2013"]
    (said,) = column(table, "Arrhenius fit")
    assert said.startswith("curved: ")
    assert set(column(report.activation([curved]), "Activation energy")) == {"\u2013"}


def test_a_short_run_is_called_a_demonstration(found):
    (line,) = report.remarks(found)
    assert line.startswith("A demonstration: the trajectories last 60 ps each")
    assert report.remarks(replace(found, target_ps=1000.0)) == ()


def test_where_no_ion_hopped_words_say_that_everything_is_a_limit(found):
    still = replace(found, motions=found.motions[-1:], target_ps=1000.0)
    (line,) = report.remarks(still)
    assert line.startswith("No ion hopped: every D and every rate below is an upper limit at 95 %")
    assert report.remarks(replace(still, motions=())) == ()


def test_memory_and_anisotropy_are_told_where_there_are_hops(found):
    table = {t.caption: t for t in report.tables(found)}["Correlation between successive jumps, and anisotropy"]
    assert column(table, "T") == ["900", "1200"]
    assert set(column(table, "Definition")) == {"D_yy / D_xx"}
    assert all(" to " in cell for cell in column(table, "Anisotropy"))


def test_intervals_and_limits_are_numbers_in_the_csv_file(found):
    (table,) = (t for t in report.tables(found) if t.key == "diffusivities")
    heading = "D from hops (cm\u00b2/s)"
    rows = list(csv.DictReader(io.StringIO(to_csv(table))))
    for row, motion in zip(rows, found.motions, strict=True):
        mean = motion.from_jumps.mean.scaled(CM2_PER_S)
        assert [row[heading + part] for part in ("", ": lower", ": upper")] == [
            "" if x is None else repr(x) for x in (mean.value, mean.low, mean.high)
        ]
    assert rows[-1][heading] == ""
    assert float(rows[-1][f"{heading}: upper"]) > 0


def test_time_below_the_surface_is_a_percentage(found):
    hot = replace(found.motions[0], layers={"surface": 0.75, "subsurface": 0.25})
    assert column(report.diffusivities([hot]), "Time below the surface (%)") == ["25.0"]
    assert column(report.diffusivities([replace(hot, layers={"bulk": 1.0})]), "Time below the surface (%)") == [
        "\u2013"
    ]


def test_the_section_has_warnings_first_then_tables_and_figures(found):
    host = Atoms("Ti", positions=[[0, 0, 10.0]], cell=walks.SQUARE, pbc=True)
    made = report.diffusion_section(found, known.SITES, known.HOPS, {"001": host}, References((), (), ()))
    assert made.text == (*report.remarks(found), *report.TEXT_LINES)
    assert [t.key for t in made.tables] == ["extrapolated", "activation", "diffusivities", "memory", "tensors", "rates"]
    assert len(made.figures) == 3
    assert made.small_figures


def test_jumps_that_the_network_lacks_are_listed_with_replica_and_frames(found):
    motions = [m for m in found.motions if m.unknown]
    rows = [(m, jump) for m in motions for jump in m.unknown]
    assert rows  # at 1200 K two hops lie between two frames now and then
    listed = report.unknown_table(rows)
    assert len(listed.rows) == len(rows)
    assert column(listed, "Replica")[0] == rows[0][1].replica
    assert column(listed, "Frames")[0] == f"{rows[0][1].first_frame} to {rows[0][1].last_frame}"
    assert set(column(listed, "Seen")) <= {"yes", "no"}
