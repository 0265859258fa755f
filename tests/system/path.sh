#!/usr/bin/env bash
#
# path.sh
#	  The whole path on this host, without images of our own: a private
#	  PostgreSQL, the bridge and the agent as programs, the engine, and a git
#	  server; then everything that can die is killed while a task runs.
#
# Needs root: the agent hands files to the users of images.  Logs: build/path.
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
	# shellcheck source=tests/system/engine.sh
	. tests/system/engine.sh
	run_beside_server path \
		--set unidesk.beat_interval=1s --set unidesk.offline_after=8s \
		--set unidesk.bridge_silent_after=25s --set unidesk.session_silent_after=4s \
		--set unidesk.report_repeat=1s --set unidesk.retry_backoff=1s \
		--set unidesk.disk_floor=64MB --set unidesk.grace=5s --set unidesk.verify_memory=on
fi

# ---- inside ----------------------------------------------------------------

# shellcheck source=tests/system/host_platform.sh
. tests/system/host_platform.sh
platform_set_up || exit 1

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

# ---- following its log -----------------------------------------------------

# follow_slowest TASK: follows its log, whose lines are times in milliseconds, to
# the end; prints how many lines came, and how old the oldest of them was when it came.
follow_slowest()
{
	local from=0 over=f until count delay lines=0 slowest=0
	while [ "$over" != t ]; do
		IFS='|' read -r until over count delay < <(sql_user -c "SELECT coalesce(max(f.\"offset\" + length(f.bytes)), $from), coalesce(bool_or(f.stream = 'end'), false),
			count(l), coalesce(max(round(extract(epoch FROM clock_timestamp()) * 1000) - l::bigint), 0)
			FROM unidesk.task_log_follow($1, $from, 1) f LEFT JOIN regexp_split_to_table(convert_from(f.bytes, 'UTF8'), E'\\\\n') l ON l <> ''")
		[ -n "$until" ] || return 1
		from=$until lines=$((lines + count)) slowest=$((delay > slowest ? delay : slowest))
	done
	echo "$lines $slowest"
}

task=$(submit 'for i in 1 2 3 4 5 6 7 8; do date +%s%3N; sleep 0.4; done')
read -r lines slowest < <(follow_slowest "$task")
echo "a follower saw each line at most $slowest ms after the task wrote it"
check 'a follower sees every line' same 8 "$lines"
check 'less than a second after it was written' test "$slowest" -lt 1000
check 'and the end, when the task has ended' ends_in "$task" succeeded 10

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

# From the call to the agent's own line about it, on one clock.
cancel_ms()
{
	local task began stopping
	task=$(submit 'echo ready; exec sleep 600')
	within 30 logged "$task" ready || return
	began=$(date +%s%3N)
	sql_user -c "SELECT unidesk.cancel_task($task)" >/dev/null || return
	within 10 grep -q "attempt .*-$task-1: stopping" "$out/agent.log" || return
	stopping=$(grep -m 1 "attempt .*-$task-1: stopping" "$out/agent.log" | cut -d' ' -f1)
	ends_in "$task" cancelled 20 || return
	echo $(($(date -d "$stopping" +%s%3N) - began))
}
slowest=0
for _ in 1 2 3 4 5; do
	ms=$(cancel_ms) || { slowest=none; break; }
	[ "$ms" -le "$slowest" ] || slowest=$ms
done
echo "cancel: at the agent after at most $slowest ms, of five"
check 'a cancel is at the agent in less than a second' test "$slowest" -lt 1000

# ---- hold, release, requeue ------------------------------------------------

# It says which attempt it is, and ends by itself only in the third.
task=$(submit 'trap "echo saved $UNIDESK_ATTEMPT; exit 0" TERM; echo attempt $UNIDESK_ATTEMPT; [ $UNIDESK_ATTEMPT -eq 3 ] && exit 0; while :; do sleep 0.1; done')
within 30 logged "$task" 'attempt 1'
sql_user -c "SELECT unidesk.hold_task($task)" >/dev/null
check 'a running task is stopped, and held' within 20 ended_as "$task" held
check 'it was given its grace then' within 10 logged "$task" 'saved 1'
check 'held, it has nothing on the node' within 20 nothing_on_node
sql_user -c "SELECT unidesk.release_task($task)" >/dev/null
check 'released, it runs again' within 30 logged "$task" 'attempt 2'
sql_user -c "SELECT unidesk.requeue_task($task)" >/dev/null
check 'requeued, it is stopped, runs once more and succeeds' ends_in "$task" succeeded 60
check 'and none of this counted as a failure' is '1:preempted:ctl.held 2:preempted:ctl.requeued 3:succeeded' \
	"SELECT string_agg(concat(attempt, ':', state, ':' || reason), ' ' ORDER BY attempt) FROM unidesk.attempts WHERE task = $task"
again=$(sql_user -c "SELECT unidesk.rerun_task($task)")
within 30 logged "$again" 'attempt 1'
check 'the same again is another task' is "$code|active" "SELECT code_commit, state FROM unidesk.tasks WHERE id = $again"
sql_user -c "SELECT unidesk.hold_task($again), unidesk.cancel_task($again)" >/dev/null
check 'a cancel goes before a hold' ends_in "$again" cancelled 20
check 'nothing of them is left' within 20 nothing_on_node

# ---- everything that can die, while a task runs ----------------------------

# All the while, not only at the end; a server that is down says nothing.
while sleep 0.5; do invariants_hold; done >"$out/violations" 2>/dev/null &
watch_pid=$!

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
check 'the invariants hold' invariants_hold
check 'and held all the while' test ! -s "$out/violations"
check 'the agent ends at the end' ends "$agent_pid" 15
agent_pid=
check 'the bridge ends at the end' ends "$bridge_pid" 15
bridge_pid=
if [ "$failed" -ne 0 ]; then
	echo "logs are in build/path"
	tail -n 25 "$out/bridge.log" "$out/agent.log"
fi
exit "$failed"
