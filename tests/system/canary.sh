#!/usr/bin/env bash
#
# canary.sh
#	  Secrets that are easy to recognise, and everything that is written while
#	  tasks run and fail: logs, tables, dumps, processes, containers, images.
#
# The server logs as the platform's does: the settings come from its file.
# docs/security.md says where a task's environment is seen, and it is looked
# for there too, so that a search that finds nothing is known to search.
set -uo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
cd "$ROOT" || exit 1
# shellcheck source=tools/results.sh
. tools/results.sh

out=$ROOT/build/canary
failed=0
check() { expect canary "$@" || failed=1; }

if [ -z "${PG_ROOT:-}" ]; then
	# shellcheck source=tests/system/engine.sh
	. tests/system/engine.sh
	settings=()
	while IFS= read -r line; do
		settings+=(--set "$(sed -E "s/ = '?/=/; s/'?\$//" <<<"$line")")
	done < <(grep -E '^(log_|password_encryption)' docker/postgres/postgresql.conf)
	run_beside_server canary "${settings[@]}" --set unidesk.beat_interval=1s \
		--set unidesk.report_repeat=1s --set unidesk.retry_backoff=1s --set unidesk.disk_floor=64MB
fi

# shellcheck source=tests/system/host_platform.sh
. tests/system/host_platform.sh
platform_set_up || exit 1

# ---- the secrets -----------------------------------------------------------

random() { od -An -N 16 -tx1 /dev/urandom | tr -d ' \n'; }
variable=canary-variable-$(random)
bridge_password=canary-bridge-$(random)
wrong_bridge_password=canary-wrong-bridge-$(random)
wrong_token=udn_$(random)canarywrong
wrong_password=canary-wrong-$(random)
url_password=canary-url-$(random)
user_password=$(sql "SELECT unidesk.create_user('carol')")
# Never to be seen anywhere; the variable has a list of its own.
printf '%s\n' "$bridge_password" "$wrong_bridge_password" "$wrong_token" "$wrong_password" \
	"$url_password" "$user_password" "$(cat "$work/token")" >"$work/secrets"
printf '%s\n' "$variable" >"$work/variable"
chmod 0600 "$work/secrets" "$work/variable"

# has_none LIST FILE...: no file has a line of the list in it.
has_none()
{
	local list=$1 found
	shift
	found=$(grep -rlaFf "$list" -- "$@")
	[ -z "$found" ] || { printf '  found in: %s\n' "$found"; return 1; }
}
has_some() { local list=$1; shift; grep -qaFf "$list" -- "$@"; }

# ---- a bridge that needs its password --------------------------------------

psql -v password="$bridge_password" <<-'SQL' >/dev/null || exit 1
ALTER ROLE unidesk_bridge PASSWORD :'password';
SQL
sed -i '1i local all unidesk_bridge,carol scram-sha-256' "$PG_DATA/pg_hba.conf"
tools/private_pg.sh --ctl reload
(umask 077; printf '%s\n' "$bridge_password" >"$work/bridge_password"; printf '%s\n' "$wrong_bridge_password" >"$work/wrong_bridge_password"
	printf '%s\n' "$wrong_token" >"$work/wrong_token")
export UNIDESK_DATABASE_PASSWORD_FILE=$work/wrong_bridge_password
start_bridge
check 'a bridge with a wrong password says so' within 10 grep -q 'password authentication failed' "$out/bridge.log"
killed "$bridge_pid"
export UNIDESK_DATABASE_PASSWORD_FILE=$work/bridge_password
start_bridge
unset UNIDESK_DATABASE_PASSWORD_FILE

# What is notified from here on, with the payload if there is one.
mkfifo "$work/listen"
psql <"$work/listen" >"$out/notified" 2>&1 &
listener=$!
exec 8>"$work/listen"
{ echo 'LISTEN unidesk_tokens;'; for i in 1 2 3 4 5 6; do echo "LISTEN unidesk_bridge_$i;"; done; } >&8

# ---- nodes and people with wrong secrets -----------------------------------

mv "$work/token" "$work/right_token"
install -m 0600 "$work/wrong_token" "$work/token"
start_agent
check 'a wrong token is refused' within 20 grep -q 'unknown or revoked token' "$out/agent.log"
killed "$agent_pid"
install -m 0644 "$work/right_token" "$work/token"
start_agent
check 'a token that others can read is refused' within 10 grep -q 'is open to everybody' "$out/agent.log"
wait "$agent_pid"
mv -f "$work/right_token" "$work/token"
wrong_login() { ! PGPASSWORD=$wrong_password "$PG_BIN/psql" -XAtq -U carol -c 'SELECT 1' >>"$out/people.log" 2>&1; }
check 'a wrong password does not log in' wrong_login
as_carol() { PGPASSWORD=$user_password "$PG_BIN/psql" -XAtq -U carol "$@"; }
check 'the right one does' same carol "$(as_carol -c 'SELECT unidesk.me()')"

# ---- tasks that run and fail -----------------------------------------------

start_agent
check 'the node comes online' within 20 is online "SELECT status FROM unidesk.nodes WHERE name = 'here'"
with_variable="environment => jsonb_build_object('CANARY', '$variable')"
task=$(submit 'echo ready; while [ ! -e /output/go ]; do sleep 0.1; done' "$with_variable")
check 'a task runs' within 120 logged "$task" ready
container=$(docker ps -q --filter "label=unidesk.incarnation=$incarnation" --filter "label=unidesk.task=$task")
docker inspect "$container" >"$out/inspect"
for pid in $bridge_pid $agent_pid; do
	tr '\0' '\n' <"/proc/$pid/cmdline"
	tr '\0' '\n' <"/proc/$pid/environ"
done >"$out/processes"
psql -c 'SELECT query FROM pg_stat_activity' >"$out/activity"
as_carol -c 'SELECT query FROM pg_stat_activity' >"$out/activity_carol"
killed "$agent_pid"
killed "$bridge_pid"
UNIDESK_DATABASE_PASSWORD_FILE=$work/bridge_password start_bridge
start_agent
check 'the node comes back' within 30 is t "SELECT connected FROM unidesk.nodes WHERE name = 'here'"
sql_user -c "SELECT unidesk.cancel_task($task)" >/dev/null
check 'the task is cancelled' ends_in "$task" cancelled 60
task=$(submit 'exit 3' "$with_variable")
check 'a task fails' ends_in "$task" failed 60
good=$code code=0123456789012345678901234567890123456789
task=$(submit 'true' "$with_variable")
code=$good
check 'a commit is not there' ends_in "$task" failed 60

# ---- statements that fail --------------------------------------------------

refused() { ! "$@" >>"$out/people.log" 2>&1; }
check 'a bad lease is refused' refused submit true "$with_variable, lease => '1 s'"
check 'a bad variable is refused' refused submit true "environment => jsonb_build_object('1', '$variable')"
with_password=${url/\/\//\/\/ada:$url_password@}
url_before=$url url=$with_password
check 'a password in a URL is refused' refused submit true
url=$url_before
check 'a taken name is refused' refused psql -c "SELECT unidesk.create_user('carol'), '$user_password'"
check 'a role that exists is refused below' refused psql -v VERBOSITY=verbose -c "SELECT unidesk._create_login('carol', '$user_password', false)"
check 'a taken node is refused' refused psql -c "SELECT unidesk.create_node('here')"
check 'who is no administrator is refused' refused as_carol -c "SELECT unidesk.create_user('$wrong_password')"
check 'nothing is left on the node' within 30 nothing_on_node

# ---- what there is to see --------------------------------------------------

# Bridge and agent hold the other end of its input open.
printf '%s\n' 'SELECT 1;' '\q' >&8
exec 8>&-
wait "$listener"
check 'there were notifications' grep -q 'Asynchronous notification' "$out/notified"
check 'and none had a payload' bash -c "! grep -q 'with payload' '$out/notified'"

"$PG_BIN/pg_dump" >"$out/dump.sql" && "$PG_BIN/pg_dumpall" --globals-only >"$out/globals.sql" || failed=1
# All but the one table where an environment is promised to be.
sed '/^COPY unidesk_data.spec /,/^\\\.$/d' "$out/dump.sql" >"$out/dump_without_specs.sql"
as_carol <<-'SQL' >"$out/carol" 2>&1
SELECT format('SELECT * FROM %s t', c.oid::regclass) FROM pg_class c WHERE c.relnamespace = 'unidesk'::regnamespace AND c.relkind = 'v'
UNION ALL SELECT format('SELECT %s FROM %s t', (SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute a WHERE a.attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND has_column_privilege(c.oid, attnum, 'SELECT')), c.oid::regclass)
	FROM pg_class c WHERE c.relnamespace = 'unidesk_data'::regnamespace AND c.relkind IN ('r', 'p') AND has_any_column_privilege(c.oid, 'SELECT') \gexec
SQL
check 'she read every table that people may read' bash -c "! grep -q ERROR '$out/carol' && grep -q '^carol' <(cut -d'|' -f2 '$out/carol')"
image=$(docker image ls -q --no-trunc --filter "reference=unidesk-cache/$project" | head -n 1)
docker history --no-trunc "$image" >"$out/image" && docker image inspect "$image" >>"$out/image"
cp "$PG_LOG" "$out/server.log.copy"

sees='no secret is'
check "$sees in the server's log" has_none "$work/secrets" "$out/server.log.copy"
check "$sees in the bridge's log" has_none "$work/secrets" "$out/bridge.log"
check "$sees in the agent's log" has_none "$work/secrets" "$out/agent.log"
check "$sees in a dump" has_none "$work/secrets" "$out/dump.sql" "$out/globals.sql"
check "$sees in the arguments and environments of processes" has_none "$work/secrets" "$out/processes"
check "$sees in the task's container" has_none "$work/secrets" "$out/inspect"
check "$sees in its image" has_none "$work/secrets" "$out/image"
check "$sees in the agent's directory" has_none "$work/secrets" "$work/data"
check "$sees in what sessions do" has_none "$work/secrets" "$out/activity"
check "$sees in a notification" has_none "$work/secrets" "$out/notified"
check 'the failed statements did not echo them' has_none "$work/secrets" "$out/people.log"

check 'a variable is in the table of specifications' has_some "$work/variable" "$out/dump.sql"
check 'and in no other' has_none "$work/variable" "$out/dump_without_specs.sql"
check 'and in the container while it exists' has_some "$work/variable" "$out/inspect"
check 'who is no member does not see it' has_none "$work/variable" "$out/carol" "$out/activity_carol"
check 'a member does' is "$variable" "SELECT DISTINCT environment ->> 'CANARY' FROM unidesk.tasks WHERE environment IS NOT NULL"
check 'no variable is in a log' has_none "$work/variable" "$out/server.log.copy" "$out/bridge.log" "$out/agent.log" "$out/people.log"
check 'nor in the image' has_none "$work/variable" "$out/image"
check 'nor in a process of the platform' has_none "$work/variable" "$out/processes"
check 'nor in what sessions do' has_none "$work/variable" "$out/activity"
check 'nor on the node afterwards' has_none "$work/variable" "$work/data"

check 'the agent ends at the end' ends "$agent_pid" 15
agent_pid=
check 'the bridge ends at the end' ends "$bridge_pid" 15
bridge_pid=
[ "$failed" -eq 0 ] || echo "logs are in build/canary"
exit "$failed"
