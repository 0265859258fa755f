#!/usr/bin/env bash
#
# lifecycle.sh
#	  How long it takes, on one machine, over loopback, on an idle platform:
#	  - from kill -9 of an agent, started again at once, to its session, with a
#	    task that goes on
#	  - from the loss of a node to the task running on another one, for the
#	    smallest lease and for none
#	  - from cancel_task to the agent's stopping
#	  - from the restart of PostgreSQL, fast and immediate, to the first new
#	    assignment on a node
#
# ATTACHES (50), LOSSES (10), CANCELS (100) and RESTARTS (10) set how many; each
# part ends after PART_S (90) seconds with what it has.  LEASES (6 0): of which
# leases the losses are, in seconds; 0 is none.  As root, with an engine.
set -uo pipefail
ROOT=$(cd "$(dirname "$0")/.." && pwd)
cd "$ROOT" || exit 1
# shellcheck source=bench/lib.sh
. bench/lib.sh

ATTACHES=${ATTACHES:-50}
LOSSES=${LOSSES:-10}
CANCELS=${CANCELS:-100}
RESTARTS=${RESTARTS:-10}
PART_S=${PART_S:-90}
# An array is not exported, and this script starts itself again.
read -ra leases <<<"${LEASES:-6 0}"
out=$ROOT/build/lifecycle

# The smallest lease is 4 + 1 + 1 s.
[ -n "${PG_ROOT:-}" ] || bench_beside_server lifecycle \
	--set unidesk.beat_interval=1s --set unidesk.offline_after=4s --set unidesk.session_silent_after=2s \
	--set unidesk.lease_margin=1s --set unidesk.agent_lease_margin=1s --set unidesk.grace=1s --set unidesk.retry_backoff=1s

# shellcheck source=tests/system/host_platform.sh
. tests/system/host_platform.sh
platform_set_up || exit 1
(umask 077 && sql "SELECT unidesk.create_node('there')" >"$work/token.there")
mkdir -p "$work/data.there"
# The second agent's containers are of the same incarnation: finish removes them.

now_ms() { date +%s%3N; }
online() { is online "SELECT status FROM unidesk.nodes WHERE name = '$1'"; }
sessions() { grep -c 'connected as node' "$out/agent.log"; }
connected_since() { [ "$(sessions)" -gt "$1" ]; }
running() { has_attempt_state "$1" running; }

declare -A agent_of
agent_on_node()
{
	if [ "$1" = here ]; then
		start_agent
	else
		token=$work/token.there data=$work/data.there start_agent
	fi
	agent_of[$1]=$agent_pid
	agent_pid=${agent_of[*]}
}

# more FILE COUNT: of this part there is still to do, and time for it.
began_part=0
part() { began_part=$SECONDS; for file; do : >"$out/$file"; done; }
more() { [ "$(wc -l <"$out/$1")" -lt "$2" ] && [ $((SECONDS - began_part)) -lt "$PART_S" ]; }
row() { printf '%-62s %4d %9s %9s\n' "$1" "$(wc -l <"$out/$2")" "$(percentile 50 <"$out/$2")" "$(percentile 99 <"$out/$2")"; }
# The agent's log has this line since; in milliseconds after it.
logged_after()
{
	local line
	until line=$(grep -m 1 "$1" "$out/agent.log"); do sleep 0.01; done
	echo $(($(date -d "${line%% *}" +%s%3N) - $2))
}

start_bridge
agent_on_node here
within 20 online here || exit 1
ends_in "$(submit true)" succeeded 120 || exit 1

# ---- an agent is killed ----------------------------------------------------

part attach
task=$(submit 'exec sleep 600')
within 30 running "$task" || exit 1
while more attach "$ATTACHES"; do
	said=$(sessions)
	began=$(now_ms)
	killed "${agent_of[here]}"
	agent_on_node here
	until connected_since "$said"; do sleep 0.01; done
	echo $(($(now_ms) - began)) >>"$out/attach"
	within 10 running "$task" || exit 1
done
is 1 "SELECT attempts FROM unidesk.tasks WHERE id = $task" || exit 1
sql_user -c "SELECT unidesk.cancel_task($task)" >/dev/null

# ---- a cancel --------------------------------------------------------------

part cancel
while more cancel "$CANCELS"; do
	tasks=()
	for _ in $(seq 20); do tasks+=("$(task_cpus=0.05 submit 'exec sleep 600')"); done
	for task in "${tasks[@]}"; do within 60 running "$task" || exit 1; done
	for task in "${tasks[@]}"; do
		began=$(sql_user -c "SELECT trunc(extract(epoch FROM clock_timestamp()) * 1000), unidesk.cancel_task($task)")
		logged_after "${incarnation:0:8}-$task-1: stopping" "${began%%|*}" >>"$out/cancel"
	done
	for task in "${tasks[@]}"; do ends_in "$task" cancelled || exit 1; done
done

# ---- the database ----------------------------------------------------------

part fast immediate
restarts()
{
	local began task
	part "$1"
	while more "$1" "$RESTARTS"; do
		began=$(now_ms)
		tools/private_pg.sh --ctl -m "$1" restart || exit 1
		task=$(submit true)
		logged_after "${incarnation:0:8}-$task-1: assigned" "$began" >>"$out/$1"
		ends_in "$task" succeeded || exit 1
	done
}
restarts fast
restarts immediate

# ---- a node is lost --------------------------------------------------------

# Only the victim is there when its tasks begin; then it is the other's turn.
elsewhere() { is "2|running|$2" "SELECT attempts, attempt_state, node FROM unidesk.tasks WHERE id = $1"; }
part "${leases[@]/#/lease.}"
victim=here other=there
while more "lease.${leases[0]}" "$LOSSES"; do
	tasks=()
	for seconds in "${leases[@]}"; do tasks+=("$(submit 'exec sleep 600' "lease => '$seconds s', grace => '1 s'")"); done
	for task in "${tasks[@]}"; do within 30 running "$task" || exit 1; done
	agent_on_node "$other"
	within 20 online "$other" || exit 1
	began=$(now_ms)
	killed "${agent_of[$victim]}"
	for i in "${!tasks[@]}"; do
		within 60 elsewhere "${tasks[i]}" "$other" || exit 1
		sql "SELECT trunc(extract(epoch FROM started_at) * 1000) - $began FROM unidesk.tasks WHERE id = ${tasks[i]}" >>"$out/lease.${leases[i]}"
		sql_user -c "SELECT unidesk.cancel_task(${tasks[i]})" >/dev/null
		ends_in "${tasks[i]}" cancelled || exit 1
	done
	read -r victim other <<<"$other $victim"
done

# ---- the table -------------------------------------------------------------

printf 'beat_interval 1 s, offline_after 4 s, lease_margin 1 s, agent_lease_margin 1 s, grace 1 s, retry_backoff 1 s\n'
printf '%-62s %4s %9s %9s\n' milliseconds N p50 p99
row 'agent killed and started again -> its session' attach
for seconds in "${leases[@]}"; do row "node lost -> task runs elsewhere, lease $seconds s" "lease.$seconds"; done
row 'cancel_task -> the agent stops it' cancel
row 'PostgreSQL restarted (fast) -> next task assigned on its node' fast
row 'PostgreSQL restarted (immediate) -> next task assigned' immediate
