"""The settings of the stage energetics."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from mlip.atoms.structures import Facet
from mlip.core.section import OptionalSection, Positive


class EnergeticsSettings(OptionalSection):
    """Energies around the barriers: atoms, metals, lattice, surfaces, adsorption."""

    parts: tuple[Literal["atoms", "metals", "lattice", "surfaces", "adsorption"], ...] = Field(
        default=(
            "atoms",
            "metals",
            "lattice",
            "surfaces",
            "adsorption",
        ),
        description="What to calculate.",
    )
    sites: tuple[str, ...] = Field(
        default=(),
        description=(
            "Name patterns of the sites whose adsorption energy is calculated, such as 001_Li_*. Empty: the "
            "lowest site of every host and ion."
        ),
    )
    surfaces: tuple[Facet, ...] = Field(
        default=(
            Facet(name="001", miller=(0, 0, 1), repeat=(1, 1)),
            Facet(name="100", miller=(1, 0, 0), repeat=(1, 1)),
            Facet(name="101", miller=(1, 0, 1), repeat=(1, 1)),
        ),
        description="Slabs whose surface energy is calculated.",
    )
    relax: Literal["potential", "dft"] = Field(default="potential", description="What relaxes the slabs in `surfaces`.")
    relax_fmax_ev_per_angstrom: Positive = Field(
        default=0.03, description="Largest force component left on an atom of a slab relaxed by DFT (eV/Angstrom)."
    )
    box_angstrom: tuple[Positive, Positive, Positive] = Field(
        default=(10.0, 10.5, 11.0),
        description=(
            "Edges of the box around an isolated atom (Angstrom). No two edges are equal, to lift degenerate levels."
        ),
    )
    strain: Annotated[float, Field(gt=0, le=0.05)] = Field(
        default=0.01, description="Step of the strained cells that are fitted."
    )
    displacement_angstrom: Annotated[float, Field(gt=0, le=0.3)] = Field(
        default=0.06, description="Step of a free atomic coordinate (Angstrom)."
    )
    atom_settings: dict[str, Any] = Field(
        default={"k_length_angstrom": 1.0},
        description="Changes to dft.settings for isolated atoms, which also get the spin of their ground state.",
    )
    metal_settings: dict[str, Any] = Field(
        default={"k_length_angstrom": 40.0, "point_group": True}, description="Changes to dft.settings for metals."
    )
    lattice_settings: dict[str, Any] = Field(
        default={"point_group": True, "cutoff_ev": 700.0},
        description=(
            "Changes to dft.settings for strained cells: the number of plane waves jumps with the strain, "
            "which at 520 eV leaves 28 GPa of the bulk modulus open."
        ),
    )

    @model_validator(mode="after")
    def _surfaces_are_distinct(self) -> "EnergeticsSettings":
        names = [f.name for f in self.surfaces]
        if len(set(names)) < len(names) or "bulk" in names:
            raise ValueError(f"surfaces: names must differ from each other and from 'bulk', got {names}")
        return self

    @model_validator(mode="after")
    def _box_has_no_equal_edges(self) -> "EnergeticsSettings":
        if len(set(self.box_angstrom)) < 3:
            raise ValueError(f"box_angstrom: {self.box_angstrom} has equal edges, which share a degenerate level")
        return self
