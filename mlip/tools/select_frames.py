"""Which structures to label next: those where the committee disagrees most.

Takes a committee and candidate frames (from dynamics, bands, rattled cells); gives the frames with the largest spread
of a force, ready for `mlip label`. The spread of a frame is that of its atom of largest spread
(doi:10.1103/PhysRevMaterials.3.023804).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ase import Atoms

from mlip.atoms import cells
from mlip.atoms.extxyz import read_frames
from mlip.core.files import located, require_writable, write_frames
from mlip.dft.queue import NEEDED, require_named
from mlip.potential import models, potential
from mlip.stages.neb.band import largest

OF_THE_FILE = ("host", "ion", "vacuum")  # nobody but the maker of a frame knows these


@dataclass(frozen=True)
class Selected:
    """The frames to label and what became of the others."""

    frames: tuple[Atoms, ...]  # by falling spread
    spreads: tuple[float, ...]  # eV/Angstrom
    candidates: int
    too_strong: int  # with a force beyond the limit, left out


def select(
    found: Sequence[tuple[Atoms, potential.Predicted]], *, count: int, per_group: int, largest_force: float
) -> Selected:
    """The `count` frames of largest spread, at most `per_group` of one group.

    Args:
        found: candidates with a group in their info, and what the committee says of them.
        count: how many to give, fewer where there are not so many.
        per_group: of one path, trajectory or family: its frames are alike.
        largest_force: eV/Angstrom; a frame with a larger mean force is left out.

    Raises:
        ValueError: a model with a single member, which has no spread, or a limit that is not above 0.
    """
    if not largest_force > 0:
        raise ValueError(f"largest_force: {largest_force:g} is not above 0; give eV/Angstrom, such as 10")
    ranked: list[tuple[float, Atoms]] = []
    too_strong = 0
    for atoms, predicted in found:
        std = predicted.forces_std
        if std is None:
            raise ValueError("the model has a single member and no spread; give a committee")
        if largest(predicted.mean_forces) > largest_force:
            too_strong += 1
        else:
            ranked.append((largest(std), atoms))
    taken: Counter[str] = Counter()
    frames: list[Atoms] = []
    spreads: list[float] = []
    for spread, atoms in sorted(ranked, key=lambda one: -one[0]):
        if len(frames) == count:
            break
        if taken[atoms.info["group"]] < per_group:
            taken[atoms.info["group"]] += 1
            frames.append(atoms)
            spreads.append(spread)
    return Selected(tuple(frames), tuple(spreads), len(found), too_strong)


def candidates(path: Path) -> list[Atoms]:
    """The frames of a file, with a frame_id, group and sampling by its name where they have none.

    They become periodic in all directions, as DFT takes them.

    Raises:
        ValueError: a frame without host, ion or vacuum in its info, or one whose `vacuum` or `pbc` contradicts its
            atoms, which `mlip label` would refuse.
    """
    frames = []
    for number, atoms in enumerate(read_frames(path)):
        absent = [key for key in OF_THE_FILE if key not in atoms.info]
        if absent:
            raise ValueError(f"{path}: frame {number}: no {', '.join(absent)} in its info, which a label needs")
        own = {"frame_id": f"{path.stem}-{number}", "group": path.stem, "sampling": path.stem}
        info = {key: atoms.info.get(key, own.get(key)) for key in NEEDED}
        try:
            cells.require_consistent(atoms)
        except ValueError as error:
            raise ValueError(f"{path}: frame {number}: {error}") from error
        frames.append(Atoms(atoms.symbols, positions=atoms.positions, cell=atoms.cell, pbc=True, info=info))
    return frames


def from_files(
    model: Path,
    paths: Sequence[Path],
    out: Path,
    *,
    count: int,
    per_group: int,
    largest_force: float,
    device: str = "cpu",
) -> Selected:
    """Write the frames to label next as extended XYZ; their `sampling` says why they were selected.

    Raises:
        ValueError: unreadable frames, an element the model does not know, what `mlip label` would refuse, a result
            that is not finite, no frame left, or an output that cannot be written or is an input.
    """
    require_writable(out, (*paths, model))
    listed = {path: candidates(located(path)) for path in paths}
    frames = [atoms for path in paths for atoms in listed[path]]
    require_named(frames)
    evaluator = potential.Evaluator(models.load(model), device=device)
    for path, own in listed.items():
        potential.require_usable(own, evaluator, path)
    found = evaluator(frames)
    if (bad := potential.first_not_finite(found)) is not None:
        path, number = [(path, k) for path in paths for k in range(len(listed[path]))][bad]
        raise ValueError(f"{path}: frame {number}: {potential.NOT_FINITE}")
    pairs = list(zip(frames, found, strict=True))
    chosen = select(pairs, count=count, per_group=per_group, largest_force=largest_force)
    if not chosen.frames:
        raise ValueError(
            f"none of {chosen.candidates} frames is left: all have forces beyond {largest_force} eV/Angstrom"
        )
    for atoms, spread in zip(chosen.frames, chosen.spreads, strict=True):
        atoms.info["sampling"] += f"; selected for a force spread of {spread:.2f} eV/Angstrom"
    write_frames(out, chosen.frames)
    return chosen


def summary(selected: Selected) -> str:
    """What was selected, in a line."""
    high, low = selected.spreads[0], selected.spreads[-1]
    left = f", {selected.too_strong} left out for their forces" if selected.too_strong else ""
    spread = f"force spread {low:.2f} to {high:.2f} eV/Angstrom"
    return f"{len(selected.frames)} of {selected.candidates} frames, {spread}{left}"
