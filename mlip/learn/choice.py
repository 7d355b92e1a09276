"""Which candidates to label: pure functions of covariances or spreads.

Takes what the potential says of the candidates; gives their numbers in the order of the choice. A label of an image of
a band brings that of its initial image along where the hop has none yet, and both count.

`by_variance` is greedy. Let C be the covariance of the energies of the candidates, b_h the vector with +1 at the saddle
and -1 at the initial image of band h, and I the frames of a move (one, or two). A label of I lowers the variances of
the barriers by

    sum_h  b_h C_:I (C_II + noise^2)^-1 C_I: b_h,

and the move with the largest drop per label is taken; then C is that after the labels. Greedy choice for Gaussian
processes: Krause, Singh, Guestrin, J. Mach. Learn. Res. 2008, 9, 235.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlip.core.arrays import Array


@dataclass(frozen=True)
class Picked:
    """A candidate to label.

    Attributes:
        number: of the candidate.
        score: drop of the sum of the variances of the barriers per label (eV^2), or spread of a force (eV/Angstrom).
        along: whether it is the initial image that another candidate brings along.
    """

    number: int
    score: float
    along: bool = False


def by_variance(
    covariance: Array,
    noise: Array,
    *,
    barriers: Sequence[tuple[int, int]],
    partners: Sequence[int | None],
    allowed: Sequence[bool],
    hops: Sequence[object],
    count: int,
) -> tuple[list[Picked], float, float]:
    """Up to `count` candidates that lower the variances of the barriers most; root mean variance before and after, eV.

    Args:
        covariance: (n, n) of the energies of the candidates, eV^2.
        noise: (n,) variance of the noise of a label of each, eV^2.
        barriers: numbers of the saddle and the initial image of every band.
        partners: of every candidate the initial image that it needs beside it, or None.
        allowed: which candidates may be labelled.
        hops: of every candidate, to know which others a partner serves too.
        count: labels, at most.
    """
    left = covariance.copy()
    rows = np.zeros((len(barriers), len(left)))
    for row, (saddle, start) in zip(rows, barriers, strict=True):
        row[saddle], row[start] = row[saddle] + 1.0, row[start] - 1.0
    before = _rms_sigma(rows, left)
    chosen: list[Picked] = []
    needs = list(partners)
    while len(chosen) < count:
        moves = _moves(chosen, needs, allowed, room=count - len(chosen))
        ranked = [(_drop(rows @ left, left, noise, move) / len(move), move) for move in moves]
        gain, best = max(ranked, key=lambda one: one[0], default=(0.0, ()))
        if gain <= 0.0:
            break
        left = _after(left, noise, best)
        chosen += [Picked(k, float(gain), along=place > 0) for place, k in enumerate(best)]
        _serve(needs, hops, best)
    return chosen, before, _rms_sigma(rows, left)


def by_spread(
    spreads: Sequence[float],
    *,
    groups: Sequence[str],
    partners: Sequence[int | None],
    allowed: Sequence[bool],
    hops: Sequence[object],
    count: int,
    per_group: int,
) -> list[Picked]:
    """Up to `count` candidates of largest spread (eV/Angstrom), at most `per_group` of a group beside those brought."""
    chosen: list[Picked] = []
    needs, taken = list(partners), Counter[str]()
    for k in sorted(range(len(spreads)), key=lambda k: -spreads[k]):
        move = next((m for m in _moves(chosen, needs, allowed, room=count - len(chosen)) if m[0] == k), None)
        if move is None or taken[groups[k]] >= per_group:
            continue
        taken[groups[k]] += 1
        chosen += [Picked(n, float(spreads[n]), along=place > 0) for place, n in enumerate(move)]
        _serve(needs, hops, move)
    return chosen


def _moves(
    chosen: Sequence[Picked], needs: Sequence[int | None], allowed: Sequence[bool], *, room: int
) -> list[tuple[int, ...]]:
    """What can be labelled next: a candidate alone, or with the initial image that it needs."""
    taken = {p.number for p in chosen}
    found: list[tuple[int, ...]] = []
    for k, partner in enumerate(needs):
        move: tuple[int, ...] = (k,) if partner is None or partner in taken else (k, partner)
        if k not in taken and len(move) <= room and all(allowed[n] for n in move):
            found.append(move)
    return found


def _serve(needs: list[int | None], hops: Sequence[object], move: Sequence[int]) -> None:
    """Forget the need of an initial image for the hops whose initial image is in the move."""
    served = {hops[partner] for partner in move[1:]}
    served |= {hops[k] for k in move if hops[k] is not None and k in needs}
    for k, hop in enumerate(hops):
        if hop is not None and hop in served:
            needs[k] = None


def _drop(across: Array, covariance: Array, noise: Array, move: Sequence[int]) -> float:
    own = list(move)
    block = covariance[np.ix_(own, own)] + np.diag(noise[own])
    part = across[:, own]
    return float(np.einsum("hi,hi->", part, np.linalg.solve(block, part.T).T))


def _after(covariance: Array, noise: Array, move: Sequence[int]) -> Array:
    own = list(move)
    block = covariance[np.ix_(own, own)] + np.diag(noise[own])
    return np.asarray(covariance - covariance[:, own] @ np.linalg.solve(block, covariance[own]))


def _rms_sigma(rows: Array, covariance: Array) -> float:
    """Root of the mean variance of the barriers, eV; zero without barriers."""
    variances = np.einsum("hi,ij,hj->h", rows, covariance, rows)
    return float(np.sqrt(max(variances.mean(), 0.0))) if len(rows) else 0.0
