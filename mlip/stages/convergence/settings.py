"""The settings of the stage convergence."""

from typing import Any

from pydantic import Field, model_validator

from mlip.core.section import OptionalSection


class ConvergenceSettings(OptionalSection):
    """What the DFT settings cost: errors against tighter ones."""

    frames: tuple[str, ...] = Field(
        default=("001_11_Li_site", "001_11_Li_hop1", "001_11_clean_relaxed"),
        description="Ids of the dataset's frames on which the settings are compared.",
    )
    studies: dict[str, tuple[dict[str, Any], ...]] = Field(
        default={
            "cutoff": ({"cutoff_ev": 400.0}, {"cutoff_ev": 520.0}, {"cutoff_ev": 600.0}),
            "k-points": ({"k_length_angstrom": 15.0}, {"k_length_angstrom": 20.0}),
            "smearing": ({"smearing_ev": 0.1}, {"smearing_ev": 0.05}),
        },
        description="Variants of dft.settings by study; the last variant of a study is the reference of the others.",
    )

    @model_validator(mode="after")
    def _studies_compare(self) -> "ConvergenceSettings":
        short = [name for name, variants in self.studies.items() if len(variants) < 2]
        if short or not self.studies:
            raise ValueError(
                f"studies: {short or 'none'} given with fewer than two variants; the last is the reference"
            )
        return self
