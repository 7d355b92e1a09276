"""What the next call of a stage adds to its result, in two files of the folder of the stage.

`unfinished` has the reason while something is left to do, such as jobs that have to run first. `refused` lists files,
each with its hash, that keep calculations from being tried again: once the user removes or replaces one, the next call
tries again. Paths are relative to the folder, so that a run can be moved.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from mlip.core import files

GONE = "gone"  # in place of the hash of a file that the user removed while the stage ran


def leave(folder: Path, reason: str | None, refused: Sequence[str | Path] = ()) -> None:
    """Write both files; one that would be empty is removed.

    Args:
        folder: of the stage.
        reason: why something is left to do; None: nothing is.
        refused: files that keep calculations from being tried again.
    """
    add(folder, reason, refused)
    for name, is_empty in (("refused", not refused), ("unfinished", not reason)):
        if is_empty:
            (folder / name).unlink(missing_ok=True)


def add(folder: Path, reason: str | None, refused: Sequence[str | Path]) -> None:
    """Write the files that have something to say, and leave the others: for the time before the result is written."""
    here = folder.resolve()
    paths = dict.fromkeys(Path(file).resolve() for file in refused)
    lines = [f"{_digest(path)}  {os.path.relpath(path, here)}" for path in paths]
    for name, text in (("refused", "\n".join(lines)), ("unfinished", reason)):
        if text:
            files.write_text_atomic(folder / name, text + "\n")


def is_left(folder: Path) -> bool:
    """Whether something is left to do, or a file that kept a calculation from being tried again is gone or replaced."""
    listed = folder / "refused"
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.exists() else []
    return (folder / "unfinished").exists() or any(_is_changed(folder, *line.split("  ", 1)) for line in lines)


def _is_changed(folder: Path, digest: str, name: str) -> bool:
    return digest == GONE or _digest(folder.resolve() / name) != digest


def _digest(path: Path) -> str:
    return files.sha256(path) if path.exists() else GONE
