"""The energy of an ASE calculator that fits its forces.

With smearing, electronic codes give two energies: the free energy, whose gradient the forces are, and one extrapolated
to no smearing, which ASE calls `energy`. Barriers and relaxations need the first one; other calculators have one only.
"""

from collections.abc import Mapping
from typing import Any

from ase import Atoms


def of(atoms: Atoms) -> float:
    """Energy (eV) of atoms with a calculator: the free energy where the calculator gives one."""
    energy = atoms.get_potential_energy()
    return among({**getattr(atoms.calc, "results", {}), "energy": energy})


def among(results: Mapping[str, Any]) -> float:
    """The energy (eV) among the results of a calculator: the free energy where there is one."""
    free = results.get("free_energy")
    return float(results["energy"] if free is None else free)
