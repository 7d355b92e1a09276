"""The settings of the stage report."""

from pydantic import Field

from mlip.core.section import Positive, Section


class ReportSettings(Section):
    """The cross-check report; tolerances are fixed before results are seen."""

    title: str = Field(default="", description="Title of the report; empty: made of the ions and the crystal.")
    agree_ev: Positive = Field(
        default=0.05,
        description="A difference of at most this, or of 2 sigma if that is larger, counts as agreement (eV).",
    )
    max_uncertainty_ev: Positive = Field(
        default=0.10,
        description=(
            "A barrier with a larger 2 sigma than this can differ from the published value but not agree with it (eV)."
        ),
    )
    agree_gap_ev: Positive = Field(
        default=0.1,
        description=(
            "Largest difference of a band gap that counts as agreement (eV): PBE gaps of different codes and lattice "
            "constants differ by as much."
        ),
    )
    agree_charge_e: Positive = Field(
        default=0.1,
        description=(
            "Largest difference of a Bader charge that counts as agreement (e): grids and core charges of different "
            "codes change a charge by as much."
        ),
    )
    symmetric_ev: Positive = Field(
        default=0.005, description="Largest difference between the forward and reverse barrier of a symmetric hop (eV)."
    )
