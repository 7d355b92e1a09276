import logging
from dataclasses import replace

import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.spacegroup import crystal
from helpers import tiny
from helpers.bands import gold_on_aluminium
from helpers.potentials import CosineSurface, hop
from numpy.testing import assert_allclose

from mlip.potential import models, potential
from mlip.stages.neb import neb, pool, reversal
from mlip.stages.neb.settings import NebSettings

WHOLE = NebSettings(
    fmax_ev_per_angstrom=0.02,
    end_fmax_ev_per_angstrom=0.01,
    checkpoint_steps=2,
    end_moved_angstrom=5.0,
    desorbed_angstrom=10.0,
    climb_from_ev_per_angstrom=1.0,
)
HALF = WHOLE.model_copy(update={"half_symmetric": True})
NAME = neb.BandName(hop="hop", host="slab", member=1)


def climb(ends, calculator, settings, **more):
    return neb.climb(*ends, calculator=calculator, settings=settings, name=NAME, **more)


@pytest.mark.parametrize("images", [3, 5])
def test_half_of_a_band_is_the_band_at_half_the_calls(images):
    ends = gold_on_aluminium()
    whole, path = climb(ends, EMT(), WHOLE.model_copy(update={"images": images}))
    half, turned = climb(ends, EMT(), HALF.model_copy(update={"images": images}))
    assert (whole.status.code, half.status.code) == ("converged", "converged")
    assert (whole.mirrored, half.mirrored) == (False, True)
    assert half.note == "half of the images made by symmetry"
    assert_allclose(half.forward_ev, whole.forward_ev, rtol=0, atol=1e-4)
    assert half.forward_ev == half.reverse_ev > 0.05
    inside = (images + 1) // 2 * (half.steps + 1)
    assert half.steps == whole.steps
    assert half.force_calls < 0.75 * whole.force_calls
    assert inside < half.force_calls < inside + 40
    for a, b in zip(path, turned, strict=True):
        assert_allclose(b.positions, a.positions, rtol=0, atol=0.02)
        a.positions = b.positions
        a.calc = EMT()
        assert_allclose(b.get_forces(), a.get_forces(), rtol=0, atol=1e-8)
        assert_allclose(b.get_potential_energy(), a.get_potential_energy(), rtol=0, atol=1e-8)


def test_an_even_number_of_images_has_no_middle_and_is_evaluated_in_full():
    even = {"images": 4, "max_steps": 3}
    half, _ = climb(gold_on_aluminium(), EMT(), HALF.model_copy(update=even))
    whole, _ = climb(gold_on_aluminium(), EMT(), WHOLE.model_copy(update=even))
    assert half == whole


def test_killed_half_continues_bitwise(tmp_path):
    ends = gold_on_aluminium()
    whole, images = climb(ends, EMT(), HALF)

    class Killed(EMT):
        left = whole.force_calls - 12

        def calculate(self, *args):
            Killed.left -= 1
            if Killed.left < 0:
                raise KeyboardInterrupt
            super().calculate(*args)

    path = tmp_path / "band.npz"
    with pytest.raises(KeyboardInterrupt):
        climb(ends, Killed(), HALF, checkpoint=path)
    again, others = climb(ends, EMT(), HALF, checkpoint=path)
    assert again == whole
    for a, b in zip(images, others, strict=True):
        assert (a.positions == b.positions).all()


def test_a_potential_without_the_symmetry_is_evaluated_in_full(caplog):
    """The valley bends to one side: the operation of the structure turns the hop, and the potential does not follow."""
    ends = hop()
    surface = CosineSurface(ends[0])
    settings = HALF.model_copy(update={"end_moved_angstrom": 1.2, "climb_from_ev_per_angstrom": 0.3})
    assert reversal.between(*ends) is not None
    with caplog.at_level(logging.WARNING):
        band, _ = climb(ends, surface, settings)
    assert (band.status.code, band.mirrored, band.note) == ("converged", False, "")
    assert_allclose(band.forward_ev, surface.exact_forward, rtol=1e-3, atol=0)
    assert sum("made by symmetry" in r.message for r in caplog.records) == 1


def test_an_end_that_is_none_is_relaxed_on_its_own(caplog):
    ends = hop()
    surface = CosineSurface(ends[0], step=0.3)
    with caplog.at_level(logging.WARNING):
        band, _ = climb(ends, surface, HALF.model_copy(update={"climb_from_ev_per_angstrom": 0.3}))
    assert (band.status.code, band.mirrored) == ("converged", False)
    assert_allclose(band.forward_ev - band.reverse_ev, 0.3, rtol=1e-3, atol=0)
    assert "300.00 meV" in caplog.text


def test_in_a_pool_with_the_released_model():
    released = models.load(tiny.REPOSITORY / "datasets" / "models" / "tio2-mg-li").subset([1])
    evaluator = potential.Evaluator(released, backend="mace-scalar")
    host = crystal(("Ti", "O"), basis=[(0, 0, 0), (0, 0, 0.208)], spacegroup=141, cellpar=(3.8, 3.8, 9.68, 90, 90, 90))
    pair = [host + Atoms("Li", [place]) for place in ((0.0, 0.0, 4.84), (0.0, 1.9, 7.26))]
    start, final = pair[0].copy(), pair[1].copy()
    start.rattle(0.03, seed=1)
    final.positions = reversal.between(*pair).positions(start.positions)
    found, entries = {}, []
    for settings in (WHOLE, HALF):
        steps = neb.climbing(start, final, settings=settings, name=NAME)
        entries.append(pool.Entry(steps, start, settings.images + 2, 0))
    pool.advance(entries, evaluator, on_done=lambda k, result: found.update({k: result[0]}))
    whole, half = found[0], found[1]
    assert (whole.status.code, half.status.code) == ("converged", "converged")
    assert half.mirrored
    assert_allclose(half.forward_ev, whole.forward_ev, rtol=0, atol=1e-3)
    assert half.force_calls < 0.7 * whole.force_calls


def test_the_committee_says_so():
    band, _ = climb(gold_on_aluminium(), EMT(), HALF.model_copy(update={"images": 3}))
    both = neb.committee([band, replace(band, member=2)], symmetric=True)
    assert (both.mirrored, both.asymmetry_ev) == (True, None)
    mixed = neb.committee([band, replace(band, member=2, mirrored=False)], symmetric=True)
    assert (mixed.mirrored, mixed.asymmetry_ev) == (False, 0.0)
