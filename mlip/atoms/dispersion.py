"""D3(BJ) dispersion and the level ("target") at which labels, potential and report meet.

Takes Atoms; does the two-body D3 sum with Becke-Johnson damping and the PBE parameters through the dftd3 package
(simple-dftd3); gives eV and eV/Angstrom.

    E = -1/2 sum_AB sum_n=6,8  s_n C_n,AB / (R_AB^n + (a1 R0_AB + a2)^n),   R0_AB = sqrt(C8_AB / C6_AB)

The three-body (Axilrod-Teller-Muto) term is left out, as in VASP's IVDW = 12. The sum is periodic where the cell is.
`D3_ZERO_PBE` is the older damping, which is subtracted from jobs whose totals hold it.
Two targets exist: 'pbe' (labels and potential are plain PBE; dispersion is added behind it, by `missing_at`) and
'pbe-d3' (dispersion is in the labels, so in the potential; `missing_at` is None). Every consumer asks here, so that the
dispersion energy is neither counted twice nor dropped.

Grimme, Ehrlich, Goerigk, J. Comput. Chem. 2011, 32, 1456, doi:10.1002/jcc.21759.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from mlip.core.section import Target
from mlip.core.units import BOHR_ANGSTROM, HARTREE_EV


@dataclass(frozen=True)
class Dispersion:
    """Every choice of the D3 sum; lengths in Bohr as the method defines them."""

    method: str = "D3(BJ), two-body (no Axilrod-Teller-Muto term), PBE parameters"
    s6: float = 1.0
    s8: float = 0.7875
    s9: float = 0.0
    a1: float = 0.4289
    a2_bohr: float = 4.4407
    pair_cutoff_bohr: float = 60.0
    coordination_cutoff_bohr: float = 40.0
    source: str = "doi:10.1002/jcc.21759"


@dataclass(frozen=True)
class ZeroDamped:
    """D3 of 2010, two-body, with zero damping and the PBE parameters, which jobs of VASP can hold; lengths in Bohr.

    Grimme, Antony, Ehrlich, Krieg, J. Chem. Phys. 2010, 132, 154104, doi:10.1063/1.3382344.
    """

    s6: float = 1.0
    s8: float = 0.722
    s9: float = 0.0
    rs6: float = 1.217
    rs8: float = 1.0
    pair_cutoff_bohr: float = 60.0
    coordination_cutoff_bohr: float = 40.0


D3_BJ_PBE, D3_ZERO_PBE = Dispersion(), ZeroDamped()


def d3(atoms: Atoms, settings: Dispersion | ZeroDamped = D3_BJ_PBE) -> tuple[float, NDArray[np.float64]]:
    """D3 energy in eV and forces (N, 3) in eV/Angstrom, periodic along the directions of atoms.pbc.

    Raises:
        ValueError: where a position or cell vector is not finite, or the dftd3 library refuses the structure.
    """
    from dftd3.interface import DispersionModel

    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        raise ValueError("D3: a position or cell vector is not finite; check the structure")
    lattice = atoms.cell.array / BOHR_ANGSTROM if atoms.pbc.any() else None
    periodic = np.asarray(atoms.pbc) if atoms.pbc.any() else None
    try:
        model = DispersionModel(atoms.numbers, atoms.positions / BOHR_ANGSTROM, lattice, periodic)
        model.set_realspace_cutoff(disp2=settings.pair_cutoff_bohr, disp3=40.0, cn=settings.coordination_cutoff_bohr)
        result = model.get_dispersion(_damping(settings), grad=True)
    except RuntimeError as error:
        raise ValueError(f"D3: the dftd3 library refused {atoms.get_chemical_formula()} ({error})") from error
    energy_ev = float(np.asarray(result["energy"])) * HARTREE_EV
    forces = -np.asarray(result["gradient"], dtype=np.float64) * (HARTREE_EV / BOHR_ANGSTROM)
    return energy_ev, forces


def _damping(settings: Dispersion | ZeroDamped) -> Any:
    from dftd3.interface import RationalDampingParam, ZeroDampingParam

    common = {"s6": settings.s6, "s8": settings.s8, "s9": settings.s9, "alp": 14.0}
    if isinstance(settings, ZeroDamped):
        return ZeroDampingParam(rs6=settings.rs6, rs8=settings.rs8, **common)
    return RationalDampingParam(a1=settings.a1, a2=settings.a2_bohr, **common)


def absent_labels(frame: Atoms, target: Target) -> list[str]:
    """Keys of the labels of this level that the frame lacks."""
    wanted = ["dft_energy", "dft_forces"] + (["d3_energy", "d3_forces"] if target == "pbe-d3" else [])
    return [k for k in wanted if k not in frame.info and k not in frame.arrays]


def target_labels(frame: Atoms, target: Target) -> tuple[float, NDArray[np.float64]]:
    """Energy (eV) and forces (N, 3; eV/Angstrom) of a labelled frame at the target level.

    Raises:
        ValueError: where the frame lacks the labels of this level, or the level is unknown.
    """
    if target not in {"pbe", "pbe-d3"}:
        raise ValueError(f"target {target!r} is unknown; use 'pbe' or 'pbe-d3'")
    name = frame.info.get("frame_id", "without frame_id")
    if absent := absent_labels(frame, target):
        raise ValueError(f"frame {name}: has no {', '.join(absent)}, needed for target {target!r}; add the labels")
    energy_ev = float(frame.info["dft_energy"])
    forces = np.array(frame.arrays["dft_forces"], dtype=np.float64)
    if target == "pbe-d3":
        return energy_ev + float(frame.info["d3_energy"]), forces + frame.arrays["d3_forces"]
    return energy_ev, forces


def missing_at(target: Target, atoms: Atoms) -> float | None:
    """Dispersion energy in eV that a potential of this target lacks at this structure; None where it lacks none.

    A barrier at the PBE-D3 level is the potential's barrier plus the difference of this between saddle and initial
    state, where it is not None.

    Raises:
        ValueError: where the target is unknown.
    """
    if target == "pbe-d3":
        return None
    if target == "pbe":
        return d3(atoms)[0]
    raise ValueError(f"target {target!r} is unknown; use 'pbe' or 'pbe-d3'")
