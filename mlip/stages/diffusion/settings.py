"""The settings of the stage diffusion."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from mlip.core.section import OptionalSection, Positive


class DiffusionSettings(OptionalSection):
    """Hops, rates and diffusivities from the trajectories."""

    core_angstrom: Positive = Field(
        default=1.0, description="An ion that comes this near to another site has hopped there (Angstrom)."
    )
    basin_angstrom: Positive = Field(
        default=1.5,
        description="Copies of sites closer than this form one basin; motion inside a basin is no hop (Angstrom).",
    )
    memory_jumps: Annotated[int, Field(ge=0)] = Field(
        default=3, description="How many jumps back the direction of a jump can depend on."
    )
    min_hops: Annotated[int, Field(ge=2)] = Field(
        default=10, description="Fewer hops than this give limits but no Arrhenius line."
    )
    min_hops_for_memory: Annotated[int, Field(ge=10)] = Field(
        default=80, description="With fewer hops than this, jumps are treated as independent."
    )
    recrossing_ps: Positive = Field(
        default=0.5, description="Hops that are reversed within this time are counted (ps)."
    )
    agree_ev: Positive = Field(
        default=0.05,
        description=(
            "Activation energy and barrier agree if they differ by at most this, or by 2 sigma if that is larger (eV)."
        ),
    )
    temperature_kelvin: Positive = Field(
        default=300.0, description="Temperature to which the Arrhenius line is extrapolated (K)."
    )
    lammps: tuple[Path, ...] = Field(default=(), description="Folders with a LAMMPS dump and the deck that made it.")
