"""Private words and earlier names are found; ordinary words and names that are still accepted are not."""

import importlib.util

import pytest
from helpers import tiny


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("check_words", tiny.REPOSITORY / "scripts" / "check_words.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one\nrun `mlip pick` first", [(2, "mlip pick", "mlip select-frames")]),
        ("All arms, the fast way", [(1, "arms", "model"), (1, "fast way", "backend")]),
        ('renamed("finish_plain", "finish_mace_torch")', []),
        ("alarms and harmless ways of a plain slab; mlip picks", []),
    ],
)
def test_private_words_have_a_place_and_a_better_word(script, text, expected):
    assert list(script.found(text)) == expected


def test_the_tree_has_none(script, capsys):
    assert script.main() == 0, capsys.readouterr().out
