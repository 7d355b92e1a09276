"""The stage `structures`: the bulk cell and the facet slabs.

Each host is in `structures/<name>.extxyz`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from pydantic import Field, model_validator

from mlip.atoms import cells, crystals, extxyz, slab_files, structures
from mlip.atoms.slab_files import SlabFile
from mlip.atoms.structures import Facet, Host
from mlip.core import files
from mlip.core.report import ANGSTROM, DASH, NUMBER, TEXT, UNITS, Column, ReportSection, filled, number, table
from mlip.core.section import Count, Positive, Section
from mlip.core.stage import Context, Stage

CRYSTALS = ("anatase",)  # built in
LATTICE_SHARE = 0.03  # by which lengths of one crystal differ between functionals


class StructuresSettings(Section):
    """Crystal, slabs and ions."""

    added_later: ClassVar[frozenset[str]] = frozenset({"charges_e", "slabs", "vacancies", "vacancy_apart_angstrom"})

    crystal: str = Field(default="anatase", description="Name of a built-in crystal, or the path of a CIF file.")
    bulk_repeat: tuple[Count, Count, Count] = Field(
        default=(2, 2, 1), description="Repeats of the conventional cell in the bulk host."
    )
    facets: tuple[Facet, ...] = Field(
        default=(
            Facet(name="001", miller=(0, 0, 1), layers=4, repeat=(2, 2)),
            Facet(name="100", miller=(1, 0, 0), layers=4, repeat=(2, 1)),
        ),
        description="Slabs to build.",
    )
    slabs: tuple[SlabFile, ...] = Field(
        default=(),
        description="Slabs from files, such as your own relaxed ones; atoms that are frozen there stay frozen.",
    )
    bond_angstrom: Positive = Field(
        default=2.35, description="Longest metal-oxygen distance that counts as a bond (Angstrom)."
    )
    charges_e: dict[str, float] = Field(
        default={},
        description=(
            "Charges of elements in e, such as {Mn: 3}, where they neither follow from the stoichiometry nor are the "
            "usual ones."
        ),
    )
    ions: tuple[str, ...] = Field(
        default=("Li", "Mg"),
        description="Chemical symbols of the ions whose motion is studied, one extra ion in a complete host.",
    )
    vacancies: tuple[str, ...] = Field(
        default=(),
        description=(
            "Chemical symbols of ions of the crystal itself, such as [Li] for LiFePO4: each hops into a single vacancy "
            "beside it. With them ions is empty and bulk_repeat [1, 1, 1] unless the config has other values."
        ),
    )
    vacancy_apart_angstrom: Positive = Field(
        default=8.0,
        description=(
            "The bulk cell is repeated until a vacancy is at least so far from its own images (Angstrom); only with "
            "vacancies."
        ),
    )

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_vacancies(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("vacancies"):
            return {"ions": (), "bulk_repeat": (1, 1, 1), **given}
        return given

    @model_validator(mode="after")
    def _ions_are_elements(self) -> "StructuresSettings":
        unknown = [s for s in self.moving if s not in chemical_symbols[1:]]
        if unknown or not self.moving or len(set(self.moving)) < len(self.moving):
            also = f" and vacancies {list(self.vacancies)}" if self.vacancies else ""
            raise ValueError(f"ions: give distinct chemical symbols such as Li, got {list(self.ions)}{also}")
        return self

    @model_validator(mode="after")
    def _charges_are_of_elements(self) -> "StructuresSettings":
        if unknown := [s for s in self.charges_e if s not in chemical_symbols[1:]]:
            raise ValueError(f"charges_e: {unknown} are no elements; give charges by chemical symbols, such as Mn: 3")
        return self

    @model_validator(mode="after")
    def _names_are_distinct(self) -> "StructuresSettings":
        names = self.slab_names
        if len(set(names)) < len(names) or "bulk" in names:
            raise ValueError(f"facets: names must differ from each other and from 'bulk', got {list(names)}")
        return self

    @property
    def moving(self) -> tuple[str, ...]:
        """Every ion whose motion is studied: extra ones, and those of the crystal."""
        return (*self.ions, *self.vacancies)

    @property
    def slab_names(self) -> tuple[str, ...]:
        """Names of all slabs, those to build first."""
        return (*(f.name for f in self.facets), *(s.name for s in self.slabs))


@dataclass(frozen=True, kw_only=True)
class Hosts:
    """Result of the stage."""

    hosts: tuple[Host, ...]
    crystal: crystals.Identity | None = None  # None: of a run of version 0.1
    notes: tuple[str, ...] = ()  # what was done to the cell of the crystal's file


def crystal_file(settings: StructuresSettings) -> Path | None:
    """The file of the crystal, whatever its name ends in; None for a built-in crystal.

    Raises:
        ValueError: neither a built-in crystal nor a file.
    """
    if settings.crystal in CRYSTALS:
        return None
    path, _ = crystals.split(settings.crystal)
    try:
        files.place(path)
    except ValueError as error:
        raise ValueError(f"{error}; built-in crystals of structures.crystal: {', '.join(CRYSTALS)}") from error
    return Path(path)


def crystal_name(settings: StructuresSettings) -> str:
    """The name of a built-in crystal, or where its file is, with the block that is named in it."""
    path = crystal_file(settings)
    if path is None:
        return settings.crystal
    _, block = crystals.split(settings.crystal)
    return f"{files.place(path)}#{block}" if block else str(files.place(path))


def conventional_cell(settings: StructuresSettings) -> Atoms:
    """The conventional cell of the run's crystal.

    Raises:
        ValueError: as `structures.loaded`, with the charges of the settings.
    """
    return structures.crystal(crystal_name(settings), settings.charges_e)


def identity_of(settings: StructuresSettings, result: "Hosts") -> crystals.Identity:
    """Which crystal the hosts are of."""
    return result.crystal or crystals.identify(conventional_cell(settings))


def run(context: Context[StructuresSettings]) -> Hosts:
    """Build the bulk cell and the slabs."""
    settings = context.settings
    found = structures.loaded(crystal_name(settings), settings.charges_e)
    identity = crystals.identify(found.atoms)
    notes = [*found.notes]
    if settings.vacancies:
        notes += require_vacancies(found.atoms, settings)
    hosts = []
    for atoms, name, miller in _cells(found.atoms, settings):
        kind = "bulk" if miller is None else "slab"
        host = structures.describe(
            atoms,
            name=name,
            kind=kind,
            miller=miller,
            bond_angstrom=settings.bond_angstrom,
            charges=settings.charges_e,
        )
        files.write_frames(host_file(context.folder, name), [atoms])
        if settings.vacancies and miller is not None:
            notes += _near_images(atoms, name, settings)
        notes += [note for own in settings.slabs if own.name == name for note in _strained(atoms, found.atoms, own)]
        counts = " ".join(f"{count} {kind}" for kind, count in sorted(host.coordination.items()))
        held = f", {host.frozen} frozen" if host.frozen else ""
        context.say(f"{host.name:12s} {host.formula:12s} {host.atoms} atoms{held}: {counts}")
        hosts.append(host)
    for line in (f"{settings.crystal}: {identity.name}", *notes):
        context.say(line)
    return Hosts(hosts=tuple(hosts), crystal=identity, notes=tuple(notes))


def bulk_repeat(conventional: Atoms, settings: StructuresSettings) -> tuple[int, int, int]:
    """Repeats of the conventional cell in the bulk host: larger ones where a vacancy would see its own images."""
    if not settings.vacancies:
        return settings.bulk_repeat
    return cells.repeats(conventional.cell.array, settings.bulk_repeat, settings.vacancy_apart_angstrom)


def require_vacancies(conventional: Atoms, settings: StructuresSettings) -> list[str]:
    """What is said of the bulk cell of a run with vacancies.

    Raises:
        ValueError: an element whose ions shall leave is not in the crystal.
    """
    there = set(conventional.get_chemical_symbols())
    if missing := sorted(set(settings.vacancies) - there):
        raise ValueError(
            f"structures.vacancies: {missing} not in the crystal, which holds {', '.join(sorted(there))}; an extra ion "
            "belongs into structures.ions"
        )
    repeat = bulk_repeat(conventional, settings)
    apart = cells.image_angstrom(conventional.cell.array * np.array(repeat)[:, None])
    shown = " x ".join(map(str, repeat))
    return [f"bulk cell of {shown} conventional cells: a vacancy is {apart:.1f} Angstrom from its images"]


def _near_images(slab: Atoms, name: str, settings: StructuresSettings) -> list[str]:
    """A warning where a vacancy in a slab is near its own images, which only the config can change."""
    apart = cells.image_angstrom(slab.cell.array, axes=(0, 1))
    if apart >= settings.vacancy_apart_angstrom:
        return []
    limit = settings.vacancy_apart_angstrom
    return [f"slab {name}: a vacancy is {apart:.1f} Angstrom from its images, less than {limit:g}; raise its repeat"]


def _cells(
    conventional: Atoms, settings: StructuresSettings
) -> Iterator[tuple[Atoms, str, tuple[int, int, int] | None]]:
    yield structures.bulk(conventional, bulk_repeat(conventional, settings)), "bulk", None
    for facet in settings.facets:
        made = structures.slab(conventional, facet, bond_angstrom=settings.bond_angstrom, charges=settings.charges_e)
        yield made, facet.name, facet.miller
    for slab in settings.slabs:
        yield _from_file(slab, conventional), slab.name, slab.miller


def _from_file(slab: SlabFile, conventional: Atoms) -> Atoms:
    """The slab of a file.

    Raises:
        ValueError: as `slab_files.load`, or it is of another crystal.
    """
    found = slab_files.load(files.place(slab.file))
    try:
        slab_files.require_composition(found, conventional)
    except ValueError as error:
        raise ValueError(f"{slab.file}: {error}") from error
    return found


def _strained(slab: Atoms, conventional: Atoms, given: SlabFile) -> list[str]:
    """A warning where a slab may be of another plane or polymorph; one with the lattice of another functional may not.

    A slab is not refused: layered crystals and strained films differ by more than another functional.
    """
    strain = slab_files.strain(slab, conventional, given.miller)
    if strain is not None and strain <= LATTICE_SHARE:
        return []
    differs = "more than 15 %" if strain is None else f"{100 * strain:.0f} %"
    note = f"its in-plane cell differs by {differs} from whole cells of {given.miller} of the crystal"
    return [f"slab {given.name}: {note}; check both, because published values of this plane are compared with it"]


def host_file(folder: Path, name: str) -> Path:
    """Where a host is in the folder of the stage."""
    return folder / f"{name}.extxyz"


def read_host(folder: Path, name: str) -> Atoms:
    """A host as the stage built it."""
    return extxyz.read_frames(host_file(folder, name))[0]


def slab_names(hosts: Sequence[Host]) -> set[str]:
    """Names of the hosts that are slabs."""
    return {host.name for host in hosts if host.miller is not None}


def report(_: Context[StructuresSettings], result: Hosts) -> tuple[ReportSection, ...]:
    """What the stage says in the report."""
    return (cells_section(result.hosts),)


def cells_section(hosts: Sequence[Host]) -> ReportSection:
    """The bulk cell and the slabs; lengths in Angstrom, areas in Angstrom^2."""
    columns = [
        Column("Cell", TEXT, lambda h: h.name),
        Column("Formula", TEXT, lambda h: h.formula),
        Column(f"a, b, c ({ANGSTROM})", TEXT, lambda h: ", ".join(f"{x:.2f}" for x in h.cell_angstrom[:3])),
        Column("Coordination", TEXT, lambda h: ", ".join(f"{n} {k}" for k, n in h.coordination.items())),
        Column(f"Thickness ({ANGSTROM})", NUMBER, lambda h: number(h.thickness_angstrom, 2)),
        Column(f"Area ({UNITS['A2']})", NUMBER, lambda h: number(h.area_angstrom2, 1)),
        Column("Space group", TEXT, lambda h: h.spacegroup),
        Column("Note", TEXT, lambda h: h.note or DASH),
    ]
    return ReportSection(key="cells", heading="Cells", tables=filled(table("cells", columns, hosts)))


def _inputs(context: Context[StructuresSettings]) -> list[Path]:
    path = crystal_file(context.settings)
    slabs = [Path(slab.file) for slab in context.settings.slabs]
    return slabs if path is None else [path, *slabs]


STAGE = Stage(name="structures", settings=StructuresSettings, result=Hosts, run=run, inputs=_inputs, report=report)
