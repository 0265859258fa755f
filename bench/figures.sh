#!/usr/bin/env bash
#
# figures.sh
#	  Two figures of the path on one machine, over loopback:
#	  - how long after its submission the agent holds a task's assignment
#	  - what a task that does nothing takes, beside a bare "docker run" of the
#	    same image, alternating
#
# TASKS (200) and PAIRS (15) set how many.  As root, with an engine; the
# agent's clock has milliseconds.
set -uo pipefail
ROOT=$(cd "$(dirname "$0")/.." && pwd)
cd "$ROOT" || exit 1
# shellcheck source=bench/lib.sh
. bench/lib.sh

TASKS=${TASKS:-200}
PAIRS=${PAIRS:-15}
out=$ROOT/build/figures

[ -n "${PG_ROOT:-}" ] || bench_beside_server figures

# shellcheck source=tests/system/host_platform.sh
. tests/system/host_platform.sh
platform_set_up || exit 1
start_bridge
start_agent
within 20 is online "SELECT status FROM unidesk.nodes WHERE name = 'here'" || exit 1
ends_in "$(submit true)" succeeded 120 || exit 1

# Each on an idle platform: the next is submitted when the one before has ended
# and its container is gone.
: >"$out/latency"
for _ in $(seq "$TASKS"); do
	task=$(submit true)
	until logged_at=$(grep -m 1 -o "^[^ ]* unidesk-agent info: attempt ${incarnation:0:8}-$task-1: assigned" "$out/agent.log"); do sleep 0.01; done
	ends_in "$task" succeeded || exit 1
	within 10 nothing_on_node || exit 1
	sql "SELECT extract(epoch FROM '${logged_at%% *}'::timestamptz - created_at) * 1000 FROM unidesk.tasks WHERE id = $task" >>"$out/latency"
done
printf 'submitted -> agent holds the assignment, %d tasks: p50 %s ms, p99 %s ms\n' "$TASKS" \
	"$(percentile 50 <"$out/latency")" "$(percentile 99 <"$out/latency")"

image=$(sql 'SELECT image_id FROM unidesk.tasks WHERE id = 1')
: >"$out/task"
: >"$out/docker"
for _ in $(seq "$PAIRS"); do
	began=$(date +%s%N)
	docker run --rm --memory 64m --cpus 0.1 "$image" true
	echo $((($(date +%s%N) - began) / 1000000)) >>"$out/docker"
	began=$(date +%s%N)
	ends_in "$(submit true)" succeeded || exit 1
	echo $((($(date +%s%N) - began) / 1000000)) >>"$out/task"
done
task_ms=$(percentile 50 <"$out/task")
docker_ms=$(percentile 50 <"$out/docker")
printf 'a task that does nothing, %d pairs, medians: submitted to ended %s ms; docker run of the same image %s ms; ratio %s\n' \
	"$PAIRS" "$task_ms" "$docker_ms" "$(awk "BEGIN { printf \"%.2f\", $task_ms / $docker_ms }")"
