#!/usr/bin/env bash
#
# drill.sh
#	  The database is lost while tasks run, and its last backup put in its
#	  place: nothing is adopted wrongly, what nodes have of the lost time is
#	  shown, takes what it takes and can be stopped, and new tasks run.
#
# Backups are made and restored by the programs of the service backup; bridge
# and agent live through all of it.  Needs root.  Logs: build/drill.
set -uo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
cd "$ROOT" || exit 1
# shellcheck source=tools/results.sh
. tools/results.sh

out=$ROOT/build/drill
failed=0
check() { expect drill "$@" || failed=1; }

if [ -z "${PG_ROOT:-}" ]; then
	# shellcheck source=tests/system/engine.sh
	. tests/system/engine.sh
	run_beside_server drill \
		--set unidesk.beat_interval=1s --set unidesk.offline_after=20s --set unidesk.session_silent_after=4s \
		--set unidesk.report_repeat=1s --set unidesk.retry_backoff=1s --set unidesk.disk_floor=64MB
fi

# shellcheck source=tests/system/host_platform.sh
. tests/system/host_platform.sh

# ---- the programs of the service backup, beside the private server ---------

backups=$work/backups
as_server() { tools/private_pg.sh --as-server env LC_ALL=C.UTF-8 PATH="$programs:$PG_BIN:$PATH" "$@"; }
programs=$work/service
backup_sh() { as_server UNIDESK_BACKUP_DIR="$backups" UNIDESK_PROOF_DIR="$work/proof" UNIDESK_BACKUP_KEEP=1 "$@"; }
backup() { backup_sh "$programs/backup.sh" now; }
is_newer() { [ -n "$(dumps)" ] && [ "$(dumps)" != "$(basename "$last")" ]; }
# It must not live on when this test does not.
daily() { backup_sh timeout 120 "$programs/backup.sh" daily; }
daily_pid() { pgrep -u "$PG_SERVER_USER" -f "^/bin/bash $programs/backup.sh daily"; }
restore() { as_server PGDATA="$PG_DATA" UNIDESK_SECRETS="$work/secrets" "$programs/restore.sh" "$@"; }
dumps() { find "$backups" -name '*.dump' -printf '%f\n' | sort; }
last_backup() { sql "SELECT proven || ' ' || coalesce(error, '') FROM unidesk.backups ORDER BY started_at DESC LIMIT 1"; }
last_backup_says() { grep -qE "$1" <<<"$(last_backup)" || { printf '  %s\n' "$(last_backup)"; return 1; }; }
no() { ! "$@" >>"$out/backup.log" 2>&1; }
is_gone() { ! kill -0 "$1" 2>/dev/null; }
says_no_secret() { ! grep -E 'SCRAM-SHA-256|udp_|udn_' "$out/backup.log"; }
quietly() { "$@" >>"$out/backup.log" 2>&1 || { tail -n 3 "$out/backup.log"; return 1; }; }

set_up_service()
{
	mkdir -p "$programs" "$backups" "$work/proof" "$work/secrets"
	cp docker/postgres/*.sh docker/postgres/facts.sql "$programs/"
	echo old-and-new >"$work/secrets/postgres_password"
	echo of-the-bridge >"$work/secrets/bridge_password"
	chown -R "$PG_SERVER_USER" "$programs" "$backups" "$work/proof" "$work/secrets"
}

# instead NAME SCRIPT: a program of this name goes before the server's.
instead() { printf '#!/bin/bash\n%s\n' "$2" >"$programs/$1" && chmod 0755 "$programs/$1"; }

# ---- tasks -----------------------------------------------------------------

container_of_task() { docker ps -q --filter "label=unidesk.task=$1" --filter "label=unidesk.incarnation=${2:-$incarnation}"; }
runs() { [ -n "$(container_of_task "$@")" ]; }
runs_not() { ! runs "$@"; }
# They end when told to; a second attempt does so at once.
waiting='echo ready; while [ $UNIDESK_ATTEMPT = 1 ] && [ ! -e /tmp/go ]; do sleep 0.1; done; echo done'
let_go() { docker exec "$(container_of_task "$1")" touch /tmp/go; }
held() { sql "SELECT coalesce(string_agg(task || ':' || cpus || ':' || memory, ' ' ORDER BY task), '') FROM unidesk.held WHERE \"foreign\""; }
holds() { same "$1" "$(held)"; }
# Everything of the server at once, and then its files.
destroy()
{
	local postmaster pids
	postmaster=$(head -n 1 "$PG_DATA/postmaster.pid")
	pids="$postmaster $(pgrep -P "$postmaster" | tr '\n' ' ')"
	# shellcheck disable=SC2086 # a list
	kill -9 $pids
	for pid in $pids; do
		within 10 is_gone "$pid" || return
	done
	rm -rf "$PG_DATA"
}

start_restored()
{
	cat "$PG_ROOT/extra.conf" >>"$PG_DATA/postgresql.conf"
	echo 'local all all trust' >"$PG_DATA/pg_hba.conf"
	tools/private_pg.sh --ctl start
}

# ---- before ----------------------------------------------------------------

platform_set_up || exit 1
set_up_service
start_bridge
start_agent
check 'the node comes online' within 20 is online "SELECT status FROM unidesk.nodes WHERE name = 'here'"
[ "$failed" -eq 0 ] || exit 1
ended=$(submit 'echo ended before')
check 'a task ends before the backup' ends_in "$ended" succeeded 120
known=$(submit "$waiting")
forgotten=$(submit "$waiting")
check 'two run during it' within 60 logged "$known" ready
within 30 logged "$forgotten" ready

check 'a first backup is made and proven' quietly backup
check 'and the database says so' last_backup_says '^true $'
first=$(dumps)

# A dump that is cut, and one that lacks rows, are found out.
instead pg_dump "'$PG_BIN/pg_dump' \"\$@\" && truncate -s -2000 \"\$FILE\""
check 'a damaged dump is not called a backup' no backup
check 'the database says what was wrong' last_backup_says '^false restoring the dump failed'
instead pg_dump "'$PG_BIN/pg_dump' \"\$@\" --exclude-table-data=unidesk_data.task_first"
check 'nor is one without the tasks' no backup
check 'and that is said too' last_backup_says '^false comparing what was restored failed'
rm "$programs/pg_dump"
check 'the good one is kept, and nothing else' same "$first" "$(dumps)"
check 'no secret is in what was said' says_no_secret
quietly backup
check 'a newer good one takes its place' same '1 0' "$(dumps | wc -l) $(dumps | grep -cxF "$first")"
last=$backups/$(dumps)

# ---- the time that will be lost --------------------------------------------

let_go "$forgotten"
check 'one of them ends after the backup' ends_in "$forgotten" succeeded
within 20 runs_not "$forgotten"
lost1=$(submit 'trap "exit 0" TERM; echo ready; while :; do sleep 0.1; done' "on_lost => 'wait'")
lost2=$(submit "$waiting" "on_lost => 'wait'")
check 'two more run, which the backup does not know' within 30 logged "$lost1" ready
within 30 logged "$lost2" ready
# The bridge gets a number that the restored database would give out again.
ends "$bridge_pid" 15
start_bridge
within 20 is t "SELECT connected FROM unidesk.nodes WHERE name = 'here'"
before=$incarnation

check 'the database is destroyed' destroy
for file in "${last%.dump}".*; do cp -p "$file" "$backups/changed.${file#*Z.}"; done
sed -i "s/$(basename "${last%.dump}")/changed/" "$backups/changed.sha256"
check 'a copy of it is whole' quietly restore check "$backups/changed.dump"
echo 'highest task|4' >>"$backups/changed.facts"
check 'a backup that has been changed is refused' no restore "$backups/changed.dump"
rm "$backups"/changed.*
check 'and nothing is in the place of the database' test ! -e "$PG_DATA"
check 'the last backup is restored' quietly restore "$last"
check 'and a server started on it' start_restored
incarnation=$(sql "SELECT lpad(to_hex(value), 16, '0') FROM unidesk_data.incarnation")
check 'it is a new incarnation' no same "$before" "$incarnation"

# ---- after -----------------------------------------------------------------

check 'the node comes back by itself' within 60 is 't|online' "SELECT connected, status FROM unidesk.nodes WHERE name = 'here'"
check 'what the rows do not know is held, with what it takes' within 20 holds "$lost1:0.100:67108864 $lost2:0.100:67108864"
check 'its containers run on' runs "$lost1" "$before"
check 'and its resources count' within 10 is t "SELECT cpus_used >= 0.3 FROM unidesk.nodes WHERE name = 'here'"
check 'what ended before the backup is as it was' is 'succeeded|ended before' "SELECT state, trim(E'\n' FROM unidesk.task_log_text(id)) FROM unidesk.tasks WHERE id = $ended"
check 'what the rows and the node know goes on in its own incarnation' is "active|1|$before" \
	"SELECT t.state, a.attempt, a.incarnation FROM unidesk.tasks t JOIN unidesk.attempts a ON a.task = t.id WHERE t.id = $known"
docker exec "$(container_of_task "$known" "$before")" touch /tmp/go
check 'and its result is taken' ends_in "$known" succeeded
within 20 logged "$known" 'done'
check 'without a gap in its log' same "$(printf 'ready\ndone\n')" "$(log_text "$known")"
check 'what the node has no more runs again' ends_in "$forgotten" succeeded
check 'as a new attempt of the new incarnation' is "1:lost:$before 2:succeeded:$incarnation" \
	"SELECT string_agg(concat_ws(':', attempt, state, incarnation), ' ' ORDER BY attempt) FROM unidesk.attempts WHERE task = $forgotten"

new=$(submit 'echo new')
check 'a new task has a number that a lost one had' same "$lost1" "$new"
check 'it runs beside the container of that number' ends_in "$new" succeeded
check 'with a log of its own' same new "$(log_text "$new")"
check 'nothing was adopted' holds "$lost1:0.100:67108864 $lost2:0.100:67108864"
check 'the invariants hold' invariants_hold

# One ends by itself: it takes nothing any more and is still shown.  An agent
# that has just started knows from its files what the other one takes.
killed "$agent_pid"
docker exec "$(container_of_task "$lost2" "$before")" touch /tmp/go
within 20 runs_not "$lost2" "$before"
start_agent
check 'a held task that ends frees what it took' within 30 holds "$lost1:0.100:67108864 $lost2:0.000:0"
check 'held tasks are stopped when asked' is 2 "SELECT unidesk.stop_held('here')"
check 'their containers go' within 30 runs_not "$lost1" "$before"
check 'and they hold nothing any more' within 20 holds ''
check 'what they took is free' within 10 is 0.000 "SELECT cpus_used FROM unidesk.nodes WHERE name = 'here'"
check 'nothing is left on the node' within 20 nothing_on_node
check 'of the life before neither' test -z "$(docker ps -aq --filter "label=unidesk.incarnation=$before")"
check 'the invariants hold at the end' invariants_hold
check 'the scheduler made no error' test -z "$(grep 'unidesk scheduler.*ERROR' "$PG_LOG")"

# ---- once a day ------------------------------------------------------------

as_server touch "$backups/first-start"
check 'the service is well while a backup is new' quietly backup_sh "$programs/backup.sh" health
find "$backups" -type f -exec touch -d '2 days ago' {} +
check 'and says when it is old' no backup_sh "$programs/backup.sh" health
daily >>"$out/backup.log" 2>&1 &
check 'it makes the backup that is due, of the restored database' within 60 is_newer
check 'which is proven' within 10 last_backup_says '^true $'
kill "$(daily_pid)"
check 'it ends when asked' within 10 no daily_pid
incarnation=$before
check 'the agent ends at the end' ends "$agent_pid" 15
agent_pid=
if [ "$failed" -ne 0 ]; then
	echo "logs are in build/drill"
	tail -n 25 "$out/bridge.log" "$out/agent.log" "$out/backup.log"
fi
exit "$failed"
