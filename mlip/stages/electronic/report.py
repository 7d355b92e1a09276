"""Report section of the stage `electronic`: gaps, densities of states, Bader charges, changes of the density."""

from collections.abc import Sequence
from dataclasses import replace

from mlip.core.report import ANGSTROM, DASH, NUMBER, TEXT, Column, Figure, ReportSection, Table, filled, number, table
from mlip.core.status import RESOLVED, Status
from mlip.stages.electronic import figures
from mlip.stages.electronic.gaps import Edge
from mlip.stages.electronic.result import Electronic, HostStates, IonCharge

GAP_TEXT = (
    (
        "Gaps are differences of Kohn-Sham levels in PBE. PBE gaps are smaller than measured gaps, so the report "
        "compares them with published PBE gaps alone. The gap of a slab is the gap of all its states, surface states "
        "included. A gap has a value if the last two meshes agree within the limit of the settings."
    ),
    (
        "Outer layers: the percentage of the states within 0.2 eV of the band edge that lies in the two outermost "
        "formula layers; the number in brackets is the percentage of the atoms in these layers. A percentage of states "
        "far above the number in brackets indicates surface states."
    ),
)
CHARGE_TEXT = (
    (
        "Bader charge: the number of valence electrons of the neutral atom minus the number of valence electrons in "
        "its Bader basin. The charge is positive if the ion has given electrons away. The basins are those of the "
        "all-electron density, core electrons included. A charge has a value if two grids agree within the limit of "
        "the settings."
    ),
    (
        "Moved electrons: half of the integral of the absolute change of the density when the neutral ion is added to "
        "the host, all atoms in the same positions. In PBE, the electrons that Li and Mg give away are spread over the "
        "Ti atoms; PBE does not localise these electrons as polarons."
    ),
)


def electronic_sections(result: Electronic) -> tuple[ReportSection, ...]:
    """Gaps of the clean hosts and charges of the ions."""
    drawn = [host for host in result.hosts if host.energies_ev]
    changed = [row for row in result.ions if shown(row).planar]
    states = ReportSection(
        key="gaps",
        heading="Band gaps and densities of states",
        text=GAP_TEXT,
        tables=filled(gaps_table(result.hosts), meshes_table(result.hosts)),
        figures=tuple(_states_figure(host) for host in drawn),
        small_figures=True,
    )
    charges = ReportSection(
        key="charges",
        heading="Bader charges and charge density differences",
        text=CHARGE_TEXT,
        tables=filled(charges_table(result.ions), neighbours_table(result.ions)),
        figures=tuple(_change_figure(row) for row in changed),
        small_figures=True,
    )
    return tuple(s for s, rows in ((states, result.hosts), (charges, result.ions)) if rows)


def shown(row: IonCharge) -> IonCharge:
    """The row without the numbers of the parts that are not resolved."""
    if not _is_resolved(row.difference_status):
        row = replace(row, moved=None, integral=None, neighbours=(), heights_angstrom=(), planar=(), section=())
    if not _is_resolved(row.moment_status):
        row = replace(row, moment_bohr=None, spin_energy_ev=None)
    return row


def _is_resolved(status: Status | None) -> bool:
    return status is not None and status.code == RESOLVED


def _statuses(row: IonCharge) -> str:
    """The statuses of the parts that were calculated, by their names in `electronic.parts`."""
    parts = (("charges", row.status), ("difference", row.difference_status), ("spin", row.moment_status))
    return "; ".join(f"{part}: {status}" for part, status in parts if status is not None)


def gaps_table(rows: Sequence[HostStates]) -> Table:
    """Gaps in eV, and the layers and elements of the states at both band edges."""
    columns = [
        Column("Host", TEXT, lambda r: r.host),
        Column("Gap (eV)", NUMBER, lambda r: number(r.gap_ev, 2)),
        Column("Smallest direct gap (eV)", NUMBER, lambda r: number(r.direct_ev, 2)),
        Column("Kind", TEXT, _kind),
        Column("Top of the valence band: outer layers", TEXT, lambda r: _outer(r.valence)),
        Column("Bottom of the conduction band: outer layers", TEXT, lambda r: _outer(r.conduction)),
        Column("Elements at the two edges", TEXT, lambda r: f"{_elements(r.valence)}; {_elements(r.conduction)}"),
        Column("Status", TEXT, lambda r: str(r.status)),
    ]
    return table("electronic_gaps", columns, rows)


def _kind(row: HostStates) -> str:
    if row.gap_ev is None or not row.meshes:
        return DASH
    last = row.meshes[-1]
    return "direct" if last.is_direct else f"indirect, {_point(last.top)} to {_point(last.bottom)}"


def _point(coordinates: Sequence[float]) -> str:
    return f"({', '.join(f'{c:g}' for c in coordinates)})"


def _outer(edge: Edge | None) -> str:
    if edge is None or edge.outer is None or edge.share is None:
        return DASH
    return f"{100 * edge.outer:.0f} % ({100 * edge.share:.0f} %)"


def _elements(edge: Edge | None) -> str:
    if edge is None:
        return DASH
    most = max(edge.elements, key=lambda s: edge.elements[s])
    return f"{100 * edge.elements[most]:.0f} % {most}"


def meshes_table(rows: Sequence[HostStates]) -> Table:
    """Gaps in eV on every mesh."""
    every = [(row, mesh) for row in rows for mesh in row.meshes]
    columns = [
        Column("Host", TEXT, lambda p: p[0].host),
        Column("Mesh", TEXT, lambda p: " x ".join(map(str, p[1].mesh))),
        Column("Irreducible points", NUMBER, lambda p: str(p[1].points)),
        Column("Gap (eV)", NUMBER, lambda p: number(p[1].gap_ev, 3)),
        Column("Smallest direct gap (eV)", NUMBER, lambda p: number(p[1].direct_ev, 3)),
    ]
    return table("electronic_meshes", columns, every, caption="Convergence of the gaps with the k-mesh")


def charges_table(rows: Sequence[IonCharge]) -> Table:
    """Charges in e on both grids, moved electrons, and magnetic moments."""
    columns = [
        Column("Host", TEXT, lambda r: r.host),
        Column("Ion", TEXT, lambda r: r.ion),
        Column("Site", TEXT, lambda r: r.site),
        Column("Bader charge (e)", NUMBER, lambda r: number(r.charge_e, 2)),
        Column("On the two grids (e)", TEXT, lambda r: ", ".join(f"{q:.3f}" for _, q in r.grids) or DASH),
        Column("Electrons in no basin", NUMBER, lambda r: number(r.electrons_left, 3)),
        Column("Moved electrons", NUMBER, lambda r: number(r.moved, 2)),
        Column("Integral of the change (e)", NUMBER, lambda r: number(r.integral, 4)),
        Column("Moment of the cell, spin-polarised (Bohr magnetons)", NUMBER, lambda r: number(r.moment_bohr, 2)),
        Column("Spin-polarised less spin-paired (eV)", NUMBER, lambda r: number(r.spin_energy_ev, 3)),
        Column("Status", TEXT, _statuses),
    ]
    return table("electronic_charges", columns, [shown(row) for row in rows])


def neighbours_table(rows: Sequence[IonCharge]) -> Table:
    """By how much (e) the charges of the nearest atoms change when the ion is added."""
    every = [(row, near) for row in rows for near in shown(row).neighbours]
    columns = [
        Column("Host", TEXT, lambda p: p[0].host),
        Column("Ion", TEXT, lambda p: p[0].ion),
        Column("Neighbour", TEXT, lambda p: p[1][0]),
        Column(f"Distance ({ANGSTROM})", NUMBER, lambda p: number(p[1][1], 2)),
        Column("Change of its charge (e)", NUMBER, lambda p: number(p[1][2], 3, signed=True)),
    ]
    return table("electronic_neighbours", columns, every, caption="Neighbours of the ion")


def _states_figure(row: HostStates) -> Figure:
    gap = f"gap {row.gap_ev:.2f} eV" if row.gap_ev is not None else str(row.status)
    return Figure(
        image=figures.states(row),
        form="svg+xml",
        caption=f"Density of states of {row.host} per cell of {row.atoms} atoms, {gap}",
        alt=f"density of states of {row.host} over energy, total and by element, zero at the top of the valence band",
    )


def _change_figure(row: IonCharge) -> Figure:
    return Figure(
        image=figures.change(row),
        form="svg+xml",
        caption=f"Change of the density by {row.ion} at {row.site} on {row.host}: section and average over planes",
        alt=(
            f"section through {row.ion} on {row.host}: density gained and lost when the ion is added, and "
            "beside the section the average over planes along the normal"
        ),
    )
