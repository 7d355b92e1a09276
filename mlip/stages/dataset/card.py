"""The card of a dataset: what the labels are, how they were made, and what they must not be used for.

Takes `card.yaml` beside `frames.extxyz`; gives a frozen, validated `Card`. Unknown or missing keys are errors.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from pydantic import ConfigDict, TypeAdapter

from mlip.atoms import structures
from mlip.atoms.structures import Host
from mlip.core import files

LABELLED = ("frames.extxyz", "card.yaml")  # files of a dataset folder
NUMERICAL = {"grid_angstrom"}  # settings that bring the result closer to that of the theory and choose no other one
LENGTH_SHARE = 0.03  # by which a labelled cell may differ from whole surface cells


def hop_group(hop: str, ion: str) -> str:
    """The group of frames on bands of a hop, of refinement or selected, unless a dataset has one for its path."""
    return f"ladder_{hop}_{ion}"


@dataclass(frozen=True, kw_only=True)
class LabelledPath:
    """DFT along a path: which frames give which barrier, and whether they are stationary points of DFT."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    group: str
    host: str
    ion: str
    hop: str
    initial: str  # frame_id
    saddle: str  # frame_id
    geometry: str
    note: str = ""
    refined: bool = False  # initial end and saddle are stationary in DFT
    calls: int | None = None  # that it took
    force_ev_per_angstrom: float | None = None  # largest DFT force left
    final: str | None = None  # frame_id; None: the hop is symmetric, or its final end is not labelled
    std_ev: float | None = None  # of the forward barrier, for noise and the forces left


def group_of_hops(paths: Iterable[LabelledPath]) -> dict[str, str]:
    """The group of the path on which a hop lies, by the group of frames on its bands; 'first+second' has two hops."""
    every = list(paths)
    parts = {hop_group(part, p.ion): p.group for p in every for part in p.hop.split("+")}
    return parts | {hop_group(p.hop, p.ion): p.group for p in every}


OF_REFINED = {"refined", "calls", "force_ev_per_angstrom", "final", "std_ev"}  # left out of a card where not set


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a dataset is; `card.yaml` beside `frames.extxyz`."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: str
    level: str
    settings_hash: str
    settings: dict[str, str | float | int | bool]
    dispersion: dict[str, str | float | int | bool]
    units: dict[str, str]
    licence: str
    sampled: str
    counts: dict[str, dict[str, int]]
    limits: tuple[str, ...]
    e0_ev: dict[str, dict[str, float]]  # target -> symbol -> eV per atom: a fit, not isolated atoms
    paths: tuple[LabelledPath, ...]
    sha256: str  # of frames.extxyz


def card_as_mapping(card: Card) -> dict[str, object]:
    """The card as plain lists and mappings, ready for YAML or JSON."""
    mapping: dict[str, Any] = TypeAdapter(Card).dump_python(card, mode="json")
    unset = {field.name: field.default for field in fields(LabelledPath) if field.name in OF_REFINED}
    mapping["paths"] = [{k: v for k, v in path.items() if k not in unset or v != unset[k]} for path in mapping["paths"]]
    return mapping


def read_card(folder: Path) -> Card:
    """The validated card of a dataset folder.

    Raises:
        ValueError: where card.yaml is absent, not YAML, or a key is missing, unknown or of the wrong type.
    """
    path = folder / "card.yaml"
    raw = files.read_yaml(path, advice="a dataset folder needs a card")
    return files.validated(path, raw, Card, advice="see Card in mlip/stages/dataset/card.py for the keys")


def other_theory(one: Card, other: Card) -> str:
    """The settings in which the theory of two datasets differs; empty where none does. The real-space grid is none."""
    pairs = [(one.dispersion, other.dispersion, "dispersion.")]
    if one.settings_hash != other.settings_hash:
        pairs.append((one.settings, other.settings, ""))
    found = [prefix + key for a, b, prefix in pairs for key in sorted({*a, *b} - NUMERICAL) if a.get(key) != b.get(key)]
    return ", ".join(found)


def labels_fit(path: LabelledPath, frames: Mapping[str, Atoms], hosts: Sequence[Host], conventional: Atoms) -> bool:
    """Whether labels of a path are of the run's crystal and plane: same composition, whole surface cells."""
    host, frame = next((h for h in hosts if h.name == path.host), None), frames.get(path.initial)
    if host is None or frame is None:
        return True  # no hop of the run has these labels
    clean = frame[[s != path.ion for s in frame.symbols]]
    if _shares(clean) != _shares(conventional):
        return False
    basis = conventional.cell.array
    if host.miller is not None:
        basis = structures.surface_basis(conventional, host.miller)[0][:2]
    repeats = frame.cell.lengths()[: len(basis)] / np.linalg.norm(basis, axis=1)
    return bool((np.abs(repeats / np.maximum(np.rint(repeats), 1) - 1) < LENGTH_SHARE).all())


def same_cell(frame: Atoms, host: Host) -> bool:
    """Whether a frame with one ion is of the cell of a host: as many atoms, periodic vectors of the same lengths."""
    axes = 3 if host.miller is None else 2
    lengths = np.array(host.cell_angstrom[:axes])
    return len(frame) == host.atoms + 1 and bool(
        (np.abs(frame.cell.lengths()[:axes] / lengths - 1) < LENGTH_SHARE).all()
    )


def _shares(atoms: Atoms) -> dict[str, float]:
    counts = atoms.symbols.formula.count()
    return {s: round(n / len(atoms), 6) for s, n in sorted(counts.items())}
