"""The settings of the stage ladder."""

from pydantic import Field

from mlip.core.section import OptionalSection, Positive


class LadderSettings(OptionalSection):
    """DFT single points on the converged bands."""

    hops: tuple[str, ...] = Field(
        default=("*",), description="Name patterns of the hops to label, with shell wildcards."
    )
    neighbours: bool = Field(default=True, description="Label the two images beside the saddle too.")
    max_hours: Positive | None = Field(
        default=None, description="Hours of labelling in one call; null means no limit. The next call labels the rest."
    )
    first_shell_angstrom: Positive = Field(
        default=2.8,
        description="Largest distance from the ion to a neighbour that counts as its first shell (Angstrom).",
    )
    max_force_ev_per_angstrom: Positive = Field(
        default=0.15,
        description="Largest DFT force on the ion at the saddle image for which the barrier stands (eV/Angstrom).",
    )
    max_difference_ev: Positive = Field(
        default=0.05,
        description="Largest difference between the barriers of DFT and potential for which the barrier stands (eV).",
    )
