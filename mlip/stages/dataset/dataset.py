"""A dataset folder, its card, its split by group and its reference energies.

Takes labelled frames; deduplicates them, splits them by group so that no path or trajectory is on two sides, writes the
split files with a manifest, and fits one reference energy per element; gives frozen dataclasses.

    min_e  sum_i (E_i / N_i - sum_s x_is e_s)^2 + ridge * frames * sum_s (e_s - m)^2

with x_is = n_is / N_i and m the median of E_i / N_i.

Grouped validation: Roberts et al., Ecography 2017, 40, 913, doi:10.1111/ecog.02881.
"""

import difflib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from mlip.atoms import copies, extxyz
from mlip.atoms.dispersion import target_labels
from mlip.core import files
from mlip.core.section import Target
from mlip.core.status import Status
from mlip.stages.dataset import labels
from mlip.stages.dataset.card import Card, LabelledPath, read_card
from mlip.stages.dataset.settings import DatasetSettings

__all__ = [
    "Card",
    "LabelledPath",
    "Manifest",
    "Part",
    "Split",
    "deduplicate",
    "folds",
    "read_card",
    "read_dataset",
    "reference_energies",
    "require_held_out_paths",
    "require_own",
    "split",
    "write_split",
]


LABELLED, NO_LABELS = "labelled", "no labels"  # statuses of a dataset
HAS_LABELS = Status(LABELLED)
LEARNED = "learned"  # in the info of a frame that a round of `mlip learn` chose: its group stays in training


@dataclass(frozen=True)
class Split:
    """Frames for training, validation and test; a group is in one of them only, or there is no Split."""

    train: tuple[Atoms, ...]
    valid: tuple[Atoms, ...]
    test: tuple[Atoms, ...]

    def __post_init__(self) -> None:
        """Refuse a split that leaks.

        Raises:
            ValueError: where a group is in two parts.
        """
        groups = {part: {f.info["group"] for f in frames} for part, frames in self.parts().items()}
        for one, other in (("train", "valid"), ("train", "test"), ("valid", "test")):
            if shared := sorted(groups[one] & groups[other]):
                raise ValueError(f"group {shared[0]!r} is in {one} and in {other}; a group belongs to one part")

    def parts(self) -> dict[str, tuple[Atoms, ...]]:
        """The parts by name: train, valid, test."""
        return {"train": self.train, "valid": self.valid, "test": self.test}


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one file of a split holds."""

    file: str | None  # name in the folder of the split; None where the part has no frames
    sha256: str | None
    frames: int
    atoms: int
    hosts: dict[str, int]
    ions: dict[str, int]
    groups: dict[str, int]
    frame_ids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A split on disk: what is where, at which level, and the reference energies of its training part."""

    target: Target
    settings_hash: str
    parts: dict[str, Part]
    e0_ev: dict[str, dict[str, float]]  # level -> symbol -> eV per atom, of the training part
    status: Status = HAS_LABELS


def read_dataset(folder: Path, settings: DatasetSettings, *, target: Target) -> tuple[Card, list[Atoms]]:
    """The card and the checked frames of a dataset folder.

    Raises:
        ValueError: where card and frames do not belong together or a label fails a check (`labels.check`).
    """
    card, path = read_card(folder), folder / "frames.extxyz"
    if card.units != extxyz.UNITS:
        raise ValueError(f"{folder / 'card.yaml'}: units are {card.units}, only {extxyz.UNITS} are read; convert first")
    frames = labels.read_labelled(path, settings, target=target, card=card)
    if (found := files.sha256(path)) != card.sha256:
        raise ValueError(
            f"{path}: sha256 is {found[:12]}..., the card says {card.sha256[:12]}...; copy both or make the card again"
        )
    require_paths(card.paths, frames, source=str(folder / "card.yaml"))
    return card, frames


def require_paths(paths: Sequence[LabelledPath], frames: Sequence[Atoms], *, source: str) -> None:
    """Check that both frames of every labelled path are there and in the path's group, so that no split parts them.

    Raises:
        ValueError: for the first that is not.
    """
    groups = {frame.info["frame_id"]: frame.info["group"] for frame in frames}
    for path in paths:
        for name in (path.initial, path.saddle):
            if name not in groups:
                raise ValueError(f"{source}: paths name frame {name!r}, which the frames lack; correct paths")
            if groups[name] != path.group:
                raise ValueError(
                    f"{source}: paths put frame {name!r} in group {path.group!r}, "
                    f"the frame says {groups[name]!r}; correct one"
                )


def deduplicate(
    frames: Sequence[Atoms],
    tolerance_angstrom: float,
    test_groups: Collection[str] = (),
    *,
    source: str = "dataset",
) -> tuple[list[Atoms], tuple[tuple[str, str], ...]]:
    """The frames without copies of structures (the earlier one stays), and the pairs (dropped, kept) of frame_ids.

    A copy may be moved, reordered, turned, mirrored or in another choice of the same cell, see `copies`. Two held-out
    frames may be copies of each other, such as the initial images of two paths from one site. `source` is what messages
    call the frames.

    Raises:
        ValueError: copies have other labels, so one of them is wrong (`labels.require_alike`).
    """
    found = copies.copies(frames, tolerance_angstrom)
    labels.require_alike(frames, found, source=source)
    pairs = [
        (first, second)
        for first, second in found
        if not all(frames[k].info["group"] in test_groups for k in (first, second))
    ]
    dropped = {later for _, later in pairs}
    names = tuple((str(frames[b].info["frame_id"]), str(frames[a].info["frame_id"])) for a, b in pairs)
    return [frame for number, frame in enumerate(frames) if number not in dropped], names


def require_own(test_groups: Sequence[str], frames: Sequence[Atoms], dropped: Sequence[tuple[str, str]]) -> None:
    """Refuse test groups that hold nothing but copies of frames of other groups.

    Args:
        test_groups: groups that are held out.
        frames: all frames, with those that were dropped.
        dropped: pairs (dropped, kept) of frame_ids, of `deduplicate`.

    Raises:
        ValueError: for the first such group, with one of the pairs.
    """
    kept = dict(dropped)
    groups = {str(f.info["frame_id"]): str(f.info["group"]) for f in frames}
    for group in test_groups:
        names = [name for name, own in groups.items() if own == group]
        if names and all(name in kept for name in names):
            first = kept[names[0]]
            raise ValueError(
                f"test_groups: every frame of {group!r} is a copy of another frame ({names[0]} of {first} in group "
                f"{groups[first]!r}), maybe moved, reordered, turned or mirrored: nothing is tested; name other groups"
            )


def require_held_out_paths(
    paths: Sequence[LabelledPath], test_groups: Collection[str], dropped: Sequence[tuple[str, str]]
) -> None:
    """Refuse a held-out path that loses a frame which is a copy of one outside the held-out groups.

    Raises:
        ValueError: for the first such path, with the pair.
    """
    kept = dict(dropped)
    for path in paths:
        for name in (path.initial, path.saddle) if path.group in test_groups else ():
            if name in kept:
                raise ValueError(
                    f"test_groups: {name!r} of the held-out path {path.ion} {path.hop} is a copy of {kept[name]!r}, "
                    "which is not held out; hold out the group of that frame too, or remove one of the two"
                )


def split(frames: Sequence[Atoms], test_groups: Sequence[str], *, valid_fraction: float, seed: int) -> Split:
    """Frames split by group: test as named, validation spread over hosts and ions, the rest for training.

    Validation takes groups, one kind (host and ion) after the other and the kind it has least of first, until it holds
    valid_fraction of the frames that are not in test. The last group of a kind stays in training while others can go.
    Groups with frames that `mlip learn` chose (info `learned`) stay in training, and are not counted.

    Raises:
        ValueError: where a test group does not exist, or nothing is left for training or validation.
    """
    sizes = Counter(str(frame.info["group"]) for frame in frames)
    for name in test_groups:
        if name not in sizes:
            near = difflib.get_close_matches(name, sizes, n=3, cutoff=0.5) or sorted(sizes)[:3]
            raise ValueError(f"test_groups: there is no group {name!r}; near: {', '.join(near)}")
    kinds = {str(f.info["group"]): (str(f.info["host"]), str(f.info["ion"])) for f in frames}
    rest = {group: size for group, size in sizes.items() if group not in set(test_groups)}
    if len(rest) < 2:
        raise ValueError(
            f"{len(rest)} groups are left for training and validation, at least 2 are needed; shorten test_groups"
        )
    learned = {str(f.info["group"]) for f in frames if LEARNED in f.info}
    unlearned = {group: size for group, size in rest.items() if group not in learned}
    free = unlearned if len(unlearned) > 1 else rest
    wanted = max(1, round(valid_fraction * sum(free.values())))
    valid = _validation_groups(free, kinds, wanted=wanted, seed=seed)
    return Split(
        train=tuple(f for f in frames if f.info["group"] in rest and f.info["group"] not in valid),
        valid=tuple(f for f in frames if f.info["group"] in valid),
        test=tuple(f for f in frames if f.info["group"] in set(test_groups)),
    )


def _validation_groups(
    sizes: dict[str, int], kinds: dict[str, tuple[str, str]], *, wanted: int, seed: int
) -> frozenset[str]:
    rng = np.random.default_rng(seed)
    luck = dict(zip(sorted(sizes), rng.random(len(sizes)), strict=True))
    chosen: dict[str, int] = {}
    while sum(chosen.values()) < wanted and len(chosen) < len(sizes) - 1:
        left = Counter(kinds[g] for g in sizes if g not in chosen)
        hosts, ions = (Counter(kinds[g][axis] for g in chosen) for axis in (0, 1))
        room = wanted - sum(chosen.values())
        ranked = [
            (left[kinds[g]] == 1, sizes[g] > room, hosts[kinds[g][0]] + ions[kinds[g][1]], luck[g], g)
            for g in sizes
            if g not in chosen
        ]
        best = min(ranked)[-1]
        chosen[best] = sizes[best]
    return frozenset(chosen)


def folds(frames: Sequence[Atoms], number: int, *, seed: int) -> tuple[tuple[str, ...], ...]:
    """Groups in `number` folds, each group in exactly one; the folds have similar numbers of frames, hosts and ions.

    The largest group goes first, each to the fold that has least of its host, its ion and of all frames.

    Raises:
        ValueError: where the number of folds is below 2 or above the number of groups, or two groups have the same
            structure: a model that saw one would be tested on the other.
    """
    sizes = Counter(str(frame.info["group"]) for frame in frames)
    if not 2 <= number <= len(sizes):
        raise ValueError(f"{number} folds of {len(sizes)} groups; choose between 2 and {len(sizes)}")
    for first, second in copies.copies(frames, DatasetSettings().duplicate_angstrom):
        one, other = frames[first].info, frames[second].info
        if one["group"] != other["group"]:
            raise ValueError(
                f"frames {one['frame_id']} of group {one['group']} and {other['frame_id']} of group {other['group']} "
                "are the same structure, so a fold could hold out one while its models see the other; leave one out"
            )
    kinds = {str(f.info["group"]): (str(f.info["host"]), str(f.info["ion"])) for f in frames}
    rng = np.random.default_rng(seed)
    luck = dict(zip(sorted(sizes), rng.random(len(sizes)), strict=True))
    made: list[list[str]] = [[] for _ in range(number)]
    loads: list[Counter[str]] = [Counter() for _ in range(number)]
    for group in sorted(sizes, key=lambda g: (-sizes[g], luck[g])):
        host, ion = (f"host {kinds[group][0]}", f"ion {kinds[group][1]}")
        best = min(range(number), key=lambda k: (2 * loads[k]["all"] + loads[k][host] + loads[k][ion], k))
        made[best].append(group)
        for key in ("all", host, ion):
            loads[best][key] += sizes[group]
    return tuple(tuple(sorted(groups)) for groups in made)


def write_split(folder: Path, parts: Split, target: Target) -> Manifest:
    """Write train, valid and test.extxyz with REF_energy (eV) and REF_forces (eV/Angstrom) at the target level.

    Each file appears whole or not at all; a part without frames has no file. Reference energies are fitted to the
    training part alone. Source labels are left out of the files, so that only one level can be trained on.

    Raises:
        ValueError: where a frame lacks a label or the folder cannot be written.
    """
    made = {}
    for name, frames in parts.parts().items():
        path = folder / f"{name}.extxyz"
        if frames:
            files.write_frames(path, [at_target(frame, target) for frame in frames])
        else:
            path.unlink(missing_ok=True)
        made[name] = Part(
            file=path.name if frames else None,
            sha256=files.sha256(path) if frames else None,
            frames=len(frames),
            atoms=sum(len(f) for f in frames),
            hosts=counted(frames, "host"),
            ions=counted(frames, "ion"),
            groups=counted(frames, "group"),
            frame_ids=tuple(str(f.info["frame_id"]) for f in frames),
        )
    hashes = sorted({str(f.info["settings_hash"]) for frames in parts.parts().values() for f in frames})
    if len(hashes) != 1:
        raise ValueError(f"frames have the settings hashes {', '.join(hashes)}; a split holds one level of theory")
    has_d3 = all("d3_energy" in f.info and "d3_forces" in f.arrays for f in parts.train)
    levels: tuple[Target, ...] = ("pbe", "pbe-d3") if has_d3 else ("pbe",)
    e0_ev: dict[str, dict[str, float]] = {level: reference_energies(parts.train, level) for level in levels}
    return Manifest(target=target, settings_hash=hashes[0], parts=made, e0_ev=e0_ev)


def counted(frames: Sequence[Atoms], key: str) -> dict[str, int]:
    """How many frames have each value of a key of their info, by value."""
    return dict(sorted(Counter(str(f.info[key]) for f in frames).items()))


def at_target(frame: Atoms, target: Target) -> Atoms:
    """The frame with REF_energy and REF_forces at the target level, and no other labels."""
    energy_ev, forces = target_labels(frame, target)
    made = Atoms(frame.symbols, positions=frame.positions, cell=frame.cell, pbc=True)
    kept = ("frame_id", "system", "host", "ion", "group", "sampling", "vacuum", "settings_hash")
    made.info = {k: frame.info[k] for k in kept if k in frame.info} | {"target": target, "REF_energy": energy_ev}
    made.arrays["REF_forces"] = forces
    return made


def reference_energies(frames: Sequence[Atoms], target: Target) -> dict[str, float]:
    """Energy per element in eV that best explains the energies per atom; not the energy of an isolated atom.

    Data determine what they can; a split that composition leaves open (Ti against O in frames that are all TiO2) stays
    at equal energy per atom instead of running away. Rounded to 1e-6 eV, so that a card is the same everywhere.

    Raises:
        ValueError: where there are no frames or a label is absent.
    """
    if not frames:
        raise ValueError("no frames to fit reference energies to; give at least one labelled frame")
    symbols = sorted({s for frame in frames for s in frame.get_chemical_symbols()})
    energies = np.array([target_labels(frame, target)[0] for frame in frames])
    fitted = labels.element_fit(labels.composition(frames, symbols), energies, robust=False)
    return {s: round(float(e), 6) for s, e in zip(symbols, fitted, strict=True)}
