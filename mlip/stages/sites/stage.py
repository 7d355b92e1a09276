"""The stage `sites`: relaxed hosts, the distinct sites of every ion and the hops between them.

The sites of an ion of the crystal are its vacancies. Relaxed hosts are in `sites/hosts/`, occupied sites (hosts with a
vacancy) in `sites/configurations/`, the end points of each hop in `sites/hops/<ion>_<hop>.extxyz`.
"""

import fnmatch
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from ase import Atoms
from ase.formula import Formula

from mlip.atoms import extxyz
from mlip.atoms.planes import has_registry
from mlip.core.report import ReportSection
from mlip.core.stage import Context, Stage
from mlip.potential import equivalence, models
from mlip.stages import structures
from mlip.stages.sites import backends, extra, jobs, vacancy_jobs
from mlip.stages.sites.network import Hop
from mlip.stages.sites.report import below_surface, sites_section
from mlip.stages.sites.settings import ExtraHop, SitesSettings
from mlip.stages.sites.sites import Site
from mlip.stages.train.stage import STAGE as TRAIN
from mlip.stages.train.stage import elements_to_be, model_folder


@dataclass(frozen=True, kw_only=True)
class SiteNetwork:
    """Result of the stage."""

    sites: tuple[Site, ...]
    hops: tuple[Hop, ...]
    notes: tuple[str, ...]  # what could not be found, and why
    equivalence: tuple[equivalence.Equivalence, ...]  # of the backends that were tried, fastest first


def run(context: Context[SitesSettings]) -> SiteNetwork:
    """Relax the hosts and find sites and hops."""
    built = context.settings_of(structures.STAGE)
    made = context.result(structures.STAGE)
    hosts, identity = made.hosts, structures.identity_of(built, made)
    trained = models.of_run(model_folder(context.folder_of(TRAIN)))
    needed = {s for h in hosts for s in Formula(h.formula).count()} | set(built.moving)
    _refuse_unknown_elements(needed, trained.elements)
    model = backends.model_use(context)
    relaxing = [
        jobs.HostJob(
            host.name,
            structures.host_file(context.folder_of(structures.STAGE), host.name),
            context.folder / "hosts",
            model,
            context.settings,
            context.common.seed,
            registry=has_registry(identity, host),
        )
        for host in hosts
    ]
    failed = context.map(jobs.relax_host, relaxing, label="hosts")
    whole = [job for job, reason in zip(relaxing, failed, strict=True) if reason is None]
    searching = [jobs.SiteJob(job, ion, context.folder) for job in whole for ion in built.ions]
    leaving = [jobs.SiteJob(job, ion, context.folder) for job in whole for ion in built.vacancies]
    found = context.map(jobs.search_sites, searching, label="sites") if searching else []
    found += context.map(vacancy_jobs.search_vacancies, leaving, label="vacancies") if leaving else []
    hops = tuple(h for part in found for h in part.hops)
    refuse_unknown_hops(context.settings.extra_hops, hops)
    every = tuple(s for part in found for s in part.sites)
    lacking = (*(note for part in found for note in part.notes), *below_surface(every))
    notes = (*(r for r in failed if r is not None), *lacking)
    for note in notes:
        context.say(note)
    return SiteNetwork(
        sites=every,
        hops=hops,
        notes=notes,
        equivalence=backends.checked(context),
    )


def refuse_unknown_hops(asked: Sequence[ExtraHop], hops: Sequence[Hop]) -> None:
    """Refuse extra hops that no two sites have.

    Raises:
        ValueError: a hop that was asked for and not found, with the sites that are there.
    """
    for number, one in enumerate(asked):
        own = [hop for hop in hops if (hop.host, hop.ion) == (one.host, one.ion)]
        between = [hop.length_angstrom for hop in own if sorted((hop.initial, hop.final)) == sorted(one.sites)]
        if not any(abs(length - one.length_angstrom) <= 2 * extra.EXTRA_ANGSTROM for length in between):
            there = ", ".join(f"{hop.initial} to {hop.final} {hop.length_angstrom:.2f}" for hop in own) or "none"
            raise ValueError(
                f"sites.extra_hops.{number}: {one.ion} on {one.host} has no hop {' to '.join(one.sites)} of "
                f"{one.length_angstrom:g} Angstrom; hops there (Angstrom): {there}"
            )


def _check_whole(context: Context[SitesSettings]) -> None:
    """Refuse a run that would stop here, after its training.

    Raises:
        ValueError: the potential of the run will not know the crystal or an ion.
    """
    built, training = context.settings_of(structures.STAGE), context.settings_of(TRAIN)
    known = elements_to_be(training)
    if known is not None:
        _refuse_unknown_elements({*structures.conventional_cell(built).symbols, *built.moving}, known)


def _refuse_unknown_elements(needed: Collection[str], known: Collection[str]) -> None:
    if missing := sorted(set(needed) - set(known)):
        raise ValueError(
            f"structures: the crystal and ions need {missing}, the potential knows {sorted(known)}; "
            "train one on labels that hold them, or change structures.ions"
        )


def relaxed_host(folder: Path, name: str) -> Atoms:
    """A relaxed host, from the folder of the stage."""
    return extxyz.read_frames(folder / "hosts" / f"{name}.extxyz")[0]


def relaxed_hosts(folder: Path, names: Sequence[str]) -> dict[str, Atoms]:
    """The relaxed hosts that there are, by name."""
    return {name: relaxed_host(folder, name) for name in names if (folder / "hosts" / f"{name}.extxyz").exists()}


def configuration(folder: Path, site: Site) -> Atoms:
    """A relaxed host with the ion at one of its sites, from the folder of the stage."""
    return extxyz.read_frames(folder / "configurations" / f"{site.host}_{site.ion}_{site.name}.extxyz")[0]


def chosen_hops(hops: Sequence[Hop], patterns: Sequence[str], *, section: str = "neb") -> list[Hop]:
    """The hops whose name matches a pattern of a section's `hops`, with shell wildcards.

    Raises:
        ValueError: a pattern other than * that matches nothing.
    """
    names = {h.name for h in hops}
    for pattern in patterns:
        if pattern != "*" and not fnmatch.filter(names, pattern):
            raise ValueError(f"{section}.hops: {pattern!r} matches no hop; there are: {', '.join(sorted(names))}")
    return [h for h in hops if any(fnmatch.fnmatchcase(h.name, p) for p in patterns)]


def report(context: Context[SitesSettings], result: SiteNetwork) -> tuple[ReportSection, ...]:
    """The table of the sites."""
    return (sites_section(result.sites, context.settings_of(structures.STAGE).vacancies),)


STAGE = Stage(
    name="sites",
    settings=SitesSettings,
    result=SiteNetwork,
    run=run,
    needs=backends.NEEDS,
    common=backends.SETTINGS,
    check_whole=_check_whole,
    report=report,
)
