"""Vacancies of an ion of the crystal as sites and hops of a run, in a worker process.

Takes a relaxed host that holds the ion; gives what a search for sites of an extra ion gives, so that the stages after
need not tell the two apart: a site is a vacancy, a hop is that of the vacancy from one site to another. In its frames
the ion that goes into the vacancy is the last atom.
"""

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from mlip.atoms import extxyz
from mlip.atoms.ends import unwrapped
from mlip.atoms.structures import is_slab, metals
from mlip.atoms.symmetry import Operation, distances, operations
from mlip.core import files
from mlip.potential import use
from mlip.stages.sites import network, sites, vacancies
from mlip.stages.sites.jobs import FoundSites, SiteJob, end_points
from mlip.stages.sites.sites import Site, Vector
from mlip.stages.sites.vacancies import Vacancy, VacancyHop


def search_vacancies(job: SiteJob) -> FoundSites:
    """Vacancies and hops of one ion of a relaxed host; configurations and end points go to disk."""
    done = job.folder / f"{job.host.name}_{job.ion}.json"
    if done.exists():
        return files.read_record(done, FoundSites)
    host, settings = extxyz.read_frames(job.host.relaxed)[0], job.host.settings
    try:
        own, relaxed = vacancies.relaxed_vacancies(host, job.ion, use.calculator(job.host.model, None), settings)
    except ValueError as error:
        return FoundSites(sites=(), hops=(), notes=(f"{job.host.name} {job.ion}: {error}",))
    found = operations(host, tolerance_angstrom=settings.symmetry_angstrom, keep_top=is_slab(host))
    placed = [site_of(host, found, job.host.name, one) for one in own]
    notes = [
        f"{job.host.name} {job.ion} {s.name}: {s.status}, left out of the network"
        for s in placed
        if s.status.code != sites.RELAXED
    ]
    moves = vacancies.vacancy_hops(host, own, relaxed, settings, name=job.host.name)
    named = network.named_once([(hop_of(host, found, placed, move), None) for move, *_ in moves])
    kept = []
    for hop, (_, initial, final) in zip(named, moves, strict=True):
        ends = [_bare(initial), _bare(final)]
        try:
            unwrapped(*ends, ion_as_given=True)
        except ValueError as error:
            notes.append(f"{hop.ion} {hop.name}: left out of the network: {error}")
            continue
        files.write_frames(end_points(job.folder / "hops", hop), ends)
        kept.append(hop)
    if not kept:
        notes.append(f"{job.host.name} {job.ion}: no hops up to sites.max_hop_angstrom between {len(own)} vacancies")
    for name, atoms in relaxed.items():
        files.write_frames(job.folder / "configurations" / f"{job.host.name}_{job.ion}_{name}.extxyz", [_bare(atoms)])
    result = FoundSites(sites=tuple(placed), hops=tuple(kept), notes=tuple(notes))
    files.write_record(done, result)
    return result


def site_of(host: Atoms, found: Sequence[Operation], name: str, one: Vacancy) -> Site:
    """A vacancy as a site, with the positions of all ions of its orbit as copies."""
    places = host.positions[list(one.equivalent)].copy()
    places -= np.floor(places @ np.linalg.inv(host.cell.array) + 1e-3) @ host.cell.array
    depth = sites.top_metal_height(host) - float(places[0, 2]) if is_slab(host) else 0.0
    shallow = depth < sites.SURFACE_DEPTH_ANGSTROM
    anions = host.positions[~metals(host)]
    return Site(
        name=one.name,
        host=name,
        ion=str(host.symbols[one.index]),
        layer="bulk" if not is_slab(host) else "surface" if shallow else "subsurface",
        position_angstrom=_vector(places[0]),
        depth_angstrom=depth,
        energy_ev=one.energy_ev,
        coordination=int((distances(host, anions, places[0]) < sites.SHELL_ANGSTROM).sum()),
        multiplicity=len(places),
        status=one.status,
        copies_angstrom=tuple(_vector(place) for place in places),
        periods=sites.neighbouring_copies(host, found, places),
    )


def hop_of(host: Atoms, found: Sequence[Operation], placed: Sequence[Site], move: VacancyHop) -> network.Hop:
    """A hop of the vacancy as a hop of the network, with all its copies in the cell."""
    named = {site.name: site for site in placed}
    initial, final = named[move.initial], named[move.final]
    start, vector = np.array(initial.position_angstrom), np.array(move.vector_angstrom)
    return network.Hop(
        name=move.name,
        host=initial.host,
        ion=initial.ion,
        initial=initial.name,
        final=final.name,
        length_angstrom=move.length_angstrom,
        vector_angstrom=move.vector_angstrom,
        multiplicity=move.multiplicity,
        symmetric=move.symmetric,
        edges=network.edges(host, found, (initial, final), start, vector),
    )


def _bare(atoms: Atoms) -> Atoms:
    """Structure only: species, positions, cell, pbc and frozen atoms."""
    bare = Atoms(atoms.get_chemical_symbols(), positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    bare.set_constraint(atoms.constraints)
    return bare


def _vector(point: np.ndarray) -> Vector:
    return float(point[0]), float(point[1]), float(point[2])
