"""Tracks of known rates on a square lattice of sites, their motions and barriers, for the tests of reports."""

import numpy as np

from helpers import walks
from mlip.core.status import Status
from mlip.core.units import BOLTZMANN_EV_PER_KELVIN
from mlip.stages.diffusion import hops, kinetics
from mlip.stages.diffusion.settings import DiffusionSettings
from mlip.stages.md import trajectory
from mlip.stages.neb import neb

SETTINGS = DiffusionSettings()
SITES, HOPS = walks.square()
WHERE = hops.basins(walks.SQUARE, SITES, HOPS, SETTINGS)
PLACE = np.array([[1.9, 1.9, 12.0]])
STEPS = walks.steps_of(PLACE, walks.SQUARE, 4.0)
ENERGY, ATTEMPTS = 0.3, 6.0  # eV, THz


def rate(temperature, energy=ENERGY):
    return ATTEMPTS * np.exp(-energy / (BOLTZMANN_EV_PER_KELVIN * temperature))


def tracks(temperature, *, frames=2000, count=4, symbols=("Li",), seed=1, value=None):
    rng = np.random.default_rng([seed, int(temperature)])
    r = rate(temperature) if value is None else value
    return [
        trajectory.Track(
            f"{temperature}-{k}",
            temperature,
            0.1,
            symbols,
            np.stack([walks.track(rng, PLACE, STEPS, r, frames=frames, frame_ps=0.1) for _ in symbols], axis=1),
        )
        for k in range(count)
    ]


def motion(temperature, **options):
    return kinetics.motion(("001_Li", "001", "Li"), tracks(temperature, **options), WHERE, SETTINGS, axes=2, seed=1)


def barrier(hop, forward, *, std=0.01):
    return neb.Barrier(
        hop=hop,
        host="001",
        ion="Li",
        status=Status("converged"),
        members=4,
        forward_ev=forward,
        forward_std_ev=std,
        reverse_ev=forward,
        reverse_std_ev=std,
        d3_forward_ev=None,
        symmetric=True,
        asymmetry_ev=0.0,
    )


def lines(motions):
    return kinetics.kinetics(motions, HOPS, SITES, [barrier("x", ENERGY)], WHERE, SETTINGS)
