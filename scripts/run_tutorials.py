"""Run the tutorials as a reader would: every block of a page in order, its output held against the page.

    python scripts/run_tutorials.py [--write] [PAGE ...]

`python` blocks of a page share their names, `bash` blocks run in a shell, a `{code-block} yaml` with a caption is
written to the file that the caption names. A `text` block after a block that runs is its output: words must be equal,
`...` stands for anything, a number may differ by one and a half units of its last digit. `<!-- within 10 % -->` before
the output allows more; after `<!-- varies -->` the output is not compared, as of chaotic trajectories. Pictures that a
page shows must be among the files that its code makes.

`--write` puts what came out into the pages instead, and copies the pictures beside them. Two pages run at once, each on
one thread.
"""

import argparse
import contextlib
import io
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

REPOSITORY = Path(__file__).parents[1]
PAGES = REPOSITORY / "docs" / "tutorials"
NUMBER = re.compile(r"(?<![\w.])([-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?)(?![\w]|\.\d)")
WITHIN = re.compile(r"<!-- within (\d+) % -->")
AT_ONCE = 2  # pages
VARIES = "<!-- varies -->"
CAPTION = re.compile(r":caption: (\S+)\n+")


class TutorialError(Exception):
    """A block that fails, or prints something else than the page says."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    kind: str  # python, bash, text, or {code-block} yaml
    text: str
    line: int  # of the opening fence, from 1
    within: float = 0.0  # relative tolerance of the numbers of an output; infinite: it is not compared


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page."""
    found, within = [], 0.0
    for token in MarkdownIt().parse(page):
        if token.type == "html_block" and (said := WITHIN.search(token.content)):
            within = float(said[1]) / 100
        elif token.type == "html_block" and VARIES in token.content:
            within = math.inf
        elif token.type == "fence":
            found.append(Block(token.info.strip(), token.content, token.map[0] + 1, within))
            within = 0.0
    return found


def pictures(page: str) -> list[str]:
    """The files of the pictures that a page shows."""
    inline = [child for token in MarkdownIt().parse(page) for child in token.children or ()]
    return [str(child.attrs["src"]) for child in inline if child.type == "image"]


def difference(expected: str, printed: str, within: float = 0.0) -> str | None:
    """What is wrong with an output, or None."""
    parts = NUMBER.split(expected.strip())
    literal = [r".*?".join(map(re.escape, part.split("..."))) for part in parts[::2]]
    pattern = r"([-+]?[\d.]+(?:e[-+]?\d+)?)".join(re.sub(r"(\\\s|\s)+", r"\\s+", part) for part in literal)
    found = re.fullmatch(pattern, printed.strip(), re.DOTALL)
    if not found:
        return "the words differ"
    for wanted, got in zip(parts[1::2], found.groups(), strict=True):
        allowed = max(_last_digit(wanted), within * abs(float(wanted)))
        if abs(float(wanted) - float(got)) > allowed * (1 + 1e-9):
            return f"{got} where the page has {wanted}"
    return None


def _last_digit(number: str) -> float:
    """One and a half units of the last digit; whole numbers are exact."""
    mantissa, _, exponent = number.partition("e")
    if "." not in mantissa and not exponent:
        return 0.0
    return float(1.5 * 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2])))


def run_block(block: Block, names: dict[str, object]) -> str:
    """Run a block in the working directory and give what it printed.

    Raises:
        TutorialError: it failed.
    """
    if block.kind == "python":
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(block.text, "tutorial", "exec"), names)  # noqa: S102  (code of our own pages)
        return printed.getvalue()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", "-euo", "pipefail", "-c", block.text]
    done = subprocess.run(command, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise TutorialError(f"exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def run_page(path: Path, *, write: bool = False) -> None:
    """Run a page in the working directory.

    Raises:
        TutorialError: a block fails or prints something else, or a picture is not made.
    """
    page = path.read_text(encoding="utf-8")
    found, names, outputs = blocks(page), {"__name__": "tutorial"}, []
    for k, block in enumerate(found):
        if block.kind.startswith("{code-block}") and (caption := CAPTION.match(block.text)):
            Path(caption[1]).write_text(block.text[caption.end() :], encoding="utf-8")
        if block.kind not in {"python", "bash"}:
            continue
        try:
            printed = run_block(block, names)
        except Exception as error:
            raise TutorialError(f"{path}:{block.line}: {type(error).__name__}: {error}") from error
        output = found[k + 1] if k + 1 < len(found) and found[k + 1].kind == "text" else None
        if output is None:
            continue
        outputs.append((output, printed))
        wrong = None if output.within == math.inf else difference(output.text, printed, output.within)
        if wrong and not write:
            raise TutorialError(f"{path}:{output.line}: {wrong}; printed was:\n{printed}")
    if absent := [name for name in pictures(page) if not Path(name).is_file()]:
        raise TutorialError(f"{path}: no block makes {', '.join(absent)}")
    if write:
        path.write_text(_rewritten(page, outputs), encoding="utf-8")
        for name in pictures(page):
            shutil.copy(name, path.parent / name)


def _rewritten(page: str, outputs: list[tuple[Block, str]]) -> str:
    """The page with new outputs, except where the old one holds: it may say less, by '...' and fewer digits."""
    lines = page.split("\n")
    for output, printed in reversed(outputs):
        if output.within == math.inf or difference(output.text, printed, output.within):
            end = output.line + output.text.count("\n")
            lines[output.line : end] = printed.strip("\n").split("\n")
    return "\n".join(lines)


def main() -> int:
    """Run the pages, each in a process and an empty folder of its own; 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("pages", nargs="*", type=Path, metavar="PAGE", help="all tutorials without")
    parser.add_argument("--write", action="store_true", help="put what came out into the pages")
    options = parser.parse_args()
    pages = [p.resolve() for p in options.pages] or [p for p in sorted(PAGES.glob("*.md")) if p.name != "index.md"]
    if len(pages) > 1:
        again = [sys.executable, __file__, *(["--write"] if options.write else [])]
        one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
        with ThreadPoolExecutor(AT_ONCE) as pool:
            done = pool.map(lambda page: subprocess.run([*again, str(page)], check=False, env=one_thread), pages)
        return max(page.returncode for page in done)
    with tempfile.TemporaryDirectory(prefix="tutorial-") as folder:
        for name in ("datasets", "configs"):
            (Path(folder) / name).symlink_to(REPOSITORY / name)
        started = time.monotonic()
        with contextlib.chdir(folder):
            try:
                run_page(pages[0], write=options.write)
            except TutorialError as error:
                print(error, file=sys.stderr)
                return 1
    print(f"{pages[0].name}: {time.monotonic() - started:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
