"""GPAW: PAW, PBE, plane waves, run in this process.

Takes a structure; gives energy, forces, moments. A frame with the cell, species and k-points of the one before it
starts from that one's wave functions and density; where spin-polarised it does not, as a moment that is lost once would
stay lost.

Free energy F = E - T S of Fermi-Dirac smearing is force-consistent; the extrapolated energy is (E + F) / 2.
Mortensen et al., J. Chem. Phys. 2024, 160, 092503, doi:10.1063/5.0182685; PBE: doi:10.1103/PhysRevLett.77.3865.
"""

import errno
import math
from collections.abc import Collection
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
from ase import Atoms
from pydantic import Field, model_validator

from mlip.core.section import Count, Positive, Section
from mlip.dft import openblas
from mlip.dft.engines import (
    Calculated,
    Described,
    Mesh,
    Ranks,
    Refused,
    clear_of_boundary,
    length_mesh,
    normal,
    normal_axis,
    said_to_be_slab,
)

INSTALL = "make setup-dft installs it (docs/labelling.md)"
SPACING_ANGSTROM = 0.185  # of the grid that a cutoff of 520 eV needs
RANKS_ENVIRONMENT = {"GPAW_MPI_BACKEND": "cgpaw"}  # else a program that is not `gpaw python` has one rank


class Settings(Section):
    """Settings of a GPAW single point."""

    version: str = "26.7.0"  # of GPAW; another one is another level
    paw_data: str = "1.2.1"  # version of gpaw-data
    cutoff_ev: Positive = 520.0
    grid_angstrom: Positive | None = None  # largest spacing of the real-space grid; None: what the cutoff needs
    smearing_ev: Positive = 0.05
    k_length_angstrom: Positive = 15.0
    spin: Literal["paired", "polarised"] = "paired"
    moments_bohr: dict[str, float] = Field(default_factory=dict)  # element -> starting moment of its atoms
    dipole: bool = False  # correction of slabs; other cells are not changed by it
    point_group: bool = False  # symmetry beyond time reversal
    bands_percent: float = Field(110.0, gt=100.0)  # of the occupied ones
    density_convergence: Positive = 1e-4  # electrons per valence electron
    eigenstates_convergence: Positive = 1e-6  # eV^2 per valence electron
    energy_convergence_ev: Positive = 1e-5  # per valence electron
    max_iterations: Count = 120  # not a part of the level: what converges later is refused
    slab_vacuum_angstrom: Positive = 15.0  # of the slabs that are labelled, for the card

    @model_validator(mode="after")
    def _spin_has_a_start(self) -> "Settings":
        if (self.spin == "polarised") != any(self.moments_bohr.values()):
            raise ValueError("spin polarised and moments_bohr (not all zero) belong together, such as {Ti: 0.2}")
        return self


PRESETS = {"gpaw-pbe-520": Settings()}


def described(settings: Settings) -> Described:
    """The level of theory, as on the card of a dataset; see `Engine`."""
    moments = ", ".join(f"{s} {m:g}" for s, m in sorted(settings.moments_bohr.items()))
    length = f"{settings.k_length_angstrom:g}"
    grid = {} if settings.grid_angstrom is None else {"grid_angstrom": settings.grid_angstrom}
    return {
        "code": "GPAW",
        "version": settings.version,
        "paw_data": f"gpaw-data {settings.paw_data} (PBE)",
        "mode": "plane waves",
        "cutoff_ev": settings.cutoff_ev,
        **grid,
        "xc": "PBE",
        "spin": f"polarised, starting moments {moments} Bohr magnetons" if settings.spin == "polarised" else "paired",
        "hubbard_u": "none",
        "smearing": "Fermi-Dirac",
        "smearing_ev": settings.smearing_ev,
        "energy": "force-consistent (free energy)",
        "k_points": f"Monkhorst-Pack, n_i = ceil({length} Angstrom / L_i), 1 along the normal of a slab",
        "k_length_angstrom": settings.k_length_angstrom,
        "symmetry": "point group and time reversal" if settings.point_group else "time reversal only",
        "bands": f"{settings.bands_percent:g} %",
        "density_convergence": settings.density_convergence,
        "eigenstates_convergence": settings.eigenstates_convergence,
        "energy_convergence_ev": settings.energy_convergence_ev,
        "periodic": "three directions; slabs two" if settings.dipole else "three directions",
        "slab_vacuum_angstrom": settings.slab_vacuum_angstrom,
        "dipole_correction": "slabs, along the normal" if settings.dipole else "none",
        "dispersion": "none",
    }


def loaded() -> ModuleType:
    """The package GPAW; its BLAS uses the vector instructions of this processor."""
    with openblas.fast("_gpaw"):
        import_module("gpaw.cgpaw")
    return import_module("gpaw")


def require(settings: Settings, symbols: Collection[str]) -> None:
    """Nothing where GPAW of the right version and PAW data of these elements are installed; see `Engine`."""
    for package, wanted in (("gpaw", settings.version), ("gpaw-data", settings.paw_data)):
        try:
            found = version(package)
            loaded() if package == "gpaw" else import_module("gpaw_data")  # a build may not load
        except (PackageNotFoundError, ImportError) as error:
            raise ValueError(f"{package} is not installed ({error}); {INSTALL}") from error
        if found != wanted:
            key = "version" if package == "gpaw" else "paw_data"
            raise ValueError(
                f"{package} {found} is installed, the settings say {wanted}: install that one, or write "
                f"dft: {{settings: {{{key}: {found}}}}}, which is another level"
            )
    from gpaw.setup_data import search_for_file
    from gpaw_data import datapath

    for symbol in sorted(symbols):
        try:
            source, _ = search_for_file(f"{symbol}.PBE")
        except FileNotFoundError as error:
            raise ValueError(
                f"GPAW has no PAW data {symbol}.PBE in gpaw-data {settings.paw_data}; label no frames with {symbol}"
            ) from error
        if Path(source).parent.resolve() != Path(datapath()).resolve():
            raise ValueError(
                f"the PAW data of {symbol} are {source}, not those of gpaw-data {settings.paw_data}; "
                "unset GPAW_SETUP_PATH"
            )


def ranks_for(settings: Settings, points: Mesh, most: int) -> int:
    """How many of `most` ranks share a mesh of k-points; see `ParallelEngine`.

    Without ScaLAPACK GPAW divides nothing but the k-points, which are known here only without point group.
    """
    if most == 1 or _has_scalapack():
        return most
    return 1 if settings.point_group else min(most, math.ceil(math.prod(points) / 2))  # time reversal


def _has_scalapack() -> bool:
    return hasattr(loaded().cgpaw, "new_blacs_context")


def ranks() -> Ranks:
    """The ranks of this process, which has `RANKS_ENVIRONMENT`.

    Raises:
        ValueError: GPAW is compiled without MPI.
    """
    if not loaded().cgpaw.have_mpi:
        raise ValueError(f"dft.ranks: GPAW is compiled without MPI; {INSTALL} with MPI, or set dft.ranks to 1")
    from gpaw.mpi import broadcast, world

    return Ranks(
        number=world.rank,
        count=world.size,
        share=lambda what: broadcast(what if world.rank == 0 else None, comm=world),
        abort=lambda: world.abort(1),
    )


def mesh(atoms: Atoms, settings: Settings) -> Mesh:
    """Numbers of Monkhorst-Pack points from the length rule; see `Engine`."""
    return length_mesh(atoms, settings.k_length_angstrom)


def seconds(atoms: Atoms, settings: Settings) -> float:
    """Estimated core-seconds of a single point, within a factor of about 1.4.

    A fit to 54 single points of 12 to 49 atoms at 520 eV, spin-paired, on one core (standard deviation 0.29 of the
    logarithm). The plane waves, and so the time, grow with volume and cutoff; a finer grid costs its number of points
    (1.6 times as long at 0.16 Angstrom, in the median of 15 single points of 49 atoms).
    """
    half = math.ceil(math.prod(mesh(atoms, settings)) / 2)  # time reversal
    plane_waves = float(atoms.get_volume()) ** 0.8 * (settings.cutoff_ev / 520.0) ** 1.2
    spins = 2 if settings.spin == "polarised" else 1
    own_grid = SPACING_ANGSTROM * math.sqrt(520.0 / settings.cutoff_ev)
    finer = max(own_grid / (settings.grid_angstrom or own_grid), 1.0) ** 3
    return float(5.0 + 0.0041 * half * len(atoms) ** 1.48 * plane_waves * spins * finer)


def arguments(s: Settings, points: Mesh) -> dict[str, Any]:
    """What GPAW is called with for these settings on a mesh of k-points."""
    grid = {} if s.grid_angstrom is None else {"h": s.grid_angstrom}
    return grid | {
        "mode": {"name": "pw", "ecut": s.cutoff_ev},
        "xc": "PBE",
        "kpts": {"size": points, "gamma": False},
        "occupations": {"name": "fermi-dirac", "width": s.smearing_ev},
        "symmetry": {} if s.point_group else {"point_group": False},
        "nbands": f"{s.bands_percent:g}%",
        "convergence": {
            "density": s.density_convergence,
            "eigenstates": s.eigenstates_convergence,
            "energy": s.energy_convergence_ev,
        },
        "maxiter": s.max_iterations,
    }


def session(settings: Settings) -> "Session":
    """A function of structure and folder; see `Engine`."""
    return Session(settings)


class Session:
    """Single points one after another; the calculator outlives a frame."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._atoms: Atoms | None = None
        self._key: object = None

    def __call__(self, atoms: Atoms, folder: Path) -> Calculated:
        """Energy, forces and moments of a structure; the text output of a cold start goes to the folder.

        Raises:
            Refused: the electrons do not converge, or GPAW gives up on this structure.
            ValueError: the folder cannot be written.
        """
        own = self._prepared(atoms, folder)
        try:
            forces = own.get_forces()
            energy_ev = float(own.get_potential_energy(force_consistent=True))
            extrapolated_ev = float(own.get_potential_energy())
            moment = float(own.get_magnetic_moment()) if self._settings.spin == "polarised" else None
            along = normal(atoms) if said_to_be_slab(atoms) and clear_of_boundary(atoms) else None
            dipole = None if along is None else float(own.get_dipole_moment() @ along)
            iterations = int(own.calc.get_number_of_iterations())
        except OSError as error:
            self._atoms = None
            reason = "No space left on device" if error.errno == errno.ENOSPC else str(error.strerror or error)
            raise ValueError(f"{folder}: cannot be written ({reason}); free space and run again") from error
        except Exception as error:
            self._atoms = None
            raise Refused(self._why(error, folder)) from error
        return Calculated(energy_ev, extrapolated_ev, np.array(forces), iterations, dipole, moment)

    def _prepared(self, atoms: Atoms, folder: Path) -> Atoms:
        key = (tuple(atoms.numbers), tuple(atoms.cell.array.ravel().round(8)), said_to_be_slab(atoms))
        corrected = self._settings.dipole and said_to_be_slab(atoms)
        if corrected and not clear_of_boundary(atoms):
            raise Refused("the slab is at the cell boundary, where the dipole layer sits; shift it to the middle")
        if corrected and not (normal_axis(atoms) == 2 and np.allclose(normal(atoms), [0.0, 0.0, 1.0], atol=1e-6)):
            raise Refused(
                "the dipole correction of GPAW needs the normal of the slab along the third cell vector and z; turn "
                "the frame, or label without dipole"
            )
        if self._atoms is not None and self._key == key and self._settings.spin == "paired":
            self._atoms.positions = atoms.positions
            return self._atoms
        own = Atoms(atoms.symbols, positions=atoms.positions, cell=atoms.cell, pbc=(True, True, not corrected))
        if self._settings.spin == "polarised":
            own.set_initial_magnetic_moments([self._settings.moments_bohr.get(a.symbol, 0.0) for a in own])
        try:
            folder.mkdir(parents=True, exist_ok=True)
            own.calc = self._calculator(mesh(atoms, self._settings), folder / "gpaw.txt", corrected=corrected)
        except OSError as error:
            raise ValueError(f"{folder}: cannot be written ({error.strerror}); free space and run again") from error
        self._atoms, self._key = own, key
        return own

    def _calculator(self, points: Mesh, log: Path, *, corrected: bool) -> Any:
        extra: dict[str, Any] = {"poissonsolver": {"dipolelayer": "xy"}} if corrected else {}
        if not _has_scalapack():
            extra["parallel"] = {"domain": 1, "band": 1}
        return loaded().GPAW(**arguments(self._settings, points), txt=str(log), **extra)

    def _why(self, error: Exception, folder: Path) -> str:
        if isinstance(error, loaded().KohnShamConvergenceError):
            return (
                f"the electrons did not converge in {self._settings.max_iterations} iterations (max_iterations); "
                f"see {folder.parent}"
            )
        return f"GPAW gave up ({type(error).__name__}: {' '.join(str(error).split())[:120]}); see {folder.parent}"
