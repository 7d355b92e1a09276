"""Small periodic networks of hops, and D of them by an independent route."""

import numpy as np

from helpers import walks
from mlip.core.units import BOLTZMANN_EV_PER_KELVIN
from mlip.stages.rates import lattice, master
from mlip.stages.rates.laws import Law
from mlip.stages.rates.system import System

CELL = np.diag([4.0, 5.0, 6.0])


def network(places, edges, cell=CELL, *, layer="surface"):
    """A lattice of sites A, B, ... with one copy each, and hops named h0, h1, ... with one edge each."""
    names = "ABCDEFGH"[: len(places)]
    sites = [walks.site(name, [place], layer=layer) for name, place in zip(names, places, strict=True)]
    hops = [walks.hop(f"h{k}", names[i], names[j], [(0, 0, *image)], 1.0) for k, (i, j, *image) in enumerate(edges)]
    return lattice.lattice(cell, sites, hops)


def tensor(net, ln_forward, ln_reverse, *, start=0):
    """D of one set of rates, (3, 3)."""
    known = np.ones(len(net.hops), dtype=bool)
    found = master.equilibrium(net, np.atleast_2d(ln_forward), np.atleast_2d(ln_reverse), known=known)
    walked = lattice.parts(net, range(len(net.hops)), start)
    nodes = np.concatenate([part.nodes for part in walked])
    return master.diffusion_tensor(net, found, walked, nodes=nodes)[0]


def by_waves(net, forward, reverse, *, step=1e-4):
    """D from the slowest eigenvalue of the generator at small wave vectors q: -lambda(q) = q D q."""
    forward, reverse = np.asarray(forward), np.asarray(reverse)

    def decay(q):
        matrix = np.zeros((len(net.site), len(net.site)), dtype=complex)
        for edge, d in enumerate(net.steps):
            i, j, h = net.first[edge], net.second[edge], net.hop[edge]
            for a, b, k, phase in ((i, j, forward[h], q @ d), (j, i, reverse[h], -q @ d)):
                matrix[a, a] -= k
                matrix[b, a] += k * np.exp(1j * phase)
        return -np.linalg.eigvals(matrix).real.max()

    out = np.zeros((3, 3))
    axes = np.eye(3)
    for a in range(3):
        for b in range(3):
            plus, minus = decay(step * (axes[a] + axes[b])), decay(step * (axes[a] - axes[b]))
            out[a, b] = (plus - minus) / (4 * step**2)
    return out


def rates_of(energies, saddles, ends, temperature=600.0):
    """Logarithms of forward and reverse rates with unit prefactors from energies of sites and saddles in eV."""
    kt = BOLTZMANN_EV_PER_KELVIN * temperature
    energies, saddles, ends = (np.asarray(x) for x in (energies, saddles, ends))
    return -(saddles - energies[ends[:, 0]]) / kt, -(saddles - energies[ends[:, 1]]) / kt


def law(forward=0.5, reverse=None, *, name="h0", prefactor=8.0, host="001", ion="Li", **more):
    """A hop whose quantum corrections are small."""
    minimum, saddle = (0.02, 0.03, prefactor), (0.02, 0.03)
    values = {
        "names": (host, ion, name),
        "barrier_ev": (forward, forward if reverse is None else reverse),
        "prefactor_thz": (prefactor, prefactor),
        "minima_thz": (minimum, minimum),
        "saddle_thz": saddle,
        "imaginary_thz": 0.02,
    }
    return Law(**(values | more))


def system(net, laws, *, energies=None, layers=None, host="001", ion="Li", **more):
    return System(
        host=host,
        ion=ion,
        net=net,
        laws=tuple(laws),
        reasons={name: "no converged band" for name, one in zip(net.hops, laws, strict=True) if one is None},
        site_ev=np.zeros(len(net.names)) if energies is None else np.array(energies),
        layers=("surface",) * len(net.names) if layers is None else layers,
        **more,
    )
