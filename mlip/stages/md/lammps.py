"""LAMMPS: runs too large for one GPU, with the same model.

Takes a model, and the start of a system as the md stage writes it; gives a folder with the model for ML-IAP (as
mace-torch makes it), `start.data` (as ASE writes it, in a right-handed cell with small tilts), the input `in.md`,
`in.more` to go on from a restart file, a batch script for nodes of several GPUs, and `deck.json`, which says what the
atoms are. `read` takes the folders that LAMMPS wrote there back as tracks of the ions. LAMMPS (2025 or later) needs
ML-IAP with Python and Kokkos: https://docs.lammps.org/Build_extras.html#ml-iap.
"""

import io
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io.lammpsdata import write_lammps_data

from mlip.atoms import cells
from mlip.core import files
from mlip.core.process import OF_CALCULATORS, quiet
from mlip.potential import models
from mlip.stages.md.dynamics import EQUILIBRATION_FRICTION_PER_PS
from mlip.stages.md.lammps_deck import DECK, DRIFT, DUMP, INPUT, MODEL, MORE, SCRIPT, START, TEMPERATURE, Deck, prism
from mlip.stages.md.lammps_runs import read
from mlip.stages.md.settings import MdSettings
from mlip.stages.md.trajectory import Header

RESTART_END = "LammpS RestartT"  # at the end of a restart file that is whole
__all__ = ["Deck", "export", "export_model", "read"]


def export(model: models.Released, folder: Path, start: Atoms, settings: MdSettings, *, member: int = 1) -> Deck:
    """Write everything LAMMPS needs to run a system into a folder.

    Args:
        model: the model folder, loaded.
        folder: to write.
        start: of the md stage, with info host, ions and repeat and the array mobile.
        settings: time step, friction, lengths.
        member: number of the committee member, from 1.

    Raises:
        ValueError: a start that says nothing of its host and ions, or elements the model does not know.
    """
    missing = [key for key in ("host", "ions", "repeat") if key not in start.info]
    if missing or "mobile" not in start.arrays:
        raise ValueError(
            f"the start lacks {', '.join([*missing, *(['mobile'] if 'mobile' not in start.arrays else [])])}; "
            "give a start that the md stage wrote, such as runs/quick/md/100_Li.extxyz"
        )
    if settings.ensemble != "nvt":
        raise ValueError(f"md.ensemble: {settings.ensemble} is not written for LAMMPS; use nvt")
    unknown = sorted(set(start.get_chemical_symbols()) - set(model.elements))
    if unknown:
        raise ValueError(f"elements {unknown} are not in the model, which knows {list(model.elements)}")
    if (axes := cells.vacuum_axes(start)) not in {(), (2,)}:
        names = " and ".join(cells.VECTORS[k] for k in axes)
        raise ValueError(f"the start has vacuum along its {names} cell vector; a slab needs it along the third only")
    ions = tuple(str(start.info["ions"]).split("-"))
    a, b, c = (tuple(float(x) for x in row) for row in start.cell.array)
    first = len(start) - len(ions)
    header = Header(
        name=f"{start.info['host']}_{start.info['ions']}_lammps",
        host=str(start.info["host"]),
        ions=ions,
        symbols=ions,
        stored=tuple(range(first, len(start))),
        atoms=len(start),
        mobile=int(np.count_nonzero(start.arrays["mobile"])),
        cell_angstrom=((a[0], a[1], a[2]), (b[0], b[1], b[2]), (c[0], c[1], c[2])),
        repeat=_three(start.info["repeat"]),
        replicas=(),
        temperatures_kelvin=(),
        time_step_fs=settings.time_step_fs,
        frame_steps=settings.frame_steps,
        model=f"{Path(model.source).name} member {member}",
        settings="lammps",
    )
    elements = tuple(dict.fromkeys(start.get_chemical_symbols()))
    frozen = tuple(int(k) for k in np.flatnonzero(~np.asarray(start.arrays["mobile"], dtype=bool)))
    deck = Deck(
        header=header,
        elements=elements,
        frozen=frozen,
        target_ps=settings.target_ps,
        equilibrate_ps=settings.equilibrate_ps,
        friction_per_ps=settings.friction_per_ps,
    )
    export_model(model, folder / MODEL, member=member)
    files.write_text_atomic(folder / START, _data(start, elements))
    files.write_text_atomic(folder / INPUT, _input(deck))
    files.write_text_atomic(folder / MORE, _more(deck))
    files.write_text_atomic(folder / SCRIPT, _batch(settings))
    files.write_record(folder / DECK, deck)
    return deck


def _three(value: Any) -> tuple[int, int, int]:
    a, b, c = (int(x) for x in value)
    return a, b, c


def export_model(model: models.Released, path: Path, *, member: int = 1) -> None:
    """Write one member as the file that `pair_style mliap unified` reads.

    Raises:
        ValueError: a member that is not there.
    """
    if not 1 <= member <= len(model.members):
        raise ValueError(f"member {member}: {model.source} has members 1 to {len(model.members)}")
    import torch

    with quiet(OF_CALCULATORS):
        from mace.calculators.lammps_mliap_mace import LAMMPS_MLIAP_MACE

        chosen = deepcopy(model.members[member - 1]).double().cpu()
        chosen.lammps_mliap = True
        buffer = io.BytesIO()
        torch.save(LAMMPS_MLIAP_MACE(chosen), buffer)
    files.write_bytes_atomic(path, buffer.getvalue())


def _data(atoms: Atoms, elements: Sequence[str]) -> str:
    """The data file of LAMMPS, atoms in the cell with their images.

    The frame is turned into the axes and the reduced cell of LAMMPS first: with `reduce_cell` ASE would write images of
    the cell before.

    Raises:
        ValueError: a cell without volume.
    """
    shape = prism(atoms.cell.array)
    turned = Atoms(atoms.symbols, positions=atoms.positions @ shape.rot_mat, cell=shape.cell, pbc=True)
    out = io.StringIO()
    write_lammps_data(out, turned, specorder=list(elements), force_skew=True, write_image_flags=True, masses=True)
    return out.getvalue()


def _input(deck: Deck) -> str:
    header = deck.header
    first = header.atoms - len(header.ions) + 1
    hard = max(deck.friction_per_ps, EQUILIBRATION_FRICTION_PER_PS)
    frozen = "group frozen id " + _ranges(deck.frozen) if deck.frozen else "group frozen empty"
    return f"""# Langevin dynamics with a MACE potential through ML-IAP. Run with
#   lmp -k on g 1 -sf kk -pk kokkos newton on neigh half -in {INPUT} -var T 900 -var seed 1
# Each run needs a folder of its own: -var out runs/T900-1 (it must exist). {MORE} goes on from a restart file there.
variable T index 900
variable seed index 1
variable out index .
variable every index 50000

units metal
atom_style atomic
atom_modify map yes
boundary p p p
newton on
read_data {START}
group host id 1:{first - 1}
group ions id {first}:{header.atoms}
{frozen}
group mobile subtract all frozen

{_forces(deck)}
# a relaxed start gives half of its kinetic energy to the potential, so velocities are those of twice the temperature
velocity mobile create $(2.0*v_T) ${{seed}} temp heat dist gaussian loop geom mom no rot no
velocity frozen set 0.0 0.0 0.0
fix move mobile nve
fix bath mobile langevin ${{T}} ${{T}} {1.0 / hard:g} ${{seed}} zero no
run {round(deck.equilibrate_ps / deck.step_ps)}
reset_timestep 0
print "${{T}}" file ${{out}}/{TEMPERATURE}

{_production(deck, "", "0")}"""


def _more(deck: Deck) -> str:
    return f"""# Goes on from a restart file of {INPUT} or of itself: -var last runs/T1-1/restart.a -var part 1 (2, 3)
# The noise of the thermostat is new; positions, velocities and what the drift is measured from are those of the file.
variable T index 900
variable seed index 1
variable out index .
variable every index 50000
variable part index 1

read_restart ${{last}}
{_forces(deck)}
fix move mobile nve
{_production(deck, ".${part}", "v_part")}"""


def _forces(deck: Deck) -> str:
    return f"""pair_style mliap unified {MODEL} 0
pair_coeff * * {" ".join(deck.elements)}
neighbor 1.0 bin
timestep {deck.step_ps:g}
compute heat mobile temp
compute_modify heat extra/dof 0
thermo_style custom step time c_heat pe
thermo {max(deck.header.frame_steps, 100)}

# where the host has drifted, taken away when the run is read back
compute moved host displace/atom
compute shift host reduce ave c_moved[1] c_moved[2] c_moved[3]
"""


def _production(deck: Deck, part: str, number: str) -> str:
    frame = deck.header.frame_steps
    drift, dump = DRIFT.replace(".", f"{part}.", 1), DUMP.replace(".", f"{part}.", 1)
    return f"""fix bath mobile langevin ${{T}} ${{T}} {1.0 / deck.friction_per_ps:g} $(v_seed+1000*(1+{number})) zero no
fix drift host ave/time {frame} 1 {frame} c_shift[1] c_shift[2] c_shift[3] &
  file ${{out}}/{drift} format " %.8f"
dump ions ions custom {frame} ${{out}}/{dump} id xu yu zu
dump_modify ions sort id format float %.6f
restart ${{every}} ${{out}}/restart.a ${{out}}/restart.b
run {round(deck.target_ps / deck.step_ps)} upto
"""


def _ranges(numbers: Sequence[int]) -> str:
    """Atom ids (from 1) in LAMMPS's shorthand, such as 1:4 9."""
    out: list[list[int]] = []
    for number in numbers:
        if out and number == out[-1][1]:
            out[-1][1] = number + 1
        else:
            out.append([number + 1, number + 1])
    return " ".join(f"{a}:{b}" if a < b else str(a) for a, b in out)


def _batch(settings: MdSettings) -> str:
    temperatures = [f"{t:g}" for t in settings.temperatures_kelvin]
    return f"""#!/bin/bash
# LAMMPS on nodes of several GPUs, a rank to a GPU; one array task for each temperature and seed.
# Adapt to the cluster: partition, account, time, modules. Then: sbatch {SCRIPT}
# What the time limit cut off goes on from its last restart file when the script is submitted again.
#SBATCH --job-name=mlip-lammps
#SBATCH --nodes=1
#SBATCH --gpus-per-node=4
#SBATCH --ntasks-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --array=0-{len(temperatures) * settings.replicas - 1}
#SBATCH --output=lammps-%A_%a.out
set -euo pipefail
TEMPERATURES=({" ".join(temperatures)})
T=${{TEMPERATURES[$((SLURM_ARRAY_TASK_ID % {len(temperatures)}))]}}
SEED=$((SLURM_ARRAY_TASK_ID / {len(temperatures)} + 1))
OUT=runs/T$T-$SEED
mkdir -p "$OUT"
INPUT=(-in {INPUT})
for LAST in $(ls -t "$OUT"/restart.? 2>/dev/null || true); do # the newest that was written to its end
  if tail -c 64 "$LAST" | grep -qa "{RESTART_END}"; then
    INPUT=(-in {MORE} -var last "$LAST" -var part $(($(find "$OUT" -name "{DUMP.replace(".", ".*.")}" | wc -l) + 1)))
    break
  fi
done
export OMP_NUM_THREADS=1
srun lmp -k on g "$SLURM_GPUS_ON_NODE" -sf kk -pk kokkos newton on neigh half gpu/aware on \\
  "${{INPUT[@]}}" -var T "$T" -var seed "$SEED" -var out "$OUT" -log "$OUT/log.lammps"
"""
