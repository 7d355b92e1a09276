"""The stage `report`: statuses instead of numbers, formats with one content, a page that fits a phone and folds."""

import csv
import io
import json
import math
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from helpers.material import evaluation, everything, material, render, results, sections_of
from numpy.testing import assert_allclose
from pydantic import TypeAdapter

from mlip.core.report import PLUS_MINUS
from mlip.core.report.csv import to_csv
from mlip.stages.report import page, stage
from mlip.stages.train.energy_fit import EnergyFit


@pytest.fixture(scope="module")
def rendered():
    return render(material())


@pytest.fixture(scope="module")
def whole():
    return render(everything())


def headline_cells(html):
    table = html[html.index('<table class="stack"') :]
    rows = re.findall(r"<tr>(.*?)</tr>", table[: table.index("</table>")], flags=re.DOTALL)
    return [
        [re.sub("<.*?>", "", cell) for cell in re.findall(r"<td.*?>(.*?)</td>", row, flags=re.DOTALL)]
        for row in rows[1:]
    ]


def test_six_rows_with_their_verdicts(rendered):
    cells = {(row[0], row[1]): row for row in headline_cells(rendered.html)}
    verdicts = {key: row[8] for key, row in cells.items()}
    assert verdicts == {
        ("Mg", "(001)"): "not resolved",
        ("Mg", "(100)"): "not resolved",
        ("Mg", "bulk"): "not resolved",
        ("Li", "(001)"): "differs",
        ("Li", "(100)"): "not comparable",
        ("Li", "bulk"): "agrees",
    }
    assert cells["Li", "bulk"][2:7] == ["0.511", "0.512", "not relaxed", "0.49 \u00b1 0.03", "\u22120.005"]
    assert rendered.page.summary == (
        "1 of 6 published barriers agrees with ours: Li in the bulk (\u22120.02 eV).",
        "1 of 6 published barriers differs from ours: Li on (001) (+0.65 eV).",
        "1 of 6 published barriers is not comparable with ours: Li on (100).",
        "3 of 6 published barriers are not resolved: Mg on (001), Mg on (100) and Mg in the bulk.",
        "Differences in brackets are ours minus published.",
    )
    assert all(line.split(": ")[-1] in rendered.html for line in rendered.page.summary)


def test_the_answer_comes_first_and_what_a_specialist_checks_is_folded(whole):
    keys = [s.key for s in whole.page.ordered()]
    assert keys[0] == "headline"
    folded = {s.key for s in whole.page.sections if s.level == "detail"}
    assert folded == {
        "nearest",
        "dataset-card",
        "model-card",
        "convergence",
        "md",
        "energetics",
        "literature",
        "settings",
    }
    assert set(keys[-len(folded) :]) == folded
    shown = {"order", "paths", "hops", "profiles", "other", "cells", "training", "accuracy", "sites", "pictures"}
    assert shown | {"refine", "diffusion", "audit", "limits"} == set(keys[1 : -len(folded)])


def test_every_table_has_a_file_of_its_own_with_numbers(whole):
    """Keys differ, and no column of numbers has words with a sign or an error in its CSV file."""
    tables = [t for s in sections_of(whole.page) for t in s.tables]
    assert len({t.key for t in tables}) == len(tables) > 25
    for table in tables:
        head, *rows = csv.reader(io.StringIO(to_csv(table)))
        assert len(rows) == len(table.rows)
        assert len(set(head)) == len(head), table.key
        numbers = {c for c, kind in zip(table.columns, table.kinds, strict=True) if kind == "number"}
        for row in rows:
            for column, value in zip(head, row, strict=True):
                if column in numbers and value:
                    assert math.isfinite(float(value)), (table.key, column)


def test_csv_of_the_headline_has_full_precision(rendered):
    (table,) = (t for s in rendered.page.sections for t in s.tables if t.key == "headline")
    rows = {(r["Ion"], r["Facet"]): r for r in csv.DictReader(io.StringIO(to_csv(table)))}
    row = next(r for r in rendered.document.rows.headline if (r.ion, r.host) == ("Li", "bulk"))
    column = f"Potential, {PLUS_MINUS} 2 sigma (eV)"
    assert float(rows["Li", "bulk"][column]) == row.ours_ev
    assert float(rows["Li", "bulk"][f"{column}: uncertainty"]) == row.two_sigma_ev
    assert rows["Mg", "bulk"][column] == ""


def test_what_the_fit_of_energies_did_is_said():
    fits = (EnergyFit(cells=36, before_ev=0.096, after_ev=0.029), EnergyFit(cells=36, before_ev=0.110, after_ev=0.044))
    said = (
        "On the 36 training cells of the fit, the RMS errors of the members were 96 to 110 meV per cell before the fit "
        "and 29 to 44 meV per cell after it."
    )
    made = render(material(energy_fits=fits))
    assert said in made.html
    assert said in made.markdown
    assert "energies were fitted" not in render(material()).html


def test_no_number_for_what_is_not_resolved(rendered):
    for row in headline_cells(rendered.html):
        if row[7] == "not resolved":
            assert row[6] == "\u2013"
            assert row[4] == "\u2013" or "exceeds the limit" in row[8]
            assert row[8]
    assert "no converged barrier for bulk_oct" in rendered.html
    assert "exceeds the limit of 0.10 eV" in rendered.html
    assert "0 of 2 members converged: 2 max steps" in rendered.html
    assert "0.734" not in re.sub(r"data:image[^\"]+", "", rendered.html)  # energy of the band that did not converge
    assert "0.471" not in re.sub(r"data:image[^\"]+", "", rendered.html.split('id="order"')[0])


def test_statuses_are_shown(rendered):
    for text in ("desorbed", "single points of this project", "the optical gap of a powder"):
        assert text in rendered.html
        assert text in rendered.markdown


def test_page_is_self_contained(rendered):
    assert not re.findall(r"<script[^>]* src|<link|@import|url\((?!%23)|fetch\(|XMLHttpRequest|import\(", rendered.html)
    assert all(src.startswith("data:image/") for src in re.findall(r'src="([^"]{20})', rendered.html))
    assert (rendered.html.count("<img"), rendered.html.count('<figure class="viewer"')) == (5, 3)


def test_ids_are_unique_and_links_lead_somewhere(whole):
    ids = re.findall(r' id="([^"]+)"', whole.html)
    assert len(set(ids)) == len(ids)
    links = re.findall(r'href="#([^"]+)"', whole.html)
    assert set(links) <= set(ids)
    assert links == [s.key for s in whole.page.ordered()]


def test_the_paper_under_check_is_named_with_a_link(rendered):
    checked = material().references.checked()
    assert f'<a href="https://doi.org/{checked.doi}">doi:{checked.doi}</a>' in rendered.html
    assert checked.citation in rendered.markdown
    assert "trained on PBE, side by side" in rendered.markdown


def test_text_is_escaped():
    settings = material().settings.model_copy(update={"title": "<b>x</b> & y"})
    html = render(material(settings=settings, pictures={}, bands=(), evaluation=None, histories={})).html
    assert "<b>x</b>" not in html
    assert "&lt;b&gt;x&lt;/b&gt; &amp; y" in html


def test_json_round_trip(rendered):
    adapter = TypeAdapter(page.Document)
    document = adapter.validate_json(rendered.json)
    assert adapter.dump_json(document, indent=1).decode() + "\n" == rendered.json
    raw = json.loads(rendered.json)
    assert list(raw) == ["title", "target", "tolerances", "rows", "audit", "crystal", "base"]
    assert list(raw["rows"]) == ["headline", "hops", "paths", "nearest", "order", "other"]
    assert raw["tolerances"] == {"agree_ev": 0.05, "max_uncertainty_ev": 0.1, "symmetric_ev": 0.005}
    by_row = {(r["ion"], r["host"]): r for r in raw["rows"]["headline"]}
    assert by_row["Mg", "bulk"]["mlip_ev"] is None
    assert_allclose(by_row["Li", "bulk"]["mlip_ev"], 0.4987, rtol=1e-12, atol=0)
    assert raw["audit"][0]["key"] == "rates"


def test_markdown_tables_are_rectangular(rendered):
    tables = re.findall(r"(?:^\|.*\n)+", rendered.markdown, flags=re.MULTILINE)
    assert len(tables) > 10
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.strip().split("\n")}
        assert len(widths) == 1, table
    assert "| Li | bulk | 0.511 |" in rendered.markdown


def test_markdown_and_page_have_the_same_tables_and_text(whole):
    for section in sections_of(whole.page):
        if section.is_empty:
            continue
        assert f"# {section.heading}\n" in whole.markdown
        for line in (*section.text, *section.points):
            assert line in whole.markdown
        for table in section.tables:
            assert f'id="table-{table.key}"' in whole.html or not table.rows
            assert f"| {' | '.join(table.columns)} |" in whole.markdown or not table.rows


def test_same_material_gives_the_same_page(rendered):
    assert render(material()).html == rendered.html


def test_another_paper_has_no_audit_but_keeps_what_it_does_not_state():
    loaded = material().references
    sources = tuple(replace(s, doi="10.1000/other") if s == loaded.checked() else s for s in loaded.sources)
    made = render(material(references=replace(loaded, sources=sources)))
    assert "Audit of the paper from its own numbers" not in made.html + made.markdown
    assert "What the paper does not state" in made.html


def test_the_audit_shows_claim_numbers_formula_and_consequence(rendered):
    (found,) = (f for f in rendered.document.audit if f.key == "rates")
    (section,) = (s for s in sections_of(rendered.page) if s.key == "audit-rates")
    assert section.heading == found.topic
    assert section.text == (
        f"Claim: {found.claimed} ({found.where})",
        f"Formula: {found.formula}. Evidence: {found.evidence}.",
        f"Consequence: {found.consequence}",
    )
    assert [row[0] for row in section.tables[0].rows] == [n.name for n in found.numbers]
    assert [row[1].value for row in section.tables[0].rows] == [n.value for n in found.numbers]
    for one in rendered.document.audit:
        assert one.claimed in rendered.markdown
        assert one.consequence in rendered.markdown or not one.numbers


def test_an_empty_run_renders():
    empty = replace(results(), hosts=(), sites=(), hops=(), barriers=(), bottlenecks=(), dft=(), path_error_ev=None)
    bare = material(results=empty, bands=(), pictures={}, evaluation=None, histories={}, dataset_card={}, provenance={})
    made = render(bare)
    reason = "no path was calculated for this facet and ion"
    assert (made.html.count(f">{reason}<"), made.html.count(f"the barrier is not resolved ({reason}).")) == (6, 6)
    assert "No evaluation on held-out groups" in made.markdown
    keys = {s.key for s in made.page.ordered()}
    assert not keys & {"pictures", "profiles", "cells", "training", "dataset-card"}


def test_accuracy_is_named_unknown_only_without_an_evaluation(rendered):
    assert "No evaluation on held-out groups" not in rendered.html
    assert [s.key for s in rendered.page.sections].count("accuracy") == 1


def test_rules_name_the_tolerances_and_the_geometries_of_dft(rendered):
    told = " ".join(page.rules(rendered.document))
    assert "at most 0.05 eV or 2 sigma" in told
    assert "2 sigma exceeds 0.1 eV" in told
    assert "Our DFT values of Li bulk bulk_oct are single points and not relaxed; geometry: SevenNet-0 images." in told
    assert "name of a hop stands beside" not in told
    row = next(r for r in rendered.document.rows.headline if r.dft_ev is not None)
    rows = replace(rendered.document.rows, headline=(replace(row, dft_hop="another"),))
    assert "the limiting hop has no DFT label" in " ".join(page.rules(replace(rendered.document, rows=rows)))


def test_the_answer_without_rows(rendered):
    none = replace(rendered.document, rows=replace(rendered.document.rows, headline=()))
    assert page.answers(none) == ("The references have no barrier to check.",)
    assert page.rules(none) == ()


def test_terminal_lines(rendered):
    document = TypeAdapter(page.Document).validate_json(rendered.json)
    header, *lines = stage.headline_lines(document.rows.headline)
    assert header[0] == "ion"
    assert len(lines) == 6
    assert {len(line) for line in lines} == {len(header)}
    assert lines[-1] == ("Li", "bulk", "0.511", "0.512", "0.49 \u00b1 0.03", "\u22120.02", "agrees")


def test_the_potential_stands_beside_dft_with_d3(rendered):
    rows = TypeAdapter(page.Document).validate_json(rendered.json).rows.headline
    with_d3 = [replace(r, d3_ev=-0.1) for r in rows if r.mlip_ev is not None]
    assert with_d3
    assert [r.ours_ev for r in with_d3] == [r.mlip_ev - 0.1 for r in with_d3]
    shown = stage.headline_lines(with_d3)[1:]
    assert [line[4].split()[0] for line in shown] == [f"{r.mlip_ev - 0.1:.2f}" for r in with_d3]


def test_path_error_is_over_every_labelled_saddle():
    assert_allclose(stage.path_error_ev(evaluation()), math.sqrt((0.01**2 + 0.012**2) / 2), rtol=1e-9, atol=0)
    assert stage.path_error_ev(None) is None


def test_optional_stages_are_shown_where_they_were_run(rendered, whole):
    for key in ("refine", "convergence", "md", "diffusion"):
        assert f'id="{key}"' not in rendered.html
        assert f'id="{key}"' in whole.html
    assert 'id="energetics"' in rendered.html  # windows and our own DFT come with the code
    for text in ("Barriers relaxed with DFT", "Convergence of the DFT settings", "\u22120.90 (negative)"):
        assert text in whole.html
    assert "| cutoff | cutoff ev 400.0 | 2 | 68.0 |" in whole.markdown


def test_import_is_light():
    code = (
        "import sys, mlip.pipeline, mlip.stages.report.stage;"
        "sys.exit('matplotlib' in sys.modules or 'jinja2' in sys.modules or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
