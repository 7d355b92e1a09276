"""Files of a run: atomic writes, hashes, provenance; `result.json` in and out.

A reader sees a whole file or none: everything is written beside its target, flushed to disk and renamed.
"""

import hashlib
import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from ase import Atoms
from ase.io import write
from pydantic import TypeAdapter, ValidationError

from mlip.core import texts

T = TypeVar("T")
PACKAGE = Path(__file__).parents[1]
SHIPPED = PACKAGE / "shipped"  # what a wheel brings along
ROOT = SHIPPED if SHIPPED.exists() else PACKAGE.parent  # folder of `datasets` and `configs`
MADE_BEFORE = "made by another version: try mlip upgrade on the run folder, or delete it and run again"
AGAIN = "delete it and run the stage again"

PACKAGES = ("facet-mlip", "torch", "mace-torch", "symmetrix-xl", "e3nn", "ase", "numpy", "spglib", "dftd3", "wandb")


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a result comes from."""

    stage: str
    fingerprint: str
    settings: dict[str, Any]
    inputs: dict[str, str]  # name -> sha256
    seed: int
    device: str
    versions: dict[str, str]
    commit: str
    wall_time_s: float
    finished: str  # ISO time, UTC


def located(path: str | Path) -> Path:
    """The path, or that of the file or folder of this name in the repository or the installed package.

    What is in the working directory goes first. A path that is nowhere comes back as it is.
    """
    given = Path(path)
    return ROOT / given if not given.exists() and (ROOT / given).exists() else given


def place(path: str | Path) -> Path:
    """A path of the config: relative to the working directory, or else to the repository or the installed package.

    Raises:
        ValueError: it is in none of them.
    """
    found = located(path)
    if not found.exists():
        raise ValueError(
            f"{found}: no such file or folder, neither here nor among those that come with mlip; "
            "check the path in the config"
        )
    return found


def write_atomic(path: Path, writer: Callable[[Path], None]) -> None:
    """Let `writer` fill a temporary file beside `path`, then rename it over `path`.

    Raises:
        ValueError: the folder cannot be written or the disk is full; `path` is as it was.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        writer(temporary)
        with temporary.open("rb") as done:
            os.fsync(done.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise _not_writable(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _not_writable(path: Path, error: OSError) -> ValueError:
    reason = error.strerror or error
    return ValueError(f"{path}: cannot be written ({reason}); free space or choose a folder you may write to")


def write_text_atomic(path: Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all."""
    write_atomic(path, lambda temporary: _write_text(temporary, text))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all.

    Libraries that write files themselves (torch, safetensors) report a full disk with errors of their own; give them a
    buffer and write it with this.
    """
    write_atomic(path, lambda temporary: _write_bytes(temporary, data))


def _write_bytes(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def require_writable(path: Path, sources: Sequence[str | Path] = ()) -> None:
    """Nothing where a file can be written at `path`: asked before the work whose result goes there.

    Args:
        path: of the file to write.
        sources: files and folders that are read; none of their files may be overwritten.

    Raises:
        ValueError: the folder cannot be made or written, `path` is a folder, or `path` is a source or in one.
    """
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; give the name of a file")
    for source in map(located, sources):
        if path.exists() and source.exists() and _holds(source, path):
            raise ValueError(f"{path}: is the input {source}, or a part of it; write to another file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise _not_writable(path, error) from error


def _holds(source: Path, path: Path) -> bool:
    """Whether an existing file is this source, also under another name, or lies in it."""
    return source.samefile(path) or path.resolve().is_relative_to(source.resolve())


def write_frames(path: Path, frames: Sequence[Atoms]) -> None:
    """Write frames as extended XYZ, whole or not at all; positions keep eight decimals."""
    write_atomic(path, lambda temporary: write(temporary, list(frames), format="extxyz"))


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, or of names and contents of all files in a folder but __pycache__."""
    digest = hashlib.sha256()
    inside = (p for p in path.rglob("*") if p.is_file() and p.parent.name != "__pycache__")
    for part in sorted(inside) if path.is_dir() else [path]:
        if path.is_dir():
            digest.update(part.relative_to(path).as_posix().encode())
        with part.open("rb") as handle:
            while block := handle.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def digest_of(value: object) -> str:
    """SHA-256 of a JSON-able value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Installed versions of the packages a number can depend on, and of Python."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """Short hash of the checked-out commit, with '+' when files differ from it, or 'unknown' outside a checkout."""
    if SHIPPED.exists():  # an installed package; a repository around its folder is another one
        return "unknown"
    here = Path(__file__).parent
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],  # noqa: S607
            cwd=here,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return described.stdout.strip()


def provenance(stage: str, *, settings: Mapping[str, Any], inputs: Mapping[str, str], started: float) -> Provenance:
    """Provenance of a stage that began at `started` (time.time()) with these settings and input hashes."""
    return Provenance(
        stage=stage,
        fingerprint=digest_of([stage, settings, inputs]),
        settings=dict(settings),
        inputs=dict(inputs),
        seed=int(settings.get("common", {}).get("seed", 0)),
        device=str(settings.get("common", {}).get("device", "cpu")),
        versions=versions(),
        commit=commit(),
        wall_time_s=round(time.time() - started, 2),
        finished=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )


def write_result(path: Path, result: Any, made: Provenance) -> None:
    """Write a frozen dataclass and its provenance as JSON, last of all files of a stage."""
    body = {
        "provenance": TypeAdapter(Provenance).dump_python(made, mode="json"),
        "result": TypeAdapter(type(result)).dump_python(result, mode="json"),
    }
    write_text_atomic(path, json.dumps(body, indent=1, allow_nan=False) + "\n")


def write_record(path: Path, record: Any) -> None:
    """Write one frozen dataclass as JSON."""
    body = TypeAdapter(type(record)).dump_python(record, mode="json")
    write_text_atomic(path, json.dumps(body, indent=1, allow_nan=False) + "\n")


def read_record(path: Path, kind: type[T]) -> T:
    """The frozen dataclass stored in a JSON file."""
    return validated(path, read_json(path), kind)


def read_result(path: Path, kind: type[T]) -> T:
    """The result stored in a stage's `result.json`."""
    return validated(path, _entry(path, "result"), kind)


def read_provenance(path: Path) -> Provenance:
    """The provenance stored in a stage's `result.json`."""
    return validated(path, _entry(path, "provenance"), Provenance)


def read_yaml(path: Path, *, advice: str) -> Any:
    """What a YAML file holds, see `texts.read_yaml`."""
    return texts.read_yaml(path, advice=advice)


def _entry(path: Path, key: str) -> Any:
    body = read_json(path)
    if not isinstance(body, dict):
        raise ValueError(f"{path}: holds no {key}; {AGAIN}")  # noqa: TRY004  (wrong input)
    return body.get(key)


def read_json(path: Path) -> Any:
    """What a JSON file of a run holds.

    Raises:
        ValueError: there is no such file, or it is not JSON.
    """
    if not path.exists():
        raise ValueError(f"{path}: no such file; run the stage that makes it")
    text = texts.read_text(path, advice=AGAIN)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not readable as JSON ({error}); {AGAIN}") from error


def validated(path: Path, value: Any, kind: type[T], *, advice: str = MADE_BEFORE) -> T:
    """The value as this kind.

    Raises:
        ValueError: the first problem in one line: file, key, what is wrong and the advice.
    """
    try:
        return TypeAdapter(kind).validate_python(value, strict=False)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"])
        raise ValueError(f"{path}: {where}: {first['msg']}; {advice}") from error
