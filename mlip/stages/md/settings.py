"""The settings of the stage md."""

from typing import Annotated, Literal

from ase.data import chemical_symbols
from pydantic import Field, model_validator

from mlip.core.section import Count, OptionalSection, Positive, Section

LOWEST_TEMPERATURE_RATIO = 3.0  # a start is at 2, with a standard deviation of 0.23 in a cell of 50 atoms


class MdSystem(Section):
    """Ions on a host whose dynamics are followed."""

    host: str = Field(description="Name of the host.")
    ions: tuple[str, ...] = Field(description="Ions on the host: each once, or in turn until the coverage is reached.")
    coverage: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None,
        description="Ions per metal atom of the outermost plane of the top face; null: the listed ions once.",
    )
    site: str | None = Field(
        default=None, description="Name of the site where the ions start; null: the lowest site of each ion."
    )
    repeat: tuple[Count, Count, Count] = Field(
        default=(1, 1, 1), description="Repeats of the host's cell along its vectors."
    )

    @model_validator(mode="after")
    def _ions_are_elements(self) -> "MdSystem":
        unknown = [s for s in self.ions if s not in chemical_symbols[1:]]
        if unknown or not self.ions:
            raise ValueError(f"ions: give chemical symbols such as Li, got {list(self.ions)}")
        return self


class MdSettings(OptionalSection):
    """Molecular dynamics of ions on the hosts: every system at every temperature, replicas together in batches."""

    systems: tuple[MdSystem, ...] = Field(
        default=(), description="Systems to follow. Empty: every ion of every host alone, from its lowest site."
    )
    temperatures_kelvin: tuple[Positive, ...] = Field(
        default=(700.0, 800.0, 900.0, 1000.0, 1200.0), description="Temperatures (K)."
    )
    replicas: Count = Field(
        default=8, description="Trajectories of a system at each temperature, each with its own random numbers."
    )
    ensemble: Literal["nvt", "nve"] = Field(
        default="nvt", description="Ensemble after equilibration, which is always nvt."
    )
    time_step_fs: Positive = Field(default=1.0, description="Time step (fs), at most 5.")
    friction_per_ps: Positive = Field(
        default=0.5, description="Friction of the Langevin thermostat (1/ps); strong friction slows diffusion."
    )
    equilibrate_ps: Annotated[float, Field(ge=0)] = Field(
        default=5.0, description="Length of the equilibration (ps), which does not count."
    )
    target_ps: Positive = Field(
        default=1000.0,
        description=(
            "Length of every trajectory after equilibration (ps). A larger value extends trajectories that exist."
        ),
    )
    frame_steps: Count = Field(default=20, description="Steps between stored frames.")
    chunk_frames: Count = Field(default=100, description="Frames per file; a killed run continues from the last file.")
    batch: Count = Field(default=16, description="Replicas of a system in one call of the model.")
    frozen_layers: Annotated[int, Field(ge=0)] = Field(
        default=1, description="Formula layers at the bottom of a slab that do not move."
    )
    member: Count = Field(
        default=1,
        description=(
            "Number of the committee member whose forces move the atoms. The whole committee checks every stored frame."
        ),
    )
    skin_angstrom: Positive = Field(default=1.0, description="Skin of the neighbour list beyond the cutoff (Angstrom).")
    stored: Literal["ions", "all"] = Field(default="ions", description="Atoms whose positions are stored.")
    max_temperature_ratio: float = Field(
        default=3.0,
        description=(
            "A replica that is this many times hotter than asked for is stopped. At least 3: replicas start at twice "
            "their temperature."
        ),
    )
    max_force_ev_per_angstrom: Positive = Field(
        default=30.0, description="A replica with a larger force than this on an atom is stopped (eV/Angstrom)."
    )
    max_force_std_ev_per_angstrom: Positive = Field(
        default=1.0,
        description="A replica with a larger committee spread of the force on an atom is stopped (eV/Angstrom).",
    )
    desorbed_angstrom: Positive = Field(
        default=4.0, description="An ion farther than this from every atom of the host has left the surface (Angstrom)."
    )
    apart_angstrom: Positive = Field(default=2.0, description="Smallest distance between ions at the start (Angstrom).")

    @model_validator(mode="after")
    def _systems_are_distinct(self) -> "MdSettings":
        if len(set(self.systems)) < len(self.systems) or len(set(self.temperatures_kelvin)) < len(
            self.temperatures_kelvin
        ):
            raise ValueError(
                "systems and temperatures_kelvin: each is named once; for more trajectories raise replicas"
            )
        return self

    @model_validator(mode="after")
    def _starts_are_not_too_hot(self) -> "MdSettings":
        if self.max_temperature_ratio < LOWEST_TEMPERATURE_RATIO:
            raise ValueError(
                f"max_temperature_ratio: {self.max_temperature_ratio:g} would stop replicas at their start: their "
                "velocities are drawn at twice the temperature, since half of the kinetic energy goes into the "
                f"potential; use {LOWEST_TEMPERATURE_RATIO:g} or more"
            )
        return self

    @model_validator(mode="after")
    def _time_step_follows_vibrations(self) -> "MdSettings":
        if self.time_step_fs > 5.0:
            raise ValueError(
                f"time_step_fs: {self.time_step_fs:g} fs is too long for an oxide, whose fastest vibrations take "
                "35 fs; use 1 (at most 5)"
            )
        return self
