"""Random walks of known diffusion on lattices of sites, as trajectories with vibration and drift."""

from itertools import product

import numpy as np

from mlip.core.status import Status
from mlip.stages.sites import network, sites

A, C = 3.8, 9.68  # anatase, Angstrom
VOIDS = np.array([[0, 0, 0.5], [0.5, 0.5, 0], [0, 0.5, 0.75], [0.5, 0, 0.25]])  # 4b of I4_1/amd
ANATASE = np.diag([A, A, C])
SQUARE = np.diag([A, A, 20.0])


def site(name, copies, *, layer="surface", host="001", ion="Li", status="relaxed"):
    copies = tuple(tuple(float(x) for x in c) for c in np.atleast_2d(copies))
    return sites.Site(
        name=name,
        host=host,
        ion=ion,
        layer=layer,
        position_angstrom=copies[0],
        depth_angstrom=0.0,
        energy_ev=0.0,
        coordination=5,
        multiplicity=len(copies),
        status=Status(status),
        copies_angstrom=copies,
    )


def hop(name, initial, final, edges, length, *, host="001", ion="Li"):
    return network.Hop(
        name=name,
        host=host,
        ion=ion,
        initial=initial,
        final=final,
        length_angstrom=length,
        vector_angstrom=(length, 0.0, 0.0),
        multiplicity=2,
        symmetric=True,
        edges=tuple(edges),
    )


def square():
    """One site in a square cell; hops along x and along y."""
    place = site("S1", [[1.9, 1.9, 12.0]])
    return [place], [hop("x", "S1", "S1", [(0, 0, 1, 0, 0)], A), hop("y", "S1", "S1", [(0, 0, 0, 1, 0)], A)]


def anatase():
    """The four voids of a cell and the hops between nearest ones."""
    places = VOIDS @ ANATASE
    edges, seen = [], set()
    for i, j in product(range(4), repeat=2):
        for image in product((-1, 0, 1), repeat=3):
            length = np.linalg.norm(places[j] + np.array(image) @ ANATASE - places[i])
            if 1.0 < length < 3.2 and (j, i, *(-k for k in image)) not in seen:
                seen.add((i, j, *image))
                edges.append((i, j, *image))
    void = site("V1", places, layer="bulk", host="bulk")
    return [void], [hop("bulk_oct", "V1", "V1", edges, 3.08, host="bulk")]


def steps_of(places, cell, longest):
    """For each place the vectors to its neighbours and which they are."""
    out = []
    for here in places:
        near = []
        for j, there in enumerate(places):
            for image in product((-1, 0, 1), repeat=3):
                vector = there + np.array(image) @ cell - here
                if 0.1 < np.linalg.norm(vector) < longest:
                    near.append((vector, j))
        out.append(near)
    return out


def track(rng, places, steps, rate, *, frames, frame_ps, noise=0.25, back=0.0):
    """Positions (frames, 3) of an ion that leaves by each step with the same rate per ps, or rate[k]; lists hold one for each place.

    A negative `back` is minus the chance that a jump takes the last one back; a positive one that it repeats it.
    """
    k, here, now = 0, places[0].astype(float), 0.0
    times, spots, last = [0.0], [here], None
    weights = [
        np.broadcast_to(rate[k] if isinstance(rate, list) else rate, len(s)).astype(float) for k, s in enumerate(steps)
    ]
    while now < frames * frame_ps:
        now += rng.exponential(1 / weights[k].sum())
        choice = rng.choice(len(steps[k]), p=weights[k] / weights[k].sum())
        vector, following = steps[k][choice]
        if last is not None and rng.random() < abs(back):
            wanted = np.sign(back) * last
            vector, following = min(steps[k], key=lambda s: np.linalg.norm(s[0] - wanted))
        here, k, last = here + vector, following, vector
        times.append(now)
        spots.append(here)
    number = np.searchsorted(times, np.arange(frames) * frame_ps, side="right") - 1
    return np.array(spots)[number] + rng.normal(0.0, noise, (frames, 3))
