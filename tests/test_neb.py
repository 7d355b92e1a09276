from dataclasses import asdict, replace

import numpy as np
import pytest
from ase.build import add_adsorbate, fcc100
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from helpers.potentials import LENGTH, CosineSurface, Slope, displaced, hop
from numpy.testing import assert_allclose
from pydantic import TypeAdapter
from scipy.spatial.transform import Rotation

from mlip.atoms.ends import unwrapped
from mlip.core.status import Status
from mlip.stages.neb import neb
from mlip.stages.neb.settings import NebSettings

NAME = neb.BandName(hop="bulk_oct", host="bulk", member=1)
TIGHT = NebSettings(fmax_ev_per_angstrom=0.01, checkpoint_steps=3)


def climb(ends, calculator, settings=TIGHT, **more):
    return neb.climb(*ends, calculator=calculator, settings=settings, name=NAME, **more)


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
    assert band.status.code == "converged"
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
    assert_allclose(band.forward_ev, band.reverse_ev, rtol=0, atol=5e-4)


def test_climbing_finds_a_saddle_between_images():
    ends = hop()
    surface = CosineSurface(ends[0], step=0.4)
    few = TIGHT.model_copy(update={"images": 4})
    assert_allclose(climb(ends, surface, few)[0].forward_ev, surface.exact_forward, rtol=1e-3, atol=0)


def test_a_band_climbs_before_it_is_converged_whatever_the_limits():
    ends = hop()
    surface = CosineSurface(ends[0], step=0.4)
    few = TIGHT.model_copy(update={"images": 4, "climb_from_ev_per_angstrom": 1e-9})
    assert_allclose(climb(ends, surface, few)[0].forward_ev, surface.exact_forward, rtol=1e-3, atol=0)


def test_a_hop_around_the_cell_is_not_the_shorter_one_the_other_way():
    """Ends of the network of hops: the ion goes 8 of 12 Angstrom, not 4 the other way."""
    ends = hop()
    ends[1].positions[-1] = ends[0].positions[-1] + [8.0, 0.0, 0.0]
    short, long = (
        unwrapped(*ends, ion_as_given=given).positions[-1] - ends[0].positions[-1] for given in (False, True)
    )
    assert_allclose((short[0], long[0]), (-4.0, 8.0), rtol=0, atol=1e-9)
    copy = [ends[0], ends[0].copy()]
    copy[1].positions[-1] += ends[0].cell[0]
    with pytest.raises(ValueError, match="same structure"):
        unwrapped(*copy, ion_as_given=True)


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
        band, _ = climb((initial, final), EMT(), NebSettings())
        assert band.status.code == "converged"
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
    assert (band.status.code, band.steps, len(band.energies_ev)) == ("max steps", 4, 7)
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
    assert band.status.code == status
    assert band.fmax_ev_per_angstrom is None
    assert band.force_calls == calm.calls
    check_no_number(band)


def test_desorbed_ends_and_desorbed_band():
    ends = hop(box=(12.0, 20.0, 20.0))
    lifting = CosineSurface(ends[0])
    lifting.lift = 16.0
    assert climb(ends, lifting)[0].status.code == "ion desorbed"
    band, _ = climb(ends, CosineSurface(ends[0], bend=3.3))  # a wider bend never settles, and where it is then is luck
    assert band.status.code == "ion desorbed"
    assert band.fmax_ev_per_angstrom < TIGHT.fmax_ev_per_angstrom
    assert len(band.energies_ev) == 7
    check_no_number(band)


def test_monotonic_profile_is_no_barrier():
    ends = hop()
    band, _ = climb(ends, Slope(ends[0]))
    assert band.status.code == "no barrier"
    assert "no image lies above both ends" in band.note
    check_no_number(band)


def test_minimum_between_humps_is_recorded():
    ends = hop()
    settings = TIGHT.model_copy(update={"images": 7})
    band, _ = climb(ends, CosineSurface(ends[0], humps=2), settings)
    assert band.status.code == "converged"
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
    assert band.status.code == "converged"
    assert_allclose(band.force_std_ev_per_angstrom, 0.1 * np.sqrt(3), rtol=1e-12, atol=0)
    surface.spread = 0.4
    band, _ = climb(ends, surface)
    assert band.status.code == "out of domain"
    check_no_number(band)


def test_the_spread_is_asked_for_the_final_images_only():
    ends = hop()
    seen = []

    def spread_of(images, spread=0.4):
        seen.extend(images)
        return [np.full((len(image), 3), spread) for image in images]

    band, images = climb(ends, CosineSurface(ends[0]), spread_of=spread_of)
    assert band.status.code == "out of domain"
    assert [image.positions.tolist() for image in seen] == [image.positions.tolist() for image in images]
    assert_allclose(band.force_std_ev_per_angstrom, 0.4 * np.sqrt(3), rtol=1e-12, atol=0)
    assert (
        climb(ends, CosineSurface(ends[0]), spread_of=lambda images: spread_of(images, 0.1))[0].status.code
        == "converged"
    )
    band, _ = climb(ends, CosineSurface(ends[0]), spread_of=lambda images: spread_of(images, np.nan))
    assert (band.status.code, band.force_std_ev_per_angstrom) == ("out of domain", None)


@pytest.mark.parametrize(("call", "images"), [(1, 0), (2, 1), (30, 2)])
def test_not_finite_is_out_of_domain(call, images):
    ends = hop()
    surface = CosineSurface(ends[0])
    surface.broken_from = call
    band, left = climb(ends, surface)
    assert band.status.code == "out of domain"
    assert "not finite" in band.note
    assert len(left) == len(band.energies_ev) == len(band.coordinate_angstrom) == images
    assert band.ion == "Li"
    check_no_number(band)


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


# committee


def bands(*barriers, status="converged"):
    ends = hop()
    band, _ = climb(ends, CosineSurface(ends[0], bend=0.0))
    return [
        replace(band, member=i, forward_ev=f, reverse_ev=r, status=Status(status)) for i, (f, r) in enumerate(barriers)
    ]


def test_committee_mean_and_sample_spread():
    barrier = neb.committee(bands((0.4, 0.5), (0.6, 0.5)), symmetric=True, d3_forward_ev=0.01)
    assert (barrier.status.code, barrier.members, barrier.d3_forward_ev) == ("converged", 2, 0.01)
    assert_allclose((barrier.forward_ev, barrier.reverse_ev), 0.5, rtol=1e-12, atol=0)
    assert_allclose(barrier.forward_std_ev, 0.2 / np.sqrt(2), rtol=1e-12, atol=0)
    assert barrier.reverse_std_ev == 0
    assert_allclose(barrier.asymmetry_ev, 0.1, rtol=1e-12, atol=0)


def test_results_survive_json():
    two = bands((0.4, 0.5), (0.6, 0.5))
    for result in (two[0], neb.committee(two, symmetric=True)):
        adapter = TypeAdapter(type(result))
        assert adapter.validate_json(adapter.dump_json(result)) == result


def test_committee_of_one_has_no_spread():
    barrier = neb.committee(bands((0.4, 0.5)), symmetric=False)
    assert (barrier.forward_ev, barrier.forward_std_ev, barrier.asymmetry_ev) == (0.4, None, None)


def test_one_failed_member_leaves_no_number():
    failed = [replace(bands((None, None), status="max steps")[0], member=i) for i in (2, 3)]
    barrier = neb.committee([*bands((0.4, 0.5), (0.6, 0.5)), *failed], symmetric=True, d3_forward_ev=0.01)
    assert barrier.status == Status("not converged", "2 of 4 members converged: 2 max steps")
    numbers = {k: v for k, v in asdict(barrier).items() if k.endswith("_ev")}
    assert set(numbers.values()) == {None}


def test_the_way_over_the_vacuum_is_known_where_every_band_is_stationary():
    left = bands((None, None), (None, None), status="ion desorbed")
    assert all(b.stationary for b in left)
    barrier = neb.committee(left, symmetric=True)
    assert barrier.forward_ev is None
    assert_allclose(barrier.vacuum_ev, max(left[0].energies_ev), rtol=1e-12, atol=0)
    one = bands((0.4, 0.5))
    assert neb.committee([one[0], left[1]], symmetric=True).vacuum_ev == barrier.vacuum_ev
    assert neb.committee(one, symmetric=True).vacuum_ev is None
    assert neb.committee([left[0], replace(left[1], stationary=False)], symmetric=True).vacuum_ev is None
    assert neb.committee([left[0], replace(left[1], status=Status("max steps"))], symmetric=True).vacuum_ev is None


def test_the_way_over_the_vacuum_is_that_of_the_lowest_member():
    """Its highest point, as each member has it: 0.9, 0.7 and 0.8 eV."""
    left = bands(*[(None, None)] * 3, status="ion desorbed")
    profiles = (0.0, 0.9, 0.1), (0.0, 0.7, 0.3), (0.0, 0.8, -0.2)
    made = [replace(band, energies_ev=profile) for band, profile in zip(left, profiles, strict=True)]
    assert neb.committee(made, symmetric=False).vacuum_ev == 0.7


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
