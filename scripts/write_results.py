"""Writes the headline figure and the tables of results in README.md and docs/results.md from a finished run.

    python scripts/write_results.py runs/quick

The tables stand between the marks <!-- results --> and <!-- /results -->, those of rates between <!-- rates --> and
<!-- /rates -->; the figure is docs/headline.svg.
"""

import argparse
import re
from dataclasses import dataclass
from pathlib import Path

import mlip
from mlip.core import files
from mlip.core.report import DASH, number, with_error
from mlip.stages.rates.report import claimed_decades
from mlip.stages.rates.result import Interval
from mlip.stages.report import figures, sections

REPOSITORY = Path(__file__).parents[1]
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
    "D3 in the potential's value (eV)": lambda r: number(r.d3_ev, signed=True),
    "reason": lambda r: r.reason,
}
RATES = {
    "ion": lambda r: r.ion,
    "where": lambda r: r.where,
    "prefactor of the limiting hop (THz)": lambda r: sized(r.prefactor_thz),
    "D at 300 K (cm2/s)": lambda r: interval(r.d),
    "D over bulk (decades)": lambda r: interval(r.decades, decades),
    "published barriers imply (decades)": lambda r: number(r.implied, 1, signed=True),
    "claimed (decades)": lambda r: r.claimed,
    "verdict": lambda r: r.verdict,
}


@dataclass(frozen=True)
class Moved:
    """How an ion moves on a host, beside bulk."""

    ion: str
    where: str
    prefactor_thz: float | None
    d: Interval
    decades: Interval
    implied: float | None
    claimed: str
    verdict: str


def moved(run):
    """One row of the table of rates for every row of the headline."""
    rates = run.result("rates")
    hops = {(hop.host, hop.ion, hop.hop): hop for hop in rates.hops}
    out = []
    for row in run.result("report").headline:
        d = next(d for d in rates.diffusivities if (d.host, d.ion) == (row.host, row.ion))
        gain = next((g for g in rates.gains if (g.host, g.ion) == (row.host, row.ion)), None)
        hop = hops.get((row.host, row.ion, row.limiting_hop))
        out.append(
            Moved(
                ion=row.ion,
                where=row.facet,
                prefactor_thz=hop.forward.prefactor_thz if hop and hop.forward else None,
                d=d.at_reference.mean,
                decades=gain.decades if gain else Interval(),
                implied=gain.implied if gain else None,
                claimed=claimed_decades(gain) if gain else DASH,
                verdict=gain.verdict if gain else "",
            )
        )
    return out


def sized(value):
    """Three significant digits; D in powers of ten."""
    return number(None) if value is None else f"{value:.2e}" if abs(value) < 1e-3 else f"{value:.3g}"


def decades(value):
    """One digit, with its sign."""
    return number(value, 1, signed=True)


def interval(found, form=sized):
    """A value with its interval, a lower bound, or a dash."""
    if found.value is None:
        return number(None) if found.low is None else f"at least {form(found.low)}"
    return f"{form(found.value)} ({form(found.low)} to {form(found.high)})"


def table(rows, columns):
    """A Markdown table; what has no number has a dash."""
    lines = [list(columns), ["---"] * len(columns), *([make(row) for make in columns.values()] for row in rows)]
    return "\n" + "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n\n"


def replaced(path, mark, made):
    """The text of a file with the table between its marks made anew.

    Raises:
        ValueError: the file has no marks.
    """
    text = path.read_text(encoding="utf-8")
    marked = re.compile(rf"(?<=<!-- {mark} -->\n).*?(?=<!-- /{mark} -->)", re.DOTALL)
    if not marked.search(text):
        raise ValueError(f"{path}: has no <!-- {mark} --> ... <!-- /{mark} -->")
    return marked.sub(lambda _: made, text)


def main():
    parser = argparse.ArgumentParser(description="Write the results of a run into README.md and docs/.")
    parser.add_argument("run", type=Path, help="folder of a finished run")
    run = mlip.open_run(parser.parse_args().run)
    rows = run.result("report").headline
    for name, mark, made in (
        ("README.md", "results", table(rows, SHORT)),
        ("docs/results.md", "results", table(rows, LONG)),
        ("docs/results.md", "rates", table(moved(run), RATES)),
    ):
        files.write_text_atomic(REPOSITORY / name, replaced(REPOSITORY / name, mark, made))
    files.write_bytes_atomic(REPOSITORY / "docs" / "headline.svg", figures.headline(rows))


if __name__ == "__main__":
    main()
