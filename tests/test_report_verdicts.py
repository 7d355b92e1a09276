"""Verdicts by their rules, the uncertainty budget, and no number without a status that allows it."""

import math
from dataclasses import replace

import pytest
from helpers.material import FOLDER, RESOLVED, SETTINGS, barrier, hop, host, path, results, site
from numpy.testing import assert_allclose

from mlip.core.status import Status
from mlip.literature import references
from mlip.stages.report import page, verdicts


@pytest.fixture(scope="module")
def published():
    loaded = references.load(FOLDER)
    return {
        key: loaded.value(f"barrier-{key}") for key in ("Li-bulk", "Mg-bulk", "Li-001", "Mg-001", "Li-100", "Mg-100")
    }


def one(published, value, *, std=0.01, d3=-0.005, status=RESOLVED, more=(), **changes):
    """The headline of Li (001) where its only hop has this barrier."""
    found = replace(
        results(),
        hops=(hop("001", "Li", "001_par", "S1", "S1"),),
        barriers=(barrier("001", "Li", "001_par", value, std=std, d3=d3),),
        bottlenecks=(path("001", "Li", "S1", value, ("001_par",), status=status), *more),
    )
    return verdicts.headline(published["Li-001"], replace(found, **changes), SETTINGS)


@pytest.mark.parametrize(
    ("value", "verdict", "reason"),
    [
        (0.381, "agrees", "within 0.05 eV"),
        (0.435, "agrees", "within 0.05 eV"),
        (0.336, "agrees", "within 0.05 eV"),
        (0.44, "differs", "ours is 0.054 eV higher (tolerance 0.050 eV)"),
        (0.30, "differs", "ours is 0.09 eV lower (tolerance 0.05 eV)"),
    ],
)
def test_tolerance(published, value, verdict, reason):
    row = one(published, value)
    assert (row.verdict, row.reason.split(";")[0]) == (verdict, reason)
    assert_allclose(row.difference_ev, value - 0.005 - 0.381, rtol=1e-9, atol=0)


def test_two_sigma_widens_the_tolerance(published):
    row = one(published, 0.44, std=0.03)
    assert row.verdict == "agrees"
    assert_allclose(row.two_sigma_ev, 2 * math.hypot(0.045, 0.005), rtol=1e-9, atol=0)


def test_a_difference_beyond_two_sigma_counts_however_uncertain(published):
    row = one(published, 1.06, std=0.05)
    assert row.verdict == "differs"
    assert row.two_sigma_ev > SETTINGS.max_uncertainty_ev


def test_too_uncertain_is_shown_with_its_error_and_no_difference(published):
    row = one(published, 0.381, std=0.05)
    assert row.verdict == "not resolved"
    assert row.reason == "2 sigma of 0.15 eV exceeds the limit of 0.10 eV"
    assert (row.mlip_ev, row.difference_ev) == (0.381, None)
    assert_allclose(row.two_sigma_ev, 0.15, rtol=0.01, atol=0)


def test_no_uncertainty_gives_no_number(published):
    row = one(published, 0.381, std=None, path_error_ev=None)
    assert row.verdict == "not resolved"
    assert "no uncertainty" in row.reason
    assert row.mlip_ev is None


@pytest.mark.parametrize("value", [0.381, 1.5])
def test_without_a_label_of_the_crystal_there_is_no_verdict(published, value):
    row = one(published, value, labelled=False)
    assert (row.verdict, row.difference_ev) == ("not resolved", None)
    assert "no label of this crystal" in row.reason


def test_held_out_path_serves_where_the_committee_has_one_member(published):
    row = one(published, 0.381, std=None)
    assert row.verdict == "agrees"
    assert_allclose(row.budget.total_ev, math.hypot(0.012, 0.005), rtol=1e-9, atol=0)


def test_held_out_path_is_a_floor_of_the_model_error(published):
    row = one(published, 0.381, std=0.001, path_error_ev=0.03)
    assert_allclose(row.budget.total_ev, math.hypot(0.03, 0.005), rtol=1e-9, atol=0)


@pytest.mark.parametrize(("calibration", "factor"), [(None, 1.0), (0.5, 1.0), (2.0, 2.0)])
def test_calibration_never_shrinks_the_spread(calibration, factor):
    found = replace(results(), calibration=calibration)
    parts = verdicts.budget(found.bottlenecks[0], found, d3_known=True)
    assert_allclose(parts.committee_ev, 0.01 * factor, rtol=1e-12, atol=0)


def test_unknown_dispersion_adds_to_the_uncertainty(published):
    row = one(published, 0.381, d3=None)
    assert row.d3_ev is None
    assert "D3 at the saddle not known" in row.reason
    assert_allclose(row.budget.total_ev, math.sqrt(0.015**2 + 0.005**2 + 0.02**2), rtol=1e-9, atol=0)


def test_dispersion_inside_the_potential_is_not_added(published):
    row = one(published, 0.381, d3=None, target="pbe-d3")
    assert row.d3_ev is None
    assert row.budget.dispersion_ev == 0.0
    assert_allclose(row.difference_ev, 0.0, rtol=0, atol=1e-12)


def test_not_calculated_and_not_converged(published):
    nothing = verdicts.headline(published["Mg-100"], results(), SETTINGS)
    assert (nothing.verdict, nothing.reason) == ("not resolved", "no path was calculated for this facet and ion")
    failed = verdicts.headline(published["Mg-bulk"], results(), SETTINGS)
    assert (failed.verdict, failed.mlip_ev) == ("not resolved", None)
    assert failed.reason == "no converged barrier for bulk_oct"


def test_literal_slab_is_another_model(published):
    row = one(published, 0.381, hosts=(host("001", note="every Ti is 5-fold: no bulk-like metal inside the slab"),))
    assert row.verdict == "not comparable"
    assert "no bulk-like metal" in row.reason
    assert row.difference_ev is None


def test_subsurface_start_is_not_comparable(published):
    row = verdicts.headline(published["Li-100"], results(), SETTINGS)
    assert row.verdict == "not comparable"
    assert "subsurface site U1" in row.reason


def test_upper_bound_above_the_published_value(published):
    row = one(published, 0.8, status=Status("upper bound", "no converged barrier for 001_in, which could be lower"))
    assert (row.verdict, row.mlip_ev) == ("not resolved", None)
    assert "001_in" in row.reason


def test_upper_bound_below_the_published_value_differs(published):
    row = one(published, 0.2, status=Status("upper bound", "no converged barrier for 001_in, which could be lower"))
    assert row.verdict == "differs"
    assert "upper bound" in row.reason


def test_lowest_of_the_resolved_directions(published):
    other = path("001", "Li", "S1", 0.9, ("001_par",), direction="y (b = 3.80 A)")
    row = one(published, 0.39, more=(other,))
    assert_allclose(row.mlip_ev, 0.39, rtol=1e-12, atol=0)
    assert row.direction.startswith("x")


def test_the_lowest_path_of_the_facet_and_ion_decides_wherever_it_stands(published):
    """Neither the first nor the last of three; lower ones of another facet or ion do not count."""
    ways = [path("001", "Li", "S1", ev, ("001_par",), direction=name) for ev, name in ((0.9, "x"), (0.39, "y"))]
    ways += [path("100", "Li", "S1", 0.1, ("001_par",)), path("001", "Mg", "S1", 0.2, ("001_par",))]
    ways += [path("001", "Li", "S1", 0.6, ("001_par",), direction="xy")]
    row = one(published, 0.39, bottlenecks=tuple(ways))
    assert (row.direction, row.mlip_ev, row.decided_ev) == ("y", 0.39, 0.39 - 0.005)
    assert_allclose(row.difference_ev, 0.39 - 0.005 - 0.381, rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    ("along_x", "along_y", "lowest", "verdict", "without"),
    [
        ((0.36, 0.09), (0.39, -0.02), 0.37, "agrees", "agrees"),  # 0.45 along x would differ
        ((0.33, -0.10), (0.34, -0.16), 0.18, "differs", "differs"),
        ((0.45, None), (0.46, -0.06), 0.40, "agrees", "differs"),  # without D3 the lowest is 0.45 along x
    ],
)
def test_the_lowest_direction_is_the_lowest_with_d3(published, along_x, along_y, lowest, verdict, without):
    ways = {"001_par": along_x, "001_perp": along_y}
    found = replace(
        results(),
        hops=tuple(hop("001", "Li", name, "S1", "S1") for name in ways),
        barriers=tuple(barrier("001", "Li", name, ev, std=0.01, d3=d3) for name, (ev, d3) in ways.items()),
        bottlenecks=tuple(path("001", "Li", "S1", ev, (name,)) for name, (ev, _) in ways.items()),
    )
    row = verdicts.headline(published["Li-001"], found, SETTINGS)
    assert_allclose(row.decided_ev, lowest, rtol=1e-12, atol=0)
    assert (row.verdict, row.verdict_without_d3) == (verdict, without)


def test_a_direction_without_barrier_is_told(published):
    other = path("001", "Li", "S1", None, (), status=Status("not resolved", "no converged barrier for y"))
    assert "1 of 2 directions not resolved" in one(published, 0.39, more=(other,)).reason
    assert one(published, 0.8, more=(other,)).verdict == "not resolved"


def test_a_direction_that_cannot_be_lower_does_not_make_a_bound(published):
    other = path("001", "Li", "S1", None, (), status=Status("not resolved", "no converged barrier for y"))
    assert one(published, 0.8, more=(replace(other, least_ev=2.5),)).verdict == "differs"
    assert one(published, 0.8, more=(replace(other, least_ev=0.7),)).verdict == "not resolved"


def test_a_higher_direction_that_may_be_lower_makes_a_bound(published):
    other = path("001", "Li", "S1", 0.9, ("001_par",), status=Status("upper bound", "no converged barrier for y"))
    assert one(published, 0.8, more=(replace(other, least_ev=0.1),)).verdict == "not resolved"
    assert one(published, 0.8, more=(replace(other, least_ev=0.85),)).verdict == "differs"


def test_spread_of_a_path_joins_its_steps_up_to_the_limiting_one():
    hops = (hop("001", "Li", "in", "S1", "U1", symmetric=False), hop("001", "Li", "under", "U1", "U1"))
    steps = (
        barrier("001", "Li", "in", 0.8, 0.2, std=0.03, symmetric=False),
        barrier("001", "Li", "under", 0.4, std=0.04),
    )
    found = replace(results(), hops=hops, barriers=steps, sites=(site("001", "Li", "S1"), site("001", "Li", "U1", 0.6)))
    way = path("001", "Li", "S1", 1.0, ("in", "under", "in"), limiting="under")
    assert_allclose(verdicts.spread(way, found), 0.05, rtol=1e-9, atol=0)
    assert verdicts.path_d3(way, found) is None  # D3 of the second saddle against the start is not known


NO_MODEL = {"hosts": (host("001", note="every Ti is 5-fold"),)}
FROM_BELOW = {
    "hops": (hop("001", "Li", "001_par", "U1", "U1"),),
    "bottlenecks": (path("001", "Li", "U1", 0.381, ("001_par",)),),
}
UNKNOWN = {"std": None, "path_error_ev": None}
MAY_BE_LOWER = {"std": 0.05, "status": Status("upper bound", "no converged barrier for 001_in, which could be lower")}


@pytest.mark.parametrize(
    ("value", "changes", "verdict", "reason"),
    [
        (0.381, NO_MODEL | FROM_BELOW, "not comparable", "the slab is no model of a surface: every Ti is 5-fold"),
        (0.381, NO_MODEL | UNKNOWN, "not comparable", "the slab is no model of a surface: every Ti is 5-fold"),
        (0.381, FROM_BELOW | UNKNOWN, "not comparable", "the path starts from the subsurface site U1"),
        (0.381, UNKNOWN | {"labelled": False}, "not resolved", "no uncertainty: neither a committee spread"),
        (1.5, UNKNOWN, "not resolved", "no uncertainty: neither a committee spread"),
        (0.8, MAY_BE_LOWER, "not resolved", "only an upper bound, above the published value"),
    ],
)
def test_where_two_rules_apply_the_first_one_speaks(published, value, changes, verdict, reason):
    """In the last case 2 sigma is 0.15 eV, beyond the limit of 0.10 eV, and 0.414 eV lie between the barriers."""
    row = one(published, value, **changes)
    assert (row.verdict, row.reason[: len(reason)], row.difference_ev) == (verdict, reason, None)


def walked(hops, *, limiting, **changed):
    """Spread, D3 and uncertainty of a path from U1, by hops whose spread is not the same in both senses.

    `in` leads from S1 to U1, `par` from S1 to S2 and `up` from S2 to U1.
    """
    spreads = {"in": (0.12, 0.04), "par": (0.03, 0.09), "up": (0.20, 0.02)} | changed
    ends = {"in": ("S1", "U1"), "par": ("S1", "S2"), "up": ("S2", "U1")}
    found = replace(
        results(),
        hops=tuple(hop("001", "Li", name, *ends[name], symmetric=False) for name in spreads),
        barriers=tuple(
            replace(barrier("001", "Li", name, 0.5, symmetric=False), forward_std_ev=ahead, reverse_std_ev=back)
            for name, (ahead, back) in spreads.items()
        ),
    )
    way = path("001", "Li", "U1", 0.5, hops, limiting=limiting)
    return verdicts.spread(way, found), verdicts.path_d3(way, found), verdicts.budget(way, found, d3_known=True)


def test_a_step_that_is_walked_backward_has_the_spread_of_its_reverse():
    """Back over `in` (0.04 eV) and on over `par` (0.03 eV): 0.05 eV, times the calibration of 1.5."""
    spread_ev, d3_ev, parts = walked(("in", "par", "up"), limiting="par")
    assert_allclose(spread_ev, 0.05, rtol=1e-9, atol=0)
    assert_allclose(parts.total_ev, math.hypot(1.5 * 0.05, 0.005), rtol=1e-9, atol=0)
    assert d3_ev is None
    assert walked(("in", "par", "up"), limiting="par", par=(None, 0.09))[0] is None


def test_a_limiting_step_backward_from_a_copy_of_the_start_has_its_own_spread_alone():
    """Over `up` and back to a copy of U1, then back over `in`: only that step enters, and its D3 is not known."""
    spread_ev, d3_ev, _ = walked(("up", "up", "in", "in"), limiting="in")
    assert (spread_ev, d3_ev) == (0.04, None)


def test_dft_stands_beside_its_own_hop_only(published):
    row = verdicts.headline(published["Li-bulk"], results(), SETTINGS)
    assert_allclose(row.dft_ev, 0.516 - 0.004, rtol=1e-12, atol=0)
    assert row.dft_hop == "bulk_oct"
    assert verdicts.headline(published["Li-001"], results(), SETTINGS).dft_ev is None


@pytest.mark.parametrize(
    ("value", "d3", "verdict", "without"),
    [(0.436, -0.01, "agrees", "differs"), (0.42, 0.02, "differs", "agrees"), (0.40, -0.01, "agrees", "agrees")],
)
def test_a_verdict_that_d3_decides_says_so(published, value, d3, verdict, without):
    row = one(published, value, d3=d3)
    assert (row.verdict, row.verdict_without_d3) == (verdict, without)
    assert row.reason.endswith(f"; without D3: {without}") is (verdict != without)
    (said,) = page._dispersion([row])
    assert said.endswith(
        "no verdict changes." if verdict == without else "the verdicts of Li (001) would be others (see the reasons)."
    )


@pytest.mark.parametrize("changes", [{"d3": None}, {"target": "pbe-d3"}])
def test_where_d3_is_not_known_or_inside_the_potential_there_is_one_verdict(published, changes):
    row = one(published, 0.40, **changes)
    assert row.verdict_without_d3 is None
    assert "without D3" not in row.reason
    assert page._dispersion([row]) == ()
