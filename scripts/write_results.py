"""Writes the headline figure and the tables of results in README.md and docs/results.md from a finished run.

    python scripts/write_results.py runs/quick

The tables stand between the marks <!-- results --> and <!-- /results -->; the figure is docs/headline.svg.
"""

import argparse
import re
from pathlib import Path

import mlip
from mlip.core import files
from mlip.core.report import number, with_error
from mlip.stages.report import figures, sections

REPOSITORY = Path(__file__).parents[1]
MARKED = re.compile(r"(?<=<!-- results -->\n).*?(?=<!-- /results -->)", re.DOTALL)
SHORT = {
    "ion": lambda r: r.ion,
    "where": lambda r: r.facet,
    "published (eV)": lambda r: number(r.published_ev),
    "our DFT with D3 (eV)": sections.dft_with_hop,
    "potential with D3 (eV)": lambda r: with_error(r.ours_ev, r.two_sigma_ev),
    "limiting hop": lambda r: r.limiting_hop or "",
    "verdict": lambda r: str(r.verdict),
}
LONG = SHORT | {
    "D3 in it (eV)": lambda r: number(r.d3_ev, signed=True),
    "reason": lambda r: r.reason,
}


def table(rows, columns):
    """A Markdown table; what has no number has a dash."""
    lines = [list(columns), ["---"] * len(columns), *([make(row) for make in columns.values()] for row in rows)]
    return "\n" + "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n\n"


def replaced(path, rows, columns):
    """The text of a file with the table between its marks made anew.

    Raises:
        ValueError: the file has no marks.
    """
    text = path.read_text(encoding="utf-8")
    if not MARKED.search(text):
        raise ValueError(f"{path}: has no <!-- results --> ... <!-- /results -->")
    return MARKED.sub(lambda _: table(rows, columns), text)


def main():
    parser = argparse.ArgumentParser(description="Write the results of a run into README.md and docs/.")
    parser.add_argument("run", type=Path, help="folder of a finished run")
    rows = mlip.open_run(parser.parse_args().run).result("report").headline
    for name, columns in (("README.md", SHORT), ("docs/results.md", LONG)):
        files.write_text_atomic(REPOSITORY / name, replaced(REPOSITORY / name, rows, columns))
    files.write_bytes_atomic(REPOSITORY / "docs" / "headline.svg", figures.headline(rows))


if __name__ == "__main__":
    main()
