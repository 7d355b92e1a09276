"""Claims of the paper under check: what is claimed, where, the formula of the check, what follows.

Takes nothing; gives `CLAIMS`, one entry per check of `audit`, which holds the numbers. Kept apart so that the text can
be read and corrected without touching the arithmetic.
Paper: 10.1007/s40820-025-01861-7.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """The text of one row of the audit."""

    topic: str
    claimed: str
    where: str
    formula: str
    consequence: str
    evidence: str = "P, C"


CLAIMS: dict[str, Claim] = {
    "rates": Claim(
        "Barriers and the stated gain of D",
        "On (001), the diffusion coefficients are 2-3 orders of magnitude larger than in conventional TiO2.",
        "Conclusion",
        "exp((E_bulk - E_facet)/kT), 298.15 K, equal prefactors",
        (
            "The published barriers agree with this claim. For Mg they give more than the measured coefficients in Mg "
            "salt, which differ by one decade. The formula leaves out prefactors and geometry. No gain is claimed for "
            "(100); its values stand beside for comparison."
        ),
    ),
    "voltage-metal": Claim(
        "Adsorption per electron, read against bulk metal",
        "Mg adsorbs more strongly than Li on (001), so interfacial Mg storage is favoured.",
        "Abstract, section 3.2",
        "V = -E_ads/n; Li shifted by the difference of standard potentials",
        "Per electron and against one electrode, Li is the more favourable ion. The stated conclusion does not follow.",
        "P, C, M",
    ),
    "voltage-atom": Claim(
        "Adsorption per electron, read against isolated atoms",
        "The reference of the adsorption energies is not stated.",
        "section 3.2",
        "V = -(E_ads + E_coh)/n, PBE cohesive energies",
        (
            "In this reading, Li could not be stored at all, which contradicts the measured capacity in Li salt. The "
            "bulk metal is therefore the likelier reference."
        ),
        "P, C, S, M",
    ),
    "coverage": Claim(
        "Coverage of the two slabs",
        "Adsorption on (001) and (100) is compared at one ion per Ti16O32 slab.",
        "sections 2.4, 3.2",
        "area of the surface cell",
        "The facets are compared at unequal coverage, and the repulsion between ions differs between them.",
    ),
    "layers": Claim(
        "Thickness of the two slabs",
        "2x2 supercell with 16 Ti for both facets.",
        "section 2.4",
        "16 Ti divided by the number of Ti in a layer of the surface cell",
        (
            "Read literally, the (100) slab is p(2x2), with two layers and without six-fold Ti. Our barriers on (100) "
            "are for p(2x1) with four layers; configs/tio2.yaml builds the other reading as well."
        ),
    ),
    "k-points": Claim(
        "k-point meshes",
        "2x3x1 for (001), 3x2x1 for (100).",
        "section 2.4",
        "2 pi/(n L)",
        (
            "The mesh of (001) is uneven on a square cell, for no stated reason, and is coarse for a metallic, doped "
            "slab. The mesh 3x2x1 fits the p(2x1) cell of (100)."
        ),
    ),
    "dipole": Claim(
        "One-sided adsorbate without a stated dipole correction",
        "No dipole correction is mentioned.",
        "section 2.4",
        "p^2/(2 eps0 A L), unscreened upper bound",
        (
            "A dipole of 1 e A or more would change adsorption energies by up to tenths of an eV. In our own cells, "
            "the dipole with an ion is 0.3 to 0.8 e A, and the correction is at most 0.04 eV. Barriers change much "
            "less, because only the change of the dipole p along the path counts. Our labels have no dipole "
            "correction either."
        ),
    ),
    "diffusion-ranges": Claim(
        "GITT diffusion coefficients",
        "Mg from 1e-13 to 1e-11 and Li from 1e-11 to 1e-7 cm2/s, 2-3 orders better than conventional TiO2.",
        "Conclusion against section 3.3",
        "log10 of the ratio (001)/anatase, at the lower and at the upper end",
        (
            "Each quoted pair of values is the range within the (001) sample, not a change from anatase, and the "
            "second pair belongs to the dual salt. The ranges of the two materials differ by one decade in Mg salt and "
            "by two to three decades in the dual salt, where it is not known which ion moves."
        ),
    ),
    "diffusion-absolute": Claim(
        "Absolute diffusion coefficients from the barriers",
        "Barriers explain the measured coefficients.",
        "sections 3.2, 3.3",
        "nu exp(-E/kT), nu = 1e13/s; bulk (2/3) d^2, (001) a^2",
        (
            "Three of the four coefficients fall into the GITT ranges (those of Li into the ranges of the dual salt); "
            "that of Mg on (001) is ten times above its range. The ranges span two to five decades, so the overlap is "
            "no test of the barriers."
        ),
    ),
    "composition": Claim(
        "Dilute bulk barrier and real composition",
        "The bulk Mg barrier limits micro-sized anatase.",
        "section 3.2",
        "q/(F/(3.6 M)) per TiO2",
        (
            "At working compositions, the Mg barrier is far higher than the dilute barrier. The concentration limits "
            "the bulk, and not the dilute barrier."
        ),
        "P, C, S",
    ),
    "capacity": Claim(
        "Capacity of surface storage",
        "The gain in capacity is interfacial Mg storage.",
        "Abstract, section 3.3",
        "q = n e S_BET/(A_site 3.6)",
        (
            "The gain needs about one Mg on every surface cell of the whole BET area, which is a multiple of the "
            "modelled coverage. The dual-salt capacity cannot be surface storage."
        ),
        "P, C, M",
    ),
    "capacitive-share": Claim(
        "Diffusion-controlled share in dual salt",
        "The dual-salt gain stems mainly from interfacial storage of Mg.",
        "section 3.3, Fig. S22",
        "(1 - diffusion-controlled share) q; the share is from CV at 0.1 mV/s, q at 50 mA/g",
        "According to the paper's own split, almost nothing of the dual-salt capacity is capacitive.",
    ),
    "areas": Claim(
        "BET areas and particle sizes",
        "126 and 67 m2/g for 12 x 40 nm sheets and 120 nm rods.",
        "section 3.1",
        "2/(rho t) + 4/(rho w); rods 4/(rho w)",
        (
            "The stated sizes and areas are not consistent. Possible reasons are that AFM measured stacks, or that "
            "finer particles exist beside the imaged ones."
        ),
        "P, C, M",
    ),
    "fringes": Claim(
        "HRTEM fringes",
        "0.372 nm is the (001) spacing.",
        "section 3.1, Fig. 1b",
        "1/d^2 = (h^2 + k^2)/a^2 + l^2/c^2",
        (
            "No (001) spacing is near 0.372 nm. The value is nearest to d(100), which body centring forbids, and is "
            "clearly above d(101)."
        ),
        "P, C, M",
    ),
    "bader": Claim(
        "Bader charges",
        "Mg2+ and Li+ adsorb.",
        "section 3.2",
        "charge transfer over formal charge",
        (
            "With the published charges, Mg gives up less charge than in oxides, and the label Mg2+ does not follow "
            "from them. Our own charges stand under 'Other published quantities'."
        ),
        "P, C, M",
    ),
    "gaps": Claim(
        "Band gaps",
        "The PBE trend and UV-vis agree, which validates the facet model.",
        "section 3.2, Fig. 2g",
        "gap(bulk) - gap(facet)",
        (
            "The calculated and measured narrowings are alike, but a slab of four layers and a blue (reduced, perhaps "
            "fluorinated) powder of 12 nm sheets do not measure the same thing."
        ),
    ),
    "percentages": Claim(
        "Capacity gains",
        "+90.24 % in Mg salt, +70.77 % in Li salt; the facet doubles the capacity.",
        "Highlights, Introduction, Conclusion",
        "q(001)/q(anatase) - 1",
        (
            "The stated percentages differ slightly from those that the stated capacities give. In Mg salt, the "
            "ratio is a little less than the factor of two that 'doubles' means."
        ),
    ),
}
