"""A dataset from labels: those of runs, of other datasets, and of other people's files.

Takes run folders (labels of the stages label and refine, and of a round of `mlip learn`), dataset folders and extended
XYZ files of one level of theory; gives a dataset folder {frames.extxyz, card.yaml}, checked as training will check it.
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, count
from pathlib import Path
from typing import Literal, cast

import numpy as np
import yaml
from ase import Atoms
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from mlip import config
from mlip.atoms import dispersion, extxyz
from mlip.core import files
from mlip.core.files import place
from mlip.core.progress import console
from mlip.core.section import Target
from mlip.dft import queue
from mlip.dft.engines import Described
from mlip.dft.settings import Dft
from mlip.potential import models, potential
from mlip.stages.dataset import dataset, labels, unit_checks
from mlip.stages.dataset.card import Card, LabelledPath, card_as_mapping, group_of_hops, read_card
from mlip.stages.dataset.settings import DatasetSettings

SAME_LABEL_EV, SAME_LABEL_ANGSTROM = 1e-4, 1e-4  # of two labels of one frame
FOLDERS = ("label", "refine", "learn")  # of a run, with labels
RELEASED = "datasets/models/tio2-mg-li"


class Level(BaseModel):
    """What a file of labels does not say: the level of theory, the units, the names of its keys, and what is true."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    settings: Described
    energy_unit: Literal["eV", "Hartree"]
    force_unit: Literal["eV/Angstrom", "Hartree/Bohr"]
    keys: extxyz.Keys = extxyz.Keys()
    zero_forces_are_true: bool = False  # forces of exactly zero on a part of the atoms are labels
    units_are_true: bool = False  # units and sign are not compared with a potential, bonds and cohesive energies


@dataclass(frozen=True)
class Checks:
    """What labels must pass."""

    limits: DatasetSettings = field(default_factory=DatasetSettings)
    target: Target = "pbe-d3"  # what they must have: PBE, or D3 too


@dataclass(frozen=True)
class Source:
    """Labelled frames of one origin and what is known of them."""

    path: Path
    settings: Described
    frames: tuple[Atoms, ...]
    paths: tuple[LabelledPath, ...] = ()
    card: Card | None = None
    level: Level | None = None  # of a file
    notes: tuple[str, ...] = ()  # what was left out or changed


def merge(
    sources: Sequence[Path],
    out: Path,
    *,
    level: Path | None = None,
    checks: Checks | None = None,
) -> Card:
    """Write the dataset that holds the labels of all sources.

    A frame that is in two sources stays once; another one of the same name gets the name of its source. Frames of a
    hop's bands, of refinement or selected, join the group that a source has for the path: no split parts them.

    Args:
        sources: run folders, dataset folders, extended XYZ files (these need `level`).
        out: folder to make.
        level: YAML with the keys of `Level`.
        checks: of the labels; None: with the default limits, and with D3.

    Raises:
        ValueError: a dataset or frames are there already, a source without labels, several levels of theory, a label
            that fails a check; nothing is written then.
    """
    if (out / "card.yaml").exists():
        raise ValueError(f"{out}: is a dataset already; give another folder")
    if (out / "frames.extxyz").exists():
        raise ValueError(f"{out}: holds frames.extxyz, and no card; give another folder, or move that file away")
    found = [_source(files.located(path), level) for path in sources]
    hashes = {s.path: extxyz.settings_hash(s.settings) for s in found}
    if len(set(hashes.values())) > 1:
        listed = ", ".join(f"{path} {value}" for path, value in hashes.items())
        raise ValueError(f"{out}: the sources are of several levels of theory ({listed}); one dataset holds one level")
    for source in found:
        _require_level(source, hashes[source.path])
    notes = [note for source in found for note in (*source.notes, *_checked_units(source))]
    for note in notes:
        console.print(f"  {note}", markup=False, soft_wrap=True)
    frames: list[Atoms] = []
    paths: list[LabelledPath] = []
    for source in found:
        _join(source, frames, paths)
    own = group_of_hops(paths)
    for frame in frames:
        frame.info["group"] = own.get(str(frame.info["group"]), frame.info["group"])
    cards = [s.card for s in found if s.card is not None]
    others = _names([s.path for s in found if s.card is None])
    where = [c.sampled for c in cards]
    where += [f"labels of {', '.join(others)}, as `sampling` of a frame says"] if others else []
    return write(
        out,
        frames,
        level=cards[0].level if cards else _in_words(found[0].settings),
        settings=found[0].settings,
        licence=", ".join(dict.fromkeys(c.licence for c in cards)) or "not stated",
        sampled="; ".join(where),
        limits=tuple(dict.fromkeys([*(line for c in cards for line in c.limits), *notes])),
        paths=paths,
        checks=checks,
    )


def write(  # noqa: PLR0913  (the parts of a card are independent)
    out: Path,
    frames: Sequence[Atoms],
    *,
    level: str,
    settings: Described,
    licence: str,
    sampled: str,
    limits: Sequence[str],
    paths: Sequence[LabelledPath],
    checks: Checks | None = None,
) -> Card:
    """Write labelled frames and their card, once every check of `labels.check` has passed.

    Raises:
        ValueError: a label fails a check, a path names a frame that is not there, or the folder cannot be written.
    """
    checks = checks or Checks()
    labels.check(frames, checks.limits, source=str(out / "frames.extxyz"), target=checks.target)
    dataset.require_paths(paths, frames, source=str(out))
    e0_ev: dict[str, dict[str, float]] = {
        one: dataset.reference_energies(frames, one) for one in dict.fromkeys(("pbe", checks.target))
    }
    files.write_frames(out / "frames.extxyz", frames)
    counts = {"total": {"frames": len(frames), "atoms": sum(len(f) for f in frames)}}
    counts |= {key: dataset.counted(frames, key) for key in ("host", "ion", "group")}
    card = Card(
        name=out.resolve().name,
        level=level,
        settings_hash=extxyz.settings_hash(settings),
        settings=settings,
        dispersion={**asdict(dispersion.D3_BJ_PBE), "package": "dftd3 (simple-dftd3)", "periodic": "three directions"},
        units=extxyz.UNITS,
        licence=licence,
        sampled=sampled,
        counts=counts,
        limits=tuple(limits),
        e0_ev=e0_ev,
        paths=tuple(paths),
        sha256=files.sha256(out / "frames.extxyz"),
    )
    text = yaml.safe_dump(card_as_mapping(card), sort_keys=False, allow_unicode=True, width=120)
    files.write_text_atomic(out / "card.yaml", text)
    dataset.read_dataset(out, checks.limits, target=checks.target)
    return card


def _require_level(source: Source, wanted: str) -> None:
    """Raise where a frame is of another level; frames with the older hash of this one get the hash of today."""
    older = extxyz.settings_hash_as_written(source.settings)
    for frame in source.frames:
        if (found := frame.info.get("settings_hash")) == older:
            frame.info["settings_hash"] = wanted
        elif found != wanted:
            raise ValueError(
                f"{source.path}: frame {frame.info['frame_id']} has the settings {found}, its settings are {wanted}; "
                "label it again at these settings, or restore them"
            )


def _source(path: Path, level: Path | None) -> Source:
    if path.is_file():
        return _of_file(path, level)
    if (path / "card.yaml").exists():
        card = read_card(path)
        return Source(path, card.settings, tuple(extxyz.read_frames(path / "frames.extxyz")), card.paths, card)
    if (path / "config.yaml").exists():
        return _of_run(path)
    raise ValueError(f"{path}: is no run folder, no dataset folder and no file of frames")


def _of_run(folder: Path) -> Source:
    there = [path for name in FOLDERS if (path := folder / name / "frames.extxyz").exists()]
    if not there:
        raise ValueError(f"{folder}: has no labels; mlip label {folder} or mlip refine {folder} makes them")
    frames = [frame for path in there for frame in extxyz.read_frames(path)]
    paths = tuple(chain.from_iterable(_paths(folder / name) for name in FOLDERS))
    return Source(folder, queue.settings_of(_dft(folder)), tuple(frames), paths)


def _paths(folder: Path) -> tuple[LabelledPath, ...]:
    listed = folder / "paths.yaml"
    if not listed.exists():
        return ()
    advice = f"run {folder.name} again"
    raw = files.read_yaml(listed, advice=advice)
    return files.validated(listed, raw, tuple[LabelledPath, ...], advice=advice)


def _of_file(path: Path, level: Path | None) -> Source:
    if level is None:
        raise ValueError(
            f"{path}: a file does not say its level of theory and units; give them with --level LEVEL.yaml"
        )
    raw = files.read_yaml(level, advice="give the path of a YAML file")
    said = files.validated(level, raw, Level, advice="see Level in mlip/tools/merge_datasets.py for the keys")
    notes: list[str] = []
    frames = extxyz.import_frames(
        path,
        level_hash=extxyz.settings_hash(said.settings),
        energy_unit=said.energy_unit,
        force_unit=said.force_unit,
        keys=said.keys,
        zero_forces_are_true=said.zero_forces_are_true,
        say=notes.append,
    )
    if said.zero_forces_are_true:
        notes.append(f"{path.name}: forces of exactly zero are labels, as the level file says")
    for frame in frames:
        frame.info = {"sampling": path.stem} | frame.info
    return Source(path, said.settings, tuple(frames), level=said, notes=tuple(notes))


def _checked_units(source: Source) -> tuple[str, ...]:
    """Check the labels of a file by themselves; what could not be checked."""
    if source.level is None:
        return ()
    limits = DatasetSettings()
    labels.check(source.frames, limits, source=str(source.path), target="pbe-d3")
    if source.level.units_are_true:
        return (f"{source.path.name}: units and sign of the labels are as the level file says, not checked",)
    return unit_checks.check(
        source.frames, source=source.path.name, limit=limits.max_energy_force_mismatch, potential=_potential()
    )


def _potential() -> unit_checks.Potential | None:
    """The released potential, one member of it; None where its folder is not there."""
    try:
        folder = place(RELEASED)
    except ValueError:
        return None
    released = models.load(folder).subset([1])

    def predict(frames: Sequence[Atoms]) -> list[tuple[float, NDArray[np.float64]]]:
        return [(p.energy_ev, p.mean_forces) for p in potential.Evaluator(released)(frames)]

    return unit_checks.Potential(RELEASED, released.elements, predict)


def _join(source: Source, frames: list[Atoms], paths: list[LabelledPath]) -> None:
    """Add a source's frames and paths to those there are."""
    known = {str(f.info["frame_id"]): f for f in frames}
    taken = {*known, *(str(f.info["frame_id"]) for f in source.frames)}
    hops = {(p.host, p.ion, p.hop): p.group for p in paths}
    groups = {p.group: hops.get((p.host, p.ion, p.hop), p.group) for p in source.paths}
    names: dict[str, str] = {}
    for frame in source.frames:
        name = str(frame.info["frame_id"])
        if name in known:
            twin = next((n for n, f in known.items() if n.startswith(name) and _same(frame, f)), None)
            if twin is None and name in names:
                raise ValueError(f"{source.path}: frame_id {name!r} is there twice; give each frame its own")
            names[name] = twin or _free(name, source.path.resolve(), taken)
            if twin is not None:
                continue
        else:
            names[name] = name
        group = str(frame.info["group"])
        frame.info |= {"frame_id": names[name], "group": groups.get(group, group)}
        frames.append(frame)
    renamed = [
        replace(
            p,
            group=groups[p.group],
            initial=names.get(p.initial, p.initial),
            saddle=names.get(p.saddle, p.saddle),
            final=names.get(p.final, p.final) if p.final is not None else None,
        )
        for p in source.paths
    ]
    there = {(p.initial, p.saddle) for p in paths}
    paths += [p for p in renamed if (p.initial, p.saddle) not in there]


def _free(name: str, path: Path, taken: Collection[str]) -> str:
    """A name that no frame has yet: with the name of the source, then with its folder or a number besides."""
    own = f"{name}-{path.stem}"
    more = (f"{own}-{k}" for k in count(2))
    return next(n for n in chain((own, f"{name}-{path.parent.name}-{path.stem}"), more) if n not in taken)


def _same(one: Atoms, other: Atoms) -> bool:
    return (
        np.array_equal(one.numbers, other.numbers)
        and np.allclose(one.positions, other.positions, rtol=0, atol=SAME_LABEL_ANGSTROM)
        and abs(float(one.info["dft_energy"]) - float(other.info["dft_energy"])) < SAME_LABEL_EV
    )


def _names(paths: Sequence[Path]) -> list[str]:
    """Names of files and folders, with the folder they lie in where two have the same."""
    names = [p.name for p in paths]
    return [n if names.count(n) == 1 else f"{p.resolve().parent.name}/{n}" for n, p in zip(names, paths, strict=True)]


def _in_words(settings: Described) -> str:
    known = [str(settings[k]) for k in ("xc", "code", "version", "mode") if k in settings]
    cutoff = [f"{settings['cutoff_ev']:g} eV"] if "cutoff_ev" in settings else []
    return f"{', '.join([*known, *cutoff]) or 'as settings say'}; D3(BJ) stored beside it"


def _dft(folder: Path) -> Dft:
    """The DFT level of a run folder."""
    source = folder / "config.yaml"
    if not source.exists():
        raise ValueError(f"{folder}: not a run folder (no config.yaml); make one with: mlip init CONFIG {folder}")
    return cast("Dft", config.load(source)["dft"])
