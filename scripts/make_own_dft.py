"""Make datasets/references/own_dft.yaml from the energetics stage of a run: our own DFT, for reports without it.

    python scripts/make_own_dft.py RUN [--out datasets/references/own_dft.yaml]

Every number carries the level (settings hash), how it was made and when. What the run lacks is not written, nor what its
fit leaves open by more than 5 %.
"""

import argparse
from pathlib import Path

import yaml

from mlip import energetics, files, lattice
from mlip.config import Dft
from mlip.engines import settings_of

LARGEST_ERROR = 0.05  # of a value; a fit that says less is no measurement
HEAD = """\
# Our own DFT of quantities with a window of acceptance. Made by scripts/make_own_dft.py; do not edit.
# How: mlip/energetics.py and mlip/lattice.py.
"""


def fitted(crystal: lattice.Lattice | None) -> list[tuple[str, str, float, float | None, str]]:
    """What the fit of the crystal gives: id, quantity, value, standard error, unit."""
    if crystal is None:
        return []
    errors = crystal.errors
    lengths = errors.lengths_angstrom if errors else (None, None, None)
    made = [
        ("a", "lattice a", crystal.lengths_angstrom[0], lengths[0], "Angstrom"),
        ("c", "lattice c", crystal.lengths_angstrom[2], lengths[2], "Angstrom"),
        ("bulk-modulus", "bulk modulus (VRH)", crystal.hill_gpa, errors.hill_gpa if errors else None, "GPa"),
    ]
    if crystal.apex is not None:
        made.append(("u", "oxygen coordinate u", crystal.apex, errors.apex if errors else None, "1"))
    return made


def values(found: energetics.Energetics) -> list[dict[str, object]]:
    """The numbers of an energetics result, as entries of a references file."""
    made: list[dict[str, object]] = []

    def add(key: str, quantity: str, value: float | None, unit: str, method: str, **where: str) -> None:
        if value is not None:
            entry = {"id": f"own-{key}", "quantity": quantity, **where, "value": round(value, 4), "unit": unit}
            made.append(entry | {"method": method, "sources": ["D"], "evidence": "C"})

    for key, quantity, value, error, unit in fitted(found.crystal):
        if error is not None and abs(error) > LARGEST_ERROR * abs(value):
            print(f"{quantity}: {value:.4g} +- {error:.2g} {unit} is too uncertain, left out")
            continue
        crystal = found.crystal
        how = f"PBE; polynomial through {crystal.samples} cells, residual {1e3 * crystal.residual_ev:.2g} meV"
        how += f", standard error {error:.1g}" if error is not None else ""
        add(key, quantity, value, unit, how, facet="bulk")
    for metal in found.metals:
        name, how = f"{metal.structure} {metal.symbol}", "PBE, zero smearing"
        add(f"cohesive-{metal.symbol}", "cohesive energy", metal.cohesive_ev, "eV", how, ion=metal.symbol)
        add(f"cohesive-d3-{metal.symbol}", "cohesive energy with D3", metal.cohesive_d3_ev, "eV",
            "PBE-D3(BJ) at the PBE lattice", ion=metal.symbol)  # fmt: skip
        if metal.lattice is not None:
            length = metal.lattice.lengths_angstrom
            add(f"a-{metal.symbol}", f"lattice a of {name}", length[0], "Angstrom", how, ion=metal.symbol)
            if metal.structure == "hcp":
                add(f"c-{metal.symbol}", f"lattice c of {name}", length[2], "Angstrom", how, ion=metal.symbol)
            add(
                f"modulus-{metal.symbol}",
                f"bulk modulus of {name}",
                metal.lattice.hill_gpa,
                "GPa",
                how,
                ion=metal.symbol,
            )
    for surface in found.surfaces:
        how = f"PBE, {surface.layers} layers, relaxed by {surface.relaxed_by}"
        facet = {"facet": f"({surface.name})", "host": surface.name}
        add(f"surface-{surface.name}", "surface energy", surface.pbe_j_per_m2, "J/m2", how, **facet)
        add(f"surface-d3-{surface.name}", "surface energy with D3", surface.d3_j_per_m2, "J/m2", how, **facet)
    for bound in found.adsorption:
        quantity = "insertion energy" if bound.host == "bulk" else "adsorption energy against the metal"
        how, facet = (
            "PBE, against the metal, geometry of the potential",
            "bulk" if bound.host == "bulk" else f"({bound.host})",
        )
        name = f"{bound.host}-{bound.ion}-{bound.site}"
        add(f"bound-{name}", quantity, bound.metal_ev, "eV", how, facet=facet, host=bound.host, ion=bound.ion)
    return made


def main() -> None:
    """Read the run, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, default=Path("datasets/references/own_dft.yaml"))
    options = parser.parse_args()
    result = options.run / "energetics" / "result.json"
    found, made = files.read_result(result, energetics.Energetics), files.read_provenance(result)
    dft = Dft.model_validate(made.settings["dft"])
    own = made.settings["energetics"]
    level = f"{dft.preset} (settings hash {found.level}), {settings_of(dft).__class__.__module__.rpartition('.')[2].upper()}"
    differs = "; ".join(
        f"{name.removesuffix('_settings')}: {', '.join(f'{k} {v}' for k, v in own[name].items())}"
        for name in ("atom_settings", "metal_settings", "lattice_settings")
    )
    citation = f"this project: {level}, {made.finished[:10]}; differs for {differs}; atoms in their spin state"
    listed = values(found)
    body = {"role": "own", "sources": {"D": {"citation": citation, "read": "own data"}}, "values": listed}
    text = yaml.safe_dump(body, sort_keys=False, width=160, default_flow_style=None, allow_unicode=True)
    files.write_text_atomic(options.out, HEAD + text)
    print(f"{options.out}: {len(listed)} values")


if __name__ == "__main__":
    main()
