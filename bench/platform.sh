# shellcheck shell=bash
#
# platform.sh
#	  The platform for the benches: PostgreSQL that waits for its disk, bridges,
#	  and simulated agents (bench/agents), each with an account of its CPU time.
#	  Sourced, in the project's folder.
#
# A bench begins with "platform_beside_server NAME", which runs it again inside
# tools/private_pg.sh, and then "platform_begin".  It prints its figures by
# emit, one JSON object a line, and says everything else to standard error.
# CPU time is of a cgroup where there is one to write to (version 1, cpuacct),
# else of /proc, which counts in hundredths of a second.

# shellcheck source=bench/lib.sh
. bench/lib.sh
# shellcheck source=tests/system/helpers.sh
. tests/system/helpers.sh

out=${out:-}
AGENTS_PER_PROCESS=1000
port='' nodes=0
bridge_pids=() agents_pids=()

say() { printf '%s\n' "$*" >&2; }
emit() { printf '{"name": "%s", "value": %s, "unit": "%s"}\n' "$1" "$2" "$3"; }
# ratio A B [DIGITS]: A / B, for figures; 0 when there is no B.
ratio() { awk -v a="$1" -v b="$2" -v d="${3:-1}" 'BEGIN { printf "%.*f", d, b ? a / b : 0 }'; }

# platform_beside_server NAME [OPTION...]: this script again, with everything
# built, beside a durable server (options: tools/private_pg.sh).  Logs: build/NAME.
platform_beside_server()
{
	local name=$1
	shift
	[ -z "${PG_ROOT:-}" ] || return 0
	rm -rf "build/$name"
	mkdir -p "build/$name"
	make -s --no-print-directory all >&2 || exit 1
	exec tools/private_pg.sh --keep-log "build/$name/server.log" --set fsync=on --set synchronous_commit=on \
		--set shared_buffers=1GB --set max_wal_size=4GB "$@" -- "$0"
}

psql() { "$PG_BIN/psql" -XAtq -v ON_ERROR_STOP=1 "$@"; }
sql() { psql -c "$1"; }
sql_user() { psql -U ada "$@"; }

# ---- CPU time --------------------------------------------------------------

cpu_root=
cpu_begin()
{
	local group=/sys/fs/cgroup/cpuacct/unidesk-bench.$$ pid
	if mkdir "$group" 2>/dev/null && mkdir "$group/server" "$group/bridge" "$group/agents" 2>/dev/null; then
		cpu_root=$group
		# Twice: a process may have been forked meanwhile.
		for _ in 1 2; do
			for pid in $(server_pids); do echo "$pid" >"$cpu_root/server/cgroup.procs" 2>/dev/null; done
		done
	else
		say 'CPU time: of /proc'
	fi
	return 0
}

# The server outlives us; its groups cannot be removed before it has left.
cpu_end()
{
	local pid
	[ -n "$cpu_root" ] || return 0
	for _ in $(seq 20); do
		for pid in $(cat "$cpu_root"/*/cgroup.procs); do echo "$pid" >/sys/fs/cgroup/cpuacct/cgroup.procs; done 2>/dev/null
		find "$cpu_root" -depth -type d -exec rmdir {} + 2>/dev/null
		[ -e "$cpu_root" ] || return 0
		sleep 0.1
	done
	say "left: $cpu_root"
}

server_pids() { head -n 1 "$PG_DATA/postmaster.pid"; pgrep -P "$(head -n 1 "$PG_DATA/postmaster.pid")"; }

# in_group GROUP COMMAND...: becomes that command, in a subshell of the caller.
in_group()
{
	local group=$1
	shift
	[ -z "$cpu_root" ] || echo "$BASHPID" >"$cpu_root/$group/cgroup.procs"
	exec "$@"
}

# cpu_us GROUP: CPU time so far, in microseconds.
cpu_us()
{
	local pids
	if [ -n "$cpu_root" ]; then
		echo $(($(cat "$cpu_root/$1/cpuacct.usage") / 1000))
		return
	fi
	case $1 in
		server) pids=$(server_pids) ;;
		bridge) pids=${bridge_pids[*]} ;;
		agents) pids=${agents_pids[*]} ;;
	esac
	for pid in $pids; do cat "/proc/$pid/stat" 2>/dev/null; done |
		sed 's/.*) //' | awk -v hz="$(getconf CLK_TCK)" '{ t += $12 + $13 + $14 + $15 } END { printf "%d", t * 1000000 / hz }'
}

# mark and since: CPU time and WAL from one to the other, in cpu_server,
# cpu_bridge, cpu_agents (microseconds) and wal (bytes).
mark()
{
	mark_server=$(cpu_us server) mark_bridge=$(cpu_us bridge) mark_agents=$(cpu_us agents)
	mark_wal=$(ask 'SELECT pg_current_wal_insert_lsn()')
}
since()
{
	# shellcheck disable=SC2034 # for the caller
	cpu_server=$(($(cpu_us server) - mark_server)) cpu_bridge=$(($(cpu_us bridge) - mark_bridge)) cpu_agents=$(($(cpu_us agents) - mark_agents)) \
		wal=$(ask "SELECT pg_current_wal_insert_lsn() - '$mark_wal'")
}

# ---- the server ------------------------------------------------------------

# ask STATEMENT: its one value, in a session that stays, because starting one
# costs the server more than many tasks do.
ask()
{
	local answer
	printf '%s;\n' "$1" >&"${session[1]}"
	read -r answer <&"${session[0]}" && printf '%s\n' "$answer"
}

platform_begin()
{
	work=$(mktemp -d "${TMPDIR:-/tmp}/unidesk-bench.XXXXXX")
	trap platform_end EXIT
	trap 'exit 130' INT TERM HUP
	cpu_begin
	within 10 is t 'SELECT unidesk.worker_alive()' || exit 1
	psql >/dev/null <<-'SQL' || exit 1
	ALTER ROLE unidesk_bridge LOGIN;
	SELECT unidesk.create_user('ada');
	SELECT unidesk.create_project('bench');
	SELECT unidesk.add_member('bench', 'ada', 'member');
	SQL
	coproc session { exec "$PG_BIN/psql" -XAtq; }
	# A subshell would not have them.
	exec {session_in}<&"${session[0]}" {session_out}>&"${session[1]}"
	session=("$session_in" "$session_out")
	port=$(free_port)
}

platform_end()
{
	local pid
	trap - EXIT
	# A second signal must not end this half-way.
	trap '' INT TERM HUP
	for pid in "${agents_pids[@]}" "${bridge_pids[@]}" ${session_PID:-}; do
		{ kill -9 "$pid" && wait "$pid"; } 2>/dev/null
	done
	cpu_end
	rm -rf "$work"
}

# ---- bridges and agents ----------------------------------------------------

# start_bridge [NUMBER]: listens on $port + NUMBER.
start_bridge()
{
	local number=${1:-0}
	UNIDESK_DATABASE="host=$PGHOST port=$PGPORT dbname=$PGDATABASE user=unidesk_bridge" \
		UNIDESK_LISTEN=127.0.0.1:$((port + number)) UNIDESK_BRIDGE_NAME=bench-$number \
		UNIDESK_MAX_CONNECTIONS=$((nodes + 1000)) UNIDESK_MAX_PER_ADDRESS=0 UNIDESK_LOG_LEVEL=${bridge_log:-warning} \
		in_group bridge build/release/bridge/unidesk-bridge >>"$out/bridge.log" 2>&1 &
	bridge_pids[number]=$!
}

# make_nodes N: nodes and their tokens, in one statement; before the bridges.
make_nodes()
{
	nodes=$1
	(umask 077 && sql "SELECT unidesk.create_node('bench-' || i) FROM generate_series(1, $1) i" >"$work/tokens")
}

# start_agents N OPTION...: returns when all are online.  A process has at most
# a thousand, because libwebsockets asks poll() about all of them each time.
start_agents()
{
	local agents=$1 first=0 now
	shift
	agents_pids=()
	while [ "$first" -lt "$agents" ]; do
		now=$((agents - first < AGENTS_PER_PROCESS ? agents - first : AGENTS_PER_PROCESS))
		in_group agents build/release/bench-agents/unidesk-bench-agents --url "ws://127.0.0.1:$port/agent" \
			--tokens "$work/tokens" --first "$first" --agents "$now" --ready "$work/ready.$first" \
			--report "$out/agents.$first.json" --times "$out/times.$first" "$@" 2>>"$out/agents.log" &
		agents_pids+=($!)
		first=$((first + now))
	done
	within "${online_s:-60}" were_online 1
}

# were_online N: all agents were online at once so often, those of each process.
were_online()
{
	local file count=0
	for file in "$work"/ready.*; do
		[ -e "$file" ] && [ "$(wc -l <"$file")" -ge "$1" ] && count=$((count + 1))
	done
	[ "$count" -eq "${#agents_pids[@]}" ]
}

# Their reports, agents.*.json and times.* in $out, come at their end.
stop_agents()
{
	local pid status=0
	kill -TERM "${agents_pids[@]}"
	for pid in "${agents_pids[@]}"; do wait "$pid" || status=1; done
	agents_pids=()
	return "$status"
}

# ---- tasks -----------------------------------------------------------------

# A SQL expression: N tasks that do nothing, as submit_tasks takes them.
no_ops()
{
	printf "(SELECT jsonb_agg(jsonb_build_object('project', 'bench', 'code_repo_url', 'https://code.test/c.git', 'code_commit_id', repeat('a', 40), 'env_repo_url', 'https://code.test/e.git', 'env_commit_id', repeat('b', 40), 'dockerfile_path', 'Dockerfile', 'command', '[\"true\"]'::jsonb, 'cpus', 1, 'memory', 67108864)) FROM generate_series(1, %d))" "$1"
}

# submit N: in one transaction a hundred thousand; prints how many.
submit()
{
	local left=$1 now
	while [ "$left" -gt 0 ]; do
		now=$((left < 100000 ? left : 100000))
		sql_user -c "SELECT count(*) FROM unidesk.submit_tasks($(no_ops "$now"))" >/dev/null || return
		left=$((left - now))
	done
}

# drained SECONDS: nothing is live any more.
drained()
{
	local limit=$((SECONDS + $1))
	until [ "$(ask 'SELECT count(*) FROM (SELECT FROM unidesk_data.live LIMIT 1) l')" = 0 ]; do
		[ "$SECONDS" -lt "$limit" ] || { say "still live after $1 s: $(ask 'SELECT count(*) FROM unidesk_data.live')"; return 1; }
		sleep 0.05
	done
}
