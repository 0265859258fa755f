#!/usr/bin/env bash
#
# lease.sh
#	  A node falls silent for longer than a lease: its task ends on the node by
#	  itself, although the agent cannot do anything; then, and not before, it is
#	  lost and runs again; what the stale attempt left is removed.  Without a lease
#	  nothing ends, and the task runs elsewhere as soon as the node is offline.
#	  During an announced downtime nothing ends either.
#
# Needs root.  Logs: build/lease.
set -uo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
cd "$ROOT" || exit 1
# shellcheck source=tools/results.sh
. tools/results.sh

out=$ROOT/build/lease
failed=0
check() { expect lease "$@" || failed=1; }

if [ -z "${PG_ROOT:-}" ]; then
	# shellcheck source=tests/system/engine.sh
	. tests/system/engine.sh
	# A lease of at least 6 + 1 + 2 s; the node ends the task 2 s early.
	run_beside_server lease \
		--set unidesk.beat_interval=1s --set unidesk.offline_after=6s --set unidesk.session_silent_after=3s \
		--set unidesk.lease_margin=2s --set unidesk.agent_lease_margin=2s --set unidesk.report_repeat=1s \
		--set unidesk.retry_backoff=1s --set unidesk.disk_floor=64MB --set unidesk.verify_memory=on
fi

# shellcheck source=tests/system/host_platform.sh
. tests/system/host_platform.sh
platform_set_up || exit 1
start_bridge
start_agent
within 20 is online "SELECT status FROM unidesk.nodes WHERE name = 'here'" || exit 1

container=
runs() { [ "$(docker inspect -f '{{.State.Running}}' "$container" 2>/dev/null)" = true ]; }
runs_not() { ! runs; }
# fails_with, warns_with TEXT STATEMENT
fails_with() { ! "$PG_BIN/psql" -XAtq -c "$2" >"$out/said" 2>&1 && grep -q "^ERROR: .*$1" "$out/said" || { cat "$out/said"; return 1; }; }
warns_with() { "$PG_BIN/psql" -XAtq -v ON_ERROR_STOP=1 -c "$2" >"$out/said" 2>&1 && grep -q "^WARNING: .*$1" "$out/said" || { cat "$out/said"; return 1; }; }

# Prints what tells a second run from the first, and ends by itself only there.
task=$(submit 'echo attempt $UNIDESK_ATTEMPT; [ $UNIDESK_ATTEMPT -gt 1 ] || exec sleep 600' "lease => '14 s', grace => '1 s'")
within 60 logged "$task" 'attempt 1' || exit 1
container=$(docker ps -q --filter "label=unidesk.task=$task" --filter "label=unidesk.incarnation=$incarnation")
check 'its container runs' runs

# The agent is stopped: nobody can renew the lease, nor stop anything.
kill -STOP "$agent_pid"
check 'the node is offline after its silence' within 15 is offline "SELECT status FROM unidesk.nodes WHERE name = 'here'"
check 'and the task is still its' is active "SELECT state FROM unidesk.tasks WHERE id = $task"
check 'the container ends by itself before the lease is over' within 12 runs_not
check 'when the task was not lost yet' is active "SELECT state FROM unidesk.tasks WHERE id = $task"
check 'then it is lost, and queued again' within 10 is 'queued|node.lease_over' "SELECT state, reason FROM unidesk.tasks WHERE id = $task"
check 'what it held stays allocated' is 1 "SELECT count(*) FROM unidesk_data.held WHERE task_id = $task"
check 'the invariants hold while it is held' invariants_hold

kill -CONT "$agent_pid"
check 'the node comes back' within 40 is online "SELECT status FROM unidesk.nodes WHERE name = 'here'"
check 'the task runs again and succeeds' ends_in "$task" succeeded 90
check 'in its second attempt' is '1:lost:node.lease_over 2:succeeded' "SELECT string_agg(concat(attempt, ':', state, ':' || reason), ' ' ORDER BY attempt) FROM unidesk.attempts WHERE task = $task"
check 'the stale attempt is confirmed and frees what it held' within 20 is 0 'SELECT count(*) FROM unidesk_data.held'
check 'and nothing of it is left on the node' within 20 nothing_on_node

# Without a lease nothing ends it; a person says that its node will not come
# back.  So does a cancel that the node cannot confirm.
script='echo attempt $UNIDESK_ATTEMPT; [ $UNIDESK_ATTEMPT -gt 1 ] || exec sleep 600'
waits=$(submit "$script" "on_lost => 'wait', grace => '1 s'")
unwanted=$(submit "$script" "on_lost => 'wait', grace => '1 s'")
within 60 logged "$waits" 'attempt 1'
within 60 logged "$unwanted" 'attempt 1'
check 'a node that answers is not declared lost' fails_with 'is online' "SELECT unidesk.declare_node_lost('here')"
kill -STOP "$agent_pid"
sql_user -c "SELECT unidesk.cancel_task($unwanted)" >/dev/null
within 15 is offline "SELECT status FROM unidesk.nodes WHERE name = 'here'"
check 'an offline one is, with a warning' warns_with '2 attempts may go on running' "SELECT unidesk.declare_node_lost('here')"
check 'one task is queued again, the other cancelled' is 'queued cancelled' "SELECT string_agg(state, ' ' ORDER BY id) FROM unidesk.tasks WHERE id IN ($waits, $unwanted)"
check 'both stay allocated there' is 2 'SELECT count(*) FROM unidesk_data.held'
check 'and who said so is on record' is "declared_lost|user $(sql 'SELECT unidesk.me()')" "SELECT what, actor FROM unidesk.node_events WHERE node = 'here' ORDER BY at DESC LIMIT 1"
kill -CONT "$agent_pid"
check 'when it answers, the stale attempts end' within 40 is 0 'SELECT count(*) FROM unidesk_data.held'
check 'and the other runs once more' ends_in "$waits" succeeded 90
# A node that does answer is asked what it has: no second one runs for long.
forced=$(submit "$script" "grace => '1 s'")
within 60 logged "$forced" 'attempt 1'
check 'an attempt is declared lost, with a warning' warns_with 'attempt 1 may go on running' "SELECT unidesk.force_lost($forced)"
check 'a node that is there ends it at once' within 20 is 0 'SELECT count(*) FROM unidesk_data.held'
check 'and the task runs again' ends_in "$forced" succeeded 90
check 'nothing of them is left on the node' within 20 nothing_on_node
check 'the invariants hold' invariants_hold

# ---- an announced downtime: silent for longer than the lease ----
container_of() { docker ps -q --filter "label=unidesk.task=$1" --filter "label=unidesk.attempt=$2" --filter "label=unidesk.incarnation=$incarnation"; }
is_removed() { ! docker inspect "$container" >/dev/null 2>&1; }
let_end() { docker exec "$(container_of "$1" "$2")" touch /tmp/end; }
task=$(submit 'echo begun; until [ -e /tmp/end ]; do sleep 0.2; done; echo ended' "lease => '14 s', grace => '1 s'")
within 60 logged "$task" begun || exit 1
container=$(container_of "$task" 1)
check 'a downtime of one node is announced' is 1 "SELECT unidesk.announce_downtime('here', now() + interval '5 min', 'test')"
check 'which the node confirms' within 10 is t "SELECT downtime_confirmed FROM unidesk.nodes WHERE name = 'here'"
kill -STOP "$agent_pid"
check 'it is silent for longer than the lease' within 40 is t \
	"SELECT unidesk._now() - unidesk._last_contact(id) > interval '18 s' FROM unidesk.nodes WHERE name = 'here' AND status = 'offline'"
check 'its container runs' runs
check 'and the task is still its' is 'active|1' "SELECT state, attempts FROM unidesk.tasks WHERE id = $task"
check 'the invariants hold meanwhile' invariants_hold
kill -CONT "$agent_pid"
check 'it is back' within 40 is online "SELECT status FROM unidesk.nodes WHERE name = 'here'"
check 'the end is announced' is 1 "SELECT unidesk.announce_downtime('here', NULL)"
check 'and confirmed too' within 10 is 0 'SELECT count(*) FROM unidesk_data.downtime'
let_end "$task" 1
check 'the task went on and succeeds' ends_in "$task" succeeded 20
check 'in its first attempt' is '1|0' "SELECT attempts, exit_code FROM unidesk.tasks WHERE id = $task"
check 'with all of its log' logged "$task" ended

# ---- lease 0: none at all; two may run ----
first_agent=$agent_pid
task=$(submit 'echo attempt $UNIDESK_ATTEMPT; until [ -e /tmp/end ]; do sleep 0.2; done' "lease => '0', grace => '1 s'")
check 'a task with lease 0 starts' within 60 logged "$task" 'attempt 1' || exit 1
container=$(container_of "$task" 1)
(umask 077 && sql "SELECT unidesk.create_node('there')" >"$work/token.there")
mkdir -p "$work/data.there"
token=$work/token.there data=$work/data.there site=there start_agent
agent_pid="$first_agent $agent_pid"
within 20 is online "SELECT status FROM unidesk.nodes WHERE name = 'there'" || exit 1
check 'and runs on' runs
kill -STOP "$first_agent"
check 'it is replaced when its node is offline' within 40 is 'active|2|there|running' \
	"SELECT state, attempts, node, attempt_state FROM unidesk.tasks WHERE id = $task"
check 'while its first container still runs' runs
check 'which ends by itself' let_end "$task" 1
check 'with a result' within 10 runs_not
kill -CONT "$first_agent"
check 'the node comes back with it' within 40 is online "SELECT status FROM unidesk.nodes WHERE name = 'here'"
check 'and removes what is left of it' within 20 is_removed
check 'it is refused: the task goes on in its second attempt' is 'active|2' "SELECT state, attempts FROM unidesk.tasks WHERE id = $task"
check 'and the first one stays lost' is lost "SELECT state FROM unidesk.attempts WHERE task = $task AND attempt = 1"
let_end "$task" 2
check 'and ends by the second' ends_in "$task" succeeded 20
check 'the invariants hold after it' invariants_hold
exit "$failed"
