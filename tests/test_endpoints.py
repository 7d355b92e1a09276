import numpy as np
import pytest
from ase.constraints import FixAtoms
from helpers.potentials import CosineSurface, displaced, hop
from numpy.testing import assert_allclose

from mlip.atoms.ends import unwrapped
from mlip.stages.neb import endpoints, neb
from mlip.stages.neb.settings import NebSettings

SETTINGS = NebSettings()


def test_relax_end():
    ends = hop()
    surface = CosineSurface(ends[0])
    start = displaced(ends)[0]
    before = start.positions.copy()
    end, status = endpoints.relax_end(start, surface, settings=SETTINGS)
    assert status == "relaxed"
    assert_allclose(start.positions, before, rtol=0, atol=0)
    assert_allclose(end.positions, ends[0].positions, rtol=0, atol=0.02)
    assert np.linalg.norm(end.get_forces(), axis=1).max() < SETTINGS.end_fmax_ev_per_angstrom


@pytest.mark.parametrize(
    ("move", "settings", "spoil", "status"),
    [
        (-1.35, {}, {}, "end point collapsed"),
        (-0.5, {"end_max_steps": 1}, {}, "end point not relaxed"),
        (0.0, {}, {"lift": 16.0}, "ion desorbed"),
        (0.0, {}, {"broken_from": 1}, "out of domain"),
    ],
)
def test_bad_end_has_a_status(move, settings, spoil, status):
    ends = hop(box=(12.0, 20.0, 20.0))
    surface = CosineSurface(ends[0])
    vars(surface).update(spoil)
    start = ends[1].copy()
    start.positions[-1, 0] += move
    assert endpoints.relax_end(start, surface, settings=SETTINGS.model_copy(update=settings))[1] == status


def test_drift_of_everything_is_no_collapse():
    start, _ = hop()
    end = start.copy()
    end.translate([5.0, 0.0, 0.0])
    assert endpoints.ion_moved(start, end) == 0
    end.positions[-1, 1] += 0.5
    assert_allclose(endpoints.ion_moved(start, end), 0.5, rtol=1e-12, atol=0)


def test_unwrapping_undoes_lattice_translations_of_any_atom():
    initial, final = hop()
    wrapped = final.copy()
    wrapped.positions += np.array([[1, 0, 0], [0, -2, 0], [0, 0, 1], [-1, 1, 0], [3, 0, -1]]) @ final.cell.array
    assert_allclose(unwrapped(initial, wrapped).positions, final.positions, rtol=0, atol=1e-12)


def test_half_cell_hop_goes_the_way_it_was_given():
    initial, _ = hop(box=(6.0, 10.0, 14.0))
    for sign in (1, -1):
        final = initial.copy()
        final.positions[-1, 0] += sign * 3.02
        assert_allclose(unwrapped(initial, final).positions, final.positions, rtol=0, atol=1e-12)


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
        neb.climb(initial, final, calculator=surface, settings=NebSettings(), name=neb.BandName(hop="h", host="bulk"))
    assert surface.calls == 0


def test_whole_cell_hop_is_refused():
    initial, _ = hop()
    final = initial.copy()
    final.positions[-1] += final.cell[0]
    with pytest.raises(ValueError, match="larger cell if the hop spans the whole cell"):
        unwrapped(initial, final)


def test_lone_ion_is_refused():
    initial, final = hop()
    with pytest.raises(ValueError, match="have 1 atoms: give the host"):
        unwrapped(initial[-1:], final[-1:])
