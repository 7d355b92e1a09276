"""Report section of the stage `md`: what was followed, and how it ended."""

from collections.abc import Sequence

from mlip.core.report import NUMBER, TEXT, Column, ReportSection, Table, number, table
from mlip.stages.md import md

TEXT_LINES = (
    (
        "Langevin dynamics (BAOAB) with the forces of one member. The whole committee checks every stored frame; a "
        "replica that gets too hot, loses an ion or leaves the range of the potential is stopped. The cell and the "
        "lowest layers of a slab are fixed at their relaxed size and positions."
    ),
)


def md_section(found: Sequence[md.Followed]) -> ReportSection:
    """The trajectories."""
    return ReportSection(
        key="md", heading="Molecular dynamics", level="detail", text=TEXT_LINES, tables=(trajectories(found),)
    )


def trajectories(followed: Sequence[md.Followed]) -> Table:
    """Every system, with what became of its replicas."""
    columns = [
        Column("System", TEXT, lambda f: f.name),
        Column("Atoms", NUMBER, lambda f: str(f.atoms)),
        Column("Mobile", NUMBER, lambda f: str(f.mobile)),
        Column("Temperatures (K)", TEXT, lambda f: ", ".join(f"{t:g}" for t in dict.fromkeys(_temperatures(f)))),
        Column("Replicas", NUMBER, lambda f: str(len(f.replicas))),
        Column("Together (ps)", NUMBER, lambda f: number(sum(o.length_ps for o in f.replicas), 1)),
        Column("Measured over set temperature", NUMBER, lambda f: number(_heat(f))),
        Column(
            "Ended",
            TEXT,
            lambda f: ", ".join(f"{n} {why}" for why, n in md.ended([o.status for o in f.replicas]).items()),
        ),
    ]
    return table("trajectories", columns, followed)


def _temperatures(followed: md.Followed) -> list[float]:
    return [o.temperature_kelvin for o in followed.replicas]


def _heat(followed: md.Followed) -> float | None:
    """Mean over the replicas of measured over set temperature, each weighted by its length."""
    known = [o for o in followed.replicas if o.mean_temperature_kelvin is not None and o.length_ps > 0]
    time = sum(o.length_ps for o in known)
    parts = [o.length_ps * (o.mean_temperature_kelvin or 0.0) / o.temperature_kelvin for o in known]
    return sum(parts) / time if time else None
