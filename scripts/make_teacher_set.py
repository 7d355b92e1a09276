"""Make the pre-training set: bulk, facets and ions labelled by a universal potential. These are not DFT labels.

Run in an environment of its own, because sevenn needs a newer e3nn than mace-torch allows:

    python -m venv teacher-env && teacher-env/bin/pip install torch==2.13.0 && teacher-env/bin/pip install sevenn==0.13.0 spglib
    teacher-env/bin/python scripts/make_teacher_set.py OUT.extxyz --frames 800 --seed 1
    teacher-env/bin/python scripts/make_teacher_set.py OUT.extxyz --relabel datasets/tio2-mg-li/frames.extxyz

A base model that is there already moves ten times faster than SevenNet-0, and further; its geometries are written without
labels, in this project's environment, and labelled in the other:

    python scripts/make_teacher_set.py MOVED.extxyz --move datasets/models/base --frames 2400 --seed 3
    teacher-env/bin/python scripts/make_teacher_set.py OUT.extxyz --relabel MOVED.extxyz

--large takes the cells in which barriers are found instead of small ones, mostly with one ion on its way between two voids, and
calmer: relaxed further, then 300 to 900 K. --only 001 (or bulk, 100, 101) keeps to one kind of cell.

--label takes SevenNet by its name or the checkpoint of a MatterSim model, in an environment with mattersim==1.2.3. The checkpoint
mattersim/pretrained_models/mattersim-v1.0.0-5M.pth is in a wheel of the package index that is for Python 3.9, to be unpacked, not installed:

    pip download mattersim==1.0.0rc8 --no-deps --only-binary=:all: --python-version 3.9 --implementation cp

    mattersim-env/bin/python scripts/make_teacher_set.py OUT.extxyz --relabel MOVED.extxyz --label mattersim-v1.0.0-5M.pth

Geometries: ions in voids of bulk, (001), (100) and (101) cells, ions between two voids (the hops), subsurface, several
ions at once and, with --above, ions that leave the surface; each family is relaxed a little and heated by a short Langevin run with SevenNet-0 (fast) or the base model,
then labelled. A family is written in one append; a stopped run continues behind the last whole family.
With --relabel the frames of an existing file get teacher labels (the baseline on identical frames and the energy shift),
those that OUT has not yet.

Units: Angstrom, eV, eV/Angstrom. info: frame_id, system, ion, group, sampling, vacuum, teacher, teacher_energy; arrays: teacher_forces.
Source of the potentials: SevenNet, doi:10.1021/acs.jctc.4c00190; MatterSim, doi:10.48550/arXiv.2405.04967.
"""

import argparse
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atom, Atoms, units
from ase.build import surface
from ase.constraints import FixAtoms
from ase.io import read, write
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.optimize import FIRE
from ase.spacegroup import crystal

LATTICE_A, LATTICE_C, OXYGEN_Z, VACUUM = 3.800, 9.680, 0.2066, 15.0
CELLS = [  # kind, repeat, weight
    ("bulk", (1, 1, 1), 2), ("bulk", (2, 1, 1), 2), ("bulk", (2, 2, 1), 1),
    ("001", (1, 1), 3), ("001", (2, 1), 4), ("001", (1, 2), 2), ("001", (2, 2), 2),
    ("100", (1, 1), 4), ("100", (2, 1), 2), ("101", (1, 1), 1),
]  # fmt: skip
SMALL_CELLS = [  # of the base model's own motion: where an ion is close to everything, and a label costs least
    ("bulk", (1, 1, 1), 4), ("bulk", (2, 1, 1), 2), ("001", (1, 1), 6), ("001", (2, 1), 3), ("001", (1, 2), 3),
    ("100", (1, 1), 5), ("101", (1, 1), 1),
]  # fmt: skip
LARGE_CELLS = [("bulk", (2, 2, 1), 4), ("001", (2, 2), 4), ("100", (2, 1), 4)]  # 48 atoms: the cells of barriers
LOADS = [(), ("Li",), ("Li",), ("Li",), ("Mg",), ("Mg",), ("Mg",), ("Li", "Mg"), ("Li", "Li"), ("Mg", "Mg")]
LARGE_LOADS = [(), *4 * [("Li",)], *4 * [("Mg",)], ("Li", "Mg")]
TEMPERATURES = (300, 600, 900, 1200)
FORCE_LIMIT = 25.0  # eV/Angstrom: frames beyond it are left out


class Plan(NamedTuple):
    """What families are drawn from."""

    cells: list  # kind, repeat, weight
    loads: list  # ions of a family
    hops: float  # fraction of families with an ion that has it between two voids
    fmax: float  # eV/Angstrom
    relaxing: tuple  # steps of the relaxation
    temperatures: tuple  # K
    steps: int  # of 2 fs between two frames


UNIVERSAL = Plan(CELLS, LOADS, hops=0.45, fmax=0.2, relaxing=(8, 20), temperatures=TEMPERATURES, steps=7)
SMALL = UNIVERSAL._replace(cells=SMALL_CELLS, steps=20)
LARGE = Plan(LARGE_CELLS, LARGE_LOADS, hops=0.65, fmax=0.05, relaxing=(20, 60), temperatures=TEMPERATURES[:3], steps=20)


def bulk():
    basis = [(0, 0, 0), (0, 0, OXYGEN_Z)]
    return crystal(["Ti", "O"], basis, spacegroup=141, cellpar=[LATTICE_A, LATTICE_A, LATTICE_C, 90, 90, 90], setting=1)


def slab(facet, repeat):
    """Stoichiometric slab of four TiO2 layers: (001) cut between trilayers, (100) as it falls, (101) by trying origins."""

    def cut(shift, miller, layers):
        host = bulk()
        host.positions += shift
        host.wrap(eps=1e-6)
        return surface(host, miller, layers, vacuum=VACUUM / 2, periodic=True)

    if facet == "001":
        best = cut((0, 0, LATTICE_C / 8), (0, 0, 1), 1)
    elif facet == "100":
        best = cut((0, 0, 0), (1, 0, 0), 2)
    else:
        cuts = [cut((0, 0, x * LATTICE_C), (1, 0, 1), 2) for x in np.linspace(0, 1, 24, endpoint=False)]
        best = max(cuts, key=lowest_coordination)
    return best.repeat((*repeat, 1))


def lowest_coordination(atoms):
    near = atoms.get_all_distances(mic=True) < 2.4
    metal = atoms.numbers == 22
    return near[metal][:, ~metal].sum(1).min(), near[~metal][:, metal].sum(1).min()


def distances_to(atoms, point):
    probe = atoms.copy()
    probe.append(Atom("H", point))
    return probe.get_distances(-1, range(len(atoms)), mic=True)


def voids(atoms, vacuum, rng, tries=400):
    """Random points pushed to places at least 1.75 Angstrom from every atom; on slabs within 2 Angstrom of the material."""
    found = []
    top, bottom = atoms.positions[:, 2].max(), atoms.positions[:, 2].min()
    for _ in range(tries):
        point = rng.random(3) @ atoms.cell.array
        if vacuum:
            point[2] = rng.uniform(bottom + 2.0, top + 1.8)
        if 1.75 < distances_to(atoms, point).min() < 2.6:
            found.append(point)
        if len(found) == 24:
            break
    return found


def place(atoms, ions, hop, vacuum, rng):
    """Atoms with the ions in voids; with hop the first ion sits between two voids, at least 1.5 Angstrom from every atom."""
    for number, ion in enumerate(ions):
        sites = voids(atoms, vacuum, rng)
        if not sites:
            break
        point = sites[rng.integers(len(sites))]
        if hop and number == 0:
            others = [s for s in sites if 1.0 < np.linalg.norm(s - point) < 4.3]
            if others:
                mid = point + rng.uniform(0.2, 0.8) * (others[rng.integers(len(others))] - point)
                if distances_to(atoms, mid).min() > 1.5:
                    point = mid
        atoms = atoms.copy()
        atoms.append(Atom(ion, point))
    return atoms


def lifted(atoms, host, rng):
    """Atoms with the first ion 1.5 to 6 Angstrom above the outermost atom of the slab, anywhere over its cell."""
    atoms = atoms.copy()
    point = rng.random(3) @ atoms.cell.array
    point[2] = atoms.positions[:host, 2].max() + rng.uniform(1.5, 6.0)
    atoms.positions[host] = point
    return atoms


def family_frames(rng, mover, plan, above):
    """One family: (system, ions, sampling, vacuum, frames)."""
    weights = np.array([w for *_, w in plan.cells], float)
    kind, repeat, _ = plan.cells[rng.choice(len(plan.cells), p=weights / weights.sum())]
    ions = plan.loads[rng.integers(len(plan.loads))]
    vacuum = kind != "bulk"
    hop = bool(ions) and rng.random() < plan.hops
    atoms = slab(kind, repeat) if vacuum else bulk().repeat(repeat)
    if not vacuum and rng.random() < 0.5:
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, 0.012, (3, 3))), scale_atoms=True)
    atoms.rattle(0.04, rng=rng)
    host = len(atoms)
    atoms = place(atoms, ions, hop, vacuum, rng)
    start = "hop" if hop else "void"
    if above and vacuum and len(atoms) > host and rng.random() < above:
        atoms, start = lifted(atoms, host, rng), "above"
    atoms.calc = mover
    if start != "void":
        atoms.set_constraint(FixAtoms([host]))
    FIRE(atoms, logfile=None).run(fmax=plan.fmax, steps=int(rng.choice(plan.relaxing)))
    frames = [atoms.copy()]
    temperature = float(rng.choice(plan.temperatures))
    MaxwellBoltzmannDistribution(atoms, temperature_K=temperature, rng=rng)
    motion = Langevin(atoms, 2 * units.fs, temperature_K=temperature, friction=0.02 / units.fs, rng=rng)
    for _ in range(4):
        motion.run(plan.steps)
        frames.append(atoms.copy())
    rattled = atoms.copy()
    rattled.set_constraint()
    rattled.positions += rng.normal(0, rng.choice([0.05, 0.12]), rattled.positions.shape)
    frames.append(rattled)
    system = f"{kind}_{''.join(map(str, repeat))}"
    return system, ions, f"{start}, Langevin {temperature:.0f} K", vacuum, frames


def unlabelled(frame, info):
    out = Atoms(frame.symbols, positions=frame.positions, cell=frame.cell, pbc=True)
    out.info = dict(info)
    return out


def labelled(frame, judge, info):
    atoms = unlabelled(frame, {})
    atoms.calc = judge
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    if not np.isfinite(energy) or np.abs(forces).max() > FORCE_LIMIT:
        return None
    out = unlabelled(frame, {**info, "teacher_energy": float(energy)})
    out.arrays["teacher_forces"] = forces
    return out


def append(path, frames):
    """Append whole families in one write."""
    text = io.StringIO()
    write(text, frames, format="extxyz")
    with path.open("a") as handle:
        handle.write(text.getvalue())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--frames", type=int, default=800)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--label", default="7net-l3i5")
    parser.add_argument("--move", default="7net-0")
    parser.add_argument(
        "--above", type=float, default=0.0, help="fraction of families on slabs with an ion off the surface"
    )
    parser.add_argument("--large", action="store_true", help="with --move FOLDER: the cells of barriers, calmer")
    parser.add_argument("--only", choices=("bulk", "001", "100", "101"), help="cells of this kind only")
    parser.add_argument("--relabel", type=Path)
    options = parser.parse_args()
    if options.large and not Path(options.move).is_dir():
        parser.error("--large needs --move with the folder of a model of this project")
    if options.large and options.only not in (None, *(kind for kind, *_ in LARGE_CELLS)):
        parser.error(f"--large has no cells of {options.only}")
    (relabel if options.relabel else make)(options)


def make(options):
    own = Path(options.move).is_dir()  # a model of this project moves, and nothing is labelled yet
    plan = LARGE if options.large else SMALL if own else UNIVERSAL
    plan = plan._replace(cells=[c for c in plan.cells if options.only in (None, c[0])])
    judge, mover = (None, own_potential(options.move)) if own else (universal(options.label), universal(options.move))
    done = read(options.out, ":") if options.out.exists() else []
    count, number = len(done), int(done[-1].info["group"].split("-")[1]) + 1 if done else 0
    while count < options.frames:
        rng = np.random.default_rng([options.seed, number])
        system, ions, sampling, vacuum, frames = family_frames(rng, mover, plan, options.above)
        group = f"s{options.seed}-{number:05d}"
        info = {
            "system": system,
            "ion": "-".join(ions) or "none",
            "group": group,
            "sampling": sampling,
            "vacuum": vacuum,
            **({"teacher": Path(options.label).stem} if judge else {}),
        }
        kept = []
        for k, frame in enumerate(frames):
            named = {"frame_id": f"{group}-{k}", **info}
            one = labelled(frame, judge, named) if judge else unlabelled(frame, named)
            if one is not None:
                kept.append(one)
        if kept:
            append(options.out, kept)
        count, number = count + len(kept), number + 1


def universal(name):
    """SevenNet by its name (7net-...), MatterSim by its checkpoint (mattersim-....pth, a path or a name)."""
    if name.startswith("7net"):
        from sevenn.calculator import SevenNetCalculator

        return SevenNetCalculator(name, device="cpu")
    from mattersim.forcefield import MatterSimCalculator

    return MatterSimCalculator(load_path=name, device="cpu")


def own_potential(folder):
    from mlip.potential import models, potential

    return potential.Potential(potential.Evaluator(models.load(folder).subset((1,)), backend="mace-scalar"))


def relabel(options):
    judge = universal(options.label)
    done = {f.info["frame_id"] for f in read(options.out, ":")} if options.out.exists() else set()
    for frame in read(options.relabel, ":"):
        if frame.info["frame_id"] in done:
            continue
        info = {k: frame.info[k] for k in ("frame_id", "system", "ion", "group", "sampling", "vacuum")}
        one = labelled(frame, judge, {**info, "teacher": Path(options.label).stem})
        if one is not None:
            append(options.out, [one])


if __name__ == "__main__":
    main()
