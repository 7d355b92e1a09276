"""Report section of the stage `convergence`."""

from collections.abc import Mapping, Sequence

from mlip.core.report import (
    ANGSTROM,
    DASH,
    NUMBER,
    TEXT,
    Column,
    ReportSection,
    Table,
    filled,
    number,
    table,
    thousandth,
)
from mlip.stages.convergence.convergence import INSERTION, Variant

TEXT_LINES = (
    (
        "Errors of forces and energy differences against the last setting of each study. Absolute energies shift with "
        "most settings and are not compared."
    ),
)


def convergence_section(rows: Sequence[Variant]) -> ReportSection:
    """Errors of the DFT settings."""
    return ReportSection(
        key="convergence",
        heading="What the DFT settings cost",
        level="detail",
        text=TEXT_LINES,
        tables=filled(settings_table(rows)),
    )


def settings_table(rows: Sequence[Variant]) -> Table:
    """Errors of the settings against the tightest of each study."""
    columns = [
        Column("Study", TEXT, lambda r: r.study),
        Column("Setting", TEXT, lambda r: in_words(r.settings) + (" (reference)" if r.reference else "")),
        Column("Frames", NUMBER, lambda r: str(r.frames)),
        Column(f"Force error, rms (meV/{ANGSTROM})", NUMBER, lambda r: _milli(r, r.force_rms_ev_per_angstrom)),
        Column(f"largest (meV/{ANGSTROM})", NUMBER, lambda r: _milli(r, r.force_max_ev_per_angstrom)),
        Column(f"By species, rms (meV/{ANGSTROM})", TEXT, _species),
        Column(f"Net force per atom (meV/{ANGSTROM})", NUMBER, lambda r: thousandth(r.net_force_ev_per_angstrom)),
        Column("Between configurations (meV)", NUMBER, lambda r: _milli(r, _largest(r, insertion=False))),
        Column("Ion on its host (meV)", NUMBER, lambda r: _milli(r, _largest(r, insertion=True))),
        Column("Seconds a frame", NUMBER, lambda r: number(r.seconds_per_frame, 0)),
        Column("Status", TEXT, lambda r: r.status),
    ]
    return table("convergence", columns, rows)


def in_words(changes: Mapping[str, object]) -> str:
    """Settings in one line."""
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in changes.items()) or "as the run"


def _milli(row: Variant, value: float | None) -> str:
    return DASH if row.reference else thousandth(value, 1)


def _species(row: Variant) -> str:
    if row.reference or not row.force_rms_by_species:
        return DASH
    return ", ".join(f"{symbol} {1e3 * value:.0f}" for symbol, value in row.force_rms_by_species.items())


def _largest(row: Variant, *, insertion: bool) -> float | None:
    """The change of largest size, with its sign."""
    changes = [d.change_ev for d in row.differences if (d.kind == INSERTION) == insertion]
    return max(changes, key=abs, default=None)
