#!/usr/bin/env bash
#
# volume.sh
#	  A volume of 300 MB that logs and tasks fill: what is refused, what is not,
#	  that nothing acknowledged is lost, and that it goes on when there is room.
#
# The cluster lies in a tmpfs of that size, so filling it is real; it needs
# root for the mount.  Segments of WAL are small, in proportion to the volume.
set -uo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
cd "$ROOT" || exit 1
# shellcheck source=tools/results.sh
. tools/results.sh
# shellcheck source=tests/system/helpers.sh
. tests/system/helpers.sh
failed=0
check() { expect volume "$@" || failed=1; }
# Sorting what is read must not need room.
sql() { PGOPTIONS='-c work_mem=512MB' "$PG_BIN/psql" -XAtq -v ON_ERROR_STOP=1 -c "$1"; }

if [ "${1:-}" != inside ]; then
	if [ "$(id -u)" -ne 0 ]; then
		echo 'volume.sh: skipped: a tmpfs can be mounted by root only'
		exit
	fi
	dir=$(mktemp -d)
	trap 'umount "$dir" || umount -l "$dir"; rmdir "$dir"' EXIT
	mount -t tmpfs -o size=300m,mode=0755 unidesk-volume "$dir" || exit 1
	mkdir "$dir/data"
	# A third is somebody else's, which saves time and changes nothing.
	head -c 100M /dev/zero >"$dir/other"
	tools/private_pg.sh --data "$dir/data" --initdb --wal-segsize=1 --set max_wal_size=16MB --set min_wal_size=8MB --set wal_compression=on \
		--set unidesk.bridge_silent_after=1d --set unidesk.log_compact_after=1d --set unidesk.log_budget=1GB -- "$0" inside
	exit
fi

percent() { df --output=used,avail -B1 "$PG_DATA" | awk 'NR == 2 { printf "%d\n", $1 * 100 / ($1 + $2) }'; }
fuller_than() { [ "$(percent)" -ge "$1" ] || { echo "  it is $(percent) % full"; return 1; }; }
# What was acknowledged of the logs is there, exactly.
logs_are_whole()
{
	is 0 "WITH noise AS MATERIALIZED (SELECT string_agg(bytes, '' ORDER BY n) AS bytes FROM cost.noise)
		SELECT count(*) FROM cost.acked a, noise n WHERE a.bytes > 0 AND
		(SELECT string_agg(l.bytes, '' ORDER BY l.\"offset\") FROM unidesk.task_log(a.task) l)
			IS DISTINCT FROM (SELECT string_agg(x.bytes, '') FROM (SELECT n.bytes FROM generate_series(1, a.bytes / 960000)) x)"
}

within 10 is t 'SELECT unidesk.worker_alive()'
"$PG_BIN/psql" -XAtq -f tests/cost/task_cost.sql >/dev/null && "$PG_BIN/psql" -XAtq -f tests/system/volume.sql >/dev/null || exit 1
sql 'CALL cost.drain(0)'
sql 'CALL cost.start(20)'

# A burst is refused before the next measurement, which may find more room.
logs_fill() { [ "$(sql 'CALL cost.write_until_refused(100)')" = t ] && is 'no logs' 'SELECT level FROM unidesk.storage'; }
check 'logs are refused at last' within 90 logs_fill
check 'the volume is almost 90 % full' fuller_than 85
check 'the log of the server warns at 80 and 90 %' [ "$(grep -c -E 'volume is [0-9]+ % full: (the oldest logs|no log bytes)' "$PG_LOG")" -ge 2 ]
check 'tasks are still taken and run' sql 'CALL cost.start(5)'

tasks_fill() { [ "$(sql 'CALL cost.submit_until_refused(200)')" = 53100 ] && is 'no submits' 'SELECT level FROM unidesk.storage'; }
check 'tasks are refused with disk_full at last' within 90 tasks_fill
check 'many were taken before' is t 'SELECT count(*) > 100 FROM cost.submitted'
check 'the volume is almost 95 % full' fuller_than 92

check 'results are still stored' is 25 'SELECT cost.end_all()'
check 'and stay' is 25 "SELECT count(*) FROM unidesk.tasks WHERE state = 'succeeded'"
tools/private_pg.sh --ctl -m immediate restart
check 'a crash on the full volume is survived' within 20 is t 'SELECT unidesk.worker_alive()'
check 'every result is there' is 25 "SELECT count(*) FROM unidesk.tasks WHERE state = 'succeeded'"
check 'every acknowledged task is there' is 0 'SELECT count(*) FROM cost.submitted s WHERE NOT EXISTS (SELECT FROM unidesk.tasks t WHERE t.id = s.task)'
check 'every acknowledged byte of log is there' logs_are_whole

# Retention makes room: the project may keep 2 MB of logs from now on.
sql "SELECT unidesk.set_retention('cost', NULL, 2000000)" >/dev/null
tidy() { sql 'SELECT unidesk._tidy()' >/dev/null && is fine 'SELECT level FROM unidesk.storage'; }
check 'retention makes room' within 90 tidy
check 'tasks are taken again' sql 'CALL cost.start(5)'
sql 'DELETE FROM cost.acked'
check 'logs are taken again' [ "$(sql 'CALL cost.write_until_refused(1)')" = f ]
check 'nothing acknowledged was lost' logs_are_whole
check 'a log that was removed says so' is t "SELECT count(*) >= 15 FROM unidesk.tasks t WHERE t.log_bytes > 0 AND unidesk.task_log_text(t.id) LIKE '%retention removed%'"
check 'there was no panic' [ -z "$(grep PANIC "$PG_LOG")" ]
exit "$failed"
