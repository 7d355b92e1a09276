"""The level of the DFT single points."""

from typing import Any, ClassVar

from pydantic import Field

from mlip.core.section import Count, Section


class Dft(Section):
    """Level of the DFT single points; the first word of the preset names the engine."""

    execution: ClassVar[frozenset[str]] = frozenset({"ranks", "command"})

    preset: str = Field(
        default="gpaw-pbe-520",
        pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)+$",
        description="Name of the DFT level; its first word names the engine.",
    )
    settings: dict[str, Any] = Field(default={}, description="Changes to the preset, in the terms of the engine.")
    ranks: Count = Field(
        default=1, description="MPI ranks, of one core each, that calculate one frame together (GPAW), at most."
    )
    command: str | None = Field(
        default=None,
        min_length=1,
        pattern=r"^[^\n]*\S[^\n]*$",
        description=(
            "Command of the shell that runs a VASP job in the folder of its inputs, such as mpirun -n 16 vasp_std; "
            "null: the jobs are run by hand."
        ),
    )
