"""What the stage `modes` gives: hops whose saddles are proved by their modes, and the phonons of the crystal.

A hop that is not proved has a status and no barrier. Barriers and prefactors are those of an uncoupled hop between its
two named ends, over one saddle from one well; the numbers of equal saddles and wells stand beside them. How many
equivalent hops leave an end is a matter of the hop network (`network.Hop.multiplicity`).
"""

from dataclasses import dataclass

from mlip.core.status import Status

PROVED = "proved"
SECOND_ORDER = "second-order saddle"
OTHER_SITES = "leads to other sites"
NOT_REFINED = "not refined"
NO_BAND = "no converged band"
NO_MINIMUM = "end is no minimum"

Vector = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class HopModes:
    """One hop between stationary points of the committee mean, with the vibrations at its ends and at its saddle.

    Frequencies are real ones, ascending, of the committee's mean Hessian over the atoms that move in it. The
    frequencies of ends and saddle are kept for a hop that is not proved too, as far as they were calculated.
    """

    host: str
    ion: str
    hop: str
    status: Status
    forward_ev: float | None = (
        None  # electronic; saddle less initial minimum, on the committee mean; None unless proved
    )
    reverse_ev: float | None = None
    forward_std_ev: float | None = None  # sample standard deviation of the members; None with one member
    reverse_std_ev: float | None = None
    initial_thz: tuple[float, ...] = ()
    final_thz: tuple[float, ...] = ()
    saddle_thz: tuple[float, ...] = ()
    imaginary_thz: float | None = None  # of the mode along the hop, as a positive number
    forward_prefactor_thz: float | None = None  # Vineyard, mean Hessian; None unless proved
    reverse_prefactor_thz: float | None = None
    forward_prefactors_thz: tuple[float, ...] = ()  # from the Hessian of each member that has a first-order saddle
    reverse_prefactors_thz: tuple[float, ...] = ()
    mode: tuple[Vector, ...] = ()  # displacements of all atoms at the saddle along the unstable mode, normalised
    saddle_force_ev_per_angstrom: float | None = None  # largest force that remains on an atom of the refined saddle
    atoms_moved: int = 0  # in the Hessian
    shell_atoms: int = 0  # the ion and the atoms of its shell
    shell_prefactor_thz: float | None = None  # forward, from the Hessian of the ion and its shell alone
    overlap: float | None = None  # of the unstable mode with the direction of the band at the saddle
    saddles: int = 1  # equal ones in series: the rate of the hop is that over one of them divided by this
    saddle_images: int = 1  # equal ones side by side: the rate of the hop is that over one of them times this
    initial_wells: int = 1  # equal minima that are one site: the rate out of the site is that of one divided by this
    final_wells: int = 1
    between_ev: float | None = None  # of the minimum between two saddles, above the initial one
    rest_below_ev: float | None = None  # saddle less the highest point of the band beyond a minimum that is no site
    sum_rule_error: float | None = None  # of the mean Hessian at the saddle, relative; None unless of the whole cell
    evaluations: int = 0  # of a structure by a member

    @property
    def key(self) -> tuple[str, str, str]:
        """Host, ion and hop."""
        return self.host, self.ion, self.hop


@dataclass(frozen=True, kw_only=True)
class GammaMode:
    """One set of degenerate vibrations of the crystal at Gamma."""

    label: str  # irreducible representation
    thz: float
    degeneracy: int


@dataclass(frozen=True, kw_only=True)
class PathPoint:
    """A labelled point of the path through the Brillouin zone."""

    label: str
    distance: float  # along the path, 1/Angstrom


@dataclass(frozen=True, kw_only=True)
class HeatCapacity:
    """Heat capacity at constant volume."""

    temperature_k: float
    cv_j_per_mol_k: float  # per formula unit


@dataclass(frozen=True, kw_only=True)
class BulkPhonons:
    """Harmonic vibrations of the crystal; imaginary frequencies are negative numbers."""

    supercell: tuple[int, int, int]
    gamma: tuple[GammaMode, ...]
    labels: tuple[PathPoint, ...]
    distances: tuple[float, ...]  # along the path, 1/Angstrom
    bands_thz: tuple[tuple[float, ...], ...]  # at every distance, ascending
    dos_thz: tuple[float, ...]
    dos_states_per_thz: tuple[float, ...]  # per formula unit
    heat_capacity: tuple[HeatCapacity, ...]
    lowest_thz: float  # on the path and on the mesh, acoustic modes at Gamma aside


@dataclass(frozen=True, kw_only=True)
class Modes:
    """Result of the stage."""

    hops: tuple[HopModes, ...]
    bulk: BulkPhonons | None  # None where the crystal does not relax
    notes: tuple[str, ...] = ()


def failed_hops(modes: Modes) -> dict[tuple[str, str, str], Status]:
    """Host, ion and hop of every hop that has a band but no proved saddle, with the status that says why."""
    return {hop.key: hop.status for hop in modes.hops if hop.status.code not in {PROVED, NO_BAND}}
