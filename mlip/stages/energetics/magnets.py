"""Magnetic metals: the spin that they are calculated with, and whether they keep it.

Takes the symbol of a metal and labels of its cells; gives changes to the DFT level, or why there is no number. Fe, Co
and Ni are ferromagnetic: every cell holds their order. The order of Cr and of the metals of the 4f shell is another
one, which a primitive cell or a spin-polarised PBE calculation does not hold.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ase import Atoms
from ase.data import chemical_symbols

FERROMAGNETS = {"Fe": 2.3, "Co": 1.7, "Ni": 0.7}  # starting moments per atom (Bohr magnetons), a little above PBE's
OTHERS = ("Cr", *chemical_symbols[58:70])  # Ce to Tm
KEPT = 0.5  # of the starting moment: PBE has 0.7 to 0.9 of it, and a metal with less is no ferromagnet any more


def changes(symbol: str, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Changes for a metal: those given, and the spin of a ferromagnet where they have no other starting moment."""
    if symbol not in FERROMAGNETS:
        return given
    moments = {symbol: FERROMAGNETS[symbol]} | dict(given.get("moments_bohr", {}))
    return {"spin": "polarised"} | dict(given) | {"moments_bohr": moments}


def refused(symbol: str) -> str | None:
    """Why a metal is not calculated, or None."""
    if symbol in OTHERS:
        return f"{symbol} is magnetic, and of the magnetic metals only {', '.join(FERROMAGNETS)} are calculated"
    return None


def lost(labels: Sequence[Atoms], symbol: str) -> str | None:
    """Why labels of a ferromagnet are not those of one, or None; a label that does not tell its moment is accepted."""
    least = KEPT * FERROMAGNETS.get(symbol, 0.0)
    told = [label for label in labels if "magnetic_moment_bohr" in label.info]
    below = [label for label in told if abs(label.info["magnetic_moment_bohr"]) / len(label) < least]
    if not below:
        return None
    return (
        f"{len(below)} of {len(labels)} cells have a moment below {least:.2f} Bohr magnetons per atom; "
        "raise energetics.metal_settings.moments_bohr"
    )
