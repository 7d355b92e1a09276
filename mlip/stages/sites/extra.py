"""Hops that the search leaves out and that a config asks for, such as those seen in dynamics.

Takes what is asked for and pairs of sites; says whether a pair is one of them.
"""

from collections.abc import Sequence

from mlip.stages.sites.settings import ExtraHop
from mlip.stages.sites.sites import Site

EXTRA_ANGSTROM = 0.3  # by which the length of an extra hop may differ


def is_asked(asked: Sequence[ExtraHop], initial: Site, final: Site, length_angstrom: float) -> bool:
    """Whether a hop between these sites with this length is asked for."""
    names = sorted((initial.name, final.name))
    return any(
        (hop.host, hop.ion) == (initial.host, initial.ion)
        and sorted(hop.sites) == names
        and abs(hop.length_angstrom - length_angstrom) <= EXTRA_ANGSTROM
        for hop in asked
    )
