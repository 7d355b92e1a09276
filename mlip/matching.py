"""Which published values, labels and names belong to the crystal and the facets of a run.

Takes references, the identity of the run's crystal and its hosts; gives the references that apply, each with the host
of the run that it is for. A crystal is known by formula, space group and lattice (`crystals.same`); a facet by its
Miller indices in the standard conventional cell and all planes that symmetry makes equal, never by its name. A value
without a facet and with an ion, such as a cohesive energy, is of the element and applies to every crystal.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from math import gcd

import numpy as np
from ase import Atoms

from mlip import crystals, spacegroups, structures
from mlip.card import LabelledPath
from mlip.config import Facet
from mlip.crystals import Identity
from mlip.references import References, Value
from mlip.structures import Host

Miller = tuple[int, int, int]
BULK = "bulk"
LENGTH_SHARE = 0.03  # by which a labelled cell may differ from whole surface cells


def of_run(
    references: References,
    crystal: Identity,
    *,
    hosts: Sequence[Host],
    surfaces: Sequence[Facet] = (),
) -> References:
    """The references of a run's crystal, with the names of its hosts.

    Args:
        references: of any crystals.
        crystal: of the run.
        hosts: of the run.
        surfaces: facets of the run's surface energies.
    """
    slabs = {h.name: h.miller for h in hosts}
    cut = {f.name: f.miller for f in surfaces}
    kept = [
        _placed(v, cut if v.quantity.startswith("surface energy") else slabs, crystal.number)
        for v in references.values
        if _applies(v, crystal)
    ]
    checked = any(v.role == "checked" for v in kept)
    return replace(references, values=tuple(kept), not_stated=references.not_stated if checked else ())


def name_of(references: References, crystal: Identity) -> str:
    """What the references call a crystal, or else its formula and space group."""
    known = (v.crystal for v in references.values if v.crystal is not None)
    return next((c.name for c in known if crystals.same(c.identity, crystal)), crystal.name)


def others(references: References, crystal: Identity) -> tuple[str, ...]:
    """The other crystals that references are for."""
    known = (v.crystal for v in references.values if v.crystal is not None)
    return tuple(dict.fromkeys(c.name for c in known if not crystals.same(c.identity, crystal)))


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


def has_registry(crystal: Identity, host: Host) -> bool:
    """Whether hops of a host get the names of anatase's registry: anatase, and a facet that its name tells rightly."""
    if not crystals.same(crystal, _anatase()):
        return False
    told = miller_of(f"({host.name.split('_')[0]})")
    return host.miller is None or told is None or _equal(told, host.miller, crystal.number)


def miller_of(facet: str) -> Miller | None:
    """The Miller indices of a facet such as (101), (1-10) or (1 0 -1); None where it has none."""
    found = re.fullmatch(r"\(\s*(-?\d+?)[\s,]*(-?\d+?)[\s,]*(-?\d+?)\s*\)", facet.strip())
    return None if found is None else (int(found[1]), int(found[2]), int(found[3]))


@cache
def _anatase() -> Identity:
    return crystals.identify(structures.crystal("anatase"))


def _applies(value: Value, crystal: Identity) -> bool:
    of_element = value.facet is None and value.ion is not None and value.role != "checked"
    return value.crystal is None or of_element or crystals.same(value.crystal.identity, crystal)


def _placed(value: Value, slabs: Mapping[str, Miller | None], number: int) -> Value:
    """A value with the host of its facet; a host of that name that is another plane is never taken."""
    miller = miller_of(value.facet or "")
    if value.facet is None or value.facet == BULK or miller is None:
        return value
    same = [name for name, own in slabs.items() if own is not None and _equal(miller, own, number)]
    if same:
        return replace(value, host=value.host if value.host in same else same[0])
    return replace(value, host=value.facet) if value.host in slabs else value


def _equal(one: Miller, other: Miller, number: int) -> bool:
    return _smallest(other) in spacegroups.planes(number, _smallest(one))


def _smallest(miller: Miller) -> Miller:
    divisor = gcd(*miller) or 1
    a, b, c = (k // divisor for k in miller)
    return a, b, c


def _shares(atoms: Atoms) -> dict[str, float]:
    counts = atoms.symbols.formula.count()
    return {s: round(n / len(atoms), 6) for s, n in sorted(counts.items())}
