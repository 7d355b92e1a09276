"""The level of the DFT single points."""

from typing import Any

from pydantic import Field

from mlip.core.section import Section


class Dft(Section):
    """Level of the DFT single points; the first word of the preset names the engine."""

    preset: str = Field(
        default="gpaw-pbe-520",
        pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)+$",
        description="Name of the DFT level; its first word names the engine.",
    )
    settings: dict[str, Any] = Field(default={}, description="Changes to the preset, in the terms of the engine.")
