"""Phonons of the crystal from finite displacements: bands, density of states, heat capacity, modes at Gamma.

Takes the conventional cell and the committee mean; gives `BulkPhonons`. Displacements, force constants, symmetry and
what follows from them are phonopy's: A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023), doi:10.7566/JPSJ.92.012001. The
path through the Brillouin zone is ASE's. The cell is kept, positions in it are relaxed. A potential of short range has
no long-range dipoles: longitudinal and transverse optical modes do not split at Gamma.

    Cv = k sum_q,nu x^2 e^x / (e^x - 1)^2 = k sum_q,nu (x/2)^2 / sinh(x/2)^2,    x = h nu / kT
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms

from mlip.atoms import cells
from mlip.core.arrays import Array
from mlip.core.units import BOLTZMANN_EV_PER_KELVIN, GAS_CONSTANT_J_PER_MOL_K, PLANCK_EV_PER_THZ
from mlip.stages.modes import search
from mlip.stages.modes.result import BulkPhonons, GammaMode, HeatCapacity, PathPoint
from mlip.stages.modes.search import Evaluate
from mlip.stages.modes.settings import ModesSettings

SYMPREC_ANGSTROM = 1e-4
IMAGES_ANGSTROM = 9.0  # from an atom to its images in the supercell, where its repeats are not set
FMAX_EV_PER_ANGSTROM = 1e-4
MAX_STEPS = 200
DISPLACEMENT_ANGSTROM = 0.01
SMALL, LARGE = 1e-6, 300.0  # of h nu / kT: below it is the classical limit, above half of it nothing is left
PATH_POINTS = 160
AT_GAMMA = 1e-6
ACOUSTIC_THZ = 0.01  # acoustic modes at Gamma are below this
LANGUAGE = "C"  # the Rust eigensolver (phonors 0.8.0) gives wrong frequencies at a few wave vectors


def bulk_phonons(conventional: Atoms, evaluate: Evaluate, settings: ModesSettings) -> BulkPhonons:
    """Phonons of a crystal in the cell that is given.

    Args:
        conventional: its conventional cell.
        evaluate: structures -> what the committee says of each.
        settings: section `modes`.

    Raises:
        ValueError: the positions do not relax.
    """
    supercell = settings.bulk_supercell or cells.repeats(conventional.cell.array, (1, 1, 1), IMAGES_ANGSTROM)
    return described(force_constants(relaxed(conventional, evaluate), evaluate, supercell), settings)


def described(phonon: Any, settings: ModesSettings) -> BulkPhonons:
    """What follows from force constants in a phonopy object."""
    a, b, c = np.diag(phonon.supercell_matrix)
    primitive = _atoms(phonon.primitive)
    formulas = int(np.gcd.reduce(np.unique(primitive.numbers, return_counts=True)[1]))
    path = primitive.cell.bandpath(npoints=PATH_POINTS)
    distances, places, labels = path.get_linear_kpoint_axis()
    bands = np.array(phonon.run_qpoints(path.kpts).frequencies)
    mesh = phonon.run_mesh([settings.bulk_mesh] * 3, is_gamma_center=True)
    dos = phonon.run_total_dos()
    weights = mesh.weights / mesh.weights.sum() / formulas
    return BulkPhonons(
        supercell=(int(a), int(b), int(c)),
        gamma=gamma_modes(phonon),
        labels=tuple(PathPoint(label=t, distance=float(x)) for t, x in zip(labels, places, strict=True)),
        distances=tuple(distances.tolist()),
        bands_thz=tuple(tuple(row) for row in bands.tolist()),
        dos_thz=tuple(dos.frequency_points.tolist()),
        dos_states_per_thz=tuple((dos.dos / formulas).tolist()),
        heat_capacity=tuple(
            HeatCapacity(temperature_k=t, cv_j_per_mol_k=heat_capacity(mesh.frequencies, weights, t))
            for t in settings.heat_capacity_kelvin
        ),
        lowest_thz=min(_lowest(path.kpts, bands), _lowest(mesh.qpoints, mesh.frequencies)),
    )


def relaxed(conventional: Atoms, evaluate: Evaluate) -> Atoms:
    """The crystal with its positions relaxed in its cell.

    Raises:
        ValueError: they do not relax.
    """
    steps = search.settled(conventional, fmax=FMAX_EV_PER_ANGSTROM, max_steps=MAX_STEPS)
    (point,) = search.together([steps], {None: evaluate})
    if not point.converged:
        raise ValueError(
            f"phonons of the crystal: {point.fmax_ev_per_angstrom:.4f} eV/A are left after {MAX_STEPS} steps; "
            "check the potential on the bulk cell"
        )
    return point.atoms


def force_constants(crystal: Atoms, evaluate: Evaluate, supercell: Sequence[int]) -> Any:
    """A phonopy object with the force constants of a relaxed crystal."""
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms
    from phonopy.structure.cells import get_primitive_matrix_with_auto

    cell = PhonopyAtoms(
        symbols=crystal.get_chemical_symbols(),
        cell=crystal.cell.array,
        scaled_positions=crystal.get_scaled_positions(),
    )
    primitive = get_primitive_matrix_with_auto(cell, "auto", symprec=SYMPREC_ANGSTROM)
    phonon = Phonopy(cell, np.diag(supercell), primitive, symprec=SYMPREC_ANGSTROM, lang=LANGUAGE)
    phonon.generate_displacements(distance=DISPLACEMENT_ANGSTROM)
    found = evaluate([_atoms(displaced) for displaced in phonon.supercells_with_displacements])
    phonon.forces = [one.mean_forces for one in found]
    phonon.produce_force_constants(show_drift=False)
    phonon.symmetrize_force_constants(show_drift=False)
    return phonon


def heat_capacity(thz: Array, weights: Array, temperature_kelvin: float) -> float:
    """Cv of modes (q, modes) with the weights of their wave vectors (q,), J/(mol K); imaginary modes are left out.

    Acoustic modes at Gamma, whose frequency is zero up to rounding, count k.
    """
    x = PLANCK_EV_PER_THZ * np.abs(thz) / (BOLTZMANN_EV_PER_KELVIN * temperature_kelvin)
    each = np.divide(x / 2, np.sinh(np.minimum(x / 2, LARGE)), out=np.ones_like(x), where=x > SMALL) ** 2
    each[thz < -ACOUSTIC_THZ] = 0.0
    return float(weights @ each.sum(axis=1)) * GAS_CONSTANT_J_PER_MOL_K


def gamma_modes(phonon: Any) -> tuple[GammaMode, ...]:
    """The optical modes at Gamma, ascending, with their irreducible representations where phonopy has a table."""
    from phonopy.phonon.irreps import IrRepLabels

    found = phonon.run_irreps([0, 0, 0], symmetry_adapted=True)
    group = phonon.primitive_symmetry.pointgroup_symbol
    labels = IrRepLabels(found.characters, found.conventional_rotations, group, verbose=False).irrep_labels
    modes = [
        GammaMode(label=label or "", thz=float(found.frequencies[bands[0]]), degeneracy=len(bands))
        for bands, label in zip(found.band_indices, labels or [None] * len(found.band_indices), strict=True)
        if abs(found.frequencies[bands[0]]) > ACOUSTIC_THZ
    ]
    return tuple(sorted(modes, key=lambda mode: mode.thz))


def _atoms(cell: Any) -> Atoms:
    return Atoms(cell.symbols, cell=cell.cell, scaled_positions=cell.scaled_positions, pbc=True)


def _lowest(wave_vectors: Array, bands: Array) -> float:
    """Lowest frequency (THz) at wave vectors (q, 3), the acoustic modes at Gamma left out."""
    acoustic = (np.abs(wave_vectors).max(axis=1) < AT_GAMMA)[:, None] & (np.abs(bands) < ACOUSTIC_THZ)
    return float(bands[~acoustic].min())
