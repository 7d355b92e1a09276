"""End points of a hop: relaxation with a status.

Takes a structure with one ion (the last atom); gives a relaxed copy with RELAXED, or the code of why it is not one.
"""

from typing import Any

import numpy as np
from ase import Atoms

from mlip.stages.neb import band
from mlip.stages.neb.settings import NebSettings
from mlip.stages.sites.sites import RELAXED

NOT_RELAXED = "end point not relaxed"
COLLAPSED = "end point collapsed"
DESORBED = "ion desorbed"
OUT_OF_DOMAIN = "out of domain"


def relax_end(atoms: Atoms, calculator: Any, *, settings: NebSettings) -> tuple[Atoms, str]:
    """A relaxed copy with energy and forces attached, and the code of its status.

    RELAXED, or why it is no end point: NOT_RELAXED (end_max_steps), COLLAPSED (the ion moved more than
    end_moved_angstrom relative to the host), DESORBED, OUT_OF_DOMAIN (energy or force not finite).
    """
    try:
        steps = band.relaxed(
            atoms, 0, band.Tally(), fmax=settings.end_fmax_ev_per_angstrom, max_steps=settings.end_max_steps
        )
        image = band.driven(steps, band.by_calculator(calculator))
    except band.NotFiniteError:
        return atoms.copy(), OUT_OF_DOMAIN
    return image, end_status(atoms, image, settings)


def end_status(start: Atoms, end: Atoms, settings: NebSettings) -> str:
    """Code of the status of a primed end point that was relaxed from `start`."""
    if desorbed(end, settings.desorbed_angstrom):
        return DESORBED
    if ion_moved(start, end) > settings.end_moved_angstrom:
        return COLLAPSED
    return RELAXED if band.largest(end.get_forces()) < settings.end_fmax_ev_per_angstrom else NOT_RELAXED


def ion_moved(start: Atoms, end: Atoms) -> float:
    """How far the ion moved relative to the centre of the host, Angstrom (no wrapping between the two)."""
    moves = end.positions - start.positions
    return float(np.linalg.norm(moves[-1] - moves[:-1].mean(axis=0)))


def desorbed(atoms: Atoms, limit_angstrom: float) -> bool:
    """Whether the ion is farther than the limit from every other atom."""
    return bool(atoms.get_distances(-1, list(range(len(atoms) - 1)), mic=True).min() > limit_angstrom)
