"""What the DFT settings cost: errors of forces and energy differences against a tighter setting, or another code.

Takes a few frames and a function `ask` that labels them at a variant of the settings; gives one `Variant` per setting.
A label that failed a check (info `refused`) counts with its numbers and says so: it shows what the setting costs.
Within a study the last variant is the reference. Absolute energies shift with most settings and mean nothing; what
counts are forces and differences: between configurations of one composition, and between a host with an ion and the
same host without it (an adsorption energy but for the constant energy of its reference).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from ase import Atoms

from mlip.core.status import CALCULATED, INCOMPLETE, Status

Ask = Callable[[Sequence[Atoms], Mapping[str, Any]], Sequence[Atoms | None]]
CONFIGURATIONS, INSERTION = "configurations", "ion on host"
REFUSED = "refused"  # every frame has a label; a check would keep one from training


@dataclass(frozen=True, kw_only=True)
class Difference:
    """An energy difference between two frames, high minus low."""

    kind: str  # 'configurations' of one composition, or 'ion on host' against the clean host
    high: str  # frame_id
    low: str
    value_ev: float
    change_ev: float  # against the reference of the study


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One setting against the reference of its study."""

    study: str
    settings: dict[str, Any]  # what differs from the level of the run
    reference: bool
    frames: int  # labelled here and at the reference
    force_rms_ev_per_angstrom: float | None  # of components
    force_max_ev_per_angstrom: float | None
    force_rms_by_species: dict[str, float]  # eV/Angstrom
    net_force_ev_per_angstrom: float | None  # per atom, of the worst frame, before the labels were freed of it
    energy_ev: float | None  # largest change of a difference
    differences: tuple[Difference, ...]
    seconds_per_frame: float | None  # wall time of the labels, if they say
    status: Status  # CALCULATED, INCOMPLETE or REFUSED


def study(name: str, variants: Sequence[Mapping[str, Any]], frames: Sequence[Atoms], ask: Ask) -> tuple[Variant, ...]:
    """Every variant of a study; what has no label at a variant or at the reference is left out and counted.

    Args:
        name: of the study.
        variants: what differs from the level of the run; the last is the reference.
        frames: structures with frame_id, host and ion in their info.
        ask: labels frames at a variant.
    """
    labelled = [ask(frames, variant) for variant in variants]
    return tuple(
        _variant(name, dict(variant), found, labelled[-1], reference=found is labelled[-1])
        for variant, found in zip(variants, labelled, strict=True)
    )


def _variant(
    name: str,
    settings: dict[str, Any],
    found: Sequence[Atoms | None],
    best: Sequence[Atoms | None],
    *,
    reference: bool,
) -> Variant:
    both = [(a, b) for a, b in zip(found, best, strict=True) if a is not None and b is not None]
    errors = [a.arrays["dft_forces"] - b.arrays["dft_forces"] for a, b in both]
    wrong = np.concatenate(errors) if errors else np.empty((0, 3))
    differences = tuple(d for pair in combinations(both, 2) if (d := _difference(*pair)) is not None)
    times = [float(a.info["wall_s"]) for a, _ in both if "wall_s" in a.info]
    return Variant(
        study=name,
        settings=settings,
        reference=reference,
        frames=len(both),
        force_rms_ev_per_angstrom=float(np.sqrt((wrong**2).mean())) if both else None,
        force_max_ev_per_angstrom=float(np.abs(wrong).max()) if both else None,
        force_rms_by_species=_by_species(both),
        net_force_ev_per_angstrom=max((float(a.info["net_force"]) / len(a) for a, _ in both), default=None),
        energy_ev=max((abs(d.change_ev) for d in differences), default=None),
        differences=differences,
        seconds_per_frame=sum(times) / len(times) if times else None,
        status=_status(found, len(both)),
    )


def _by_species(both: Sequence[tuple[Atoms, Atoms]]) -> dict[str, float]:
    """Root mean square of the force components that differ, by element."""
    squares: dict[str, list[float]] = {}
    for a, b in both:
        for symbol, wrong in zip(a.symbols, a.arrays["dft_forces"] - b.arrays["dft_forces"], strict=True):
            squares.setdefault(symbol, []).append(float((wrong**2).mean()))
    return {symbol: float(np.sqrt(np.mean(squares[symbol]))) for symbol in sorted(squares)}


def _status(found: Sequence[Atoms | None], both: int) -> Status:
    """What is missing, and which labels of this setting a check would keep from training."""
    refused = [f.info for f in found if f is not None and "refused" in f.info]
    parts = [f"{len(found) - both} of {len(found)} frames have no label"] if both < len(found) else []
    parts += [f"{info['frame_id']} is no label to train on: {info['refused']}" for info in refused]
    if not parts:
        return Status(CALCULATED)
    return Status(INCOMPLETE if both < len(found) else REFUSED, "; ".join(parts))


def _difference(one: tuple[Atoms, Atoms], other: tuple[Atoms, Atoms]) -> Difference | None:
    """The difference that two frames make, the second minus the first; with an ion minus without."""
    kind = _kind(one[0], other[0])
    if kind is None:
        return None
    low, high = (other, one) if kind == INSERTION and len(one[0]) > len(other[0]) else (one, other)
    values = [float(b.info["dft_energy"]) - float(a.info["dft_energy"]) for a, b in zip(low, high, strict=True)]
    return Difference(
        kind=kind,
        high=str(high[0].info["frame_id"]),
        low=str(low[0].info["frame_id"]),
        value_ev=values[0],
        change_ev=values[0] - values[1],
    )


def _kind(one: Atoms, other: Atoms) -> str | None:
    if not np.allclose(one.cell, other.cell, rtol=0, atol=1e-4):
        return None
    if np.array_equal(one.numbers, other.numbers):
        return CONFIGURATIONS
    short, long = sorted((one, other), key=len)
    ion = str(long.info.get("ion", "none"))
    rest = [s for s in long.get_chemical_symbols() if s != ion]
    return INSERTION if rest == short.get_chemical_symbols() and len(rest) < len(long) else None
