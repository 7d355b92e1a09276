"""Many bands that advance together: one batch of the potential serves the next step of all of them.

Takes bands as steps that ask for energies and forces (`neb.climbing`) and an `Evaluator`; gives each band's result when
it is done. Every band keeps its own optimiser, counts and checkpoint, as if it ran alone, and leaves the pool when it
has converged or failed; the images of a band are evaluated by its own committee member.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from ase import Atoms

from mlip.potential.batch import SKIN_ANGSTROM, Batch
from mlip.potential.potential import Evaluator
from mlip.stages.neb.band import Array, Result, Steps

T = TypeVar("T")


@dataclass(frozen=True)
class Entry(Generic[T]):
    """A band in the pool."""

    steps: Steps[T]
    template: Atoms  # the atoms and cell of every image
    images: int  # ends included
    member: int  # of the evaluator, counted from 0


def advance(
    entries: Sequence[Entry[T]],
    evaluator: Evaluator,
    *,
    on_done: Callable[[int, T], None],
    skin_angstrom: float = SKIN_ANGSTROM,
) -> None:
    """Run all bands to their ends; `on_done` gets the number of each band and its result as soon as it is there."""
    frames = [entry.template for entry in entries for _ in range(entry.images)]
    members = [entry.member for entry in entries for _ in range(entry.images)]
    offsets = np.concatenate([[0], np.cumsum([entry.images for entry in entries])]).tolist()
    batch = Batch(evaluator, frames, members=members, skin_angstrom=skin_angstrom)
    waiting: dict[int, tuple[int, Sequence[Atoms]]] = {}

    def go_on(band: int, results: Sequence[Result] | None) -> None:
        steps = entries[band].steps
        try:
            waiting[band] = next(steps) if results is None else steps.send(results)
        except StopIteration as end:
            waiting.pop(band, None)
            on_done(band, end.value)

    for band in range(len(entries)):
        go_on(band, None)
    while waiting:
        asked = [
            (band, offsets[band] + place + k) for band, (place, images) in waiting.items() for k in range(len(images))
        ]
        positions = [image.positions for _, images in waiting.values() for image in images]
        found = batch(positions, which=[slot for _, slot in asked])
        results: dict[int, list[Result]] = {band: [] for band in waiting}
        for (band, _), one in zip(asked, found, strict=True):
            results[band].append((float(one.energies_ev[0]), one.forces[0], None))
        for band, own in results.items():
            go_on(band, own)


def committee_spread(evaluator: Evaluator) -> Callable[[Sequence[Atoms]], list[Array]]:
    """A function: images -> standard deviation of the forces over all members, (N, 3) of each; zeros for one member."""

    def spread(images: Sequence[Atoms]) -> list[Array]:
        found = [one.forces_std for one in evaluator(images)]
        return [np.zeros((len(a), 3)) if s is None else s for a, s in zip(images, found, strict=True)]

    return spread
