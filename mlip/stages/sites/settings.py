"""The settings of the stage sites."""

from typing import Annotated, ClassVar

from pydantic import Field

from mlip.core.section import Count, Positive, Section

ROUNDS = 3  # how often a relaxation or band of max_steps steps is continued, with an optimiser that starts afresh


class ExtraHop(Section):
    """A hop that the search leaves out, such as one seen in dynamics."""

    host: str = Field(description="Name of the host.")
    ion: str = Field(description="Chemical symbol of the ion.")
    sites: tuple[str, str] = Field(description="Names of the two sites, in either order.")
    length_angstrom: Positive = Field(
        description="Distance of the sites (Angstrom), within 0.3: the length in the list of unknown jumps."
    )


class SitesSettings(Section):
    """Search of voids, their relaxation and the hop network."""

    added_later: ClassVar[frozenset[str]] = frozenset({"extra_hops", "radii_angstrom"})

    grid_angstrom: Positive = Field(
        default=0.35, description="Spacing of the grid on which voids are searched (Angstrom)."
    )
    clearance_angstrom: Positive = Field(
        default=1.55, description="Smallest distance from a starting position to an atom (Angstrom)."
    )
    depth_angstrom: Positive = Field(
        default=4.5,
        description="On slabs, starting positions lie at most this far below the outermost metal plane (Angstrom).",
    )
    rattle_angstrom: Positive = Field(
        default=0.04,
        description=(
            "Standard deviation of the displacements given to the host before it is relaxed, so that symmetry "
            "does not trap it (Angstrom)."
        ),
    )
    fmax_ev_per_angstrom: Positive = Field(
        default=0.03, description="Relaxations end when no atom has a larger force than this (eV/Angstrom)."
    )
    max_steps: Count = Field(default=300, description="Largest number of steps of a relaxation.")
    merge_angstrom: Positive = Field(default=0.8, description="Relaxed sites closer than this are one site (Angstrom).")
    desorbed_angstrom: Positive = Field(
        default=3.2, description="An ion farther than this from every atom has left the surface (Angstrom)."
    )
    max_hop_angstrom: Positive = Field(default=4.2, description="Longest hop (Angstrom).")
    max_in_angstrom: Positive = Field(
        default=4.8,
        description="Longest hop from a surface site to a subsurface site (Angstrom): Mg sits high in a (001) hollow.",
    )
    host_rattles: Count = Field(
        default=3,
        description=(
            "How often a slab is displaced and relaxed; the lowest result is kept. The bulk cell is relaxed once."
        ),
    )
    max_candidates: Count = Field(
        default=6, description="Largest number of starting positions that are relaxed per host and ion."
    )
    displace_angstrom: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.15, description="Displacement of the ion from the centre of the void before it is relaxed (Angstrom)."
    )
    symmetry_angstrom: Positive = Field(
        default=0.1, description="Tolerance of the symmetry operations of a relaxed host (Angstrom)."
    )
    max_site_ev: Positive = Field(
        default=1.5, description="Sites that lie this far above the lowest one are listed but take part in no hop (eV)."
    )
    through_angstrom: Positive = Field(
        default=0.7, description="A hop that passes another site closer than this is two hops (Angstrom)."
    )
    blocked_angstrom: Positive = Field(
        default=1.0,
        description="A straight hop below the surface that passes an atom closer than this is left out (Angstrom).",
    )
    extra_hops: tuple[ExtraHop, ...] = Field(
        default=(),
        description="Hops that are taken whatever their length and whatever site or atom lies on the straight way.",
    )
    radii_angstrom: dict[str, Positive] = Field(
        default={},
        description=(
            "Radii of ions (Angstrom), such as {Al: 0.39}, in the place of those of Shannon for six-fold coordination: "
            "how far above a surface the search begins."
        ),
    )
