"""Datasets from the labels of runs, datasets and files: what is joined, what is refused, what the card says."""

import numpy as np
import pytest
import yaml
from numpy.testing import assert_allclose

from mlip import cli
from mlip.atoms import extxyz
from mlip.core import files
from mlip.stages.dataset import card, dataset
from mlip.stages.dataset.settings import DatasetSettings
from mlip.tools import merge_datasets

LEVEL = """\
settings: {code: Some code, xc: PBE, cutoff_ev: 600}
energy_unit: Hartree
force_unit: Hartree/Bohr
keys: {energy: E, forces: F}
"""


def run_folder(folder, frames, *, stage="label", paths=None):
    """A run of the level of the shipped labels, with these frames as its labels."""
    source = folder.with_suffix(".yaml")
    source.write_text("common: {seed: 1}\n")
    if not folder.exists():
        assert cli.main(["init", str(source), str(folder)]) == 0
    files.write_frames(folder / stage / "frames.extxyz", frames)
    if paths is not None:
        (folder / stage / "paths.yaml").write_text(yaml.safe_dump(paths))
    return folder


def part(labelled, *names):
    return [labelled[name].copy() for name in names]


def test_labels_of_runs_join_a_dataset_and_a_frame_that_is_there_twice_stays_once(labelled, tmp_path, capsys):
    one = run_folder(tmp_path / "one", part(labelled, "bulk1_Li_site", "bulk1_Li_hop50", "bulk_vol_1", "bulk_vol_2"))
    two = run_folder(tmp_path / "two", part(labelled, "bulk1_Li_site", "bulk1_Mg_site", "bulk1_Mg_hop50"))
    first, second = tmp_path / "first", tmp_path / "second"
    assert cli.main(["merge-datasets", str(first), str(one)]) == 0
    assert cli.main(["merge-datasets", str(second), str(first), str(two)]) == 0
    assert "6 frames, " in capsys.readouterr().out
    made, frames = dataset.read_dataset(second, DatasetSettings(), target="pbe-d3")
    assert [f.info["frame_id"] for f in frames].count("bulk1_Li_site") == 1
    assert made.counts["ion"] == {"Li": 2, "Mg": 2, "none": 2}
    assert made.level == "PBE, GPAW, 26.7.0, plane waves, 520 eV; D3(BJ) stored beside it"
    assert made.settings_hash == frames[0].info["settings_hash"]
    assert_allclose(frames[0].arrays["dft_forces"], labelled["bulk1_Li_site"].arrays["dft_forces"], rtol=0, atol=1e-8)


def test_another_frame_of_the_same_name_gets_the_name_of_its_source(labelled, tmp_path):
    other = part(labelled, "bulk1_Li_hop50")
    other[0].info["frame_id"] = "bulk1_Li_site"
    one = run_folder(tmp_path / "one", part(labelled, "bulk1_Li_site", "bulk1_Mg_site"))
    two = run_folder(tmp_path / "two", other)
    merge_datasets.merge([one, two], tmp_path / "out")
    names = [f.info["frame_id"] for f in extxyz.read_frames(tmp_path / "out" / "frames.extxyz")]
    assert names == ["bulk1_Li_site", "bulk1_Mg_site", "bulk1_Li_site-two"]


def refined(labelled, folder, end, saddle, group):
    """A run that refined `bulk_oct`."""
    frames = part(labelled, end, saddle)
    for frame, name in zip(frames, ("ladder_initial", "ladder_saddle"), strict=True):
        frame.info |= {"frame_id": name, "group": group}
    path = card.LabelledPath(
        group=group,
        host="bulk",
        ion="Li",
        hop="bulk_oct",
        initial="ladder_initial",
        saddle="ladder_saddle",
        geometry="a band",
    )
    return run_folder(folder, frames, stage="refine", paths=[vars(path)])


def test_bands_of_one_hop_share_a_group_and_their_names_stay_apart(labelled, tmp_path):
    one = refined(labelled, tmp_path / "one", "bulk1_Li_site", "bulk1_Li_hop50", "first")
    two = refined(labelled, tmp_path / "two", "bulk1_Li_site", "bulk1_Li_hop25", "second")
    run_folder(two, part(labelled, "bulk_vol_1", "bulk_vol_2"))
    made = merge_datasets.merge([one, two], tmp_path / "out")
    assert [(p.group, p.initial, p.saddle) for p in made.paths] == [
        ("first", "ladder_initial", "ladder_saddle"),
        ("first", "ladder_initial", "ladder_saddle-two"),
    ]
    assert made.counts["group"]["first"] == 3


@pytest.mark.parametrize("order", [1, -1])
def test_picked_images_of_a_band_join_the_path_of_their_hop_in_any_order(labelled, tmp_path, order):
    """Their group is that of the hop; the dataset has the hop under an older one."""
    there = refined(labelled, tmp_path / "one", "bulk1_Li_site", "bulk1_Li_hop50", "bulk_Li_neb")
    picked = part(labelled, "bulk1_Li_hop25", "bulk1_Mg_site", "bulk_vol_1")
    for frame, group in zip(picked, ("ladder_bulk_oct_Li", "ladder_bulk_oct_Mg", "bulk_vol"), strict=True):
        frame.info["group"] = group
    label = run_folder(tmp_path / "two", picked)
    merge_datasets.merge([there, label][::order], tmp_path / "out")
    groups = {f.info["frame_id"]: f.info["group"] for f in extxyz.read_frames(tmp_path / "out" / "frames.extxyz")}
    assert groups["bulk1_Li_hop25"] == groups["ladder_saddle"] == "bulk_Li_neb"
    assert groups["bulk1_Mg_site"] == "ladder_bulk_oct_Mg"
    assert groups["bulk_vol_1"] == "bulk_vol"


def test_images_of_a_hop_join_a_path_of_two_hops(labelled, tmp_path):
    there = refined(labelled, tmp_path / "one", "bulk1_Li_site", "bulk1_Li_hop50", "bulk_Li_neb")
    listed = there / "refine" / "paths.yaml"
    listed.write_text(listed.read_text().replace("hop: bulk_oct", "hop: bulk_oct+bulk_oct"))
    picked = part(labelled, "bulk1_Li_hop25")
    picked[0].info["group"] = "ladder_bulk_oct_Li"
    merge_datasets.merge([there, run_folder(tmp_path / "two", picked)], tmp_path / "out")
    groups = {f.info["frame_id"]: f.info["group"] for f in extxyz.read_frames(tmp_path / "out" / "frames.extxyz")}
    assert groups["bulk1_Li_hop25"] == "bulk_Li_neb"


def test_limits_and_target_of_a_run_are_those_of_the_merged_dataset(labelled, tmp_path):
    frames = part(labelled, "bulk1_Li_site", "bulk1_Li_hop50")
    frames[1].arrays["dft_forces"][0] = (31.0, 0.0, 0.0)
    for frame in frames:
        del frame.info["d3_energy"], frame.arrays["d3_forces"]
    source = run_folder(tmp_path / "one", frames)
    with pytest.raises(ValueError, match="d3_energy"):
        merge_datasets.merge([source], tmp_path / "out")
    with pytest.raises(ValueError, match="max_force_ev_per_angstrom"):
        merge_datasets.merge([source], tmp_path / "out", checks=merge_datasets.Checks(target="pbe"))
    wide = DatasetSettings(max_force_ev_per_angstrom=60.0, max_net_force_per_atom_ev_per_angstrom=10.0)
    card = merge_datasets.merge([source], tmp_path / "out", checks=merge_datasets.Checks(wide, "pbe"))
    assert list(card.e0_ev) == ["pbe"]


def test_a_foreign_file_with_its_level(labelled, tmp_path):
    from mlip.core.units import BOHR_ANGSTROM, HARTREE_EV

    frames = part(labelled, "bulk1_Li_site", "bulk1_Mg_site", "001_11_Li_hop0")
    for frame in frames:
        energy, forces = frame.info["dft_energy"], frame.arrays["dft_forces"]
        frame.info = {k: frame.info[k] for k in ("group", "host", "ion")} | {"E": energy / HARTREE_EV}
        frame.arrays = {k: frame.arrays[k] for k in ("numbers", "positions")}
        frame.arrays["F"] = forces * BOHR_ANGSTROM / HARTREE_EV
    files.write_frames(tmp_path / "mine.extxyz", frames)
    (tmp_path / "level.yaml").write_text(LEVEL)
    made = merge_datasets.merge([tmp_path / "mine.extxyz"], tmp_path / "out", level=tmp_path / "level.yaml")
    assert made.settings == {"code": "Some code", "xc": "PBE", "cutoff_ev": 600}
    assert made.level == "PBE, Some code, 600 eV; D3(BJ) stored beside it"
    again = extxyz.read_frames(tmp_path / "out" / "frames.extxyz")
    assert [f.info["vacuum"] for f in again] == [False, False, True]
    assert {f.info["sampling"] for f in again} == {"mine"}
    assert_allclose(again[0].info["dft_energy"], labelled["bulk1_Li_site"].info["dft_energy"], rtol=0, atol=1e-7)
    assert "d3_forces" in again[0].arrays


def test_what_is_refused_and_nothing_is_written(labelled, tmp_path):
    one = run_folder(tmp_path / "one", part(labelled, "bulk1_Li_site", "bulk1_Mg_site"))
    out, level = tmp_path / "out", tmp_path / "level.yaml"
    level.write_text(LEVEL)
    foreign = part(labelled, "bulk1_Li_hop50")
    foreign[0].info |= {"E": -1.0}
    foreign[0].arrays["F"] = np.ones((13, 3))
    files.write_frames(tmp_path / "mine.extxyz", foreign)
    empty = tmp_path / "empty"
    empty.mkdir()
    bare = run_folder(tmp_path / "bare", part(labelled, "bulk1_Li_site"))
    (bare / "label" / "frames.extxyz").unlink()
    for sources, settings, reason in (
        ([tmp_path / "mine.extxyz"], None, "give them with --level"),
        ([one, tmp_path / "mine.extxyz"], level, "of several levels of theory"),
        ([empty], None, "is no run folder, no dataset folder and no file"),
        ([bare], None, "has no labels; mlip label"),
        ([tmp_path / "mine.extxyz"], tmp_path / "none.yaml", "cannot be read"),
    ):
        with pytest.raises(ValueError, match=reason):
            merge_datasets.merge(sources, out, level=settings)
    level.write_text(LEVEL.replace("Hartree/Bohr", "Ry"))
    with pytest.raises(ValueError, match="force_unit: Input should be"):
        merge_datasets.merge([tmp_path / "mine.extxyz"], out, level=level)
    wrong = part(labelled, "bulk1_Li_site", "bulk1_Mg_site")
    wrong[1].arrays["dft_forces"][0, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        merge_datasets.merge([run_folder(tmp_path / "nan", wrong)], out)
    other = part(labelled, "bulk1_Li_site")
    other[0].info["settings_hash"] = "0123456789abcdef"
    with pytest.raises(ValueError, match="has the settings 0123456789abcdef, its settings are"):
        merge_datasets.merge([run_folder(tmp_path / "other", other)], out)
    assert not out.exists()
    merge_datasets.merge([one], out)
    with pytest.raises(ValueError, match="is a dataset already"):
        merge_datasets.merge([one], out)


def test_a_path_of_frames_that_are_not_there_leaves_nothing(labelled, tmp_path):
    frames = part(labelled, "bulk1_Li_site", "bulk1_Mg_site", "bulk_vol_1")
    path = card.LabelledPath(
        group=frames[0].info["group"],
        host="bulk",
        ion="Li",
        hop="bulk_oct",
        initial="bulk1_Li_site",
        saddle="gone",
        geometry="single points",
    )
    told = {"level": "PBE", "settings": {"xc": "PBE"}, "licence": "MIT", "sampled": "", "limits": ()}
    with pytest.raises(ValueError, match="paths name frame 'gone'"):
        merge_datasets.write(tmp_path / "out", frames, paths=[path], **told)
    assert not (tmp_path / "out").exists()


def moved(labelled, name, by):
    """A frame of this name whose label is of another structure."""
    frame = labelled[name].copy()
    frame.positions += by
    frame.info["dft_energy"] += by
    return frame


def sources_of_one_stem(labelled, tmp_path, shifts):
    """Files frames.extxyz in folders a, b, ..., each with a frame of the same name."""
    made = []
    for letter, by in zip("abcd", shifts, strict=False):
        frame = moved(labelled, "bulk1_Li_site", by)
        frame.info["E"] = frame.info.pop("dft_energy")
        frame.arrays["F"] = frame.arrays.pop("dft_forces")
        others = [labelled[n].copy() for n in ("bulk1_Mg_site",)] if letter == "a" else []
        for other in others:
            other.info["E"], other.arrays["F"] = other.info["dft_energy"], other.arrays["dft_forces"]
        made.append(tmp_path / letter / "frames.extxyz")
        files.write_frames(made[-1], [frame, *others])
    text = LEVEL.replace("Hartree/Bohr", "eV/Angstrom").replace("Hartree", "eV")
    (tmp_path / "level.yaml").write_text(text)
    return made


def test_three_files_of_one_name_are_three_sources(labelled, tmp_path):
    listed = sources_of_one_stem(labelled, tmp_path, (0.0, 0.01, 0.02, 0.01))
    made = merge_datasets.merge(listed, tmp_path / "out", level=tmp_path / "level.yaml")
    frames = extxyz.read_frames(tmp_path / "out" / "frames.extxyz")
    names = [f.info["frame_id"] for f in frames if f.info["ion"] == "Li"]
    assert names == ["bulk1_Li_site", "bulk1_Li_site-frames", "bulk1_Li_site-c-frames"]  # the fourth is the second
    energies = [
        f.info["dft_energy"] - labelled["bulk1_Li_site"].info["dft_energy"]
        for f in frames[::1]
        if f.info["ion"] == "Li"
    ]
    assert_allclose(energies, [0.0, 0.01, 0.02], rtol=0, atol=1e-6)
    assert made.sampled == (
        "labels of a/frames.extxyz, b/frames.extxyz, c/frames.extxyz, d/frames.extxyz, as `sampling` of a frame says"
    )


def test_a_new_name_is_none_that_a_frame_has(labelled, tmp_path):
    ours = [moved(labelled, "bulk1_Li_site", 0.0), *part(labelled, "bulk1_Mg_site", "bulk1_Mg_hop50")]
    ours[1].info["frame_id"] = "bulk1_Li_site-two"
    theirs = [moved(labelled, "bulk1_Li_site", 0.01), *part(labelled, "bulk_vol_1")]
    theirs[1].info["frame_id"] = f"bulk1_Li_site-{tmp_path.name}-two"
    one, two = run_folder(tmp_path / "one", ours), run_folder(tmp_path / "two", theirs)
    merge_datasets.merge([one, two], tmp_path / "out")
    names = [f.info["frame_id"] for f in extxyz.read_frames(tmp_path / "out" / "frames.extxyz")]
    assert names[3:] == ["bulk1_Li_site-two-2", f"bulk1_Li_site-{tmp_path.name}-two"]


def test_two_frames_of_one_name_in_a_source_are_refused(labelled, tmp_path):
    one = run_folder(tmp_path / "one", part(labelled, "bulk1_Li_site", "bulk1_Mg_site"))
    twice = [moved(labelled, "bulk1_Li_site", by) for by in (0.01, 0.02)]
    two = run_folder(tmp_path / "two", twice)
    with pytest.raises(ValueError, match="two: frame_id 'bulk1_Li_site' is there twice"):
        merge_datasets.merge([one, two], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_frames_without_a_card_are_not_overwritten(tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "frames.extxyz").write_text("kept")
    for source in ("mine/frames.extxyz", "elsewhere.extxyz"):
        assert cli.main(["merge-datasets", str(tmp_path / "mine"), str(tmp_path / source)]) == 1
        assert "mine: holds frames.extxyz, and no card; give another folder, or move" in capsys.readouterr().err
    assert (tmp_path / "mine" / "frames.extxyz").read_text() == "kept"
