"""Report section of the stage `md`: the trajectories, and how they ended."""

from collections.abc import Sequence

from mlip.core.report import NUMBER, TEXT, Column, ReportSection, Table, number, table
from mlip.stages.md import md

TEXT_LINES = (
    (
        "Langevin dynamics (BAOAB) with the forces of one member of the committee. The whole committee checks every "
        "stored frame: a replica that overheats, loses an ion or leaves the domain of the potential is stopped. The "
        "cell is fixed at the size of the crystal that is given, the lowest layers of a slab at their relaxed "
        "positions."
    ),
)


def md_section(found: Sequence[md.Followed]) -> ReportSection:
    """The trajectories of every system."""
    return ReportSection(
        key="md", heading="Molecular dynamics", level="detail", text=TEXT_LINES, tables=(trajectories(found),)
    )


def trajectories(followed: Sequence[md.Followed]) -> Table:
    """Every system with the time (ps) and temperatures (K) of its replicas, and how they ended."""
    columns = [
        Column("System", TEXT, lambda f: f.name),
        Column("Atoms", NUMBER, lambda f: str(f.atoms)),
        Column("Mobile atoms", NUMBER, lambda f: str(f.mobile)),
        Column("Temperatures (K)", TEXT, lambda f: ", ".join(f"{t:g}" for t in dict.fromkeys(_temperatures(f)))),
        Column("Replicas", NUMBER, lambda f: str(len(f.replicas))),
        Column("Total time (ps)", NUMBER, lambda f: number(sum(o.length_ps for o in f.replicas), 1)),
        Column("Mean / set temperature", NUMBER, lambda f: number(_heat(f))),
        Column(
            "Outcome of the replicas",
            TEXT,
            lambda f: ", ".join(f"{n} {why}" for why, n in md.ended(f.replicas).items()),
        ),
    ]
    return table("trajectories", columns, followed)


def _temperatures(followed: md.Followed) -> list[float]:
    return [o.temperature_kelvin for o in followed.replicas]


def _heat(followed: md.Followed) -> float | None:
    """Ratio of mean to set temperature, averaged over the replicas with their lengths as weights."""
    known = [o for o in followed.replicas if o.mean_temperature_kelvin is not None and o.length_ps > 0]
    time = sum(o.length_ps for o in known)
    parts = [o.length_ps * (o.mean_temperature_kelvin or 0.0) / o.temperature_kelvin for o in known]
    return sum(parts) / time if time else None
