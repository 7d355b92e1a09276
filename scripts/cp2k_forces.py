"""Second opinion: forces of dataset frames by CP2K (GTH pseudopotentials, Gaussian basis) beside those of their labels.

    apt install cp2k
    python scripts/cp2k_forces.py WORK bulk1_Li_hop50 001_11_Mg_site 001_11_clean_md700_0 [--cutoff-ry 1000]

PBE, the k-points and the smearing of the labels, TZV2P-MOLOPT basis. A frame whose folder in WORK holds a finished
calculation is read, not run again. Prints, in meV/Angstrom, the net force, where a pseudopotential that the grid does not
carry shows first, and the differences once the net force is taken off the ion, whose pseudopotential is the hardest (off all
atoms where there is no ion). CP2K: doi:10.1063/5.0007045.
"""

import argparse
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
from ase.units import Bohr, Hartree

from mlip.core.units import BOLTZMANN_EV_PER_KELVIN
from mlip.stages.dataset import dataset
from mlip.stages.dataset.settings import DatasetSettings

DATA = Path("datasets/tio2-mg-li")
ELECTRONS = {"Ti": 12, "O": 6, "Li": 3, "Mg": 10}
SMEARING_KELVIN = 0.05 / BOLTZMANN_EV_PER_KELVIN
INPUT = """\
&GLOBAL
  PROJECT forces
  RUN_TYPE ENERGY_FORCE
  PRINT_LEVEL LOW
&END GLOBAL
&FORCE_EVAL
  METHOD QS
  &DFT
    BASIS_SET_FILE_NAME BASIS_MOLOPT_UZH
    POTENTIAL_FILE_NAME POTENTIAL_UZH
    &MGRID
      CUTOFF {cutoff}
      REL_CUTOFF 80
      NGRIDS 4
    &END MGRID
    &QS
      EPS_DEFAULT 1.0E-12
    &END QS
    &XC
      &XC_FUNCTIONAL PBE
      &END XC_FUNCTIONAL
    &END XC
    &KPOINTS
      SCHEME MONKHORST-PACK {kpts}
      SYMMETRY OFF
    &END KPOINTS
    &SCF
      EPS_SCF 1.0E-6
      MAX_SCF 80
      ADDED_MOS 20
      &DIAGONALIZATION
        ALGORITHM STANDARD
      &END DIAGONALIZATION
      &MIXING
        METHOD BROYDEN_MIXING
        ALPHA 0.2
        NBUFFER 8
      &END MIXING
      &SMEAR
        METHOD FERMI_DIRAC
        ELECTRONIC_TEMPERATURE [K] {kelvin:.1f}
      &END SMEAR
    &END SCF
  &END DFT
  &SUBSYS
    &CELL
{cell}
    &END CELL
    &COORD
{positions}
    &END COORD
{kinds}
  &END SUBSYS
  &PRINT
    &FORCES
      NDIGITS 10
    &END FORCES
  &END PRINT
&END FORCE_EVAL
"""


def written(atoms, cutoff_ry):
    """CP2K's input for a labelled frame."""

    def rows(names, vectors):
        return "\n".join(f"      {n} " + " ".join(f"{x:.10f}" for x in v) for n, v in zip(names, vectors, strict=True))

    kinds = [
        f"    &KIND {s}\n      BASIS_SET TZV2P-MOLOPT-PBE-GTH-q{ELECTRONS[s]}\n      POTENTIAL GTH-PBE-q{ELECTRONS[s]}\n    &END KIND"
        for s in sorted(set(atoms.symbols))
    ]
    return INPUT.format(
        cutoff=cutoff_ry,
        kpts=" ".join(str(int(n)) for n in atoms.info["kpts"]),
        kelvin=SMEARING_KELVIN,
        cell=rows("ABC", atoms.cell.array),
        positions=rows(atoms.get_chemical_symbols(), atoms.positions),
        kinds="\n".join(kinds),
    )


def forces(folder, atoms, cutoff_ry):
    """(n, 3) eV/Angstrom.

    Raises:
        SystemExit: CP2K is not there, failed, or its electrons did not converge.
    """
    out = folder / "forces.out"
    if not (out.exists() and "T I M I N G" in out.read_text()):
        program = shutil.which("cp2k")
        if program is None:
            raise SystemExit("cp2k: not installed; on Debian or Ubuntu: apt install cp2k")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "forces.inp").write_text(written(atoms, cutoff_ry))
        subprocess.run([program, "-i", "forces.inp", "-o", "forces.out"], cwd=folder, check=False)
    text = out.read_text()
    table = re.search(r"# Atom +Kind +Element +X +Y +Z\n(.*?)\n SUM", text, re.DOTALL)
    if table is None or "SCF run converged" not in text:
        raise SystemExit(f"{out}: CP2K did not finish or did not converge; see the end of the file")
    return np.array([[float(x) for x in row.split()[3:6]] for row in table[1].splitlines()]) * Hartree / Bohr


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("frames", nargs="+", metavar="FRAME_ID")
    parser.add_argument("--cutoff-ry", type=int, default=1000)
    options = parser.parse_args()
    _, labelled = dataset.read_dataset(DATA, DatasetSettings(), target="pbe")
    by_id = {f.info["frame_id"]: f for f in labelled}
    unknown = [n for n in options.frames if n not in by_id]
    if unknown:
        parser.error(f"{DATA}: has no frames {', '.join(unknown)}")
    print(
        f"{'frame':24s} {'rms force':>9s} {'rms diff':>9s} {'largest':>9s} {'on the ion':>10s} {'slope':>6s} {'net force':>9s}"
    )
    for name in options.frames:
        atoms = by_id[name]
        found = forces(options.work / f"{name}-{options.cutoff_ry}", atoms, options.cutoff_ry)
        label = atoms.arrays["dft_forces"] - atoms.arrays["dft_forces"].mean(axis=0)
        ions = [k for k, s in enumerate(atoms.symbols) if s in ("Li", "Mg")]
        carriers, net = ions or list(range(len(atoms))), found.sum(axis=0)
        found[carriers] -= net / len(carriers)
        off = found - label
        print(
            f"{name:24s} {1e3 * np.sqrt((label**2).mean()):9.0f} {1e3 * np.sqrt((off**2).mean()):9.1f} "
            f"{1e3 * np.linalg.norm(off, axis=1).max():9.0f} {1e3 * np.linalg.norm(off[ions], axis=1).max(initial=0):10.0f} "
            f"{(found * label).sum() / (label**2).sum():6.3f} {1e3 * np.abs(net).max():9.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
