"""A result of the stage energetics: Li with everything, Mg without a lattice."""

from mlip.core.status import Status
from mlip.stages.energetics.energetics import Adsorption, Atom, Energetics, Metal, Surface
from mlip.stages.energetics.lattice import Lattice

LATTICE = Lattice(
    point=(0.0,),
    lengths_angstrom=(3.81, 3.81, 9.70),
    apex=0.2066,
    volume_angstrom3=70.4,
    energy_ev=-51.1,
    atoms=6,
    reuss_gpa=176.0,
    voigt_gpa=190.0,
    hill_gpa=183.0,
    samples=23,
    residual_ev=1e-4,
)
FOUND = Energetics(
    level="84b3beb6c0557ee2",
    atoms=(Atom(symbol="Li", energy_ev=-0.28, moment_bohr=1.0, status=Status("calculated")),),
    metals=(
        Metal(
            symbol="Li",
            structure="bcc",
            lattice=LATTICE,
            energy_ev=-1.9,
            d3_ev=-0.17,
            cohesive_ev=1.62,
            cohesive_d3_ev=1.79,
            status=Status("calculated"),
        ),
        Metal(
            symbol="Mg",
            structure="hcp",
            lattice=None,
            energy_ev=None,
            d3_ev=None,
            cohesive_ev=None,
            cohesive_d3_ev=None,
            status=Status("not calculated", "13 of 13 cells have no label"),
        ),
    ),
    crystal=LATTICE,
    crystal_status=Status("calculated"),
    surfaces=(
        Surface(
            name="001",
            layers=4,
            atoms=12,
            area_angstrom2=14.4,
            pbe_j_per_m2=1.20,
            d3_j_per_m2=1.5,
            relaxed_by="the potential",
            status=Status("calculated"),
        ),
    ),
    adsorption=(
        Adsorption(
            host="bulk",
            ion="Li",
            site="V1",
            charge=1.0,
            atom_ev=None,
            atom_d3_ev=None,
            metal_ev=-1.7,
            metal_d3_ev=-1.9,
            metal_per_electron_ev=-1.7,
            voltage_v=1.7,
            status=Status("incomplete", "no label of the atom"),
            potential_metal_ev=-1.75,
        ),
    ),
)
