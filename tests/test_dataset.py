"""Split without leaks, folds, reference energies, and the dataset that ships."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase import Atoms
from helpers import tiny
from numpy.testing import assert_allclose

from mlip.atoms import copies, dispersion, extxyz
from mlip.core import files
from mlip.stages.dataset import dataset, labels
from mlip.stages.dataset.settings import DatasetSettings

SHIPPED = Path(__file__).parents[1] / "datasets" / "tio2-mg-li"
LIMITS = DatasetSettings()


def frame(number, group, *, host="bulk", ion="none", symbols="TiO2", energy=-25.0):
    atoms = Atoms(symbols, positions=2.0 * np.eye(3)[[0, 1, 2, 0][: len(Atoms(symbols))]], cell=[6, 6, 6], pbc=True)
    atoms.positions[0] += 0.01 * number
    atoms.info = {"frame_id": f"f{number}", "group": group, "host": host, "ion": ion, "settings_hash": "abc"}
    atoms.info |= {"dft_energy": energy, "d3_energy": -0.5}
    atoms.arrays["dft_forces"] = np.full((len(atoms), 3), 0.25)
    atoms.arrays["d3_forces"] = np.full((len(atoms), 3), 0.5)
    return atoms


def random_frames(rng):
    groups = [f"g{n}" for n in range(rng.integers(4, 20))]
    kinds = {g: (str(rng.choice(["bulk", "001", "100"])), str(rng.choice(["Li", "Mg", "none"]))) for g in groups}
    chosen = [*groups, *rng.choice(groups, rng.integers(0, 40))]
    return [frame(n, str(g), host=kinds[g][0], ion=kinds[g][1]) for n, g in enumerate(chosen)]


def groups_of(frames):
    return {f.info["group"] for f in frames}


@pytest.mark.parametrize("seed", range(40))
def test_no_group_is_on_two_sides(seed):
    rng = np.random.default_rng(seed)
    frames = random_frames(rng)
    names = sorted(groups_of(frames))
    held = tuple(rng.choice(names, rng.integers(0, len(names) - 2), replace=False))
    made = dataset.split(frames, held, valid_fraction=float(rng.uniform(0.05, 0.45)), seed=seed)
    parts = [groups_of(p) for p in made.parts().values()]
    assert sum(map(len, parts)) == len(set().union(*parts)) == len(names)
    assert groups_of(made.test) == set(held)
    assert made.train
    assert made.valid
    assert sorted(f.info["frame_id"] for p in made.parts().values() for f in p) == sorted(
        f.info["frame_id"] for f in frames
    )


@pytest.mark.parametrize("seed", range(20))
def test_every_group_is_in_exactly_one_fold(seed):
    rng = np.random.default_rng(seed)
    frames = random_frames(rng)
    number = int(rng.integers(2, 5))
    made = dataset.folds(frames, number, seed=seed)
    assert len(made) == number
    assert all(made)
    assert Counter(g for fold in made for g in fold) == Counter(groups_of(frames))


def test_a_leaking_split_cannot_exist():
    one, other = frame(0, "g"), frame(1, "g")
    with pytest.raises(ValueError, match="group 'g' is in train and in test"):
        dataset.Split(train=(one,), valid=(), test=(other,))


def test_folds_refuse_a_structure_that_is_in_two_groups():
    frames = [frame(0, "a"), frame(1, "b"), frame(1, "c")]
    frames[2].info["frame_id"] = "again"
    with pytest.raises(ValueError, match=r"frames f1 of group b and again of group c are the same structure"):
        dataset.folds(frames, 2, seed=1)
    frames[2].info["group"] = "b"
    assert len(dataset.folds(frames, 2, seed=1)) == 2


def test_split_is_reproducible_and_depends_on_the_seed():
    frames = random_frames(np.random.default_rng(5))
    one, again = (dataset.split(frames, (), valid_fraction=0.2, seed=3) for _ in range(2))
    assert groups_of(one.valid) == groups_of(again.valid)
    assert (
        len({tuple(sorted(groups_of(dataset.split(frames, (), valid_fraction=0.2, seed=s).valid))) for s in range(9)})
        > 1
    )


def test_unknown_test_group_names_near_ones():
    frames = [frame(0, "bulk_Li_neb"), frame(1, "bulk_Mg_neb"), frame(2, "001_clean")]
    with pytest.raises(ValueError, match="no group 'bulk_Li_nbe'; near: bulk_Li_neb"):
        dataset.split(frames, ["bulk_Li_nbe"], valid_fraction=0.2, seed=1)


def test_too_few_groups():
    frames = [frame(0, "a"), frame(1, "b")]
    with pytest.raises(ValueError, match="1 groups are left for training and validation, at least 2"):
        dataset.split(frames, ["a"], valid_fraction=0.2, seed=1)
    with pytest.raises(ValueError, match="3 folds of 2 groups; choose between 2 and 2"):
        dataset.folds(frames, 3, seed=1)


def test_duplicates_go_and_are_named():
    frames = [frame(0, "a"), frame(1, "a"), frame(1, "b")]
    frames[2].info["frame_id"] = "f2"
    kept, dropped = dataset.deduplicate(frames, 1e-3)
    assert [f.info["frame_id"] for f in kept] == ["f0", "f1"]
    assert dropped == (("f2", "f1"),)


# -- reference energies ------------------------------------------------------------------------------------------------


def test_fixed_stoichiometry_does_not_run_away():
    frames = [frame(n, "a", energy=-25.0 + 0.1 * n) for n in range(4)]
    found = dataset.reference_energies(frames, "pbe")
    assert_allclose([found["Ti"], found["O"]], -24.85 / 3, rtol=1e-5, atol=0)


def test_degenerate_pair_stays_moderate_beside_a_determined_ion():
    frames = [frame(0, "a", energy=-25.0), frame(1, "a", symbols="TiO2Li", energy=-28.0)]
    found = dataset.reference_energies(frames, "pbe")
    assert_allclose(found["Ti"] + 2 * found["O"], -25.0, rtol=1e-6, atol=0)
    assert_allclose(found["Li"], -3.0, rtol=1e-4, atol=0)
    assert all(-12 < e < 0 for e in found.values())


def test_data_that_determine_all_are_recovered_at_the_target_level():
    wanted = {"Ti": -10.0, "O": -7.0, "Li": -2.0}
    frames = [
        frame(n, "a", symbols=symbols, energy=sum(wanted[s] for s in Atoms(symbols).symbols))
        for n, symbols in enumerate(["TiO2", "TiO", "TiO2Li", "Li2O"])
    ]
    found = dataset.reference_energies(frames, "pbe")
    assert_allclose([found[s] for s in wanted], list(wanted.values()), rtol=1e-5, atol=0)
    assert dataset.reference_energies(frames, "pbe-d3") != found


def test_no_frames_no_energies():
    with pytest.raises(ValueError, match="no frames to fit"):
        dataset.reference_energies([], "pbe")


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("target", "energy", "force"), [("pbe", -25.0, 0.25), ("pbe-d3", -25.5, 0.75)])
def test_split_files_hold_one_level_only(tmp_path, target, energy, force):
    frames = [frame(n, f"g{n // 2}", host="001") for n in range(10)]
    made = dataset.write_split(tmp_path, dataset.split(frames, ["g4"], valid_fraction=0.2, seed=1), target)
    assert {k: p.frames for k, p in made.parts.items()} == {"train": 6, "valid": 2, "test": 2}
    for part in made.parts.values():
        assert part.sha256 == files.sha256(tmp_path / part.file)
        back = extxyz.read_frames(tmp_path / part.file)
        assert [f.info["frame_id"] for f in back] == list(part.frame_ids)
        for f in back:
            assert f.info["host"] == "001"
            assert f.info["target"] == target
            assert_allclose(f.info["REF_energy"], energy, rtol=1e-12, atol=0)
            assert_allclose(f.arrays["REF_forces"], force, rtol=1e-7, atol=0)
            assert not {"dft_energy", "d3_energy", "dft_forces", "d3_forces"} & {*f.info, *f.arrays}
    assert made.parts["test"].groups == {"g4": 2}
    assert_allclose(made.e0_ev[made.target]["O"], energy / 3, rtol=1e-6, atol=0)


def test_manifest_survives_its_json(tmp_path):
    frames = [frame(n, f"g{n}") for n in range(4)]
    made = dataset.write_split(tmp_path, dataset.split(frames, (), valid_fraction=0.2, seed=1), "pbe")
    assert made.parts["test"].file is None
    assert not (tmp_path / "test.extxyz").exists()
    files.write_record(tmp_path / "manifest.json", made)
    assert files.read_record(tmp_path / "manifest.json", dataset.Manifest) == made


# -- the dataset that ships --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped():
    return dataset.read_dataset(SHIPPED, LIMITS, target="pbe-d3")


def test_shipped_dataset_passes_every_check(shipped):
    card, frames = shipped
    assert len(frames) == card.counts["total"]["frames"]
    assert sum(len(f) for f in frames) == card.counts["total"]["atoms"]
    assert Counter(f.info["host"] for f in frames) == card.counts["host"]
    assert Counter(f.info["group"] for f in frames) == card.counts["group"]
    assert card.settings_hash == extxyz.settings_hash(card.settings)
    assert card.e0_ev == {t: dataset.reference_energies(frames, t) for t in ("pbe", "pbe-d3")}


def test_shipped_barriers(shipped):
    """Energies along labelled paths, as the single points were reported when they were made."""
    card, frames = shipped
    energy = {f.info["frame_id"]: f.info["dft_energy"] for f in frames}
    found = {p.saddle: energy[p.saddle] - energy[p.initial] for p in card.paths}
    wanted = {
        "bulk_Li_neb3": 0.516,
        "bulk_Mg_neb3": 0.405,
        "100_zz_Mg_neb3": 0.503,
        "001_perp_Li_neb4": 1.092,
        "ladder_001_in_Li_saddle": 1.023,
        "ladder_001_in_Mg_saddle": 1.580,
        "ladder_bulk_oct_Mg_saddle": 0.5165,
        "ladder_bulk_oct_Li_saddle": 0.4958,
        "ladder_100_010zz_Li_saddle": 0.2024,
        "ladder_100_010zz_Mg_saddle": 0.5159,
    }
    assert found.keys() >= wanted.keys()
    for key, barrier in wanted.items():
        assert_allclose(found[key], barrier, rtol=0, atol=5e-4)


def test_bands_of_one_hop_are_in_one_group(shipped):
    card, frames = shipped
    group = {f.info["frame_id"]: f.info["group"] for f in frames}
    of_hop = {}
    for p in card.paths:
        assert group[p.saddle] == group[p.initial] == p.group
        for hop in p.hop.split("+"):
            of_hop.setdefault((hop, p.ion), set()).add(p.group)
    assert all(len(groups) == 1 for groups in of_hop.values())


def test_shipped_d3_labels_are_those_of_this_package(shipped):
    _, frames = shipped
    for f in (frames[0], frames[-1]):
        energy, forces = dispersion.d3(f)
        assert_allclose(f.info["d3_energy"], energy, rtol=0, atol=1e-6)
        assert_allclose(f.arrays["d3_forces"], forces, rtol=0, atol=1e-7)


def test_default_test_groups_exist(shipped):
    _, frames = shipped
    made = dataset.split(frames, LIMITS.test_groups, valid_fraction=LIMITS.valid_fraction, seed=1)
    assert len({f.info["host"] for f in made.valid}) >= 2
    assert len({f.info["ion"] for f in made.valid}) >= 2


def copied(folder):
    for name in ("card.yaml", "frames.extxyz"):
        (folder / name).write_bytes((SHIPPED / name).read_bytes())
    return folder


def test_whole_file_in_hartree_shows_against_the_card(tmp_path):
    folder = copied(tmp_path)
    frames = extxyz.read_frames(folder / "frames.extxyz")
    for f in frames:
        f.info["dft_energy"] /= 27.211386
    files.write_frames(folder / "frames.extxyz", frames)
    with pytest.raises(ValueError, match=r"looks like Hartree: multiply by 27\.2114"):
        dataset.read_dataset(folder, LIMITS, target="pbe")


def test_frames_that_the_card_does_not_know(tmp_path):
    folder = copied(tmp_path)
    text = (folder / "frames.extxyz").read_text()
    (folder / "frames.extxyz").write_text(text.replace("d3_energy=-2.27238904", "d3_energy=-2.27238905"))
    with pytest.raises(ValueError, match=r"frames.extxyz: sha256 is .*, the card says"):
        dataset.read_dataset(folder, LIMITS, target="pbe")


def test_frames_of_another_level_than_the_card(tmp_path):
    folder = copied(tmp_path)
    card = yaml.safe_load((folder / "card.yaml").read_text())
    (folder / "card.yaml").write_text(yaml.safe_dump(card | {"settings_hash": "0000"}))
    with pytest.raises(ValueError, match="the dataset has 0000; one dataset holds one level of theory"):
        dataset.read_dataset(folder, LIMITS, target="pbe")
    (folder / "card.yaml").write_text(yaml.safe_dump(card | {"units": {"length": "Bohr"}}))
    with pytest.raises(ValueError, match=r"units are .*Bohr.* convert first"):
        dataset.read_dataset(folder, LIMITS, target="pbe")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"saddle": "elsewhere"}, r"card\.yaml: paths name frame 'elsewhere', which the frames lack"),
        ({"group": "other"}, r"paths put frame '\w+' in group 'other', the frame says '\w+'; correct one"),
    ],
)
def test_paths_that_do_not_fit_the_frames(tmp_path, change, message):
    folder = copied(tmp_path)
    card = yaml.safe_load((folder / "card.yaml").read_text())
    card["paths"][0] |= change
    (folder / "card.yaml").write_text(yaml.safe_dump(card))
    with pytest.raises(ValueError, match=message):
        dataset.read_dataset(folder, LIMITS, target="pbe")


def test_names_of_cells_are_names():
    shipped = extxyz.read_frames(tiny.DATA / "frames.extxyz")
    assert not {f.info["system"] for f in shipped if f.info["system"].isdecimal()} - {"001", "100"}


def test_the_test_set_is_of_the_level_of_the_dataset_and_no_part_of_it(shipped):
    card, trained = shipped
    own, tested = dataset.read_dataset(SHIPPED.with_name("tio2-mg-li-test"), LIMITS, target="pbe-d3")
    assert own.settings_hash == card.settings_hash
    assert not labels.duplicates([*trained, *tested], LIMITS.duplicate_angstrom)
    assert not copies.copies([*trained, *tested], LIMITS.duplicate_angstrom)
    assert not {f.info["frame_id"] for f in trained} & {f.info["frame_id"] for f in tested}
    assert not {f.info["group"] for f in trained} & {f.info["group"] for f in tested}, "splits go by group"


def test_frames_held_on_a_labelled_path_are_of_its_group(shipped):
    card, frames = shipped
    held = [f for f in frames if "_held_" in f.info["frame_id"] and "_deep_" not in f.info["frame_id"]]
    assert len(held) >= 5
    assert {f.info["group"] for f in held} <= {path.group for path in card.paths}
