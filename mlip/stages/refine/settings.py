"""The settings of the stage refine."""

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from mlip.core.section import Count, OptionalSection, Positive


class RefineSettings(OptionalSection):
    """Ends and saddles relaxed with DFT, from the potential's bands and a few DFT calls each."""

    execution: ClassVar[frozenset[str]] = OptionalSection.execution | {"max_hours"}

    hops: tuple[str, ...] = Field(
        default=("*",), description="Name patterns of the hops to refine, with shell wildcards."
    )
    datasets: tuple[Path, ...] = Field(
        default=(Path("datasets/tio2-mg-li-refined-001"),),
        description=(
            "Dataset folders beside that of the run: labels of the level of the run are data of the correction, and "
            "paths that their cards call refined are shown in the report."
        ),
    )
    fmax_ev_per_angstrom: Positive = Field(
        default=0.05,
        description="Largest DFT force on any atom at a refined end or saddle (eV/Angstrom); see force_noise.",
    )
    max_change_ev: Positive = Field(
        default=0.005, description="Largest change of the barrier that the corrected potential still predicts (eV)."
    )
    max_calls_per_hop: Annotated[int, Field(ge=2)] = Field(
        default=12, description="DFT calls of a hop, those for the curvature not counted, before refinement stops."
    )
    max_calls: Count | None = Field(
        default=None, description="DFT calls of all hops together; null means no limit. Decisive hops come first."
    )
    max_hours: Positive | None = Field(
        default=None, description="Hours after which no further hop or call is begun; null means no limit."
    )
    potential_error_ev: Positive = Field(
        default=0.05,
        description=(
            "Standard deviation of a barrier of the potential beside the spread of its committee, to tell which hops "
            "could be decisive (eV)."
        ),
    )
    curvature: bool = Field(
        default=False, description="Two more DFT calls at each saddle, a step ahead and behind along the lowest mode."
    )
    curvature_step_angstrom: Positive = Field(
        default=0.1, description="Length of the step for the curvature, of all atoms together (Angstrom)."
    )
    force_noise_ev_per_angstrom: Positive = Field(
        default=0.01,
        description=(
            "Noise of a component of the DFT forces (eV/Angstrom). Where the noise alone would exceed fmax on some "
            "atom, the limit is the force that noise stays below in 95 % of labels."
        ),
    )
    host_force_noise_ev_per_angstrom: dict[str, Positive] = Field(
        default={}, description="The same noise for hosts where the noise differs, by name of the host (eV/Angstrom)."
    )
    energy_noise_ev: Positive = Field(default=0.002, description="Noise of an energy of DFT within one cell (eV).")
    length_bounds_angstrom: tuple[Positive, Positive] = Field(
        default=(0.5, 3.0), description="Bounds of the length over which the correction changes (Angstrom)."
    )
    amplitude_bounds_ev: tuple[Positive, Positive] = Field(
        default=(0.02, 5.0), description="Bounds of the amplitude of the correction (eV)."
    )
    reach_angstrom: Positive = Field(
        default=1.5,
        description=(
            "Labels of the dataset, and symmetry images of labels, are used up to this distance from the band, all "
            "atoms together (Angstrom)."
        ),
    )
    left_angstrom: Positive = Field(
        default=1.0,
        description="Distance of the ion from the potential's path beyond which the hop is lost (Angstrom).",
    )
    first_shell_angstrom: Positive = Field(
        default=2.8,
        description="Largest distance from the ion to a neighbour that counts as its first shell (Angstrom).",
    )

    def folders(self, own: Path | None) -> tuple[Path, ...]:
        """The folders of all datasets of a run: its own, where it has one, and `datasets`."""
        return self.datasets if own is None else (own, *self.datasets)
