"""Words of the report: what each section means, and what the report does not show.

Takes nothing; gives `WORDS`, lines by the key of a section, and `LIMITS`.
"""

WORDS: dict[str, tuple[str, ...]] = {
    "verdicts": (
        "Our DFT is with D3 of its images, the potential with D3 of its own where known; differences are taken so.",
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
            "Bulk against facets and ion against ion, where values are published. The published order is reported "
            "here, not imposed; an order counts only where the difference exceeds 2 sigma. Errors are combined as if "
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
    "ladder": (
        (
            "DFT single points at the ends, the saddle image and its neighbours of the band whose barrier is nearest "
            "the committee mean; of a symmetric hop one half. Nothing is relaxed with DFT: the forces that are left "
            "say how far the geometry is from a DFT saddle. A barrier stands where the force on the ion and the "
            "difference are below the limits of the run; elsewhere only a band relaxed with DFT can tell."
        ),
        (
            "Energies and forces are at the level of the potential. Where a neighbour lies above the saddle image, "
            "the DFT maximum of this path is elsewhere and at least as high."
        ),
    ),
    "energetics": (
        (
            "PBE, extrapolated to zero smearing; D3(BJ) beside it. The bulk modulus is the mean of the "
            "hydrostatic (Reuss) and the isotropic-strain (Voigt) one. 'Project' is our own DFT that comes with the "
            "code, with its settings and date in datasets/references; 'this run' is what the run itself calculated. A "
            "value whose standard error is more than half its window is not resolved."
        ),
        (
            "Adsorption energies are single points at geometries relaxed by the potential, the clean host by the "
            "same potential; the electron of the ion sits where spin-paired PBE puts it, so they are less certain "
            "than barriers. The potential's column is at its own level and takes the metal from DFT."
        ),
    ),
    "md": (
        (
            "Langevin dynamics (BAOAB) with the forces of one member; the whole committee judges every frame, and a "
            "replica that gets too hot, loses an ion or leaves the range of the potential is stopped. The cell and the "
            "lowest layers of a slab are fixed at their relaxed size and places."
        ),
    ),
    "diffusion": (
        (
            "D is that of a tagged ion. From hops: jumps between the sites of the network, their memory taken into "
            "account where there are enough of them. From displacements: Bayesian regression with kinisi, "
            "some 8 % low with eight tracks, less with more. Intervals hold 95 % and are statistical: the error of the "
            "potential comes on top, see the NEB barriers' 2 sigma. Without a hop there is an upper limit, no value. A "
            "jump that is no hop of the network, such as two hops from one frame to the next, is called other."
        ),
        (
            "A value at 300 K is an extrapolation along a straight line from much higher temperatures, no "
            "measurement; its interval does not know whether the line stays straight. The dashed line follows from "
            "NEB barriers and an assumed prefactor of 10 THz, of which calculated ones differ by up to ten times."
        ),
        (
            "GITT gives chemical diffusion coefficients of whole electrodes, with concentration gradients, grain "
            "boundaries and an assumed length: another quantity, drawn for its range only."
        ),
    ),
    "convergence": (
        (
            "Errors of forces and energy differences against the last setting of each study. Absolute energies shift "
            "with most settings and are not compared."
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
        "Band gaps and charges are not computed; adsorption energies and voltages are those of one ion in the cell,"
        " not of a composition."
    ),
    (
        "DFT barriers are single points on images of a potential's path, not relaxed with DFT; they "
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
    "Rates, prefactors and diffusion coefficients do not follow from a barrier alone; trajectories are classical.",
)
