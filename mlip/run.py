"""The run folder: which stage is whole, and which has to be done again.

Takes a config file and a folder; gives, per stage, a fingerprint of everything its result depends on: its own section,
the common settings it uses, the files it reads and the fingerprints of the stages before it. A result with the same
fingerprint is kept; another one is moved to `superseded/` and comes back when the settings do. Nothing depends on file
times.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlip import __version__, config, crystals
from mlip.engines import settings_of
from mlip.files import digest_of, read_provenance, require_writable, sha256, write_text_atomic

UPSTREAM: dict[str, tuple[str, ...]] = {
    "structures": (),
    "dataset": (),
    "train": ("dataset",),
    "evaluate": ("structures", "train"),
    "sites": ("structures", "train"),
    "neb": ("sites",),
    "label": (),
    "convergence": (),
    "energetics": ("structures", "sites"),
    "ladder": ("neb",),
    "md": ("sites",),
    "diffusion": ("md", "neb"),
    "report": ("structures", "dataset", "train", "evaluate", "sites", "neb"),
}
# A part of `mlip run` only where their section says `run: true`; the report shows those that are done.
OPTIONAL = ("label", "convergence", "energetics", "ladder", "md", "diffusion")
COMMON: dict[str, tuple[str, ...]] = {  # the common settings each stage uses itself
    "structures": (),
    "dataset": ("seed", "target"),
    "train": ("seed", "device"),
    "evaluate": (),
    "sites": ("seed", "device", "dtype", "native", "cueq", "equivalence_ev", "equivalence_ev_per_angstrom"),
    "neb": (),
    "label": (),
    "convergence": (),
    "energetics": ("seed",),
    "ladder": (),
    "md": ("seed",),
    "diffusion": ("seed",),
    "report": (),
}
SECTIONS: dict[str, tuple[str, ...]] = {  # sections of the config besides its own that a stage depends on
    "label": ("dft",),
    "convergence": ("dft",),
    "energetics": ("dft",),
    "ladder": ("dft",),
}


@dataclass(frozen=True)
class Run:
    """A run folder and its configuration."""

    folder: Path
    config: config.Config
    _hashes: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    def path(self, stage: str, *parts: str) -> Path:
        """A path inside the folder of a stage."""
        return self.folder.joinpath(stage, *parts)

    def settings(self, stage: str) -> dict[str, Any]:
        """The settings a stage depends on, JSON-able."""
        common = self.config.common.model_dump(mode="json")
        parts = {s: getattr(self.config, s).model_dump(mode="json") for s in (stage, *SECTIONS.get(stage, ()))}
        if stage in OPTIONAL:
            parts[stage].pop("run")  # says when, not what
        return {"common": {k: common[k] for k in COMMON[stage]}, **parts}

    def upstream(self, stage: str) -> tuple[str, ...]:
        """The stages whose results a stage reads: for the report also the optional ones that are done."""
        extra = tuple(s for s in OPTIONAL if self.is_done(s)) if stage == "report" else ()
        return UPSTREAM[stage] + extra

    def planned(self) -> tuple[str, ...]:
        """The stages of a whole run, in order."""
        return tuple(s for s in UPSTREAM if s not in OPTIONAL or getattr(self.config, s).run)

    def inputs(self, stage: str) -> dict[str, str]:
        """Hash of every file the stage reads from outside, and the fingerprint of every stage before it."""
        found = {name: self.fingerprint(name) for name in self.upstream(stage)}
        for path in self._files(stage):
            key = str(path)
            if key not in self._hashes:
                self._hashes[key] = sha256(path)
            found[path.name if path.is_dir() else f"{path.parent.name}/{path.name}"] = self._hashes[key]
        return found

    def fingerprint(self, stage: str) -> str:
        """Hash of everything the result of a stage depends on."""
        if f"stage:{stage}" not in self._hashes:
            whole = [stage, __version__, self.settings(stage), self.inputs(stage)]
            self._hashes[f"stage:{stage}"] = digest_of(whole)
        return self._hashes[f"stage:{stage}"]

    def is_done(self, stage: str) -> bool:
        """Whether a whole result with the present fingerprint exists."""
        result = self.path(stage, "result.json")
        return result.exists() and read_provenance(result).fingerprint == self.fingerprint(stage)

    def is_whole(self, stage: str) -> bool:
        """Whether a stage is done and left nothing for the next call (a file `unfinished` says that it did)."""
        return self.is_done(stage) and not self.path(stage, "unfinished").exists()

    def _files(self, stage: str) -> list[Path]:
        c = self.config
        if stage == "structures" and c.structures.crystal_file is not None:
            return [Path(crystals.split(crystal_name(c.structures))[0])]
        if stage in {"dataset", "convergence"}:
            names = ("frames.extxyz", "card.yaml") if stage == "dataset" else ("frames.extxyz",)
            return [place(c.dataset.path) / name for name in names]
        if stage == "train" and c.train.base is not None:
            return [base_model(c.train.base)]
        if stage == "label":
            return [place(path) for path in c.label.frames]
        if stage == "report":
            code = Path(__file__).parent  # another one makes another report; numbers that took hours stay
            # what an unfinished stage adds later makes another report
            found = [self.path(s, "result.json") for s in OPTIONAL if self.is_done(s)]
            return [place(c.report.references), code, *found]
        return []

    def prepare(self, stage: str) -> Path:
        """The folder of a stage, holding only work with the present fingerprint."""
        folder, mark = self.path(stage), self.path(stage, "fingerprint")
        now = self.fingerprint(stage)
        if folder.exists():
            before = mark.read_text(encoding="utf-8").strip() if mark.exists() else "unknown"
            if before == now:
                return folder
            kept = self.folder / "superseded" / f"{stage}-{before[:12]}"
            kept.parent.mkdir(exist_ok=True)
            shutil.rmtree(kept, ignore_errors=True)
            folder.rename(kept)
        earlier = self.folder / "superseded" / f"{stage}-{now[:12]}"
        if earlier.exists():
            earlier.rename(folder)
        write_text_atomic(mark, now + "\n")
        return folder


def place(path: str | Path) -> Path:
    """A path of the config: relative to the working directory, or else to the repository.

    Raises:
        ValueError: it is in neither.
    """
    given = Path(path)
    for candidate in (given, Path(__file__).parents[1] / given):
        if candidate.exists():
            return candidate
    raise ValueError(f"{given}: no such file or folder, from here or from the repository; check the path in the config")


def crystal_name(settings: config.Structures) -> str:
    """The name of a built-in crystal, or the path of the crystal's file with the block that is named.

    Raises:
        ValueError: neither.
    """
    if settings.crystal_file is None:
        return settings.crystal
    file, block = crystals.split(settings.crystal_file)
    try:
        placed = str(place(file))
    except ValueError as error:
        known = ", ".join(config.CRYSTALS)
        raise ValueError(f"{error}; built-in crystals of structures.crystal: {known}") from error
    return f"{placed}#{block}" if block else placed


def base_model(name: str) -> Path:
    """The folder or file of the base model: a path, or a foundation model that mace-torch knows by name."""
    try:
        return place(name)
    except ValueError:
        from mlip.models import foundation

        return foundation(name)


def init(source: Path, folder: Path) -> Run:
    """Check a config, copy it into the run folder and give the run.

    Raises:
        ValueError: anything wrong with the config, the files it names or the folder.
    """
    checked = config.load(source)
    settings_of(checked.dft)
    run = Run(folder, checked)
    for stage in UPSTREAM:
        run.inputs(stage)
    text = source.read_text(encoding="utf-8")
    target = folder / "config.yaml"
    if not target.exists() or target.read_text(encoding="utf-8") != text:
        require_writable(target)
        with locked(folder):  # never under a process that works with the settings of before
            write_text_atomic(target, text)
    return run


def opened(folder: Path) -> Run:
    """The run in a folder made by `mlip init`."""
    if not (folder / "config.yaml").exists():
        raise ValueError(f"{folder}: not a run folder (no config.yaml); make one with: mlip init CONFIG {folder}")
    return Run(folder, config.load(folder / "config.yaml"))


@contextmanager
def locked(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the run folder: a second process working in it is refused; with `shared`, one that does not share."""
    try:
        handle = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR)
    except OSError as error:
        raise ValueError(f"{folder}: cannot be written ({error.strerror}); choose a folder you may write to") from error
    try:
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(f"{folder}: another process works in this run; wait for it or stop it") from error
        yield
    finally:
        os.close(handle)
