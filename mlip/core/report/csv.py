"""A table of the report as a CSV file: numbers in full precision, an uncertainty in a column of its own."""

import csv
import io

from mlip.core.report import DASH, NUMBER, Cell, Table


def to_csv(table: Table) -> str:
    """The table as CSV text (RFC 4180, a header line, '.' as the decimal point, empty where there is no value)."""
    out = io.StringIO()
    writer = csv.writer(out)
    has_error = [any(_error(row[k]) is not None for row in table.rows) for k in _range(table)]
    header = []
    for k in _range(table):
        header += [table.columns[k], f"{table.columns[k]}: uncertainty"] if has_error[k] else [table.columns[k]]
    writer.writerow(header)
    for row in table.rows:
        cells: list[str] = []
        for k in _range(table):
            cells.append(_value(row[k], table.kinds[k]))
            if has_error[k]:
                error = _error(row[k])
                cells.append("" if error is None else repr(float(error)))
        writer.writerow(cells)
    return out.getvalue()


def _range(table: Table) -> range:
    return range(len(table.columns))


def _error(cell: str) -> float | None:
    return cell.error if isinstance(cell, Cell) else None


def _value(cell: str, kind: str) -> str:
    if kind == NUMBER and isinstance(cell, Cell) and cell.value is not None:
        return repr(float(cell.value))
    return "" if cell == DASH else str(cell)
