#!/usr/bin/env bash
# A real Slurm with one node on this machine, to test sweeps that go through sbatch
# where no cluster is at hand. It needs Debian and root, and no systemd: the daemons
# (munged, slurmctld, slurmd) are started by hand. There is no accounting (squeue knows
# the jobs, sacct does not) and no cgroup: memory is reserved, not enforced.
# Usage: bash .ci/slurm.sh start|stop|status     (stop cancels all jobs first)
# State and logs: /var/lib/slurm-one-node, a folder per daemon.
set -euo pipefail

dir=/var/lib/slurm-one-node
conf=/etc/slurm/slurm.conf # where Debian's Slurm looks for it
mark="# Written by .ci/slurm.sh at each start: do not edit."

say() { echo "slurm: $*"; }
fail() { say "$*" >&2; exit 1; }
alive() { # alive DAEMON: does the one started here still run, and is its pid no other's by now?
  [[ $(readlink "/proc/$(cat "$dir/$1/pid" 2>/dev/null)/exe") == */"$1"* ]] # ("slurmd-wlm", say)
}
launch() { # launch DAEMON COMMAND...: start it unless it runs
  alive "$1" || "${@:2}" </dev/null >"$dir/$1/start.log" 2>&1 || fail "$1 did not start, see the logs in $dir/$1"
}
state() { timeout 10 sinfo -h -n "$host" -o %T 2>/dev/null || true; }
ready() { [[ $(state) =~ ^(idle|mixed|allocated|completing)$ ]]; }
usage() { say "node $host is $(state). Use: srun hostname; sbatch -p main ...; squeue; sinfo"; }

write_conf() {
  local cpus memory
  cpus=$(nproc) memory=$(awk '/^MemTotal:/ {print int($2 / 1024 * 0.8)}' /proc/meminfo)
  cat >"$conf" <<CONF
$mark
ClusterName=one-node
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=$((memory / cpus))
# A job that this machine's end cut off is not started again by itself.
JobRequeue=0
# Snakemake waits for ever for a job that squeue has forgotten: keep ended ones an hour.
MinJobAge=3600
StateSaveLocation=$dir/slurmctld/state
SlurmdSpoolDir=$dir/slurmd/spool
SlurmctldPidFile=$dir/slurmctld/pid
SlurmdPidFile=$dir/slurmd/pid
SlurmctldLogFile=$dir/slurmctld/log
SlurmdLogFile=$dir/slurmd/log
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$memory
PartitionName=main Nodes=$host Default=YES
CONF
}

start() {
  if [ -e "$conf" ] && ! grep -qxF "$mark" "$conf"; then fail "$conf is not this script's: is this a cluster's machine?"; fi
  if ! type slurmctld slurmd sbatch munged >/dev/null 2>&1; then
    say "installing slurm-wlm and munge"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge >/dev/null
  fi
  if alive slurmctld && alive slurmd && ready; then say "already running"; usage; return; fi
  mkdir -p /etc/slurm "$dir/slurmctld/state" "$dir/slurmd/spool"
  install -d -o munge -g munge /run/munge "$dir/munged"
  write_conf
  munge -n >/dev/null 2>&1 || # where it answers, a munged runs already: that one will do
    launch munged runuser -u munge -- munged --force --pid-file "$dir/munged/pid" --log-file "$dir/munged/log"
  launch slurmctld slurmctld
  launch slurmd slurmd
  for _ in {1..60}; do
    if ready; then usage; return; fi
    [[ ! $(state) =~ ^(down|drain) ]] || scontrol update NodeName="$host" State=RESUME || true
    sleep 1
  done
  fail "node $host is '$(state)' after a minute, see the logs in $dir"
}

stop() {
  if alive slurmctld; then timeout 20 squeue -h -o %A | xargs -r timeout 20 scancel || true; fi
  for _ in {1..40}; do [ -n "$(timeout 10 squeue -h 2>/dev/null)" ] || break; sleep 1; done # let them end
  for daemon in slurmd slurmctld munged; do
    alive "$daemon" || { say "$daemon: none started here"; continue; }
    kill "$(cat "$dir/$daemon/pid")"
    for _ in {1..30}; do alive "$daemon" || break; sleep 1; done
    if alive "$daemon"; then fail "$daemon does not end"; fi
    say "$daemon ended"
  done
}

status() {
  for daemon in munged slurmctld slurmd; do
    if alive "$daemon"; then say "$daemon runs"; else say "$daemon: none started here"; fi
  done
  if ready; then usage; squeue; else fail "no node is ready"; fi
}

[ -e /etc/debian_version ] || fail "this needs Debian"
[ "$(id -u)" = 0 ] || fail "this needs root: run it as root or with sudo"
host=$(hostname -s)
case ${1:-} in start | stop | status) "$1" ;; *) fail "usage: $0 start|stop|status" ;; esac
