"""The section of the training: curves of every member, and what the fit of the energies changed."""

from xml.etree import ElementTree as ET

import pytest
from helpers.material import histories

from mlip.stages.train import report
from mlip.stages.train.energy_fit import EnergyFit


def test_svg_is_well_formed_and_reproducible():
    image = report.training(histories())
    assert ET.fromstring(image).tag.endswith("svg")  # noqa: S314 (our own bytes)
    assert report.training(histories()) == image


def test_curves_of_every_member(monkeypatch):
    kept = {}
    monkeypatch.setattr(report, "encoded", lambda figure, form="svg": kept.update(axes=figure.axes) or b"")
    report.training(histories())
    loss, force = kept["axes"]
    assert [line.get_linestyle() for line in loss.get_lines()] == [":", "-"] * 2
    assert [t.get_text() for t in force.get_legend().get_texts()] == ["member 1", "member 2"]
    first = force.get_lines()[0]
    assert len(first.get_xdata()) == 20
    assert first.get_ydata()[0] == pytest.approx(1e3 * histories()[1][0].valid_force_rmse_ev_per_angstrom)
    assert "meV" in force.get_ylabel()


def test_no_history_no_figure():
    assert report.training_section({}, ()).is_empty
    assert report.training_section({1: []}, ()).is_empty


def test_a_fit_without_figures_is_told():
    section = report.training_section({}, (EnergyFit(cells=36, before_ev=0.096, after_ev=0.029),))
    assert "96 to 96 meV per cell before the fit and 29 to 29 meV per cell after it" in section.text[0]
