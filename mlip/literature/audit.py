"""The audit of the paper under check: what follows from its own numbers.

Takes `References` (numbers by id); gives one `Finding` per claim: what is claimed, what the numbers give, by which
formula, and what follows. Nothing is stored that can be computed; a finding whose numbers are absent says so.

Equations: rate ratio exp(dE / kT); voltage V = -E_ads / (n e); capacity q = n e S / (A_site 3.6 C per mAh); k-point
spacing 2 pi / (n L); sheets 2/(rho t) + 4/(rho w); diffusion on the anatase void network D = k (2/3) d^2, on a square
row of sites D = k a^2.
Paper: 10.1007/s40820-025-01861-7.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from mlip.core import units
from mlip.core.status import Status
from mlip.literature.claims import CLAIMS
from mlip.literature.references import References

COMPUTED, NOT_COMPUTED = "computed", "not computed"
PAPER = "10.1007/s40820-025-01861-7"
TEMPERATURE_KELVIN = 298.15
ATTEMPTS_PER_S = 1e13  # of one hop; the usual order of magnitude
TIO2_GRAMS_PER_MOLE = 79.866
SQUARE_ANGSTROM_PER_M2 = 1e20
CM2_PER_SQUARE_ANGSTROM = 1e-16
COULOMB_EV_ANGSTROM = 14.399645  # e^2 / (4 pi eps0); with more digits the audit's numbers would change by 3e-8
ELECTRONS = {"Li": 1, "Mg": 2}


@dataclass(frozen=True)
class Number:
    """One computed figure of a finding."""

    name: str
    value: float
    unit: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One row of the audit."""

    key: str
    topic: str
    claimed: str
    where: str
    numbers: tuple[Number, ...]
    formula: str
    consequence: str
    evidence: str  # tags: P stated, C computed, M not verified; see `references`
    status: Status  # COMPUTED or NOT_COMPUTED


def rate_ratio(difference_ev: float, temperature_kelvin: float = TEMPERATURE_KELVIN) -> float:
    """How many times faster a hop is whose barrier is lower by `difference_ev`: exp(dE / kT)."""
    return math.exp(difference_ev / (units.BOLTZMANN_EV_PER_KELVIN * temperature_kelvin))


def surface_capacity_mah_per_g(area_m2_per_g: float, site_angstrom2: float, electrons: int) -> float:
    """Capacity of one ion of `electrons` charges per site on the whole area."""
    ions = area_m2_per_g * SQUARE_ANGSTROM_PER_M2 / site_angstrom2
    return ions * electrons * units.ELEMENTARY_CHARGE_COULOMB / 3.6


def _rates(r: References) -> list[Number]:
    rows = []
    for ion in ("Mg", "Li"):
        bulk = r.value(f"barrier-{ion}-bulk").value
        for facet in ("001", "100"):
            gain = rate_ratio(bulk - r.value(f"barrier-{ion}-{facet}").value)
            rows.append(Number(f"{ion}, ({facet}) over bulk", gain, "times"))
            rows.append(Number(f"{ion}, ({facet}) over bulk, log10", math.log10(gain), "decades"))
    return rows


def _metal_voltages(r: References) -> list[Number]:
    shift = r.value("potential-Mg").value - r.value("potential-Li").value
    mg = -r.value("adsorption-Mg-001").value / ELECTRONS["Mg"]
    li = -r.value("adsorption-Li-001").value / ELECTRONS["Li"]
    return [
        Number("Mg against Mg2+/Mg", mg, "V"),
        Number("Li against Li+/Li", li, "V"),
        Number("Li against Mg2+/Mg", li - shift, "V"),
        Number("lead of Li over Mg, per electron", li - shift - mg, "V"),
    ]


def _atom_voltages(r: References) -> list[Number]:
    shift = r.value("potential-Mg").value - r.value("potential-Li").value
    mg = -(r.value("adsorption-Mg-001").value + r.value("cohesive-Mg").value) / ELECTRONS["Mg"]
    li = -(r.value("adsorption-Li-001").value + r.value("cohesive-Li").value) / ELECTRONS["Li"]
    return [
        Number("Mg against Mg2+/Mg", mg, "V"),
        Number("Li against Li+/Li", li, "V"),
        Number("Li against Mg2+/Mg", li - shift, "V"),
        Number("measured capacity in Li salt", r.value("capacity-Li-001").value, "mAh/g"),
    ]


def _bader(r: References) -> list[Number]:
    return [
        Number(f"{ion} on ({facet}), share of {n} e", 100 * r.value(f"bader-{ion}-{facet}").value / n, "%")
        for ion, n in (("Mg", 2), ("Li", 1))
        for facet in ("001", "100")
    ] + [Number("Mg in oxides, at least, share of 2 e", 50 * r.value("bader-Mg-oxide").value, "%")]


def _cell(r: References) -> tuple[float, float]:
    return r.value("a-labels").value, r.value("c-labels").value


def _measured_cell(r: References) -> tuple[float, float]:
    return r.value("a-exp").value, r.value("c-exp").value


def _coverage(r: References) -> list[Number]:
    a, c = _cell(r)
    return [
        Number("area per ion, (001) p(2x2)", 4 * a * a, "A2"),
        Number("area per ion, (100) p(2x1)", 2 * a * c, "A2"),
        Number("area per ion, (100) p(2x2)", 4 * a * c, "A2"),
        Number("coverage ratio (001)/(100) p(2x1)", c / (2 * a), "times"),
    ]


def _layers(r: References) -> list[Number]:
    titanium = r.value("slab-ti").value
    return [
        Number("layers of (001) p(2x2)", titanium / 4, "layers"),
        Number("layers of (100) p(2x1)", titanium / 4, "layers"),
        Number("layers of (100) p(2x2)", titanium / 8, "layers"),
    ]


def _k_points(r: References) -> list[Number]:
    a, c = _cell(r)
    lengths = {"001": (2 * a, 2 * a), "100": (2 * a, c)}
    return [
        Number(f"({facet}) along {axis}", 2 * math.pi / (r.value(f"kpoints-{facet}-{axis}").value * length), "1/A")
        for facet, pair in lengths.items()
        for axis, length in zip("xy", pair, strict=True)
    ] + [Number("(100) p(2x2) along y", 2 * math.pi / (r.value("kpoints-100-y").value * 2 * c), "1/A")]


def _dipole(r: References) -> list[Number]:
    a, c = _cell(r)
    oxygen_span = (3 / 4 + 1 / 12) * c  # three layer spacings c/4 between metal planes, and O2c above and below
    volume = 4 * a * a * (oxygen_span + r.value("vacuum").value)
    return [
        Number(f"spurious energy for {p:g} e A", 2 * math.pi * COULOMB_EV_ANGSTROM * p * p / volume, "eV")
        for p in (1.0, 1.5, 2.0)
    ]


def _gitt(r: References) -> list[Number]:
    rows = []
    for name in ("Mg", "dual"):
        low, high = r.value(f"gitt-{name}-anatase"), r.value(f"gitt-{name}-001")
        label = "Mg salt" if name == "Mg" else "dual salt"
        rows.append(Number(f"{label}, lower ends", math.log10(high.value / low.value), "decades"))
        if low.upper is not None and high.upper is not None:
            rows.append(Number(f"{label}, upper ends", math.log10(high.upper / low.upper), "decades"))
            rows.append(
                Number(f"{label}, span within the (001) sample", math.log10(high.upper / high.value), "decades")
            )
    return rows


def _absolute_diffusion(r: References) -> list[Number]:
    a, c = _cell(r)
    bulk_hop2 = a * a / 4 + c * c / 16
    rows = []
    for ion in ("Mg", "Li"):
        for host, length2 in (("bulk", 2 / 3 * bulk_hop2), ("001", a * a)):
            rate = ATTEMPTS_PER_S / rate_ratio(r.value(f"barrier-{ion}-{host}").value)
            rows.append(Number(f"{ion}, {host}", rate * length2 * CM2_PER_SQUARE_ANGSTROM, "cm2/s"))
    return rows


def _composition(r: References) -> list[Number]:
    full = units.mah_per_gram(1, TIO2_GRAMS_PER_MOLE)
    return [
        Number("ions per TiO2 in the slab", 1 / r.value("slab-ti").value, "Mg"),
        Number("Mg per TiO2 at the capacity in Mg salt", r.value("capacity-Mg-001").value / full / 2, "Mg"),
        Number("electrons per TiO2 at the dual-salt capacity", r.value("capacity-dual-001").value / full, "e"),
        Number("Mg barrier in Mg0.5TiO2 (hybrid DFT), at least", r.value("barrier-Mg-half").value, "eV"),
    ]


def _capacity(r: References) -> list[Number]:
    a, c = _measured_cell(r)
    sites = {"001": a * a, "100": a * c / 2}
    gains = {f: r.value(f"capacity-Mg-{f}").value - r.value("capacity-Mg-anatase").value for f in sites}
    full = {f: surface_capacity_mah_per_g(r.value(f"bet-{f}").value, sites[f], 2) for f in sites}
    dual = r.value("capacity-dual-001").value
    return [
        Number("(001), 1 Mg per 1x1 cell", full["001"], "mAh/g"),
        Number("(001), 1 Mg per 2x2 cell", full["001"] / 4, "mAh/g"),
        Number("(001), measured gain", gains["001"], "mAh/g"),
        Number("(001), Mg per 1x1 cell that the gain needs", gains["001"] / full["001"], "Mg"),
        Number("(100), 1 Mg per site", full["100"], "mAh/g"),
        Number("(100), measured gain", gains["100"], "mAh/g"),
        Number("dual-salt capacity over full (001) coverage", dual / full["001"], "times"),
    ]


def _areas(r: References) -> list[Number]:
    a, c = _measured_cell(r)
    grams_per_cm3 = 4 * TIO2_GRAMS_PER_MOLE / units.AVOGADRO_PER_MOLE / (a * a * c * 1e-24)
    thick, edge, rod = (r.value(k).value for k in ("thickness-001", "edge-001", "thickness-100"))
    per_nm = 1e3 / grams_per_cm3  # 1/(rho nm) in m2/g
    return [
        Number("(001) sheets, whole surface", per_nm * (2 / thick + 4 / edge), "m2/g"),
        Number("(001) sheets, (001) faces only", per_nm * 2 / thick, "m2/g"),
        Number("(001) sheets, BET", r.value("bet-001").value, "m2/g"),
        Number("(100) rods, sides", per_nm * 4 / rod, "m2/g"),
        Number("(100) rods, BET", r.value("bet-100").value, "m2/g"),
    ]


def _fringes(r: References) -> list[Number]:
    a, c = (x / 10 for x in _measured_cell(r))
    d101 = 1 / math.sqrt(1 / a**2 + 1 / c**2)
    seen1, seen2 = r.value("fringe-001").value, r.value("fringe-100").value
    return [
        Number("d(001), forbidden", c, "nm"),
        Number("d(004), the first allowed (00l)", c / 4, "nm"),
        Number("d(100), forbidden by centring", a, "nm"),
        Number("d(101)", d101, "nm"),
        Number(f"{seen1} nm against d(100)", 100 * (seen1 / a - 1), "%"),
        Number(f"{seen1} nm against d(101)", 100 * (seen1 / d101 - 1), "%"),
        Number(f"{seen2} nm against d(101)", 100 * (seen2 / d101 - 1), "%"),
    ]


def _gaps(r: References) -> list[Number]:
    rows = []
    for facet in ("001", "100"):
        for key, label in (("dft", "PBE"), ("uvvis", "UV-vis")):
            narrowing = r.value(f"gap-{key}-bulk").value - r.value(f"gap-{key}-{facet}").value
            rows.append(Number(f"narrowing on ({facet}), {label}", narrowing, "eV"))
    return rows


def _percentages(r: References) -> list[Number]:
    mg = r.value("capacity-Mg-001").value / r.value("capacity-Mg-anatase").value
    li = r.value("capacity-Li-001").value
    dual = r.value("capacity-dual-001").value / r.value("capacity-dual-anatase").value
    return [
        Number("Mg salt, computed", 100 * (mg - 1), "%"),
        Number("Mg salt, stated", r.value("gain-percent-Mg").value, "%"),
        Number("Li salt, computed", 100 * (li / (li - r.value("capacity-gain-Li").value) - 1), "%"),
        Number("Li salt, stated", r.value("gain-percent-Li").value, "%"),
        Number("dual salt, computed", 100 * (dual - 1), "%"),
        Number("Mg salt, ratio", mg, "times"),
    ]


def _capacitive(r: References) -> list[Number]:
    share = r.value("diffusion-share-001").value / 100
    dual = r.value("capacity-dual-001").value
    gain = dual - r.value("capacity-dual-anatase").value
    return [
        Number("capacitive part of the dual-salt capacity", (1 - share) * dual, "mAh/g"),
        Number("gain over anatase that the paper calls interfacial", gain, "mAh/g"),
    ]


COMPUTE: dict[str, Callable[[References], list[Number]]] = {
    "rates": _rates,
    "voltage-metal": _metal_voltages,
    "voltage-atom": _atom_voltages,
    "coverage": _coverage,
    "layers": _layers,
    "k-points": _k_points,
    "dipole": _dipole,
    "diffusion-ranges": _gitt,
    "diffusion-absolute": _absolute_diffusion,
    "composition": _composition,
    "capacity": _capacity,
    "capacitive-share": _capacitive,
    "areas": _areas,
    "fringes": _fringes,
    "bader": _bader,
    "gaps": _gaps,
    "percentages": _percentages,
}


def findings(references: References) -> tuple[Finding, ...]:
    """Every check of the paper, in the order of `COMPUTE`; none where the values under check are another paper's."""
    paper = references.checked()
    if paper is None or paper.doi != PAPER:
        return ()
    return tuple(_finding(key, references) for key in COMPUTE)


def _finding(key: str, references: References) -> Finding:
    claim = CLAIMS[key]
    numbers: tuple[Number, ...] = ()
    status = Status(COMPUTED)
    try:
        numbers = tuple(COMPUTE[key](references))
    except ValueError as error:
        status = Status(NOT_COMPUTED, str(error))
    return Finding(
        key=key,
        topic=claim.topic,
        claimed=claim.claimed,
        where=claim.where,
        numbers=numbers,
        formula=claim.formula,
        consequence=claim.consequence if numbers else "",
        evidence=claim.evidence,
        status=status,
    )
