"""A table of the report as a CSV file: numbers in full precision, uncertainties and intervals in columns of their own.

Takes a `Table`; gives text. The dash of a missing value is an empty field; a status stays words.
"""

import csv
import io
from collections.abc import Sequence

from mlip.core.report import DASH, NUMBER, Cell, Kind, Table

PARTS = {"error": "uncertainty", "low": "lower", "high": "upper", "note": "note"}  # attribute of a cell -> column


def to_csv(table: Table) -> str:
    """The table as CSV text (RFC 4180, a header line, '.' as the decimal point, empty where there is no value).

    A column whose cells have an uncertainty or an interval is followed by columns 'heading: uncertainty',
    'heading: lower' and 'heading: upper', in the unit of the heading. Without a value, 'upper' is an upper limit. Words
    behind a number are in 'heading: note'.
    """
    out = io.StringIO()
    writer = csv.writer(out)
    cells = [[row[k] for row in table.rows] for k in range(len(table.columns))]
    columns = [c for spec in zip(table.columns, table.kinds, cells, strict=True) for c in _columns(*spec)]
    writer.writerow(heading for heading, _ in columns)
    writer.writerows(zip(*(values for _, values in columns), strict=True))
    return out.getvalue()


def _columns(heading: str, kind: Kind, cells: Sequence[str]) -> list[tuple[str, list[str]]]:
    """The columns of the file for one column of the table: values, then what is known of their uncertainty."""
    columns = [(heading, [_value(cell, kind) for cell in cells])]
    for part, name in PARTS.items():
        known = [getattr(cell, part, None) for cell in cells]
        if any(one not in {None, ""} for one in known):
            columns.append((f"{heading}: {name}", [_plain(one) for one in known]))
    return columns


def _plain(part: float | str | None) -> str:
    if part is None or isinstance(part, str):
        return part or ""
    return repr(float(part))


def _value(cell: str, kind: Kind) -> str:
    """The number of a cell, or its text; empty for a dash and for a cell that has only a limit or a range."""
    if kind == NUMBER and isinstance(cell, Cell):
        if cell.value is not None:
            return repr(float(cell.value))
        if cell.low is not None or cell.high is not None:
            return ""
    return "" if cell == DASH else str(cell)
