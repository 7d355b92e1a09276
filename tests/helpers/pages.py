"""The pages that people read, and the blocks of code on them."""

from markdown_it import MarkdownIt

from helpers import tiny

DOCS = tiny.REPOSITORY / "docs"
PAGES = sorted(p for p in DOCS.rglob("*.md") if "_build" not in p.parts)
OTHERS = [tiny.REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "datasets/README.md")]


def named(path):
    return path.relative_to(tiny.REPOSITORY).as_posix()


def tokens(path):
    return MarkdownIt().parse(path.read_text(encoding="utf-8"))


def blocks(path):
    """Kind and text of every fenced block of a page, in their order."""
    return [(t.info.strip(), t.content) for t in tokens(path) if t.type == "fence"]


def fences(path, *kinds):
    """Texts of the fenced blocks of a page that are of some kinds."""
    return [text for kind, text in blocks(path) if kind in kinds]


def inline(path, *starts):
    """Code inside sentences that begins with one of some texts."""
    found = (child.content for t in tokens(path) for child in t.children or () if child.type == "code_inline")
    return [code for code in found if code.startswith(starts)]
