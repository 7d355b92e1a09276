"""A table of the report as a CSV file: numbers in full precision, uncertainties and intervals in columns of their own.

Takes a `Table`; gives text, and reads it again. Text is in quotation marks and numbers are not, as the kinds of the
columns say: so the facet "001" is no number. The dash of a missing value is an empty text; a status stays words.
"""

import csv
import io
from collections.abc import Sequence

from mlip.core.report import DASH, NUMBER, Cell, Kind, Table

Field = str | float | int
PARTS = {"error": "uncertainty", "low": "lower", "high": "upper", "note": "note"}  # attribute of a cell -> column


def to_csv(table: Table) -> str:
    """The table as CSV text (RFC 4180, a header line, '.' as the decimal point, "" where there is no value).

    A column whose cells have an uncertainty or an interval is followed by columns 'heading: uncertainty',
    'heading: lower' and 'heading: upper', in the unit of the heading. Without a value, 'upper' is an upper limit. Words
    behind a number are in 'heading: note'.
    """
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_NONNUMERIC)
    cells = [[row[k] for row in table.rows] for k in range(len(table.columns))]
    columns = [c for spec in zip(table.columns, table.kinds, cells, strict=True) for c in _columns(*spec)]
    writer.writerow(heading for heading, _ in columns)
    writer.writerows(zip(*(values for _, values in columns), strict=True))
    return out.getvalue()


def read(text: str) -> list[dict[str, str | float | None]]:
    """The rows of such a text by heading: numbers as float, text as it is, None where there is no value.

    Raises:
        ValueError: text without quotation marks, as earlier versions wrote it.
    """
    rows = csv.DictReader(io.StringIO(text, newline=""), quoting=csv.QUOTE_NONNUMERIC)
    return [{heading: None if value == "" else value for heading, value in row.items()} for row in rows]


def _columns(heading: str, kind: Kind, cells: Sequence[str]) -> list[tuple[str, list[Field]]]:
    """The columns of the file for one column of the table: values, then what is known of their uncertainty."""
    columns = [(heading, [_value(cell, kind) for cell in cells])]
    for part, name in PARTS.items():
        known = [getattr(cell, part, None) for cell in cells]
        if any(one not in {None, ""} for one in known):
            columns.append((f"{heading}: {name}", [_plain(one) for one in known]))
    return columns


def _plain(part: float | str | None) -> Field:
    if part is None or isinstance(part, str):
        return part or ""
    return float(part)


def _value(cell: str, kind: Kind) -> Field:
    """The number of a cell, or its text; empty for a dash and for a cell that has only a limit or a range."""
    if cell == DASH:
        return ""
    if kind != NUMBER:
        return str(cell)
    if isinstance(cell, Cell):
        if cell.value is not None:
            return float(cell.value)
        if cell.low is not None or cell.high is not None:
            return ""
    return _number(str(cell))


def _number(text: str) -> Field:
    """A cell of a column of numbers that is text, such as a count; words, such as a status, stay words."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
