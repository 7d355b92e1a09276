"""Published values: the paper under check and independent ones, read from YAML and validated.

Takes a folder of `*.yaml` files, each a list of values with their sources (published, windows of acceptance, or our own
DFT); gives `References`, frozen and complete, or one clear line that says which value of which file is wrong. Every
value carries its quantity, facet, ion, path, method, place, DOI and evidence: P stated in the paper under check, S read
in a source, C computed from public data or geometry, M expert knowledge that was not verified, I judgement.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mlip.atoms.crystals import Identity
from mlip.core import files

Role = Literal["checked", "independent", "window", "own"]
Evidence = Literal["P", "S", "C", "M", "I"]
Length = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Angle = Annotated[float, Field(gt=0, lt=180)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True)
class Source:
    """One publication or data set."""

    key: str
    citation: str
    doi: str | None
    read: str  # how much of it was read


@dataclass(frozen=True)
class KnownCrystal:
    """The crystal that values are for."""

    name: str  # in sentences
    identity: Identity


@dataclass(frozen=True)
class Value:
    """One published number; `upper` closes a range that starts at `value`."""

    id: str
    role: str  # 'checked' | 'independent' | 'window' of acceptance | 'own' DFT of this project
    quantity: str
    value: float
    upper: float | None
    unit: str
    facet: str | None
    host: str | None
    ion: str | None
    path: str | None
    method: str
    where: str
    not_stated: str
    evidence: str
    sources: tuple[str, ...]
    doi: str | None
    crystal: KnownCrystal | None = None  # None: not stated


@dataclass(frozen=True)
class References:
    """All values and sources of a folder."""

    values: tuple[Value, ...]
    sources: tuple[Source, ...]
    not_stated: tuple[str, ...]  # by the paper under check

    def value(self, key: str) -> Value:
        """The value with this id.

        Raises:
            ValueError: there is none.
        """
        for value in self.values:
            if value.id == key:
                return value
        raise ValueError(f"references: no value with id {key!r}; add it to a file of the references folder")

    def select(self, *, role: str, quantity: str) -> tuple[Value, ...]:
        """The values of one role and quantity, in the order of the files."""
        return tuple(v for v in self.values if v.role == role and v.quantity == quantity)

    def checked(self) -> Source | None:
        """The paper under check: the source of the first checked value."""
        first = next((v.sources[0] for v in self.values if v.role == "checked"), None)
        return next((s for s in self.sources if s.key == first), None)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _SourceEntry(_Strict):
    citation: str = Field(min_length=5)
    doi: str | None = Field(default=None, pattern=r"^10\.\d{4,9}/\S+$")
    read: str = Field(min_length=3)


class _ValueEntry(_Strict):
    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]*$")
    quantity: str = Field(min_length=3)
    value: Finite
    upper: Finite | None = None
    unit: str = Field(min_length=1)
    facet: str | None = None
    host: str | None = None
    ion: str | None = None
    path: str | None = None
    method: str = Field(min_length=3)
    where: str = ""
    not_stated: str = ""
    evidence: Evidence = "P"
    sources: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _range_rises(self) -> "_ValueEntry":
        if self.upper is not None and self.upper <= self.value:
            raise ValueError(f"upper: {self.upper} must exceed value {self.value}")
        return self


class _CrystalEntry(_Strict):
    name: str = Field(min_length=2)
    formula: str = Field(pattern=r"^([A-Z][a-z]?\d*)+$")
    spacegroup: int = Field(ge=1, le=230)
    lengths_angstrom: tuple[Length, Length, Length]  # of the standard conventional cell
    angles_degrees: tuple[Angle, Angle, Angle] = (90.0, 90.0, 90.0)

    def known(self) -> KnownCrystal:
        cell = (*self.lengths_angstrom, *self.angles_degrees)
        identity = Identity(
            formula=self.formula, spacegroup=f"no. {self.spacegroup}", number=self.spacegroup, cell_angstrom=cell
        )
        return KnownCrystal(self.name, identity)


class _File(_Strict):
    role: Role
    crystal: _CrystalEntry | None = None  # of all values; those with an ion and no facet are of the element
    source: str | None = None  # of the values that name none
    sources: dict[str, _SourceEntry]
    not_stated: tuple[str, ...] = ()
    values: tuple[_ValueEntry, ...]


def load(folder: Path) -> References:
    """All references in the `*.yaml` files of a folder, files in alphabetical order.

    Raises:
        ValueError: no file, invalid YAML, an unknown key, a missing or wrong field, a source that is not listed, or an
            id or source key that occurs twice; one line a problem, with the file and the id.
    """
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise ValueError(
            f"{folder}: holds no .yaml file of references; set literature.references to a folder that does"
        )
    values: list[Value] = []
    sources: list[Source] = []
    not_stated: list[str] = []
    for path in paths:
        file = _file(path)
        sources += [Source(key=k, citation=s.citation, doi=s.doi, read=s.read) for k, s in file.sources.items()]
        values += [_value(path, file, entry) for entry in file.values]
        not_stated += file.not_stated
    _refuse_repeats(folder, [v.id for v in values], "id")
    _refuse_repeats(folder, [s.key for s in sources], "source")
    return References(values=tuple(values), sources=tuple(sources), not_stated=tuple(not_stated))


def _file(path: Path) -> _File:
    raw = files.read_yaml(path, advice="check its permissions")
    try:
        return _File.model_validate(raw)
    except ValidationError as error:
        lines = [f"{path}: {_place(raw, e['loc'])}: {e['msg']} (got {e['input']!r:.120})" for e in error.errors()]
        raise ValueError("\n".join(lines)) from error


def _place(raw: object, loc: tuple[int | str, ...]) -> str:
    """The key path of a problem, with a value's id in place of its number."""
    parts = [str(p) for p in loc]
    if len(loc) > 1 and loc[0] == "values" and isinstance(loc[1], int) and isinstance(raw, dict):
        entry = raw["values"][loc[1]]
        parts[1] = str(entry.get("id", loc[1])) if isinstance(entry, dict) else parts[1]
    return ".".join(parts) or "file"


def _value(path: Path, file: _File, entry: _ValueEntry) -> Value:
    keys = entry.sources or ((file.source,) if file.source else ())
    unknown = [k for k in keys if k not in file.sources]
    if unknown or not keys:
        listed = ", ".join(file.sources)
        raise ValueError(f"{path}: values.{entry.id}.sources: {unknown or 'none'} given; name some of: {listed}")
    if file.role != "checked" and entry.evidence == "P":
        raise ValueError(f"{path}: values.{entry.id}.evidence: P is for the paper under check; give one of S, C, M, I")
    doi = next((file.sources[k].doi for k in keys if file.sources[k].doi), None)
    crystal = file.crystal.known() if file.crystal else None
    fields = entry.model_dump() | {"sources": keys, "role": file.role, "doi": doi, "crystal": crystal}
    return Value(**fields)


def _refuse_repeats(folder: Path, keys: list[str], what: str) -> None:
    twice = sorted({k for k in keys if keys.count(k) > 1})
    if twice:
        raise ValueError(f"{folder}: {what} {', '.join(twice)} occurs more than once; give each a name of its own")
