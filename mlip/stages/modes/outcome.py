"""From what was found of a hop to its result: barriers, spreads and prefactors."""

from collections.abc import Sequence

import numpy as np

from mlip.core.arrays import Array
from mlip.core.status import Status
from mlip.stages.modes.prove import FINAL, INITIAL, SADDLE, Findings, Start
from mlip.stages.modes.result import NO_BAND, PROVED, HopModes, Vector
from mlip.stages.modes.vibrations import part, prefactor_thz, vibrations
from mlip.stages.sites.network import Hop


def outcome(start: Start, findings: Findings, *, evaluations: int) -> HopModes:
    """The result of a hop; numbers of a proved hop, and of another one the frequencies that there are."""
    known, saddle = findings.vibrations, findings.points.get(SADDLE)
    initial = known[INITIAL].thz if INITIAL in known else np.empty(0)
    final = known[FINAL].thz if FINAL in known else initial if start.symmetric else np.empty(0)
    top = known[SADDLE].thz if SADDLE in known else np.empty(0)
    made = findings.status.code == PROVED
    forward, reverse = (_barrier(findings, end) if made else np.empty(0) for end in _end_names(start))
    one, other = (_prefactors(findings, end) if made else () for end in _end_names(start))
    return HopModes(
        host=start.host,
        ion=start.ion,
        hop=start.hop,
        status=findings.status,
        forward_ev=_mean(forward),
        reverse_ev=_mean(reverse),
        forward_std_ev=_std(forward),
        reverse_std_ev=_std(reverse),
        initial_thz=tuple(initial.tolist()),
        final_thz=tuple(final.tolist()),
        saddle_thz=tuple(top[top > 0].tolist()),
        imaginary_thz=float(-top[0]) if len(top) and top[0] < 0 else None,
        forward_prefactor_thz=prefactor_thz(initial, top) if made else None,
        reverse_prefactor_thz=prefactor_thz(final, top) if made else None,
        forward_prefactors_thz=one,
        reverse_prefactors_thz=other,
        mode=_mode(start, findings) if SADDLE in known else (),
        saddle_force_ev_per_angstrom=saddle.fmax_ev_per_angstrom if saddle else None,
        atoms_moved=len(findings.moved),
        shell_atoms=len(findings.shell),
        shell_prefactor_thz=_shell_prefactor(findings) if made else None,
        overlap=findings.overlap,
        saddles=1 if findings.between is None else 2,
        between_ev=None if findings.between is None else findings.above_ev(findings.between),
        evaluations=evaluations,
    )


def without_band(hop: Hop) -> HopModes:
    """The result of a hop that no band converged of."""
    return HopModes(host=hop.host, ion=hop.ion, hop=hop.name, status=Status(NO_BAND))


def _end_names(start: Start) -> tuple[str, str]:
    return INITIAL, INITIAL if start.symmetric else FINAL


def _barrier(findings: Findings, end: str) -> Array:
    """Barrier above an end by every member at the stationary points of the mean, (M,) eV."""
    return np.asarray(findings.points[SADDLE].found.energies_ev - findings.points[end].found.energies_ev)


def _mean(values: Array) -> float | None:
    return float(values.mean()) if values.size else None


def _std(values: Array) -> float | None:
    return float(values.std(ddof=1)) if values.size > 1 else None


def _prefactors(findings: Findings, end: str) -> tuple[float, ...]:
    """From the Hessians of the members one by one, where they too say minimum and first-order saddle."""
    pairs = zip(findings.hessians[end], findings.hessians[SADDLE], strict=True)
    found = (_prefactor(*pair, findings.masses, free=findings.free) for pair in pairs)
    return tuple(value for value in found if value is not None)


def _shell_prefactor(findings: Findings) -> float | None:
    minimum, saddle = (part(findings.hessians[name].mean(axis=0), findings.shell) for name in (INITIAL, SADDLE))
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
