"""Barriers relaxed with DFT in the network of a run, so that all ways of a facet compete.

Takes `rows.Results`; gives the same with barriers and paths in which refined hops have the barrier of DFT.
"""

from dataclasses import replace

from mlip.stages.neb.stage import bottlenecks_of
from mlip.stages.refine.barriers import relaxed
from mlip.stages.refine.order import replaced
from mlip.stages.report.rows import Results


def with_refined(results: Results) -> Results:
    """The results, and beside them `with_dft` where a hop is refined."""
    known = relaxed(results.dft, target=results.target)
    if not known:
        return results
    barriers = tuple(replaced(results.barriers, known))
    paths = bottlenecks_of(results.sites, results.hops, barriers)
    return replace(results, with_dft=replace(results, barriers=barriers, bottlenecks=paths, is_dft=True))
