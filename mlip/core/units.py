"""Constants and conversions, of ASE at CODATA 2018. Inside the package: Angstrom, eV, fs, kelvin.

ASE computes most of its constants from others, and rounds differently from the tables: its Hartree differs by 8e-12 of
the value, its Bohr by 6e-12, its k by 2e-11, its 1 fs^2 by 4e-10. These four are those of the tables: stored labels
were converted with Hartree and Bohr, and trajectories, which amplify every rounding, were computed with the other two.
"""

from ase.units import create_units

CODATA_2018 = create_units("2018")  # values of J, C, m, kg, mol, GPa in eV, Angstrom, u and elementary charges

BOLTZMANN_EV_PER_KELVIN = 8.617333262e-5  # k = 1.380649e-23 J/K over e = 1.602176634e-19 C, both exact
PLANCK_EV_PS = 4.135667696923859e-3  # h = 6.62607015e-34 J s over e, both exact; the energy of 1 THz in eV
HARTREE_EV = 27.211386245988
BOHR_ANGSTROM = 0.529177210903
ACCELERATION = 9.648533212e-3  # Angstrom/fs^2 of 1 eV/Angstrom on 1 u: e / 1.66053906660e-27 kg, in Angstrom and fs
ELEMENTARY_CHARGE_COULOMB: float = 1 / CODATA_2018.C
AVOGADRO_PER_MOLE: float = CODATA_2018.mol
PLANCK_EV_PER_THZ = 6.62607015e-34 / 1.602176634e-19 * 1e12  # h, both exact
GAS_CONSTANT_J_PER_MOL_K = 8.31446261815324  # k times Avogadro's number, both exact
WAVE_NUMBER_PER_THZ = 1e12 / 299792458e2  # 1/cm of 1 THz: over the speed of light in cm/s, which is exact
GPA_PER_EV_PER_ANGSTROM3: float = 1 / CODATA_2018.GPa
GRAM_PER_CM3: float = CODATA_2018.kg / 1e3 / (CODATA_2018.m / 100) ** 3  # in u/Angstrom^3
CM2_PER_S = 1e-4  # of 1 Angstrom^2/ps: 1e-16 cm^2 / 1e-12 s


def joule_per_m2(energy_ev: float, area_angstrom2: float) -> float:
    """Surface energy in J/m^2 of energy_ev over area_angstrom2."""
    return float(energy_ev / area_angstrom2 * CODATA_2018.m**2 / CODATA_2018.J)


def mah_per_gram(charges: float, grams_per_mole: float) -> float:
    """Capacity in mAh/g of `charges` electrons per formula of this molar mass: Faraday constant / 3.6 C per mAh."""
    return float(charges * CODATA_2018.mol / CODATA_2018.C / 3.6 / grams_per_mole)
