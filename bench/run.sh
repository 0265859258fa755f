#!/usr/bin/env bash
#
# run.sh [quick]
#	  The bench: UniDesk and what people would use instead, by turns, in three
#	  rounds (make bench, at most 20 minutes; make bench-quick, at most 3).
#
# bench/suite.tsv says what is measured, bench/goals.tsv what is made of it.
# Peers are installed into a place that goes with this run; one that cannot be had
# is left out, and the result says so.  The result: bench/results/latest.json,
# and the tables in docs/performance.md.  What the measurements said: build/bench.
#
# ROUNDS (3), BENCH_SECONDS (1170, quick 170): when that time is over no more is
# begun.  ONLY="STEP ...": these alone.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
BENCH_QUICK=
[ "${1:-}" != quick ] || BENCH_QUICK=1
export BENCH_QUICK
ROUNDS=${ROUNDS:-3}
limit=${BENCH_SECONDS:-1170}
[ -z "$BENCH_QUICK" ] || limit=${BENCH_SECONDS:-170}
ended() { [ "$SECONDS" -ge "$((limit - 5))" ]; }

run=$PWD/build/bench
rm -rf "$run"
mkdir -p "$run" bench/results
: >"$run/notes.tsv"
load=$(cut -d ' ' -f 1-3 /proc/loadavg)

dir=$(mktemp -d /var/tmp/unidesk-bench.XXXXXX) || exit 1
chmod 755 "$dir"
export TMPDIR=$dir/tmp
mkdir -m 1777 "$TMPDIR"
step_pid=
BENCH_ROOT_HOLDER=

# shellcheck source=bench/peers/throwaway.sh
. bench/peers/throwaway.sh
# shellcheck source=tests/system/engine.sh
. tests/system/engine.sh

clean_up()
{
	local status=$?
	trap - EXIT
	trap '' INT TERM HUP
	if [ -n "$step_pid" ]; then { kill "$step_pid" && wait "$step_pid"; } 2>/dev/null; fi
	# The last process takes the mounts with it.
	if [ -n "$BENCH_ROOT_HOLDER" ]; then { kill "$BENCH_ROOT_HOLDER" && wait "$BENCH_ROOT_HOLDER"; } 2>/dev/null; fi
	rm -rf --one-file-system "$dir"
	# Of measurements that were killed: only empty groups can be removed.
	rmdir /sys/fs/cgroup/unidesk-bench.* /sys/fs/cgroup/cpuacct/unidesk-bench.* 2>/dev/null
	engine_leave
	exit "$status"
}

note() { printf '%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$(printf %s "$4" | tr '\t\n|' '   ')" >>"$run/notes.tsv"; }

install_peers()
{
	unset BENCH_ROOT
	root_start "$dir/root" || return
	{
		root_install tools/packages.sh bench &&
			root_install sh -c 'mkdir -p /opt/bench && cd /opt/bench && npm install --no-audit --no-fund --no-update-notifier --loglevel=error graphile-worker@0.17.3 pg-boss@10.4.2 pg@8'
	} >"$dir/root/install.log" 2>&1 || tail -n 3 "$dir/root/install.log" >&2
	cp "$dir/root/install.log" "$run/install.log"
}

describe_machine()
{
	local model
	# It may have quotes in it.
	model=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1 | tr -d '"\\')
	cat >"$run/machine.json" <<-END
		{"cpus": $(nproc), "model": "$model",
		"memory": "$(awk '$1 == "MemTotal:" { printf "%.0f GB", $2 / 1e6 }' /proc/meminfo)", "kernel": "$(uname -r)",
		"postgres": "$("${PG_CONFIG:-pg_config}" --version | sed 's/^PostgreSQL //')", "date": "$(date -u +%Y-%m-%d)",
		"load": "$load", "mode": "$(if [ -n "$BENCH_QUICK" ]; then echo quick; else echo full; fi)", "rounds": $ROUNDS,
		"commit": "$(git rev-parse --short HEAD 2>/dev/null || echo unknown)"}
	END
}

# A step that has said it cannot be done here is not asked again.
declare -A skipped
# measure STEP ROUND SECONDS COMMAND...
measure()
{
	local step=$1 round=$2 bound=$3 out status=0 began=$SECONDS
	shift 3
	out=$run/$step.$round
	if [ ! -x "$1" ]; then
		skipped[$step]=1
		note "$step" "$round" 'not measured' "there is no $1"
		return
	fi
	[ "$bound" -lt "$((limit - SECONDS))" ] || bound=$((limit - SECONDS))
	BENCH_ROUND=$round setpriv --pdeathsig TERM timeout -k 15 "$bound" "$@" </dev/null >"$out.part" 2>"$out.err" 8>&- 9>&- &
	step_pid=$!
	wait "$step_pid" || status=$?
	step_pid=
	# Figures of a measurement that went wrong are none.
	case $status in
		0)
			mv "$out.part" "$out.out"
			note "$step" "$round" ok -
			;;
		77)
			skipped[$step]=1
			note "$step" "$round" skipped "$(tail -n 1 "$out.err")"
			;;
		124 | 137) note "$step" "$round" failed "not done within $bound s" ;;
		*) note "$step" "$round" failed "exit status $status: $(tail -n 1 "$out.err")" ;;
	esac
	printf '%4d s  round %s  %-15s %3d s  %s\n' "$SECONDS" "$round" "$step" "$((SECONDS - began))" \
		"$(if [ "$status" -eq 0 ]; then echo "$(wc -l <"$out.out") figures"; else tail -n 1 "$run/notes.tsv" | cut -f 3,4 | tr '\t' ' '; fi)"
}

trap clean_up EXIT
trap 'exit 130' INT TERM HUP
make -s --no-print-directory all || exit 1
engine_enter || echo 'run.sh: no engine: containers are left out' >&2
export TMPDIR=$dir/tmp
install_peers || true
describe_machine
[ -z "${BENCH_ROOT:-}" ] || printf '%4d s  built, peers installed\n' "$SECONDS"

for round in $(seq "$ROUNDS"); do
	while IFS=$'\t' read -r step mode rounds bound command; do
		case $step in '' | '#'*) continue ;; esac
		if [ -n "${ONLY:-}" ] && [[ " $ONLY " != *" $step "* ]]; then
			[ "$round" -gt 1 ] || note "$step" 0 'not measured' 'left out by ONLY'
			continue
		fi
		if [ -n "$BENCH_QUICK" ] && [ "$mode" != quick ]; then
			[ "$round" -gt 1 ] || note "$step" 0 'not measured' 'only in make bench'
			continue
		fi
		[ "$rounds" = each ] || [ "$rounds" = "$round" ] || continue
		[ -z "${skipped[$step]:-}" ] || continue
		if ended; then
			note "$step" "$round" 'not measured' 'no time was left'
			continue
		fi
		read -ra command <<<"$command"
		measure "$step" "$round" "$bound" "${command[@]}"
	done <bench/suite.tsv
done

bench/report.pl "$run" bench/results/latest.json docs/performance.md || exit 1
echo "took $SECONDS s"
