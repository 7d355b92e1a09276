"""Graphs of a network that need no crystal."""

import numpy as np

from mlip.potential import graphs


def without_edges(atoms):
    """A graph of so many atoms without edges."""
    return graphs.Graph(
        positions=np.zeros((atoms, 3)),
        species=np.zeros(atoms, int),
        edge_index=np.zeros((2, 0), int),
        shifts=np.zeros((0, 3)),
        unit_shifts=np.zeros((0, 3)),
        cell=np.eye(3),
    )
