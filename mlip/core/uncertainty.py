"""The settings of errors of barriers that no stage owns: verdicts and rates use the same ones."""

from typing import Annotated

from pydantic import Field

from mlip.core.section import Section

Error = Annotated[float, Field(ge=0)]


class Uncertainty(Section):
    """Errors of barriers, 1 sigma, that are not measured in the run itself."""

    convergence_ev: Error = Field(
        default=0.005, description="Error of a converged band of the potential: number of images, force threshold (eV)."
    )
    dft_settings_ev: Error = Field(
        default=0.015,
        description="Error of a barrier relaxed with DFT from cutoff, k-points, dipole and spin (eV).",
    )
    dispersion_ev: Error = Field(
        default=0.02, description="Error of a barrier without D3 where D3 at its images is not known (eV)."
    )
