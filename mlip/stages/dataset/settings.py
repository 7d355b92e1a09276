"""The settings of the stage dataset."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from mlip.core.section import Positive, Section


class DatasetSettings(Section):
    """Labelled frames, their checks and their split."""

    path: Path | None = Field(
        default=Path("datasets/tio2-mg-li"),
        description=(
            "Folder with the labelled frames and their card. null: no labels, in a run whose potential is given "
            "(train.model, train.calculator); errors of the potential are then not known."
        ),
    )
    test_groups: tuple[str, ...] = Field(
        default=("001_perp_Li_neb", "100_11_Li_md800", "bulk1_Mg_hop"),
        description="Groups (paths or trajectories) held out for testing; `mlip run` needs at least one.",
    )
    valid_fraction: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        default=0.12, description="Fraction of the other groups used for validation."
    )
    max_force_ev_per_angstrom: Positive = Field(
        default=30.0, description="A label with a larger force on an atom (its length) is refused (eV/Angstrom)."
    )
    max_net_force_per_atom_ev_per_angstrom: Positive = Field(
        default=0.03, description="A label whose summed force per atom is larger is refused (eV/Angstrom)."
    )
    min_distance_angstrom: Positive = Field(
        default=0.9, description="A frame with two atoms closer than this is refused (Angstrom)."
    )
    max_energy_outlier_ev_per_atom: Positive = Field(
        default=0.5,
        description="A label farther than this from the element-wise fit of the energies is refused (eV/atom).",
    )
    max_energy_force_mismatch: Positive = Field(
        default=0.3,
        description=(
            "Largest relative mismatch between the energy difference of two near frames and the work of their forces."
        ),
    )
    duplicate_angstrom: Positive = Field(
        default=1e-3, description="Frames whose atoms differ by less than this are copies (Angstrom)."
    )
