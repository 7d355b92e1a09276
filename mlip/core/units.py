"""Conversions and constants (CODATA 2018), each with its derivation. Inside the package: Angstrom, eV, fs, kelvin."""

BOLTZMANN_EV_PER_KELVIN = 8.617333262e-5  # k = 1.380649e-23 J/K over e = 1.602176634e-19 C, both exact
ELEMENTARY_CHARGE_COULOMB = 1.602176634e-19  # exact
AVOGADRO_PER_MOLE = 6.02214076e23  # exact
FARADAY_COULOMB_PER_MOLE = ELEMENTARY_CHARGE_COULOMB * AVOGADRO_PER_MOLE
HARTREE_EV = 27.211386245988
BOHR_ANGSTROM = 0.529177210903
ACCELERATION = 9.648533212e-3  # Angstrom/fs^2 of 1 eV/Angstrom on 1 u: e / 1.66053906660e-27 kg, in Angstrom and fs
CM2_PER_S = 1e-4  # of 1 Angstrom^2/ps: 1e-16 cm^2 / 1e-12 s


def joule_per_m2(energy_ev: float, area_angstrom2: float) -> float:
    """Surface energy in J/m^2 of energy_ev over area_angstrom2: 1 eV/A^2 = 1.602e-19 J / 1e-20 m^2."""
    return energy_ev / area_angstrom2 * ELEMENTARY_CHARGE_COULOMB * 1e20


def mah_per_gram(charges: float, grams_per_mole: float) -> float:
    """Capacity in mAh/g of `charges` electrons per formula of this molar mass: F / 3.6 C per mAh."""
    return charges * FARADAY_COULOMB_PER_MOLE / 3.6 / grams_per_mole
