"""One ion on one host: from the rates of its hops to the diffusion tensor, and what is missing for it.

Takes the lattice of hops, a `Law` for every hop whose rate is known, and the energies of the sites; gives samples of D.

A hop without a rate is not left out in silence. D is calculated twice: without these hops, and with each of them as
fast as a hop can be, 100 THz times the Boltzmann factor of its higher end (or of the height at which the ion was seen
to leave the surface). Where both agree, the missing hops do not matter; where they do not, D without them is a lower
bound, because a further hop never slows a reversible walk down.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mlip.core.arrays import Array
from mlip.core.status import NOT_RESOLVED, RESOLVED, Status
from mlip.core.units import BOLTZMANN_EV_PER_KELVIN
from mlip.stages.rates import master, transition
from mlip.stages.rates.lattice import Lattice, Part, Whole, parts
from mlip.stages.rates.laws import Draws, Law

LOWER_BOUND, CONFINED = "lower bound", "confined"
UNBALANCED = "unbalanced"
NO_RATE = "no rate"  # of a hop
BALANCE_KELVIN = 300.0  # temperature at which detailed balance is looked at
NEGLIGIBLE = 0.05  # relative change of D that missing hops may make at most
SLOPE = 1e-3  # relative step of 1/kT in the slope of ln D


@dataclass(frozen=True, kw_only=True)
class System:
    """The hops of one ion on one host, those that have a rate and those that have none."""

    host: str
    ion: str
    net: Lattice
    laws: tuple[Law | None, ...]  # of every hop of the lattice
    reasons: Mapping[str, str]  # why a hop has none, by name
    site_ev: Array  # (sites,)
    layers: tuple[str, ...]  # of the sites
    heights_ev: Mapping[str, float] = field(default_factory=dict)  # least height of a saddle, above the initial site
    balance_factor: float = 3.0  # largest one by which the rates may violate detailed balance at 300 K

    @property
    def axes(self) -> int:
        """Dimensions in which the ion can move on: 2 on a slab, 3 in bulk."""
        return 3 if "bulk" in self.layers else 2

    @property
    def start(self) -> int:
        """The lowest site."""
        return int(self.site_ev.argmin())

    @property
    def known(self) -> NDArray[np.bool_]:
        """Whether a hop has a rate."""
        return np.array([law is not None for law in self.laws], dtype=bool)

    @cached_property
    def walked(self) -> list[Part]:
        """Parts of the network that hops with a rate connect to a copy of the lowest site."""
        return parts(self.net, np.flatnonzero(self.known), self.start)

    @property
    def reached(self) -> set[int]:
        """Sites of these parts, on which D is calculated."""
        return {int(site) for part in self.walked for site in self.net.site[part.nodes]}

    @cached_property
    def possible(self) -> list[Part]:
        """The same with all hops."""
        return parts(self.net, range(len(self.laws)), self.start)

    @cached_property
    def imbalance(self) -> float:
        """Largest |ln| by which a hop violates detailed balance at 300 K, classically."""
        return self.at(BALANCE_KELVIN, Draws(0, 0), quantum=False).imbalance

    @property
    def missing(self) -> tuple[str, ...]:
        """Hops without a rate that start or end where the ion can be."""
        near = {int(h) for part in self.possible for h in self.net.hop[part.edges]}
        return tuple(self.net.hops[h] for h in sorted(near) if self.laws[h] is None)

    def at(self, temperature_kelvin: float, draws: Draws, *, quantum: bool) -> master.Equilibrium:
        """Weights and fluxes at one temperature, with hops without a rate as fast as they can be."""
        rates = _ln_rates(self, temperature_kelvin, draws, quantum=quantum)
        return master.equilibrium(self.net, rates[..., 0], rates[..., 1], known=self.known)


@dataclass(frozen=True)
class Diffusion:
    """D of a system at one temperature in Angstrom^2/ps; sample 0 is the central value."""

    axes: int
    tensor: Array  # (s, 3, 3) with the hops whose rate is known
    fastest: Array  # (3, 3) central, with the others as fast as they can be
    on_surface: float | None  # part of the time in sites of the layer surface; None in bulk

    @property
    def mean(self) -> Array:
        """Trace over dimension, (s,)."""
        return np.asarray(np.trace(self.tensor, axis1=1, axis2=2) / self.axes)

    @property
    def known_axes(self) -> tuple[bool, bool, bool]:
        """Whether hops without a rate change the element xx, yy, zz of D by a negligible part at most."""
        low, high = np.diag(self.tensor[0]), np.diag(self.fastest)
        x, y, z = (bool(abs(b - a) <= NEGLIGIBLE * a) for a, b in zip(low, high, strict=True))
        return x, y, z

    @property
    def is_complete(self) -> bool:
        """Whether hops without a rate change D by a negligible part at most."""
        low, high = self.mean[0], np.trace(self.fastest) / self.axes
        return bool(abs(high - low) <= NEGLIGIBLE * low)


def diffusion(system: System, temperature_kelvin: float, draws: Draws, *, quantum: bool) -> Diffusion:
    """D of a system at one temperature."""
    found = system.at(temperature_kelvin, draws, quantum=quantum)
    nodes = np.concatenate([part.nodes for part in system.possible])
    tensor = master.diffusion_tensor(system.net, found, system.walked, nodes=nodes)
    fastest = tensor[0]
    if system.missing:
        central = master.Equilibrium(found.ln_weight[:1], found.ln_flux[:1], found.imbalance)
        fastest = master.diffusion_tensor(system.net, central, system.possible, nodes=nodes)[0]
    return Diffusion(system.axes, tensor, fastest, _on_surface(system, found, nodes))


def status(system: System, found: Diffusion) -> Status:
    """Whether D is resolved at this temperature, a lower bound, not known, or zero because the ion gets nowhere."""
    try:
        master.require_balance(system.net, system.imbalance, factor=system.balance_factor)
    except ValueError as error:
        return Status(UNBALANCED, str(error))
    missing = ", ".join(f"{name} ({system.reasons.get(name, 'no rate')})" for name in system.missing)
    if found.is_complete and found.mean[0] > 0:
        axes = list(zip("xyz"[: system.axes], found.known_axes, np.diag(found.tensor[0]), strict=False))
        still = ", ".join(axis for axis, known, d in axes if known and d == 0)
        unknown = ", ".join(axis for axis, known, _ in axes if not known)
        notes = [f"no chain of hops leads along {still}"] if still else []
        if unknown:
            notes.append(
                f"D along {unknown} is not known, as hops have no rate: {missing}; the mean over the axes does not "
                "depend on it"
            )
        return Status(RESOLVED, "; ".join(notes))
    if found.is_complete:
        return Status(CONFINED, "no chain of hops leads to the next cell; raise sites.max_hop_angstrom")
    if found.mean[0] > 0:
        return Status(LOWER_BOUND, f"hops without a rate could be faster: {missing}")
    return Status(NOT_RESOLVED, f"no chain of hops with a rate leads to the next cell; without: {missing}")


def site_levels_ev(system: System) -> Array:
    """Energies of the sites above the start that fit the barriers of both senses of all hops, (sites,) in eV.

    They say nothing about sites that no chain of hops connects to the start.
    """
    barriers = np.array([_barriers_ev(system, number) for number in range(len(system.laws))]).reshape(1, -1, 2)
    found = master.equilibrium(system.net, -barriers[..., 0], -barriers[..., 1], known=system.known)
    levels = -found.ln_weight[0]
    return np.asarray(levels - levels[system.start])


def effective_barrier(system: System, temperature_kelvin: float, draws: Draws, *, quantum: bool) -> Array:
    """Slope of -ln D over 1/kT in eV at one temperature, (s,); nan where D is zero."""
    steps = (1 + SLOPE, 1 - SLOPE)
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = (np.log(diffusion(system, temperature_kelvin / f, draws, quantum=quantum).mean) for f in steps)
        return np.asarray((high - low) * BOLTZMANN_EV_PER_KELVIN * temperature_kelvin / (2 * SLOPE))


def _ln_rates(system: System, temperature_kelvin: float, draws: Draws, *, quantum: bool) -> Array:
    """Logarithms of all rates, (s, hops, 2); of a hop without a rate the fastest it can be."""
    out = np.empty((draws.samples + 1, len(system.laws), 2))
    thermal, fastest = BOLTZMANN_EV_PER_KELVIN * temperature_kelvin, np.log(transition.FASTEST_THZ)
    for number, law in enumerate(system.laws):
        if law is not None:
            out[:, number] = law.ln_rates(temperature_kelvin, draws, quantum=quantum)
        else:
            out[:, number] = fastest - _barriers_ev(system, number) / thermal
    return out


def _barriers_ev(system: System, number: int) -> Array:
    """Forward and reverse barrier of a hop, (2,); of one without a rate the lowest it can have."""
    law = system.laws[number]
    if law is not None:
        return np.array(law.barrier_ev)
    ends = system.site_ev[system.net.ends[number]]
    top = max(float(ends.max()), float(ends[0]) + system.heights_ev.get(system.net.hops[number], 0.0))
    return np.asarray(top - ends)


def _on_surface(system: System, found: master.Equilibrium, nodes: Whole) -> float | None:
    if system.axes == 3:
        return None
    ln_weight = found.ln_weight[0, system.net.site[nodes]]
    weight = np.exp(ln_weight - ln_weight.max())
    top = np.array([system.layers[int(s)] == "surface" for s in system.net.site[nodes]])
    return float(weight[top].sum() / weight.sum())
