#!/usr/bin/env bash
# SLURM on this machine alone, for trying and testing: controller, node daemon and munge in one folder.
#
#   apt-get install slurm-wlm munge                      # Debian, Ubuntu
#   scripts/local_slurm.sh start /tmp/slurm              # as root; CPUS=4 pretends to have four cores
#   export SLURM_CONF=/tmp/slurm/slurm.conf              # sbatch, squeue and mlip use it from now on
#   scripts/local_slurm.sh stop /tmp/slurm
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
action=${1:?start, stop, slurmd or kill-slurmd} folder=${2:?a folder, with a short path}

wait_for() { # seconds, command: until it succeeds
  for ((k = 0; k < $1 * 5; k++)); do "${@:2}" > /dev/null 2>&1 && return; sleep 0.2; done
  echo "local_slurm: no answer in $1 s; see $folder/*.log" >&2
  exit 1
}
is_idle() { [ "$(sinfo -h -o %t)" = idle ]; }
stop_one() { # name of a daemon
  local pid
  pid=$(cat "$folder/$1.pid" 2> /dev/null) || return 0
  kill "${2:--TERM}" "$pid" 2> /dev/null || return 0
  for ((k = 0; k < 100; k++)); do kill -0 "$pid" 2> /dev/null || return 0; sleep 0.1; done
  kill -KILL "$pid" 2> /dev/null || true
}
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

export SLURM_CONF=$folder/slurm.conf
case $action in
  start)
    for name in slurmctld slurmd munged mungekey sbatch; do
      command -v "$name" > /dev/null || { echo "local_slurm: no $name; apt-get install slurm-wlm munge" >&2; exit 1; }
    done
    [ "$(id -u)" = 0 ] || { echo "local_slurm: the daemons need root" >&2; exit 1; }
    mkdir -p "$folder"/{state,spool}
    chmod 755 "$folder"
    host=$(hostname -s)
    cat > "$SLURM_CONF" << CONF
ClusterName=local
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.sock
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
MinJobAge=60
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=${CPUS:-$(nproc)} RealMemory=${MEMORY_MB:-16000} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
    mungekey --create --keyfile="$folder/munge.key"
    munged --force --key-file="$folder/munge.key" --socket="$folder/munge.sock" --pid-file="$folder/munged.pid" \
      --log-file="$folder/munge.log" --seed-file="$folder/munge.seed"
    slurmctld -i > "$folder/slurmctld.screen" 2>&1
    slurmd > "$folder/slurmd.screen" 2>&1
    wait_for 60 is_idle
    echo "export SLURM_CONF=$SLURM_CONF"
    ;;
  slurmd) slurmd > "$folder/slurmd.screen" 2>&1 ;;
  kill-slurmd) stop_one slurmd -KILL ;;
  stop)
    scancel --user="$(id -u)" 2> /dev/null || true
    for ((k = 0; k < 50; k++)); do [ -z "$(squeue -h 2> /dev/null)" ] && break; sleep 0.2; done
    for name in slurmd slurmctld munged; do stop_one "$name"; done
    ;;
  *) echo "local_slurm: $action? start, stop, slurmd or kill-slurmd" >&2; exit 2 ;;
esac
