"""The crystal of a JSON file of the Materials Project or of pymatgen.

Takes a file with a structure (`lattice.matrix` and `sites`, as pymatgen writes), a document of the Materials Project
that holds one under `structure`, or a list of these; gives the atoms of the cell as it is there.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from mlip.core.texts import read_text

FULL = (0.999, 1.001)  # occupancies that count as one
WRAPPERS = ("structure", "data", "response", "final_structure")  # keys under which documents hold structures
ELEMENT = re.compile(r"[A-Z][a-z]?")


def read(path: Path, name: str = "") -> Atoms:
    """The one structure of a file, or that of the document with this `material_id`.

    Raises:
        ValueError: no JSON, no or several structures, a partly occupied site, an unknown element, or damaged numbers.
    """
    try:
        data = json.loads(read_text(path, advice="download the file again"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: is no JSON ({error}); download the file again") from error
    found = list(_structures(data, ""))
    names = ", ".join(sorted({own for own, _ in found if own}))
    if name:
        found = [entry for entry in found if entry[0] == name]
        if not found:
            raise ValueError(f"{path}: holds no structure of {name!r}; there are: {names or 'no names'}")
    if not found:
        raise ValueError(f"{path}: holds no structure (a lattice with sites); give what pymatgen or the API writes")
    if len(found) > 1:
        advice = f"name one: {path.name}#{found[0][0]}" if names else "write the one you mean to a file"
        raise ValueError(f"{path}: holds {len(found)} structures{f' ({names})' if names else ''}; {advice}")
    try:
        return _atoms(found[0][1])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _structures(data: Any, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every structure with the material_id of its document."""
    if isinstance(data, list):
        for one in data:
            yield from _structures(one, name)
    elif isinstance(data, dict):
        own = str(data.get("material_id", name))
        if "lattice" in data and "sites" in data:
            yield own, data
            return
        for key in WRAPPERS:
            yield from _structures(data.get(key), own)


def _atoms(structure: Mapping[str, Any]) -> Atoms:
    lattice, sites = structure["lattice"], structure["sites"]
    cell = _numbers(lattice.get("matrix") if isinstance(lattice, dict) else None, (3, 3), "lattice.matrix")
    if not isinstance(sites, list) or not sites:
        raise ValueError("sites: is no list of sites; download the file again")
    symbols = [_element(site, number) for number, site in enumerate(sites, start=1)]
    scaled = [_numbers(site.get("abc"), (3,), f"abc of site {number}") for number, site in enumerate(sites, start=1)]
    return Atoms(symbols, scaled_positions=scaled, cell=cell, pbc=True)


def _numbers(value: Any, shape: tuple[int, ...], what: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    try:
        found = np.array(value, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what}: {str(value)[:60]} is no array of numbers; download the file again") from error
    if found.shape != shape or not np.isfinite(found).all():
        raise ValueError(f"{what}: {str(value)[:60]} is no array of {' x '.join(map(str, shape))} finite numbers")
    return found


def _element(site: Any, number: int) -> str:
    """The one element of a site, without oxidation state and spin.

    Raises:
        ValueError: a partly occupied or mixed site, or no element.
    """
    species = site.get("species") if isinstance(site, dict) else None
    if not isinstance(species, list) or not species or not all(isinstance(one, dict) for one in species):
        raise ValueError(f"site {number}: names no species; download the file again")
    label = str(site.get("label") or species[0].get("element"))
    shares = {str(one.get("element")): float(one.get("occu", 1)) for one in species}
    if len(shares) > 1 or not FULL[0] <= next(iter(shares.values())) <= FULL[1]:
        mixed = ", ".join(f"{element} to {share:g}" for element, share in shares.items())
        raise ValueError(f"site {number} ({label}) is occupied by {mixed}; only fully occupied crystals can be used")
    (element,) = shares
    letters = ELEMENT.match(element)
    if letters is None or letters[0] not in chemical_symbols[1:]:
        raise ValueError(f"site {number} ({label}): {element!r} is no element; give its symbol")
    return letters[0]
