"""Report section of the stage `refine`: barriers of DFT, and what the potential had at the same geometry."""

from collections.abc import Sequence

from mlip.core.report import (
    ANGSTROM,
    NUMBER,
    TEXT,
    Cell,
    Column,
    ReportSection,
    Table,
    filled,
    number,
    table,
    thousandth,
)
from mlip.stages.refine.refined import Refined

TEXT_LINES = (
    (
        "Ends and saddles are stationary points of DFT. A Gaussian process on the residual between DFT and the "
        "committee corrects the potential around each hop. DFT is calculated at each end and saddle of the corrected "
        "potential, until the largest DFT force on any atom is below the limit and the corrected barrier no longer "
        "changes. Barriers are differences of DFT energies at the last geometries. The uncertainty is that of the "
        "correction: noise of the labels and the forces that are left."
    ),
    (
        "A hop that did not converge has a status and no barrier. The curvature is measured with two more DFT "
        "calculations, a step ahead and behind along the lowest mode; a negative one proves a saddle. These two are in "
        "neither the calls nor the core hours."
    ),
)
_HOP: list[Column] = [
    Column("Host", TEXT, lambda r: r.host),
    Column("Ion", TEXT, lambda r: r.ion),
    Column("Hop", TEXT, lambda r: r.hop + (" (limiting)" if r.limiting else "")),
]


def refine_section(rows: Sequence[Refined]) -> ReportSection:
    """Barriers (eV), calls, and the forces of the first calls (meV/Angstrom)."""
    return ReportSection(
        key="refine",
        heading="Barriers relaxed with DFT",
        text=TEXT_LINES,
        tables=filled(barriers_table(rows), calls_table(rows), first_table(rows)),
    )


def barriers_table(rows: Sequence[Refined]) -> Table:
    """Barriers of DFT and of the potential, in eV."""
    columns = [
        *_HOP,
        Column("Potential (eV)", NUMBER, lambda r: number(r.mlip_forward_ev)),
        Column("DFT (eV)", NUMBER, lambda r: number(r.forward_ev)),
        Column("1 sigma of the correction (eV)", NUMBER, lambda r: number(r.std_ev)),
        Column("Reverse, potential (eV)", NUMBER, lambda r: number(r.mlip_reverse_ev)),
        Column("Reverse, DFT (eV)", NUMBER, lambda r: number(r.reverse_ev)),
        Column("D3 (eV)", NUMBER, lambda r: number(r.d3_forward_ev, signed=True)),
        Column(f"Curvature by DFT (eV/{ANGSTROM}^2)", NUMBER, _curvature),
        Column("Status", TEXT, lambda r: str(r.status)),
    ]
    return table("refine", columns, rows)


def calls_table(rows: Sequence[Refined]) -> Table:
    """What each barrier took, and the forces that are left."""
    columns = [
        *_HOP,
        Column("DFT calls", NUMBER, lambda r: number(r.calls, 0)),
        Column("Rounds", NUMBER, lambda r: number(r.rounds, 0)),
        Column("Core hours", NUMBER, lambda r: number(None if r.seconds is None else r.seconds / 3600, 2)),
        Column(f"Largest force left (meV/{ANGSTROM})", NUMBER, lambda r: thousandth(r.force_ev_per_angstrom)),
        Column(f"Limit (meV/{ANGSTROM})", NUMBER, lambda r: thousandth(r.limit_ev_per_angstrom)),
        Column("Change still predicted (meV)", NUMBER, lambda r: thousandth(r.change_ev)),
        Column(f"Length of the correction ({ANGSTROM})", NUMBER, lambda r: number(r.length_angstrom, 2)),
        Column("Amplitude (eV)", NUMBER, lambda r: number(r.amplitude_ev, 2)),
    ]
    return table("refine_calls", columns, [r for r in rows if r.calls], caption="DFT calls of each hop")


def first_table(rows: Sequence[Refined]) -> Table:
    """Potential and DFT at the geometries of the first calls."""
    milli = f"(meV/{ANGSTROM})"
    columns = [
        *_HOP,
        Column("Potential (eV)", NUMBER, lambda r: number(r.first.mlip_forward_ev)),
        Column("DFT, same geometry (eV)", NUMBER, lambda r: number(r.first.dft_forward_ev)),
        Column("Difference (eV)", NUMBER, lambda r: number(r.first.difference_ev, signed=True)),
        Column(f"Force on the ion {milli}", NUMBER, lambda r: thousandth(r.first.ion_force_ev_per_angstrom)),
        Column(f"First shell, rms {milli}", NUMBER, lambda r: thousandth(r.first.shell_force_rms_ev_per_angstrom)),
        Column(f"Error on the ion {milli}", NUMBER, lambda r: thousandth(r.first.ion_force_error_ev_per_angstrom)),
        Column(
            f"Error, first shell, rms {milli}",
            NUMBER,
            lambda r: thousandth(r.first.shell_force_error_rms_ev_per_angstrom),
        ),
    ]
    return table(
        "refine_first",
        columns,
        [r for r in rows if r.first is not None],
        caption="Before refinement: potential and DFT at the same geometry, forces at the saddle",
    )


def _curvature(row: Refined) -> Cell:
    value = row.curvature_ev_per_angstrom2
    cell = number(value, 2)
    return cell if value is None else cell.noted("(negative)" if value < 0 else "(positive)")
