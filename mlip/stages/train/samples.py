"""Labelled frames as the loss sees them: graphs with labels and weights, packed into calls of bounded size.

Members of a committee differ by the weight of each group in the loss, drawn from Gamma(4)/4: a Bayesian bootstrap
(Rubin 1981, doi:10.1214/aos/1176345338) with half the usual standard deviation, since labels are few; no group is left
out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from mlip.potential import graphs

GROUP_WEIGHT_SHAPE = 4.0  # of the gamma distribution of a group's weight; 1 is the Bayesian bootstrap


@dataclass(frozen=True)
class Sample:
    """A frame ready for training."""

    graph: graphs.Graph
    energy_ev: float
    forces: NDArray[np.float64]
    weight: float


def force_rms(frames: Sequence[Atoms]) -> float:
    """Root mean square of all reference force components, eV/Angstrom."""
    return float(np.sqrt(np.mean(np.concatenate([f.arrays["REF_forces"].ravel() for f in frames]) ** 2)))


def mean_neighbours(frames: Sequence[Atoms], cutoff_angstrom: float) -> float:
    """Mean number of neighbours within the cutoff over all atoms."""
    found = [graphs.graph(f, sorted(set(f.get_chemical_symbols())), cutoff_angstrom) for f in frames]
    return float(sum(g.edges for g in found) / sum(len(g.positions) for g in found))


def group_weights(groups: Sequence[str], *, seed: int, member: int) -> dict[str, float]:
    """Weight of each group in the loss of this member: 1 for the first, of mean 1 and deviation 1/2 for others."""
    names = sorted(set(groups))
    if member == 1:
        return dict.fromkeys(names, 1.0)
    drawn = np.random.default_rng([seed, member, 7]).gamma(GROUP_WEIGHT_SHAPE, size=len(names))
    return dict(zip(names, (drawn / drawn.mean()).tolist(), strict=True))


def samples(
    frames: Sequence[Atoms], elements: Sequence[str], cutoff_angstrom: float, weights: dict[str, float] | None = None
) -> list[Sample]:
    """Frames as graphs with labels.

    Raises:
        ValueError: a frame without REF_energy or REF_forces: labels are never taken as zero.
    """
    require_labels(frames)
    out = []
    for frame in frames:
        weight = 1.0 if weights is None else weights[frame.info["group"]]
        graph = graphs.graph(frame, elements, cutoff_angstrom)
        out.append(Sample(graph, float(frame.info["REF_energy"]), frame.arrays["REF_forces"], weight))
    return out


def require_labels(frames: Sequence[Atoms]) -> None:
    """Refuse frames without labels.

    Raises:
        ValueError: a frame lacks REF_energy or REF_forces.
    """
    for number, frame in enumerate(frames):
        if "REF_energy" not in frame.info or "REF_forces" not in frame.arrays:
            raise ValueError(f"training frame {number}: has no REF_energy or REF_forces; run the dataset stage again")


def packed(chosen: Sequence[Sample], edges: int) -> list[list[Sample]]:
    """The samples in order, as calls of at most so many edges, or of a single sample."""
    out: list[list[Sample]] = []
    filled = 0
    for one in chosen:
        if not out or filled + one.graph.edges > edges:
            out.append([])
            filled = 0
        out[-1].append(one)
        filled += one.graph.edges
    return out
