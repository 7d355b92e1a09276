"""From what was found of a hop to its result: barriers, spreads and prefactors."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mlip.core.arrays import Array
from mlip.core.status import Status
from mlip.stages.modes.prove import FINAL, INITIAL, SADDLE, Findings, Start
from mlip.stages.modes.result import NO_BAND, PROVED, HopModes, Vector
from mlip.stages.modes.vibrations import part, prefactor_thz, sum_rule_error, vibrations
from mlip.stages.sites.network import Hop


def outcome(start: Start, findings: Findings, *, evaluations: int) -> HopModes:
    """The result of a hop; numbers of a proved hop, and of another one the frequencies that there are."""
    saddle = findings.points.get(SADDLE)
    initial = _thz(findings, INITIAL)
    top = _thz(findings, SADDLE)
    found = HopModes(
        host=start.host,
        ion=start.ion,
        hop=start.hop,
        status=findings.status,
        initial_thz=tuple(initial.tolist()),
        final_thz=tuple(_thz(findings, _ends(start)[1]).tolist()),
        saddle_thz=tuple(top[top > 0].tolist()),
        imaginary_thz=float(-top[0]) if len(top) and top[0] < 0 else None,
        mode=_mode(start, findings) if len(top) else (),
        saddle_force_ev_per_angstrom=saddle.fmax_ev_per_angstrom if saddle else None,
        atoms_moved=len(findings.moved),
        shell_atoms=len(findings.shell),
        overlap=findings.overlap,
        sum_rule_error=sum_rule_error(_mean_hessian(findings, SADDLE)) if len(top) and findings.free else None,
        evaluations=evaluations,
    )
    return _with_numbers(found, start, findings) if findings.status.code == PROVED else found


def _with_numbers(found: HopModes, start: Start, findings: Findings) -> HopModes:
    """The result of a proved hop, with its barriers and prefactors."""
    first, last = _ends(start)
    forward, reverse = _barrier(findings, first), _barrier(findings, last)
    top = _thz(findings, SADDLE)
    return replace(
        found,
        forward_ev=float(forward.mean()),
        reverse_ev=float(reverse.mean()),
        forward_std_ev=_std(forward),
        reverse_std_ev=_std(reverse),
        forward_prefactor_thz=prefactor_thz(_thz(findings, first), top),
        reverse_prefactor_thz=prefactor_thz(_thz(findings, last), top),
        forward_prefactors_thz=_prefactors(findings, first),
        reverse_prefactors_thz=_prefactors(findings, last),
        shell_prefactor_thz=_shell_prefactor(findings),
        saddles=1 if findings.between is None else 2,
        saddle_images=findings.saddle_images,
        initial_wells=findings.wells.get(first, 1),
        final_wells=findings.wells.get(last, 1),
        between_ev=None if findings.between is None else findings.above_ev(findings.between),
        rest_below_ev=None
        if findings.rest_ev is None
        else findings.above_ev(findings.points[SADDLE]) - findings.rest_ev,
    )


def without_band(hop: Hop) -> HopModes:
    """The result of a hop that no band converged of."""
    return HopModes(host=hop.host, ion=hop.ion, hop=hop.name, status=Status(NO_BAND))


def _ends(start: Start) -> tuple[str, str]:
    """Names of the points at both ends; those of a symmetric hop are one structure."""
    return INITIAL, INITIAL if start.symmetric else FINAL


def _thz(findings: Findings, name: str) -> Array:
    """Frequencies at a point, ascending, imaginary ones negative; none where they were not calculated."""
    return findings.vibrations[name].thz if name in findings.vibrations else np.empty(0)


def _mean_hessian(findings: Findings, name: str) -> Array:
    return np.asarray(findings.hessians[name].mean(axis=0))


def _barrier(findings: Findings, end: str) -> Array:
    """Barrier above an end by every member at the stationary points of the mean, (M,) eV."""
    return np.asarray(findings.points[SADDLE].found.energies_ev - findings.points[end].found.energies_ev)


def _std(values: Array) -> float | None:
    return float(values.std(ddof=1)) if values.size > 1 else None


def _prefactors(findings: Findings, end: str) -> tuple[float, ...]:
    """From the Hessians of the members one by one, where they too say minimum and first-order saddle."""
    pairs = zip(findings.hessians[end], findings.hessians[SADDLE], strict=True)
    found = (_prefactor(*pair, findings.masses, free=findings.free) for pair in pairs)
    return tuple(value for value in found if value is not None)


def _shell_prefactor(findings: Findings) -> float | None:
    minimum, saddle = (part(_mean_hessian(findings, name), findings.shell) for name in (INITIAL, SADDLE))
    return _prefactor(minimum, saddle, findings.masses[findings.shell], free=False)


def _prefactor(minimum: Array, saddle: Array, masses: Array, *, free: bool) -> float | None:
    found = [vibrations(hessian, masses, free=free) for hessian in (minimum, saddle)]
    if [one.unstable for one in found] != [0, 1]:
        return None
    return prefactor_thz(found[0].thz, found[1].thz)


def _mode(start: Start, findings: Findings) -> tuple[Vector, ...]:
    """The lowest mode of the saddle, towards the final end."""
    mode = findings.mode()
    rows: Sequence[Sequence[float]] = (mode if (mode * start.along).sum() >= 0 else -mode).tolist()
    return tuple((x, y, z) for x, y, z in rows)
