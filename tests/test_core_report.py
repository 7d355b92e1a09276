"""The report as data: numbers as text, tables, and the formats HTML, Markdown and CSV."""

import csv
import io
import re

import pytest

from mlip.core import report
from mlip.core.report import DASH, NUMBER, TEXT, VERDICT, Cell, Column, Figure, Page, ReportSection, Table
from mlip.core.report.csv import to_csv
from mlip.core.report.html import linked, to_html
from mlip.core.report.markdown import markdown_table, to_markdown


@pytest.mark.parametrize(
    ("value", "digits", "signed", "text"),
    [
        (0.5117, 3, False, "0.512"),
        (-0.005, 3, True, "\u22120.005"),
        (0.65, 2, True, "+0.65"),
        (-0.0001, 3, True, "0.000"),
        (None, 3, True, "\u2013"),
    ],
)
def test_number(value, digits, signed, text):
    made = report.number(value, digits, signed=signed)
    assert made == text
    assert made.value == value


@pytest.mark.parametrize(
    ("value", "text"), [(1.078e-13, "1.08e\u221213"), (547.46, "547.5"), (0.0, "0"), (-2.144, "\u22122.144")]
)
def test_compact(value, text):
    assert report.compact(value) == text
    assert report.compact(value).value == value


def test_value_and_error():
    assert report.with_error(0.4987, 0.031) == "0.50 \u00b1 0.03"
    assert (report.with_error(0.4987, 0.031).value, report.with_error(0.4987, 0.031).error) == (0.4987, 0.031)
    assert report.with_error(None, 0.031) == "\u2013"
    assert report.with_error(0.4987, None) == "0.50"


def test_a_thousandth_carries_the_number_of_its_column():
    assert report.thousandth(0.0621, 1) == "62.1"
    assert report.thousandth(0.0621, 1).value == pytest.approx(62.1, rel=1e-12)
    assert report.thousandth(None) == "\u2013"


def test_units_are_printed():
    assert [report.unit(u) for u in ("1", "A2", "eV", "J/m2")] == ["", "\u00c5\u00b2", "eV", "J/m\u00b2"]


def test_nested_mappings_become_two_columns():
    table = report.card("x", {"a": {"b": 1, "c": [1, 2]}, "d": ({"e": None},)}, caption="")
    assert table.rows == (("a.b", "1"), ("a.c", "1, 2"), ("d.1.e", "None"))
    assert table.columns == ("Key", "Value")


def test_two_columns_of_one_name_are_refused():
    columns = [Column("with D3 (eV)", NUMBER, str)] * 2
    with pytest.raises(
        ValueError, match=r"table x: two columns have the same heading .*with D3 \(eV\).*name them apart"
    ):
        report.table("x", columns, [])


COLUMNS = [
    Column("Hop", TEXT, lambda r: r[0]),
    Column("Barrier (eV)", NUMBER, lambda r: r[1]),
    Column("Count", NUMBER, lambda r: r[2]),
]


def made(*rows):
    return report.table("t", COLUMNS, rows, caption="Barriers")


def lines(table):
    return list(csv.reader(io.StringIO(to_csv(table))))


def test_csv_has_full_precision_and_the_uncertainty_in_a_column_of_its_own():
    table = made(("a, b", report.with_error(0.498765432109, 0.0312345), "3"), ("c", report.number(None), "0"))
    assert lines(table) == [
        ["Hop", "Barrier (eV)", "Barrier (eV): uncertainty", "Count"],
        ["a, b", "0.498765432109", "0.0312345", "3"],
        ["c", "", "", "0"],
    ]


def test_csv_has_no_uncertainty_column_without_one():
    table = made(("a", report.number(-1.0 / 3), "3"))
    assert lines(table) == [["Hop", "Barrier (eV)", "Count"], ["a", repr(-1.0 / 3), "3"]]


def test_csv_gives_intervals_and_limits_as_numbers():
    table = made(
        ("a", Cell("2 (1 to 3)", value=2.0, low=1.0, high=3.25), "3"),
        ("b", Cell("< 4", high=4.0), "0"),
        ("c", DASH, "0"),
    )
    assert lines(table) == [
        ["Hop", "Barrier (eV)", "Barrier (eV): lower", "Barrier (eV): upper", "Count"],
        ["a", "2.0", "1.0", "3.25", "3"],
        ["b", "", "", "4.0", "0"],
        ["c", "", "", "", "0"],
    ]


def test_csv_of_a_range_and_of_a_note():
    noted = report.number(0.9).noted("(001_in)")
    assert noted == "0.900 (001_in)"
    table = made(("a", noted, "3"), ("b", report.window(9.5, 9.8), "0"))
    head, first, second = lines(table)
    assert head[1:5] == [f"Barrier (eV){x}" for x in ("", ": lower", ": upper", ": note")]
    assert first[1:5] == ["0.9", "", "", "(001_in)"]
    assert second[1:5] == ["", "9.5", "9.8", ""]


def test_csv_quotes_and_keeps_words():
    table = made(('say "x"\nand y', "not calculated", "1"))
    assert lines(table)[1] == ['say "x"\nand y', "not calculated", "1"]
    assert lines(made()) == [["Hop", "Barrier (eV)", "Count"]]
    assert to_csv(made()).endswith("\r\n")


def test_markdown_keeps_bars_and_line_breaks_inside_cells():
    shown = markdown_table(made(("a|b\nc", report.number(1.0), "2")))
    assert shown.splitlines() == [
        "| Hop | Barrier (eV) | Count |",
        "| --- | ---: | ---: |",
        "| a\\|b c | 1.000 | 2 |",
    ]
    assert markdown_table(made()) == "(none)"


def page():
    section = ReportSection
    return Page(
        title="<b>x</b> & y",
        subtitle="Paper: A, doi:10.1007/s40820-025-01861-7; read",
        summary=("1 agrees: all.",),
        sections=(
            section(key="deep", heading="Deep", level="detail", text=("folded",)),
            section(key="seen", heading="Seen", tables=(made(("a", report.number(1.0), "2")),)),
            section(key="nothing", heading="Nothing"),
            section(
                key="top",
                heading="Top",
                level="answer",
                points=("one", "two"),
                figures=(Figure(image=b"x", form="png", caption="cap", alt="words"),),
                parts=(section(key="inner", heading="Inner", text=("inside",)),),
            ),
        ),
    )


def test_sections_are_ordered_by_level_and_empty_ones_left_out():
    assert [s.key for s in page().ordered()] == ["top", "seen", "deep"]


def test_html_shows_every_part_and_folds_details():
    html = to_html(page())
    parts = ("<strong>1 agrees:</strong> all.</p>", 'id="top"', 'id="inner"', 'id="seen"', "<details><summary>")
    order = [html.index(x) for x in parts]
    assert order == sorted(order)
    assert html.index("<summary><h2>Deep</h2></summary>") < html.index('id="deep"') < html.index("folded</p>")
    assert html.count("<details open>") == html.count("<details><summary>") == 1
    assert '<img src="data:image/png;base64,eA==" alt="words"><figcaption>cap</figcaption>' in html
    assert "<li>one</li><li>two</li>" in html
    assert "Nothing" not in html


def test_html_is_escaped_and_a_doi_is_a_link():
    html = to_html(page())
    assert "<b>x</b>" not in html
    assert "&lt;b&gt;x&lt;/b&gt; &amp; y" in html
    assert '<a href="https://doi.org/10.1007/s40820-025-01861-7">doi:10.1007/s40820-025-01861-7</a>; read' in html
    assert linked("a < b") == "a &lt; b"
    assert "<script>" not in linked("doi:10.1000/<script>")


def test_a_status_has_the_class_of_its_colour():
    table = report.table("v", [Column("Verdict", VERDICT, str)], ["not resolved"])
    html = to_html(
        Page(title="", subtitle="", summary=(), sections=(ReportSection(key="a", heading="A", tables=(table,)),))
    )
    assert '<span class="v not-resolved">not resolved</span>' in html
    assert ".not-resolved {" in html


def test_an_empty_table_says_so():
    empty = Page(title="", subtitle="", summary=(), sections=(ReportSection(key="a", heading="A", tables=(made(),)),))
    assert '<p class="none">None.</p>' in to_html(empty)
    assert "(none)" in to_markdown(empty)
    assert report.filled(made()) == ()


def test_markdown_has_the_text_and_tables_of_the_page():
    shown = to_markdown(page())
    headings = re.findall(r"^#+ .*$", shown, flags=re.MULTILINE)
    assert headings == ["# <b>x</b> & y", "## Top", "### Inner", "## Seen", "### Barriers", "## Deep"]
    assert "- one\n- two" in shown
    assert "| a | 1.000 | 2 |" in shown


def test_a_card_section_is_folded_and_empty_without_a_card():
    assert report.card_section("model-card", "Model card", {}).is_empty
    shown = report.card_section("model-card", "Model card", {"a": 1})
    assert (shown.level, shown.tables[0].key) == ("detail", "model_card")


def test_every_table_has_a_kind_per_column():
    table = made(("a", report.number(1.0), "2"))
    assert isinstance(table, Table)
    assert len(table.columns) == len(table.kinds) == len(table.rows[0])
