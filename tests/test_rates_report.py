"""The report sections of the stage rates, as data, and what the figure shows."""

from dataclasses import replace

import pytest
from helpers import motions, rated
from numpy.testing import assert_allclose

from mlip.core.report import DASH
from mlip.stages.rates import assembly, comparison, figures, gains, outcome, report
from mlip.stages.rates.laws import Draws
from mlip.stages.rates.result import Rates
from mlip.stages.rates.settings import RatesSettings, WalkSettings
from mlip.stages.rates.together import together

SETTINGS = RatesSettings(temperatures_kelvin=(250.0, 300.0, 600.0), samples=100)


def made(claimed=None, **more):
    built = assembly.systems(rated.found(**more), rated.CELLS, rated.BUDGET, with_d3=True)
    draws = Draws(100, 1)
    moved = [motions.motion(1200.0), motions.motion(600.0, value=1e-9)]
    solved = [outcome.solved(system, 0.3, SETTINGS, draws) for system in built]
    hops = comparison.hops_against_dynamics(moved, {"001_Li": "Li"}, built, member=1)
    lone = WalkSettings(host="001", ions=("Li",), steps=2000)
    return Rates(
        reference_kelvin=300.0,
        hops=tuple(row for system in built for row in outcome.hop_rates(system, SETTINGS, draws)),
        diffusivities=tuple(one.row for one in solved),
        gains=tuple(outcome.gains_of(solved, "bulk", SETTINGS, claimed=claimed or {}, notes={})),
        dynamics=tuple(comparison.against_dynamics(moved, {"001_Li": "Li"}, built, member=1)),
        hop_dynamics=tuple(hops),
        together=tuple(together(moved, [motions.lines(moved)], hops, built, member=1)),
        walks=tuple(comparison.walks([lone], built, seed=1)),
    )


@pytest.fixture(scope="module")
def whole():
    return made({("001", "Li"): gains.Claim(decades=2.0, implied=2.2)})


@pytest.fixture(scope="module")
def broken():
    every = rated.found()
    return made(modes=(every.modes[0], rated.failed("y", "001"), rated.failed("bulk_oct", "bulk")))


def column(table, start):
    number = next(k for k, c in enumerate(table.columns) if c.startswith(start))
    return [row[number] for row in table.rows]


def tables(section):
    return {t.key: t for part in (section, *section.parts) for t in part.tables}


def test_the_gain_stands_first_with_claim_and_verdict(whole):
    gain, rates = report.rates_sections(whole)
    assert (gain.level, rates.level) == ("answer", "evidence")
    (table,) = gain.tables
    assert column(table, "Claimed gain") == ["at least 2"]
    assert column(table, "Verdict") == [gains.AGREES]
    (cell,) = column(table, "Gain")
    assert_allclose(cell.value, whole.gains[0].decades.value, rtol=1e-12, atol=0)
    assert cell.low < cell.value < cell.high
    assert column(table, "From published") == ["2.2"]


def test_without_a_claim_there_is_a_gain_and_no_verdict(broken):
    gain, _ = report.rates_sections(broken)
    assert gain.level == "evidence"
    (table,) = gain.tables
    assert column(table, "Verdict") == [DASH]
    assert column(table, "Gain") == [DASH]
    assert column(table, "Reason")[0].startswith("D on 001: lower bound")


def test_every_table_has_the_numbers_of_the_result(whole):
    shown = tables(report.rates_sections(whole)[1])
    assert list(shown) == [
        "rates_diffusivities",
        "rates_hops",
        "rates_dynamics_hops",
        "rates_dynamics",
        "rates_dynamics_slopes",
        "rates_hop_dynamics",
        "rates_walks",
        "rates_temperatures",
    ]
    d = column(shown["rates_diffusivities"], "D at 300 K")
    assert_allclose([c.value for c in d], [r.at_reference.mean.value for r in whole.diffusivities], rtol=1e-12, atol=0)
    assert column(shown["rates_diffusivities"], "D_zz")[0] == DASH  # across the slab
    assert column(shown["rates_hops"], "Equivalent") == ["2", "2", "4"]
    assert column(shown["rates_hops"], "Prefactor") == ["8.1", "8.1", "8.1"]
    assert len(shown["rates_temperatures"].rows) == 6
    dynamics = column(shown["rates_dynamics"], "Ratio")
    assert " to " in dynamics[0]
    assert dynamics[1].startswith("< ")
    assert column(shown["rates_dynamics"], "D from disp")[0].value == whole.dynamics[0].displacements.value
    several = whole.together[-1]
    assert column(shown["rates_dynamics_hops"], "Temperatures") == ["1200", "600", "600, 1200"]
    assert column(shown["rates_dynamics_hops"], "Hops in")[-1] == str(several.hops)
    assert column(shown["rates_dynamics_slopes"], "Barrier")[0].value == several.barrier_ev
    hopped = shown["rates_hop_dynamics"]
    assert column(hopped, "Hop")[:4] == ["x", "y", "x", "y"]
    assert_allclose(column(hopped, "Ratio")[0].value, whole.hop_dynamics[0].ratio.value, rtol=1e-12, atol=0)
    assert_allclose(column(shown["rates_walks"], "D, ")[0].value, whole.walks[0].d_cm2_per_s, rtol=1e-12, atol=0)


def test_what_is_not_resolved_is_a_status_and_no_number(broken):
    shown = tables(report.rates_sections(broken)[1])
    slab, bulk = column(shown["rates_diffusivities"], "D at 300 K")
    assert slab.startswith("> ")
    assert slab.value is None
    assert bulk == DASH
    assert column(shown["rates_diffusivities"], "Effective") == [DASH, DASH]
    said = column(shown["rates_diffusivities"], "Status")
    assert "y (second-order saddle: imaginary modes of 6.0 and 2.1 THz)" in said[0]
    assert column(shown["rates_hops"], "Rate at 300 K")[1:] == [DASH, DASH]
    assert column(shown["rates_hops"], "Status")[1].startswith("no rate: second-order saddle")


def test_a_hop_between_unlike_sites_has_a_row_for_each_sense(whole):
    first = whole.hops[0]
    uneven = replace(first, forward=replace(first.forward, final="U1"), reverse=replace(first.reverse, initial="U1"))
    assert column(report.hops_table([uneven], 300.0), "Sites") == ["S1 to U1", "U1 to S1"]


def test_no_text_speaks_of_an_assumed_prefactor(whole):
    for section in report.rates_sections(whole):
        assert not any("10 THz" in text for part in (section, *section.parts) for text in part.text)


@pytest.fixture
def axes(monkeypatch):
    seen = {}

    def keep(figure, form="svg"):
        (seen["axis"],) = figure.axes
        return form.encode()

    monkeypatch.setattr(figures, "encoded", keep)
    return seen


def test_the_figure_has_a_line_and_a_band_per_host_and_dynamics_as_points(whole, axes):
    figures.over_temperature("Li", whole.diffusivities, whole.dynamics)
    axis = axes["axis"]
    assert [t.get_text() for t in axis.get_legend().get_texts()] == ["bulk", "001"]
    lines = {line.get_label(): line for line in axis.get_lines()}
    assert_allclose(lines["bulk"].get_xdata(), [4.0, 1000 / 300, 1000 / 600], rtol=1e-12, atol=0)
    assert_allclose(lines["001"].get_ydata()[1], whole.diffusivities[0].points[1].mean.value, rtol=1e-12, atol=0)
    assert len(axis.collections) >= 2
    (limit,) = [line for line in axis.get_lines() if line.get_marker() == "v"]
    assert_allclose(limit.get_xdata(), [1000 / 600], rtol=1e-12, atol=0)
    (point,) = [line for line in axis.get_lines() if line.get_marker() in figures.MARKERS[:2]]
    assert_allclose(float(point.get_xdata()[0]), 1000 / 1200, rtol=1e-12, atol=0)
    assert axis.get_yscale() == "log"


def test_there_is_no_figure_where_nothing_is_resolved(whole, broken):
    assert len(report.rates_sections(whole)[1].figures) == 1
    assert report.rates_sections(broken)[1].figures == ()
