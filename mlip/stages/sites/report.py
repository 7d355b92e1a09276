"""Report section of the stage `sites`: every relaxed site."""

from collections.abc import Sequence

from mlip.core.report import ANGSTROM, NUMBER, TEXT, Column, ReportSection, Table, number, table
from mlip.stages.sites.sites import DESORBED, RELAXED, Site

TEXT_LINES = (
    (
        "Energies are relative to the lowest site of the same host and ion. The depth is measured inwards from the "
        "outermost plane of metal atoms. Sites are relaxed to the force of sites.fmax_ev_per_angstrom; the ends of "
        "bands are relaxed further, so that their energies and depths can differ a little."
    ),
)
VACANCY_TEXT = (
    "{ions} of the crystal: an ion moves into a single vacancy in a neutral cell. A site is a vacancy, and its energy "
    "is that of the host without the ion at this position. A hop describes the motion of the vacancy from one site to "
    "another; the ion moves in the opposite direction."
)


def sites_section(found: Sequence[Site], vacancies: Sequence[str] = ()) -> ReportSection:
    """Every site of every ion; energies in eV, depths in Angstrom.

    Args:
        found: all sites.
        vacancies: ions of the crystal, whose sites are vacancies.
    """
    text = (*TEXT_LINES, VACANCY_TEXT.format(ions=", ".join(vacancies))) if vacancies else TEXT_LINES
    below = tuple(f"{line}." for line in below_surface(found))
    return ReportSection(key="sites", heading="Sites", text=(*text, *below), tables=(sites_table(found),))


def below_surface(found: Sequence[Site]) -> list[str]:
    """A line for every host and ion whose sites all lie below a face, where no lowest path begins."""
    layers: dict[tuple[str, str], set[str]] = {}
    for site in found:
        if site.status.code != DESORBED:
            layers.setdefault((site.host, site.ion), set()).add(site.layer)
    return [
        f"{host} {ion}: all sites are subsurface; hops have barriers, but a lowest path begins at a surface site"
        for (host, ion), own in layers.items()
        if own == {"subsurface"}
    ]


def sites_table(found: Sequence[Site]) -> Table:
    """Sites with energy (eV) and depth (Angstrom); a site that is not relaxed has a status and no energy."""
    columns = [
        Column("Host", TEXT, lambda s: s.host),
        Column("Ion", TEXT, lambda s: s.ion),
        Column("Site", TEXT, lambda s: s.name),
        Column("Layer", TEXT, lambda s: s.layer),
        Column("Energy (eV)", NUMBER, lambda s: number(s.energy_ev if s.status.code == RELAXED else None)),
        Column(f"Depth ({ANGSTROM})", NUMBER, lambda s: number(s.depth_angstrom if s.layer != "bulk" else None, 2)),
        Column("O neighbours", NUMBER, lambda s: str(s.coordination)),
        Column("Equivalent sites", NUMBER, lambda s: str(s.multiplicity)),
        Column("Status", TEXT, lambda s: str(s.status)),
    ]
    return table("sites", columns, found)
