"""Two ways from a surface site to its next copy, with barriers that can be exchanged."""

from dataclasses import replace

from helpers.material import barrier, hop, host, results, site
from mlip.core.status import Status
from mlip.stages.neb.stage import bottlenecks_of
from mlip.stages.refine.refined import Refined
from mlip.stages.sites.sites import Period

PERIOD = Period(direction="x (a = 3.80 A)", translation_angstrom=(3.8, 0.0, 0.0), copy=0, image=(1, 0, 0))
EDGES = ((0, 0, 1, 0, 0),)


def network(host_name="001", *, std=0.01, **heights):
    """Sites, hops and barriers (eV) of one host and Li; every hop leads to the next copy of the site."""
    place = replace(site(host_name, "Li", "S1"), periods=(PERIOD,))
    hops = tuple(replace(hop(host_name, "Li", name, "S1", "S1"), edges=EDGES) for name in heights)
    barriers = tuple(barrier(host_name, "Li", name, height, std=std) for name, height in heights.items())
    return (place,), hops, barriers


def relaxed_to(name, height, *, host_name="001", code="converged", std=0.002):
    """A hop that was refined to a barrier (eV, PBE), or was not."""
    done = code == "converged"
    return Refined(
        hop=name,
        host=host_name,
        ion="Li",
        group=f"ladder_{name}_Li",
        limiting=False,
        symmetric=True,
        status=Status(code),
        calls=4,
        forward_ev=height if done else None,
        reverse_ev=height if done else None,
        pbe_forward_ev=height if done else None,
        pbe_reverse_ev=height if done else None,
        d3_forward_ev=-0.02 if done else None,
        force_ev_per_angstrom=0.04,
        std_ev=std,
    )


def found(dft=(), **heights):
    """Results of a run on these two ways, with DFT barriers."""
    sites, hops, barriers = network(**heights)
    return replace(
        results(),
        hosts=(host("001"),),
        sites=sites,
        hops=hops,
        barriers=barriers,
        bottlenecks=bottlenecks_of(sites, hops, barriers),
        dft=tuple(dft),
    )
