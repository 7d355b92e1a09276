"""LAMMPS: runs too large for one GPU, with the same model, and their trajectories back.

Takes a model, and the start of a system as the md stage writes it; gives a folder with the model for ML-IAP (as
mace-torch makes it), `start.data`, the input `in.md`, `in.more` to go on from a restart file, a batch script for nodes
of several GPUs, and `deck.json`, which says what the atoms are. Takes the folders that LAMMPS wrote there back as
tracks of the ions. LAMMPS (2025 or later) needs ML-IAP with Python and Kokkos:
https://docs.lammps.org/Build_extras.html#ml-iap.
"""

import io
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers
from numpy.typing import NDArray

from mlip import config, extxyz, files, models
from mlip.dynamics import EQUILIBRATION_FRICTION_PER_PS
from mlip.process import quiet
from mlip.trajectory import Header, Track

Array = NDArray[np.float64]
MODEL, START, SCRIPT, DECK = "model-mliap_lammps.pt", "start.data", "submit.sh", "deck.json"
INPUT, MORE = "in.md", "in.more"
DRIFT, DUMP = "drift.txt", "ions.dump"
RESTART_END = "LammpS RestartT"  # at the end of a restart file that is whole


@dataclass(frozen=True)
class Deck:
    """What the atoms of a deck are, and how they are written."""

    header: Header  # without replicas; those are the folders
    elements: tuple[str, ...]  # of the atom types, from 1
    frozen: tuple[int, ...]  # numbers of the atoms that do not move, from 0
    target_ps: float
    equilibrate_ps: float
    friction_per_ps: float


def export_files(model: Path, folder: Path, *, start: Path | None, source: Path | None, member: int) -> Deck:
    """The deck of a model folder, a start in a file, and the md section of a config (the defaults without one).

    Raises:
        ValueError: no start, or anything wrong with one of the files.
    """
    if start is None:
        raise ValueError("--start: LAMMPS needs a start; give one of the md stage, such as runs/quick/md/001_Li.extxyz")
    settings = config.Md() if source is None else config.load(source).md
    return export(models.load(model), folder, extxyz.read_frames(start)[0], settings, member=member)


def export(model: models.Released, folder: Path, start: Atoms, settings: config.Md, *, member: int = 1) -> Deck:
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
            "give a start that the md stage wrote, such as runs/quick/md/001_Li.extxyz"
        )
    if settings.ensemble != "nvt":
        raise ValueError(f"md.ensemble: {settings.ensemble} is not written for LAMMPS; use nvt")
    unknown = sorted(set(start.get_chemical_symbols()) - set(model.elements))
    if unknown:
        raise ValueError(f"elements {unknown} are not in the model, which knows {list(model.elements)}")
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
    deck = Deck(header, elements, frozen, settings.target_ps, settings.equilibrate_ps, settings.friction_per_ps)
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

    with quiet():
        from mace.calculators.lammps_mliap_mace import LAMMPS_MLIAP_MACE

        chosen = deepcopy(model.members[member - 1]).double().cpu()
        chosen.lammps_mliap = True
        buffer = io.BytesIO()
        torch.save(LAMMPS_MLIAP_MACE(chosen), buffer)
    files.write_bytes_atomic(path, buffer.getvalue())


def _data(atoms: Atoms, elements: Sequence[str]) -> str:
    """The data file of LAMMPS; its cell has the first edge along x and the second in the xy plane.

    Raises:
        ValueError: a cell that is turned otherwise.
    """
    cell = atoms.cell.array
    if np.abs(cell[np.triu_indices(3, 1)]).max() > 1e-6:
        raise ValueError(
            "LAMMPS wants the first edge of the cell along x and the second in the xy plane; turn the cell"
        )
    lines = [
        "start of molecular dynamics",
        f"{len(atoms)} atoms",
        f"{len(elements)} atom types",
        *(f"0.0 {cell[k, k]:.10f} {x}lo {x}hi" for k, x in enumerate("xyz")),
        f"{cell[1, 0]:.10f} {cell[2, 0]:.10f} {cell[2, 1]:.10f} xy xz yz",
        "",
        "Masses",
        "",
        *(f"{k} {atomic_masses[atomic_numbers[s]]:.6f} # {s}" for k, s in enumerate(elements, start=1)),
        "",
        "Atoms # atomic",
        "",
    ]
    scaled = np.linalg.solve(cell.T, atoms.positions.T).T
    image = np.floor(scaled).astype(int)
    inside = (scaled - image) @ cell
    for k, (symbol, r, n) in enumerate(zip(atoms.get_chemical_symbols(), inside, image, strict=True), start=1):
        kind = elements.index(symbol) + 1
        lines.append(f"{k} {kind} {r[0]:.10f} {r[1]:.10f} {r[2]:.10f} {n[0]} {n[1]} {n[2]}")
    return "\n".join(lines) + "\n"


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
run {round(deck.equilibrate_ps / _step_ps(deck))}
reset_timestep 0
print "${{T}}" file ${{out}}/temperature.txt

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


def _step_ps(deck: Deck) -> float:
    return deck.header.time_step_fs / 1000.0


def _forces(deck: Deck) -> str:
    return f"""pair_style mliap unified {MODEL} 0
pair_coeff * * {" ".join(deck.elements)}
neighbor 1.0 bin
timestep {_step_ps(deck):g}
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
run {round(deck.target_ps / _step_ps(deck))} upto
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


def _batch(settings: config.Md) -> str:
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


def read(folder: Path) -> tuple[Header, list[Track]]:
    """Header and tracks of the ions of every run in the folder of a deck: `runs/*/`, each with its dump.

    Raises:
        ValueError: no deck, no run, or a file that is cut short or does not fit.
    """
    deck = files.read_record(folder / DECK, Deck)
    runs = sorted(p.parent for p in folder.glob(f"runs/*/{DUMP}"))
    if not runs:
        raise ValueError(f"{folder}: holds no runs/*/{DUMP}; run LAMMPS there with {SCRIPT}")
    return deck.header, [_track(run, deck) for run in runs]


def _track(run: Path, deck: Deck) -> Track:
    steps, places = _dumps(run, count=len(deck.header.ions))
    if (np.diff(steps) != deck.header.frame_steps).any():
        raise ValueError(f"{run}/{DUMP}: frames are not {deck.header.frame_steps} steps apart; use the deck as it is")
    drift: dict[int, list[float]] = {}
    for path in _parts(run, DRIFT):
        drift |= _drift(path)
    absent = [int(s) for s in steps if int(s) not in drift]
    if absent:
        raise ValueError(f"{run / DRIFT}: has no line for step {absent[0]}; it is cut short, or of another run")
    shift = np.array([drift[int(s)] for s in steps])
    temperature = float((run / "temperature.txt").read_text(encoding="utf-8"))
    return Track(run.name, temperature, deck.header.frame_ps, deck.header.ions, places - shift[:, None])


def _parts(run: Path, name: str) -> list[Path]:
    """The file of this name and those of continuations, `name.1.ending` and so on, in order."""
    stem, ending = name.split(".")
    later = [p for p in run.glob(f"{stem}.*.{ending}") if p.name.split(".")[1].isdecimal()]
    return [run / name, *sorted(later, key=lambda p: int(p.name.split(".")[1]))]


def _dumps(run: Path, *, count: int) -> tuple[NDArray[np.int64], Array]:
    """Steps (F,) and positions (F, n, 3) of a run; what a continuation has calculated again counts from there.

    Only a part that was gone on from may end in a frame that is cut off.
    """
    found: dict[int, list[list[float]]] = {}
    parts = _parts(run, DUMP)
    for path in parts:
        try:
            for step, rows in _blocks(path, count=count):
                found = {s: r for s, r in found.items() if s < step} if step in found else found
                found[step] = rows
        except ValueError:
            if path == parts[-1]:
                raise
    if not found:
        raise ValueError(f"{run / DUMP}: holds no frame; run LAMMPS first")
    return np.array(list(found)), np.array(list(found.values()))


def _blocks(path: Path, *, count: int) -> Iterator[tuple[int, list[list[float]]]]:
    """Step and positions of each frame of a dump, as far as it is whole."""
    lines = path.read_text(encoding="utf-8").split("\n")
    unfinished = lines.pop()  # what follows the last line feed
    k = 0
    while k < len(lines) or unfinished:
        head = lines[k : k + 9]
        if len(head) < 9 or head[0] != "ITEM: TIMESTEP" or head[8].split()[2:] != ["id", "xu", "yu", "zu"]:
            raise ValueError(
                f"{path}: line {k + 1} begins no whole frame 'id xu yu zu'; the file is cut short or no such dump"
            )
        if int(head[3]) != count:
            raise ValueError(f"{path}: {head[3]} ions at step {head[1]}, not {count}; the file is of another deck")
        try:
            rows = [[float(x) for x in line.split()] for line in lines[k + 9 : k + 9 + count]]
        except ValueError as error:
            raise ValueError(
                f"{path}: a frame after line {k + 1} is not numbers ({error}); the file is damaged"
            ) from error
        if any(len(row) != 4 for row in rows):
            raise ValueError(f"{path}: a line after line {k + 9} is cut short; remove the last frame")
        if len(rows) != count:
            raise ValueError(f"{path}: {len(rows)} ions at step {head[1]}, not {count}; the file is cut short")
        yield int(head[1]), [row[1:] for row in sorted(rows)]
        k += 9 + count


def _drift(path: Path) -> dict[int, list[float]]:
    """Mean displacement of the host by step."""
    out = {}
    for line in path.read_text(encoding="utf-8").split("\n")[:-1]:  # what follows the last line feed is not whole
        words = line.split()
        if words and not line.startswith("#") and len(words) == 4:
            out[int(words[0])] = [float(x) for x in words[1:]]
    return out
