"""A fixed set of structures whose atoms move: bands, replicas of molecular dynamics, displaced cells.

Takes an `Evaluator`, structures and, call by call, positions; gives energies and forces. Neighbour lists reach a skin
beyond the cutoff and are made anew, structure by structure, only where an atom has moved more than half of the skin
(Verlet, Phys. Rev. 159, 98 (1967), doi:10.1103/PhysRev.159.98), so no neighbour is ever missing; edges longer than the
cutoff are cut away in each call. Graphs stay on the device between calls. Cells are fixed; there is no stress.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from mlip.core.arrays import Array
from mlip.potential.graphs import Graph, graph, ordered
from mlip.potential.potential import Evaluator, Predicted, split

SKIN_ANGSTROM = 0.5


@dataclass
class Joined:
    """Structures that go through one model call together."""

    structures: tuple[int, ...]
    members: tuple[int, ...]
    prepared: Any = None  # by the backend; None: not yet, or a neighbour list was made anew


class Batch:
    """Structures on an evaluator, ready for many calls with new positions.

    Attributes:
        rebuilds: how many neighbour lists have been made so far, the first ones included.
        calls: how many times a member has evaluated a structure.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        frames: Sequence[Atoms],
        *,
        members: Sequence[int] | None = None,
        skin_angstrom: float = SKIN_ANGSTROM,
    ) -> None:
        """`members`: for each structure the number (from 0) of the one member that evaluates it; all by default."""
        if members is not None and len(members) != len(frames):
            raise ValueError(f"members: {len(members)} numbers for {len(frames)} structures; give one for each")
        self.evaluator, self.skin_angstrom = evaluator, skin_angstrom if evaluator.batched else 0.0
        self.frames = [atoms.copy() for atoms in frames]
        every = tuple(range(len(evaluator.members)))
        self.members = [every] * len(frames) if members is None else [(m,) for m in members]
        self.rebuilds = self.calls = 0
        self._graphs: list[Graph | None] = [None] * len(frames)
        self._plan: list[Joined] = []
        self._planned: tuple[Any, ...] = ()

    def __len__(self) -> int:
        """Number of structures."""
        return len(self.frames)

    def __call__(self, positions: Sequence[Array] | Array, which: Sequence[int] | None = None) -> list[Predicted]:
        """Energies and forces at these positions, in order.

        Args:
            positions: (N, 3) of each structure in `which`, Angstrom, not wrapped between calls.
            which: numbers of the structures, each once; all by default. The others keep their neighbour lists.
        """
        chosen = tuple(range(len(self)) if which is None else which)
        given = dict(zip(chosen, (np.asarray(p, float) for p in positions), strict=True))
        made = {k for k, p in given.items() if self._renewed(k, p)}
        self._arrange(chosen, made)
        found: dict[int, Predicted] = {}
        while len(found) < len(given):
            try:
                for part in self._plan:
                    if part.structures[0] not in found:
                        found |= self._run(part, given)
            except (MemoryError, RuntimeError) as error:
                self.evaluator.shrink(error, max(len(part.structures) for part in self._plan))
                found = {}
                self._arrange(chosen, set())
        self.calls += sum(len(self.members[k]) for k in chosen)
        return [found[k] for k in chosen]

    def _renewed(self, number: int, positions: Array) -> bool:
        """Make the neighbour list of a structure anew where an atom has moved too far; whether it was."""
        old = self._graphs[number]
        far = (self.skin_angstrom / 2) ** 2
        if old is not None and ((positions - old.positions) ** 2).sum(axis=1).max() <= far:
            return False
        atoms = self.frames[number]
        atoms.positions = positions
        reach = self.evaluator.cutoff_angstrom + self.skin_angstrom
        self._graphs[number] = ordered(graph(atoms, self.evaluator.elements, reach))
        self.rebuilds += 1
        return True

    def _graph(self, number: int) -> Graph:
        found = self._graphs[number]
        if found is None:
            raise ValueError(f"structure {number} has no neighbour list yet; give its positions first")
        return found

    def _arrange(self, chosen: tuple[int, ...], made: set[int]) -> None:
        """Plan which structures go together; what was prepared with old neighbour lists is dropped."""
        limit = self.evaluator.edges_per_call
        if (chosen, limit) != self._planned:
            self._planned, self._plan = (chosen, limit), []
            filled: Counter[tuple[int, ...]] = Counter()
            open_parts: dict[tuple[int, ...], list[int]] = {}
            for k in chosen:
                own, edges = self.members[k], self._graph(k).edges
                if own in open_parts and filled[own] + edges > limit:
                    self._plan.append(Joined(tuple(open_parts.pop(own)), own))
                    filled[own] = 0
                open_parts.setdefault(own, []).append(k)
                filled[own] += edges
            self._plan += [Joined(tuple(part), own) for own, part in open_parts.items()]
        for part in self._plan:
            if made.intersection(part.structures):
                part.prepared = None

    def _run(self, part: Joined, given: dict[int, Array]) -> dict[int, Predicted]:
        graphs = [self._graph(k) for k in part.structures]
        backend = self.evaluator.backend
        if part.prepared is None:
            part.prepared = backend.prepare(graphs)
        data = backend.positions(part.prepared, np.concatenate([given[k] for k in part.structures]))
        found = split([backend.run(m, data) for m in part.members], graphs)
        return dict(zip(part.structures, found, strict=True))
