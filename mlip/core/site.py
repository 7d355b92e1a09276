"""The profile of a cluster: where SLURM runs the tasks of a stage, and with which resources.

Takes a YAML file such as configs/hpc/site.yaml; gives, per stage, partition, account, GPUs, cores, memory and time. The
profile says where and how long, never what: no number of a run depends on the profile.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from mlip.core import files
from mlip.core.section import Count, Positive, Section

DRIVER = "driver"  # the resources of `mlip submit`
GPU_OPTIONS = {"gres", "gpus", "gpus-per-node", "gpus-per-task", "gpus-per-socket", "tres-per-task"}  # of sbatch
Line = Annotated[str, Field(pattern=r"^[^\n]*$")]


class Resources(Section):
    """Resources of one task."""

    partition: str | None = Field(default=None, description="Partition; null is the default partition of the cluster.")
    account: str | None = Field(default=None, description="Account that is charged.")
    gpus: Annotated[int, Field(ge=0)] = Field(default=0, description="GPUs of a task.")
    cores: Count = Field(default=1, description="Cores of a task.")
    memory_gb: Positive = Field(default=4.0, description="Memory of a task, GB.")
    hours: Positive = Field(default=24.0, description="Time limit of a task; a task that reaches it is requeued.")
    parallel: Count = Field(default=256, description="Tasks of one array that run at the same time.")
    options: dict[str, str | int] = Field(
        default={}, description="Further options of sbatch by their long names, such as {qos: long, constraint: a100}."
    )


class Override(Section):
    """The resources of one stage that differ."""

    partition: str | None = Field(default=None, description="Partition.")
    account: str | None = Field(default=None, description="Account.")
    gpus: Annotated[int, Field(ge=0)] | None = Field(default=None, description="GPUs of a task.")
    cores: Count | None = Field(default=None, description="Cores of a task.")
    memory_gb: Positive | None = Field(default=None, description="Memory of a task, GB.")
    hours: Positive | None = Field(default=None, description="Time limit of a task.")
    parallel: Count | None = Field(default=None, description="Tasks of one array at the same time.")
    options: dict[str, str | int] | None = Field(default=None, description="Further options of sbatch.")


class Site(Resources):
    """The profile of a cluster."""

    setup: tuple[Line, ...] = Field(
        default=(), description="Shell commands before every task, such as those that load the environment."
    )
    python: Line | None = Field(
        default=None, description="Command that starts Python on a node, such as apptainer exec mlip.sif python."
    )
    signal_seconds: Annotated[int, Field(ge=10)] = Field(
        default=120, description="Seconds before the time limit at which a task stops and is requeued."
    )
    requeues: Annotated[int, Field(ge=0)] = Field(
        default=20, description="How many times a task may reach its time limit."
    )
    array_size: Count = Field(default=1000, description="Largest array (MaxArraySize of the cluster less one).")
    poll_seconds: Annotated[float, Field(ge=10)] = Field(
        default=10.0, description="Least time between two calls of squeue, seconds."
    )
    stages: dict[str, Override] = Field(default={}, description="Resources that differ for a stage, or for the driver.")

    def resources(self, stage: str) -> Resources:
        """The resources of the tasks of a stage."""
        own = self.stages.get(stage, Override()).model_dump(exclude_none=True)
        return Resources.model_validate({name: getattr(self, name) for name in Resources.model_fields} | own)

    def require_gpus(self, stages: Collection[str], where: Path) -> None:
        """Refuse a profile whose tasks of these stages have no GPU, by `gpus` or by an option of sbatch.

        Raises:
            ValueError: with the stages and the file of the profile.
        """
        lacking = [s for s in stages if not (own := self.resources(s)).gpus and not GPU_OPTIONS & own.options.keys()]
        if lacking:
            raise ValueError(
                f"{where}: common.device is cuda, and the tasks of {', '.join(lacking)} have no GPU; "
                "set gpus: 1 for these stages, or an option of sbatch such as {gres: 'gpu:1'}"
            )

    def with_cores(self, least: Mapping[str, int]) -> "Site":
        """The profile in which tasks of these stages have at least so many cores."""
        stages = dict(self.stages)
        for stage, cores in least.items():
            if cores > self.resources(stage).cores:
                stages[stage] = stages.get(stage, Override()).model_copy(update={"cores": cores})
        return self.model_copy(update={"stages": stages})


def load(path: Path, *, stages: Collection[str]) -> Site:
    """The profile in a YAML file.

    Raises:
        ValueError: with one line per problem, each with the path of the key.
    """
    path = files.located(path)
    raw: Any = files.read_yaml(path, advice="name the profile of the cluster in common.site")
    try:
        found = Site.model_validate(raw or {})
    except ValidationError as error:
        raise ValueError("\n".join(f"{path}: {_line(e, Site)}" for e in error.errors())) from error
    known = (*stages, DRIVER)
    if unknown := [name for name in found.stages if name not in known]:
        raise ValueError(f"{path}: stages.{unknown[0]}: no such stage; there are: {', '.join(known)}")
    return found


def _line(error: Any, kind: type[Section]) -> str:
    where, inner = ".".join(str(p) for p in error["loc"]), error["loc"][0] == "stages" and len(error["loc"]) > 1
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key; there are: {', '.join((Override if inner else kind).model_fields)}"
    return f"{where}: {error['msg']} (got {error['input']!r})"
