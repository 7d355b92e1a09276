"""The shipped references validate and hold the paper's numbers; wrong files give one clear line."""

from pathlib import Path

import pytest
import yaml

from mlip.literature import references

FOLDER = Path(__file__).parents[1] / "datasets" / "references"
DOI = "10.1007/s40820-025-01861-7"


@pytest.fixture(scope="module")
def shipped():
    return references.load(FOLDER)


@pytest.mark.parametrize(
    ("key", "value", "unit", "host", "ion"),
    [
        ("barrier-Mg-001", 0.475, "eV", "001", "Mg"),
        ("barrier-Mg-100", 0.542, "eV", "100", "Mg"),
        ("barrier-Mg-bulk", 0.637, "eV", "bulk", "Mg"),
        ("barrier-Li-001", 0.381, "eV", "001", "Li"),
        ("barrier-Li-100", 0.442, "eV", "100", "Li"),
        ("barrier-Li-bulk", 0.511, "eV", "bulk", "Li"),
        ("adsorption-Mg-001", -2.144, "eV", "001", "Mg"),
        ("adsorption-Li-001", -1.865, "eV", "001", "Li"),
        ("bader-Mg-001", 1.29, "e", "001", "Mg"),
        ("bader-Mg-100", 1.13, "e", "100", "Mg"),
        ("bader-Li-001", 0.91, "e", "001", "Li"),
        ("bader-Li-100", 0.87, "e", "100", "Li"),
        ("gap-dft-bulk", 2.15, "eV", "bulk", None),
        ("gap-dft-001", 1.78, "eV", "001", None),
        ("gap-dft-100", 1.92, "eV", "100", None),
        ("gap-uvvis-bulk", 3.24, "eV", None, None),
        ("gap-uvvis-001", 2.83, "eV", None, None),
        ("gap-uvvis-100", 3.05, "eV", None, None),
    ],
)
def test_numbers_of_section_3_2(shipped, key, value, unit, host, ion):
    found = shipped.value(key)
    assert (found.value, found.unit, found.host, found.ion) == (value, unit, host, ion)
    assert found.role == "checked"
    assert found.doi == DOI
    assert found.where
    assert found.method


def test_checked_paper_and_six_barriers(shipped):
    assert shipped.checked().doi == DOI
    assert len(shipped.select(role="checked", quantity="migration barrier")) == 6
    assert shipped.not_stated


def test_independent_values_have_sources_and_evidence(shipped):
    keys = {s.key for s in shipped.sources}
    independent = [v for v in shipped.values if v.role == "independent"]
    assert independent
    for value in independent:
        assert set(value.sources) <= keys, value.id
        assert value.evidence in {"S", "C", "M", "I"}, value.id
    assert shipped.value("barrier-Mg-bulk-hybrid").value == 0.537


def test_unknown_id(shipped):
    with pytest.raises(ValueError, match="no value with id 'nothing'"):
        shipped.value("nothing")


def good():
    source = {"citation": "A. Author, J. Test 1 (2026)", "doi": "10.1000/test.1", "read": "abstract"}
    value = {"id": "x", "quantity": "migration barrier", "value": 0.5, "unit": "eV", "method": "PBE"}
    return {"role": "checked", "source": "A", "sources": {"A": source}, "values": [value]}


def load(tmp_path, content):
    (tmp_path / "a.yaml").write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return references.load(tmp_path)


def test_a_small_file(tmp_path):
    assert load(tmp_path, good()).value("x").doi == "10.1000/test.1"


def test_unknown_key(tmp_path):
    raw = good()
    raw["values"][0]["valeu"] = 0.4
    with pytest.raises(ValueError, match=r"a\.yaml: values\.x\.valeu: Extra inputs"):
        load(tmp_path, raw)


@pytest.mark.parametrize(
    ("field", "wrong", "message"),
    [
        ("value", "half", r"values\.x\.value: .*valid number.*'half'"),
        ("value", float("nan"), r"values\.x\.value: .*finite"),
        ("upper", 0.4, r"upper: 0\.4 must exceed value 0\.5"),
        ("evidence", "Z", r"values\.x\.evidence: "),
        ("sources", ["B"], r"values\.x\.sources: \['B'\] given; name some of: A"),
    ],
)
def test_wrong_field(tmp_path, field, wrong, message):
    raw = good()
    raw["values"][0][field] = wrong
    with pytest.raises(ValueError, match=message) as caught:
        load(tmp_path, raw)
    assert "\n" not in str(caught.value)


def test_missing_field(tmp_path):
    raw = good()
    del raw["values"][0]["unit"]
    with pytest.raises(ValueError, match=r"values\.x\.unit: Field required"):
        load(tmp_path, raw)


def test_wrong_doi(tmp_path):
    raw = good()
    raw["sources"]["A"]["doi"] = "doi:10.1/x"
    with pytest.raises(ValueError, match=r"sources\.A\.doi"):
        load(tmp_path, raw)


def test_independent_value_needs_its_evidence(tmp_path):
    with pytest.raises(ValueError, match="P is for the paper under check"):
        load(tmp_path, good() | {"role": "independent"})


def test_id_twice(tmp_path):
    raw = good()
    raw["values"] *= 2
    with pytest.raises(ValueError, match="id x occurs more than once"):
        load(tmp_path, raw)


@pytest.mark.parametrize("text", ["values: [", "- 1\n- 2\n", ""])
def test_no_mapping(tmp_path, text):
    with pytest.raises(ValueError, match=r"a\.yaml: "):
        load(tmp_path, text)


def test_empty_folder(tmp_path):
    with pytest.raises(ValueError, match=r"holds no \.yaml file of references; set literature\.references to"):
        references.load(tmp_path)
