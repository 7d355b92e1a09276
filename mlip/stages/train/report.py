"""Report sections of the stage `train`: the training of every member or its absence, and the card of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mlip.core.figures import MEMBERS, canvas, encoded
from mlip.core.report import Figure, ReportSection, card_section
from mlip.potential import models
from mlip.stages.train.energy_fit import EnergyFit
from mlip.stages.train.given import Given
from mlip.stages.train.training import Epoch

if TYPE_CHECKING:
    from mlip.core.stage import Context
    from mlip.stages.train.settings import TrainSettings
    from mlip.stages.train.stage import Committee


def report_sections(context: Context[TrainSettings], result: Committee) -> tuple[ReportSection, ...]:
    """How the training went, and the card of the committee."""
    if result.given is not None:
        training = given_section(result.given)
    else:
        histories = {m.member: m.history for m in result.members}
        fits = tuple(m.energy_fit for m in result.members if m.energy_fit is not None)
        training = training_section(histories, fits)
    shown = models.of_run(context.folder / "model").card
    return (training, card_section("model-card", "Model card", shown))


def given_section(found: Given) -> ReportSection:
    """What takes the place of the training of a potential that is used as it is."""
    said = (
        f"The potential was not trained in this run: {found.source} is used as it is, with "
        f"{found.members} {'member' if found.members == 1 else 'members'}."
    )
    alone = () if found.members > 1 else ("A single member has no committee spread: barriers have no uncertainty.",)
    return ReportSection(key="training", heading="Training", text=(said, *alone))


def training_section(histories: Mapping[int, Sequence[Epoch]], fits: Sequence[EnergyFit]) -> ReportSection:
    """The training history of every member, and what the fit of the energies changed."""
    figures = (_training_figure(histories),) if any(histories.values()) else ()
    return ReportSection(key="training", heading="Training", text=fitted(fits), figures=figures)


def fitted(fits: Sequence[EnergyFit]) -> tuple[str, ...]:
    """The error of the energies on training frames (meV per cell) before and after their fit; empty without a fit."""
    if not fits:
        return ()
    before, after = ([1e3 * x for x in found] for found in ([f.before_ev for f in fits], [f.after_ev for f in fits]))
    said = (
        f"After the epochs, the energies were fitted in closed form (train.energy_fit). On the {fits[0].cells} "
        f"training cells of the fit, the RMS errors of the members were {min(before):.0f} to {max(before):.0f} meV per "
        f"cell before the fit and {min(after):.0f} to {max(after):.0f} meV per cell after it. The training curves show "
        f"the errors before the fit."
    )
    return (said,)


def _training_figure(histories: Mapping[int, Sequence[Epoch]]) -> Figure:
    return Figure(
        image=training(histories),
        form="svg+xml",
        caption="Training of every member; the loss is dotted for training frames and solid for validation frames",
        alt="loss and force error by epoch",
    )


def training(histories: Mapping[int, Sequence[Epoch]]) -> bytes:
    """Loss and validation force error (meV/Angstrom) by epoch, one colour per member (SVG)."""
    with canvas(6.4, 2.3, panels=2) as (figure, axes):
        for member, history in histories.items():
            colour = MEMBERS[member % len(MEMBERS)]
            x = [e.epoch + 1 for e in history]
            axes[0].plot(x, [e.train_loss for e in history], ":", color=colour)
            axes[0].plot(x, [e.valid_loss for e in history], "-", color=colour, label=f"member {member}")
            force = [1e3 * e.valid_force_rmse_ev_per_angstrom for e in history]
            axes[1].plot(x, force, "-", color=colour, label=f"member {member}")
        axes[0].set_ylabel("loss")
        axes[1].set_ylabel("validation force RMSE (meV/\u00c5)")
        for axis in axes:
            axis.set_xlabel("epoch")
            axis.set_yscale("log")
        if histories:
            axes[1].legend()
        return encoded(figure)
