"""The settings of errors of barriers that no stage owns: verdicts and rates use the same ones."""

from typing import Annotated

from pydantic import Field

from mlip.core.section import Section

Error = Annotated[float, Field(ge=0)]
Place = Annotated[str, Field(pattern=r"^[A-Z][a-z]? \S+$")]  # ion and host, such as 'Mg 001'


class Uncertainty(Section):
    """Errors of barriers, 1 sigma, that are not measured in the run itself."""

    convergence_ev: Error = Field(
        default=0.005, description="Error of a converged band of the potential: number of images, force threshold (eV)."
    )
    dft_settings_ev: Error = Field(
        default=0.015,
        description="Error of a barrier relaxed with DFT from cutoff, k-points, dipole and spin (eV).",
    )
    dft_settings_of_ev: dict[Place, Error] = Field(
        default={}, description="The same for an ion on a host where it is another one, such as {Mg 001: 0.04} (eV)."
    )
    dispersion_ev: Error = Field(
        default=0.02, description="Error of a barrier without D3 where D3 at its images is not known (eV)."
    )

    def settings_of(self, ion: str, host: str) -> float:
        """Error (eV, 1 sigma) of the DFT settings in a barrier of an ion on a host."""
        return self.dft_settings_of_ev.get(f"{ion} {host}", self.dft_settings_ev)
