"""A converged band on the cosine surface, as the ladder takes it, and a hop that an operation turns around."""

from dataclasses import replace

from ase.build import add_adsorbate, fcc100

from helpers.potentials import LENGTH, CosineSurface, displaced, hop
from mlip.atoms.ends import unwrapped
from mlip.stages.ladder import ladder
from mlip.stages.neb import neb, reversal
from mlip.stages.neb.settings import NebSettings
from mlip.stages.sites.network import Hop

TIGHT = NebSettings(fmax_ev_per_angstrom=0.01)


def path(*, symmetric=True, limiting=True, name="001_par", **shape):
    """The band of one hop with the committee of two that it stands for."""
    ends = hop(box=(10.5, 9.0, 14.0))  # empty along the third vector only, as around a slab
    surface = CosineSurface(ends[0], **shape)
    label = neb.BandName(hop=name, host="001", member=2)
    band, images = neb.climb(*displaced(ends), calculator=surface, settings=TIGHT, name=label)
    way = Hop(
        name=name,
        host="001",
        ion="Li",
        initial="S1",
        final="S1" if symmetric else "U1",
        length_angstrom=LENGTH,
        vector_angstrom=(LENGTH, 0.0, 0.0),
        multiplicity=2,
        symmetric=symmetric,
    )
    committee = neb.committee([band, replace(band, member=1)], symmetric=symmetric)
    return ladder.Path(hop=way, band=band, barrier=committee, images=tuple(images), vacuum=True, limiting=limiting)


def gold_on_aluminium():
    """Hollow to hollow over a bridge, ends away from their minima by the same operation."""
    ends = []
    for offset in ((1, 1), (2, 1)):
        slab = fcc100("Al", size=(3, 2, 2), vacuum=8.0)
        add_adsorbate(slab, "Au", 1.7, "hollow", offset=offset)
        slab.pbc = True
        ends.append(slab)
    initial = ends[0]
    initial.rattle(0.02, seed=1)
    turned = reversal.between(ends[0], unwrapped(*ends))
    ends[1].positions = turned.positions(initial.positions)
    return initial, ends[1]
