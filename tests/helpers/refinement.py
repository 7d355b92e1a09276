"""A hop on one cosine surface that is to be refined with another one as the truth: band, prior, labels and the loop."""

from dataclasses import dataclass

import numpy as np

from helpers.bands import TIGHT
from helpers.potentials import CosineSurface, displaced, hop
from mlip.stages.neb import neb
from mlip.stages.neb.settings import NebSettings
from mlip.stages.refine import loop
from mlip.stages.refine.correction import Noise
from mlip.stages.refine.settings import RefineSettings

EXACT = Noise(energy_ev=5e-4, force_ev_per_angstrom=2e-3)
BOX = (10.5, 9.0, 14.0)
SETTINGS = RefineSettings()


def on(surface, places):
    """Energies and forces of an ASE calculator at positions."""
    out = []
    for place in places:
        atoms = hop(box=BOX)[0]
        atoms.positions = place
        atoms.calc = surface
        out.append((atoms.get_potential_energy(), atoms.get_forces()))
    return out


@dataclass(frozen=True)
class Prior:
    """A surface in the place of the potential, for one process or another."""

    shape: tuple = (("barrier", 0.5),)

    def __call__(self, template, count):
        surface = CosineSurface(hop(box=BOX)[0], **dict(self.shape))
        return lambda slots, places: on(surface, places)


def band_of(**shape):
    """The converged band of a surface."""
    surface = CosineSurface(hop(box=BOX)[0], **shape)
    name = neb.BandName(hop="001_par", host="001", member=1)
    found, images = neb.climb(*displaced(hop(box=BOX)), calculator=surface, settings=TIGHT, name=name)
    assert found.forward_ev is not None
    return tuple(loop.bare(image) for image in images)


def labeller(surface, *, noise=0.0, seed=1):
    """Labels of rounds by a surface, with noise on the forces (eV/Angstrom)."""
    rng = np.random.default_rng(seed)

    def label(frames, number):
        out = []
        for part, atoms in frames.items():
            ((energy, forces),) = on(surface, [atoms.positions])
            forces = forces + rng.normal(scale=noise, size=forces.shape)
            found = loop.bare(atoms)  # the wells of the host are fixed in space, so the mean force stays
            found.info = {"frame_id": f"refine_001_par_Li_{part}{number}", "wall_s": 10.0, "dft_energy": energy}
            found.arrays["dft_forces"] = forces
            out.append(loop.Call(part, number, atoms, found))
        return out

    return label


def refine(truth, *, prior=None, hop_=None, noise=0.0, settings=SETTINGS, **fields):
    """How the loop ends and its calls."""
    shape = prior or {"barrier": 0.5}
    surface = CosineSurface(hop(box=BOX)[0], **truth)
    own = hop_ or loop.Hop(band=band_of(**shape), symmetric=False, target="pbe", **({"noise": EXACT} | fields))
    return loop.refined(
        own,
        label=labeller(surface, noise=noise),
        prior=Prior(tuple(shape.items()))(own.band[0], len(own.band)),
        settings=settings,
        neb_settings=NebSettings(),
    )


def barrier(calls, end=loop.INITIAL):
    """Difference of labelled energies, saddle minus an end."""
    last = loop.latest(calls)
    return loop.label_of(last[loop.SADDLE], "pbe")[0] - loop.label_of(last[end], "pbe")[0]
