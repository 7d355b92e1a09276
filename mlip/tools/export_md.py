"""Trajectories of the md stage as extended XYZ, for OVITO, ASE and others.

Takes a run whose md stage is done; gives one file per system and replica. A frame holds the stored atoms, unwrapped, in
the cell of the run, and in its info: time_ps since the equilibration, temperature_kelvin of that moment,
thermostat_kelvin, md_energy_ev, host_shift_angstrom (mean displacement of the host since the start) and, with a
committee, force_std_ev_per_angstrom. One chunk of frames is in memory at a time.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io.extxyz import write_extxyz

from mlip.core import files
from mlip.core.run import Run
from mlip.core.status import Status
from mlip.stages.md import dynamics, trajectory
from mlip.stages.md.md import DONE
from mlip.stages.md.stage import STAGE as MD
from mlip.stages.md.stage import Trajectories


@dataclass(frozen=True)
class Written:
    """What was written of a replica."""

    path: Path
    frames: int
    atoms: int  # in a frame
    atoms_in_cell: int
    length_ps: float
    status: Status | None  # DONE, or why the replica was stopped; None: not known

    @property
    def summary(self) -> str:
        """One line for the screen."""
        whole = self.status is not None and self.status.code == DONE
        stopped = "" if whole else f"; stopped: {self.status or 'unknown'}"
        if not self.frames:
            return f"{self.path.name}: not written, the replica has no frames{stopped}"
        part = f"{self.atoms} of {self.atoms_in_cell} atoms (the ions: md.stored is ions)"
        held = f"{self.atoms} atoms" if self.atoms == self.atoms_in_cell else part
        return f"{self.path}: {self.frames} frames of {held}, {self.length_ps:g} ps{stopped}"


def write(run: Run, out: Path) -> Iterator[Written]:
    """Write `<system>_<replica>.extxyz` into a folder, up to the target length; gives each file when it is whole.

    Raises:
        ValueError: the md stage is not done, a trajectory is damaged or absent, or the folder cannot be written.
    """
    if not run.is_done(MD):
        raise ValueError(f"md is not done with these settings; first run: mlip md {run.folder}")
    if out.is_file():
        raise ValueError(f"{out}: is a file; give the name of a folder, which gets one file per replica")
    settings = run.context(MD).settings
    equilibration, target, _ = dynamics.grid(settings)
    upto = (target - equilibration) // settings.frame_steps + 1
    for system in files.read_result(run.path("md", "result.json"), Trajectories).systems:
        status = {outcome.replica: outcome.status for outcome in system.replicas}
        for folder in (run.folder / name for name in system.folders):
            header = files.read_record(folder / trajectory.HEADER, trajectory.Header)
            for number, replica in enumerate(header.replicas):
                path = out / f"{system.name}_{replica}.extxyz"
                count = _write(path, islice(frames(folder, header, number), upto))
                length = max(count - 1, 0) * header.frame_ps
                yield Written(path, count, len(header.stored), header.atoms, length, status.get(replica))


def frames(folder: Path, header: trajectory.Header, number: int) -> Iterator[Atoms]:
    """The frames of a replica, counted from 0, up to where the replica was stopped."""
    for chunk in trajectory.chunks(folder, header):
        for k, positions in enumerate(chunk.positions[:, number]):
            if not np.isfinite(positions).all():
                return
            atoms = Atoms(header.symbols, positions=positions, cell=header.cell_angstrom, pbc=True)
            atoms.info = {
                "time_ps": round((chunk.first + k) * header.frame_ps, 9),
                "temperature_kelvin": float(chunk.temperatures_kelvin[k, number]),
                "thermostat_kelvin": header.temperatures_kelvin[number],
                "md_energy_ev": float(chunk.energies_ev[k, number]),
                "host_shift_angstrom": chunk.host_shift[k, number],
            }
            spread = float(chunk.force_std_ev_per_angstrom[k, number])
            if np.isfinite(spread):
                atoms.info["force_std_ev_per_angstrom"] = spread
            yield atoms


def _write(path: Path, found: Iterable[Atoms]) -> int:
    """Write frames one by one; how many there were. Without a frame there is no file."""
    following = iter(found)
    first = next(following, None)
    if first is None:
        return 0
    count = 0

    def fill(temporary: Path) -> None:
        nonlocal count
        with temporary.open("w", encoding="utf-8") as handle:
            for count, atoms in enumerate(chain([first], following), start=1):  # noqa: B007  (the number of the last)
                write_extxyz(handle, [atoms])

    files.write_atomic(path, fill)
    return count
