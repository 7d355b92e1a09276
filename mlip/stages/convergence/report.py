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
        "Errors of forces and of energy differences relative to the reference setting of each study, which is its last "
        "one. Absolute energies shift with most settings and are not compared. Of the energy differences the one that "
        "changes most is shown, with the sign of its change; the second table has all of them."
    ),
)


def convergence_section(rows: Sequence[Variant]) -> ReportSection:
    """Errors of the DFT settings; forces in meV/Angstrom, energies in meV."""
    return ReportSection(
        key="convergence",
        heading="Convergence of the DFT settings",
        level="detail",
        text=TEXT_LINES,
        tables=filled(settings_table(rows), differences_table(rows)),
    )


def settings_table(rows: Sequence[Variant]) -> Table:
    """Errors of the settings relative to the tightest of each study; forces in meV/Angstrom, energies in meV."""
    columns = [
        Column("Study", TEXT, lambda r: r.study),
        Column("Setting", TEXT, lambda r: in_words(r.settings) + (" (reference)" if r.reference else "")),
        Column("Frames", NUMBER, lambda r: str(r.frames)),
        Column(f"Force error, rms (meV/{ANGSTROM})", NUMBER, lambda r: _milli(r, r.force_rms_ev_per_angstrom)),
        Column(f"Force error, largest (meV/{ANGSTROM})", NUMBER, lambda r: _milli(r, r.force_max_ev_per_angstrom)),
        Column(f"Force error by species, rms (meV/{ANGSTROM})", TEXT, _species),
        Column(f"Net force per atom (meV/{ANGSTROM})", NUMBER, lambda r: thousandth(r.net_force_ev_per_angstrom)),
        Column("Change between configurations (meV)", NUMBER, lambda r: _milli(r, _largest(r, insertion=False))),
        Column("Change of the insertion energy (meV)", NUMBER, lambda r: _milli(r, _largest(r, insertion=True))),
        Column("Time per frame (s)", NUMBER, lambda r: number(r.seconds_per_frame, 0)),
        Column("Status", TEXT, lambda r: r.status.detail),
    ]
    return table("convergence", columns, rows)


def differences_table(rows: Sequence[Variant]) -> Table:
    """Every energy difference at every setting, such as the barrier between an end and a saddle; changes in meV."""
    columns = [
        Column("Study", TEXT, lambda r: r[0].study),
        Column("Setting", TEXT, lambda r: in_words(r[0].settings) + (" (reference)" if r[0].reference else "")),
        Column("Energy of", TEXT, lambda r: r[1].high),
        Column("Relative to", TEXT, lambda r: r[1].low),
        Column("Difference (eV)", NUMBER, lambda r: number(r[1].value_ev)),
        Column("Change (meV)", NUMBER, lambda r: _milli(r[0], r[1].change_ev)),
    ]
    return table("convergence-differences", columns, [(row, one) for row in rows for one in row.differences])


def in_words(changes: Mapping[str, object]) -> str:
    """Settings in one line of text."""
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
