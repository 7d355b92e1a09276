"""The column zero-shot: barriers by the base model before training, beside those of the trained committee."""

import json
from dataclasses import replace

import pytest
from helpers import tiny
from helpers.material import FOLDER, SETTINGS, barrier, path, results
from numpy.testing import assert_allclose

from mlip import cli
from mlip.core import files
from mlip.core.status import Status
from mlip.literature import references
from mlip.potential import models
from mlip.stages.neb.stage import Barriers
from mlip.stages.report import page, sections, tables
from mlip.stages.sites.network import UPPER_BOUND

FAILED = Status("not converged", "0 of 2 members converged: 2 max steps")


@pytest.fixture(scope="module")
def rows():
    """Bulk Li by the base model 0.30 eV, Li (001) an upper bound, Mg (001) without a barrier, the rest not looked at."""
    trained = results()
    base = replace(
        trained,
        barriers=(
            barrier("bulk", "Li", "bulk_oct", 0.30),
            barrier("001", "Li", "001_par", 0.8),
            barrier("001", "Mg", "001_par", None, status=FAILED),
        ),
        bottlenecks=(
            path("bulk", "Li", "V1", 0.30, ("bulk_oct",)),
            path("001", "Li", "S1", 0.8, ("001_par",), status=Status(UPPER_BOUND)),
            path("001", "Mg", "S1", None, (), status=Status("not resolved", "no converged barrier for 001_par")),
        ),
    )
    return tables.rows(replace(trained, zero_shot=base, base="base (1 member)"), references.load(FOLDER), SETTINGS)


def shown(table, heading, **where):
    """The cell of a table in the row whose cells under these headings are such."""
    heads = list(table.columns)
    (row,) = (r for r in table.rows if all(r[heads.index(h)] == v for h, v in where.items()))
    return row[heads.index(heading)]


def test_a_hop_shows_the_barrier_or_the_status(rows):
    by_hop = {(r.host, r.ion, r.hop): r.zero_shot for r in rows.hops}
    assert by_hop["bulk", "Li", "bulk_oct"].barrier_ev == 0.30
    assert by_hop["001", "Mg", "001_par"].barrier_ev is None
    assert by_hop["001", "Mg", "001_par"].status == FAILED
    assert by_hop["bulk", "Mg", "bulk_oct"] is None
    table = sections.hops_table(rows.hops)
    assert shown(table, "Zero-shot (eV)", Host="bulk", Ion="Li", Hop="bulk_oct") == "0.300"
    assert shown(table, "Zero-shot (eV)", Host="001", Ion="Mg", Hop="001_par") == f"\u2013 ({FAILED.detail})"


def test_the_headline_shows_the_lowest_path_with_d3(rows):
    table = sections.headline_table(rows.headline, target="pbe")
    one = next(r for r in rows.headline if (r.ion, r.facet) == ("Li", "bulk"))
    assert_allclose(one.zero_shot.barrier_ev, 0.30 + barrier("bulk", "Li", "bulk_oct", 0.30).d3_forward_ev, rtol=1e-12)
    assert shown(table, "Zero-shot (eV)", Ion="Li", Facet="(001)").endswith("(upper bound)")
    assert "no converged barrier for 001_par" in shown(table, "Zero-shot (eV)", Ion="Mg", Facet="(001)")
    assert "no path was calculated" in shown(table, "Zero-shot (eV)", Ion="Mg", Facet="bulk")


def test_no_verdict_depends_on_it(rows):
    plain = tables.rows(results(), references.load(FOLDER), SETTINGS)
    assert tuple(replace(r, zero_shot=None) for r in rows.headline) == plain.headline
    assert all(r.zero_shot is None for r in (*plain.headline, *plain.hops))
    tables_of = (sections.headline_table(plain.headline, target="pbe"), sections.hops_table(plain.hops))
    heads = [heading for table in tables_of for heading in table.columns]
    assert "Zero-shot (eV)" not in heads


def test_the_report_says_what_the_base_model_is(rows):
    whole = replace(results(), zero_shot=results(), base="datasets/models/base (mean of 2 members; PBE)")
    document = page.compare(whole, references.load(FOLDER), SETTINGS, title="t")
    assert any("datasets/models/base (mean of 2 members; PBE)" in rule for rule in page.rules(document))
    plain = page.compare(results(), references.load(FOLDER), SETTINGS, title="t")
    assert not any("Zero-shot" in rule for rule in page.rules(plain))


@pytest.fixture(scope="module")
def run(tmp_path_factory, committee):
    """A run whose training starts from a tiny committee, up to its bands."""
    place = tmp_path_factory.mktemp("zero")
    data = tiny.write_dataset(place / "data")
    tiny.write_config(
        place / "c.yaml",
        dataset={"path": str(data)},
        train={"base": str(committee), "epochs": 1, "members": 2},
        neb={"zero_shot": True, "fmax_ev_per_angstrom": 50.0},
    )
    assert cli.main(["init", str(place / "c.yaml"), str(place / "run")]) == 0
    for stage in ("structures", "dataset", "train", "sites", "neb"):
        assert cli.main([stage, str(place / "run")]) == 0
    return place / "run"


def test_a_run_has_bands_of_the_base_model_from_the_same_sites(run, committee):
    found = files.read_result(run / "neb" / "result.json", Barriers)
    before = found.zero_shot
    assert before.members == len(models.load(committee).members) == 2
    assert before.source == str(committee)
    assert [(b.host, b.ion, b.hop) for b in before.barriers] == [(b.host, b.ion, b.hop) for b in found.barriers]
    bands = sorted(p.name for p in (run / "neb" / "bands-base").glob("*.extxyz"))
    assert bands == sorted(p.name for p in (run / "neb" / "bands").glob("*.extxyz"))
    assert {p.name for p in (run / "neb").iterdir()} >= {"base", "bands", "bands-base"}


def test_its_energies_are_those_of_the_base_model(run, committee):
    """One image of a band by the base, evaluated again with the base model itself."""
    from mlip.atoms import extxyz
    from mlip.potential.potential import load

    place = next((run / "neb" / "bands-base").glob("*member-2.extxyz"))
    image = extxyz.read_frames(place)[1]
    stored = image.get_potential_energy()
    image.calc = load(committee, members=[2])
    assert_allclose(image.get_potential_energy(), stored, rtol=0, atol=1e-8)


@pytest.mark.parametrize("train", [{"base": None}, {"model": "datasets/models/tio2-mg-li"}])
def test_without_a_base_model_it_is_refused(tmp_path, capsys, train):
    tiny.write_config(tmp_path / "c.yaml", train=train, neb={"zero_shot": True})
    assert cli.main(["run", str(tmp_path / "c.yaml"), str(tmp_path / "run")]) == 1
    said = capsys.readouterr().err
    assert "neb.zero_shot: true needs a training that starts from a base model" in said
    assert "Traceback" not in said
    assert not (tmp_path / "run" / "train" / "result.json").exists()


def test_results_of_before_are_read(tmp_path):
    text = json.dumps({"bands": [], "barriers": [], "bottlenecks": []})
    (tmp_path / "r.json").write_text(text)
    assert files.read_record(tmp_path / "r.json", Barriers).zero_shot is None
