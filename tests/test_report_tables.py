"""Rows beside the headline: hops, paths, chance matches, orders, quantities without a value, DFT barriers."""

import re
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from helpers.material import FOLDER, SETTINGS, barrier, path, refined, results
from numpy.testing import assert_allclose

from mlip.core.report import DASH
from mlip.core.status import Status
from mlip.literature import references
from mlip.stages.dataset.card import LabelledPath
from mlip.stages.energetics.energetics import Adsorption
from mlip.stages.refine import barriers
from mlip.stages.refine.barriers import DftBarrier
from mlip.stages.report import sections, tables


@pytest.fixture(scope="module")
def loaded():
    return references.load(FOLDER)


@pytest.fixture(scope="module")
def rows(loaded):
    return tables.rows(results(), loaded, SETTINGS)


def test_every_hop_has_a_row_and_only_converged_ones_a_barrier(rows):
    found = {(r.host, r.ion, r.hop): r for r in rows.hops}
    assert len(found) == 6
    failed = found["bulk", "Mg", "bulk_oct"]
    assert failed.status.detail == "0 of 2 members converged: 2 max steps"
    assert (failed.forward_ev, failed.reverse_ev, failed.std_ev, failed.asymmetry_ok) == (None, None, None, None)
    good = found["bulk", "Li", "bulk_oct"]
    assert good.asymmetry_ok is True
    assert_allclose(good.dft_ev, 0.516, rtol=1e-12, atol=0)
    assert "0.20 eV/" in good.dft_note


def test_number_in_a_barrier_without_convergence_is_dropped(loaded):
    odd = barrier(
        "bulk", "Mg", "bulk_oct", 0.7, status=Status("not converged", "1 of 2 members converged: 1 out of domain")
    )
    found = tables.rows(replace(results(), barriers=(odd,)), loaded, SETTINGS)
    assert all(r.forward_ev is None for r in found.hops)
    assert all(r.looked_at == 0 and r.mlip_ev is None for r in found.nearest)


def test_hop_never_calculated(loaded):
    found = tables.rows(replace(results(), barriers=()), loaded, SETTINGS)
    assert {str(r.status) for r in found.hops} == {"not calculated"}


def test_asymmetric_barrier_of_a_symmetric_hop_is_flagged(loaded):
    off = replace(barrier("bulk", "Li", "bulk_oct", 0.5), asymmetry_ev=0.02)
    found = tables.rows(replace(results(), barriers=(off,)), loaded, SETTINGS)
    assert next(r for r in found.hops if r.host == "bulk" and r.ion == "Li").asymmetry_ok is False


def test_equal_by_construction_is_no_check(loaded):
    half = replace(barrier("bulk", "Li", "bulk_oct", 0.5), asymmetry_ev=None, mirrored=True)
    found = tables.rows(replace(results(), barriers=(half,)), loaded, SETTINGS)
    row = next(r for r in found.hops if r.host == "bulk" and r.ion == "Li")
    assert (row.mirrored, row.asymmetry_ok) == (True, None)
    assert any("by construction" in str(cell) for line in sections.hops_table(found.hops).rows for cell in line)


def test_nearest_looks_at_both_senses_and_counts(rows):
    near = next(r for r in rows.nearest if (r.ion, r.facet) == ("Li", "(001)"))
    assert (near.hop, near.sense, near.looked_at) == ("001_in", "reverse", 3)
    width = 1.7123 - 0.3812
    assert_allclose(near.chance, 1 - (1 - 0.1 / width) ** 3, rtol=1e-9, atol=0)


def test_orders(rows):
    found = {r.statement: r for r in rows.order}
    assert len(found) == 9
    assert found["Li bulk above Li (001)"].outcome == "reversed"
    assert found["Mg bulk above Li bulk"].outcome == "not resolved"
    assert found["Mg bulk above Li bulk"].difference_ev is None
    assert_allclose(found["Mg (001) above Li (001)"].published_difference_ev, 0.094, rtol=1e-9, atol=0)


def test_contrast_within_uncertainty(loaded):
    close = results()
    ways = tuple(replace(p, barrier_ev=0.49) if p.host == "100" else p for p in close.bottlenecks)
    found = tables.rows(replace(close, bottlenecks=ways), loaded, SETTINGS)
    row = next(r for r in found.order if r.statement == "Li bulk above Li (100)")
    assert row.outcome == "within uncertainty"
    assert abs(row.sigmas) < 2


def compared(rows, high_ev, low_ev, *, errors=(0.03, 0.04)):
    """The order of Li in bulk and on (100), with these barriers that the verdicts rest on and their 2 sigma."""
    by_id = {h.reference: h for h in rows.headline}
    pair = zip(("barrier-Li-bulk", "barrier-Li-100"), (high_ev, low_ev), errors, (0.9, 0.1), strict=True)
    high, low = (replace(by_id[n], decided_ev=ev, decided_two_sigma_ev=two, mlip_ev=own) for n, ev, two, own in pair)
    return tables._compare(high, low)


@pytest.mark.parametrize(
    ("high", "low", "outcome"),
    [
        (0.50, 0.44, "holds"),
        (0.44, 0.50, "reversed"),
        (0.50, 0.46, "within uncertainty"),
        (0.46, 0.50, "within uncertainty"),
    ],
)
def test_an_order_holds_beyond_two_sigma_of_both_barriers_together(rows, high, low, outcome):
    """2 sigma of 0.03 and 0.04 eV together: 0.05 eV, so that 1 sigma is 0.025 eV."""
    row = compared(rows, high, low)
    assert (row.statement, row.outcome) == ("Li bulk above Li (100)", outcome)
    assert_allclose(row.two_sigma_ev, 0.05, rtol=1e-9, atol=0)
    assert_allclose((row.difference_ev, row.sigmas), (high - low, (high - low) / 0.025), rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    ("high", "low", "errors"),
    [(None, 0.44, (0.03, 0.04)), (0.5, None, (0.03, 0.04)), (0.5, 0.44, (None, 0.04)), (0.5, 0.44, (0.03, None))],
)
def test_an_order_needs_both_barriers_and_both_uncertainties(rows, high, low, errors):
    row = compared(rows, high, low, errors=errors)
    assert (row.outcome, row.difference_ev, row.two_sigma_ev, row.sigmas) == ("not resolved", None, None, None)


def test_unresolved_path_has_no_barrier(rows, loaded):
    failed = next(r for r in rows.paths if (r.host, r.ion) == ("bulk", "Mg"))
    assert (failed.barrier_ev, failed.two_sigma_ev, failed.d3_ev) == (None, None, None)
    odd = path("bulk", "Mg", "V1", 0.4, ("bulk_oct",), status=Status("not resolved", "odd"))
    found = tables.rows(replace(results(), bottlenecks=(odd,)), loaded, SETTINGS)
    assert found.paths[0].barrier_ev is None


def test_quantities_without_a_value(rows, loaded):
    assert len(rows.other) == 12
    status = {r.reference: r.status.detail for r in rows.other}
    assert re.fullmatch(  # no run has it: what comes with the references
        r"one per Ti16O32: -\d\.\d{3} eV against the atom, -\d\.\d{3} eV against the metal; one per Ti4O8: .*"
        r"\(PBE-D3, single points of this project\)",
        status["adsorption-Mg-001"],
    )
    other = tables.rows(
        results(), replace(loaded, values=tuple(v for v in loaded.values if v.role != "own")), SETTINGS
    ).other
    assert {r.status.detail for r in other if r.quantity == "adsorption energy"} == {
        tables.ELSEWHERE["adsorption energy"]
    }
    assert status["gap-uvvis-001"].startswith("another quantity")


def frame(energy, d3=None):
    atoms = Atoms("LiO", positions=[[0, 0, 0], [0, 0, 2]], info={"dft_energy": energy})
    atoms.arrays["dft_forces"] = np.array([[0.0, 0.3, 0.4], [0.0, 0.0, 0.1]])
    if d3 is not None:
        atoms.info["d3_energy"] = d3
    return atoms


def test_dft_barriers():
    way = LabelledPath(group="g", host="bulk", ion="Li", hop="bulk_oct", initial="a", saddle="b", geometry="images")
    (found,) = barriers.of_paths([way], {"a": frame(-10.0, -0.50), "b": frame(-9.484, -0.505)})
    assert_allclose(found.barrier_ev, 0.516, rtol=1e-9, atol=0)
    assert_allclose(found.d3_ev, -0.005, rtol=1e-9, atol=0)
    assert_allclose(found.force_ev_per_angstrom, 0.5, rtol=1e-12, atol=0)
    (bare,) = barriers.of_paths([way], {"a": frame(-10.0), "b": frame(-9.0)})
    assert bare.d3_ev is None
    assert barriers.of_paths([way], {"a": frame(-10.0)}) == ()


def test_refinement_gives_the_barriers_that_converged():
    found = barriers.of_refined((refined("001_in", 1.0, 1.09), refined("001_par", 1.7, None)))
    assert [(d.hop, d.barrier_ev, d.d3_ev, d.own_band, d.calls) for d in found] == [("001_in", 1.09, -0.08, True, 4)]
    assert (found[0].refined, found[0].geometry) == (True, "band of this potential, relaxed with DFT")


def test_own_band_comes_first_and_then_the_smaller_force(loaded):
    """Li (001): limiting hop 001_in from S1, path 001_in+001_in."""
    whole = DftBarrier(
        host="001",
        ion="Li",
        hop="001_in+001_in",
        group="g",
        barrier_ev=1.20,
        d3_ev=-0.05,
        force_ev_per_angstrom=0.5,
        geometry="another potential's path",
        note="",
    )
    foreign = replace(whole, hop="001_in", barrier_ev=1.15, force_ev_per_angstrom=0.6)
    own = barriers.of_refined((refined("001_in", 1.03, 1.09),))
    given = replace(results(), dft=(foreign, whole, *own))
    by_id = {h.reference: h for h in tables.rows(given, loaded, SETTINGS).headline}
    row = by_id["barrier-Li-001"]
    assert (row.dft_hop, row.dft_geometry) == ("001_in", "band of this potential, relaxed with DFT")
    assert_allclose(row.dft_ev, 1.09 - 0.08, rtol=1e-12, atol=0)
    without = tables.rows(replace(given, dft=(foreign, whole)), loaded, SETTINGS).headline
    row = next(h for h in without if h.reference == "barrier-Li-001")
    assert (row.dft_hop, row.dft_ev) == ("001_in+001_in", 1.15)
    nearer = replace(foreign, force_ev_per_angstrom=0.4)
    without = tables.rows(replace(given, dft=(whole, foreign, nearer)), loaded, SETTINGS).headline
    row = next(h for h in without if h.reference == "barrier-Li-001")
    assert (row.dft_hop, row.dft_ev) == ("001_in", 1.15 - 0.05)
    hops = {(h.ion, h.hop): h for h in tables.rows(given, loaded, SETTINGS).hops}
    assert hops["Li", "001_in"].dft_ev == 1.09
    bare = tables.rows(replace(given, dft=(replace(own[0], d3_ev=None),)), loaded, SETTINGS)
    assert next(h for h in bare.headline if h.reference == "barrier-Li-001").dft_ev is None, "the column is with D3"
    assert next(h for h in bare.hops if (h.ion, h.hop) == ("Li", "001_in")).dft_ev == 1.09


def test_dft_of_another_hop_is_shown_with_its_name_and_changes_no_verdict(loaded):
    high = DftBarrier(
        host="001",
        ion="Li",
        hop="001_par",
        group="g",
        barrier_ev=1.70,
        d3_ev=None,
        force_ev_per_angstrom=0.5,
        geometry="images of another potential",
        note="",
    )
    low = replace(high, hop="001_perp_over", barrier_ev=0.9, d3_ev=0.1)
    bare = {h.reference: h for h in tables.rows(replace(results(), dft=()), loaded, SETTINGS).headline}
    rows = {h.reference: h for h in tables.rows(replace(results(), dft=(high, low)), loaded, SETTINGS).headline}
    row = rows["barrier-Li-001"]
    assert row.dft_is_elsewhere
    assert sections.dft_with_hop(row) == "1.000 (001_perp_over)"
    assert (row.verdict, row.reason) == (bare["barrier-Li-001"].verdict, bare["barrier-Li-001"].reason)
    assert sections.dft_with_hop(rows["barrier-Mg-001"]) == DASH
    own = barriers.of_refined((refined("001_in", 1.03, 1.09),))
    limiting = tables.rows(replace(results(), dft=(high, low, *own)), loaded, SETTINGS).headline
    row = next(h for h in limiting if h.reference == "barrier-Li-001")
    assert (row.dft_hop, row.dft_is_elsewhere) == ("001_in", False)


def test_adsorption_energies_stand_beside_published_ones(loaded):
    bound = Adsorption(
        host="001",
        ion="Li",
        site="S1",
        charge=1.0,
        atom_ev=-3.5,
        atom_d3_ev=-3.7,
        metal_ev=-1.9,
        metal_d3_ev=-2.0,
        metal_per_electron_ev=-1.9,
        voltage_v=1.9,
        status=Status("calculated"),
    )
    other = tables.rows(replace(results(), adsorption=(bound,)), loaded, SETTINGS).other
    status = {r.reference: r.status.detail for r in other}
    assert status["adsorption-Li-001"] == (
        "S1: -3.700 eV against the atom, -2.000 eV against the metal (PBE-D3, geometry of the potential)"
    )
    assert "against the metal" in status["adsorption-Mg-001"]  # another ion: what comes with the references


def test_a_difference_without_any_uncertainty_has_no_number_of_sigmas(rows):
    row = compared(rows, 0.7, 0.5, errors=(0.0, 0.0))
    assert (row.outcome, row.two_sigma_ev, row.sigmas) == ("holds", 0.0, None)
