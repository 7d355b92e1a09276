"""Limited-memory BFGS for forces without an energy: the optimiser of a whole band.

Takes positions and forces, step after step; gives the next displacement. The inverse Hessian is built from the last
moves s and changes of the force y (J. Nocedal, Math. Comp. 35, 773 (1980), doi:10.1090/S0025-5718-1980-0572855-7); all
images of a band are one system, as in D. Sheppard, R. Terrell, G. Henkelman, J. Chem. Phys. 128, 134106 (2008),
doi:10.1063/1.2841941. There is no line search: forces of a band are no gradient. The state is plain arrays.
"""

from typing import Any

import numpy as np

from mlip.core.arrays import Array


class Lbfgs:
    """State of one optimisation."""

    def __init__(self, *, stiffness: float, max_step: float, memory: int) -> None:
        """`stiffness`: of the first guess, eV/Angstrom^2; `max_step`: of any atom, Angstrom."""
        self.stiffness, self.max_step, self.memory = stiffness, max_step, memory
        self.moves = self.changes = np.empty((0, 0))  # (pairs, 3 n), oldest first
        self.last = np.empty((0, 0))  # positions and forces of the step before, (2, 3 n)

    @property
    def state(self) -> dict[str, Array]:
        """What a checkpoint must hold."""
        return {"moves": self.moves, "changes": self.changes, "last": self.last}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.moves, self.changes, self.last = state["moves"], state["changes"], state["last"]

    def step(self, positions: Array, forces: Array) -> Array:
        """The displacement (n, 3) from these positions (n, 3), Angstrom, with these forces, eV/Angstrom."""
        x, f = positions.ravel(), forces.ravel()
        if self.last.size:
            self._learn(x - self.last[0], self.last[1] - f)
        self.last = np.stack([x, f])
        direction = self._newton(f).reshape(-1, 3)
        longest = float(np.linalg.norm(direction, axis=1).max())
        return direction * min(1.0, self.max_step / longest) if longest > 0 else direction

    def _learn(self, move: Array, change: Array) -> None:
        if move @ change <= 0:  # negative curvature along the move: what was learned does not hold here
            self.moves = self.changes = np.empty((0, 0))
            return
        old = len(self.moves) - self.memory + 1
        self.moves = np.vstack([self.moves.reshape(-1, len(move))[max(0, old) :], move])
        self.changes = np.vstack([self.changes.reshape(-1, len(move))[max(0, old) :], change])

    def _newton(self, forces: Array) -> Array:
        """Inverse Hessian times the forces: the two loops over the memory."""
        q, weights = forces.copy(), []
        for s, y in zip(self.moves[::-1], self.changes[::-1], strict=True):
            weight = (s @ q) / (s @ y)
            q -= weight * y
            weights.append(weight)
        q /= self.stiffness
        for s, y, weight in zip(self.moves, self.changes, weights[::-1], strict=True):
            q += s * (weight - (y @ q) / (s @ y))
        return q
