"""Harmonic vibrations from Hessians, and the prefactor of a hop.

Takes Hessians (3n, 3n) in eV/Angstrom^2 over the atoms that move, and their masses in u; gives frequencies in THz and
modes. All else stands still, unless the Hessian is of a whole periodic cell: then the three translations are taken out.

    H = d2E/dx2,    M^-1/2 H M^-1/2 e = (2 pi nu)^2 e,    prefactor = prod_i nu_i(minimum) / prod_i' nu_i(saddle)

The product over the saddle leaves its imaginary frequency out: G. H. Vineyard, J. Phys. Chem. Solids 3, 121 (1957),
doi:10.1016/0022-3697(57)90059-8.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlip.core.arrays import Array
from mlip.core.units import ACCELERATION

TO_THZ = 1e3 / (2 * np.pi)  # from radians per femtosecond


@dataclass(frozen=True)
class Vibrations:
    """Normal modes of one geometry.

    Attributes:
        thz: frequencies, ascending; imaginary ones as negative numbers.
        modes: displacements of every mode, (modes, 3n), normalised, not weighted with the masses.
    """

    thz: Array
    modes: Array

    @property
    def unstable(self) -> int:
        """How many frequencies are imaginary."""
        return int((self.thz <= 0).sum())


def vibrations(hessian: Array, masses: Array, *, free: bool = False) -> Vibrations:
    """Normal modes of atoms with these masses (n,) in u; a `free` cell loses its three translations."""
    roots = np.sqrt(np.repeat(masses, 3))
    weighted = hessian / np.outer(roots, roots)
    basis = internal(masses) if free else np.eye(len(roots))
    squares, vectors = np.linalg.eigh(basis.T @ weighted @ basis)
    moves = (basis @ vectors) / roots[:, None]
    thz = np.sign(squares) * np.sqrt(np.abs(squares) * ACCELERATION) * TO_THZ
    return Vibrations(thz, (moves / np.linalg.norm(moves, axis=0)).T)


def internal(masses: Array) -> Array:
    """Orthonormal basis (3n, 3n - 3) of the mass-weighted displacements that do not move the centre of mass."""
    roots = np.sqrt(masses)
    translations = np.kron(roots[:, None], np.eye(3)) / np.linalg.norm(roots)
    return np.asarray(np.linalg.svd(translations)[0][:, 3:])


def prefactor_thz(minimum: Array, saddle: Array) -> float:
    """Vineyard's prefactor from the frequencies (THz) of a minimum and of a saddle whose first one is imaginary.

    Raises:
        ValueError: the minimum has an imaginary frequency, the saddle has none or several, or the counts differ.
    """
    if len(minimum) != len(saddle):
        raise ValueError(f"prefactor: {len(minimum)} and {len(saddle)} frequencies; move the same atoms in both")
    below = [int((np.asarray(thz) <= 0).sum()) for thz in (minimum, saddle)]
    if below != [0, 1]:
        raise ValueError(
            f"prefactor: {below[0]} and {below[1]} frequencies are not real; give a minimum and a first-order saddle"
        )
    return float(np.exp(np.log(minimum).sum() - np.log(saddle[1:]).sum()))


def part(hessian: Array, atoms: Sequence[int]) -> Array:
    """The Hessian of some of the atoms, all others standing still."""
    kept = (3 * np.asarray(atoms)[:, None] + np.arange(3)).ravel()
    return np.asarray(hessian[np.ix_(kept, kept)])


def sum_rule_error(hessian: Array) -> float:
    """How far a Hessian of all atoms is from the acoustic sum rule, relative to its largest element.

    A translation of the whole cell gives no force: the 3 x 3 blocks of every row add up to zero.
    """
    blocks = hessian.reshape(len(hessian), -1, 3).sum(axis=1)
    return float(np.abs(blocks).max() / np.abs(hessian).max())
