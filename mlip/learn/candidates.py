"""Frames that may be labelled next: images of the bands of all members, and frames of the dynamics.

Takes the results of the stages `neb` and `md` of a run; gives bare frames that say what a label needs, each with the
band and image it comes from. Of a hop that a symmetry operation maps onto its reverse, images up to the middle are
given: the others are copies of them. The saddle of a band is its highest image between the ends.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from ase import Atoms

from mlip.atoms import extxyz
from mlip.atoms.structures import is_slab
from mlip.core import files
from mlip.dft.queue import NEEDED
from mlip.stages.md import trajectory
from mlip.stages.md.md import Followed
from mlip.stages.neb.neb import CONVERGED, Band
from mlip.stages.neb.stage import Barriers, band_file
from mlip.tools import export_md

FEWEST_IMAGES = 3  # of a band, ends included
HopKey = tuple[str, str, str]  # host, ion, hop


@dataclass(frozen=True)
class Candidate:
    """A frame that may be labelled, and where it comes from."""

    atoms: Atoms
    hop: HopKey | None = None  # None: of the dynamics
    member: int = 0
    image: int = 0
    saddle: bool = False
    converged: bool = True  # the band, where it is an image of one

    @property
    def name(self) -> str:
        """Its frame_id."""
        return str(self.atoms.info["frame_id"])

    @property
    def group(self) -> str:
        """Its group."""
        return str(self.atoms.info["group"])


def of_bands(result: Barriers, folder: Path, *, number: int) -> list[Candidate]:
    """Images of every band that ran, ends included; `folder` is that of the stage, `number` that of the round."""
    symmetric = {(b.host, b.ion, b.hop) for b in result.barriers if b.symmetric}
    found = []
    for band in result.bands:
        ran = band.fmax_ev_per_angstrom is not None and len(band.energies_ev) >= FEWEST_IMAGES
        if not (ran and np.isfinite(band.energies_ev).all()):
            continue
        images, key = extxyz.read_frames(band_file(folder, band)), (band.host, band.ion, band.hop)
        upto = len(images) // 2 + 1 if key in symmetric else len(images)
        found += _of_band(band, images[:upto], key, number)
    return found


def _of_band(band: Band, images: Sequence[Atoms], key: HopKey, number: int) -> list[Candidate]:
    inner = band.energies_ev[1 : min(len(images), len(band.energies_ev) - 1)]
    top = 1 + int(np.argmax(inner))
    return [
        Candidate(
            named(image, image.info, number, hop=band.hop, image=k),
            hop=key,
            member=band.member,
            image=k,
            saddle=k == top,
            converged=band.status.code == CONVERGED,
        )
        for k, image in enumerate(images)
    ]


def named(atoms: Atoms, info: Mapping[str, object], number: int, **more: object) -> Atoms:
    """The bare frame with a name of this round and what a label needs."""
    bare = Atoms(atoms.symbols, positions=atoms.positions, cell=atoms.cell, pbc=True)
    bare.info = {key: info[key] for key in NEEDED} | more
    bare.info["frame_id"] = f"round-{number}_{info['frame_id']}"
    bare.info["sampling"] = f"{info['sampling']}; round {number} of mlip learn"
    return bare


def of_dynamics(
    systems: Sequence[Followed], run_folder: Path, stopped: Path, *, number: int, most: int
) -> list[Candidate]:
    """Frames where replicas were stopped, and up to `most` of every replica where all positions are stored."""
    found = [Candidate(named(f, f.info, number)) for f in (extxyz.read_frames(stopped) if stopped.exists() else [])]
    for system in systems:
        for folder in (run_folder / name for name in system.folders):
            header = files.read_record(folder / trajectory.HEADER, trajectory.Header)
            if len(header.stored) < header.atoms:
                continue
            for replica in range(len(header.replicas)):
                found += [Candidate(f) for f in _of_replica(system, folder, header, replica, number, most)]
    return found


def _of_replica(
    system: Followed, folder: Path, header: trajectory.Header, replica: int, number: int, most: int
) -> Iterator[Atoms]:
    count = sum(1 for _ in export_md.frames(folder, header, replica))
    wanted = sorted({round(k) for k in np.linspace(0, count - 1, min(most, count))})
    name = f"{system.name}_{header.replicas[replica]}"
    for k, atoms in _numbered(export_md.frames(folder, header, replica), wanted):
        info = {
            "frame_id": f"{name}_{k}",
            "host": system.host,
            "ion": "-".join(dict.fromkeys(system.ions)),
            "group": f"md_{name}",
            "sampling": "md",
            "vacuum": is_slab(atoms),
        }
        yield named(atoms, info, number)


def _numbered(frames: Iterable[Atoms], wanted: Sequence[int]) -> Iterator[tuple[int, Atoms]]:
    chosen = set(wanted)
    return ((k, atoms) for k, atoms in enumerate(islice(frames, max(chosen, default=-1) + 1)) if k in chosen)


def barriers_of(candidates: Sequence[Candidate]) -> list[tuple[int, int]]:
    """Numbers of the saddle and the initial image of every band among the candidates."""
    initial = _initial(candidates)
    saddles = [k for k, c in enumerate(candidates) if c.saddle]
    pairs = [(k, initial.get((candidates[k].hop, candidates[k].member))) for k in saddles]
    return [(saddle, start) for saddle, start in pairs if start is not None]


def _initial(candidates: Sequence[Candidate]) -> dict[tuple[HopKey | None, int], int]:
    """Number of the initial image of every band."""
    return {(c.hop, c.member): k for k, c in enumerate(candidates) if c.hop is not None and c.image == 0}


def partners_of(candidates: Sequence[Candidate], labelled: Iterable[HopKey]) -> list[int | None]:
    """For every candidate the number of the initial image that its first label needs beside it, or None.

    An energy along a band means something against the initial image of its hop. Frames of the dynamics, initial images
    and images of hops with a labelled initial image need no other.
    """
    known, initial = set(labelled), _initial(candidates)
    return [
        None if c.hop is None or c.image == 0 or c.hop in known else initial.get((c.hop, c.member)) for c in candidates
    ]
