"""Energies and forces by any ASE calculator, structure by structure.

Takes joined graphs and positions, as every backend; gives energies (S,), forces (N, 3) and, where asked for, stresses
(S, 3, 3). Energies are those that fit the forces, see `free_energy`. A graph is taken back to atoms that are periodic
in all directions. The calculator is one member: a single calculator has no committee spread.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.data import atomic_numbers

from mlip.core.arrays import Array
from mlip.potential import free_energy
from mlip.potential.graphs import Graph, offsets

NEEDS = ("energy", "forces")
NOT_PASSED = {"initial_magmoms": "initial magnetic moments", "initial_charges": "initial charges"}  # arrays of atoms


@dataclass(frozen=True)
class Named:
    """A calculator by the name of its class and its arguments."""

    name: str  # package.module:Class
    arguments: Mapping[str, Any]

    def made(self) -> Any:
        """The calculator.

        Raises:
            ValueError: no such class, arguments that it does not take, or no ASE calculator of energies and forces.
        """
        module, _, path = self.name.partition(":")
        try:
            found: Any = import_module(module)
            for part in path.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError, ValueError) as error:
            raise ValueError(
                f"calculator {self.name} cannot be imported ({_line(error)}); give package.module:Class of an "
                "installed package"
            ) from error
        try:
            made = found(**self.arguments)
        except Exception as error:  # whatever a foreign class raises
            raise ValueError(
                f"calculator {self.name} cannot be made with {dict(self.arguments)} ({_line(error)})"
            ) from error
        if not isinstance(made, BaseCalculator):
            kind = type(made).__name__
            raise ValueError(f"calculator {self.name} gives a {kind}, no ASE calculator")  # noqa: TRY004  (input)
        if lacking := [name for name in NEEDS if name not in made.implemented_properties]:
            raise ValueError(f"calculator {self.name} gives no {' and no '.join(lacking)}; take another one")
        return made


def require_plain(atoms: Atoms) -> None:
    """Raise a ValueError where a structure states moments or charges, which do not reach the calculator."""
    given = [name for key, name in NOT_PASSED.items() if np.any(atoms.arrays.get(key, 0.0))]
    given += [f"{key}={atoms.info[key]}" for key in ("charge", "spin") if np.any(atoms.info.get(key, 0))]
    if given:
        raise ValueError(
            f"{' and '.join(given)} are not passed to the calculator; give them in its arguments (--arguments), or "
            "remove them from the file"
        )


@dataclass(frozen=True)
class Prepared:
    """Structures whose atoms move."""

    frames: tuple[Atoms, ...]
    ends: tuple[int, ...]  # where the atoms of each begin, and where the last ones end


class AseCalculator:
    """The calculator as the one member of a committee."""

    edges_per_call = 0  # one structure a call

    def __init__(self, named: Named, elements: Sequence[str]) -> None:
        self.named, self.members = named, [named.made()]
        self._numbers = np.array([atomic_numbers[symbol] for symbol in elements])

    def prepare(self, graphs: Sequence[Graph]) -> Prepared:
        """The structures of graphs."""
        frames = [Atoms(self._numbers[g.species], positions=g.positions, cell=g.cell, pbc=True) for g in graphs]
        return Prepared(tuple(frames), tuple(int(x) for x in offsets(graphs)))

    def positions(self, prepared: Prepared, positions: Array) -> Prepared:
        """The structures at these positions (N, 3)."""
        frames = []
        for atoms, start, end in zip(prepared.frames, prepared.ends[:-1], prepared.ends[1:], strict=True):
            moved = atoms.copy()
            moved.positions = positions[start:end]
            frames.append(moved)
        return replace(prepared, frames=tuple(frames))

    def run(self, member: int, data: Prepared, *, stress: bool = False) -> tuple[Array, Array, Array | None]:
        """Energies, forces and stresses of structures.

        Raises:
            ValueError: the calculator fails.
        """
        energies, forces, stresses = [], [], []
        for atoms in data.frames:
            atoms.calc = self.members[member]
            try:
                energies.append(free_energy.of(atoms))
                forces.append(np.asarray(atoms.get_forces(), float))
                if stress:
                    stresses.append(np.asarray(atoms.get_stress(voigt=False), float))
            except Exception as error:  # whatever a foreign calculator raises
                raise ValueError(
                    f"{self.named.name} fails on {atoms.get_chemical_formula()} ({_line(error)})"
                ) from error
            atoms.calc = None
        return np.array(energies), np.concatenate(forces), np.array(stresses) if stress else None


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"
