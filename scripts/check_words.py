"""Finds private words, earlier names and lines over 120 columns in what people read; exits 1 where there are any.

    python scripts/check_words.py

Only words that mean nothing else are listed. An earlier name in quotes is one that is still accepted on purpose. Rows
of tables and the output of programs (blocks of kind `text`) cannot be wrapped and may be longer; ruff checks the lines
of the code.
"""

import re
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PLACES = ("mlip", "configs", "docs", "README.md", "CONTRIBUTING.md", "datasets/README.md")
WRAPPED = (*PLACES[1:], "CHANGELOG.md", ".github")
COLUMNS = 120
WORDS = {  # pattern -> what to write
    r"mlip pick": "mlip select-frames",
    r"mlip collect": "mlip merge-datasets",
    r"finish_plain": "finish_mace_torch",
    r"common\.native": "common.symmetrix",
    r"trials\.md": "experiments.md",
    r"arms?": "model",
    r"(fast|plain) ways?": "backend",
    r"native_folder": "converted_folder",
    r"md sheets?": "table",
}


def found(text):
    """Line number, word and what to write instead, of every private word in a text."""
    for number, line in enumerate(text.splitlines(), start=1):
        for pattern, better in WORDS.items():
            for hit in re.finditer(rf"(?<![\"\w])(?:{pattern})(?!\w)", line, re.IGNORECASE):
                yield number, hit.group(), better


def long_lines(text):
    """Line number and length of every line over 120 columns, without rows of tables and output of programs."""
    fence = None  # kind of the fenced block that the line is in
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("```"):
            fence = None if fence is not None else line.strip().strip("`")
        elif len(line) > COLUMNS and fence != "text" and not line.startswith("|"):
            yield number, len(line)


def files(places, suffixes):
    """Every file of the places with one of the suffixes, without what the site is built into."""
    for top in (REPOSITORY / place for place in places):
        paths = sorted(p for p in top.rglob("*") if p.suffix in suffixes) if top.is_dir() else [top]
        yield from (p for p in paths if "_build" not in p.parts)


def main():
    """Print every private word and every long line with its place."""
    told = []
    for path in files(PLACES, {".py", ".md", ".yaml", ".j2"}):
        where = path.relative_to(REPOSITORY)
        hits = found(path.read_text(encoding="utf-8"))
        told += [f"{where}:{number}: {word!r}: write {better!r}" for number, word, better in hits]
    for path in files(WRAPPED, {".md", ".yaml", ".yml"}):
        where = path.relative_to(REPOSITORY)
        hits = long_lines(path.read_text(encoding="utf-8"))
        told += [f"{where}:{number}: {length} columns: wrap the line at {COLUMNS}" for number, length in hits]
    print(*told, sep="\n", end="\n" * bool(told))
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main())
