#!/usr/bin/env bash
#
# throughput.sh
#	  A queue of tasks that do nothing is drained by simulated agents: tasks a
#	  second, and what each task costs, from its submission (in bulk) to its end, the
#	  server, the bridge and the agents.
#
# TASKS (20000) in each of ROUNDS (3) rounds, AGENTS (100) of SLOTS (24) CPUs;
# one round before them is not counted.  Medians.
set -uo pipefail
ROOT=$(cd "$(dirname "$0")/.." && pwd)
cd "$ROOT" || exit 1
# shellcheck source=bench/platform.sh
. bench/platform.sh

TASKS=${TASKS:-20000}
ROUNDS=${ROUNDS:-3}
AGENTS=${AGENTS:-100}
SLOTS=${SLOTS:-24}
out=$ROOT/build/bench-throughput

platform_beside_server bench-throughput
platform_begin
make_nodes "$AGENTS"
start_bridge
start_agents "$AGENTS" --cpus "$SLOTS" --seconds 1800 || exit 1
for round in $(seq 0 "$ROUNDS"); do
	first=$(ask 'SELECT coalesce(max(id), 0) + 1 FROM unidesk_data.task')
	mark
	submit "$TASKS" || exit 1
	drained 300 || exit 1
	since
	[ "$round" -gt 0 ] || continue
	IFS='|' read -r drain whole <<<"$(ask "SELECT extract(epoch FROM max(ended_at) - min(placed_at)), extract(epoch FROM max(ended_at) - min(created_at)) FROM unidesk_data.task WHERE id >= $first AND state IS NOT NULL")"
	ratio "$TASKS" "$drain" >>"$out/drain"; echo >>"$out/drain"
	ratio "$TASKS" "$whole" >>"$out/whole"; echo >>"$out/whole"
	for what in cpu_server cpu_bridge cpu_agents wal; do
		ratio "${!what}" "$TASKS" >>"$out/$what"
		echo >>"$out/$what"
	done
	say "round $round: $TASKS tasks in $drain s"
done
stop_agents
invariants_hold >&2 || exit 1
median() { percentile 50 <"$out/$1"; }
emit throughput.drain "$(median drain)" tasks/s
emit throughput.submit_to_done "$(median whole)" tasks/s
emit throughput.cpu.server "$(median cpu_server)" us/task
emit throughput.cpu.bridge "$(median cpu_bridge)" us/task
emit throughput.cpu.agents "$(median cpu_agents)" us/task
emit throughput.wal "$(median wal)" bytes/task
