#!/usr/bin/env bash
#
# latency.sh
#	  Single submits: from the commit to the agent's having the assignment, and
#	  to the end's acknowledgement at the agent, on an idle platform and beside
#	  a load of half of what it can do.
#
# TASKS (300) of each, one every 30 ms; AGENTS (100) of SLOTS (24) CPUs.  The
# clock of the commit is read by the next statement of the submitter's session:
# what is measured is short by that statement.  LOAD is in tasks a second; half
# of what TRIAL (10000) tasks are drained with unless given.
set -uo pipefail
ROOT=$(cd "$(dirname "$0")/.." && pwd)
cd "$ROOT" || exit 1
# shellcheck source=bench/platform.sh
. bench/platform.sh

TASKS=${TASKS:-300}
AGENTS=${AGENTS:-100}
SLOTS=${SLOTS:-24}
TRIAL=${TRIAL:-10000}
BATCHES_PER_S=20
out=$ROOT/build/bench-latency

platform_beside_server bench-latency
platform_begin
make_nodes "$AGENTS"
start_bridge
start_agents "$AGENTS" --cpus "$SLOTS" --seconds 1800 || exit 1

# singles FILE: submits, one session, one line a task: its id, when committed.
singles()
{
	for _ in $(seq "$TASKS"); do
		echo "SELECT unidesk.submit_task('bench', 'https://code.test/c.git', repeat('a', 40), 'https://code.test/e.git', repeat('b', 40), 'Dockerfile', ARRAY['true'], cpus => 1, memory => 67108864) AS id \\gset"
		echo "SELECT :id, trunc(extract(epoch FROM clock_timestamp()) * 1000000);"
		echo 'SELECT pg_sleep(0.03) AS slept \gset'
	done | sql_user -F ' ' >"$out/$1"
}

# load SECONDS: as many tasks in that time as LOAD says, at times fixed before.
load()
{
	local each=$((LOAD / BATCHES_PER_S)) i
	{
		echo 'SELECT clock_timestamp() AS began \gset'
		for i in $(seq $(($1 * BATCHES_PER_S))); do
			echo "SELECT pg_sleep(extract(epoch FROM :'began'::timestamptz - clock_timestamp()) + $i / $BATCHES_PER_S.0) AS slept \\gset"
			echo "SELECT count(*) AS n FROM unidesk.submit_tasks($(no_ops "$each")) \\gset"
		done
	} | sql_user
}

submit "$TRIAL" && drained 120 || exit 1
if [ -z "${LOAD:-}" ]; then
	LOAD=$(ask "SELECT greatest((count(*) / extract(epoch FROM max(ended_at) - min(placed_at)) / 2)::integer, $BATCHES_PER_S) FROM unidesk_data.task")
fi
say "load: $LOAD tasks/s"

singles idle || exit 1
drained 30 || exit 1
load $((TASKS / 15 + 2)) &
load_pid=$!
from=$(ask "SELECT max(id) FROM unidesk_data.task")
singles half_load || exit 1
loaded=$(ask "SELECT count(*) / extract(epoch FROM max(created_at) - min(created_at)) FROM unidesk_data.task WHERE id > $from")
wait "$load_pid"
drained 120 || exit 1
stop_agents

psql -F " " -c "SELECT id, trunc(extract(epoch FROM created_at) * 1000000), trunc(extract(epoch FROM placed_at) * 1000000), trunc(extract(epoch FROM ended_at) * 1000000) FROM unidesk_data.task" >"$out/server_times"
for when in idle half_load; do
	for column in 3:assigned 5:done; do
		awk -v c="${column%%:*}" 'NR == FNR { at[$1] = $2; next } $1 in at { printf "%.3f\n", ($c - at[$1]) / 1000 }' \
			"$out/$when" "$out"/times.* >"$out/$when.${column#*:}"
		[ "$(wc -l <"$out/$when.${column#*:}")" -eq "$TASKS" ] || { say "$when: not all tasks were timed"; exit 1; }
		for p in 50 95 99; do
			emit "latency.$when.${column#*:}.p$p" "$(percentile "$p" 2 <"$out/$when.${column#*:}")" ms
		done
	done
done
emit latency.half_load.load "$(ratio "$loaded" 1)" tasks/s
