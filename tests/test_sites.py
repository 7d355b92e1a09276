import numpy as np
import pytest
from ase import Atom
from ase.calculators.lj import LennardJones
from helpers.lattice_potential import OxidePotential
from numpy.testing import assert_allclose

from mlip.atoms import structures, symmetry
from mlip.atoms.structures import Facet
from mlip.stages.sites import sites
from mlip.stages.sites.settings import SitesSettings

ANATASE = structures.crystal("anatase")
SETTINGS = SitesSettings(fmax_ev_per_angstrom=0.02, host_rattles=2)
CALCULATOR = OxidePotential()


def slab(miller, layers=4, repeat=(1, 1)):
    return structures.slab(ANATASE, Facet(name="x", miller=miller, layers=layers, repeat=repeat), bond_angstrom=2.35)


def found(host):
    return symmetry.operations(host, tolerance_angstrom=0.1, keep_top=structures.is_slab(host))


def depths(host, points):
    return sites.top_metal_height(host) - points[:, 2]


def test_ideal_anatase_has_one_distinct_void_and_sixteen_copies_in_the_2x2x1_cell():
    host = structures.bulk(ANATASE, (2, 2, 1))
    points = sites.candidates(host, "Li", SETTINGS, metal_symbols=["Ti"])
    assert len(points) == 1
    voids = symmetry.copies(host, found(host), points[0])
    assert len(voids) == 16
    wyckoff_4b = np.array([0, 0, 4.84])
    assert symmetry.distances(host, voids, wyckoff_4b).min() < 0.02
    metal = structures.metals(host)
    assert_allclose(np.sort(symmetry.distances(host, host.positions[~metal], points[0]))[:4], 1.946, rtol=0.01)
    assert_allclose(np.sort(symmetry.distances(host, host.positions[metal], points[0]))[:4], 2.687, rtol=0.01)


@pytest.mark.parametrize(("miller", "below"), [((0, 0, 1), 2.42), ((1, 0, 0), 1.90)])
def test_facets_have_a_hollow_and_a_subsurface_void(miller, below):
    host = slab(miller, repeat=(2, 1))
    points = sites.candidates(host, "Li", SETTINGS, metal_symbols=["Ti"])
    assert 2 <= len(points) <= 4
    assert depths(host, points).min() < -0.3  # outside the outermost metal plane
    assert np.abs(depths(host, points) - below).min() < 0.1
    assert (
        depths(host, points).max()
        < structures.describe(host, name="x", kind="slab", miller=miller, bond_angstrom=2.35).thickness_angstrom / 2
        + 0.3
    )


def test_the_number_of_candidates_is_capped():
    settings = SETTINGS.model_copy(update={"max_candidates": 1})
    assert len(sites.candidates(slab((1, 0, 1)), "Li", settings, metal_symbols=["Ti"])) == 1


def test_the_relaxed_host_leaves_the_ideal_positions_but_not_the_lattice_translations():
    host = slab((0, 0, 1), repeat=(2, 1))
    before = host.copy()
    relaxed = sites.host_relaxed(host, CALCULATOR, SETTINGS, seed=3)
    assert host == before
    relaxed.calc = CALCULATOR
    assert np.abs(relaxed.get_forces()).max() < 0.03
    assert_allclose(relaxed.positions.mean(0), host.positions.mean(0), rtol=1e-9)
    shifts = [op.translation for op in found(relaxed) if symmetry.is_translation(op)]
    assert len(shifts) == 2


def test_the_same_seed_gives_the_same_host():
    host = slab((1, 0, 0))
    one, two = (sites.host_relaxed(host, CALCULATOR, SETTINGS, seed=5).positions for _ in range(2))
    assert_allclose(one, two, rtol=0, atol=1e-12)


def test_a_host_that_does_not_relax_is_an_error():
    settings = SETTINGS.model_copy(update={"max_steps": 1})
    with pytest.raises(ValueError, match=r"did not relax to 0.02 eV/Angstrom in 1 steps"):
        sites.host_relaxed(slab((0, 0, 1)), CALCULATOR, settings, seed=1)


def test_relaxed_sites_of_001():
    host = sites.host_relaxed(slab((0, 0, 1), repeat=(2, 2)), CALCULATOR, SETTINGS, seed=1)
    listed, relaxed = sites.relaxed_sites(host, "Li", CALCULATOR, SETTINGS, name="001", metal_symbols=["Ti"], seed=2)
    assert [s.name for s in listed] == ["S1", "U1"]
    assert [s.layer for s in listed] == ["surface", "subsurface"]
    assert [s.multiplicity for s in listed] == [4, 4]
    assert {s.status.code for s in listed} == {"relaxed"}
    assert min(s.energy_ev for s in listed) == 0
    for site in listed:
        atoms = relaxed[site.name]
        assert atoms.symbols[-1] == "Li"
        assert (atoms.numbers[:-1] == host.numbers).all()
        assert_allclose(atoms.positions[-1], site.position_angstrom, rtol=1e-9)
        assert site.copies_angstrom[0] == site.position_angstrom
        atoms.calc = CALCULATOR
        assert np.abs(atoms.get_forces()).max() < 0.03
    energies = [relaxed[s.name].get_potential_energy() for s in listed]
    assert_allclose(energies[1] - energies[0], listed[1].energy_ev - listed[0].energy_ev, rtol=1e-6)


def test_sites_do_not_depend_on_where_the_slab_lies():
    host = sites.host_relaxed(slab((0, 0, 1), repeat=(1, 1)), CALCULATOR, SETTINGS, seed=1)
    moved = host.copy()
    moved.positions += (1.3, 0.7, 0.4)
    pair = [
        sites.relaxed_sites(h, "Li", CALCULATOR, SETTINGS, name="001", metal_symbols=["Ti"], seed=2)[0]
        for h in (host, moved)
    ]
    assert [(s.name, s.multiplicity, s.status) for s in pair[0]] == [
        (s.name, s.multiplicity, s.status) for s in pair[1]
    ]
    assert_allclose([s.depth_angstrom for s in pair[0]], [s.depth_angstrom for s in pair[1]], rtol=0.02, atol=0.02)


@pytest.mark.parametrize(("vacuum", "lowest"), [(8.0, None), (15.0, 0.05), (15.0, 2.0), (15.0, 4.9)])
def test_hollows_do_not_depend_on_the_vacuum_nor_on_the_place_of_the_slab_in_it(vacuum, lowest):
    """A slab of a file often begins at the lower face of its cell: the image above is no part of its surface."""
    wide, other = (
        structures.slab(
            ANATASE, Facet(name="001", miller=(0, 0, 1), layers=4, vacuum_angstrom=room), bond_angstrom=2.35
        )
        for room in (15.0, vacuum)
    )
    if lowest is not None:
        other.positions[:, 2] += lowest - other.positions[:, 2].min()
    found = [len(sites.candidates(host, "Li", SETTINGS, metal_symbols=["Ti"])) for host in (wide, other)]
    assert found[0] == found[1] > 1


def test_candidates_that_are_left_out_are_counted():
    host = slab((0, 0, 1), repeat=(1, 1))
    few = SETTINGS.model_copy(update={"max_candidates": 1})
    every = sites.every_candidate(host, "Li", few, metal_symbols=["Ti"])
    assert len(every) > 1
    assert_allclose(sites.candidates(host, "Li", few, metal_symbols=["Ti"]), every[:1], rtol=0, atol=0)


@pytest.mark.parametrize("repeat", [(2, 1), (3, 1), (4, 1), (3, 2)])
def test_kicks_keep_the_translations_of_the_host(repeat):
    host = slab((0, 0, 1), repeat=repeat)
    kicks = sites._translational(host, np.random.default_rng(3).normal(size=(len(host), 3)))
    shifts = [op for op in symmetry.operations(host, tolerance_angstrom=0.02) if symmetry.is_translation(op)]
    assert len(shifts) >= repeat[0] * repeat[1]
    for op in shifts:
        assert_allclose(kicks[op.permutation], kicks, rtol=0, atol=0)


def test_an_ion_that_leaves_is_desorbed_and_one_out_of_steps_is_not_converged():
    host = slab((0, 0, 1))
    repulsive = LennardJones(sigma=4.0, epsilon=0.0)  # no forces at all: every start stays where it is
    far = SETTINGS.model_copy(update={"desorbed_angstrom": 1.0})
    listed, _ = sites.relaxed_sites(host, "Li", repulsive, far, name="001", metal_symbols=["Ti"], seed=1)
    assert {s.status.code for s in listed} == {"desorbed"}
    short = SETTINGS.model_copy(update={"max_steps": 1})
    listed, _ = sites.relaxed_sites(host, "Li", CALCULATOR, short, name="001", metal_symbols=["Ti"], seed=1)
    assert {s.status.code for s in listed} == {"not converged"}


@pytest.mark.parametrize(
    ("energies", "zero"),
    [
        ([(-400.0, "relaxed"), (-399.0, "relaxed"), (-402.0, "desorbed"), (-401.0, "not converged")], -400.0),
        ([(-402.0, "desorbed"), (-401.0, "not converged"), (-400.5, "not converged")], -401.0),
        ([(-402.0, "desorbed"), (-403.0, "desorbed")], -403.0),
    ],
)
def test_energies_count_from_the_lowest_relaxed_site(energies, zero):
    """An ion that left the surface may be lower, and is no site: with its zero no site would be below max_site_ev."""
    host, kept = slab((0, 0, 1)), []
    for k, (energy, status) in enumerate(energies):
        atoms = host.copy()
        atoms.append(Atom("Li", (1.9, 1.9, host.positions[:, 2].max() + 0.3 + k)))
        kept.append((energy, atoms, status))
    listed, _ = sites._named(host, found(host), kept, name="001", ion="Li", limit=0.8)
    told = {(s.status.code, round(s.energy_ev, 9)) for s in listed}
    assert told == {(status, energy - zero) for energy, status in energies}


def test_no_void_is_an_error():
    tight = SETTINGS.model_copy(update={"clearance_angstrom": 3.0})
    with pytest.raises(ValueError, match=r"bulk: no void with 3.0 Angstrom around it; lower sites.clearance_angstrom"):
        sites.relaxed_sites(
            structures.bulk(ANATASE, (1, 1, 1)), "Li", CALCULATOR, tight, name="bulk", metal_symbols=["Ti"], seed=1
        )
