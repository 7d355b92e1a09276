"""The settings of the stage evaluate."""

from pydantic import Field

from mlip.core.section import Positive, Section


class EvaluateSettings(Section):
    """Errors on held-out groups."""

    first_shell_angstrom: Positive = Field(
        default=2.8,
        description=(
            "Largest distance from the ion to a neighbour that counts as its first shell, in Angstrom; the "
            "errors of the ion and this shell are reported together."
        ),
    )
