"""The smallest frames that GPAW calculates, a second each, and the settings for them."""

import importlib.util

import numpy as np
import pytest
from ase import Atoms

from mlip.dft import single_points, tasks
from mlip.dft.settings import Dft

SETTINGS = {"cutoff_ev": 200.0, "k_length_angstrom": 4.0}
DFT = Dft(settings=SETTINGS)
HAS_GPAW, NO_GPAW = importlib.util.find_spec("gpaw") is not None, "GPAW is not installed: make setup-dft"
needs_gpaw = pytest.mark.skipif(not HAS_GPAW, reason=NO_GPAW)


def hydride(number=0, bond=1.6, *, cell=(4.0, 4.0, 5.0), **info):
    """LiH in a small periodic cell."""
    atoms = Atoms("LiH", positions=[[0.5, 0.5, 1.5], [0.5, 0.6, 1.5 + bond]], cell=cell, pbc=True)
    atoms.info = {"frame_id": f"lih_{number}", "system": "lih", "host": "bulk", "ion": "Li", "group": "lih"}
    atoms.info |= {"sampling": "by hand", "vacuum": False, **info}
    return atoms


def lithium(number=0, edge=4.0, **info):
    """One Li atom in a box: no forces but those of the grid."""
    atoms = hydride(number, **info)[:1]
    atoms.set_cell(np.eye(3) * edge)
    atoms.info = {**atoms.info, "frame_id": f"li_{number}", "group": "li"}
    return atoms


def in_process(frames, dft, folder):
    """Do in this process what `label.label` does in others; gives what waits, by frame_id."""
    store = tasks.Store(folder / tasks.settings_hash(dft))
    named = {tasks.digest(f, dft): f for f in frames}
    waiting = {}
    for task in tasks.tasks(named, dft, streams=1):
        waiting |= single_points.calculate(single_points.Job(task, named, dft, store))
    return {named[k].info["frame_id"]: reason for k, reason in waiting.items()}
