#!/usr/bin/env bash
#
# demo.sh
#	  `make demo` twice, `make backup`, `make restore` and `make demo-down`,
#	  under a name and on ports of their own: the summary, the rows behind it,
#	  what the second run reuses, what the backup holds, and that nothing is left.
#
# An engine is started where none runs, and then stopped again.  The base
# image stays when it was there before.  As root, or a member of docker.
set -uo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
cd "$ROOT" || exit 1
# shellcheck source=tools/results.sh
. tools/results.sh
# shellcheck source=tests/system/helpers.sh
. tests/system/helpers.sh

out=$ROOT/build/demo
rm -rf "$out"
mkdir -p "$out"
failed=0
check() { expect demo "$@" || failed=1; }

export UNIDESK_PROJECT=unidesk-check-$$ UNIDESK_BIND=127.0.0.1 UNIDESK_VOLUME_GB=2
UNIDESK_PORT=$(free_port)
UNIDESK_PG_PORT=$(free_port)
export UNIDESK_PORT UNIDESK_PG_PORT

is_down=no
finish()
{
	trap - EXIT
	# A second signal must not end this half-way.
	trap '' INT TERM HUP
	[ "$is_down" = yes ] || tools/demo_down.sh
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

# ---- helpers ---------------------------------------------------------------

container() # SERVICE
{
	docker ps -aq --filter "label=com.docker.compose.project=$UNIDESK_PROJECT" \
		--filter "label=com.docker.compose.service=$1" | head -n 1
}

sql() { docker exec -i "$(container postgres)" psql -XAtq -v ON_ERROR_STOP=1 -c "$1"; }

in_file() { grep -qE -- "$1" "$2" || { printf '  not in %s: %s\n' "$2" "$1"; return 1; }; }

run_demo()
{
	local status=0
	tools/demo.sh >"$1" 2>&1 || status=$?
	[ "$status" -eq 0 ] || { tail -n 60 "$1"; printf '  make demo: exit status %d\n' "$status"; }
	return "$status"
}

# LABEL=VALUE: what the engine has with that label.
labelled()
{
	docker ps -aq --filter "label=$1"
	docker volume ls -q --filter "label=$1"
	docker network ls -q --filter "label=$1"
	docker image ls -q --filter "label=$1"
}
nothing_labelled()
{
	local left
	left=$(labelled "$1") && [ -z "$left" ] || { printf '  left with label %s: %s\n' "$1" "$left"; return 1; }
}

no_task_container()
{
	local left
	left=$(docker ps -aq --filter "label=unidesk.incarnation=$1")
	[ -z "$left" ] || { printf '  task containers left: %s\n' "$left"; return 1; }
}

no_run_directory()
{
	local left
	left=$(docker exec "$(container agent)" ls /data/run) && [ -z "$left" ] ||
		{ printf '  run directories left: %s\n' "$left"; return 1; }
}

# Every line that is stored was printed by the first run.
log_was_shown()
{
	local missing
	sql 'SELECT unidesk.task_log_text(min(id)) FROM unidesk.tasks' >"$out/log" && [ -s "$out/log" ] || return
	missing=$(grep -vxFf "$out/first" "$out/log")
	[ -z "$missing" ] || { printf '  not shown: %s\n' "$missing"; return 1; }
}

# ---- first run -------------------------------------------------------------

began=$SECONDS
check 'make demo ends with status 0' run_demo "$out/first"
if [ "$failed" -ne 0 ]; then
	sql 'SELECT * FROM unidesk.task_events'
	sql 'SELECT id, state, reason, message FROM unidesk.tasks'
	docker logs --tail 40 "$(container agent)"
	docker logs --tail 20 "$(container bridge)"
	exit 1
fi
printf 'first make demo: %d s\n' $((SECONDS - began))

incarnation=$(sql "SELECT lpad(to_hex(value), 16, '0') FROM unidesk_data.incarnation")
check 'the summary says succeeded' in_file 'state +\| succeeded' "$out/first"
check 'the summary says exit code 0' in_file 'exit code +\| 0' "$out/first"
check 'the summary has both commits' in_file 'environment commit +\| [0-9a-f]{40}' "$out/first"
check 'the summary has the image' in_file 'image id +\| sha256:[0-9a-f]{64}' "$out/first"
check 'one task, and it succeeded' is '1|1' "SELECT count(*), count(*) FILTER (WHERE state = 'succeeded' AND exit_code = 0) FROM unidesk.tasks"
check 'it is not live any more' is 0 'SELECT count(*) FROM unidesk_data.live'
check 'nothing is held' is 0 'SELECT count(*) FROM unidesk_data.held'
check 'the log is stored' is t 'SELECT sum(length(bytes)) > 100 FROM unidesk.tasks t, unidesk.task_log(t.id)'
check 'the log has no gap' is 0 'SELECT count(*) FROM (SELECT "offset" - coalesce(lag("offset" + length(bytes)) OVER (ORDER BY "offset"), 0) AS gap
	FROM unidesk.tasks t, unidesk.task_log(t.id)) s WHERE gap <> 0'
check 'the log was shown' log_was_shown
check 'there are events' is t 'SELECT count(*) >= 2 FROM unidesk.task_events'
check 'the node is online' is 'main|online' 'SELECT name, status FROM unidesk.nodes'
check 'the task'\''s container is gone' within 20 no_task_container "$incarnation"
check 'its run directory is gone' within 20 no_run_directory

# ---- second run ------------------------------------------------------------

began=$SECONDS
check 'a second make demo ends with status 0' run_demo "$out/second"
printf 'second make demo: %d s\n' $((SECONDS - began))
check 'two tasks, both succeeded' is '2|2' "SELECT count(*), count(*) FILTER (WHERE state = 'succeeded') FROM unidesk.tasks"
check 'the image was reused' is 1 'SELECT count(DISTINCT image_id) FROM unidesk.tasks'
check 'fetch and build took no time' is t "SELECT (stage_ms ->> 'fetch')::int < 1000 AND (stage_ms ->> 'build')::int < 1000 FROM unidesk.tasks ORDER BY id DESC LIMIT 1"

# ---- backup and restore ----------------------------------------------------

began=$SECONDS
backup_is_made() { tools/backup.sh >"$out/backup" 2>&1 || { tail -n 5 "$out/backup"; return 1; }; }
backup_is_restored() { YES=1 tools/restore.sh "$file" >"$out/restore" 2>&1 || { tail -n 20 "$out/restore"; return 1; }; }
check 'make backup ends with status 0' backup_is_made
check 'it says that it was proven' in_file 'unidesk-[0-9TZ]+\.dump: [0-9]+ bytes, proven by a restore' "$out/backup"
check 'so does the database' is 't' 'SELECT count(*) > 0 AND bool_and(proven) FROM unidesk.backups'
file=$(sql 'SELECT file FROM unidesk.backups ORDER BY started_at DESC LIMIT 1')
check 'make restore ends with status 0' backup_is_restored
check 'both tasks are there' is '2|2' "SELECT count(*), count(*) FILTER (WHERE state = 'succeeded') FROM unidesk.tasks"
check 'in a new incarnation' is t "SELECT lpad(to_hex(value), 16, '0') <> '$incarnation' FROM unidesk_data.incarnation"
check 'the node comes back' within 60 is online 'SELECT status FROM unidesk.nodes'
printf 'backup and restore: %d s\n' $((SECONDS - began))
check 'the invariants hold' invariants_hold

# ---- down ------------------------------------------------------------------

image=$(sql 'SELECT DISTINCT image_id FROM unidesk.tasks')
image_is_gone() { [ -n "$image" ] && ! docker image inspect "$image" >/dev/null 2>&1; }
check 'make demo-down ends with status 0' tools/demo_down.sh
is_down=yes
if timeout 10 docker version >/dev/null 2>&1; then
	check 'nothing of the project is left' nothing_labelled "unidesk.project=$UNIDESK_PROJECT"
	check 'nothing of compose is left' nothing_labelled "com.docker.compose.project=$UNIDESK_PROJECT"
	check 'no built environment is left' image_is_gone
	check 'no task container is left' no_task_container "$incarnation"
fi
check 'the secrets are gone' test ! -e ".unidesk/$UNIDESK_PROJECT"
exit "$failed"
