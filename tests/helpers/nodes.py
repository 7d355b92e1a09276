"""What tasks of SLURM do in tests; importable on a node."""

import os
import time
from pathlib import Path


def square(x):
    return x * x, os.environ.get("SLURM_JOB_ID"), os.environ["OMP_NUM_THREADS"]


def once(job):
    """Counts to job["steps"], a file per step, and goes on from there after a kill; leaves a line in `begun`."""
    folder = Path(job["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "begun").open("a") as log:
        log.write(f"{os.environ.get('SLURM_RESTART_COUNT', '0')}\n")
    for k in range(job["steps"]):
        if not (folder / str(k)).exists():
            time.sleep(job["seconds"])
            with (folder / str(k)).open("x"):  # an error where the step was done
                pass
    return job["steps"]


def wrong_at_two(x):
    if x == 2:
        raise ValueError(f"job {x} is wrong")
    return x
