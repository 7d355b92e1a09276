"""Where the published values are."""

from pathlib import Path

from pydantic import Field

from mlip.core.section import ExecutionSection


class Literature(ExecutionSection):
    """Published values that the report compares with; no computed number depends on them."""

    references: Path = Field(
        default=Path("datasets/references"), description="Folder with the published values, one YAML file a source."
    )
