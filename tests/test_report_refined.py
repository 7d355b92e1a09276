"""Verdicts on barriers relaxed with DFT: which number they rest on, which way is the lowest, and the uncertainty."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from helpers.material import FOLDER, SETTINGS, barrier, hop, path, site
from helpers.ways import PERIOD, found, relaxed_to
from numpy.testing import assert_allclose
from pydantic import ValidationError

from mlip.core.status import Status
from mlip.core.uncertainty import Uncertainty
from mlip.literature import references
from mlip.stages.dataset.card import LabelledPath
from mlip.stages.neb.stage import bottlenecks_of
from mlip.stages.refine import barriers
from mlip.stages.refine.report import refine_section
from mlip.stages.report import figures, page, quotes, sections, verdicts
from mlip.stages.report.refined import with_refined


@pytest.fixture(scope="module")
def published():
    """The published barrier of Li on (001), 0.381 eV."""
    every = references.load(FOLDER).select(role="checked", quantity="migration barrier")
    return next(v for v in every if (v.ion, v.facet) == ("Li", "(001)"))


def row_of(published, made, **heights):
    given = with_refined(found(barriers.of_refined(made), **heights))
    return verdicts.headline(published, given, SETTINGS)


def test_the_verdict_rests_on_dft_where_the_limiting_hop_is_refined(published):
    alone = verdicts.headline(published, found(par=0.70, over=0.9), SETTINGS)
    assert (alone.verdict, alone.dft_refined) == ("differs", False)
    row = row_of(published, [relaxed_to("par", 0.41)], par=0.70, over=0.9)
    assert (row.verdict, row.dft_refined, row.dft_calls) == ("agrees", True, 4)
    assert_allclose(row.dft_ev, 0.41 - 0.02, rtol=1e-12, atol=0)
    assert_allclose(row.difference_ev, 0.41 - 0.02 - 0.381, rtol=1e-9, atol=0)
    assert (row.ours_ev, row.two_sigma_ev) == (alone.ours_ev, alone.two_sigma_ev), "the potential keeps its own"
    assert row.decided_ev == row.dft_ev
    assert sections.dft_how(row) == "converged: 4 calls, residual force 40 meV/\u00c5"
    assert sections.dft_how(alone) == ""


def test_a_barrier_of_dft_needs_no_labels_of_the_crystal(published):
    given = with_refined(found(barriers.of_refined([relaxed_to("par", 0.41)]), par=0.70, over=0.9))
    other = replace(given, labelled=False, with_dft=replace(given.with_dft, labelled=False))
    assert verdicts.headline(published, given, SETTINGS) == verdicts.headline(published, other, SETTINGS)


def test_its_uncertainty_is_that_of_dft(published):
    row = row_of(published, [relaxed_to("par", 0.41, std=0.003)], par=0.70)
    assert_allclose(row.budget.total_ev, (0.003**2 + Uncertainty().dft_settings_ev ** 2) ** 0.5, rtol=1e-9, atol=0)
    assert (row.budget.committee_ev, row.budget.held_out_ev, row.budget.refined_ev) == (None, None, 0.003)
    assert_allclose(row.dft_two_sigma_ev, 2 * row.budget.total_ev, rtol=1e-12, atol=0)
    assert_allclose(row.decided_two_sigma_ev, row.dft_two_sigma_ev, rtol=1e-12, atol=0)


def test_an_ion_on_a_host_can_have_its_own_error_of_the_settings(published):
    given = with_refined(found(barriers.of_refined([relaxed_to("par", 0.50, std=0.003)]), par=0.70))
    for place, error in (("Li 001", 0.04), ("Mg 001", 0.015), ("Li 100", 0.015)):
        errors = Uncertainty(dft_settings_of_ev={place: 0.04})
        other = replace(given, errors=errors, with_dft=replace(given.with_dft, errors=errors))
        row = verdicts.headline(published, other, SETTINGS)
        assert row.budget.convergence_ev == error
    with pytest.raises(ValidationError, match="should match pattern"):
        Uncertainty(dft_settings_of_ev={"001": 0.04})


def test_from_which_error_of_the_settings_a_barrier_no_longer_differs(published):
    """The shipped value and 0.41 eV - 0.02 eV of D3 agree; 0.50 eV - 0.02 eV is 0.099 eV higher."""
    row = row_of(published, [relaxed_to("par", 0.50, std=0.003)], par=0.70)
    assert row.verdict == "differs"
    assert_allclose(row.covered_from_ev, ((0.099 / 2) ** 2 - 0.003**2) ** 0.5, rtol=1e-9, atol=0)
    given = with_refined(found(barriers.of_refined([relaxed_to("par", 0.50, std=0.003)]), par=0.70))
    for factor, verdict in ((0.999, "differs"), (1.001, "agrees")):
        errors = Uncertainty(dft_settings_ev=factor * row.covered_from_ev)
        other = replace(given, errors=errors, with_dft=replace(given.with_dft, errors=errors))
        assert verdicts.headline(published, other, SETTINGS).verdict == verdict
    near = replace(row, budget=replace(row.budget, convergence_ev=0.02))
    (said,) = page.settings_error([near])
    assert said == (
        "The error of the DFT settings in barriers relaxed with DFT is taken as 0.02 eV, 1 sigma. With one up to 5 times "
        "as large, these barriers would no longer differ: Li (001) (from 0.049 eV)."
    )
    wide = replace(near, facet="(100)", budget=replace(row.budget, convergence_ev=0.005))
    assert page.settings_error([near, wide])[0].startswith(
        "The error of the DFT settings in barriers relaxed with DFT is taken as 0.02 eV (Li (001)) and 0.005 eV (Li (100)), "
        "1 sigma. With one up to 5 times as large, these barriers would no longer differ: Li (001) (from 0.049 eV)."
    )
    assert page.settings_error([replace(near, covered_from_ev=0.11)])[0].endswith("no barrier would cease to differ.")
    agreeing = row_of(published, [relaxed_to("par", 0.41)], par=0.70)
    assert (agreeing.verdict, agreeing.covered_from_ev) == ("agrees", None)
    assert page.settings_error([verdicts.headline(published, found(par=0.70), SETTINGS)]) == ()


def test_all_ways_of_a_facet_compete(published):
    """The refined way is now above the other one, which only the potential knows: the verdict rests on the potential."""
    row = row_of(published, [relaxed_to("par", 0.95)], par=0.70, over=0.9)
    assert (row.limiting_hop, row.dft_refined) == ("over", False)
    assert row.budget.refined_ev is None
    both = row_of(published, [relaxed_to("par", 0.95), relaxed_to("over", 0.42)], par=0.70, over=0.9)
    assert (both.limiting_hop, both.dft_refined, both.verdict) == ("over", True, "agrees")


def test_d3_of_the_dft_points_counts_where_that_of_the_bands_is_not_known(published):
    """One member failed, so the band has no D3; the row is that of DFT with its own D3."""
    given = found(barriers.of_refined([relaxed_to("par", 0.41)]), par=0.70)
    given = replace(given, barriers=tuple(replace(b, d3_forward_ev=None) for b in given.barriers))
    row = verdicts.headline(published, with_refined(given), SETTINGS)
    assert_allclose((row.dft_ev, row.decided_ev), 0.41 - 0.02, rtol=1e-12, atol=0)
    assert (row.dft_refined, row.decided_has_d3, row.budget.dispersion_ev) == (True, True, 0.0)


def test_a_barrier_of_dft_without_d3_is_quoted_as_it_decides(published):
    row = row_of(published, [replace(relaxed_to("par", 0.41), d3_forward_ev=None)], par=0.70)
    assert (row.dft_refined, row.dft_ev, row.decided_ev, row.decided_has_d3) == (True, 0.41, 0.41, False)
    assert "D3 at the saddle not known" in row.reason
    assert str(sections.dft_with_hop(row)).endswith("(without D3)")
    assert "0.41" in (said := quotes.quotable(row, quotes.MadeBy()))
    assert "PBE without D3; initial state and saddle relaxed with DFT" in said
    assert "D3 added" not in said


def test_a_path_over_two_refined_hops_rests_on_the_potential_for_its_sites(published):
    """The second hop limits: the energy of the site between is the potential's, and so is the uncertainty."""
    start = replace(site("001", "Li", "S1"), periods=(PERIOD,))
    sites = (start, site("001", "Li", "U1", 0.1))
    hops = (
        replace(hop("001", "Li", "in", "S1", "U1", symmetric=False), edges=((0, 0, 0, 0, 0),)),
        replace(hop("001", "Li", "out", "U1", "S1", symmetric=False), edges=((0, 0, 1, 0, 0),)),
    )
    own = (
        barrier("001", "Li", "in", 0.3, 0.2, symmetric=False),
        barrier("001", "Li", "out", 0.6, 0.7, symmetric=False),
    )
    made = [replace(relaxed_to(name, height), symmetric=False) for name, height in (("in", 0.3), ("out", 0.28))]
    given = replace(found(barriers.of_refined(made), x=0.5), sites=sites, hops=hops, barriers=own)
    given = with_refined(replace(given, bottlenecks=bottlenecks_of(sites, hops, own)))
    row = verdicts.headline(published, given, SETTINGS)
    assert (row.hops, row.limiting_hop, row.dft_refined) == (("in", "out"), "out", False)
    assert row.budget.refined_ev is None
    assert row.budget.held_out_ev == given.path_error_ev
    assert_allclose(row.decided_ev, 0.1 + 0.28, rtol=1e-9, atol=0)
    assert row.hops_by_dft == ("in", "out")
    assert "of its hops, in, out relaxed with DFT" in quotes.quotable(row, quotes.MadeBy())


@pytest.mark.parametrize("d3_known", [True, False])
def test_where_refined_and_potential_hops_mix_the_limiting_one_has_the_uncertainty(d3_known):
    """On to a copy of the start over `near`, of the potential, then over `far`, refined; each leaves a start.

    Spread of the potential: 0.01 eV times the calibration of 1.5, above the held-out error of 0.012 eV.
    """
    given = found(barriers.of_refined([relaxed_to("far", 0.41, std=0.003)]), near=0.2, far=0.41)
    given = replace(given, is_dft=True)
    dispersion = 0.0 if d3_known else Uncertainty().dispersion_ev
    over_far, over_near = (path("001", "Li", "S1", 0.41, ("near", "far"), limiting=name) for name in ("far", "near"))
    refined = verdicts.budget(over_far, given, d3_known=d3_known)
    assert (refined.refined_ev, refined.committee_ev, refined.dispersion_ev) == (0.003, None, dispersion)
    assert_allclose(refined.total_ev, (0.003**2 + 0.015**2 + dispersion**2) ** 0.5, rtol=1e-9, atol=0)
    unknown = replace(given, dft=barriers.of_refined([relaxed_to("far", 0.41, std=None)]))
    for way, results in ((over_near, given), (over_far, replace(given, is_dft=False)), (over_far, unknown)):
        own = verdicts.budget(way, results, d3_known=d3_known)
        assert (own.refined_ev, own.dispersion_ev) == (None, dispersion)
        assert_allclose(own.total_ev, (0.015**2 + 0.005**2 + dispersion**2) ** 0.5, rtol=1e-9, atol=0)


def test_a_refined_barrier_without_d3_has_the_uncertainty_of_dispersion_in_it(published):
    """0.50 eV is 0.119 eV above; 2 sigma reaches that where s^2 + 0.002^2 + 0.02^2 = (0.119 / 2)^2."""
    row = row_of(published, [replace(relaxed_to("par", 0.50), d3_forward_ev=None)], par=0.70)
    assert (row.verdict, row.budget.dispersion_ev) == ("differs", 0.02)
    assert_allclose(row.dft_two_sigma_ev, 2 * (0.002**2 + 0.015**2 + 0.02**2) ** 0.5, rtol=1e-9, atol=0)
    assert_allclose(row.covered_from_ev, ((0.119 / 2) ** 2 - 0.002**2 - 0.02**2) ** 0.5, rtol=1e-9, atol=0)


def test_dft_of_the_other_way_settles_that_the_way_of_the_potential_is_the_lowest(published):
    """Without DFT the other way could be lower, so there is no number; with it the potential's way decides."""
    given = found(barriers.of_refined([relaxed_to("par", 0.95)]), par=0.70, over=0.8)
    failed = Status("not converged", "max steps")
    own = tuple(
        replace(b, status=failed, forward_ev=None, reverse_ev=None) if b.hop == "par" else b for b in given.barriers
    )
    given = replace(given, barriers=own, bottlenecks=bottlenecks_of(given.sites, given.hops, own))
    alone = verdicts.headline(published, replace(given, dft=()), SETTINGS)
    assert (alone.verdict, alone.decided_ev) == ("not resolved", None)
    row = verdicts.headline(published, with_refined(given), SETTINGS)
    assert (row.verdict, row.limiting_hop, row.dft_refined) == ("differs", "over", False)
    assert_allclose(row.decided_ev, row.difference_ev + 0.381, rtol=1e-9, atol=0)
    assert "0.80 \u00b1" in quotes.quotable(row, quotes.MadeBy())


def test_what_did_not_converge_leaves_the_row_as_it_is(published):
    row = row_of(published, [relaxed_to("par", None, code="not converged")], par=0.70)
    assert row == verdicts.headline(published, found(par=0.70), SETTINGS)


def labelled(energy, d3):
    """A labelled frame, as far as a barrier needs it."""
    atoms = Atoms("Li")
    atoms.info = {"dft_energy": energy, "d3_energy": d3}
    atoms.arrays["dft_forces"] = np.zeros((1, 3))
    return atoms


def test_a_refined_path_of_a_dataset_counts_and_the_run_of_its_own_comes_first(published):
    """Shipped with labels: nothing is calculated in the run, and the row rests on it."""
    way = LabelledPath(
        group="g", host="001", ion="Li", hop="par", initial="a", saddle="b", geometry="relaxed with DFT", refined=True,
        calls=5, force_ev_per_angstrom=0.03, std_ev=0.002,
    )  # fmt: skip
    frames = {"a": labelled(-10.0, -0.5), "b": labelled(-9.6, -0.51)}
    shipped = barriers.of_paths([way], frames)
    row = verdicts.headline(published, with_refined(found(shipped, par=0.7)), SETTINGS)
    assert (row.dft_refined, row.dft_calls, row.verdict) == (True, 5, "agrees")
    assert_allclose(row.dft_ev, 0.4 - 0.01, rtol=1e-9, atol=0)
    own = barriers.of_refined([relaxed_to("par", 0.43)])
    assert [r.forward_ev for r in barriers.relaxed((*shipped, *own), target="pbe")] == [0.43]
    plain = barriers.of_paths([replace(way, refined=False)], frames)
    assert barriers.relaxed(plain, target="pbe") == []


def test_figure_and_tables_show_converged_dft(published):
    row = row_of(published, [relaxed_to("par", 0.41)], par=0.70)
    assert b"our DFT, converged" in figures.headline([row])
    section = refine_section([relaxed_to("par", 0.41), relaxed_to("over", None, code="no band")])
    assert [t.key for t in section.tables] == ["refine", "refine_calls"]
