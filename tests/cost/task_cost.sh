#!/usr/bin/env bash
#
# task_cost.sh
#	  What a task costs the database: 10 000 tasks from submit to end through
#	  simulated reports.
#
# Prints PostgreSQL CPU and WAL per task.  WAL without full-page images and
# the share of HOT updates on live are exact and asserted; CPU varies with the
# machine and is only printed.  The driver's own SQL runs in the same backend
# and is part of the CPU.
set -euo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=tools/results.sh
. "$ROOT/tools/results.sh"
TASKS=${TASKS:-10000}
WAL_BYTES_MAX=2200
HOT_PERCENT_MIN=80
CPU_US_GOAL=70

if [ "${1:-}" != inside ]; then
	exec "$ROOT/tools/private_pg.sh" --set full_page_writes=off --set fsync=on --set shared_buffers=256MB \
		--set max_wal_size=4GB --set unidesk.bridge_silent_after=1d -- "$0" inside
fi

sql() { psql -X -q -A -t -v ON_ERROR_STOP=1 "$@"; }

# Nanoseconds of CPU of every process of the server.
server_cpu()
{
	local postmaster pid total=0 ns
	postmaster=$(head -n 1 "$PG_DATA/postmaster.pid")
	for pid in $(pgrep -P "$postmaster"); do
		read -r ns _ <"/proc/$pid/schedstat" || continue
		total=$((total + ns))
	done
	echo "$total"
}

for _ in $(seq 100); do
	[ "$(sql -c 'SELECT unidesk.worker_alive()')" = t ] && break
	sleep 0.1
done
sql -f "$ROOT/tests/cost/task_cost.sql"

# One session for everything, so that its CPU is still there at the end.
coproc PSQL { psql -X -q -A -t -v ON_ERROR_STOP=1 2>&1; }
psql_pid=$PSQL_PID
ask() { printf '%s\n\\echo DONE\n' "$1" >&"${PSQL[1]}"; answer=; while read -r line <&"${PSQL[0]}"; do [ "$line" = DONE ] && return; answer=$line; done; printf "%s\n" "$answer" >&2; return 1; }

ask "CHECKPOINT; SELECT pg_stat_reset(); CALL cost.drain(0);"
ask "SELECT pg_current_wal_insert_lsn() - '0/0';"; wal_before=$answer
cpu_before=$(server_cpu)
began=$(date +%s%N)
ask "SELECT count(*) FROM unidesk.submit_tasks((SELECT jsonb_agg(jsonb_build_object('project', 'cost', 'code_repo_url', 'https://git.example/code.git',
	'code_commit_id', repeat('a', 40), 'env_repo_url', 'https://git.example/env.git', 'env_commit_id', repeat('b', 40), 'dockerfile_path', 'Dockerfile',
	'command', '[\"true\"]'::jsonb, 'cpus', 1, 'memory', 16777216)) FROM generate_series(1, $TASKS)));"
cpu_submitted=$(server_cpu)
ask "CALL cost.drain($TASKS);"
ended=$(date +%s%N)
cpu_after=$(server_cpu)
ask "SELECT pg_current_wal_insert_lsn() - '0/0';"; wal_after=$answer
ask "SELECT pg_stat_force_next_flush();" 2>/dev/null
ask "SELECT count(*) FROM unidesk.tasks WHERE state = 'succeeded';"; succeeded=$answer
sleep 1
ask "SELECT round(100.0 * n_tup_hot_upd / greatest(n_tup_upd, 1), 1) FROM pg_stat_user_tables WHERE schemaname = 'unidesk_data' AND relname = 'live';"; hot=$answer
ask "SELECT count(*) FROM unidesk_data.task_event;"; events=$answer
eval "exec ${PSQL[1]}>&-"
wait "$psql_pid" || true

violations=$(sql -c "SELECT coalesce(string_agg(DISTINCT code, ' '), '') FROM unidesk.check_invariants()")

wal=$(((wal_after - wal_before) / TASKS))
cpu=$(((cpu_after - cpu_before) / TASKS / 1000))
submit=$(((cpu_submitted - cpu_before) / TASKS / 1000))
printf 'per task, over %d tasks: PostgreSQL CPU %d us (goal %d; submit %d of it), WAL %d bytes (limit %d), events %s, HOT updates of live %s %% (limit %d %%), %d tasks/s\n' \
	"$TASKS" "$cpu" "$CPU_US_GOAL" "$submit" "$wal" "$WAL_BYTES_MAX" "$(awk "BEGIN { print $events / $TASKS }")" \
	"$hot" "$HOT_PERCENT_MIN" "$((TASKS * 1000 / ((ended - began) / 1000000)))"

status=0
verdict() # NAME CONDITION MESSAGE
{
	if [ "$2" -ne 0 ]; then result_ok cost "$1"; else result_not_ok cost "$1: $3"; status=1; fi
}
verdict "all tasks end" $((succeeded == TASKS)) "$succeeded of $TASKS succeeded"
verdict "WAL per task" $((wal <= WAL_BYTES_MAX)) "$wal bytes, limit $WAL_BYTES_MAX"
verdict "HOT updates of live" "$(awk "BEGIN { print ($hot >= $HOT_PERCENT_MIN) }")" "$hot %, limit $HOT_PERCENT_MIN %"
verdict "the invariants hold" $((${#violations} == 0)) "$violations"
exit "$status"
