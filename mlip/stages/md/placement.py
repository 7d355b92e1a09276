"""Ions put on a host: where a trajectory starts, and which of its atoms stay fixed.

Takes a relaxed host, the sites of its ions and their relaxed configurations; gives a cell with the host's atoms first
and the ions last. A single ion in the host's own cell starts from its relaxed configuration; in larger cells and with
several ions each goes to the copy of its site that is farthest from the ions already there.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle, islice

import numpy as np
from ase import Atom, Atoms
from numpy.typing import NDArray

from mlip.atoms.structures import LAYER_GAP_ANGSTROM, is_slab, metals
from mlip.atoms.symmetry import distances
from mlip.core.arrays import Array
from mlip.stages.md.settings import MdSystem
from mlip.stages.sites.sites import PLANE_ANGSTROM, RELAXED, Site


def name_of(system: MdSystem) -> str:
    """Name of a system, such as 001_Li or 001_Mg-Li_2x2x1_0.25_S1."""
    parts = [system.host, "-".join(system.ions)]
    if system.repeat != (1, 1, 1):
        parts.append("x".join(str(n) for n in system.repeat))
    parts += [f"{system.coverage:g}"] if system.coverage is not None else []
    return "_".join(parts + ([system.site] if system.site else []))


def ions_of(system: MdSystem, host: Atoms) -> tuple[str, ...]:
    """The ions of a system: each named one, or in turn as many as the coverage asks for, at least one.

    Raises:
        ValueError: a coverage in bulk.
    """
    if system.coverage is None:
        return system.ions
    if not is_slab(host):
        raise ValueError(f"md.systems: {system.host} has no surface to be covered; name its ions instead")
    height = host.positions[metals(host), 2]
    outermost = int((height > height.max() - PLANE_ANGSTROM).sum()) * system.repeat[0] * system.repeat[1]
    count = max(1, round(system.coverage * outermost))
    return tuple(islice(cycle(system.ions), count))


def with_ions(
    host: Atoms,
    sites: Sequence[Site],
    system: MdSystem,
    configurations: Mapping[str, Atoms],
    *,
    apart_angstrom: float,
) -> Atoms:
    """The cell in which a trajectory starts.

    Args:
        host: relaxed, without ions.
        sites: of all ions of the system on this host.
        system: ions, coverage, site and repeat.
        configurations: relaxed host and ion, by 'ion site' such as 'Li S1'.
        apart_angstrom: ions closer than this are refused.

    Raises:
        ValueError: a site that is not there, a repeat of the vacuum, or ions too close to each other.
    """
    if is_slab(host) and system.repeat[2] > 1:
        raise ValueError(
            f"md.systems: repeat {list(system.repeat)} of {system.host} stacks slabs; its third number is 1"
        )
    ions = ions_of(system, host)
    chosen = {ion: _site(sites, system, ion) for ion in dict.fromkeys(ions)}
    if len(ions) == 1 and system.repeat == (1, 1, 1):
        return configurations[f"{ions[0]} {chosen[ions[0]].name}"].copy()
    cell = host.repeat(system.repeat)
    for ion in ions:
        places = _copies(host, chosen[ion], system.repeat)
        others = cell.positions[len(host) * int(np.prod(system.repeat)) :]
        if len(others):
            room = np.array([distances(cell, others, place).min() for place in places])
            best = int(np.round(room, 6).argmax())
            if room[best] < apart_angstrom:
                raise ValueError(
                    f"md.systems: {name_of(system)}: only {room[best]:.2f} Angstrom between ions (md.apart_angstrom "
                    f"{apart_angstrom:g}) with {len(ions)} of them; lower the coverage or raise the repeat"
                )
        cell.append(Atom(ion, places[best] if len(others) else places[0]))
    return cell


def _site(sites: Sequence[Site], system: MdSystem, ion: str) -> Site:
    """The named or the lowest relaxed site of an ion."""
    own = [s for s in sites if (s.host, s.ion, s.status.code) == (system.host, ion, RELAXED)]
    named = [s for s in own if system.site in (None, s.name)]
    if not named:
        there = ", ".join(s.name for s in own) or "none"
        wanted = system.site or "any site"
        raise ValueError(f"md.systems: {ion} on {system.host} has no relaxed site {wanted}; there are: {there}")
    return min(named, key=lambda s: s.energy_ev)


def _copies(host: Atoms, site: Site, repeat: Sequence[int]) -> Array:
    shifts = np.array(list(np.ndindex(*repeat))) @ host.cell.array
    return np.asarray((np.array(site.copies_angstrom)[None] + shifts[:, None]).reshape(-1, 3))


def mobile(host: Atoms, layers: int) -> NDArray[np.bool_]:
    """Which atoms move: all in bulk, and on a slab all but those of the lowest formula layers.

    An atom belongs to the layer whose cations are nearest in height.

    Raises:
        ValueError: no layer would move.
    """
    if not is_slab(host) or layers == 0:
        return np.ones(len(host), dtype=bool)
    heights = np.sort(host.positions[metals(host), 2])
    cuts = np.flatnonzero(np.diff(heights) > LAYER_GAP_ANGSTROM) + 1
    planes = np.array([part.mean() for part in np.split(heights, cuts)])
    if layers >= len(planes):
        raise ValueError(f"md.frozen_layers: {layers} of {len(planes)} layers leave nothing to move; freeze fewer")
    layer = np.abs(host.positions[:, 2, None] - planes).argmin(axis=1)
    return np.asarray(layer >= layers)
