"""The shape of a MACE model that is trained from scratch."""

from typing import Annotated

from ase.data import chemical_symbols
from pydantic import Field, model_validator

from mlip.core.section import Count, Section


class Architecture(Section):
    """Shape of a MACE model trained from scratch; a base model brings its own."""

    channels: Count = Field(default=64, description="Number of channels of the node features.")
    max_l: Annotated[int, Field(ge=0, le=2)] = Field(
        default=0, description="Largest degree of the messages; 0 means scalar features only."
    )
    layers: Annotated[int, Field(ge=1, le=3)] = Field(default=2, description="Number of interaction layers.")
    correlation: Annotated[int, Field(ge=1, le=3)] = Field(
        default=3, description="Correlation order of the messages: body order minus one."
    )
    max_ell: Annotated[int, Field(ge=1, le=4)] = Field(
        default=3, description="Largest degree of the spherical harmonics of an edge."
    )
    cutoff_angstrom: Annotated[float, Field(gt=2, lt=8)] = Field(default=5.0, description="Cutoff radius (Angstrom).")
    elements: tuple[str, ...] = Field(default=("Li", "O", "Mg", "Ti"), description="Elements that the model knows.")

    @model_validator(mode="after")
    def _elements_are_elements(self) -> "Architecture":
        unknown = [s for s in self.elements if s not in chemical_symbols[1:]]
        if unknown or not self.elements or len(set(self.elements)) < len(self.elements):
            raise ValueError(f"elements: give distinct chemical symbols such as Ti, got {list(self.elements)}")
        return self
