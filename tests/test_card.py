"""The card of the shipped dataset, and cards that are refused."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from mlip.stages.dataset import card

SHIPPED = Path(__file__).parents[1] / "datasets" / "tio2-mg-li"


def copied(folder):
    (folder / "card.yaml").write_bytes((SHIPPED / "card.yaml").read_bytes())
    return folder


def test_card_is_read_and_written_alike():
    found = card.read_card(SHIPPED)
    assert found.units == {"length": "Angstrom", "energy": "eV", "force": "eV/Angstrom"}
    assert card.card_as_mapping(found) == yaml.safe_load((SHIPPED / "card.yaml").read_text())


def test_a_refined_path_says_so_and_a_plain_one_has_no_key_of_it(tmp_path):
    folder = copied(tmp_path)
    raw = yaml.safe_load((folder / "card.yaml").read_text())
    plain = raw["paths"][0]
    raw["paths"] = [plain, plain | {"refined": True, "calls": 4, "force_ev_per_angstrom": 0.04, "std_ev": 0.002}]
    (folder / "card.yaml").write_text(yaml.safe_dump(raw))
    found = card.read_card(folder)
    assert [(p.refined, p.calls, p.final) for p in found.paths] == [(False, None, None), (True, 4, None)]
    assert card.card_as_mapping(found) == raw


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"colour": "blue"}, "colour: Unexpected keyword argument"),
        ({"level": None}, "level: Input should be a valid string"),
    ],
)
def test_card_keys(tmp_path, change, match):
    folder = copied(tmp_path)
    raw = yaml.safe_load((folder / "card.yaml").read_text())
    (folder / "card.yaml").write_text(yaml.safe_dump(raw | change))
    with pytest.raises(ValueError, match=match):
        card.read_card(folder)


@pytest.mark.parametrize(
    ("change", "same"),
    [({}, True), ({"grid_angstrom": 0.16}, True), ({"cutoff_ev": 600.0}, False), ({"spin": "polarised"}, False)],
)
def test_a_finer_grid_is_the_same_theory(change, same):
    shipped = card.read_card(SHIPPED)
    other = replace(
        shipped, settings=shipped.settings | change, settings_hash="0" * 16 if change else shipped.settings_hash
    )
    expected = "" if same else ", ".join(sorted(change))
    assert card.other_theory(shipped, other) == card.other_theory(other, shipped) == expected


def test_another_damping_of_d3_is_another_theory():
    shipped = card.read_card(SHIPPED)
    other = replace(shipped, dispersion=shipped.dispersion | {"a1": 0.5})
    assert card.other_theory(shipped, other) == "dispersion.a1"


def test_card_absent_or_broken(tmp_path):
    with pytest.raises(ValueError, match=r"card\.yaml: cannot be read .*needs a card"):
        card.read_card(tmp_path)
    (tmp_path / "card.yaml").write_text("a: [")
    with pytest.raises(ValueError, match="is not valid YAML"):
        card.read_card(tmp_path)
