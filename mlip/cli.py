"""The command `mlip`: argparse over the stages of the pipeline.

Exit 0 done; 1 a problem in the input, told in one line (`--debug` shows the traceback); 2 wrong usage.
"""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mlip import __version__
from mlip.core import namesake, process
from mlip.pipeline import STAGES

EARLIER = {"pick": "select-frames", "collect": "merge-datasets"}  # names of commands that still work


def parser() -> argparse.ArgumentParser:
    """The argument parser."""
    top = argparse.ArgumentParser(prog="mlip", description="Cross-check of ion migration barriers on oxide facets.")
    top.add_argument("--version", action="version", version=f"mlip {__version__}")
    top.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    init = commands.add_parser("init", help="check a config and make (or update) a run folder")
    run = commands.add_parser("run", help="init, then every stage that is not up to date")
    learn = commands.add_parser("learn", help="rounds of bands, choice of frames, DFT labels and training")
    learn.add_argument("config", type=Path, metavar="CONFIG", help="YAML file, such as configs/learn.yaml")
    learn.add_argument("run", type=Path, metavar="FOLDER", help="folder of the rounds, such as runs/learn")
    for command in (init, run):
        command.add_argument("config", type=Path, metavar="CONFIG", help="YAML file, such as configs/quick.yaml")
        command.add_argument("run", type=Path, metavar="RUN", help="folder of the run, such as runs/quick")
    submit = commands.add_parser("submit", help="start `mlip run` as a job of SLURM")
    submit.add_argument("config", type=Path, metavar="CONFIG", help="YAML file with common.executor: slurm")
    submit.add_argument("run", type=Path, metavar="RUN", help="folder of the run, which the compute nodes must see")
    submit.add_argument("--dry-run", action="store_true", help="print the batch scripts; submit nothing")
    for name, text in (
        ("status", "show the progress of every stage and its tasks"),
        ("cancel", "cancel the driver and all tasks"),
    ):
        command = commands.add_parser(name, help=f"{text} of a run on SLURM")
        command.add_argument("run", type=Path, metavar="RUN", help="folder of the run")
    upload = commands.add_parser("wandb-sync", help="upload the offline records of Weights & Biases of a run")
    upload.add_argument("run", type=Path, metavar="RUN", help="folder of the run")
    upgrade = commands.add_parser("upgrade", help="take over the results of a run folder made by version 0.1")
    upgrade.add_argument("run", type=Path, metavar="RUN", help="folder of the run")
    settings = commands.add_parser("settings", help="list the settings of a section, or of all, with their defaults")
    settings.add_argument("section", nargs="?", metavar="SECTION", help="such as neb")
    for name, entry in STAGES.items():
        stage = commands.add_parser(name, help=entry.help)
        stage.add_argument("run", type=Path, metavar="RUN", help="folder of the run")
        if name == "label":
            stage.add_argument("--check", action="store_true", help="print frames, tasks and cost; calculate nothing")
    predict = commands.add_parser("predict", help="energies and forces of your structures, with the committee's spread")
    predict.add_argument("model", type=Path, metavar="MODEL", help="model folder, such as datasets/models/tio2-mg-li")
    predict.add_argument("frames", type=Path, metavar="FRAMES", help="structures, extended XYZ")
    predict.add_argument("-o", "--out", type=Path, required=True, help="where to write them, extended XYZ")
    predict.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    predict.add_argument(
        "--trust-pickle", action="store_true", help="load a .model file, which runs the code inside it"
    )
    _structure_commands(commands)
    _data_commands(commands)
    return top


def _data_commands(commands: Any) -> None:
    """The commands that choose, gather and pass on data."""
    select = commands.add_parser(
        "select-frames", help="the structures to label next: where the committee disagrees most"
    )
    select.add_argument("model", type=Path, metavar="MODEL", help="model folder with several members")
    select.add_argument("frames", type=Path, nargs="+", metavar="FRAMES", help="candidates, extended XYZ")
    select.add_argument("-o", "--out", type=Path, required=True, help="where to write those to label, extended XYZ")
    select.add_argument("--count", type=_count, default=20, help="how many (20)")
    select.add_argument("--per-group", type=_count, default=1, help="at most so many of one path or trajectory (1)")
    select.add_argument(
        "--largest-force", type=_limit, default=10.0, metavar="EV_PER_ANGSTROM", help="beyond it left out (10)"
    )
    select.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    merge = commands.add_parser("merge-datasets", help="a dataset from the labels of runs, other datasets and files")
    merge.add_argument("out", type=Path, metavar="DATASET", help="folder to make")
    merge.add_argument(
        "sources", type=Path, nargs="+", metavar="SOURCE", help="run folder, dataset folder or extended XYZ file"
    )
    merge.add_argument("--level", type=Path, help="YAML: settings, units and keys of the files")
    export = commands.add_parser("export", help="write a model, or the trajectories of a run, for other tools")
    export.add_argument("source", type=Path, metavar="SOURCE", help="model folder; extxyz: folder of the run")
    export.add_argument(
        "--to",
        choices=("mace", "lammps", "extxyz"),
        required=True,
        help="mace: a .model file; lammps: a folder to run there; extxyz: trajectories of the md stage, a file each",
    )
    export.add_argument("-o", "--out", type=Path, required=True, help="file (mace) or folder to write")
    export.add_argument("--member", type=int, default=1, help="number of the committee member, from 1")
    export.add_argument(
        "--start", type=Path, help="lammps: a start of the md stage, such as runs/quick/md/100_Li.extxyz"
    )
    export.add_argument(
        "--config", type=Path, help="lammps: config whose md section gives lengths and steps; else the defaults"
    )


def _structure_commands(commands: Any) -> None:
    """Commands that take structure files and a model."""
    barrier = commands.add_parser("barrier", help="the barrier of a hop between two structure files, without a run")
    barrier.add_argument("initial", type=Path, metavar="INITIAL", help="structure: extended XYZ, POSCAR, CIF ...")
    barrier.add_argument("final", type=Path, metavar="FINAL", help="the same atoms in any order, the ion moved")
    barrier.add_argument("--ion", help="symbol of the ion that hops; else the atom that moves farthest")
    barrier.add_argument("--images", type=_count, default=5, help="images between the ends (5)")
    barrier.add_argument(
        "--fmax", type=_force, default=0.05, help="force at which a band is converged, eV/Angstrom (0.05)"
    )
    barrier.add_argument("--max-steps", type=_count, default=300, help="most steps of a band (300)")
    relax = commands.add_parser("relax", help="relax structures in their fixed cells, without a run")
    relax.add_argument("frames", type=Path, metavar="FILE", help="structures: extended XYZ, POSCAR, CIF ...")
    relax.add_argument("--fmax", type=_force, default=0.02, help="largest force on an atom, eV/Angstrom (0.02)")
    relax.add_argument("--max-steps", type=_count, default=500, help="most steps of a structure (500)")
    for command, target in ((barrier, "folder for barrier.json, profile.svg and the bands"), (relax, "extended XYZ")):
        potential = command.add_mutually_exclusive_group(required=True)
        potential.add_argument("--model", type=Path, help="model folder, such as datasets/models/tio2-mg-li")
        potential.add_argument("--calculator", metavar="MODULE:CLASS", help="any ASE calculator, with --trusted")
        command.add_argument(
            "--arguments", default="{}", metavar="JSON", help="keyword arguments of the calculator, '{\"a\": 1}'"
        )
        command.add_argument("--trusted", action="store_true", help="the calculator runs its own code, which you trust")
        command.add_argument("-o", "--out", type=Path, required=True, help=f"where to write: {target}")
        command.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    diffusion = commands.add_parser("diffusion-of", help="the diffusion coefficient of an ion in any trajectory")
    diffusion.add_argument(
        "trajectories", type=Path, nargs="+", metavar="TRAJECTORY", help="extended XYZ, ASE .traj or LAMMPS dump"
    )
    diffusion.add_argument("--ion", required=True, help="symbol of the ion that moves")
    diffusion.add_argument("--frame-time", type=_positive, metavar="FS", help="time between stored frames")
    diffusion.add_argument(
        "--time-step", type=_positive, metavar="FS", help="time step of the simulation, for a LAMMPS dump"
    )
    diffusion.add_argument("--species", default="", help="elements of the LAMMPS types, such as Li,O,Ti")
    diffusion.add_argument(
        "--temperature", type=_positive, metavar="K", help="temperature, for the conductivity of a crystal"
    )
    diffusion.add_argument("--charge", type=_positive, metavar="E", help="charge of the ion; else the usual one")
    diffusion.add_argument(
        "--skip", type=_not_negative, default=0.0, metavar="PS", help="equilibration time to leave out (0)"
    )
    diffusion.add_argument(
        "--dimensions", type=int, choices=(2, 3), help="dimensions of D; else 2 with vacuum, 3 without"
    )
    diffusion.add_argument(
        "--jump", type=_positive, default=2.0, metavar="A", help="displacement that counts as a jump (2)"
    )
    diffusion.add_argument(
        "--longest-jump",
        type=_positive,
        default=4.0,
        metavar="A",
        help="longest hop that the structure allows, for the upper limit where no jump is seen (4)",
    )
    diffusion.add_argument("-o", "--out", type=Path, help="where to write the result, JSON")


def _predict(options: argparse.Namespace) -> None:
    from mlip.potential.potential import largest_spread, predict
    from mlip.stages.evaluate.evaluate import against_labels

    frames = predict(
        options.model, options.frames, options.out, device=options.device, trust_pickle=options.trust_pickle
    )
    print(f"{len(frames)} frames with mlip_energy and mlip_forces: {options.out}")
    for line in (largest_spread(frames), against_labels(frames)):
        if line:
            print(line)


def _select_frames(options: argparse.Namespace) -> None:
    from mlip.tools import select_frames

    made = select_frames.from_files(
        options.model,
        options.frames,
        options.out,
        count=options.count,
        per_group=options.per_group,
        largest_force=options.largest_force,
        device=options.device,
    )
    print(f"{select_frames.summary(made)}: {options.out}")


def _merge_datasets(options: argparse.Namespace) -> None:
    from mlip.tools import merge_datasets

    card = merge_datasets.merge(options.sources, options.out, level=options.level)
    total = card.counts["total"]
    print(f"{total['frames']} frames, {total['atoms']} atoms, settings {card.settings_hash}: {options.out}")


def _learn(options: argparse.Namespace) -> None:
    from mlip.learn import rounds

    for line in rounds.shown(rounds.learn(options.config, options.run).rounds):
        print(line)


def _wandb_sync(options: argparse.Namespace) -> None:
    from mlip.tools import wandb_sync

    for line in wandb_sync.upload(options.run):
        print(line)


def _upgrade(options: argparse.Namespace) -> None:
    from mlip import driver

    for stage, outcome in driver.upgrade(options.run).items():
        print(f"{stage:12s} {outcome}")


def _barrier(options: argparse.Namespace) -> None:
    from mlip.stages.neb.settings import NebSettings
    from mlip.tools import barrier

    settings = NebSettings(images=options.images, fmax_ev_per_angstrom=options.fmax, max_steps=options.max_steps)
    found = barrier.barrier_from_files(
        options.initial,
        options.final,
        options.out,
        model=_potential(options),
        settings=settings,
        ion=options.ion,
        device=options.device,
    )
    print(f"{barrier.summary(found)}: {options.out}")


def _relax(options: argparse.Namespace) -> None:
    from mlip.tools import barrier

    lines = barrier.relax_files(
        options.frames,
        options.out,
        model=_potential(options),
        fmax_ev_per_angstrom=options.fmax,
        max_steps=options.max_steps,
        device=options.device,
    )
    print("\n".join((*lines, f"{len(lines)} structures: {options.out}")))


def _potential(options: argparse.Namespace) -> Any:
    """The model folder, or the named calculator in its place."""
    from mlip.tools import barrier

    if options.calculator is None:
        return options.model
    return barrier.named_calculator(options.calculator, options.arguments, trusted=options.trusted)


def _diffusion_of(options: argparse.Namespace) -> None:
    from mlip.tools import diffusion_of
    from mlip.tools.trajectories import Reading

    species = tuple(word.strip() for word in options.species.split(",") if word.strip())
    found = diffusion_of.diffusion_of_files(
        options.trajectories,
        options.ion,
        Reading(
            frame_fs=options.frame_time,
            time_step_fs=options.time_step,
            species=species,
            dimensions=options.dimensions,
        ),
        diffusion_of.Analysis(
            temperature_kelvin=options.temperature,
            charge=options.charge,
            skip_ps=options.skip,
            jump_angstrom=options.jump,
            longest_jump_angstrom=options.longest_jump,
        ),
        options.out,
    )
    print("\n".join(diffusion_of.summary(found)))


def _export(options: argparse.Namespace) -> None:
    if options.to == "extxyz":
        from mlip import driver

        for written in driver.export_trajectories(options.source, options.out):
            print(written.summary)
        return
    from mlip.tools import export

    named = f"member {options.member} of {options.source}"
    if options.to == "lammps":
        export.to_lammps(options.source, options.out, start=options.start, source=options.config, member=options.member)
        print(f"{named}, input and batch script for LAMMPS: {options.out}")
    else:
        export.to_mace(options.source, options.out, member=options.member)
        print(f"{named}: {options.out}")


def _init(options: argparse.Namespace) -> None:
    from mlip import driver

    driver.init(options.config, options.run)
    print(f"run folder {options.run} is ready: mlip run {options.config} {options.run}")


def _run(options: argparse.Namespace) -> None:
    from mlip import driver

    driver.init(options.config, options.run)
    driver.run_all(options.run)


def _stage(options: argparse.Namespace) -> None:
    from mlip import driver

    driver.run_one(options.command, options.run)


def _submit(options: argparse.Namespace) -> None:
    from mlip import cluster

    print(cluster.submit(options.config, options.run, dry_run=options.dry_run))


def _status(options: argparse.Namespace) -> None:
    from mlip import cluster

    print("\n".join(cluster.shown(list(cluster.status(options.run)))))


def _cancel(options: argparse.Namespace) -> None:
    from mlip import cluster

    print(cluster.cancel(options.run))


def _settings(options: argparse.Namespace) -> None:
    from mlip import config

    for setting in config.settings(options.section):
        print(f"{setting.path}: {setting.kind} = {setting.default}\n    {setting.description}")


def _label(options: argparse.Namespace) -> None:
    from mlip import driver

    if options.check:
        driver.show_label_plan(options.run)
    else:
        driver.run_one("label", options.run)


COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {  # every other command is a stage
    "barrier": _barrier,
    "cancel": _cancel,
    "diffusion-of": _diffusion_of,
    "export": _export,
    "init": _init,
    "label": _label,
    "learn": _learn,
    "merge-datasets": _merge_datasets,
    "predict": _predict,
    "relax": _relax,
    "run": _run,
    "select-frames": _select_frames,
    "settings": _settings,
    "status": _status,
    "submit": _submit,
    "upgrade": _upgrade,
    "wandb-sync": _wandb_sync,
}


def _count(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no count; give a whole number from 1")
    return int(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _force(text: str) -> float:
    value = _number(text)
    if not 0 < value < 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no force limit; give eV/Angstrom above 0, such as 0.05")
    return value


def _limit(text: str) -> float:
    value = _number(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no limit; give eV/Angstrom above 0, such as 10, or inf")
    return value


def _positive(text: str) -> float:
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return value


def _not_negative(text: str) -> float:
    value = _number(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0")
    return value


def _renamed(arguments: Sequence[str]) -> list[str]:
    """The arguments with a command under its present name."""
    given = list(arguments)
    command = next((k for k, word in enumerate(given) if not word.startswith("-")), None)
    if command is not None:
        given[command] = EARLIER.get(given[command], given[command])
    return given


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit code."""
    options = parser().parse_args(_renamed(sys.argv[1:] if arguments is None else arguments))
    process.own()
    try:
        namesake.refuse()
        COMMANDS.get(options.command, _stage)(options)
    except (ValueError, OSError) as error:
        if options.debug:
            raise
        print(f"mlip {options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("mlip: interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
