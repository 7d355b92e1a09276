"""Tables of molecular dynamics: values with intervals, limits with their sign, words of a demonstration."""

from dataclasses import replace

import numpy as np
import pytest
import test_kinetics as known

from mlip.stages.diffusion import kinetics
from mlip.stages.diffusion.hops import NOTHING, Estimate
from mlip.stages.md import md
from mlip.stages.report import md_sheets


@pytest.fixture(scope="module")
def found():
    motions = [known.motion(t, frames=600) for t in (900.0, 1200.0)] + [known.motion(600.0, frames=100, value=1e-9)]
    lines = kinetics.kinetics(motions, known.HOPS, known.SITES, [known.barrier("x", 0.3)], known.WHERE, known.SETTINGS)
    return kinetics.Diffused(tuple(motions), (lines,), (), 60.0, ())


def column(sheet, start):
    number = next(k for k, c in enumerate(sheet.columns) if c.startswith(start))
    return [row[number] for row in sheet.rows]


@pytest.mark.parametrize(
    ("estimate", "factor", "text"),
    [
        (Estimate(2.0, 1.0, 4.0), 1e-4, "2.00e\u221204 (1.00e\u221204 to 4.00e\u221204)"),
        (Estimate(None, None, 3.0), 1.0, "< 3"),
        (NOTHING, 1.0, "\u2013"),
    ],
)
def test_intervals(estimate, factor, text):
    assert md_sheets.interval(estimate, factor) == text


def test_limits_are_limits_in_every_table(found):
    tables = dict(md_sheets.diffusion(found))
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
    assert (
        "without y"
        in column(tables["Diffusion coefficients extrapolated from higher temperatures"], "D at 300 K from NEB")[0]
    )


def test_a_short_run_is_called_a_demonstration(found):
    (line,) = md_sheets.remarks(found)
    assert line.startswith("A demonstration: the trajectories last 60 ps each")
    assert md_sheets.remarks(replace(found, target_ps=1000.0)) == ()


def test_where_no_ion_hopped_words_say_that_everything_is_a_limit(found):
    still = replace(found, motions=found.motions[-1:], target_ps=1000.0)
    (line,) = md_sheets.remarks(still)
    assert line.startswith("No ion hopped: every D and every rate below is an upper limit at 95 %")
    assert md_sheets.remarks(replace(still, motions=())) == ()


def test_memory_and_anisotropy_are_told_where_there_are_hops(found):
    sheet = dict(md_sheets.diffusion(found))["Memory of jumps and anisotropy"]
    assert column(sheet, "T") == ["900", "1200"]
    assert set(column(sheet, "Ratio")) == {"D_yy / D_xx"}
    assert all(" to " in cell for cell in column(sheet, "Anisotropy"))


def test_trajectories_say_how_they_ended():
    outcomes = (
        md.Outcome("900K-1", 900.0, "done", 10.0, 909.0, 0.2),
        md.Outcome("900K-2", 900.0, "desorbed: an ion is 5.0 Angstrom from every atom", 5.0, 891.0, 0.2),
        md.Outcome("900K-3", 900.0, "exploded at the start: forces", 0.0, None, None),
    )
    sheet = md_sheets.trajectories([md.Followed("001_Li", "001", ("Li",), 49, 37, (1, 1, 1), (), outcomes)])
    row = dict(zip(sheet.columns, sheet.rows[0], strict=True))
    assert row["Ended"] == "1 done, 1 desorbed, 1 exploded at the start"
    assert row["Together (ps)"] == "15.0"
    assert float(row["Measured over set temperature"]) == pytest.approx(
        np.average([1.01, 0.99], weights=[2, 1]), abs=1e-3
    )
