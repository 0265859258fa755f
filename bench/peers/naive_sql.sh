#!/usr/bin/env bash
#
# naive_sql.sh
#	  A task's life as one would write it by hand in SQL: three transactions
#	  (submit, claim with SKIP LOCKED, finish) and three event rows, by 8 clients.
#
# Prints tasks/s, and per task the server's CPU time and WAL; full-page images
# are told apart, because they depend on when the last checkpoint was.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=bench/measure.sh
. bench/measure.sh
[ -n "${PG_ROOT:-}" ] || beside_server "${without_unidesk[@]}"

clients=8
each=$(sized 750 200)
tasks=$((clients * each))
trap cpu_close EXIT

psql -f bench/peers/naive_sql.sql
psql -c 'CREATE EXTENSION pg_walinspect' 2>/dev/null || say 'no pg_walinspect: WAL figures are left out'
run() { "$PG_BIN/pgbench" -n -M prepared -f bench/peers/naive_life.sql -c "$clients" -j 1 -t "$1" 2>&1; }
run 50 >/dev/null						# connections and caches
psql -c 'TRUNCATE task, event' -c 'VACUUM ANALYZE task' -c 'CHECKPOINT'

with_cpu=yes
cpu_open server && cpu_adopt_server server || with_cpu=
wal_before=$(psql -c 'SELECT pg_current_wal_insert_lsn()')
[ -z "$with_cpu" ] || cpu_before=$(cpu_us server)
said=$(run "$each")
[ -z "$with_cpu" ] || cpu_after=$(cpu_us server)
tps=$(sed -n 's/^tps = \([0-9.]*\).*/\1/p' <<<"$said")
[ -n "$tps" ] || { say "$said"; exit 1; }

done_tasks=$(psql -c "SELECT count(*) FROM task WHERE state = 'done'")
# A claim that met only locked rows has left one behind.
[ $((done_tasks * 100)) -ge $((tasks * 99)) ] || { say "only $done_tasks of $tasks tasks ended"; exit 1; }
tasks=$done_tasks

emit naive_sql_tasks_per_s "$tps" tasks/s
emit naive_sql_events_per_task "$(psql -c "SELECT round(count(*)::numeric / $tasks, 3) FROM event")" rows
[ -z "$with_cpu" ] || emit naive_sql_pg_cpu_us_per_task "$(compute "($cpu_after - $cpu_before) / $tasks")" us
# The end of the range has to be on the disk.
psql -c 'SELECT pg_switch_wal()' >/dev/null
wal=$(psql -c "SELECT round(sum(record_size) / $tasks, 1) || ' ' || round(sum(fpi_size) / $tasks, 1)
	FROM pg_get_wal_stats('$wal_before', pg_current_wal_flush_lsn())" 2>/dev/null) || exit 0
emit naive_sql_wal_bytes_per_task "${wal% *}" bytes
emit naive_sql_fpi_bytes_per_task "${wal#* }" bytes
