#!/usr/bin/env bash
#
# path.sh
#	  The whole path on this host, without images of our own: a private
#	  PostgreSQL, the bridge and the agent as programs, the engine, and a git
#	  server; then everything that can die is killed while a task runs.
#
# An engine is started where none runs, and then stopped again.  Needs root:
# the agent hands files to the users of images.  Logs: build/path.
set -uo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
cd "$ROOT" || exit 1
# shellcheck source=tools/results.sh
. tools/results.sh

out=$ROOT/build/path
failed=0
check() { expect path "$@" || failed=1; }

# ---- outside: engine, base image, server -----------------------------------

if [ -z "${PG_ROOT:-}" ]; then
	if [ "$(id -u)" -ne 0 ]; then
		echo 'path.sh: needs root, because the agent hands files to other users' >&2
		exit 1
	fi
	rm -rf "$out"
	mkdir -p "$out"
	engine_was_there=yes
	timeout 10 docker version >/dev/null 2>&1 || engine_was_there=no
	tools/packages.sh demo && docker/engine.sh start && docker/base.sh >/dev/null || exit 1
	status=0
	tools/private_pg.sh --keep-log "$out/server.log" \
		--set unidesk.beat_interval=1s --set unidesk.offline_after=8s \
		--set unidesk.bridge_silent_after=25s --set unidesk.session_silent_after=4s \
		--set unidesk.report_repeat=1s --set unidesk.retry_backoff=1s \
		--set unidesk.disk_floor=64MB --set unidesk.grace=5s \
		-- "$0" || status=$?
	[ "$engine_was_there" = yes ] || docker/engine.sh stop
	exit "$status"
fi

# ---- inside: helpers -------------------------------------------------------

work=$(mktemp -d "${TMPDIR:-/tmp}/unidesk-path.XXXXXX")
git_pid='' bridge_pid='' agent_pid=''
incarnation=none
# Built images are kept by project: one of this run's own.
project=path-$$

finish()
{
	local pid ids
	trap - EXIT
	# A second signal must not end this half-way.
	trap '' INT TERM HUP
	for pid in $agent_pid $bridge_pid $git_pid; do
		{ kill -9 "$pid" && wait "$pid"; } 2>/dev/null
	done
	ids=$(docker ps -aq --filter "label=unidesk.incarnation=$incarnation")
	[ -z "$ids" ] || xargs docker rm -f -v <<<"$ids" >/dev/null
	ids=$(docker image ls -q --no-trunc --filter "reference=unidesk-cache/$project" | sort -u)
	[ -z "$ids" ] || xargs docker image rm -f <<<"$ids" >/dev/null
	rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

psql() { "$PG_BIN/psql" -XAtq -v ON_ERROR_STOP=1 "$@"; }
sql() { psql -c "$1"; }
sql_user() { psql -U ada "$@"; }

# is WANTED QUERY: its one value.
is()
{
	local got
	got=$(sql "$2") || return
	[ "$got" = "$1" ] || { printf '  wanted "%s", got "%s": %s\n' "$1" "$got" "$2"; return 1; }
}

same() { [ "$1" = "$2" ] || { printf '  wanted "%s", got "%s"\n' "$1" "$2"; return 1; }; }

# within SECONDS COMMAND...: tried until it succeeds.
within()
{
	local limit=$((SECONDS + $1))
	shift
	while ! "$@" >/dev/null 2>&1; do
		if [ "$SECONDS" -ge "$limit" ]; then
			"$@"
			return
		fi
		sleep 0.1
	done
}

start_bridge()
{
	UNIDESK_DATABASE="host=$PGHOST port=$PGPORT dbname=$PGDATABASE user=unidesk_bridge" \
		UNIDESK_LISTEN=127.0.0.1:$port UNIDESK_BRIDGE_NAME=path \
		build/release/bridge/unidesk-bridge >>"$out/bridge.log" 2>&1 &
	bridge_pid=$!
}

start_agent()
{
	UNIDESK_URL=ws://127.0.0.1:$port/agent UNIDESK_TOKEN_FILE=$work/token \
		UNIDESK_DATA=$work/data UNIDESK_DATA_HOST=$work/data \
		UNIDESK_INIT=$ROOT/build/release/init/unidesk-init UNIDESK_GIT=$work/bin/unidesk-git \
		UNIDESK_GIT_UID=$git_uid UNIDESK_ALLOW_PRIVATE_GIT=1 UNIDESK_LABELS=site=path \
		build/release/agent/unidesk-agent >>"$out/agent.log" 2>&1 &
	agent_pid=$!
}

# ends PID SECONDS: asked by TERM, it exits 0 in time.
ends()
{
	local limit=$((SECONDS + $2)) status=0
	kill -TERM "$1"
	while kill -0 "$1" 2>/dev/null; do
		if [ "$SECONDS" -ge "$limit" ]; then
			printf '  %s still runs after %s s\n' "$1" "$2"
			kill -9 "$1"
			return 1
		fi
		sleep 0.1
	done
	wait "$1" || status=$?
	[ "$status" -eq 0 ] || { printf '  exit status %s\n' "$status"; return 1; }
}

killed() { kill -9 "$1" && { wait "$1" 2>/dev/null; true; }; }

# commit NAME: the files in work/NAME become its newest commit, printed.
commit()
{
	(
		cd "$work/$1" || exit 1
		[ -d .git ] || git init -q -b main .
		git add -A
		git -c user.name=test -c user.email=test@localhost commit -q -m test
		[ -d "$work/git/$1.git" ] || git init -q --bare "$work/git/$1.git"
		git push -q "$work/git/$1.git" HEAD:refs/heads/main
		git rev-parse HEAD
	)
}

# submit SCRIPT [ARGUMENT=>VALUE, ...]: a shell script as the command; its id.
submit()
{
	sql_user -v script="$1" -v code="$code" -v env="$environment" -v code_url="$url/code.git" \
		-v env_url="$url/env.git" <<-SQL
		SELECT unidesk.submit_task(project => '$project', code_repo_url => :'code_url', code_commit_id => :'code',
			env_repo_url => :'env_url', env_commit_id => :'env', dockerfile_path => 'env/Dockerfile',
			command => ARRAY['sh', '-c', :'script'], cpus => 0.1, memory => 67108864${2:+, $2});
	SQL
}

state() { sql "SELECT state FROM unidesk.tasks WHERE id = $1"; }
# The attempt's state while there is one, e.g. running.
has_attempt_state() { is "$2" "SELECT attempt_state FROM unidesk.tasks WHERE id = $1"; }
ended_as() { is "$2" "SELECT state FROM unidesk.tasks WHERE id = $1"; }

# ends_in TASK STATE [SECONDS]: waits by the function made for that.
ends_in()
{
	local got='' limit=$((SECONDS + ${3:-30}))
	while [ "$SECONDS" -lt "$limit" ]; do
		got=$(sql_user -c "SELECT unidesk.wait_task($1, '10 s')") || return
		case $got in succeeded | failed | cancelled | skipped) break ;; esac
	done
	[ "$got" = "$2" ] || {
		printf '  task %s: wanted %s, got %s\n' "$1" "$2" "$got"
		psql -x -c "SELECT * FROM unidesk.tasks WHERE id = $1"
		return 1
	}
}

log_text() { sql "SELECT unidesk.task_log_text($1)"; }
# The log's bytes as one hexadecimal text, both streams or one.
log_hex()
{
	sql "SELECT coalesce(string_agg(encode(bytes, 'hex'), '' ORDER BY attempt, \"offset\"), '')
		FROM unidesk.task_log($1) WHERE stream LIKE '${2:-%}'"
}
logged() { log_text "$1" | grep -qx -- "$2"; }

# counts_to TASK N: the log is exactly the lines 1..N, in one attempt.
counts_to()
{
	local wanted
	wanted=$(seq "$2" | tr '\n' ' ')
	is "$wanted" "SELECT translate(convert_from(string_agg(bytes, '' ORDER BY \"offset\"), 'UTF8'), E'\\n', ' ') FROM unidesk.task_log($1)" &&
		is 1 "SELECT count(DISTINCT attempt) FROM unidesk.task_log($1)" &&
		is 1 "SELECT attempts FROM unidesk.tasks WHERE id = $1"
}

nothing_on_node()
{
	local left
	left=$(docker ps -aq --filter "label=unidesk.incarnation=$incarnation"; ls "$work/data/run" "$work/data/tree" "$work/data/out")
	left=$(grep -v -e '^$' -e ':$' <<<"$left")
	[ -z "$left" ] || { printf '  left on the node: %s\n' "$left"; return 1; }
}

# ---- set up ----------------------------------------------------------------

chmod 0755 "$work"
mkdir -p "$work/git" "$work/code" "$work/env/env" "$work/data" "$work/bin"
# Another user than ours parses what repositories contain; it needs to get there.
install -m 0755 build/release/git/unidesk-git "$work/bin/"
git_uid=$(id -u nobody)
while :; do
	port=$((20000 + RANDOM % 10000))
	(exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
done

tests/system/git_server.pl "$work/git" >"$work/git_port" 2>"$out/git.log" &
git_pid=$!
within 5 test -s "$work/git_port"
url=http://127.0.0.1:$(cat "$work/git_port")

echo 'hello from the code' >"$work/code/hello"
# The image is this run's own, so that it can be removed with it.
cat >"$work/env/env/Dockerfile" <<-END
	FROM unidesk-base/debian:trixie
	ENV FROM_IMAGE=$(basename "$work")
	RUN echo built >/built
END
code=$(commit code)
environment=$(commit env)

psql <<-SQL >/dev/null || exit 1
	ALTER ROLE unidesk_bridge LOGIN;
	SELECT unidesk.create_user('ada');
	SELECT unidesk.create_project('$project');
	SELECT unidesk.add_member('$project', 'ada', 'member');
SQL
(umask 077 && sql "SELECT unidesk.create_node('here')" >"$work/token")
incarnation=$(sql "SELECT lpad(to_hex(value), 16, '0') FROM unidesk_data.incarnation")

# ---- the ordinary task -----------------------------------------------------

start_bridge
start_agent
check 'the node comes online' within 20 is online "SELECT status FROM unidesk.nodes WHERE name = 'here'"
if [ "$failed" -ne 0 ]; then
	tail -n 20 "$out/bridge.log" "$out/agent.log"
	exit 1
fi

# What is written is octal for printf: a NUL, bytes that are no UTF-8, and no
# newline at the end.
task=$(submit 'cat hello /built; echo "$FROM_IMAGE $SEED $UNIDESK_TASK_ID $UNIDESK_PROJECT $UNIDESK_NODE"; pwd; printf "\000\377\376end"; printf "to stderr" >&2; echo kept > /output/file' \
	"environment => '{\"SEED\": \"7\"}'")
check 'a task succeeds' ends_in "$task" succeeded 120
wanted=$(printf 'hello from the code\nbuilt\n%s 7 %s %s here\n/workspace\n\000\377\376end' "$(basename "$work")" "$task" "$project" | od -An -v -tx1 | tr -d ' \n')
# Bash drops the NUL from a variable, od has read it from the pipe.
check 'its output is stored byte for byte' same "$wanted" "$(log_hex "$task" stdout)"
check 'its error output too' same "$(printf 'to stderr' | od -An -v -tx1 | tr -d ' \n')" "$(log_hex "$task" stderr)"
check 'the log has no gap' is 0 "SELECT count(*) FROM (SELECT \"offset\" - coalesce(lag(\"offset\" + length(bytes)) OVER (ORDER BY \"offset\"), 0) AS gap
	FROM unidesk.task_log($task)) s WHERE gap <> 0"
check 'what it is made of is on record' is "0|here|$code|$environment|t" \
	"SELECT exit_code, node, code_commit, env_commit, image_id LIKE 'sha256:%' FROM unidesk.tasks WHERE id = $task"
check 'each stage has its time' is 'build,fetch,run,stage_in' \
	"SELECT string_agg(key, ',' ORDER BY key) FROM unidesk.tasks, jsonb_each(stage_ms) WHERE id = $task"
check 'there are between 2 and 4 events' is t "SELECT count(*) BETWEEN 2 AND 4 FROM unidesk.task_events WHERE task = $task"
check 'container and directories are gone' within 20 nothing_on_node
check 'nothing is held and nothing is used' is '0|0' \
	"SELECT (SELECT count(*) FROM unidesk_data.live) + (SELECT count(*) FROM unidesk_data.held), sum(used_cpus_milli + used_memory + used_gpus) FROM unidesk_data.node_use"

# ---- tasks that fail -------------------------------------------------------

task=$(submit 'echo bad; exit 3')
check 'an exit code other than 0 fails' ends_in "$task" failed
check 'with code and reason' is '3|run.exit_code' "SELECT exit_code, reason FROM unidesk.tasks WHERE id = $task"
task=$(submit 'kill -9 $$')
check 'death by a signal fails' ends_in "$task" failed
check 'with the signal in the code' is '137|run.signal' "SELECT exit_code, reason FROM unidesk.tasks WHERE id = $task"
good=$code
code=0123456789012345678901234567890123456789
task=$(submit 'true')
code=$good
check 'a commit that does not exist fails' ends_in "$task" failed
check 'and says so' is prep.commit_not_found "SELECT reason FROM unidesk.tasks WHERE id = $task"

# ---- cancel ----------------------------------------------------------------

task=$(submit 'trap "echo saved; exit 0" TERM; echo ready; while :; do sleep 0.1; done')
check 'a task runs' within 30 logged "$task" ready
sql_user -c "SELECT unidesk.cancel_task($task)" >/dev/null
check 'cancel ends it as cancelled' ends_in "$task" cancelled 20
check 'it was given its grace' logged "$task" saved
task=$(submit 'trap "" TERM; echo deaf; while :; do sleep 0.1; done')
within 30 logged "$task" deaf
sql_user -c "SELECT unidesk.cancel_task($task)" >/dev/null
check 'a task deaf to TERM is killed' ends_in "$task" cancelled 20
check 'nothing of them is left' within 20 nothing_on_node

# ---- everything that can die, while a task runs ----------------------------

count='i=1; while [ $i -le 60 ]; do echo $i; i=$((i+1)); sleep 0.1; done'

task=$(submit "$count")
within 30 logged "$task" 10
check 'the agent ends when asked' ends "$agent_pid" 15
sleep 1
start_agent
check 'a task outlives a restart of the agent' ends_in "$task" succeeded
check 'its log has no gap' counts_to "$task" 60

task=$(submit "$count")
within 30 logged "$task" 10
killed "$agent_pid"
sleep 1
start_agent
check 'a task outlives a killed agent' ends_in "$task" succeeded
check 'its log has no gap then' counts_to "$task" 60

task=$(submit "$count")
within 30 logged "$task" 10
killed "$bridge_pid"
sleep 1
start_bridge
check 'a task outlives a killed bridge' ends_in "$task" succeeded
check 'its log has no gap after that' counts_to "$task" 60

task=$(submit "$count")
within 30 logged "$task" 10
check 'the server crashes' tools/private_pg.sh --ctl -m immediate restart
check 'a task outlives a crash of the server' within 60 ends_in "$task" succeeded
check 'its log has no gap after the crash' counts_to "$task" 60

# The agent is dead while the task ends: its result waits on the node.
task=$(submit 'sleep 1.5; echo done; exit 4' 'max_retries => 0')
within 30 has_attempt_state "$task" running
killed "$agent_pid"
sleep 3
start_agent
check 'a result waits for the agent' ends_in "$task" failed
check 'with the code it had' is 4 "SELECT exit_code FROM unidesk.tasks WHERE id = $task"

# ---- the end ---------------------------------------------------------------

check 'nothing is left on the node' within 20 nothing_on_node
check 'nothing is left in the database' is 0 'SELECT (SELECT count(*) FROM unidesk_data.live) + (SELECT count(*) FROM unidesk_data.held)'
check 'the agent ends at the end' ends "$agent_pid" 15
agent_pid=
check 'the bridge ends at the end' ends "$bridge_pid" 15
bridge_pid=
if [ "$failed" -ne 0 ]; then
	echo "logs are in build/path"
	tail -n 25 "$out/bridge.log" "$out/agent.log"
fi
exit "$failed"
