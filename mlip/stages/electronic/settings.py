"""The settings of the stage electronic."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from mlip.core.section import Count, OptionalSection, Positive


class ElectronicSettings(OptionalSection):
    """Gaps and densities of states of the clean hosts; Bader charges and the change of the density by the ions."""

    parts: tuple[Literal["gaps", "charges", "difference", "spin"], ...] = Field(
        default=("gaps", "charges", "difference"),
        min_length=1,
        description=(
            "What to calculate; difference: change of the density by the ion; spin: each host with an ion "
            "spin-polarised, for its magnetic moment."
        ),
    )
    hosts: tuple[str, ...] = Field(default=("*",), description="Name patterns of the hosts, with shell wildcards.")
    sites: tuple[str, ...] = Field(
        default=(),
        description="Name patterns of sites with ions, such as 001_Li_*. Empty: the lowest of every host and ion.",
    )
    mesh_lengths_angstrom: tuple[Positive, ...] = Field(
        default=(10.0, 20.0, 30.0),
        min_length=2,
        description=(
            "Meshes of the levels, from coarse to fine (Angstrom): length / L_i points along each cell vector, rounded "
            "up to an even number, with L_i the distance of opposite faces of the cell. Such a mesh has points on the "
            "zone boundary. The electrons are converged on the first one. A finer mesh is only used while the gap "
            "still changes."
        ),
    )
    same_gap_ev: Positive = Field(
        default=0.02, description="Largest difference of the gaps of the last two meshes (eV)."
    )
    gap_settings: dict[str, Any] = Field(
        default={}, description="Changes to dft.settings for gaps, which are those of spin-paired electrons."
    )
    charge_settings: dict[str, Any] = Field(
        default={"cutoff_ev": 400.0, "density_convergence": 5e-4},
        description="Changes to dft.settings for charges, which need fewer plane waves than forces.",
    )
    refinements: tuple[Count, Count] = Field(
        default=(2, 4), description="Grids of the Bader charges, each as many times finer than that of the waves."
    )
    same_charge_e: Positive = Field(
        default=0.02, description="Largest difference of a charge between the two grids (elementary charges)."
    )
    width_ev: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.1, description="Width of the Gaussians of a density of states (eV)."
    )
    starting_moments_bohr: dict[str, float] = Field(
        default={"Ti": 0.2}, description="Starting magnetic moments of spin-polarised calculations, by element."
    )

    @model_validator(mode="after")
    def _gaps_are_spin_paired(self) -> "ElectronicSettings":
        paired = {"spin": "paired", "moments_bohr": {}}
        if named := [name for name, value in paired.items() if self.gap_settings.get(name, value) != value]:
            raise ValueError(
                f"gap_settings: gaps are those of spin-paired electrons, and {named[0]} is not read; remove it"
            )
        return self
