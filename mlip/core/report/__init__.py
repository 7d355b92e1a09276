"""The report as data: sections with text, tables and figures, which every stage makes for itself.

Takes values; gives `ReportSection`s, which `html`, `markdown` and `csv` write down. A missing number is a dash, a
status is words. The text of a cell carries its number, so that a CSV file has full precision.
"""

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self
from urllib.parse import quote

from mlip.core.report.viewer import Viewer

Kind = Literal["text", "number", "verdict"]
Level = Literal["answer", "evidence", "detail"]  # first screen; what a referee needs; folded away
TEXT: Kind = "text"
NUMBER: Kind = "number"
VERDICT: Kind = "verdict"
DASH = "\u2013"
MINUS = "\u2212"
PLUS_MINUS = "\u00b1"
ANGSTROM = "\u00c5"
QUOTE, APOSTROPHE = '"', "'"
SAFE = " !'()*+,-./:;=?@[]^_`{|}~"  # characters that may stand in a data URI as they are
UNITS = {
    "1": "",
    "Angstrom": ANGSTROM,
    "A2": f"{ANGSTROM}\u00b2",
    "1/A": f"1/{ANGSTROM}",
    "m2/g": "m\u00b2/g",
    "cm2/s": "cm\u00b2/s",
    "J/m2": "J/m\u00b2",
}


class Cell(str):  # noqa: SLOT000  (a subclass of str cannot have non-empty slots with defaults)
    """The text of a cell with the number behind it, in the unit of the column.

    Attributes:
        value: the number, or None.
        error: its uncertainty as the heading of the column names it (1 or 2 sigma), or None.
        low: lower end of its interval, or None.
        high: upper end of its interval, or an upper limit where there is no value, or None.
        note: words behind the number, such as the hop it belongs to.
    """

    value: float | None
    error: float | None
    low: float | None
    high: float | None
    note: str

    def __new__(
        cls,
        text: str,
        *,
        value: float | None = None,
        error: float | None = None,
        low: float | None = None,
        high: float | None = None,
        note: str = "",
    ) -> Self:
        """A text that knows its number."""
        made = super().__new__(cls, text)
        made.value, made.error, made.low, made.high, made.note = value, error, low, high, note
        return made

    def noted(self, note: str) -> "Cell":
        """The cell with a note behind its text."""
        text = f"{self} {note}"
        return Cell(text, value=self.value, error=self.error, low=self.low, high=self.high, note=note)


@dataclass(frozen=True)
class Column:
    """A column of a table: heading with its unit, kind, and the cell of a row."""

    heading: str
    kind: Kind
    cell: Callable[[Any], str]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table: headings and kinds of its columns, and the cells of every row.

    Attributes:
        key: name of its CSV file.
        caption: shown above it; empty where the heading of the section says enough.
        stacked: on a narrow screen every row is shown as a block of lines.
    """

    key: str
    caption: str
    columns: tuple[str, ...]
    kinds: tuple[Kind, ...]
    rows: tuple[tuple[str, ...], ...]
    stacked: bool = False


@dataclass(frozen=True, kw_only=True)
class Figure:
    """An image with its caption and the text for readers who do not see it."""

    image: bytes
    form: Literal["svg+xml", "png"]
    caption: str
    alt: str

    @property
    def uri(self) -> str:
        """The image as a data URI; text is written as text, which is a quarter shorter than base64."""
        if self.form == "svg+xml":
            text = " ".join(self.image.decode().split())
            text = text if APOSTROPHE in text else text.replace(QUOTE, APOSTROPHE)
            return f"data:image/svg+xml,{quote(text, safe=SAFE)}"
        return f"data:image/{self.form};base64,{base64.b64encode(self.image).decode()}"


@dataclass(frozen=True, kw_only=True)
class ReportSection:
    """One section of the report.

    Attributes:
        key: anchor in the page, different from that of every other section.
        heading: its title.
        level: 'answer' stands first, 'evidence' after it, 'detail' is folded away.
        text: paragraphs before the tables.
        points: lines of a list after the text.
        tables: shown in order.
        figures: after the tables.
        small_figures: figures stand side by side.
        viewers: paths to be looked at image by image, after the figures.
        quotes: sentences to be copied, one per row of a table.
        parts: sections inside this one.
    """

    key: str
    heading: str
    level: Level = "evidence"
    text: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    small_figures: bool = False
    viewers: tuple[Viewer, ...] = ()
    quotes: tuple[str, ...] = ()
    parts: tuple["ReportSection", ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show below the heading."""
        shown = (self.text, self.points, self.tables, self.figures, self.viewers, self.quotes, self.parts)
        return not any(shown)


@dataclass(frozen=True, kw_only=True)
class Page:
    """The whole report: what stands above the sections, and the sections in the order of the stages.

    Attributes:
        title: of the page.
        subtitle: what is compared with what.
        summary: the answer in sentences, one per verdict.
        sections: in the order of the stages.
    """

    title: str
    subtitle: str
    summary: tuple[str, ...]
    sections: tuple[ReportSection, ...]

    def ordered(self) -> tuple[ReportSection, ...]:
        """The sections that are not empty: answers first, then evidence, then details."""
        levels: tuple[Level, ...] = ("answer", "evidence", "detail")
        return tuple(s for level in levels for s in self.sections if s.level == level and not s.is_empty)


def table(
    key: str, columns: Sequence[Column], rows: Iterable[Any], *, caption: str = "", stacked: bool = False
) -> Table:
    """A table of rows from its columns.

    Raises:
        ValueError: two columns have the same heading.
    """
    headings = tuple(column.heading for column in columns)
    if len(set(headings)) < len(headings):
        raise ValueError(f"table {key}: two columns have the same heading in {list(headings)}; name them apart")
    return Table(
        key=key,
        caption=caption,
        columns=headings,
        kinds=tuple(column.kind for column in columns),
        rows=tuple(tuple(column.cell(row) for column in columns) for row in rows),
        stacked=stacked,
    )


def filled(*tables: Table) -> tuple[Table, ...]:
    """The tables that have rows."""
    return tuple(one for one in tables if one.rows)


def number(value: float | None, digits: int = 3, *, signed: bool = False) -> Cell:
    """A number with a fixed count of decimals and a true minus, in the unit of the column, or a dash."""
    if value is None:
        return Cell(DASH)
    text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return Cell(text.replace("-", MINUS), value=value)


def thousandth(value: float | None, digits: int = 0, *, signed: bool = False) -> Cell:
    """A number in thousandths of its unit: eV shown as meV; the number behind it is in thousandths too."""
    return number(None if value is None else 1e3 * value, digits, signed=signed)


def compact(value: float) -> Cell:
    """A number of any size in four significant digits."""
    small = value != 0 and (abs(value) < 1e-3 or abs(value) >= 1e5)
    return Cell((f"{value:.2e}" if small else f"{value:.4g}").replace("-", MINUS), value=value)


def with_error(value: float | None, error: float | None, digits: int = 2) -> Cell:
    """Value and error in the unit of the column, or a dash where there is no value."""
    if value is None or error is None:
        return number(value, digits)
    return Cell(f"{number(value, digits)} {PLUS_MINUS} {number(error, digits)}", value=value, error=error)


def window(low: float, high: float) -> Cell:
    """A range in the unit of the column, written 'low to high'."""
    return Cell(f"{compact(low)} to {compact(high)}", low=low, high=high)


def unit(text: str) -> str:
    """A unit as it is printed: squares raised, Angstrom as its symbol, nothing for a plain number."""
    return UNITS.get(text, text)


def flat(mapping: Mapping[str, object], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Key and value of every leaf of nested mappings, keys joined by dots."""
    for key, value in mapping.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from flat({str(k): v for k, v in value.items()}, f"{name}.")
        elif isinstance(value, (list, tuple)) and any(isinstance(v, Mapping) for v in value):
            yield from flat({str(k): v for k, v in enumerate(value, 1)}, f"{name}.")
        else:
            joined = ", ".join(str(v) for v in value) if isinstance(value, (list, tuple)) else str(value)
            yield name, joined


def card(key: str, mapping: Mapping[str, object], *, caption: str) -> Table:
    """A card, settings or provenance as two columns."""
    columns = [Column("Key", TEXT, lambda item: item[0]), Column("Value", TEXT, lambda item: item[1])]
    return table(key, columns, flat(mapping), caption=caption)


def card_section(key: str, heading: str, mapping: Mapping[str, object]) -> ReportSection:
    """A folded section that shows a card, such as that of a model or a dataset."""
    shown = card(key.replace("-", "_"), mapping, caption="")
    return ReportSection(key=key, heading=heading, level="detail", tables=filled(shown))
