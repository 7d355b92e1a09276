"""Report section on the energies around the barriers: quantities beside their windows, metals, surfaces, adsorption.

Without a run of the stage `energetics` the section shows the project's own DFT, which comes with the references.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mlip.core.report import (
    ANGSTROM,
    DASH,
    NUMBER,
    TEXT,
    UNITS,
    Column,
    ReportSection,
    Table,
    compact,
    filled,
    number,
    table,
    unit,
)
from mlip.core.section import Target
from mlip.literature.references import References, Value
from mlip.stages.energetics.energetics import Adsorption, Energetics, Surface

INSIDE, OUTSIDE, OPEN = "inside", "outside", "not resolved"
TEXT_LINES = (
    (
        "PBE, extrapolated to zero smearing; D3(BJ) beside it. The bulk modulus is the mean of the hydrostatic "
        "(Reuss) and the isotropic-strain (Voigt) one. 'Project' is our own DFT that comes with the code, with its "
        "settings and date in datasets/references; 'this run' is what the run itself calculated. A value whose "
        "standard error is more than half its window is not resolved."
    ),
    (
        "Adsorption energies are single points at geometries relaxed by the potential, the clean host by the same "
        "potential. The electron of the ion sits where spin-paired PBE puts it, so adsorption energies are less "
        "certain than barriers. The potential's column is at its own level and takes the metal from DFT."
    ),
)


def energies_section(found: Energetics | None, references: References) -> ReportSection:
    """Quantities beside their windows, and what the stage `energetics` calculated."""
    tables = [windows(measured(found, references))]
    if found is not None:
        tables += [metals(found), surfaces(found.surfaces, found.target), adsorption(found.adsorption, found.target)]
    return ReportSection(
        key="energetics",
        heading="Energies around the barriers",
        level="detail",
        text=TEXT_LINES,
        tables=filled(*tables, earlier(references)),
    )


@dataclass(frozen=True)
class Measured:
    """One PBE quantity beside its window; `run` is of this run, `own` from an earlier calculation of the project."""

    quantity: str
    of: str
    unit: str
    run: float | None
    error: float | None  # standard error of `run`, where it is known
    own: float | None
    low: float
    high: float
    method: str

    @property
    def where(self) -> str:
        """Whether the value of this run, or else the earlier one, lies in the window; an error may leave that open."""
        value = self.run if self.run is not None else self.own
        if value is None:
            return "not calculated"
        if self.run is not None and self.error is not None and self.error > (self.high - self.low) / 2:
            return OPEN
        return INSIDE if self.low <= value <= self.high else OUTSIDE


def measured(found: Energetics | None, references: References) -> tuple[Measured, ...]:
    """Every quantity that has a window, in the order of the file."""
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
        )
        for w in references.values
        if w.role == "window"
    )


def windows(rows: Sequence[Measured]) -> Table:
    """Quantities beside their windows."""
    columns = [
        Column("Quantity", TEXT, lambda r: r.quantity),
        Column("Of", TEXT, lambda r: r.of),
        Column("This run", NUMBER, _run),
        Column("Project, PBE", NUMBER, lambda r: DASH if r.own is None else compact(r.own)),
        Column("Window", NUMBER, lambda r: f"{compact(r.low)} to {compact(r.high)}"),
        Column("Unit", TEXT, lambda r: unit(r.unit)),
        Column("Window for", TEXT, lambda r: r.method),
        Column("In the window", TEXT, lambda r: r.where),
    ]
    return table("windows", columns, rows)


def metals(found: Energetics) -> Table:
    """Metals and atoms that adsorption energies refer to."""
    columns = [
        Column("Metal", TEXT, lambda r: f"{r.structure} {r.symbol}"),
        Column(
            f"a, c ({ANGSTROM})", TEXT, lambda r: DASH if r.lattice is None else _lengths(r.lattice.lengths_angstrom)
        ),
        Column("Bulk modulus (GPa)", NUMBER, lambda r: number(r.lattice.hill_gpa if r.lattice else None, 1)),
        Column("Cohesive energy, PBE (eV)", NUMBER, lambda r: number(r.cohesive_ev)),
        Column("with D3 (eV)", NUMBER, lambda r: number(r.cohesive_d3_ev)),
        Column("Status", TEXT, lambda r: r.status),
    ]
    return table("metals", columns, found.metals, caption="Metals")


def surfaces(rows: Sequence[Surface], target: Target) -> Table:
    """Surface energies of the facets."""
    columns = [
        Column("Facet", TEXT, lambda r: r.name),
        Column("Layers", NUMBER, lambda r: str(r.layers)),
        Column("Atoms", NUMBER, lambda r: str(r.atoms)),
        Column(f"Area ({UNITS['A2']})", NUMBER, lambda r: number(r.area_angstrom2, 2)),
        Column("PBE (J/m\u00b2)", NUMBER, lambda r: number(r.pbe_j_per_m2)),
        Column("PBE-D3 (J/m\u00b2)", NUMBER, lambda r: number(r.d3_j_per_m2)),
        Column(f"Potential, {target.upper()} (J/m\u00b2)", NUMBER, lambda r: number(r.potential_j_per_m2)),
        Column("Relaxed by", TEXT, lambda r: r.relaxed_by),
        Column("Status", TEXT, lambda r: r.status),
    ]
    return table("surfaces", columns, rows, caption="Surfaces")


def adsorption(rows: Sequence[Adsorption], target: Target) -> Table:
    """Adsorption energies against atom and metal."""
    columns = [
        Column("Host", TEXT, lambda r: r.host),
        Column("Ion", TEXT, lambda r: r.ion),
        Column("Site", TEXT, lambda r: r.site),
        Column("Against atom, PBE (eV)", NUMBER, lambda r: number(r.atom_ev)),
        Column("with D3 (eV)", NUMBER, lambda r: number(r.atom_d3_ev)),
        Column("Against metal, PBE (eV)", NUMBER, lambda r: number(r.metal_ev)),
        Column("with D3 (eV)", NUMBER, lambda r: number(r.metal_d3_ev)),
        Column(f"Potential, against metal, {target.upper()} (eV)", NUMBER, lambda r: number(r.potential_metal_ev)),
        Column("Per electron (eV)", NUMBER, lambda r: number(r.metal_per_electron_ev)),
        Column("Voltage against own metal (V)", NUMBER, lambda r: number(r.voltage_v)),
        Column("Status", TEXT, lambda r: r.status),
    ]
    return table("adsorption", columns, rows, caption="Adsorption energies per ion")


def earlier(references: References) -> Table:
    """Our own DFT that comes with the references and has no window."""
    known = {_key(v) for v in references.values if v.role == "window"}
    columns = [
        Column("Quantity", TEXT, lambda v: v.quantity),
        Column("Of", TEXT, lambda v: " ".join(filter(None, (v.ion, v.facet)))),
        Column("Value", NUMBER, lambda v: compact(v.value)),
        Column("Unit", TEXT, lambda v: unit(v.unit)),
        Column("How", TEXT, lambda v: v.method),
    ]
    return table(
        "own_dft",
        columns,
        [v for v in references.values if v.role == "own" and _key(v) not in known],
        caption="DFT of this project from earlier calculations",
    )


def _run(row: Measured) -> str:
    if row.run is None:
        return DASH
    return compact(row.run) + ("" if row.error is None else f" \u00b1 {row.error:.2g}")


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
