# shellcheck shell=bash
#
# measure.sh
#	  What the measurements have in common.  Sourced, in the project's folder.
#
# A measurement is a program that prints one JSON object a line on standard
# output, {"name": …, "value": …, "unit": …}, and talks on standard error.  Its
# exit status is 0, or 77 when it cannot be done here; the last line of standard
# error says why.  bench/run.sh tells it BENCH_ROUND (1, 2, …), BENCH_QUICK (1 in
# a quick run), TMPDIR (on a disk) and BENCH_ROOT (see bench/peers/throwaway.sh).

# Called by hand, it is a full round.
BENCH_ROUND=${BENCH_ROUND:-1}
BENCH_QUICK=${BENCH_QUICK:-}
# Elsewhere /tmp may be memory, where a commit does not wait for a disk.
export TMPDIR=${TMPDIR:-/var/tmp}

# emit NAME VALUE UNIT: one figure.
emit() { printf '{"name":"%s","value":%s,"unit":"%s"}\n' "$1" "$2" "$3"; }
say() { printf '%s\n' "$*" >&2; }
# skip WHY: this cannot be measured here.
skip() { say "$*"; exit 77; }
# sized FULL QUICK: how many.
sized() { if [ -n "$BENCH_QUICK" ]; then echo "$2"; else echo "$1"; fi; }
now_us() { echo $(($(date +%s%N) / 1000)); }
# compute EXPRESSION: in floating point.
compute() { awk "BEGIN { printf \"%.6g\", $1 }"; }

psql() { "$PG_BIN/psql" -XAtq -v ON_ERROR_STOP=1 "$@"; }

# The arguments of the script itself: beside_server calls it with them again.
arguments=("$@")

# beside_server [OPTION...]: this script again, beside a server of its own that
# waits for its disk (options: tools/private_pg.sh).  All servers compared with
# each other have these settings.
beside_server()
{
	exec tools/private_pg.sh --set fsync=on --set shared_buffers=256MB --set max_wal_size=4GB --set wal_buffers=16MB "$@" -- "$0" "${arguments[@]}"
}
# For a server that is not ours.
# shellcheck disable=SC2034 # used by those who source this
without_unidesk=(--no-extension --set shared_preload_libraries=)

# ---- CPU time by control group ---------------------------------------------

# The CPU time of a set of processes, also of those that have ended; it varies
# much less with what else runs here than the time on the wall.
cpu_groups=()

# cpu_open NAME: an empty group; fails where there are none to be had.
cpu_open()
{
	if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
		cpu_parent=/sys/fs/cgroup cpu_usage=cpu.stat
	else
		cpu_parent=/sys/fs/cgroup/cpuacct cpu_usage=cpuacct.usage
	fi
	mkdir "$cpu_parent/unidesk-bench.$$.$1" 2>/dev/null || {
		say 'no control group for CPU time (needs root): CPU figures are left out'
		return 1
	}
	cpu_groups+=("$1")
}

cpu_group() { echo "$cpu_parent/unidesk-bench.$$.$1"; }
# The file that cpu_us reads, for programs that read it themselves.
cpu_file() { echo "$(cpu_group "$1")/$cpu_usage"; }
# A process may have ended in between.
cpu_move() { echo "$1" 2>/dev/null >"$2/cgroup.procs" || true; }

# cpu_join NAME: this shell, and what it starts from now on.
cpu_join() { echo "$BASHPID" >"$(cpu_group "$1")/cgroup.procs"; }

# cpu_adopt NAME PID: a process and its children; call it when PID forks nothing.
cpu_adopt()
{
	local pid
	for pid in "$2" $(pgrep -P "$2"); do cpu_move "$pid" "$(cpu_group "$1")"; done
}
# The private server.
cpu_adopt_server() { cpu_adopt "$1" "$(head -n 1 "$PG_DATA/postmaster.pid")"; }

# cpu_us NAME: microseconds so far.
cpu_us()
{
	case $cpu_usage in
		cpu.stat) awk '$1 == "usage_usec" { print $2 }' "$(cpu_file "$1")" ;;
		*) echo $(($(cat "$(cpu_file "$1")") / 1000)) ;;
	esac
}

# Before the exit: no group stays.  What still runs goes back to the parent.
cpu_close()
{
	local name pid _
	for name in "${cpu_groups[@]}"; do
		for _ in 1 2 3 4 5 6 7 8 9 10; do
			rmdir "$(cpu_group "$name")" 2>/dev/null && break
			while read -r pid; do cpu_move "$pid" "$cpu_parent"; done <"$(cpu_group "$name")/cgroup.procs"
		done
	done
	cpu_groups=()
}
