#!/usr/bin/env bash
#
# fleet.sh
#	  Two bridges, three agents, two engines.  Two of the agents and the second
#	  engine are on a machine of their own as far as the network goes: it can
#	  dial out, and nothing can dial in.  Work spreads, any bridge serves any
#	  node, bridges are replaced one by one, nodes are drained under load, and a
#	  machine that is lost loses its tasks to the other.
#
# Needs root.  Logs: build/fleet.
set -uo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
cd "$ROOT" || exit 1
# shellcheck source=tools/results.sh
. tools/results.sh

out=$ROOT/build/fleet
failed=0
check() { expect fleet "$@" || failed=1; }

if [ -z "${PG_ROOT:-}" ]; then
	# shellcheck source=tests/system/engine.sh
	. tests/system/engine.sh
	# A lease of at least 8 + 1 + 2 s.
	run_beside_server fleet \
		--set unidesk.beat_interval=1s --set unidesk.offline_after=8s --set unidesk.session_silent_after=4s \
		--set unidesk.bridge_silent_after=10s --set unidesk.lease_margin=2s --set unidesk.agent_lease_margin=2s \
		--set unidesk.report_repeat=1s --set unidesk.retry_backoff=1s --set unidesk.disk_floor=64MB
fi

# shellcheck source=tests/system/second_machine.sh
. tests/system/second_machine.sh
# shellcheck source=tests/system/host_platform.sh
. tests/system/host_platform.sh
trap 'machine_down; finish' EXIT

machine_up "$work/machine" || exit 1
listen_on=$machine_gateway
platform_set_up || exit 1
for node in b c; do
	(umask 077 && sql "SELECT unidesk.create_node('$node', cpus => 2)" >"$work/token.$node")
done

declare -A bridge_of port_of agent_of
# fleet_bridge NAME: a bridge with this name, on the address both machines reach.
fleet_bridge()
{
	port=${port_of[$1]:=$(free_port)} bridge_name=$1
	start_bridge
	bridge_of[$1]=$bridge_pid
	bridge_pid=${bridge_of[*]}
}
# fleet_agent NODE BRIDGE: "here" uses this machine's engine, others the second's.
fleet_agent()
{
	port=${port_of[$2]}
	if [ "$1" = here ]; then
		start_agent
	else
		mkdir -p "$work/data.$1"
		UNIDESK_DOCKER_SOCKET=$machine_socket token=$work/token.$1 data=$work/data.$1 site=$1 agent_on=$on_machine start_agent
	fi
	agent_of[$1]=$agent_pid
	agent_pid=${agent_of[*]}
}
all_online() { is 3 "SELECT count(*) FROM unidesk.nodes WHERE status = 'online' AND connected"; }
bridges_used() { is "$1" "SELECT string_agg(DISTINCT b.name, ' ' ORDER BY b.name) FROM unidesk.nodes n JOIN unidesk_data.bridge b ON b.id = n.bridge_id"; }
node_of() { sql "SELECT node FROM unidesk.tasks WHERE id = $1"; }
succeeded() { local task; for task; do ends_in "$task" succeeded 120 || return; done; }
# Nobody opens a connection to the second machine, although something listens there.
unreachable()
{
	$on_machine perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(Listen => 1, LocalPort => 4040) or die; sleep 20' &
	local listener=$! reached=no
	within 5 machine_run bash -c 'exec 3<>/dev/tcp/127.0.0.1/4040' || return
	if timeout 2 bash -c "exec 3<>/dev/tcp/$machine_address/4040" 2>/dev/null; then reached=yes; fi
	kill "$listener"
	wait "$listener" 2>/dev/null
	[ "$reached" = no ]
}

# ---- together --------------------------------------------------------------

fleet_bridge one
fleet_bridge two
fleet_agent here one
fleet_agent b one
fleet_agent c two
check 'three nodes come online' within 30 all_online
if [ "$failed" -ne 0 ]; then
	tail -n 20 "$out"/*.log
	exit 1
fi
check 'over both bridges' bridges_used 'one two'
check 'nothing can dial in to the second machine' unreachable
check 'two nodes share an engine and each keeps to its own' is '2|3' \
	"SELECT count(DISTINCT engine_id), count(*) FROM unidesk_data.node WHERE engine_id IS NOT NULL"

# No two fit on one node, and each node has to build the image first.
cpus=$(sql "SELECT min(cpus) FROM unidesk.nodes")
tasks=()
for _ in 1 2 3; do tasks+=("$(task_cpus=$cpus submit 'sleep 2; echo done')"); done
check 'tasks that fill a node spread over all' succeeded "${tasks[@]}"
check 'one on each' is 'b c here' "SELECT string_agg(node, ' ' ORDER BY node) FROM unidesk.tasks WHERE id = ANY('{$(IFS=,; echo "${tasks[*]}")}')"

# Many at once, small ones; each prints its own number.
tasks=()
for _ in $(seq 12); do tasks+=("$(submit 'echo $UNIDESK_TASK_ID')"); done
check 'a dozen tasks at once succeed' succeeded "${tasks[@]}"
check 'and each log is its own' is 12 "SELECT count(*) FROM unidesk.tasks WHERE id = ANY('{$(IFS=,; echo "${tasks[*]}")}') AND unidesk.task_log_text(id) = id || E'\\n'"

# ---- bridges ---------------------------------------------------------------

count='i=1; while [ $i -le 60 ]; do echo $i; i=$((i+1)); sleep 0.1; done'
on() { echo "labels => '{\"site\": \"$1\"}'"; }

# An agent's session moves to the other bridge while its task runs.
task=$(submit "$count" "$(on b)")
within 60 logged "$task" 5
check 'an agent ends' ends "${agent_of[b]}" 15
fleet_agent b two
check 'its task goes on over another bridge' ends_in "$task" succeeded
check 'and its log has no gap' counts_to "$task" 60
check 'all of the second machine is on one bridge now' is two \
	"SELECT string_agg(DISTINCT b.name, ' ') FROM unidesk.nodes n JOIN unidesk_data.bridge b ON b.id = n.bridge_id WHERE n.name IN ('b', 'c')"

# Bridges are replaced one by one under running tasks, as in an upgrade.
tasks=("$(submit "$count" "$(on path)")" "$(submit "$count" "$(on b)")" "$(submit "$count" "$(on c)")")
for task in "${tasks[@]}"; do within 60 logged "$task" 5; done
for name in one two; do
	check "bridge $name ends when asked" ends "${bridge_of[$name]}" 20
	fleet_bridge "$name"
	within 20 all_online
done
check 'tasks outlive a replacement of both bridges' succeeded "${tasks[@]}"
for task in "${tasks[@]}"; do check "the log of task $task has no gap" counts_to "$task" 60; done

# A cancel goes the same way.
cancelled=$(submit 'exec sleep 600' "$(on c)")
within 60 has_attempt_state "$cancelled" running
sql_user -c "SELECT unidesk.cancel_task($cancelled)" >/dev/null
check 'a cancel reaches the second machine' ends_in "$cancelled" cancelled 20

# ---- out of service --------------------------------------------------------

list() { local IFS=,; echo "'{$*}'"; }
running_on() { is t "SELECT count(*) >= $2 FROM unidesk.tasks WHERE node = '$1' AND attempt_state = 'running' AND id = ANY($(list "${tasks[@]}"))"; }
scheduling_is() { is "$2" "SELECT scheduling FROM unidesk.nodes WHERE name = '$1'"; }

# More than the fleet runs at a time: b is emptied at once, c when its tasks end.
tasks=()
for _ in $(seq 24); do
	tasks+=("$(task_cpus=0.5 submit 'sleep 5; echo done $UNIDESK_TASK_ID' "grace => '1 s', max_retries => 0")")
done
within 60 running_on b 2
within 60 running_on c 2
sql "SELECT unidesk.drain_node('c', '1 hour', 'no hurry')" >/dev/null
sql "SELECT unidesk.drain_node('b', '0', 'the disk dies')" >/dev/null
check 'a node that is drained at once is empty soon' within 15 scheduling_is b drained
check 'one whose tasks may end is empty when they have' within 15 scheduling_is c drained
check 'what was on them ended there or elsewhere' succeeded "${tasks[@]}"
check 'none was lost, none succeeded twice' is '24|24' \
	"SELECT count(*), count(DISTINCT task) FROM unidesk.attempts WHERE state = 'succeeded' AND task = ANY($(list "${tasks[@]}"))"
check 'each said so' is 24 \
	"SELECT count(*) FROM unidesk.tasks WHERE id = ANY($(list "${tasks[@]}")) AND unidesk.task_log_text(id) ~ ('done ' || id || E'\\n\$')"
check 'those that were stopped were stopped for that' is 'b|preempted|ctl.drained' \
	"SELECT DISTINCT node, state, reason FROM unidesk.attempts WHERE state <> 'succeeded' AND task = ANY($(list "${tasks[@]}"))"
check 'the invariants hold while nodes are drained' invariants_hold
check 'a drained agent ends' ends "${agent_of[b]}" 15
fleet_agent b two
within 20 all_online
task=$(submit true "$(on b)")
check 'and comes back drained' scheduling_is b drained
check 'without getting a task' is queued "SELECT state FROM unidesk.tasks WHERE id = $task"
sql "SELECT unidesk.open_node('b'), unidesk.open_node('c')" >/dev/null
check 'until it is opened' ends_in "$task" succeeded

# What the engine is follows it, while agents stay connected.
fact() { sql "SELECT string_agg(DISTINCT facts ->> '$1', ' ') FROM unidesk.nodes WHERE name IN ('b', 'c')"; }
fact_is() { same "$2" "$(fact "$1")"; }
sessions=$(sql "SELECT string_agg(session::text, ' ' ORDER BY name) FROM unidesk.nodes WHERE name IN ('b', 'c')")
check 'live-restore is off on the second machine' fact_is live_restore false
machine_engine_down
check 'its engine is started with live-restore' machine_engine_up --live-restore
check 'its nodes say so' within 90 fact_is live_restore true
check 'and the version that it has' fact_is engine_version "$(machine_docker version -f '{{.Server.Version}}')"
check 'in the sessions that they had' is "$sessions" "SELECT string_agg(session::text, ' ' ORDER BY name) FROM unidesk.nodes WHERE name IN ('b', 'c')"

# ---- a machine is lost -----------------------------------------------------

# The other task finds room on the second machine only.
full=$(task_cpus=$cpus submit 'exec sleep 600' "$(on path)")
within 60 has_attempt_state "$full" running
task=$(submit 'echo attempt $UNIDESK_ATTEMPT on $UNIDESK_NODE; [ $UNIDESK_ATTEMPT -gt 1 ] || exec sleep 600' \
	"$(on b), lease => '14 s', grace => '1 s'")
other=$(task_cpus=$cpus submit 'echo attempt $UNIDESK_ATTEMPT on $UNIDESK_NODE; [ $UNIDESK_ATTEMPT -gt 1 ] || exec sleep 600' \
	"lease => '14 s', grace => '1 s'")
within 60 logged "$task" 'attempt 1 on b'
within 60 has_attempt_state "$other" running
killed "${agent_of[b]}"
killed "${agent_of[c]}"
machine_crash
sql_user -c "SELECT unidesk.cancel_task($full)" >/dev/null
check 'a lost machine is offline' within 20 is 2 "SELECT count(*) FROM unidesk.nodes WHERE status = 'offline'"
check 'what ran there is lost when its lease is over' within 20 is queued "SELECT state FROM unidesk.tasks WHERE id = $task"
check 'a task that may run elsewhere runs elsewhere' ends_in "$other" succeeded 60
check 'on the machine that is left' is here "SELECT node FROM unidesk.tasks WHERE id = $other"
check 'the invariants hold while a machine is lost' invariants_hold
check 'the machine comes back' machine_engine_up
fleet_agent b one
fleet_agent c two
check 'its nodes come online again' within 30 all_online
check 'the task that needs it runs there again' ends_in "$task" succeeded 60
check 'in its second attempt' within 5 logged "$task" 'attempt 2 on b'
check 'what the crash left is confirmed and held no longer' within 20 is 0 'SELECT count(*) FROM unidesk_data.held'

# ---- the end ---------------------------------------------------------------

check 'nothing is left on the first engine' within 20 nothing_on_node
check 'nothing is left on the second' within 20 machine_is_clean
check 'nothing is left in the database' is '0|0' \
	"SELECT (SELECT count(*) FROM unidesk_data.live), sum(used_cpus_milli + used_memory + used_gpus) FROM unidesk_data.node_use"
check 'the invariants hold' invariants_hold
for node in here b c; do check "agent $node ends at the end" ends "${agent_of[$node]}" 15; done
for name in one two; do check "bridge $name ends at the end" ends "${bridge_of[$name]}" 15; done
agent_pid='' bridge_pid=''
if [ "$failed" -ne 0 ]; then
	echo "logs are in build/fleet"
	tail -n 25 "$out"/*.log
fi
exit "$failed"
