"""The stage `energetics`: atoms, metals, lattice, surfaces and adsorption, by DFT and by the potential."""

import fnmatch
from collections.abc import Mapping, Sequence
from pathlib import Path

from ase import Atoms

from mlip.atoms import extxyz, ions, structures
from mlip.core import files
from mlip.core.stage import Context, Stage
from mlip.core.status import NOT_CALCULATED, Status
from mlip.dft import queue
from mlip.dft.labeller import Labeller
from mlip.dft.settings import Dft
from mlip.potential.use import predictions
from mlip.stages import structures as built
from mlip.stages.energetics import energetics
from mlip.stages.energetics.settings import EnergeticsSettings
from mlip.stages.sites import backends
from mlip.stages.sites.jobs import HostJob, relax_host
from mlip.stages.sites.sites import RELAXED, Site
from mlip.stages.sites.stage import STAGE as SITES
from mlip.stages.sites.stage import configuration, relaxed_host
from mlip.stages.train.stage import STAGE as TRAIN
from mlip.stages.train.stage import model_folder

Settings = EnergeticsSettings


def run(context: Context[Settings]) -> energetics.Energetics:
    """Calculate the parts that are asked for, as far as they are labelled."""
    own, dft, species = context.settings, context.section(Dft), context.settings_of(built.STAGE).ions
    charges = _charges(context) if "adsorption" in own.parts else {}
    ask = Labeller(dft, queue.labels_folder(context.run_folder), workers=context.workers, say=context.say)
    atoms = {ion: energetics.atom(ion, ask, own) for ion in species} if "atoms" in own.parts else {}
    metals = {ion: energetics.metal(ion, ask, own, alone=atoms.get(ion)) for ion in species if "metals" in own.parts}
    crystal, status = None, Status(NOT_CALCULATED)
    if "lattice" in own.parts:
        name = f"crystal_{Path(context.settings_of(built.STAGE).crystal).stem}"
        crystal, status = energetics.crystal(_crystal(context), name, ask, own, changes=own.lattice_settings)
    surfaces = _surfaces(context, ask) if "surfaces" in own.parts else ()
    bound = _adsorption(context, ask, atoms, metals, charges) if "adsorption" in own.parts else ()
    context.leave_unfinished(*queue.left(ask.problems))
    return energetics.Energetics(
        level=queue.settings_hash(dft),
        atoms=tuple(atoms.values()),
        metals=tuple(metals.values()),
        crystal=crystal,
        crystal_status=status,
        surfaces=tuple(surfaces),
        adsorption=tuple(bound),
        target=context.common.target,
    )


def _crystal(context: Context[Settings]) -> Atoms:
    """The conventional cell of the run's crystal."""
    return built.conventional_cell(context.settings_of(built.STAGE))


def _charges(context: Context[Settings]) -> dict[str, float]:
    """Electrons per ion, for voltages.

    Raises:
        ValueError: neither the table nor the config has the charge of an ion.
    """
    settings = context.settings_of(built.STAGE)
    found = {ion: ions.charge(ion, settings.charges_e) for ion in settings.ions}
    if unknown := [ion for ion, charge in found.items() if charge is None]:
        raise ValueError(f"the charge of {unknown} is not known; give it in structures.charges_e: {{{unknown[0]}: 2}}")
    return {ion: charge for ion, charge in found.items() if charge is not None}


def _adsorption(
    context: Context[Settings],
    ask: Labeller,
    atoms: Mapping[str, energetics.Atom],
    metals: Mapping[str, energetics.Metal],
    charges: Mapping[str, float],
) -> list[energetics.Adsorption]:
    """Adsorption energies of the chosen sites, by DFT and by the potential."""
    places = _occupied(context)
    own = _potential_energies(context, [atoms for p in places for atoms in (p.covered, p.clean)])
    every = {str(f.info["frame_id"]): f for p in places for f in energetics.adsorption_frames(p)}
    labels = dict(zip(every, ask(list(every.values()), {}), strict=True))  # all at once, for the workers
    return [
        energetics.adsorption(
            p,
            lambda frames, _: [labels[str(f.info["frame_id"])] for f in frames],
            alone=atoms.get(p.ion),
            elemental=metals.get(p.ion),
            charge=charges[p.ion],
            potential_ev=covered - clean,
            target=context.common.target,
        )
        for p, covered, clean in zip(places, own[::2], own[1::2], strict=True)
    ]


def _surfaces(context: Context[Settings], ask: Labeller) -> list[energetics.Surface]:
    """Surface energies of slabs relaxed by the potential, and by DFT where that is asked for."""
    own, relaxed, relaxed_by = context.settings, _relaxed_slabs(context), "the potential"
    known = dict(zip(relaxed, _potential_energies(context, list(relaxed.values())), strict=True))
    if own.relax == "dft":
        relaxed_by = "DFT"
        for name, atoms in relaxed.items():
            relax = energetics.relaxed_by_labels(
                ask,
                fmax_ev_per_angstrom=own.relax_fmax_ev_per_angstrom,
                name=f"surface_{name}",
                vacuum=name != "bulk",
            )
            relaxed[name] = relax(atoms)
    return [
        energetics.surface(
            relaxed[f.name],
            relaxed["bulk"],
            ask,
            name=f.name,
            layers=f.layers,
            relaxed_by=relaxed_by,
            potential_ev=(known[f.name], known["bulk"]),
        )
        for f in own.surfaces
    ]


def _relaxed_slabs(context: Context[Settings]) -> dict[str, Atoms]:
    """The bulk cell and the slabs of `surfaces` by name, relaxed by the potential of the run.

    Raises:
        ValueError: one of them does not relax.
    """
    conventional, folder = _crystal(context), context.folder / "slabs"
    bond, charges = context.settings_of(built.STAGE).bond_angstrom, context.settings_of(built.STAGE).charges_e
    made = {
        f.name: structures.slab(conventional, f, bond_angstrom=bond, charges=charges) for f in context.settings.surfaces
    }
    model = backends.model_use(context)
    todo = []
    for name, atoms in {"bulk": structures.bulk(conventional, (1, 1, 1)), **made}.items():
        source = folder / f"{name}.extxyz"
        files.write_frames(source, [atoms])
        job = HostJob(name, source, folder / "relaxed", model, context.settings_of(SITES), context.common.seed)
        todo.append(job)
    reasons = context.map(relax_host, todo, label="slabs")
    if failed := [reason for reason in reasons if reason is not None]:
        raise ValueError(f"energetics.surfaces: {failed[0]}")
    return {job.name: extxyz.read_frames(job.relaxed)[0] for job in todo}


def _occupied(context: Context[Settings]) -> list[energetics.Occupied]:
    """Chosen sites with their relaxed configurations, and the clean hosts relaxed by the same potential."""
    folder, hosts = context.folder_of(SITES), context.result(built.STAGE).hosts
    slabs = built.slab_names(hosts)
    return [
        energetics.Occupied(
            host=s.host,
            ion=s.ion,
            site=s.name,
            vacuum=s.host in slabs,
            clean=relaxed_host(folder, s.host),
            covered=configuration(folder, s),
        )
        for s in _chosen_sites(_extra(context), context.settings.sites)
    ]


def _extra(context: Context[Settings]) -> list[Site]:
    """Sites of extra ions: nothing is adsorbed at a vacancy."""
    ions = context.settings_of(built.STAGE).ions
    return [site for site in context.result(SITES).sites if site.ion in ions]


def _chosen_sites(found: Sequence[Site], patterns: Sequence[str]) -> list[Site]:
    """Relaxed sites whose name matches a pattern; without patterns the lowest one of every host and ion.

    Raises:
        ValueError: the patterns match nothing.
    """
    names = {f"{s.host}_{s.ion}_{s.name}": s for s in found if s.status.code == RELAXED}
    chosen = [s for name, s in names.items() if any(fnmatch.fnmatchcase(name, p) for p in patterns)]
    if not patterns:
        groups: dict[tuple[str, str], list[Site]] = {}
        for s in names.values():
            groups.setdefault((s.host, s.ion), []).append(s)
        chosen = [min(group, key=lambda s: s.energy_ev) for group in groups.values()]
    if not chosen:
        raise ValueError(f"energetics.sites: {list(patterns)} matches no site; there are: {', '.join(sorted(names))}")
    return chosen


def _potential_energies(context: Context[Settings], frames: Sequence[Atoms]) -> list[float]:
    """Energies in eV of the committee of the run, at its level."""
    model = model_folder(context.folder_of(TRAIN))
    return [p.energy_ev for p in predictions(model, frames, device="cpu")]


def _inputs(context: Context[Settings]) -> list[Path]:
    path = built.crystal_file(context.settings_of(built.STAGE))
    return [] if path is None else [path]


STAGE = Stage(
    name="energetics",
    settings=EnergeticsSettings,
    result=energetics.Energetics,
    run=run,
    version=3,
    needs=(*backends.NEEDS, SITES),
    common=(*backends.SETTINGS, "target"),
    sections=(Dft,),
    inputs=_inputs,
    cores=lambda context: context.section(Dft).ranks,
)
