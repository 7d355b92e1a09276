"""The column zero-shot: barriers by the base model before training, beside those of the trained committee."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import yaml
from helpers import tiny
from helpers.material import FOLDER, SETTINGS, barrier, hop, path, results, site
from numpy.testing import assert_allclose

from mlip import cli
from mlip.core import files
from mlip.core.status import Status
from mlip.literature import references
from mlip.potential.potential import load
from mlip.potential.use import calculator
from mlip.stages.neb import zero_shot
from mlip.stages.neb.settings import NebSettings
from mlip.stages.neb.stage import Barriers, bottlenecks_of
from mlip.stages.report import page, sections, tables
from mlip.stages.sites.network import UPPER_BOUND
from mlip.stages.sites.sites import Period
from mlip.stages.structures import STAGE as STRUCTURES
from mlip.stages.structures import StructuresSettings
from mlip.stages.train.settings import TrainSettings
from mlip.stages.train.stage import STAGE as TRAIN

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


@pytest.fixture
def context(tmp_path, committee):
    """What the stage `neb` sees of a run on Li in bulk whose training started from the tiny committee."""
    host = tiny.rattled("TiO2")
    files.write_frames(tmp_path / "structures" / "bulk.extxyz", [host])
    sections = {TRAIN: TrainSettings(base=str(committee)), STRUCTURES: StructuresSettings(facets=(), ions=("Li",))}
    return SimpleNamespace(
        settings=NebSettings(zero_shot=True),
        common=SimpleNamespace(device="cpu"),
        folder=tmp_path / "neb",
        folder_of=lambda stage: tmp_path / stage.name,
        settings_of=sections.__getitem__,
        result=lambda stage: SimpleNamespace(target="pbe"),
        sections=sections,
    )


def test_the_base_model_is_used_as_it_is(context, committee):
    use, model, level = zero_shot.prepared(context)
    assert (model.source, model.members) == (str(committee), 2)
    assert use.folder == context.folder / "base"
    assert level == "level not stated", "the card of the tiny committee has none"
    ours, theirs = tiny.rattled(seed=4), tiny.rattled(seed=4)
    ours.calc, theirs.calc = calculator(use, 2), load(committee, members=[2])
    assert_allclose(ours.get_forces(), theirs.get_forces(), rtol=0, atol=1e-10)
    assert_allclose(ours.get_potential_energy(), theirs.get_potential_energy(), rtol=1e-12)


def test_a_base_model_without_an_element_or_at_another_level_is_refused(context):
    context.sections[STRUCTURES] = StructuresSettings(facets=(), ions=("Na",))
    with pytest.raises(ValueError, match=r"neb.zero_shot: .* and not Na, which the run needs"):
        zero_shot.prepared(context)
    context.sections[STRUCTURES] = StructuresSettings(facets=(), ions=("Li",))
    context.result = lambda stage: SimpleNamespace(target="pbe-d3")
    with pytest.raises(ValueError, match=r"neb.zero_shot: .* is at pbe and the run at pbe-d3"):
        zero_shot.prepared(context)


@pytest.mark.parametrize("train", [{"base": None}, {"model": "datasets/models/tio2-mg-li"}])
def test_without_a_base_model_it_is_refused(tmp_path, capsys, train):
    settings = tiny.run_settings(neb={"zero_shot": True})
    settings["train"] = train
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    assert cli.main(["run", str(tmp_path / "c.yaml"), str(tmp_path / "run")]) == 1
    said = capsys.readouterr().err
    assert "neb.zero_shot: true needs a training that starts from a base model" in said
    assert "Traceback" not in said
    assert not (tmp_path / "run" / "train" / "result.json").exists()


def test_results_of_before_are_read(tmp_path):
    text = json.dumps({"bands": [], "barriers": [], "bottlenecks": []})
    (tmp_path / "r.json").write_text(text)
    assert files.read_record(tmp_path / "r.json", Barriers).zero_shot is None


def test_the_path_of_the_base_model_uses_its_own_site_energies():
    """The trained committee has U1 at 0.5 eV; by the base model it lies 1.0 eV above S1, so its saddle is at 1.4 eV."""
    ways = (Period(direction="x", translation_angstrom=(3.8, 0.0, 0.0), copy=0, image=(1, 0, 0)),)
    placed = (replace(site("001", "Li", "S1"), periods=ways), replace(site("001", "Li", "U1"), energy_ev=0.5))
    moves = (
        replace(hop("001", "Li", "in", "S1", "U1"), edges=((0, 0, 0, 0, 0),)),
        replace(hop("001", "Li", "uu", "U1", "U1"), edges=((0, 0, 1, 0, 0),)),
    )
    own = (replace(barrier("001", "Li", "in", 1.1), reverse_ev=0.1), barrier("001", "Li", "uu", 0.4))
    energies = {one.name: one.energy_ev for one in zero_shot.sites_of(placed, moves, own)}
    assert_allclose((energies["S1"], energies["U1"]), (0.0, 1.0), rtol=0, atol=1e-12)
    (path_,) = bottlenecks_of(zero_shot.sites_of(placed, moves, own), moves, own)
    assert_allclose(path_.barrier_ev, 1.4, rtol=1e-9, atol=0)
    assert path_.limiting_hop == "uu"
