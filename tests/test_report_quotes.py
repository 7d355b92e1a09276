"""Sentences of the report: one per verdict, and one per row that can be quoted, or says why not."""

from dataclasses import replace

import pytest
from helpers.material import FOLDER, MADE_BY, SETTINGS, results

from mlip.core.status import AGREES, DIFFERS
from mlip.literature import references
from mlip.stages.report import quotes, tables


@pytest.fixture(scope="module")
def rows():
    found = tables.rows(results(), references.load(FOLDER), SETTINGS).headline
    return {(row.ion, row.host): row for row in found}


def test_a_number_has_value_level_uncertainty_method_and_origin(rows):
    (said,) = quotes.sentences([rows["Li", "bulk"]], MADE_BY)
    assert said == (
        "Migration barrier of Li in the bulk of anatase TiO2: 0.49 \u00b1 0.03 eV (2 sigma), PBE-D3; climbing-image NEB "
        "by a committee of 2 machine-learned potentials with 5 images between the ends, not refined with DFT; limiting "
        "hop bulk_oct, path from site V1; mlip 1.2.3, run abcdef012345."
    )


def test_a_refined_barrier_says_so_and_names_its_own_run(rows):
    row = replace(
        rows["Li", "001"],
        dft_refined=True,
        decided_ev=1.0912,
        decided_two_sigma_ev=0.0123,
        dft_calls=4,
        dft_force_ev_per_angstrom=0.038,
        decided_has_d3=True,
    )
    (said,) = quotes.sentences([row], MADE_BY)
    assert said.startswith("Migration barrier of Li on (001) of anatase TiO2: 1.09 \u00b1 0.01 eV (2 sigma), PBE-D3; ")
    assert (
        "relaxed with DFT (4 DFT calculations, largest residual force 38 meV/\u00c5), D3 added at these points;" in said
    )
    assert said.endswith("mlip 1.2.3, run fedcba543210.")
    assert "machine-learned" not in said


def test_level_and_bound_are_said(rows):
    row = replace(rows["Li", "bulk"], decided_ev=0.4987, decided_has_d3=False, upper_bound=True)
    assert "at most 0.50 \u00b1 0.03 eV (2 sigma), PBE without D3;" in quotes.quotable(row, MADE_BY)
    assert "eV (2 sigma), PBE-D3;" in quotes.quotable(replace(row, decided_has_d3=True), MADE_BY)


@pytest.mark.parametrize("key", [("Mg", "bulk"), ("Mg", "001"), ("Mg", "100"), ("Li", "100")])
def test_a_row_without_a_result_says_that_there_is_no_number_and_why(rows, key):
    row = rows[key]
    assert row.verdict not in {AGREES, DIFFERS}
    (said,) = quotes.sentences([row], MADE_BY)
    assert said.endswith(f": there is no number to quote; the barrier is {row.verdict} ({row.reason}).")


def test_nothing_is_said_that_is_not_known(rows):
    said = quotes.quotable(rows["Li", "bulk"], quotes.MadeBy(members=1))
    assert said == (
        "Migration barrier of Li in the bulk: 0.49 \u00b1 0.03 eV (2 sigma), PBE-D3; climbing-image NEB by a "
        "machine-learned potential, not refined with DFT; limiting hop bulk_oct, path from site V1."
    )


def test_a_sentence_per_verdict_counts_and_names_every_row(rows):
    agreeing = replace(rows["Li", "bulk"], ion="Mg")
    said = quotes.verdict_sentences([rows["Li", "bulk"], agreeing, rows["Li", "001"]])
    assert said == (
        "2 of 3 published barriers agree with ours: Li in the bulk (\u22120.02 eV) and Mg in the bulk (\u22120.02 eV).",
        "1 of 3 published barriers differs from ours: Li on (001) (+0.65 eV).",
        "Differences in brackets are ours minus published.",
    )
    assert quotes.verdict_sentences([rows["Mg", "bulk"]]) == (
        "1 of 1 published barriers is not resolved: Mg in the bulk.",
    )
