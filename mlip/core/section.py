"""Sections of a configuration: frozen, with limits, and a description of every setting.

Takes nothing; gives the base classes that every stage's settings derive from, `Common`, which all stages share, and
`describe`, from which the settings reference is made.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Target = Literal["pbe", "pbe-d3"]


class Section(BaseModel):
    """A part of the configuration: immutable, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ExecutionSection(Section):
    """Settings that change how a run is carried out or recorded, never its results."""


class OptionalSection(Section):
    """Settings of a stage that `mlip run` leaves out unless the section says `run: true`."""

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
    target: Target = Field(
        default="pbe",
        description="Level that labels, potential and report share. With pbe-d3 the potential contains D3(BJ).",
    )


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting as the reference of the documentation shows it."""

    path: str  # such as neb.images
    kind: str
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
        yield Setting(path=where, kind=_kind(field.annotation), default=default, description=field.description)
        for inner in _sections_in(field.annotation):
            yield from describe(inner, where)


def _sections_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in getattr(annotation, "__args__", ()) for found in _sections_in(inner)]


def _kind(annotation: Any) -> str:
    if isinstance(annotation, type) and not getattr(annotation, "__args__", ()):
        return annotation.__name__
    text = str(annotation)
    for module in ("typing.", "pathlib._local.", "pathlib."):
        text = text.replace(module, "")
    return text


def _shown(value: Any) -> str:
    if isinstance(value, BaseModel):
        return type(value).__name__
    if isinstance(value, tuple) and any(isinstance(v, BaseModel) for v in value):
        return f"{len(value)} of {type(value[0]).__name__}"
    return "null" if value is None else str(value)
