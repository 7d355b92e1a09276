"""What may stand in the headline once saddles have been looked at: one site, a low hop and a high one to its copy."""

from dataclasses import replace

import pytest
from helpers.material import barrier

from mlip.core.status import Status
from mlip.stages.modes import result
from mlip.stages.modes.headline import proved_barriers
from mlip.stages.neb.stage import Barriers, bottlenecks_of
from mlip.stages.sites.network import Hop
from mlip.stages.sites.sites import Period, Site
from mlip.stages.sites.stage import SiteNetwork

SITE = Site(
    name="S1",
    host="001",
    ion="Li",
    layer="surface",
    position_angstrom=(1.9, 1.9, 6.0),
    depth_angstrom=0.0,
    energy_ev=0.0,
    coordination=4,
    multiplicity=1,
    status=Status("relaxed"),
    copies_angstrom=((1.9, 1.9, 6.0),),
    periods=(Period(direction="x", translation_angstrom=(3.8, 0.0, 0.0), copy=0, image=(1, 0, 0)),),
)
LOW, HIGH = barrier("001", "Li", "low", 0.3), barrier("001", "Li", "high", 0.5)


def hop(name):
    return Hop(
        name=name,
        host="001",
        ion="Li",
        initial="S1",
        final="S1",
        length_angstrom=3.8,
        vector_angstrom=(3.8, 0.0, 0.0),
        multiplicity=2,
        symmetric=True,
        edges=((0, 0, 1, 0, 0),),
    )


FOUND = SiteNetwork(sites=(SITE,), hops=(hop("low"), hop("high")), notes=(), equivalence=())
MOVED = Barriers(bands=(), barriers=(LOW, HIGH), bottlenecks=bottlenecks_of(FOUND.sites, FOUND.hops, (LOW, HIGH)))


def after(code, name="low"):
    """Barriers and the one bottleneck once the saddle of a hop has this status."""
    looked = result.HopModes(host="001", ion="Li", hop=name, status=Status(code, "why"))
    barriers, (path,) = proved_barriers(FOUND, MOVED, result.Modes(hops=(looked,), bulk=None))
    return {b.hop: b for b in barriers}, path


def test_low_hop_is_the_bottleneck_before():
    (path,) = MOVED.bottlenecks
    assert (path.limiting_hop, path.barrier_ev, str(path.status)) == ("low", 0.3, "resolved")


@pytest.mark.parametrize("code", [result.PROVED, result.NO_BAND])
def test_everything_stays_where_no_saddle_failed(code):
    barriers, path = after(code)
    assert (tuple(barriers.values()), (path,)) == (MOVED.barriers, MOVED.bottlenecks)
    assert proved_barriers(FOUND, MOVED, None) == (MOVED.barriers, MOVED.bottlenecks)


@pytest.mark.parametrize("code", [result.SECOND_ORDER, result.NOT_REFINED, result.NO_MINIMUM])
def test_failed_saddle_loses_its_barrier_and_may_be_lower(code):
    barriers, path = after(code)
    struck = barriers["low"]
    assert [struck.forward_ev, struck.reverse_ev, struck.forward_std_ev, struck.d3_forward_ev] == [None] * 4
    assert str(struck.status) == f"saddle not proved: {code}: why"
    assert barriers["high"] == HIGH
    assert (path.limiting_hop, path.barrier_ev) == ("high", 0.5)
    assert str(path.status).startswith("upper bound")


def test_saddle_to_other_sites_keeps_its_hop_from_being_taken_for_lower():
    barriers, path = after(result.OTHER_SITES, "high")
    assert barriers["high"].forward_ev is None
    assert barriers["high"].vacuum_ev == 0.5
    assert (path.limiting_hop, path.barrier_ev, str(path.status)) == ("low", 0.3, "resolved")
    _, other = after(result.OTHER_SITES, "low")
    assert str(other.status).startswith("upper bound")  # its band is below the hop that is left


def test_hop_without_a_barrier_keeps_its_own_status():
    bare = barrier("001", "Li", "low", None, status=Status("not converged", "0 of 2 members converged: 2 max steps"))
    looked = result.HopModes(host="001", ion="Li", hop="low", status=Status(result.SECOND_ORDER))
    barriers, _ = proved_barriers(FOUND, replace(MOVED, barriers=(bare, HIGH)), result.Modes(hops=(looked,), bulk=None))
    assert barriers[0] == bare


@pytest.mark.parametrize(("below", "bounded"), [(0.2, True), (0.04, False), (-0.2, False)])
def test_a_proved_saddle_below_the_bands_makes_an_upper_bound(below, bounded):
    """The low hop has 0.3 eV by its bands; the way over its proved saddle is no barrier, but may be the lowest."""
    height = LOW.forward_ev - below
    looked = result.HopModes(host="001", ion="Li", hop="low", status=Status(result.PROVED), forward_ev=height)
    (low, _), (path,) = proved_barriers(FOUND, MOVED, result.Modes(hops=(looked,), bulk=None))
    assert (low.forward_ev, path.limiting_hop, path.barrier_ev) == (0.3, "low", 0.3)
    if not bounded:
        assert path == MOVED.bottlenecks[0]
        return
    assert str(path.status) == "upper bound: low has a proved saddle below its bands"
    assert path.least_ev == height


def test_a_proved_saddle_below_the_bands_of_a_higher_hop_bounds_nothing():
    looked = result.HopModes(host="001", ion="Li", hop="high", status=Status(result.PROVED), forward_ev=0.35)
    _, (path,) = proved_barriers(FOUND, MOVED, result.Modes(hops=(looked,), bulk=None))
    assert (path.status.code, path.barrier_ev, path.least_ev) == ("resolved", 0.3, 0.3)
