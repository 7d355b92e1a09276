"""The result of the stage rates, as data. What is not known is None, with a status beside it."""

from dataclasses import dataclass

from mlip.core.status import Status

Row = tuple[float | None, float | None, float | None]
Tensor = tuple[Row, Row, Row]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A value with its 95 % interval; without one, `low` alone is a lower bound, and all None is unknown."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Sense:
    """A hop in one of its two senses, at the reference temperature; rates are those of one of the equivalent hops."""

    initial: str
    final: str
    ways: int  # equivalent hops that leave one copy of the initial site
    barrier_ev: float  # with D3
    barrier_std_ev: float | None
    prefactor_thz: float  # with all equal saddles, in series and side by side, and all equal wells of the site
    zero_point_ev: float  # of the saddle less that of the minimum
    tunnelling: float  # Wigner's factor
    classical_per_s: float
    quantum_per_s: Interval  # with quantum partition functions and tunnelling


@dataclass(frozen=True, kw_only=True)
class HopRate:
    """The rate of one hop, or why it has none."""

    host: str
    ion: str
    hop: str
    status: Status
    forward: Sense | None
    reverse: Sense | None
    is_dft: bool = False  # the saddle is converged in DFT; prefactors are the potential's


@dataclass(frozen=True, kw_only=True)
class Point:
    """D at one temperature, cm^2/s."""

    temperature_kelvin: float
    status: Status
    mean: Interval  # trace over dimension, with quantum corrections
    classical: float | None  # the same without
    tensor: Tensor | None  # None in it: along an axis where hops without a rate could be faster


@dataclass(frozen=True, kw_only=True)
class Diffusivity:
    """D of one ion on one host from the master equation."""

    host: str
    ion: str
    axes: int  # 2 on a slab, 3 in bulk
    status: Status  # at the reference temperature
    points: tuple[Point, ...]
    at_reference: Point
    effective_ev: Interval  # slope of -ln D over 1/kT at the reference temperature
    bottleneck_ev: float | None  # highest saddle of the path to the next cell whose highest saddle is lowest
    on_surface: float | None  # part of the time at surface sites at the reference temperature; None in bulk
    missing: tuple[str, ...]  # hops without a rate


@dataclass(frozen=True, kw_only=True)
class Gain:
    """D on a facet over D in bulk at the reference temperature, in decades, beside what is claimed."""

    host: str
    ion: str
    temperature_kelvin: float
    decades: Interval
    claimed: float | None  # decades at least; None: nothing is claimed about this host and ion
    implied: float | None  # decades that the published barriers give with equal prefactors
    verdict: str
    reason: str
    claimed_up_to: float | None = None


@dataclass(frozen=True, kw_only=True)
class AgainstDynamics:
    """D of a lone ion from molecular dynamics over D from the classical rates of the member that moved it."""

    system: str
    host: str
    ion: str
    temperature_kelvin: float
    dynamics: Interval  # cm^2/s, from hops
    displacements: Interval  # cm^2/s, from mean squared displacements
    rates: float | None  # cm^2/s
    ratio: Interval  # of D from hops and from rates
    status: Status


@dataclass(frozen=True, kw_only=True)
class HopAgainstDynamics:
    """How often a lone ion leaves a site by a hop in dynamics, over the classical rate of all equivalent hops."""

    system: str
    host: str
    ion: str
    temperature_kelvin: float
    hop: str
    initial: str
    final: str
    count: int  # in dynamics
    dynamics: Interval  # 1/ns
    rates: float | None  # 1/ns
    ratio: Interval
    status: Status


@dataclass(frozen=True, kw_only=True)
class DynamicsTogether:
    """All hops of a lone ion in dynamics over those that classical rates predict, at one temperature or at all."""

    system: str
    host: str
    ion: str
    temperatures_kelvin: tuple[float, ...]
    ps: float  # of the ion
    hops: int  # of those with a rate
    others: int  # jumps that are no hop of the network, such as two hops between stored frames
    unrated: int  # hops of the network that have no rate to compare with
    expected: float  # by the rates, in the same time at the same sites
    ratio: Interval
    crossings: int | None  # of the planes midway between places, in stored frames
    crossings_ratio: float | None  # over the hops that the rates predict; None where hops without a rate were seen
    within_ps: float | None  # in which a hop back is counted as reversed
    reversed: int | None
    reversed_expected: float | None  # if the ion forgot how it came
    activation_ev: Interval  # slope of -ln D over 1/kT in dynamics; nothing where the line has another status
    activation_status: Status | None  # of that line; None: one temperature
    activation_rates_ev: float | None  # of D from rates over the same temperatures
    barrier_ev: float | None  # of the hop seen most often, by the member and without D3


@dataclass(frozen=True, kw_only=True)
class Walk:
    """One species in a kinetic Monte Carlo walk of several ions."""

    host: str
    ions: tuple[str, ...]  # of the whole walk
    repeat: tuple[int, int, int]
    temperature_kelvin: float
    ion: str
    status: Status
    filled: float  # ions of this species per copy of its lowest site
    hops: int
    time_ns: float
    d_cm2_per_s: float | None  # tracer diffusion coefficient, mean over the axes
    std_error: float | None
    lone_cm2_per_s: float | None  # of one ion alone, from the master equation with the same rates
    blocked: float | None  # part of all hops, weighted with their rates, that another ion blocks


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Result of the stage."""

    reference_kelvin: float
    hops: tuple[HopRate, ...]
    diffusivities: tuple[Diffusivity, ...]
    gains: tuple[Gain, ...]
    dynamics: tuple[AgainstDynamics, ...]
    hop_dynamics: tuple[HopAgainstDynamics, ...]
    walks: tuple[Walk, ...]
    together: tuple[DynamicsTogether, ...] = ()
