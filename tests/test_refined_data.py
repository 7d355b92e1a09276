"""What is shipped of barriers relaxed with DFT: the card and the frames say the same."""

import numpy as np
import pytest
from helpers import tiny
from numpy.testing import assert_allclose

from mlip.atoms import extxyz
from mlip.stages.dataset import card

FOLDERS = tuple(tiny.REPOSITORY / "datasets" / name for name in ("tio2-mg-li", "tio2-mg-li-refined-001"))


def refined():
    for folder in FOLDERS:
        frames = {f.info["frame_id"]: f for f in extxyz.read_frames(folder / "frames.extxyz")}
        for path in (p for p in card.read_card(folder).paths if p.refined):
            yield pytest.param(path, frames, id=f"{path.ion}_{path.hop}")


@pytest.mark.parametrize(("path", "frames"), refined())
def test_ends_and_saddle_are_stationary_in_dft(path, frames):
    points = [frames[name] for name in (path.initial, path.saddle, path.final) if name is not None]
    largest = max(np.linalg.norm(f.arrays["dft_forces"], axis=1).max() for f in points)
    assert_allclose(largest, path.force_ev_per_angstrom, rtol=1e-6)
    assert largest < 0.05
    assert all(len(f) == 49 and f.symbols[-1] == path.ion for f in points)


@pytest.mark.parametrize(("path", "frames"), refined())
def test_the_saddle_lies_above_the_ends(path, frames):
    energies = {name: frames[name].info["dft_energy"] for name in (path.initial, path.saddle, path.final) if name}
    assert max(energies, key=energies.get) == path.saddle
    assert 0.1 < energies[path.saddle] - energies[path.initial] < 2.0
    assert path.std_ev < 0.005


def test_there_are_refined_barriers():
    """Those of the six headline barriers."""
    hosts, ions = ("bulk", "100", "001"), ("Li", "Mg")
    assert {(p.values[0].host, p.values[0].ion) for p in refined()} >= {(host, ion) for host in hosts for ion in ions}
