"""The report's own sections: headline figure and table, profiles, chances, limits."""

from xml.etree import ElementTree as ET

import pytest
from helpers.material import FOLDER, SETTINGS, band, images_of, results

from mlip.core.report import DASH
from mlip.literature import references
from mlip.stages.report import figures, paper, sections, tables


@pytest.fixture(scope="module")
def rows():
    return tables.rows(results(), references.load(FOLDER), SETTINGS)


def test_headline_is_well_formed_and_reproducible(rows):
    image = figures.headline(rows.headline)
    assert ET.fromstring(image).tag.endswith("svg")  # noqa: S314 (our own bytes)
    assert figures.headline(rows.headline) == image


def test_rows_without_number_are_named_not_drawn(monkeypatch, rows):
    kept = {}
    monkeypatch.setattr(figures, "encoded", lambda figure, form="svg": kept.update(axis=figure.axes[0]) or b"")
    figures.headline(rows.headline)
    axis = kept["axis"]
    assert [r.mlip_ev is None for r in rows.headline].count(True) == 2
    assert [t.get_text() for t in axis.texts] == ["not resolved"] * 2
    assert len(axis.containers) == 4
    assert axis.get_xlabel() == "migration barrier (eV)"
    assert [t.get_text() for t in axis.get_yticklabels()] == [f"{r.ion} {r.facet}" for r in rows.headline]
    drawn = [line.get_xdata()[0] for line in axis.get_lines() if line.get_label() == "published"]
    published = [line.get_xdata()[0] for line in axis.get_lines() if line.get_marker() == "D"]
    assert published == [r.published_ev for r in rows.headline]
    assert set(drawn) <= set(published)


def test_the_part_of_dispersion_is_shown_for_a_potential_without_it(rows):
    assert "D3 in the potential's value (eV)" in sections.headline_table(rows.headline, target="pbe").columns
    assert "D3 in the potential's value (eV)" not in sections.headline_table(rows.headline, target="pbe-d3").columns


def test_uncertainty_is_listed_by_term(rows):
    table = sections.budget_table(rows.headline)
    row = next(r for r in table.rows if r[:2] == ("Li", "bulk"))
    assert row[2:] == ("0.015", "0.012", DASH, "0.005", "0.000", "0.016")
    assert len(table.rows) == sum(r.budget is not None for r in rows.headline)


def test_hops_table_shows_statuses_and_equivalent_hops(rows):
    table = sections.hops_table(rows.hops)
    cells = {(r[0], r[1], r[2]): dict(zip(table.columns, r, strict=True)) for r in table.rows}
    good, failed = cells["bulk", "Li", "bulk_oct"], cells["bulk", "Mg", "bulk_oct"]
    assert (good["Equivalent hops"], good["Forward (eV)"], good["Forward = reverse"]) == ("2", "0.499", "yes, 2.0 meV")
    assert (failed["Status"], failed["Forward (eV)"], failed["Spread (eV)"]) == (
        "0 of 2 members converged: 2 max steps",
        "\u2013",
        "\u2013",
    )


def test_chance_of_a_match_is_a_percentage(rows):
    table = sections.nearest_table(rows.nearest)
    chances = {(r[0], r[1]): r[-1] for r in table.rows}
    near = next(r for r in rows.nearest if (r.ion, r.facet) == ("Li", "(001)"))
    assert chances["Li", "(001)"] == f"{100 * near.chance:.0f}"
    assert chances["Li", "(001)"].value == pytest.approx(100 * near.chance)
    assert "Chance of a match (%)" in table.columns


def test_a_profile_is_drawn_for_hops_that_have_a_band(rows):
    bands = (band("bulk", "Li", "bulk_oct", 1, 0.49), band("bulk", "Mg", "bulk_oct", 1, 0.73, status="max steps"))
    captions = [
        "Li in the bulk, hop bulk_oct: converged",
        "Mg in the bulk, hop bulk_oct: 0 of 2 members converged: 2 max steps",
    ]
    figures, viewers = sections.drawn_bands(rows.hops, bands, {})
    assert ([f.caption for f in figures], viewers) == (captions, ())
    figures, viewers = sections.drawn_bands(rows.hops, bands, images_of(bands))
    assert (figures, [v.caption for v in viewers]) == ((), captions)
    assert viewers[0].level == (pytest.approx(0.516), "DFT")
    assert sections.drawn_bands(rows.hops, (), {}) == ((), ())


def test_orders_are_left_out_without_published_values(rows):
    found = {s.key: s for s in sections.comparison_sections(rows, (), (), target="pbe")}
    assert len(found["order"].tables[0].rows) == 9
    assert found["profiles"].is_empty


def test_independent_barriers_have_their_sources():
    loaded = references.load(FOLDER)
    section = paper.independent_section(loaded)
    known = loaded.select(role="independent", quantity="migration barrier")
    assert [row[2].value for row in section.tables[0].rows] == [v.value for v in known]
    assert all(row[-1] for row in section.tables[0].rows)


def test_what_the_report_does_not_show_is_listed():
    told = sections.limits_section()
    assert len(told.points) == 6
    assert told.heading == "What this report does not show"
