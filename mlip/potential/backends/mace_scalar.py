"""Energies and forces of a model with scalar messages, by fewer operations than mace-torch needs for any model.

Takes joined graphs and positions; gives the numbers of `mace_torch`, up to rounding. Atoms are sorted by species, so
that what depends on species is one matrix for each. Radial networks see a pair of atoms once and not from both ends.
The sum over neighbours j of an atom i is a product of two small matrices, harmonics and channels,

    A_i,lmc = sum_j Y_lm(r_ij) R_cl(r_ij) h_jc,

so that no array of edges by harmonics by channels is ever made. The symmetric contraction, a polynomial of degree three
in the A_lm of a channel, is summed over its distinct monomials. MACE: doi:10.48550/arXiv.2206.07697.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlip.core.arrays import Array
from mlip.potential import models
from mlip.potential.backends.mace_torch import EDGES_PER_CALL, require_device
from mlip.potential.graphs import Graph, joined_edges, offsets

FIRST, RESIDUAL = "RealAgnosticInteractionBlock", "RealAgnosticResidualInteractionBlock"
HIGHEST = 3  # correlation
OTHERWISE = {  # what makes a model one of another kind, where it is not this
    "pair_repulsion": False,
    "use_so3": False,
    "use_edge_irreps_first": False,
    "distance_transform": "None",
    "use_agnostic_product": False,
    "use_last_readout_only": False,
    "apply_cutoff": True,
}


@dataclass(frozen=True)
class Layer:
    """An interaction and its product as matrices; C channels, L harmonics, one entry of a list for each species."""

    radial: list[Any]  # of the network, (8, 64), (64, 64), ...
    weights: list[Any]  # from its last hidden layer to the channels, for each degree
    lift: Any  # (C, C) of the features that are sent
    mix: list[list[Any]]  # (C, C) of sums over neighbours, for each degree
    linear: list[Any]  # (L, C, 1) coefficients of the product
    higher: list[Any]  # (C, L + 1, L (L + 1) / 2)
    out: Any  # (C, C) of the product
    skip: list[Any] | None  # (C, C) of the features before


@dataclass(frozen=True)
class Prepared:
    """What stays the same while positions change: atoms by species, edges by receiver."""

    order: Any  # (N,) the sorted atoms, as numbers of the given ones
    back: Any  # (N,) the given atoms, as numbers of the sorted ones
    species: Any  # (N,)
    counts: list[int]  # atoms of each species
    structure: Any  # (N,)
    structures: int
    sender: Any  # (E,)
    receiver: Any  # (E,)
    shifts: Any  # (E, 3) Angstrom
    pair: Any  # (E,) the same in both directions
    forth: Any  # (P,) one edge of each pair


@dataclass(frozen=True)
class Placed:
    """Prepared graphs at positions, without the edges that are longer than the cutoff: K neighbours have a place."""

    prepared: Prepared
    positions: Any  # (N, 3) of the sorted atoms
    sender: Any  # (E',)
    receiver: Any  # (E',)
    shifts: Any  # (E', 3)
    place: Any  # (E',) in N times K places
    forth: Any  # (P',) one edge of each pair
    sender_in_place: Any  # (N K,) 0 where there is no neighbour
    pair_in_place: Any  # (N K,)


class MaceScalar:
    """The members of a model as matrices on a device."""

    def __init__(self, model: models.Released, *, device: str, dtype: str) -> None:
        """Raises ValueError where the messages of the model are not scalar, or it has parts that are not known here."""
        import torch

        require_device(device)
        reason = why_not(model.shape, model.members[0])
        if reason is not None:
            raise ValueError(f"model: {reason}")
        self.device, self.dtype = device, getattr(torch, dtype)
        self.edges_per_call = EDGES_PER_CALL[device]
        self.n_elements, self.cutoff_angstrom = len(model.elements), model.cutoff_angstrom
        self.members, self._layers, self._alone = [], [], []
        for member in model.members:
            own = deepcopy(member).eval().requires_grad_(requires_grad=False)
            species = torch.eye(self.n_elements, dtype=torch.float64)
            self._alone.append(own.atomic_energies_fn(species)[:, 0].to(device))  # float64: large and constant
            self._layers.append([_moved(layer, dtype=self.dtype, device=device) for layer in matrices(own)])
            self.members.append(own.to(device=device, dtype=self.dtype))

    def prepare(self, graphs: Sequence[Graph]) -> Placed:
        """What stays the same while positions change, on the device, at the positions of the graphs."""
        return prepare(graphs, self.n_elements, self.cutoff_angstrom, dtype=self.dtype, device=self.device)

    def positions(self, prepared: Placed, positions: Array) -> Placed:
        """Prepared graphs at these positions (N, 3), without the edges that are now longer than the cutoff."""
        return _placed(prepared.prepared, positions, self.cutoff_angstrom)

    def run(self, member: int, data: Placed, *, stress: bool = False) -> tuple[Array, Array, Array | None]:
        """Energies (S,) and forces (N, 3) of joined graphs by one member (counted from 0).

        Raises:
            ValueError: the stress is asked for.
        """
        if stress:
            raise ValueError("stress: matrices of scalar messages give none; use mace-torch")
        energies, forces = energies_and_forces(self.members[member], self._layers[member], data)
        energies.index_add_(0, data.prepared.structure, self._alone[member][data.prepared.species])
        return energies.cpu().numpy(), forces.double().cpu().numpy(), None


def prepare(graphs: Sequence[Graph], n_elements: int, cutoff_angstrom: float, *, dtype: Any, device: str) -> Placed:
    """Joined graphs at their own positions, atoms sorted by species."""
    import torch

    def whole(array: NDArray[Any]) -> Any:
        return torch.as_tensor(array, dtype=torch.int64, device=device)

    species = np.concatenate([g.species for g in graphs])
    order = np.argsort(species, kind="stable")
    back = np.argsort(order)
    sender, receiver = back[joined_edges(graphs)]
    units, shifts = (np.concatenate([getattr(g, k) for g in graphs]) for k in ("unit_shifts", "shifts"))
    by_receiver = np.lexsort((*units.T, sender, receiver))
    sender, receiver, units = sender[by_receiver], receiver[by_receiver], units[by_receiver]
    numbers = np.arange(len(sender))
    reverse = np.empty_like(numbers)
    reverse[np.lexsort((*-units.T, receiver, sender))] = numbers
    if not (np.array_equal(sender[reverse], receiver) and np.array_equal(units[reverse], -units)):
        raise ValueError("neighbour list: an edge is there in one direction only; move an atom by a little")
    forth = np.flatnonzero(numbers < reverse)
    pair = np.empty_like(numbers)
    pair[forth] = pair[reverse[forth]] = np.arange(len(forth))
    prepared = Prepared(
        order=whole(order),
        back=whole(back),
        species=whole(species[order]),
        counts=np.bincount(species, minlength=n_elements).tolist(),
        structure=whole(np.repeat(np.arange(len(graphs)), np.diff(offsets(graphs)))[order]),
        structures=len(graphs),
        sender=whole(sender),
        receiver=whole(receiver),
        shifts=torch.as_tensor(shifts[by_receiver], dtype=dtype, device=device),
        pair=whole(pair),
        forth=whole(forth),
    )
    return _placed(prepared, np.concatenate([g.positions for g in graphs]), cutoff_angstrom)


def _placed(p: Prepared, positions: Array, cutoff_angstrom: float) -> Placed:
    import torch

    n = len(p.order)
    moved = torch.as_tensor(positions, dtype=p.shifts.dtype, device=p.shifts.device)[p.order]
    vectors = moved[p.receiver[p.forth]] - moved[p.sender[p.forth]] + p.shifts[p.forth]
    near = vectors.square().sum(dim=1) < cutoff_angstrom**2
    kept = near[p.pair].nonzero()[:, 0]
    sender, receiver = p.sender[kept], p.receiver[kept]
    neighbours = torch.bincount(receiver, minlength=n)
    before = neighbours.cumsum(0) - neighbours
    size = int(neighbours.max())
    place = receiver * size + torch.arange(len(kept), device=p.shifts.device) - before[receiver]
    empty = torch.zeros(n * size, dtype=torch.int64, device=p.shifts.device)
    pair = (near.cumsum(0) - 1)[p.pair[kept]]
    return Placed(
        prepared=p,
        positions=moved,
        sender=sender,
        receiver=receiver,
        shifts=p.shifts[kept],
        place=place,
        forth=p.forth[near],
        sender_in_place=empty.index_copy(0, place, sender),
        pair_in_place=empty.index_copy(0, place, pair),
    )


def energies_and_forces(
    network: Any, layers: Sequence[Layer], data: Placed, *, training: bool = False
) -> tuple[Any, Any]:
    """Energies (S,) of the structures beyond those of isolated atoms, eV, and forces (N, 3), eV/Angstrom.

    Args:
        network: the model, whose embeddings and readouts are used.
        layers: `matrices` of the model.
        data: where the atoms are.
        training: keep what the gradient of a loss of both with the parameters needs.
    """
    import torch

    p = data.prepared
    positions = data.positions.detach().requires_grad_(requires_grad=True)
    atoms = _interaction_energies(network, layers, data, positions)
    slope = torch.zeros_like(positions)
    if len(data.forth):
        (slope,) = torch.autograd.grad(atoms.sum(), positions, create_graph=training)
    atoms = atoms if training else atoms.detach().double()
    return atoms.new_zeros(p.structures).index_add(0, p.structure, atoms), -slope[p.back]


def _interaction_energies(network: Any, layers: Sequence[Layer], data: Placed, positions: Any) -> Any:
    """Energies (N,) of the sorted atoms at these positions (N, 3) beyond those of isolated ones, eV."""
    import torch

    p = data.prepared
    sent, received = positions.index_select(0, data.sender), positions.index_select(0, data.receiver)
    found = network.spherical_harmonics(received - sent + data.shifts)
    harmonics = found.new_zeros(len(data.pair_in_place), found.shape[1]).index_copy(0, data.place, found)
    each = len(data.pair_in_place) // len(positions)
    harmonics = harmonics.view(len(positions), each, found.shape[1]).transpose(1, 2)  # (N, L, K)
    ends = positions.index_select(0, p.receiver[data.forth]), positions.index_select(0, p.sender[data.forth])
    lengths = (ends[0] - ends[1] + p.shifts[data.forth]).norm(dim=1, keepdim=True)
    radial, _ = network.radial_embedding(lengths, None, None, None)
    features = network.node_embedding(torch.eye(len(p.counts), dtype=positions.dtype, device=positions.device))[
        p.species
    ]
    energies = 0
    for layer, readout in zip(layers, network.readouts, strict=True):
        features = _advanced(layer, features, radial=radial, harmonics=harmonics, data=data)
        energies = energies + readout(features, None)[:, 0]
    return network.scale_shift(energies, torch.zeros_like(p.species))


def why_not(shape: Mapping[str, Any], network: Any) -> str | None:
    """Why a model of this shape cannot be written as matrices; None where it can."""
    other = [k for k, known in OTHERWISE.items() if shape.get(k, known) != known]
    other += [k for k in ("interaction_cls", "interaction_cls_first") if shape[k] not in (FIRST, RESIDUAL)]
    if other or shape["correlation"] > HIGHEST:
        return f"only the usual kind is known, this one differs in {', '.join(other) or 'correlation'}"
    messages = {str(block.linear_up.irreps_out) for block in network.interactions}
    if len(messages) > 1 or not all(m.endswith("x0e") for m in messages):
        return f"messages {', '.join(sorted(messages))}: only scalar ones (max_l 0) are known"
    return None


def matrices(network: Any) -> list[Layer]:
    """The layers of a model as matrices, in its own precision; gradients reach its parameters."""
    return [_layer(block, product) for block, product in zip(network.interactions, network.products, strict=True)]


def _layer(block: Any, product: Any) -> Layer:
    import torch

    channels, degrees = block.linear_up.irreps_out.dim, [ir.l for _, ir in block.irreps_out]
    one = torch.eye(channels, dtype=block.linear_up.weight.dtype, device=block.linear_up.weight.device)
    linear, higher = _polynomial(product.symmetric_contractions.contractions[0])
    residual = type(block).__name__ == RESIDUAL
    radial, scale = [], 1.0
    for part in block.conv_tp_weights:
        radial.append(scale * part.weight / part.h_in**0.5)
        scale = getattr(part.act, "cst", 1.0)
    mix, skip = _mix(block, degrees), _of_species(block.skip_tp)
    return Layer(
        radial=radial[:-1],
        weights=list(radial[-1].split(channels, dim=1)),
        lift=block.linear_up(one),
        mix=[mix if residual else [m @ x for m, x in zip(mix, own, strict=True)] for own in skip],
        linear=linear,
        higher=higher,
        out=product.linear(one),
        skip=[own[0] for own in skip] if residual else None,
    )


def _of_species(tensor_product: Any) -> list[list[Any]]:
    """What a fully connected product with the species does: for each species, (C, C) for each degree."""
    paths = [w / (w.shape[0] * w.shape[1]) ** 0.5 for w in tensor_product.weight_views()]  # (C, S, C)
    return [[path[:, k] for path in paths] for k in range(paths[0].shape[1])]


def _mix(block: Any, degrees: Sequence[int]) -> list[Any]:
    """From sums over neighbours to what comes before the product with the species, (C, C) for each degree."""
    import torch

    given = {"dtype": block.linear_up.weight.dtype, "device": block.linear_up.weight.device}
    channels, ends = block.linear_up.irreps_out.dim, block.conv_tp.irreps_out.slices()
    ones = [torch.ones(1, n, **given) for n in (channels, block.conv_tp.irreps_in2.dim)]
    sums = block.conv_tp(*ones, torch.ones(1, block.conv_tp.weight_numel, **given))
    out = []
    for degree, part in zip(degrees, ends, strict=True):
        probe = torch.zeros(channels, sums.shape[1], **given)
        first = torch.arange(part.start, part.stop, 2 * degree + 1)  # m = -l of every channel
        probe[torch.arange(channels), first] = sums[0, first]
        out.append(block.reshape(block.linear(probe) / block.avg_num_neighbors)[:, :, degree**2])
    return out


def _polynomial(contraction: Any) -> tuple[list[Any], list[Any]]:
    """Coefficients of a symmetric contraction for each species: of A, and of products of two A with 1 or another."""
    import torch

    known = [contraction.weights_max, *contraction.weights]  # of the highest degree first
    size = contraction.U_tensors(1).shape[0]
    species, _, channels = known[0].shape
    whole = [
        torch.zeros(species, channels, *(size,) * n, dtype=known[0].dtype, device=known[0].device) for n in (1, 2, 3)
    ]
    for weights, degree in zip(known, range(contraction.correlation, 0, -1), strict=True):
        whole[degree - 1] = torch.einsum("...k,ekc->ec...", contraction.U_tensors(degree), weights)
    first, second = _two(size)
    once = (first == second)[:, None]
    pairs = torch.cat([whole[1][..., None], whole[2]], dim=-1)  # (S, C, L, L, 1 + L)
    there, back = pairs[:, :, first, second], pairs[:, :, second, first]
    higher = torch.where(once, there, there + back).transpose(2, 3)
    return list(whole[0].transpose(1, 2)[..., None]), list(higher)


def _two(size: int) -> Any:
    """Both numbers of every distinct product of two."""
    import torch

    return torch.triu_indices(size, size)


def _moved(layer: Layer, *, dtype: Any, device: str) -> Layer:
    def moved(value: Any) -> Any:
        if isinstance(value, list):
            return [moved(v) for v in value]
        return None if value is None else value.to(dtype=dtype, device=device).contiguous()

    return Layer(**{name: moved(value) for name, value in vars(layer).items()})


def _advanced(layer: Layer, features: Any, *, radial: Any, harmonics: Any, data: Placed) -> Any:
    """Features (N, C) after a layer."""
    import torch

    hidden = radial
    for weights in layer.radial:
        hidden = torch.nn.functional.silu(hidden @ weights)
    lifted = (features @ layer.lift).index_select(0, data.sender_in_place)
    sums = []
    for degree, weights in enumerate(layer.weights):
        near = (hidden @ weights).index_select(0, data.pair_in_place) * lifted
        near = near.view(len(features), harmonics.shape[2], near.shape[1])  # (N, K, C)
        sums.append(torch.bmm(harmonics[:, degree**2 : (degree + 1) ** 2], near))
    parts, start = [], 0
    first, second = _two(harmonics.shape[1]).to(features.device)
    for species, count in enumerate(data.prepared.counts):
        if not count:
            continue
        own = slice(start, start + count)
        start += count
        mixed = [s[own] @ m for s, m in zip(sums, layer.mix[species], strict=True)]
        a = torch.cat(mixed, dim=1).permute(1, 2, 0).contiguous()  # (L, C, n)
        two = a.index_select(0, first) * a.index_select(0, second)
        higher = torch.bmm(layer.higher[species], two.transpose(0, 1)).transpose(0, 1)  # (1 + L, C, n)
        found = higher[0] + ((higher[1:] + layer.linear[species]) * a).sum(dim=0)
        found = found.T @ layer.out
        parts.append(found if layer.skip is None else found + features[own] @ layer.skip[species])
    return torch.cat(parts)
