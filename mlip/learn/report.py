"""The report of `mlip learn`: the learning curve as table and figure, barriers and labels of every round."""

from collections.abc import Sequence
from pathlib import Path

from mlip.core import files
from mlip.core.figures import BLUE, GREEN, VERMILION, canvas, encoded
from mlip.core.report import (
    ANGSTROM,
    DASH,
    NUMBER,
    PLUS_MINUS,
    TEXT,
    Column,
    Figure,
    Page,
    ReportSection,
    filled,
    number,
    table,
    thousandth,
    with_error,
)
from mlip.core.report.csv import to_csv
from mlip.core.report.html import to_html
from mlip.core.report.markdown import to_markdown
from mlip.learn.curve import Learned, RoundRecord, saddle_error
from mlip.learn.labelling import Labelled

TEXT_OF_CURVE = (
    "Round 0 is the potential of the initial dataset; every later round is trained on the labels of the rounds before "
    "as well. The errors on the labels of a round are those of its potential, which had not seen these labels. "
    "Energies of saddles are relative to the initial image of the hop."
)


def write(folder: Path, result: Learned) -> None:
    """Write report.html, report.md and a CSV file per table into the folder of the rounds."""
    page = make_page(folder.resolve().name, result)
    files.write_text_atomic(folder / "report.html", to_html(page))
    files.write_text_atomic(folder / "report.md", to_markdown(page))
    for section in page.ordered():
        for one in section.tables:
            files.write_text_atomic(folder / "tables" / f"{one.key}.csv", to_csv(one))


def make_page(name: str, result: Learned) -> Page:
    """The report as data."""
    level = f"labels of the level {result.level}, chosen by {result.choose}"
    return Page(
        title=f"Learning rounds: {name}",
        subtitle=f"Potentials so far: {len(result.rounds)}; {level}.",
        summary=(f"{result.status}.",),
        sections=(
            _curve(result.rounds),
            _barriers(result.rounds),
            _saddles(result.rounds),
            _chosen(result.rounds),
            _failed(result.rounds),
        ),
    )


def _curve(rounds: Sequence[RoundRecord]) -> ReportSection:
    columns = [
        Column("Round", NUMBER, lambda r: number(r.number, 0)),
        Column("Training frames", NUMBER, lambda r: number(r.training_frames, 0)),
        Column("New labels", NUMBER, lambda r: number(r.labels.frames if r.labels else None, 0)),
        Column("Saddles labelled", NUMBER, lambda r: number(len(r.labels.saddles) if r.labels else None, 0)),
        Column("Saddles, rms error (meV)", NUMBER, lambda r: thousandth(_of_saddles(r))),
        Column(f"Forces of new labels, rms error (meV/{ANGSTROM})", NUMBER, lambda r: thousandth(_of_forces(r))),
        Column("Largest 2 sigma of a limiting hop (meV)", NUMBER, lambda r: thousandth(r.two_sigma_ev)),
        Column(f"Held-out forces, rms error (meV/{ANGSTROM})", NUMBER, lambda r: thousandth(_held_out_force(r))),
        Column("Held-out energies, rms error (meV/atom)", NUMBER, lambda r: thousandth(_held_out_energy(r), 1)),
    ]
    figure = Figure(
        image=curve_figure(rounds),
        form="svg+xml",
        caption="Learning curve: errors on labels that the potential had not seen, and the uncertainty of barriers.",
        alt="Errors of saddles and of held-out forces, and 2 sigma of the barriers, against the number of frames",
    )
    return ReportSection(
        key="curve",
        heading="Learning curve",
        level="answer",
        text=(TEXT_OF_CURVE,),
        tables=(table("curve", columns, rounds),),
        figures=(figure,),
    )


def _of_saddles(one: RoundRecord) -> float | None:
    return saddle_error(one.labels.images) if one.labels else None


def _of_forces(one: RoundRecord) -> float | None:
    return one.labels.force_rmse_ev_per_angstrom if one.labels else None


def _held_out_force(one: RoundRecord) -> float | None:
    return one.held_out.force_rmse_ev_per_angstrom if one.held_out else None


def _held_out_energy(one: RoundRecord) -> float | None:
    return one.held_out.energy_rmse_ev_per_atom if one.held_out else None


def curve_figure(rounds: Sequence[RoundRecord]) -> bytes:
    """Saddle errors and 2 sigma (meV), and held-out force errors (meV/Angstrom), against training frames (SVG)."""
    series = (
        (0, "saddles, error", _of_saddles, VERMILION, "o"),
        (0, "limiting hops, largest 2 sigma", lambda r: r.two_sigma_ev, BLUE, "s"),
        (1, "held out", _held_out_force, GREEN, "o"),
        (1, "new labels", _of_forces, VERMILION, "s"),
    )
    with canvas(6.4, 2.4, panels=2) as (figure, axes):
        for panel, label, value, colour, marker in series:
            known = [(r.training_frames, 1e3 * v) for r in rounds if (v := value(r)) is not None]
            if known:
                axes[panel].plot(*zip(*known, strict=True), marker=marker, color=colour, label=label)
        for axis, title in zip(axes, ("Energies (meV)", f"Forces, rms error (meV/{ANGSTROM})"), strict=True):
            axis.set(xlabel="Training frames", ylabel=title)
            axis.set_ylim(bottom=0)
            if axis.lines:
                axis.legend()
        return encoded(figure)


def _barriers(rounds: Sequence[RoundRecord]) -> ReportSection:
    columns = [
        Column("Round", NUMBER, lambda one: number(one[0].number, 0)),
        Column("Host", TEXT, lambda one: one[1].host),
        Column("Ion", TEXT, lambda one: one[1].ion),
        Column("Hop", TEXT, lambda one: one[1].hop),
        Column("Limiting", TEXT, lambda one: "yes" if one[1].limiting else DASH),
        Column(
            f"Barrier, {PLUS_MINUS} 2 sigma (eV)",
            NUMBER,
            lambda one: with_error(one[1].forward_ev, one[1].two_sigma_ev, 3),
        ),
        Column("Status", TEXT, lambda one: one[1].status),
    ]
    rows = [(r, b) for r in rounds for b in r.barriers]
    text = ("Two sigma is that of the committee's spread, times its calibration where that is above 1.",)
    return ReportSection(key="barriers", heading="Barriers", text=text, tables=filled(table("barriers", columns, rows)))


def _labels(rounds: Sequence[RoundRecord]) -> list[tuple[RoundRecord, Labelled]]:
    return [(r, r.labels) for r in rounds if r.labels is not None]


def _saddles(rounds: Sequence[RoundRecord]) -> ReportSection:
    columns = [
        Column("Round", NUMBER, lambda one: number(one[0].number, 0)),
        Column("Host", TEXT, lambda one: one[1].host),
        Column("Ion", TEXT, lambda one: one[1].ion),
        Column("Hop", TEXT, lambda one: one[1].hop),
        Column("Member", NUMBER, lambda one: number(one[1].member, 0)),
        Column("Image", TEXT, lambda one: f"{one[1].image}{', saddle' if one[1].saddle else ''}"),
        Column("Potential (eV)", NUMBER, lambda one: number(one[1].predicted_ev)),
        Column("Label (eV)", NUMBER, lambda one: number(one[1].labelled_ev)),
        Column("Error (meV)", NUMBER, lambda one: thousandth(one[1].error_ev, signed=True)),
        Column("Initial image", TEXT, lambda one: one[1].reference),
    ]
    rows = [(r, image) for r, labels in _labels(rounds) for image in labels.images]
    return ReportSection(
        key="images",
        heading="Labelled images of bands",
        text=("Energies above the initial image of the hop, by the potential before it saw the label, and by DFT.",),
        tables=filled(table("images", columns, rows)),
    )


def _chosen(rounds: Sequence[RoundRecord]) -> ReportSection:
    columns = [
        Column("Round", NUMBER, lambda one: number(one[0].number, 0)),
        Column("Frame", TEXT, lambda one: one[1].frame_id),
        Column("Group", TEXT, lambda one: one[1].group),
        Column("Reason", TEXT, lambda one: one[1].reason),
    ]
    found = _labels(rounds)
    rows = [(r, frame) for r, labels in found for frame in labels.choice.chosen]
    return ReportSection(
        key="chosen",
        heading="Frames chosen",
        level="detail",
        text=tuple(_left_out(r, labels) for r, labels in found),
        tables=filled(table("chosen", columns, rows)),
    )


def _left_out(one: RoundRecord, labels: Labelled) -> str:
    choice = labels.choice
    text = (
        f"Round {one.number}: {len(choice.chosen)} of {choice.candidates} candidates; left out: {choice.held_out} of "
        f"held-out groups, {choice.labelled_before} labelled or refused before, {choice.too_strong} for their forces, "
        f"{choice.unfit} unfit for DFT."
    )
    if choice.sigma_before_ev is None or choice.sigma_after_ev is None:
        return text
    return (
        f"{text} Posterior sigma of a barrier (root mean square): {1e3 * choice.sigma_before_ev:.0f} meV, expected to "
        f"be {1e3 * choice.sigma_after_ev:.0f} meV with these labels."
    )


def _failed(rounds: Sequence[RoundRecord]) -> ReportSection:
    columns = [
        Column("Round", NUMBER, lambda one: number(one[0].number, 0)),
        Column("Frame", TEXT, lambda one: one[1].frame_id),
        Column("Reason", TEXT, lambda one: one[1].reason),
    ]
    rows = [(r, problem) for r, labels in _labels(rounds) for problem in labels.failed]
    return ReportSection(key="failed", heading="Frames without a label", tables=filled(table("failed", columns, rows)))
