"""The report as Markdown: the same text and tables as the page, without figures."""

from collections.abc import Iterator, Sequence

from mlip.core.report import Page, ReportSection, Table


def to_markdown(page: Page) -> str:
    """The page as Markdown text."""
    blocks = [f"# {page.title}", page.subtitle, *page.summary]
    for section in page.ordered():
        blocks += _section(section, depth=2)
    return "\n\n".join(block for block in blocks if block) + "\n"


def _section(section: ReportSection, *, depth: int) -> Iterator[str]:
    yield f"{'#' * depth} {section.heading}"
    yield from section.text
    if section.points:
        yield "\n".join(f"- {line}" for line in section.points)
    if section.quotes:
        yield "\n".join(f"- {line}" for line in section.quotes)
    for table in section.tables:
        if table.caption:
            yield f"{'#' * (depth + 1)} {table.caption}"
        yield markdown_table(table)
    for part in section.parts:
        yield from _section(part, depth=depth + 1)


def markdown_table(table: Table) -> str:
    """A Markdown table; bars and line breaks inside cells are kept from breaking it."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(" ".join(c.replace("|", "\\|").split()) for c in cells) + " |"

    if not table.rows:
        return "(none)"
    rule = "|" + "|".join(" ---: " if kind == "number" else " --- " for kind in table.kinds) + "|"
    return "\n".join([line(table.columns), rule, *(line(row) for row in table.rows)])
