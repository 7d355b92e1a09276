"""The stage `neb`: a climbing-image band of every chosen hop by every member of the committee.

Each band is in `neb/bands/`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlip.core.progress import progress
from mlip.core.report import ReportSection
from mlip.core.stage import Context, Stage
from mlip.potential.use import ModelUse
from mlip.stages import structures
from mlip.stages.neb import band_jobs, neb, zero_shot
from mlip.stages.neb.report import pictures_section, profiles_section
from mlip.stages.neb.settings import NebSettings
from mlip.stages.neb.zero_shot import ZeroShot
from mlip.stages.sites import backends, network
from mlip.stages.sites.sites import Site
from mlip.stages.sites.stage import STAGE as SITES
from mlip.stages.sites.stage import chosen_hops, relaxed_hosts
from mlip.stages.train.stage import STAGE as TRAIN


@dataclass(frozen=True, kw_only=True)
class Barriers:
    """Result of the stage."""

    bands: tuple[neb.Band, ...]
    barriers: tuple[neb.Barrier, ...]
    bottlenecks: tuple[network.Bottleneck, ...]
    zero_shot: ZeroShot | None = None  # the base model as it is, before training


def run(context: Context[NebSettings]) -> Barriers:
    """Converge the bands; barriers and bottlenecks of the committee follow from them."""
    found, committee = context.result(SITES), context.result(TRAIN)
    hops = chosen_hops(found.hops, context.settings.hops)
    base = zero_shot.prepared(context) if context.settings.zero_shot else None
    bands, barriers = _converged(context, hops, "bands", backends.model_use(context), committee.size)
    before = None
    if base is not None:
        use, model, level = base
        _, own = _converged(context, hops, "bands-base", use, model.members)
        paths = bottlenecks_of(zero_shot.sites_of(found.sites, found.hops, own), found.hops, own)
        before = ZeroShot(source=model.source, members=model.members, level=level, barriers=own, bottlenecks=paths)
    return Barriers(
        bands=bands,
        barriers=barriers,
        bottlenecks=bottlenecks_of(found.sites, found.hops, barriers),
        zero_shot=before,
    )


def _converged(
    context: Context[NebSettings], hops: Sequence[network.Hop], folder: str, model: ModelUse, members: int
) -> tuple[tuple[neb.Band, ...], tuple[neb.Barrier, ...]]:
    """The bands of every hop by every member of a model, and the barriers of its members together."""
    ends, target = context.folder_of(SITES) / "hops", context.result(TRAIN).target
    todo = [
        band_jobs.BandJob(hop, member, ends, context.folder / folder, model, context.settings, target)
        for hop in hops
        for member in range(1, members + 1)
    ]
    with progress(folder, len(todo)) as tick:
        outcomes = band_jobs.run_bands(todo, workers=context.workers, gpus=context.gpus, on_tick=tick)
    barriers = []
    for hop in hops:
        own = [o for job, o in zip(todo, outcomes, strict=True) if job.hop == hop]
        barriers.append(neb.committee([o.band for o in own], symmetric=hop.symmetric, d3_forward_ev=_mean_d3(own)))
    return tuple(o.band for o in outcomes), tuple(barriers)


def _mean_d3(outcomes: Sequence[band_jobs.BandOutcome]) -> float | None:
    """Mean D3 barrier of the members in eV; None where one of them has none."""
    known = [o.d3_forward_ev for o in outcomes if o.d3_forward_ev is not None]
    return sum(known) / len(known) if len(known) == len(outcomes) else None


def bottlenecks_of(
    sites: Sequence[Site], hops: Sequence[network.Hop], barriers: Sequence[neb.Barrier]
) -> tuple[network.Bottleneck, ...]:
    """The minimax paths of all hosts and ions with these barriers."""
    out: list[network.Bottleneck] = []
    for host, ion in dict.fromkeys((s.host, s.ion) for s in sites):
        own = [b for b in barriers if (b.host, b.ion) == (host, ion)]
        known = {
            b.hop: None if b.forward_ev is None or b.reverse_ev is None else (b.forward_ev, b.reverse_ev) for b in own
        }
        here = [s for s in sites if (s.host, s.ion) == (host, ion)]
        own_hops = [h for h in hops if (h.host, h.ion) == (host, ion)]
        vacuum = {b.hop: b.vacuum_ev for b in own if b.vacuum_ev is not None}
        out.extend(network.bottlenecks(here, own_hops, known, vacuum=vacuum))
    return tuple(out)


def band_file(folder: Path, band: neb.Band) -> Path:
    """Where the images of a band are in the folder of the stage."""
    return folder / "bands" / f"{band.ion}_{band.hop}_member-{band.member}.extxyz"


def report(context: Context[NebSettings], result: Barriers) -> tuple[ReportSection, ...]:
    """Pictures of the hosts with sites and bands."""
    names = [host.name for host in context.result(structures.STAGE).hosts]
    hosts = relaxed_hosts(context.folder_of(SITES), names)
    return (pictures_section(hosts, context.result(SITES).sites, result.bands),)


def recorded(_: Context[NebSettings], result: Barriers) -> tuple[ReportSection, ...]:
    """The energy along every band, as a table and a figure per hop."""
    return (profiles_section(result.bands),)


STAGE = Stage(
    name="neb",
    settings=NebSettings,
    result=Barriers,
    run=run,
    needs=(*backends.NEEDS, SITES),
    common=backends.SETTINGS,
    check=zero_shot.check,
    report=report,
    recorded=recorded,
)
