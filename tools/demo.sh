#!/bin/bash
#
# demo.sh
#	  One real task, end to end: build the images, start the platform, submit a
#	  task by SQL, show its log while it runs, and sum up.  Exit status 0 only
#	  if the task succeeded.
#
# Running it again keeps everything that is there: the second task finds its
# repositories fetched and its image built.  tools/platform.sh lists the
# settings; UNIDESK_DEMO_LIMIT_S (900) bounds the wait for the task.
set -euo pipefail

# shellcheck source=tools/platform.sh
. "$(dirname "$0")/platform.sh"

readonly DEMO_USER=demo
readonly DEMO_PROJECT=demo
readonly NODE=main
readonly LIMIT_S=${UNIDESK_DEMO_LIMIT_S:-900}
[[ $LIMIT_S =~ ^[1-9][0-9]{0,5}$ ]] || die "UNIDESK_DEMO_LIMIT_S is a number of seconds"

# As the superuser, inside the database's container; variables by -v.
sql_admin() { in_service postgres psql -XAtq -v ON_ERROR_STOP=1 "$@"; }

# As the demo's user, with a password, as anybody would.
sql_user()
{
	PGPASSWORD=$(cat "$UNIDESK_SECRETS/${DEMO_USER}_password") \
		docker exec -i -e PGPASSWORD "$(container_of postgres)" \
		psql -XAtq -v ON_ERROR_STOP=1 -h 127.0.0.1 -U "$DEMO_USER" "$@"
}

# ---- before anything starts ------------------------------------------------

# new_secret FILE OWNER: random, readable by the one user that needs it.
new_secret()
{
	[ -s "$UNIDESK_SECRETS/$1" ] && return
	(
		umask 077
		od -An -tx1 -N24 /dev/urandom | tr -d ' \n' >"$UNIDESK_SECRETS/$1.new"
	)
	own_secret "$1.new" "$2"
	mv "$UNIDESK_SECRETS/$1.new" "$UNIDESK_SECRETS/$1"
}

# Compose mounts the file as it is, owner included.  Without root the owner
# cannot be changed: then the folder, which only this user may enter, protects.
# What root reads in a container can be this user's in any case.
own_secret()
{
	if [ "$(id -u)" = 0 ]; then
		chown "$2" "$UNIDESK_SECRETS/$1"
		chmod 0400 "$UNIDESK_SECRETS/$1"
	elif [ "$2" = 0 ]; then
		chmod 0400 "$UNIDESK_SECRETS/$1"
	else
		chmod 0444 "$UNIDESK_SECRETS/$1"
	fi
}

make_secrets()
{
	mkdir -p "$UNIDESK_SECRETS"
	chmod 0700 "$UNIDESK_SECRETS"
	# A new password would not fit a database that exists.
	if docker volume inspect "$DATABASE_VOLUME" >/dev/null 2>&1 &&
		[ ! -s "$UNIDESK_SECRETS/postgres_password" ]; then
		die "the volume $DATABASE_VOLUME exists, but its passwords in $UNIDESK_SECRETS do not" \
			"is it another checkout's? Use its make demo, set UNIDESK_PROJECT to another name," \
			"or remove it with: make demo-down"
	fi
	new_secret postgres_password "$UID_POSTGRES"
	new_secret bridge_password "$UID_BRIDGE"
	if [ "$(id -u)" = 0 ]; then
		# Two services read this one: the database makes the role with it.
		chgrp "$UID_POSTGRES" "$UNIDESK_SECRETS/bridge_password"
		chmod 0440 "$UNIDESK_SECRETS/bridge_password"
	fi
}

make_base()
{
	local made line
	made=$("$ROOT/docker/base.sh") || die "there is no base image" "docker/base.sh says why, above"
	while read -r line; do
		[ -z "$line" ] || note_made "$line"
	done <<<"$made"
}

# The classic builder unless told otherwise: it is in every engine, and Compose
# 1.29 knows no other.
build_image()
{
	local name=$1 log=$STATE/log/build-$1.log start=$SECONDS
	printf 'image %-10s' "$name"
	if ! (cd "$ROOT" && DOCKER_BUILDKIT=${DOCKER_BUILDKIT:-0} timeout 1800 docker build --force-rm \
		--tag "$UNIDESK_PROJECT/$name" --label "unidesk.project=$UNIDESK_PROJECT" \
		--build-arg "BUILD_IMAGE=$UNIDESK_PROJECT/build" \
		--file "docker/$name/Dockerfile" .) >"$log" 2>&1; then
		printf 'failed\n'
		tail -n 25 "$log" >&2
		die "the image $name could not be built" "its whole output: $log"
	fi
	printf '%4d s\n' $((SECONDS - start))
}

check_port()
{
	[ -n "$(docker ps -q --filter "label=com.docker.compose.project=$UNIDESK_PROJECT" \
		--filter "label=com.docker.compose.service=$1")" ] && return
	if (exec 3<>"/dev/tcp/$UNIDESK_BIND/$2") 2>/dev/null; then
		die "port $2 on $UNIDESK_BIND, wanted for $1, is in use" "choose another one: $3=12345 make demo"
	fi
}

# ---- bringing it up --------------------------------------------------------

# What people would do once: a user, a project, the user in it, a node.
set_up_database()
{
	local secret=$UNIDESK_SECRETS/${DEMO_USER}_password token=$UNIDESK_SECRETS/node_token
	local user_exists node_exists
	user_exists=$(sql_admin -v name="$DEMO_USER" <<<"SELECT count(*) FROM pg_roles WHERE rolname = :'name'")
	if [ "$user_exists" = 0 ]; then
		(umask 077 && sql_admin -v name="$DEMO_USER" <<<"SELECT unidesk.create_user(:'name')" >"$secret")
		sql_admin -v name="$DEMO_USER" -v project="$DEMO_PROJECT" >/dev/null <<-'SQL'
			SELECT unidesk.create_project(:'project');
			SELECT unidesk.add_member(:'project', :'name', 'member');
		SQL
	elif [ ! -s "$secret" ]; then
		die "the user $DEMO_USER exists, but $secret does not" "start afresh: make demo-down && make demo"
	fi
	node_exists=$(sql_admin -v name="$NODE" <<<"SELECT count(*) FROM unidesk.nodes WHERE name = :'name'")
	if [ "$node_exists" = 0 ]; then
		(umask 077 && sql_admin -v name="$NODE" \
			<<<"SELECT unidesk.create_node(:'name', labels => '{\"site\": \"main\"}')" >"$token.new")
		own_secret node_token.new 0
		mv "$token.new" "$token"
	elif [ ! -s "$token" ]; then
		die "the node $NODE exists, but its token in $token does not" "start afresh: make demo-down && make demo"
	fi
}

wait_node_online()
{
	local deadline=$((SECONDS + HEALTHY_LIMIT_S)) status=''
	while [ "$status" != online ]; do
		status=$(sql_admin -v name="$NODE" <<<"SELECT status FROM unidesk.nodes WHERE name = :'name'")
		if [ "$status" != online ] && [ "$SECONDS" -ge "$deadline" ]; then
			docker logs --tail 20 "$(container_of agent)" >&2 || true
			die "the node $NODE is $status after $HEALTHY_LIMIT_S s, not online" \
				"the agent's log: $(compose_text logs agent)" "the bridge's: $(compose_text logs bridge)"
		fi
		[ "$status" = online ] || sleep 0.3
	done
	printf 'node %-12s online\n' "$NODE"
}

# import_repository NAME: prints the commit.
import_repository()
{
	tar -C "$ROOT/examples/$1" --sort=name --owner=0 --group=0 --numeric-owner -cf - . |
		in_service git unidesk-git-import "$1"
}

# ---- the task --------------------------------------------------------------

submit_task()
{
	sql_user -v project="$DEMO_PROJECT" -v code="$1" -v environment="$2" <<-'SQL'
		SELECT unidesk.submit_task(
			project => :'project',
			code_repo_url => 'http://git:8080/code.git',
			code_commit_id => :'code',
			env_repo_url => 'http://git:8080/environment.git',
			env_commit_id => :'environment',
			dockerfile_path => 'Dockerfile',
			command => ARRAY['perl', 'estimate.pl', '--rounds', '10'],
			cpus => 1,
			memory => 268435456,
			labels => '{"site": "main"}',
			environment => '{"SEED": "2026"}');
	SQL
}

# One session for all questions about the task.
open_session()
{
	coproc SESSION { sql_user -v task="$1"; }
	# Duplicates, because subshells do not get a coprocess's own descriptors.
	exec 7>&"${SESSION[1]}" 8<&"${SESSION[0]}"
}

# ask QUERY: its rows to standard output.
ask()
{
	local line
	printf "%s;\nSELECT '@end@';\n" "$1" >&7
	while IFS= read -r -t 60 line <&8; do
		[ "$line" != @end@ ] || return 0
		printf '%s\n' "$line"
	done
	die "the database does not answer any more" "its log: $(compose_text logs postgres)"
}

# The log from (LOG_ATTEMPT, LOG_OFFSET) on, exactly as it came; waits a moment
# when there is nothing new.
LOG_ATTEMPT=1
LOG_OFFSET=0
print_new_log()
{
	local stream end bytes
	while IFS='|' read -r stream end bytes; do
		LOG_OFFSET=$end
		case $stream in
			end) LOG_ATTEMPT=$((LOG_ATTEMPT + 1)) LOG_OFFSET=0 ;;
			stderr) base64 -d <<<"$bytes" >&2 ;;
			*) base64 -d <<<"$bytes" ;;
		esac
	done < <(ask "SELECT stream, \"offset\" + length(bytes), translate(encode(bytes, 'base64'), E'\\n', '')
		FROM unidesk.task_log_follow(:task, $LOG_OFFSET, $LOG_ATTEMPT, '500 ms') ORDER BY \"offset\"")
}

# Until the task has ended: its state when that changes, and its log.
follow_task()
{
	local task=$1 state shown='' last='' over='' attempts deadline=$((SECONDS + LIMIT_S))
	while [ -z "$over" ]; do
		shown=$(ask "SELECT concat_ws(' ', state, nullif(attempt_state, state), '(' || nullif(phase, '') || ')', nullif(reason, ''))
			FROM unidesk.tasks WHERE id = :task")
		state=${shown%% *}
		# What was written before a change comes before it.
		case $state in
			succeeded | failed | cancelled | skipped)
				over=yes
				# The result comes before the end of the log.
				attempts=$(ask "SELECT attempts FROM unidesk.tasks WHERE id = :task")
				while [ "$LOG_ATTEMPT" -le "$attempts" ]; do print_new_log; done
				;;
			*) print_new_log ;;
		esac
		if [ "$shown" != "$last" ]; then
			printf -- '--- task %s: %s\n' "$task" "$shown"
			last=$shown
		fi
		if [ -z "$over" ] && [ "$SECONDS" -ge "$deadline" ]; then
			die "task $task is still '$shown' after $LIMIT_S s" \
				"the scheduler's log: $(compose_text logs postgres)" \
				"the agent's log:     $(compose_text logs agent)" \
				"its events: SELECT * FROM unidesk.task_events WHERE task = $task;"
		fi
	done
}

summary()
{
	printf '\n'
	sql_user -v task="$1" -v total="$2" <<-'SQL'
		\pset format aligned
		\pset expanded on
		\pset border 1
		\pset footer off
		SELECT t.id AS task, t.state, t.attempts AS attempt, t.node,
			t.code_commit AS "code commit", t.env_commit AS "environment commit", t.image_id AS "image id",
			(SELECT string_agg(format('%s %s s', key, round(value::numeric / 1000, 1)), ', '
				ORDER BY array_position(ARRAY['fetch', 'build', 'stage_in', 'run'], key))
				FROM jsonb_each_text(t.stage_ms)) AS "stages",
			t.exit_code AS "exit code",
			round(extract(epoch FROM t.ended_at - t.created_at), 1) || ' s' AS "submitted to ended",
			:'total' || ' s' AS "make demo in all"
		FROM unidesk.tasks t WHERE t.id = :task;
	SQL
}

main()
{
	local start=$SECONDS code environment task state image kind

	"$ROOT/tools/packages.sh" demo
	"$ROOT/docker/engine.sh" start
	find_compose || die "neither docker compose nor docker-compose works" "run: tools/packages.sh demo"
	UNIDESK_DOCKER_SOCKET=$("$ROOT/docker/engine.sh" socket)
	export UNIDESK_DOCKER_SOCKET
	lock_state
	make_secrets
	check_port postgres "$UNIDESK_PG_PORT" UNIDESK_PG_PORT
	check_port bridge "$UNIDESK_PORT" UNIDESK_PORT

	make_base
	for image in "${IMAGES[@]}"; do build_image "$image"; done
	kind=$("$ROOT/docker/volume.sh" create "$DATABASE_VOLUME" "$UNIDESK_VOLUME_GB" "$UID_POSTGRES")
	printf 'volume %-9s %s GB (%s)\n' database "$UNIDESK_VOLUME_GB" "$kind"
	start_services postgres git
	wait_healthy postgres
	start_services bridge
	set_up_database
	start_services agent backup
	for image in git bridge agent; do wait_healthy "$image"; done
	wait_node_online

	code=$(import_repository code)
	environment=$(import_repository environment)
	task=$(submit_task "$code" "$environment")
	printf '\nsubmitted task %s; from here on its log, as it comes\n' "$task"
	open_session "$task"
	trap 'printf "\ntask %s goes on; look at it in: %s\n" "$task" "$(compose_text exec postgres psql -U "$DEMO_USER")"; exit 130' INT
	follow_task "$task"
	trap - INT
	summary "$task" $((SECONDS - start))
	state=$(ask "SELECT state FROM unidesk.tasks WHERE id = :task")
	environment=$(ask "SELECT image_id FROM unidesk.tasks WHERE id = :task AND image_id IS NOT NULL")
	[ -z "$environment" ] || note_made "environment $environment"
	if [ "$state" != succeeded ]; then
		die "the task $state instead of succeeding" \
			"its story: SELECT * FROM unidesk.task_events WHERE task = $task;" \
			"the agent's log: $(compose_text logs agent)"
	fi
	printf 'Submit your own: %s   (README.md has the statement)\n' "$(compose_text exec postgres psql -U "$DEMO_USER")"
	printf 'Remove everything: make demo-down\n'
}

main "$@"
