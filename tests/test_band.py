import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.potentials import CosineSurface, displaced, hop
from numpy.testing import assert_allclose

from mlip.stages.neb import band as moving
from mlip.stages.neb import neb
from mlip.stages.neb.settings import NebSettings

LOOSE = NebSettings(checkpoint_steps=3)
NAME = neb.BandName(hop="bulk_oct", host="bulk")


def climb(ends, calculator, settings=LOOSE, **more):
    return neb.climb(*ends, calculator=calculator, settings=settings, name=NAME, **more)


def test_straight_line_through_an_atom_is_bent_aside():
    initial, final = hop()
    for end in (initial, final):
        end.positions[1] = (initial.positions[-1] + final.positions[-1]) / 2
    images = moving.interpolated(initial, final, count=3)
    assert min(image.get_distances(-1, [0, 1, 2, 3], mic=True).min() for image in images) > 0.5


def test_batched_evaluator_gives_the_same_band():
    ends = displaced(hop())
    surface = CosineSurface(hop()[0])
    sizes = []

    def evaluate(images):
        sizes.append(len(images))
        results = []
        for image in images:
            surface.calculate(image)
            results.append((surface.results["energy"], surface.results["forces"]))
        energies, forces = zip(*results, strict=True)
        return np.array(energies), np.array(forces)

    serial, _ = climb(ends, CosineSurface(hop()[0]))
    assert climb(ends, None, evaluate=evaluate)[0] == serial
    assert set(sizes) == {1, LOOSE.images}
    with pytest.raises(ValueError, match=r"evaluate gave energies \(1,\) and forces \(5, 3\)"):
        climb(ends, None, evaluate=lambda images: (np.zeros(1), np.zeros((5, 3))))


# restart


def run_to_the_end(path, surface=None, settings=LOOSE):
    ends = hop()
    return climb(displaced(ends), surface or CosineSurface(ends[0], step=0.2), settings, checkpoint=path)


def check_same(result, expected):
    assert result[0] == expected[0]
    for image, other in zip(result[1], expected[1], strict=True):
        assert (image.positions == other.positions).all()
        assert (image.get_forces() == other.get_forces()).all()


def test_interrupted_equals_uninterrupted(tmp_path):
    expected = run_to_the_end(None)
    for first in (1, 9, 20, 47, 101, expected[0].force_calls):
        path = tmp_path / f"{first}.npz"
        for call in (first, 33):  # the second run is stopped too
            surface = CosineSurface(hop()[0], step=0.2)
            surface.fail_at = call
            try:
                run_to_the_end(path, surface)
            except KeyboardInterrupt:
                pass
            else:
                break
        surface = CosineSurface(hop()[0], step=0.2)
        check_same(run_to_the_end(path, surface), expected)
        if first > 40:  # it did continue: one call checks the potential, at most three steps are done again
            assert (
                surface.calls <= 1 + expected[0].force_calls - (first - 1) + (LOOSE.checkpoint_steps + 1) * LOOSE.images
            )
    assert list(tmp_path.glob(".*")) == []


def test_finished_band_costs_one_force_call_to_read_again(tmp_path):
    path = tmp_path / "deep" / "band.npz"
    expected = run_to_the_end(path)
    surface = CosineSurface(hop()[0], step=0.2)
    check_same(run_to_the_end(path, surface), expected)
    assert surface.calls == 1


def test_more_steps_continue_a_band_that_ran_out_of_them(tmp_path):
    path = tmp_path / "band.npz"
    band, _ = run_to_the_end(path, settings=LOOSE.model_copy(update={"max_steps": 10}))
    assert band.status.code == "max steps"
    check_same(run_to_the_end(path), run_to_the_end(None))
    band, _ = run_to_the_end(path, settings=LOOSE.model_copy(update={"max_steps": 10}))
    assert (band.status.code, band.steps) == ("max steps", 10)


@pytest.mark.parametrize("damage", [b"", b"no archive", "half", "noise"])
def test_damaged_checkpoint_is_logged_and_not_used(tmp_path, caplog, damage):
    path = tmp_path / "band.npz"
    expected = run_to_the_end(path)
    whole = path.read_bytes()
    noise = whole[:700] + bytes(200) + whole[900:]
    path.write_bytes({"half": whole[: len(whole) // 2], "noise": noise}.get(damage, damage))
    surface = CosineSurface(hop()[0], step=0.2)
    check_same(run_to_the_end(path, surface), expected)
    assert surface.calls == expected[0].force_calls
    assert "cannot be read" in caplog.text
    assert len(caplog.records) == 1


def test_foreign_checkpoint_is_not_used(tmp_path, caplog):
    path = tmp_path / "band.npz"
    run_to_the_end(path)
    stiff = LOOSE.model_copy(update={"spring_ev_per_angstrom2": 1.0})
    check_same(run_to_the_end(path, settings=stiff), run_to_the_end(None, settings=stiff))
    assert "belongs to other end points or settings" in caplog.text
    other = CosineSurface(hop()[0], step=0.2, barrier=0.7)
    band, _ = run_to_the_end(path, other, stiff)
    assert "another potential" in caplog.text
    assert_allclose(band.forward_ev, other.exact_forward, rtol=1e-3, atol=0)


SCRIPT = """
import os, signal, sys, time
from pathlib import Path
from helpers.potentials import CosineSurface, hop
import test_band

class Deadly(CosineSurface):
    def calculate(self, *args, **kwargs):
        if self.calls == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.002)
        super().calculate(*args, **kwargs)

test_band.run_to_the_end(Path(sys.argv[1]), Deadly(hop()[0], step=0.2))
"""


def test_killed_process_continues_bitwise(tmp_path):
    path = tmp_path / "band.npz"
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths}

    def start(call):
        return subprocess.Popen([sys.executable, "-c", SCRIPT, str(path), str(call)], env=environment)

    for call in (40, 77):
        assert start(call).wait(timeout=60) == -signal.SIGKILL
    seen = path.stat().st_mtime_ns
    child = start(10**6)
    while path.stat().st_mtime_ns == seen and child.poll() is None:
        time.sleep(0.001)
    time.sleep(0.02)
    child.kill()
    child.wait(timeout=60)
    check_same(run_to_the_end(path), run_to_the_end(None))
