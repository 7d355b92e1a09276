"""Figures of diffusion: they are images, and limits, ranges and rates are in them."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from helpers import motions as known
from helpers import walks

from mlip.core.files import place
from mlip.literature.references import load
from mlip.stages.diffusion import density, figures, hops, kinetics

HOST = Atoms("TiO", positions=[[0, 0, 10.0], [1.9, 0, 10.5]], cell=walks.SQUARE, pbc=True)


@pytest.fixture(scope="module")
def motions():
    return [known.motion(t, frames=300) for t in (900.0, 1200.0)] + [known.motion(600.0, frames=60, value=1e-9)]


@pytest.fixture
def axes(monkeypatch):
    """The axes of the figure that is drawn."""
    kept = {}
    monkeypatch.setattr(figures, "encoded", lambda figure, form="svg": kept.update(axis=figure.axes[0]) or b"")
    return kept


def test_every_figure_of_a_run(motions):
    maps = density.densities(("001_Li", "001", "Li"), known.tracks(900.0, frames=100), walks.SQUARE)
    found = kinetics.Diffused(
        motions=tuple(motions), kinetics=(known.lines(motions),), densities=tuple(maps), target_ps=60.0, notes=()
    )
    drawn = figures.everything(found, known.SITES, known.HOPS, {"001": HOST}, load(place("datasets/references")))
    assert [d.form for d in drawn] == ["svg+xml", "svg+xml", "svg+xml", "png"]
    assert all(d.image.startswith(b"<?xml") for d in drawn[:3])
    assert drawn[3].image.startswith(b"\x89PNG")
    assert len({d.caption for d in drawn}) == 4
    assert len(figures.everything(found, (), (), {}, load(place("datasets/references")))) == 2


def test_the_ranges_are_those_of_the_facet_and_the_ion():
    references = load(place("datasets/references"))
    found = figures.ranges(references, "001", "Li")
    assert [(r.low_cm2_per_s, r.high_cm2_per_s) for r in found] == [(1e-11, 1e-7)]
    assert len(figures.ranges(references, "bulk", "Mg")) == 2
    assert figures.ranges(references, "101", "Li") == []


def test_arrhenius_marks_limits_and_another_quantity(axes, motions):
    figures.arrhenius(known.lines(motions), motions, [figures.Range("GITT", 1e-11, 1e-7)])
    axis = axes["axis"]
    labels = [t.get_text() for t in axis.get_legend().get_texts()]
    assert labels == ["molecular dynamics", "GITT: another quantity"]
    (limit,) = [line for line in axis.get_lines() if line.get_marker() == "v"]
    assert limit.get_xdata()[0] == pytest.approx(1000 / 600)
    assert axis.get_yscale() == "log"


def test_no_plot_assumes_a_prefactor_and_none_needs_a_legend(axes, motions):
    nothing = known.lines(motions[2:])
    assert not nothing.diffusion.band
    figures.arrhenius(nothing, motions[2:], [])
    assert axes["axis"].get_legend() is None


def test_widths_of_hops_follow_their_rates(axes, motions):
    hot = motions[1]
    slower = tuple(replace(r, per_ps=r.per_ps.scaled(0.1)) if r.hop == "y" else r for r in hot.rates)
    figures.network(replace(hot, rates=slower), known.SITES, known.HOPS, HOST)
    widths = [line.get_linewidth() for line in axes["axis"].get_lines() if line.get_linestyle() == "-"]
    assert np.isclose(widths[0], figures.WIDEST)
    assert widths[1] < 0.8 * widths[0]
    figures.network(motions[2], known.SITES, known.HOPS, HOST)
    assert {line.get_linestyle() for line in axes["axis"].get_lines() if len(line.get_xdata()) == 2} == {":"}


def test_hops_that_are_counted_together_are_drawn_with_their_joint_rate(axes, motions):
    joint = tuple(replace(r, hop=f"{r.hop}{hops.JOINT}z") for r in motions[1].rates if r.hop == "x")
    figures.network(replace(motions[1], rates=joint), known.SITES, known.HOPS, HOST)
    styles = [line.get_linestyle() for line in axes["axis"].get_lines() if len(line.get_xdata()) == 2]
    assert styles == ["-", ":"]
