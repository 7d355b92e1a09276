"""Sections of a configuration: frozen, with limits, and a description of every setting.

Takes nothing; gives the base classes that every stage's settings derive from, `Common`, which all stages share, and
`describe`, from which the settings reference is made.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Target = Literal["pbe", "pbe-d3"]


class Section(BaseModel):
    """A part of the configuration: immutable, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    added_later: ClassVar[frozenset[str]] = frozenset()  # settings that are dumped only where they are not the default
    execution: ClassVar[frozenset[str]] = frozenset()  # settings that say when or how, never what: in no fingerprint

    @model_serializer(mode="wrap")
    def _dumped(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without settings that were added later and are not used, so that earlier results stay valid."""
        found: dict[str, Any] = dump(self)
        unused = {n for n in self.added_later if getattr(self, n) == type(self).model_fields[n].default}
        return {name: value for name, value in found.items() if name not in unused}


class ExecutionSection(Section):
    """Settings that change how a run is carried out or recorded, never its results."""


class OptionalSection(Section):
    """Settings of a stage that `mlip run` leaves out unless the section says `run: true`."""

    execution: ClassVar[frozenset[str]] = frozenset({"run"})

    run: bool = Field(default=False, description="Make this stage a part of `mlip run`.")


def renamed(before: str, now: str) -> dict[str, Any]:
    """Arguments of the `Field` of a setting that had another name before.

    Configs may still give the earlier name. Fingerprints hold the earlier name, so that the results of earlier runs
    stay valid.
    """
    return {"validation_alias": AliasChoices(now, before), "serialization_alias": before}


class Common(Section):
    """Settings that several stages share."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(
        default=1, description="Seed of every random number: splits, weights, rattles, velocities."
    )
    device: Literal["cpu", "cuda"] = Field(default="cpu", description="Where the potential is trained and evaluated.")
    dtype: Literal["float64", "float32"] = Field(
        default="float64", description="Precision of the potential in the stages sites, neb and md."
    )
    symmetrix: bool = Field(
        default=True,
        description="Evaluate the potential with symmetrix-xl where that package is installed.",
        **renamed("native", "symmetrix"),
    )
    cueq: bool = Field(default=False, description="Evaluate the potential with cuEquivariance kernels (GPUs only).")
    equivalence_ev: Positive = Field(
        default=1e-3,
        description=(
            "A fast backend is used only where its energies agree with mace-torch in float64 on the CPU within this "
            "many eV per cell."
        ),
    )
    equivalence_ev_per_angstrom: Positive = Field(
        default=1e-3, description="The same limit for every force component, in eV/Angstrom."
    )
    workers: Count = Field(
        default=2, description="Processes that run side by side; on a CPU each of them uses one thread."
    )
    gpus: Count | None = Field(
        default=None,
        description=(
            "Number of GPUs, for device: cuda. The local executor runs one job at a time on each GPU: a member, a "
            "group of bands, a batch of molecular dynamics. Bands are divided into as many groups. With null, all "
            "workers share one GPU."
        ),
    )
    executor: Literal["local", "slurm"] = Field(
        default="local", description="Where the jobs of a stage run: processes of this machine, or tasks of SLURM."
    )
    site: Path = Field(
        default=Path("configs/hpc/site.yaml"),
        description="Profile of the cluster, read where the executor is slurm: partition, memory and time of tasks.",
    )
    target: Target = Field(
        default="pbe",
        description="Level that labels, potential and report share. With pbe-d3 the potential contains D3(BJ).",
    )


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting as the reference of the documentation shows it."""

    path: str  # such as neb.images
    kind: str  # in words, with the limits
    default: str
    description: str


def describe(section: type[BaseModel], path: str) -> Iterator[Setting]:
    """Every setting of a section, those of nested sections after it.

    Raises:
        ValueError: a setting has no description.
    """
    for name, field in section.model_fields.items():
        where = f"{path}.{name}"
        if not field.description:
            raise ValueError(f"{where}: the setting has no description; give it Field(description=...)")
        default = "required" if field.is_required() else _shown(field.get_default(call_default_factory=True))
        yield Setting(
            path=where, kind=_kind(field.annotation, field.metadata), default=default, description=field.description
        )
        for inner in _sections_in(field.annotation):
            yield from describe(inner, where)


def _sections_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in getattr(annotation, "__args__", ()) for found in _sections_in(inner)]


WORDS = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    Path: "path",
    dict: "mapping",
    NoneType: "null",
}
LIMITS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def _kind(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """The type of a setting in words, with its limits: 'whole number, at least 1'."""
    limits = [
        f"{words} {getattr(one, name)}"
        for one in metadata
        for name, words in LIMITS.items()
        if getattr(one, name, None) is not None
    ]
    return ", ".join([_type(annotation), *limits])


def _type(annotation: Any) -> str:
    """A type in words."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(inner[0], [m for one in inner[1:] for m in getattr(one, "metadata", [one])])
    if origin in {Literal, Union, UnionType}:
        return " or ".join(str(one) if origin is Literal else _type(one) for one in inner)
    if origin is tuple:
        count = "" if inner[-1] is Ellipsis else f" of {len(inner)}"
        return f"list{count} ({_type(inner[0])})"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    return WORDS.get(origin or annotation, str(annotation))


def _shown(value: Any) -> str:
    if isinstance(value, BaseModel):
        return type(value).__name__
    if isinstance(value, tuple) and any(isinstance(v, BaseModel) for v in value):
        return f"{len(value)} of {type(value[0]).__name__}"
    return str(value) if isinstance(value, str | Path) else json.dumps(value, default=str)  # as YAML takes it
