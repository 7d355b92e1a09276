"""DFT barriers that datasets declare: which of them a run may use."""

from dataclasses import replace

import pytest
from helpers import declaring, tiny
from helpers.material import host
from numpy.testing import assert_allclose

from mlip.atoms import extxyz
from mlip.atoms.structures import crystal
from mlip.core import files
from mlip.stages.refine import barriers

SLAB = replace(host("001"), miller=(0, 0, 1), atoms=12, cell_angstrom=(7.6, 3.8, 22.3, 90.0, 90.0, 90.0))
HOSTS = (SLAB, replace(host("bulk"), miller=None))


def declared(*folders, conventional="anatase", hosts=HOSTS, band_of=lambda _: None):
    said = []
    found = barriers.declared(folders, hosts, crystal(conventional), say=said.append, band_of=band_of)
    return {(one.host, one.ion, one.hop): one for one in found}, said


def test_the_shipped_labels_declare_barriers_of_anatase_and_none_of_rutile():
    found, said = declared(tiny.DATA)
    assert found["100", "Mg", "100_010zz"].refined
    assert not found["bulk", "Li", "bulk_oct"].refined  # the bulk of this run is another cell than that of the labels
    assert not found["001", "Li", "001_in"].refined
    rutile = str(tiny.REPOSITORY / "datasets" / "crystals" / "tio2-rutile.cif")
    assert not {key for key in declared(tiny.DATA, conventional=rutile)[0] if key[0] in {"001", "bulk"}}
    assert said == []


@pytest.mark.parametrize(
    ("settings", "used"), [({}, True), ({"grid_angstrom": 0.16}, True), ({"cutoff_ev": 600.0}, False)]
)
def test_a_dataset_of_another_theory_is_left_out_and_named(tmp_path, settings, used):
    other = declaring.dataset(tmp_path / "other", hop="001_x", height_ev=0.4, **settings)
    found, said = declared(tiny.DATA, other)
    assert (("001", "Li", "001_x") in found) is used
    assert len(said) == (not used)
    assert used or said == [f"{other}: cutoff_ev differ from {tiny.DATA}; its barriers are not used"]


def test_a_declared_barrier_is_relaxed_at_the_level_of_the_potential(tmp_path):
    found, _ = declared(declaring.dataset(tmp_path / "one", hop="001_x", height_ev=0.4, d3_ev=-0.03))
    (pbe,) = barriers.relaxed(list(found.values()), target="pbe")
    (with_d3,) = barriers.relaxed(list(found.values()), target="pbe-d3")
    assert_allclose((pbe.forward_ev, with_d3.forward_ev, pbe.d3_forward_ev), (0.4, 0.37, -0.03), rtol=1e-9, atol=0)
    assert (pbe.host, pbe.ion, pbe.hop, pbe.std_ev) == ("001", "Li", "001_x", 0.002)


@pytest.mark.parametrize("other", [{"atoms": 48}, {"cell_angstrom": (7.6, 7.6, 22.3, 90.0, 90.0, 90.0)}])
def test_a_barrier_relaxed_in_another_cell_is_shown_and_decides_nothing(tmp_path, other):
    """Another thickness, coverage or size of the cell has another barrier."""
    folder = declaring.dataset(tmp_path / "one", hop="001_x", height_ev=0.4)
    own, _ = declared(folder)
    assert own["001", "Li", "001_x"].refined
    found, _ = declared(folder, hosts=(replace(SLAB, **other),))
    one = found["001", "Li", "001_x"]
    assert (one.refined, one.barrier_ev) == (False, pytest.approx(0.4))
    assert "relaxed with DFT, in another cell: 13 atoms" in one.geometry
    assert barriers.relaxed([one], target="pbe") == []


def test_a_path_without_its_frames_is_named(tmp_path):
    folder = declaring.dataset(tmp_path / "one", hop="001_x", height_ev=0.4)
    text = (folder / "card.yaml").read_text(encoding="utf-8")
    (folder / "card.yaml").write_text(text.replace("saddle: b", "saddle: lost"), encoding="utf-8")
    found, said = declared(folder)
    assert found == {}
    assert said == [f"{folder}: card.yaml: path of Li 001_x: no frame 'lost'; the path is not used"]


@pytest.mark.parametrize(("shift", "used"), [(0.1, True), (5.0, False)])
@pytest.mark.parametrize(("part", "words"), [(0, "initial state"), (1, "saddle")])
def test_a_path_of_another_hop_of_that_name_is_named_and_not_used(tmp_path, part, words, shift, used):
    folder = declaring.dataset(tmp_path / "one", hop="001_x", height_ev=0.4)
    initial, saddle = extxyz.read_frames(folder / "frames.extxyz")
    band = [initial, saddle, initial.copy()]
    band[part].positions[-1] += (0.0, 0.0, shift)
    found, said = declared(folder, band_of=lambda path: tuple(band) if path.hop == "001_x" else None)
    assert (("001", "Li", "001_x") in found) is used
    assert len(said) == (not used)
    start, end = f"{folder}: path of Li 001_x: at the {words}, distances", "hop of this name; the path is not used"
    assert all(line.startswith(start) and line.endswith(end) for line in said)


@pytest.mark.parametrize(("shift", "reverse"), [(0.1, 0.3), (5.0, None)])
def test_a_path_that_ends_at_another_place_has_no_reverse_barrier(tmp_path, shift, reverse):
    """The barrier from the initial state stays; that from the final state belongs to another minimum."""
    folder = declaring.dataset(tmp_path / "one", hop="001_x", height_ev=0.4, final_ev=0.1)
    band = extxyz.read_frames(folder / "frames.extxyz")
    band[-1].positions[-1] += (0.0, 0.0, shift)
    found, said = declared(folder, band_of=lambda path: tuple(band) if path.hop == "001_x" else None)
    one = found["001", "Li", "001_x"]
    assert one.barrier_ev == pytest.approx(0.4)
    assert one.reverse_ev == (None if reverse is None else pytest.approx(reverse))
    assert (one.reverse_d3_ev is None) == (reverse is None)
    assert len(said) == (reverse is None)
    assert all("the ion moves by 0.00 Angstrom, by " in line for line in said)
    assert all(line.endswith("its reverse barrier is not used") for line in said)


def test_an_end_with_other_neighbours_after_a_hop_of_the_same_length_counts_as_another_place(tmp_path):
    folder = declaring.dataset(tmp_path / "one", hop="001_x", height_ev=0.4, final_ev=0.1)
    frames = extxyz.read_frames(folder / "frames.extxyz")
    band = [frame.copy() for frame in frames]
    for frames_of, shift in ((frames, 4.0), (band, -4.0)):
        frames_of[-1].positions[-1] += (0.0, 0.0, shift)
    files.write_frames(folder / "frames.extxyz", frames)
    found, said = declared(folder, band_of=lambda path: tuple(band) if path.hop == "001_x" else None)
    assert found["001", "Li", "001_x"].reverse_ev is None
    assert "at the final state, distances to neighbours differ by" in said[0]
