"""What the stage `electronic` gives. A gap or charge that is not converged is None, with a status beside it.

The numbers of a change of the density and of a moment count where the status beside them is RESOLVED.
"""

from dataclasses import dataclass

from mlip.core.status import Status
from mlip.stages.electronic.gaps import Edge, MeshGap


@dataclass(frozen=True, kw_only=True)
class HostStates:
    """Levels and densities of states of a clean host."""

    host: str
    atoms: int  # of the primitive cell that was calculated
    status: Status
    gap_ev: float | None
    direct_ev: float | None  # smallest difference at one k-point
    meshes: tuple[MeshGap, ...]  # from coarse to fine
    valence: Edge | None = None
    conduction: Edge | None = None
    energies_ev: tuple[float, ...] = ()  # above the top of the valence band
    total: tuple[float, ...] = ()  # states per eV and cell
    elements: dict[str, tuple[float, ...]] | None = None  # part of each element
    outer: tuple[float, ...] = ()  # part of the outermost layers; empty in a crystal


@dataclass(frozen=True, kw_only=True)
class IonCharge:
    """Bader charge of an ion on a host and what its electrons do."""

    host: str
    ion: str
    site: str
    status: Status
    charge_e: float | None  # positive: the ion has given electrons away
    grids: tuple[tuple[int, float], ...] = ()  # refinement and charge of the ion on each grid
    neighbours: tuple[tuple[str, float, float], ...] = ()  # element, distance (Angstrom), change of charge (e)
    electrons_left: float | None = None  # in no basin, of the finest grid
    moved: float | None = None  # electrons that the bond moves
    difference_status: Status | None = None
    integral: float | None = None  # of the change of the density
    heights_angstrom: tuple[float, ...] = ()
    planar: tuple[float, ...] = ()  # electrons per Angstrom
    section: tuple[tuple[float, ...], ...] = ()  # electrons per cubic Angstrom, coarse
    moment_bohr: float | None = None  # of the cell, spin-polarised
    moment_status: Status | None = None
    spin_energy_ev: float | None = None  # spin-polarised less spin-paired


@dataclass(frozen=True, kw_only=True)
class Electronic:
    """Result of the stage."""

    level: str  # settings hash of the run's DFT level
    hosts: tuple[HostStates, ...]
    ions: tuple[IonCharge, ...]
