"""Calculations of the stage `electronic` in worker processes, each kept on disk when it is done.

A job is a structure with its settings; its folder has the converged electrons (`.gpw`) and what was read off them.
After a kill the same job goes on from the last of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.geometry import find_mic

from mlip.core import files
from mlip.core.arrays import Array
from mlip.core.status import RESOLVED, WAITING, Status
from mlip.dft import electronic, job_command, vasp_bands
from mlip.dft.electronic import Levels, Projected
from mlip.dft.engines import Mesh, Refused, Waiting, gpaw, length_mesh, normal_axis, vasp
from mlip.stages.electronic import gaps
from mlip.stages.electronic.bader import Bader, bader
from mlip.stages.electronic.difference import Difference, difference
from mlip.stages.electronic.result import HostStates, IonCharge
from mlip.stages.electronic.settings import ElectronicSettings

Project = Callable[[Array], Projected]  # densities of states on an energy axis
OnMesh = Callable[[Mesh], tuple[Levels, Project]]

GAPS_VERSION, IONS_VERSION = 3, 1  # of kept results, in their names; each is raised where its numbers change
REFUSED, GRID = "refused by DFT", "grid not converged"
BELOW_EV, ABOVE_EV, POINTS = 7.0, 5.0, 481  # range of a density of states around the top of the valence band
SAME = 1e-3  # Angstrom, cell vectors of one length
SHELL = 8  # neighbours of the ion that are listed
SECTION_POINTS = 60  # of a section along each vector, at most


@dataclass(frozen=True, kw_only=True)
class HostJob:
    """A clean host: its primitive cell, which slab layers are counted as outermost, and where results are kept."""

    host: str
    atoms: Atoms
    metals: tuple[str, ...] | None  # of a slab; None: a crystal
    folder: Path  # of the structure at this level
    key: str  # of the settings of the stage, in the name of the result
    dft: gpaw.Settings | vasp.Settings
    settings: ElectronicSettings
    command: str | None = None  # that runs a VASP job


@dataclass(frozen=True, kw_only=True)
class IonJob:
    """An ion, the last atom, on a host."""

    host: str
    ion: str
    site: str
    atoms: Atoms
    folder: Path
    key: str
    dft: gpaw.Settings
    settings: ElectronicSettings


def states(job: HostJob) -> HostStates:
    """Gap on one mesh after the other until it stays, and densities of states on the last one."""
    done = job.folder / f"states-{job.key}.json"
    if done.exists():
        return replace(files.read_record(done, HostStates), host=job.host)
    try:
        found = _on_meshes(job, _meshes(job))
    except Refused as error:
        return _nothing(job, Status(REFUSED, str(error)))
    except Waiting as error:
        return _nothing(job, Status(WAITING, str(error)))
    files.write_record(done, found)
    return found


def last_output(job: HostJob) -> Path | None:
    """The output of the last VASP job of a host, else the log of its command; None where there is neither."""
    folders = [_vasp_folder(job, mesh) for mesh in _meshes(job)]
    outputs = [folder / name for folder in folders for name in (job_command.LOG, "vasprun.xml")]
    return next((path for path in reversed(outputs) if path.exists()), None)


def _meshes(job: HostJob) -> list[Mesh]:
    return list(dict.fromkeys(even_mesh(job.atoms, length) for length in job.settings.mesh_lengths_angstrom))


def _vasp_folder(job: HostJob, mesh: Mesh) -> Path:
    return job.folder / f"vasp-{_name(mesh)}"


def _on_meshes(job: HostJob, meshes: Sequence[Mesh]) -> HostStates:
    """The row of a host; the gap on a mesh that was not enough is kept for the next start."""
    levels = _by_vasp(job, job.dft) if isinstance(job.dft, vasp.Settings) else _by_gpaw(job, job.dft, meshes[0])
    before: list[gaps.MeshGap] = []
    for mesh in meshes[:-1]:
        kept = _kept_gap(job, mesh, meshes[0])
        if kept.exists():
            before.append(files.read_record(kept, gaps.MeshGap))
            continue
        made, project = levels(mesh)
        found = [*before, gaps.gap(made)]
        if gaps.status(found, same_ev=job.settings.same_gap_ev).code != gaps.NOT_CONVERGED:
            return _states(job, found, made, project)
        files.write_record(kept, found[-1])
        before = found
    made, project = levels(meshes[-1])
    return _states(job, [*before, gaps.gap(made)], made, project)


def _kept_gap(job: HostJob, mesh: Mesh, first: Mesh) -> Path:
    """The file of a gap, named by its mesh; in GPAW by the first mesh too, whose density it is calculated in."""
    density = f"-in-{_name(first)}" if isinstance(job.dft, gpaw.Settings) else ""
    return job.folder / f"gap-{_name(mesh)}{density}-v{GAPS_VERSION}.json"


def _by_gpaw(job: HostJob, dft: gpaw.Settings, first: Mesh) -> OnMesh:
    """Levels on a mesh in the density that is converged on the first one."""
    calc = electronic.converged(job.atoms, first, dft, job.folder / f"scf-{_name(first)}.gpw")

    def on_mesh(mesh: Mesh) -> tuple[Levels, Project]:
        levels, fixed = electronic.levels(calc, mesh, job.folder / f"levels-{_name(mesh)}.txt")
        return levels, lambda axis: electronic.projected(fixed, axis, width_ev=job.settings.width_ev)

    return on_mesh


def _by_vasp(job: HostJob, dft: vasp.Settings) -> OnMesh:
    """Levels of a VASP job of its own on each mesh."""

    def on_mesh(mesh: Mesh) -> tuple[Levels, Project]:
        folder = _vasp_folder(job, mesh)
        levels, states = job_command.result_of(
            lambda: vasp_bands.levels(job.atoms, mesh, dft, folder), folder, job.command
        )
        return levels, lambda axis: vasp_bands.projected(states, axis, width_ev=job.settings.width_ev)

    return on_mesh


def _name(mesh: Mesh) -> str:
    return "x".join(map(str, mesh))


def even_mesh(atoms: Atoms, length: float) -> Mesh:
    """Points for a length (Angstrom), even numbers where there are several, the same along vectors of one length.

    With the zone centre, such a mesh has points of the zone boundary and the symmetry of the crystal.
    """
    points, lengths = length_mesh(atoms, length), atoms.cell.lengths()
    normal = normal_axis(atoms)
    alike = [
        points[axis]
        if axis == normal
        else max(points[other] for other in range(3) if abs(lengths[other] - lengths[axis]) < SAME and other != normal)
        for axis in range(3)
    ]
    a, b, c = (n + n % 2 if n > 1 else n for n in alike)
    return a, b, c


def _nothing(job: HostJob, status: Status) -> HostStates:
    return HostStates(host=job.host, atoms=len(job.atoms), status=status, gap_ev=None, direct_ev=None, meshes=())


def _states(job: HostJob, found: Sequence[gaps.MeshGap], levels: Levels, project: Project) -> HostStates:
    """The row of a host from its gaps and from its levels on the last mesh."""
    status = gaps.status(found, same_ev=job.settings.same_gap_ev)
    top, bottom = float(levels.edges[0].max()), float(levels.edges[1].min())
    complete = float(levels.energies_ev[:, -1].min())  # above it bands are missing
    axis = np.linspace(top - BELOW_EV, min(top + ABOVE_EV, complete), POINTS)
    density = project(axis)
    outer = None if job.metals is None else gaps.outermost(job.atoms, metals=job.metals)
    symbols = np.array(job.atoms.get_chemical_symbols())
    valence, conduction = gaps.edges(density, job.atoms, top_ev=top, bottom_ev=bottom, outer=outer)
    known = status.code == RESOLVED
    return HostStates(
        host=job.host,
        atoms=len(job.atoms),
        status=status,
        gap_ev=found[-1].gap_ev if known else None,
        direct_ev=found[-1].direct_ev if known else None,
        meshes=tuple(found),
        valence=valence,
        conduction=conduction,
        energies_ev=_listed(axis - top),
        total=_listed(density.total),
        elements={str(s): _listed(density.atoms[symbols == s].sum(axis=0)) for s in np.unique(symbols)},
        outer=() if outer is None else _listed(density.atoms[outer].sum(axis=0)),
    )


def _listed(values: Any) -> tuple[float, ...]:
    return tuple(round(float(v), 4) for v in values)


def charges(job: IonJob) -> IonCharge:
    """Bader charge of the ion on two grids."""
    done = job.folder / f"charges-{job.key}.json"
    if done.exists():
        return files.read_record(done, IonCharge)
    try:
        both = _electrons(job, job.atoms, "both", job.dft)
    except Refused as error:
        return without(job, Status(REFUSED, str(error)))
    grids = [(r, _bader(job.atoms, both, r)) for r in job.settings.refinements]
    given = [(r, float(b.charges[-1])) for r, b in grids]
    apart, (_, finest) = abs(given[-1][1] - given[0][1]), grids[-1]
    rough = apart > job.settings.same_charge_e
    said = f"the charge differs by {apart:.3f} e between the two grids (at most {job.settings.same_charge_e:g})"
    found = replace(
        without(job, Status(GRID, said) if rough else Status(RESOLVED)),
        charge_e=None if rough else given[-1][1],
        grids=tuple(given),
        electrons_left=finest.left,
    )
    files.write_record(done, found)
    return found


def without(job: IonJob, status: Status) -> IonCharge:
    """A row with a status and no number."""
    return IonCharge(host=job.host, ion=job.ion, site=job.site, status=status, charge_e=None)


def _electrons(job: IonJob, atoms: Atoms, name: str, dft: gpaw.Settings) -> Any:
    """The calculator of some of the atoms of a job, on the mesh of all, from the disk where it is there.

    The name of the file has the settings where they are not those of the job, which its folder is named by.
    """
    mesh = length_mesh(job.atoms, job.dft.k_length_angstrom)
    own = "" if dft == job.dft else f"-{_digest(dft)}"
    return electronic.converged(atoms, mesh, dft, job.folder / f"{name}{own}.gpw")


def _digest(dft: gpaw.Settings) -> str:
    return files.digest_of(dft.model_dump(mode="json"))[:16]


def change(job: IonJob) -> IonCharge:
    """What changes when the ion joins the host: the density, and the charges of the neighbours."""
    done = job.folder / f"difference-{job.key}.json"
    if done.exists():
        return files.read_record(done, IonCharge)
    try:
        parts = {"both": job.atoms, "host": job.atoms[:-1], "ion": job.atoms[-1:]}
        calcs = [_electrons(job, atoms, name, job.dft) for name, atoms in parts.items()]
    except Refused as error:
        return replace(without(job, Status(RESOLVED)), difference_status=Status(REFUSED, str(error)))
    grid = job.settings.refinements[0]  # enough for differences of two densities on one grid
    densities = [electronic.density(c, refinement=grid, core=False) for c in calcs]
    together, host = (_bader(a, c, grid) for a, c in zip((job.atoms, job.atoms[:-1]), calcs, strict=False))
    found = replace(
        without(job, Status(RESOLVED)),
        neighbours=_neighbours(job.atoms, together.charges[:-1] - host.charges),
        **_drawn(difference(densities[0], densities[1], densities[2], job.atoms)),
    )
    files.write_record(done, found)
    return found


def _bader(atoms: Atoms, calc: Any, refinement: int) -> Bader:
    return bader(atoms, electronic.density(calc, refinement=refinement, core=True))


def _neighbours(atoms: Atoms, changes: Any) -> tuple[tuple[str, float, float], ...]:
    """The nearest atoms of the ion: element, distance, and by how much their charge becomes more positive."""
    apart = find_mic(atoms.positions[:-1] - atoms.positions[-1], atoms.cell)[1]
    return tuple(
        (atoms[int(k)].symbol, round(float(apart[k]), 3), round(float(changes[k]), 4)) for k in apart.argsort()[:SHELL]
    )


def _drawn(found: Difference) -> dict[str, Any]:
    """The change of the density as fields of a row."""
    a, z = (max(1, -(-n // SECTION_POINTS)) for n in found.section.shape)
    return {
        "moved": found.moved,
        "difference_status": found.status,
        "integral": found.integral,
        "heights_angstrom": _listed(found.heights_angstrom[::z]),
        "planar": _listed(found.planar[::z]),
        "section": tuple(_listed(row) for row in found.section[::a, ::z]),
    }


def polarised(job: IonJob) -> gpaw.Settings:
    """The level of a job with spin polarisation and the starting moments of the stage.

    Raises:
        ValueError: no atom has a starting moment; GPAW would then calculate it spin-paired.
    """
    moments, elements = job.settings.starting_moments_bohr, sorted(set(job.atoms.get_chemical_symbols()))
    if not any(moments.get(symbol) for symbol in elements):
        raise ValueError(
            f"electronic.starting_moments_bohr: no atom of {job.host}_{job.ion}_{job.site} has a starting moment; name "
            f"one of {', '.join(elements)}, such as {{{elements[-1]}: 0.2}}"
        )
    return job.dft.model_copy(update={"spin": "polarised", "moments_bohr": moments})


def moment(job: IonJob) -> IonCharge:
    """Magnetic moment of the cell, and the energy of the spin-polarised electrons against the spin-paired ones."""
    levels = (polarised(job), job.dft.model_copy(update={"spin": "paired", "moments_bohr": {}}))
    done = job.folder / f"moment-{job.key}-{_digest(levels[0])}.json"
    if done.exists():
        return files.read_record(done, IonCharge)
    try:
        spin, paired = (_electrons(job, job.atoms, "both", dft) for dft in levels)
    except Refused as error:
        return replace(without(job, Status(RESOLVED)), moment_status=Status(REFUSED, str(error)))
    energies = [float(c.get_potential_energy(force_consistent=True)) for c in (spin, paired)]
    found = replace(
        without(job, Status(RESOLVED)),
        moment_bohr=float(spin.get_magnetic_moment()),
        moment_status=Status(RESOLVED),
        spin_energy_ev=energies[0] - energies[1],
    )
    files.write_record(done, found)
    return found
