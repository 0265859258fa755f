#!/usr/bin/env bash
#
# container.sh
#	  Every way in which a task's container can be wrong or end: each attempt
#	  ends with its true state, reason, exit code and message, nothing is left
#	  on the node, and a good task works afterwards.
#
# Needs root.  Logs: build/container.
set -uo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
cd "$ROOT" || exit 1
# shellcheck source=tools/results.sh
. tools/results.sh

out=$ROOT/build/container
failed=0
check() { expect container "$@" || failed=1; }

if [ -z "${PG_ROOT:-}" ]; then
	# shellcheck source=tests/system/engine.sh
	. tests/system/engine.sh
	run_beside_server container \
		--set unidesk.beat_interval=1s --set unidesk.offline_after=8s --set unidesk.session_silent_after=4s \
		--set unidesk.report_repeat=1s --set unidesk.retry_backoff=1s --set unidesk.exclude_for=1s \
		--set unidesk.disk_floor=64MB --set unidesk.grace=3s --set unidesk.log_budget=1MB
fi

# shellcheck source=tests/system/host_platform.sh
. tests/system/host_platform.sh
platform_set_up || exit 1
start_bridge
# Its log tells of the engine's answers.
UNIDESK_DEBUG=1 start_agent
within 20 is online "SELECT status FROM unidesk.nodes WHERE name = 'here'" || exit 1

# ---- helpers ---------------------------------------------------------------

# submit_words WORDS [ARGUMENT=>VALUE, ...]: the words as SQL, e.g. 'a', 'b'.
submit_words()
{
	sql_user <<-SQL
		SELECT unidesk.submit_task(project => '$project', code_repo_url => '$url/code.git', code_commit_id => '$code',
			env_repo_url => '$url/env.git', env_commit_id => '$environment', dockerfile_path => 'env/Dockerfile',
			command => ARRAY[$1]::text[]${2:+, $2});
	SQL
}
# ended TASK STATE|REASON|CODE: waits, then compares.
ended()
{
	sql_user -c "SELECT unidesk.wait_task($1, '40 s')" >/dev/null
	is "$2" "SELECT concat_ws('|', state, coalesce(reason, ''), exit_code) FROM unidesk.tasks WHERE id = $1"
}
told() { is t "SELECT position(\$text\$$2\$text\$ IN message) > 0 FROM unidesk.tasks WHERE id = $1"; }
container_of() { docker ps -aq --filter "label=unidesk.task=$1" --filter "label=unidesk.incarnation=$incarnation"; }
attempts_are() { is "$2" "SELECT string_agg(concat_ws(':', state, reason), ' ' ORDER BY attempt) FROM unidesk.attempts WHERE task = $1"; }
tried_as() { is t "SELECT EXISTS (SELECT FROM unidesk.attempts WHERE task = $1 AND attempt = 1 AND concat(state, ' ', reason) ~ '$2')"; }
memory_peak_kb() { sed -n 's/^VmHWM:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$1/status"; }
# Only the second attempt ends by itself.
once='echo up; [ $UNIDESK_ATTEMPT -gt 1 ] || exec sleep 600'

plain=$environment

# ---- what is run -----------------------------------------------------------

missing=$(submit_words "'no-such-program'")
not_executable=$(submit_words "'/etc/passwd'")
directory=$(submit_words "'/tmp'")
# The base image has a shell as its command, unless it was imported without one.
environment=$(environment_of 'CMD []')
nothing=$(submit_words '')
environment=$plain
no_path=$(submit 'true' "environment => '{\"PATH\": \"/nowhere\"}'")
check 'a command that does not exist' ended "$missing" 'failed|run.start_failed|127'
check 'is told' told "$missing" 'not found'
check 'and named in the log' eval 'log_text "$missing" | grep -q "could not start \"no-such-program\": No such file"'
check 'a command that is no program' ended "$not_executable" 'failed|run.start_failed|126'
check 'is told as well' told "$not_executable" 'could not be executed'
check 'a directory as command' ended "$directory" 'failed|run.start_failed|126'
check 'no command at all' ended "$nothing" 'failed|prep.create_failed'
check 'says what is missing' told "$nothing" 'neither the task nor its image says what to run'
check 'a PATH that leads nowhere' ended "$no_path" 'failed|run.start_failed|127'

# A program of another machine: the beginning of one is enough.
printf '\177ELF\002\001\001\000\000\000\000\000\000\000\000\000\002\000\267\000\001\000\000\000' >"$work/env/foreign"
head -c 100 /dev/zero >>"$work/env/foreign"
environment=$(environment_of 'COPY foreign /foreign' 'RUN chmod 0755 /foreign' 'ENTRYPOINT ["echo", "entry"]' 'CMD ["by", "default"]' \
	'WORKDIR /made/here' 'VOLUME /data' 'HEALTHCHECK --interval=1s CMD false' 'STOPSIGNAL SIGKILL' 'ONBUILD RUN false')
by_default=$(submit_words '')
entry=$(submit_words "'mine'")
check 'no command takes the one of the image' ended "$by_default" 'succeeded||0'
check 'with its entry point' is 'entry by default' "SELECT rtrim(unidesk.task_log_text($by_default), E'\n')"
check 'a command keeps the entry point' ended "$entry" 'succeeded||0'
check 'and follows it' is 'entry mine' "SELECT rtrim(unidesk.task_log_text($entry), E'\n')"

environment=$(environment_of 'COPY foreign /foreign' 'RUN chmod 0755 /foreign' \
	'WORKDIR /made/here' 'VOLUME /data' 'HEALTHCHECK --interval=1s CMD false' 'STOPSIGNAL SIGKILL')
foreign=$(submit_words "'/foreign'")
# The task's shared memory is as large as its memory, 64 MiB here.
task=$(submit 'pwd; df -k /dev/shm | tail -n 1 | tr -s " " | cut -d" " -f2; echo kept >/data/file; echo x >/.unidesk/init; echo up; until [ -e /output/go ]; do sleep 0.1; done')
within 30 logged "$task" up
volume=$(docker inspect -f '{{range .Mounts}}{{if eq .Type "volume"}}{{.Name}}{{end}}{{end}}' "$(container_of "$task")")
health=$(docker inspect -f '{{with .State.Health}}{{.Status}}{{end}}' "$(container_of "$task")")
touch "$work/data/out/${incarnation:0:8}-$task-1/output/go"
check 'a VOLUME of the image is a volume' test -n "$volume"
check 'its HEALTHCHECK does not run' same '' "$health"
check 'such a task succeeds' ended "$task" 'succeeded||0'
check 'in /workspace whatever WORKDIR says' logged "$task" /workspace
check 'with its shared memory' logged "$task" 65536
check 'and unidesk-init cannot be written' eval 'log_text "$task" | grep -qi "read-only file system"'
check 'the volume goes with it' within 20 eval '! docker volume inspect "$volume" >/dev/null 2>&1'
check 'a program of another machine' ended "$foreign" 'failed|run.start_failed|126'
check 'says so in the log' eval 'log_text "$foreign" | grep -q "Exec format error"'

# ---- whose it is -----------------------------------------------------------

may_write='id -u; touch /workspace/w /output/w /checkpoint/w && echo wrote; cat hello'
environment=$(environment_of 'USER 1000')
task=$(submit "$may_write")
check 'a USER by number' ended "$task" 'succeeded||0'
check 'writes where it may' eval 'logged "$task" 1000 && logged "$task" wrote'
environment=$(environment_of 'RUN echo "ann:x:1234:1235::/:/bin/sh" >>/etc/passwd' 'USER ann')
task=$(submit "$may_write; stat -c %g /output")
check 'a USER by name' ended "$task" 'succeeded||0'
check 'is who the image says' eval 'logged "$task" 1234 && logged "$task" wrote && logged "$task" 1235'
environment=$(environment_of 'USER ghost')
ghost=$(submit 'true')
environment=$(environment_of 'RUN head -c 2000000 /dev/zero >/etc/passwd' 'USER 1000')
broken=$(submit 'true' 'max_retries => 3')
environment=$(environment_of 'RUN rm /etc/passwd && mkdir /etc/passwd' 'USER 1000')
odd=$(submit 'true' 'max_retries => 3')
check 'a USER that is not there' ended "$ghost" 'failed|prep.create_failed'
check 'is named' told "$ghost" "the image's user \"ghost\" is not in its /etc/passwd"
check 'an /etc/passwd without end' ended "$broken" 'failed|prep.create_failed'
check 'fails once and is told' eval 'told "$broken" "is longer than" && is 1 "SELECT attempts FROM unidesk.tasks WHERE id = $broken"'
check 'an /etc/passwd that is no file' ended "$odd" 'failed|prep.create_failed'
environment=$plain

# ---- how much --------------------------------------------------------------

memory_refused()
{
	local said
	said=$(task_memory=16777215 submit true 2>&1)
	grep -qF 'memory is out of range' <<<"$said" || { echo "$said"; return 1; }
}
# refused ARGUMENT TEXT: it is told at once.
refused()
{
	local said
	said=$(submit true "$1" 2>&1)
	grep -qF -- "$2" <<<"$said" || { echo "$said"; return 1; }
}
check 'memory below the minimum is refused' memory_refused
too_wide=$(submit_words "'true'" 'cpus => 10000')
task=$(task_memory=16777216 submit true)
check 'the minimum is enough' ended "$task" 'succeeded||0'
check 'more CPUs than any node has: it waits' is queued "SELECT state FROM unidesk.tasks WHERE id = $too_wide"
sql_user -c "SELECT unidesk.cancel_task($too_wide)" >/dev/null
check 'an environment beyond 128 KiB is refused' refused "environment => jsonb_build_object('LONG', repeat('x', 131072))" 'At most 131072 bytes are allowed'
task=$(submit 'echo ${#LONG}' "environment => jsonb_build_object('LONG', repeat('x', 120000))")
check 'one that is just smaller arrives' ended "$task" 'succeeded||0'
check 'whole' logged "$task" 120000
check 'a name that is none is refused' refused "environment => '{\"A=B\": \"x\"}'" 'environment holds something else'
task=$(submit 'echo "$LD_PRELOAD"' "environment => '{\"LD_PRELOAD\": \"/output/none.so\", \"GCONV_PATH\": \"/output\"}'")
check 'hostile variables reach the program only' ended "$task" 'succeeded||0'

oom=$(submit 'head -c 300000000 /dev/zero | tail')
forks=$(task_memory=2000000000 task_cpus=1 submit 'i=0; while :; do sleep 300 & i=$((i+1)); done')
check 'too much memory' ended "$oom" 'failed|run.oom|137'
check 'is told' told "$oom" 'memory limit was reached'
check 'a fork bomb ends' ended "$forks" 'failed|run.exit_code|2'
check 'at the limit of processes' eval 'log_text "$forks" | grep -q "Cannot fork"'

# ---- the log ---------------------------------------------------------------

began=$SECONDS
flood=$(submit 'echo head; head -c 400000000 /dev/zero; echo tail')
random=$(submit 'head -c 300000 /dev/urandom | tee /output/bytes; md5sum </output/bytes | cut -c1-32 >&2')
line=$(submit 'head -c 700000 /dev/zero | tr "\0" x')
lines=$(submit 'echo head; head -c 10000000 /dev/zero | tr "\0" x; echo tail')
check '400 MB of output' ended "$flood" 'succeeded||0'
printf '400 MB took %d s\n' $((SECONDS - began))
check 'do not make the agent large' test "$(memory_peak_kb "$agent_pid")" -lt 100000
log_ends() # TASK: head, tail, one marker, within the budget.
{
	is t "SELECT sum(length(bytes)) BETWEEN 900000 AND 1048576 AND count(*) FILTER (WHERE stream = 'marker') = 1
		AND convert_from(substr(string_agg(bytes, '' ORDER BY \"offset\"), 1, 5), 'UTF8') = E'head\n'
		AND convert_from(right(encode(string_agg(bytes, '' ORDER BY \"offset\"), 'hex'), 10)::text::bytea, 'UTF8') = '7461696c0a' FROM unidesk.task_log($1)"
}
check 'their head, their tail and one mark are kept' within 20 log_ends "$flood"
bytes_are_true() # TASK: standard error has the sum of standard output.
{
	same "$(log_hex "$1" stderr | perl -ne 'print pack("H*", substr($_, 0, 64))')" \
		"$(log_hex "$1" stdout | perl -ne 'chomp; print pack("H*", $_)' | md5sum | cut -c1-32)"
}
check 'a binary log' ended "$random" 'succeeded||0'
check 'is kept byte for byte' within 20 bytes_are_true "$random"
check 'a line of 700 kB' ended "$line" 'succeeded||0'
check 'is kept whole' within 20 is '700000|0' "SELECT sum(length(bytes)), count(*) FILTER (WHERE stream = 'marker') FROM unidesk.task_log($line)"
check 'a line of 10 MB' ended "$lines" 'succeeded||0'
check 'is cut as other logs are' within 20 log_ends "$lines"

# ---- how it ends -----------------------------------------------------------

for exit_code in 1 2 125 126 127 128 129 130 134 137 143 255; do
	code_task[exit_code]=$(submit "exit $exit_code")
done
for signal in 1 2 3 6 9 11 15; do
	signal_task[signal]=$(submit "kill -$signal \$\$; sleep 5")
done
exits_are_true()
{
	local status=0
	for exit_code in "${!code_task[@]}"; do ended "${code_task[exit_code]}" "failed|run.exit_code|$exit_code" || status=1; done
	return "$status"
}
signals_are_true()
{
	local status=0
	for signal in "${!signal_task[@]}"; do ended "${signal_task[signal]}" "failed|run.signal|$((128 + signal))" || status=1; done
	return "$status"
}
check 'exit codes are told as they are' exits_are_true
check 'so are signals' signals_are_true

closed=$(submit 'exec >&- 2>&-; sleep 1; exit 3')
daemon=$(submit 'setsid sleep 300 >/dev/null 2>&1 & sleep 300 & echo left')
zombies=$(submit 'for i in 1 2 3 4 5 6 7 8 9; do (sleep 0.1 & exec true) ; done; sleep 1; cat /proc/[0-9]*/status 2>/dev/null | grep -c "^State:.*Z"; true')
check 'output that is closed early changes nothing' ended "$closed" 'failed|run.exit_code|3'
began=$SECONDS
check 'what stays in the background' ended "$daemon" 'succeeded||0'
check 'goes with the task' within 10 eval '[ -z "$(container_of "$daemon")" ]'
check 'at once' test $((SECONDS - began)) -lt 15
check 'orphans' ended "$zombies" 'succeeded||0'
check 'leave no zombies' logged "$zombies" 0

# ---- before the engine ------------------------------------------------------

# unidesk-init ended as the last of its container, which the engine says later.
lines_of() { grep -n "$1-1\(/wait.*: 200, \|: succeeded\)" "$out/agent.log" | sed "s/.*succeeded/succeeded/; s/.*wait.*/wait/" | tr "\\n" " "; }
quick=$(submit true)
check 'a success' ended "$quick" 'succeeded||0'
check 'is told before the engine says so' within 10 eval 'grep -q "succeeded wait \$" <<<"$(lines_of "$quick")"'

# ---- people ----------------------------------------------------------------

saving='trap "echo saved; exit 0" TERM; echo up; [ $UNIDESK_ATTEMPT -gt 1 ] || while :; do sleep 0.1; done'
removed=$(submit "$once") stopped=$(submit "$saving") killed_task=$(submit "$once") paused=$(submit 'echo up; sleep 600')
for task in "$removed" "$stopped" "$killed_task" "$paused"; do within 30 logged "$task" up; done
docker pause "$(container_of "$paused")" >/dev/null
docker rm -f "$(container_of "$removed")" >/dev/null
docker stop -t 5 "$(container_of "$stopped")" >/dev/null
docker kill "$(container_of "$killed_task")" >/dev/null
# Killed first, removed then: either is seen.
check 'a container that somebody removed is not its own failure' within 20 tried_as "$removed" '^(lost node.container_gone|failed node.engine_stopped)$'
check 'one that somebody stopped is no success' within 20 tried_as "$stopped" '^failed node.engine_stopped$'
check 'though it saved and exited 0' eval 'log_text "$stopped" | grep -qx saved'
check 'one that somebody killed is not its own failure' within 20 tried_as "$killed_task" '^failed node.engine_stopped$'
check 'each runs again' eval 'ended "$removed" "succeeded||0" && ended "$stopped" "succeeded||0" && ended "$killed_task" "succeeded||0"'
check 'a paused one is not over' has_attempt_state "$paused" running
sql_user -c "SELECT unidesk.cancel_task($paused)" >/dev/null
check 'and can be cancelled' ends_in "$paused" cancelled

# ---- tricks ----------------------------------------------------------------

# What the agent would read or write if it followed a link out of a task's
# directories; the path means something on the node only.
echo 'secret of the node' >"$work/canary"
chmod 0666 "$work/canary"
links=$(submit "cd /run/unidesk; for i in 1 2 3 4 5 6; do
	for name in log exit exit.new control .control.new .control.spare alive; do rm -rf \$name; ln -s $work/canary \$name; done; sleep 0.5; done
	rm -rf /output/* /workspace/*; ln -s $work /output/link; ln -s $work/canary /workspace/link; exit 5")
garbage=$(submit 'cd /run/unidesk; for name in log exit exit.new control .control.new .control.spare alive; do
	rm -f $name; head -c 100000 /dev/urandom >$name; done; sleep 2; exit 6')
dirs=$(submit 'cd /run/unidesk; for name in log exit exit.new control .control.new .control.spare alive; do
	rm -rf $name; mkdir -p $name/below; done; sleep 2; exit 7')
fifos=$(submit 'cd /run/unidesk; for name in log exit exit.new control .control.new .control.spare alive; do
	rm -rf $name; mkfifo $name; done; sleep 2; exit 8')
deep=$(submit 'cd /output; i=0; while [ $i -lt 400 ]; do mkdir d && cd d; i=$((i+1)); done; ln / x 2>/dev/null; exit 9')
# The agent reads the FIFO until the end of unidesk-init, and nobody else's.
opened=$(submit 'cd /run/unidesk; for i in 1 2 3; do : >alive; done; : <>alive; rm alive; mkfifo alive; (: >alive) & (: <alive) & sleep 2; echo end')
spoken=$(submit 'cd /run/unidesk; exec 3>alive; echo x >&3; exec 3>&-; sleep 2; echo end')
# A record that says success, written again and again until the very end.
forged=$(submit 'cd /run/unidesk; (while :; do cp exit.new forged; mv -f forged exit; done) 2>/dev/null & sleep 1; exit 10')
check 'links in place of its records' ended "$links" 'failed|run.exit_code|5'
check 'are not followed to write' same 'secret of the node' "$(cat "$work/canary")"
check 'nor to read' eval '! log_text "$links" | grep -q secret'
check 'garbage in place of its records' ended "$garbage" 'failed|run.exit_code|6'
check 'directories in place of its records' ended "$dirs" 'failed|run.exit_code|7'
check 'pipes in place of its records' ended "$fifos" 'failed|run.exit_code|8'
check 'a tree that is deep' ended "$deep" 'failed|run.exit_code|9'
check 'a record that is forged' ended "$forged" 'failed|run.exit_code|10'
check 'a FIFO that is opened, closed and replaced' ended "$opened" 'succeeded||0'
check 'tells no early end' eval 'logged "$opened" end'
check 'one that is written to' ended "$spoken" 'succeeded||0'
check 'tells none either' eval 'logged "$spoken" end'

# ---- the end ---------------------------------------------------------------

check 'a good task works after all this' eval 'task=$(submit "cat hello") && ended "$task" "succeeded||0" && logged "$task" "hello from the code"'
check 'nothing is left on the node' within 30 nothing_on_node
check 'nothing is left in the database' is 0 'SELECT (SELECT count(*) FROM unidesk_data.live) + (SELECT count(*) FROM unidesk_data.held)'
check 'the canary lives' same 'secret of the node' "$(cat "$work/canary")"
check 'it was the same agent all the time' eval 'kill -0 "$agent_pid" && same 1 "$(grep -c "connected as node" "$out/agent.log")"'
check 'the agent ends' ends "$agent_pid" 15
agent_pid=''
check 'the bridge ends' ends "$bridge_pid" 15
bridge_pid=''
if [ "$failed" -ne 0 ]; then
	echo "logs are in build/container"
	tail -n 25 "$out/agent.log"
fi
exit "$failed"
