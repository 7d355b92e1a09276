"""Files and folders that the arguments of a calculator name: what its numbers depend on beside the config.

Takes the keyword arguments of `train.calculator` and the folder of the run; gives paths, also those in lists and
mappings. A folder counts with its files, unless it may hold anything: more than 1000 files or 10 GiB, or the run.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

WRITTEN = frozenset({"directory", "logfile", "txt"})  # arguments of ASE that name what a calculator writes
MOST_FILES = 1000
MOST_BYTES = 10 * 2**30


def inputs(arguments: Mapping[str, Any], run_folder: Path) -> list[Path]:
    """The files that arguments name, and the folders that are small enough to be read, each once."""
    return [path for path in _paths(arguments) if path.is_file() or _is_read(path, run_folder)]


def left_out(arguments: Mapping[str, Any], run_folder: Path) -> list[Path]:
    """The folders that arguments name and that are no inputs, because they may hold anything."""
    return [path for path in _paths(arguments) if path.is_dir() and not _is_read(path, run_folder)]


def _paths(arguments: Mapping[str, Any]) -> dict[Path, None]:
    return dict.fromkeys(Path(text) for text in _strings(arguments) if text and _is_there(text))


def _strings(value: Any) -> Iterator[str]:
    """Every string in an argument, without those that name what is written."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, inside in value.items():
            if name not in WRITTEN:
                yield from _strings(inside)
    elif isinstance(value, list | tuple):
        for inside in value:
            yield from _strings(inside)


def _is_there(text: str) -> bool:
    """Whether a string names a file or folder; a string too long for a path does not."""
    try:
        path = Path(text)
        return path.is_file() or path.is_dir()
    except OSError:
        return False


def _is_read(folder: Path, run_folder: Path) -> bool:
    """Whether a folder is small enough to be hashed, and does not hold the run, which changes it."""
    if run_folder.resolve().is_relative_to(folder.resolve()):
        return False
    files = size = 0
    for path in folder.rglob("*"):
        if path.is_file():
            files, size = files + 1, size + path.stat().st_size
        if files > MOST_FILES or size > MOST_BYTES:
            return False
    return True
