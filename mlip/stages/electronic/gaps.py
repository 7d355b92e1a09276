"""Band gaps from levels on meshes, and where the states at the edges of the bands are.

Takes levels of a spin-paired crystal or slab on one mesh after another, and projected densities of states; gives the
gap of each mesh, whether the last two meshes agree, and the part of the states at both edges that lies in the outermost
layers. The gap is that of the Kohn-Sham levels on the mesh: the lowest empty level minus the highest filled one. An odd
number of electrons leaves a band that is filled in part, so there is no gap.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms

from mlip.core.arrays import Array
from mlip.core.status import RESOLVED, Status
from mlip.dft.electronic import Levels, Projected
from mlip.dft.engines import Mesh

METALLIC, NOT_CONVERGED = "metallic", "mesh not converged"
ODD = "odd number of electrons: no gap in a spin-paired calculation"
SAME_EV = 1e-3  # edges this near in energy are one
EDGE_EV = 0.2  # range of energies at an edge whose states are counted
LAYER_ANGSTROM = 0.6  # metal atoms of one layer are closer than this along the normal

Point = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class MeshGap:
    """The gap on one mesh; points in units of the reciprocal vectors."""

    mesh: Mesh
    points: int  # irreducible ones
    gap_ev: float  # not above zero: a metal
    direct_ev: float  # smallest difference at one point
    top: Point  # of the valence band
    bottom: Point  # of the conduction band
    odd: bool = False  # number of electrons: both edges are those of one band, which is filled in part

    @property
    def is_direct(self) -> bool:
        """Whether the smallest gap is at one point."""
        return self.direct_ev - self.gap_ev < SAME_EV


@dataclass(frozen=True, kw_only=True)
class Edge:
    """Where the states at one edge of the bands are, of all that the atoms hold there."""

    energy_ev: float
    outer: float | None  # part in the outermost layers; None in a crystal
    share: float | None  # part of the atoms that these layers have
    elements: dict[str, float]  # part by element


def gap(levels: Levels) -> MeshGap:
    """The gap on the mesh of the levels."""
    filled, empty = levels.edges
    top, bottom = int(filled.argmax()), int(empty.argmin())
    return MeshGap(
        mesh=levels.mesh,
        points=len(levels.points),
        gap_ev=float(empty[bottom] - filled[top]),
        direct_ev=float((empty - filled).min()),
        top=_point(levels.points[top]),
        bottom=_point(levels.points[bottom]),
        odd=bool(levels.left),
    )


def _point(coordinates: Array) -> Point:
    x, y, z = (round(float(c), 4) + 0.0 for c in coordinates)
    return x, y, z


def status(found: Sequence[MeshGap], *, same_ev: float) -> Status:
    """Whether the gap of the last mesh is one, and agrees with that of the mesh before.

    Args:
        found: at least one, from the coarsest mesh to the finest.
        same_ev: largest difference between the last two.
    """
    if found[-1].odd:
        return Status(METALLIC, ODD)
    if found[-1].gap_ev <= 0:
        return Status(METALLIC, f"the bands overlap by {-found[-1].gap_ev:.2f} eV")
    if len(found) < 2:
        return Status(NOT_CONVERGED, "one mesh only")
    change = abs(found[-1].gap_ev - found[-2].gap_ev)
    if change > same_ev:
        return Status(NOT_CONVERGED, f"the last two meshes differ by {change:.3f} eV (at most {same_ev:g})")
    return Status(RESOLVED)


def outermost(atoms: Atoms, *, metals: Sequence[str]) -> Array:
    """Whether each atom of a slab is in one of its two outermost formula layers (normal along z), (atoms,) of bool.

    A layer holds the metal atoms of one height and the other atoms nearer to them than to those of other layers.
    """
    heights = atoms.positions[:, 2]
    is_metal = np.isin(atoms.get_chemical_symbols(), list(metals))
    levels = np.sort(heights[is_metal])
    layers = [float(part.mean()) for part in np.split(levels, np.flatnonzero(np.diff(levels) > LAYER_ANGSTROM) + 1)]
    own = np.abs(heights[:, None] - np.array(layers)).argmin(axis=1)
    return np.asarray((own == 0) | (own == len(layers) - 1))


def edges(
    states: Projected, atoms: Atoms, *, top_ev: float, bottom_ev: float, outer: Array | None
) -> tuple[Edge, Edge]:
    """Where the states at the top of the valence band and at the bottom of the conduction band are.

    Args:
        states: of the cell.
        atoms: the cell.
        top_ev: highest filled level, in the scale of the states.
        bottom_ev: lowest empty one.
        outer: from `outermost`; None in a crystal.
    """
    ranges = ((top_ev - EDGE_EV, top_ev), (bottom_ev, bottom_ev + EDGE_EV))
    valence, conduction = (_edge(states, atoms, low, high, outer) for low, high in ranges)
    return replace(valence, energy_ev=top_ev), replace(conduction, energy_ev=bottom_ev)


def _edge(states: Projected, atoms: Atoms, low: float, high: float, outer: Array | None) -> Edge:
    inside = (states.energies_ev >= low) & (states.energies_ev <= high)
    held = states.atoms[:, inside].sum(axis=1)
    whole = float(held.sum())
    symbols = np.array(atoms.get_chemical_symbols())
    elements = {str(s): float(held[symbols == s].sum() / whole) if whole > 0 else 0.0 for s in np.unique(symbols)}
    if outer is None or whole <= 0:
        return Edge(energy_ev=low, outer=None, share=None, elements=elements)
    part, share = float(held[outer].sum() / whole), float(outer.mean())
    return Edge(energy_ev=low, outer=part, share=share, elements=elements)
