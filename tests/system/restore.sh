#!/usr/bin/env bash
#
# restore.sh
#	  A dump, restored elsewhere, has every row and goes on: tasks, people,
#	  partitions, numbers; under a new incarnation.
#
# The restore runs with unidesk.worker off, as docs/operations.md says: the
# worker would make partitions of the same names before the dump brings them.
set -uo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
cd "$ROOT" || exit 1
# shellcheck source=tools/results.sh
. tools/results.sh
# shellcheck source=tests/system/helpers.sh
. tests/system/helpers.sh
failed=0
check() { expect restore "$@" || failed=1; }
sql() { "$PG_BIN/psql" -XAtq -v ON_ERROR_STOP=1 -c "$1"; }
submit() # PROJECT USER
{
	"$PG_BIN/psql" -XAtq -U "$2" -c "SELECT unidesk.submit_task('$1', 'https://git.example/c.git', repeat('a', 40),
		'https://git.example/e.git', repeat('b', 40), 'Dockerfile', '{}')"
}
# What must be the same on both sides.
facts()
{
	sql "SELECT (SELECT string_agg(t::text, ' ' ORDER BY id) FROM unidesk.tasks t), (SELECT count(*) FROM unidesk.task_events),
		(SELECT string_agg(m::text, ' ' ORDER BY m::text) FROM unidesk.members m), (SELECT string_agg(name, ' ' ORDER BY name) FROM unidesk.nodes)"
}

dir=${RESTORE_DIR:-}
if [ -z "$dir" ]; then
	dir=$(mktemp -d)
	trap 'rm -rf "$dir"' EXIT
	chmod 0755 "$dir"
	export RESTORE_DIR=$dir
	status=0
	tools/private_pg.sh -- "$0" dump || status=1
	tools/private_pg.sh --no-extension --set unidesk.worker=off -- "$0" restore || status=1
	exit "$status"
fi

if [ "$1" = dump ]; then
	within 10 is t 'SELECT unidesk.worker_alive()'
	sql "SELECT unidesk.create_user('ada'); SELECT unidesk.create_project('kept'); SELECT unidesk.add_member('kept', 'ada');
		SELECT unidesk.create_node('kept-node')" >/dev/null
	submit kept ada >/dev/null && submit kept ada >/dev/null && sql 'SELECT unidesk.cancel_task(1)' >/dev/null || exit 1
	within 10 is t "SELECT to_regclass('unidesk_data.task_event_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')) IS NOT NULL"
	check 'the invariants hold before the dump' invariants_hold
	facts >"$dir/facts"
	sql 'SELECT value FROM unidesk_data.incarnation' >"$dir/incarnation"
	"$PG_BIN/pg_dump" -Fc -f "$dir/dump" && "$PG_BIN/pg_dumpall" --globals-only -f "$dir/globals" || failed=1
	exit "$failed"
fi

# Roles that the new cluster has already may be named again.
"$PG_BIN/psql" -Xq -f "$dir/globals" >/dev/null 2>&1
check 'the dump restores without an error' "$PG_BIN/pg_restore" --exit-on-error -d "$PGDATABASE" "$dir/dump"
check 'everything people see is as it was' [ "$(facts)" = "$(cat "$dir/facts")" ]
check 'the incarnation is new' [ "$(sql 'SELECT value FROM unidesk_data.incarnation')" != "$(cat "$dir/incarnation")" ]
sql 'ALTER SYSTEM SET unidesk.worker = on'
tools/private_pg.sh --ctl restart
check 'the worker runs' within 10 is t 'SELECT unidesk.worker_alive()'
check 'the next task has the next number' [ "$(submit kept ada)" = 3 ]
check 'and the queue goes on' is 'cancelled|queued|queued' "SELECT string_agg(state, '|' ORDER BY id) FROM unidesk.tasks"
check 'the invariants hold after it' invariants_hold
check 'the scheduler makes its rounds without an error' [ -z "$(sleep 2; grep 'unidesk scheduler.*ERROR' "$PG_LOG")" ]
exit "$failed"
