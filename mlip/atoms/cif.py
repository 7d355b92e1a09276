"""The crystal of a CIF file, in the setting that the file states.

Takes the path of a CIF file (CIF 1.1, CIF 2 and DDLm names; read with gemmi, doi:10.21105/joss.04200) and the name of a
data block; gives the atoms of the cell that the file describes, and notes on everything that the file left open.

Symmetry comes from the listed operations, or else from the Hall symbol, the Hermann-Mauguin name or the number. Where
an origin or the axes are not stated, every choice is built and the one that passes the checks of `refusal` is taken; if
several pass, the file is refused. An atom on a special position is moved onto the position exactly: rounded
coordinates such as 0.333 give one atom, not three.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import gcd
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.cell import Cell
from ase.data import atomic_masses, atomic_numbers, chemical_symbols

from mlip.atoms import contacts
from mlip.atoms.cif_tags import Tags, block_of, first, number_in, stated
from mlip.atoms.spacegroups import Setting, from_operations, named
from mlip.core.arrays import Array
from mlip.core.units import GRAM_PER_CM3

SAME_SITE_ANGSTROM = 0.4  # images of a fully occupied site that are nearer than this are one atom
FULL = (0.999, 1.001)  # occupancies that count as one
DENSITY_SHARE, VOLUME_SHARE = 0.10, 0.02  # by which a stated density and volume may differ
_COLUMNS = ("label", "type_symbol", "occupancy", "calc_flag", "symmetry_multiplicity", "site_symmetry_multiplicity")
ISOTOPES = {"D": 2.014, "T": 3.016}  # masses in u; the atoms are hydrogen
_ROMAN = re.compile(r"([A-Z][a-z]?)[IVX]+")


@dataclass(frozen=True)
class Read:
    """What a CIF file holds."""

    atoms: Atoms
    notes: tuple[str, ...]
    rounding_angstrom: float  # what the last digit of the coordinates leaves open; 0 where symmetry fixes the places


@dataclass(frozen=True)
class _Site:
    label: str
    symbol: str
    mass: float | None  # of an isotope
    charge: float | None
    multiplicity: int | None
    scaled: Array


def read(path: Path, block: str = "") -> Read:
    """The crystal of a CIF file.

    Raises:
        ValueError: the file is no CIF, holds several crystals, a partly occupied site, an unknown element, an unknown
            or ambiguous setting, or contradicts its own formula, number of formula units, density or volume.
    """
    tags = block_of(path, block)
    try:
        return _crystal(tags)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _crystal(tags: Tags) -> Read:
    for name in ("_cell_modulation_dimension", "_space_group_symop_magn_operation_xyz", "_space_group_magn_number_bns"):
        if any(value not in {None, "0"} for value in tags.get(name, [])):
            raise ValueError(f"{name} is given: no plain crystal but a modulated or magnetic one; give another file")
    cell, notes = _cell(tags), list[str]()
    sites = _sites(tags, cell, notes)
    settings = [s for s in _settings(tags, notes) if s.fits(cell.array)]
    if not settings:
        lengths = ", ".join(f"{x:g}" for x in cell.cellpar())
        raise ValueError(f"the space group that is stated does not fit the cell ({lengths}); correct one of them")
    built = [(setting, _expand(sites, setting, cell)) for setting in settings]
    reasons = [_contradiction(tags, atoms) for _, atoms in built]
    passed = [pair for pair, reason in zip(built, reasons, strict=True) if not reason]
    if not passed:
        what = [f"{s.name}: {reason}" for (s, _), reason in zip(built, reasons, strict=True)]
        raise ValueError(f"no crystal: {'; '.join(what)}; correct the file")
    setting, atoms = _only(passed, sites)
    if len(settings) > 1:
        why = "; ".join(f"with {s.name} {reason}" for (s, _), reason in zip(built, reasons, strict=True) if reason)
        why = why or "with others the multiplicities or charges of the sites do not fit"
        notes.append(f"the file does not state its setting; {setting.name} is taken: {why}")
    listed = len(sites) * len(setting.operations)
    if len(setting.operations) == 1 and len(atoms) < listed:
        notes.append(f"{listed - len(atoms)} of {listed} listed atoms repeat others across the boundary; left out")
    free = len(setting.operations) == 1
    return Read(atoms, tuple(notes), _rounding(tags, cell) if free else 0.0)


def _only(passed: Sequence[tuple[Setting, Atoms]], sites: Sequence[_Site]) -> tuple[Setting, Atoms]:
    """The one crystal that is possible: by the stated multiplicities, then by the charges of the sites."""
    for fits in (_multiplicities_fit, _is_neutral):
        if len(passed) > 1:
            passed = [p for p in passed if fits(p[1], sites)] or passed
    if len(passed) > 1:
        what = ", ".join(f"{s.name} gives {a.get_chemical_formula(mode='metal')}" for s, a in passed)
        raise ValueError(
            f"the setting is not stated and several are possible: {what}; add the origin choice to the name (:1 or "
            ":2), or list the operations"
        )
    return passed[0]


# ---- sites ----


def _cell(tags: Tags) -> Cell:
    lengths = [first(tags, f"_cell_length_{axis}") for axis in "abc"]
    angles = [first(tags, f"_cell_angle_{axis}") for axis in ("alpha", "beta", "gamma")]
    if None in lengths:
        raise ValueError("is not a readable CIF file (no cell: _cell_length_a, _b and _c are needed)")
    numbers = [number_in(x, f"_cell_length_{axis}") for x, axis in zip(lengths, "abc", strict=True)]
    numbers += [90.0 if x is None else number_in(x, "_cell_angle") for x in angles]
    if min(numbers) <= 0 or max(numbers[3:]) >= 180:
        raise ValueError(f"the cell {numbers} has lengths or angles that are not possible; correct them")
    cosines = np.cos(np.radians(numbers[3:]))
    if 1 + 2 * cosines.prod() - (cosines**2).sum() < 1e-6:
        raise ValueError(f"the angles {numbers[3:]} enclose no volume; correct the cell")
    return Cell.fromcellpar(numbers)


def _sites(tags: Tags, cell: Cell, notes: list[str]) -> list[_Site]:
    prefix = next((p for p in ("_atom_site_fract_", "_atom_site_cartn_") if f"{p}x" in tags), None)
    count = len(tags[f"{prefix}x"]) if prefix else 0
    if prefix is None or count == 0:
        raise ValueError("holds no atoms: a loop with _atom_site_fract_x, _y and _z is needed")
    columns = {
        key: tags.get(f"_atom_site_{key}") or [None] * count
        for key in (
            "label",
            "type_symbol",
            "occupancy",
            "calc_flag",
            "symmetry_multiplicity",
            "site_symmetry_multiplicity",
        )
    }
    formula = _formula(tags)
    sites: list[_Site] = []
    for n in range(count):
        label = columns["label"][n] or columns["type_symbol"][n] or f"number {n + 1}"
        if columns["calc_flag"][n] == "dum":
            notes.append(f"site {label} is a dummy atom; left out")
            continue
        if not columns["label"][n] and not columns["type_symbol"][n]:
            raise ValueError(f"site {label} has neither label nor type; give its element as _atom_site_type_symbol")
        symbol = _element(columns["label"][n], columns["type_symbol"][n], formula)
        _refuse_occupancy(label, columns["occupancy"][n])
        lacking = [axis for axis in "xyz" if len(tags.get(f"{prefix}{axis}", [])) != count]
        if lacking:
            raise ValueError(f"is not a readable CIF file ({prefix}{lacking[0]} is not given)")
        place = np.array([number_in(tags[f"{prefix}{axis}"][n], f"{prefix}{axis} of {label}") for axis in "xyz"])
        scaled = place if "fract" in prefix else np.linalg.solve(cell.array.T, place)
        copies = columns["symmetry_multiplicity"][n] or columns["site_symmetry_multiplicity"][n]
        multiplicity = int(copies) if copies and copies.isdigit() else None
        mass, symbol = ISOTOPES.get(symbol), "H" if symbol in ISOTOPES else symbol
        sites.append(_Site(label, symbol, mass, _charge(tags, columns["type_symbol"][n]), multiplicity, scaled))
    if not sites:
        raise ValueError("holds no atoms: every site is a dummy")
    if any(x is None for x in tags.get("_atom_site_occupancy", [])):
        notes.append("an occupancy that is not given (? or .) counts as 1")
    return sites


def _refuse_occupancy(label: str, text: str | None) -> None:
    share = 1.0 if text is None else number_in(text, f"occupancy of {label}")
    if not FULL[0] <= share <= FULL[1]:
        raise ValueError(f"site {label} is occupied to {share:g}; only fully occupied crystals can be cut")


def _element(label: str | None, kind: str | None, formula: Mapping[str, float] | None) -> str:
    """The element or isotope of a site: its type symbol without the charge, or else its label without the number."""
    source = kind or label or ""
    letters = re.match(r"[A-Za-z]*", source)
    word = letters[0] if letters else ""
    roman = _ROMAN.fullmatch(word) if kind and not _is_element(word.capitalize(), typed=True) else None
    readings = [roman[1] if roman else word] if kind else [word[:2], word[: not word.lower().startswith("wat")]]
    found = [e for e in dict.fromkeys(r.capitalize() for r in readings) if _is_element(e, typed=kind is not None)]
    if kind is None and word[:2].isupper() and len(found) > 1 and formula:
        found = [e for e in found if ("H" if e in ISOTOPES else e) in formula] or found
        if len(found) > 1:
            raise ValueError(f"site {label} may be {' or '.join(found)}; add _atom_site_type_symbol")
    if not found:
        raise ValueError(f"site {label or kind}: '{source}' is no element; give its symbol as _atom_site_type_symbol")
    return found[0]


def _is_element(symbol: str, *, typed: bool) -> bool:
    """Whether this is an element; T (tritium) only as a type, because labels such as T1 stand for tetrahedral sites."""
    return symbol in chemical_symbols[1:] or symbol == "D" or (typed and symbol == "T")


def _charge(tags: Tags, kind: str | None) -> float | None:
    named = dict(zip(tags.get("_atom_type_symbol", []), tags.get("_atom_type_oxidation_number", []), strict=False))
    if kind is not None and named.get(kind) is not None:
        return number_in(named[kind], f"_atom_type_oxidation_number of {kind}")
    signed = re.search(r"(\d*\.?\d*)([+-])(\d*\.?\d*)$", kind or "")
    if not signed:
        return None
    return float(signed[1] or signed[3] or 1) * (1 if signed[2] == "+" else -1)


def _formula(tags: Tags) -> dict[str, float] | None:
    text = first(tags, "_chemical_formula_sum")
    if text is None:
        return None
    counts: dict[str, float] = {}
    for word in text.replace(",", " ").split():
        whole = re.fullmatch(r"([A-Za-z]{1,2})(\d*\.?\d*)", word)
        one = whole is not None and whole[1].capitalize() in chemical_symbols[1:]
        parts = [(whole[1].capitalize(), whole[2])] if whole and one else re.findall(r"([A-Z][a-z]?)(\d*\.?\d*)", word)
        if not one and "".join(symbol + number for symbol, number in parts) != word:
            return None  # a bracket or an unknown variable: nothing to compare with
        for symbol, number in parts:
            name = "H" if symbol in ISOTOPES else symbol
            counts[name] = counts.get(name, 0.0) + float(number or 1)
    return counts if counts and all(s in chemical_symbols[1:] for s in counts) else None


def _rounding(tags: Tags, cell: Cell) -> float:
    """Half a unit of the last digit of the coordinates, in Angstrom along the longest axis."""
    given = [text or "" for axis in "xyz" for text in tags.get(f"_atom_site_fract_{axis}", [])]
    digits = max((len(re.sub(r"\(\d*\)$", "", text).partition(".")[2]) for text in given), default=8)
    return 0.5 * 10.0**-digits * float(cell.lengths().max())


# ---- symmetry ----


def _settings(tags: Tags, notes: list[str]) -> list[Setting]:
    number = stated(tags, "_space_group_it_number", "_symmetry_int_tables_number")
    listed = tags.get("_space_group_symop_operation_xyz") or tags.get("_symmetry_equiv_pos_as_xyz")
    name = first(tags, "_space_group_name_h-m_alt", "_symmetry_space_group_name_h-m", "_space_group_name_h-m_full")
    found = named(
        hall=first(tags, "_space_group_name_hall", "_symmetry_space_group_name_hall"),
        name=name,
        number=None if number is None else int(number),
        code=first(tags, "_space_group_it_coordinate_system_code"),
        strict=not listed,
    )
    if listed:
        setting = from_operations([text or "" for text in listed])
        if len(listed) == 1 and found and len(found[0].operations) > 1:
            notes.append(f"the atoms are taken as listed: the only operation is {listed[0]}, and not {found[0].name}")
        return [setting]
    if not found:
        notes.append("the file states no space group; the atoms are taken as listed")
        return [from_operations(["x,y,z"])]
    return found


def _expand(sites: Sequence[_Site], setting: Setting, cell: Cell) -> Atoms:
    """All atoms of the cell: every site moved onto its special position, its images, and no atom twice."""
    symbols: list[str] = []
    places: list[Array] = []
    labels: list[str] = []
    masses: list[float] = []
    for site in sites:
        moved = setting.images(site.scaled) - site.scaled
        moved -= np.round(moved)
        near = np.linalg.norm(moved @ cell.array, axis=1) < SAME_SITE_ANGSTROM
        for image in setting.images(site.scaled + moved[near].mean(axis=0)):
            inside = image - np.floor(image + 1e-6)
            apart = np.array([inside - p for p, s in zip(places, symbols, strict=True) if s == site.symbol])
            apart = apart.reshape(-1, 3)
            lengths = np.linalg.norm((apart - np.round(apart)) @ cell.array, axis=1)
            if lengths.min(initial=np.inf) > SAME_SITE_ANGSTROM:
                symbols.append(site.symbol)
                places.append(inside)
                labels.append(site.label)
                masses.append(site.mass or float(atomic_masses[atomic_numbers[site.symbol]]))
    atoms = Atoms(symbols, scaled_positions=np.array(places), cell=cell, pbc=True, masses=masses)
    atoms.set_array("labels", np.array(labels))
    return atoms


def _multiplicities_fit(atoms: Atoms, sites: Sequence[_Site]) -> bool:
    labels = [str(x) for x in atoms.arrays["labels"]]
    return all(s.multiplicity is None or labels.count(s.label) == s.multiplicity for s in sites)


def _is_neutral(atoms: Atoms, sites: Sequence[_Site]) -> bool:
    charges = {s.label: s.charge for s in sites}
    known = [charges[str(x)] for x in atoms.arrays["labels"]]
    return None in known or abs(sum(x for x in known if x is not None)) < 0.01 * len(known)


# ---- checks ----


def refusal(atoms: Atoms) -> str:
    """Why this is no crystal: two atoms are too close. Empty where it may be one."""
    found = contacts.too_close(atoms)
    if found is None:
        return ""
    i, j, length = found
    names = atoms.arrays["labels"] if "labels" in atoms.arrays else np.array(atoms.symbols)
    return f"{names[i]} and {names[j]} are {length:.2f} Angstrom apart"


def _contradiction(tags: Tags, atoms: Atoms) -> str:
    """What in the atoms contradicts the file; empty where nothing does."""
    reason = refusal(atoms) or _other_formula(tags, atoms)
    if reason:
        return reason
    density = atoms.get_masses().sum() / atoms.cell.volume / GRAM_PER_CM3
    said = stated(tags, "_exptl_crystal_density_diffrn", "_exptl_crystal_density_diffrn_gcm3")
    if said and abs(density / said - 1) > DENSITY_SHARE:
        return f"the density is {density:.2f} g/cm3, stated is {said:g}"
    volume = stated(tags, "_cell_volume")
    if volume and abs(atoms.cell.volume / volume - 1) > VOLUME_SHARE:
        return f"the volume of the cell is {atoms.cell.volume:.2f} A3, stated is {volume:g}"
    return _other_group(tags, atoms)


def _other_formula(tags: Tags, atoms: Atoms) -> str:
    formula = _formula(tags)
    if formula is None:
        return ""
    counts = {s: list(atoms.symbols).count(s) for s in dict.fromkeys(atoms.symbols)}
    said, text = atoms.get_chemical_formula(mode="metal"), first(tags, "_chemical_formula_sum")
    ratios = {counts[s] / formula[s] for s in counts if formula.get(s)}
    if set(counts) != set(formula) or max(ratios) > 1.001 * min(ratios):
        return f"the cell holds {said}, the formula is {text}"
    units = stated(tags, "_cell_formula_units_z")
    whole = [int(n) for n in formula.values()]
    smallest = gcd(*whole) if all(float(n).is_integer() for n in formula.values()) else 1
    # some programs give the sum of the whole cell beside the number of formula units
    possible = {units, units / smallest, 1.0} if units else set()
    if possible and all(abs(min(ratios) - p) > 0.01 for p in possible):
        return f"the cell holds {said}, stated are {units:g} formula units of {text}"
    return ""


def _other_group(tags: Tags, atoms: Atoms) -> str:
    """Listed operations of another space group than the stated one, unless the listed atoms have that group."""
    import spglib

    number = stated(tags, "_space_group_it_number", "_symmetry_int_tables_number")
    listed = tags.get("_space_group_symop_operation_xyz") or tags.get("_symmetry_equiv_pos_as_xyz")
    if number is None or not listed:
        return ""
    own = from_operations([text or "" for text in listed]).number(atoms.cell.array)
    if own in {None, int(number)}:
        return ""
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    seen = {getattr(spglib.get_symmetry_dataset(cell, symprec=p), "number", None) for p in (0.02, 0.1)}
    if int(number) in seen:
        return ""
    return f"the operations are those of space group no. {own}, stated is no. {number:g}"
