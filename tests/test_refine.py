"""Refinement of a hop on surfaces of exact barrier: calls, barriers, statuses, and what symmetry gives for nothing."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from helpers import material
from helpers.bands import gold_on_aluminium
from helpers.potentials import CosineSurface, hop
from helpers.refinement import BOX, EXACT, SETTINGS, Prior, band_of, barrier, on, refine
from numpy.testing import assert_allclose

from mlip.atoms import extxyz, symmetry
from mlip.core.status import Status
from mlip.stages.neb import band as moving
from mlip.stages.neb import reversal
from mlip.stages.neb.settings import NebSettings
from mlip.stages.refine import copies, loop, refined, search
from mlip.stages.refine.correction import Bounds, Noise, fitted
from mlip.stages.refine.report import calls_table

TRUTH = {"barrier": 0.6, "step": 0.1, "bend": 0.4, "valley": 10.0}


def exact(truth):
    return CosineSurface(hop(box=BOX)[0], **truth).exact_forward


@pytest.fixture(scope="module")
def skewed():
    return refine(TRUTH)


def test_barriers_are_those_of_the_truth_in_few_calls(skewed):
    done, calls = skewed
    assert done.status == Status(loop.CONVERGED)
    assert len(calls) <= 6
    assert_allclose(barrier(calls), exact(TRUTH), rtol=0, atol=1e-3)
    assert_allclose(barrier(calls, loop.FINAL), exact(TRUTH) - 0.1, rtol=0, atol=1e-3)
    for call in loop.latest(calls).values():
        assert moving.largest(loop.label_of(call, "pbe")[1]) < SETTINGS.fmax_ev_per_angstrom


def test_the_first_round_is_at_the_geometry_of_the_potential(skewed):
    """Nothing is known before: the potential's own ends and saddle, and its curvature."""
    _, calls = skewed
    first = {c.part: c for c in calls if c.round == 0}
    assert set(first) == {loop.INITIAL, loop.SADDLE, loop.FINAL}
    start = hop(box=BOX)[0].positions[-1]
    assert_allclose(first[loop.INITIAL].asked.positions[-1], start, rtol=0, atol=0.01)
    assert_allclose(first[loop.SADDLE].asked.positions[-1, 0], start[0] + 1.5, rtol=0, atol=0.02)
    assert_allclose(np.linalg.norm(first[loop.SADDLE].asked.arrays[loop.MODE]), 1.0, rtol=1e-9, atol=0)


def test_the_reverse_barrier_counts_from_the_final_state(skewed):
    """The final state is 0.1 eV above the initial one; D3 of 0.02, 0.05 and 0.04 eV: 0.03 forwards, 0.01 back."""
    done, calls = skewed
    d3 = {loop.INITIAL: 0.02, loop.SADDLE: 0.05, loop.FINAL: 0.04}
    labels = [call.label.copy() for call in calls]
    for call, label in zip(calls, labels, strict=True):
        label.info["d3_energy"] = d3[call.part]
    calls = [replace(call, label=label) for call, label in zip(calls, labels, strict=True)]
    path = loop.Hop(band=band_of(barrier=0.5), symmetric=False, target="pbe", noise=EXACT)
    way = material.hop("001", "Li", "001_in", "S1", "U1", symmetric=False)
    row = refined.outcome(way, path, calls, done, prior=Prior()(path.band[0], len(path.band)), settings=SETTINGS)
    assert_allclose((row.forward_ev, row.reverse_ev), (exact(TRUTH), exact(TRUTH) - 0.1), rtol=0, atol=1e-3)
    assert (row.pbe_forward_ev, row.pbe_reverse_ev) == (row.forward_ev, row.reverse_ev)
    assert_allclose((row.d3_forward_ev, row.d3_reverse_ev), (0.03, 0.01), rtol=1e-9, atol=0)
    last = loop.latest(calls)
    assert (row.initial, row.saddle, row.final) == tuple(last[part].label.info["frame_id"] for part in refined.PARTS)


def test_a_potential_that_is_right_takes_one_round():
    done, calls = refine({"barrier": 0.5})
    assert (done.status.code, {c.round for c in calls}) == (loop.CONVERGED, {0})


def test_curvature_by_two_more_calls():
    """On the saddle of B sin^2 the curvature of the ion along x is -2 B (pi/L)^2; the mode holds a part of the host."""
    settings = SETTINGS.model_copy(update={"curvature": True, "curvature_step_angstrom": 0.05})
    done, calls = refine({"barrier": 0.5}, settings=settings)
    assert [c.part for c in calls[-2:]] == [loop.AHEAD, loop.BEHIND]
    value = loop.curvature(calls, "pbe")
    assert_allclose(value, done.found.curvature_ev_per_angstrom2, rtol=0.05, atol=0)
    assert value < -0.5
    assert loop.curvature(calls[:-1], "pbe") is None
    for call in calls:
        call.label.info["ranks"] = 4
    path = loop.Hop(band=band_of(barrier=0.5), symmetric=False, target="pbe", noise=EXACT)
    way = material.hop("001", "Li", "001_in", "S1", "U1", symmetric=False)
    prior = Prior()(path.band[0], len(path.band))
    row = refined.outcome(way, path, calls, done, prior=prior, settings=settings)
    assert (row.calls, row.seconds) == (len(calls) - 2, 4 * 10.0 * row.calls)  # of 10 s each, without the last two
    made = calls_table([row])
    assert made.rows[0][made.columns.index("Core hours")] == f"{40.0 * row.calls / 3600:.2f}"


def test_a_symmetric_hop_has_one_end():
    band = band_of(barrier=0.5)
    own = loop.Hop(band=band, symmetric=True, target="pbe", noise=EXACT)
    done, calls = refine({"barrier": 0.58, "bend": 0.5}, hop_=own)
    assert done.status.code == loop.CONVERGED
    assert loop.FINAL not in {c.part for c in calls}
    assert_allclose(barrier(calls), 0.58, rtol=0, atol=1e-3)


def test_noise_raises_the_limit_and_the_loop_still_ends():
    noise = Noise(energy_ev=1e-3, force_ev_per_angstrom=0.03)
    most = loop.limit(noise, 5, SETTINGS.fmax_ev_per_angstrom)
    assert 2.5 * 0.03 < most < 4.5 * 0.03
    drawn = np.random.default_rng(0).normal(scale=0.03, size=(4000, 5, 3))
    below = (np.linalg.norm(drawn, axis=2).max(axis=1) < most).mean()
    assert_allclose(below, 0.95, rtol=0, atol=0.02)
    done, calls = refine(
        TRUTH, noise=0.02, hop_=loop.Hop(band=band_of(barrier=0.5), symmetric=False, target="pbe", noise=noise)
    )
    assert done.status.code == loop.CONVERGED
    assert_allclose(barrier(calls), exact(TRUTH), rtol=0, atol=0.01)


def test_calls_run_out():
    settings = SETTINGS.model_copy(update={"max_calls_per_hop": 4})
    done, calls = refine(TRUTH, settings=settings)
    assert (done.status.code, len(calls)) == (loop.NOT_CONVERGED, 4)
    assert done.status.reason.startswith("after 4 calls; ")


def test_labels_of_the_dataset_are_data_from_the_start(skewed):
    """With the truth's own labels at ends and saddle, one round is enough."""
    _, calls = skewed
    known = tuple(call.label for call in loop.latest(calls).values())
    done, more = refine(TRUTH, known=known)
    assert (done.status.code, len(more)) == (loop.CONVERGED, 3)


def test_a_call_that_a_dataset_has_too_is_one_datum(skewed):
    """Shipped labels of the hop that is refined again: the correction is as sure as before, not surer."""
    _, calls = skewed
    path = loop.Hop(band=band_of(barrier=0.5), symmetric=False, target="pbe", known=tuple(call.label for call in calls))
    prior = Prior()(path.band[0], 1)
    alone, _ = loop.residuals(replace(path, known=()), calls, prior, reach=1.5)
    both, _ = loop.residuals(path, calls, prior, reach=1.5)
    twice, _ = loop.residuals(replace(path, known=path.known * 2), [], prior, reach=1.5)
    assert len(both) == len(twice) == len(alone) == len(calls)


@pytest.mark.parametrize(("final", "wanted"), [(0.1, set()), (0.12, {loop.FINAL})])
def test_the_reverse_barrier_must_not_change_either(skewed, final, wanted):
    """All labels are stationary; the surface has the final end at 0.1 eV, and at `final` where it was labelled.

    The labels are 0.03 eV apart from the surface, which is its error and moves nothing.
    """
    atoms, mode = Atoms("Li", positions=[[1, 1, 1]], cell=[8, 8, 8], pbc=True), np.eye(1, 3)
    energies = {loop.INITIAL: 0.0, loop.SADDLE: 0.5, loop.FINAL: final}
    calls = {}
    for place, (part, energy) in enumerate(energies.items()):
        asked = atoms.copy()
        asked.positions[0, 0] = place
        off = 0.03 if part == loop.SADDLE else 0.0
        label = extxyz.with_labels(asked, energy_ev=energy + off, forces=np.zeros((1, 3)), info={})
        calls[part] = loop.Call(part, 0, asked, label)
    images = [atoms.copy() for _ in range(3)]
    for image, energy in zip(images, (0.0, 0.5, 0.1), strict=True):
        image.calc = SinglePointCalculator(image, energy=energy)
    found = replace(skewed[0].found, images=tuple(images), saddle=images[1], mode=mode, forward_ev=0.5)
    path = loop.Hop(band=tuple(images), symmetric=False, target="pbe", noise=EXACT)

    def surface(_, positions):
        return [(list(energies.values())[round(p[0, 0])], np.zeros((1, 3)), None) for p in positions]

    assert set(loop._wanted(path, found, calls, surface, SETTINGS)) == wanted


def test_the_same_labels_give_the_same_calls(skewed):
    _, calls = skewed
    again = refine(TRUTH)[1]
    assert [c.part for c in calls] == [c.part for c in again]
    for one, other in zip(calls, again, strict=True):
        assert (one.asked.positions == other.asked.positions).all()


@pytest.mark.parametrize(
    ("truth", "code"),
    [
        ({"barrier": 0.05, "step": 1.2}, loop.COLLAPSED),  # uphill all the way, without a final end
        ({"barrier": 0.5, "bend": 2.6}, loop.LEFT),  # the saddle is far aside
    ],
)
def test_a_hop_that_is_none_in_truth_has_a_status(truth, code):
    done, _ = refine(truth)
    assert done.status.code == code
    assert done.status.reason


def test_images_of_a_label_have_its_energy_and_turned_forces():
    """Four-fold host: a label beside the axis has three images, and the true surface agrees with all of them."""
    host = Atoms("Ti4", positions=[[1, 1, 1], [3, 1, 1], [1, 3, 1], [3, 3, 1]], cell=[4, 4, 8], pbc=True)
    found = symmetry.operations(host, tolerance_angstrom=0.01)
    whole = host + Atoms("Li", positions=[[2.2, 2.05, 2.0]])
    whole.rattle(0.05, seed=2)

    def truth(positions):
        """A pair potential of the ion with the nearest images of the host, and its forces."""
        from ase.geometry import find_mic

        apart, r = find_mic(positions[:-1] - positions[-1], whole.cell, pbc=True)
        pull = (-2 * np.exp(-2 * r) / r)[:, None] * apart
        return float(np.exp(-2 * r).sum()), np.vstack([-pull, pull.sum(axis=0)])

    label = copies.Labelled(whole.positions, *truth(whole.positions))
    made = copies.images(label, found, band=[whole], reach=1.0)
    assert len(made) >= 4
    assert made[0] is label
    for one in made:
        energy, forces = truth(one.positions)
        assert_allclose(one.energy_ev, energy, rtol=1e-9, atol=0)
        assert_allclose(one.forces, forces, rtol=0, atol=1e-9)
    assert len(copies.images(label, found, band=[whole], reach=0.01)) == 1


def test_a_label_of_a_hop_that_is_turned_around_has_an_image_of_its_energy_and_turned_forces():
    """Gold from hollow to hollow: the potential itself says energy and forces at the image."""
    ends = gold_on_aluminium()
    turned = reversal.between(*ends)
    image = ends[0].copy()
    image.positions += np.random.default_rng(0).normal(scale=0.05, size=image.positions.shape)
    image.calc = EMT()
    label = copies.Labelled(image.positions.copy(), image.get_potential_energy(), image.get_forces())
    own, other = copies.with_reversed([label], turned)
    assert own is label
    image.positions = other.positions
    assert np.linalg.norm(other.positions[-1] - label.positions[-1]) > 2.0
    assert_allclose(other.energy_ev, image.get_potential_energy(), rtol=0, atol=1e-9)
    assert_allclose(other.forces, image.get_forces(), rtol=0, atol=1e-8)
    assert len(copies.with_reversed([own, other], turned)) == 2  # each is the image of the other
    assert copies.with_reversed([label], None) == [label]


def test_a_label_that_is_its_own_image_is_one_datum():
    initial, final = gold_on_aluminium()
    turned = reversal.between(initial, final)
    middle = (initial.positions + turned.positions(initial.positions)) / 2
    label = copies.Labelled(middle, -1.0, np.zeros_like(middle))
    assert copies.with_reversed([label], turned) == [label]


def test_a_label_is_put_beside_the_band_or_left_out():
    (first, *_), shift = band_of(barrier=0.5), np.array([0.2, 0.1, 0.0])
    wrapped = first.positions + shift
    wrapped[0] += first.cell[0]
    made = copies.of_frame(wrapped, -1.0, np.zeros((5, 3)), band=[first], reach=0.1)
    assert_allclose(made.positions, first.positions + shift, rtol=0, atol=1e-9)
    wrapped[-1] += [1.5, 0, 0]
    assert copies.of_frame(wrapped, -1.0, np.zeros((5, 3)), band=[first], reach=0.1) is None


def test_lowest_mode_of_a_quadratic_form():
    rng = np.random.default_rng(4)
    directions = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    values = np.array([-1.5, 0.3, *rng.uniform(1, 30, size=10)])
    hessian = directions @ np.diag(values) @ directions.T

    def forces_of(place):
        return 0.0, -(hessian @ place.ravel()).reshape(place.shape), None

    guess = (directions[:, 0] + 0.8 * directions[:, 5] + 0.5 * directions[:, 1]).reshape(4, 3)
    mode, curvature = search.lowest(np.zeros((4, 3)), guess / np.linalg.norm(guess), forces_of)
    assert_allclose(curvature, -1.5, rtol=1e-3, atol=0)
    assert_allclose(abs(mode.ravel() @ directions[:, 0]), 1.0, rtol=1e-3, atol=0)


def test_a_flat_top_between_two_saddles_is_left_uphill():
    """Two humps: the middle is a minimum, and the search walks up to a saddle beside it."""
    surface = CosineSurface(hop(box=BOX)[0], barrier=0.5, humps=2)
    middle = hop(box=BOX)[0]
    middle.positions[-1] += [1.5, 0.6, 0.0]
    along = np.zeros((5, 3))
    along[-1, 0] = 1.0
    point = search.followed(middle, along, lambda place: (*on(surface, [place])[0], None))
    assert point.curvature_ev_per_angstrom2 < 0
    assert_allclose(point.atoms.get_potential_energy(), 0.5, rtol=0, atol=2e-3)


def test_search_without_correction_is_the_band_of_the_potential():
    band = band_of(barrier=0.5, step=0.2)
    prior = Prior((("barrier", 0.5), ("step", 0.2)))(band[0], len(band))
    found = search.search(band, search.Surface(prior, fitted([], EXACT, Bounds())), NebSettings())
    assert_allclose(found.forward_ev, exact({"barrier": 0.5, "step": 0.2}), rtol=0, atol=5e-4)


def test_a_call_without_a_label_is_refused(skewed):
    _, calls = skewed
    with pytest.raises(ValueError, match="saddle of round 0 has no label"):
        loop.label_of(replace(next(c for c in calls if c.part == loop.SADDLE), label=None), "pbe")
