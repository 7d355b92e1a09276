"""The values of one data block of a CIF file, by their data names.

Takes a path and the name of a block; gives `Tags`, read with gemmi (doi:10.21105/joss.04200). Data names are in lower
case with underscores, so that CIF 1.1 and DDLm names are one; `?` and `.` are None.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Tags = Mapping[str, list[str | None]]  # data name -> values
PLACES = ("_atom_site_fract_x", "_atom_site_cartn_x")  # a block with one of them holds a crystal


def block_of(path: Path, wanted: str) -> Tags:
    """The values of the wanted block, or of the only block that holds atoms.

    Raises:
        ValueError: the file is no CIF, has no such block, or holds several crystals and none is named.
    """
    blocks = _blocks(path)
    holding = _with_atoms(blocks)
    if wanted:
        chosen = [tags for name, tags in blocks if name.lower() == wanted.lower()]
        if not chosen:
            names = ", ".join(name for name, _ in blocks)
            raise ValueError(f"{path}: has no data block '{wanted}'; there are: {names}")
        return chosen[0]
    if len(holding) > 1:
        names = ", ".join(name for name, _ in holding)
        raise ValueError(
            f"{path}: holds {len(holding)} crystals, in the data blocks {names}; name one: {path.name}#{holding[0][0]}"
        )
    return holding[0][1] if holding else blocks[0][1]


def names_with_atoms(path: Path) -> tuple[str, ...]:
    """The names of the blocks that hold atoms.

    Raises:
        ValueError: the file is no CIF.
    """
    return tuple(name for name, _ in _with_atoms(_blocks(path)))


def _with_atoms(blocks: Sequence[tuple[str, Tags]]) -> list[tuple[str, Tags]]:
    return [(name, tags) for name, tags in blocks if any(key in tags for key in PLACES)]


def _blocks(path: Path) -> list[tuple[str, Tags]]:
    """Name and values of every block."""
    import gemmi

    try:
        document = gemmi.cif.read_string(_text(path))
    except (ValueError, RuntimeError) as error:
        said = " ".join(str(error).split()).removeprefix("string:").strip()
        said = re.sub(r"^(\d+):(\d+)\(\d+\)", r"line \1, column \2", re.sub(r"^(?=\d+ in)", "line ", said))
        raise ValueError(f"{path}: is not a readable CIF file ({said})") from error
    blocks: list[tuple[str, Tags]] = [(block.name.strip(), _tags(block)) for block in document]
    if not blocks:
        raise ValueError(f"{path}: is not a readable CIF file (no data_ block)")
    return blocks


def _text(path: Path) -> str:
    """The text of the file: no byte-order mark, ASCII, and single values with blanks in quotes where they lack them."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such file; give the path of a .cif file") from error
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    coding = "utf-16" if raw[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"
    text = raw.decode(coding, errors="replace").encode("ascii", errors="replace").decode()
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    start = next((n for n, line in enumerate(lines) if line.lower().startswith("data_")), 0)
    lines[:start] = [""] * start
    inside = False
    for n, line in enumerate(lines):
        if line.startswith(";"):
            inside = not inside
        bare = re.fullmatch(r"(_\S+)\s+([^\s'\";#_][^'\"#;]*?\s[^'\"#;]*?)\s*(#.*)?", line)
        if bare and not inside:
            lines[n] = f"{bare[1]} '{bare[2]}'"
    return "\n".join(lines)


def _tags(block: Any) -> dict[str, list[str | None]]:
    import gemmi

    def plain(raw: str) -> str | None:
        return None if gemmi.cif.is_null(raw) else gemmi.cif.as_string(raw).strip()

    found: dict[str, list[str | None]] = {}
    for item in block:
        if item.pair is not None:
            found[item.pair[0].lower().replace(".", "_")] = [plain(item.pair[1])]
        elif item.loop is not None:
            width = item.loop.width()
            for n, tag in enumerate(item.loop.tags):
                values = [plain(item.loop.values[k]) for k in range(n, len(item.loop.values), width)]
                found[tag.lower().replace(".", "_")] = values
    return found


def first(tags: Tags, *names: str) -> str | None:
    """The first value that is given under any of the names, None where there is none."""
    return next((tags[n][0] for n in names if tags.get(n) and tags[n][0]), None)


def number_in(text: str | None, what: str) -> float:
    """A number of the file, its standard uncertainty in brackets left out."""
    bare = re.sub(r"\(\d*\)$", "", text or "")
    try:
        value = float(bare)
    except ValueError as error:
        raise ValueError(f"is not a readable CIF file ({what} is {text!r}, not a number)") from error
    if not np.isfinite(value):
        raise ValueError(f"is not a readable CIF file ({what} is {text!r}, not a number)")
    return value


def stated(tags: Tags, *names: str) -> float | None:
    """The number that is given under any of the names, None where there is none."""
    text = first(tags, *names)
    return None if text is None else number_in(text, names[0])
