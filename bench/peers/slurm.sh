#!/usr/bin/env bash
#
# slurm.sh
#	  Slurm with four slurmd of 16 CPUs on this machine, no accounting, its
#	  scheduler's waits set to nothing: an array of jobs that do nothing, and the
#	  time from sbatch to the start of a single job.
#
# CPU time is that of all daemons, clients and jobs.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=bench/measure.sh
. bench/measure.sh
# shellcheck source=bench/peers/throwaway.sh
. bench/peers/throwaway.sh

nodes=4
slots=16
jobs=$(sized 250 100)
singles=$(sized 6 3)

if [ "${1:-}" != inside ]; then
	root_needs slurmctld Slurm
	root_needs slurmd Slurm
	root_needs munged munge
	trap cpu_close EXIT
	cpu=
	if cpu_open slurm; then
		cpu=$(cpu_file slurm)
		cpu_join slurm
	fi
	root_run env CPU_FILE="$cpu" BENCH_QUICK="$BENCH_QUICK" "$0" inside
	exit
fi

dir=$(mktemp -d /tmp/slurm.XXXXXX)
finish()
{
	local status=$?
	[ "$status" -eq 0 ] || tail -n 3 "$dir"/*.log >&2
	rm -rf "$dir"
	exit "$status"
}
trap finish EXIT
mkdir -p "$dir/state" /run/munge /var/log/munge /var/lib/munge
[ -f /etc/munge/munge.key ] || mungekey
chown munge: /run/munge /var/log/munge /var/lib/munge /etc/munge/munge.key
setpriv --reuid=munge --regid=munge --clear-groups munged

{
	cat <<-END
		ClusterName=bench
		SlurmctldHost=bench(127.0.0.1)
		SlurmUser=root
		SlurmdUser=root
		AuthType=auth/munge
		CredType=cred/munge
		StateSaveLocation=$dir/state
		SlurmdSpoolDir=$dir/%n
		SlurmctldPidFile=$dir/slurmctld.pid
		SlurmdPidFile=$dir/slurmd.%n.pid
		SlurmctldLogFile=$dir/slurmctld.log
		SlurmdLogFile=$dir/slurmd.%n.log
		SlurmctldDebug=error
		SlurmdDebug=error
		ProctrackType=proctrack/linuxproc
		TaskPlugin=task/none
		SwitchType=switch/none
		MpiDefault=none
		SelectType=select/cons_tres
		SelectTypeParameters=CR_CPU
		SchedulerType=sched/backfill
		SchedulerParameters=batch_sched_delay=0,sched_min_interval=100000
		MaxArraySize=20001
		MinJobAge=60
		AccountingStorageType=accounting_storage/none
		JobCompType=jobcomp/none
		JobAcctGatherType=jobacct_gather/none
		SlurmdParameters=config_overrides
		ReturnToService=2
	END
	for i in $(seq "$nodes"); do
		mkdir "$dir/n$i"
		echo "NodeName=n$i NodeHostname=bench NodeAddr=127.0.0.1 Port=$((17100 + i)) CPUs=$slots Sockets=1 CoresPerSocket=$slots ThreadsPerCore=1"
	done
	echo "PartitionName=p Nodes=n[1-$nodes] Default=YES MaxTime=INFINITE State=UP"
} >"$dir/slurm.conf"
export SLURM_CONF=$dir/slurm.conf

slurmctld -c -D >"$dir/slurmctld.out" 2>&1 &
for i in $(seq "$nodes"); do slurmd -N "n$i" -D >"$dir/slurmd.$i.out" 2>&1 & done
until [ "$(sinfo -h -t idle -o %D 2>/dev/null)" = "$nodes" ]; do
	[ "$SECONDS" -lt 30 ] || { say 'the nodes of Slurm did not become idle'; exit 1; }
	sleep 0.2
done
printf '#!/bin/sh\nexec /bin/true\n' >"$dir/noop"
printf '#!/bin/sh\ndate +%%s%%N >"$1"\n' >"$dir/stamp"
chmod +x "$dir/noop" "$dir/stamp"
cpu_used() { if [ "${CPU_FILE##*/}" = cpu.stat ]; then awk '$1 == "usage_usec" { print $2 }' "$CPU_FILE"; else echo $(($(cat "$CPU_FILE") / 1000)); fi; }
drained()
{
	while [ -n "$(squeue -h -o %i | head -n 1)" ]; do
		[ "$SECONDS" -lt 100 ] || { say 'Slurm did not end its jobs in time'; exit 1; }
		sleep 0.1
	done
}
cd "$dir"

[ -z "$CPU_FILE" ] || cpu_before=$(cpu_used)
began=$(now_us)
sbatch -Q "--array=1-$jobs" -o /dev/null -n1 "$dir/noop"
drained
took=$(($(now_us) - began))
emit slurm_jobs_per_s "$(compute "$jobs * 1e6 / $took")" tasks/s
[ -z "$CPU_FILE" ] || emit slurm_cpu_us_per_job "$(compute "($(cpu_used) - $cpu_before) / $jobs")" us

for i in $(seq "$singles"); do
	began=$(now_us)
	sbatch -Q -o /dev/null -n1 "$dir/stamp" "$dir/at.$i"
	drained
	echo $(($(cat "$dir/at.$i") / 1000 - began))
done | sort -n >"$dir/times"
emit slurm_submit_to_start_p50_ms "$(compute "$(sed -n "$(((singles + 1) / 2))p" "$dir/times") / 1000")" ms
