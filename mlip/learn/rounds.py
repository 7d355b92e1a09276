"""The rounds of `mlip learn`: bands and dynamics, choice, labels, training, until they are done or good enough.

Takes a config and a folder; every round is a run folder `<folder>/round-N` whose dataset is that of the config with the
labels of the rounds before, in `<folder>/dataset-N`. All rounds share the labels in `<folder>/labels`. What is done is
kept: a process that was killed, or that stopped because DFT jobs have to be run elsewhere, goes on with the same
command. The learning curve is in `learn.json`, `report.html`, `report.md` and `tables/`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import yaml

from mlip import config, driver
from mlip.atoms import extxyz
from mlip.core import files
from mlip.core.learn import Learn
from mlip.core.progress import console
from mlip.core.run import Run, locked
from mlip.core.section import Section
from mlip.core.stage import Stage
from mlip.core.status import Status
from mlip.dft import engines, queue
from mlip.dft.settings import Dft
from mlip.learn import curve, labelling, report
from mlip.learn.choosing import Round
from mlip.learn.curve import Learned, RoundRecord
from mlip.stages.dataset.card import read_card
from mlip.stages.dataset.settings import DatasetSettings
from mlip.stages.evaluate.stage import STAGE as EVALUATE
from mlip.stages.md.settings import MdSettings
from mlip.stages.md.stage import STAGE as MD
from mlip.stages.neb.stage import STAGE as NEB
from mlip.stages.train.settings import TrainSettings

Sections = dict[str, Section]


def learn(source: Path, folder: Path) -> Learned:
    """Run the rounds that are not done yet; gives the learning curve so far.

    Raises:
        ValueError: anything wrong with the config, the dataset, its level or the folder; no frame to choose from; no
            label in a whole round. What was finished is kept.
    """
    source = files.located(source)
    sections = config.load(source)
    require(sections, folder)
    folder.mkdir(parents=True, exist_ok=True)
    made: list[RoundRecord] = []
    with locked(folder):
        status = Status(curve.ROUNDS)
        for record, status in _rounds(source, sections, folder):
            made[record.number :] = [record]
            result = Learned(
                status=status,
                level=queue.settings_hash(_dft(sections)),
                choose=_learn(sections).choose,
                rounds=tuple(made),
            )
            files.write_record(folder / "learn.json", result)
            report.write(folder, result)
    console.print(f"{status}: {folder / 'report.html'}", soft_wrap=True)
    return result


def require(sections: Sections, folder: Path) -> None:
    """Raise a ValueError where the rounds could not work; asked before any computing."""
    settings, train, dft = _learn(sections), cast("TrainSettings", sections["train"]), _dft(sections)
    if (folder / "config.yaml").exists():
        raise ValueError(f"{folder}: is the folder of a single run; give another folder for the rounds")
    if train.given is not None:
        key = "model" if train.calculator is None else "calculator"
        raise ValueError(f"learn: every round trains, and train.{key}: {train.given} is used as it is; give train.base")
    if train.members < 2 and settings.choose == "committee-spread":
        raise ValueError("learn.choose: committee-spread needs train.members of 2 or more, or use barrier-variance")
    if train.members < 2 and settings.stop_below_ev is not None:
        raise ValueError("learn.stop_below_ev: needs a spread, so train.members of 2 or more; or leave it out")
    data = _data(sections)
    engines.engine(dft).require(engines.settings_of(dft), ())
    level = extxyz.settings_hash(read_card(files.place(data)).settings)
    labelling.require_level(queue.settings_hash(dft), level, data=data, preset=dft.preset)
    files.require_writable(folder / "learn.json")


def _rounds(source: Path, sections: Sections, folder: Path) -> Iterator[tuple[RoundRecord, Status]]:
    """The record of every round, before and after its labels, each with where the whole stands."""
    data, settings = _data(sections), _learn(sections)
    for number in range(settings.rounds + 1):
        console.print(f"round {number} of {settings.rounds}: {folder / f'round-{number}'}")
        run = driver.init(_config(source, folder, number, data), folder / f"round-{number}")
        run = driver.run_stages(run.folder, [stage.name for stage in stages(run)])
        own = _round(number, run, data, folder)
        record = curve.measured(run, number)
        status = _stop(record, settings)
        yield record, status or Status(curve.RUNNING, f"round {number} of {settings.rounds}")
        if status is not None:
            return
        found = labelling.labelled(own)
        if found is None:
            yield record, Status(curve.EXHAUSTED, "every frame is labelled, refused, held out or has too large a force")
            return
        if isinstance(found, labelling.Waiting):
            for problem in found.problems:
                console.print(f"  {problem.frame_id}: {problem.reason}", soft_wrap=True)
            yield record, Status(curve.WAITING, f"{len(found.problems)} jobs of round {number}; then run this again")
            return
        yield replace(record, labels=found), Status(curve.RUNNING, f"round {number} of {settings.rounds}")
        data = labelling.next_dataset(own, folder / f"dataset-{number + 1}")


def stages(run: Run) -> list[Stage[Any, Any]]:
    """The stages of a round in order: what bands need, the held-out errors where a group is held out, and dynamics."""
    needed: list[Stage[Any, Any]] = [NEB]
    if cast("DatasetSettings", run.sections["dataset"]).test_groups:
        needed.append(EVALUATE)
    if cast("MdSettings", run.sections["md"]).run:
        needed.append(MD)
    for stage in needed:  # grows while it is walked
        needed += [other for other in stage.needs if all(other is not one for one in needed)]
    return [stage for stage in run.stages if any(stage is one for one in needed)]


def _stop(record: RoundRecord, settings: Learn) -> Status | None:
    limit, now = settings.stop_below_ev, record.two_sigma_ev
    if limit is not None and now is not None and now < limit:
        return Status(curve.BELOW, f"2 sigma of {now:.3f} eV in round {record.number}, limit {limit:g} eV")
    return Status(curve.ROUNDS) if record.number == settings.rounds else None


def _round(number: int, run: Run, data: Path, folder: Path) -> Round:
    place = files.place(data)
    return Round(
        number=number,
        run=run,
        data=place,
        card=read_card(place),
        frames=tuple(extxyz.read_frames(place / "frames.extxyz")),
        store=queue.labels_folder(folder),
        learn=_learn(dict(run.sections)),
        dft=_dft(dict(run.sections)),
    )


def _config(source: Path, folder: Path, number: int, data: Path) -> Path:
    """The config of a round: that of the user, with the dataset of the round.

    The path of a dataset stays as it was first written while it leads to the same folder, since another spelling would
    be another setting, and the round would be trained again.
    """
    if number == 0:
        return source
    raw = files.read_yaml(source, advice="give the path of a YAML file")
    path = folder / f"round-{number}.yaml"
    before = _data(config.load(path)) if path.exists() else data
    kept = before if before.exists() and before.samefile(data) else data
    raw["dataset"] = {**(raw.get("dataset") or {}), "path": str(kept)}
    files.write_text_atomic(path, yaml.safe_dump(raw, sort_keys=False, allow_unicode=True))
    return path


def _data(sections: Sections) -> Path:
    path = cast("DatasetSettings", sections["dataset"]).path
    if path is None:
        raise ValueError("learn: dataset.path is null, and every round trains on labels; name a folder with labels")
    return path


def _learn(sections: Sections) -> Learn:
    return cast("Learn", sections["learn"])


def _dft(sections: Sections) -> Dft:
    return cast("Dft", sections["dft"])


def shown(rounds: Sequence[RoundRecord]) -> list[str]:
    """The learning curve in lines for the terminal."""
    lines = ["round  frames  labels  saddles (meV)  2 sigma (meV)  held-out forces (meV/A)"]
    for one in rounds:
        error = curve.saddle_error(one.labels.images) if one.labels else None
        held_out = one.held_out.force_rmse_ev_per_angstrom if one.held_out else None
        values = [_thousandths(v) for v in (error, one.two_sigma_ev, held_out)]
        labels = one.labels.frames if one.labels else 0
        lines.append(
            f"{one.number:5d} {one.training_frames:7d} {labels:7d} {values[0]:>14s} {values[1]:>14s} {values[2]:>24s}"
        )
    return lines


def _thousandths(value: float | None) -> str:
    return "-" if value is None else f"{1e3 * value:.0f}"
