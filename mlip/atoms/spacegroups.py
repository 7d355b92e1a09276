"""Space groups in their settings: from operations, Hall symbols, Hermann-Mauguin names and numbers.

Takes what a file states; gives `Setting`s, the operations x -> W x + w of a space group in one choice of axes and
origin (tables of gemmi, doi:10.21105/joss.04200, and of spglib, doi:10.1080/27660400.2024.2384822).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np

from mlip.core.arrays import Array

_Find = Callable[[Any, str | None], tuple[list["Setting"], int | None]]

METRIC_SHARE = 0.02  # by which a cell may differ from the symmetry of its group
GROUPS = range(1, 231)
_ORIGIN = r"(.+?)[\s:(,]*(?::|(?:origin)?\s*(?:choice|o)\s*|origin\s*)\s*([12HRSZ])\)?"
_LETTER = r"(.+?)[\s(]*([HRSZ])\)?"


@dataclass(frozen=True)
class Setting:
    """A space group in one choice of axes and origin."""

    name: str
    operations: tuple[tuple[Array, Array], ...]  # W (3, 3) and w (3,), centring included

    def images(self, point: Array) -> Array:
        """The images of a point in fractional coordinates: shape (operations, 3)."""
        return np.array([rotation @ point + shift for rotation, shift in self.operations])

    def fits(self, cell: Array) -> bool:
        """Whether a cell, vectors as rows (3, 3), has the symmetry of the group."""
        metric = cell @ cell.T
        scale = np.sqrt(np.outer(np.diag(metric), np.diag(metric)))
        return all(
            np.abs((rotation.T @ metric @ rotation - metric) / scale).max() < METRIC_SHARE
            for rotation, _ in self.operations
        )

    def number(self, cell: Array) -> int | None:
        """The number of the space group, None where spglib finds none."""
        import spglib

        found = spglib.get_spacegroup_type_from_symmetry(
            np.array([rotation for rotation, _ in self.operations], dtype=np.intc),
            np.array([shift for _, shift in self.operations]),
            lattice=cell,
            symprec=1e-3,
        )
        return None if found is None else int(found.number)


def from_operations(triplets: Sequence[str]) -> Setting:
    """The group of listed operations such as '-x, y+1/2, -z'.

    Raises:
        ValueError: one of them cannot be read, or they are no group.
    """
    import gemmi

    read = []
    for text in triplets:
        try:
            read.append(gemmi.Op(re.sub(r"\s", "", text).lower()))
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"symmetry operation '{text}' cannot be read ({error}); write it as x,y,z") from error
    group = gemmi.GroupOps(read)
    before = len({op.wrap().triplet() for op in read})
    group.add_missing_elements()
    if before != len(group):
        raise ValueError(
            f"the {before} listed symmetry operations are no group: with their products there are {len(group)}; list "
            "all of them"
        )
    return Setting("operations listed", _operations(group))


def named(*, hall: str | None, name: str | None, number: int | None, code: str | None, strict: bool) -> list[Setting]:
    """Every setting that agrees with what is stated, the Hall symbol before the name and the name before the number.

    Raises:
        ValueError: with `strict`, where a symbol is unknown or name and number contradict each other.
    """
    if number is not None and number not in GROUPS:
        return _refused(f"space group no. {number} does not exist; give 1 to 230", strict)
    sources: tuple[tuple[Any, _Find], ...] = ((hall, _of_hall), (name, _of_name), (number, _of_number))
    for text, find in sources:
        settings, own = find(text, code) if text is not None else ([], None)
        if settings and (own is None or number in {None, own}):
            return settings
        if settings:
            return _refused(f"space group '{text}' is no. {own}, stated is no. {number}; correct one of them", strict)
    unknown = hall or name
    return _refused(f"space group '{unknown}' is unknown; give its number, or list the operations", strict and unknown)


def planes(number: int, miller: tuple[int, int, int]) -> set[tuple[int, ...]]:
    """The Miller indices of all planes that a space group makes equal to one, both sides of each, standard setting."""
    import gemmi

    operations = gemmi.find_spacegroup_by_number(number).operations()
    turned = {tuple(op.apply_to_hkl(list(miller))) for op in operations.sym_ops}
    return turned | {tuple(-k for k in hkl) for hkl in turned}


@cache
def standard_fingerprint(number: int) -> frozenset[tuple[int, ...]]:
    """The fingerprint of a space group in its standard axes, whatever the origin."""
    import gemmi

    return fingerprint(_operations(gemmi.find_spacegroup_by_number(number).operations()))


def order(number: int) -> int:
    """The number of operations of a space group in its standard conventional cell."""
    import gemmi

    return len(gemmi.find_spacegroup_by_number(number).operations())


def fingerprint(operations: Sequence[tuple[Array, Array]]) -> frozenset[tuple[int, ...]]:
    """Rotations with their screw and glide parts in twelfths of the axes: the setting of a group up to its origin."""
    found = set()
    moves = np.array(list(product((-1, 0, 1), repeat=3)), float)
    for rotation, shift in operations:
        powers = [np.eye(3)]
        while len(powers) < 6 and np.abs(rotation @ powers[-1] - np.eye(3)).max() > 1e-6:
            powers.append(rotation @ powers[-1])
        twelfths = np.rint(12 * (shift + moves) @ np.mean(powers, axis=0).T).astype(int) % 12
        turn = tuple(np.rint(rotation).astype(int).ravel().tolist())
        found |= {(*turn, *row) for row in set(map(tuple, twelfths.tolist()))}
    return frozenset(found)


def _operations(group: Any) -> tuple[tuple[Array, Array], ...]:
    return tuple((np.array(op.rot) / op.DEN, np.array(op.tran) / op.DEN) for op in group)


def _of_hall(hall: str, _: str | None) -> tuple[list[Setting], int | None]:
    import gemmi

    text = " ".join(hall.replace("_", " ").split())
    try:
        group = gemmi.symops_from_hall(text)
    except (ValueError, RuntimeError):
        return [], None
    known = gemmi.find_spacegroup_by_ops(group)
    return [Setting(f"Hall symbol {text}", _operations(group))], known.number if known else None


def _suffix(name: str) -> tuple[str, str | None]:
    """A Hermann-Mauguin name without its setting, and the setting: 1, 2, H, R, or None where the name has none.

    The inorganic database writes S for the first origin and Z for the second.
    """
    text = name.replace("_", "").strip().strip("()")
    found = re.fullmatch(_ORIGIN, text, re.IGNORECASE) or re.fullmatch(_LETTER, text, re.IGNORECASE)
    if not found or found[1].strip().upper() in {"P", "A", "B", "C", "F", "I", "R", ""}:
        return text, None
    code = found[2].upper()
    return found[1].strip(" (:,"), {"S": "1", "Z": "2"}.get(code, code)


def _of_name(name: str, code: str | None) -> tuple[list[Setting], int | None]:
    """All settings in gemmi's table that differ from a name in origin or rhombohedral axes only."""
    import gemmi

    bare, suffix = _suffix(name)
    group = gemmi.find_spacegroup_by_name(bare)
    if group is None:
        number = _full_names().get(re.sub(r"\s", "", bare).lower())
        group = gemmi.find_spacegroup_by_number(number) if number else None
    if group is None:
        return [], None
    same = [g for g in gemmi.spacegroup_table() if (g.number, g.hm) == (group.number, group.hm)]
    return _chosen(same, suffix or code), group.number


def _of_number(number: int, code: str | None) -> tuple[list[Setting], int | None]:
    """The standard axes of a group, or those that a code such as cab or b1 names."""
    import gemmi

    settings = [g for g in gemmi.spacegroup_table() if g.number == number]
    other_axes = [g for g in settings if code and g.qualifier and code in {g.qualifier, g.ext + g.qualifier}]
    standard = gemmi.find_spacegroup_by_number(number).hm
    return _chosen(other_axes or [g for g in settings if g.hm == standard], code), number


@cache
def _full_names() -> dict[str, int]:
    """Full Hermann-Mauguin names, such as F 4_1/d -3 2/m, without blanks, of the standard axes."""
    import spglib

    found: dict[str, int] = {}
    for hall in range(1, 531):
        group = spglib.get_spacegroup_type(hall)
        found.setdefault(re.sub(r"[\s_]", "", group.international_full).lower(), int(group.number))
    return found


def _chosen(groups: Sequence[Any], code: str | None) -> list[Setting]:
    """The settings of a name with this code; all of them without one, or where the code is that of other axes."""
    fits = [g for g in groups if code and g.ext == code.strip().upper()[-1:]] or list(groups)
    return [Setting(g.xhm(), _operations(g.operations())) for g in fits]


def _refused(message: str, strict: object) -> list[Setting]:
    if strict:
        raise ValueError(message)
    return []
