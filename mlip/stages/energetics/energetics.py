"""Energies around the barriers: isolated atoms, metals, crystal, surfaces, adsorption.

Takes structures and a function `ask` that gives DFT labels (frames and what differs from the level of the run in,
labelled frames or None out); gives frozen results. What could not be calculated has a status and no number.

    cohesive energy  E_atom - E_metal                      surface energy  (E_slab - n E_bulk) / (2 A)
    adsorption       E(host + ion) - E(host) - E_reference, the reference an atom or the metal, per ion
    voltage          -E_adsorption / z against the ion's own metal; against another one z and its potential differ

Energies are extrapolated to zero smearing, because metals meet insulators here; D3(BJ) is kept apart from PBE. The
electronic state of an isolated atom is that of Hund's rules: spin-polarised, in a box without equal edges, so that no
degenerate level is shared. Metals: ASE's reference states (bcc Li, hcp Mg), cell parameters fitted by `lattice`;
ferromagnetic ones are spin-polarised, those of other magnetic order are not calculated.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.data import atomic_numbers, ground_state_magnetic_moments, reference_states

from mlip.atoms import dispersion, ions
from mlip.core.section import Target
from mlip.core.status import CALCULATED, INCOMPLETE, NOT_CALCULATED, Status
from mlip.core.units import joule_per_m2
from mlip.dft import engines
from mlip.stages.energetics import lattice, magnets
from mlip.stages.energetics.settings import EnergeticsSettings

Ask = Callable[[Sequence[Atoms], Mapping[str, Any]], Sequence[Atoms | None]]
Relax = Callable[[Atoms], Atoms]
SIMPLE = ("bcc", "fcc", "hcp", "diamond")  # reference states whose cell has no parameter but its lengths


@dataclass(frozen=True, kw_only=True)
class Atom:
    """An isolated atom."""

    symbol: str
    energy_ev: float | None
    moment_bohr: float  # that it starts from
    status: Status


@dataclass(frozen=True, kw_only=True)
class Metal:
    """The elemental metal of an ion; energies per atom."""

    symbol: str
    structure: str
    lattice: lattice.Lattice | None
    energy_ev: float | None
    d3_ev: float | None  # at the PBE lattice
    cohesive_ev: float | None
    cohesive_d3_ev: float | None  # PBE and D3
    status: Status


@dataclass(frozen=True, kw_only=True)
class Surface:
    """The energy of making a facet, both faces counted."""

    name: str
    layers: int
    atoms: int
    area_angstrom2: float
    pbe_j_per_m2: float | None
    d3_j_per_m2: float | None  # PBE and D3
    relaxed_by: str
    status: Status
    potential_j_per_m2: float | None = None  # of the run's potential, at its own level


@dataclass(frozen=True, kw_only=True)
class Adsorption:
    """An ion on a site, per ion; negative: bound."""

    host: str
    ion: str
    site: str
    charge: float  # nominal, electrons per ion
    atom_ev: float | None  # against the isolated atom
    atom_d3_ev: float | None
    metal_ev: float | None  # against the bulk metal
    metal_d3_ev: float | None
    metal_per_electron_ev: float | None
    voltage_v: float | None  # against the ion's own metal, PBE
    status: Status
    potential_metal_ev: float | None = None  # of the run's potential, at its own level, against the metal in DFT


@dataclass(frozen=True, kw_only=True)
class Energetics:
    """Everything that was asked for."""

    level: str  # settings hash of the run's DFT level
    atoms: tuple[Atom, ...]
    metals: tuple[Metal, ...]
    crystal: lattice.Lattice | None
    crystal_status: Status
    surfaces: tuple[Surface, ...]
    adsorption: tuple[Adsorption, ...]
    target: Target = "pbe"  # level of the potential


@dataclass(frozen=True)
class Occupied:
    """A host with an ion on a site, and without it, both relaxed by the same potential."""

    host: str
    ion: str
    site: str
    vacuum: bool
    clean: Atoms
    covered: Atoms


def named(atoms: Atoms, name: str, *, host: str, ion: str = "none", vacuum: bool = False) -> Atoms:
    """A bare frame with the info that a label needs."""
    frame = Atoms(atoms.symbols, positions=atoms.positions, cell=atoms.cell, pbc=True)
    info = {"frame_id": name, "system": host, "host": host, "ion": ion, "group": name, "vacuum": vacuum}
    frame.info = info | {"sampling": "reference energies"}
    return frame


def energies(frame: Atoms) -> tuple[float, float]:
    """PBE energy extrapolated to zero smearing, and the D3 energy of a labelled frame, eV."""
    return float(frame.info["dft_energy_extrapolated"]), float(frame.info["d3_energy"])


def atom(symbol: str, ask: Ask, settings: EnergeticsSettings) -> Atom:
    """The energy of an isolated atom in its ground state."""
    moment = float(ground_state_magnetic_moments[atomic_numbers[symbol]])
    box = np.array(settings.box_angstrom)
    frame = named(Atoms(symbol, positions=[box / 2], cell=box), f"atom_{symbol}", host="atom", ion=symbol)
    spin = {"spin": "polarised", "moments_bohr": {symbol: moment}} if moment else {}
    found = ask([frame], settings.atom_settings | spin)[0]
    if found is None:
        return Atom(symbol=symbol, energy_ev=None, moment_bohr=moment, status=Status(NOT_CALCULATED))
    return Atom(symbol=symbol, energy_ev=energies(found)[0], moment_bohr=moment, status=Status(CALCULATED))


def metal(symbol: str, ask: Ask, settings: EnergeticsSettings, *, alone: Atom | None) -> Metal:
    """Lattice, energy and cohesive energy of an element's simple crystal."""
    state = reference_states[atomic_numbers[symbol]] or {}
    structure = str(state.get("symmetry", "unknown"))
    if structure not in SIMPLE:
        return _without_metal(symbol, structure, Status(NOT_CALCULATED, f"{structure} is no simple metal"))
    if reason := magnets.refused(symbol):
        return _without_metal(symbol, structure, Status(NOT_CALCULATED, reason))
    cell, changes = bulk(symbol, cubic=structure != "hcp"), magnets.changes(symbol, settings.metal_settings)
    found, status = crystal(cell, f"metal_{symbol}", ask, settings, changes=changes, symbol=symbol)
    if found is None:
        return _without_metal(symbol, structure, status)
    energy = found.energy_ev / found.atoms
    d3 = dispersion.d3(lattice.at(lattice.space(cell), found.point))[0] / found.atoms
    free = alone.energy_ev if alone is not None else None
    cohesive = free - energy if free is not None else None
    return Metal(
        symbol=symbol,
        structure=structure,
        lattice=found,
        energy_ev=energy,
        d3_ev=d3,
        cohesive_ev=cohesive,
        cohesive_d3_ev=cohesive - d3 if cohesive is not None else None,
        status=Status(CALCULATED),
    )


def crystal(
    conventional: Atoms,
    name: str,
    ask: Ask,
    settings: EnergeticsSettings,
    *,
    changes: Mapping[str, Any],
    symbol: str = "",
) -> tuple[lattice.Lattice | None, Status]:
    """The lattice of a crystal, or None, and its status; no label is asked for of a crystal that cannot be fitted.

    Args:
        conventional: cell.
        name: of the labels.
        ask: gives labels.
        settings: of the stage.
        changes: to the level of the run.
        symbol: of an elemental metal, which may be ferromagnetic.
    """
    try:
        of = lattice.space(conventional)
    except ValueError as error:
        return None, Status(NOT_CALCULATED, str(error))
    cells = lattice.samples(of, strain=settings.strain, displacement_angstrom=settings.displacement_angstrom)
    frames = [named(cell.atoms, f"{name}_{k}", host=name) for k, cell in enumerate(cells)]
    engines.share_mesh(frames)
    found = ask(frames, changes)
    lacking = sum(label is None for label in found)
    if lacking:
        return None, Status(NOT_CALCULATED, f"{lacking} of {len(cells)} cells have no label")
    whole = [label for label in found if label is not None]
    if reason := magnets.lost(whole, symbol):
        return None, Status(NOT_CALCULATED, reason)
    forces = [np.asarray(label.arrays["dft_forces"]) for label in whole]
    try:
        fitted = lattice.fitted(of, [c.point for c in cells], [energies(x)[0] for x in whole], forces)
    except ValueError as error:
        return None, Status(NOT_CALCULATED, str(error))
    return fitted, Status(CALCULATED)


def surface(
    slab: Atoms,
    bulk_cell: Atoms,
    ask: Ask,
    *,
    name: str,
    layers: int,
    relaxed_by: str,
    potential_ev: tuple[float, float] | None = None,
) -> Surface:
    """Surface energy of a relaxed slab against the relaxed bulk cell of the same lattice.

    Args:
        slab: relaxed.
        bulk_cell: relaxed.
        ask: gives labels.
        name: of the facet.
        layers: formula layers of the slab.
        relaxed_by: in words.
        potential_ev: energies of the slab and of the bulk cell by the potential.
    """
    frame = named(slab, f"surface_{name}", host=name, vacuum=True)
    reference = named(bulk_cell, "surface_bulk", host="bulk")
    found, whole = ask([frame, reference], {})
    area = float(np.linalg.norm(np.cross(slab.cell[0], slab.cell[1])))
    pbe, d3 = None, None
    if found is not None and whole is not None:
        parts = [a - len(slab) / len(bulk_cell) * b for a, b in zip(energies(found), energies(whole), strict=True)]
        pbe, d3 = (joule_per_m2(e, 2 * area) for e in (parts[0], sum(parts)))
    status = Status(NOT_CALCULATED if pbe is None else CALCULATED)
    own = None
    if potential_ev is not None:
        own = joule_per_m2(potential_ev[0] - len(slab) / len(bulk_cell) * potential_ev[1], 2 * area)
    return Surface(
        name=name,
        layers=layers,
        atoms=len(slab),
        area_angstrom2=area,
        pbe_j_per_m2=pbe,
        d3_j_per_m2=d3,
        relaxed_by=relaxed_by,
        status=status,
        potential_j_per_m2=own,
    )


def adsorption_frames(of: Occupied) -> tuple[Atoms, Atoms]:
    """The host with the ion and the clean host, as they are labelled."""
    covered = named(of.covered, f"adsorbed_{of.host}_{of.ion}_{of.site}", host=of.host, ion=of.ion, vacuum=of.vacuum)
    return covered, named(of.clean, f"clean_{of.host}", host=of.host, vacuum=of.vacuum)


def adsorption(
    of: Occupied,
    ask: Ask,
    *,
    alone: Atom | None,
    elemental: Metal | None,
    charge: float | None = None,
    potential_ev: float | None = None,
    target: Target = "pbe",
) -> Adsorption:
    """Adsorption energies of an ion on a site; what lacks a reference is None and named in the status.

    Args:
        of: the site.
        ask: gives labels.
        alone: the isolated atom.
        elemental: the metal.
        charge: electrons per ion, where not the usual ones.
        potential_ev: what the ion adds to the energy of the host, by a potential trained on DFT total energies.
        target: level of that potential.
    """
    found = ask(adsorption_frames(of), {})
    z = charge or ions.charge(of.ion)
    if z is None:
        raise ValueError(f"the charge of {of.ion} is not known; give it")
    names = ("host with the ion", "clean host")
    lacking = [f"the {name}" for name, label in zip(names, found, strict=True) if label is None]
    lacking += ["the atom"] if alone is None or alone.energy_ev is None else []
    lacking += ["the metal"] if elemental is None or elemental.energy_ev is None else []
    pbe, d3 = None, None
    if found[0] is not None and found[1] is not None:
        pbe, d3 = (a - b for a, b in zip(energies(found[0]), energies(found[1]), strict=True))
    atom_ev = _less(pbe, alone.energy_ev if alone else None)
    metal_ev = _less(pbe, elemental.energy_ev if elemental else None)
    reference = elemental.energy_ev if elemental else None
    if target == "pbe-d3":
        reference = _plus(reference, elemental.d3_ev if elemental else None)
    return Adsorption(
        host=of.host,
        ion=of.ion,
        site=of.site,
        charge=z,
        atom_ev=atom_ev,
        atom_d3_ev=_plus(atom_ev, d3),
        metal_ev=metal_ev,
        metal_d3_ev=_plus(metal_ev, _less(d3, elemental.d3_ev if elemental else None)),
        metal_per_electron_ev=metal_ev / z if metal_ev is not None else None,
        voltage_v=voltage(metal_ev, z) if metal_ev is not None else None,
        status=Status(INCOMPLETE, f"no label of {', '.join(lacking)}") if lacking else Status(CALCULATED),
        potential_metal_ev=_less(potential_ev, reference),
    )


def voltage(adsorption_ev: float, charge: float, *, own_v: float = 0.0, other_v: float = 0.0) -> float:
    """Mean voltage of inserting an ion: -E/z against its own metal, moved by standard potentials to another one.

    Args:
        adsorption_ev: per ion, against the ion's metal.
        charge: electrons per ion.
        own_v: standard potential of the ion's metal.
        other_v: standard potential of the electrode to refer to.
    """
    return -adsorption_ev / charge + own_v - other_v


class LabelCalculator(Calculator):  # type: ignore[misc]  # ase has no types
    """Energy (force-consistent) and forces of DFT labels, asked for once per structure."""

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces"]

    def __init__(self, ask: Ask, *, name: str, vacuum: bool) -> None:
        super().__init__()
        self._ask, self._name, self._vacuum = ask, name, vacuum

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Fill `results` with the label of the atoms; see ASE.

        Raises:
            ValueError: where there is no label.
        """
        super().calculate(atoms, properties, system_changes)
        label = self._ask([named(self.atoms, self._name, host=self._name, vacuum=self._vacuum)], {})[0]
        if label is None:
            raise ValueError(f"{self._name}: a step of the relaxation has no label; see the problems of the labels")
        energy_ev = float(label.info["dft_energy"])
        self.results = {"energy": energy_ev, "free_energy": energy_ev, "forces": label.arrays["dft_forces"]}


def relaxed_by_labels(ask: Ask, *, fmax_ev_per_angstrom: float, name: str, vacuum: bool, max_steps: int = 60) -> Relax:
    """A function that relaxes a structure in a fixed cell on DFT labels; each step is a label, so it can be resumed.

    The function raises:
        ValueError: a step has no label, or the relaxation does not end.
    """
    from ase.optimize import LBFGS

    def relax(slab: Atoms) -> Atoms:
        moving = Atoms(slab.symbols, positions=slab.positions, cell=slab.cell, pbc=True)
        moving.calc = LabelCalculator(ask, name=name, vacuum=vacuum)
        with LBFGS(moving, logfile=None, maxstep=0.1) as optimizer:
            if not optimizer.run(fmax=fmax_ev_per_angstrom, steps=max_steps):
                raise ValueError(f"{name}: not relaxed to {fmax_ev_per_angstrom} eV/Angstrom in {max_steps} steps")
        return Atoms(slab.symbols, positions=moving.positions, cell=slab.cell, pbc=True)

    return relax


def _without_metal(symbol: str, structure: str, status: Status) -> Metal:
    return Metal(
        symbol=symbol,
        structure=structure,
        lattice=None,
        energy_ev=None,
        d3_ev=None,
        cohesive_ev=None,
        cohesive_d3_ev=None,
        status=status,
    )


def _less(value: float | None, reference: float | None) -> float | None:
    return None if value is None or reference is None else value - reference


def _plus(value: float | None, addend: float | None) -> float | None:
    return None if value is None or addend is None else value + addend
