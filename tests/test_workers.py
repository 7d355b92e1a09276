import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import tiny

from mlip.core.workers import OnGpus, carried_out_by, chosen_gpus, run_parallel


def slow_square(x):
    time.sleep(0.3 / (1 + x))  # the last one is done first
    return x * x, os.getpid(), os.environ["OMP_NUM_THREADS"]


def wrong(x):
    if x == 1:
        raise ValueError(f"job {x} is wrong")
    return x


def killed(x):
    os.kill(os.getpid(), signal.SIGKILL)


def test_results_in_order_from_other_processes_of_one_thread():
    seen = []
    results = run_parallel(slow_square, range(4), workers=2, on_tick=seen.append, tick_s=0.05)
    assert [r[0] for r in results] == [0, 1, 4, 9]
    pids = {r[1] for r in results}
    assert os.getpid() not in pids
    assert len(pids) <= 2
    assert {r[2] for r in results} == {"1"}
    assert seen == sorted(seen)
    assert seen[-1] == 4


def test_nothing_to_do():
    assert run_parallel(slow_square, [], workers=2) == []


def test_the_error_of_a_job_is_raised():
    with pytest.raises(ValueError, match="job 1 is wrong"):
        run_parallel(wrong, [0, 1], workers=1)


def test_a_killed_worker_is_told_in_one_line():
    with pytest.raises(ValueError, match=r"a worker process was killed .*lower common\.workers and run again"):
        run_parallel(killed, [0], workers=1)


PARENT = """
import sys
sys.path.insert(0, {tests!r})
import test_workers
from mlip.core.workers import OnGpus, carried_out_by, chosen_gpus, run_parallel
if __name__ == "__main__":
    run_parallel(test_workers.forever, [{mark!r}, {mark!r}], workers=2)
"""


def forever(mark):
    Path(f"{mark}.{os.getpid()}").touch()
    time.sleep(600)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux does it")
def test_workers_die_with_their_parent(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(tests=str(tiny.REPOSITORY / "tests"), mark=str(tmp_path / "pid")))
    parent = subprocess.Popen([sys.executable, "-W", "ignore", str(script)], env=tiny.environment())
    while len(marks := list(tmp_path.glob("pid.*"))) < 2:
        assert parent.poll() is None
        time.sleep(0.05)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    pids = [int(m.suffix[1:]) for m in marks]
    until = time.monotonic() + 10
    while any(alive(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.05)
    assert not [pid for pid in pids if alive(pid)]


def seen_gpus(mark):
    """What a job sees, once as many jobs as there are GPUs run at the same time."""
    folder, together = mark
    (folder / str(os.getpid())).touch()
    while len(list(folder.iterdir())) < together:
        time.sleep(0.02)
    return os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES")


def on_gpus(jobs, *, workers=1, **options):
    with carried_out_by(OnGpus(gpus=("4", "6"), workers=workers)):
        return run_parallel(seen_gpus, jobs, workers=workers, **options)


def test_every_worker_sees_one_gpu_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6,7")
    found = on_gpus([(tmp_path, 2)] * 6)
    gpu_of = dict(found)
    assert sorted(gpu_of.values()) == ["4", "6"]  # two processes, a GPU each
    assert all(gpu_of[pid] == gpu for pid, gpu in found)  # for good
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4,6,7"


def test_jobs_without_torch_keep_the_workers_and_see_what_the_driver_sees(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6,7")
    found = on_gpus([(tmp_path, 3)] * 3, workers=3, uses_torch=False)
    assert len({pid for pid, _ in found}) == 3
    assert {gpu for _, gpu in found} == {"4,6,7"}


@pytest.mark.parametrize(
    ("asked", "visible", "there", "chosen"),
    [
        (1, None, 2, ("0",)),
        (4, None, 4, ("0", "1", "2", "3")),
        (2, "3,1", 2, ("3", "1")),
        (2, " GPU-8a, GPU-1c ", 2, ("GPU-8a", "GPU-1c")),
    ],
)
def test_gpus_by_number_or_as_the_environment_names_them(asked, visible, there, chosen):
    assert chosen_gpus(asked, visible=visible, there=there) == chosen


@pytest.mark.parametrize(
    ("visible", "there", "message"),
    [
        (None, 1, r"common\.gpus: 2 asked for and 1 found; lower common\.gpus"),
        ("5", 1, r"2 asked for and 1 found \(CUDA_VISIBLE_DEVICES=5\)"),
        ("0,9", 1, r"2 asked for and 1 found \(CUDA_VISIBLE_DEVICES=0,9\)"),
        ("", 0, r"2 asked for and 0 found"),
    ],
)
def test_more_gpus_than_there_are(visible, there, message):
    with pytest.raises(ValueError, match=message):
        chosen_gpus(2, visible=visible, there=there)
