"""The level of theory of a finished VASP job against the level that was asked for.

Takes the root of a `vasprun.xml` and what was asked; gives nothing, or refuses the job with the name and value of every
difference. Sources: `<incar>` (what the user wrote), `<parameters>` (what VASP used, defaults included), `<kpoints>`,
`<atominfo>` (PAW data and their electrons), and the INCAR beside the file for tags that VASP does not echo. A tag must
be right wherever it stands; one that stands nowhere has the default of VASP. Rules for tags: mlip/dft/vasp_tags.py.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

from mlip.dft import vasp_tags
from mlip.dft.engines import Mesh, Refused

MOST_FAULTS = 6  # of those named in one message
FORCE_FIELD = {"ML_LMLFF", "ML_FF_LMLFF"}
SAME_SHIFT = 1e-6  # of a mesh, in its steps

Tags = list[tuple[str, str]]


@dataclass(frozen=True)
class Asked:
    """What the inputs of a job said."""

    tags: Mapping[str, str]  # INCAR
    mesh: Mesh  # numbers of points
    paw: Mapping[str, str]  # element -> name of its PAW data
    titles: Mapping[str, str] = field(default_factory=dict)  # element -> title of its POTCAR, where that is at hand
    has_gamma: bool = False  # the mesh is centred on Gamma; else it is a Monkhorst-Pack mesh


def require(tree: ET.Element, asked: Asked, beside: str = "") -> None:
    """Raise `Refused` where the job is of another level.

    Args:
        tree: root of vasprun.xml.
        asked: what the inputs said.
        beside: text of the INCAR in the folder of the file.

    Raises:
        Refused: the level is another one.
        ValueError: a number in the file is none.
    """
    tags = [*_tag_faults(tree, vasp_tags.wanted(asked.tags), beside), *_electron_faults(tree)]
    faults = [*tags, *_paw_faults(tree, asked), *_mesh_faults(tree, asked.mesh, has_gamma=asked.has_gamma)]
    if faults:
        more = f"; and {len(faults) - MOST_FAULTS} more" if len(faults) > MOST_FAULTS else ""
        which = "INCAR" if tags else "inputs"
        raise Refused(f"the job has {'; '.join(faults[:MOST_FAULTS])}{more}; run it with the {which} given")


def require_no_force_field(element: ET.Element) -> None:
    """Raise `Refused` where the element says that a machine-learned force field took part."""
    tag = element.get("name", "").strip().upper()
    if tag in FORCE_FIELD and vasp_tags.same(element.text or "", "T"):
        raise Refused(
            f"the job is of a machine-learned force field ({tag} = T), whose energies and forces are of a fit; run it "
            "with the INCAR given"
        )


def states(tree: ET.Element, tag: str) -> bool:
    """Whether the file names a tag."""
    return any(name == tag for part in ("incar", "parameters") for name, _ in _tags(tree, part))


def _tag_faults(tree: ET.Element, wanted: Mapping[str, str], beside: str) -> Iterator[str]:
    given, used = _tags(tree, "incar"), _tags(tree, "parameters")
    stated = {tag for tag, _ in (*given, *used)}
    skipped = {"NELECT"}  # see _electron_faults
    u = [vasp_tags.is_off(value) for tag, value in (*given, *used) if tag == "LDAU"]
    if u and all(u):
        skipped |= {tag for tag in stated if tag.startswith("LDAU")} - {"LDAU"}
    told: set[str] = set()
    for tag, value, is_given in [*((t, v, True) for t, v in given), *((t, v, False) for t, v in used)]:
        fault = vasp_tags.fault(tag, value, wanted, is_given=is_given)
        if fault and tag not in told | skipped:
            told.add(tag)
            yield fault
    for tag, value in vasp_tags.of_incar(beside).items():
        fault = vasp_tags.fault(tag, value, {}, is_given=False)
        if fault and tag not in stated | wanted.keys():
            yield fault
    yield from _absent(wanted, stated)


def _absent(wanted: Mapping[str, str], stated: set[str]) -> Iterator[str]:
    """Faults of tags that were asked for and stand nowhere."""
    for tag in sorted(wanted.keys() - stated):
        if tag not in vasp_tags.DEFAULTS:
            yield f"no {tag}, the settings say {vasp_tags.shown(wanted[tag])}"
        elif fault := vasp_tags.fault(tag, vasp_tags.DEFAULTS[tag], wanted, is_given=True):
            yield fault


def _tags(tree: ET.Element, part: str) -> Tags:
    """Tags of a part of the file with their values as text, in order; ENMAX is the old name of ENCUT."""
    top = tree.find(part)
    rows = [] if top is None else [e for e in top.iter() if e.tag in {"i", "v"} and e.get("name")]
    named = [(e.get("name", "").strip().upper(), " ".join((e.text or "").split())) for e in rows]
    return [("ENCUT" if tag == "ENMAX" else tag, value) for tag, value in named]


def _types(tree: ET.Element) -> list[list[str]]:
    """Number, element, mass, valence, title of the PAW data of every species."""
    rows = tree.findall("atominfo/array[@name='atomtypes']/set/rc")
    return [[(c.text or "").strip() for c in row] for row in rows]


def _electron_faults(tree: ET.Element) -> Iterator[str]:
    neutral = sum(float(row[0]) * float(row[3]) for row in _types(tree))
    said = {value for part in ("incar", "parameters") for tag, value in _tags(tree, part) if tag == "NELECT"}
    for value in sorted(said):
        if not vasp_tags.same(value, f"{neutral:.8f}"):
            yield f"NELECT = {vasp_tags.shown(value)}, the settings say neutral ({neutral:g} by the PAW data)"


def _paw_faults(tree: ET.Element, asked: Asked) -> Iterator[str]:
    for _, symbol, *_, title in _types(tree):
        kind, name, *date = title.split() or ["", ""]
        given = asked.titles.get(symbol, "").split()
        if name != asked.paw.get(symbol):
            yield f"the PAW data {title!r}, the settings say {asked.paw.get(symbol)}"
        elif kind != "PAW_PBE":
            yield f"the PAW data {title!r}, the settings say those of PBE (PAW_PBE)"
        elif date and given[2:] and given != [kind, name, *date]:
            yield f"the PAW data {title!r}, the POTCAR given is {' '.join(given)!r}"


def _mesh_faults(tree: ET.Element, wanted: Mesh, *, has_gamma: bool) -> Iterator[str]:
    """The mesh is that asked for where points and offset are; with odd numbers both schemes hold Gamma."""
    asks = f"the settings say {'Gamma' if has_gamma else 'Monkhorst-Pack'} {_by(wanted)}"
    made = tree.find("kpoints/generation")
    scheme = "" if made is None else made.get("param", "").strip()
    divisions = None if made is None else made.find("v[@name='divisions']")
    if made is None or divisions is None or scheme[:1].upper() not in {"M", "G"}:
        number = len(tree.findall("kpoints/varray[@name='kpointlist']/v"))
        yield f"a list of {number} k-points{f' ({scheme})' if scheme else ''}, {asks}"
        return
    points = [int(n) for n in (divisions.text or "").split()]
    shift = made.find("v[@name='usershift']")
    moved = [0.0] * 3 if shift is None else [float(x) for x in (shift.text or "").split()]
    is_other = (scheme[:1].upper() == "G") != has_gamma  # with even numbers, half a step from the scheme asked for
    off = [move - (is_other and n % 2 == 0) / 2 for n, move in zip(points, moved, strict=True)]
    if points != list(wanted) or any(abs(x - round(x)) > SAME_SHIFT for x in off):
        by = f" shifted by {' '.join(f'{x:g}' for x in moved)}" if any(moved) else ""
        yield f"the k-points {scheme} {_by(points)}{by}, {asks}"


def _by(points: Sequence[int]) -> str:
    return "x".join(map(str, points))
