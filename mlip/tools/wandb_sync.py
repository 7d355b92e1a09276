"""Uploads the offline records of Weights & Biases of a run folder, where there is internet: on a login node.

Takes a run folder; gives a line per record. Records are uploaded one by one in the order in which they were closed: an
artifact before the runs that use it, and the records of a W&B run that was killed and continued as one history.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from mlip.core import tracking

LOG_IN = "log in with: wandb login"


def upload(run: Path) -> Iterator[str]:
    """Upload what is closed and not uploaded yet; gives a line for each record.

    Raises:
        ValueError: not a run folder, W&B is not installed, or an upload failed.
    """
    if not (run / "config.yaml").exists():
        raise ValueError(f"{run}: not a run folder (no config.yaml)")
    records = list((run / tracking.FOLDER).glob("offline-run-*-*"))
    closed = sorted((one for one in records if (one / tracking.CLOSED).exists()), key=_closed)
    todo = [one for one in closed if not list(one.glob("*.wandb.synced"))]
    if left := len(records) - len(closed):
        yield f"{left} left out: not closed, as the process still runs or was killed; `mlip run` records them again"
    if not todo:
        yield f"{run}: no offline records to upload ({len(closed)} uploaded before)"
        return
    tracking.is_on(tracking.Tracking(mode="online"))
    for number, one in enumerate(todo, start=1):
        _upload(one)
        yield f"{number} of {len(todo)} uploaded: {one.name}"


def _closed(record: Path) -> int:
    """When a record was closed; its name has the local time, which is turned back once a year."""
    return (record / tracking.CLOSED).stat().st_mtime_ns


def _upload(record: Path) -> None:
    """Upload one record.

    Raises:
        ValueError: it is not uploaded.
    """
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "wandb", "sync", str(record)],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "WANDB_SILENT": "false", "WANDB_DIR": str(record.parents[1])},
    )
    if not list(record.glob("*.wandb.synced")):
        said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        reason = said[-1].removeprefix("wandb:").strip() if said else f"exit code {done.returncode}"
        raise ValueError(
            f"{record}: wandb sync failed ({reason}); {LOG_IN}; run the same command again to go on with this record"
        )
