"""Report section of the stage `energetics`: quantities beside reference ranges, metals, surfaces, adsorption.

The section belongs to the report because it is shown without the stage too: the project's own DFT comes with the
references.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mlip.core.report import (
    ANGSTROM,
    DASH,
    NUMBER,
    PLUS_MINUS,
    TEXT,
    UNITS,
    Cell,
    Column,
    ReportSection,
    Table,
    compact,
    filled,
    number,
    table,
    unit,
    window,
)
from mlip.core.section import Target
from mlip.core.status import NOT_CALCULATED, NOT_RESOLVED
from mlip.literature.references import References, Value
from mlip.stages.energetics.energetics import Adsorption, Energetics, Surface

INSIDE, OUTSIDE = "inside", "outside"
QUANTITIES = {  # of energetics; windows of vibrations belong to the stage modes
    *("lattice a", "lattice c", "oxygen coordinate u", "bulk modulus (VRH)"),
    *("cohesive energy", "surface energy", "insertion energy"),
}
TEXT_LINES = (
    (
        "Values are PBE, extrapolated to zero smearing; values with D3(BJ) are given beside them. The window of a "
        "quantity is a range that should hold PBE values. Evidence of a window: S, read in a source; C, computed from "
        "public data; M, from memory, not verified at a source. The bulk modulus is the mean of the hydrostatic "
        "(Reuss) and the isotropic-strain (Voigt) moduli. 'This run' is calculated by the run itself. 'Project' is "
        "earlier DFT of this project, distributed with the code; its settings and date are in datasets/references. A "
        "value whose standard error exceeds half the width of its window is not resolved."
    ),
    (
        "Adsorption energies are single points at geometries relaxed by the potential; the clean host is relaxed by "
        "the same potential. Spin-paired PBE decides where the electron of the ion is localised, so adsorption "
        "energies are less certain than barriers. The values of the potential are at the level of the potential, with "
        "the energy of the metal taken from DFT."
    ),
)


def energies_section(found: Energetics | None, references: References) -> ReportSection:
    """Quantities beside their windows, and what the stage `energetics` calculated; empty without any of them."""
    tables = [windows(measured(found, references))]
    if found is not None:
        tables += [metals(found), surfaces(found.surfaces, found.target), adsorption(found.adsorption, found.target)]
    shown = filled(*tables, earlier(references))
    return ReportSection(
        key="energetics",
        heading="Lattice, metals, surfaces and adsorption",
        level="detail",
        text=TEXT_LINES if shown else (),
        tables=shown,
    )


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One PBE quantity beside its window, in `unit`.

    `run` was calculated by this run, `own` by an earlier calculation of the project.
    """

    quantity: str
    of: str
    unit: str
    run: float | None
    error: float | None  # standard error of `run`, where it is known
    own: float | None
    low: float
    high: float
    method: str
    evidence: str  # see `references`

    @property
    def where(self) -> str:
        """Whether the value of this run, or else the earlier one, lies in the window; an error may leave that open."""
        value = self.run if self.run is not None else self.own
        if value is None:
            return NOT_CALCULATED
        if self.run is not None and self.error is not None and self.error > (self.high - self.low) / 2:
            return NOT_RESOLVED
        return INSIDE if self.low <= value <= self.high else OUTSIDE


def measured(found: Energetics | None, references: References) -> tuple[Measured, ...]:
    """Every quantity of energetics that has a window, in the order of the file."""
    now = _values(found) if found is not None else {}
    errors = _errors(found) if found is not None else {}
    own = {_key(v): v.value for v in references.values if v.role == "own"}
    return tuple(
        Measured(
            quantity=w.quantity,
            of=w.ion or w.facet or "",
            unit=w.unit,
            run=now.get(_key(w)),
            error=errors.get(_key(w)),
            own=own.get(_key(w)),
            low=w.value,
            high=w.upper if w.upper is not None else w.value,
            method=w.method,
            evidence=w.evidence,
        )
        for w in references.values
        if w.role == "window" and w.quantity in QUANTITIES
    )


def windows(rows: Sequence[Measured]) -> Table:
    """Quantities beside their windows, each in the unit of its row."""
    columns = [
        Column("Quantity", TEXT, lambda r: r.quantity),
        Column("Element or facet", TEXT, lambda r: r.of),
        Column("This run", NUMBER, _run),
        Column("Project", NUMBER, lambda r: Cell(DASH) if r.own is None else compact(r.own)),
        Column("Window", NUMBER, lambda r: window(r.low, r.high)),
        Column("Unit", TEXT, lambda r: unit(r.unit)),
        Column("Method of the window", TEXT, lambda r: r.method),
        Column("Evidence", TEXT, lambda r: r.evidence),
        Column("Position", TEXT, lambda r: r.where),
    ]
    return table("windows", columns, rows)


def metals(found: Energetics) -> Table:
    """The metals that adsorption energies refer to: lengths in Angstrom, moduli in GPa, energies in eV per atom."""
    columns = [
        Column("Metal", TEXT, lambda r: f"{r.structure} {r.symbol}"),
        Column(
            f"a, c ({ANGSTROM})", TEXT, lambda r: DASH if r.lattice is None else _lengths(r.lattice.lengths_angstrom)
        ),
        Column("Bulk modulus (GPa)", NUMBER, lambda r: number(r.lattice.hill_gpa if r.lattice else None, 1)),
        Column("Cohesive energy, PBE (eV)", NUMBER, lambda r: number(r.cohesive_ev)),
        Column("Cohesive energy, PBE-D3 (eV)", NUMBER, lambda r: number(r.cohesive_d3_ev)),
        Column("Status", TEXT, lambda r: str(r.status)),
    ]
    return table("metals", columns, found.metals, caption="Metals")


def surfaces(rows: Sequence[Surface], target: Target) -> Table:
    """Surface energies of the facets (J/m^2)."""
    columns = [
        Column("Facet", TEXT, lambda r: r.name),
        Column("Layers", NUMBER, lambda r: str(r.layers)),
        Column("Atoms", NUMBER, lambda r: str(r.atoms)),
        Column(f"Area ({UNITS['A2']})", NUMBER, lambda r: number(r.area_angstrom2, 2)),
        Column("PBE (J/m\u00b2)", NUMBER, lambda r: number(r.pbe_j_per_m2)),
        Column("PBE-D3 (J/m\u00b2)", NUMBER, lambda r: number(r.d3_j_per_m2)),
        Column(f"Potential, {target.upper()} (J/m\u00b2)", NUMBER, lambda r: number(r.potential_j_per_m2)),
        Column("Relaxed by", TEXT, lambda r: r.relaxed_by),
        Column("Status", TEXT, lambda r: str(r.status)),
    ]
    return table("surfaces", columns, rows, caption="Surface energies")


def adsorption(rows: Sequence[Adsorption], target: Target) -> Table:
    """Adsorption energies (eV per ion) relative to the atom and to the metal, and voltages (V)."""
    relative = "Relative to the metal"
    columns = [
        Column("Host", TEXT, lambda r: r.host),
        Column("Ion", TEXT, lambda r: r.ion),
        Column("Site", TEXT, lambda r: r.site),
        Column("Relative to the atom, PBE (eV)", NUMBER, lambda r: number(r.atom_ev)),
        Column("Relative to the atom, PBE-D3 (eV)", NUMBER, lambda r: number(r.atom_d3_ev)),
        Column(f"{relative}, PBE (eV)", NUMBER, lambda r: number(r.metal_ev)),
        Column(f"{relative}, PBE-D3 (eV)", NUMBER, lambda r: number(r.metal_d3_ev)),
        Column(f"{relative}, potential, {target.upper()} (eV)", NUMBER, lambda r: number(r.potential_metal_ev)),
        Column(f"{relative}, per electron (eV)", NUMBER, lambda r: number(r.metal_per_electron_ev)),
        Column("Voltage against the metal (V)", NUMBER, lambda r: number(r.voltage_v)),
        Column("Status", TEXT, lambda r: r.status.detail),
    ]
    return table("adsorption", columns, rows, caption="Adsorption energies per ion")


def earlier(references: References) -> Table:
    """Earlier DFT of this project that has no window, each value in the unit of its row."""
    known = {_key(v) for v in references.values if v.role == "window"}
    columns = [
        Column("Quantity", TEXT, lambda v: v.quantity),
        Column("Ion and facet", TEXT, lambda v: " ".join(filter(None, (v.ion, v.facet)))),
        Column("Value", NUMBER, lambda v: compact(v.value)),
        Column("Unit", TEXT, lambda v: unit(v.unit)),
        Column("Method", TEXT, lambda v: v.method),
    ]
    return table(
        "own_dft",
        columns,
        [v for v in references.values if v.role == "own" and _key(v) not in known],
        caption="Earlier DFT of this project",
    )


def _run(row: Measured) -> Cell:
    if row.run is None or row.error is None:
        return Cell(DASH) if row.run is None else compact(row.run)
    return Cell(f"{compact(row.run)} {PLUS_MINUS} {row.error:.2g}", value=row.run, error=row.error)


def _lengths(lengths: Sequence[float]) -> str:
    distinct = dict.fromkeys(f"{x:.3f}" for x in lengths)
    return ", ".join(distinct)


def _key(value: Value) -> tuple[str, str | None, str | None]:
    """What a value is of; the facet of a surface energy by the name that it has in the run."""
    of_surface = value.quantity.startswith("surface energy") and value.host is not None
    return value.quantity, f"({value.host})" if of_surface else value.facet, value.ion


def _values(found: Energetics) -> dict[tuple[str, str | None, str | None], float]:
    """Values of a run under the names that windows have."""
    values: dict[tuple[str, str | None, str | None], float | None] = {}
    if found.crystal is not None:
        values["lattice a", "bulk", None] = found.crystal.lengths_angstrom[0]
        values["lattice c", "bulk", None] = found.crystal.lengths_angstrom[2]
        values["oxygen coordinate u", "bulk", None] = found.crystal.apex
        values["bulk modulus (VRH)", "bulk", None] = found.crystal.hill_gpa
    for metal in found.metals:
        values["cohesive energy", None, metal.symbol] = metal.cohesive_ev
    for surface in found.surfaces:
        values["surface energy", f"({surface.name})", None] = surface.pbe_j_per_m2
    for bound in found.adsorption:
        if bound.host == "bulk":
            values["insertion energy", "bulk", bound.ion] = bound.metal_ev
    return {key: value for key, value in values.items() if value is not None}


def _errors(found: Energetics) -> dict[tuple[str, str | None, str | None], float]:
    """Standard errors of the values that are fitted, under the same names."""
    errors = found.crystal.errors if found.crystal is not None else None
    if errors is None:
        return {}
    lengths = errors.lengths_angstrom
    known = {
        "lattice a": lengths[0],
        "lattice c": lengths[2],
        "oxygen coordinate u": errors.apex,
        "bulk modulus (VRH)": errors.hill_gpa,
    }
    return {(name, "bulk", None): value for name, value in known.items() if value is not None}
