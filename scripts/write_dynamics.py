"""Writes what a simulation gave into docs/: NAME.json, a figure, and the tables in dynamics.md.

    python scripts/write_dynamics.py md_100 runs/md_100

NAME is that of a config: md_100 and md_bulk are compared with rates, md_4x4 with md_100. The run has the stages md,
diffusion and rates done; a shorter md.target_ps than that of the config is stated in the result. The tables stand
between the marks <!-- NAME --> and <!-- /NAME -->.
"""

import argparse
import json
import re
import textwrap
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import mlip
from mlip.core import files
from mlip.core.report import number
from mlip.stages.diffusion.hops import poisson_rate
from mlip.stages.rates import figures
from mlip.stages.rates.cells import interval
from mlip.stages.rates.result import Interval
from mlip.stages.rates.together import sentence
from mlip.stages.sites import backends

REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"
SETTINGS = ("temperatures_kelvin", "replicas", "time_step_fs", "friction_per_ps", "frame_steps", "equilibrate_ps")


def marked(name):
    """Where the tables of a simulation stand in the page."""
    return re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", re.DOTALL)


def origin(name, run):
    """Where the numbers come from: config, settings, model, backend and versions."""
    followed, settings = run.result("md"), run.run.sections["md"]
    return {
        "config": f"configs/{name}.yaml",
        "ran_with": {k: getattr(settings, k) for k in SETTINGS},
        "replica_ps": followed.target_ps,
        "model": "datasets/models/tio2-mg-li",
        "model_sha256": files.sha256(REPOSITORY / "datasets" / "models" / "tio2-mg-li"),
        "member": settings.member,
        "dtype": followed.dtype,
        "backend": [check.summary for check in backends.latest(run.run.folder, ())],
        "versions": files.versions(),
    }


def gathered(name, run):
    """The result of a run as plain data: settings, hashes, numbers of hops, D from three sources, slopes."""
    moved, rates = run.result("diffusion"), run.result("rates")
    motions = {m.temperature_kelvin: m for m in moved.motions}
    hops = [asdict(row) for row in rates.hop_dynamics if row.count]
    return origin(name, run) | {
        "ion_ps": sum(m.ion_ps for m in moved.motions),
        "hops": sum(m.jumps for m in moved.motions),
        "unknown_jumps": sum(len(m.unknown) for m in moved.motions),
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
    found = f"{shown(slope['activation_ev'], digits=3)} eV"
    if slope["activation_ev"]["value"] is None and slope["activation_status"] is not None:
        found = f"no value ({slope['activation_status']['code']}: {slope['activation_status']['reason']})"
    said = (
        f"Slope of D: {found} in dynamics, {slope['activation_rates_ev']:.3f} eV from rates; the barrier of "
        f"this member is {slope['barrier_ev']:.3f} eV without D3. Jumps that no hop of the network explains: "
        f"{data['unknown_jumps']}."
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


def several(name, run):
    """Hops of every species among several ions as plain data, and the part of hops that other ions block."""
    blocked = {walk.ion: walk.blocked for walk in run.result("rates").walks}
    (system,) = run.result("md").systems
    counts = Counter(system.ions)
    rows = [
        {
            "ion": motion.ion,
            "temperature_kelvin": motion.temperature_kelvin,
            "ions": counts[motion.ion],
            "ion_ps": motion.ion_ps,
            "hops": motion.jumps,
            "per_ps": asdict(poisson_rate(motion.jumps, motion.ion_ps)),
            "blocked": blocked.get(motion.ion),
        }
        for motion in run.result("diffusion").motions
    ]
    return origin(name, run) | {"atoms": system.atoms, "species": rows}


def table_of_several(data, alone):
    """The Markdown table of several ions, beside a lone ion in the small cell at the same temperature."""
    lone = {row["temperatures_kelvin"][0]: row for row in alone["together"] if len(row["temperatures_kelvin"]) == 1}
    rows = []
    for row in data["species"]:
        other = lone.get(row["temperature_kelvin"]) if row["ion"] == "Li" else None
        single = poisson_rate(other["hops"], other["ps"]) if other else None
        rows.append(
            [
                f"{row['ions']} {row['ion']}",
                number(row["ion_ps"], 0),
                row["hops"],
                shown(row["per_ps"], digits=2),
                shown(asdict(single), digits=2) if single else "\u2013",
                number(None if row["blocked"] is None else 100 * row["blocked"], 1),
            ]
        )
    head = ["ions", "time of the ions (ps)", "hops", "hops per ps and ion", "lone ion, small cell", "blocked (%)"]
    return "\n" + markdown(head, rows) + "\n\n"


def written(name, text):
    """Put tables into their place in the page."""
    page = (DOCS / "dynamics.md").read_text(encoding="utf-8")
    files.write_text_atomic(DOCS / "dynamics.md", marked(name).sub(lambda _: text, page))


def main():
    parser = argparse.ArgumentParser(description="Write a simulation into docs/.")
    parser.add_argument("name", choices=("md_100", "md_bulk", "md_4x4"), help="name of the config")
    parser.add_argument("run", type=Path, help="folder of a run of this config")
    given = parser.parse_args()
    name, run = given.name, mlip.open_run(given.run)
    data = several(name, run) if name == "md_4x4" else gathered(name, run)
    files.write_text_atomic(DOCS / f"{name}.json", json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    if name == "md_4x4":
        alone = json.loads((DOCS / "md_100.json").read_text(encoding="utf-8"))
        written(name, table_of_several(data, alone))
        return
    rates = run.result("rates")
    own = [row for row in rates.diffusivities if row.host == run.run.sections["md"].systems[0].host]
    files.write_bytes_atomic(DOCS / f"{name}.svg", figures.over_temperature("Li", own, rates.dynamics))
    written(name, tables(data))


if __name__ == "__main__":
    main()
