#!/usr/bin/env bash
#
# restarts.sh
#	  What a node lives through, on a machine with an engine of its own: the
#	  engine stopped, killed and restarted, with and without live-restore; away for
#	  a while, with work that waits for it; a
#	  person who stops or removes a task's container; an agent that is killed and
#	  stays dead, and one that is a container; the power cut; and the link, the
#	  database or the bridge away for longer than a node's silence is accepted.
#	  Each is told truthfully, nothing runs twice at once, and what need not end
#	  goes on.
#
# Needs root.  Logs: build/restarts.
set -uo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
cd "$ROOT" || exit 1
# shellcheck source=tools/results.sh
. tools/results.sh

out=$ROOT/build/restarts
failed=0
check() { expect restarts "$@" || failed=1; }

if [ -z "${PG_ROOT:-}" ]; then
	# shellcheck source=tests/system/engine.sh
	. tests/system/engine.sh
	# A lease of at least 6 + 1 + 2 s; the node ends the task 2 s early.
	run_beside_server restarts \
		--set unidesk.beat_interval=1s --set unidesk.offline_after=6s --set unidesk.session_silent_after=3s \
		--set unidesk.lease_margin=2s --set unidesk.agent_lease_margin=2s --set unidesk.grace=1s \
		--set unidesk.report_repeat=1s --set unidesk.retry_backoff=1s --set unidesk.exclude_for=1s \
		--set unidesk.bridge_silent_after=10s --set unidesk.disk_floor=64MB --set unidesk.verify_memory=on
fi

# shellcheck source=tests/system/second_machine.sh
. tests/system/second_machine.sh
# shellcheck source=tests/system/host_platform.sh
. tests/system/host_platform.sh
# leave: and keep what the engine said.
leave() { cp "$machine_dir/engine.log" "$out"; machine_down; finish; }
trap leave EXIT

machine_up "$work/machine" || exit 1
listen_on=$machine_gateway
platform_set_up || exit 1
export UNIDESK_DOCKER_SOCKET=$machine_socket
export agent_on=$on_machine

# ---- helpers ---------------------------------------------------------------

node_is() { is "$1" "SELECT status FROM unidesk.nodes WHERE name = 'here'"; }
attempts_are() { is "$2" "SELECT string_agg(concat_ws(':', state, reason), ' ' ORDER BY attempt) FROM unidesk.attempts WHERE task = $1"; }
first_was() { is "$2" "SELECT concat_ws(':', state, reason) FROM unidesk.attempts WHERE task = $1 AND attempt = 1"; }
container_of() { machine_docker ps -aq --filter "label=unidesk.task=$1" "${@:2}"; }
runs() { [ -n "$(container_of "$1" --filter status=running)" ]; }
runs_not() { ! runs "$1"; }
builds() { machine_docker ps --no-trunc --format '{{.Command}}' | grep -qF "$1"; }
# Its first attempt said it once, no other ever ran beside it.
said_once() { is 1 "SELECT count(*) FROM regexp_matches(convert_from((SELECT string_agg(bytes, '' ORDER BY \"offset\") FROM unidesk.task_log($1) WHERE attempt = 1), 'UTF8'), 'up', 'g')"; }
# Runs that no retry of the task's own pays for.
submit_once() { submit "$1" "max_retries => 0${2:+, $2}"; }

# Saves and exits 0 when it is told to stop, as the contract has it.
saving='trap "echo saved; exit 0" TERM; echo up; [ $UNIDESK_ATTEMPT -gt 1 ] || while :; do sleep 0.1; done'
count() { echo "i=1; while [ \$i -le $1 ]; do echo \$i; i=\$((i+1)); sleep 0.1; done"; }

# More than one container of a task at once, or a rule that is broken.
watch_all()
{
	while sleep 0.5; do
		invariants_hold
		machine_docker ps --filter label=unidesk.attempt --format 'two at once: {{.Label "unidesk.task"}}' | sort | uniq -d
	done >"$out/violations" 2>/dev/null &
	watch_pid=$!
}

task_cpus=0.3

start_bridge
start_agent
check 'the node comes online' within 20 node_is online
check 'a first task succeeds' ends_in "$(submit true)" succeeded 60
if [ "$failed" -ne 0 ]; then
	tail -n 20 "$out"/*.log
	exit 1
fi
watch_all

# ---- the engine ------------------------------------------------------------

plain=$environment
# engine_goes SIGNAL [OPTION]: it is stopped so and started again, while a task
# runs and another is built.
engine_goes()
{
	local what="the engine, $1${2:+ }${2:-}" seconds=7$((RANDOM % 9000 + 1000)) task building

	environment=$(environment_of 'COPY env/Dockerfile /copied' "RUN timeout 3 sleep $seconds || true")
	building=$(submit_once 'echo up')
	environment=$plain
	if [ -n "${2:-}" ]; then task=$(submit_once "$(count 50)"); else task=$(submit_once "$saving"); fi
	check "$what: a task runs" within 30 logged "$task" '[u1]p*'
	check "$what: another is built" within 30 builds "$seconds"
	machine_engine_down "$1"
	check "$what: it starts again" machine_engine_up ${2:+"$2"}
	[ "$failed" -eq 0 ] || return
	if [ -n "${2:-}" ]; then
		check "$what: the task goes on" ends_in "$task" succeeded 60
		check "$what: as the same attempt, with all of its log" within 10 counts_to "$task" 50
	else
		check "$what: the task runs again" ends_in "$task" succeeded 60
		check "$what: its exit 0 was no success" attempts_are "$task" 'failed:node.engine_stopped succeeded'
		check "$what: having begun once" within 10 said_once "$task"
	fi
	check "$what: what was built did not fail by itself" within 20 first_was "$building" failed:node.engine_error
	check "$what: and is built again" builds_again "$building"
}

# Once to the end, else only begun again: it takes its time.
builds_again()
{
	[ "$what" != "the engine, TERM" ] || { ends_in "$1" succeeded; return; }
	within 20 is t "SELECT attempts = 2 AND attempt_state = 'preparing' FROM unidesk.tasks WHERE id = $1" &&
		sql_user -c "SELECT unidesk.cancel_task($1)" >/dev/null && ends_in "$1" cancelled
}

# A killed engine's containers live until the next one says what becomes of them.
engine_goes TERM
engine_goes KILL
engine_goes KILL --live-restore
engine_goes TERM --live-restore
[ "$failed" -eq 0 ] || { tail -n 25 "$out/agent.log"; exit 1; }

# ---- the engine stays away -------------------------------------------------

engine_is_down() { is "$1" "SELECT engine_down_since IS NOT NULL FROM unidesk.nodes WHERE name = 'here'"; }
engine_events() { sql "SELECT count(*) FROM unidesk.node_events WHERE what = '$1'"; }
infra_failures_are() { is "$2" "SELECT infra_failures FROM unidesk_data.live WHERE task_id = $1"; }
waits_for_engine() { is t "SELECT state = 'queued' AND reason = 'node.engine_down' AND message LIKE 'waits for the Docker Engine of here (since %' FROM unidesk.tasks WHERE id = $1"; }

downs=$(engine_events engine_down) ups=$(engine_events engine_up)
machine_engine_down KILL
# Placed before that is known, and refused; or not even placed.
hasty=$(submit_once true)
check 'an engine that is away is known' within 15 engine_is_down t
check 'without the node being offline' node_is online
check 'a task that was placed comes back' within 10 waits_for_engine "$hasty"
check 'with nothing used up' infra_failures_are "$hasty" 0
tries=$(sql "SELECT attempts FROM unidesk.tasks WHERE id = $hasty")
late=$(submit_once true)
check 'a task that comes then is told why it waits' waits_for_engine "$late"
check 'the engine comes back' machine_engine_up
check 'which is known' within 10 engine_is_down f
check 'the one runs' ends_in "$hasty" succeeded 60
check 'and the other' ends_in "$late" succeeded 60
check 'in the only attempt since' is "$((tries + 1)) 1" "SELECT string_agg(attempts::text, ' ' ORDER BY id) FROM unidesk.tasks WHERE id IN ($hasty, $late)"
check 'each change is told once' same "$((downs + 1)) $((ups + 1))" "$(engine_events engine_down) $(engine_events engine_up)"

# ---- people ----------------------------------------------------------------

by_stop=$(submit_once "$saving")
by_kill=$(submit_once "$saving")
by_term=$(submit_once "$saving")
by_int=$(submit_once "${saving/TERM/INT}")
by_removal=$(submit_once "$saving")
for task in "$by_stop" "$by_kill" "$by_term" "$by_int" "$by_removal"; do within 30 logged "$task" up; done
machine_docker stop "$(container_of "$by_stop")" >/dev/null
machine_docker kill "$(container_of "$by_kill")" >/dev/null
machine_docker kill -s TERM "$(container_of "$by_term")" >/dev/null
machine_docker kill -s INT "$(container_of "$by_int")" >/dev/null
machine_docker rm -f "$(container_of "$by_removal")" >/dev/null
for task in "$by_stop" "$by_kill" "$by_term" "$by_int" "$by_removal"; do check "a person ends task $task: it runs again" ends_in "$task" succeeded; done
check 'stopped by somebody is no success' attempts_are "$by_stop" 'failed:node.engine_stopped succeeded'
check 'nor killed' attempts_are "$by_kill" 'failed:node.engine_stopped succeeded'
check 'nor told by a TERM' attempts_are "$by_term" 'failed:node.engine_stopped succeeded'
check 'nor by an INT' attempts_are "$by_int" 'failed:node.engine_stopped succeeded'
check 'removed is removed' attempts_are "$by_removal" 'lost:node.container_gone succeeded'

# ---- an agent that stays dead ----------------------------------------------

silent=$(submit_once "$saving" "lease => '12 s'")
removed=$(submit_once "$saving")
for task in "$silent" "$removed"; do within 30 logged "$task" up; done
killed "$agent_pid"
agent_pid=''
machine_docker rm -f "$(container_of "$removed")" >/dev/null
check 'an agent is dead: the task ends by itself' within 15 runs_not "$silent"
check 'when it was not lost yet' is active "SELECT state FROM unidesk.tasks WHERE id = $silent"
check 'then it is lost' within 10 is 'queued|node.lease_over' "SELECT state, reason FROM unidesk.tasks WHERE id = $silent"

# ---- an agent in a container -----------------------------------------------

agent_container()
{
	machine_docker run --detach --name unidesk-agent --restart always --network host \
		--volume /usr:/usr:ro --volume "$ROOT:$ROOT:ro" --volume "$work:$work" \
		--env UNIDESK_URL="ws://$listen_on:$port/agent" --env UNIDESK_TOKEN_FILE="$work/token" \
		--env UNIDESK_DATA="$work/data" --env UNIDESK_DATA_HOST="$work/data" --env UNIDESK_DOCKER_SOCKET="$machine_socket" \
		--env UNIDESK_INIT="$ROOT/build/release/init/unidesk-init" --env UNIDESK_GIT="$work/bin/unidesk-git" \
		--env UNIDESK_GIT_UID="$git_uid" --env UNIDESK_ALLOWED_GIT_HOSTS="${url#http://}" --env UNIDESK_LABELS=site=path \
		unidesk-base/debian:trixie "$ROOT/build/release/agent/unidesk-agent" >/dev/null
}
check 'an agent starts as a container' agent_container
check 'the node comes back' within 20 node_is online
# ---- what is away for less than the lease ----------------------------------

task=$(submit_once "$(count 190)" "lease => '60 s'")
within 30 logged "$task" 10
machine_link_cut
check 'the link is cut: the node is offline' within 15 node_is offline
machine_link_mend
check 'and back' within 20 node_is online
kill -STOP "$bridge_pid"
check 'the bridge stands still: the node is offline' within 15 node_is offline
kill -CONT "$bridge_pid"
check 'and back after that' within 20 node_is online
tools/private_pg.sh --ctl -m fast stop
sleep 8
check 'the database was away for longer than a silence' tools/private_pg.sh --ctl start
check 'the agent'\''s container is restarted' eval 'machine_docker restart --time 10 unidesk-agent >/dev/null'
check 'the task succeeds' ends_in "$task" succeeded 60
check 'as the same attempt, with each byte of its log' within 10 counts_to "$task" 190

check 'the task that ended by itself ran again' ends_in "$silent" succeeded
check 'and the one that was removed' ends_in "$removed" succeeded
check 'each for its reason' eval 'attempts_are "$silent" "lost:node.lease_over succeeded" && attempts_are "$removed" "lost:node.container_gone succeeded"'

# The power is cut, and back within the lease: the engine starts the agent.
task=$(submit_once "$saving")
within 30 logged "$task" up
machine_crash
check 'the machine starts again' machine_engine_up
check 'what ran there runs again' ends_in "$task" succeeded
check 'and that is not called its failure' attempts_are "$task" 'failed:node.engine_stopped succeeded'
check 'having begun once' within 10 said_once "$task"

# ---- the end ---------------------------------------------------------------

left_of_attempts() { same '' "$(find "$work"/data/{run,tree,out} -mindepth 1 -maxdepth 1)"; }
check 'nothing is left of the attempts' within 20 left_of_attempts
machine_docker rm -f unidesk-agent >/dev/null
check 'nor on the engine' machine_is_clean
check 'nothing is left in the database' is 0 'SELECT (SELECT count(*) FROM unidesk_data.live) + (SELECT count(*) FROM unidesk_data.held)'
check 'the invariants hold' invariants_hold
check 'and held all the while, with one container for each task' test ! -s "$out/violations"
check 'the bridge ends' ends "$bridge_pid" 15
bridge_pid=''
if [ "$failed" -ne 0 ]; then
	echo "logs are in build/restarts"
	tail -n 25 "$out/agent.log" "$out/violations"
fi
exit "$failed"
