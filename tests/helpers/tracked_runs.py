"""What W&B wrote into a folder in offline mode."""

import json
import struct
import time
from dataclasses import dataclass
from typing import Any

BLOCK = 32768


@dataclass(frozen=True, kw_only=True)
class Stored:
    """An offline run."""

    id: str
    begun: int
    group: str
    job_type: str
    name: str
    config: dict[str, Any]
    history: list[dict[str, Any]]
    made: dict[str, Any]
    used: dict[str, Any]
    exit_code: int


def records(path):
    """Every record of an offline W&B file: the log format of LevelDB behind seven bytes of its own."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, part = path.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while place + 7 <= len(data):
        if BLOCK - place % BLOCK < 7:
            place += BLOCK - place % BLOCK
            continue
        length, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        if place + 7 + length > len(data):
            return
        part += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in {1, 4}:  # whole, or last part
            yield Record.FromString(part)
            part = b""


def whole(folder):
    """The records of every offline run in a run folder; W&B's service may write the last ones after `finish` returns."""
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        until = time.monotonic() + 20
        found = list(records(path))
        while not any(r.HasField("exit") for r in found):
            assert time.monotonic() < until, f"{path} was not finished"
            time.sleep(0.05)
            found = list(records(path))
        yield found


def stored(folder):
    """What every offline run in a run folder holds, in the order in which they were begun."""
    out = []
    for found in whole(folder):
        run = next(r.run for r in found if r.HasField("run"))
        out.append(
            Stored(
                id=run.run_id,
                begun=run.start_time.ToNanoseconds(),
                group=run.run_group,
                job_type=run.job_type,
                name=run.display_name,
                config={i.key: json.loads(i.value_json) for i in run.config.update},
                history=[
                    {i.key or ".".join(i.nested_key): json.loads(i.value_json) for i in r.history.item}
                    for r in found
                    if r.HasField("history")
                ],
                made={r.artifact.name: r.artifact for r in found if _is_artifact(r, used=False)},
                used={r.artifact.name: r.artifact for r in found if _is_artifact(r, used=True)},
                exit_code=next(r.exit.exit_code for r in found if r.HasField("exit")),
            )
        )
    return sorted(out, key=lambda run: run.begun)


def _is_artifact(record, *, used):
    """Whether it is an artifact that the run used, or made; a table of W&B is one of its own kind."""
    return (
        record.HasField("artifact") and record.artifact.type != "run_table" and record.artifact.use_after_commit is used
    )


def steps(runs):
    """The steps of runs, in order."""
    return [line["_step"] for run in runs for line in run.history]
