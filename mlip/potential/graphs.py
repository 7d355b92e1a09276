"""Neighbour graphs of structures, and several of them joined for one call of a model.

Takes ASE Atoms and a cutoff; gives arrays of atoms and directed edges. Structures that are joined share no edge, so
each keeps its own energy and forces.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from numpy.typing import NDArray

from mlip.atoms import cells
from mlip.core.arrays import Array

Whole = NDArray[np.int64]


@dataclass(frozen=True)
class Graph:
    """Neighbour graph of one structure; arrays as mace names them."""

    positions: Array  # (N, 3) Angstrom
    species: Whole  # (N,) index into the model's elements
    edge_index: Whole  # (2, E) sender, receiver
    shifts: Array  # (E, 3) Angstrom
    unit_shifts: Array  # (E, 3)
    cell: Array  # (3, 3) Angstrom

    @property
    def edges(self) -> int:
        """Number of directed edges."""
        return int(self.edge_index.shape[1])


def graph(atoms: Atoms, elements: Sequence[str], cutoff_angstrom: float) -> Graph:
    """The neighbour graph of a structure.

    Raises:
        ValueError: an element the model does not know, positions that are not finite, or periodic cell vectors that
            are not independent.
    """
    from mlip.core.process import imported

    get_neighborhood = imported("mace.data.neighborhood").get_neighborhood

    index = {atomic_numbers[s]: k for k, s in enumerate(elements)}
    unknown = sorted({s for s in atoms.symbols if atomic_numbers[s] not in index})
    if unknown:
        raise ValueError(
            f"elements {unknown} are not in the model, which knows {list(elements)}; train one that has them"
        )
    if not np.isfinite(atoms.positions).all():
        raise ValueError("positions are not finite; check the structure")
    edges, shifts, units, cell = get_neighborhood(
        positions=atoms.positions,
        cutoff=cutoff_angstrom,
        pbc=(True, True, True),
        cell=cells.enclosing(atoms, margin_angstrom=2 * cutoff_angstrom),
    )
    species = np.array([index[z] for z in atoms.numbers], dtype=np.int64)
    return Graph(np.array(atoms.positions), species, edges.astype(np.int64), shifts, units.astype(float), cell)


def ordered(graph: Graph) -> Graph:
    """The same graph with its edges by receiver, sender and cell.

    A list that reaches beyond the cutoff and is cut down to it later then gives the same sums, to the last bit, as one
    made on the spot.
    """
    order = np.lexsort((*graph.unit_shifts.T, *graph.edge_index))
    edges = np.ascontiguousarray(graph.edge_index[:, order])
    return replace(graph, edge_index=edges, shifts=graph.shifts[order], unit_shifts=graph.unit_shifts[order])


def offsets(graphs: Sequence[Graph]) -> Whole:
    """Where the atoms of each of the joined graphs begin, and where the last ones end, (S + 1,)."""
    return np.concatenate([[0], np.cumsum([len(g.positions) for g in graphs])]).astype(np.int64)


def joined_edges(graphs: Sequence[Graph]) -> Whole:
    """Sender and receiver of every edge, counted over all atoms, (2, E)."""
    starts = offsets(graphs)
    return np.concatenate([g.edge_index + start for g, start in zip(graphs, starts, strict=False)], axis=1)


def collate(graphs: Sequence[Graph], n_elements: int, *, dtype: Any, device: str) -> dict[str, Any]:
    """One input of mace's forward call for several graphs, as torch tensors."""
    import torch

    ends = offsets(graphs)

    def real(parts: list[Array]) -> Any:
        return torch.as_tensor(np.concatenate(parts), dtype=dtype, device=device)

    def whole(array: NDArray[Any]) -> Any:
        return torch.as_tensor(array, dtype=torch.int64, device=device)

    species = whole(np.concatenate([g.species for g in graphs]))
    return {
        "positions": real([g.positions for g in graphs]),
        "node_attrs": torch.nn.functional.one_hot(species, n_elements).to(dtype),
        "edge_index": whole(joined_edges(graphs)),
        "shifts": real([g.shifts for g in graphs]),
        "unit_shifts": real([g.unit_shifts for g in graphs]),
        "cell": real([g.cell for g in graphs]),
        "batch": whole(np.repeat(np.arange(len(graphs)), np.diff(ends))),
        "ptr": whole(ends),
        "head": whole(np.zeros(len(graphs), dtype=int)),
    }
