"""One hop relaxed with any ASE calculator in the place of DFT, from the band of a potential, without a run.

Takes two structures, a committee and a calculator; gives ends and saddle at which the calculator's forces vanish, in a
few calls of it, and the barrier. What did not converge has a status and no number.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ase import Atoms

from mlip.atoms.ends import matched, unwrapped
from mlip.core.status import Status
from mlip.potential import free_energy
from mlip.potential.potential import Evaluator, Potential
from mlip.stages.neb import band as moving
from mlip.stages.neb import reversal
from mlip.stages.neb.band import interpolated
from mlip.stages.neb.settings import NebSettings
from mlip.stages.refine import loop, search
from mlip.stages.refine.correction import Bounds, Noise, fitted
from mlip.stages.refine.loop import FINAL, INITIAL, NO_BAND, SADDLE, Call
from mlip.stages.refine.settings import RefineSettings


@dataclass(frozen=True, kw_only=True)
class RefinedHop:
    """What refinement found of a hop; numbers only where the status is `converged`."""

    status: Status
    calls: int  # of the calculator
    potential_ev: float | None  # forward barrier of the committee mean before any call
    forward_ev: float | None
    reverse_ev: float | None
    force_ev_per_angstrom: float | None  # largest force of the calculator left on an atom


def refined(
    initial: Atoms,
    final: Atoms,
    potential: Potential,
    calculator: Any,
    *,
    settings: RefineSettings | None = None,
    neb_settings: NebSettings | None = None,
    ion: str | None = None,
) -> tuple[RefinedHop, dict[str, Atoms]]:
    """Ends and saddle of a hop relaxed with a calculator that is too expensive for a band.

    The band of the committee mean is where the search begins. A Gaussian process on the differences between calculator
    and committee corrects the potential; the calculator is asked at the stationary points of the sum until it finds no
    force there. All atoms may move; constraints are not kept.

    Args:
        initial: one end; never changed.
        final: the same atoms in any order, wrapped or not.
        potential: from `mlip.load`.
        calculator: any ASE calculator with energies and forces, DFT as a rule.
        settings: force limit, noise of the forces and so on; the defaults of the stage `refine` without.
        neb_settings: of the band; the defaults of the stage `neb` without.
        ion: chemical symbol of the ion that hops; without it, the atom that moves farthest.

    Returns:
        The barrier in eV, and the last calculated structures, `initial`, `saddle` and (no symmetric hop) `final`, with
        energies (eV) and forces (eV/Angstrom) of the calculator.

    Raises:
        ValueError: the two structures do not belong together, or are one structure.

    Method: docs/method.md; CI-NEB doi:10.1063/1.1329672; the lowest mode doi:10.1063/1.480097.
    """
    chosen, own = settings or RefineSettings(), neb_settings or NebSettings()
    first, last = matched(initial, final, ion=ion)
    hop, found_before, prior = begun(loop.bare(first), loop.bare(last), potential.evaluator, chosen, own)
    if found_before.forward_ev is None:
        status = Status(NO_BAND, f"of the potential: {found_before.band.status}")
        return _without(status, calls=0, potential_ev=None), {}

    def label(frames: Mapping[str, Atoms], number: int) -> list[Call]:
        return [Call(part, number, atoms, calculated(atoms, calculator)) for part, atoms in frames.items()]

    done, calls = loop.refined(hop, label=label, prior=prior, settings=chosen, neb_settings=own)
    points = {part: _with_results(call) for part, call in loop.latest(calls).items()}
    if done.status.code != loop.CONVERGED:
        return _without(done.status, calls=len(calls), potential_ev=found_before.forward_ev), points
    energies = {part: float(atoms.get_potential_energy()) for part, atoms in points.items()}
    found = RefinedHop(
        status=done.status,
        calls=len(calls),
        potential_ev=found_before.forward_ev,
        forward_ev=energies[SADDLE] - energies[INITIAL],
        reverse_ev=energies[SADDLE] - energies[INITIAL if hop.symmetric else FINAL],
        force_ev_per_angstrom=max(moving.largest(atoms.get_forces()) for atoms in points.values()),
    )
    return found, points


def begun(
    first: Atoms, last: Atoms, evaluator: Evaluator, settings: RefineSettings, own: NebSettings
) -> tuple[loop.Hop, search.Found, search.Prior]:
    """A hop with the band of the committee mean, the stationary points of that mean, and the mean itself.

    Args:
        first: one end, without constraints.
        last: the other end, its atoms in the same order.
        evaluator: the committee.
        settings: section `refine`.
        own: section `neb`, for the band.
    """
    final = unwrapped(first, last)
    symmetric = reversal.between(first, final) is not None
    count = own.images
    prior = search.committee(evaluator, first, count + 2)
    bounds = Bounds(settings.length_bounds_angstrom, settings.amplitude_bounds_ev)
    noise = Noise(settings.energy_noise_ev, settings.force_noise_ev_per_angstrom)
    flat = search.Surface(prior, fitted([], noise, bounds))
    found = search.search(interpolated(first, final, count=count), flat, own, symmetric=symmetric)
    band = tuple(loop.bare(image) for image in found.images)
    return loop.Hop(band=band, symmetric=symmetric, target="pbe", noise=noise), found, prior


def _without(status: Status, *, calls: int, potential_ev: float | None) -> RefinedHop:
    return RefinedHop(
        status=status,
        calls=calls,
        potential_ev=potential_ev,
        forward_ev=None,
        reverse_ev=None,
        force_ev_per_angstrom=None,
    )


def calculated(atoms: Atoms, calculator: Any) -> Atoms:
    """A frame with energy (force-consistent where the calculator has it) and forces in the keys of a label."""
    frame = loop.bare(atoms)
    frame.calc = calculator
    frame.info["dft_energy"], frame.arrays["dft_forces"] = free_energy.of(frame), frame.get_forces()
    frame.calc = None
    return frame


def _with_results(call: Call) -> Atoms:
    """The structure of a call with the results of the calculator."""
    atoms = loop.bare(call.asked)
    energy, forces = loop.label_of(call, "pbe")
    moving.prime(atoms, energy=energy, forces=forces, std=None)
    return atoms
