#!/usr/bin/env bash
#
# limits.sh
#	  The limits of a task and its checkpoint, on a node: the run limit with a
#	  warning before it, silence, the limit over everything, exit codes for
#	  retries; and a task that goes on from what it saved, through restarts of
#	  its own and of the agent.
#
# Needs root.  Logs: build/limits.
set -uo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
cd "$ROOT" || exit 1
# shellcheck source=tools/results.sh
. tools/results.sh

out=$ROOT/build/limits
failed=0
check() { expect limits "$@" || failed=1; }

if [ -z "${PG_ROOT:-}" ]; then
	# shellcheck source=tests/system/engine.sh
	. tests/system/engine.sh
	run_beside_server limits \
		--set unidesk.beat_interval=1s --set unidesk.offline_after=8s --set unidesk.session_silent_after=4s \
		--set unidesk.report_repeat=1s --set unidesk.retry_backoff=1s --set unidesk.exclude_for=1s \
		--set unidesk.disk_floor=64MB --set unidesk.grace=2s --set unidesk.log_budget=16kB --set unidesk.verify_memory=on
fi

# shellcheck source=tests/system/host_platform.sh
. tests/system/host_platform.sh
platform_set_up || exit 1
start_bridge
start_agent
within 20 is online "SELECT status FROM unidesk.nodes WHERE name = 'here'" || exit 1

# ended TASK STATE|REASON|CODE: waits, then compares.
ended()
{
	sql_user -c "SELECT unidesk.wait_task($1, '60 s')" >/dev/null
	is "$2" "SELECT concat_ws('|', state, coalesce(reason, ''), exit_code) FROM unidesk.tasks WHERE id = $1"
}
attempts_are() { is "$2" "SELECT string_agg(concat_ws(':', state, reason), ' ' ORDER BY attempt) FROM unidesk.attempts WHERE task = $1"; }
log_is() { same "$2" "$(log_text "$1" | xargs)"; }
logged_once() { same 1 "$(log_text "$1" | grep -cx -- "$2")"; }
saved_of() { ls "$work/data/checkpoint/$incarnation-$1" 2>/dev/null; }
nothing_saved() { same '' "$(ls "$work/data/checkpoint")"; }
ran_longer_than() { is t "SELECT (stage_ms ->> 'run')::integer > $2 FROM unidesk.tasks WHERE id = $1"; }

# Three numbers in each attempt; it is killed once, with the agent dead.
count='n=$(cat /checkpoint/n 2>/dev/null || echo 0); echo "attempt $UNIDESK_ATTEMPT of $UNIDESK_TASK_ID from $n"
for i in 1 2 3 4; do n=$((n + 1)); echo $n >/checkpoint/.n && mv /checkpoint/.n /checkpoint/n; echo $n; sleep 0.3; [ $n -lt 10 ] || exit 0; done
[ $UNIDESK_ATTEMPT -ne 1 ] || until [ -e /output/go ]; do sleep 0.1; done
exit 85'

# ---- a checkpoint ----------------------------------------------------------

counts=$(submit "$count" 'restart_exit_code => 85')
check 'a task saves what it has' within 60 logged "$counts" 4
killed "$agent_pid"
for output in "$work"/data/out/*/output; do touch "$output/go"; done
start_agent
check 'it ends well after restarts of its own and one of the agent' ended "$counts" 'succeeded||0'
check 'it counted on from what it had saved' log_is "$counts" "attempt 1 of $counts from 0 1 2 3 4 attempt 2 of $counts from 4 5 6 7 8 attempt 3 of $counts from 8 9 10"
check 'its attempts say why they ended' attempts_are "$counts" 'failed:run.checkpointed failed:run.checkpointed succeeded'
check 'what it saved is gone when the task has ended' within 20 nothing_saved

# A failure of infrastructure and a retry keep it as well.
keeps=$(submit 'echo $UNIDESK_ATTEMPT >>/checkpoint/tries; [ $UNIDESK_ATTEMPT -gt 2 ] || { [ $UNIDESK_ATTEMPT -eq 2 ] && exit 3; echo up; exec sleep 600; }
cat /checkpoint/tries' 'max_retries => 1')
check 'another saves and is stopped from outside' within 60 logged "$keeps" up
docker stop -t 0 "$(docker ps -q --filter "label=unidesk.task=$keeps" --filter "label=unidesk.incarnation=$incarnation")" >/dev/null
check 'it ends well' ended "$keeps" 'succeeded||0'
check 'after a failure of the engine and one of its own' attempts_are "$keeps" 'failed:node.engine_stopped failed:run.exit_code succeeded'
check 'each attempt found what those before it had saved' log_is "$keeps" 'up 1 2 3'

# One that is cancelled while it waits is not asked for again.
spins=$(submit 'echo x >/checkpoint/x; exit 85' 'restart_exit_code => 85')
check 'one that only spins waits like any retry' within 30 is t "SELECT attempts >= 2 FROM unidesk.tasks WHERE id = $spins"
check 'and what it saved is there' within 10 same x "$(saved_of "$spins")"
sql_user -c "SELECT unidesk.cancel_task($spins)" >/dev/null
check 'until it is cancelled' ends_in "$spins" cancelled
check 'then the node removes it' within 20 nothing_saved

# ---- limits ----------------------------------------------------------------

# A run limit: the warning comes before it, once, also when the agent starts anew after it.
warned=$(submit 'trap "echo warned; exec sleep 600" USR1; echo ready; while :; do sleep 0.1; done' "run_timeout => '6 s', warn_before => '4 s', grace => '1 s'")
saves_in_time=$(submit 'trap "echo saved >/checkpoint/s; exit 85" INT; [ -e /checkpoint/s ] && exit 0; echo ready; while :; do sleep 0.1; done' \
	"run_timeout => '60 s', warn_before => '57 s', warn_signal => 'INT', restart_exit_code => 85")
silent=$(submit 'echo one; exec sleep 600' "idle_timeout => '3 s', grace => '1 s'")
# Its log is far beyond the budget: nothing of it is written any more, and it is not silent.
chatty=$(submit 'i=0; head -c 40000 /dev/zero | tr "\0" x; while [ $i -lt 14 ]; do echo $i; i=$((i + 1)); sleep 0.5; done' "idle_timeout => '3 s'")
check 'a task is warned before its run limit' within 60 logged "$warned" warned
killed "$agent_pid"
start_agent
check 'then it is ended' ended "$warned" 'failed|run.timeout|143'
check 'it was warned once, and the agent that came later did not repeat it' logged_once "$warned" warned
check 'its attempt is timed out' attempts_are "$warned" 'timed_out:run.timeout'
check 'another saves at its warning and goes on' ended "$saves_in_time" 'succeeded||0'
check 'without having been ended' attempts_are "$saves_in_time" 'failed:run.checkpointed succeeded'
check 'a silent task is ended' ended "$silent" 'failed|run.no_progress|143'
check 'its attempt is timed out too' attempts_are "$silent" 'timed_out:run.no_progress'
check 'one that writes more than is kept is not silent' ended "$chatty" 'succeeded||0'
check 'although it ran for longer than it may be silent' ran_longer_than "$chatty" 6000

waits=$(submit 'true' "total_timeout => '5 s', labels => '{\"site\": \"nowhere\"}'")
runs=$(submit 'exec sleep 600' "total_timeout => '8 s', grace => '1 s'")
# shellcheck disable=SC2034 # used below, inside eval
fails=$(submit 'exit 1' "total_timeout => '8 s', max_retries => 1000")
check 'a task that waits for too long altogether fails' ended "$waits" 'failed|run.total_timeout'
check 'one that runs is ended' ended "$runs" 'failed|run.total_timeout|143'
check 'its attempt is timed out as well' attempts_are "$runs" 'timed_out:run.total_timeout'
check 'one that is tried again and again fails' eval 'ends_in "$fails" failed && is run.total_timeout "SELECT reason FROM unidesk.tasks WHERE id = $fails"'

listed=$(submit '[ $UNIDESK_ATTEMPT -gt 1 ] || exit 75' "retry_on => '{75}', max_retries => 5")
unlisted=$(submit '[ $UNIDESK_ATTEMPT -gt 1 ] || exit 76' "retry_on => '{75}', max_retries => 5")
check 'an exit code of the list is tried again' ended "$listed" 'succeeded||0'
check 'another one is not' ended "$unlisted" 'failed|run.exit_code|76'

check 'nothing is left on the node' within 20 nothing_on_node
check 'nor anything saved' within 20 nothing_saved
check 'the invariants hold' invariants_hold
[ "$failed" -eq 0 ] || tail -n 40 "$out/agent.log"
exit "$failed"
