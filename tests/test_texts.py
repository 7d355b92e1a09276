"""Text files of users: encodings, line ends, and YAML in which no key is dropped."""

import gzip
import json
import shutil

import pytest
import yaml
from helpers import tiny
from numpy.testing import assert_array_equal

from mlip import cli, config
from mlip.atoms import extxyz
from mlip.core import files, texts
from mlip.literature import references
from mlip.potential import models
from mlip.stages.dataset import card
from mlip.tools import merge_datasets

CASES = tiny.REPOSITORY / "tests" / "data" / "texts"
ADVICE = "look again"


def loaded(path, text):
    path.write_text(text, encoding="utf-8")
    return texts.read_yaml(path, advice=ADVICE)


# --- encodings


@pytest.mark.parametrize("name", ["bom", "bom-crlf", "crlf", "mac", "tabs"])
def test_the_same_frame_in_other_bytes(name):
    (plain,) = extxyz.read_frames(CASES / "unix.extxyz")
    (found,) = extxyz.read_frames(CASES / f"{name}.extxyz")
    assert found.symbols.get_chemical_formula() == plain.symbols.get_chemical_formula()
    assert_array_equal(found.positions, plain.positions)
    assert_array_equal(found.cell.array, plain.cell.array)
    assert found.info["dft_energy"] == plain.info["dft_energy"]
    assert found.info["host"] == plain.info["host"] == "001"


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("latin1", r"latin1\.extxyz: is not text in UTF-8 \(line 2 holds the byte 0xf6; Latin-1 .*save it as UTF-8"),
        ("utf16", r"utf16\.extxyz: is not text in UTF-8 but UTF-16; save it as UTF-8"),
    ],
)
def test_another_encoding_is_named(name, match):
    with pytest.raises(ValueError, match=match):
        extxyz.read_frames(CASES / f"{name}.extxyz")


def test_joined_files_have_a_mark_in_the_middle(tmp_path):
    part = (CASES / "bom.extxyz").read_bytes()
    (tmp_path / "two.extxyz").write_bytes(part + (CASES / "bom-crlf.extxyz").read_bytes())
    one, other = extxyz.read_frames(tmp_path / "two.extxyz")
    assert_array_equal(one.positions, other.positions)


def test_line_ends_of_other_kinds_are_no_line_ends(tmp_path):
    """A frame whose text holds a form feed or a line separator is still one frame."""
    text = (CASES / "unix.extxyz").read_text()
    (tmp_path / "a.extxyz").write_text(text.replace("Langevin", "Lange\u2028vin\x0c\x85"), encoding="utf-8")
    (found,) = extxyz.read_frames(tmp_path / "a.extxyz")
    assert "Lange\u2028vin" in found.info["sampling"]


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ("é = 1\n".encode("utf-16-le"), "but UTF-16; save"),
        ("neb:\n  images: 5\n".encode("utf-16-le"), "but UTF-16; save"),
        ("neb:\n  images: 5\n".encode("utf-16-be"), "but UTF-16; save"),
        ("neb:\n".encode("utf-16"), "but UTF-16; save"),
        ("neb:\n".encode("utf-32"), "but UTF-32; save"),
        (gzip.compress(b"neb: {}\n", mtime=0), r"but compressed \(gzip\); unpack it first"),
        (b"PK\x03\x04" + bytes(range(256)), r"but an archive \(zip\); unpack"),
        (bytes(2000), "but binary; look again"),
        (b"\x89HDF\r\n\x1a\n" + bytes(range(200)), "but binary; look again"),
        (b"\x81\x02\x90", r"not text \(invalid start byte\); look again"),
        ("name: Grün\n".encode("latin-1"), r"line 1 holds the byte 0xfc; Latin-1 or Windows-1252\?"),
        (b"a: 1\r\nb: 2\rc: \x93x\x94\n", "line 3 holds the byte 0x93"),
    ],
)
def test_what_is_not_utf_8_is_named(tmp_path, data, match):
    path = tmp_path / "x"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=match) as told:
        texts.read_text(path, advice=ADVICE)
    assert str(told.value).startswith(f"{path}: is not text")
    assert "\n" not in str(told.value)
    with pytest.raises(ValueError, match=match) as told:
        texts.read_yaml(path, advice=ADVICE)
    assert str(told.value).startswith(f"{path}: is not valid YAML (not text")


def test_text_of_all_scripts_is_text(tmp_path):
    text = "name: Grün TiO₂ 锐钛矿\n"
    for encoding in ("utf-8", "utf-8-sig"):
        (tmp_path / "x").write_text(text, encoding=encoding)
        assert texts.read_text(tmp_path / "x", advice=ADVICE) == text


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_reader_takes_a_byte_order_mark(tmp_path, end, committee):
    def marked(path, text):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", end).encode())
        return path

    assert config.load(marked(tmp_path / "c.yaml", "neb:\n  images: 7\n"))["neb"].images == 7
    marked(tmp_path / "data" / "card.yaml", (tiny.DATA / "card.yaml").read_text(encoding="utf-8"))
    assert card.read_card(tmp_path / "data") == card.read_card(tiny.DATA)
    shipped = tiny.REPOSITORY / "datasets" / "references"
    for path in shipped.glob("*.yaml"):
        marked(tmp_path / "references" / path.name, path.read_text(encoding="utf-8"))
    assert references.load(tmp_path / "references") == references.load(shipped)
    shutil.copytree(committee, tmp_path / "model")
    for name in ("model.json", "card.yaml"):
        marked(tmp_path / "model" / name, (committee / name).read_text(encoding="utf-8"))
    assert models.load(tmp_path / "model").card == models.load(committee).card
    files.write_record(
        tmp_path / "r.json",
        files.Provenance(
            stage="neb",
            fingerprint="f",
            settings={},
            inputs={},
            seed=1,
            device="cpu",
            versions={},
            commit="c",
            wall_time_s=1.0,
            finished="now",
        ),
    )
    before = files.read_record(tmp_path / "r.json", files.Provenance)
    marked(tmp_path / "r.json", (tmp_path / "r.json").read_text())
    assert files.read_record(tmp_path / "r.json", files.Provenance) == before


def test_a_config_of_windows():
    assert config.load(CASES / "bom-crlf.yaml")["neb"].images == 7


# --- keys that are given twice


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("key-twice.yaml", r"key-twice\.yaml: .*key 'target' is given twice, in lines 3 and 5; keep one of them"),
        ("section-twice.yaml", r"section-twice\.yaml: .*key 'neb' is given twice, in lines 4 and 9"),
    ],
)
def test_a_key_twice_in_a_config(name, match):
    with pytest.raises(ValueError, match=match):
        config.load(CASES / name)


def test_a_key_twice_in_a_level(tmp_path):
    with pytest.raises(ValueError, match=r"level-twice\.yaml: .*key 'xc' is given twice, in line 1"):
        merge_datasets.merge([CASES / "unix.extxyz"], tmp_path / "out", level=CASES / "level-twice.yaml")
    assert not (tmp_path / "out").exists()


def test_a_key_twice_in_every_other_file(tmp_path, committee):
    def twice(path, text, line):
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{text}\n{line}\n{line}\n", encoding="utf-8")

    twice(tmp_path / "data" / "card.yaml", (tiny.DATA / "card.yaml").read_text(encoding="utf-8"), "extra: 1")
    with pytest.raises(ValueError, match=r"card\.yaml: .*key 'extra' is given twice, in lines \d+ and \d+"):
        card.read_card(tmp_path / "data")
    path = next((tiny.REPOSITORY / "datasets" / "references").glob("*.yaml"))
    twice(tmp_path / "references" / path.name, path.read_text(encoding="utf-8"), "extra: 1")
    with pytest.raises(ValueError, match="key 'extra' is given twice"):
        references.load(tmp_path / "references")
    shutil.copytree(committee, tmp_path / "model")
    twice(tmp_path / "model" / "card.yaml", (committee / "card.yaml").read_text(encoding="utf-8"), "extra: 1")
    with pytest.raises(ValueError, match=r"damaged model .*key 'extra' is given twice"):
        models.load(tmp_path / "model")


@pytest.mark.parametrize(
    ("text", "key", "where"),
    [
        ("a: 1\na: 1\n", "a", "lines 1 and 2"),
        ("a: 1\n'a': 2\n", "a", "lines 1 and 2"),
        ("1: x\n0x1: y\n", "0x1", "lines 1 and 2"),
        ("true: x\nyes: y\n", "yes", "lines 1 and 2"),
        ("1: x\n1.0: y\n", "1.0", "lines 1 and 2"),  # equal for Python, so that one would be dropped
        ("? a\n: 1\n# here\n? a\n: 2\n", "a", "lines 1 and 4"),
        ("a: {b: {c: 1, d: 2, c: 3}}\n", "c", "line 1"),
        ("- {a: 1}\n- b: 1\n  c: 2\n  b: 3\n", "b", "lines 2 and 4"),
        ("x: &m {a: 1, a: 2}\ny: *m\n", "a", "line 1"),
        ("x: &m {a: 1}\ny:\n  <<: *m\n  b: 1\n  b: 2\n", "b", "lines 4 and 5"),
        ("x: &m {a: 1}\ny:\n  <<: *m\n  a: 1\n  a: 2\n", "a", "lines 4 and 5"),
        ("x: &m {a: 1}\nz: &n {a: 2}\ny:\n  <<: *m\n  <<: *n\n", "<<", r"lines 4 and 5; merge several with <<: \["),
        ("~: 1\nnull: 2\n", "null", "lines 1 and 2"),
        ("2026-11-28: 1\n2026-11-28: 2\n", "2026-11-28", "lines 1 and 2"),
        ("a: 1\r\nb: 2\r\na: 3\r\n", "a", "lines 1 and 3"),
    ],
)
def test_equal_keys_however_they_are_written(tmp_path, text, key, where):
    with pytest.raises(ValueError, match=f"x.yaml: is not valid YAML .key '{key}' is given twice, in {where}"):
        loaded(tmp_path / "x.yaml", text)


@pytest.mark.parametrize(
    "text",
    [
        "x: &m {a: 1, b: 2}\ny:\n  <<: *m\n  a: 3\n",
        "x: &m {a: 1, b: 2}\ny:\n  a: 3\n  <<: *m\n",
        "x: &m {a: 1}\nz: &n {a: 2, b: 3}\ny:\n  <<: [*m, *n]\n  c: 1\n",
        "x: &m {a: 1}\nz: &n {<<: *m, a: 2}\ny: {<<: *n, a: 3}\nw: {<<: *n}\nv: *n\n",
        "x: &m {a: 1}\ny: {<<: {<<: *m, a: 2}, a: 4}\n",
        "- {a: 1}\n- {a: 2}\n",
        "a: {b: 1}\nb: {b: 2}\n",
        "1: x\n'1': y\n",
        "'<<': 1\nb: 2\n",
        "=: 1\n",
        "a: &x 1\nb: *x\n",
        "!!set {a, b}\n",
        "",
        "# nothing\n",
        "a:\n  - !!binary aGVsbG8=\n",
    ],
)
def test_what_is_legal_stays_as_pyyaml_reads_it(tmp_path, text):
    assert loaded(tmp_path / "x.yaml", text) == yaml.safe_load(text)


def test_merge_keys_in_a_config():
    first, second = config.load(CASES / "merge.yaml")["structures"].facets
    assert (first.name, second.name, second.layers, second.miller) == ("001", "100", 4, (1, 0, 0))


def test_every_yaml_file_of_the_repository_is_read_as_before():
    listed = [p for d in ("configs", "datasets") for p in (tiny.REPOSITORY / d).rglob("*.yaml")]
    assert len(listed) > 10
    for path in listed:
        assert texts.read_yaml(path, advice=ADVICE) == yaml.safe_load(path.read_text(encoding="utf-8"))


# --- what is not YAML


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("neb:\n\timages: 7\n", "line 2: holds a tab"),
        ("neb:\n  \timages: 7\n", "line 2: holds a tab"),
        ("neb:\n  images:\t7\n", "line 2: holds a tab"),
        ("\tneb: 1\n", "line 1: holds a tab"),
        ("neb:\n  images: 7\n\tmax_steps: 3\n", "line 3: holds a tab"),
        ("a: [1,\n", "line 2, column 1: "),
        ("a: 'b\n", "line 2, column 1: while scanning a quoted scalar"),
        ("a: b: c\n", "line 1, column 5: mapping values are not allowed here"),
        ("a: 1\n---\nb: 2\n", "line 2, column 1: expected a single document"),
        ("a: *b\n", "line 1, column 4: found undefined alias"),
        ("a: !!python/object:os.system {}\n", "could not determine a constructor"),
        ("? [a, b]\n: 1\n", "unhashable key"),
        ("a: !!int x\n", "a value is not of the type"),
        ("a: !!int ''\n", "a value is not of the type"),
        ("a: !!bool x\n", "a value is not of the type"),
        ("a: !!timestamp x\n", "a value is not of the type"),
        ("a: 2026-13-45\n", "month must be in 1..12"),
        ("a: 1\nb: \x07\n", "line 2: the character '.x07' is not allowed"),
        ("a: " + 3000 * "[", "nested too deeply"),
        ("<<: 3\n", "expected a mapping"),
        ("a: 1\x85b: {\n", "line 3"),
    ],
)
def test_other_yaml_that_is_wrong_is_one_line(tmp_path, text, match):
    with pytest.raises(ValueError, match=match) as told:
        loaded(tmp_path / "x.yaml", text)
    assert str(told.value).startswith(f"{tmp_path}/x.yaml: is not valid YAML (")
    assert "\n" not in str(told.value)


def test_a_tab_in_a_config_on_the_command_line(tmp_path, capsys):
    assert cli.main(["init", str(CASES / "tab.yaml"), str(tmp_path / "run")]) == 1
    told = capsys.readouterr().err.strip()
    assert told.endswith("line 2: holds a tab; YAML takes only spaces between a line's start and its values)")
    assert "\n" not in told


def test_json_nested_beyond_all_measure(tmp_path):
    (tmp_path / "r.json").write_text(100_000 * "[")
    with pytest.raises(ValueError, match="not readable as JSON"):
        files.read_record(tmp_path / "r.json", dict)
    (tmp_path / "r.json").write_bytes(json.dumps({"a": 1}).encode("utf-16"))
    with pytest.raises(ValueError, match="but UTF-16"):
        files.read_record(tmp_path / "r.json", dict)
