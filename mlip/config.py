"""The one schema of a run: a frozen section per stage, with defaults and limits.

Takes a YAML file; gives a validated `Config`. Unknown keys fail at every level and all problems are reported at once,
each with its path. Defaults live here only; a YAML file states what differs.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from ase.data import chemical_symbols
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mlip import files

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Target = Literal["pbe", "pbe-d3"]


class Section(BaseModel):
    """A part of the configuration: immutable, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Common(Section):
    """Settings that every stage sees."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 1
    device: Literal["cpu", "cuda"] = "cpu"
    dtype: Literal["float64", "float32"] = "float64"  # of the potential in sites, neb and md
    native: bool = True  # evaluate the potential with symmetrix-xl where that is installed
    cueq: bool = False  # or with cuEquivariance kernels, for GPUs
    # any fast way of evaluating is used only where it agrees this well with plain mace-torch, float64 on the CPU
    equivalence_ev: Positive = 1e-3
    equivalence_ev_per_angstrom: Positive = 1e-3
    workers: Count = 2  # processes side by side (training members, bands); one thread each on a CPU
    target: Target = "pbe"  # level that labels, potential and report share; pbe-d3 has D3(BJ) inside the potential


class Facet(Section):
    """One slab to build."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    miller: tuple[int, int, int]
    layers: Count = 4  # formula layers along the normal: TiO2 layers in anatase
    repeat: tuple[Count, Count] = (2, 2)
    vacuum_angstrom: Annotated[float, Field(ge=8.0)] = 15.0

    @model_validator(mode="after")
    def _miller_is_a_direction(self) -> "Facet":
        if self.miller == (0, 0, 0):
            raise ValueError("miller: (0, 0, 0) is no plane; give three indices that are not all zero")
        return self


CRYSTALS = ("anatase",)  # built in


class Structures(Section):
    """Crystal, slabs and ions."""

    crystal: str = "anatase"  # a built-in name or a file: CIF (file.cif#block), POSCAR, extended XYZ
    bulk_repeat: tuple[Count, Count, Count] = (2, 2, 1)
    facets: tuple[Facet, ...] = (
        Facet(name="001", miller=(0, 0, 1), layers=4, repeat=(2, 2)),
        Facet(name="100", miller=(1, 0, 0), layers=4, repeat=(2, 1)),
    )
    bond_angstrom: Positive = 2.35  # metal-oxygen distance that counts as a bond
    ions: tuple[str, ...] = ("Li", "Mg")

    @property
    def crystal_file(self) -> str | None:
        """The path of the crystal's file, whatever its name ends in; None for a built-in crystal."""
        return None if self.crystal in CRYSTALS else self.crystal

    @model_validator(mode="after")
    def _ions_are_elements(self) -> "Structures":
        unknown = [s for s in self.ions if s not in chemical_symbols[1:]]
        if unknown or not self.ions or len(set(self.ions)) < len(self.ions):
            raise ValueError(f"ions: give distinct chemical symbols such as Li, got {list(self.ions)}")
        return self

    @model_validator(mode="after")
    def _names_are_distinct(self) -> "Structures":
        names = [f.name for f in self.facets]
        if len(set(names)) < len(names) or "bulk" in names:
            raise ValueError(f"facets: names must differ from each other and from 'bulk', got {names}")
        return self


class Dataset(Section):
    """Labelled frames, their checks and their split."""

    path: Path = Path("datasets/tio2-mg-li")
    test_groups: tuple[str, ...] = ("001_perp_Li_neb", "100_11_Li_md800", "bulk1_Mg_hop")
    valid_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.12  # of the groups that are not held out
    max_force_ev_per_angstrom: Positive = 30.0
    max_net_force_per_atom_ev_per_angstrom: Positive = 0.03
    min_distance_angstrom: Positive = 0.9
    max_energy_outlier_ev_per_atom: Positive = 0.5  # against the element-wise linear fit
    max_energy_force_mismatch: Positive = 0.3  # of energy difference over work of the forces, near pairs of frames
    duplicate_angstrom: Positive = 1e-3


class Architecture(Section):
    """Shape of a MACE model trained from scratch; a base model brings its own."""

    channels: Count = 64
    max_l: Annotated[int, Field(ge=0, le=2)] = 0  # of the messages; 0: scalar features only
    layers: Annotated[int, Field(ge=1, le=3)] = 2
    correlation: Annotated[int, Field(ge=1, le=3)] = 3
    max_ell: Annotated[int, Field(ge=1, le=4)] = 3  # of the edge spherical harmonics
    cutoff_angstrom: Annotated[float, Field(gt=2, lt=8)] = 5.0
    elements: tuple[str, ...] = ("Li", "O", "Mg", "Ti")

    @model_validator(mode="after")
    def _elements_are_elements(self) -> "Architecture":
        unknown = [s for s in self.elements if s not in chemical_symbols[1:]]
        if unknown or not self.elements or len(set(self.elements)) < len(self.elements):
            raise ValueError(f"elements: give distinct chemical symbols such as Ti, got {list(self.elements)}")
        return self


class EnergyFit(Section):
    """Energies fitted in closed form after the epochs (mlip/energy_fit.py): forces hardly fix those along a path."""

    prior_ev: Positive = 0.5  # how far the fit may move the energy of a cell that counts, one standard deviation
    noise_ev: Positive = 0.02  # of the energy of a cell that counts, one of at least min_atoms
    small_noise_ev: Positive = 0.1  # of smaller cells, whose energies hold a part of the cell's own (docs/method.md)
    min_atoms: Count = 48  # where no training frame has as many, all count


class Train(Section):
    """Training of every committee member."""

    # folder of a released model, a trusted .model file, the name of a MACE foundation model, or null: from scratch
    base: str | None = "datasets/models/base"
    trust_pickle: bool = False  # a .model file is a pickle and runs the code inside it: true only for files you trust
    architecture: Architecture = Architecture()
    members: Count = 2
    epochs: Count = 60
    batch_frames: Count = 4  # of an update; packed by edges into as many calls as memory needs
    learning_rate: Positive = 1e-3
    ema_decay: Annotated[float, Field(gt=0, lt=1)] = 0.99
    # of the squared error of the energy per atom, eV^2; beyond some thousands the limited gradient norm makes it void
    energy_weight: Positive = 500.0
    force_weight: Positive = 100.0  # of the squared error of the force components, (eV/Angstrom)^2
    huber_ev_per_angstrom: Positive = 0.5  # force errors beyond it count linearly
    patience: Count = 30  # epochs without a better validation loss before the end
    keep: Literal["best", "last"] = "best"  # weights of the epoch with the best validation loss, or of the last epoch
    dtype: Literal["float64", "float32"] = "float32"
    energy_fit: EnergyFit | None = None  # null: none; {}: with the defaults
    cueq: bool = False  # train with cuEquivariance kernels, for GPUs; the saved model is a plain one either way


class Evaluate(Section):
    """Errors on held-out groups."""

    first_shell_angstrom: Positive = 2.8  # ion to neighbour, for the errors of the ion and its first shell


class Sites(Section):
    """Search of voids, their relaxation and the hop network."""

    grid_angstrom: Positive = 0.35  # spacing of the search grid
    clearance_angstrom: Positive = 1.55  # smallest distance of a candidate to an atom
    depth_angstrom: Positive = 4.5  # on slabs: candidates down to this depth below the outermost metal plane
    rattle_angstrom: Positive = 0.04  # of the host before it is relaxed, against the symmetric trap
    fmax_ev_per_angstrom: Positive = 0.03
    max_steps: Count = 300
    merge_angstrom: Positive = 0.8  # relaxed sites closer than this are one
    desorbed_angstrom: Positive = 3.2  # an ion farther than this from every atom has left
    max_hop_angstrom: Positive = 4.2
    max_in_angstrom: Positive = 4.8  # of hops from a surface to a subsurface site: Mg sits high in a (001) hollow
    host_rattles: Count = 3  # of a slab; the lowest relaxed one is kept (bulk: one)
    max_candidates: Count = 6  # starting positions relaxed per host and ion
    displace_angstrom: Annotated[float, Field(ge=0, lt=1)] = 0.15  # of the ion before it is relaxed, off the centre
    symmetry_angstrom: Positive = 0.1  # tolerance of the operations of a relaxed host
    max_site_ev: Positive = 1.5  # sites this much above the lowest one are listed but take part in no hop
    through_angstrom: Positive = 0.7  # a hop that passes another site closer than this is two hops
    blocked_angstrom: Positive = 1.0  # a straight hop below the surface that passes an atom closer is left out


class Neb(Section):
    """Climbing-image NEB of every hop by every committee member."""

    hops: tuple[str, ...] = ("*",)  # name patterns of the hops to calculate
    images: Annotated[int, Field(ge=3)] = 5  # between the ends
    spring_ev_per_angstrom2: Positive = 0.5
    fmax_ev_per_angstrom: Positive = 0.05
    climb_from_ev_per_angstrom: Positive = 0.3  # the climbing image starts below this
    end_fmax_ev_per_angstrom: Positive = 0.02
    max_steps: Count = 300
    end_max_steps: Count = 300
    end_moved_angstrom: Positive = 1.2  # an end whose ion moves farther than this while relaxing has collapsed
    desorbed_angstrom: Positive = 3.2
    max_force_std_ev_per_angstrom: Positive = 0.5  # committee spread on the ion beyond which a band is out of domain
    checkpoint_steps: Count = 10
    half_symmetric: bool = False  # of a hop that an operation turns around, evaluate half of an odd number of images
    finish_plain: bool = False  # bands that converged the fast way go on with plain mace-torch in float64 from there


class Dft(Section):
    """Level of the DFT single points; the first word of the preset names the engine."""

    preset: str = Field("gpaw-pbe-520", pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)+$")
    settings: dict[str, Any] = {}  # what differs from the preset, checked by the engine


class Label(Section):
    """DFT single points of frames that the user names."""

    run: bool = False  # a part of `mlip run`
    frames: tuple[Path, ...] = ()  # extended XYZ files


class Convergence(Section):
    """What the DFT settings cost: errors against tighter ones."""

    run: bool = False
    frames: tuple[str, ...] = ("001_11_Li_site", "001_11_Li_hop1", "001_11_clean_relaxed")  # ids in the dataset
    # study -> variants of dft.settings; the last variant of a study is what the others are measured against
    studies: dict[str, tuple[dict[str, Any], ...]] = {
        "cutoff": ({"cutoff_ev": 400.0}, {"cutoff_ev": 520.0}, {"cutoff_ev": 600.0}),
        "k-points": ({"k_length_angstrom": 15.0}, {"k_length_angstrom": 20.0}),
        "smearing": ({"smearing_ev": 0.1}, {"smearing_ev": 0.05}),
    }

    @model_validator(mode="after")
    def _studies_compare(self) -> "Convergence":
        short = [name for name, variants in self.studies.items() if len(variants) < 2]
        if short or not self.studies:
            raise ValueError(
                f"studies: {short or 'none'} given with fewer than two variants; the last is the reference"
            )
        return self


class Energetics(Section):
    """Energies around the barriers: atoms, metals, lattice, surfaces, adsorption."""

    run: bool = False
    parts: tuple[Literal["atoms", "metals", "lattice", "surfaces", "adsorption"], ...] = (
        "atoms",
        "metals",
        "lattice",
        "surfaces",
        "adsorption",
    )
    sites: tuple[str, ...] = ()  # name patterns such as 001_Li_*; none: the lowest site of every host and ion
    surfaces: tuple[Facet, ...] = (
        Facet(name="001", miller=(0, 0, 1), repeat=(1, 1)),
        Facet(name="100", miller=(1, 0, 0), repeat=(1, 1)),
        Facet(name="101", miller=(1, 0, 1), repeat=(1, 1)),
    )
    relax: Literal["potential", "dft"] = "potential"  # of the slabs in `surfaces`
    relax_fmax_ev_per_angstrom: Positive = 0.03
    box_angstrom: tuple[Positive, Positive, Positive] = (10.0, 10.5, 11.0)  # around an atom; no edges equal
    strain: Annotated[float, Field(gt=0, le=0.05)] = 0.01  # step of the cells that are fitted
    displacement_angstrom: Annotated[float, Field(gt=0, le=0.3)] = 0.06  # step of a free coordinate
    # what differs from dft.settings, in the words of the engine; an atom gets the spin of its ground state besides
    atom_settings: dict[str, Any] = {"k_length_angstrom": 1.0}
    metal_settings: dict[str, Any] = {"k_length_angstrom": 40.0, "point_group": True}
    # a cell's number of plane waves jumps with its strain; at 520 eV that leaves 28 GPa of a modulus open
    lattice_settings: dict[str, Any] = {"point_group": True, "cutoff_ev": 700.0}

    @model_validator(mode="after")
    def _surfaces_are_distinct(self) -> "Energetics":
        names = [f.name for f in self.surfaces]
        if len(set(names)) < len(names) or "bulk" in names:
            raise ValueError(f"surfaces: names must differ from each other and from 'bulk', got {names}")
        return self

    @model_validator(mode="after")
    def _box_has_no_equal_edges(self) -> "Energetics":
        if len(set(self.box_angstrom)) < 3:
            raise ValueError(f"box_angstrom: {self.box_angstrom} has equal edges, which share a degenerate level")
        return self


class Ladder(Section):
    """DFT single points on the converged bands."""

    run: bool = False
    hops: tuple[str, ...] = ("*",)  # name patterns of the hops to label
    neighbours: bool = True  # the images beside the saddle too
    max_hours: Positive | None = None  # of labelling; what is left goes on with the next call
    first_shell_angstrom: Positive = 2.8  # ion to neighbour
    max_force_ev_per_angstrom: Positive = 0.15  # DFT force on the ion at the saddle beyond which a DFT band is needed
    max_difference_ev: Positive = 0.05  # between both barriers beyond which a DFT band is needed


class MdSystem(Section):
    """Ions on a host whose dynamics are followed."""

    host: str
    ions: tuple[str, ...]  # each once, or in turn up to the coverage
    coverage: Annotated[float, Field(gt=0, le=1)] | None = None  # ions per metal of the outermost plane of the top face
    site: str | None = None  # where they start; the lowest site of each ion by default
    repeat: tuple[Count, Count, Count] = (1, 1, 1)  # of the host's cell

    @model_validator(mode="after")
    def _ions_are_elements(self) -> "MdSystem":
        unknown = [s for s in self.ions if s not in chemical_symbols[1:]]
        if unknown or not self.ions:
            raise ValueError(f"ions: give chemical symbols such as Li, got {list(self.ions)}")
        return self


class Md(Section):
    """Molecular dynamics of ions on the hosts: every system at every temperature, replicas together in batches."""

    run: bool = False
    systems: tuple[MdSystem, ...] = ()  # none: every ion of every host alone, from its lowest site
    temperatures_kelvin: tuple[Positive, ...] = (700.0, 800.0, 900.0, 1000.0, 1200.0)
    replicas: Count = 8  # of a system at a temperature, each with random numbers of its own
    ensemble: Literal["nvt", "nve"] = "nvt"  # of the part that counts; equilibration is always nvt
    time_step_fs: Positive = 1.0
    friction_per_ps: Positive = 0.5  # of the Langevin thermostat; a strong one slows diffusion
    equilibrate_ps: Annotated[float, Field(ge=0)] = 5.0
    target_ps: Positive = 1000.0  # length of every trajectory after equilibration
    frame_steps: Count = 20  # steps from frame to frame
    chunk_frames: Count = 100  # frames from file to file; a killed run goes on from the last file
    batch: Count = 16  # replicas of a system in one model call
    frozen_layers: Annotated[int, Field(ge=0)] = 1  # formula layers at the bottom of a slab that do not move
    member: Count = 1  # committee member whose forces move the atoms; the whole committee judges every frame
    skin_angstrom: Positive = 1.0  # of the neighbour list beyond the cutoff
    stored: Literal["ions", "all"] = "ions"  # atoms whose positions are kept
    max_temperature_ratio: Annotated[float, Field(gt=1)] = 3.0  # a replica this much hotter than asked for is stopped
    max_force_ev_per_angstrom: Positive = 30.0
    max_force_std_ev_per_angstrom: Positive = 1.0  # committee spread of the force on any atom
    desorbed_angstrom: Positive = 4.0  # an ion farther than this from every atom of the host has left
    apart_angstrom: Positive = 2.0  # ions start at least this far from each other

    @model_validator(mode="after")
    def _systems_are_distinct(self) -> "Md":
        if len(set(self.systems)) < len(self.systems) or len(set(self.temperatures_kelvin)) < len(
            self.temperatures_kelvin
        ):
            raise ValueError(
                "systems and temperatures_kelvin: each is named once; for more trajectories raise replicas"
            )
        return self

    @model_validator(mode="after")
    def _time_step_follows_vibrations(self) -> "Md":
        if self.time_step_fs > 5.0:
            raise ValueError(
                f"time_step_fs: {self.time_step_fs:g} fs is too long for an oxide, whose fastest vibrations take "
                "35 fs; use 1 (at most 5)"
            )
        return self


class Diffusion(Section):
    """Hops, rates and diffusivities from the trajectories."""

    run: bool = False
    core_angstrom: Positive = 1.0  # an ion this near to another site has hopped there
    basin_angstrom: Positive = 1.5  # copies of sites closer than this are one basin, without hops inside
    memory_jumps: Annotated[int, Field(ge=0)] = 3  # so many jumps back a jump can depend on the ones before
    min_hops: Annotated[int, Field(ge=2)] = 10  # fewer give limits, but no Arrhenius line
    min_hops_for_memory: Annotated[int, Field(ge=10)] = 80  # fewer cannot show it: jumps then count as independent
    agree_ev: Positive = 0.05  # activation energy and barrier agree within this or 2 sigma
    temperature_kelvin: Positive = 300.0  # to which the Arrhenius line is extended
    lammps: tuple[Path, ...] = ()  # folders with a LAMMPS dump and the deck it came from


class Report(Section):
    """The cross-check report; tolerances are fixed before results are seen."""

    references: Path = Path("datasets/references")
    title: str = ""  # empty: made of the ions and the crystal
    agree_ev: Positive = 0.05  # |difference| up to this or 2 sigma of the combined uncertainty: agrees
    max_uncertainty_ev: Positive = 0.10  # less certain than this (2 sigma) a barrier can differ, but not agree
    symmetric_ev: Positive = 0.005  # forward and reverse barrier of a symmetric hop
    convergence_ev: Positive = 0.005  # uncertainty (1 sigma) of a converged band: images, force threshold
    dispersion_ev: Positive = (
        0.02  # uncertainty (1 sigma) of comparing PBE with PBE-D3 where D3 at the images is unknown
    )


class Tracking(Section):
    """Weights & Biases."""

    mode: Literal["offline", "online", "disabled"] = "offline"
    project: str = "facet-mlip"


class Config(Section):
    """A whole run."""

    common: Common = Common()
    structures: Structures = Structures()
    dataset: Dataset = Dataset()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    sites: Sites = Sites()
    neb: Neb = Neb()
    dft: Dft = Dft()
    label: Label = Label()
    convergence: Convergence = Convergence()
    energetics: Energetics = Energetics()
    ladder: Ladder = Ladder()
    md: Md = Md()
    diffusion: Diffusion = Diffusion()
    report: Report = Report()
    tracking: Tracking = Tracking()

    @model_validator(mode="after")
    def _md_systems_are_built(self) -> "Config":
        hosts = ["bulk", *(f.name for f in self.structures.facets)]
        for system in self.md.systems:
            if system.host not in hosts:
                raise ValueError(f"md.systems: host {system.host!r} is not built by structures; there are: {hosts}")
            if unknown := sorted(set(system.ions) - set(self.structures.ions)):
                raise ValueError(
                    f"md.systems: {unknown} on {system.host} are not in structures.ions {list(self.structures.ions)}; "
                    "add them there, and labels that hold them"
                )
        if self.md.member > self.train.members:
            raise ValueError(f"md.member: {self.md.member} of {self.train.members} members (train.members)")
        return self


def load(path: Path) -> Config:
    """The validated configuration in a YAML file.

    Raises:
        ValueError: with one line per problem, each with the path of the key.
    """
    raw = files.read_yaml(path, advice="give the path of a YAML file")
    if not isinstance(raw, dict):
        raise ValueError(  # noqa: TRY004  (the input is wrong, not the program)
            f"{path}: holds no sections; expected a mapping such as 'common:' with indented keys"
        )
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        lines = [f"{path}: {'.'.join(str(p) for p in e['loc'])}: {_reason(e)}" for e in error.errors()]
        raise ValueError("\n".join(lines)) from error


def _reason(error: object) -> str:
    details = dict(error)  # type: ignore[call-overload]
    if details["type"] == "extra_forbidden":
        return "unknown key; see mlip/config.py for the keys of this section"
    if details["type"] == "value_error":  # from a validator of ours, which names what it got
        return str(details["ctx"]["error"])
    return f"{details['msg']} (got {details['input']!r})"
