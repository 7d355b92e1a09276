"""Tables as text: rows of the report in, cells out, the same for HTML, Markdown and the terminal.

Takes `rows.Rows`, findings of the audit, sites and errors; gives `Sheet`s. A missing number is a dash; statuses are
words. Energies in eV, errors in meV, lengths in Angstrom, as the headers say.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlip.atoms.structures import Host
from mlip.literature.audit import Finding
from mlip.literature.references import References
from mlip.stages.evaluate.evaluate import Evaluation
from mlip.stages.report.rows import Comparison, Headline, HopRow, Nearest, Other, PathRow
from mlip.stages.sites.sites import Site

Column = tuple[str, str, Callable[[Any], str]]  # header, kind, row -> cell
TEXT, NUMBER, VERDICT = "text", "number", "verdict"
DASH = "\u2013"
MINUS = "\u2212"
PLUS_MINUS = "\u00b1"
ANGSTROM = "\u00c5"
UNITS = {"1": "", "A2": f"{ANGSTROM}\u00b2", "1/A": f"1/{ANGSTROM}", "m2/g": "m\u00b2/g", "cm2/s": "cm\u00b2/s"}


@dataclass(frozen=True)
class Sheet:
    """One table: `kinds` holds 'text', 'number' or 'verdict' for every column."""

    columns: tuple[str, ...]
    kinds: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def number(value: float | None, digits: int = 3, *, signed: bool = False) -> str:
    """A number with a fixed count of decimals and a true minus, or a dash."""
    if value is None:
        return DASH
    text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", MINUS)


def compact(value: float) -> str:
    """A number of any size in four significant digits."""
    small = value != 0 and (abs(value) < 1e-3 or abs(value) >= 1e5)
    return (f"{value:.2e}" if small else f"{value:.4g}").replace("-", MINUS)


def unit(text: str) -> str:
    """A unit as it is printed: squares raised, Angstrom as its symbol, nothing for a plain number."""
    return UNITS.get(text, text)


def with_error(value: float | None, error: float | None, digits: int = 2) -> str:
    """Value and error, or a dash where there is no value."""
    if value is None or error is None:
        return number(value, digits)
    return f"{number(value, digits)} {PLUS_MINUS} {number(error, digits)}"


def sheet(columns: Sequence[Column], rows: Iterable[Any]) -> Sheet:
    """A table of rows from its columns."""
    return Sheet(
        columns=tuple(label for label, _, _ in columns),
        kinds=tuple(kind for _, kind, _ in columns),
        rows=tuple(tuple(cell(row) for _, _, cell in columns) for row in rows),
    )


def headline(rows: Sequence[Headline], *, target: str) -> Sheet:
    """The headline table: one line per published barrier; DFT with D3, the potential where D3 is known."""
    dispersion: list[Column] = [("D3 in it (eV)", NUMBER, lambda r: number(r.d3_ev, signed=True))]
    columns: list[Column] = [
        ("Ion", TEXT, lambda r: r.ion),
        ("Facet", TEXT, lambda r: r.facet),
        ("Published (eV)", NUMBER, lambda r: number(r.published_ev)),
        ("Our DFT (eV)", NUMBER, dft_with_hop),
        (f"Potential, {PLUS_MINUS} 2 sigma (eV)", NUMBER, lambda r: with_error(r.ours_ev, r.two_sigma_ev)),
        *(dispersion if target == "pbe" else ()),
        ("Difference (eV)", NUMBER, lambda r: number(r.difference_ev, 2, signed=True)),
        ("Verdict", VERDICT, lambda r: r.verdict),
        ("Why", TEXT, lambda r: r.reason),
        ("Limiting hop", TEXT, lambda r: f"{r.limiting_hop}, from {r.start}" if r.limiting_hop else DASH),
    ]
    return sheet(columns, rows)


def dft_with_hop(row: Headline) -> str:
    """The DFT barrier of a headline row, with the hop where it is not the limiting one."""
    return number(row.dft_ev) + (f" ({row.dft_hop})" if row.dft_is_elsewhere else "")


def budget(rows: Sequence[Headline]) -> Sheet:
    """Parts of the uncertainty of every headline barrier that has one, 1 sigma each."""
    columns: list[Column] = [
        ("Ion", TEXT, lambda r: r.ion),
        ("Facet", TEXT, lambda r: r.facet),
        ("Committee, calibrated (eV)", NUMBER, lambda r: number(r.budget.committee_ev)),
        ("Held-out path (eV)", NUMBER, lambda r: number(r.budget.held_out_ev)),
        ("Convergence (eV)", NUMBER, lambda r: number(r.budget.convergence_ev)),
        ("Dispersion (eV)", NUMBER, lambda r: number(r.budget.dispersion_ev)),
        ("Total, 1 sigma (eV)", NUMBER, lambda r: number(r.budget.total_ev)),
    ]
    return sheet(columns, [r for r in rows if r.budget is not None])


def hops(rows: Sequence[HopRow]) -> Sheet:
    """Every hop of the network."""
    columns: list[Column] = [
        ("Host", TEXT, lambda r: r.host),
        ("Ion", TEXT, lambda r: r.ion),
        ("Hop", TEXT, lambda r: r.hop),
        ("Sites", TEXT, lambda r: r.sites),
        (f"Length ({ANGSTROM})", NUMBER, lambda r: number(r.length_angstrom, 2)),
        ("Ways", NUMBER, lambda r: str(r.multiplicity)),
        ("Status", TEXT, lambda r: r.status),
        ("Forward (eV)", NUMBER, lambda r: number(r.forward_ev)),
        ("Reverse (eV)", NUMBER, lambda r: number(r.reverse_ev)),
        ("Spread (eV)", NUMBER, lambda r: number(r.std_ev)),
        ("D3 (eV)", NUMBER, lambda r: number(r.d3_ev, signed=True)),
        ("Forward = reverse", TEXT, _symmetry),
        ("Members", NUMBER, lambda r: str(r.members)),
        ("DFT (eV)", NUMBER, lambda r: number(r.dft_ev)),
        ("DFT geometry", TEXT, lambda r: r.dft_note or DASH),
    ]
    return sheet(columns, rows)


def _symmetry(row: HopRow) -> str:
    if row.mirrored:
        return "by construction: half of the images made by symmetry"
    if not row.symmetric or row.asymmetry_ev is None:
        return DASH
    return f"{'yes' if row.asymmetry_ok else 'no'}, {1e3 * row.asymmetry_ev:.1f} meV"


def paths(rows: Sequence[PathRow]) -> Sheet:
    """Lowest way between neighbouring equivalent sites, per host, ion and direction."""
    columns: list[Column] = [
        ("Host", TEXT, lambda r: r.host),
        ("Ion", TEXT, lambda r: r.ion),
        ("Direction", TEXT, lambda r: r.direction),
        ("From", TEXT, lambda r: r.start),
        (f"Barrier, {PLUS_MINUS} 2 sigma (eV)", NUMBER, lambda r: with_error(r.barrier_ev, r.two_sigma_ev)),
        ("D3 (eV)", NUMBER, lambda r: number(r.d3_ev, signed=True)),
        ("Path", TEXT, lambda r: " then ".join(r.hops) or DASH),
        ("Limiting hop", TEXT, lambda r: r.limiting_hop or DASH),
        ("Status", TEXT, lambda r: r.status),
    ]
    return sheet(columns, rows)


def nearest(rows: Sequence[Nearest]) -> Sheet:
    """The computed hop nearest to each published value, and how likely that is by chance."""
    columns: list[Column] = [
        ("Ion", TEXT, lambda r: r.ion),
        ("Facet", TEXT, lambda r: r.facet),
        ("Published (eV)", NUMBER, lambda r: number(r.published_ev)),
        ("Nearest hop", TEXT, lambda r: f"{r.hop}, {r.sense}" if r.hop else "none converged"),
        ("Its barrier (eV)", NUMBER, lambda r: number(r.mlip_ev)),
        ("Difference (eV)", NUMBER, lambda r: number(r.difference_ev, signed=True)),
        ("Barriers looked at", NUMBER, lambda r: str(r.looked_at)),
        ("Chance of a match", NUMBER, lambda r: f"{100 * r.chance:.0f} %" if r.chance is not None else DASH),
    ]
    return sheet(columns, rows)


def order(rows: Sequence[Comparison]) -> Sheet:
    """Claimed orders and facet contrasts."""
    columns: list[Column] = [
        ("Claim", TEXT, lambda r: r.statement),
        ("Published (eV)", NUMBER, lambda r: number(r.published_difference_ev, signed=True)),
        (f"Ours, {PLUS_MINUS} 2 sigma (eV)", NUMBER, lambda r: with_error(r.difference_ev, r.two_sigma_ev)),
        ("In sigmas", NUMBER, lambda r: number(r.sigmas, 1)),
        ("Outcome", TEXT, lambda r: r.outcome),
    ]
    return sheet(columns, rows)


def other(rows: Sequence[Other]) -> Sheet:
    """Published quantities that this run has no value for."""
    columns: list[Column] = [
        ("Quantity", TEXT, lambda r: r.quantity),
        ("Ion", TEXT, lambda r: r.ion or DASH),
        ("Facet", TEXT, lambda r: r.facet),
        ("Published", NUMBER, lambda r: compact(r.value)),
        ("Unit", TEXT, lambda r: r.unit),
        ("Method", TEXT, lambda r: r.method),
        ("Ours", TEXT, lambda r: r.status),
    ]
    return sheet(columns, rows)


def sites(found: Sequence[Site]) -> Sheet:
    """Relaxed sites; a site that is not relaxed has a status and no energy."""
    columns: list[Column] = [
        ("Host", TEXT, lambda s: s.host),
        ("Ion", TEXT, lambda s: s.ion),
        ("Site", TEXT, lambda s: s.name),
        ("Layer", TEXT, lambda s: s.layer),
        ("Energy (eV)", NUMBER, lambda s: number(s.energy_ev if s.status == "relaxed" else None)),
        (f"Depth ({ANGSTROM})", NUMBER, lambda s: number(s.depth_angstrom, 2)),
        ("O neighbours", NUMBER, lambda s: str(s.coordination)),
        ("Copies", NUMBER, lambda s: str(s.multiplicity)),
        ("Status", TEXT, lambda s: s.status),
    ]
    return sheet(columns, found)


def hosts(found: Sequence[Host]) -> Sheet:
    """Cells of the run."""
    columns: list[Column] = [
        ("Cell", TEXT, lambda h: h.name),
        ("Formula", TEXT, lambda h: h.formula),
        (f"a, b, c ({ANGSTROM})", TEXT, lambda h: ", ".join(f"{x:.2f}" for x in h.cell_angstrom[:3])),
        ("Coordination", TEXT, lambda h: ", ".join(f"{n} {k}" for k, n in h.coordination.items())),
        (f"Thickness ({ANGSTROM})", NUMBER, lambda h: number(h.thickness_angstrom, 2)),
        (f"Area ({UNITS['A2']})", NUMBER, lambda h: number(h.area_angstrom2, 1)),
        ("Space group", TEXT, lambda h: h.spacegroup),
        ("Note", TEXT, lambda h: h.note or DASH),
    ]
    return sheet(columns, found)


def arms(found: Evaluation) -> Sheet:
    """Errors of every potential on the same held-out frames."""
    columns: list[Column] = [
        ("Potential", TEXT, lambda e: e.arm),
        ("Frames", NUMBER, lambda e: str(e.frames)),
        (f"Force RMSE (meV/{ANGSTROM})", NUMBER, lambda e: _milli(e.force_rmse_ev_per_angstrom, 1)),
        (f"Ion and first shell (meV/{ANGSTROM})", NUMBER, lambda e: _milli(e.ion_shell_force_rmse, 1)),
        ("Energy RMSE (meV/atom)", NUMBER, lambda e: _milli(e.energy_rmse_ev_per_atom, 2)),
        ("Force slope", NUMBER, lambda e: number(e.force_slope)),
        ("Calibration", NUMBER, lambda e: number(e.calibration, 2)),
    ]
    return sheet(columns, found.arms)


def species(found: Evaluation) -> Sheet:
    """Force errors of the run's own potential by species."""
    columns: list[Column] = [
        ("Species", TEXT, lambda item: item[0]),
        (f"Force RMSE (meV/{ANGSTROM})", NUMBER, lambda item: _milli(item[1], 1)),
    ]
    return sheet(columns, found.arms[0].species_force_rmse.items() if found.arms else ())


def groups(found: Evaluation) -> Sheet:
    """Errors of the run's own potential by held-out group."""
    columns: list[Column] = [
        ("Held-out group", TEXT, lambda g: g.group),
        ("Frames", NUMBER, lambda g: str(g.frames)),
        (f"Force RMSE (meV/{ANGSTROM})", NUMBER, lambda g: _milli(g.force_rmse_ev_per_angstrom, 1)),
        ("Energy RMSE (meV/atom)", NUMBER, lambda g: _milli(g.energy_rmse_ev_per_atom, 2)),
    ]
    return sheet(columns, found.arms[0].groups if found.arms else ())


def path_errors(found: Evaluation) -> Sheet:
    """Energy of the saddles of held-out paths, per cell."""
    columns: list[Column] = [
        ("Held-out path", TEXT, lambda p: p.group),
        ("Saddle", TEXT, lambda p: p.saddle),
        ("DFT (eV)", NUMBER, lambda p: number(p.dft_ev)),
        ("Potential (eV)", NUMBER, lambda p: number(p.model_ev)),
        ("Error (meV per cell)", NUMBER, lambda p: number(1e3 * (p.model_ev - p.dft_ev), 0, signed=True)),
    ]
    return sheet(columns, found.arms[0].paths if found.arms else ())


def _milli(value: float | None, digits: int) -> str:
    return number(1e3 * value if value is not None else None, digits)


def audit(found: Sequence[Finding]) -> Sheet:
    """The audit, one line per claim, for Markdown."""
    columns: list[Column] = [
        ("Topic", TEXT, lambda f: f.topic),
        ("Claimed", TEXT, lambda f: f"{f.claimed} ({f.where})"),
        ("Its own numbers give", TEXT, figures),
        ("It follows", TEXT, lambda f: f.consequence or DASH),
    ]
    return sheet(columns, found)


def figures(finding: Finding) -> str:
    """The numbers of a finding in one line, or its status."""
    parts = [f"{n.name}: {compact(n.value)} {unit(n.unit)}".strip() for n in finding.numbers]
    return "; ".join(parts) if parts else finding.status


def independent(references: References) -> Sheet:
    """Independent migration barriers with their sources and evidence tags."""
    cited = {s.key: s.citation for s in references.sources}
    columns: list[Column] = [
        ("Ion", TEXT, lambda v: v.ion or DASH),
        ("Medium", TEXT, lambda v: v.facet or DASH),
        ("Barrier (eV)", NUMBER, lambda v: compact(v.value)),
        ("Method", TEXT, lambda v: v.method),
        ("Evidence", TEXT, lambda v: v.evidence),
        ("Source", TEXT, lambda v: "; ".join(cited[k] for k in v.sources)),
    ]
    return sheet(columns, references.select(role="independent", quantity="migration barrier"))


def flat(mapping: Mapping[str, object], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Key and value of every leaf of nested mappings, keys joined by dots."""
    for key, value in mapping.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from flat({str(k): v for k, v in value.items()}, f"{name}.")
        elif isinstance(value, (list, tuple)) and any(isinstance(v, Mapping) for v in value):
            yield from flat({str(k): v for k, v in enumerate(value, 1)}, f"{name}.")
        else:
            joined = ", ".join(str(v) for v in value) if isinstance(value, (list, tuple)) else str(value)
            yield name, joined


def card(mapping: Mapping[str, object]) -> Sheet:
    """A card, settings or provenance as two columns."""
    columns: list[Column] = [("Key", TEXT, lambda item: item[0]), ("Value", TEXT, lambda item: item[1])]
    return sheet(columns, flat(mapping))
