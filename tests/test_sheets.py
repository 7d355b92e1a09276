"""Numbers as text: signs, dashes, ranges of size; nested settings as two columns."""

import pytest
from material import evaluation, results

from mlip.stages.report import sheets


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
    assert sheets.number(value, digits, signed=signed) == text


@pytest.mark.parametrize(
    ("value", "text"), [(1.078e-13, "1.08e\u221213"), (547.46, "547.5"), (0.0, "0"), (-2.144, "\u22122.144")]
)
def test_compact(value, text):
    assert sheets.compact(value) == text


def test_value_and_error():
    assert sheets.with_error(0.4987, 0.031) == "0.50 \u00b1 0.03"
    assert sheets.with_error(None, 0.031) == "\u2013"
    assert sheets.with_error(0.4987, None) == "0.50"


def test_desorbed_site_has_no_energy():
    rows = sheets.sites(results().sites).rows
    assert [row[4] for row in rows if row[-1] == "desorbed"] == ["\u2013"]


def test_errors_in_milli_units():
    assert sheets.arms(evaluation()).rows[0] == ("fine-tuned committee", "12", "62.1", "81.0", "1.20", "0.985", "1.50")
    assert sheets.path_errors(evaluation()).rows[1][-1] == "+12"


def test_nested_mappings_become_two_columns():
    sheet = sheets.card({"a": {"b": 1, "c": [1, 2]}, "d": ({"e": None},)})
    assert sheet.rows == (("a.b", "1"), ("a.c", "1, 2"), ("d.1.e", "None"))


def test_every_sheet_has_a_kind_per_column():
    sheet = sheets.sites(results().sites)
    assert len(sheet.columns) == len(sheet.kinds)
    assert all(len(row) == len(sheet.columns) for row in sheet.rows)
