"""The settings of the command `learn`, which no stage owns."""

from typing import Annotated, Literal

from pydantic import Field

from mlip.core.section import Count, Positive, Section

Choice = Literal["barrier-variance", "committee-spread"]


class Learn(Section):
    """Rounds of `mlip learn`: frames of bands and dynamics are chosen, labelled and trained on."""

    rounds: Count = Field(default=3, description="Largest number of rounds of new labels.")
    stop_below_ev: Positive | None = Field(
        default=None,
        description=(
            "No further round where 2 sigma of every limiting hop's barrier is below this (eV); null: all rounds. "
            "Sigma is the spread of the committee, times its calibration where that is above 1."
        ),
    )
    frames: Annotated[int, Field(ge=2)] = Field(default=20, description="Frames to label in a round, at most.")
    choose: Choice = Field(
        default="barrier-variance",
        description=(
            "Which frames are labelled: those that lower the variance of the barriers most, or those on which the "
            "forces of the committee differ most."
        ),
    )
    per_group: Count = Field(
        default=2, description="With committee-spread: frames of one path or trajectory in a round, at most."
    )
    md_frames: Count = Field(
        default=10, description="Candidates of a replica of the dynamics, evenly spaced in time; needs md.stored: all."
    )
    max_force_ev_per_angstrom: Positive = Field(
        default=10.0, description="A candidate on which the committee has a larger force is left out (eV/Angstrom)."
    )
