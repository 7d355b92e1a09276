"""Writes what the dynamics of Li on (100) gave into docs/: md_100.json, md_100.svg and the tables in dynamics.md.

    python scripts/write_dynamics.py runs/md_100

The run is that of configs/md_100.yaml, with the stages md, diffusion and rates done; a shorter md.target_ps than that of
the config is stated in the result. The tables stand between the marks <!-- md_100 --> and <!-- /md_100 -->.
"""

import argparse
import json
import re
import textwrap
from dataclasses import asdict
from pathlib import Path

import mlip
from mlip.core import files
from mlip.core.report import number
from mlip.stages.rates import figures
from mlip.stages.rates.report import interval
from mlip.stages.rates.result import Interval
from mlip.stages.rates.together import sentence
from mlip.stages.sites import backends

REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"
MARKED = re.compile(r"(?<=<!-- md_100 -->\n).*?(?=<!-- /md_100 -->)", re.DOTALL)
SETTINGS = ("temperatures_kelvin", "replicas", "time_step_fs", "friction_per_ps", "frame_steps", "equilibrate_ps")


def gathered(run):
    """The result of a run as plain data: settings, hashes, numbers of hops, D from three sources, slopes."""
    followed, moved, rates = (run.result(name) for name in ("md", "diffusion", "rates"))
    motions = {m.temperature_kelvin: m for m in moved.motions}
    settings = run.run.sections["md"]
    hops = [asdict(row) for row in rates.hop_dynamics if row.count]
    return {
        "config": "configs/md_100.yaml",
        "ran_with": {k: getattr(settings, k) for k in SETTINGS},
        "replica_ps": followed.target_ps,
        "ion_ps": sum(m.ion_ps for m in moved.motions),
        "hops": sum(m.jumps for m in moved.motions),
        "unknown_jumps": sum(len(m.unknown) for m in moved.motions),
        "model": "datasets/models/tio2-mg-li",
        "model_sha256": files.sha256(REPOSITORY / "datasets" / "models" / "tio2-mg-li"),
        "member": settings.member,
        "dtype": followed.dtype,
        "backend": [check.summary for check in backends.latest(run.run.folder, ())],
        "versions": files.versions(),
        "said": [sentence(row) for row in rates.together[-1:]],
        "together": [asdict(row) for row in rates.together],
        "diffusion": [
            asdict(row) | {"displacements_status": str(motions[row.temperature_kelvin].from_displacements.status)}
            for row in rates.dynamics
        ],
        "rates_of_hops": hops,
    }


def shown(found, digits=None):
    """An interval of the file as the report shows it, an upper limit where there is no value."""
    made = Interval(**found)
    return interval(made if made.value is not None else Interval(high=made.high), digits=digits)


def tables(data):
    """The Markdown tables of the page."""
    counts = [
        [
            ", ".join(f"{t:g}" for t in row["temperatures_kelvin"]),
            number(row["ps"], 0),
            row["hops"],
            number(row["expected"], 1),
            shown(row["ratio"], digits=2),
            row["crossings"],
            number(row["crossings_ratio"], 2),
            f"{row['reversed']} ({row['reversed_expected']:.1f})",
        ]
        for row in data["together"]
    ]
    coefficients = [
        [
            f"{row['temperature_kelvin']:g}",
            shown(row["dynamics"]),
            shown(row["displacements"]),
            number_of(row["rates"]),
            shown(row["ratio"], digits=2),
        ]
        for row in data["diffusion"]
    ]
    first = [
        *("T (K)", "time of the ion (ps)", "hops", "predicted", "ratio (95 %)", "crossings"),
        *("crossings over predicted", "reversed (without memory)"),
    ]
    second = ["T (K)", "D from hops (cm\u00b2/s)", "D from displacements", "D from rates", "ratio"]
    slope = data["together"][-1]
    said = (
        f"Slope of D: {shown(slope['activation_ev'], digits=3)} eV in dynamics, {slope['activation_rates_ev']:.3f} eV "
        f"from rates; the barrier of this member is {slope['barrier_ev']:.3f} eV without D3. Jumps that no hop of the "
        f"network explains: {data['unknown_jumps']}."
    )
    return "\n" + "\n\n".join([markdown(first, counts), markdown(second, coefficients), wrapped(said)]) + "\n\n"


def number_of(value):
    """A number in the form of the report."""
    return interval(Interval(value=value))


def markdown(head, rows):
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def wrapped(text):
    """A paragraph of lines of at most 120 characters."""
    return "\n".join(textwrap.wrap(text, 120))


def main():
    parser = argparse.ArgumentParser(description="Write the dynamics of Li on (100) into docs/.")
    parser.add_argument("run", type=Path, help="folder of a run of configs/md_100.yaml")
    run = mlip.open_run(parser.parse_args().run)
    data, rates = gathered(run), run.result("rates")
    own = [row for row in rates.diffusivities if row.host == "100"]
    page = (DOCS / "dynamics.md").read_text(encoding="utf-8")
    files.write_text_atomic(DOCS / "md_100.json", json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    files.write_bytes_atomic(DOCS / "md_100.svg", figures.over_temperature("Li", own, rates.dynamics))
    files.write_text_atomic(DOCS / "dynamics.md", MARKED.sub(lambda _: tables(data), page))


if __name__ == "__main__":
    main()
