"""The report as one self-contained HTML page: inline style and script, figures as data URIs, no request.

Everything can be read without the script; with it tables are sorted, bands are looked at image by image, and sentences
are copied.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from mlip.core.report import DASH, SAFE, Cell, Page, Table
from mlip.core.report.csv import to_csv
from mlip.core.report.viewer import payload, profile

if TYPE_CHECKING:
    from markupsafe import Markup

TEMPLATE = Path(__file__).with_name("page.html.j2")
SCRIPT = Path(__file__).with_name("page.js")
UNIT = re.compile(r"(\([^()]*\))$")  # at the end of a heading
DOI = re.compile(r"doi:(10\.\d{4,9}/[^\s;,<>\"&]+)")


def to_html(page: Page) -> str:
    """The page as HTML text."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["linked"] = linked
    environment.filters["unbroken"] = unbroken
    environment.filters.update(csv_uri=csv_uri, order=order, payload=payload, profile=profile)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    script = SCRIPT.read_text(encoding="utf-8")
    html: str = template.render(page=page, sections=page.ordered(), dash=DASH, script=script)
    return html


def csv_uri(table: Table) -> str:
    """The table as CSV in a data URI, so that the link works in the one file."""
    return f"data:text/csv;charset=utf-8,{quote(to_csv(table), safe=SAFE)}"


def order(cell: str) -> str:
    """The number by which a cell is sorted: its value, or else its limit; empty without a number."""
    if not isinstance(cell, Cell):
        return ""
    known = [x for x in (cell.value, cell.low, cell.high) if x is not None]
    return f"{known[0]:.6g}" if known else ""


def unbroken(heading: str) -> "Markup":
    """A heading as HTML, escaped, whose unit stays on one line."""
    from markupsafe import Markup, escape

    return Markup(UNIT.sub(r'<span class="unit">\1</span>', str(escape(heading))))  # noqa: S704 (escaped)


def linked(text: str) -> "Markup":
    """The text as HTML, escaped, with every 'doi:10.xxxx/...' as a link."""
    from markupsafe import Markup, escape

    return Markup(DOI.sub(r'<a href="https://doi.org/\1">doi:\1</a>', str(escape(text))))  # noqa: S704 (escaped)
