"""Report sections of the stage `modes`: proved saddles with their vibrations, and the phonons of the crystal."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from ase import Atoms

from mlip.core.report import (
    ANGSTROM,
    DASH,
    NUMBER,
    TEXT,
    Cell,
    Column,
    Figure,
    ReportSection,
    Table,
    compact,
    filled,
    number,
    table,
    window,
    with_error,
)
from mlip.core.units import WAVE_NUMBER_PER_THZ
from mlip.literature.references import References, Value
from mlip.stages.modes.headline import APART_EV
from mlip.stages.modes.phonons import ACOUSTIC_THZ
from mlip.stages.modes.pictures import bands_picture, mode_picture
from mlip.stages.modes.result import NO_BAND, PROVED, BulkPhonons, GammaMode, HeatCapacity, HopModes, Modes

USUAL_THZ = (1.0, 30.0)
ROOM_KELVIN = 300.0
TEXT_LINES = (
    (
        "A saddle is proved if four conditions hold for the mean of the committee in float64: the Hessian at the "
        "saddle has exactly one unstable mode; this mode points along the hop; the descents on both sides end in the "
        "two named sites, or in minima that the band passes below the saddle; and the Hessians at the ends have no "
        "unstable mode. Other saddles have a status and no barrier. Only saddles that limit a path are drawn; all of "
        "them are in modes/hops as extended XYZ."
    ),
    (
        "Prefactors are Vineyard's ratios of products of frequencies, of one saddle and one well, over all atoms that "
        "may move. The range covers the Hessians of the single members at the same geometry, without members for which "
        "the geometry is no first-order saddle. Prefactors from the ion and its first shell alone show how much of the "
        "lattice takes part. The spread of a barrier is the standard deviation over the members, without calibration."
    ),
)
BULK_LINES = (
    "Phonons are from finite displacements in the cell of the labels, at positions relaxed with the potential.",
    (
        "The potential has no long-range electrostatics, so longitudinal and transverse optical modes do not split at "
        "\u0393: the frequencies there are those of the transverse modes."
    ),
    "(C): computed for this project from published force constants; (M): from memory, not verified at the source.",
)
_HOP: list[Column] = [
    Column("Host", TEXT, lambda r: r.host),
    Column("Ion", TEXT, lambda r: r.ion),
    Column("Hop", TEXT, lambda r: r.hop),
]


def modes_sections(
    result: Modes,
    saddles: Mapping[tuple[str, str, str], Atoms],
    references: References,
    bands_ev: Mapping[tuple[str, str, str], float],
) -> tuple[ReportSection, ...]:
    """Everything the stage says.

    Args:
        result: of the stage.
        saddles: refined saddles to be drawn, by host, ion and hop.
        references: published values of the run's crystal.
        bands_ev: barriers of the bands, by host, ion and hop.
    """
    hops = saddles_section(result.hops, saddles, bands_ev)
    bulk = (
        phonons_section(result.bulk, references)
        if result.bulk
        else ReportSection(key="phonons", heading="Phonons of the crystal", points=result.notes)
    )
    return hops, bulk


def saddles_section(
    hops: Sequence[HopModes],
    saddles: Mapping[tuple[str, str, str], Atoms],
    bands_ev: Mapping[tuple[str, str, str], float],
) -> ReportSection:
    """Barriers between stationary points, frequencies, prefactors, and the unstable modes drawn."""
    figures = tuple(
        _figure(
            mode_picture(saddles[hop.key], np.array(hop.mode)), f"{hop.ion} {hop.hop}: the unstable mode at the saddle"
        )
        for hop in hops
        if hop.status.code == PROVED and hop.key in saddles
    )
    return ReportSection(
        key="modes",
        heading="Saddles proved by their modes",
        text=TEXT_LINES if hops else (),
        points=(*counts(hops), *off_the_band(hops, bands_ev), *unusual(hops), *several(hops)),
        tables=filled(saddles_table(hops), frequencies_table(hops)),
        figures=figures,
        small_figures=True,
    )


def counts(hops: Sequence[HopModes]) -> tuple[str, ...]:
    """How many saddles are proved, in one line."""
    tried = [hop for hop in hops if hop.status.code != NO_BAND]
    if not tried:
        return ()
    failed = Counter(hop.status.code for hop in tried if hop.status.code != PROVED)
    others = ", ".join(f"{count} {code}" for code, count in failed.most_common())
    return (f"{len(tried) - failed.total()} of {len(tried)} saddles are proved" + (f"; {others}." if others else "."),)


def off_the_band(hops: Sequence[HopModes], bands_ev: Mapping[tuple[str, str, str], float]) -> tuple[str, ...]:
    """Proved saddles that lie elsewhere in energy than the bands: the bands have found another way."""
    lines = []
    for hop in hops:
        band = bands_ev.get(hop.key)
        if hop.status.code != PROVED or hop.forward_ev is None or band is None:
            continue
        apart = hop.forward_ev - band
        if abs(apart) > APART_EV:
            side = "below" if apart < 0 else "above"
            lines.append(
                f"{hop.ion} {hop.hop}: the proved saddle is {abs(apart):.2f} eV {side} the barrier of the bands "
                f"({band:.2f} eV), so it is the saddle of another way between the same sites. Rates use the saddle, "
                + (
                    "the tables of hops and paths use the bands, whose barrier is an upper bound."
                    if apart < 0
                    else "the tables of hops and paths use the bands."
                )
            )
    return tuple(lines)


def unusual(hops: Sequence[HopModes]) -> tuple[str, ...]:
    """Prefactors outside the usual range, each with the frequencies that make it so."""
    low, high = USUAL_THZ
    lines = []
    for hop in hops:
        value = hop.forward_prefactor_thz
        if value is None or low <= value <= high:
            continue
        means = [float(np.exp(np.log(thz).mean())) for thz in (hop.initial_thz, hop.saddle_thz)]
        side = "stiffer" if value < low else "softer"
        lines.append(
            f"{hop.ion} {hop.hop}: the prefactor of {value:.3g} THz is outside {low:g} to {high:g} THz because the "
            f"lattice is {side} at the saddle: the geometric mean of the real frequencies is {means[0]:.3f} THz at the "
            f"minimum and {means[1]:.3f} THz at the saddle, over {len(hop.saddle_thz)} modes."
        )
    return tuple(lines)


def several(hops: Sequence[HopModes]) -> tuple[str, ...]:
    """Hops with equal saddles side by side, or with equal wells that are one site: what their rates contain."""
    lines = []
    for hop in hops:
        if hop.status.code != PROVED:
            continue
        name = f"{hop.ion} {hop.hop}"
        if hop.saddle_images > 1:
            lines.append(
                f"{name}: {hop.saddle_images} saddles, equal by the symmetry of the host, lie side by side. The rate "
                f"of the hop is {hop.saddle_images} times the rate over one of them."
            )
        ends = {"initial": hop.initial_wells, "final": hop.final_wells}
        lines += [
            f"{name}: the {end} site has {count} equal wells. The rate out of the site is 1/{count} of the rate out of "
            "one of them."
            for end, count in ends.items()
            if count > 1
        ]
    return tuple(lines)


def saddles_table(hops: Sequence[HopModes]) -> Table:
    """Status, barriers (eV) and prefactors (THz) of every hop with a band."""
    columns = [
        *_HOP,
        Column("Status", TEXT, lambda r: str(r.status)),
        Column("Barrier \u00b1 spread (eV)", NUMBER, lambda r: with_error(r.forward_ev, r.forward_std_ev, 3)),
        Column("Reverse \u00b1 spread (eV)", NUMBER, lambda r: with_error(r.reverse_ev, r.reverse_std_ev, 3)),
        Column("Imaginary frequency (THz)", NUMBER, _imaginary),
        Column("Prefactor (THz)", NUMBER, lambda r: number(r.forward_prefactor_thz, 2)),
        Column("Members (THz)", TEXT, lambda r: _range(r.forward_prefactors_thz)),
        Column("Reverse prefactor (THz)", NUMBER, lambda r: number(r.reverse_prefactor_thz, 2)),
        Column("Ion and shell alone (THz)", NUMBER, lambda r: number(r.shell_prefactor_thz, 2)),
        Column("Overlap with the hop", NUMBER, lambda r: number(r.overlap, 2)),
    ]
    return table("modes", columns, [hop for hop in hops if hop.status.code != NO_BAND])


def frequencies_table(hops: Sequence[HopModes]) -> Table:
    """Frequencies (THz) at the ends and at the saddle, and what was spent."""
    columns = [
        *_HOP,
        Column("Initial, lowest to highest (THz)", TEXT, lambda r: _ends(r.initial_thz)),
        Column("Saddle, lowest to highest (THz)", TEXT, lambda r: _ends(r.saddle_thz)),
        Column("Final, lowest to highest (THz)", TEXT, lambda r: _ends(r.final_thz)),
        Column(
            f"Force left at the saddle (meV/{ANGSTROM})",
            NUMBER,
            lambda r: number(_milli(r.saddle_force_ev_per_angstrom), 1),
        ),
        Column("Sum rule, relative error", NUMBER, lambda r: _small(r.sum_rule_error)),
        Column("Atoms in the Hessian", NUMBER, lambda r: number(r.atoms_moved, 0)),
        Column("Atoms in the shell", NUMBER, lambda r: number(r.shell_atoms, 0)),
        Column("Evaluations", NUMBER, lambda r: number(r.evaluations, 0)),
    ]
    shown = [hop for hop in hops if hop.saddle_thz]
    return table("modes_frequencies", columns, shown, caption="Frequencies at the stationary points")


def _imaginary(hop: HopModes) -> Cell:
    value = hop.imaginary_thz
    return number(None) if value is None else Cell(f"{value:.2f}i", value=value)


def _range(values: Sequence[float]) -> str:
    return window(min(values), max(values)) if len(values) > 1 else DASH


def _ends(values: Sequence[float]) -> str:
    return window(round(values[0], 2), round(values[-1], 2)) if values else DASH


def _small(value: float | None) -> Cell:
    return number(None) if value is None else compact(value)


def _milli(value: float | None) -> float | None:
    return None if value is None else 1e3 * value


def _figure(image: bytes, caption: str) -> Figure:
    return Figure(image=image, form="svg+xml", caption=caption, alt=caption)


def phonons_section(bulk: BulkPhonons, references: References) -> ReportSection:
    """Bands, modes at Gamma and heat capacity of the crystal beside published values."""
    cells = " x ".join(str(count) for count in bulk.supercell)
    imaginary = f"The lowest frequency on the path and on the mesh is {bulk.lowest_thz:.2f} THz"
    verdict = ": no mode is imaginary." if bulk.lowest_thz > 0 else ": the crystal is not stable in this cell."
    caption = f"Phonon bands and density of states of the crystal, {cells} conventional cells"
    return ReportSection(
        key="phonons",
        heading="Phonons of the crystal",
        text=BULK_LINES,
        points=(imaginary + verdict, *outside(bulk, references)),
        tables=filled(gamma_table(bulk, references), heat_table(bulk, references)),
        figures=(_figure(bands_picture(bulk), caption),),
    )


def numbered(modes: Sequence[GammaMode]) -> list[tuple[str, float, int]]:
    """Modes at Gamma: name as the references have it, frequency (1/cm), degeneracy.

    The name is the label, with a number where the label occurs again.
    """
    total, seen, out = Counter(mode.label for mode in modes), Counter[str](), []
    for mode in modes:
        seen[mode.label] += 1
        name = f"{mode.label}{seen[mode.label]}" if total[mode.label] > 1 else mode.label
        out.append((name, WAVE_NUMBER_PER_THZ * mode.thz, mode.degeneracy))
    return out


def gamma_table(bulk: BulkPhonons, references: References) -> Table:
    """Transverse optical modes at Gamma in 1/cm: ours, calculated and measured ones."""
    columns = [
        Column("Mode", TEXT, lambda r: r[0] or DASH),
        Column("Degeneracy", NUMBER, lambda r: number(r[2], 0)),
        Column("Potential (1/cm)", NUMBER, lambda r: number(r[1], 1)),
        Column("PBE calculation (1/cm)", NUMBER, lambda r: _published(references, f"phonon-{r[0]}")),
        Column("Experiment (1/cm)", NUMBER, lambda r: _published(references, f"phonon-{r[0]}-exp")),
        Column("Window (1/cm)", TEXT, lambda r: _published(references, f"window-phonon-{r[0]}")),
        Column(
            "In the window",
            TEXT,
            lambda r: _inside(references, f"window-phonon-{r[0]}", r[1]),
        ),
    ]
    return table("phonons_gamma", columns, numbered(bulk.gamma), caption="Optical modes at \u0393, transverse")


def heat_table(bulk: BulkPhonons, references: References) -> Table:
    """Heat capacity per formula unit, J/(mol K); a dash where a mode is imaginary, since its part is not known."""

    def known(row: HeatCapacity) -> Cell | str:
        return _published(references, "heat-capacity-pbe") if row.temperature_k == ROOM_KELVIN else DASH

    columns = [
        Column("T (K)", NUMBER, lambda r: number(r.temperature_k, 0)),
        Column("Cv (J/(mol K))", NUMBER, lambda r: number(r.cv_j_per_mol_k if is_stable(bulk) else None, 2)),
        Column("PBE calculation (J/(mol K))", TEXT, known),
    ]
    return table("heat_capacity", columns, bulk.heat_capacity, caption="Heat capacity per formula unit")


def is_stable(bulk: BulkPhonons) -> bool:
    """Whether every mode takes part in the heat capacity: none is imaginary beyond acoustic modes at Gamma."""
    return bulk.lowest_thz >= -ACOUSTIC_THZ


def outside(bulk: BulkPhonons, references: References) -> tuple[str, ...]:
    """Every value outside its window, in a line each."""
    found = [(f"window-phonon-{name}", name, value, "1/cm") for name, value, _ in numbered(bulk.gamma)]
    found += [
        ("window-heat-capacity", "Cv at 300 K", row.cv_j_per_mol_k, "J/(mol K)")
        for row in bulk.heat_capacity
        if row.temperature_k == ROOM_KELVIN and is_stable(bulk)
    ]
    lines = []
    for key, name, value, unit in found:
        limits = _value(references, key)
        if limits is not None and limits.upper is not None and not limits.value <= value <= limits.upper:
            lines.append(f"{name}: {value:.1f} {unit} is outside {limits.value:g} to {limits.upper:g} {unit}.")
    return tuple(lines)


def _value(references: References, key: str) -> Value | None:
    return next((value for value in references.values if value.id == key), None)


def _published(references: References, key: str) -> Cell:
    """A value of the references, with its evidence where it was not read in a source."""
    value = _value(references, key)
    if value is None:
        return Cell(DASH)
    cell = number(value.value, 1) if value.upper is None else window(value.value, value.upper)
    return cell if value.evidence in {"P", "S"} else cell.noted(f"({value.evidence})")


def _inside(references: References, key: str, ours: float) -> str:
    value = _value(references, key)
    if value is None or value.upper is None:
        return DASH
    return "yes" if value.value <= ours <= value.upper else "no"
