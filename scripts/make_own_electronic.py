"""Make datasets/references/own_electronic.yaml from the stage electronic of a run: our own gaps and Bader charges, for
reports without it.

    python scripts/make_own_electronic.py runs/electronic [--out datasets/references/own_electronic.yaml]

The run is that of configs/electronic.yaml. Every number carries its level and how far it is converged; a number that is
not converged is not written.
"""

import argparse
from pathlib import Path

from make_own_dft import crystal_of, write

from mlip.core import files
from mlip.dft.settings import Dft
from mlip.stages.electronic.result import Electronic, HostStates, IonCharge
from mlip.stages.electronic.settings import ElectronicSettings
from mlip.stages.electronic.stage import SYMMETRIC

HEAD = """\
# Our own band gaps and Bader charges. Made by scripts/make_own_electronic.py; do not edit.
# How: mlip/stages/electronic/; the run is that of configs/electronic.yaml.
"""


def place(host: str) -> dict[str, str]:
    """Facet and host of an entry."""
    return {"facet": "bulk" if host == "bulk" else f"({host})", "host": host}


def gap(row: HostStates) -> dict[str, object]:
    """The gap of a clean host as an entry of a references file."""
    last, before = row.meshes[-1], row.meshes[-2]
    change = abs(last.gap_ev - before.gap_ev)
    kind = "direct" if last.is_direct else "indirect"
    method = f"PBE, {kind}; {' x '.join(map(str, last.mesh))} points, {change:.3f} eV from the coarser mesh"
    return entry(f"gap-{row.host}", "band gap", row.gap_ev, "eV", method, **place(row.host))


def charge(row: IonCharge) -> dict[str, object]:
    """The charge of an ion as an entry of a references file."""
    apart = abs(row.grids[-1][1] - row.grids[0][1])
    method = f"PBE, Bader; {apart:.3f} e between two grids; site {row.site}"
    return entry(
        f"bader-{row.ion}-{row.host}",
        "Bader charge transfer",
        row.charge_e,
        "e",
        method,
        **place(row.host),
        ion=row.ion,
    )


def entry(key: str, quantity: str, value: float, unit: str, method: str, **where: str) -> dict[str, object]:
    """One value of a references file."""
    made = {"id": f"own-{key}", "quantity": quantity, **where, "value": round(value, 4), "unit": unit}
    return made | {"method": method, "sources": ["Q"], "evidence": "C"}


def main() -> None:
    """Read the run, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, default=Path("datasets/references/own_electronic.yaml"))
    options = parser.parse_args()
    result = options.run / "electronic" / "result.json"
    found, made = files.read_result(result, Electronic), files.read_provenance(result)
    own, dft = ElectronicSettings.model_validate(made.settings["electronic"]), Dft.model_validate(made.settings["dft"])
    given = {"gaps": {**SYMMETRIC, **own.gap_settings}, "charges": own.charge_settings}
    changes = [f"{what}: {settings}" for what, settings in given.items()]
    citation = (
        f"this project: {dft.preset} (settings hash {found.level}), {made.finished[:10]}; differs for "
        f"{'; '.join(changes)}; geometries of the released potential"
    )
    listed = [gap(row) for row in found.hosts if row.gap_ev is not None]
    listed += [charge(row) for row in found.ions if row.charge_e is not None]
    write(options.out, HEAD, crystal_of(options.run, options.out.parent), {"Q": citation}, listed)


if __name__ == "__main__":
    main()
