"""Words of the report: what each section means, and what the report does not show.

Takes nothing; gives `WORDS`, lines by the key of a section, and `LIMITS`.
"""

WORDS: dict[str, tuple[str, ...]] = {
    "verdicts": (
        (
            "The uncertainty joins the larger of calibrated committee spread and held-out path error with "
            "convergence and, where D3 at the saddle is not known, dispersion. All tolerances were set before "
            "results were seen."
        ),
        (
            "Ours is the lowest path between neighbouring equivalent sites; the published surface paths are not "
            "described in the text, so agreement is with a number, not with a path."
        ),
    ),
    "order": (
        (
            "The published order is bulk above (100) above (001), and Mg above Li on each. It is reported here, "
            "not imposed; an order counts only where the difference exceeds 2 sigma. Errors are combined as if "
            "they were independent: shared errors of the potential may cancel in a difference."
        ),
    ),
    "paths": (
        (
            "For every facet, ion and direction the path whose highest saddle is lowest, over all combinations of"
            " converged hops through surface and subsurface sites; its barrier counts from the site where it "
            "starts."
        ),
    ),
    "hops": (
        (
            "A hop without a number did not converge, lost its ion or left the range of the potential: its status"
            " says which. Spread is the standard deviation over the committee members' own bands, not calibrated."
        ),
    ),
    "nearest": (
        (
            "A caution, not a result: among many hops some barrier comes close to any published value. The chance"
            " is that of at least one match within the tolerance if as many values were spread evenly over the "
            "computed range."
        ),
    ),
    "sites": (
        (
            "Energies are relative to the lowest site of the same host and ion. Depth counts from the outermost "
            "metal plane, inwards."
        ),
        (
            "In the pictures oxygen is pale and the metal blue-grey; surface sites are red, subsurface sites blue, "
            "bulk sites green, and lines are the ion's ways along the bands."
        ),
    ),
    "profiles": (
        (
            "Thin lines: the members of the committee, dashed where a band is not converged; thick: their mean. "
            "Energies are relative to the initial image, at the level of the potential."
        ),
    ),
    "literature": (
        (
            "Evidence: S read in the source, C computed from public data or geometry, M expert knowledge that was"
            " not verified, I judgement. These values are for comparison; no verdict uses them."
        ),
    ),
}

LIMITS = (
    (
        "Barriers are for ideal, unreconstructed facets in vacuum at zero temperature, one ion in the cell: "
        "no electrolyte, no fluorine, no steps, no other coverage."
    ),
    (
        "Adsorption energies, band gaps and charges are not computed; voltages appear in the audit only, from"
        " published numbers."
    ),
    (
        "DFT barriers are single points on images of another potential's path, not relaxed with DFT; they "
        "bound the error of the potential there, they are no DFT nudged elastic bands."
    ),
    (
        "Slab thickness, lateral size, k-points, dipole and the functional (PBE against hybrid or +U, about "
        "0.1 eV) are not part of the uncertainty."
    ),
    (
        "A lowest path is the lowest among the sites and hops that were found; a path through a site that was"
        " missed would lower it further."
    ),
    "Rates, prefactors and diffusion coefficients do not follow from a barrier alone.",
)
