"""The stage `rates`: rates of hops, diffusion coefficients from the master equation, the gain of facets over bulk."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mlip.atoms import extxyz
from mlip.atoms.dispersion import missing_at
from mlip.core.report import ReportSection
from mlip.core.stage import Context, Stage
from mlip.core.uncertainty import Uncertainty
from mlip.literature import audit, matching, references
from mlip.literature.settings import Literature
from mlip.stages import structures
from mlip.stages.dataset.stage import STAGE as DATASET
from mlip.stages.diffusion.stage import STAGE as DIFFUSION
from mlip.stages.evaluate.evaluate import path_error_ev
from mlip.stages.evaluate.stage import STAGE as EVALUATE
from mlip.stages.md.stage import STAGE as MD
from mlip.stages.modes.result import HopModes
from mlip.stages.modes.stage import STAGE as MODES
from mlip.stages.neb.stage import STAGE as NEB
from mlip.stages.rates import assembly, comparison, gains, outcome
from mlip.stages.rates.laws import Draws
from mlip.stages.rates.report import rates_sections
from mlip.stages.rates.result import AgainstDynamics, DynamicsTogether, HopAgainstDynamics, Rates
from mlip.stages.rates.settings import RatesSettings
from mlip.stages.rates.system import System, site_levels_ev
from mlip.stages.rates.together import together
from mlip.stages.refine import known
from mlip.stages.refine.barriers import relaxed
from mlip.stages.refine.stage import STAGE as REFINE
from mlip.stages.sites import network
from mlip.stages.sites.sites import DESORBED
from mlip.stages.sites.stage import STAGE as SITES
from mlip.stages.sites.stage import relaxed_hosts

BULK = "bulk"  # host that the facets are compared with
VACANCY_TEXT = (
    "{ions} of the crystal: rates and D belong to a single vacancy. D of the ions is smaller by the fraction of "
    "vacant sites and by the correlation factor of the lattice; neither factor is calculated here."
)
GAIN = "claimed gain of the diffusion coefficient"  # quantity of the references, in decades


def run(context: Context[RatesSettings]) -> Rates:
    """Rates, diffusion coefficients, gains, and what dynamics and Monte Carlo say beside them."""
    settings, hosts = context.settings, context.result(structures.STAGE).hosts
    found, budget = _found(context), _budget(context)
    relaxed = relaxed_hosts(context.folder_of(SITES), [host.name for host in hosts])
    cells = {name: atoms.cell.array for name, atoms in relaxed.items()}
    draws = Draws(settings.samples, context.common.seed)
    systems = assembly.systems(found, cells, budget, with_d3=True)
    solved = [outcome.solved(system, _bottleneck_ev(system, found), settings, draws) for system in systems]
    of_potential = replace(found, refined=())  # as the dynamics
    dynamics = _dynamics(context, assembly.systems(of_potential, cells, budget, with_d3=False))
    for one in solved:
        context.say(_line(one))
    return Rates(
        reference_kelvin=settings.reference_kelvin,
        hops=tuple(row for system in systems for row in outcome.hop_rates(system, settings, draws)),
        diffusivities=tuple(one.row for one in solved),
        gains=tuple(
            outcome.gains_of(
                solved,
                BULK,
                settings,
                claimed=_claimed(context),
                notes={host.name: host.note for host in hosts if host.note},
            )
        ),
        dynamics=dynamics.diffusivities,
        hop_dynamics=dynamics.hops,
        together=dynamics.together,
        walks=tuple(comparison.walks(settings.walks, systems, seed=context.common.seed)),
    )


def _line(one: outcome.Solved) -> str:
    row = one.row
    value = row.at_reference.mean.value
    said = f"D {value:.2e} cm2/s" if value is not None else str(row.status)
    return f"{row.host:10s} {row.ion:2s} {row.at_reference.temperature_kelvin:5.0f} K  {said}"


def _found(context: Context[RatesSettings]) -> assembly.Found:
    placed, moved, modes = context.result(SITES), context.result(NEB), context.result(MODES).hops
    proved = [hop for hop in modes if hop.forward_ev is not None]
    return assembly.Found(
        sites=tuple(site for site in placed.sites if site.status.code != DESORBED),
        hops=placed.hops,
        barriers=moved.barriers,
        bands=moved.bands,
        modes=modes,
        d3_ev={hop.key: pair for hop in proved if (pair := _d3_ev(context, hop)) is not None},
        contains_d3=context.common.target == "pbe-d3",
        refined=tuple(relaxed(known.of_run(context), target=context.common.target)),
    )


def _d3_ev(context: Context[RatesSettings], hop: HopModes) -> tuple[float, float] | None:
    """D3 (eV) of the forward and the reverse barrier at the refined points of a hop; None where it is not known."""
    path = context.folder_of(MODES) / "hops" / f"{hop.ion}_{hop.hop}.extxyz"
    frames = extxyz.read_frames(path) if path.exists() else []
    points = {part: frame for frame in frames if (part := frame.info["part"]) in {"initial", "saddle", "final"}}
    found = {part: missing_at(context.common.target, frame) for part, frame in points.items()}
    initial, saddle = found.get("initial"), found.get("saddle")
    final = found.get("final", initial)  # the ends of a symmetric hop are one structure
    if initial is None or saddle is None or final is None:
        return None
    return saddle - initial, saddle - final


def _budget(context: Context[RatesSettings]) -> assembly.Budget:
    settings, evaluation = context.settings, context.result(EVALUATE)
    calibration = evaluation.models[0].calibration if evaluation.models else None
    return assembly.Budget(
        calibration=1.0 if calibration is None else calibration,
        path_error_ev=path_error_ev(evaluation),
        errors=context.section(Uncertainty),
        prefactor_ln=math.log(settings.prefactor_factor),
        balance_factor=settings.balance_factor,
    )


def _bottleneck_ev(system: System, found: assembly.Found) -> float | None:
    """The lowest bottleneck of all directions with the barriers of the system; None where none is known.

    On the sites on which D is calculated: those that hops with a rate connect to the lowest one.
    """
    levels = site_levels_ev(system)
    levels_of = {system.net.names[site]: float(levels[site]) for site in system.reached}
    own = [s for s in found.sites if (s.host, s.ion) == (system.host, system.ion) and s.name in levels_of]
    hops = [
        h
        for h in found.hops
        if (h.host, h.ion) == (system.host, system.ion) and h.initial in levels_of and h.final in levels_of
    ]
    barriers = {name: law.barrier_ev for name, law in zip(system.net.hops, system.laws, strict=True) if law}
    sites = [replace(site, energy_ev=levels_of[site.name]) for site in own]
    paths = network.bottlenecks(sites, hops, barriers, vacuum=system.heights_ev)
    return min((path.barrier_ev for path in paths if path.barrier_ev is not None), default=None)


def _references(context: Context[RatesSettings]) -> references.References:
    """The published values of the run's crystal."""
    made = context.result(structures.STAGE)
    crystal = structures.identity_of(context.settings_of(structures.STAGE), made)
    everything = references.load(context.file(context.section(Literature).references))
    return matching.of_run(everything, crystal, hosts=made.hosts)


def _claimed(context: Context[RatesSettings]) -> dict[tuple[str, str], gains.Claim]:
    """What is published about the gain of each ion on each host with a published barrier."""
    published = _references(context)
    claims = published.select(role="checked", quantity=GAIN)
    barriers = published.select(role="checked", quantity="migration barrier")
    inside = {value.ion: value.value for value in barriers if value.facet == matching.BULK}
    out = {}
    for value in barriers:
        if value.facet == matching.BULK or value.host is None or value.ion is None:
            continue
        if not claims or value.ion not in inside:
            continue
        claim = next((c for c in claims if c.facet == value.facet), claims[0])
        ratio = audit.rate_ratio(inside[value.ion] - value.value, context.settings.reference_kelvin)
        out[value.host, value.ion] = gains.Claim(
            decades=claim.value,
            up_to=claim.upper,
            implied=math.log10(ratio),
            elsewhere="" if claim.facet in (None, value.facet) else str(claim.facet),
        )
    return out


@dataclass(frozen=True)
class _Dynamics:
    """What dynamics of lone ions say beside rates."""

    diffusivities: tuple[AgainstDynamics, ...] = ()
    hops: tuple[HopAgainstDynamics, ...] = ()
    together: tuple[DynamicsTogether, ...] = ()


def _dynamics(context: Context[RatesSettings], systems: Sequence[System]) -> _Dynamics:
    """D and rates of hops from dynamics of lone ions over those from rates, where both stages are done."""
    followed, moved = context.result_if_done(MD), context.result_if_done(DIFFUSION)
    if followed is None or moved is None:
        return _Dynamics()
    lone = {system.name: system.ions[0] for system in followed.systems if len(system.ions) == 1}
    member = context.settings_of(MD).member
    hops = comparison.hops_against_dynamics(moved.motions, lone, systems, member=member)
    return _Dynamics(
        tuple(comparison.against_dynamics(moved.motions, lone, systems, member=member)),
        tuple(hops),
        tuple(together(moved.motions, moved.kinetics, hops, systems, member=member)),
    )


def report(context: Context[RatesSettings], result: Rates) -> tuple[ReportSection, ...]:
    """The gain over bulk, diffusion coefficients over temperature, rates."""
    gain, rates = rates_sections(result)
    if own := context.settings_of(structures.STAGE).vacancies:
        rates = replace(rates, text=(*rates.text, VACANCY_TEXT.format(ions=", ".join(own))))
    return gain, rates


def _check(context: Context[RatesSettings]) -> None:
    """Refuse walks, and errors of DFT settings, of ions on hosts that no stage builds.

    Raises:
        ValueError: a host or an ion that `structures` lacks.
    """
    built = context.settings_of(structures.STAGE)
    hosts = [BULK, *built.slab_names]
    for number, walk in enumerate(context.settings.walks):
        if walk.host not in hosts:
            raise ValueError(
                f"rates.walks.{number}: host {walk.host!r} is not built by structures; there are: {', '.join(hosts)}"
            )
        if unknown := sorted(set(walk.ions) - set(built.ions)):
            raise ValueError(
                f"rates.walks.{number}: {', '.join(unknown)} not in structures.ions ({', '.join(built.ions)}); add "
                "them there, and labels that hold them"
            )
    for place in context.section(Uncertainty).dft_settings_of_ev:
        ion, host = place.split()
        if host not in hosts or ion not in built.moving:
            raise ValueError(
                f"uncertainty.dft_settings_of_ev: {place!r} is no ion on a host of this run; ions: "
                f"{', '.join(built.moving)}; hosts: {', '.join(hosts)}"
            )


def _inputs(context: Context[RatesSettings]) -> list[Path]:
    return [context.section(Literature).references, *known.inputs_of(context)]


STAGE = Stage(
    name="rates",
    settings=RatesSettings,
    result=Rates,
    run=run,
    needs=(structures.STAGE, EVALUATE, SITES, NEB, MODES),
    uses=(REFINE, MD, DIFFUSION),
    settings_of=(DATASET,),
    version=8,
    common=("seed", "target"),
    sections=(Literature, Uncertainty),
    inputs=_inputs,
    check=_check,
    report=report,
)
