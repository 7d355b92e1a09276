"""The settings of the stage modes."""

from typing import Annotated

from pydantic import Field

from mlip.core.section import Count, Positive, Section


class ModesSettings(Section):
    """Stationary points, vibrations and prefactors of the hops; phonons of the crystal."""

    hops: tuple[str, ...] = Field(
        default=("*",), description="Name patterns of the hops to calculate, with shell wildcards."
    )
    fmax_ev_per_angstrom: Positive = Field(
        default=0.005,
        description=(
            "Minima and saddles are refined until no atom has a larger force on the committee mean (eV/Angstrom)."
        ),
    )
    max_steps: Count = Field(default=200, description="Largest number of steps to a minimum or a saddle.")
    step_angstrom: Positive = Field(
        default=0.01, description="Displacement of one coordinate in the differences that give a Hessian (Angstrom)."
    )
    central: bool = Field(
        default=True,
        description=(
            "Displace every coordinate in both directions. One direction takes half the time; its error is "
            "proportional to step_angstrom, so give a small step."
        ),
    )
    shell_angstrom: Positive = Field(
        default=3.0,
        description=(
            "Atoms nearer than this to the ion, at either end or at the saddle, are its shell: their Hessian guides "
            "the search for the saddle, and the prefactor from ion and shell alone stands beside that of all atoms."
        ),
    )
    hessian_angstrom: Positive | None = Field(
        default=None,
        description=(
            "Only atoms nearer than this to the ion, at either end or at the saddle, take part in the Hessian "
            "(Angstrom): for large cells. null means all that are not fixed."
        ),
    )
    downhill_fmax_ev_per_angstrom: Positive = Field(
        default=0.05, description="Relaxations from the saddle to both sides end below this force (eV/Angstrom)."
    )
    min_overlap: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.3,
        description="Smallest overlap of the unstable mode with the direction of the band at the saddle, all atoms.",
    )
    bulk_supercell: tuple[Count, Count, Count] | None = Field(
        default=None,
        description=(
            "Repeats of the conventional cell in the phonon calculation of the crystal; null means the fewest that "
            "keep an atom 9 Angstrom from its own images, 3 x 3 x 1 in anatase."
        ),
    )
    bulk_mesh: Count = Field(
        default=12, description="Points along each axis of the mesh of wave vectors for density of states and heat."
    )
    heat_capacity_kelvin: tuple[Positive, ...] = Field(
        default=(100, 200, 300, 400, 500, 600, 800, 1000),
        description="Temperatures of the heat capacity of the crystal (K).",
    )
