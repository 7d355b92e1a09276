"""The settings of the stage neb."""

from typing import Annotated

from pydantic import Field

from mlip.core.section import Count, Positive, Section, renamed


class NebSettings(Section):
    """Climbing-image NEB of every hop by every committee member."""

    hops: tuple[str, ...] = Field(
        default=("*",), description="Name patterns of the hops to calculate, with shell wildcards."
    )
    images: Annotated[int, Field(ge=3)] = Field(default=5, description="Number of images between the ends.")
    spring_ev_per_angstrom2: Positive = Field(
        default=0.5, description="Spring constant between neighbouring images (eV/Angstrom^2)."
    )
    fmax_ev_per_angstrom: Positive = Field(
        default=0.05, description="A band is converged when no atom of any image has a larger NEB force (eV/Angstrom)."
    )
    climb_from_ev_per_angstrom: Positive = Field(
        default=0.3,
        description="The highest image starts to climb when the largest force falls below this (eV/Angstrom).",
    )
    end_fmax_ev_per_angstrom: Positive = Field(
        default=0.02, description="End points are relaxed until no atom has a larger force (eV/Angstrom)."
    )
    max_steps: Count = Field(default=300, description="Largest number of steps of a band.")
    end_max_steps: Count = Field(default=300, description="Largest number of steps when an end point is relaxed.")
    end_moved_angstrom: Positive = Field(
        default=1.2,
        description="An end point whose ion moves farther than this while relaxing has left its site (Angstrom).",
    )
    desorbed_angstrom: Positive = Field(
        default=3.2, description="An ion farther than this from every atom has left the surface (Angstrom)."
    )
    max_force_std_ev_per_angstrom: Positive = Field(
        default=0.5,
        description="Committee spread of the force on the ion beyond which a band is out of domain (eV/Angstrom).",
    )
    checkpoint_steps: Count = Field(default=10, description="Steps between checkpoints of a band.")
    half_symmetric: bool = Field(
        default=False,
        description=(
            "For a hop that a symmetry operation maps onto its reverse, evaluate only half of an odd number of images."
        ),
    )
    zero_shot: bool = Field(
        default=False,
        description=(
            "Calculate the bands also with the base model of the training as it is, before training. The report then "
            "has the column zero-shot."
        ),
    )
    finish_mace_torch: bool = Field(
        default=False,
        description="Continue bands that converged with a fast backend with mace-torch in float64.",
        **renamed("finish_plain", "finish_mace_torch"),
    )
