"""What the DFT stages take from the stages before them: bands, relaxed slabs, sites with their configurations.

Takes a `Run` whose stages sites and neb are whole; gives structures and bands, read from its folder.
"""

import fnmatch
from collections.abc import Sequence

from ase import Atoms

from mlip import energetics, extxyz, files, jobs, ladder, sites, structures, ways
from mlip.run import Run, place
from mlip.screen import console
from mlip.stages import Barriers, SiteNetwork, Structures


def paths(run: Run) -> list[ladder.Path]:
    """The converged band nearest the committee mean of every chosen hop."""
    found = files.read_result(run.path("sites", "result.json"), SiteNetwork)
    moved = files.read_result(run.path("neb", "result.json"), Barriers)
    slabs = {h.name for h in files.read_result(run.path("structures", "result.json"), Structures).hosts if h.miller}
    limiting = {(b.host, b.ion, b.limiting_hop) for b in moved.bottlenecks}
    made = []
    for hop in jobs.chosen_hops(found.hops, run.config.ladder.hops, section="ladder"):
        key = (hop.host, hop.ion, hop.name)
        band = ladder.nearest_member([b for b in moved.bands if (b.host, b.ion, b.hop) == key])
        barrier = next((b for b in moved.barriers if (b.host, b.ion, b.hop) == key), None)
        if band is None or barrier is None:
            console.print(f"  {hop.ion} {hop.name}: no converged band, so nothing to label")
            continue
        images = extxyz.read_frames(run.path("neb", "bands", f"{hop.ion}_{hop.name}_member-{band.member}.extxyz"))
        made.append(ladder.Path(hop, band, barrier, tuple(images), hop.host in slabs, key in limiting))
    return made


def crystal(run: Run) -> Atoms:
    """The conventional cell of the run's crystal."""
    name = run.config.structures.crystal
    return structures.crystal(str(place(name)) if name.endswith(".cif") else name)


def relaxed_slabs(run: Run) -> dict[str, Atoms]:
    """The bulk cell and the slabs of `energetics.surfaces` by name, relaxed by the potential of the run.

    Raises:
        ValueError: one of them does not relax.
    """
    c = run.config
    conventional, folder = crystal(run), run.path("energetics", "slabs")
    bond = c.structures.bond_angstrom
    made = {f.name: structures.slab(conventional, f, bond_angstrom=bond) for f in c.energetics.surfaces}
    use = ways.use(run)
    todo = []
    for name, atoms in {"bulk": structures.bulk(conventional, (1, 1, 1)), **made}.items():
        source = folder / f"{name}.extxyz"
        files.write_frames(source, [atoms])
        todo.append(jobs.HostJob(name, source, folder / "relaxed", use, c.sites, c.common.seed))
    reasons = jobs.run_parallel(jobs.relax_host, todo, workers=c.common.workers)
    if failed := [reason for reason in reasons if reason is not None]:
        raise ValueError(f"energetics.surfaces: {failed[0]}")
    return {job.name: extxyz.read_frames(job.relaxed)[0] for job in todo}


def occupied(run: Run) -> list[energetics.Occupied]:
    """Chosen sites with their relaxed configurations, and the clean hosts relaxed by the same potential.

    Raises:
        ValueError: the patterns of `energetics.sites` match nothing.
    """
    found = files.read_result(run.path("sites", "result.json"), SiteNetwork)
    hosts = files.read_result(run.path("structures", "result.json"), Structures).hosts
    relaxed = [s for s in found.sites if s.status == "relaxed"]
    patterns = run.config.energetics.sites
    names = {f"{s.host}_{s.ion}_{s.name}": s for s in relaxed}
    chosen = [s for name, s in names.items() if any(fnmatch.fnmatchcase(name, p) for p in patterns)]
    if not patterns:
        groups: dict[tuple[str, str], list[sites.Site]] = {}
        for s in relaxed:
            groups.setdefault((s.host, s.ion), []).append(s)
        chosen = [min(group, key=lambda s: s.energy_ev) for group in groups.values()]
    if not chosen:
        raise ValueError(f"energetics.sites: {list(patterns)} matches no site; there are: {', '.join(sorted(names))}")
    slabs = {h.name for h in hosts if h.miller}
    return [
        energetics.Occupied(
            host=s.host,
            ion=s.ion,
            site=s.name,
            vacuum=s.host in slabs,
            clean=extxyz.read_frames(run.path("sites", "hosts", f"{s.host}.extxyz"))[0],
            covered=extxyz.read_frames(run.path("sites", "configurations", f"{s.host}_{s.ion}_{s.name}.extxyz"))[0],
        )
        for s in chosen
    ]


def potential_energies(run: Run, frames: Sequence[Atoms]) -> list[float]:
    """Energies in eV of the committee of the run, at its level."""
    return [p.energy_ev for p in jobs.predictions(run.path("train", "model"), frames, device="cpu")]
