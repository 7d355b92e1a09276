"""Finds private words and earlier names in the package, its documentation and its configs; exits 1 where there are any.

    python scripts/check_words.py

Only words that mean nothing else are listed. An earlier name in quotes is one that is still accepted on purpose.
"""

import re
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PLACES = ("mlip", "configs", "docs", "README.md", "CONTRIBUTING.md", "datasets/README.md")
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


def main():
    """Print every private word with its place."""
    wrong = 0
    for place in PLACES:
        top = REPOSITORY / place
        paths = (
            sorted(p for p in top.rglob("*") if p.suffix in {".py", ".md", ".yaml", ".j2"}) if top.is_dir() else [top]
        )
        for path in paths:
            for number, word, better in found(path.read_text(encoding="utf-8")):
                print(f"{path.relative_to(REPOSITORY)}:{number}: {word!r}: write {better!r}")
                wrong += 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
