"""What the report says, as data: results of a run in, rows of every table out.

Takes nothing; gives frozen, JSON-able dataclasses. Barriers are in eV, None wherever there is no converged number; the
status beside it says why.
"""

from dataclasses import dataclass, field

from mlip.atoms.structures import Host
from mlip.core.section import Target
from mlip.core.status import Status
from mlip.core.uncertainty import Uncertainty
from mlip.stages.electronic.result import Electronic
from mlip.stages.energetics.energetics import Adsorption
from mlip.stages.neb.neb import Barrier
from mlip.stages.refine.barriers import DftBarrier
from mlip.stages.sites.network import Bottleneck, Hop
from mlip.stages.sites.sites import Site


@dataclass(frozen=True)
class Results:
    """What the run found, as far as rows and verdicts need it."""

    target: Target  # level of the potential
    hosts: tuple[Host, ...]
    sites: tuple[Site, ...]
    hops: tuple[Hop, ...]
    barriers: tuple[Barrier, ...]
    bottlenecks: tuple[Bottleneck, ...]
    dft: tuple[DftBarrier, ...]
    calibration: float | None  # factor from committee spread to error; None: not known, 1 is used
    path_error_ev: float | None  # RMSE of the energy along held-out paths, saddle against initial image
    adsorption: tuple[Adsorption, ...] = ()
    electronic: Electronic | None = None
    zero_shot: "Results | None" = None  # barriers and paths by the base model before training
    base: str = ""  # what that model is, in words
    with_dft: "Results | None" = None  # barriers and paths with refined hops in them; None: no hop is refined
    labelled: bool = True  # False: no label of the dataset is of the run's crystal
    errors: Uncertainty = field(default_factory=Uncertainty)  # that the run does not measure
    is_dft: bool = False  # refined hops have the barriers of DFT


@dataclass(frozen=True, kw_only=True)
class BeforeTraining:
    """A barrier by the base model as it is, with D3 where the row has D3."""

    barrier_ev: float | None
    status: Status


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Parts of the uncertainty, 1 sigma each."""

    committee_ev: float | None  # spread times calibration
    held_out_ev: float | None
    convergence_ev: float  # of a band, or of the settings of DFT where the barrier is DFT's
    dispersion_ev: float
    refined_ev: float | None = None  # of a barrier refined with DFT: noise of the labels and the forces left
    total_ev: float | None  # None: no model term is known


@dataclass(frozen=True, kw_only=True)
class Headline:
    """One published barrier and what this run says about it."""

    reference: str
    facet: str
    host: str
    ion: str
    path: str
    published_ev: float
    doi: str | None
    dft_ev: float | None  # with D3; single points without it are left out
    dft_hop: str | None  # the limiting one or the whole path, or else the lowest one of the facet that DFT has
    dft_geometry: str | None  # what the single points of dft_ev were made at
    dft_refined: bool  # ends and saddle are stationary in DFT, and the verdict rests on dft_ev
    dft_calls: int | None  # that refinement took
    dft_force_ev_per_angstrom: float | None  # largest DFT force left there
    dft_two_sigma_ev: float | None  # of a refined barrier
    mlip_ev: float | None  # lowest resolved bottleneck, at the level of the potential
    d3_ev: float | None  # added to it before the comparison
    two_sigma_ev: float | None
    difference_ev: float | None  # what the verdict rests on (with D3) minus published
    budget: Budget | None
    direction: str | None
    start: str | None
    hops: tuple[str, ...]
    limiting_hop: str | None
    verdict: str  # AGREES, DIFFERS, NOT_COMPARABLE or NOT_RESOLVED
    reason: str
    verdict_without_d3: str | None = None  # None: there is no D3 in the barrier, or the potential contains it
    decided_ev: float | None = None  # the barrier that the verdict rests on, with D3 where that is known
    decided_two_sigma_ev: float | None = None
    decided_has_d3: bool = False
    hops_by_dft: tuple[str, ...] = ()  # of a path of the potential: its hops that have the barrier of DFT
    upper_bound: bool = False  # a path that is not resolved may lie below ours
    zero_shot: BeforeTraining | None = None  # with D3; None: not calculated
    covered_from_ev: float | None = None  # error of the DFT settings from which a refined barrier no longer differs

    @property
    def ours_ev(self) -> float | None:
        """The potential's barrier as it is compared: with D3, like `dft_ev` and the published value."""
        return None if self.mlip_ev is None else self.mlip_ev + (self.d3_ev or 0.0)

    @property
    def dft_is_elsewhere(self) -> bool:
        """Whether dft_ev belongs to another hop of the facet, because no DFT has the limiting one."""
        return self.dft_ev is not None and self.dft_hop not in (self.limiting_hop, "+".join(self.hops))


@dataclass(frozen=True, kw_only=True)
class HopRow:
    """One hop: barrier by the potential and by DFT, or its status."""

    host: str
    ion: str
    hop: str
    sites: str
    length_angstrom: float
    multiplicity: int
    status: Status
    members: int
    forward_ev: float | None
    reverse_ev: float | None
    std_ev: float | None
    d3_ev: float | None
    symmetric: bool
    asymmetry_ev: float | None
    asymmetry_ok: bool | None
    dft_ev: float | None
    dft_note: str
    mirrored: bool = False  # equal by construction: half of the images were made by symmetry
    zero_shot: BeforeTraining | None = None  # None: not calculated


@dataclass(frozen=True, kw_only=True)
class PathRow:
    """One minimax path between neighbouring equivalent sites."""

    host: str
    ion: str
    direction: str
    start: str
    barrier_ev: float | None
    two_sigma_ev: float | None
    d3_ev: float | None
    hops: tuple[str, ...]
    limiting_hop: str | None
    status: Status


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """The computed hop that comes nearest to a published barrier, among how many."""

    reference: str
    facet: str
    ion: str
    published_ev: float
    hop: str | None
    sense: str | None  # 'forward' | 'reverse'
    mlip_ev: float | None
    difference_ev: float | None
    looked_at: int
    chance: float | None  # that one of so many random values in the computed range comes within the tolerance


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """An order that the paper claims: the first barrier is higher than the second."""

    statement: str
    published_difference_ev: float | None
    difference_ev: float | None
    two_sigma_ev: float | None
    sigmas: float | None
    outcome: str  # 'holds' | 'reversed' | 'within uncertainty' | 'not resolved'


@dataclass(frozen=True, kw_only=True)
class Other:
    """A published quantity other than a barrier, and what this work says about it."""

    reference: str
    quantity: str
    facet: str
    ion: str
    value: float
    unit: str
    method: str
    where: str
    status: Status
    ours: float | None = None  # in the same unit; None also where several numbers stand in the status
    verdict: str = ""  # AGREES, DIFFERS or NOT_COMPARABLE; empty where nothing is compared


@dataclass(frozen=True, kw_only=True)
class Rows:
    """All rows of the report."""

    headline: tuple[Headline, ...]
    hops: tuple[HopRow, ...]
    paths: tuple[PathRow, ...]
    nearest: tuple[Nearest, ...]
    order: tuple[Comparison, ...]
    other: tuple[Other, ...]
