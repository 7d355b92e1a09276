"""Figures are whole images, the same for the same data, and draw what they are given."""

import subprocess
import sys
from xml.etree import ElementTree as ET

import pytest
from material import FOLDER, SETTINGS, atoms, band, evaluation, material, results

from mlip.literature import references
from mlip.stages.evaluate.evaluate import Parity
from mlip.stages.report import plots, tables


def headline():
    return tables.rows(results(), references.load(FOLDER), SETTINGS).headline


FIGURES = {
    "headline": lambda: plots.headline(headline()),
    "profile": lambda: plots.profile([band("bulk", "Li", "x", m, 0.5) for m in (1, 2)], dft_ev=0.5),
    "training": lambda: plots.training(material().histories),
    "structure": lambda: plots.structure(atoms(), results().sites[2:4], [band("001", "Li", "x", 1, 1.0)]),
    "bare structure": lambda: plots.structure(atoms()),
}


@pytest.mark.parametrize("name", FIGURES)
def test_svg_is_well_formed_and_reproducible(name):
    image = FIGURES[name]()
    assert ET.fromstring(image).tag.endswith("svg")  # noqa: S314 (our own bytes)
    assert FIGURES[name]() == image


def test_parity_is_png():
    image = plots.parity(evaluation().parity)
    assert image.startswith(b"\x89PNG")
    assert plots.parity(Parity((), (), (), ())).startswith(b"\x89PNG")


def drawn(monkeypatch, bands, **keys):
    """Labels and line styles on the axes of a profile."""
    kept = {}
    monkeypatch.setattr(plots, "encoded", lambda figure, form="svg": kept.update(axis=figure.axes[0]) or b"")
    plots.profile(bands, **keys)
    return [(line.get_label(), line.get_linestyle()) for line in kept["axis"].get_lines()]


def test_mean_only_where_all_members_converged(monkeypatch):
    good = [band("bulk", "Li", "x", m, 0.5) for m in (1, 2)]
    assert "mean of members" in [label for label, _ in drawn(monkeypatch, good)]
    mixed = [good[0], band("bulk", "Li", "x", 2, 0.7, status="max steps")]
    lines = drawn(monkeypatch, mixed)
    assert "mean of members" not in [label for label, _ in lines]
    assert [style for _, style in lines[:2]] == ["-", "--"]


def test_rows_without_number_are_named_not_drawn(monkeypatch):
    kept = {}
    monkeypatch.setattr(plots, "encoded", lambda figure, form="svg": kept.update(axis=figure.axes[0]) or b"")
    plots.headline(headline())
    assert [r.mlip_ev is None for r in headline()].count(True) == 2
    assert [t.get_text() for t in kept["axis"].texts] == ["not resolved"] * 2
    assert len(kept["axis"].containers) == 4


def test_inputs_are_not_changed():
    slab = atoms()
    before = slab.copy()
    plots.structure(slab, results().sites[2:4])
    assert slab == before


def test_import_is_light():
    code = "import sys, mlip.plots, mlip.report; sys.exit('matplotlib' in sys.modules or 'jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
