"""Which published values, labels and names belong to the crystal and the facets of a run.

Takes references, the identity of the run's crystal and its hosts; gives the references that apply, each with the host
of the run that it is for. A crystal is known by formula, space group and lattice (`crystals.same`); a facet by its
Miller indices in the standard conventional cell and all planes that symmetry makes equal, never by its name. A value
without a facet and with an ion, such as a cohesive energy, is of the element and applies to every crystal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mlip.atoms import crystals
from mlip.atoms.crystals import Identity
from mlip.atoms.planes import Miller, equal, miller_of
from mlip.atoms.structures import Facet, Host
from mlip.literature.references import References, Value

BULK = "bulk"


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
    """The crystals that references are for where no value is for this one; else none."""
    known = [v.crystal for v in references.values if v.crystal is not None]
    if any(crystals.same(c.identity, crystal) for c in known):
        return ()
    return tuple(dict.fromkeys(c.name for c in known))


def _applies(value: Value, crystal: Identity) -> bool:
    of_element = value.facet is None and value.ion is not None and value.role != "checked"
    return value.crystal is None or of_element or crystals.same(value.crystal.identity, crystal)


def _placed(value: Value, slabs: Mapping[str, Miller | None], number: int) -> Value:
    """A value with the host of its facet; a host of that name that is another plane is never taken."""
    miller = miller_of(value.facet or "")
    if value.facet is None or value.facet == BULK or miller is None:
        return value
    same = [name for name, own in slabs.items() if own is not None and equal(miller, own, number)]
    if same:
        return replace(value, host=value.host if value.host in same else same[0])
    return replace(value, host=value.facet) if value.host in slabs else value
