"""Labels that are known without a calculation: images of a label under symmetry, and labels of a dataset near the path.

Takes labelled geometries of a cell with one ion, the operations of the host, and the images of a band; gives the
geometries near the band, unwrapped onto it. An operation that keeps the lattice gives a structure of equal energy and
turned forces, whatever the host has relaxed to; an image is near the band only where the host still has the symmetry.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.geometry import find_mic

from mlip.atoms.symmetry import Operation
from mlip.core.arrays import Array
from mlip.stages.neb.reversal import Reversal

STRAIN = 1e-6  # an operation of the lattice keeps lengths to this
SHIFT_ANGSTROM = 0.3  # of a whole structure, at most: what is farther is not looked at
SAME_ANGSTROM = 1e-4


@dataclass(frozen=True)
class Labelled:
    """A geometry with its DFT energy and forces at the level of the potential."""

    positions: Array  # (N, 3) Angstrom, unwrapped onto the band
    energy_ev: float
    forces: Array  # (N, 3) eV/Angstrom


def of_frame(
    positions: Array, energy_ev: float, forces: Array, *, band: Sequence[Atoms], reach: float
) -> Labelled | None:
    """A label beside the image of the band that is nearest; None where that is farther than reach (Angstrom).

    The distance is that of all atoms together, without a shift of the whole structure: energies do not know it.
    """
    found = []
    for image in band:
        shift = find_mic(positions - image.positions, image.cell, pbc=True)[0].mean(axis=0)
        steps = find_mic(positions - shift - image.positions, image.cell, pbc=True)[0]
        found.append((float(np.linalg.norm(steps - steps.mean(axis=0))), image.positions + shift + steps))
    apart, place = min(found, key=lambda pair: pair[0])
    return Labelled(place, energy_ev, forces) if apart <= reach else None


def images(label: Labelled, operations: Sequence[Operation], *, band: Sequence[Atoms], reach: float) -> list[Labelled]:
    """The label itself and its images under operations of the host that lie within reach of the band.

    Args:
        label: a geometry, host atoms in the order of the host and the ion last.
        operations: of the host, see `mlip.atoms.symmetry`.
        band: images onto which the copies are unwrapped.
        reach: Angstrom, of all atoms together.
    """
    kept, cell = [label], band[0].cell.array
    for operation in operations:
        turn = np.linalg.inv(cell) @ operation.rotation.T @ cell
        if np.abs(turn @ turn.T - np.eye(3)).max() > STRAIN:
            continue
        ion = label.positions[-1] @ turn + operation.translation @ cell
        if not _near(ion, band, reach + SHIFT_ANGSTROM):
            continue
        onto = np.append(operation.permutation, len(label.positions) - 1)
        places, forces = np.empty_like(label.positions), np.empty_like(label.forces)
        places[onto] = label.positions @ turn + operation.translation @ cell
        forces[onto] = label.forces @ turn
        made = of_frame(places, label.energy_ev, forces, band=band, reach=reach)
        if made is not None and not any(is_same(made, other) for other in kept):
            kept.append(made)
    return kept


def with_reversed(labels: Sequence[Labelled], turned: Reversal | None) -> list[Labelled]:
    """The labels and their images under the operation that turns a hop around, so that the correction has it too."""
    if turned is None:
        return list(labels)
    kept = list(labels)
    for label in labels:
        made = Labelled(turned.positions(label.positions), label.energy_ev, turned.forces(label.forces))
        if not any(is_same(made, other) for other in kept):
            kept.append(made)
    return kept


def _near(ion: Array, band: Sequence[Atoms], reach: float) -> bool:
    ways = np.array([image.positions[-1] for image in band])
    return bool(find_mic(ways - ion, band[0].cell, pbc=True)[1].min() <= reach)


def is_same(one: Labelled, other: Labelled) -> bool:
    """Whether two labels are of one geometry, wherever the whole structure is."""
    apart = one.positions - other.positions
    return bool(np.abs(apart - apart.mean(axis=0)).max() < SAME_ANGSTROM)
