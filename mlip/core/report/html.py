"""The report as one self-contained HTML page: inline style, figures as data URIs, no script, no request."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from mlip.core.report import DASH, Page

if TYPE_CHECKING:
    from markupsafe import Markup

TEMPLATE = Path(__file__).with_name("page.html.j2")
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
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    html: str = template.render(page=page, sections=page.ordered(), dash=DASH)
    return html


def unbroken(heading: str) -> "Markup":
    """A heading as HTML, escaped, whose unit stays on one line."""
    from markupsafe import Markup, escape

    return Markup(UNIT.sub(r'<span class="unit">\1</span>', str(escape(heading))))  # noqa: S704 (escaped)


def linked(text: str) -> "Markup":
    """The text as HTML, escaped, with every 'doi:10.xxxx/...' as a link."""
    from markupsafe import Markup, escape

    return Markup(DOI.sub(r'<a href="https://doi.org/\1">doi:\1</a>', str(escape(text))))  # noqa: S704 (escaped)
