"""The viewer of bands: its data give the images back, its profile has the points, and words without a wrong number."""

import json
import re

import numpy as np
import pytest
from ase import Atoms
from helpers.material import band, images_of
from numpy.testing import assert_allclose

from mlip.core.figures import VERMILION
from mlip.core.report.viewer import payload, profile
from mlip.stages.neb.viewer import band_viewer, said


def made(*bands, **keys):
    return band_viewer(bands, images_of(bands), caption="Li in the bulk", **keys)


def positions(data, track, image):
    """Positions (N, 3) in Angstrom, as the script of the page calculates them."""
    return (np.array(data["base"]) + np.array(track["moves"][image])).reshape(-1, 3) / 100


def test_the_data_give_every_image_back_to_a_picometre():
    bands = (band("bulk", "Li", "x", 1, 0.49), band("bulk", "Li", "x", 2, 0.51))
    data = json.loads(payload(made(*bands)))
    for one, track in zip(bands, data["tracks"], strict=True):
        frames = images_of([one])["bulk", "Li", "x", one.member]
        for k, frame in enumerate(frames):
            assert_allclose(positions(data, track, k), frame.positions, rtol=0, atol=0.0101)
    assert (data["marked"], data["tracks"][0]["start"]) == (24, 3)
    assert data["kinds"][data["kind"][-1]][0] == VERMILION
    assert [sum(np.array(data["kind"]) == k) for k in range(3)] == [8, 16, 1]


def test_only_what_moves_takes_space():
    """Later images are changes: with atoms at rest the data hardly grow with the number of images."""
    one = band("bulk", "Li", "x", 1, 0.49)
    frames = images_of([one])["bulk", "Li", "x", 1]
    still = [frames[0]] * len(frames)
    sizes = [len(payload(band_viewer([one], {("bulk", "Li", "x", 1): f}, caption="c"))) for f in (still, frames)]
    assert sizes[0] < sizes[1] < sizes[0] + 7 * 200


def test_a_path_through_the_wall_of_the_cell_has_no_jump():
    """Atoms that are wrapped into the cell lie where a continuous path goes, and the first image lies in the cell."""
    one = band("bulk", "Li", "x", 1, 0.49)
    cell, walk = [6.0, 6.0, 9.0], np.linspace(5.2, 7.6, 7)
    frames = [Atoms("TiLi", positions=[(1, 1, 1), (x % 6.0, 3, 4)], cell=cell, pbc=True) for x in walk]
    data = json.loads(payload(band_viewer([one], {("bulk", "Li", "x", 1): frames}, caption="c")))
    ion = [positions(data, data["tracks"][0], k)[-1, 0] for k in range(7)]
    assert_allclose(ion, walk, rtol=0, atol=0.0101)
    assert data["box"][1][0] >= 760
    shifts = {tuple(shift) for _, *shift in data["copies"]}
    assert shifts == {(600, 0, 0), (0, 600, 0), (600, 600, 0)}  # the atom near the corner, and never the ion


def test_the_profile_has_every_point_and_the_level_of_dft():
    bands = (band("bulk", "Li", "x", 1, 0.49), band("bulk", "Li", "x", 2, 0.51, status="max steps"))
    viewer = made(*bands, dft_ev=0.6)
    drawn, data = profile(viewer), json.loads(payload(viewer))
    lines = re.findall(r'<path class="track"[^>]* d="M([^"]*)"', drawn)
    assert len(lines) == 2
    for line, track in zip(lines, data["tracks"], strict=True):
        assert [[float(x) for x in point.split()] for point in line.split("L")] == track["marks"]
    first, top, last = (data["tracks"][0]["marks"][k] for k in (0, 3, 6))
    assert first[1] == last[1] > top[1]
    assert_allclose(top[0] - first[0], (last[0] - first[0]) / 2, rtol=0, atol=0.1)
    level = float(re.search(r'class="level" d="M52 ([\d.]+)', drawn)[1])
    assert_allclose((first[1] - level) / (first[1] - top[1]), 0.6 / 0.49, rtol=2e-3, atol=0)
    assert drawn.count("stroke-dasharray") == 1
    assert 'class="mean"' not in drawn
    assert ">0.4</text>" in drawn
    assert 'class="mean"' in profile(made(bands[0], bands[0]))


def test_words_have_the_energy_only_of_converged_bands():
    words = said(band("bulk", "Li", "x", 1, -0.49))
    assert words[0] == "Image 1 of 7, the highest image: energy 0.000 eV, path length 0.00 \u00c5."
    assert words[3] == "Image 4 of 7: energy \u22120.490 eV, path length 1.60 \u00c5."
    assert len(words) == 7
    failed = said(band("bulk", "Li", "x", 1, 0.7345, status="max steps"))
    assert failed[3] == "Image 4 of 7: no energy is given, because the status of the band is max steps."
    assert not any("eV" in line for line in failed)


@pytest.mark.parametrize("frames", [(), "short"])
def test_bands_without_their_images_are_left_out(frames):
    one = band("bulk", "Li", "x", 1, 0.49)
    images = {("bulk", "Li", "x", 1): images_of([one])["bulk", "Li", "x", 1][:3] if frames else ()}
    assert band_viewer([one], images, caption="c") is None
    assert band_viewer([], {}, caption="c") is None


def test_the_data_cannot_end_the_script_of_the_page():
    viewer = made(band("bulk", "Li", "x", 1, 0.49, status="</script><b>"))
    assert "<" not in payload(viewer)
    assert "</script><b>" in json.loads(payload(viewer))["tracks"][0]["said"][0]
