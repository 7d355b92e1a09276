"""A real controller and a real node daemon on this machine run the job array of configs/hpc."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import yaml
from helpers import cells, tiny

from mlip import cli, driver
from mlip.core import files
from mlip.dft import queue

NEEDED = ("slurmctld", "slurmd", "munged", "mungekey", "sbatch", "squeue", "sinfo")
CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SlurmctldPort={controller}
SlurmdPort={node}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SchedulerType=sched/builtin
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=16000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def output(*command, env):
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def until(true, seconds, what):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, what()
        time.sleep(0.5)


@pytest.fixture
def cluster():
    """The environment in which sbatch and squeue talk to a cluster of this one machine."""
    absent = [name for name in NEEDED if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None]
    if absent:
        pytest.skip(f"no {', '.join(absent)} (Debian: slurm-wlm)")
    if os.geteuid() != 0:
        pytest.skip("the daemons of SLURM need root")
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # short: of a socket
    folder.chmod(0o755)
    for part in ("state", "spool"):
        (folder / part).mkdir()
    controller, node = free_ports(2)
    host = socket.gethostname().split(".")[0]
    conf = CONF.format(folder=folder, host=host, controller=controller, node=node)
    (folder / "slurm.conf").write_text(conf)
    env = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    subprocess.run(["mungekey", "--create", f"--keyfile={folder}/munge.key"], env=env, check=True)
    munged = [f"--{k}={folder}/munge.{v}" for k, v in (("key-file", "key"), ("socket", "sock"), ("pid-file", "pid"))]
    munged += [f"--{k}={folder}/munge.{v}" for k, v in (("log-file", "log"), ("seed-file", "seed"))]
    daemons = []
    try:
        for command in (["munged", "-F", "--force", *munged], ["slurmctld", "-D", "-i"], ["slurmd", "-D"]):
            with (folder / f"{command[0]}.screen").open("w") as screen:
                daemons.append(subprocess.Popen(command, env=env, stdout=screen, stderr=screen))
            time.sleep(1)

        def logs():
            return "\n".join(p.read_text()[-1500:] for p in folder.glob("*.[ls]*") if p.suffix in {".log", ".screen"})

        until(lambda: output("sinfo", "-h", "-o", "%t", env=env).stdout.strip() == "idle", 60, logs)
        yield env
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            daemon.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@cells.needs_gpaw
def test_a_job_array_labels_every_frame_once(cluster, tmp_path, capsys):
    frames = [cells.hydride(k, 1.6 + 0.02 * k) for k in range(5)] + [cells.lithium(k, 4.0 + 0.1 * k) for k in range(2)]
    files.write_frames(tmp_path / "mine.extxyz", frames)
    settings = {"label": {"frames": [str(tmp_path / "mine.extxyz")]}, "common": {"workers": 1}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({**settings, "dft": {"settings": cells.SETTINGS}}))
    driver.init(tmp_path / "c.yaml", tmp_path / "run")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "mlip").write_text(f'#!/bin/sh\nexec {sys.executable} -W ignore -m mlip.cli "$@"\n')
    (tmp_path / "bin" / "mlip").chmod(0o755)
    env = {**cluster, **tiny.environment(), "SLURM_CONF": cluster["SLURM_CONF"]}
    env["PATH"] = f"{tmp_path / 'bin'}:{cluster['PATH']}"
    script = tiny.REPOSITORY / "configs" / "hpc" / "label.sbatch"
    limits = ("--array=0-2", "--cpus-per-task=1", f"--output={tmp_path}/out-%a", f"--chdir={tmp_path}")
    submitted = output("sbatch", *limits, str(script), str(tmp_path / "run"), "3", env=env)
    assert submitted.returncode == 0, submitted.stderr

    def said():
        return "\n".join(p.read_text() for p in sorted(tmp_path.glob("out-*")))

    until(lambda: output("squeue", "-h", env=env).stdout.strip() == "", 240, said)
    assert len(list(tmp_path.glob("out-*"))) == 3
    counts = re.findall(r"(\d+)/(\d+)", said())
    assert all(done == whole for done, whole in counts), said()
    assert sum(int(done) for done, _ in counts) == 7  # each frame by one array task
    store = tmp_path / "run" / "labels" / queue.settings_hash(cells.DFT)
    before = {p: p.stat().st_mtime_ns for p in store.glob("*.xyz")}
    assert len(before) == 7
    assert cli.main(["label", str(tmp_path / "run")]) == 0
    assert "7 of 7 frames" in capsys.readouterr().err
    assert {p: p.stat().st_mtime_ns for p in store.glob("*.xyz")} == before
