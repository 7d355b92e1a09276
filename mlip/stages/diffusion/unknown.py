"""Jumps in dynamics that are no hop of the network, with where and when they were seen.

Takes visits; gives a list of jumps. A jump may be two hops between stored frames, or a path that the search of sites
and hops missed: the frames decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlip.stages.diffusion.hops import OTHER, Visits

LISTED = 200  # of one species at one temperature


@dataclass(frozen=True, kw_only=True)
class UnknownJump:
    """A jump between two basins that no hop of the network connects."""

    replica: str
    ion: int  # number among the ions of the species in the replica, from 1
    initial: str  # sites
    final: str
    vector_angstrom: tuple[float, float, float]  # from centre to centre
    length_angstrom: float
    first_frame: int  # last stored frame in the basin it left
    last_frame: int  # first stored frame in the basin it came to
    passed: bool  # whether a stored frame lies between the cores of the two basins


def unknown_jumps(found: Sequence[tuple[str, int, Visits]]) -> tuple[UnknownJump, ...]:
    """The jumps that are no hop of the network: (replica, number of the ion, visits) of every ion."""
    out: list[UnknownJump] = []
    for replica, ion, visit in found:
        for number in (k for k, kind in enumerate(visit.jump_kinds) if kind[0] == OTHER):
            _, initial, final = visit.jump_kinds[number]
            arrived = int(visit.jump_frames[number])
            left = int(visit.core_frames[arrived - 1])
            x, y, z = (float(v) for v in visit.jump_vectors[number].round(3))
            out.append(
                UnknownJump(
                    replica=replica,
                    ion=ion,
                    initial=initial,
                    final=final,
                    vector_angstrom=(x, y, z),
                    length_angstrom=float(np.linalg.norm(visit.jump_vectors[number]).round(3)),
                    first_frame=left,
                    last_frame=arrived,
                    passed=arrived > left + 1,
                )
            )
    return tuple(out[:LISTED])
