"""The cross-check report: published value, our DFT, potential with uncertainty, verdict.

Takes `Material`, everything a run found with its references; gives `Rendered`: one self-contained HTML page (inline
style, figures as data URIs, no script), the same as Markdown, and the rows as JSON. Pure: nothing is read but the
template beside this file, nothing is written.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ase import Atoms
from pydantic import TypeAdapter

from mlip import audit, config, dft_sheets, md_plots, md_sheets, plots, sheets, tables
from mlip.audit import Finding
from mlip.convergence import Variant
from mlip.energetics import Energetics
from mlip.energy_fit import EnergyFit
from mlip.evaluate import Evaluation
from mlip.given import Given
from mlip.kinetics import Diffused
from mlip.ladder import Step
from mlip.md import Followed
from mlip.neb import Band
from mlip.references import References
from mlip.rows import AGREES, DIFFERS, NOT_COMPARABLE, NOT_RESOLVED, Headline, Results, Rows
from mlip.sheets import Sheet
from mlip.train import Epoch
from mlip.words import LIMITS, WORDS

TEMPLATE = Path(__file__).with_name("report.html.j2")


@dataclass(frozen=True)
class Material:
    """Everything that the report shows."""

    title: str
    settings: config.Report
    references: References
    results: Results
    bands: tuple[Band, ...]
    pictures: Mapping[str, Atoms]  # host name -> relaxed clean host
    evaluation: Evaluation | None  # arms[0] is the potential of this run
    histories: Mapping[int, Sequence[Epoch]]  # member -> training history
    dataset_card: Mapping[str, object]
    model_card: Mapping[str, object]
    run_settings: Mapping[str, object]
    provenance: Mapping[str, object]  # versions, hashes, commit, device, wall times
    energy_fits: tuple[EnergyFit, ...] = ()  # of the members, where energies were fitted after the epochs
    ladder: tuple[Step, ...] = ()
    energetics: Energetics | None = None
    convergence: tuple[Variant, ...] = ()
    followed: tuple[Followed, ...] = ()
    diffused: Diffused | None = None
    crystal: Given | None = None


@dataclass(frozen=True)
class Document:
    """The report as data: what the JSON file holds."""

    title: str
    target: str
    tolerances: dict[str, float]
    rows: Rows
    audit: tuple[Finding, ...]
    crystal: Given | None = None


@dataclass(frozen=True)
class Rendered:
    """The report as text, and its headline rows."""

    headline: tuple[Headline, ...]
    html: str
    markdown: str
    json: str


@dataclass(frozen=True)
class Figure:
    """An image as a data URI with its caption and the text for readers who do not see it."""

    uri: str
    caption: str
    alt: str


@dataclass(frozen=True)
class Part:
    """One section: a heading, words, tables and figures."""

    key: str
    heading: str
    words: tuple[str, ...] = ()
    sheets: tuple[tuple[str, Sheet], ...] = ()  # caption, table
    figures: tuple[Figure, ...] = ()
    small: bool = False  # figures side by side


def render(material: Material) -> Rendered:
    """The report as HTML, Markdown and JSON."""
    rows = tables.rows(material.results, material.references, material.settings)
    found = audit.findings(material.references)
    document = Document(
        title=material.title,
        target=material.results.target,
        tolerances={
            "agree_ev": material.settings.agree_ev,
            "max_uncertainty_ev": material.settings.max_uncertainty_ev,
            "symmetric_ev": material.settings.symmetric_ev,
        },
        rows=rows,
        audit=found,
        crystal=material.crystal,
    )
    parts = _parts(material, rows)
    return Rendered(
        headline=rows.headline,
        html=_html(material, document, parts),
        markdown=_markdown(document, parts),
        json=TypeAdapter(Document).dump_json(document, indent=1).decode() + "\n",
    )


def headline_lines(rows: Sequence[Headline]) -> tuple[tuple[str, ...], ...]:
    """Header and lines of the headline table for a terminal."""
    lines = [("ion", "facet", "published", "our DFT", "potential", "difference", "verdict")]
    lines += [
        (
            r.ion,
            r.facet,
            sheets.number(r.published_ev),
            sheets.dft_with_hop(r),
            sheets.with_error(r.ours_ev, r.two_sigma_ev),
            sheets.number(r.difference_ev, 2, signed=True),
            r.verdict,
        )
        for r in rows
    ]
    return tuple(lines)


def path_error_ev(evaluation: Evaluation | None) -> float | None:
    """RMS error of the energy from the initial image to the saddle of each held-out path; None without such a path.

    The term of the uncertainty that the committee cannot hide: `Results.path_error_ev`.
    """
    if evaluation is None or not evaluation.arms:
        return None
    errors = [(p.model_ev - p.dft_ev) ** 2 for p in evaluation.arms[0].paths]
    return float((sum(errors) / len(errors)) ** 0.5) if errors else None


# ---- sections ----


def _parts(material: Material, rows: Rows) -> list[Part]:
    """Sections between the headline and the audit, and after it; each with what there is to show."""
    parts = [
        *_order(rows),
        Part(
            "paths",
            "Lowest paths between neighbouring equivalent sites",
            WORDS["paths"],
            (("", sheets.paths(rows.paths)),),
        ),
        Part("hops", "Every hop", WORDS["hops"], (("", sheets.hops(rows.hops)),)),
        Part("nearest", "Nearest hop to each published value", WORDS["nearest"], (("", sheets.nearest(rows.nearest)),)),
        Part("sites", "Cells and sites", _cell_words(material), _structures(material), _pictures(material)),
        Part("profiles", "Energy along the hops", WORDS["profiles"], (), _profiles(material, rows), small=True),
        *_dft(material),
        *_motion(material),
        Part("other", "Other published quantities", (), (("", sheets.other(rows.other)),)),
        _accuracy(material),
        Part(
            "literature", "Independent barriers", WORDS["literature"], (("", sheets.independent(material.references)),)
        ),
        _cards(material),
    ]
    of_references = {"nearest", "other", "literature"}
    return [
        p
        for p in parts
        if (p.words or p.sheets or p.figures) and (p.key not in of_references or any(t.rows for _, t in p.sheets))
    ]


def _order(rows: Rows) -> list[Part]:
    """Published orders, where at least two of its barriers can be compared."""
    return [Part("order", "Claimed orders", WORDS["order"], (("", sheets.order(rows.order)),))] if rows.order else []


def _cell_words(material: Material) -> tuple[str, ...]:
    return (*(material.crystal.words if material.crystal else ()), *WORDS["sites"])


def _dft(material: Material) -> list[Part]:
    """Sections of the DFT stages that have something to show."""
    found = {
        "ladder": ("DFT on the potential's own bands", dft_sheets.ladder(material.ladder)),
        "energetics": (
            "Energies around the barriers",
            dft_sheets.energies(material.energetics, material.references),
        ),
        "convergence": ("What the DFT settings cost", dft_sheets.convergence(material.convergence)),
    }
    return [Part(key, heading, WORDS[key], tables_) for key, (heading, tables_) in found.items() if tables_]


def _motion(material: Material) -> list[Part]:
    """Sections of molecular dynamics that have something to show."""
    parts = []
    if material.followed:
        parts.append(Part("md", "Molecular dynamics", WORDS["md"], (("", md_sheets.trajectories(material.followed)),)))
    if material.diffused is not None:
        results = material.results
        drawn = md_plots.everything(
            material.diffused, results.sites, results.hops, material.pictures, material.references
        )
        figures = tuple(Figure(_uri(d.image, d.form), d.caption, d.caption) for d in drawn)
        words = (*md_sheets.remarks(material.diffused), *WORDS["diffusion"])
        tables_ = md_sheets.diffusion(material.diffused)
        parts.append(Part("diffusion", "Diffusion from molecular dynamics", words, tables_, figures, small=True))
    return parts


def _uri(image: bytes, form: str) -> str:
    return f"data:image/{form};base64,{base64.b64encode(image).decode()}"


def _structures(material: Material) -> tuple[tuple[str, Sheet], ...]:
    results = material.results
    return (("Cells", sheets.hosts(results.hosts)), ("Sites", sheets.sites(results.sites)))


def _pictures(material: Material) -> tuple[Figure, ...]:
    figures = []
    for host, atoms in material.pictures.items():
        ions = sorted({s.ion for s in material.results.sites if s.host == host}) or [""]
        for ion in ions:
            sites = [s for s in material.results.sites if (s.host, s.ion) == (host, ion)]
            bands = [b for b in material.bands if (b.host, b.ion) == (host, ion)]
            what = f"{host}: {ion} sites and the ion's ways" if ion else host
            image = plots.structure(atoms, sites, bands)
            figures.append(Figure(_uri(image, "svg+xml"), what, f"{what}: cell from above and from the side"))
    return tuple(figures)


def _profiles(material: Material, rows: Rows) -> tuple[Figure, ...]:
    figures = []
    for row in rows.hops:
        bands = [b for b in material.bands if (b.host, b.ion, b.hop) == (row.host, row.ion, row.hop)]
        if not any(b.energies_ev for b in bands):
            continue
        image = plots.profile(bands, dft_ev=row.dft_ev)
        caption = f"{row.ion}, {row.hop}: {row.status}"
        figures.append(Figure(_uri(image, "svg+xml"), caption, f"energy along {row.hop} of {row.ion}"))
    return tuple(figures)


def _accuracy(material: Material) -> Part:
    found, figures = material.evaluation, []
    if any(material.histories.values()):
        image = plots.training(material.histories)
        figures.append(
            Figure(
                _uri(image, "svg+xml"),
                "Training of every member; loss dotted on training, solid on validation frames",
                "loss and force error by epoch",
            )
        )
    if found is None:
        none = (
            "No evaluation on held-out groups is part of this run: the errors of its potential are not known here.",
        )
        return Part("accuracy", "Accuracy of the potential", none, (), tuple(figures))
    image = plots.parity(found.parity)
    figures.insert(
        0, Figure(_uri(image, "png"), "Potential against DFT on held-out frames", "parity of energies and forces")
    )
    words: tuple[str, ...] = (
        f"Errors against DFT on groups that no training frame came from: {', '.join(found.held_out_groups)}.",
        "The force slope is 1 for a potential without softening.",
        "Calibration is the factor from the committee's spread to its error.",
    )
    words += _fitted(material.energy_fits)
    tables_ = (
        ("All potentials on the same frames", sheets.arms(found)),
        ("The potential of this run, by species", sheets.species(found)),
        ("The potential of this run, by group", sheets.groups(found)),
        ("Energy of the saddle of held-out paths, against the initial image", sheets.path_errors(found)),
    )
    return Part("accuracy", "Accuracy of the potential", words, tuple(t for t in tables_ if t[1].rows), tuple(figures))


def _fitted(fits: Sequence[EnergyFit]) -> tuple[str, ...]:
    """What fitting the energies did, on training frames."""
    if not fits:
        return ()
    before, after = ([1e3 * x for x in found] for found in ([f.before_ev for f in fits], [f.after_ev for f in fits]))
    said = (
        f"After the epochs the energies were fitted (train.energy_fit). On the {fits[0].cells} training cells that "
        f"count they were off by {min(before):.0f} to {max(before):.0f} meV a cell before and are off by "
        f"{min(after):.0f} to {max(after):.0f} meV now; the curves of the training are of before."
    )
    return (said,)


def _cards(material: Material) -> Part:
    cards = (
        ("Dataset card", material.dataset_card),
        ("Model card", material.model_card),
        ("Settings of the run", material.run_settings),
        ("Versions, hashes, machine, times", material.provenance),
    )
    return Part("cards", "Cards, settings and provenance", (), tuple((n, sheets.card(c)) for n, c in cards if c))


# ---- formats ----


def _tally(document: Document) -> str:
    """Counts of the verdicts in words."""
    rows = document.rows.headline
    counts = [(v, sum(r.verdict == v for r in rows)) for v in (AGREES, DIFFERS, NOT_COMPARABLE, NOT_RESOLVED)]
    words = ", ".join(f"{n} {v}" for v, n in counts if n)
    of = f" of {document.crystal.name}" if document.crystal is not None else ""
    return f"Published barriers: {words}" if words else f"No published barrier{of} is known to the references"


def _rules(document: Document) -> tuple[str, ...]:
    """How verdicts are reached, in words, with the tolerances of this run; nothing where there are none."""
    t = document.tolerances
    if not document.rows.headline:
        return ()
    return (
        f"agrees: the difference is at most {t['agree_ev']:g} eV or 2 sigma, whichever is larger; differs: it is more.",
        f"not resolved: no converged path (then no number), or within 2 sigma above {t['max_uncertainty_ev']:g} eV.",
        "not comparable: the slab or the site is not the one that the published value is for.",
        *_geometries(document.rows.headline),
        *WORDS["verdicts"],
    )


def _geometries(rows: Sequence[Headline]) -> tuple[str, ...]:
    """Lines that name the geometry of every DFT value of the headline table, and what it means with a hop beside it."""
    known = [f"{r.ion} {r.facet} {r.dft_hop} on the {r.dft_geometry}" for r in rows if r.dft_ev is not None]
    lines = [f"Our DFT: single points at fixed geometries: {'; '.join(known)}."] if known else []
    if any(r.dft_is_elsewhere for r in rows):
        lines.append(
            "A hop beside our DFT: no label has the limiting hop; this is the lowest labelled one of that ion there."
        )
    return tuple(lines)


def _html(material: Material, document: Document, parts: Sequence[Part]) -> str:
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    headline = document.rows.headline
    figure = Figure(
        _uri(plots.headline(headline), "svg+xml"), "Published and computed barriers", "barriers side by side"
    )
    html: str = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        document=document,
        checked=material.references.checked(),
        tally=_tally(document),
        rules=_rules(document),
        headline=sheets.headline(headline, target=document.target),
        budget=sheets.budget(headline),
        figure=figure if headline else None,
        parts=parts,
        compact=sheets.compact,
        unit=sheets.unit,
        not_stated=material.references.not_stated,
        limits=LIMITS,
    )
    return html


def _markdown(document: Document, parts: Sequence[Part]) -> str:
    headline = document.rows.headline
    blocks = [f"# {document.title}", f"{_tally(document)}. Level of the potential: {document.target.upper()}."]
    if headline:
        blocks += [_md_table(sheets.headline(headline, target=document.target))]
        blocks += ["\n".join(f"- {line}" for line in _rules(document))]
        blocks += ["## Uncertainty", _md_table(sheets.budget(headline))]
    for part in parts:
        blocks += [f"## {part.heading}", *part.words]
        for caption, sheet in part.sheets:
            blocks += [f"### {caption}"] if caption else []
            blocks += [_md_table(sheet)]
    if document.audit:
        blocks += ["## Audit of the paper from its own numbers", _md_table(sheets.audit(document.audit))]
    blocks += ["## What this report does not show", "\n".join(f"- {line}" for line in LIMITS)]
    return "\n\n".join(blocks) + "\n"


def _md_table(sheet: Sheet) -> str:
    """A Markdown table; bars and line breaks inside cells are kept from breaking it."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(" ".join(c.replace("|", "\\|").split()) for c in cells) + " |"

    if not sheet.rows:
        return "(none)"
    rule = "|" + "|".join(" ---: " if kind == "number" else " --- " for kind in sheet.kinds) + "|"
    return "\n".join([line(sheet.columns), rule, *(line(row) for row in sheet.rows)])
