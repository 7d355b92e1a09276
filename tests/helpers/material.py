"""A synthetic run with every status and verdict, for the tests of the report and of the sections of the stages."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from ase import Atoms

from helpers import motions
from mlip import config
from mlip.atoms.structures import Host
from mlip.core.report import Page, ReportSection, card_section
from mlip.core.report.html import to_html
from mlip.core.report.markdown import to_markdown
from mlip.core.status import Status
from mlip.literature import references
from mlip.stages.convergence.convergence import Variant
from mlip.stages.convergence.report import convergence_section
from mlip.stages.diffusion import kinetics
from mlip.stages.diffusion.kinetics import Diffused
from mlip.stages.diffusion.report import diffusion_section
from mlip.stages.energetics.energetics import Energetics
from mlip.stages.evaluate.evaluate import Errors, Evaluation, GroupErrors, Parity, PathError
from mlip.stages.evaluate.report import accuracy_section
from mlip.stages.md import md
from mlip.stages.md.md import Followed
from mlip.stages.md.report import md_section
from mlip.stages.neb.neb import Band, Barrier
from mlip.stages.neb.report import pictures_section
from mlip.stages.neb.viewer import Images
from mlip.stages.refine.barriers import DftBarrier
from mlip.stages.refine.refined import Refined, SameGeometry
from mlip.stages.refine.report import refine_section
from mlip.stages.report import page, quotes
from mlip.stages.report.given import Given
from mlip.stages.report.rows import Results
from mlip.stages.report.settings import ReportSettings
from mlip.stages.sites.network import Bottleneck, Hop
from mlip.stages.sites.report import sites_section
from mlip.stages.sites.sites import Site
from mlip.stages.structures import cells_section
from mlip.stages.train.energy_fit import EnergyFit
from mlip.stages.train.report import training_section
from mlip.stages.train.training import Epoch

TITLE = "Mg and Li migration on anatase TiO2: cross-check"
FOLDER = Path(__file__).parents[2] / "datasets" / "references"
SETTINGS = ReportSettings()
MADE_BY = quotes.MadeBy(
    members=2, crystal="anatase TiO2", images=5, version="1.2.3", run="abcdef012345", refined_run="fedcba543210"
)


def host(name, *, note=""):
    slab = name != "bulk"
    return Host(
        name=name,
        kind="slab" if slab else "bulk",
        miller=(0, 0, 1) if slab else None,
        formula="Ti16O32",
        atoms=48,
        cell_angstrom=(7.6, 7.6, 22.3, 90.0, 90.0, 90.0),
        coordination={"Ti5c": 8, "Ti6c": 8, "O2c": 8, "O3c": 24},
        thickness_angstrom=7.26 if slab else None,
        area_angstrom2=57.8 if slab else None,
        dipole_e_angstrom=0.0 if slab else None,
        spacegroup="P-4m2 (115)",
        note=note,
    )


CONVERGED, RESOLVED = Status("converged"), Status("resolved")


def site(host_name, ion, name, energy=0.0, *, xyz=(1.9, 1.9, 7.5), status="relaxed"):
    layer = {"S": "surface", "U": "subsurface", "V": "bulk"}[name[0]]
    return Site(
        name=name,
        host=host_name,
        ion=ion,
        layer=layer,
        position_angstrom=xyz,
        depth_angstrom=0.3,
        energy_ev=energy,
        coordination=5,
        multiplicity=4,
        status=Status(status),
        copies_angstrom=(xyz,),
    )


def hop(host_name, ion, name, initial, final, *, symmetric=True, length=3.07):
    return Hop(
        name=name,
        host=host_name,
        ion=ion,
        initial=initial,
        final=final,
        length_angstrom=length,
        vector_angstrom=(1.9, 0.0, -2.4),
        multiplicity=2,
        symmetric=symmetric,
    )


def barrier(  # noqa: PLR0913 (a factory of test data)
    host_name, ion, name, forward, reverse=None, *, std=0.01, d3=-0.005, status=CONVERGED, symmetric=True
):
    backward = forward if reverse is None else reverse
    done = forward is not None
    return Barrier(
        hop=name,
        host=host_name,
        ion=ion,
        status=status,
        members=2,
        forward_ev=forward,
        forward_std_ev=std if done else None,
        reverse_ev=backward if done else None,
        reverse_std_ev=std if done else None,
        d3_forward_ev=d3 if done else None,
        symmetric=symmetric,
        asymmetry_ev=0.002 if done and symmetric else None,
    )


def path(host_name, ion, start, value, hops, *, limiting=None, status=RESOLVED, direction="x (a = 3.80 A)"):
    limits = limiting if limiting is not None or value is None else hops[0]
    return Bottleneck(
        host=host_name,
        ion=ion,
        direction=direction,
        translation_angstrom=(3.8, 0.0, 0.0),
        start=start,
        barrier_ev=value,
        hops=hops,
        limiting_hop=limits,
        status=status,
    )


def band(host_name, ion, name, member, height, *, status="converged"):
    x = np.linspace(0, 3.2, 7)
    energies = height * np.sin(np.pi * x / 3.2) ** 2
    done = status == "converged"
    return Band(
        hop=name,
        host=host_name,
        ion=ion,
        member=member,
        status=Status(status),
        forward_ev=height if done else None,
        reverse_ev=height if done else None,
        energies_ev=tuple(energies.tolist()),
        coordinate_angstrom=tuple(x.tolist()),
        ion_angstrom=tuple((1.9 + 0.6 * k, 1.9, 7.5 - 1.5 * math.sin(math.pi * k / 6)) for k in range(7)),
        fmax_ev_per_angstrom=0.04,
        steps=50,
        force_calls=250,
        force_std_ev_per_angstrom=0.1,
    )


def refined(name, mlip_ev, dft_ev, *, host_name="001", ion="Li", symmetric=False):
    """One hop refined with DFT; without a DFT barrier it did not converge."""
    done = dft_ev is not None
    return Refined(
        hop=name,
        host=host_name,
        ion=ion,
        group=f"ladder_{name}_{ion}",
        limiting=True,
        symmetric=symmetric,
        status=Status("converged") if done else Status("not converged", "after 12 calls; saddle would be next"),
        calls=4 if done else 12,
        rounds=2 if done else 6,
        mlip_forward_ev=mlip_ev,
        mlip_reverse_ev=mlip_ev - 0.6,
        forward_ev=dft_ev,
        reverse_ev=dft_ev - 0.6 if done else None,
        pbe_forward_ev=dft_ev,
        pbe_reverse_ev=dft_ev - 0.6 if done else None,
        d3_forward_ev=-0.08 if done else None,
        d3_reverse_ev=-0.02 if done else None,
        change_ev=0.001 if done else None,
        std_ev=0.002 if done else None,
        force_ev_per_angstrom=0.038 if done else 0.12,
        limit_ev_per_angstrom=0.05,
        curvature_ev_per_angstrom2=-0.9 if done else None,
        length_angstrom=2.1,
        amplitude_ev=0.2,
        seconds=7200.0,
        first=SameGeometry(
            mlip_forward_ev=mlip_ev,
            dft_forward_ev=mlip_ev + 0.06,
            ion_force_ev_per_angstrom=0.21,
            shell_force_rms_ev_per_angstrom=0.12,
            ion_force_error_ev_per_angstrom=0.2,
            shell_force_error_rms_ev_per_angstrom=0.1,
        ),
        initial=f"refine_{name}_{ion}_initial1",
        saddle=f"refine_{name}_{ion}_saddle1",
    )


def results():
    """Li bulk agrees, Mg bulk did not converge, Li (001) differs, Mg (001) is too uncertain, Li (100) starts below."""
    return Results(
        target="pbe",
        hosts=(host("bulk"), host("001"), host("100")),
        sites=(
            site("bulk", "Li", "V1"),
            site("bulk", "Mg", "V1"),
            site("001", "Li", "S1"),
            site("001", "Li", "U1", 0.65, xyz=(3.8, 1.9, 5.2)),
            site("001", "Li", "S2", 0.0, xyz=(5.7, 5.7, 9.5), status="desorbed"),
            site("001", "Mg", "S1"),
            site("100", "Li", "U1"),
        ),
        hops=(
            hop("bulk", "Li", "bulk_oct", "V1", "V1"),
            hop("bulk", "Mg", "bulk_oct", "V1", "V1"),
            hop("001", "Li", "001_in", "S1", "U1", symmetric=False),
            hop("001", "Li", "001_par", "S1", "S1", length=3.8),
            hop("001", "Mg", "001_par", "S1", "S1", length=3.8),
            hop("100", "Li", "100_010zz", "U1", "U1"),
        ),
        barriers=(
            barrier("bulk", "Li", "bulk_oct", 0.4987),
            barrier(
                "bulk", "Mg", "bulk_oct", None, status=Status("not converged", "0 of 2 members converged: 2 max steps")
            ),
            barrier("001", "Li", "001_in", 1.0312, 0.3812, symmetric=False),
            barrier("001", "Li", "001_par", 1.7123, d3=None),
            barrier("001", "Mg", "001_par", 0.4711, std=0.09),
            barrier("100", "Li", "100_010zz", 0.4422),
        ),
        bottlenecks=(
            path("bulk", "Li", "V1", 0.4987, ("bulk_oct",)),
            path("bulk", "Mg", "V1", None, (), status=Status("not resolved", "no converged barrier for bulk_oct")),
            path("001", "Li", "S1", 1.0312, ("001_in", "001_in")),
            path("001", "Mg", "S1", 0.4711, ("001_par",)),
            path("100", "Li", "U1", 0.4422, ("100_010zz",)),
        ),
        dft=(
            DftBarrier(
                host="bulk",
                ion="Li",
                hop="bulk_oct",
                group="bulk1_Li_neb",
                barrier_ev=0.516,
                d3_ev=-0.004,
                force_ev_per_angstrom=0.20,
                geometry="SevenNet-0 images",
                note="",
            ),
        ),
        calibration=1.5,
        path_error_ev=0.012,
    )


def atoms():
    """A small made-up slab: two layers of TiO2 in a 7.6 x 7.6 cell."""
    xy = [(x, y) for x in (0.0, 3.8) for y in (0.0, 3.8)]
    positions = [(x, y, z) for z in (5.0, 7.4) for x, y in xy]
    positions += [(x + 1.9, y, z + 0.4) for z in (5.0, 7.4) for x, y in xy]
    positions += [(x, y + 1.9, z - 0.4) for z in (5.0, 7.4) for x, y in xy]
    return Atoms("Ti8O16", positions=positions, cell=[7.6, 7.6, 22.3], pbc=True)


def images_of(bands):
    """Images of bands: the made-up slab with the ion on its way, atoms near the ion drawn along with it."""
    out = {}
    for one in bands:
        frames = []
        for place in one.ion_angstrom:
            slab = atoms()
            slab.positions[:, 2] += 0.1 * np.exp(-np.linalg.norm(slab.positions - place, axis=1))
            frames.append(slab + Atoms(one.ion, positions=[place]))
        out[one.host, one.ion, one.hop, one.member] = frames
    return out


def evaluation():
    rng = np.random.default_rng(1)
    force = rng.normal(size=300)
    energy = rng.normal(size=12)
    errors = Errors(
        model="fine-tuned committee",
        frames=12,
        force_rmse_ev_per_angstrom=0.0621,
        energy_rmse_ev_per_atom=0.0012,
        force_slope=0.985,
        species_force_rmse={"Li": 0.08, "O": 0.06, "Ti": 0.061},
        ion_shell_force_rmse=0.081,
        groups=(
            GroupErrors(
                group="001_perp_Li_neb", frames=5, force_rmse_ev_per_angstrom=0.07, energy_rmse_ev_per_atom=0.001
            ),
        ),
        paths=(
            PathError(group="001_perp_Li_neb", initial="p_0", saddle="p_1", dft_ev=0.4, model_ev=0.39),
            PathError(group="001_perp_Li_neb", initial="p_0", saddle="p_2", dft_ev=1.09, model_ev=1.102),
        ),
        calibration=1.5,
    )
    base = replace(
        errors, model="base model", force_rmse_ev_per_angstrom=0.16, calibration=None, ion_shell_force_rmse=None
    )
    drawn = Parity(
        energy_ref_ev_per_atom=tuple(energy),
        energy_ev_per_atom=tuple(energy + 0.01),
        force_ref=tuple(force),
        force=tuple(force + rng.normal(scale=0.05, size=300)),
    )
    return Evaluation(held_out_groups=("001_perp_Li_neb",), models=(errors, base), parity=drawn)


@dataclass(frozen=True)
class Material:
    """What a run found; the optional stages are not done unless they are given."""

    settings: ReportSettings
    references: references.References
    results: Results
    bands: tuple[Band, ...]
    pictures: Mapping[str, Atoms]  # host name -> relaxed clean host
    evaluation: Evaluation | None
    histories: Mapping[int, Sequence[Epoch]]
    dataset_card: Mapping[str, object]
    model_card: Mapping[str, object]
    run_settings: Mapping[str, object]
    provenance: Mapping[str, object]
    energy_fits: tuple[EnergyFit, ...] = ()
    refined: tuple[Refined, ...] = ()
    energetics: Energetics | None = None
    convergence: tuple[Variant, ...] = ()
    followed: tuple[Followed, ...] = ()
    diffused: Diffused | None = None
    images: Images = field(default_factory=dict)

    def stages(self) -> tuple[ReportSection, ...]:
        """Sections of the stages that are done, in the order of the pipeline."""
        r = self.results
        optional = [
            *([convergence_section(self.convergence)] if self.convergence else []),
            *([refine_section(self.refined)] if self.refined else []),
            *([md_section(self.followed)] if self.followed else []),
        ]
        if self.diffused is not None:
            optional.append(diffusion_section(self.diffused, r.sites, r.hops, self.pictures, self.references))
        return (
            cells_section(r.hosts),
            card_section("dataset-card", "Dataset card", self.dataset_card),
            training_section(self.histories, self.energy_fits),
            card_section("model-card", "Model card", self.model_card),
            *([] if self.evaluation is None else [accuracy_section(self.evaluation)]),
            sites_section(r.sites),
            pictures_section(self.pictures, r.sites, self.bands),
            *optional,
        )


@dataclass(frozen=True)
class Rendered:
    """The report in every form."""

    document: page.Document
    page: Page
    html: str
    markdown: str
    json: str


def render(whole: Material, *, title: str = TITLE, crystal: Given | None = None) -> Rendered:
    """The report of a synthetic run, made as the stage makes it."""
    document = page.compare(
        whole.results, whole.references, whole.settings, title=whole.settings.title or title, crystal=crystal
    )
    found = page.Found(
        bands=whole.bands,
        energetics=whole.energetics,
        stages=whole.stages(),
        settings=whole.run_settings,
        provenance=whole.provenance,
        images=whole.images,
        made_by=MADE_BY,
    )
    made = page.make_page(document, whole.references, found)
    return Rendered(document, made, to_html(made), to_markdown(made), page.as_json(document))


def sections_of(made: Page) -> list[ReportSection]:
    """Every section of a page with the parts inside it."""
    out, waiting = [], list(made.sections)
    while waiting:
        section = waiting.pop(0)
        out.append(section)
        waiting += section.parts
    return out


def histories():
    return {
        m: [
            Epoch(
                epoch=e,
                train_loss=10 * 0.8**e,
                valid_loss=12 * 0.8**e,
                valid_force_rmse_ev_per_angstrom=0.3 * 0.9**e,
                valid_energy_rmse_ev_per_atom=0.01 * 0.9**e,
                best=True,
            )
            for e in range(20)
        ]
        for m in (1, 2)
    }


def material(**changes):
    bands = (
        band("bulk", "Li", "bulk_oct", 1, 0.49),
        band("bulk", "Li", "bulk_oct", 2, 0.51),
        band("001", "Li", "001_in", 1, 1.03),
        band("bulk", "Mg", "bulk_oct", 1, 0.7345, status="max steps"),
    )
    whole = Material(
        settings=SETTINGS,
        references=references.load(FOLDER),
        results=results(),
        bands=bands,
        images=images_of(bands),
        pictures={"001": atoms()},
        evaluation=evaluation(),
        histories=histories(),
        dataset_card={
            "name": "tio2-mg-li",
            "level": "PBE",
            "counts": {"frames": {"bulk": 10}},
            "limits": ["few frames"],
        },
        model_card={"target": "pbe", "elements": ["Li", "O", "Mg", "Ti"]},
        run_settings={name: section.model_dump(mode="json") for name, section in config.defaults().items()},
        provenance={"report": {"commit": "0123abc", "versions": {"ase": "3.26.0"}, "inputs": {"x": "a" * 64}}},
    )
    return replace(whole, **changes)


def everything():
    """A run with every optional stage."""
    hot = [motions.motion(t, frames=300) for t in (900.0, 1200.0)]
    diffused = kinetics.Diffused(
        motions=tuple(hot), kinetics=(motions.lines(hot),), densities=(), target_ps=60.0, notes=()
    )
    outcome = md.Outcome(
        replica="900K-1",
        temperature_kelvin=900.0,
        status=Status("done"),
        length_ps=10.0,
        mean_temperature_kelvin=909.0,
        largest_force_std_ev_per_angstrom=0.2,
    )
    followed = md.Followed(
        name="001_Li", host="001", ions=("Li",), atoms=49, mobile=37, repeat=(1, 1, 1), folders=(), replicas=(outcome,)
    )
    variant = Variant(
        study="cutoff",
        settings={"cutoff_ev": 400.0},
        reference=False,
        frames=2,
        force_rms_ev_per_angstrom=0.068,
        force_max_ev_per_angstrom=0.3,
        force_rms_by_species={},
        net_force_ev_per_angstrom=0.01,
        energy_ev=0.014,
        differences=(),
        seconds_per_frame=None,
        status=Status("calculated"),
    )
    return material(
        refined=(refined("001_in", 1.03, 1.09),), convergence=(variant,), followed=(followed,), diffused=diffused
    )
