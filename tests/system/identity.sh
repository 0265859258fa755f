#!/usr/bin/env bash
#
# identity.sh
#	  Who a node is: a copied data directory, a second agent with the same
#	  token, another machine while the first is cut off; a restart of the
#	  machine, a container that somebody removed, and another name.
#
# Needs root.  Logs: build/identity.
set -uo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
cd "$ROOT" || exit 1
# shellcheck source=tools/results.sh
. tools/results.sh

out=$ROOT/build/identity
failed=0
check() { expect identity "$@" || failed=1; }

if [ -z "${PG_ROOT:-}" ]; then
	# shellcheck source=tests/system/engine.sh
	. tests/system/engine.sh
	# A lease of at least 6 + 1 + 2 s; the node ends the task 2 s early.
	run_beside_server identity \
		--set unidesk.beat_interval=1s --set unidesk.offline_after=6s --set unidesk.session_silent_after=3s \
		--set unidesk.lease_margin=2s --set unidesk.agent_lease_margin=2s --set unidesk.report_repeat=1s \
		--set unidesk.retry_backoff=1s --set unidesk.exclude_for=1s --set unidesk.disk_floor=64MB --set unidesk.verify_memory=on
fi

# shellcheck source=tests/system/host_platform.sh
. tests/system/host_platform.sh
platform_set_up || exit 1

declare -A agent_of
# agent_on_data NAME: an agent on a data directory of its own, with the node's token.
agent_on_data()
{
	mkdir -p "$work/$1"
	data=$work/$1 start_agent
	agent_of[$1]=$agent_pid
	agent_pid=${agent_of[*]}
}
online() { within 20 is 'online|t' "SELECT status, connected FROM unidesk.nodes"; }
container_of() { docker ps -q --filter "label=unidesk.task=$1" --filter "label=unidesk.incarnation=$incarnation"; }
runs() { [ "$(docker inspect -f '{{.State.Running}}' "$1" 2>/dev/null)" = true ]; }
runs_not() { ! runs "$1"; }
told() { is "$2" "SELECT count(*) FROM unidesk.node_events WHERE what = '$1'"; }
agents_heard() { grep -q "$1" "$out/agent.log"; }
goes_on() { is "active|running|1" "SELECT state, attempt_state, attempts FROM unidesk.tasks WHERE id = $1" && runs "$2"; }
attempts_were() { is "$2" "SELECT string_agg(concat(attempt, ':', state, ':' || reason), ' ' ORDER BY attempt) FROM unidesk.attempts WHERE task = $1"; }
silent() { is t "SELECT unidesk._last_contact(id) < now() - interval '4 s' FROM unidesk.nodes"; }
# Ends by itself only in its second attempt.
twice='echo attempt $UNIDESK_ATTEMPT; [ $UNIDESK_ATTEMPT -gt 1 ] || exec sleep 600'

start_bridge
agent_on_data data
online || exit 1

# ---- copies and second agents ----------------------------------------------

cp -a "$work/data" "$work/copy"
task=$(submit "$twice" "lease => '14 s', grace => '1 s'")
within 60 logged "$task" 'attempt 1' || exit 1
container=$(container_of "$task")
check 'the agent ends' ends "${agent_of[data]}" 15
agent_on_data data
check 'with the seal of its last welcome it is let in again' online
check 'and its task goes on' goes_on "$task" "$container"

agent_on_data copy
check 'a copy of its data directory from before is refused' within 15 agents_heard '4409 this data directory is a copy'
check 'which an event tells' told copied 1
check 'the copy ends nothing' goes_on "$task" "$container"
check 'and can be ended' ends "${agent_of[copy]}" 15
unset 'agent_of[copy]'

agent_on_data other
check 'a second agent with the same token is refused' within 15 agents_heard '4409 this node is connected from another machine'
check 'which an event tells as well' told duplicate 1
check 'the second agent ends nothing' goes_on "$task" "$container"
ends "${agent_of[other]}" 15

# ---- another machine while the first is cut off ----------------------------

kill -STOP "${agent_of[data]}"
within 15 silent
agent_on_data other
check 'another one takes the place of a silent one' within 15 told replaced 1
online
check 'but what runs there is the old one'"'"'s until its lease is over' goes_on "$task" "$container"
check 'the invariants hold meanwhile' invariants_hold
check 'the container ends by itself' within 20 runs_not "$container"
check 'when the task was not lost yet' is 'active|1' "SELECT state, attempts FROM unidesk.tasks WHERE id = $task"
check 'then it runs again on the new one, and succeeds' ends_in "$task" succeeded 90
check 'the first attempt was lost because the machine was replaced' attempts_were "$task" '1:lost:node.replaced 2:succeeded'
check 'what it held stays held' is '1|t' 'SELECT count(*), bool_and("left") FROM unidesk.held'
check 'until an administrator says that the old one is gone' is 1 "SELECT unidesk.accept_machine('here')"
check 'then nothing is held' is 0 'SELECT count(*) FROM unidesk_data.held'
check 'the invariants hold after it' invariants_hold
killed "${agent_of[other]}"
unset 'agent_of[other]'
killed "${agent_of[data]}"
within 15 silent
agent_on_data data
check 'the old one may come back' within 15 told replaced 2
check 'and what it still has of the first attempt is removed' within 30 nothing_on_node

# ---- a restart of the machine, and a hand in the engine --------------------

rebooted=$(submit "$twice")
removed=$(submit "$twice")
within 60 logged "$rebooted" 'attempt 1' && within 60 logged "$removed" 'attempt 1' || exit 1
killed "${agent_of[data]}"
docker kill "$(container_of "$rebooted")" >/dev/null
docker rm -f "$(container_of "$removed")" >/dev/null
# As after a restart: the state is of another boot, and no exit record was left.
sed -i 's/"boot_id": *"[^"]*"/"boot_id":"00000000-0000-0000-0000-000000000000"/' "$work/data/state/"*"-$rebooted-1"
rm -f "$work/data/run/"*"-$rebooted-1/exit"
agent_on_data data
check 'a task that a restart of the machine ended runs again' ends_in "$rebooted" succeeded 60
check 'and that is what its first attempt says' attempts_were "$rebooted" '1:lost:node.rebooted 2:succeeded'
check 'a task whose container somebody removed runs again' ends_in "$removed" succeeded 60
check 'and that is what its first attempt says' attempts_were "$removed" '1:lost:node.container_gone 2:succeeded'

# ---- another name ----------------------------------------------------------

task=$(submit 'i=1; while [ $i -le 60 ]; do echo $i; i=$((i+1)); sleep 0.1; done')
within 60 logged "$task" 5
check 'a node is given another name' sql "SELECT unidesk.rename_node('here', 'there')"
check 'its agent ends' ends "${agent_of[data]}" 15
agent_on_data data
check 'and comes back under the new name' within 20 agents_heard 'connected as node "there"'
check 'its task goes on' ends_in "$task" succeeded
check 'without a gap, in one attempt' counts_to "$task" 60
check 'and says the new name' is there "SELECT node FROM unidesk.tasks WHERE id = $task"

check 'nothing is left on the node' within 30 nothing_on_node
check 'the invariants hold' invariants_hold
if [ "$failed" -ne 0 ]; then
	echo "logs are in build/identity"
	tail -n 40 "$out/agent.log"
fi
exit "$failed"
