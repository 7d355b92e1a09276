"""What is shipped of the dynamics: the page shows the file, and the file fits together."""

import importlib.util
import json
import re

import pytest
from helpers import tiny
from numpy.testing import assert_allclose

from mlip.core import files

SPEC = importlib.util.spec_from_file_location("write_dynamics", tiny.REPOSITORY / "scripts" / "write_dynamics.py")
script = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(script)


def shipped(name):
    return json.loads((script.DOCS / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module", params=["md_100", "md_bulk"])
def data(request):
    return shipped(request.param)


def place(name):
    return script.marked(name).search((script.DOCS / "dynamics.md").read_text(encoding="utf-8"))[0]


def test_the_page_shows_the_file(data):
    name = data["config"].removeprefix("configs/").removesuffix(".yaml")
    assert place(name) == script.tables(data)


def test_the_page_shows_several_ions_beside_a_lone_one():
    data, alone = shipped("md_4x4"), shipped("md_100")
    assert place("md_4x4") == script.table_of_several(data, alone)
    assert data["model_sha256"] == alone["model_sha256"]
    for row in data["species"]:
        assert_allclose(row["ion_ps"], row["ions"] * data["replica_ps"], rtol=0.02, atol=0)


def test_the_numbers_fit_together(data):
    *parts, whole = data["together"]
    assert [p["temperatures_kelvin"] for p in parts] == [[t] for t in data["ran_with"]["temperatures_kelvin"]]
    assert whole["hops"] == data["hops"] - data["unknown_jumps"] == sum(p["hops"] for p in parts)
    assert_allclose(whole["expected"], sum(p["expected"] for p in parts), rtol=1e-9, atol=0)
    for part, row in zip(parts, data["diffusion"], strict=True):
        assert_allclose(part["ratio"]["value"], part["hops"] / part["expected"], rtol=1e-9, atol=0)
        assert row["ratio"]["low"] < row["ratio"]["value"] < row["ratio"]["high"]
        assert part["hops"] <= part["crossings"]


def releases():
    """SHA-256 of the released models, the present one last, by their page."""
    page = (tiny.REPOSITORY / "docs" / "potential.md").read_text(encoding="utf-8")
    return re.findall(r"\b[0-9a-f]{64}\b", page.partition("## Releases")[2])


def test_the_result_is_that_of_a_released_model(data):
    assert data["model_sha256"] in releases()


def test_the_last_release_is_the_shipped_model():
    assert releases()[-1] == files.sha256(tiny.REPOSITORY / "datasets" / "models" / "tio2-mg-li")


def test_a_status_without_a_value_is_a_dash():
    assert script.shown({"value": None, "low": None, "high": None}) == "\u2013"
    assert script.shown({"value": None, "low": 0.1, "high": 2.0}, digits=1) == "< 2.0"
