"""Names of hops on anatase, after the registry of the paper: oct, in, par, perp_over, 010zz."""

from collections.abc import Collection

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list

from mlip.atoms.structures import metals
from mlip.core.arrays import Array

ROW_BOND_ANGSTROM = 2.7  # of the long metal-anion bond of a relaxed row


def kind(host: Atoms, facet: str, layers: Collection[str], vector: Array, *, to_copy: bool) -> str | None:
    """Registry kind of a hop; None for any other.

    Args:
        host: relaxed.
        facet: name of the host, without what follows an underscore.
        layers: of both sites.
        vector: from the initial to the final site, (3,) Angstrom.
        to_copy: the final site is a copy of the initial one.
    """
    length = float(np.linalg.norm(vector))
    diagonal = 2.0 < length < 3.6  # 3.07 Angstrom between ideal voids, less or more from off-centre sites
    if set(layers) == {"surface", "subsurface"}:
        return "in"
    if set(layers) == {"bulk"}:
        return "oct" if diagonal else None
    if set(layers) != {"surface"} or not to_copy:
        return None
    row = row_direction(host)
    if facet == "001" and row is not None and abs(length - 3.8) < 0.4:
        along = abs(vector[:2] @ row) / length
        return "par" if along > 0.95 else "perp_over" if along < 0.3 else None
    return "010zz" if facet == "100" and diagonal and abs(vector[0]) > 1.0 else None


def row_direction(host: Atoms) -> Array | None:
    """In-plane direction from metal to metal over the outermost bridging anions of the top face."""
    metal = metals(host)
    anion = int(np.where(~metal, host.positions[:, 2], -np.inf).argmax())
    i, j, lengths, steps = neighbor_list("ijdD", host, ROW_BOND_ANGSTROM)
    bonds = (i == anion) & metal[j]
    near = steps[bonds][np.argsort(lengths[bonds])[:2]]
    across = near[-1, :2] - near[0, :2] if len(near) == 2 else np.zeros(2)
    length = float(np.linalg.norm(across))
    return across / length if length > 1.0 else None
