#!/usr/bin/env bash
#
# scale.sh [OPTION...] [SCENARIO...]
#	  How the database's cost of a task grows: PostgreSQL CPU from submit to end,
#	  agents and bridge played by SQL, always 1000 tasks under way.
#
#	queued		with 1 000, 100 000 and 1 000 000 tasks queued	--queued "N..."
#	history		beside none and 1 000 000 ended tasks			--history N
#	nodes		with 10, 1 000 and 10 000 nodes					--nodes "N..."
#	snapshot	beside a transaction with an old snapshot
#	size		rows, bytes and WAL of a task
#
#	--tasks N	tasks in each measurement (20 000)
#	--quick		100 000 queued, 100 000 ended, 1 000 nodes, 5 000 tasks
#
# Results are JSON, one a line, on standard output: name, value, unit.  What is
# compared runs in one server, one after the other; the driver's own SQL is part
# of the CPU.  --history 10000000 takes 20 GB and half an hour.
set -euo pipefail
ROOT=$(cd "$(dirname "$0")/.." && pwd)
cd "$ROOT"

QUEUED=${QUEUED:-1000 100000 1000000}
HISTORY=${HISTORY:-1000000}
NODES=${NODES:-10 1000 10000}
TASKS=${TASKS:-20000}

while [ $# -gt 0 ]; do
	case $1 in
		--queued) QUEUED=$2; shift 2 ;;
		--history) HISTORY=$2; shift 2 ;;
		--nodes) NODES=$2; shift 2 ;;
		--tasks) TASKS=$2; shift 2 ;;
		--quick) QUEUED='1000 100000'; HISTORY=100000; NODES='10 1000'; TASKS=5000; shift ;;
		-*) sed -n '3,20s/^#//p' "$0" >&2; exit 2 ;;
		*) break ;;
	esac
done
export QUEUED HISTORY NODES TASKS

say() { printf '%s\n' "$*" >&2; }
put() { printf '{"name":"%s","value":%s,"unit":"%s"}\n' "$1" "$2" "$3"; }
sql() { psql -X -q -A -t -v ON_ERROR_STOP=1 "$@"; }
short() { sed 's/000000$/m/; s/000$/k/' <<<"$1"; }
ratio() { awk "BEGIN { printf \"%.3f\", $1 / $2 }"; }

if [ -z "${PG_ROOT:-}" ]; then
	[ $# -gt 0 ] || set -- queued history nodes snapshot size
	for scenario in "$@"; do
		# Vacuuming is each scenario's own: its CPU would fall upon whichever
		# measurement it happens to run beside.
		autovacuum=off
		[ "$scenario" != snapshot ] || autovacuum=on
		"$ROOT/tools/private_pg.sh" --set fsync=on --set shared_buffers=512MB --set max_wal_size=8GB --set checkpoint_timeout=1h \
			--set full_page_writes=off --set autovacuum=$autovacuum --set autovacuum_naptime=5s --set unidesk.bridge_silent_after=1d \
			--set unidesk.disk_stop_submits=100 --set unidesk.disk_stop_logs=100 --set unidesk.disk_warn=100 -- "$0" "$scenario"
	done
	exit
fi

# Nanoseconds of CPU of the server's processes that live.
server_cpu()
{
	local pid total=0 ns
	for pid in $(pgrep -P "$(head -n 1 "$PG_DATA/postmaster.pid")"); do
		read -r ns _ <"/proc/$pid/schedstat" || continue
		total=$((total + ns))
	done
	echo "$total"
}

# One session for all that is measured, so that its CPU is still there.
coproc PSQL { psql -X -q -A -t -v ON_ERROR_STOP=1 2>&1; }
ask() { printf '%s\n\\echo DONE\n' "$1" >&"${PSQL[1]}"; answer=; while read -r line <&"${PSQL[0]}"; do [ "$line" != DONE ] || return 0; answer=$line; done; say "$answer"; return 1; }

set_up() # NODES CPUS
{
	until [ "$(sql -c 'SELECT unidesk.worker_alive()')" = t ]; do sleep 0.1; done
	sql -v nodes="$1" -v cpus="$2" -f tests/cost/task_cost.sql
	sql <<-'SQL'
		CREATE TABLE cost.request AS SELECT jsonb_agg(jsonb_build_object('project', 'cost', 'code_repo_url', 'https://git.example/code.git',
			'code_commit_id', repeat('a', 40), 'env_repo_url', 'https://git.example/env.git', 'env_commit_id', repeat('b', 40),
			'dockerfile_path', 'Dockerfile', 'command', '["true"]'::jsonb, 'cpus', 1, 'memory', 16777216)) AS tasks FROM generate_series(1, 1000);
		CREATE PROCEDURE cost.submit(thousands int) LANGUAGE plpgsql AS $$
		BEGIN
			FOR i IN 1 .. thousands LOOP
				PERFORM count(*) FROM cost.request r, unidesk.submit_tasks(r.tasks);
				COMMIT;
			END LOOP;
		END
		$$;
	SQL
	settle
}

# What is there is known to the planner, and on disk.
settle() { sql -c 'VACUUM ANALYZE' -c CHECKPOINT; ask 'SELECT unidesk._tidy();'; }

# Microseconds of CPU of a task: the median of four parts of TASKS tasks, each
# in rounds of a thousand.
cpu_us=
measure() # WHAT
{
	local before live_before i part parts=""
	ask 'CALL cost.submit(1); CALL cost.drain(1000);'
	for part in 1 2 3 4; do
		live_before=$(sql -c 'SELECT count(*) FROM unidesk_data.live')
		before=$(server_cpu)
		for i in $(seq $(((TASKS + 3999) / 4000))); do ask 'CALL cost.submit(1); CALL cost.drain(1000);'; done
		part=$(($(server_cpu) - before))
		parts+="$((part / (i * 1000 + live_before - $(sql -c 'SELECT count(*) FROM unidesk_data.live')))) "
	done
	cpu_us=$(tr " " "\n" <<<"$parts" | sort -n | awk 'NF { v[++n] = $1 } END { printf "%.1f", (v[2] + v[3]) / 2000 }')
	say "$1: $cpu_us us of CPU for a task ($parts)"
}

# The same at each of several sizes, and the last beside the first.
compare() # NAME RATIO GROW SIZE...
{
	local name=$1 ratio_of=$2 grow=$3 first="" size smallest
	shift 3
	smallest=$1
	for size in "$@"; do
		"$grow" "$size"
		measure "$name $size"
		put "cpu_per_task_$(short "$size")_$name" "$cpu_us" us
		first=${first:-$cpu_us}
	done
	put "cpu_per_task_$(short "$size")${ratio_of/SMALLEST/$(short "$smallest")}" "$(ratio "$cpu_us" "$first")" ratio
}

have_queued() { ask "CALL cost.submit(($1 - $(sql -c "SELECT count(*) FROM unidesk_data.live WHERE state = 3")) / 1000);"; settle; }
have_nodes() { sql -c "CALL cost.add_nodes($1, greatest(1000 / $1, 1))"; settle; }

# Ended tasks as the system leaves them, all of today: a spec for a hundred
# tasks, four events for each, and ids below those of new ones.
have_history()
{
	local from
	[ "$1" -gt 0 ] || return 0
	sql -c "SELECT setval('unidesk_data.task_id', (SELECT last_value FROM unidesk_data.task_id) + $1)" -c 'SELECT unidesk._tidy()' >/dev/null
	sql -c "CREATE TABLE cost.sample AS SELECT * FROM unidesk_data.task WHERE state = 5 ORDER BY id DESC LIMIT 1" \
		-c "CREATE TABLE cost.events AS SELECT e.* FROM unidesk_data.task_event e JOIN cost.sample s ON s.id = e.task_id"
	for from in $(seq 1 100000 "$1"); do
		sql -v n="$((from + 99999 < $1 ? 100000 : $1 - from + 1))" <<-SQL
			SELECT last_value - $1 + $from - 1 AS first FROM unidesk_data.task_id \gset
			INSERT INTO unidesk_data.spec (hash, project_id, owner_id, code_repo_url, env_repo_url, env_commit, dockerfile_path, command, environment)
				SELECT gen_random_uuid(), s.project_id, s.owner_id, s.code_repo_url, s.env_repo_url, s.env_commit, s.dockerfile_path, s.command, s.environment
				FROM unidesk_data.spec s JOIN cost.sample t ON t.spec_id = s.id, generate_series(1, :n / 100);
			INSERT INTO unidesk_data.task SELECT (jsonb_populate_record(NULL::unidesk_data.task, '{}')).* LIMIT 0;
			CREATE TEMP TABLE fresh AS SELECT s.* FROM cost.sample s, generate_series(1, :n);
			ALTER TABLE fresh ADD row serial;
			UPDATE fresh SET id = :first + row;
			ALTER TABLE fresh DROP row;
			INSERT INTO unidesk_data.task SELECT * FROM fresh ORDER BY id;
			INSERT INTO unidesk_data.task_event SELECT e.at, f.id, e.seq, e.attempt, e.task_state, e.attempt_state, e.reason, e.actor_kind, e.actor_id, e.steps, e.data
				FROM fresh f, cost.events e;
		SQL
	done
	settle
}

# shellcheck disable=SC2086 # lists of sizes
scenario_queued() { set_up 100 10; compare queued _vs_SMALLEST_queued have_queued $QUEUED; }
# shellcheck disable=SC2086
scenario_nodes() { set_up 1 1; compare nodes _vs_SMALLEST_nodes have_nodes $NODES; }

scenario_history()
{
	local empty
	set_up 100 10
	measure 'history 0'
	empty=$cpu_us
	put cpu_per_task_empty_history "$empty" us
	have_history "$HISTORY"
	measure "history $HISTORY"
	put "cpu_per_task_$(short "$HISTORY")_history" "$cpu_us" us
	put "cpu_per_task_$(short "$HISTORY")_history_vs_empty" "$(ratio "$cpu_us" "$empty")" ratio
}

# By CPU, which is what bounds the rate here and varies less than a clock.
scenario_snapshot()
{
	local free=0 held=0 round
	set_up 100 10
	for round in 1 2 3; do
		measure "no snapshot, round $round"
		free=$(awk "BEGIN { print $free + $cpu_us }")
		coproc HOLDER { psql -X -q -A -t 2>&1; }
		printf 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM unidesk_data.incarnation;\n' >&"${HOLDER[1]}"
		read -r _ <&"${HOLDER[0]}"
		measure "old snapshot, round $round"
		held=$(awk "BEGIN { print $held + $cpu_us }")
		eval "exec ${HOLDER[1]}>&-"
		wait "$HOLDER_PID" 2>/dev/null || true
	done
	put held_snapshot_rate_loss "$(awk "BEGIN { printf \"%.3f\", 1 - $free / $held }")" ratio
}

scenario_size()
{
	local wal rows bytes tasks=$(((TASKS + 3999) / 4000 * 4000 + 1000))
	local sum="SELECT (SELECT count(*) FROM unidesk_data.task) + (SELECT count(*) FROM unidesk_data.task_event) + (SELECT count(*) FROM unidesk_data.spec)"
	local size="SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c WHERE c.relnamespace = 'unidesk_data'::regnamespace AND c.relkind = 'r' AND c.relname ~ '^(task|spec|attempt)'"
	set_up 100 10
	wal=$(sql -c "SELECT pg_current_wal_insert_lsn() - '0/0'")
	rows=$(sql -c "$sum")
	bytes=$(sql -c "$size")
	measure size
	wal=$(($(sql -c "SELECT pg_current_wal_insert_lsn() - '0/0'") - wal))
	settle
	put wal_per_task "$((wal / tasks))" B
	put rows_per_task "$(awk "BEGIN { printf \"%.2f\", ($(sql -c "$sum") - $rows) / $tasks }")" rows
	put bytes_per_task "$((($(sql -c "$size") - bytes) / tasks))" B
}

"scenario_$1"
