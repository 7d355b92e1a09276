import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import add_adsorbate, fcc100
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from numpy.testing import assert_allclose
from potentials import LENGTH, CosineSurface, Slope, hop
from scipy.spatial.transform import Rotation

from mlip import band as moving
from mlip import config, endpoints, neb

NAME = neb.BandName(hop="bulk_oct", host="bulk", member=1)
TIGHT = config.Neb(fmax_ev_per_angstrom=0.01, checkpoint_steps=3)


def climb(ends, calculator, settings=TIGHT, **more):
    return neb.climb(*ends, calculator=calculator, settings=settings, name=NAME, **more)


def displaced(ends, *, last=(0.0, 0.0, 0.0)):
    """Copies of the ends away from their minima; `last` is added to the ion of the final one."""
    copies = [end.copy() for end in ends]
    for seed, end in enumerate(copies):
        end.rattle(0.03, seed=seed)
    copies[1].positions[-1] += last
    return copies


# known answers


@pytest.mark.parametrize("host", ["frozen", "moving"])
@pytest.mark.parametrize("shape", [{}, {"bend": 0.0}, {"step": 0.3}, {"step": -0.3, "barrier": 1.2}])
def test_barrier_of_cosine_surface_is_exact(shape, host):
    ends = hop()
    surface = CosineSurface(ends[0], **shape)
    if host == "frozen":
        for end in ends:
            end.set_constraint(FixAtoms(range(4)))
    band, images = climb(displaced(ends) if host == "moving" else ends, surface)
    assert band.status == "converged"
    assert_allclose(band.forward_ev, surface.exact_forward, rtol=1e-3, atol=0)
    assert_allclose(band.reverse_ev, surface.exact_forward - surface.step, rtol=1e-3, atol=0)
    assert len(images) == len(band.energies_ev) == len(band.coordinate_angstrom) == TIGHT.images + 2
    assert band.fmax_ev_per_angstrom < TIGHT.fmax_ev_per_angstrom
    assert_allclose(np.add(band.ion_angstrom[-1], -np.array(band.ion_angstrom[0])), [LENGTH, 0, 0], rtol=0, atol=0.03)


def test_reversed_hop_swaps_forward_and_reverse():
    ends = hop()
    surface = CosineSurface(ends[0], step=0.3)
    there, back = climb(ends, surface)[0], climb(ends[::-1], surface)[0]
    assert_allclose((back.forward_ev, back.reverse_ev), (there.reverse_ev, there.forward_ev), rtol=1e-4, atol=0)


def test_symmetric_hop_has_one_barrier():
    ends = hop()
    band, _ = climb(displaced(ends), CosineSurface(ends[0]))
    assert_allclose(band.forward_ev, band.reverse_ev, rtol=0, atol=1e-4)


def test_climbing_finds_a_saddle_between_images():
    ends = hop()
    surface = CosineSurface(ends[0], step=0.4)
    few = TIGHT.model_copy(update={"images": 4})
    plain = few.model_copy(update={"climb_from_ev_per_angstrom": 1e-9})
    assert_allclose(climb(ends, surface, few)[0].forward_ev, surface.exact_forward, rtol=1e-3, atol=0)
    assert surface.exact_forward - climb(ends, surface, plain)[0].forward_ev > 0.01


def test_hop_across_the_cell_edge_equals_the_same_hop_inside():
    inside, across = hop(), hop(edge=6.5)
    wrapped = [end.copy() for end in across]
    for end in wrapped:
        end.wrap()
    assert np.linalg.norm(wrapped[1].positions[-1] - wrapped[0].positions[-1]) > 8
    bands = [climb(ends, CosineSurface(ends[0]))[0] for ends in (inside, across, wrapped)]
    for band in bands[1:]:
        assert_allclose(band.energies_ev, bands[0].energies_ev, rtol=0, atol=1e-6)
        assert_allclose(band.coordinate_angstrom, bands[0].coordinate_angstrom, rtol=0, atol=1e-5)


def test_emt_hop_of_half_a_cell_keeps_its_direction():
    slab = fcc100("Cu", (2, 2, 2), vacuum=6.0, periodic=True)
    slab.set_constraint(FixAtoms(range(4)))
    initial = slab.copy()
    add_adsorbate(initial, "Au", 1.8, "hollow")
    for sign in (1, -1):
        final = initial.copy()
        final.positions[-1, 0] += sign * slab.cell[0, 0] / 2
        band, _ = climb((initial, final), EMT(), config.Neb())
        assert band.status == "converged"
        assert_allclose(band.forward_ev, band.reverse_ev, rtol=0, atol=5e-3)
        assert_allclose(band.ion_angstrom[-1][0] - band.ion_angstrom[0][0], sign * slab.cell[0, 0] / 2, rtol=1e-3)


def test_translation_rotation_and_host_order_do_not_matter():
    ends = hop()
    band, _ = climb(displaced(ends), CosineSurface(ends[0], step=0.2))
    turn = Rotation.from_euler("xyz", [20, 50, 110], degrees=True).as_matrix()
    order = [0, 3, 1, 2, 4]
    moved = []
    for atoms in (*displaced(ends), ends[0]):
        copy = atoms[order]
        copy.positions += [0.3, -7.0, 2.0]
        copy.set_cell(copy.cell.array @ turn.T)
        copy.positions = copy.positions @ turn.T
        moved.append(copy)
    same, _ = climb(moved[:2], CosineSurface(moved[2], step=0.2, rotation=turn))
    assert_allclose(same.energies_ev, band.energies_ev, rtol=0, atol=1e-6)
    assert same.steps == band.steps


# statuses: never a number without convergence


def check_no_number(band):
    assert band.forward_ev is None
    assert band.reverse_ev is None
    assert all(np.isfinite(band.energies_ev))


def test_stopped_early_is_max_steps():
    ends = hop()
    band, _ = climb(ends, CosineSurface(ends[0]), TIGHT.model_copy(update={"max_steps": 4}))
    assert (band.status, band.steps, len(band.energies_ev)) == ("max steps", 4, 7)
    assert band.fmax_ev_per_angstrom > TIGHT.fmax_ev_per_angstrom
    check_no_number(band)


def test_reported_fmax_is_that_of_the_band_that_climbed():
    from ase.mep import NEB

    ends = hop()
    band, images = climb(ends, CosineSurface(ends[0]))
    again = NEB(images, k=TIGHT.spring_ev_per_angstrom2, climb=True, method="improvedtangent")
    assert_allclose(band.fmax_ev_per_angstrom, np.linalg.norm(again.get_forces(), axis=1).max(), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("last", "settings", "status"),
    [
        ((-1.35, 0.0, 0.0), {}, "end point collapsed"),
        ((-1.8, 0.0, 0.0), {"end_moved_angstrom": 2.0}, "end point collapsed"),  # both ends become one
        ((-0.5, 0.0, 0.0), {"end_max_steps": 1}, "end point not relaxed"),
    ],
)
def test_bad_ends_have_a_status(last, settings, status):
    ends = hop()
    calm = CosineSurface(ends[0])
    start = [ends[0], displaced(ends, last=last)[1]]
    band, _ = climb(start, calm, TIGHT.model_copy(update=settings))
    assert band.status == status
    assert band.fmax_ev_per_angstrom is None
    assert band.force_calls == calm.calls
    check_no_number(band)


def test_desorbed_ends_and_desorbed_band():
    ends = hop(box=(12.0, 20.0, 20.0))
    lifting = CosineSurface(ends[0])
    lifting.lift = 16.0
    assert climb(ends, lifting)[0].status == "ion desorbed"
    assert neb.relax_end(ends[0], lifting, settings=TIGHT)[1] == "ion desorbed"
    band, _ = climb(ends, CosineSurface(ends[0], bend=4.2), TIGHT.model_copy(update={"max_steps": 150}))
    assert band.status == "ion desorbed"
    assert len(band.energies_ev) == 7
    check_no_number(band)


def test_monotonic_profile_is_no_barrier():
    ends = hop()
    band, _ = climb(ends, Slope(ends[0]))
    assert band.status == "no barrier"
    assert "neither" in band.note or "no image lies above both ends" in band.note
    check_no_number(band)


def test_minimum_between_humps_is_recorded():
    ends = hop()
    settings = TIGHT.model_copy(update={"images": 7})
    band, _ = climb(ends, CosineSurface(ends[0], humps=2), settings)
    assert band.status == "converged"
    assert_allclose(band.forward_ev, 0.5, rtol=1e-3, atol=0)
    assert 0 <= band.intermediate_ev < 0.1
    assert "more than one elementary hop" in band.note
    assert climb(ends, CosineSurface(ends[0]))[0].intermediate_ev is None


@pytest.mark.parametrize(
    ("profile", "image"),
    [
        ((0, 1, 0.5, 1, 0), 2),
        ((0, 1, 0.5, 0.2, 0.9, 0.1), 3),
        ((0, 0.5, 1, 0.5, 0), None),
        ((0, 1, 0.999, 1, 0), None),
        ((0, -1, -0.5, 0.1), 1),
    ],
)
def test_intermediate(profile, image):
    assert neb.intermediate(profile) == image


def test_committee_spread_puts_a_band_out_of_domain():
    ends = hop()
    surface = CosineSurface(ends[0])
    surface.spread = 0.1
    band, _ = climb(ends, surface)
    assert band.status == "converged"
    assert_allclose(band.force_std_ev_per_angstrom, 0.1 * np.sqrt(3), rtol=1e-12, atol=0)
    surface.spread = 0.4
    band, _ = climb(ends, surface)
    assert band.status == "out of domain"
    check_no_number(band)


def test_judge_looks_at_the_final_images_only():
    ends = hop()
    judge = CosineSurface(ends[0])
    with pytest.raises(ValueError, match="judge gives no forces_std"):
        climb(ends, CosineSurface(ends[0]), judge=judge)
    judge.spread, judge.calls = 0.4, 0
    band, _ = climb(ends, CosineSurface(ends[0]), judge=judge)
    assert (band.status, judge.calls) == ("out of domain", 7)
    judge.spread = np.nan
    band, _ = climb(ends, CosineSurface(ends[0]), judge=judge)
    assert (band.status, band.force_std_ev_per_angstrom) == ("out of domain", None)


@pytest.mark.parametrize(("call", "images"), [(1, 0), (2, 1), (30, 2)])
def test_not_finite_is_out_of_domain(call, images):
    ends = hop()
    surface = CosineSurface(ends[0])
    surface.broken_from = call
    band, left = climb(ends, surface)
    assert band.status == "out of domain"
    assert "not finite" in band.note
    assert len(left) == len(band.energies_ev) == len(band.coordinate_angstrom) == images
    assert band.ion == "Li"
    check_no_number(band)
    surface.calls = call
    assert neb.relax_end(ends[0], surface, settings=TIGHT)[1] == "out of domain"


def test_relax_end():
    ends = hop()
    surface = CosineSurface(ends[0])
    start = displaced(ends)[0]
    before = start.positions.copy()
    end, status = neb.relax_end(start, surface, settings=TIGHT)
    assert status == "relaxed"
    assert_allclose(start.positions, before, rtol=0, atol=0)
    assert_allclose(end.positions, ends[0].positions, rtol=0, atol=0.02)
    assert np.linalg.norm(end.get_forces(), axis=1).max() < TIGHT.end_fmax_ev_per_angstrom


# guards


def cut(atoms):
    del atoms[0]


def swap(atoms):
    atoms.numbers[[0, 1]] = atoms.numbers[[1, 0]]


def crossed(atoms):
    atoms.positions[[1, 2]] = atoms.positions[[2, 1]]


def back(atoms):
    atoms.positions = hop()[0].positions


def other_ion(atoms):
    atoms.positions = hop()[0].positions
    atoms.positions[1] += [0.5, 0, 0]


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (cut, r"differ by 1 atoms \(5 and 4\): build both from the same slab"),
        (swap, r"differ in species at 2 atoms, first at index 0 \(Ti and O\)"),
        (crossed, r"host atom 1 \(O\) moves 3.72 Angstrom .* same atom order"),
        (back, r"same structure \(largest displacement 0.000"),
        (lambda a: a.translate(a.cell[0] - [LENGTH, 0, 0]), "host atom"),
        (other_ion, r"last atom \(Li\) moves only 0.000"),
        (
            lambda a: a.positions.__setitem__((2, 1), np.nan),
            "final end point has a position or cell that is not finite",
        ),
        (lambda a: a.set_pbc([True, True, False]), r"differ in pbc \(\[True, True, True\]"),
        (lambda a: a.set_cell(a.cell * 1.01), "differ in cell by up to 0.14 Angstrom"),
        (lambda a: a.set_constraint(FixAtoms([0])), "differ in constraints"),
    ],
)
def test_bad_ends_are_refused_before_any_force_call(spoil, match):
    initial, final = hop()
    surface = CosineSurface(initial)
    spoil(final)
    with pytest.raises(ValueError, match=match):
        climb((initial, final), surface)
    assert surface.calls == 0


def test_whole_cell_hop_is_refused():
    initial, _ = hop()
    final = initial.copy()
    final.positions[-1] += final.cell[0]
    with pytest.raises(ValueError, match="larger cell if the hop spans the whole cell"):
        endpoints.unwrapped(initial, final)


def test_lone_ion_is_refused():
    initial, final = hop()
    with pytest.raises(ValueError, match="have 1 atoms: give the host"):
        endpoints.unwrapped(initial[-1:], final[-1:])


def test_straight_line_through_an_atom_is_bent_aside():
    initial, final = hop()
    for end in (initial, final):
        end.positions[1] = (initial.positions[-1] + final.positions[-1]) / 2
    images = moving.interpolated(initial, final, count=3)
    assert min(image.get_distances(-1, [0, 1, 2, 3], mic=True).min() for image in images) > 0.5


# costs


def test_force_calls_are_counted_and_none_is_redundant():
    ends = hop()
    surface = CosineSurface(ends[0])
    band, images = climb(ends, surface)
    assert band.force_calls == surface.calls == 2 + TIGHT.images * (band.steps + 1)
    assert all(np.isfinite(image.get_potential_energy()) for image in images)
    assert surface.calls == band.force_calls


def test_inputs_are_not_changed():
    ends = displaced(hop(edge=6.5))
    ends[1].wrap()
    before = [end.copy() for end in ends]
    climb(ends, CosineSurface(hop(edge=6.5)[0]))
    for end, old in zip(ends, before, strict=True):
        assert end == old
        assert end.calc is None
        assert end.info == old.info


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
    assert set(sizes) == {1, TIGHT.images}
    with pytest.raises(ValueError, match=r"evaluate gave energies \(1,\) and forces \(5, 3\)"):
        climb(ends, None, evaluate=lambda images: (np.zeros(1), np.zeros((5, 3))))


# restart


def run_to_the_end(path, surface=None, settings=TIGHT):
    ends = hop()
    return climb(displaced(ends), surface or CosineSurface(ends[0], step=0.2), settings, checkpoint=path)


def check_same(result, expected):
    assert result[0] == expected[0]
    for image, other in zip(result[1], expected[1], strict=True):
        assert (image.positions == other.positions).all()
        assert (image.get_forces() == other.get_forces()).all()


def test_interrupted_equals_uninterrupted(tmp_path):
    expected = run_to_the_end(None)
    for first in (1, 3, 9, 20, 47, 101, 201, expected[0].force_calls):
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
        check_same(run_to_the_end(path), expected)
    assert list(tmp_path.glob(".*")) == []


def test_finished_band_costs_one_force_call_to_read_again(tmp_path):
    path = tmp_path / "deep" / "band.npz"
    expected = run_to_the_end(path)
    surface = CosineSurface(hop()[0], step=0.2)
    check_same(run_to_the_end(path, surface), expected)
    assert surface.calls == 1


def test_more_steps_continue_a_band_that_ran_out_of_them(tmp_path):
    path = tmp_path / "band.npz"
    band, _ = run_to_the_end(path, settings=TIGHT.model_copy(update={"max_steps": 10}))
    assert band.status == "max steps"
    check_same(run_to_the_end(path), run_to_the_end(None))
    band, _ = run_to_the_end(path, settings=TIGHT.model_copy(update={"max_steps": 10}))
    assert (band.status, band.steps) == ("max steps", 10)


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
    stiff = TIGHT.model_copy(update={"spring_ev_per_angstrom2": 1.0})
    check_same(run_to_the_end(path, settings=stiff), run_to_the_end(None, settings=stiff))
    assert "belongs to other end points or settings" in caplog.text
    other = CosineSurface(hop()[0], step=0.2, barrier=0.7)
    band, _ = run_to_the_end(path, other, stiff)
    assert "another potential" in caplog.text
    assert_allclose(band.forward_ev, other.exact_forward, rtol=1e-3, atol=0)


SCRIPT = """
import os, signal, sys, time
from pathlib import Path
from potentials import CosineSurface, hop
import test_neb

class Deadly(CosineSurface):
    def calculate(self, *args, **kwargs):
        if self.calls == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.002)
        super().calculate(*args, **kwargs)

test_neb.run_to_the_end(Path(sys.argv[1]), Deadly(hop()[0], step=0.2))
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


# committee


def bands(*barriers, status="converged"):
    ends = hop()
    band, _ = climb(ends, CosineSurface(ends[0], bend=0.0))
    return [replace(band, member=i, forward_ev=f, reverse_ev=r, status=status) for i, (f, r) in enumerate(barriers)]


def test_committee_mean_and_sample_spread():
    barrier = neb.committee(bands((0.4, 0.5), (0.6, 0.5)), symmetric=True, d3_forward_ev=0.01)
    assert (barrier.status, barrier.members, barrier.d3_forward_ev) == ("converged", 2, 0.01)
    assert_allclose((barrier.forward_ev, barrier.reverse_ev), 0.5, rtol=1e-12, atol=0)
    assert_allclose(barrier.forward_std_ev, 0.2 / np.sqrt(2), rtol=1e-12, atol=0)
    assert barrier.reverse_std_ev == 0
    assert_allclose(barrier.asymmetry_ev, 0.1, rtol=1e-12, atol=0)


def test_committee_of_one_has_no_spread():
    barrier = neb.committee(bands((0.4, 0.5)), symmetric=False)
    assert (barrier.forward_ev, barrier.forward_std_ev, barrier.asymmetry_ev) == (0.4, None, None)


def test_one_failed_member_leaves_no_number():
    failed = [replace(bands((None, None), status="max steps")[0], member=i) for i in (2, 3)]
    barrier = neb.committee([*bands((0.4, 0.5), (0.6, 0.5)), *failed], symmetric=True, d3_forward_ev=0.01)
    assert barrier.status == "2 of 4 members converged: 2 max steps"
    numbers = {k: v for k, v in asdict(barrier).items() if k.endswith("_ev")}
    assert set(numbers.values()) == {None}


def test_committee_refuses_mixed_bands():
    two = bands((0.4, 0.5), (0.6, 0.5))
    with pytest.raises(ValueError, match="bands of one hop, host and ion; got none"):
        neb.committee([], symmetric=True)
    with pytest.raises(ValueError, match="bands of one hop"):
        neb.committee([two[0], replace(two[1], hop="other")], symmetric=True)
    with pytest.raises(ValueError, match=r"members \[0, 0\]: give one band per member"):
        neb.committee([two[0], two[0]], symmetric=True)


# the analytic surfaces themselves


@pytest.mark.parametrize("make", [lambda a: CosineSurface(a, step=0.3), lambda a: CosineSurface(a, humps=2), Slope])
def test_forces_are_the_gradient(make):
    initial, _ = hop()
    surface = make(initial)
    atoms = initial.copy()
    atoms.rattle(0.2, seed=3)
    surface.calculate(atoms)
    forces = surface.results["forces"]
    for i, axis in np.ndindex(5, 3):
        ends = []
        for sign in (1, -1):
            probe = atoms.copy()
            probe.positions[i, axis] += sign * 1e-5
            surface.calculate(probe)
            ends.append(surface.results["energy"])
        assert_allclose(-(ends[0] - ends[1]) / 2e-5, forces[i, axis], rtol=0, atol=1e-6)
