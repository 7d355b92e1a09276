"""Reading whole or not at all, names that stay names, and the import of foreign files."""

import io
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from helpers.springs import harmonic
from numpy.testing import assert_allclose

from mlip.atoms import extxyz
from mlip.core.units import BOHR_ANGSTROM, HARTREE_EV
from mlip.stages.dataset import labels
from mlip.stages.dataset.settings import DatasetSettings

LIMITS = DatasetSettings()


@pytest.fixture
def frames():
    rng = np.random.default_rng(7)
    return [harmonic(f"f{n}", rng=rng, ion="Li" if n % 3 == 0 else "none") for n in range(12)]


@pytest.fixture
def text(frames):
    buffer = io.StringIO()
    write(buffer, frames[:3], format="extxyz")
    return buffer.getvalue()


def unreadable(path: Path, text: str, match: str) -> None:
    path.write_text(text)
    with pytest.raises(ValueError, match=match) as caught:
        extxyz.read_frames(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_round_trip_keeps_names_that_look_like_numbers(tmp_path, text):
    path = tmp_path / "a.extxyz"
    path.write_text(text.replace("group=g", "group=001_11").replace("settings_hash=abc", "settings_hash=12e4"))
    back = labels.read_labelled(path, LIMITS)
    assert [f.info["host"] for f in back] == ["001"] * 3
    assert back[0].info["group"] == "001_11"
    assert back[0].info["settings_hash"] == "12e4"


def test_quoted_text_does_not_hide_keys(tmp_path, text):
    path = tmp_path / "a.extxyz"
    path.write_text(text.replace("group=g", 'group=g sampling="a host=7 \\"b\\""'))
    frame = extxyz.read_frames(path)[0]
    assert frame.info["host"] == "001"
    assert frame.info["sampling"] == 'a host=7 "b"'


@pytest.mark.parametrize("lost", [1, 5, 20])
def test_truncated_by_lines(tmp_path, text, lost):
    lines = text.splitlines(keepends=True)
    unreadable(tmp_path / "a.extxyz", "".join(lines[:-lost]), "frame [12]: truncated")


def test_truncated_at_every_byte_is_never_read(tmp_path, text):
    path = tmp_path / "a.extxyz"
    size = len(text)
    for cut in np.random.default_rng(3).integers(1, size - 1, 60):
        path.write_text(text[:cut])
        try:
            found = extxyz.read_frames(path)
        except ValueError as error:
            assert "\n" not in str(error)  # noqa: PT017
        else:  # only a cut between two frames leaves a whole file; the checksum on the card finds that
            assert text[:cut].endswith("\n")
            assert text[cut:].split("\n", 1)[0].isdigit()
            assert len(found) < 3


def test_unknown_species(tmp_path, text):
    unreadable(tmp_path / "a.extxyz", text.replace("\nTi ", "\nQq ", 1), "frame 0 .*unknown species 'Qq'")


def test_wrong_number_of_columns(tmp_path, text):
    line = text.splitlines()[4]
    broken = text.replace(line, " ".join(line.split()[:-2]), 1)
    unreadable(tmp_path / "a.extxyz", broken, r"frame 0 \(f0\): cannot be read .*columns")


def test_no_cell(tmp_path, text):
    start = text.index("Lattice=")
    end = text.index('"', start + 9) + 2
    unreadable(tmp_path / "a.extxyz", text[:start] + text[end:], "no three-dimensional cell")


def test_not_extxyz(tmp_path):
    unreadable(tmp_path / "a.extxyz", "hello\nworld\n", "line 1 holds 'hello' where a number of atoms belongs")
    unreadable(tmp_path / "b.extxyz", "\n\n", "holds no frames")
    with pytest.raises(ValueError, match="cannot be read"):
        extxyz.read_frames(tmp_path / "absent.extxyz")
    (tmp_path / "c.extxyz").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ValueError, match="is not text"):
        extxyz.read_frames(tmp_path / "c.extxyz")


def test_nan_in_a_file(tmp_path, text):
    line = text.splitlines()[4]
    path = tmp_path / "a.extxyz"
    path.write_text(text.replace(line, " ".join([*line.split()[:-1], "nan"]), 1))
    with pytest.raises(ValueError, match=r"a.extxyz: frame 0 \(f0\): dft_forces holds 1 values that are not finite"):
        labels.read_labelled(path, LIMITS)


# -- import ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def foreign(tmp_path, frames):
    """A file as another code's user would have it: Hartree, Hartree/Bohr, own key names."""
    made = []
    for frame in frames:
        other = Atoms(frame.symbols, positions=frame.positions, cell=frame.cell, pbc=True)
        other.info = {"E": frame.info["dft_energy"] / HARTREE_EV, "run": "g", "facet": "001", "ion": frame.info["ion"]}
        other.arrays["F"] = frame.arrays["dft_forces"] / (HARTREE_EV / BOHR_ANGSTROM)
        made.append(other)
    write(tmp_path / "mine.xyz", made, format="extxyz")
    return tmp_path / "mine.xyz"


KEYS = extxyz.Keys(energy="E", forces="F", group="run", host="facet")


def test_import_converts_and_adds_d3(foreign, frames):
    made = extxyz.import_frames(foreign, level_hash="abc", energy_unit="Hartree", force_unit="Hartree/Bohr", keys=KEYS)
    assert made[3].info["frame_id"] == "mine-3"
    assert made[3].info["host"] == "001"
    assert_allclose(made[3].info["dft_energy"], frames[3].info["dft_energy"], rtol=1e-12, atol=0)
    assert_allclose(made[3].arrays["dft_forces"], frames[3].arrays["dft_forces"], rtol=0, atol=1e-6)
    assert_allclose(made[3].arrays["dft_forces"].sum(axis=0), 0, rtol=0, atol=1e-12)
    labels.check(made, LIMITS, source="mine.xyz", target="pbe-d3")


def test_import_under_the_wrong_unit_is_found(foreign):
    made = extxyz.import_frames(foreign, level_hash="abc", energy_unit="eV", force_unit="Hartree/Bohr", keys=KEYS)
    with pytest.raises(ValueError, match="energies look like Hartree"):
        labels.check(made, LIMITS, source="mine.xyz")


def test_import_refuses_what_it_cannot_know(foreign):
    with pytest.raises(ValueError, match=r"frame 0 \(mine-0\): has no energy, forces, group, host"):
        extxyz.import_frames(foreign, level_hash="abc", energy_unit="eV", force_unit="eV/Angstrom")
    with pytest.raises(ValueError, match="unit 'Ry' is unknown; use one of eV, Hartree"):
        extxyz.import_frames(foreign, level_hash="abc", energy_unit="Ry", force_unit="eV/Angstrom")


def test_import_reads_what_ase_writes(tmp_path, frames):
    from ase.calculators.singlepoint import SinglePointCalculator

    frame = frames[1].copy()
    frame.calc = SinglePointCalculator(
        frame, energy=frames[1].info["dft_energy"], forces=frames[1].arrays["dft_forces"]
    )
    del frame.info["dft_energy"], frame.arrays["dft_forces"]
    write(tmp_path / "ase.xyz", frame, format="extxyz")
    (made,) = extxyz.import_frames(tmp_path / "ase.xyz", level_hash="abc", energy_unit="eV", force_unit="eV/Angstrom")
    assert made.info["host"] == "001"
    assert_allclose(made.info["dft_energy"], frames[1].info["dft_energy"], rtol=1e-12, atol=0)


def test_settings_hash_does_not_depend_on_order():
    one = extxyz.settings_hash({"a": 1.0, "b": "x"})
    assert one == extxyz.settings_hash({"b": "x", "a": 1.0})
    assert one != extxyz.settings_hash({"a": 1.5, "b": "x"})
    assert len(one) == 16


def test_whole_numbers_are_numbers_of_a_level_and_true_is_none():
    assert extxyz.settings_hash({"cutoff_ev": 520, "k": {"n": [2, 3]}}) == extxyz.settings_hash(
        {"cutoff_ev": 520.0, "k": {"n": (2.0, 3)}}
    )
    assert extxyz.settings_hash({"a": 1}) != extxyz.settings_hash({"a": True})
    assert extxyz.settings_hash({"a": 1}) != extxyz.settings_hash({"a": "1"})
    assert extxyz.settings_hash({"a": 1.0, "b": "x"}) == extxyz.settings_hash_as_written({"a": 1.0, "b": "x"})
