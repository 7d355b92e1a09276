"""Report section of the stage `evaluate`: the accuracy of the potential on frames that the run holds out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlip.core.arrays import Array
from mlip.core.figures import BLUE, canvas, encoded
from mlip.core.report import (
    ANGSTROM,
    NUMBER,
    TEXT,
    Column,
    Figure,
    ReportSection,
    Table,
    filled,
    number,
    table,
    thousandth,
)
from mlip.stages.dataset.dataset import NO_LABELS
from mlip.stages.evaluate.evaluate import Errors, Evaluation, GroupErrors, Parity, PathError, path_error_ev
from mlip.stages.train.given import HELD_OUT, TRAINED_ON

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEW_SADDLES = 10  # with fewer, the 95 % limits of a root mean square are wider than a factor of 1.8 (chi-squared)
NOT_KNOWN = (
    "The run has no labels (dataset.path is null), so the errors of the potential are not known. A committee spread, "
    "where there is one, is not calibrated, and no verdict rests on an error along paths."
)


def report_sections(_: Any, result: Evaluation) -> tuple[ReportSection, ...]:
    """What the stage says in the report."""
    return (accuracy_section(result),)


def accuracy_section(result: Evaluation) -> ReportSection:
    """Errors on held-out groups; the first potential of `result` is that of the run."""
    if result.exposure.code == NO_LABELS:
        return ReportSection(key="accuracy", heading="Accuracy of the potential", text=(NOT_KNOWN,))
    is_held_out = result.exposure.code == HELD_OUT
    figure = Figure(
        image=parity(result.parity),
        form="png",
        caption=f"Potential against DFT on {'held-out frames' if is_held_out else 'frames of the dataset'}",
        alt="energies and forces of the potential against those of DFT",
    )
    text = (
        _frames(result),
        "The force slope is that of the forces of the potential against DFT forces; below 1 the potential is too soft.",
        "The force RMSE at the ion is that of the ion and of the atoms in its first shell.",
        *(("The calibration is the ratio of the error of the committee to its spread.",) if is_held_out else ()),
        *(_path_error(result) if is_held_out else ()),
    )
    own = result.models[:1]
    tables = filled(
        models_table(result.models),
        *(species_table(errors) for errors in own),
        *(groups_table(errors.groups, is_held_out=is_held_out) for errors in own),
        *(path_errors_table(errors.paths) for errors in own),
    )
    return ReportSection(
        key="accuracy", heading="Accuracy of the potential", text=text, tables=tables, figures=(figure,)
    )


def _frames(result: Evaluation) -> str:
    """Which frames the errors are of, and whether the potential was trained on them."""
    groups = ", ".join(result.held_out_groups)
    if result.exposure.code == HELD_OUT:
        return f"Errors against DFT on held-out groups, which contain no training frame: {groups}."
    why = "it was trained on" if result.exposure.code == TRAINED_ON else "it may have been trained on"
    return (
        f"Errors against DFT on the groups {groups}. The potential is used as it is (train), and {why} these "
        f"frames ({result.exposure.reason}): the errors are no measure of other frames, and neither a calibration of "
        "the committee spread nor errors along paths are taken from them."
    )


def _path_error(result: Evaluation) -> tuple[str, ...]:
    """The held-out term of the uncertainty, and how many saddles it is from."""
    error = path_error_ev(result)
    if error is None:
        return ()
    paths = result.models[0].paths
    saddles, groups = len(paths), len({p.group for p in paths})
    number_of_saddles = "1 saddle" if saddles == 1 else f"{saddles} saddles"
    number_of_paths = "1 held-out path" if groups == 1 else f"{groups} held-out paths"
    said = (
        "The held-out path error in the uncertainty of barriers is the root mean square of the errors of "
        f"{number_of_saddles} on {number_of_paths}: {thousandth(error)} meV."
    )
    few = " So few saddles do not measure it well: at other saddles the error can be larger."
    return (said + few if saddles < FEW_SADDLES else said,)


def models_table(found: Sequence[Errors]) -> Table:
    """Errors of every potential on the same held-out frames: forces in meV/Angstrom, energies in meV per atom."""
    columns = [
        Column("Potential", TEXT, lambda e: e.model),
        Column("Frames", NUMBER, lambda e: str(e.frames)),
        Column(f"Force RMSE (meV/{ANGSTROM})", NUMBER, lambda e: thousandth(e.force_rmse_ev_per_angstrom, 1)),
        Column(f"Force RMSE at the ion (meV/{ANGSTROM})", NUMBER, lambda e: thousandth(e.ion_shell_force_rmse, 1)),
        Column("Energy RMSE (meV/atom)", NUMBER, lambda e: thousandth(e.energy_rmse_ev_per_atom, 2)),
        Column("Force slope", NUMBER, lambda e: number(e.force_slope)),
        Column("Calibration", NUMBER, lambda e: number(e.calibration, 2)),
    ]
    return table("errors", columns, found, caption="Errors of all potentials on the same frames")


def species_table(found: Errors) -> Table:
    """Force errors (meV/Angstrom) of one potential by species."""
    columns = [
        Column("Species", TEXT, lambda item: item[0]),
        Column(f"Force RMSE (meV/{ANGSTROM})", NUMBER, lambda item: thousandth(item[1], 1)),
    ]
    return table(
        "errors_by_species",
        columns,
        found.species_force_rmse.items(),
        caption="Errors of the potential of this run by species",
    )


def groups_table(found: Sequence[GroupErrors], *, is_held_out: bool = True) -> Table:
    """Errors of one potential by group: forces in meV/Angstrom, energies in meV per atom."""
    held_out, others = Column("Held-out group", TEXT, lambda g: g.group), Column("Group", TEXT, lambda g: g.group)
    columns = [
        held_out if is_held_out else others,
        Column("Frames", NUMBER, lambda g: str(g.frames)),
        Column(f"Force RMSE (meV/{ANGSTROM})", NUMBER, lambda g: thousandth(g.force_rmse_ev_per_angstrom, 1)),
        Column("Energy RMSE (meV/atom)", NUMBER, lambda g: thousandth(g.energy_rmse_ev_per_atom, 2)),
    ]
    return table(
        "errors_by_group",
        columns,
        found,
        caption=f"Errors of the potential of this run by {columns[0].heading.lower()}",
    )


def path_errors_table(found: Sequence[PathError]) -> Table:
    """Energies (eV) of the saddles of held-out paths relative to the initial image, and their errors (meV per cell)."""
    columns = [
        Column("Held-out path", TEXT, lambda p: p.group),
        Column("Saddle", TEXT, lambda p: p.saddle),
        Column("DFT (eV)", NUMBER, lambda p: number(p.dft_ev)),
        Column("Potential (eV)", NUMBER, lambda p: number(p.model_ev)),
        Column("Error (meV per cell)", NUMBER, lambda p: thousandth(p.model_ev - p.dft_ev, signed=True)),
    ]
    return table(
        "errors_on_paths",
        columns,
        found,
        caption="Saddle energies of held-out paths relative to the initial image",
    )


def parity(found: Parity) -> bytes:
    """Energies (eV per atom) and forces (eV/Angstrom) of the potential against DFT (PNG)."""
    with canvas(6.4, 2.9, panels=2) as (figure, axes):
        energy = np.array(found.energy_ref_ev_per_atom), np.array(found.energy_ev_per_atom)
        _parity_panel(axes[0], *energy, "energy (eV/atom)", size=14)
        _parity_panel(axes[1], np.array(found.force_ref), np.array(found.force), "force component (eV/\u00c5)", size=4)
        return encoded(figure, "png")


def _parity_panel(axis: Axes, reference: Array, model: Array, label: str, *, size: float) -> None:
    if len(reference) == 0:
        axis.text(0.5, 0.5, "no frames", ha="center", va="center", transform=axis.transAxes)
        return
    both = np.concatenate([reference, model])
    low, high = float(both.min()), float(both.max())
    pad = 0.04 * (high - low or 1.0)
    axis.plot([low - pad, high + pad], [low - pad, high + pad], color="#BBBBBB", linewidth=0.8, zorder=0)
    axis.scatter(reference, model, s=size, color=BLUE, alpha=0.45, linewidths=0)
    axis.set_aspect("equal", adjustable="box")
    axis.set_xlabel(f"DFT {label}")
    axis.set_ylabel(f"predicted {label}")
