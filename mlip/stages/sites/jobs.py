"""What a worker process does for the stage sites: the relaxation of one host, the sites and hops of one ion.

Takes frozen descriptions of jobs (paths and settings, no open files); gives frozen results, each also on disk, so that
a finished job is not done again after a kill.
"""

from dataclasses import dataclass
from pathlib import Path

from ase import Atoms
from ase.geometry import find_mic

from mlip.atoms import extxyz, structures
from mlip.atoms.ends import unwrapped
from mlip.atoms.slab_files import frozen
from mlip.core import files
from mlip.potential import use
from mlip.stages.sites import network, sites
from mlip.stages.sites.settings import SitesSettings


@dataclass(frozen=True)
class HostJob:
    """A host to relax."""

    name: str
    source: Path
    folder: Path
    model: use.ModelUse
    settings: SitesSettings
    seed: int
    registry: bool = False  # name hops by their kind: for anatase

    @property
    def relaxed(self) -> Path:
        """Where the relaxed host goes."""
        return self.folder / f"{self.name}.extxyz"


def relax_host(job: HostJob) -> str | None:
    """Relax a host unless that is done; gives the reason where it does not relax."""
    if job.relaxed.exists():
        return None
    host = extxyz.read_frames(job.source)[0]
    potential = use.calculator(job.model, None)
    try:
        relaxed = sites.host_relaxed(host, potential, job.settings, seed=job.seed)
    except ValueError as error:
        return f"{job.name}: {error}"
    files.write_frames(job.relaxed, [_bare(relaxed, host)])
    return None


@dataclass(frozen=True)
class SiteJob:
    """The sites and hops of one ion on one host."""

    host: HostJob
    ion: str
    folder: Path


@dataclass(frozen=True, kw_only=True)
class FoundSites:
    """Result of a site job."""

    sites: tuple[sites.Site, ...]
    hops: tuple[network.Hop, ...]
    notes: tuple[str, ...]


def search_sites(job: SiteJob) -> FoundSites:
    """Sites and hops of one ion on one relaxed host; configurations and end points go to disk."""
    done = job.folder / f"{job.host.name}_{job.ion}.json"
    if done.exists():
        return files.read_record(done, FoundSites)
    host = extxyz.read_frames(job.host.relaxed)[0]
    kinds = sorted({s for s, metal in zip(host.get_chemical_symbols(), structures.metals(host), strict=True) if metal})
    potential = use.calculator(job.host.model, None)
    try:
        found, configurations = sites.relaxed_sites(
            host, job.ion, potential, job.host.settings, name=job.host.name, metal_symbols=kinds, seed=job.host.seed
        )
    except ValueError as error:
        return FoundSites(sites=(), hops=(), notes=(f"{job.host.name} {job.ion}: {error}",))
    usable = [s for s in found if s.status.code == sites.RELAXED]
    notes = [
        f"{job.host.name} {job.ion} {s.name}: {s.status}, left out of the network" for s in found if s not in usable
    ]
    every = sites.every_candidate(host, job.ion, job.host.settings, metal_symbols=kinds)
    if len(every) > (most := job.host.settings.max_candidates):
        notes.append(
            f"{job.host.name} {job.ion}: {most} of {len(every)} starting positions relaxed; raise sites.max_candidates "
            "to relax the others"
        )
    hops = []
    for hop, initial, final in network.hop_network(
        host, usable, configurations, job.host.settings, registry=job.host.registry
    ):
        try:
            unwrapped(_bare(initial, host), _bare(final, host), ion_as_given=True)
        except ValueError as error:  # such as a hop to the ion's own copy in a cell that is too small for it
            notes.append(f"{hop.ion} {hop.name}: left out of the network: {error}")
        else:
            hops.append((hop, initial, final))
    if not hops:
        notes.append(f"{job.host.name} {job.ion}: no hops up to sites.max_hop_angstrom between {len(usable)} sites")
    for name, atoms in configurations.items():
        files.write_frames(
            job.folder / "configurations" / f"{job.host.name}_{job.ion}_{name}.extxyz", [_bare(atoms, host)]
        )
    for hop, initial, final in hops:
        files.write_frames(end_points(job.folder / "hops", hop), [_bare(initial, host), _bare(final, host)])
    result = FoundSites(sites=tuple(found), hops=tuple(hop for hop, _, _ in hops), notes=tuple(notes))
    files.write_record(done, result)
    return result


def end_points(folder: Path, hop: network.Hop) -> Path:
    """Where the two end points of a hop are."""
    return folder / f"{hop.ion}_{hop.name}.extxyz"


def _bare(atoms: Atoms, host: Atoms) -> Atoms:
    """Structure only: species, positions, cell, pbc, and the atoms that are frozen in the host, where they are there.

    An end that symmetry makes has them there within the tolerance of the operation.
    """
    bare = Atoms(atoms.get_chemical_symbols(), positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    if held := frozen(host):
        bare.positions[held] += find_mic(host.positions[held] - bare.positions[held], host.cell)[0]
    bare.set_constraint(host.constraints)
    return bare
