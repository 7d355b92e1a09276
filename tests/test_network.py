from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest
from ase import Atom, Atoms
from helpers.lattice_potential import OxidePotential
from numpy.testing import assert_allclose
from pydantic import TypeAdapter

from mlip.atoms import structures, symmetry
from mlip.atoms.structures import Facet
from mlip.core.status import Status
from mlip.stages.rates import lattice
from mlip.stages.sites import naming, network, sites, stage
from mlip.stages.sites.network import Hop
from mlip.stages.sites.settings import ExtraHop, SitesSettings
from mlip.stages.sites.sites import Period, Site

ANATASE = structures.crystal("anatase")
SETTINGS = SitesSettings(fmax_ev_per_angstrom=0.02, host_rattles=1)
CALCULATOR = OxidePotential()


def ideal(host, points, name):
    """Sites at given points of an unrelaxed host, with nothing relaxed."""
    found = symmetry.operations(host, tolerance_angstrom=0.1, keep_top=structures.is_slab(host))
    listed, relaxed = [], {}
    for label, point in points.items():
        copies = symmetry.copies(host, found, np.array(point), tolerance_angstrom=0.6)
        atoms = host.copy()
        atoms.append(Atom("Li", point))
        layer = {"S": "surface", "U": "subsurface", "V": "bulk"}[label[0]]
        places = tuple(tuple(map(float, c)) for c in copies)
        ways = sites.neighbouring_copies(host, found, copies)
        listed.append(
            Site(
                name=label,
                host=name,
                ion="Li",
                layer=layer,
                position_angstrom=places[0],
                depth_angstrom=0.0,
                energy_ev=0.0,
                coordination=4,
                multiplicity=len(copies),
                status=Status("relaxed"),
                copies_angstrom=places,
                periods=ways,
            )
        )
        relaxed[label] = atoms
    return listed, relaxed


def chain(name, miller, repeat):
    cell = structures.slab(ANATASE, Facet(name=name, miller=miller, layers=4, repeat=repeat), bond_angstrom=2.35)
    host = sites.host_relaxed(cell, CALCULATOR, SETTINGS, seed=1)
    listed, relaxed = sites.relaxed_sites(host, "Li", CALCULATOR, SETTINGS, name=name, metal_symbols=["Ti"], seed=2)
    return host, listed, network.hop_network(host, listed, relaxed, SETTINGS, registry=True)


@pytest.fixture(scope="module")
def facet_001():
    return chain("001", (0, 0, 1), (2, 2))


def test_every_void_of_bulk_anatase_has_four_neighbours_at_307():
    host = structures.bulk(ANATASE, (2, 2, 1))
    listed, relaxed = ideal(host, {"V1": (0, 0, 4.84)}, "bulk")
    hops = [hop for hop, *_ in network.hop_network(host, listed, relaxed, SETTINGS, registry=True)]
    assert [h.name for h in hops] == ["bulk_oct"]  # the straight way to the void at a = 3.80 leads through oxygen
    (hop,) = hops
    assert (hop.multiplicity, hop.symmetric, len(hop.edges)) == (4, True, 32)  # 16 voids times 4 neighbours / 2
    assert_allclose(hop.length_angstrom, np.hypot(3.8 / 2, 9.68 / 4), rtol=1e-4)
    assert 3.0 < hop.length_angstrom < 3.1


def test_without_the_registry_hops_are_named_by_their_sites():
    host = structures.bulk(ANATASE, (2, 2, 1))
    listed, relaxed = ideal(host, {"V1": (0, 0, 4.84)}, "bulk")
    hops = [hop for hop, *_ in network.hop_network(host, listed, relaxed, SETTINGS, registry=False)]
    assert [h.name for h in hops] == ["bulk_V1-V1_3.08"]


def test_bulk_bottlenecks_are_the_one_hop_along_a_and_c():
    host = structures.bulk(ANATASE, (2, 2, 1))
    listed, relaxed = ideal(host, {"V1": (0, 0, 4.84)}, "bulk")
    hops = [hop for hop, *_ in network.hop_network(host, listed, relaxed, SETTINGS, registry=True)]
    paths = network.bottlenecks(listed, hops, {"bulk_oct": (0.5, 0.5)})
    assert [p.direction for p in paths] == ["x (a = 3.80 A)", "z (c = 9.68 A)"]
    assert [len(p.hops) for p in paths] == [2, 4]
    assert {(p.barrier_ev, p.limiting_hop, str(p.status)) for p in paths} == {(0.5, "bulk_oct", "resolved")}


def test_001_network_has_the_registry_names(facet_001):
    *_, hops = facet_001
    assert {"001_par", "001_perp_over", "001_in"} <= {h.name for h, *_ in hops}
    assert len({h.name for h, *_ in hops}) == len(hops)
    by_name = {h.name: h for h, *_ in hops}
    assert_allclose(np.abs(by_name["001_par"].vector_angstrom[:2]), [0, 3.8], atol=0.15)  # O2c rows run along y
    assert_allclose(np.abs(by_name["001_perp_over"].vector_angstrom[:2]), [3.8, 0], atol=0.15)
    assert (by_name["001_in"].initial, by_name["001_in"].final) == ("S1", "U1")
    assert not by_name["001_in"].symmetric


def test_end_points_share_the_host_and_have_equal_energies_on_symmetric_hops(facet_001):
    host, listed, hops = facet_001
    energies = {s.name: s.energy_ev for s in listed}
    for hop, initial, final in hops:
        assert (initial.numbers == final.numbers).all()
        assert (initial.numbers[:-1] == host.numbers).all()
        step = final.positions - initial.positions
        assert np.linalg.norm(step[:-1], axis=1).max() < 1.5
        assert_allclose(step[-1], hop.vector_angstrom, rtol=1e-9)
        ends = []
        for atoms in (initial, final):
            atoms.calc = CALCULATOR
            ends.append(atoms.get_potential_energy())
            assert np.abs(atoms.get_forces()).max() < 0.03
        difference = energies[hop.final] - energies[hop.initial]
        assert_allclose(ends[1] - ends[0], difference, rtol=0, atol=1e-6)


def test_results_survive_json(facet_001):
    _, listed, hops = facet_001
    for kind, result in ((Site, listed), (Hop, [h for h, *_ in hops])):
        adapter = TypeAdapter(list[kind])
        assert adapter.validate_json(adapter.dump_json(result)) == result


def test_hops_expanded_to_the_cell_leave_a_site_as_often_as_there_are_equivalent_ones(facet_001):
    host, listed, found = facet_001
    hops = [hop for hop, *_ in found]
    net = lattice.lattice(
        host.cell.array, [s for s in listed if s.name in {h.initial for h in hops} | {h.final for h in hops}], hops
    )
    assert [net.ways(k, net.ends[k, 0]) for k in range(len(hops))] == [hop.multiplicity for hop in hops]
    lengths = np.linalg.norm(net.steps, axis=1)
    assert_allclose(lengths, [hops[k].length_angstrom for k in net.hop], rtol=0, atol=SETTINGS.merge_angstrom)


def test_zigzag_of_100():
    _, listed, hops = chain("100", (1, 0, 0), (2, 1))
    names = {h.name: h for h, *_ in hops}
    assert {"100_010zz", "100_in"} <= set(names)
    assert_allclose(abs(names["100_010zz"].vector_angstrom[0]), 1.9, rtol=0.02)
    along_x = network.bottlenecks(listed, [h for h, *_ in hops], {"100_010zz": (0.3, 0.3)})[0]
    assert along_x.hops == ("100_010zz", "100_010zz")
    assert along_x.barrier_ev == 0.3


def test_a_host_rebuilt_between_the_ends_is_refused():
    host = structures.bulk(ANATASE, (2, 2, 1))
    listed, relaxed = ideal(host, {"V1": (0, 0, 4.84)}, "bulk")
    relaxed["V1"].positions[20] += (0, 1.6, 0)
    with pytest.raises(ValueError, match=r"bulk, hop V1 to V1: a host atom would move .* check these sites"):
        network.hop_network(host, listed, relaxed, SETTINGS, registry=True)


def test_an_end_in_another_order_of_atoms_is_put_back():
    host = structures.bulk(ANATASE, (2, 2, 1))
    listed, relaxed = ideal(host, {"V1": (0, 0, 4.84)}, "bulk")
    relaxed["V1"].positions[0] += (7.6, 0, 9.68)  # another lattice image of the same atom
    for _, initial, final in network.hop_network(host, listed, relaxed, SETTINGS, registry=True):
        assert_allclose(initial.positions[:-1], host.positions, rtol=0, atol=1e-6)
        assert_allclose(final.positions[:-1], host.positions, rtol=0, atol=1e-6)


def test_merged_off_centre_copies_keep_the_length_between_the_centres():
    host = structures.bulk(ANATASE, (2, 2, 1))
    listed, relaxed = ideal(host, {"V1": (0, 0, 4.74)}, "bulk")  # 0.1 below the centre, its mirror copy 0.1 above
    places = tuple(c for c in listed[0].copies_angstrom)
    assert len(places) == 16
    (hop, initial, final), *_ = network.hop_network(host, listed, relaxed, SETTINGS, registry=True)
    assert_allclose(hop.length_angstrom, 3.077, rtol=2e-3)
    assert_allclose(final.positions[-1] - initial.positions[-1], hop.vector_angstrom, rtol=1e-12)


def test_off_centre_copies_far_apart_are_sites_of_their_own():
    host = structures.bulk(ANATASE, (2, 2, 1))
    listed, relaxed = ideal(host, {"V1": (0, 0, 4.34)}, "bulk")  # as five-fold Mg: 0.5 from the centre
    hops = {h.name: h for h, *_ in network.hop_network(host, listed, relaxed, SETTINGS, registry=True)}
    assert set(hops) == {"bulk_V1-V1_1.00", "bulk_oct"}
    assert [hops[n].multiplicity for n in ("bulk_V1-V1_1.00", "bulk_oct")] == [1, 2]
    paths = network.bottlenecks(listed, list(hops.values()), {"bulk_oct": (0.4, 0.4)})
    assert str(paths[0].status) == "resolved"  # along a the ion stays in the lower wells
    assert str(paths[1].status) == "not resolved: no converged barrier for bulk_V1-V1_1.00"


def test_a_hop_past_another_site_is_left_out_and_high_sites_take_no_part():
    host = Atoms("TiO2", [[0, 0, 0], [0.4, 0.9, 2], [3, 18, 1.3]], cell=[7, 20, 5], pbc=True)
    points = {"V1": (0.5, 10, 2.5), "V2": (2.0, 10.3, 2.5), "V3": (3.5, 10, 2.5)}
    settings = SETTINGS.model_copy(update={"max_hop_angstrom": 3.1, "symmetry_angstrom": 1e-4})
    listed, relaxed = ideal(host, points, "bulk")

    def pairs(chosen):
        return {(h.initial, h.final) for h, *_ in network.hop_network(host, chosen, relaxed, settings, registry=True)}

    assert pairs(listed) == {("V1", "V2"), ("V2", "V3")}
    assert pairs([listed[0], replace(listed[1], energy_ev=2.0), listed[2]]) == {("V1", "V3")}


def test_a_hop_that_is_asked_for_is_taken_past_a_site_and_beyond_the_longest():
    host = Atoms("TiO2", [[0, 0, 0], [0.4, 0.9, 2], [3, 18, 1.3]], cell=[7, 20, 5], pbc=True)
    points = {"V1": (0.5, 10, 2.5), "V2": (2.0, 10.3, 2.5), "V3": (3.5, 10, 2.5)}
    listed, relaxed = ideal(host, points, "bulk")

    def lengths(**asked):
        extra = ExtraHop(**{"host": "bulk", "ion": "Li", "sites": ("V3", "V1"), "length_angstrom": 3.1} | asked)
        short = {"max_hop_angstrom": 2.0, "symmetry_angstrom": 1e-4, "extra_hops": (extra,)}
        settings = SETTINGS.model_copy(update=short)
        hops = [hop for hop, *_ in network.hop_network(host, listed, relaxed, settings, registry=True)]
        return {(h.initial, h.final): round(h.length_angstrom, 2) for h in hops}

    usual = {("V1", "V2"): 1.53, ("V2", "V3"): 1.53}
    assert lengths() == usual | {("V1", "V3"): 3.0}
    assert lengths(length_angstrom=3.5) == lengths(ion="Mg") == lengths(host="001") == usual


def test_an_extra_hop_that_no_sites_have_is_refused_with_those_that_are_there():
    host = structures.bulk(ANATASE, (2, 2, 1))
    listed, relaxed = ideal(host, {"V1": (0, 0, 4.84)}, "bulk")
    hops = [hop for hop, *_ in network.hop_network(host, listed, relaxed, SETTINGS, registry=True)]
    there = ExtraHop(host="bulk", ion="Li", sites=("V1", "V1"), length_angstrom=3.1)
    stage.refuse_unknown_hops([there], hops)
    wrong = ExtraHop(host="bulk", ion="Li", sites=("V1", "V2"), length_angstrom=2.0)
    with pytest.raises(ValueError, match=r"sites.extra_hops.1: Li on bulk has no hop V1 to V2 of 2 .*: V1 to V1 3.0"):
        stage.refuse_unknown_hops([there, wrong], hops)
    with pytest.raises(ValueError, match=r"extra_hops.0: Mg on bulk .*: none"):
        stage.refuse_unknown_hops([wrong.model_copy(update={"ion": "Mg"})], hops)


def test_row_direction_of_a_split_row_in_a_short_cell():
    cell = structures.slab(ANATASE, Facet(name="001", miller=(0, 0, 1), layers=4, repeat=(2, 1)), bond_angstrom=2.35)
    top = cell.positions[:, 2] > cell.positions[:, 2].max() - 0.1
    cell.positions[top] += (0, 0.25, 0)  # one bond of 1.7, one of 2.2 Angstrom
    assert_allclose(np.abs(naming.row_direction(cell)), [0, 1], rtol=0, atol=1e-9)


# hand-made networks: one surface site per cell of a slab, one void below it


def hand_made():
    ways = (
        Period(direction="x (a = 3.80 A)", translation_angstrom=(3.8, 0.0, 0.0), copy=0, image=(1, 0, 0)),
        Period(direction="y (b = 3.80 A)", translation_angstrom=(0.0, 3.8, 0.0), copy=0, image=(0, 1, 0)),
    )
    surface = Site(
        name="S1",
        host="001",
        ion="Li",
        layer="surface",
        position_angstrom=(1.9, 1.9, 6),
        depth_angstrom=0,
        energy_ev=0.0,
        coordination=4,
        multiplicity=1,
        status=Status("relaxed"),
        copies_angstrom=((1.9, 1.9, 6),),
        periods=ways,
    )
    below = Site(
        name="U1",
        host="001",
        ion="Li",
        layer="subsurface",
        position_angstrom=(0.0, 1.9, 3),
        depth_angstrom=2,
        energy_ev=0.6,
        coordination=5,
        multiplicity=1,
        status=Status("relaxed"),
        copies_angstrom=((0.0, 1.9, 3),),
    )

    def hop(name, initial, final, *edges):
        return Hop(
            name=name,
            host="001",
            ion="Li",
            initial=initial,
            final=final,
            length_angstrom=3.8,
            vector_angstrom=(3.8, 0, 0),
            multiplicity=len(edges),
            symmetric=initial == final,
            edges=edges,
        )

    hops = [
        hop("001_par", "S1", "S1", (0, 0, 0, 1, 0)),
        hop("001_perp_over", "S1", "S1", (0, 0, 1, 0, 0)),
        hop("001_in", "S1", "U1", (0, 0, 0, 0, 0), (0, 0, 1, 0, 0)),
    ]
    return [surface, below], hops


def paths(barriers, **more):
    listed, hops = hand_made()
    return {p.direction[0]: p for p in network.bottlenecks(listed, hops, barriers, **more)}


def test_the_lower_way_through_the_subsurface_is_the_bottleneck():
    out = paths({"001_par": (1.8, 1.8), "001_perp_over": (1.7, 1.7), "001_in": (1.0, 0.4)})
    assert out["x"].hops == ("001_in", "001_in")
    assert (out["x"].barrier_ev, out["x"].limiting_hop, str(out["x"].status)) == (1.0, "001_in", "resolved")
    assert out["x"].translation_angstrom == (3.8, 0.0, 0.0)
    assert (out["y"].hops, out["y"].barrier_ev) == (("001_par",), 1.8)


def test_the_direct_hop_wins_when_it_is_lower():
    out = paths({"001_par": (0.4, 0.4), "001_perp_over": (0.5, 0.5), "001_in": (1.0, 0.4)})
    assert (out["x"].hops, out["x"].barrier_ev) == (("001_perp_over",), 0.5)


def test_a_hop_without_a_barrier_leaves_the_path_unresolved():
    out = paths({"001_perp_over": (1.7, 1.7), "001_in": (1.0, 0.4), "001_par": None})
    assert out["y"].barrier_ev is None
    assert str(out["y"].status) == "not resolved: no converged barrier for 001_par"
    assert (
        str(out["x"].status) == "resolved"
    )  # the way through the subsurface is known, and the par hop does not lead there


def test_a_hop_without_a_barrier_that_may_be_lower_makes_an_upper_bound():
    out = paths({"001_par": (0.4, 0.4), "001_in": (1.0, 0.4)})
    assert (out["x"].barrier_ev, out["x"].limiting_hop) == (1.0, "001_in")
    assert str(out["x"].status) == "upper bound: no converged barrier for 001_perp_over, which could be lower"


def test_a_hop_on_which_the_ion_leaves_gets_no_barrier_but_is_not_taken_to_be_lower():
    known = {"001_in": (1.0, 0.4)}
    out = paths(known, vacuum={"001_perp_over": 2.5, "001_par": 2.6})
    assert (out["x"].barrier_ev, str(out["x"].status)) == (1.0, "resolved")
    assert (out["y"].barrier_ev, out["y"].least_ev) == (None, 2.6)
    assert str(out["y"].status) == "not resolved: no converged barrier for 001_par"
    assert paths(known, vacuum={"001_perp_over": 0.9})["x"].status.code == "upper bound"
    assert paths(known)["y"].least_ev == 0.0


def test_no_connection_is_said():
    listed, hops = hand_made()
    (first, *_) = network.bottlenecks(listed, hops[:1], {"001_par": (0.4, 0.4)})
    assert str(first.status).startswith("not resolved: no chain of hops leads to the next copy")


def test_barriers_count_from_the_start_site_even_when_a_void_is_lower():
    (surface, below), hops = hand_made()
    high = replace(surface, energy_ev=0.3)
    low = replace(below, energy_ev=0.0)
    out = network.bottlenecks([high, low], hops, {"001_in": (0.7, 1.0), "001_par": None})
    assert_allclose(out[0].barrier_ev, 0.7, rtol=1e-12)


def test_a_path_of_several_hops_is_as_high_as_its_highest_saddle_above_the_start():
    """From 0.1 eV down over 0.1 + 1.0 to the void at 0.6, there over 0.6 + 0.7 = 1.3: 1.2 eV above the start."""
    (surface, below), hops = hand_made()
    hops.append(replace(hops[0], name="001_below", initial="U1", final="U1"))
    listed = [replace(surface, energy_ev=0.1), below]
    _, along_y = network.bottlenecks(
        listed, hops, {"001_par": (1.8, 1.8), "001_in": (1.0, 0.5), "001_below": (0.7, 0.7)}
    )
    assert (along_y.hops, along_y.limiting_hop) == (("001_in", "001_below", "001_in"), "001_below")
    assert_allclose((along_y.barrier_ev, along_y.least_ev), 1.2, rtol=1e-12, atol=0)


def unlike(begin, over, *, barrier=None, vacuum=MappingProxyType({})):
    """The path along x from a site at 0.1 eV: one hop between it and the void at 0.6 eV, another over the surface."""
    (surface, below), (_, across, down) = hand_made()
    if begin == "U1":  # the same edges from the other end
        down = replace(down, initial="U1", final="S1", edges=((0, 0, 0, 0, 0), (0, 0, -1, 0, 0)))
    known = {"001_perp_over": (over, over), "001_in": barrier}
    return network.bottlenecks([replace(surface, energy_ev=0.1), below], [across, down], known, vacuum=vacuum)[0]


@pytest.mark.parametrize(("begin", "barrier"), [("S1", (1.0, 0.5)), ("U1", (0.5, 1.0))])
def test_a_hop_has_its_saddle_above_the_site_where_it_begins(begin, barrier):
    """At 1.1 eV in either sense: 1.0 eV above the start."""
    out = unlike(begin, 1.7, barrier=barrier)
    assert out.hops == ("001_in", "001_in")
    assert_allclose(out.barrier_ev, 1.0, rtol=1e-12, atol=0)


@pytest.mark.parametrize("begin", ["S1", "U1"])
def test_a_hop_without_a_barrier_is_at_least_as_high_as_the_higher_of_its_ends(begin):
    """0.6 eV, 0.5 above the start: it may undercut 0.55 and not 0.45."""
    high, low = unlike(begin, 0.55), unlike(begin, 0.45)
    assert (high.status.code, low.status.code) == ("upper bound", "resolved")
    assert_allclose((high.barrier_ev, high.least_ev), (0.55, 0.5), rtol=1e-12, atol=0)
    assert_allclose((low.barrier_ev, low.least_ev), 0.45, rtol=1e-12, atol=0)


def test_a_way_over_the_vacuum_counts_from_the_site_where_it_begins():
    """0.9 above the void at 0.6 is 1.4 above the start."""
    high, low = (unlike("U1", over, vacuum={"001_in": 0.9}) for over in (1.45, 1.35))
    assert (high.status.code, low.status.code) == ("upper bound", "resolved")
    assert_allclose((high.least_ev, low.least_ev), (1.4, 1.35), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("vacuum", "least", "code"), [(0.3, 0.3, "upper bound"), (0.9, 0.5, "resolved")])
def test_a_way_beside_a_barrier_lowers_what_is_possible_and_never_raises_it(vacuum, least, code):
    out = paths({"001_perp_over": (0.5, 0.5), "001_in": (1.0, 0.4)}, vacuum={"001_perp_over": vacuum})["x"]
    assert (out.barrier_ev, out.least_ev, out.status.code) == (0.5, least, code)


def test_a_site_from_which_the_ion_left_is_no_start():
    (surface, below), hops = hand_made()
    gone = replace(surface, name="S2", energy_ev=-0.5, status=Status("desorbed"))
    known = {"001_perp_over": (0.5, 0.5)}
    out = network.bottlenecks([gone, surface, below], hops, known)[0]
    assert (out.start, out.barrier_ev) == ("S1", 0.5)
    assert network.bottlenecks([gone, below], [], known) == []  # the void alone is no start either


def test_a_lower_site_that_is_not_converged_is_the_start_and_no_higher_one_takes_its_place():
    (surface, below), hops = hand_made()
    rough = replace(surface, name="S2", energy_ev=-0.2, status=Status("not converged"))
    out = network.bottlenecks([rough, surface, below], hops, {"001_perp_over": (0.5, 0.5)})[0]
    assert (out.start, out.barrier_ev) == ("S2", None)
    assert str(out.status) == "not resolved: the lowest site S2 is not converged; raise sites.max_steps"


def test_an_unconverged_start_is_said():
    (surface, below), _ = hand_made()
    (first, *_) = network.bottlenecks([replace(surface, status=Status("not converged")), below], [], {})
    assert str(first.status) == "not resolved: the lowest site S1 is not converged; raise sites.max_steps"


@pytest.mark.parametrize("aside", [0.0, 0.25, 0.38])
def test_hops_that_leave_a_site_are_counted_from_all_copies_also_where_it_is_off_centre(aside):
    """Merged copies stand for mirrored positions: one of two equivalent ways may look longer than the limit."""
    host = structures.slab(
        structures.crystal("anatase"), Facet(name="001", miller=(0, 0, 1), layers=4, repeat=(2, 2)), bond_angstrom=2.35
    )
    found, settings = symmetry.operations(host, tolerance_angstrom=0.1, keep_top=True), SitesSettings()
    starts = sites.candidates(host, "Li", settings, metal_symbols=["Ti"])
    one = host.copy()
    one.append(Atom("Li", starts[starts[:, 2].argmax()] + [aside, 0.0, 0.0]))
    placed, relaxed = sites._named(host, found, [(0.0, one, "relaxed")], name="001", ion="Li", limit=0.8)
    hops = {hop.name: hop for hop, *_ in network.hop_network(host, placed, relaxed, settings, registry=True)}
    for hop in hops.values():
        assert hop.multiplicity == 2 * len(hop.edges) / placed[0].multiplicity
    assert hops["001_perp_over"].multiplicity == 2
