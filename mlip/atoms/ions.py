"""Charges and radii of ions: a kept table, and what a config says instead.

Takes chemical symbols and the values of a config; gives charges in e and radii in Angstrom.

Charges are the only ones, or by far the most common ones, in oxides and halides; elements of several common charges
(Fe, Mn, Co) are not in the table: in a crystal their charge follows from the others. Radii are those of six-fold
coordinated ions (Shannon 1976, doi:10.1107/S0567739476001551; checked against the table of pymatgen-core 2026.10.16),
of charge 2 and high spin for Mn to Cu.
"""

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

from ase import Atoms

ANION_CHARGES = {"O": -2.0, "S": -2.0, "Se": -2.0, "F": -1.0, "Cl": -1.0, "Br": -1.0, "I": -1.0, "N": -3.0}
CATION_CHARGES = {
    **dict.fromkeys(("Li", "Na", "K", "Rb", "Cs", "Ag"), 1.0),
    **dict.fromkeys(("Be", "Mg", "Ca", "Sr", "Ba", "Zn", "Cd"), 2.0),
    **dict.fromkeys(("Al", "Ga", "In", "Sc", "Y", "La"), 3.0),
    **dict.fromkeys(("Si", "Ge", "Zr", "Hf"), 4.0),
}  # for voltages, and where a crystal has more than one kind of cation, of which one may be missing
USUAL_CHARGES = {"P": 5.0, "B": 3.0}  # where two kinds of cation are unknown: phosphates and borates
RADII = {
    "Li": 0.76,
    "Na": 1.02,
    "K": 1.38,
    "Rb": 1.52,
    "Cs": 1.67,
    "Ag": 1.15,
    "Be": 0.45,
    "Mg": 0.72,
    "Ca": 1.00,
    "Sr": 1.18,
    "Ba": 1.35,
    "Zn": 0.74,
    "Cd": 0.95,
    "Mn": 0.83,
    "Fe": 0.78,
    "Co": 0.745,
    "Ni": 0.69,
    "Cu": 0.73,
    "Al": 0.535,
    "Ga": 0.62,
    "In": 0.80,
    "Sc": 0.745,
    "Y": 0.90,
    "La": 1.032,
    "Ti": 0.605,
    "Zr": 0.72,
    "Hf": 0.71,
}
OTHER_RADIUS_ANGSTROM = 0.75  # of an ion that is in no table: a starting height and no result depends on the radius
OXYGEN_RADIUS_ANGSTROM = 1.38
NONE: Mapping[str, float] = MappingProxyType({})


def charge(ion: str, given: Mapping[str, float] = NONE) -> float | None:
    """Charge of an ion in e: as given, or the usual one; None where neither says."""
    return given.get(ion, CATION_CHARGES.get(ion))


def radius_angstrom(ion: str, given: Mapping[str, float] = NONE) -> float:
    """Radius of a six-fold coordinated ion: as given, of the table, or that of a middling cation."""
    return given.get(ion, RADII.get(ion, OTHER_RADIUS_ANGSTROM))


def nominal_charges(atoms: Atoms, given: Mapping[str, float] = NONE) -> dict[str, float]:
    """Charge in e of each element from the stoichiometry: +4 and -2 in TiO2.

    Args:
        atoms: of a crystal.
        given: charges of elements, which hold in the place of the usual ones.

    Raises:
        ValueError: for a crystal without anions or without cations, with two kinds of cation of unknown charge, or
            with charges that do not add up to zero.
    """
    counts = Counter(str(s) for s in atoms.symbols)
    formula = atoms.get_chemical_formula()
    charges = {s: given.get(s, ANION_CHARGES[s]) for s in counts if s in ANION_CHARGES}
    cations = [s for s in counts if s not in ANION_CHARGES]
    if not charges or not cations:
        raise ValueError(f"{formula} has no anions or no cations; nominal charges need both")
    charges.update({s: given[s] for s in cations if s in given})
    unknown = [s for s in cations if s not in charges and (s not in CATION_CHARGES or len(cations) == 1)]
    if len(unknown) > 1:
        charges.update({s: USUAL_CHARGES[s] for s in unknown if s in USUAL_CHARGES})
        unknown = [s for s in unknown if s not in USUAL_CHARGES]
    if len(unknown) > 1:
        raise ValueError(
            f"nominal charges of {unknown} do not follow from the stoichiometry; give all but one of them in "
            f"structures.charges_e, such as charges_e: {{{unknown[0]}: 3}}"
        )
    charges.update({s: CATION_CHARGES[s] for s in cations if s not in unknown and s not in charges})
    rest = -sum(charges[s] * n for s, n in counts.items() if s in charges)
    if unknown:
        charges[unknown[0]] = rest / counts[unknown[0]]
    elif abs(rest) > 1e-6:
        raise ValueError(f"{formula}: nominal charges add up to {-rest:+g} e, not to zero; see structures.charges_e")
    return charges
