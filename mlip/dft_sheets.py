"""Tables of the DFT stages: the ladder, energies around the barriers, convergence of the settings.

Takes results of `ladder`, `energetics` and `convergence` and the references; gives `Sheet`s. A value outside its window
is marked; what was not calculated is a dash with its status.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlip.config import Target
from mlip.convergence import INSERTION, Variant
from mlip.energetics import Adsorption, Energetics, Surface
from mlip.ladder import Step
from mlip.references import References, Value
from mlip.sheets import ANGSTROM, DASH, NUMBER, TEXT, UNITS, Column, Sheet, compact, number, sheet, unit

Tables = tuple[tuple[str, Sheet], ...]  # caption, table
INSIDE, OUTSIDE, OPEN = "inside", "outside", "not resolved"


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


_HOP: list[Column] = [
    ("Host", TEXT, lambda r: r.host),
    ("Ion", TEXT, lambda r: r.ion),
    ("Hop", TEXT, lambda r: r.hop + (" (limiting)" if r.limiting else "")),
]


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


def ladder(rows: Sequence[Step]) -> Tables:
    """Tables of the ladder, captions first."""
    return _shown(("", climbed(rows)), ("DFT forces at the saddle image", saddle_forces(rows)))


def energies(found: Energetics | None, references: References) -> Tables:
    """Tables of the energies around the barriers; without a run what comes with the references."""
    tables = [("", windows(measured(found, references)))]
    if found is not None:
        tables += [("Metals", metals(found)), ("Surfaces", surfaces(found.surfaces, found.target))]
        tables += [("Adsorption energies per ion", adsorption(found.adsorption, found.target))]
    return _shown(*tables, ("DFT of this project from earlier calculations", earlier(references)))


def convergence(rows: Sequence[Variant]) -> Tables:
    """The table of the settings."""
    return _shown(("", settings(rows)))


def _shown(*tables: tuple[str, Sheet]) -> Tables:
    return tuple(table for table in tables if table[1].rows)


def windows(rows: Sequence[Measured]) -> Sheet:
    """Quantities beside their windows."""
    columns: list[Column] = [
        ("Quantity", TEXT, lambda r: r.quantity),
        ("Of", TEXT, lambda r: r.of),
        ("This run", NUMBER, _run),
        ("Project, PBE", NUMBER, lambda r: DASH if r.own is None else compact(r.own)),
        ("Window", NUMBER, lambda r: f"{compact(r.low)} to {compact(r.high)}"),
        ("Unit", TEXT, lambda r: unit(r.unit)),
        ("Window for", TEXT, lambda r: r.method),
        ("In the window", TEXT, lambda r: r.where),
    ]
    return sheet(columns, rows)


def earlier(references: References) -> Sheet:
    """Our own DFT that comes with the references and has no window."""
    known = {_key(v) for v in references.values if v.role == "window"}
    columns: list[Column] = [
        ("Quantity", TEXT, lambda v: v.quantity),
        ("Of", TEXT, lambda v: " ".join(filter(None, (v.ion, v.facet)))),
        ("Value", NUMBER, lambda v: compact(v.value)),
        ("Unit", TEXT, lambda v: unit(v.unit)),
        ("How", TEXT, lambda v: v.method),
    ]
    return sheet(columns, [v for v in references.values if v.role == "own" and _key(v) not in known])


def _run(row: Measured) -> str:
    if row.run is None:
        return DASH
    return compact(row.run) + ("" if row.error is None else f" \u00b1 {row.error:.2g}")


def adsorption(rows: Sequence[Adsorption], target: Target) -> Sheet:
    """Adsorption energies against atom and metal."""
    columns: list[Column] = [
        ("Host", TEXT, lambda r: r.host),
        ("Ion", TEXT, lambda r: r.ion),
        ("Site", TEXT, lambda r: r.site),
        ("Against atom, PBE (eV)", NUMBER, lambda r: number(r.atom_ev)),
        ("with D3 (eV)", NUMBER, lambda r: number(r.atom_d3_ev)),
        ("Against metal, PBE (eV)", NUMBER, lambda r: number(r.metal_ev)),
        ("with D3 (eV)", NUMBER, lambda r: number(r.metal_d3_ev)),
        (f"Potential, against metal, {target.upper()} (eV)", NUMBER, lambda r: number(r.potential_metal_ev)),
        ("Per electron (eV)", NUMBER, lambda r: number(r.metal_per_electron_ev)),
        ("Voltage against own metal (V)", NUMBER, lambda r: number(r.voltage_v)),
        ("Status", TEXT, lambda r: r.status),
    ]
    return sheet(columns, rows)


def surfaces(rows: Sequence[Surface], target: Target) -> Sheet:
    """Surface energies of the facets."""
    columns: list[Column] = [
        ("Facet", TEXT, lambda r: r.name),
        ("Layers", NUMBER, lambda r: str(r.layers)),
        ("Atoms", NUMBER, lambda r: str(r.atoms)),
        (f"Area ({UNITS['A2']})", NUMBER, lambda r: number(r.area_angstrom2, 2)),
        ("PBE (J/m\u00b2)", NUMBER, lambda r: number(r.pbe_j_per_m2)),
        ("PBE-D3 (J/m\u00b2)", NUMBER, lambda r: number(r.d3_j_per_m2)),
        (f"Potential, {target.upper()} (J/m\u00b2)", NUMBER, lambda r: number(r.potential_j_per_m2)),
        ("Relaxed by", TEXT, lambda r: r.relaxed_by),
        ("Status", TEXT, lambda r: r.status),
    ]
    return sheet(columns, rows)


def metals(found: Energetics) -> Sheet:
    """Metals and atoms that adsorption energies refer to."""
    columns: list[Column] = [
        ("Metal", TEXT, lambda r: f"{r.structure} {r.symbol}"),
        (f"a, c ({ANGSTROM})", TEXT, lambda r: DASH if r.lattice is None else _lengths(r.lattice.lengths_angstrom)),
        ("Bulk modulus (GPa)", NUMBER, lambda r: number(r.lattice.hill_gpa if r.lattice else None, 1)),
        ("Cohesive energy, PBE (eV)", NUMBER, lambda r: number(r.cohesive_ev)),
        ("with D3 (eV)", NUMBER, lambda r: number(r.cohesive_d3_ev)),
        ("Status", TEXT, lambda r: r.status),
    ]
    return sheet(columns, found.metals)


def climbed(rows: Sequence[Step]) -> Sheet:
    """Barriers of the potential and of DFT at the same geometry."""
    columns: list[Column] = [
        *_HOP,
        ("Committee (eV)", NUMBER, lambda r: number(r.committee_forward_ev)),
        ("Potential, this band (eV)", NUMBER, lambda r: number(r.mlip_forward_ev)),
        ("DFT at its geometry (eV)", NUMBER, lambda r: number(r.dft_forward_ev)),
        ("Difference (eV)", NUMBER, lambda r: number(r.difference_ev, signed=True)),
        ("Reverse, potential (eV)", NUMBER, lambda r: number(r.mlip_reverse_ev)),
        ("Reverse, DFT (eV)", NUMBER, lambda r: number(r.dft_reverse_ev)),
        ("D3 (eV)", NUMBER, lambda r: number(r.d3_forward_ev, signed=True)),
        ("It follows", TEXT, _follows),
    ]
    return sheet(columns, rows)


def saddle_forces(rows: Sequence[Step]) -> Sheet:
    """DFT forces that are left at the saddle image, and the errors of the potential there."""
    milli = f"(meV/{ANGSTROM})"
    columns: list[Column] = [
        *_HOP,
        (f"On the ion {milli}", NUMBER, lambda r: _thousand(r.ion_force_ev_per_angstrom)),
        (f"along its way {milli}", NUMBER, lambda r: _thousand(r.ion_force_along_ev_per_angstrom)),
        (f"First shell, largest {milli}", NUMBER, lambda r: _thousand(r.shell_force_ev_per_angstrom)),
        (f"First shell, rms {milli}", NUMBER, lambda r: _thousand(r.shell_force_rms_ev_per_angstrom)),
        (f"Error on the ion {milli}", NUMBER, lambda r: _thousand(r.ion_force_error_ev_per_angstrom)),
        (f"Error, first shell, rms {milli}", NUMBER, lambda r: _thousand(r.shell_force_error_rms_ev_per_angstrom)),
    ]
    return sheet(columns, [r for r in rows if r.ion_force_ev_per_angstrom is not None])


def _follows(row: Step) -> str:
    parts = [row.verdict]
    if row.peak_ev is not None and row.peak != "saddle":
        parts.append(f"its DFT maximum is at least {number(row.peak_ev)} eV")
    if row.lacking and row.dft_forward_ev is not None:
        parts.append(row.status)
    return "; ".join(parts)


def settings(rows: Sequence[Variant]) -> Sheet:
    """Errors of the settings against the tightest of each study."""
    columns: list[Column] = [
        ("Study", TEXT, lambda r: r.study),
        ("Setting", TEXT, lambda r: words(r.settings) + (" (reference)" if r.reference else "")),
        ("Frames", NUMBER, lambda r: str(r.frames)),
        (f"Force error, rms (meV/{ANGSTROM})", NUMBER, lambda r: _milli(r, r.force_rms_ev_per_angstrom)),
        (f"largest (meV/{ANGSTROM})", NUMBER, lambda r: _milli(r, r.force_max_ev_per_angstrom)),
        (f"By species, rms (meV/{ANGSTROM})", TEXT, _species),
        (f"Net force per atom (meV/{ANGSTROM})", NUMBER, lambda r: _thousand(r.net_force_ev_per_angstrom)),
        ("Between configurations (meV)", NUMBER, lambda r: _milli(r, _largest(r, insertion=False))),
        ("Ion on its host (meV)", NUMBER, lambda r: _milli(r, _largest(r, insertion=True))),
        ("Seconds a frame", NUMBER, lambda r: number(r.seconds_per_frame, 0)),
        ("Status", TEXT, lambda r: r.status),
    ]
    return sheet(columns, rows)


def words(changes: Mapping[str, object]) -> str:
    """Settings in one line."""
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in changes.items()) or "as the run"


def _thousand(value: float | None) -> str:
    return number(1e3 * value if value is not None else None, 0)


def _milli(row: Variant, value: float | None) -> str:
    return DASH if row.reference else number(1e3 * value if value is not None else None, 1)


def _species(row: Variant) -> str:
    if row.reference or not row.force_rms_by_species:
        return DASH
    return ", ".join(f"{symbol} {1e3 * value:.0f}" for symbol, value in row.force_rms_by_species.items())


def _largest(row: Variant, *, insertion: bool) -> float | None:
    """The change of largest size, with its sign."""
    changes = [d.change_ev for d in row.differences if (d.kind == INSERTION) == insertion]
    return max(changes, key=abs, default=None)


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
