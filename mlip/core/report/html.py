"""The report as one self-contained HTML page: inline style, figures as data URIs, no script, no request."""

from pathlib import Path

from mlip.core.report import DASH, Page

TEMPLATE = Path(__file__).with_name("page.html.j2")


def to_html(page: Page) -> str:
    """The page as HTML text."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    html: str = template.render(page=page, sections=page.ordered(), dash=DASH)
    return html
