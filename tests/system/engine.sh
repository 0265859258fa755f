# shellcheck shell=bash
#
# engine.sh
#	  A Docker Engine for the time of a test run.  Sourced, in the project's
#	  folder.
#
# An engine that answers is used.  One that had to be started by hand is
# stopped by the last run that uses it, unless containers run on it then:
# several runs, and a demo, go on side by side.

readonly ENGINE_STARTED_BY_TESTS=/run/unidesk-check.engine

# The engine and the base image are there until engine_leave.
engine_enter()
{
	# Only root can start an engine, so only root has one to stop.  Lock 9 is
	# for starting and stopping, lock 8 is shared by those who use it.
	if [ "$(id -u)" -eq 0 ]; then
		exec 8>/run/unidesk-check.users 9>/run/unidesk-check.lock
		flock 9
	fi
	tools/packages.sh demo || return
	if ! timeout 10 docker version >/dev/null 2>&1; then
		docker/engine.sh start 8>&- || return
		touch "$ENGINE_STARTED_BY_TESTS"
	fi
	docker/base.sh >/dev/null || return
	if [ "$(id -u)" -eq 0 ]; then
		flock -s 8
		flock -u 9
	fi
}

engine_leave()
{
	[ "$(id -u)" -eq 0 ] || return 0
	flock 9
	flock -u 8
	if [ -e "$ENGINE_STARTED_BY_TESTS" ] && flock -n 8 && [ -z "$(docker ps -q)" ]; then
		rm -f "$ENGINE_STARTED_BY_TESTS"
		docker/engine.sh stop
	fi
	flock -u 8
	flock -u 9
}

# The agent hands files to the users of images, which takes root.  Who may use
# the engine can have that without a password, and has nothing else to fear of it.
as_root_by_engine()
{
	local status=0
	engine_enter || return
	echo "$1: needs root, and runs as root by way of the engine"
	docker run --rm --cap-add SYS_ADMIN --cap-add SYS_PTRACE --cap-add NET_ADMIN \
		--security-opt seccomp=unconfined --security-opt apparmor=unconfined --pid host --label unidesk.test="$1" --env CHECK_RESULTS --env PG_CONFIG --env PATH \
		unidesk-base/debian:trixie nsenter --target $$ --mount --uts --ipc --net --pid env --chdir="$PWD" "$0" || status=$?
	docker run --rm --label unidesk.test="$1" --volume "$PWD/build:/build" \
		unidesk-base/debian:trixie chown -R "$(id -u):$(id -g)" /build
	return "$status"
}

# run_beside_server SUITE [OPTION...]: this script again, beside a server of its
# own (options: tools/private_pg.sh) and an engine; then exit.  Logs: build/SUITE.
run_beside_server()
{
	local suite=$1 status=0
	shift
	if [ "$(id -u)" -ne 0 ]; then
		as_root_by_engine "$suite"
		exit
	fi
	rm -rf "build/$suite"
	mkdir -p "build/$suite"
	trap 'exit 130' INT TERM HUP
	trap engine_leave EXIT
	engine_enter || exit 1
	tools/private_pg.sh --keep-log "build/$suite/server.log" "$@" -- "$0" || status=$?
	exit "$status"
}
