"""Lattice planes by their Miller indices in the standard conventional cell, and what symmetry makes equal."""

import re
from functools import cache
from math import gcd

from mlip.atoms import crystals, spacegroups, structures
from mlip.atoms.crystals import Identity
from mlip.atoms.structures import Host

Miller = tuple[int, int, int]


def has_registry(crystal: Identity, host: Host) -> bool:
    """Whether hops of a host get the names of anatase's registry: anatase, and a facet that its name tells rightly."""
    if not crystals.same(crystal, _anatase()):
        return False
    told = miller_of(f"({host.name.split('_')[0]})")
    return host.miller is None or told is None or equal(told, host.miller, crystal.number)


def miller_of(facet: str) -> Miller | None:
    """The Miller indices of a facet such as (101), (1-10) or (1 0 -1); None where it has none."""
    found = re.fullmatch(r"\(\s*(-?\d+?)[\s,]*(-?\d+?)[\s,]*(-?\d+?)\s*\)", facet.strip())
    return None if found is None else (int(found[1]), int(found[2]), int(found[3]))


@cache
def _anatase() -> Identity:
    return crystals.identify(structures.crystal("anatase"))


def equal(one: Miller, other: Miller, number: int) -> bool:
    """Whether symmetry of the space group of this number makes two planes equal."""
    return _smallest(other) in spacegroups.planes(number, _smallest(one))


def _smallest(miller: Miller) -> Miller:
    divisor = gcd(*miller) or 1
    a, b, c = (k // divisor for k in miller)
    return a, b, c
