"""Barriers relaxed with DFT in the network of a run, so that all ways of a facet compete.

Takes `rows.Results`; gives the same with barriers and paths in which refined hops have the barrier of DFT.
"""

from dataclasses import replace

from mlip.stages.neb.stage import bottlenecks_of
from mlip.stages.refine.order import replaced
from mlip.stages.refine.refined import Relaxed
from mlip.stages.report import verdicts
from mlip.stages.report.rows import Results


def with_refined(results: Results) -> Results:
    """The results, and beside them `with_dft` where a hop is refined."""
    known = relaxed(results)
    if not known:
        return results
    barriers = tuple(replaced(results.barriers, known))
    paths = bottlenecks_of(results.sites, results.hops, barriers)
    return replace(results, with_dft=replace(results, barriers=barriers, bottlenecks=paths))


def relaxed(results: Results) -> list[Relaxed]:
    """The barriers relaxed with DFT, one of each hop, at the level of the potential."""
    keys = dict.fromkeys((d.host, d.ion, d.hop) for d in results.dft if d.refined)
    out = []
    for dft in (verdicts.dft_of(*key, results) for key in keys):
        forward = None if dft is None else dft.at_level(results.target)
        if dft is None or forward is None:
            continue
        extra = 0.0 if results.target == "pbe" else dft.reverse_d3_ev
        out.append(
            Relaxed(
                host=dft.host,
                ion=dft.ion,
                hop=dft.hop,
                forward_ev=forward,
                reverse_ev=None if dft.reverse_ev is None or extra is None else dft.reverse_ev + extra,
                d3_forward_ev=dft.d3_ev,
                std_ev=dft.std_ev,
            )
        )
    return out
