"""Where ions were, seen from above.

Takes tracks of ions over a slab and its cell; gives counts on a grid over one cell of the host, all replicas at one
temperature folded together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlip.core.arrays import Array
from mlip.stages.md.trajectory import Track

SPACING_ANGSTROM = 0.2


@dataclass(frozen=True, kw_only=True)
class Density:
    """Frames in which an ion was over each bin of the host's cell."""

    system: str
    host: str
    ion: str
    temperature_kelvin: float
    cell_angstrom: tuple[tuple[float, float], tuple[float, float]]  # the two edges in the plane
    counts: tuple[tuple[int, ...], ...]  # along the first edge, along the second


def densities(name: tuple[str, str, str], tracks: Sequence[Track], cell: Array) -> list[Density]:
    """One map for each temperature of the ions of one species; `name`: system, host, ion."""
    bins = [max(8, round(float(np.linalg.norm(cell[k])) / SPACING_ANGSTROM)) for k in (0, 1)]
    edges = tuple((float(cell[k, 0]), float(cell[k, 1])) for k in (0, 1))
    out = []
    for temperature in sorted({t.temperature_kelvin for t in tracks}):
        chosen = [
            t.positions[:, k]
            for t in tracks
            if t.temperature_kelvin == temperature
            for k, symbol in enumerate(t.symbols)
            if symbol == name[2]
        ]
        places = np.concatenate([*chosen, np.empty((0, 3))])
        scaled = (places @ np.linalg.inv(cell))[:, :2] % 1.0
        counts, _, _ = np.histogram2d(scaled[:, 0], scaled[:, 1], bins=bins, range=[[0, 1], [0, 1]])
        density = Density(
            system=name[0],
            host=name[1],
            ion=name[2],
            temperature_kelvin=temperature,
            cell_angstrom=(edges[0], edges[1]),
            counts=tuple(tuple(int(n) for n in row) for row in counts),
        )
        out.append(density)
    return out
