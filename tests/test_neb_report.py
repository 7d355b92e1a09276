"""Figures of the stage `neb`: cells with sites and paths, and the energy along a hop."""

from xml.etree import ElementTree as ET

import pytest
from helpers.material import atoms, band, results
from numpy.testing import assert_allclose

from mlip.stages.neb import report

FIGURES = {
    "profile": lambda: report.profile([band("bulk", "Li", "x", m, 0.5) for m in (1, 2)], dft_ev=0.5),
    "structure": lambda: report.structure(atoms(), results().sites[2:4], [band("001", "Li", "x", 1, 1.0)]),
    "bare structure": lambda: report.structure(atoms()),
}


@pytest.mark.parametrize("name", FIGURES)
def test_svg_is_well_formed_and_reproducible(name):
    image = FIGURES[name]()
    assert ET.fromstring(image).tag.endswith("svg")  # noqa: S314 (our own bytes)
    assert FIGURES[name]() == image


def test_atoms_are_circles_of_the_right_size():
    """Circles, not curves: the bytes of a picture are a tenth, and none is left as curves."""
    image = ET.fromstring(report.structure(atoms()))  # noqa: S314 (our own bytes)
    space = "{http://www.w3.org/2000/svg}"
    circles = [float(c.get("r")) for c in image.iter(f"{space}circle")]
    assert len(circles) == 2 * len(report.periodic(atoms())[0])
    sizes = sorted({round(r, 1) for r in circles})
    assert len(sizes) == 4  # two elements in two views
    assert_allclose(sizes[3] / sizes[1], (0.35 * 1.60 + 0.3) / (0.35 * 0.66 + 0.3), rtol=0.02, atol=0)


def drawn(monkeypatch, bands, **keys):
    """Labels and line styles on the axes of a profile."""
    kept = {}
    monkeypatch.setattr(report, "encoded", lambda figure, form="svg": kept.update(axis=figure.axes[0]) or b"")
    report.profile(bands, **keys)
    return [(line.get_label(), line.get_linestyle()) for line in kept["axis"].get_lines()]


def test_mean_only_where_all_members_converged(monkeypatch):
    good = [band("bulk", "Li", "x", m, 0.5) for m in (1, 2)]
    assert "mean of members" in [label for label, _ in drawn(monkeypatch, good)]
    mixed = [good[0], band("bulk", "Li", "x", 2, 0.7, status="max steps")]
    lines = drawn(monkeypatch, mixed)
    assert "mean of members" not in [label for label, _ in lines]
    assert [style for _, style in lines[:2]] == ["-", "--"]


def test_inputs_are_not_changed():
    slab = atoms()
    before = slab.copy()
    report.structure(slab, results().sites[2:4])
    assert slab == before


def test_a_profile_shows_energies_in_ev_and_the_dft_barrier(monkeypatch):
    kept = {}
    monkeypatch.setattr(report, "encoded", lambda figure, form="svg": kept.update(axis=figure.axes[0]) or b"")
    one = band("bulk", "Li", "x", 1, 0.5)
    report.profile([one], dft_ev=0.4)
    line, level, _ = kept["axis"].get_lines()
    assert tuple(line.get_ydata()) == one.energies_ev
    assert tuple(line.get_xdata()) == one.coordinate_angstrom
    assert (level.get_label(), set(level.get_ydata())) == ("DFT barrier", {0.4})
    assert kept["axis"].get_ylabel() == "energy (eV)"


def test_sites_and_paths_are_drawn_in_both_views(monkeypatch):
    kept = {}
    monkeypatch.setattr(report, "encoded", lambda figure, form="svg": kept.update(axes=figure.axes) or b"")
    own, path = results().sites[2:4], band("001", "Li", "x", 1, 1.0)
    report.structure(atoms(), own, [path])
    assert [axis.get_title() for axis in kept["axes"]] == ["from above", "from the side"]
    for axis, up in zip(kept["axes"], (1, 2), strict=True):
        assert [t.get_text() for t in axis.texts] == [s.name for s in own]
        marks = [line for line in axis.get_lines() if line.get_marker() == "o"]
        assert [(m.get_xdata()[0], m.get_ydata()[0]) for m in marks] == [
            (s.position_angstrom[0], s.position_angstrom[up]) for s in own
        ]
        assert [m.get_color() for m in marks] == [report.LAYERS[s.layer] for s in own]
        (drawn_path,) = (line for line in axis.get_lines() if line.get_color() == report.PURPLE)
        assert tuple(drawn_path.get_ydata()) == tuple(p[up] for p in path.ion_angstrom)


def test_every_host_and_ion_has_a_picture():
    found = report.pictures_section({"001": atoms(), "empty": atoms()}, results().sites, ())
    assert [f.caption for f in found.figures] == ["001: Li sites and paths", "001: Mg sites and paths", "empty"]
    assert report.pictures_section({}, results().sites, ()).is_empty
