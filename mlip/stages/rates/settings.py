"""The settings of the stage rates."""

from typing import Annotated

from pydantic import Field

from mlip.core.section import Count, Positive, Section

Kelvin = Annotated[float, Field(ge=50, le=3000)]


class WalkSettings(Section):
    """One kinetic Monte Carlo walk of several ions that block each other."""

    host: str = Field(description="Name of the host.")
    ions: tuple[str, ...] = Field(
        min_length=1, description="Ions on the repeated cell, such as [Li, Li, Mg]; their number is the coverage."
    )
    repeat: tuple[Count, Count, Count] = Field(
        default=(1, 1, 1), description="Repeats of the host's cell along its vectors."
    )
    temperature_kelvin: Kelvin = Field(default=600.0, description="Temperature (K).")
    steps: Annotated[int, Field(ge=1000)] = Field(
        default=50000, description="Hops of all ions together; a tenth as many come before and do not count."
    )
    apart_angstrom: Positive = Field(
        default=2.0, description="Smallest distance between ions: nearer sites are blocked (Angstrom)."
    )


class RatesSettings(Section):
    """Rates of hops, diffusion coefficients that follow from them, and the gain of the facets over bulk."""

    temperatures_kelvin: tuple[Kelvin, ...] = Field(
        default=(250, 275, 300, 350, 400, 450, 500, 600, 700, 800, 900, 1000, 1200),
        min_length=1,
        description="Temperatures of the diffusion coefficients (K).",
    )
    reference_kelvin: Kelvin = Field(
        default=300.0, description="Temperature of the rates, effective barriers and gains in the report (K)."
    )
    samples: Annotated[int, Field(ge=100, le=100_000)] = Field(
        default=400, description="Samples of barriers and prefactors from which the 95 % intervals are taken."
    )
    prefactor_factor: Annotated[float, Field(ge=1)] = Field(
        default=1.2,
        description="Factor, 1 sigma, by which a prefactor is uncertain beside the spread of the committee.",
    )
    balance_factor: Annotated[float, Field(gt=1)] = Field(
        default=3.0,
        description=(
            "Largest factor by which the rates of a hop may violate detailed balance at 300 K: energies and vibrations "
            "of a site differ a little from hop to hop."
        ),
    )
    max_decades: Positive = Field(
        default=2.0, description="A gain whose 95 % interval spans more decades than this cannot agree with a claim."
    )
    walks: tuple[WalkSettings, ...] = Field(
        default=(), description="Kinetic Monte Carlo walks of several ions; empty: none."
    )
