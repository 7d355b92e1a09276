"""Private words, earlier names and long lines are found; ordinary words, names still accepted and tables are not."""

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


LONG = "word " * 24 + "w"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"short\n{LONG}", [(2, 121)]),
        (LONG[:-1], []),
        (f"| {LONG} |", []),
        (f"```text\n{LONG}\n```\n{LONG}", [(4, 121)]),
        (f"```bash\n{LONG}\n```", [(2, 121)]),
        (f"- one\n  ```\n  {LONG}\n  ```\n  ```text\n  {LONG}\n  ```", [(3, 123)]),
    ],
)
def test_lines_are_wrapped_but_for_tables_and_output(script, text, expected):
    assert list(script.long_lines(text)) == expected


def test_every_kind_of_text_is_read(script):
    read = {p.relative_to(tiny.REPOSITORY).as_posix() for p in script.files(script.WRAPPED, {".md", ".yaml", ".yml"})}
    assert {"README.md", "CHANGELOG.md", "docs/method.md", "docs/how-to/quote.md", "configs/quick.yaml"} <= read
    assert ".github/pull_request_template.md" in read


def test_the_tree_has_none(script, capsys):
    assert script.main() == 0, capsys.readouterr().out
