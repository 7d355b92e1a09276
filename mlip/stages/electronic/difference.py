"""The change of the density when an ion joins a host: rho(host + ion) - rho(host) - rho(ion), on one grid.

Takes three densities of one cell on one grid; gives the change, its integral, the planar average along an axis, the
charge that moved, and sections through the ion.
"""

from dataclasses import dataclass

import numpy as np
from ase import Atoms

from mlip.core.arrays import Array
from mlip.core.status import RESOLVED, Status

NOT_CONSERVED = "electrons not conserved"
LOST = 0.01  # electrons, largest integral of a change of the density


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The change of a density.

    Attributes:
        status: RESOLVED, or that electrons are not conserved.
        integral: electrons; zero but for the integration.
        moved: electrons that have moved, half of the integral of the absolute change.
        heights_angstrom: (z,) of the planes along the third cell vector.
        planar: (z,) electrons per Angstrom: the change integrated over each plane.
        section: (a, z) change in the plane of first and third vector through the ion, electrons per cubic Angstrom.
    """

    status: Status
    integral: float
    moved: float
    heights_angstrom: Array
    planar: Array
    section: Array


def difference(together: Array, host: Array, ion: Array, atoms: Atoms) -> Difference:
    """The change of the density when the last atom joins the others.

    Args:
        together: (a, b, c) electrons per cubic Angstrom of all atoms.
        host: of all but the last, at the same positions.
        ion: of the last one alone.
        atoms: all of them, with the cell; the third vector is across the first two.

    Raises:
        ValueError: the grids differ.
    """
    if not together.shape == host.shape == ion.shape:
        raise ValueError(f"densities on grids {together.shape}, {host.shape} and {ion.shape}: give all on one grid")
    change = together - host - ion
    _, b, c = change.shape
    volume = atoms.get_volume()
    length = float(atoms.cell.lengths()[2])
    row = round(float(atoms.get_scaled_positions(wrap=True)[-1][1]) * b) % b
    integral = float(change.mean() * volume)
    lost = abs(integral) > LOST
    said = f"the change of the density has the integral {integral:+.3f} electrons (at most {LOST:g})"
    return Difference(
        status=Status(NOT_CONSERVED, said) if lost else Status(RESOLVED),
        integral=integral,
        moved=float(np.abs(change).mean() * volume / 2),
        heights_angstrom=np.arange(c) / c * length,
        planar=np.asarray(change.mean(axis=(0, 1)) * volume / length),
        section=np.asarray(change[:, row, :]),
    )
