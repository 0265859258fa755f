# shellcheck shell=bash
#
# host_platform.sh
#	  The platform on this host, without images of our own: a bridge and an
#	  agent as programs beside a private PostgreSQL, the engine, and a git
#	  server with two repositories.  Sourced inside tools/private_pg.sh.
#
# The caller has ROOT and out (a directory for logs).  After platform_set_up
# there are: url, code and environment (commits), a user ada in $project, and
# a node "here" whose agent start_agent starts.  All of it goes at exit.

# shellcheck source=tests/system/helpers.sh
. tests/system/helpers.sh

# Set by the caller.
: "${ROOT:?}" "${out:?}"

work=$(mktemp -d "${TMPDIR:-/tmp}/unidesk-path.XXXXXX")
git_pid='' bridge_pid='' agent_pid='' watch_pid=''
# The address that the bridge and the git server are reached at.
listen_on=127.0.0.1
incarnation=none
# Built images are kept by project: one of this run's own.
project=path-$$

finish()
{
	local pid ids
	trap - EXIT
	# A second signal must not end this half-way.
	trap '' INT TERM HUP
	for pid in $watch_pid $agent_pid $bridge_pid $git_pid; do
		{ kill -9 "$pid" && wait "$pid"; } 2>/dev/null
	done
	ids=$(docker ps -aq --filter "label=unidesk.incarnation=$incarnation")
	[ -z "$ids" ] || xargs docker rm -f -v <<<"$ids" >/dev/null
	ids=$(docker image ls -q --no-trunc --filter "reference=unidesk-cache/$project" | sort -u)
	[ -z "$ids" ] || xargs docker image rm -f <<<"$ids" >/dev/null
	rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

psql() { "$PG_BIN/psql" -XAtq -v ON_ERROR_STOP=1 "$@"; }
sql() { psql -c "$1"; }
sql_user() { psql -U ada "$@"; }

same() { [ "$1" = "$2" ] || { printf '  wanted "%s", got "%s"\n' "$1" "$2"; return 1; }; }

# The caller of either may say more: $bridge_name, and for an agent $token and
# $data (files of its own), $site (a label) and $agent_on (a command before it).
start_bridge()
{
	UNIDESK_DATABASE="host=$PGHOST port=$PGPORT dbname=$PGDATABASE user=unidesk_bridge" \
		UNIDESK_LISTEN=$listen_on:$port UNIDESK_BRIDGE_NAME=${bridge_name:-path} \
		build/release/bridge/unidesk-bridge >>"$out/bridge.log" 2>&1 &
	bridge_pid=$!
}

# It fetches from the git server alone, or from what git_hosts says.
start_agent()
{
	UNIDESK_URL=ws://$listen_on:$port/agent UNIDESK_TOKEN_FILE=${token:-$work/token} \
		UNIDESK_DATA=${data:-$work/data} UNIDESK_DATA_HOST=${data:-$work/data} \
		UNIDESK_INIT=$ROOT/build/release/init/unidesk-init UNIDESK_GIT=$work/bin/unidesk-git \
		UNIDESK_GIT_UID=$git_uid UNIDESK_ALLOWED_GIT_HOSTS=${git_hosts:-${url#http://}} UNIDESK_LABELS=site=${site:-path} \
		${agent_on:-} build/release/agent/unidesk-agent >>"$out/agent.log" 2>&1 &
	agent_pid=$!
}

# ends PID SECONDS: asked by TERM, it exits 0 in time.
ends()
{
	local limit=$((SECONDS + $2)) status=0
	kill -TERM "$1"
	while kill -0 "$1" 2>/dev/null; do
		if [ "$SECONDS" -ge "$limit" ]; then
			printf '  %s still runs after %s s\n' "$1" "$2"
			kill -9 "$1"
			return 1
		fi
		sleep 0.1
	done
	wait "$1" || status=$?
	[ "$status" -eq 0 ] || { printf '  exit status %s\n' "$status"; return 1; }
}

killed() { kill -9 "$1" && { wait "$1" 2>/dev/null; true; }; }

# commit NAME: the files in work/NAME become its newest commit, printed.
commit()
{
	(
		cd "$work/$1" || exit 1
		[ -d .git ] || git init -q -b main .
		git add -A
		git -c user.name=test -c user.email=test@localhost commit -q -m test
		[ -d "$work/git/$1.git" ] || git init -q --bare "$work/git/$1.git"
		git push -q "$work/git/$1.git" HEAD:refs/heads/main
		git rev-parse HEAD
	)
}

# environment_of LINE...: a new environment; its commit.  The mark tells what
# comes of it.
environment_of()
{
	printf '%s\n' 'FROM unidesk-base/debian:trixie' "ENV UNIDESK_MARK=$work" "$@" >"$work/env/env/Dockerfile"
	commit env
}

# submit SCRIPT [ARGUMENT=>VALUE, ...]: a shell script as the command; its id.
# It gets $task_cpus CPUs and $task_memory bytes, 0.1 and 64 MiB unless set.
# Other repositories or another Dockerfile: code_url=... submit ...
submit()
{
	sql_user -v script="$1" -v code="$code" -v env="$environment" -v code_url="${code_url:-$url/code.git}" \
		-v env_url="${env_url:-$url/env.git}" -v dockerfile="${dockerfile:-env/Dockerfile}" <<-SQL
		SELECT unidesk.submit_task(project => '$project', code_repo_url => :'code_url', code_commit_id => :'code',
			env_repo_url => :'env_url', env_commit_id => :'env', dockerfile_path => :'dockerfile',
			command => ARRAY['sh', '-c', :'script'], cpus => ${task_cpus:-0.1}, memory => ${task_memory:-67108864}${2:+, $2});
	SQL
}

state() { sql "SELECT state FROM unidesk.tasks WHERE id = $1"; }
# The attempt's state while there is one, e.g. running.
has_attempt_state() { is "$2" "SELECT attempt_state FROM unidesk.tasks WHERE id = $1"; }
ended_as() { is "$2" "SELECT state FROM unidesk.tasks WHERE id = $1"; }

# ends_in TASK STATE [SECONDS]: waits by the function made for that.
ends_in()
{
	local got='' limit=$((SECONDS + ${3:-30}))
	while [ "$SECONDS" -lt "$limit" ]; do
		got=$(sql_user -c "SELECT unidesk.wait_task($1, '10 s')") || return
		case $got in succeeded | failed | cancelled | skipped) break ;; esac
	done
	[ "$got" = "$2" ] || {
		printf '  task %s: wanted %s, got %s\n' "$1" "$2" "$got"
		psql -x -c "SELECT * FROM unidesk.tasks WHERE id = $1"
		return 1
	}
}

log_text() { sql "SELECT unidesk.task_log_text($1)"; }
# The log's bytes as one hexadecimal text, both streams or one.
log_hex()
{
	sql "SELECT coalesce(string_agg(encode(bytes, 'hex'), '' ORDER BY attempt, \"offset\"), '')
		FROM unidesk.task_log($1) WHERE stream LIKE '${2:-%}'"
}
logged() { log_text "$1" | grep -qx -- "$2"; }

# counts_to TASK N: the log is exactly the lines 1..N, in one attempt.
counts_to()
{
	local wanted
	wanted=$(seq "$2" | tr '\n' ' ')
	is "$wanted" "SELECT translate(convert_from(string_agg(bytes, '' ORDER BY \"offset\"), 'UTF8'), E'\\n', ' ') FROM unidesk.task_log($1)" &&
		is 1 "SELECT count(DISTINCT attempt) FROM unidesk.task_log($1)" &&
		is 1 "SELECT attempts FROM unidesk.tasks WHERE id = $1"
}

nothing_on_node()
{
	local left
	left=$(docker ps -aq --filter "label=unidesk.incarnation=$incarnation"; ls "$work/data/run" "$work/data/tree" "$work/data/out")
	left=$(grep -v -e '^$' -e ':$' <<<"$left")
	[ -z "$left" ] || { printf '  left on the node: %s\n' "$left"; return 1; }
}

# Repositories, a git server, a user, a project and a node's token.
platform_set_up()
{
	within 10 is t 'SELECT unidesk.worker_alive()'
	chmod 0755 "$work"
	mkdir -p "$work/git" "$work/code" "$work/env/env" "$work/data" "$work/bin"
	# Another user than ours parses what repositories contain; it needs to get there.
	install -m 0755 build/release/git/unidesk-git "$work/bin/"
	git_uid=$(id -u nobody)
	port=$(free_port)

	tests/system/git_server.pl "$work/git" "$listen_on" >"$work/git_port" 2>"$out/git.log" &
	git_pid=$!
	within 5 test -s "$work/git_port"
	url=http://$listen_on:$(cat "$work/git_port")

	echo 'hello from the code' >"$work/code/hello"
	# The image is this run's own, so that it can be removed with it.
	cat >"$work/env/env/Dockerfile" <<-END
	FROM unidesk-base/debian:trixie
	ENV FROM_IMAGE=$(basename "$work")
	RUN echo built >/built
	END
	code=$(commit code)
	environment=$(commit env)

	psql <<-SQL >/dev/null || exit 1
	ALTER ROLE unidesk_bridge LOGIN;
	SELECT unidesk.create_user('ada');
	SELECT unidesk.create_project('$project');
	SELECT unidesk.add_member('$project', 'ada', 'member');
	SQL
	(umask 077 && sql "SELECT unidesk.create_node('here')" >"$work/token")
	incarnation=$(sql "SELECT lpad(to_hex(value), 16, '0') FROM unidesk_data.incarnation")
}
