"""Runs the stages of a run folder: all that are not up to date, or one of them.

Takes a config file and a folder; each stage leaves `<run>/<stage>/result.json`, last of all its files: where that
exists, the stage is whole.
"""

import os
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlip import config
from mlip.core import files, site, slurm, tracked_stages, tracking, unfinished
from mlip.core.progress import console
from mlip.core.run import Run, locked
from mlip.core.section import Common
from mlip.core.stage import Stage
from mlip.core.task_records import Record
from mlip.core.texts import read_text
from mlip.core.workers import GPUS_OF_A_PROCESS, OnGpus, carried_out_by, chosen_gpus
from mlip.stages import label
from mlip.tools import export_md
from mlip.tools.export_md import Written
from mlip.tools.upgrade import upgrade as upgraded

AnyStage = Stage[Any, Any]


def init(source: Path, folder: Path) -> Run:
    """Check a config, copy it into the run folder and give the run.

    Raises:
        ValueError: anything wrong with the config, the files it names or the folder.
    """
    source = files.located(source)  # a config that comes with the project may be named from anywhere
    run = Run(folder, config.load(source), config.stages())
    for stage in run.stages:
        if stage.check is not None:
            stage.check(run.context(stage))
        run.inputs(stage)
    text = read_text(source, advice="give the path of a YAML file")
    target = folder / "config.yaml"
    if not target.exists() or target.read_text(encoding="utf-8") != text:
        files.require_writable(target)
        with locked(folder):  # never while another process works with the earlier settings
            files.write_text_atomic(target, text)
    return run


def opened(folder: Path) -> Run:
    """The run in a folder made by `mlip init`."""
    if not (folder / "config.yaml").exists():
        raise ValueError(f"{folder}: not a run folder (no config.yaml); make one with: mlip init CONFIG {folder}")
    return Run(folder, config.load(folder / "config.yaml"), config.stages())


def run_all(folder: Path) -> None:
    """Every stage that is not up to date, in order; then what the last one shows.

    Raises:
        ValueError: a stage failed. Where only tasks of SLURM failed, the stages that do not need it are done before.
    """
    run = opened(folder)
    planned = run.planned()
    require_executor(run)
    require_whole(run)
    failed: dict[str, str] = {}
    with locked(folder):
        for stage in planned:
            if lacking := [other.name for other in stage.needs if other.name in failed]:
                failed[stage.name] = f"stage {stage.name}: not run, because {' and '.join(lacking)} failed"
                console.print(failed[stage.name], soft_wrap=True)
                continue
            try:
                _ensure(run, stage)
            except slurm.TasksFailed as error:
                failed[stage.name] = str(error)
                console.print(failed[stage.name], soft_wrap=True)
    if failed:
        raise ValueError(next(iter(failed.values())))
    _show(run, planned[-1])


def profile(run: Run) -> site.Site:
    """The profile of the cluster that the config names, with as many cores as the jobs of the stages use."""
    found = site.load(run.common.site, stages=[stage.name for stage in run.stages])
    return found.with_cores({s.name: s.cores(run.context(s)) for s in run.stages if s.cores is not None})


def require_executor(run: Run) -> None:
    """Nothing where executor and tracking of the config can be used from here; else a ValueError of one line."""
    if run.common.executor == "slurm":
        found = profile(run)
        slurm.require(found, [stage.name for stage in run.stages], run.common.site)
        if run.common.device == "cuda":
            found.require_gpus([s.name for s in run.planned() if "device" in s.common], run.common.site)
    else:
        _on_gpus(run.common)
    tracking.is_on(tracked_stages.settings_of(run))


def require_whole(run: Run) -> None:
    """Nothing where every planned stage can be done; else a ValueError, before anything is computed in vain."""
    for stage in run.planned():
        if stage.check_whole is not None:
            stage.check_whole(run.context(stage))


def _on_gpus(common: Common) -> OnGpus | None:
    """The executor that gives each job a GPU of its own; None without `common.gpus`.

    Raises:
        ValueError: the device is the CPU, or there are fewer GPUs.
    """
    if common.gpus is None:
        return None
    if common.device == "cpu":
        raise ValueError(f"common.gpus: {common.gpus} with device: cpu; set common.device: cuda, or gpus: null")
    import torch

    gpus = chosen_gpus(common.gpus, visible=os.environ.get(GPUS_OF_A_PROCESS), there=torch.cuda.device_count())
    return OnGpus(gpus=gpus, workers=common.workers)


@contextmanager
def carried_out(run: Run, stage: str, fingerprint: str) -> Iterator[None]:
    """A block whose jobs run where the config says, with the resources of this stage.

    The tasks that an earlier call left have ended before. After the block their results are not taken again.
    """
    record = Record(run.folder.resolve(), stage)
    made = None
    if run.common.executor == "slurm" or record.is_open:
        made = slurm.Slurm(record=record, fingerprint=fingerprint, site=profile(run))
        made.settle()
    try:
        with carried_out_by(made if run.common.executor == "slurm" else _on_gpus(run.common)):
            yield
    except slurm.TasksFailed:
        raise
    except ValueError:
        record.use_up()  # what a task said then may be over; what it finished is in its own files
        raise
    record.use_up()


def run_one(name: str, folder: Path) -> None:
    """One stage, if it is not up to date.

    Raises:
        ValueError: a stage before it has not been run with the present settings.
    """
    run = opened(folder)
    stage = run.stage(name)
    require_executor(run)
    with locked(folder):
        _ensure(run, stage)
    _show(run, stage)


def run_stages(folder: Path, names: Collection[str]) -> Run:
    """The stages of these names that are not up to date, in the order of the pipeline; gives the run."""
    run = opened(folder)
    require_executor(run)
    with locked(folder):
        for stage in run.stages:
            if stage.name in names:
                _ensure(run, stage)
    return run


def _ensure(run: Run, stage: AnyStage) -> None:
    """A stage, if it is not up to date.

    Raises:
        ValueError: a stage that it needs is not done with the present settings.
    """
    if run.is_whole(stage):
        console.print(f"{stage.name:10s} up to date")
        tracked_stages.record(run, stage, again=False)
        return
    for before in stage.needs:
        if not run.is_done(before):
            raise ValueError(
                f"{before.name} is not done with these settings; first run: mlip {before.name} {run.folder}"
            )
    started = time.time()
    with carried_out(run, stage.name, run.fingerprint(stage)):
        run.prepare(stage)
        if run.is_whole(stage):
            console.print(f"{stage.name:10s} restored: these settings were run before")
            tracked_stages.record(run, stage, again=False)
            return
        console.print(f"{stage.name:10s} ...")
        context = run.context(stage)
        result = stage.run(context)
        made = files.provenance(stage.name, settings=run.settings(stage), inputs=run.inputs(stage), started=started)
        made = replace(made, fingerprint=run.fingerprint(stage), seed=run.common.seed, device=run.common.device)
        files.write_result(run.path(stage.name, "result.json"), result, made)
        unfinished.leave(context.folder, *context.left)
    console.print(f"{stage.name:10s} done in {time.time() - started:.0f} s")
    tracked_stages.record(run, stage, again=True)


def _show(run: Run, stage: AnyStage) -> None:
    if stage.show is not None:
        stage.show(run.context(stage), files.read_result(run.path(stage.name, "result.json"), stage.result))


def upgrade(folder: Path) -> dict[str, str]:
    """Keep the results of a run folder of version 0.1 that this version would calculate again with the same outcome."""
    run = opened(folder)
    with locked(folder):
        return upgraded(run)


def export_trajectories(folder: Path, out: Path) -> Iterator[Written]:
    """Write the trajectories of the md stage of a run as extended XYZ; gives each file when it is whole."""
    return export_md.write(opened(folder), out)


def show_label_plan(folder: Path) -> None:
    """Print what the stage `label` would do and what that would cost."""
    for line in label.plan_lines(opened(folder).context(label.STAGE)):
        console.print(line, soft_wrap=True)
