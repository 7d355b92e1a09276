"""Energies and forces by compiled code: the package symmetrix-xl in the place of mace-torch, where it has a wheel.

Takes the members of a model, written once as JSON into a folder; gives the numbers of `mace_torch`, up to the tables
that replace the radial networks. Joined structures go through one call. The package knows edge harmonics up to degree 3
exactly, so that a scalar model of lower degree is lifted: the weights of the new degrees are zero and the products of
the old ones are expressed in the new basis, which changes no energy. Young software: used only
after the equivalence check.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlip.core import files
from mlip.core.arrays import Array
from mlip.core.process import unchanged
from mlip.potential import models
from mlip.potential.backends import compiled
from mlip.potential.graphs import Graph, joined_edges

MAX_ELL = 3  # of the edge harmonics, the only one the package knows
SPLINE_POINTS = 1024  # of the tables over distance
EDGES_PER_CALL = 400_000


@dataclass
class Prepared:
    """Joined graphs in the package's own form."""

    receiver: NDArray[np.int32]
    sender: NDArray[np.int32]
    species: NDArray[np.int32]
    neighbours: NDArray[np.int32]  # of each atom
    shifts: Array
    starts: NDArray[np.int64]  # first atom of each structure
    vectors: Array  # (E, 3) Angstrom, from receiver to sender
    lengths: Array  # (E,)


class Symmetrix:
    """The members of a model as compiled evaluators."""

    def __init__(self, model: models.Released, *, device: str, dtype: str, folder: Path) -> None:
        """`folder`: where converted models are kept, found again by the hash of their weights.

        Raises:
            ValueError: the package is not there, or cannot take this model or device.
        """
        compiled.require()
        self.cutoff_angstrom = model.cutoff_angstrom
        try:
            self.members = compiled.load(converted(model, folder), device=device, dtype=dtype)
        except Exception as error:  # a compiler, a driver or the package itself: whatever it is, another backend serves
            reason = " ".join(str(error).split())[:150]
            raise ValueError(f"symmetrix-xl cannot take this model ({type(error).__name__}: {reason})") from error
        self.edges_per_call = EDGES_PER_CALL
        self._kinds: list[frozenset[int]] = [frozenset()] * len(self.members)  # of atoms, that each has tables for
        nothing: tuple[Prepared | None, frozenset[int], Any] = (None, frozenset(), None)
        self._current = [nothing] * len(self.members)

    def prepare(self, graphs: Sequence[Graph]) -> Prepared:
        """What stays the same while positions change."""
        edges = joined_edges(graphs)
        order = np.argsort(edges[1], kind="stable")
        sender, receiver = edges[:, order].astype(np.int32)
        species = np.concatenate([g.species for g in graphs]).astype(np.int32)
        shifts = np.concatenate([g.shifts for g in graphs])[order]
        sizes = [len(g.positions) for g in graphs]
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
        neighbours = np.bincount(receiver, minlength=len(species)).astype(np.int32)
        empty = np.empty((0, 3))
        found = Prepared(receiver, sender, species, neighbours, shifts, starts, empty, empty[:, 0])
        return self.positions(found, np.concatenate([g.positions for g in graphs]))

    def positions(self, prepared: Prepared, positions: Array) -> Prepared:
        """Prepared graphs at these positions (N, 3); edges longer than the cutoff end at it and count nothing."""
        vectors = positions[prepared.sender] - positions[prepared.receiver] - prepared.shifts
        lengths = np.sqrt((vectors**2).sum(axis=1))
        far = np.flatnonzero(lengths >= self.cutoff_angstrom)
        vectors[far] *= (self.cutoff_angstrom / lengths[far])[:, None]
        lengths[far] = self.cutoff_angstrom
        prepared.vectors, prepared.lengths = np.ascontiguousarray(vectors), lengths
        return prepared

    def run(self, member: int, data: Prepared, *, stress: bool = False) -> tuple[Array, Array, Array | None]:
        """Energies (S,) and forces (N, 3) of joined graphs by one member (counted from 0).

        Raises:
            ValueError: the stress is asked for.
        """
        if stress:
            raise ValueError("stress: compiled evaluators give none here; use mace-torch")
        graph = self._graph(member, data)
        each, forces = self.members[member].run(graph, data.receiver, data.sender, data.vectors, data.lengths)
        atoms = len(data.species)
        return np.add.reduceat(each[:atoms], data.starts), forces[:atoms], None

    def _graph(self, member: int, data: Prepared) -> Any:
        """The package's graph of these atoms, behind them one atom alone of each kind that the member met before.

        The package makes its tables over distance anew, for up to a second, wherever the kinds of atoms in a call are
        others than in the call before. With the atoms alone, which have no neighbours and whose energies are left out,
        the kinds only ever become more.
        """
        own = frozenset(np.unique(data.species).tolist())
        kinds = self._kinds[member] = self._kinds[member] | own
        last, for_kinds, graph = self._current[member]
        if last is not data or for_kinds != kinds:
            alone = np.array(sorted(kinds - own), dtype=np.int32)
            species = np.concatenate([data.species, alone])
            graph = self.members[member].graph(species, np.concatenate([data.neighbours, 0 * alone]), data.sender)
            self._current[member] = data, kinds, graph
        return graph


def converted(model: models.Released, folder: Path) -> list[Path]:
    """The members as JSON files of symmetrix-xl, written where they are not there yet."""
    out = []
    suitable: models.Released | None = None
    for number, member in enumerate(model.members):
        path = folder / f"{_digest(model.shape, member.state_dict())[:24]}.json"
        if not path.exists():
            suitable = suitable or lifted(model)
            found = compiled.described(suitable.members[number], spline_points=SPLINE_POINTS)
            files.write_text_atomic(path, json.dumps(found, separators=(",", ":")) + "\n")
        out.append(path)
    return out


def _digest(shape: Mapping[str, Any], weights: Mapping[str, Any]) -> str:
    found = hashlib.sha256(json.dumps([shape, SPLINE_POINTS, compiled.VERSION], sort_keys=True).encode())
    for name in sorted(weights):
        found.update(name.encode() + np.ascontiguousarray(weights[name].detach().cpu().numpy()).tobytes())
    return found.hexdigest()


def lifted(model: models.Released) -> models.Released:
    """The same model with edge harmonics up to degree MAX_ELL, equal in every energy.

    Raises:
        ValueError: messages of the model are not scalar, or its harmonics go beyond.
    """
    degree = int(model.shape["max_ell"])
    if degree == MAX_ELL:
        return model
    if degree > MAX_ELL or str(model.shape["hidden_irreps"]).count("x") != 1:
        raise ValueError(f"edge harmonics of degree {degree}: only {MAX_ELL}, or lower with scalar messages (max_l 0)")
    shape = {**model.shape, "max_ell": MAX_ELL}
    with unchanged():
        empty = models.build(shape)
    members = []
    for member in model.members:
        larger = deepcopy(empty)
        larger.load_state_dict(_embedded(member.state_dict(), larger.state_dict()))
        members.append(larger.eval())
    return replace(model, members=tuple(members), shape=shape)


def _embedded(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """State of a model in the shape of one of higher degree.

    Weights are ordered by degree, so the old ones come first and zeros follow. A product basis U (d, ..., paths) of the
    new model, cut down to the old components, spans the old one: U_cut X = U_old gives its weights X w.
    """
    import torch

    out = {}
    for name, value in new.items():
        own = old[name]
        if "U_matrix" in name or "output_mask" in name:
            out[name] = value
        elif own.shape == value.shape:
            out[name] = own
        elif "symmetric_contractions" in name:
            stem, _, kind = name.rpartition("weights")
            order = max(k for k in range(1, 9) if f"{stem}U_matrix_{k}" in new) if kind == "_max" else _order(name, new)
            large, small = new[f"{stem}U_matrix_{order}"], old[f"{stem}U_matrix_{order}"]
            cut = large[(slice(0, len(small)),) * order].reshape(-1, large.shape[-1])
            change = torch.linalg.lstsq(cut, small.reshape(-1, small.shape[-1]), driver="gelsd").solution
            out[name] = torch.einsum("kj,zjc->zkc", change, own)
        else:
            out[name] = torch.zeros_like(value)
            out[name][tuple(slice(0, n) for n in own.shape)] = own
    return out


def _order(name: str, state: Mapping[str, Any]) -> int:
    """Number of factors whose weights these are: `weights.0` is one below the highest, and so on."""
    stem, _, number = name.rpartition("weights.")
    return max(k for k in range(1, 9) if f"{stem}U_matrix_{k}" in state) - 1 - int(number)
