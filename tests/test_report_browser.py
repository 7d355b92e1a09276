"""The report in headless Chromium: nothing is wrong with the page, and bands, tables, folds and quotes work by keyboard."""

import csv
import io
import re
import shutil
import subprocess

import pytest
from helpers.browser import launched, opened, wrong
from helpers.material import everything, render

from mlip.core.report.csv import to_csv

PDFTOTEXT = shutil.which("pdftotext")


@pytest.fixture(scope="module")
def browser():
    with launched() as running:
        yield running


@pytest.fixture(scope="module")
def whole():
    return render(everything())


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wrong_with_the_page(browser, tmp_path, whole, width, scheme):
    with opened(browser, whole.html, tmp_path, width=width, scheme=scheme) as (page, faults):
        assert wrong(page, faults) == []


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ('<p style="width:2000px">wide</p>', r"horizontal scrolling: 20\d\d of 390 px"),
        ('<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">', "image without alt text"),
        ('<svg role="img"></svg>', "drawing without a label"),
        ("<table><thead><tr><th>x</th></tr></thead><tbody><tr><td>1</td></tr></tbody></table>", "header without scope"),
        ("<button></button>", "control without a name"),
        ("<script>undefined.x</script>", "script error: .*undefined"),
        ("<script>console.error('bad')</script>", "console: bad"),
        ('<img alt="far" src="https://example.invalid/x.png">', "request: https://example.invalid/x.png"),
        ('<p style="color:#999">pale</p>', r'contrast 2\.\d+ of "pale"'),
        ('<details><summary>more</summary><p style="color:#999">pale</p></details>', r'contrast 2\.\d+ of "pale"'),
        ('<svg role="img" aria-label="x"><text y="9" fill="#999">pale</text></svg>', r'contrast 2\.\d+ of "pale"'),
        ('<p style="background:#333;color:#555">dim</p>', r'contrast 1\.\d+ of "dim"'),
    ],
)
def test_a_broken_page_is_found(browser, tmp_path, broken, message):
    """Every check fails on a page that breaks it, and on nothing else of that page."""
    sound = (
        '<!DOCTYPE html><html lang="en"><title>x</title><body style="background:#fff;color:#000"><p>words</p>{}</body>'
    )
    with opened(browser, sound.format(""), tmp_path, width=390) as (page, faults):
        assert wrong(page, faults) == []
    with opened(browser, sound.format(broken), tmp_path, width=390) as (page, faults):
        page.wait_for_load_state()
        found = [one for one in wrong(page, faults) if "Failed to load resource" not in one]
        assert len(found) == 1, found
        assert re.search(message, found[0])


def test_the_first_screen_holds_the_answer(browser, tmp_path, whole):
    with opened(browser, whole.html, tmp_path) as (page, _):
        for selector in (".tally >> nth=0", ".first img", "#table-headline"):
            assert page.locator(selector).bounding_box()["y"] < 800, selector
        assert page.locator(".first img").bounding_box()["y"] + 100 < 800
        assert [line.inner_text() for line in page.locator(".tally").all()] == list(whole.page.summary)


def test_a_band_is_looked_at_by_keyboard_and_buttons(browser, tmp_path, whole):
    """Every key moves text, marker and atoms; the text has image and energy, and no energy without convergence."""
    with opened(browser, whole.html, tmp_path, width=390) as (page, faults):
        viewer = page.locator('[id="band-bulk-Li-bulk_oct"]')
        slider, said, marker = viewer.locator("input"), viewer.locator(".said"), viewer.locator(".marker")
        state = lambda: (said.inner_text(), marker.get_attribute("cx"), viewer.locator(".views svg").first.inner_html())  # noqa: E731
        assert said.inner_text() == "Image 4 of 7, the highest image: energy +0.490 eV, path length 1.60 \u00c5."
        slider.focus()
        seen = [state()]
        for key, number in (
            ("ArrowRight", 5),
            ("ArrowLeft", 4),
            ("Home", 1),
            ("End", 7),
            ("ArrowUp", 7),
            ("ArrowDown", 6),
        ):
            slider.press(key)
            seen.append(state())
            assert seen[-1][0].startswith(f"Image {number} of 7"), key
            assert slider.get_attribute("aria-valuetext") == seen[-1][0]
            assert viewer.locator(".views svg").last.get_attribute("aria-label") == f"From the side. {seen[-1][0]}"
        assert seen[0] == seen[2]
        assert [len(set(column)) for column in zip(*seen, strict=True)] == [5, 5, 5]  # text, marker and atoms
        viewer.get_by_role("button", name="Next image").click()
        viewer.get_by_role("button", name="Next image").press("Enter")
        assert said.inner_text() == "Image 7 of 7: energy 0.000 eV, path length 3.20 \u00c5."
        viewer.locator("select").select_option("potential 2")
        assert "+0.510 eV" in said.inner_text()
        bad = page.locator('[id="band-bulk-Mg-bulk_oct"] .said')
        assert bad.inner_text() == "Image 4 of 7: no energy is given, because the status of the band is max steps."
        assert min(b.bounding_box()["width"] for b in viewer.locator("button").all()) >= 44
        assert faults == []


def test_tables_are_sorted_by_click_and_keyboard(browser, tmp_path, whole):
    """Numbers as numbers, either way; rows without one stay last."""
    with opened(browser, whole.html, tmp_path) as (page, _):
        table = page.locator("#table-hops")
        column = lambda: [row.locator("td").nth(7).inner_text() for row in table.locator("tbody tr").all()]  # noqa: E731
        head = table.locator("th", has_text="Forward (eV)")
        before = column()
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == "ascending"
        assert column() == ["0.442", "0.471", "0.499", "1.031", "1.712", "\u2013"] != before
        head.locator("button").focus()
        page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == "descending"
        assert column() == ["1.712", "1.031", "0.499", "0.471", "0.442", "\u2013"]
        cells = table.locator("tbody td:nth-child(8)")
        cells.evaluate_all(
            "cells => cells.slice(0, 5).forEach((cell, k) => { cell.dataset.v = [10, -3, -20, 1e5, 0.1][k]; })"
        )
        head.locator("button").press("Enter")
        assert cells.evaluate_all("cells => cells.map(cell => cell.dataset.v)")[:5] == [
            "-20",
            "-3",
            "0.1",
            "10",
            "100000",
        ]
        table.locator("th", has_text="Status").locator("button").press(" ")
        assert [one.inner_text() for one in table.locator("[aria-sort]").all()] == ["Status"]
        headline = page.locator("#table-headline")
        headline.locator("th", has_text="Difference").locator("button").click()
        shown = headline.locator("tbody td:nth-child(8)").all_inner_texts()
        assert shown == ["\u22120.02", "+0.65", *["\u2013"] * 4]


def test_every_table_has_its_csv_in_the_page(browser, tmp_path, whole):
    tables = {t.key: t for s in whole.page.ordered() for t in _tables(s) if t.rows}
    with opened(browser, whole.html, tmp_path) as (page, _):
        links = page.locator(".csv a").all()
        assert sorted(link.get_attribute("download") for link in links) == sorted(f"{key}.csv" for key in tables)
        assert page.locator("table").count() == len(links)
        for key in ("headline", "hops"):
            with page.expect_download() as waiting:
                page.locator(f'.csv a[download="{key}.csv"]').click()
            text = waiting.value.path().read_bytes().decode()
            assert text == to_csv(tables[key])
            assert len(list(csv.reader(io.StringIO(text)))) == len(tables[key].rows) + 1


def _tables(section):
    return [*section.tables, *(t for part in section.parts for t in _tables(part))]


def test_sections_fold_and_a_link_opens_them(browser, tmp_path, whole):
    with opened(browser, whole.html, tmp_path) as (page, _):
        open_now = lambda key: page.evaluate("k => document.getElementById(k).closest('details').open", key)  # noqa: E731
        assert (open_now("hops"), open_now("settings")) == (True, False)
        summary = page.locator("summary", has_text="All hops")
        summary.press("Enter")
        assert not open_now("hops")
        page.locator(".contents summary").press(" ")
        page.locator(".contents a", has_text="All hops").click()
        page.locator(".contents a", has_text="Settings and provenance").press("Enter")
        page.wait_for_function("document.getElementById('settings').closest('details').open")
        assert open_now("hops")
        box = page.locator("#settings").bounding_box()
        assert 0 <= box["y"] < 800
        assert page.evaluate(
            "[...document.querySelectorAll('main > section:not(.answer)')].every(s => s.querySelector('details'))"
        )


@pytest.mark.parametrize("allowed", [True, False])
def test_a_sentence_is_copied_or_selected(browser, tmp_path, whole, allowed):
    """The clipboard may be refused: then the sentence is selected, ready to be copied by hand."""
    (quoted,) = (p for s in whole.page.sections for p in s.parts if p.key == "quote")
    with opened(browser, whole.html, tmp_path) as (page, _):
        page.evaluate(
            "ok => { Object.defineProperty(navigator, 'clipboard', { value: { writeText: async text => {"
            " if (!ok) throw new Error('refused'); window.copied = text; } } }); document.execCommand = () => false; }",
            allowed,
        )
        assert page.locator(".quotes li").count() == 6
        button = page.locator(".quotes button").nth(5)
        button.press("Enter")
        page.wait_for_function("document.querySelectorAll('.quotes button')[5].textContent !== 'Copy'")
        got = page.evaluate("window.copied ?? getSelection().toString()")
        assert (button.inner_text(), got) == ("Copied" if allowed else "Selected", quoted.quotes[5])


def test_the_focus_is_seen(browser, tmp_path, whole):
    with opened(browser, whole.html, tmp_path) as (page, _):
        for _step in range(8):
            page.keyboard.press("Tab")
            outline = page.evaluate("getComputedStyle(document.activeElement).outline")
            assert "3px" in outline, page.evaluate("document.activeElement.outerHTML.slice(0, 100)")


def test_without_a_script_everything_but_the_images_is_there(browser, tmp_path, whole):
    bare = whole.html[: whole.html.rindex("<script>")] + "</body></html>"
    with opened(browser, bare, tmp_path) as (page, faults):
        assert wrong(page, faults) == []
        assert page.locator(".controls:visible, .views:visible").count() == 0
        assert page.locator(".profile:visible").count() == 3


@pytest.mark.skipif(PDFTOTEXT is None, reason="no pdftotext on this machine")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_folded_sections_are_printed(browser, tmp_path, whole, scheme):
    with opened(browser, whole.html, tmp_path, scheme=scheme) as (page, _):
        page.pdf(path=tmp_path / "report.pdf")
        page.emulate_media(media="print", color_scheme=scheme)
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.locator(".controls:visible, .csv:visible, .quotes button:visible").count() == 0
    done = subprocess.run([PDFTOTEXT, tmp_path / "report.pdf", "-"], capture_output=True, text=True, check=True)
    words = " ".join(done.stdout.split())
    for section in whole.page.ordered():
        assert section.heading.split()[0] in words
    for said in ("This table is a caution, not a result", "Langevin dynamics (BAOAB)", "train.energy_fit"):
        assert said in words
