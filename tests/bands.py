"""A converged band on the cosine surface, as the ladder takes it."""

from dataclasses import replace

from potentials import LENGTH, CosineSurface, displaced, hop

from mlip import config, ladder, neb
from mlip.network import Hop

TIGHT = config.Neb(fmax_ev_per_angstrom=0.01)


def path(*, symmetric=True, limiting=True, name="001_par", **shape):
    """The band of one hop with the committee of two that it stands for."""
    ends = hop()
    surface = CosineSurface(ends[0], **shape)
    label = neb.BandName(hop=name, host="001", member=2)
    band, images = neb.climb(*displaced(ends), calculator=surface, settings=TIGHT, name=label)
    way = Hop(name, "001", "Li", "S1", "S1" if symmetric else "U1", LENGTH, (LENGTH, 0.0, 0.0), 2, symmetric)
    committee = neb.committee([band, replace(band, member=1)], symmetric=symmetric)
    return ladder.Path(way, band, committee, tuple(images), vacuum=True, limiting=limiting)
