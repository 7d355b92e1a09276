"""Headless Chromium for tests of the report: one page of the browser, and what is wrong with what it shows."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SILENT = ("--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-sync", *SILENT)
REQUIRED = "MLIP_REQUIRE_CHROMIUM"  # set where tests in a browser may not be skipped

# WCAG 2.1: contrast of every text with what lies behind it, 4.5, or 3 for large text.
CONTRAST = """() => {
  const known = new Map(), context = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
  const rgba = text => {
    if (!known.has(text)) {
      context.clearRect(0, 0, 1, 1); context.fillStyle = text; context.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
      known.set(text, [r, g, b, a / 255]);
    }
    return known.get(text);
  };
  const over = (top, below) => [0, 1, 2].map(i => top[3] * top[i] + (1 - top[3]) * below[i]);
  const linear = v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = c => 0.2126 * linear(c[0]) + 0.7152 * linear(c[1]) + 0.0722 * linear(c[2]);
  const behind = node => {
    const own = node ? rgba(getComputedStyle(node).backgroundColor) : rgba(getComputedStyle(document.body).backgroundColor);
    return !node || own[3] === 1 ? own : over(own, behind(node.parentElement)).concat(1);
  };
  const bad = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement, style = getComputedStyle(node);
    const words = walker.currentNode.textContent.trim();
    if (!words || node.closest('script, noscript, title') || !node.checkVisibility()) continue;
    const ground = behind(node), ink = rgba(node.closest('svg') ? style.fill : style.color);
    const pair = [light(over(ink, ground)), light(ground)].sort((a, b) => b - a);
    const ratio = (pair[0] + 0.05) / (pair[1] + 0.05), size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) bad.push(`contrast ${ratio.toFixed(2)} of "${words.slice(0, 40)}"`);
  }
  return bad;
}"""
UNNAMED = """() => [
  ...[...document.querySelectorAll('img')].filter(i => !i.alt.trim()).map(i => 'image without alt text: ' + i.src.slice(0, 40)),
  ...[...document.querySelectorAll('svg')].filter(s => s.getAttribute('role') !== 'img' || !s.getAttribute('aria-label'))
    .map(s => 'drawing without a label in ' + (s.closest('[id]')?.id ?? 'the page')),
  ...[...document.querySelectorAll('thead th')].filter(h => h.scope !== 'col').map(h => 'header without scope: ' + h.textContent),
  ...[...document.querySelectorAll('button, input, select, summary, a')]
    .filter(c => !(c.getAttribute('aria-label') || c.textContent).trim()).map(c => 'control without a name: ' + c.outerHTML),
]"""


@contextmanager
def launched() -> Iterator:
    """A headless browser with an empty profile; the test is skipped where browser or driver is missing."""
    with _driver().sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@contextmanager
def opened(browser, html: str, folder: Path, *, width: int = 1280, scheme: str = "light") -> Iterator:
    """A page of the browser that shows the HTML, and the list of script errors, console errors and requests so far."""
    source = folder / "page.html"
    source.write_text(html, encoding="utf-8")
    faults: list[str] = []
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.on("pageerror", lambda error: faults.append(f"script error: {error}"))
    page.on("console", lambda line: faults.append(f"console: {line.text}") if line.type != "log" else None)
    page.on("request", lambda request: _note(request.url, source.as_uri(), faults))
    page.goto(source.as_uri())
    yield page, faults
    page.close()


def _note(url: str, own: str, faults: list[str]) -> None:
    if not url.startswith(("data:", own)):
        faults.append(f"request: {url}")


def _driver():
    """The module of the driver; the test is skipped without browser or driver, unless both are required."""
    missing = "" if CHROMIUM else "no Chromium on this machine: make setup-browser installs it"
    try:
        from playwright import sync_api
    except ImportError:
        missing = "no playwright: install the extra 'dev'"
    if missing:
        (pytest.fail if os.environ.get(REQUIRED) else pytest.skip)(missing)
    return sync_api


def wrong(page, faults: list[str]) -> list[str]:
    """Everything that is wrong with a page: errors and requests, overflow, missing names, contrast; folds closed and open."""
    found = []
    for _ in range(2):
        width, room = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        if width > room:
            found.append(f"horizontal scrolling: {width} of {room} px")
        found += page.evaluate(UNNAMED) + page.evaluate(CONTRAST)
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    return list(dict.fromkeys([*faults, *found]))
