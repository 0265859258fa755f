#!/usr/bin/env bash
#
# storage.sh
#	  What stays on disk: of 100 000 ended tasks, and of their logs.
#
# Bytes are those of tables, indexes and TOAST after the keeper has made its
# rounds; both are asserted.  Every hundred tasks share a spec, and the logs are
# lines of a training with their numbers, not zeros.
set -euo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=tools/results.sh
. "$ROOT/tools/results.sh"
TASKS=${TASKS:-100000}
LOGS=40
LOG_BYTES=500000
TASK_BYTES_MAX=1000
LOG_PERCENT_MAX=40

if [ "${1:-}" != inside ]; then
	exec "$ROOT/tools/private_pg.sh" --set shared_buffers=256MB --set max_wal_size=4GB --set unidesk.bridge_silent_after=1d \
		--set unidesk.log_compact_after=1d -- "$0" inside
fi

sql() { psql -X -q -A -t -v ON_ERROR_STOP=1 "$@"; }

for _ in $(seq 100); do
	[ "$(sql -c 'SELECT unidesk.worker_alive()')" = t ] && break
	sleep 0.1
done
sql -f "$ROOT/tests/cost/task_cost.sql"
sql -f "$ROOT/tests/cost/storage.sql"
sql <<-SQL
	CALL cost.drain(0);
	SELECT count(*) FROM unidesk.submit_tasks((SELECT jsonb_agg(jsonb_build_object('project', 'cost', 'code_repo_url', 'https://git.example/code.git',
		'code_commit_id', repeat('a', 40), 'env_repo_url', 'https://git.example/env.git', 'env_commit_id', repeat('b', 40), 'dockerfile_path', 'Dockerfile',
		'command', jsonb_build_array('python3', 'train.py', '--seed', (i / 100)::text), 'cpus', 1, 'memory', 16777216)) FROM generate_series(1, $TASKS) i)) \\gset
	CALL cost.drain($TASKS);
	SELECT unidesk._tidy();
SQL
ended=$(sql -c "SELECT count(*) FROM unidesk_data.task WHERE state = 5")
task_bytes=$(sql -c "SELECT sum(pg_total_relation_size(c.oid)) / $TASKS FROM pg_class c
	WHERE c.relnamespace = 'unidesk_data'::regnamespace AND c.relkind = 'r' AND c.relname ~ '^(task|spec|attempt)'" | cut -d. -f1)
parts=$(sql -c "SELECT string_agg(name || ' ' || bytes, ', ' ORDER BY bytes DESC) FROM (SELECT substring(c.relname FROM '^(task_event|task|spec|attempt)') AS name,
	sum(pg_total_relation_size(c.oid))::bigint / $TASKS AS bytes FROM pg_class c WHERE c.relnamespace = 'unidesk_data'::regnamespace AND c.relkind = 'r'
	AND c.relname ~ '^(task|spec|attempt)' GROUP BY 1) x")

sql -c "CALL cost.write_logs($LOGS, $LOG_BYTES)"
written=$(sql -c "SELECT sum(octet_length(bytes)) FROM cost.log")
# One session for each: a round empties what no older snapshot may need.
for _ in 1 2 3 4 5; do
	sql -c "SELECT unidesk._tidy()"
	[ "$(sql -c "SELECT count(*) FROM unidesk_data.log_chunk")" = 0 ] && break
done
chunks=$(sql -c "SELECT count(*) FROM unidesk_data.log_chunk")
stored=$(sql -c "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c WHERE c.relnamespace = 'unidesk_data'::regnamespace AND c.relkind = 'r' AND c.relname ~ '^log_'")
same=$(sql -c "SELECT count(*) FROM cost.log c WHERE c.bytes = (SELECT string_agg(l.bytes, '' ORDER BY l.\"offset\") FROM unidesk.task_log(c.task) l)")

percent=$((stored * 100 / written))
printf 'stored: %d bytes for each of %d ended tasks (limit %d; %s), %d %% of the bytes of a log (limit %d %%; %d bytes written)\n' \
	"$task_bytes" "$ended" "$TASK_BYTES_MAX" "$parts" "$percent" "$LOG_PERCENT_MAX" "$written"

status=0
verdict() # NAME CONDITION MESSAGE
{
	if [ "$2" -ne 0 ]; then result_ok cost "$1"; else result_not_ok cost "$1: $3"; status=1; fi
}
verdict "tasks to store" $((ended >= TASKS)) "$ended of $TASKS ended"
verdict "bytes stored for a task" $((task_bytes <= TASK_BYTES_MAX)) "$task_bytes, limit $TASK_BYTES_MAX"
verdict "all chunks of logs are merged" $((chunks == 0)) "$chunks are left"
verdict "bytes stored for a log" $((percent <= LOG_PERCENT_MAX)) "$percent %, limit $LOG_PERCENT_MAX %"
verdict "logs read back" $((same == LOGS)) "$same of $LOGS are the same"
exit "$status"
