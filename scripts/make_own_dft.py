"""Make datasets/references/own_dft.yaml from the energetics stage of a run and the labels of a dataset: our own DFT, for
reports without it.

    python scripts/make_own_dft.py RUN [--labels datasets/tio2-mg-li] [--out datasets/references/own_dft.yaml]

Every number carries the level (settings hash), how it was made and when. What the run lacks is not written, nor what its
fit leaves open by more than 5 %. Surface and adsorption energies come from labelled frames: a clean host, and the minima
with one ion in a cell that repeats it under the same k-points. Their geometries are those of potentials: both are
upper bounds at this lattice as far as the clean bulk and the clean host are relaxed.
"""

import argparse
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml
from ase import Atoms

from mlip.core import files
from mlip.core.status import CALCULATED, Status
from mlip.dft.engines import settings_of
from mlip.dft.settings import Dft
from mlip.literature import matching
from mlip.literature import references as published
from mlip.stages.dataset import dataset
from mlip.stages.dataset.settings import DatasetSettings
from mlip.stages.energetics import energetics, lattice
from mlip.stages.neb import endpoints
from mlip.stages.neb.band import largest
from mlip.stages.sites.settings import SitesSettings
from mlip.stages.structures import Hosts

LARGEST_ERROR = 0.05  # of a value; a fit that says less is no measurement
LAYER_ANGSTROM = 0.6  # metal atoms of one layer are closer than this along the normal
LARGEST_FORCE = 0.75  # eV/Angstrom, by DFT: above it a labelled frame is not near a minimum
NEAR_MINIMUM = ("relaxed", "CI-NEB")  # how such a frame was sampled: not hot, nor with the ion held between two sites
SITE_ANGSTROM = 0.8  # heights of two sites differ by more
GEOMETRY = "single points at geometries of potentials"
HEAD = """\
# Our own DFT of quantities with a window of acceptance. Made by scripts/make_own_dft.py; do not edit.
# How: mlip/stages/energetics/energetics.py and mlip/stages/energetics/lattice.py.
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
        where = {"facet": "bulk" if bound.host == "bulk" else f"({bound.host})", "host": bound.host, "ion": bound.ion}
        binding = "insertion" if bound.host == "bulk" else "adsorption"
        place, name = re.sub("[^A-Za-z0-9]+", "-", bound.site), f"{binding} energy"
        key = f"bound-{bound.host}-{bound.ion}-{place}"
        how = f"{bound.status.detail}; {bound.site}"
        if binding == "insertion":
            add(key, name, bound.metal_ev, "eV", f"PBE, against the metal; {how}", **where)
        else:
            quantity = f"{name} against the metal"
            add(f"{key}-metal", quantity, bound.metal_ev, "eV", f"PBE; {how}", path=bound.site, **where)
        for reference, value in (("metal", bound.metal_d3_ev), ("atom", bound.atom_d3_ev)):
            quantity = f"{name} against the {reference} with D3"
            add(f"{key}-{reference}-d3", quantity, value, "eV", f"PBE-D3; {how}", path=bound.site, **where)
    return made


def repeats(clean: Atoms, covered: Atoms) -> int | None:
    """How many clean cells a cell is, where it repeats them and its k-points are as dense; None otherwise."""
    n = np.linalg.solve(clean.cell.array.T, covered.cell.array.T).T.round(4)
    whole = np.rint(n).astype(int)
    same_k = np.array_equal(np.diag(whole) * covered.info["kpts"], clean.info["kpts"])
    if np.abs(n - whole).max() > 1e-3 or np.count_nonzero(whole - np.diag(np.diag(whole))) or not same_k:
        return None
    return int(np.diag(whole).prod())


def lowest_clean(frames: Sequence[Atoms]) -> dict[str, Atoms]:
    """The clean frame of lowest energy per atom of every host, in the cell that frames with an ion repeat."""
    found: dict[str, Atoms] = {}
    for frame in frames:
        covered = [f for f in frames if f.info["host"] == frame.info["host"] and f.info["ion"] != "none"]
        if frame.info["ion"] != "none" or not any(repeats(frame, f) for f in covered):
            continue
        best = found.get(frame.info["host"])
        if best is None or energy(frame) / len(frame) < energy(best) / len(best):
            found[frame.info["host"]] = frame
    return found


def energy(frame: Atoms) -> float:
    """PBE energy of a labelled frame at zero smearing, eV."""
    return energetics.energies(frame)[0]


def largest_force(frame: Atoms) -> float:
    """Of all atoms, eV/Angstrom."""
    return largest(frame.arrays["dft_forces"])


def repeated(clean: Atoms, n: int) -> Atoms:
    """A clean frame n times, with the energies of so many."""
    whole = clean.repeat((n, 1, 1))
    for key in ("dft_energy_extrapolated", "d3_energy"):
        whole.info[key] = n * clean.info[key]
    return whole


def labelled_surfaces(clean: dict[str, Atoms]) -> list[energetics.Surface]:
    """Surface energies of clean slabs against the clean bulk cell of the same lattice."""
    if "bulk" not in clean:
        return []
    bulk, found = clean["bulk"], []
    for host, slab in clean.items():
        if host == "bulk":
            continue
        heights = np.sort(slab.positions[slab.symbols == "Ti", 2])
        layers = 1 + int((np.diff(heights) > LAYER_ANGSTROM).sum())
        how = f"potentials (largest DFT force {largest_force(slab):.2f} eV/Angstrom)"
        labels = (slab, bulk)
        found.append(
            energetics.surface(slab, bulk, lambda *_, labels=labels: labels, name=host, layers=layers, relaxed_by=how)
        )
    return found


def height(frame: Atoms) -> float:
    """Of the ion above the outermost metal plane of its side of a slab (negative below it), Angstrom."""
    metal = frame.positions[frame.symbols == "Ti", 2]
    (ion,) = frame.positions[frame.symbols == frame.info["ion"], 2]
    centre = (metal.max() + metal.min()) / 2
    return float(abs(ion - centre) - (metal.max() - centre))


def desorbed(frame: Atoms) -> bool:
    """Whether the ion, the last atom, is far from every other, as the sites stage has it."""
    return endpoints.desorbed(frame, SitesSettings().desorbed_angstrom)


def sites(frames: Sequence[Atoms]) -> list[tuple[str, Atoms]]:
    """The lowest of the frames, and on slabs those that a potential relaxed at other heights, each with its name."""
    first, *others = sorted(frames, key=energy)
    found = [("", first)]
    if not first.info["vacuum"]:
        return found
    heights = [height(first)]
    for frame in (f for f in others if f.info["sampling"].startswith("relaxed")):
        own = height(frame)
        if all(abs(own - h) > SITE_ANGSTROM for h in heights):
            heights.append(own)
            found.append((f", ion {abs(own):.1f} A {'above' if own > 0 else 'below'} the outer metal plane", frame))
    return found


def labelled_adsorption(
    frames: Sequence[Atoms], clean: dict[str, Atoms], references: energetics.Energetics
) -> list[energetics.Adsorption]:
    """Adsorption energies of the labelled minima of every host, ion and cell, the most dilute and the lowest first."""
    minima: dict[tuple[str, str, int], list[Atoms]] = {}
    for frame in frames:
        host, ion = frame.info["host"], frame.info["ion"]
        n = repeats(clean[host], frame) if host in clean and ion != "none" else None
        single = n is not None and (frame.symbols == ion).sum() == 1
        still = frame.info["sampling"].startswith(NEAR_MINIMUM)
        if single and still and not desorbed(frame) and largest_force(frame) < LARGEST_FORCE:
            minima.setdefault((host, ion, n), []).append(frame)
    found = []
    for (host, ion, n), every in sorted(minima.items(), key=lambda item: (item[0][0], item[0][1], -item[0][2])):
        alone = next((a for a in references.atoms if a.symbol == ion and a.energy_ev is not None), None)
        metal = next((m for m in references.metals if m.symbol == ion and m.energy_ev is not None), None)
        if alone is None or metal is None:
            print(f"{ion} on {host}: the run has no energy of its atom or metal, left out")
            continue
        bare = repeated(clean[host], n)
        for where, frame in sites(every):
            site = f"one per {bare.get_chemical_formula(mode='metal')}{where}"
            forces = f"{largest_force(frame):.2f} with the ion, {largest_force(clean[host]):.2f} without"
            status = Status(CALCULATED, f"{GEOMETRY} (largest DFT force, eV/Angstrom: {forces})")
            place = energetics.Occupied(host, ion, site, bool(frame.info["vacuum"]), bare, frame)
            labels = (frame, bare)
            bound = energetics.adsorption(place, lambda *_, labels=labels: labels, alone=alone, elemental=metal)
            found.append(replace(bound, status=status))
    dilute = {(b.host, b.ion): b for b in reversed(found)}
    return [b for b in found if b.host != "bulk" or dilute[b.host, b.ion] is b]


def with_labels(found: energetics.Energetics, folder: Path) -> energetics.Energetics:
    """The result with what the labels of a dataset say about surfaces and adsorption.

    Raises:
        ValueError: the labels have another level than the run.
    """
    card, frames = dataset.read_dataset(folder, DatasetSettings(), target="pbe")
    if card.settings_hash != found.level:
        raise ValueError(
            f"{folder}: labels of level {card.settings_hash}, the run has {found.level}; use labels of one level"
        )
    clean = lowest_clean(frames)
    calculated = [s for s in found.surfaces if s.pbe_j_per_m2 is not None]  # by the run itself: relaxed further
    known = {s.name for s in calculated}
    surfaces = [s for s in labelled_surfaces(clean) if s.name not in known]
    bound = labelled_adsorption(frames, clean, found)
    return replace(found, surfaces=(*calculated, *surfaces), adsorption=(*found.adsorption, *bound))


def crystal_of(run: Path, folder: Path) -> dict[str, object]:
    """The entry `crystal` of the file, by the name that the other references have; empty without the structures."""
    path = run / "structures" / "result.json"
    crystal = files.read_result(path, Hosts).crystal if path.exists() else None
    if crystal is None:
        return {}
    name = matching.name_of(published.load(folder), crystal) if any(folder.glob("*.yaml")) else crystal.name
    lengths, angles = list(crystal.cell_angstrom[:3]), list(crystal.cell_angstrom[3:])
    entry = {"name": name, "formula": crystal.formula, "spacegroup": crystal.number}
    return {"crystal": entry | {"lengths_angstrom": lengths, "angles_degrees": angles}}


def write(
    out: Path, head: str, crystal: dict[str, object], citations: dict[str, str], values: list[dict[str, object]]
) -> None:
    """Write a references file of our own numbers; `citations` has one line per source."""
    sources = {key: {"citation": line, "read": "own data"} for key, line in citations.items()}
    body = {"role": "own", **crystal, "sources": sources, "values": values}
    text = yaml.safe_dump(body, sort_keys=False, width=160, default_flow_style=None, allow_unicode=True)
    files.write_text_atomic(out, head + text)
    print(f"{out}: {len(values)} values")


def main() -> None:
    """Read the run, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--labels", type=Path, help="dataset whose labels have the level of the run")
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
    if options.labels is not None:
        found = with_labels(found, options.labels)
    citation = f"this project: {level}, {made.finished[:10]}; differs for {differs}; atoms in their spin state"
    write(options.out, HEAD, crystal_of(options.run, options.out.parent), {"D": citation}, values(found))


if __name__ == "__main__":
    main()
