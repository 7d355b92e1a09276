"""The executor on a real controller and a real node daemon on this machine, set up by scripts/local_slurm.sh."""

import itertools
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
import yaml
from helpers import cells, nodes, tiny
from helpers.md_runs import MD

from mlip import cli, cluster, driver
from mlip.atoms import extxyz
from mlip.core import slurm
from mlip.core.site import Override, Site
from mlip.core.task_records import Record, key
from mlip.core.workers import carried_out_by, run_parallel

SCRIPT = tiny.REPOSITORY / "scripts" / "local_slurm.sh"
DAEMONS = ("slurmctld", "slurmd", "munged", "mungekey", "sbatch")


def local_slurm(*words, **extra):
    return subprocess.run([SCRIPT, *words], env={**os.environ, **extra}, check=True, capture_output=True, text=True)


@pytest.fixture(scope="module")
def daemons():
    """Folder of the daemons of a cluster of this one machine, which pretends to have eight cores."""
    where = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    if absent := [name for name in DAEMONS if shutil.which(name, path=where) is None]:
        pytest.skip(f"no {', '.join(absent)} (Debian: slurm-wlm munge)")
    if os.geteuid() != 0:
        pytest.skip("the daemons of SLURM need root")
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # short: of a socket
    try:
        local_slurm("start", str(folder), CPUS="8")
        yield folder
    finally:
        local_slurm("stop", str(folder))
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def conf(daemons, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", str(daemons / "slurm.conf"))
    monkeypatch.setenv("PYTHONPATH", f"{tiny.REPOSITORY}:{tiny.REPOSITORY / 'tests'}")
    return daemons


SITE = Site(memory_gb=0.1, hours=1)


def executor(folder, *, fingerprint="now", site=SITE):
    made = slurm.Slurm(record=Record(folder, "neb"), fingerprint=fingerprint, site=site)
    made._controller.seconds = 1.0  # tests may ask the controller often
    return made


def mapped(own, function, jobs, **options):
    with carried_out_by(own):
        return run_parallel(function, jobs, workers=1, uses_torch=False, tick_s=0.2, **options)


def until(true, seconds=60):
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "did not come to pass"
        time.sleep(0.2)
    return found


def counting(folder, *, count=1, steps=3, seconds=0.3):
    return [{"folder": str(folder / f"job-{k}"), "steps": steps, "seconds": seconds} for k in range(count)]


def alone(task, done=lambda: True):
    """Start a function in a thread; gives a function that waits for its result."""
    out = []

    def call():
        try:
            out.append((True, task()))
        except BaseException as error:  # noqa: BLE001
            out.append((False, error))

    thread = threading.Thread(target=call)
    thread.start()

    def result():
        thread.join(120)
        assert out, "still running"
        if not out[0][0]:
            raise out[0][1]
        return out[0][1]

    return result


def test_an_array_gives_the_results_of_local_processes_in_order(conf, tmp_path):
    seen = []
    results = mapped(executor(tmp_path), nodes.square, [3, 1, 2, 3], on_tick=seen.append)
    assert [r[0] for r in results] == [9, 1, 4, 9]
    ids = [r[1] for r in results]
    assert len(set(ids)) == 3  # equal jobs are one task
    assert ids[0] == ids[3]
    assert {r[2] for r in results} == {"1"}
    assert seen == sorted(seen)
    assert seen[-1] == 4
    (array,) = Record(tmp_path, "neb").arrays()
    assert len(array.keys) == 3


def test_one_failed_task_is_named_and_the_others_go_on(conf, tmp_path):
    own = executor(tmp_path)
    with pytest.raises(slurm.TasksFailed, match=r"stage neb: 1 of 3 tasks failed, first \d+_1: job 2 is wrong \(log: "):
        mapped(own, nodes.wrong_at_two, [1, 2, 3])
    record = Record(tmp_path, "neb")
    (first,) = record.arrays()
    assert [record.is_done(task) for task in first.tasks] == [True, False, True]
    assert "ValueError: job 2 is wrong" in record.log(first.tasks[1]).read_text()
    with pytest.raises(slurm.TasksFailed, match="1 of 3 tasks failed"):
        mapped(own, nodes.wrong_at_two, [1, 2, 3])
    assert record.arrays()[1].keys == (key(nodes.wrong_at_two, 2),)  # nothing but what failed


DRIVER = """
import sys
sys.path.insert(0, {tests!r})
import test_slurm
from pathlib import Path
folder = Path({folder!r})
own = test_slurm.executor(folder)
own.settle()
print(test_slurm.mapped(own, test_slurm.nodes.once, test_slurm.counting(folder, count=3, steps=6, seconds=0.5)))
"""


def test_a_driver_killed_again_and_again_does_nothing_twice(conf, tmp_path):
    script = DRIVER.format(tests=str(tiny.REPOSITORY / "tests"), folder=str(tmp_path))
    command = [sys.executable, "-W", "ignore", "-c", script]
    for delay in (0.1, 0.6, 1.5):
        before = len(Record(tmp_path, "neb").arrays())
        process = subprocess.Popen(command)
        if not before:
            until(lambda: Record(tmp_path, "neb").arrays())
        time.sleep(delay)
        process.kill()
        process.wait()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[6, 6, 6]\n"
    live = [array for array in Record(tmp_path, "neb").arrays() if array.job_id is not None]
    assert len(live) == 1  # one array, whatever happened to its drivers
    assert [(tmp_path / f"job-{k}" / "begun").read_text().split() for k in range(3)] == [["0"]] * 3


def test_a_signal_requeues_a_task_which_goes_on_from_its_files(conf, tmp_path):
    own = executor(tmp_path)
    result = alone(lambda: mapped(own, nodes.once, counting(tmp_path, steps=8, seconds=0.5)))
    until((tmp_path / "job-0" / "1").exists)
    (array,) = own.record.arrays()
    subprocess.run(["scancel", "--signal=USR2", array.job_id], check=True)
    until(lambda: slurm.queued().get(array.job_id, slurm.Queued("", "", "")).state == "PENDING")
    time.sleep(3)  # SLURM waits for two minutes, so that nothing of the first start is left
    subprocess.run(["scontrol", "update", f"jobid={array.job_id}", "starttime=now"], check=True)
    assert result() == [8]
    assert (tmp_path / "job-0" / "begun").read_text().split() == ["0", "1"]  # each step once: `once` says so


def test_a_cancelled_task_is_told_and_submitted_by_the_next_call(conf, tmp_path):
    own, jobs = executor(tmp_path), counting(tmp_path, count=2, steps=5, seconds=0.4)
    result = alone(lambda: mapped(own, nodes.once, jobs))
    until((tmp_path / "job-1" / "0").exists)
    (array,) = own.record.arrays()
    subprocess.run(["scancel", array.tasks[1]], check=True)
    with pytest.raises(slurm.TasksFailed, match=r"1 of 2 tasks failed, first \d+_1: ended without a result"):
        result()
    assert mapped(executor(tmp_path), nodes.once, jobs) == [5, 5]
    assert (tmp_path / "job-0" / "begun").read_text().split() == ["0"]


def test_a_killed_and_restarted_node_daemon_loses_nothing(conf, tmp_path):
    own = executor(tmp_path)
    result = alone(lambda: mapped(own, nodes.once, counting(tmp_path, steps=6, seconds=0.5)))
    until((tmp_path / "job-0" / "0").exists)
    local_slurm("kill-slurmd", str(conf))
    time.sleep(1)
    local_slurm("slurmd", str(conf))
    assert result() == [6]


def test_a_drained_node_makes_tasks_wait(conf, tmp_path):
    host = subprocess.run(["sinfo", "-h", "-o", "%n"], capture_output=True, text=True, check=True).stdout.strip()
    subprocess.run(["scontrol", "update", f"nodename={host}", "state=drain", "reason=test"], check=True)
    own = executor(tmp_path)
    result = alone(lambda: mapped(own, nodes.square, [4]))
    try:
        until(lambda: any(t.state == "PENDING" and t.name.startswith("mlip-neb") for t in slurm.queued().values()))
    finally:
        subprocess.run(["scontrol", "update", f"nodename={host}", "state=resume"], check=True)
    assert result()[0][0] == 16


def test_tasks_of_other_settings_keep_the_stage_closed(conf, tmp_path):
    own = executor(tmp_path)
    result = alone(lambda: mapped(own, nodes.once, counting(tmp_path, steps=60, seconds=0.5)))
    (array,) = until(lambda: [a for a in own.record.arrays() if a.job_id])
    with pytest.raises(ValueError, match=r"tasks of other settings still run \(job \d+\).*mlip cancel"):
        executor(tmp_path, fingerprint="changed").settle()
    slurm.cancel([array.job_id])
    with pytest.raises(slurm.TasksFailed):
        result()
    executor(tmp_path, fingerprint="changed").settle()


def config(folder, *, profile=None, **common):
    (folder / "site.yaml").write_text(yaml.safe_dump({"memory_gb": 1, "hours": 1} if profile is None else profile))
    common = {"executor": "slurm", "site": str(folder / "site.yaml"), **common}
    return tiny.write_config(folder / "c.yaml", common=common)


def test_scripts_are_printed_and_nothing_is_submitted(conf, tmp_path, capsys):
    profile = {"memory_gb": 1, "setup": ["module load x"], "stages": {"neb": {"cores": 3}, "driver": {"hours": 2}}}
    assert cli.main(["submit", str(config(tmp_path, profile=profile)), str(tmp_path / "run"), "--dry-run"]) == 0
    said = capsys.readouterr().out
    driver_script, neb = said.split("# tasks of ")[0], said.split("# tasks of neb")[1].split("# tasks of ")[0]
    assert "#SBATCH --time=120" in driver_script
    assert "mlip.cli run" in driver_script
    assert "#SBATCH --cpus-per-task=3" in neb
    assert "module load x" in neb
    assert "#SBATCH --signal=USR2@120" in neb
    assert not (tmp_path / "run" / "hpc").exists()
    for name, script in (("driver", driver_script), ("neb", neb)):
        (tmp_path / name).write_text(script[script.index("#!") :])
        subprocess.run(["sbatch", "--test-only", str(tmp_path / name)], check=True)


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ({"partition": "gpus"}, "partition 'gpus' does not exist; there are: all"),
        ({"memory": 1}, "memory: unknown key; there are: partition, account"),
        ({"stages": {"bands": {}}}, "stages.bands: no such stage; there are: structures"),
        ({"stages": {"neb": {"core": 1}}}, "stages.neb.core: unknown key; there are: partition"),
        ({"options": {"qos": "gold", "constraint": "none-such"}}, "sbatch refused the tasks"),
    ],
)
def test_bad_profiles_end_in_one_line(conf, tmp_path, capsys, profile, message):
    assert cli.main(["run", str(config(tmp_path, profile=profile)), str(tmp_path / "run")]) == 1
    (line,) = [one for one in capsys.readouterr().err.splitlines() if one.startswith("mlip run:")]
    assert message in line


def test_a_gpu_that_no_task_has_is_told_before_anything_is_submitted(conf, tmp_path, capsys):
    own = config(tmp_path, profile={"memory_gb": 1}, device="cuda")
    assert cli.main(["submit", str(own), str(tmp_path / "run"), "--dry-run"]) == 1
    assert "common.device is cuda, and the tasks of train, evaluate, sites, neb" in capsys.readouterr().err
    own = config(tmp_path, profile={"memory_gb": 1, "gpus": 1}, device="cuda")
    assert cli.main(["submit", str(own), str(tmp_path / "run"), "--dry-run"]) == 0
    assert "gpus-per-node=1" in capsys.readouterr().out.split("# tasks of neb")[1].split("# tasks of ")[0]


def test_status_and_cancel(conf, tmp_path, capsys):
    run = driver.init(config(tmp_path), tmp_path / "run")
    record = Record(run.folder, "structures")
    own = slurm.Slurm(record=record, fingerprint="x", site=SITE)
    own._controller.seconds = 1.0
    result = alone(lambda: mapped(own, nodes.once, counting(tmp_path, count=2, steps=100, seconds=0.5)))
    until((tmp_path / "job-1" / "0").exists)
    states = {one.stage: one for one in cluster.status(run.folder)}
    assert (states["structures"].state, states["structures"].running) == (cluster.UNDER_WAY, 2)
    assert states["neb"].state == cluster.NOT_BEGUN
    assert cli.main(["cancel", str(run.folder)]) == 0
    assert "2 tasks cancelled" in capsys.readouterr().out
    with pytest.raises(slurm.TasksFailed):
        result()
    states = {one.stage: one for one in cluster.status(run.folder)}
    assert (states["structures"].state, states["structures"].failed) == (cluster.FAILED, 2)
    assert "ended without a result" in states["structures"].note


def test_slurm_or_submitit_absent_is_told(tmp_path, monkeypatch, capsys):
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    source = config(tmp_path)
    assert cli.main(["run", str(source), str(tmp_path / "run")]) == 1
    assert "no sbatch, srun, squeue, scancel, sinfo, scontrol on this machine" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert cli.main(["run", str(source), str(tmp_path / "run")]) == 1
    assert "submitit is not installed; install the extra hpc" in capsys.readouterr().err


@pytest.mark.slow
def test_a_task_at_its_time_limit_is_requeued_and_ends(conf, tmp_path):
    own = executor(tmp_path, site=SITE.model_copy(update={"hours": 1 / 60, "signal_seconds": 30}))
    assert mapped(own, nodes.once, counting(tmp_path, steps=20, seconds=3.0)) == [20]
    assert (tmp_path / "job-0" / "begun").read_text().split()[:2] == ["0", "1"]


@pytest.mark.slow
def test_a_folder_that_the_node_does_not_see_is_told(conf, tmp_path):
    code = f"""
import sys
sys.path.insert(0, {str(tiny.REPOSITORY / "tests")!r})
import test_slurm
from pathlib import Path
test_slurm.mapped(test_slurm.executor(Path({str(tmp_path / "hidden")!r})), test_slurm.nodes.square, [1])
"""
    (tmp_path / "hidden").mkdir()
    own = f'mount -t tmpfs none {tmp_path / "hidden"} && exec {sys.executable} -W ignore -c "$CODE"'
    command = ["unshare", "--mount", "sh", "-c", own]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "CODE": code})
    if "not permitted" in done.stderr or "permission denied" in done.stderr:
        pytest.skip("no mounts here")
    assert "there is no log: if the nodes do not see" in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_a_thousand_tasks_are_submitted_in_half_a_minute(conf, tmp_path):
    own = executor(tmp_path, site=SITE.model_copy(update={"stages": {"neb": Override(options={"begin": "now+1hour"})}}))
    started = time.monotonic()
    found = own._submitted(nodes.square, {key(nodes.square, k): k for k in range(1000)}, uses_torch=False)
    took = time.monotonic() - started
    slurm.cancel([own.record.arrays()[0].job_id])
    assert len(found) == 1000
    assert took < 30, took


def alike(one, other):
    """Whether every stage of two runs has the same result; reports and training hold times."""
    results = sorted(one.glob("*/result.json"))
    assert len(results) > 5
    for path in results:
        a, b = (driver.files.read_json(run / path.parent.name / path.name) for run in (one, other))
        if path.parent.name not in {
            "label",
            "rates",
            "report",
        }:  # which hash files of other stages, or of another folder
            assert a["provenance"]["fingerprint"] == b["provenance"]["fingerprint"], path
        if path.parent.name == "label":  # its result holds seconds
            a, b = ({"result": [r["result"][k] for k in ("frames", "problems")]} for r in (a, b))
        if path.parent.name not in {"report", "train"}:
            assert a["result"] == b["result"], path


@pytest.mark.slow
def test_a_whole_run_gives_the_results_of_a_local_one(conf, tmp_path):
    for name, changes in (("local", {"executor": "local"}), ("slurm", {})):
        driver.init(config(tmp_path, **changes), tmp_path / name)
        driver.run_all(tmp_path / name)
    alike(tmp_path / "local", tmp_path / "slurm")


def whole(folder, executor, **sections):
    """The config of a tiny run with dynamics and, where GPAW is there, labels."""
    sections["md"] = {**MD, "run": True, "target_ps": 0.02}
    if cells.HAS_GPAW:
        frames = [cells.hydride(k, 1.6 + 0.02 * k) for k in range(6)]
        driver.files.write_frames(folder / "mine.extxyz", frames)
        sections["label"] = {"run": True, "frames": [str(folder / "mine.extxyz")]}
        sections["dft"] = {"settings": cells.SETTINGS}
    (folder / "site.yaml").write_text(yaml.safe_dump({"memory_gb": 1, "hours": 1}))
    sections["common"] = {"executor": executor, "site": str(folder / "site.yaml")}
    return tiny.write_config(folder / f"{executor}.yaml", **sections)


@pytest.fixture(scope="module")
def local_run(tmp_path_factory):
    """The same run by processes of this machine."""
    folder = tmp_path_factory.mktemp("whole")
    command = tiny.command("run", whole(folder, "local"), folder / "run")
    subprocess.run(command, env=tiny.environment(), check=True, capture_output=True)
    return folder / "run"


def submitted(run):
    """Keys of the jobs of every array that SLURM has had, by stage."""
    records = [Record(run, path.stem) for path in (run / "hpc").glob("*.json")]
    return {r.stage: [k for one in r.arrays() if one.job_id is not None for k in one.keys] for r in records}


@pytest.mark.slow
def test_a_driver_killed_at_ten_random_moments_submits_nothing_twice(conf, tmp_path, local_run):
    command = tiny.command("run", whole(tmp_path, "slurm"), tmp_path / "run")
    rng, kept, kills = random.Random(26), {}, 0
    for _ in range(10):
        process = subprocess.Popen(
            command, env=tiny.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            process.wait(rng.uniform(4.0, 40.0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
        now = {p: p.read_bytes() for p in tmp_path.glob("run/*/result.json")}
        assert kept.items() <= now.items()  # what is done stays as it is
        kept = now
    subprocess.run(command, env=tiny.environment(), check=True, capture_output=True)
    jobs = submitted(tmp_path / "run")
    sys.stdout.write(f"{kills} kills; tasks: { ({stage: len(keys) for stage, keys in jobs.items()}) }\n")
    assert kills >= 5
    assert all(len(keys) == len(set(keys)) for keys in jobs.values())
    alike(local_run, tmp_path / "run")


def signal_each_task_once(run, seen):
    """Send every task of SLURM the signal of its time limit, once, when its stage has written a file; let it go on.

    SLURM waits for two minutes before it starts a task again; earlier than after some seconds, it takes the end of the
    first start for that of the second.
    """
    for task, one in slurm.queued().items():
        if one.state == "PENDING" and time.monotonic() > seen.get(task, time.monotonic()) + 15:
            subprocess.run(["scontrol", "update", f"jobid={task}", "starttime=now"], check=False, capture_output=True)
        began = next((p.stat().st_mtime for p in (run / "hpc").rglob(f"{task}_0_log.err")), None)
        if one.state != "RUNNING" or task in seen or began is None:
            continue
        written = [p for p in run.rglob("*") if p.is_file() and "hpc" not in p.parts]
        if any(p.exists() and p.stat().st_mtime > began + 1 for p in written):
            subprocess.run(["scancel", "--signal=USR2", task], check=False)
            seen[task] = time.monotonic()


@pytest.mark.slow
def test_tasks_stopped_as_at_their_time_limit_give_the_same_results(conf, tmp_path, local_run):
    command, seen = tiny.command("run", whole(tmp_path, "slurm"), tmp_path / "run"), {}
    process = subprocess.Popen(command, env=tiny.environment(), stdout=subprocess.DEVNULL)
    while process.poll() is None:
        signal_each_task_once(tmp_path / "run", seen)
        time.sleep(0.5)
    assert process.returncode == 0
    logs = {p: p.read_text() for p in (tmp_path / "run" / "hpc").rglob("*_0_log.out")}
    requeued = {p.parent.name for p, text in logs.items() if "Requeued job" in text}
    sys.stdout.write(f"signalled: {len(seen)} tasks; requeued in {sorted(requeued)}\n")
    assert {"train", "neb", "md"} <= requeued
    assert "label" in requeued or not cells.HAS_GPAW
    alike(local_run, tmp_path / "run")


@pytest.mark.slow
def test_a_hundred_waiting_tasks_cost_the_controller_one_call_in_ten_seconds(conf, tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    for name in (*slurm.NEEDED, "sacct"):  # each counts its calls
        program = tmp_path / "bin" / name
        program.write_text(
            f'#!/bin/sh\necho "$(date +%s.%N) {name}" >> {tmp_path}/calls\nexec {shutil.which(name)} "$@"\n'
        )
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    late = SITE.model_copy(update={"stages": {"neb": Override(options={"begin": "now+1hour"})}})
    own = slurm.Slurm(record=Record(tmp_path, "neb"), fingerprint="now", site=late)  # asks as seldom as for a user
    result = alone(lambda: mapped(own, nodes.square, list(range(100))))
    (array,) = until(lambda: [a for a in own.record.arrays() if a.job_id])
    before = (tmp_path / "calls").read_text().splitlines()
    time.sleep(45)
    calls = [line.split() for line in (tmp_path / "calls").read_text().splitlines()[len(before) :]]
    slurm.cancel([array.job_id])
    with pytest.raises(slurm.TasksFailed):
        result()
    sys.stdout.write(f"{len(calls)} calls in 45 s with 100 waiting tasks: {sorted({c[1] for c in calls})}\n")
    assert [line.split()[1] for line in before].count("sbatch") == 1
    assert {name for _, name in calls} == {"squeue"}
    assert 3 <= len(calls) <= 5
    times = [float(when) for when, _ in calls]
    assert min(b - a for a, b in itertools.pairwise(times)) > 9.5


@pytest.mark.slow
@cells.needs_gpaw
def test_a_frame_on_two_ranks_has_the_cores_and_the_numbers(conf, tmp_path):
    frames = [cells.hydride(0), cells.hydride(1, 1.7)]
    driver.files.write_frames(tmp_path / "mine.extxyz", frames)
    settings = {"cutoff_ev": 200.0, "k_length_angstrom": 8.0}
    found = {}
    for executor, ranks in (("local", 1), ("slurm", 2)):
        sections = {"label": {"frames": [str(tmp_path / "mine.extxyz")]}, "dft": {"settings": settings, "ranks": ranks}}
        (tmp_path / "site.yaml").write_text(yaml.safe_dump({"memory_gb": 1, "hours": 1}))
        common = {"executor": executor, "site": str(tmp_path / "site.yaml"), "workers": 2}
        run = driver.init(tiny.write_config(tmp_path / "c.yaml", common=common, **sections), tmp_path / executor).folder
        driver.run_one("label", run)
        found[executor] = extxyz.read_frames(run / "label" / "frames.extxyz")
    (script,) = (tmp_path / "slurm" / "hpc" / "label").glob("[0-9]*_submission.sh")
    assert "#SBATCH --cpus-per-task=2" in script.read_text()
    for one, two in zip(found["local"], found["slurm"], strict=True):
        assert two.info["ranks"] == 2
        assert abs(one.info["dft_energy"] - two.info["dft_energy"]) < 1e-6
        assert abs(one.arrays["dft_forces"] - two.arrays["dft_forces"]).max() < 1e-5
