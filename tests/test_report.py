"""The report: statuses instead of numbers, three formats with one content, a page that fits a phone."""

import json
import math
import re
import shutil
import subprocess
from dataclasses import replace

import pytest
from material import evaluation, material, results, step
from numpy.testing import assert_allclose
from pydantic import TypeAdapter

from mlip.stages.convergence.convergence import Variant
from mlip.stages.report import report
from mlip.stages.train.energy_fit import EnergyFit


@pytest.fixture(scope="module")
def rendered():
    return report.render(material())


def headline_cells(html):
    table = html[html.index('<table class="stack">') :]
    rows = re.findall(r"<tr>(.*?)</tr>", table[: table.index("</table>")], flags=re.DOTALL)
    return [
        [re.sub("<.*?>", "", cell) for cell in re.findall(r"<td.*?>(.*?)</td>", row, flags=re.DOTALL)]
        for row in rows[1:]
    ]


def test_six_rows_with_their_verdicts(rendered):
    cells = {(row[0], row[1]): row for row in headline_cells(rendered.html)}
    verdicts = {key: row[7] for key, row in cells.items()}
    assert verdicts == {
        ("Mg", "(001)"): "not resolved",
        ("Mg", "(100)"): "not resolved",
        ("Mg", "bulk"): "not resolved",
        ("Li", "(001)"): "differs",
        ("Li", "(100)"): "not comparable",
        ("Li", "bulk"): "agrees",
    }
    assert cells["Li", "bulk"][2:6] == ["0.511", "0.512", "0.49 \u00b1 0.03", "\u22120.005"]


def test_what_the_fit_of_energies_did_is_said():
    fits = (EnergyFit(36, 0.096, 0.029), EnergyFit(36, 0.110, 0.044))
    said = "On the 36 training cells that count they were off by 96 to 110 meV a cell before and are off by 29 to 44"
    made = report.render(material(energy_fits=fits))
    assert said in made.html
    assert said in made.markdown
    assert "energies were fitted" not in report.render(material()).html


def test_no_number_for_what_is_not_resolved(rendered):
    for row in headline_cells(rendered.html):
        if row[7] == "not resolved":
            assert row[6] == "\u2013"
            assert row[4] == "\u2013" or "exceeds the limit" in row[8]
            assert row[8]
    assert "no converged barrier for bulk_oct" in rendered.html
    assert "exceeds the limit of 0.10 eV" in rendered.html
    assert "max steps (2 of 2 members)" in rendered.html
    assert "0.734" not in re.sub(r"data:image[^\"]+", "", rendered.html)  # energy of the band that did not converge
    assert "0.471" not in re.sub(r"data:image[^\"]+", "", rendered.html.split('id="order"')[0])


def test_statuses_are_shown(rendered):
    for text in ("desorbed", "single points of this project", "not computed by an interatomic potential"):
        assert text in rendered.html
        assert text in rendered.markdown


def test_page_is_self_contained(rendered):
    assert "<script" not in rendered.html
    assert not re.findall(r"<link|@import|url\(", rendered.html)
    assert all(src.startswith("data:image/") for src in re.findall(r'src="([^"]{20})', rendered.html))
    assert rendered.html.count("<img") >= 8


def test_ids_are_unique_and_links_lead_somewhere(rendered):
    ids = re.findall(r' id="([^"]+)"', rendered.html)
    assert len(set(ids)) == len(ids)
    assert set(re.findall(r'href="#([^"]+)"', rendered.html)) <= set(ids)


def test_text_is_escaped():
    html = report.render(material(title="<b>x</b> & y", pictures={}, bands=(), evaluation=None, histories={})).html
    assert "<b>x</b>" not in html
    assert "&lt;b&gt;x&lt;/b&gt; &amp; y" in html


def test_json_round_trip(rendered):
    adapter = TypeAdapter(report.Document)
    document = adapter.validate_json(rendered.json)
    assert adapter.dump_json(document, indent=1).decode() + "\n" == rendered.json
    raw = json.loads(rendered.json)
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


def test_same_material_gives_the_same_page(rendered):
    assert report.render(material()).html == rendered.html


def test_another_paper_has_no_audit_but_keeps_what_it_does_not_state():
    loaded = material().references
    sources = tuple(replace(s, doi="10.1000/other") if s == loaded.checked() else s for s in loaded.sources)
    made = report.render(material(references=replace(loaded, sources=sources)))
    assert "Audit of the paper from its own numbers" not in made.html + made.markdown
    assert "What the paper does not state" in made.html


def test_an_empty_run_renders():
    empty = replace(results(), hosts=(), sites=(), hops=(), barriers=(), bottlenecks=(), dft=(), path_error_ev=None)
    bare = material(results=empty, bands=(), pictures={}, evaluation=None, histories={}, dataset_card={}, provenance={})
    page = report.render(bare)
    assert page.html.count("no path was calculated for this facet and ion") == 6
    assert "No evaluation on held-out groups" in page.markdown


def test_terminal_lines(rendered):
    document = TypeAdapter(report.Document).validate_json(rendered.json)
    header, *lines = report.headline_lines(document.rows.headline)
    assert header[0] == "ion"
    assert len(lines) == 6
    assert {len(line) for line in lines} == {len(header)}
    assert lines[-1] == ("Li", "bulk", "0.511", "0.512", "0.49 \u00b1 0.03", "\u22120.02", "agrees")


def test_the_potential_stands_beside_dft_with_d3(rendered):
    rows = TypeAdapter(report.Document).validate_json(rendered.json).rows.headline
    with_d3 = [replace(r, d3_ev=-0.1) for r in rows if r.mlip_ev is not None]
    assert with_d3
    assert [r.ours_ev for r in with_d3] == [r.mlip_ev - 0.1 for r in with_d3]
    shown = report.headline_lines(with_d3)[1:]
    assert [line[4].split()[0] for line in shown] == [f"{r.mlip_ev - 0.1:.2f}" for r in with_d3]


def test_path_error_is_over_every_labelled_saddle():
    assert_allclose(report.path_error_ev(evaluation()), math.sqrt((0.01**2 + 0.012**2) / 2), rtol=1e-9, atol=0)
    assert report.path_error_ev(None) is None


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PROBE = (
    "<script>addEventListener('load',()=>{const w=document.documentElement;"
    "document.title='width '+w.scrollWidth+' of '+w.clientWidth})</script></body>"
)
FRAME = "<body style='margin:0'><iframe srcdoc=\"{page}\" style='width:390px;height:800px;border:0'></iframe></body>"


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_page_fits_a_phone(tmp_path, rendered):
    """No horizontal overflow of the page in a window of 390 px; wide tables scroll inside their own box."""
    probe = rendered.html.replace("</body>", PROBE.replace("document.title=", "parent.document.title="))
    page = tmp_path / "phone.html"
    page.write_text(FRAME.format(page=probe.replace("&", "&amp;").replace('"', "&quot;")), encoding="utf-8")
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        f"--user-data-dir={tmp_path / 'c'}",
    ]
    command = [CHROMIUM, *flags, "--virtual-time-budget=3000", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    found = re.search(r"<title>width (\d+) of (\d+)</title>", done.stdout)
    assert found, done.stderr[-500:]
    assert int(found[1]) <= int(found[2]) <= 390


def test_ladder_and_convergence_are_shown_where_they_were_run(rendered):
    assert 'id="ladder"' not in rendered.html
    assert 'id="convergence"' not in rendered.html
    assert 'id="energetics"' in rendered.html  # windows and our own DFT come with the code
    variant = Variant("cutoff", {"cutoff_ev": 400.0}, *(False, 2, 0.068, 0.3, {}, 0.01, 0.014, (), None, "calculated"))
    whole = material(ladder=(step("001_in", 1.03, 1.09),), convergence=(variant,))
    found = report.render(whole)
    for text in ("DFT on the potential&#39;s own bands", "What the DFT settings cost", "DFT band needed"):
        assert text in found.html
    assert "| cutoff | cutoff ev 400.0 | 2 | 68.0 |" in found.markdown
