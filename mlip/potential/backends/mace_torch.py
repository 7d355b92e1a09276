"""Energies and forces by mace-torch, member by member.

Takes joined graphs and positions; gives energies (S,), forces (N, 3) and, where asked for, stresses (S, 3, 3). What
does not change between calls stays on the device as tensors.
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from mlip.core.arrays import Array
from mlip.potential import edge_chunks, models
from mlip.potential.graphs import Graph, collate

EDGES_PER_CALL = {"cpu": 24_000, "cuda": 800_000}  # about 0.5 and 16 GB in float64; twice that goes through in parts


def require_device(device: str) -> None:
    """Nothing where the device is there.

    Raises:
        ValueError: cuda without a GPU that torch can use.
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "device: cuda was asked for and no GPU is visible; use cpu, or check the driver and torch's build"
        )


class MaceTorch:
    """The members of a model as mace-torch modules on a device."""

    def __init__(self, model: models.Released, *, device: str, dtype: str, cueq: bool = False) -> None:
        """`cueq`: on kernels of cuEquivariance in the place of e3nn's; a ValueError where that is not installed."""
        import torch

        require_device(device)
        self.device, self.dtype = device, getattr(torch, dtype)
        self.edges_per_call = EDGES_PER_CALL[device]
        self.n_elements, self.cutoff_angstrom = len(model.elements), model.cutoff_angstrom
        self.members = [deepcopy(m).to(device=device, dtype=self.dtype).eval() for m in model.members]
        if cueq:
            self.members = [models.with_cueq(m, device=device).eval() for m in self.members]
        for member in self.members:
            member.requires_grad_(requires_grad=False)
            edge_chunks.cut(member, self.edges_per_call)

    def prepare(self, graphs: Sequence[Graph]) -> dict[str, Any]:
        """What stays the same while positions change, on the device."""
        return collate(graphs, self.n_elements, dtype=self.dtype, device=self.device)

    def positions(self, prepared: dict[str, Any], positions: Array) -> dict[str, Any]:
        """Prepared graphs at these positions (N, 3), without the edges that are now longer than the cutoff."""
        import torch

        moved = torch.as_tensor(positions, dtype=self.dtype, device=self.device)
        sender, receiver = prepared["edge_index"]
        vectors = moved[receiver] - moved[sender] + prepared["shifts"]
        kept = (vectors.square().sum(dim=1) < self.cutoff_angstrom**2).nonzero()[:, 0]
        edges = {k: prepared[k].index_select(0, kept) for k in ("shifts", "unit_shifts")}
        return {**prepared, **edges, "positions": moved, "edge_index": prepared["edge_index"].index_select(1, kept)}

    def run(self, member: int, data: dict[str, Any], *, stress: bool = False) -> tuple[Array, Array, Array | None]:
        """Energies, forces and stresses of joined graphs by one member (counted from 0)."""
        data = {**data, "positions": data["positions"].detach()}
        out = self.members[member](data, training=False, compute_force=True, compute_stress=stress)
        found = [out[k].detach().double().cpu().numpy() for k in ("energy", "forces", *(["stress"] if stress else []))]
        return found[0], found[1], found[2] if stress else None
