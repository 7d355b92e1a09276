"""Report section of the stage `ladder`: potential and DFT at the same geometry."""

from collections.abc import Sequence

from mlip.core.report import ANGSTROM, NUMBER, TEXT, Column, ReportSection, Table, filled, number, table, thousandth
from mlip.stages.ladder.ladder import Step

TEXT_LINES = (
    (
        "For every hop, DFT single points are made on the band whose barrier is nearest to the mean of the committee: "
        "at its ends, at the saddle image and at the neighbours of the saddle image, and on one half of the band where "
        "the hop is symmetric. Nothing is relaxed with DFT; the remaining forces show how far the geometry is from a "
        "DFT saddle. A barrier stands where the force on the ion and the difference from DFT are below the limits of "
        "the run. Elsewhere only a band relaxed with DFT can decide."
    ),
    (
        "Energies and forces are at the level of the potential. Where DFT puts a neighbour above the saddle image, the "
        "DFT maximum of the path is not at the saddle image and is at least as high as the neighbour."
    ),
)
_HOP: list[Column] = [
    Column("Host", TEXT, lambda r: r.host),
    Column("Ion", TEXT, lambda r: r.ion),
    Column("Hop", TEXT, lambda r: r.hop + (" (limiting)" if r.limiting else "")),
]


def ladder_section(rows: Sequence[Step]) -> ReportSection:
    """Barriers (eV) and the DFT forces at the saddle image (meV/Angstrom)."""
    return ReportSection(
        key="ladder",
        heading="DFT on the potential's own bands",
        text=TEXT_LINES,
        tables=filled(barriers_table(rows), forces_table(rows)),
    )


def barriers_table(rows: Sequence[Step]) -> Table:
    """Barriers of the potential and of DFT at the same geometry, in eV."""
    columns = [
        *_HOP,
        Column("Committee mean (eV)", NUMBER, lambda r: number(r.committee_forward_ev)),
        Column("Potential, labelled band (eV)", NUMBER, lambda r: number(r.mlip_forward_ev)),
        Column("DFT, same geometry (eV)", NUMBER, lambda r: number(r.dft_forward_ev)),
        Column("Difference (eV)", NUMBER, lambda r: number(r.difference_ev, signed=True)),
        Column("Reverse, potential (eV)", NUMBER, lambda r: number(r.mlip_reverse_ev)),
        Column("Reverse, DFT (eV)", NUMBER, lambda r: number(r.dft_reverse_ev)),
        Column("D3 (eV)", NUMBER, lambda r: number(r.d3_forward_ev, signed=True)),
        Column("Consequence", TEXT, _consequence),
    ]
    return table("ladder", columns, rows)


def forces_table(rows: Sequence[Step]) -> Table:
    """DFT forces that remain at the saddle image, and the errors of the potential there, in meV/Angstrom."""
    milli = f"(meV/{ANGSTROM})"
    columns = [
        *_HOP,
        Column(f"Force on the ion {milli}", NUMBER, lambda r: thousandth(r.ion_force_ev_per_angstrom)),
        Column(f"Force along the path {milli}", NUMBER, lambda r: thousandth(r.ion_force_along_ev_per_angstrom)),
        Column(f"First shell, largest {milli}", NUMBER, lambda r: thousandth(r.shell_force_ev_per_angstrom)),
        Column(f"First shell, rms {milli}", NUMBER, lambda r: thousandth(r.shell_force_rms_ev_per_angstrom)),
        Column(f"Error on the ion {milli}", NUMBER, lambda r: thousandth(r.ion_force_error_ev_per_angstrom)),
        Column(
            f"Error, first shell, rms {milli}",
            NUMBER,
            lambda r: thousandth(r.shell_force_error_rms_ev_per_angstrom),
        ),
    ]
    return table(
        "ladder_forces",
        columns,
        [r for r in rows if r.ion_force_ev_per_angstrom is not None],
        caption="DFT forces at the saddle image, and the force errors of the potential there",
    )


def _consequence(row: Step) -> str:
    parts = [str(row.verdict)]
    if row.peak_ev is not None and row.peak != "saddle":
        parts.append(f"the DFT maximum of the path is at least {number(row.peak_ev)} eV")
    if row.lacking and row.dft_forward_ev is not None:
        parts.append(row.status.detail)
    return "; ".join(parts)
