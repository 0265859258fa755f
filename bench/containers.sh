#!/usr/bin/env bash
#
# containers.sh
#	  What a container task that does nothing takes, prepared, beside what the
#	  engine alone takes for such a container.  In each round, one after the other:
#	  - tasks one at a time, and containers by the Engine API one at a time
#	  - tasks and "docker run --rm", four at a time, until all containers are gone
#
# On standard output a line of JSON for each figure:
#	  container_noop_vs_engine_api	submitted to ended, by create + start + wait + remove
#	  container_rate_vs_docker_run	tasks a second, by those of docker run --rm
#	  prepared_second_run_ms		submitted to ended, less what the engine took
#									for that container's create, start and wait
# The ratios are medians over the rounds.  ROUNDS (5), ONE (10) tasks of one at
# a time in a round, FOUR (24) of four at a time.  As root, with an engine.
set -uo pipefail
ROOT=$(cd "$(dirname "$0")/.." && pwd)
cd "$ROOT" || exit 1
# shellcheck source=bench/lib.sh
. bench/lib.sh

ROUNDS=${ROUNDS:-5}
ONE=${ONE:-10}
FOUR=${FOUR:-24}
# Of each container: four at a time fit on two cores.
CPUS=0.5
MEMORY=67108864
out=$ROOT/build/containers

[ -n "${PG_ROOT:-}" ] || bench_beside_server containers >&2

# shellcheck source=tests/system/host_platform.sh
. tests/system/host_platform.sh
platform_set_up || exit 1
start_bridge
UNIDESK_DEBUG=1 start_agent
within 20 is online "SELECT status FROM unidesk.nodes WHERE name = 'here'" >&2 || exit 1
ends_in "$(submit true)" succeeded 120 >&2 || exit 1
image=$(sql 'SELECT image_id FROM unidesk.tasks WHERE id = 1')

now_ms() { echo $(($(date +%s%N) / 1000000)); }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.3f\n", a / b }'; }
figure() { printf '{"name":"%s","value":%s,"unit":"%s"}\n' "$1" "$2" "$3"; }
# The tasks have no shell either, and no environment to speak of.
call="unidesk.submit_task(project => '$project', code_repo_url => '$url/code.git', code_commit_id => '$code',
	env_repo_url => '$url/env.git', env_commit_id => '$environment', dockerfile_path => 'env/Dockerfile',
	command => ARRAY['true'], cpus => $CPUS, memory => $MEMORY)"
gone() { bench/peers/engine_api.pl gone "unidesk.incarnation=$incarnation"; }

# One at a time, by one connection: "task milliseconds" of each.
tasks_one()
{
	for _ in $(seq "$ONE"); do
		cat <<-SQL
		SELECT clock_timestamp() AS began \gset
		SELECT $call AS task \gset
		SELECT unidesk.wait_task(:task, '60 s') AS state \gset
		SELECT :task, round(extract(epoch FROM clock_timestamp() - :'began'::timestamptz) * 1000, 1), 1 / (:'state' = 'succeeded')::int;
		SQL
	done | sql_user -F ' '
}

# Four at a time: that is what this machine's CPUs and $CPUS allow, or else.
tasks_four()
{
	local began
	began=$(now_ms)
	sql_user -F ' ' <<-SQL >"$out/four" || return
	SELECT count(*) FROM (SELECT $call FROM generate_series(1, $FOUR)) s;
	SELECT 1 / (unidesk.wait_task(id, '60 s') = 'succeeded')::int FROM unidesk.tasks ORDER BY id DESC LIMIT $FOUR;
	SQL
	gone
	echo $(($(now_ms) - began))
}

docker_four()
{
	local began
	began=$(now_ms)
	seq "$FOUR" | xargs -P 4 -I{} docker run --rm --cpus "$CPUS" --memory "$MEMORY" "$image" true || return
	echo $(($(now_ms) - began))
}

# What the engine took for each task's container, from the agent's log: "task create start wait".
# The wait ends for us when the program has; what the engine does after that
# is not waited for.
engine_of_tasks()
{
	perl -ne 'BEGIN { my %names = (create => 0, start => 1, wait => 2); sub at { $names{$_[0]} } }
		next unless m{engine: POST /containers/(?:(create)\?name=)?ud-'"${incarnation:0:8}"'-(\d+)-1(?:/(start|wait)\S*)?: \d+, ([\d.]+) ms};
		$t{$2}[at($1 // $3)] //= $4;
		END { print "$_ @{$t{$_}}\n" for grep { @{$t{$_}} == 3 } keys %t }' "$out/agent.log"
}

for file in task engine noop rate rate_engine; do : >"$out/$file"; done
gone
for round in $(seq "$ROUNDS"); do
	tasks_one >"$out/task.$round" || exit 1
	gone
	bench/peers/engine_api.pl run "$image" "$ONE" 1 "$CPUS" "$MEMORY" >"$out/engine.$round" || exit 1
	task_ms=$(cut -d' ' -f2 "$out/task.$round" | percentile 50)
	engine_ms=$(cut -d' ' -f5 "$out/engine.$round" | percentile 50)
	ratio "$task_ms" "$engine_ms" >>"$out/noop"
	cat "$out/task.$round" >>"$out/task"
	cat "$out/engine.$round" >>"$out/engine"
	tasks_four_ms=$(tasks_four) && docker_four_ms=$(docker_four) || exit 1
	began=$(now_ms)
	bench/peers/engine_api.pl run "$image" "$FOUR" 4 "$CPUS" "$MEMORY" >/dev/null || exit 1
	engine_four_ms=$(($(now_ms) - began))
	ratio "$docker_four_ms" "$tasks_four_ms" >>"$out/rate"
	ratio "$engine_four_ms" "$tasks_four_ms" >>"$out/rate_engine"
	echo "round $round: one at a time $task_ms ms, by the Engine API $engine_ms ms;" \
		"$FOUR by four $tasks_four_ms ms, docker run $docker_four_ms ms, Engine API $engine_four_ms ms" >&2
done

# What is ours of each task: its time, less create, start and wait.
engine_of_tasks | sort >"$out/calls"
sort "$out/task" | join - "$out/calls" >"$out/parts"
[ -s "$out/parts" ] || { echo "the agent's log does not tell of the engine's calls" >&2; exit 1; }
awk '{ print $2 - $4 - $5 - $6 }' "$out/parts" >"$out/own"
printf 'medians of %d tasks, ms: create %s, start %s, wait %s, ours %s, together %s\n' "$(wc -l <"$out/parts")" \
	"$(cut -d' ' -f4 "$out/parts" | percentile 50)" "$(cut -d' ' -f5 "$out/parts" | percentile 50)" \
	"$(cut -d' ' -f6 "$out/parts" | percentile 50)" "$(percentile 50 <"$out/own")" "$(cut -d' ' -f2 "$out/parts" | percentile 50)" >&2
printf 'by the Engine API: create %s, start %s, wait %s, remove %s, together %s\n' \
	"$(cut -d' ' -f1 "$out/engine" | percentile 50)" "$(cut -d' ' -f2 "$out/engine" | percentile 50)" \
	"$(cut -d' ' -f3 "$out/engine" | percentile 50)" "$(cut -d' ' -f4 "$out/engine" | percentile 50)" \
	"$(cut -d' ' -f5 "$out/engine" | percentile 50)" >&2
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
figure container_noop_vs_engine_api "$(median <"$out/noop")" ratio
figure container_rate_vs_docker_run "$(median <"$out/rate")" ratio
figure container_rate_vs_engine_api "$(median <"$out/rate_engine")" ratio
figure prepared_second_run_ms "$(percentile 50 <"$out/own")" ms
