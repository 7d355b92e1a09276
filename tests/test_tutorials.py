"""What runs the tutorials: it runs what a page shows, and finds what a page says wrongly."""

import contextlib
import sys

import pytest
from helpers import tiny

sys.path.insert(0, str(tiny.REPOSITORY / "scripts"))
import run_tutorials
from run_tutorials import TutorialError, blocks, difference, run_page

PAGE = """# A page

```python
x = 2.0
print(f"x is {x:.2f}")
```

```text
x is 2.00
```

```{code-block} yaml
:caption: made.yaml

key: 7
```

```bash
cat made.yaml
```

```text
key: 7
```

```python
from pathlib import Path
Path("picture.svg").write_text("<svg/>")
print("half", x / 4)
```

<!-- within 10 % -->
```text
half 0.52
```

![A picture](picture.svg)
"""


@pytest.fixture
def page(tmp_path):
    """Run a text as a page in an empty folder."""

    def run(text, **options):
        path, work = tmp_path / "page.md", tmp_path / "work"
        path.write_text(text)
        work.mkdir(exist_ok=True)
        with contextlib.chdir(work):
            run_page(path, **options)
        return path

    return run


def test_a_page_that_is_right(page):
    page(PAGE)


def test_blocks_have_their_kind_line_and_tolerance():
    found = blocks(PAGE)
    assert [(b.kind, b.within) for b in found] == [
        ("python", 0.0),
        ("text", 0.0),
        ("{code-block} yaml", 0.0),
        ("bash", 0.0),
        ("text", 0.0),
        ("python", 0.0),
        ("text", 0.1),
    ]
    assert found[0].line == PAGE.split("\n").index("```python") + 1


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("x is 2.00", "x is 2.02", r"page\.md:8: 2\.00 where the page has 2\.02"),
        ("x is 2.00", "y is 2.00", r"page\.md:8: the words differ; printed was:\nx is 2\.00"),
        ("half 0.52", "half 0.60", r"0\.5 where the page has 0\.60"),
        ("cat made.yaml", "cat made.yml", r"page\.md:18: TutorialError: exit code 1\n.*No such file"),
        ("cat made.yaml", "false\ncat made.yaml", r"page\.md:18: TutorialError: exit code 1"),
        ("x = 2.0", "x = y", r"page\.md:3: NameError: name 'y' is not defined"),
        ('Path("picture.svg")', 'Path("other.svg")', r"page\.md: no block makes picture\.svg"),
    ],
)
def test_a_page_that_is_wrong(page, before, after, message):
    assert before in PAGE
    with pytest.raises(TutorialError, match=message):
        page(PAGE.replace(before, after))


@pytest.mark.parametrize(
    ("expected", "printed", "within", "same"),
    [
        ("0.51 eV", "0.52 eV", 0.0, True),
        ("0.51 eV", "0.53 eV", 0.0, False),
        ("1.1e-05", "1.2e-05", 0.0, True),
        ("4 members", "5 members", 0.0, False),
        ("50 hops", "55 hops", 0.1, True),
        ("50 hops", "56 hops", 0.1, False),
        ("site 001_in", "site 001_in", 0.0, True),
        ("site 001_in", "site 101_in", 0.0, False),
        ("-0.50", "0.50", 0.0, False),
        ("made in ... s", "made in 17 s", 0.0, True),
        ("first\n...\nlast 1", "first\nmore\nstill more\nlast 1", 0.0, True),
        ("a  b", "a b", 0.0, True),
        ("a", "a b", 0.0, False),
    ],
)
def test_words_are_equal_and_numbers_near(expected, printed, within, same):
    assert (difference(expected, printed, within) is None) == same


def test_what_varies_is_run_and_not_compared(page):
    text = PAGE.replace("<!-- within 10 % -->", "<!-- varies -->").replace("half 0.52", "half 7")
    page(text)
    assert "half 0.5\n" in page(text, write=True).read_text()
    with pytest.raises(TutorialError, match="NameError"):
        page(text.replace("x / 4", "y / 4"))


def test_writing_changes_only_outputs_that_are_wrong(page):
    wrong = PAGE.replace("x is 2.00", "x is 9").replace("key: 7\n```\n\n```python", "...\n```\n\n```python")
    path = page(wrong, write=True)
    assert path.read_text() == wrong.replace("x is 9", "x is 2.00")
    assert (path.parent / "picture.svg").read_text() == "<svg/>"


def test_every_tutorial_has_code_and_outputs():
    pages = [p for p in run_tutorials.PAGES.glob("*.md") if p.name != "index.md"]
    assert len(pages) >= 5
    for path in pages:
        found = blocks(path.read_text(encoding="utf-8"))
        assert all(block.text.strip() for block in found), path
        assert sum(block.kind == "text" for block in found) >= 2, path
