"""Electrons of one structure by GPAW: levels, projected densities of states, and all-electron densities.

Takes a structure and settings of the engine; gives plain data. The electrons are converged once on a mesh; levels on
other meshes follow in the fixed density. The density is the all-electron one of PAW, without or with the core electrons
(Mortensen et al., doi:10.1063/5.0182685).
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mlip.core.arrays import Array
from mlip.dft.engines import Mesh, Refused
from mlip.dft.engines.gpaw import Settings, arguments, loaded

EMPTY_BANDS = 2  # for each atom, above the occupied ones: the d bands of an oxide of a transition metal
WHOLE = 1e-6  # electrons, within which a number of electrons is that of filled bands
MARGIN = 0.3  # of these: bands more, which are not converged and make the others converge
TOLERANCE = 1e-3  # of relative positions: a relaxed structure has the symmetry of its host only as exactly
LEVELS = 1e-6  # eV^2 per valence electron, convergence of the states in the fixed density


@dataclass(frozen=True, kw_only=True)
class Levels:
    """Energies of the bands on a mesh, spin-paired.

    Attributes:
        mesh: numbers of points.
        points: (k, 3) in units of the reciprocal vectors, irreducible ones.
        weights: (k,) of the points, of sum 1.
        energies_ev: (k, bands).
        occupied: bands that are filled: half of the electrons.
        left: electrons in the band above these, of an odd number of electrons; the band is filled in part.
    """

    mesh: Mesh
    points: Array
    weights: Array
    energies_ev: Array
    occupied: int
    left: float = 0.0

    @property
    def edges(self) -> tuple[Array, Array]:
        """Highest level with electrons and lowest level with room for one at each point, (k,) each, eV.

        Both are the level of one band where the band is filled in part.
        """
        room = self.energies_ev[:, self.occupied]
        return (room if self.left else self.energies_ev[:, self.occupied - 1]), room


def filled(electrons: float) -> tuple[int, float]:
    """How many bands a number of electrons fills in pairs, and the electrons that are left, 0 within 1e-6."""
    left = electrons % 2
    if min(left, 2 - left) < WHOLE:
        return round(electrons / 2), 0.0
    return math.floor(electrons / 2), left


@dataclass(frozen=True, kw_only=True)
class Projected:
    """Densities of states on one energy axis.

    Attributes:
        energies_ev: (E,) in the scale of the levels.
        total: (E,) states per eV and cell.
        atoms: (atoms, E) the part inside the PAW sphere of each atom.
    """

    energies_ev: Array
    total: Array
    atoms: Array


def converged(atoms: Atoms, mesh: Mesh, settings: Settings, file: Path) -> Any:
    """The calculator of a structure whose electrons are converged, from the file where they are there.

    Args:
        atoms: the structure, periodic in all directions.
        mesh: of k-points.
        settings: of the engine; spin-polarised with its starting moments.
        file: `.gpw`, with the density and without wave functions.

    Raises:
        Refused: the electrons do not converge.
    """
    gpaw = loaded()
    if file.exists():
        return gpaw.GPAW(str(file), txt=None)
    own = Atoms(atoms.symbols, positions=atoms.positions, cell=atoms.cell, pbc=True)
    if settings.spin == "polarised":
        own.set_initial_magnetic_moments([settings.moments_bohr.get(a.symbol, 0.0) for a in own])
    file.parent.mkdir(parents=True, exist_ok=True)
    given = arguments(settings, mesh)
    if settings.point_group:
        given["symmetry"] = {"tolerance": TOLERANCE}
    own.calc = gpaw.GPAW(**given, txt=str(file.with_suffix(".txt")))
    with _told(file.parent, f"the electrons did not converge in {settings.max_iterations} iterations"):
        own.get_potential_energy()
    part = file.with_suffix(".part.gpw")
    own.calc.write(str(part))
    part.rename(file)
    return own.calc


@contextmanager
def _told(folder: Path, not_converged: str) -> Iterator[None]:
    """Errors of GPAW as this project tells them."""
    try:
        yield
    except loaded().KohnShamConvergenceError as error:
        raise Refused(not_converged) from error
    except OSError as error:
        raise ValueError(f"{folder}: cannot be written ({error.strerror}); free space and run again") from error
    except Exception as error:
        raise Refused(f"GPAW gave up ({type(error).__name__}: {' '.join(str(error).split())[:120]})") from error


def levels(calc: Any, mesh: Mesh, log: Path) -> tuple[Levels, Any]:
    """Energies of the bands on a mesh in the density of a calculator, and the calculator that holds their states.

    Args:
        calc: from `converged`.
        mesh: of k-points.
        log: text output of GPAW.

    Raises:
        Refused: the electrons are spin-polarised, or the states do not converge.
    """
    if calc.get_number_of_spins() != 1:
        raise Refused("levels are read of spin-paired electrons, and these are spin-polarised")
    occupied, left = filled(float(calc.get_number_of_electrons()))
    bands = occupied + EMPTY_BANDS * len(calc.get_atoms())
    with _told(log.parent, f"the levels on {' x '.join(map(str, mesh))} points did not converge in the fixed density"):
        fixed = calc.fixed_density(
            kpts={"size": mesh, "gamma": True},
            nbands=bands + math.ceil(MARGIN * (bands - occupied)),
            convergence={"bands": bands, "eigenstates": LEVELS},
            txt=str(log),
        )
    points = fixed.get_ibz_k_points()
    energies = np.array([fixed.get_eigenvalues(kpt=k) for k in range(len(points))])
    weights = np.array(fixed.get_k_point_weights())
    levels = energies[:, :bands]
    found = Levels(mesh=mesh, points=points, weights=weights, energies_ev=levels, occupied=occupied, left=left)
    return found, fixed


def projected(fixed: Any, energies_ev: Array, *, width_ev: float) -> Projected:
    """Densities of states of a calculator with states on a mesh, Gaussians of a width.

    Args:
        fixed: from `levels`.
        energies_ev: in the scale of the levels.
        width_ev: standard deviation is this over the square root of two.
    """
    states, axis = fixed.dos(shift_fermi_level=False), energies_ev
    total = states.raw_dos(axis, width=width_ev)
    count = len(fixed.get_atoms())
    parts = [sum(_channel(states, axis, a, which, width_ev) for which in range(3)) for a in range(count)]
    return Projected(energies_ev=axis, total=np.asarray(total), atoms=np.array(parts))


def _channel(states: Any, axis: Array, atom: int, which: int, width_ev: float) -> Array:
    """The part of one angular momentum; zero where the PAW data have none."""
    try:
        return np.asarray(states.raw_pdos(axis, a=atom, l=which, width=width_ev))
    except (ValueError, IndexError, KeyError):
        return np.zeros(len(axis))


def density(calc: Any, *, refinement: int, core: bool) -> Array:
    """All-electron density, electrons per cubic Angstrom on a grid that is `refinement` times that of the waves."""
    return np.asarray(calc.get_all_electron_density(gridrefinement=refinement, skip_core=not core))
